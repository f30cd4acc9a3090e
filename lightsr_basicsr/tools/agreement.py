"""Whether a network made from another gives the same images, on a test image: noise makes some networks overflow."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightsr_basicsr.archs.network import SRNetwork
from lightsr_basicsr.data.degradations import imresize
from lightsr_basicsr.errors import UserError
from lightsr_basicsr.runtimes.agreement import Deviation, deviation
from lightsr_basicsr.tools.photographs import LRImage, to_tensor


class AgreementError(UserError):
    """Two networks give different images, or one of them cannot be run or gives no finite numbers."""


class Difference(NamedTuple):
    """Largest difference of two networks' images in [0, 1], and that in float32 where float64 had to decide."""

    difference: float
    in_float32: float | None = None


def check_tolerance(tolerance: float) -> None:
    """Raise AgreementError unless a tolerance is a finite number of at least 0."""
    if not (tolerance >= 0 and isfinite(tolerance)):
        raise AgreementError(f"The tolerance must be a finite number of at least 0, got {tolerance}.")


def measure(made: Sequence[Tensor], expected: Sequence[Tensor], what: str, where: str, advice: str = "") -> Deviation:
    """Return the largest deviation of images from the expected ones, which have the same shapes.

    Args:
        made (Sequence[Tensor]): Images (N, C, H, W) of the network in question.
        expected (Sequence[Tensor]): Images of the original network.
        what (str): The network in question, as the subject of error messages.
        where (str): The test image, for error messages.
        advice (str): Last sentence of the message about values that are not finite. Default: ``''``.

    Raises:
        AgreementError: If the shapes differ, or a deviation is not finite.
    """
    shapes, others = ([tuple(image.shape) for image in images] for images in (expected, made))
    if shapes != others:
        raise AgreementError(
            f"{what} gives images of another shape on {where}: expected {', '.join(map(str, shapes))}, got "
            f"{', '.join(map(str, others))}. Nothing was written."
        )
    found = [deviation(*pair) for pair in zip(made, expected, strict=True)]
    if not all(isfinite(each.largest) for each in found):
        raise AgreementError(f"{what} gives no finite numbers on {where}. Nothing was written. {advice}".rstrip())
    return max(found, key=lambda each: each.largest)


def run_on(net: SRNetwork, shown: LRImage, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Return the images (1, C, H, W) that a network makes of an LR image, in evaluation mode.

    Inputs beside the LR image, such as the HR image of a KDSR teacher, are resized from the same image.

    The network is in float32 and stays unchanged; ``dtype`` is the type to compute in, float32 or float64.

    Raises:
        AgreementError: If the network cannot be run on it.
    """
    height, width = shown.image.shape[:2]
    try:
        inputs = _inputs_like(net.example_input(height, width), shown.image, dtype)
        run = net if dtype == torch.float32 else deepcopy(net).to(dtype)
        with torch.no_grad():
            output = run.eval()(*inputs)
    except Exception as error:
        # Networks of other packages raise exceptions of any type.
        raise AgreementError(f"The network cannot be run on {shown.name}, {height}x{width} pixels: {error}") from error
    return [output] if isinstance(output, Tensor) else [image for image in output if isinstance(image, Tensor)]


def _inputs_like(example: Any, image: np.ndarray, dtype: torch.dtype) -> Any:
    """Return inputs with the structure and sizes of ``example``, resized from the image (H, W, 3)."""
    if isinstance(example, (list, tuple)):
        return type(example)(_inputs_like(part, image, dtype) for part in example)
    factor = example.shape[2] / image.shape[0]
    return to_tensor(image if factor == 1 else imresize(image, factor), example.shape[1], dtype)


def compare(source: SRNetwork, written: SRNetwork, shown: LRImage, tolerance: float) -> Difference:
    """Return the difference of two networks' images of an LR image, which is at most ``tolerance``.

    A larger difference in float32 may be rounding that the network amplifies: then float64 decides.

    Raises:
        AgreementError: If they differ by more in float64 too, or a network gives no finite numbers.
    """
    expected = run_on(source, shown)
    if not all(bool(torch.isfinite(image).all()) for image in expected):
        raise AgreementError(
            f"The network itself gives no finite numbers on {shown.name}: nothing was written. Try another image with "
            "-i; if it gives none either, the training diverged."
        )
    what = "The deployed network"
    single = measure(run_on(written, shown), expected, what, shown.name).largest
    if single <= tolerance:
        return Difference(single)
    found = f"{what}'s output differs by {single:.3g} of the range"
    allowed = f"on {shown.name}; {tolerance:g} is allowed (--tolerance). Nothing was written."
    try:
        expected, made = (run_on(net, shown, torch.float64) for net in (source, written))
    except AgreementError as error:
        raise AgreementError(f"{found} {allowed} Float64 could not decide. {error}") from error
    double = measure(made, expected, what, shown.name).largest
    if not double <= tolerance:
        raise AgreementError(f"{found} in float32, and by {double:.3g} in float64, {allowed}")
    return Difference(double, single)
