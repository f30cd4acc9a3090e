"""The parts of KDSR's networks: the SR network that a degradation vector steers, and the encoder that makes it.

Paper: Xia et al., "Knowledge Distillation based Degradation Estimation for Blind Super-Resolution", ICLR 2023,
arXiv 2211.16928. Attribute names are the official checkpoints' key names.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lightsr_basicsr.archs.fast import add_in_place, run_steps
from lightsr_basicsr.archs.layers import MeanShift, conv3x3
from lightsr_basicsr.archs.linear_tail import run_tail
from lightsr_basicsr.archs.reparam import fold_after, with_children

NEGATIVE_SLOPE = 0.1


class DynamicDepthwiseConv(nn.Module):
    """IDR-DDC: a depthwise 3x3 convolution whose kernels are made from the degradation vector (paper, section 3.3)."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.num_feat = n_feats
        self.kernel = nn.Sequential(
            nn.Linear(n_feats, n_feats, bias=False),
            nn.LeakyReLU(NEGATIVE_SLOPE),
            nn.Linear(n_feats, 9 * n_feats, bias=False),
        )

    def forward_as_published(self, x: Tensor, idr: Tensor) -> Tensor:
        """Filter each image of (N, C, H, W) with kernels made from its own vector, (N, C)."""
        images, channels, height, width = x.shape
        kernels = self.kernel(idr).reshape(images * channels, 1, 3, 3)
        # The batch moves into the channels, so that one grouped convolution serves all images.
        out = F.conv2d(x.reshape(1, images * channels, height, width), kernels, padding=1, groups=images * channels)
        return out.reshape(images, channels, height, width)

    def forward(self, x: Tensor, idr: Tensor) -> Tensor:
        """Fast form of :meth:`forward_as_published`: one image keeps its memory format."""
        if x.shape[0] != 1:
            return self.forward_as_published(x, idr)
        # In the graph of one image the number of groups is a constant.
        return F.conv2d(x, self.kernel(idr).reshape(-1, 1, 3, 3), padding=1, groups=self.num_feat)


class DynamicResidualBlock(nn.Module):
    """IDR-DCRB: dynamic depthwise convolution, activation, convolution, skip (paper, figure 2)."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.da_conv1 = DynamicDepthwiseConv(n_feats)
        self.conv1 = conv3x3(n_feats, n_feats)

    def forward_as_published(self, x: Tensor, idr: Tensor) -> Tensor:
        """Refine (N, C, H, W) according to (N, C)."""
        return x + self.conv1(F.leaky_relu(self.da_conv1(x, idr), NEGATIVE_SLOPE))

    def forward(self, x: Tensor, idr: Tensor) -> Tensor:
        """Fast form of :meth:`forward_as_published`, in place."""
        return add_in_place(self.conv1(F.leaky_relu(self.da_conv1(x, idr), NEGATIVE_SLOPE, inplace=True)), x)


class DynamicGroup(nn.Module):
    """Dynamic residual blocks in a row, all steered by the same vector."""

    def __init__(self, n_feats: int, n_blocks: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*(DynamicResidualBlock(n_feats) for _ in range(n_blocks)))

    def forward(self, x: Tensor, idr: Tensor) -> Tensor:
        """Refine (N, C, H, W) according to (N, C)."""
        for block in self.body:
            x = block(x, idr)
        return x


def upsampler(n_feats: int, scale: int) -> nn.Sequential:
    """Return convolutions and pixel shuffles from LR to HR size; ``scale`` is 3 or a power of two."""
    factors = [3] if scale == 3 else [2] * (scale.bit_length() - 1)
    return nn.Sequential(
        *(layer for factor in factors for layer in (conv3x3(n_feats, n_feats * factor**2), nn.PixelShuffle(factor)))
    )


class DynamicSRNetwork(nn.Module):
    """G, the SR network that a degradation vector steers; the same in teacher and student."""

    def __init__(self, n_feats: int, n_sr_blocks: int, scale: int) -> None:
        super().__init__()
        self.sub_mean = MeanShift(-1, trainable=False)
        self.add_mean = MeanShift(1, trainable=False)
        self.head = nn.Sequential(conv3x3(3, n_feats))
        self.body = nn.Sequential(DynamicGroup(n_feats, n_sr_blocks), conv3x3(n_feats, n_feats))
        self.tail = nn.Sequential(upsampler(n_feats, scale), conv3x3(n_feats, 3))

    def forward_as_published(self, x: Tensor, idr: Tensor) -> Tensor:
        """Map RGB (N, 3, H, W) in [0, 1] and vectors (N, C) to (N, 3, scale * H, scale * W), not clamped."""
        shallow = self.head(self.sub_mean(x))
        blocks, last = self.body
        upsample, to_image = self.tail
        return run_steps((*upsample, to_image, self.add_mean), last(blocks(shallow, idr)) + shallow)

    def forward(self, x: Tensor, idr: Tensor) -> Tensor:
        """Fast form of :meth:`forward_as_published`: sums in place, and the tail as one convolution where faster."""
        upsample, last = self.tail
        return self.add_mean(run_tail((*upsample, last), self.deep_features(x, idr)))

    def deep_features(self, x: Tensor, idr: Tensor) -> Tensor:
        """Map RGB (N, 3, H, W) and vectors (N, C) to features (N, C, H, W)."""
        shallow = self.head(self.sub_mean(x))
        blocks, last = self.body
        return add_in_place(last(blocks(shallow, idr)), shallow)

    def to_deploy(self) -> DynamicSRNetwork:
        """Return a network whose last convolution holds the mean shift of the output."""
        if isinstance(self.add_mean, nn.Identity):
            return self
        last = fold_after(self.tail[1], self.add_mean.weight, self.add_mean.bias)
        return with_children(self, {"tail": nn.Sequential(self.tail[0], last), "add_mean": nn.Identity()})


class EncoderResidualBlock(nn.Module):
    """``x + conv(lrelu(conv(x)))``."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv3x3(n_feats, n_feats), nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True), conv3x3(n_feats, n_feats)
        )

    def forward_as_published(self, x: Tensor) -> Tensor:
        """Refine (N, C, H, W)."""
        first, activation, second = self.body
        return x + second(F.leaky_relu(first(x), activation.negative_slope))

    def forward(self, x: Tensor) -> Tensor:
        """Fast form of :meth:`forward_as_published`, in place."""
        return add_in_place(self.body(x), x)


class DegradationEncoder(nn.Module):
    """KD-IDE: an image, for the teacher LR and HR, to its implicit degradation representation (paper, section 3.2)."""

    def __init__(self, num_in_ch: int, n_feats: int, n_encoder_res: int) -> None:
        super().__init__()
        widths = (n_feats, 2 * n_feats, 2 * n_feats, 4 * n_feats)
        layers: list[nn.Module] = [conv3x3(num_in_ch, n_feats), nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True)]
        layers += [EncoderResidualBlock(n_feats) for _ in range(n_encoder_res)]
        for narrow, wide in pairwise(widths):
            layers += [conv3x3(narrow, wide), nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True)]
        wide = widths[-1]
        self.E = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1))
        self.mlp = nn.Sequential(
            nn.Linear(wide, wide), nn.LeakyReLU(NEGATIVE_SLOPE), nn.Linear(wide, wide), nn.LeakyReLU(NEGATIVE_SLOPE)
        )
        self.compress = nn.Sequential(nn.Linear(wide, n_feats), nn.LeakyReLU(NEGATIVE_SLOPE))

    def forward_as_published(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Map (N, num_in_ch, H, W) to the vector (N, C) that steers G, and a list of the one distilled, (N, 4C)."""
        for layer in self.E:
            x = F.leaky_relu(x, layer.negative_slope) if isinstance(layer, nn.LeakyReLU) else layer(x)
        distilled = self.mlp(x.flatten(1))
        return self.compress(distilled), [distilled]

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Fast form of :meth:`forward_as_published`, in place."""
        distilled = self.mlp(self.E(x).flatten(1))
        return self.compress(distilled), [distilled]
