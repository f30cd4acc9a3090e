"""Photographs of a project that takes a second."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from lightsr_basicsr import cli
from lightsr_basicsr.tools.new import trial

SMALLEST = {"num_feat": 4, "num_block": 1}


def picture(seed: int, height: int = 72, width: int = 80) -> np.ndarray:
    """Return a smooth random picture (H, W, 3), B G R."""
    small = np.random.default_rng(seed).integers(0, 256, (9, 10, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())


def photographs(folder: str, *names: str) -> None:
    """Write different photographs of these names."""
    for seed, name in enumerate(names):
        write(Path(folder, name), picture(seed))


def new(*arguments: str) -> int:
    """Run the command in this process; photographs are in ``photos`` unless said otherwise."""
    data = [] if "--data" in arguments else ["--data", "photos"]
    return cli.main(["new", *arguments, *data, "--quiet", "--device", "cpu"])


def paced(monkeypatch, step: float = 0.1, validation: float = 1.0) -> None:
    """Have trials measure these seconds at once."""

    def measure(options, device, tested):
        return trial.Trial(trial.Pace(step, validation), options["datasets"]["train"]["batch_size_per_gpu"])

    monkeypatch.setattr(trial, "measure", measure)
