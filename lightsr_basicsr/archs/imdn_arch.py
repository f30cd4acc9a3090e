"""IMDN and its variants: super-resolution by information multi-distillation.

Paper: Hui et al., "Lightweight Image Super-Resolution with Information Multi-distillation Network", ACM MM 2019,
arXiv 1909.11856. Attribute names are the official checkpoints' key names; what they hold is said by the classes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lightsr_basicsr.registry import register

NEGATIVE_SLOPE = 0.05
MIN_VARIANCE = 1e-12
ACS_SHAVE = 32
ACS_MIN_SIDE = 60


def conv3x3(num_in: int, num_out: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    """Return a 3x3 convolution with zero padding 1."""
    return nn.Conv2d(num_in, num_out, 3, stride, 1, bias=bias)


class ContrastAwareChannelAttention(nn.Module):
    """CCA: weigh channels by the sum of their mean and standard deviation over the whole map (paper, section 3.3).

    Args:
        num_feat (int): Channels. At least ``reduction``.
        reduction (int): Channels per hidden unit. Default: 16.
    """

    def __init__(self, num_feat: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = num_feat // reduction
        self.conv_du = nn.Sequential(
            nn.Conv2d(num_feat, hidden, 1), nn.ReLU(inplace=True), nn.Conv2d(hidden, num_feat, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Weigh the channels of (N, C, H, W)."""
        variance, mean = torch.var_mean(x, dim=(2, 3), keepdim=True, unbiased=False)
        # The official root has no guard, so a constant channel has NaN gradients; the clamp moves its value by 1e-6.
        contrast = torch.sqrt(variance.clamp_min(MIN_VARIANCE)) + mean
        return x * self.conv_du(contrast)


class LightDistillationBlock(nn.Module):
    """IMDB without attention, the block of IMDN_RTC: three times keep a quarter of the channels and refine the rest.

    Args:
        num_feat (int): Channels, a multiple of 4.
    """

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        if num_feat < 4 or num_feat % 4:
            raise ValueError(f"A distillation block needs `num_feat` to be a positive multiple of 4, got {num_feat}.")
        kept = num_feat // 4
        self.split = (kept, num_feat - kept)
        self.c1 = conv3x3(num_feat, num_feat)
        self.c2 = conv3x3(num_feat - kept, num_feat)
        self.c3 = conv3x3(num_feat - kept, num_feat)
        self.c4 = conv3x3(num_feat - kept, kept)
        self.c5 = nn.Conv2d(num_feat, num_feat, 1)

    def distill(self, x: Tensor) -> Tensor:
        """Return the four distilled parts of (N, C, H, W), concatenated to (N, C, H, W)."""
        kept = []
        for conv in (self.c1, self.c2, self.c3):
            part, x = F.leaky_relu(conv(x), NEGATIVE_SLOPE).split(self.split, dim=1)
            kept.append(part)
        return torch.cat([*kept, self.c4(x)], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Refine (N, C, H, W)."""
        return self.c5(self.distill(x)) + x


class MultiDistillationBlock(LightDistillationBlock):
    """IMDB, the information multi-distillation block with contrast-aware attention (paper, figure 3).

    Args:
        num_feat (int): Channels, a multiple of 4 and at least 16.
    """

    def __init__(self, num_feat: int) -> None:
        super().__init__(num_feat)
        if num_feat < 16:
            raise ValueError(f"IMDN needs `num_feat` to be at least 16 (attention reduces by 16), got {num_feat}.")
        self.cca = ContrastAwareChannelAttention(num_feat)

    def forward(self, x: Tensor) -> Tensor:
        """Refine (N, C, H, W)."""
        return self.c5(self.cca(self.distill(x))) + x


class MultiDistillationTrunk(nn.Module):
    """What IMDN and IMDN_AS share: blocks in a row, fusion of all their outputs, long skip, sub-pixel upsampling.

    Args:
        fea_conv (nn.Module): Turns the image into (N, num_feat, h, w).
        num_out_ch (int): Output channels.
        num_feat (int): Channels inside, a multiple of 4 and at least 16.
        num_block (int): Number of blocks; the official files have 6.
        shuffle (int): Factor of the pixel shuffle.
    """

    def __init__(self, fea_conv: nn.Module, num_out_ch: int, num_feat: int, num_block: int, shuffle: int) -> None:
        super().__init__()
        if num_block < 1:
            raise ValueError(f"IMDN needs `num_block` to be at least 1, got {num_block}.")
        self.block_names = [f"IMDB{i}" for i in range(1, num_block + 1)]
        self.fea_conv = fea_conv
        for name in self.block_names:
            self.add_module(name, MultiDistillationBlock(num_feat))
        self.c = nn.Sequential(nn.Conv2d(num_feat * num_block, num_feat, 1), nn.LeakyReLU(NEGATIVE_SLOPE))
        self.LR_conv = conv3x3(num_feat, num_feat)
        self.upsampler = nn.Sequential(conv3x3(num_feat, num_out_ch * shuffle**2), nn.PixelShuffle(shuffle))

    def forward(self, x: Tensor) -> Tensor:
        """Map RGB (N, num_in_ch, H, W) in [0, 1] to (N, num_out_ch, r * H, r * W), not clamped.

        r is ``shuffle`` over the stride of ``fea_conv``: ``upscale`` for IMDN, 1 for IMDN_AS.
        """
        shallow = feat = self.fea_conv(x)
        outputs = []
        for name in self.block_names:
            feat = getattr(self, name)(feat)
            outputs.append(feat)
        fused = self.c(torch.cat(outputs, dim=1))
        return self.upsampler(self.LR_conv(fused) + shallow)


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

    Raises:
        ValueError: If an argument is outside these values.
    """

    def __init__(
        self, num_in_ch: int = 3, num_out_ch: int = 3, num_feat: int = 64, num_block: int = 6, upscale: int = 4
    ) -> None:
        if upscale not in (2, 3, 4):
            raise ValueError(f"IMDN supports `upscale` 2, 3 or 4, got {upscale}.")
        super().__init__(conv3x3(num_in_ch, num_feat), num_out_ch, num_feat, num_block, shuffle=upscale)


@register(ARCH_REGISTRY)
class IMDN_AS(MultiDistillationTrunk):  # noqa: N801
    """IMDN for any scale: the input already has the target size and is sharpened (x1, RealSR data).

    Images in evaluation mode may have any size: where a side is not a multiple of 4 the official adaptive cropping
    strategy runs (four corner crops); an image with a side below 60 is padded instead, which has no official
    counterpart. Training patches must have sides that are multiples of 4.

    Args:
        num_in_ch (int): Input channels. Default: 3.
        num_out_ch (int): Output channels. Default: 3.
        num_feat (int): Channels inside, a multiple of 4 and at least 16. Default: 64.
        num_block (int): Number of distillation blocks. Default: 6.

    Raises:
        ValueError: If an argument is outside these values.
    """

    def __init__(self, num_in_ch: int = 3, num_out_ch: int = 3, num_feat: int = 64, num_block: int = 6) -> None:
        fea_conv = nn.Sequential(
            conv3x3(num_in_ch, num_feat, stride=2), nn.LeakyReLU(NEGATIVE_SLOPE), conv3x3(num_feat, num_feat, stride=2)
        )
        super().__init__(fea_conv, num_out_ch, num_feat, num_block, shuffle=4)

    def forward(self, x: Tensor) -> Tensor:
        """Map RGB (N, 3, H, W) in [0, 1] to the same size, not clamped.

        Raises:
            ValueError: In training mode, if H or W is not a multiple of 4.
        """
        height, width = x.shape[2:]
        if height % 4 == 0 and width % 4 == 0:
            return super().forward(x)
        if self.training:
            raise ValueError(f"IMDN_AS trains on sides that are multiples of 4, got {height}x{width}.")
        if min(height, width) < ACS_MIN_SIDE:
            padded = F.pad(x, (0, -width % 4, 0, -height % 4), mode="replicate")
            return super().forward(padded)[..., :height, :width]
        return adaptive_cropping(super().forward, x)


def adaptive_cropping(run: Callable[[Tensor], Tensor], x: Tensor, shave: int = ACS_SHAVE) -> Tensor:
    """Run a x1 network on four overlapping corner crops whose sides are multiples of 4, and stitch them.

    Args:
        run (callable): Maps (N, C, h, w) to the same shape, for h and w multiples of 4.
        x (Tensor): (N, C, H, W), both sides at least 60.
        shave (int): Overlap beyond the middle in pixels, before rounding. Default: 32 (the official code).

    Returns:
        Tensor: (N, C, H, W).
    """
    height, width = x.shape[2:]
    half_h, half_w = height // 2, width // 2
    size_h, size_w = (half + shave - (half + shave) % 4 for half in (half_h, half_w))
    rows = (slice(0, size_h), slice(height - size_h, height))
    columns = (slice(0, size_w), slice(width - size_w, width))
    crops = run(torch.cat([x[..., row, column] for row in rows for column in columns]))
    top_left, top_right, bottom_left, bottom_right = crops.chunk(4)
    right, bottom = size_w - (width - half_w), size_h - (height - half_h)
    top = torch.cat([top_left[..., :half_h, :half_w], top_right[..., :half_h, right:]], dim=3)
    low = torch.cat([bottom_left[..., bottom:, :half_w], bottom_right[..., bottom:, right:]], dim=3)
    return torch.cat([top, low], dim=2)


class ResidualSequence(nn.Module):
    """``x + sub(x)``: the long skip of IMDN_RTC. Keys start with ``sub.``."""

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        self.sub = nn.Sequential(*modules)

    def forward(self, x: Tensor) -> Tensor:
        """Refine (N, C, H, W)."""
        return x + self.sub(x)


@register(ARCH_REGISTRY)
class IMDN_RTC(nn.Module):  # noqa: N801
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

    def forward(self, x: Tensor) -> Tensor:
        """Map RGB (N, 3, H, W) in [0, 1] to (N, 3, upscale * H, upscale * W), not clamped."""
        return self.model(x)


class LargeDistillationBlock(nn.Module):
    """Block of IMDN_RTE: five times keep a quarter of the width and refine a shrinking rest; no bias, ReLU.

    Args:
        num_feat (int): Channels, a multiple of 4. The rest shrinks to ``num_feat // 4``.
    """

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        if num_feat < 4 or num_feat % 4:
            raise ValueError(f"IMDN_RTE needs `num_feat` to be a positive multiple of 4, got {num_feat}.")
        self.kept = kept = num_feat // 4
        self.c1 = conv3x3(num_feat, num_feat, bias=False)
        self.c2 = conv3x3(3 * kept, num_feat, bias=False)
        self.c3 = conv3x3(3 * kept, num_feat, bias=False)
        self.c4 = conv3x3(3 * kept, 3 * kept, bias=False)
        self.c5 = conv3x3(2 * kept, 2 * kept, bias=False)
        self.c6 = conv3x3(kept, kept, bias=False)
        self.c7 = nn.Conv2d(6 * kept, num_feat, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Refine (N, C, H, W)."""
        kept, rest = [], x
        for conv in (self.c1, self.c2, self.c3, self.c4, self.c5):
            out = F.relu(conv(rest))
            kept.append(out[:, : self.kept])
            rest = out[:, self.kept :]
        return self.c7(torch.cat([*kept, F.relu(self.c6(rest))], dim=1)) + x


@register(ARCH_REGISTRY)
class IMDN_RTE(nn.Module):  # noqa: N801
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

    def __init__(
        self, num_in_ch: int = 3, num_out_ch: int = 3, num_feat: int = 20, upscale: int = 2, img_range: float = 255.0
    ) -> None:
        super().__init__()
        if upscale != 2:
            raise ValueError(f"IMDN_RTE supports `upscale` 2 only, got {upscale}.")
        if img_range <= 0:
            raise ValueError(f"IMDN_RTE needs a positive `img_range` (255 for the official file), got {img_range}.")
        self.img_range = img_range
        self.fea_conv = nn.Sequential(
            conv3x3(num_in_ch, num_feat), nn.ReLU(), conv3x3(num_feat, num_feat, stride=2, bias=False)
        )
        self.block_names = [f"block{i}" for i in range(1, 7)]
        for name in self.block_names:
            self.add_module(name, LargeDistillationBlock(num_feat))
        self.LR_conv = nn.Conv2d(num_feat, num_feat, 1, bias=False)
        # Features are at half of the LR size, so the factor is upscale squared.
        self.upsampler = nn.Sequential(conv3x3(num_feat, num_out_ch * 4**2), nn.PixelShuffle(4))

    def forward_even(self, x: Tensor) -> Tensor:
        """Map (N, 3, H, W) in [0, img_range] to (N, 3, 4 * ceil(H / 2), 4 * ceil(W / 2)) in the same range."""
        shallow = feat = self.fea_conv(x)
        for name in self.block_names:
            feat = getattr(self, name)(feat)
        return self.upsampler(self.LR_conv(feat) + shallow)

    def forward(self, x: Tensor) -> Tensor:
        """Map RGB (N, 3, H, W) in [0, 1] to (N, 3, 2 * H, 2 * W), not clamped; odd sides are padded and cropped."""
        height, width = x.shape[2:]
        even = F.pad(x, (0, width % 2, 0, height % 2), mode="replicate")
        return self.forward_even(even * self.img_range)[..., : 2 * height, : 2 * width] / self.img_range
