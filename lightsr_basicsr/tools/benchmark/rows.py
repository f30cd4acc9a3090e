"""Results of a benchmark: one row per network, backend, precision and image size, and its statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

MILLION, BILLION, MIB = 1e6, 1e9, 2**20


@dataclass(frozen=True)
class Timing:
    """Seconds of one image, and speed-up over the reference: median, minimum and maximum of the rounds.

    Speed-ups are None without a reference.
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
        psnr (float | None): In dB, mean over the given images.
        time_ms (float): Mean over these images; without images the median at the first LR size.
        params (float): In millions.
        flops (float | None): In billions; a multiplication and an addition count as one.
        acts (float): In millions.
        memory (float | None): In MiB.
        convs (int): Convolutions run by one forward pass.
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
    """One network on one backend, in one precision, at one image size.

    Attributes:
        network (str): Title of the network.
        weights (str): File name, or ``'random, seed ..'``.
        scale (float): Output side over input side; 0 if the file could not be opened.
        form (str): ``'reference'``: eager, float32, as its authors' code computes; ``'deployed'``: from
            :func:`lightsr_basicsr.archs.reparam.deploy`; ``'exported'``: a file, run unchanged.
        backend (str): One of ``lightsr_basicsr.runtimes.base.BACKENDS``.
        precision (str): One of ``PRECISIONS`` there.
        height (int): Of the LR image, in pixels.
        width (int): Of the LR image, in pixels.
        parameters (int | None): Of this form; None for an exported file without metadata.
        multi_adds (int | None): For this image size.
        activations (int | None): For this image size.
        timing (Timing | None): None if it did not run.
        memory (int | None): Peak, in bytes; None if not measured.
        psnr (float | None): In dB, mean over the given images.
        ssim (float | None): Likewise.
        difference (float | None): Maximum absolute difference to the output of the reference, in [0, 1].
        ntire (Ntire | None): On request, for the first size.
        problem (str): Why something is missing; '' for nothing.
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
        """``'reference'``, or backend and precision."""
        return "reference" if self.form == "reference" else f"{self.backend} {self.precision}"


def summarise(seconds: Sequence[float], reference: Sequence[float] | None) -> Timing:
    """Return the statistics of paired rounds: the n-th of ``seconds`` ran in the same round as the n-th reference.

    Raises:
        ValueError: If there are no rounds, or not the same number of both.

    >>> timing = summarise([1.0, 2.0, 4.0], reference=[2.0, 4.0, 16.0])
    >>> timing.seconds, timing.speedup, timing.speedup_high
    (2.0, 2.0, 4.0)
    """
    own = (median(seconds), min(seconds), max(seconds))
    if reference is None:
        return Timing(*own, None, None, None)
    ratios = [base / taken for taken, base in zip(seconds, reference, strict=True)]
    return Timing(*own, median(ratios), min(ratios), max(ratios))
