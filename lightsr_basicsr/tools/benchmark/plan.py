"""How to measure: the settings of a benchmark, checked before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike

import torch

from lightsr_basicsr.runtimes.base import BACKENDS, PRECISIONS
from lightsr_basicsr.tools.benchmark.sources import BenchmarkError

LARGEST_SIDE = 16384


@dataclass(frozen=True)
class Plan:
    """How to measure."""

    backends: Sequence[str] = BACKENDS
    precisions: Sequence[str] = ("fp32",)  # of PRECISIONS; exported files have their own
    sizes: Sequence[tuple[int, int]] = ((180, 320),)  # LR heights and widths in pixels; for 1280x720 at x4
    rounds: int = 9  # measured rounds, at least 1
    threads: int | None = None  # CPU threads of every backend; None takes torch's number
    device: str = "cpu"  # or 'cuda'
    data: str | PathLike | None = None  # folder of LR images for PSNR and SSIM
    gt: str | PathLike | None = None  # folder of their HR images
    memory: bool = True  # whether to measure peak memory, each row in a new process
    ntire: bool = False  # whether to measure the columns of NTIRE's report tables
    trust: bool = False  # whether TorchScript files may run, which are programs

    @property
    def num_threads(self) -> int:
        """CPU threads."""
        return self.threads or torch.get_num_threads()

    def check(self) -> None:
        """Raise BenchmarkError unless this can be measured."""
        for name, given, known in (("backend", self.backends, BACKENDS), ("precision", self.precisions, PRECISIONS)):
            wrong = [value for value in given if value not in known]
            if wrong or not given:
                raise BenchmarkError(f"A {name} is one of {', '.join(known)}; got {', '.join(wrong) or 'none'}.")
        if not self.sizes or not all(1 <= side <= LARGEST_SIDE for size in self.sizes for side in size):
            raise BenchmarkError(f"LR sizes are heights and widths from 1 to {LARGEST_SIDE}, got {list(self.sizes)}.")
        if self.rounds < 1 or (self.threads is not None and self.threads < 1):
            raise BenchmarkError(f"Rounds and threads must be at least 1, got {self.rounds} and {self.threads}.")
        if self.device != "cpu" and not (self.device.startswith("cuda") and torch.cuda.is_available()):
            raise BenchmarkError(f"torch cannot use the device {self.device}: take cpu, or install torch for it.")
        if (self.data is None) != (self.gt is None):
            raise BenchmarkError("PSNR and SSIM need LR images and their HR images: give both --data and --gt.")
