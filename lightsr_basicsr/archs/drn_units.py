"""The blocks of DRN's up path.

Paper: Guo et al., "Closed-loop Matters: Dual Regression Networks for Single Image Super-Resolution", CVPR 2020,
arXiv 2003.07018. Attribute names are the official checkpoints' key names.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lightsr_basicsr.archs.fast import add_product, run_steps
from lightsr_basicsr.archs.layers import conv3x3
from lightsr_basicsr.archs.pooling import Pooling

REDUCTION = 16


class ChannelAttention(Pooling):
    """Weigh channels by their means over the whole feature map; hidden width is a sixteenth, rounded down."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        hidden = num_feat // REDUCTION
        self.conv_du = nn.Sequential(
            nn.Conv2d(num_feat, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, num_feat, 1), nn.Sigmoid()
        )

    def forward_as_published(self, x: Tensor) -> Tensor:
        """Weigh the channels of (N, C, H, W)."""
        return x * self.conv_du(F.adaptive_avg_pool2d(x, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Fast form of :meth:`forward_as_published`: the mean without pooling."""
        return x * self.weights(x)

    def weights(self, x: Tensor) -> Tensor:
        """Return the factors, (N, C, 1, 1), of the channels of (N, C, H, W)."""
        return self.conv_du(self.mean(x))


class ResidualAttentionBlock(nn.Module):
    """RCAB: convolution, ReLU, convolution, channel attention, skip; in pruned networks narrower inside."""

    def __init__(self, num_feat: int, num_inner: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv3x3(num_feat, num_inner),
            nn.ReLU(inplace=True),
            conv3x3(num_inner, num_feat),
            ChannelAttention(num_feat),
        )

    def forward_as_published(self, x: Tensor) -> Tensor:
        """Refine (N, C, H, W)."""
        return self.body(x) + x

    def forward(self, x: Tensor) -> Tensor:
        """Fast form of :meth:`forward_as_published`: weigh and add in one pass."""
        *convs, attention = self.body
        out = run_steps(convs, x)
        return add_product(x, out, attention.weights(out))


def up_block(num_feat: int, num_out: int, inner: Sequence[int], num_shuffled: int) -> nn.Sequential:
    """Return one level of the up path: residual blocks of these inner widths, pixel shuffle by 2, 1x1 convolution."""
    return nn.Sequential(
        *(ResidualAttentionBlock(num_feat, width) for width in inner),
        nn.Sequential(conv3x3(num_feat, 4 * num_shuffled), nn.PixelShuffle(2)),
        nn.Conv2d(num_shuffled, num_out, 1),
    )
