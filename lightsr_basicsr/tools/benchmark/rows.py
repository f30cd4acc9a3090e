"""What a benchmark finds: one row per network, back end, precision and image size; and the statistics in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

MILLION, BILLION, MIB = 1e6, 1e9, 2**20


@dataclass(frozen=True)
class Timing:
    """Seconds of one image, and how many times as fast as the reference: median, smallest and largest of the rounds.

    Speed-ups are None where there is no reference.
    """

    seconds: float
    seconds_low: float
    seconds_high: float
    speedup: float | None
    speedup_low: float | None
    speedup_high: float | None


@dataclass(frozen=True)
class Ntire:
    """Columns of the report tables of the NTIRE challenges on efficient super-resolution, for LR images of 256x256.

    Attributes:
        psnr (float | None): In dB, of the images that were given.
        time_ms (float): Mean over these images, or the median for the first LR size where there are none.
        params (float): In millions.
        flops (float | None): In billions; a multiplication and an addition together are one.
        acts (float): In millions.
        memory (float | None): In MiB.
        convs (int): Convolutions that one pass runs.
    """

    psnr: float | None
    time_ms: float
    params: float
    flops: float | None
    acts: float
    memory: float | None
    convs: int


@dataclass(frozen=True)
class Row:
    """One network on one back end, in one precision, at one image size.

    Attributes:
        network (str): Title of the network.
        weights (str): File name, or that they are random.
        scale (float): Output side over input side; 0 where the file could not be opened.
        form (str): ``'reference'``: eager, float32, as its authors' code computes; ``'deployed'``: from
            :func:`lightsr_basicsr.archs.reparam.deploy`; ``'exported'``: a file that is run as it is.
        backend (str): One of ``lightsr_basicsr.runtimes.base.BACKENDS``.
        precision (str): One of ``PRECISIONS`` there.
        height (int): Of the LR image, in pixels.
        width (int): Of the LR image, in pixels.
        parameters (int | None): Of this form; None for an exported file that does not tell its network.
        multi_adds (int | None): For this image size.
        activations (int | None): For this image size.
        timing (Timing | None): None where it did not run.
        memory (int | None): Peak, in bytes; None where it was not measured.
        psnr (float | None): In dB, mean of the images that were given.
        ssim (float | None): Likewise.
        difference (float | None): Largest difference of the output to that of the reference, in [0, 1].
        ntire (Ntire | None): Where asked for, in the row of the first size.
        problem (str): Why it did not run, or only in part; '' for nothing.
    """

    network: str
    weights: str
    scale: float
    form: str
    backend: str
    precision: str
    height: int
    width: int
    parameters: int | None = None
    multi_adds: int | None = None
    activations: int | None = None
    timing: Timing | None = None
    memory: int | None = None
    psnr: float | None = None
    ssim: float | None = None
    difference: float | None = None
    ntire: Ntire | None = None
    problem: str = ""

    @property
    def label(self) -> str:
        """Back end, precision, and what is special about the form."""
        if self.form == "reference":
            return "reference"
        return f"{self.backend} {self.precision}"


def summarise(seconds: Sequence[float], reference: Sequence[float] | None) -> Timing:
    """Return the statistics of paired rounds: the n-th of ``seconds`` ran in the same round as the n-th reference.

    Raises:
        ValueError: If there are no rounds, or not as many of both.
    """
    own = (median(seconds), min(seconds), max(seconds))
    if reference is None:
        return Timing(*own, None, None, None)
    ratios = [base / taken for taken, base in zip(seconds, reference, strict=True)]
    return Timing(*own, median(ratios), min(ratios), max(ratios))
