"""Films through a network: what enlarges their frames, and what decides the result."""

from __future__ import annotations

import hashlib
from os import PathLike
from typing import Any, Protocol

import numpy as np
from torch import nn

from lightsr_basicsr.pictures.picture import Picture
from lightsr_basicsr.runtimes.base import Runtime
from lightsr_basicsr.upscale.resizing import scaled
from lightsr_basicsr.upscale.tiles import refinable
from lightsr_basicsr.weights.find import find_weights


class PictureEnlarger(Protocol):
    """The part of Upscaler that films need."""

    model: Any
    runtime: Runtime
    runners: Any
    outscale: float
    self_ensemble: bool

    def upscale_picture(self, picture: Picture) -> Picture:
        """Return a picture, enlarged."""


class FrameEnlarger:
    """Enlarges the frames of a film.

    Args:
        upscaler (PictureEnlarger): Enlarges pictures.
    """

    def __init__(self, upscaler: PictureEnlarger) -> None:
        self.upscaler = upscaler

    def size_of(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return width and height of an enlarged frame."""
        return scaled(size, self.upscaler.outscale)

    def enlarge(self, pixels: np.ndarray) -> np.ndarray:
        """Return (H, W, 3), uint8 or uint16, enlarged."""
        return self.upscaler.upscale_picture(Picture(pixels)).color

    def settings(self) -> dict[str, Any]:
        """Return what decides the result; threads and memory change rounding at most."""
        upscaler, runtime = self.upscaler, self.upscaler.runtime
        return {
            "weights": digest(upscaler.model),
            "runtime": [runtime.backend, runtime.precision, runtime.device],
            "scale": upscaler.outscale,
            "tiles": [upscaler.runners.whole, upscaler.runners.chosen],
            "ensemble": upscaler.self_ensemble,
        }


def digest(model: Any) -> str:
    """Return a checksum of a file or of a network's weights; of a program without either its description."""
    found = hashlib.sha256()
    if isinstance(model, (str, PathLike)):
        with find_weights(model).open("rb") as file:
            while block := file.read(2**20):
                found.update(block)
        return found.hexdigest()
    net = model if isinstance(model, nn.Module) else refinable(model)
    if net is None:
        return f"{model} {model.metadata}"
    for name, values in net.state_dict().items():
        found.update(f"{name} {tuple(values.shape)}".encode())
        found.update(np.ascontiguousarray(values.detach().cpu().float().numpy()).tobytes())
    return found.hexdigest()
