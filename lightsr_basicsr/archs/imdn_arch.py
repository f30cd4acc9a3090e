"""IMDN and its variants: super-resolution by information multi-distillation.

Paper: Hui et al., "Lightweight Image Super-Resolution with Information Multi-distillation Network", ACM MM 2019,
arXiv 1909.11856. Attribute names are the official checkpoints' key names; class names say what they hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from os import PathLike
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lightsr_basicsr.archs.crops import run_in_crops
from lightsr_basicsr.archs.fast import RunningFusion, run_steps
from lightsr_basicsr.archs.imdn_units import (
    NEGATIVE_SLOPE,
    LargeDistillationBlock,
    LightDistillationBlock,
    MultiDistillationBlock,
    ResidualSequence,
)
from lightsr_basicsr.archs.layers import conv3x3, read_channels, run_in_quarters
from lightsr_basicsr.archs.network import Shapes, SRNetwork, count_matches
from lightsr_basicsr.archs.pooling import sees_tiles
from lightsr_basicsr.archs.sites import Site
from lightsr_basicsr.registry import register

ACS_SHAVE = 32
ACS_MIN_SIDE = 60
PARTS = 3  # that a block refines


class MultiDistillationTrunk(SRNetwork):
    """Base of IMDN and IMDN_AS: blocks in a row, fusion of all their outputs, long skip, sub-pixel upsampling.

    ``fea_conv`` turns the image into (N, num_feat, h, w), ``shuffle`` is the factor of the pixel shuffle.
    """

    tile_passes, tile_overlap = 1, 24  # 72 dB and more, measured by docs/studies/tiles.py
    as_published = False  # whether the outputs of the blocks are fused at once

    def __init__(
        self,
        fea_conv: nn.Module,
        num_out_ch: int,
        num_feat: int,
        num_block: int,
        shuffle: int,
        channels: Sequence[int] | str | PathLike | None = None,
    ) -> None:
        super().__init__()
        if num_block < 1:
            raise ValueError(f"IMDN needs `num_block` to be at least 1, got {num_block}.")
        dense = [num_feat - num_feat // 4] * PARTS * num_block
        widths = dense if channels is None else read_channels(channels, dense, type(self).__name__)
        self.block_names = [f"IMDB{i}" for i in range(1, num_block + 1)]
        self.fea_conv = fea_conv
        for index, name in enumerate(self.block_names):
            refined = widths[PARTS * index : PARTS * (index + 1)]
            self.add_module(name, MultiDistillationBlock(num_feat, refined))
        self.c = nn.Sequential(nn.Conv2d(num_feat * num_block, num_feat, 1), nn.LeakyReLU(NEGATIVE_SLOPE))
        self.LR_conv = conv3x3(num_feat, num_feat)
        self.upsampler = nn.Sequential(conv3x3(num_feat, num_out_ch * shuffle**2), nn.PixelShuffle(shuffle))

    def prunable_sites(self) -> list[Site]:
        """Return for each block the three parts that it refines."""
        return [site for name in self.block_names for site in getattr(self, name).sites(name)]

    def forward(self, x: Tensor) -> Tensor:
        """Map RGB (N, num_in_ch, H, W) in [0, 1] to (N, num_out_ch, upscale * H, upscale * W), not clamped."""
        self.check_input(x)
        shallow = feat = self.fea_conv(x)
        fusion, *rest = self.c
        fused = RunningFusion(fusion, at_once=self.as_published)
        for name in self.block_names:
            feat = getattr(self, name)(feat)
            fused.add(feat)
        return self.upsampler(self.LR_conv(run_steps(rest, fused.finish())) + shallow)


@register(ARCH_REGISTRY)
class IMDN(MultiDistillationTrunk):
    """IMDN, non-blind bicubic super-resolution: 694 K (x2), 703 K (x3), 715 K (x4) parameters.

    Not the 893,936-parameter network of the AIM 2019 challenge that other projects call IMDN.

    Args:
        num_in_ch (int): Input channels. Default: 3.
        num_out_ch (int): Output channels. Default: 3.
        num_feat (int): Channels inside, a multiple of 4 and at least 16. Default: 64.
        num_block (int): Number of distillation blocks. Default: 6.
        upscale (int): 2, 3 or 4. Default: 4.
        channels (Sequence[int] | str | None): Widths of a pruned network, or a text file of them: for each block the
            channels that its first, second and third step refine. None is the dense network. Default: None.

    Raises:
        ValueError: If an argument is outside these values.
    """

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_block: int = 6,
        upscale: int = 4,
        channels: Sequence[int] | str | PathLike | None = None,
    ) -> None:
        if upscale not in (2, 3, 4):
            raise ValueError(f"IMDN supports `upscale` 2, 3 or 4, got {upscale}.")
        super().__init__(conv3x3(num_in_ch, num_feat), num_out_ch, num_feat, num_block, upscale, channels)
        self.num_in_ch, self.num_out_ch, self.upscale = num_in_ch, num_out_ch, upscale

    @classmethod
    def arguments_from(cls, shapes: Shapes) -> dict[str, Any] | None:
        """Return the arguments of a file with these shapes, None for another network's."""
        if "fea_conv.weight" not in shapes or "IMDB1.c1.weight" not in shapes:
            return None
        return _with_channels(shapes, _arguments(shapes, "fea_conv", "upsampler.0", r"IMDB(\d+)\."))


@register(ARCH_REGISTRY)
class IMDN_AS(MultiDistillationTrunk):  # noqa: N801
    """IMDN for any scale: the input already has the target size and is sharpened (x1, RealSR data).

    Images in evaluation mode may have any size: where a side is not a multiple of 4 the official adaptive cropping
    strategy runs (four corner crops); an image with a side below 60, and one in tiles, is padded instead, which has no
    official counterpart. Training patches must have sides that are multiples of 4.

    Args:
        num_in_ch (int): Input channels. Default: 3.
        num_out_ch (int): Output channels. Default: 3.
        num_feat (int): Channels inside, a multiple of 4 and at least 16. Default: 64.
        num_block (int): Number of distillation blocks. Default: 6.
        channels (Sequence[int] | str | None): Widths of a pruned network, or a text file of them: for each block the
            channels that its first, second and third step refine. None is the dense network. Default: None.

    Raises:
        ValueError: If an argument is outside these values.
    """

    compared_sizes = (64, 61), (71, 70)  # in quarters; smaller ones are padded

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_block: int = 6,
        channels: Sequence[int] | str | PathLike | None = None,
    ) -> None:
        fea_conv = nn.Sequential(
            conv3x3(num_in_ch, num_feat, stride=2), nn.LeakyReLU(NEGATIVE_SLOPE), conv3x3(num_feat, num_feat, stride=2)
        )
        super().__init__(fea_conv, num_out_ch, num_feat, num_block, 4, channels)
        self.num_in_ch, self.num_out_ch, self.upscale = num_in_ch, num_out_ch, 1
        self.tile_multiple, self.tile_overlap = 4, 96

    @classmethod
    def arguments_from(cls, shapes: Shapes) -> dict[str, Any] | None:
        """Return the arguments of a file with these shapes, None for another network's."""
        if "fea_conv.0.weight" not in shapes or "IMDB1.c1.weight" not in shapes:
            return None
        return _with_channels(shapes, _arguments(shapes, "fea_conv.0", "upsampler.0", r"IMDB(\d+)\.", shuffle=4))

    def forward(self, x: Tensor) -> Tensor:
        """Map RGB (N, 3, H, W) in [0, 1] to the same size, not clamped.

        Raises:
            ValueError: In training mode, if H or W is not a multiple of 4.
        """
        self.check_input(x)
        if torch.jit.is_tracing() and not self.training:
            return run_in_crops(super().forward, x, ACS_SHAVE, ACS_MIN_SIDE)
        height, width = x.shape[2:]
        if height % 4 == 0 and width % 4 == 0:
            return super().forward(x)
        if self.training:
            raise ValueError(f"IMDN_AS trains on sides that are multiples of 4, got {height}x{width}.")
        if min(height, width) < ACS_MIN_SIDE or sees_tiles(self):
            padded = F.pad(x, (0, -width % 4, 0, -height % 4), mode="replicate")
            return super().forward(padded)[..., :height, :width]
        # The official adaptive cropping strategy: four quarters, overlapping by 32 pixels before rounding.
        size = tuple(side - side % 4 for side in (height // 2 + ACS_SHAVE, width // 2 + ACS_SHAVE))
        return run_in_quarters(super().forward, x, size)


def _arguments(shapes: Shapes, first: str, last: str, block: str = "", shuffle: int | None = None) -> dict[str, Any]:
    """Return arguments from the shapes of the first and last convolution.

    Without ``shuffle``, the output is assumed to have as many channels as the input, or where that gives no whole
    factor three or one.
    """
    num_feat, num_in_ch = shapes[f"{first}.weight"][:2]
    shuffled = shapes[f"{last}.weight"][0]
    factors = ((num_out, isqrt(shuffled // num_out)) for num_out in (num_in_ch, 3, 1))
    upscale = shuffle or next((factor for num_out, factor in factors if num_out * factor**2 == shuffled), 1)
    return {
        "num_in_ch": num_in_ch,
        "num_out_ch": shuffled // upscale**2,
        "num_feat": num_feat,
        **({"num_block": count_matches(shapes, block)} if block else {}),
        **({} if shuffle else {"upscale": upscale}),
    }


def _with_channels(shapes: Shapes, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return ``arguments`` with the widths of a pruned network, where the shapes are of one."""
    blocks, distilled = range(1, arguments["num_block"] + 1), arguments["num_feat"] // 4
    steps = [(block, step) for block in blocks for step in range(1, PARTS + 1)]
    found = [shapes[f"IMDB{block}.c{step}.weight"][0] - distilled for block, step in steps]
    width = arguments["num_feat"] - distilled
    return arguments if found == [width] * len(found) else {**arguments, "channels": found}


@register(ARCH_REGISTRY)
class IMDN_RTC(SRNetwork):  # noqa: N801
    """IMDN for real-time communication: 20,190 parameters at x2, bicubic degradation.

    Args:
        num_in_ch (int): Input channels. Default: 3.
        num_out_ch (int): Output channels. Default: 3.
        num_feat (int): Channels inside, a multiple of 4. Default: 12.
        num_block (int): Number of distillation blocks. Default: 5.
        upscale (int): At least 1; the official file has 2. Default: 2.

    Raises:
        ValueError: If an argument is outside these values.
    """

    pools_globally = False

    def __init__(
        self, num_in_ch: int = 3, num_out_ch: int = 3, num_feat: int = 12, num_block: int = 5, upscale: int = 2
    ) -> None:
        super().__init__()
        if upscale < 1 or num_block < 1:
            raise ValueError(f"IMDN_RTC needs `upscale` and `num_block` of at least 1, got {upscale} and {num_block}.")
        blocks = [LightDistillationBlock(num_feat) for _ in range(num_block)]
        self.model = nn.Sequential(
            conv3x3(num_in_ch, num_feat),
            ResidualSequence(*blocks, nn.Conv2d(num_feat, num_feat, 1)),
            conv3x3(num_feat, num_out_ch * upscale**2),
            nn.PixelShuffle(upscale),
        )
        self.tile_overlap, self.tile_wide = 4 * num_block + 2, True  # all that a pixel depends on
        self.num_in_ch, self.num_out_ch, self.upscale = num_in_ch, num_out_ch, upscale

    @classmethod
    def arguments_from(cls, shapes: Shapes) -> dict[str, Any] | None:
        """Return the arguments of a file with these shapes, None for another network's."""
        if "model.1.sub.0.c1.weight" not in shapes:
            return None
        return _arguments(shapes, "model.0", "model.2", r"model\.1\.sub\.(\d+)\.c1\.")

    def forward(self, x: Tensor) -> Tensor:
        """Map RGB (N, num_in_ch, H, W) in [0, 1] to (N, num_out_ch, upscale * H, upscale * W), not clamped."""
        self.check_input(x)
        return self.model(x)


@register(ARCH_REGISTRY)
class IMDN_RTE(SRNetwork):  # noqa: N801
    """IMDN for real-time enhancement: x2 of noisy, downsampled video frames, 89,748 parameters.

    Args:
        num_in_ch (int): Input channels. Default: 3.
        num_out_ch (int): Output channels. Default: 3.
        num_feat (int): Channels inside, a multiple of 4. Default: 20.
        upscale (int): Only 2. Default: 2.
        img_range (float): Largest value inside; 255 for the official ``model_RTE.pth``. Default: 255.

    Raises:
        ValueError: If an argument is outside these values.
    """

    pools_globally = False

    def __init__(
        self, num_in_ch: int = 3, num_out_ch: int = 3, num_feat: int = 20, upscale: int = 2, img_range: float = 255.0
    ) -> None:
        super().__init__()
        if upscale != 2:
            raise ValueError(f"IMDN_RTE supports `upscale` 2 only, got {upscale}.")
        if img_range <= 0:
            raise ValueError(f"IMDN_RTE needs a positive `img_range` (255 for the official file), got {img_range}.")
        self.img_range = img_range
        self.tile_multiple, self.tile_overlap, self.tile_wide = 2, 76, True  # all that a pixel depends on
        self.fea_conv = nn.Sequential(
            conv3x3(num_in_ch, num_feat), nn.ReLU(), conv3x3(num_feat, num_feat, stride=2, bias=False)
        )
        self.block_names = [f"block{i}" for i in range(1, 7)]
        for name in self.block_names:
            self.add_module(name, LargeDistillationBlock(num_feat))
        self.LR_conv = nn.Conv2d(num_feat, num_feat, 1, bias=False)
        # Features are at half of the LR size, so the factor is upscale squared.
        self.upsampler = nn.Sequential(conv3x3(num_feat, num_out_ch * 4**2), nn.PixelShuffle(4))
        self.num_in_ch, self.num_out_ch, self.upscale = num_in_ch, num_out_ch, upscale

    @classmethod
    def arguments_from(cls, shapes: Shapes) -> dict[str, Any] | None:
        """Return the arguments of a file with these shapes, None for another network's."""
        if "block1.c7.weight" not in shapes or "fea_conv.0.weight" not in shapes:
            return None
        return _arguments(shapes, "fea_conv.0", "upsampler.0", shuffle=4)

    def forward_even(self, x: Tensor) -> Tensor:
        """Map (N, 3, H, W) in [0, img_range] to (N, 3, 4 * ceil(H / 2), 4 * ceil(W / 2)) in the same range."""
        x = feat = self.fea_conv(x)
        for name in self.block_names:
            feat = getattr(self, name)(feat)
        return self.upsampler(self.LR_conv(feat) + x)

    def forward(self, x: Tensor) -> Tensor:
        """Map RGB (N, 3, H, W) in [0, 1] to (N, 3, 2 * H, 2 * W), not clamped; odd sides are padded and cropped."""
        self.check_input(x)
        height, width = x.shape[2:]
        if height % 2 or width % 2:
            x = F.pad(x, (0, width % 2, 0, height % 2), mode="replicate")
        return self.forward_even(x * self.img_range)[..., : 2 * height, : 2 * width] / self.img_range
