"""DCLS and DCLS-DRC: blind super-resolution that estimates the blur kernel and inverts it in the feature domain.

Papers: Luo et al., "Deep Constrained Least Squares for Blind Image Super-Resolution", CVPR 2022; Guo et al., "Towards
Lightweight Super-Resolution with Dual Regression Learning", arXiv 2207.07929 (pruned form, dual network). Attribute
names are the official checkpoints' key names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from math import isqrt
from os import PathLike
from typing import Any, NamedTuple

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from lightsr_basicsr.archs.dcls_units import (
    FILTER_SIZES,
    ConstrainedLeastSquares,
    DualPathGroup,
    KernelEstimator,
    ResidualBlock,
    filters_of,
    start_as_kaiming,
    upsampler,
)
from lightsr_basicsr.archs.layers import Downscaler, conv3x3, read_channels
from lightsr_basicsr.archs.network import Shapes, SRNetwork, count_matches
from lightsr_basicsr.archs.sites import Site
from lightsr_basicsr.registry import register

BLOCKS = 3  # residual blocks of the estimator, and of the restorer before its two paths
DUAL_WIDTH = 16
RESTORER_START = 0.1  # factor of the first weights of the restorer's residual blocks
CODE_LENGTH = 256


class Widths(NamedTuple):
    """Inner widths of a network, in the order of the channel files."""

    estimator: list[int]  # of residual blocks
    code: int
    restorer: list[int]  # of residual blocks
    groups: list[list[int]]  # of blocks of two paths

    @classmethod
    def split(cls, numbers: Sequence[int], num_block: int) -> Widths:
        """Return the parts of a channel list."""
        rest = iter(numbers)
        first, code, second = [*islice(rest, BLOCKS)], next(rest), [*islice(rest, BLOCKS)]
        blocks = [*rest]
        groups = [blocks[start : start + num_block] for start in range(0, len(blocks), num_block)]
        return cls(first, code, second, groups)


class Restorer(nn.Module):
    """The SR network: features, deblurred and plain; groups of two paths; upsampler.

    Args:
        num_in_ch (int): Channels of the images.
        num_feat (int): Channels of the deblurred path.
        num_plain (int): Channels of the plain path, and of the features that are deblurred.
        scale (int): 2, 3 or 4.
        widths (Widths): Inner widths.
    """

    def __init__(self, num_in_ch: int, num_feat: int, num_plain: int, scale: int, widths: Widths) -> None:
        super().__init__()
        self.conv_first = conv3x3(num_in_ch, num_feat)
        self.feature_block = nn.Sequential(*(ResidualBlock(num_feat, width) for width in widths.restorer))
        self.head1 = conv3x3(num_feat, num_plain)
        self.head2 = ConstrainedLeastSquares(num_feat, num_plain)
        self.body = nn.Sequential(*(DualPathGroup(num_feat, num_plain, inner) for inner in widths.groups))
        self.fusion = conv3x3(num_feat + num_plain, num_feat)
        self.upscale = upsampler(num_feat, num_in_ch, scale)
        for module in self.feature_block.modules():
            start_as_kaiming(module, RESTORER_START)

    def forward(self, lq: Tensor, kernel: Tensor) -> Tensor:
        """Map (N, num_in_ch, H, W) with kernels (N, 1, k, k) to (N, num_in_ch, scale * H, scale * W) in [0, 1]."""
        first = self.conv_first(lq)
        features = self.feature_block(first)
        deblurred, plain = self.head2(features, kernel), self.head1(features)
        for group in self.body:
            deblurred, plain = group(deblurred, plain)
        # Unlike in the paper's figure, the long skip starts before the residual blocks.
        x = self.fusion(torch.cat([plain, deblurred], dim=1)) + first
        return self.upscale(x).clamp(0, 1)


@register(ARCH_REGISTRY)
class DCLS(SRNetwork):
    """DCLS, dense or with a channel list (DCLS-DRC).

    Official forms: x2, x3 and x4 with ``kernel_size`` 21 (setting 1, isotropic blur; 13.5 M to 13.7 M parameters), x2
    with 11 and x4 with 31 (setting 2, anisotropic blur; 8.9 M and 19.1 M); DCLS-DRC is the last one with a channel list
    (14.2 M). Any image of at least 9x9 pixels: below, the regularising filter loses its meaning.

    Args:
        num_in_ch (int): Channels of input and output. Default: 3.
        num_feat (int): Channels inside, a positive multiple of 4 times ``reduction``. Default: 64.
        num_block (int): Blocks of two paths in a group. Default: 10.
        num_group (int): Groups. Default: 5.
        reduction (int): ``num_feat`` over the width of the plain path. Default: 4.
        upscale (int): 2, 3 or 4. Default: 4.
        code_length (int): Length of the code from which the kernel is made. Default: 256.
        kernel_size (int): Side of the kernel in LR pixels: 11, 21 or 31. Default: 21.
        channels (Sequence[int] | str | None): Inner widths of a pruned network, or a text file of them: three of the
            estimator's blocks, the length of its code, three of the restorer's blocks, and one for each block of two
            paths (57 officially). None is the dense network. Default: None.
        dual (bool): Whether to build the dual network, which maps an SR image back to LR size; it serves training, and
            its scale is 2 or 4. Default: False.

    Raises:
        ValueError: If an argument is outside these values.
    """

    min_side = 9
    training_output = "image_and_kernel"
    kernels_per_image = True

    def __init__(
        self,
        num_in_ch: int = 3,
        num_feat: int = 64,
        num_block: int = 10,
        num_group: int = 5,
        reduction: int = 4,
        upscale: int = 4,
        code_length: int = CODE_LENGTH,
        kernel_size: int = 21,
        channels: Sequence[int] | str | PathLike | None = None,
        dual: bool = False,
    ) -> None:
        super().__init__()
        _check_arguments(upscale, kernel_size, dual)
        _check_sizes(num_in_ch, num_feat, num_block, num_group, reduction, code_length)
        dense = dense_channels(num_feat, num_block, num_group, code_length)
        numbers = dense if channels is None else read_channels(channels, dense, "DCLS")
        widths = Widths.split(numbers, num_block)
        self.num_in_ch = self.num_out_ch = num_in_ch
        self.upscale, self.kernel_size = upscale, kernel_size
        self.dense_channels, self.channels = dense, numbers
        estimator = KernelEstimator(num_in_ch, num_feat, widths.code, kernel_size, widths.estimator)
        restorer = Restorer(num_in_ch, num_feat, num_feat // reduction, upscale, widths)
        parts = {"Restorer": restorer, "Estimator": estimator}
        # Official files of DCLS have the restorer first, those of DRC the estimator.
        for name in sorted(parts, reverse=not (dual or channels is not None)):
            self.add_module(name, parts[name])
        self.dual_model = Downscaler(num_in_ch, DUAL_WIDTH, num_in_ch, upscale.bit_length() - 1) if dual else None

    @classmethod
    def arguments_from(cls, shapes: Shapes) -> dict[str, Any] | None:
        """Return the arguments of a file with these shapes, None for another network's."""
        if "Estimator.dec.0.weight" not in shapes or not any(key.startswith("Restorer.") for key in shapes):
            return None
        num_feat, num_in_ch = shapes["Restorer.conv_first.weight"][:2]
        num_group = count_matches(shapes, r"Restorer\.body\.(\d+)\.")
        num_block = count_matches(shapes, r"Restorer\.body\.0\.body\.(\d+)\.")
        found = [shapes[f"{producer}.weight"][0] for producer, _ in site_names(num_block, num_group, 0)]
        rows, four = shapes["Restorer.upscale.0.weight"][0], "Restorer.upscale.4.weight" in shapes
        arguments = {
            "num_in_ch": num_in_ch,
            "num_feat": num_feat,
            "num_block": num_block,
            "num_group": num_group,
            "reduction": num_feat // shapes["Restorer.head1.weight"][0],
            "upscale": 4 if four else isqrt(rows // num_feat),
            "code_length": found[BLOCKS],
            "kernel_size": _kernel_size(shapes, num_in_ch),
        }
        if found != dense_channels(num_feat, num_block, num_group, found[BLOCKS]):
            # The length of the code before pruning leaves no trace; any from the present one on gives the same network.
            arguments |= {"code_length": max(CODE_LENGTH, found[BLOCKS]), "channels": found}
        return {**arguments, **({"dual": True} if count_matches(shapes, r"(dual_model)\.") else {})}

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Map RGB (N, num_in_ch, H, W) in [0, 1] to (N, num_in_ch, upscale * H, upscale * W), clamped to [0, 1].

        In training mode also return the kernels, (N, 1, kernel_size, kernel_size), and, if there is a dual network, its
        output for the clamped image, (N, num_in_ch, H, W). The image does not depend on the kernel in gradients.
        """
        sr, kernel = self.super_resolve(x)
        if not self.training:
            return sr
        return (sr, kernel) if self.dual_model is None else (sr, kernel, self.dual_model(sr))

    def super_resolve(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the SR images and the kernels that :meth:`forward` describes, in any mode."""
        self.check_input(x)
        kernel = self.Estimator(x)
        return self.Restorer(x, kernel.detach()), kernel

    def prunable_sites(self) -> list[Site]:
        """Return a site for each number of a channel list.

        That of the code is made by a 1x1 convolution, read by all filters, and judged by the kernel.
        """
        names = site_names(len(self.Restorer.body[0].body), len(self.Restorer.body), len(self.Estimator.dec))
        found = []
        for producer, consumers in names:
            width, of_code = self.get_submodule(producer).out_channels, len(consumers) > 1
            kind, feature = ("linear", "Estimator") if of_code else ("convolutions", "")
            found.append(Site(producer.rpartition(".")[0], producer, consumers, width, kind, feature=feature))
        return found


def site_names(num_block: int, num_group: int, num_filter: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield for each number of a channel list the name of the producing layer and those of the layers after it.

    The first of these is the one by whose weights DRC ranks the channels: for the code that of the last filter.
    """
    for block in range(BLOCKS):
        yield f"Estimator.body.0.{block}.conv1", (f"Estimator.body.0.{block}.conv2",)
    yield "Estimator.tail.4", tuple(f"Estimator.dec.{index}" for index in reversed(range(num_filter)))
    for block in range(BLOCKS):
        yield f"Restorer.feature_block.{block}.conv1", (f"Restorer.feature_block.{block}.conv2",)
    for group in range(num_group):
        for block in range(num_block):
            body = f"Restorer.body.{group}.body.{block}.body1"
            yield f"{body}.0", (f"{body}.2",)


def dense_channels(num_feat: int, num_block: int, num_group: int, code_length: int) -> list[int]:
    """Return the channel list of a network that is not pruned."""
    return [num_feat] * BLOCKS + [code_length] + [num_feat] * (BLOCKS + num_group * num_block)


def _check_arguments(upscale: int, kernel_size: int, dual: bool) -> None:
    if upscale not in (2, 3, 4):
        raise ValueError(f"DCLS supports `upscale` 2, 3 or 4, got {upscale}: choose one of them.")
    if kernel_size not in FILTER_SIZES or not isinstance(kernel_size, int):
        sizes = " or ".join(map(str, FILTER_SIZES))
        raise ValueError(
            f"DCLS supports `kernel_size` {sizes}, got {kernel_size!r}: take 21 for isotropic blur, for anisotropic "
            "blur 11 at x2 and 31 at x4."
        )
    if dual and upscale == 3:
        raise ValueError("DCLS has a dual network for `upscale` 2 and 4, because it halves, got 3: use `dual: false`.")


def _check_sizes(
    num_in_ch: int, num_feat: int, num_block: int, num_group: int, reduction: int, code_length: int
) -> None:
    if min(num_in_ch, num_block, num_group, reduction, code_length) < 1:
        raise ValueError(
            "DCLS needs `num_in_ch`, `num_block`, `num_group`, `reduction` and `code_length` of at least 1, got "
            f"{num_in_ch}, {num_block}, {num_group}, {reduction} and {code_length}: the official ones are 3, 10, 5, 4 "
            f"and {CODE_LENGTH}."
        )
    if num_feat < 1 or num_feat % (4 * reduction):
        raise ValueError(
            f"DCLS needs `num_feat` to be a multiple of 4 times `reduction`, {4 * reduction} here, because attention "
            f"narrows the plain path to a quarter, got {num_feat}: the official one is 64."
        )


def _kernel_size(shapes: Shapes, num_in_ch: int) -> int | None:
    """Return the side of the kernel that the layers of a file make, None for an unknown set of layers."""
    count = count_matches(shapes, r"Estimator\.dec\.(\d+)\.")
    found = [shapes[f"Estimator.dec.{index}.weight"][0] for index in range(count)]
    known = {side: [out * into * each**2 for out, into, each in filters_of(side, num_in_ch)] for side in FILTER_SIZES}
    return next((side for side, numbers in known.items() if numbers == found), None)
