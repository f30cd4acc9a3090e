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
    """Columns of the report tables of the NTIRE challenges on efficient super-resolution, for LR images of 256x256."""

    psnr: float | None  # in dB, mean over the given images
    time_ms: float  # mean over these images; without images the median at the first LR size
    params: float  # in millions
    flops: float | None  # in billions; a multiplication and an addition count as one
    acts: float  # in millions
    memory: float | None  # in MiB
    convs: int  # convolutions run by one forward pass


@dataclass(frozen=True)
class Row:
    """One network on one backend, in one precision, at one image size.

    ``form`` is ``'reference'``: eager, float32, as its authors' code computes; ``'deployed'``: from
    :func:`lightsr_basicsr.archs.reparam.deploy`; or ``'exported'``: a file, run unchanged.
    """

    network: str  # title
    weights: str  # file name, or 'random, seed ..'
    scale: float  # output side over input side; 0 if the file could not be opened
    form: str
    backend: str  # of BACKENDS
    precision: str  # of PRECISIONS
    height: int  # of the LR image, in pixels
    width: int
    parameters: int | None = None  # of this form; None for an exported file without metadata
    multi_adds: int | None = None  # for this image size
    activations: int | None = None  # for this image size
    timing: Timing | None = None  # None if it did not run
    memory: int | None = None  # peak, in bytes; None if not measured
    psnr: float | None = None  # in dB, mean over the given images
    ssim: float | None = None  # likewise
    difference: float | None = None  # maximum absolute difference to the output of the reference, in [0, 1]
    ntire: Ntire | None = None  # on request, for the first size
    problem: str = ""  # why something is missing

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
