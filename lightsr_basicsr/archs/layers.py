"""Blocks that at least two networks use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightsr_basicsr.archs.fast import may_overwrite

# Importable from here for existing code; its home is `archs.reparam`.
from lightsr_basicsr.archs.reparam import rep_conv as rep_conv
from lightsr_basicsr.errors import short_message

RGB_MEAN = (0.4488, 0.4371, 0.4040)  # of DIV2K, in [0, 1]
DUAL_SLOPE = 0.2
MIN_VARIANCE = 1e-12


def conv3x3(num_in: int, num_out: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    """Return a 3x3 convolution with zero padding 1."""
    return nn.Conv2d(num_in, num_out, 3, stride, 1, bias=bias)


def std_mean(x: Tensor, eps: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return standard deviation and mean of each channel of (N, C, H, W) over its feature map, (N, C, 1, 1).

    ``eps`` is added to the biased variance before the root.

    Example:
        >>> std, mean = std_mean(torch.tensor([[[[1.0, 5.0]], [[2.0, 8.0]]]]))
        >>> std[0, :, 0, 0], mean[0, :, 0, 0]
        (tensor([2., 3.]), tensor([3., 5.]))
    """
    mean = x.mean(dim=(2, 3), keepdim=True)
    # Two passes, which torch vectorises; its `var_mean` takes ten times as long on feature maps of this size.
    centered = x - mean
    squares = centered.square_() if may_overwrite() else centered.square()
    variance = squares.mean(dim=(2, 3), keepdim=True)
    # The official roots have no guard, so a constant channel has NaN gradients; the clamp moves its value by 1e-6.
    return torch.sqrt(variance.clamp_min(MIN_VARIANCE) + eps), mean


def std_as_published(x: Tensor) -> Tensor:
    """Return the biased standard deviation of each channel of (N, C, H, W), (N, C, 1, 1), by sums over the axes."""
    count = x.shape[2] * x.shape[3]
    mean = x.sum(3, keepdim=True).sum(2, keepdim=True) / count
    return ((x - mean).pow(2).sum(3, keepdim=True).sum(2, keepdim=True) / count).pow(0.5)


class MeanShift(nn.Conv2d):
    """1x1 convolution that starts as ``x + sign * img_range * RGB_MEAN`` for images in [0, img_range].

    Official files hold its weights; where these were trained they have become full matrices.
    """

    def __init__(self, sign: int, img_range: float = 1.0, trainable: bool = True) -> None:
        super().__init__(3, 3, 1)
        with torch.no_grad():
            # On the CPU, for arithmetic on the meta device, where files are identified, imports the compiler.
            self.weight.copy_(torch.eye(3, device="cpu").view(3, 3, 1, 1))
            self.bias.copy_(sign * img_range * torch.tensor(RGB_MEAN, device="cpu"))
        self.requires_grad_(trainable)


class Downscaler(nn.Module):
    """Halve the size ``num_step`` times with strided convolutions, then one more convolution; no bias.

    Used in the down blocks of DRN (paper: Closed-loop Matters, section 3) and all dual regression networks.
    """

    def __init__(self, num_in: int, num_hidden: int, num_out: int, num_step: int = 1) -> None:
        super().__init__()
        halvings = [
            nn.Sequential(conv3x3(width, num_hidden, stride=2, bias=False), nn.LeakyReLU(DUAL_SLOPE))
            for width in (num_in, *[num_hidden] * (num_step - 1))
        ]
        self.dual_module = nn.Sequential(*halvings, conv3x3(num_hidden, num_out, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, num_in, H, W) to (N, num_out, H / 2 ** num_step, W / 2 ** num_step), rounded up at each step."""
        return self.dual_module(x)


def run_in_quarters(run: Callable[[Tensor], Tensor], x: Tensor, size: tuple[int, int], scale: int = 1) -> Tensor:
    """Run a network on four overlapping quarters of (N, C, H, W), one by one; stitch (N, C, scale * H, scale * W).

    ``size`` is height and width of a quarter, at least half of the image's, rounded up; ``scale`` is the network's.
    """
    rows, columns = (_halves(side, part, scale) for side, part in zip(x.shape[2:], size, strict=True))
    bands = (
        torch.cat([run(x[..., row, column])[..., keep_h, keep_w] for column, keep_w in columns], dim=3)
        for row, keep_h in rows
    )
    return torch.cat(tuple(bands), dim=2)


def _halves(side: int, part: int, scale: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return for both ends of a side the ``part`` pixels that the network sees, and what is kept of its output."""
    half = side // 2
    return (slice(0, part), slice(0, half * scale)), (slice(side - part, side), slice((half - side) * scale, None))


def read_channels(channels: Sequence[int] | str | PathLike, dense: Sequence[int], name: str) -> list[int]:
    """Return the checked channel list of a pruned network, or that in a text file, separated by any white space.

    ``dense`` are the numbers of the unpruned network, the largest values; ``name`` is for the error text.

    Raises:
        ValueError: If there are too few or too many numbers, or one is not within 1 and the dense width.
    """
    source = "`channels`"
    if isinstance(channels, (str, PathLike)):
        source, channels = f"`channels` from {channels}", _words_in(channels, name)
    if isinstance(channels, Mapping) or not isinstance(channels, Iterable):
        got = short_message(repr(channels), 40)
        raise ValueError(f"{name} expects whole numbers in {source}, got {got}: give a list, or the name of a file.")
    numbers = [_whole(number, index, source, name) for index, number in enumerate(channels)]
    if len(numbers) != len(dense):
        raise ValueError(
            f"{name} expects {len(dense)} numbers in {source}, got {len(numbers)}: the list is of a network of another "
            "size, or cut; leave `channels` out for the dense network."
        )
    for index, (number, most) in enumerate(zip(numbers, dense, strict=True)):
        if not 1 <= number <= most:
            raise ValueError(
                f"{name}: number {index} of {source} must be within 1 and {most}, got {number}: correct it."
            )
    return numbers


def _words_in(path: str | PathLike, name: str) -> list[str]:
    """Return the words of a text file."""
    if not Path(path).is_file():
        raise ValueError(
            f"{name} finds no channel list at {path} (looked from {Path.cwd()}): give a text file, or the numbers "
            "themselves."
        )
    try:
        return Path(path).read_text(encoding="utf-8-sig").split()  # some editors begin a file with a mark
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} expects a text file with numbers at {path}, got other bytes: correct it.") from error


def _whole(number: Any, index: int, source: str, name: str) -> int:
    """Return a number of the list as int."""
    try:
        if not isinstance(number, bool) and (isinstance(number, str) or int(number) == number):
            return int(number)
    except (TypeError, ValueError, OverflowError):
        pass
    got = short_message(repr(number), 40)
    raise ValueError(f"{name} expects whole numbers in {source}, got {got} as number {index}: correct it.")
