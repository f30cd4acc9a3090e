"""DDistill-SR: reparameterized dynamic distillation network.

Paper: Wang et al., "DDistill-SR: Reparameterized Dynamic Distillation Network for Lightweight Image Super-Resolution",
IEEE TMM 2022, doi 10.1109/TMM.2022.3219646, arXiv 2312.14551. Attribute names are the official checkpoints' key names.
"""

from __future__ import annotations

from math import isqrt
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lightsr_basicsr.archs.ddistill_sr_styles import LITE_STYLES, STYLES, build_unit, refiner
from lightsr_basicsr.archs.ddistill_sr_units import (
    DynamicResidual,
    Residual,
    UnitForm,
    block_lrelu,
    compute_residual,
    conv_per_image,
    identity,
)
from lightsr_basicsr.archs.fast import RunningFusion, concat_and_release, run_steps
from lightsr_basicsr.archs.layers import conv3x3
from lightsr_basicsr.archs.network import Shapes, SRNetwork
from lightsr_basicsr.archs.pooling import Grid, Pooling
from lightsr_basicsr.registry import register

NUM_BLOCK = 4
UPSAMPLERS = ("upsamplerx2", "upsamplerx3", "upsamplerx4")
# The style of a file by the first part of a unit's keys, training form and deployed form.
STYLE_PARTS = (
    ("DBB", "dbb_origin"),
    ("DBB", "dbb_reparam"),
    ("VGG", "rbr_dense"),
    ("VGG", "rbr_reparam"),
    ("ResDBB", "unit1"),
    ("SRD", "unit"),
    ("StaticDCD", "conv"),
)


def conv1x1(num_in: int, num_out: int) -> nn.Conv2d:
    """Return a 1x1 convolution."""
    return nn.Conv2d(num_in, num_out, 1)


GRID = Grid(stride=6, window=15)  # of convolution and pooling together


class EnhancedSpatialAttention(Pooling):
    """ESA: weigh every pixel by strided convolution and pooling of its surroundings.

    Sides must be at least 15, or nothing is left to pool.
    """

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        hidden = num_feat // 4
        self.conv1 = conv1x1(num_feat, hidden)
        self.conv_f = conv1x1(hidden, hidden)
        self.conv_max = conv3x3(hidden, hidden)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, stride=2)
        self.conv3 = conv3x3(hidden, hidden)
        self.conv3_ = conv3x3(hidden, hidden)
        self.conv4 = conv1x1(hidden, num_feat)

    def forward(self, x: Tensor) -> Tensor:
        """Weigh (N, C, H, W)."""
        narrow = self.conv1(x)
        small, starts = F.max_pool2d(self.conv2(narrow), 7, stride=3), None
        if self.whole is not None:
            small, starts = self.whole.completed(small, GRID, reach=3)
        small = self.conv3_(F.relu(self.conv3(F.relu(self.conv_max(small)))))
        return x * torch.sigmoid(self.conv4(self.enlarge(small, x.shape[2:], starts) + self.conv_f(narrow)))

    def enlarge(self, small: Tensor, size: torch.Size, starts: list[int] | None) -> Tensor:
        """Resize the pooled (N, C, h, w) to ``size``, that of the image; a tile's on the grid of the whole image."""
        if self.whole is not None:
            return self.whole.resized(small, size, GRID, starts)
        return F.interpolate(small, size, mode="bilinear", align_corners=False)


class DynamicDistillationBlock(nn.Module):
    """DFDB: three times keep half of the channels and refine the rest, fuse, attend (paper, figure 2).

    With ``residual`` the units' dynamic residuals are fused too.
    """

    def __init__(self, num_feat: int, residual: bool, lite: bool, style: str, form: UnitForm) -> None:
        super().__init__()
        kept = num_feat // 2
        units = [refiner(index, num_feat, lite, style, form) for index in range(3)]
        self.c1_d = conv1x1(num_feat, kept)
        self.c1_r = units[0]
        self.c2_d = conv1x1(num_feat, kept)
        self.c2_r = units[1]
        self.c3_d = conv1x1(num_feat, kept)
        self.c3_r = units[2]
        self.c4 = conv1x1(num_feat, kept)
        self.c5 = conv1x1(4 * kept, num_feat)
        self.PAconv = conv1x1(num_feat, num_feat) if residual else None
        self.conv1x1 = conv1x1(4 * num_feat, num_feat) if residual else None
        self.esa = EnhancedSpatialAttention(num_feat)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Map (N, C, H, W) to output and fused residual, both (N, C, H, W); without residuals the second is None."""
        fused, residuals = self.distill(x)
        if self.PAconv is None:
            return self.esa(fused), None
        gate = torch.sigmoid(self.PAconv(fused))
        residual = gate * self.fuse_residuals(residuals)
        return self.esa(fused + residual), residual

    def fuse_residuals(self, residuals: list[Residual]) -> Tensor:
        """Fuse the input and the residuals of the units by a 1x1 convolution to (N, C, H, W), and empty the list."""
        if can_fuse_linear(residuals):
            return fuse_linear(self.conv1x1, residuals)
        feature_maps = [compute_residual(residual) for residual in residuals]
        residuals.clear()
        return self.conv1x1(concat_and_release(feature_maps))

    def distill(self, x: Tensor) -> tuple[Tensor, list[Residual]]:
        """Return the fused parts of (N, C, H, W), of the same shape, and the input with the three units' residuals."""
        kept, residuals, rest = [], [x], x
        for distill, refine in ((self.c1_d, self.c1_r), (self.c2_d, self.c2_r), (self.c3_d, self.c3_r)):
            kept.append(block_lrelu(distill(rest)))
            rest, residual = refine(rest)
            residuals.append(residual)
        kept.append(self.c4(rest))
        return self.c5(concat_and_release(kept)), residuals


def can_fuse_linear(residuals: list[Residual]) -> bool:
    """Return whether :func:`fuse_linear` applies: no residual is computed yet, and the first sees the block's input."""
    x, *dynamic = residuals
    return all(isinstance(residual, DynamicResidual) for residual in dynamic) and dynamic[0].x is x


def fuse_linear(conv: nn.Conv2d, residuals: list[Residual]) -> Tensor:
    """Return the 1x1 convolution of the block's input and the residuals as one convolution of the residuals' inputs.

    The residuals are 1x1 convolutions themselves. The first sees the block's input, and shares its kernel. The list is
    emptied.
    """
    residuals.pop(0)
    own, *mixes = conv.weight.flatten(1).split(conv.out_channels, dim=1)
    kernels = [mix @ residual.weight for mix, residual in zip(mixes, residuals, strict=True)]
    kernels[0] = kernels[0] + own
    biases = [residual.bias @ mix.t() for mix, residual in zip(mixes, residuals, strict=True)]
    seen = [residual.x for residual in residuals]
    residuals.clear()
    weight = torch.cat(kernels, dim=2).reshape(-1, conv.out_channels, len(seen) * conv.out_channels, 1, 1)
    return conv_per_image(concat_and_release(seen), weight, sum(biases) + conv.bias)


@register(ARCH_REGISTRY)
class DDistill_SR(SRNetwork):  # noqa: N801
    """DDistill-SR: four distillation blocks; x4 has 675,780 parameters deployed and 1,173,004 in training.

    The dynamic branch is quadratic in its input and thirteen units are chained: on unnatural images (noise,
    checkerboards, strong noise on a natural image) the trained network overflows, officially too. Every unit pools over
    the whole image, so a tile sees other statistics.

    Args:
        num_feat (int): Channels inside, even and at least 16. Default: 56.
        upscale (int): 2, 3, 4 or 8. Default: 4.
        num_latent (int | None): Rank of the dynamic branches; None is the root of their input width, rounded down.
            Default: 16.
        style (str): Kind of the units: ``'DBB'``, ``'VGG'``, ``'ResDBB'``, ``'SRD'`` or ``'StaticDCD'``; official files
            are DBB. Default: ``'DBB'``.
        lite (bool): Whether the first two units of a block are separable, with depthwise kernels of 7 and 5. The size
            of the paper's small model is unknown, so this is not it. Default: False.
        deploy (bool): Whether to build the deployed form, in which every unit's branches are one convolution; official
            ``*_inference.pth`` files are of this form. Default: False.
        dynamic (bool): Whether the units have a dynamic branch. Default: True.
        residual (bool): Whether the dynamic residuals are fused, in the blocks and once more at the end. Default: True.
        clamp_train (bool): Whether the output is clamped to [0, 1] in training too, as officially. Then pixels outside,
            more than half of them at the start, give no gradient. Default: True.

    Raises:
        ValueError: If an argument is outside these values, or two do not go together.
    """

    min_side = 15
    tile_multiple = 6  # of the attention's strides
    tile_overlap = 30  # what lies farther away is collected
    as_published = False  # whether the outputs of the blocks are fused at once

    def __init__(
        self,
        num_feat: int = 56,
        upscale: int = 4,
        num_latent: int | None = 16,
        style: str = "DBB",
        lite: bool = False,
        deploy: bool = False,
        dynamic: bool = True,
        residual: bool = True,
        clamp_train: bool = True,
    ) -> None:
        super().__init__()
        _check_arguments(num_feat, upscale, num_latent, style, lite, dynamic, residual)
        form = UnitForm(deploy, dynamic, num_latent)
        self.upscale, self.clamp_train, self.kernels_per_image = upscale, clamp_train, dynamic
        self.fea_conv = conv3x3(3, num_feat)
        for block in range(1, NUM_BLOCK + 1):
            self.add_module(f"B{block}", DynamicDistillationBlock(num_feat, residual, lite, style, form))
        self.PAconv = conv1x1(num_feat, num_feat) if residual else None
        self.cres = self._fusion(num_feat) if residual else None
        self.c = self._fusion(num_feat)
        self.LR_conv = build_unit(style, num_feat, identity, form)
        # The official attribute carries the scale in its name, and x4 in that of any other.
        self.upsampler_name = f"upsamplerx{upscale if upscale in (2, 3) else 4}"
        self.add_module(
            self.upsampler_name,
            nn.Sequential(conv3x3(num_feat, 3 * upscale**2), nn.PixelShuffle(upscale), conv3x3(3, 3)),
        )

    @staticmethod
    def _fusion(num_feat: int) -> nn.Sequential:
        return nn.Sequential(conv1x1(NUM_BLOCK * num_feat, num_feat), nn.LeakyReLU(0.1))

    @classmethod
    def arguments_from(cls, shapes: Shapes) -> dict[str, Any] | None:
        """Return the arguments of a file with these shapes, None for another network's."""
        unit = "B1.c3_r.unit."  # the one unit of a block that is the same in the lite network
        parts = {key.removeprefix(unit).split(".")[0] for key in shapes if key.startswith(unit)}
        style = next((style for style, part in STYLE_PARTS if part in parts), None)
        if style is None or "B1.esa.conv_f.weight" not in shapes:
            return None
        num_feat = shapes["fea_conv.weight"][0]
        upsampler = next((name for name in UPSAMPLERS if f"{name}.0.weight" in shapes), UPSAMPLERS[-1])
        ranks = {shape[0] for key, shape in shapes.items() if key.endswith("dy_branch.q.weight")}
        inner = shapes.get("B1.c1_r.unit.unit2.dy_branch.q.weight", (0, num_feat))[1]
        return {
            "num_feat": num_feat,
            "upscale": isqrt(shapes[f"{upsampler}.0.weight"][0] // 3),
            # Several ranks: each is the root of its unit's input width.
            **({"num_latent": ranks.pop() if len(ranks) == 1 else None} if ranks else {"dynamic": False}),
            "style": style,
            "lite": "B1.c1_r.conv2.weight" in shapes or inner != num_feat,
            "deploy": any("_reparam." in key for key in shapes),
            "residual": "PAconv.weight" in shapes,
        }

    def forward(self, x: Tensor) -> Tensor:
        """Map RGB (N, 3, H, W) in [0, 1], sides of at least 15, to (N, 3, upscale * H, upscale * W), clamped."""
        self.check_input(x)
        out = self.forward_raw(x)
        return out if self.training and not self.clamp_train else out.clamp(0, 1)

    def forward_raw(self, x: Tensor) -> Tensor:
        """Map as :meth:`forward` does, without the checks and the final clamp."""
        shallow = feat = self.fea_conv(x)
        outputs = RunningFusion(self.c[0], self.as_published)
        residuals = None if self.cres is None else RunningFusion(self.cres[0], self.as_published)
        for block in range(1, NUM_BLOCK + 1):
            feat, residual = getattr(self, f"B{block}")(feat)
            outputs.add(feat)
            if residuals is not None:
                residuals.add(residual)
        fused = run_steps(self.c[1:], outputs.finish())
        if residuals is not None:
            fused = fused + torch.sigmoid(self.PAconv(fused)) * run_steps(self.cres[1:], residuals.finish())
        return getattr(self, self.upsampler_name)(self.LR_conv(fused)[0] + shallow)


def _check_arguments(
    num_feat: int, upscale: int, num_latent: int | None, style: str, lite: bool, dynamic: bool, residual: bool
) -> None:
    if upscale not in (2, 3, 4, 8):
        raise ValueError(f"DDistill_SR supports `upscale` 2, 3, 4 or 8, got {upscale}.")
    if num_feat < 16 or num_feat % 2:
        raise ValueError(f"DDistill_SR needs `num_feat` to be even and at least 16, got {num_feat}.")
    if num_latent is not None and num_latent < 1:
        raise ValueError(f"DDistill_SR needs `num_latent` of at least 1, or None, got {num_latent}.")
    if style not in STYLES:
        raise ValueError(f"DDistill_SR knows the styles {', '.join(STYLES)}, got {style!r}.")
    if residual and not dynamic:
        raise ValueError(
            "DDistill_SR takes its residuals from the dynamic branches: `residual: true` needs `dynamic: true`."
        )
    if lite and (style not in LITE_STYLES or not residual):
        raise ValueError(
            f"DDistill_SR's `lite: true` works with `residual: true` and the styles {', '.join(LITE_STYLES)}, got "
            f"`residual: {str(residual).lower()}` and {style}."
        )
