"""Base class of the networks: scale, input check, and how a checkpoint of theirs is recognised."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lightsr_basicsr.archs.sites import Site

Shapes = Mapping[str, tuple[int, ...]]
# 'image': the SR image alone, as BasicSR's SRModel expects.
# 'levels': a list of images, each twice the size of the one before; the SR image is the last.
# 'image_and_dual': the SR image and the output of a built-in dual network for it, of LR size.
# 'image_and_vector': the SR image and a list of vectors to distil.
# 'image_and_kernel': the SR image, the estimated blur kernel, and, if there is a built-in dual network, its output.
TrainingOutput = Literal["image", "levels", "image_and_dual", "image_and_vector", "image_and_kernel"]
IMAGE_CHANNELS = (1, 3, 4)


class SRNetwork(nn.Module):
    """Base of the networks: checkpoints are recognised and inputs checked in one way."""

    upscale: float  # output side over input side
    num_in_ch: int = 3
    num_out_ch: int = 3
    min_side: int = 1  # smallest height and width of an input image, in pixels
    pools_globally: bool = True  # whether statistics of the whole image matter, so that a tile gives other pixels
    # Of tiles that shall equal the whole image, see `upscale`:
    tile_passes: int = 2  # that collect its statistics before the last one
    tile_overlap: int = 32  # LR pixels that a tile sees around its core
    tile_multiple: int = 1  # of which the position of a tile must be a multiple
    tile_wide: bool = False  # whether tiles are as wide as the image, which gives its very bits
    super_resolves: bool = True  # whether evaluation mode maps one LR image to one SR image
    training_output: TrainingOutput = "image"  # of `forward` in training; that of networks without this attribute too
    # Heights and widths at which evaluation computes in another way than at most: exports are compared at them, too.
    compared_sizes: tuple[tuple[int, int], ...] = ()
    kernels_per_image: bool = False  # whether evaluation makes kernels from each image: exports are for one image

    @classmethod
    def arguments_from(cls, shapes: Shapes) -> dict[str, Any] | None:
        """Return the constructor arguments of a checkpoint with these shapes, None if it is of another network.

        The keys decide; the caller builds the network and checks that all shapes fit. A KeyError means that the
        checkpoint is of this network and lacks that tensor. A network without this method recognises no checkpoint.
        """
        return None

    def prunable_sites(self) -> list[Site]:
        """Return where channels can be removed, in the order of the constructor's ``channels``; [] without that."""
        return []

    def feature_maps(self, kd_nums: int) -> list[str]:
        """Return the feature maps to distil, as names of modules, ``:input`` behind those whose input it is.

        ``kd_nums`` is 0, 1 or 2, the number of kinds beyond the first as in the official code of DRN; [] if the network
        names none.
        """
        return []

    def check_input(self, x: Tensor) -> None:
        """Raise ValueError unless ``x`` is an image tensor (N, num_in_ch, H, W) of a large enough size."""
        name = type(self).__name__
        if x.ndim != 4 or x.shape[1] != self.num_in_ch:
            expected, hint = f"(N, {self.num_in_ch}, H, W)", shape_hint(x, self.num_in_ch)
            raise ValueError(f"{name} expects images {expected}, got {tuple(x.shape)}.{hint}")
        if not x.is_floating_point():
            raise ValueError(f"{name} expects floating-point images in [0, 1], got {x.dtype}: divide by 255 first.")
        if min(x.shape[2:]) < self.min_side:
            raise ValueError(
                f"{name} needs images of at least {self.min_side}x{self.min_side} pixels, got "
                f"{x.shape[2]}x{x.shape[3]}: pad the image, or use a larger crop."
            )

    def example_input(self, height: int, width: int, device: str = "cpu") -> tuple[Any, ...]:
        """Return positional arguments of ``forward`` for one LR image of this size: random, in [0, 1]."""
        return (torch.rand(1, self.num_in_ch, height, width, device=device),)


def shape_hint(images: Tensor, num_in_ch: int) -> str:
    """Return how to turn ``images`` into (N, num_in_ch, H, W), as a sentence after a space, '' if nothing is evident.

    >>> shape_hint(torch.zeros(20, 24, 3), 3)
    ' One image needs a batch dimension: x.permute(2, 0, 1)[None].'
    """
    channels_last = images.ndim in (3, 4) and images.shape[-1] == num_in_ch != images.shape[-3]
    if images.ndim == 3:
        return f" One image needs a batch dimension: {'x.permute(2, 0, 1)' if channels_last else 'x'}[None]."
    if channels_last:
        return " Channels come before rows and columns: x.permute(0, 3, 1, 2)."
    channels = images.shape[1] if images.ndim == 4 and num_in_ch == 3 else None
    hints = {1: " A gray image: x.expand(-1, 3, -1, -1).", 4: " Drop the alpha channel: x[:, :3]."}
    return hints.get(channels, "")


def first_channels(net: nn.Module) -> int:
    """Return the input channels of the first convolution of any network, 3 if no image has that many.

    >>> first_channels(nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 4, 3)))
    1
    """
    count = next((weight.shape[1] for weight in net.parameters() if weight.ndim == 4), 3)
    return count if count in IMAGE_CHANNELS else 3


def count_matches(shapes: Shapes, pattern: str) -> int:
    r"""Return how many different values the first group of ``pattern`` takes at the start of the keys.

    >>> count_matches({"IMDB1.c1.weight": (64,), "IMDB1.c2.weight": (64,), "IMDB2.c1.weight": (64,)}, r"IMDB(\d+)\.")
    2
    """
    return len({found[1] for key in shapes if (found := re.match(pattern, key))})


def count_in_layers(shapes: Shapes, pattern: str) -> list[int]:
    r"""Return for each layer, the first group of ``pattern``, how many different values its second group takes.

    >>> count_in_layers({"layers.0.blocks.0.w": (1,), "layers.0.blocks.1.w": (1,)}, r"layers\.(\d+)\.blocks\.(\d+)\.")
    [2]
    """
    found: dict[int, set[str]] = {}
    for match in filter(None, (re.match(pattern, key) for key in shapes)):
        found.setdefault(int(match[1]), set()).add(match[2])
    return [len(found.get(layer, ())) for layer in range(len(found))]


def check_table(shape: Sequence[int], pixels: int) -> None:
    """Raise ValueError unless a table of pairs of pixels of a window, such as its attention mask, is of that size."""
    if tuple(shape) != (pixels, pixels):
        raise ValueError(f"A table of windows of {pixels} pixels must be ({pixels}, {pixels}), got {tuple(shape)}.")
