"""The units of IMDN and its variants: distillation blocks and contrast-aware attention.

Paper: Hui et al., "Lightweight Image Super-Resolution with Information Multi-distillation Network", ACM MM 2019,
arXiv 1909.11856. Attribute names are the official checkpoints' key names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lightsr_basicsr.archs.layers import conv3x3, std_as_published
from lightsr_basicsr.archs.pooling import Pooling
from lightsr_basicsr.archs.sites import Site

NEGATIVE_SLOPE = 0.05
REDUCTION = 16  # channels per hidden unit of the attention


class ContrastAwareChannelAttention(Pooling):
    """CCA: weigh channels by the sum of their mean and standard deviation over the feature map (paper, section 3.3)."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        hidden = num_feat // REDUCTION
        self.conv_du = nn.Sequential(
            nn.Conv2d(num_feat, hidden, 1), nn.ReLU(inplace=True), nn.Conv2d(hidden, num_feat, 1), nn.Sigmoid()
        )

    def forward_as_published(self, x: Tensor) -> Tensor:
        """Weigh the channels of (N, C, H, W)."""
        mean = F.adaptive_avg_pool2d(x, 1)
        return x * self.conv_du(std_as_published(x) + mean)

    def forward(self, x: Tensor) -> Tensor:
        """Fast form of :meth:`forward_as_published`: both statistics at once."""
        std, mean = self.std_mean(x)
        return x * self.conv_du(std + mean)


class LightDistillationBlock(nn.Module):
    """IMDB without attention, the block of IMDN_RTC: three times keep a quarter of the channels and refine the rest.

    ``refined`` are the three widths of that rest in a pruned network; by default each is three quarters.
    """

    def __init__(self, num_feat: int, refined: Sequence[int] | None = None) -> None:
        super().__init__()
        if num_feat < 4 or num_feat % 4:
            raise ValueError(f"A distillation block needs `num_feat` to be a positive multiple of 4, got {num_feat}.")
        self.kept = kept = num_feat // 4
        self.refined = first, second, third = tuple(refined or [num_feat - kept] * 3)
        self.c1 = conv3x3(num_feat, kept + first)
        self.c2 = conv3x3(first, kept + second)
        self.c3 = conv3x3(second, kept + third)
        self.c4 = conv3x3(third, kept)
        self.c5 = nn.Conv2d(num_feat, num_feat, 1)

    def sites(self, name: str) -> Iterator[Site]:
        """Yield the three refined parts, each of which the next convolution alone reads; ``name`` is the block's."""
        for step, width in enumerate(self.refined, 1):
            yield Site(f"{name}.c{step}", f"{name}.c{step}", (f"{name}.c{step + 1}",), width, first=self.kept)

    def distill(self, x: Tensor) -> Tensor:
        """Return the four distilled parts of (N, C, H, W), concatenated to (N, C, H, W)."""
        kept = []
        for conv, width in zip((self.c1, self.c2, self.c3), self.refined, strict=True):
            part, x = F.leaky_relu(conv(x), NEGATIVE_SLOPE).split((self.kept, width), dim=1)
            kept.append(part)
        return torch.cat([*kept, self.c4(x)], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Refine (N, C, H, W)."""
        return self.c5(self.distill(x)) + x


class MultiDistillationBlock(LightDistillationBlock):
    """IMDB, the information multi-distillation block with contrast-aware attention (paper, figure 3)."""

    def __init__(self, num_feat: int, refined: Sequence[int] | None = None) -> None:
        super().__init__(num_feat, refined)
        if num_feat < REDUCTION:
            raise ValueError(f"IMDN needs `num_feat` to be at least 16 (attention reduces by 16), got {num_feat}.")
        self.cca = ContrastAwareChannelAttention(num_feat)

    def forward(self, x: Tensor) -> Tensor:
        """Refine (N, C, H, W)."""
        return self.c5(self.cca(self.distill(x))) + x


class LargeDistillationBlock(nn.Module):
    """Block of IMDN_RTE: five times keep a quarter of the width and refine a shrinking rest; no bias, ReLU."""

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
        return self.c7(self.distill(x)) + x

    def distill(self, x: Tensor) -> Tensor:
        """Return the six distilled parts of (N, C, H, W), concatenated to (N, 3 * C / 2, H, W)."""
        kept = []
        for conv in (self.c1, self.c2, self.c3, self.c4, self.c5):
            x = F.relu(conv(x))
            kept.append(x[:, : self.kept])
            x = x[:, self.kept :]
        return torch.cat([*kept, F.relu(self.c6(x))], dim=1)


class ResidualSequence(nn.Module):
    """``x + sub(x)``: the long skip of IMDN_RTC. Keys start with ``sub.``."""

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        self.sub = nn.Sequential(*modules)

    def forward(self, x: Tensor) -> Tensor:
        """Refine (N, C, H, W)."""
        return x + self.sub(x)
