"""Whether two outputs agree: how far one is from the other, and the check of a backend against its network."""

from __future__ import annotations

from math import inf, log10
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lightsr_basicsr.archs.network import SRNetwork
from lightsr_basicsr.runtimes.base import BackendError, Runtime, last_line
from lightsr_basicsr.runtimes.network import name_of, smooth_picture

# Mean difference from torch due to rounding, in parts of the range, or of the mean value where that is larger: networks
# need not be trained. Quadratic units amplify that of half precision without bound on such small images, so that only
# sizes are compared there.
TOLERANCES = {"fp32": 1e-4, "bf16": inf, "fp16": inf}
SIZES = ((32, 24), (41, 47))  # height, width; and those of the network itself
CALM = 0.2  # contrast of a second picture, for networks that overflow on the first one


class Deviation(NamedTuple):
    """How far an output is from the expected one; values are not finite where one of the two is not."""

    largest: float  # largest absolute difference, in parts of the range [0, 1]
    mean: float  # mean absolute difference, in parts of the range
    psnr: float | None  # PSNR of one against the other in dB; None where they are equal


def deviation(made: Tensor, expected: Tensor) -> Deviation | None:
    """Return how far ``made`` is from ``expected``, computed in their own type; None where their shapes differ.

    >>> found = deviation(torch.tensor([0.5, 0.25]), torch.tensor([0.5, 0.75]))
    >>> found.largest, found.mean, round(found.psnr, 2)
    (0.5, 0.25, 9.03)
    """
    if made.shape != expected.shape:
        return None
    error = (made - expected).abs()
    square = error.square().mean().item()
    return Deviation(error.max().item(), error.mean().item(), -10 * log10(square) if square else None)


def check_agreement(net: SRNetwork, runtime: Runtime) -> None:
    """Run a network, on the CPU in evaluation mode, and its form for a backend on several sizes, and compare.

    A traced graph may have kept the size it was traced with, which the backend does not notice.

    Raises:
        BackendError: If the backend fails, or the images differ.
    """
    for size in (*SIZES, *net.compared_sizes):
        height, width = (max(net.min_side, side) for side in size)
        picture = smooth_picture(net.num_in_ch, height, width)
        problem = _disagreement(runtime, picture, _image_of(net, picture))
        if problem:  # DDistill-SR overflows on some pictures, where rounding changes everything
            picture = 0.5 + CALM * (picture - 0.5)
            problem = _disagreement(runtime, picture, _image_of(net, picture))
        if problem:
            raise BackendError(
                f"{runtime.backend} does not reproduce {name_of(net)} at {height}x{width} pixels: {problem}."
            )


@torch.no_grad()
def _image_of(net: nn.Module, picture: Tensor) -> Tensor:
    return net(picture)


def _disagreement(runtime: Runtime, picture: Tensor, expected: Tensor) -> str:
    """Return how the image of ``runtime`` differs from the expected one, '' if it does not."""
    try:
        made = runtime(picture)
    except Exception as error:
        # Backends raise exceptions of any type.
        return last_line(error)
    found = deviation(made, expected)
    if found is None:
        return f"expected {tuple(expected.shape)}, got {tuple(made.shape)}"
    allowed = TOLERANCES[runtime.precision] * max(1.0, expected.abs().mean().item())
    return "" if found.mean <= allowed else f"images differ by {found.mean:.1e} in the mean"
