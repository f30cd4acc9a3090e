"""KDSR and DRN computed step by step as their authors' code does; see :mod:`lightsr_basicsr.archs.published`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lightsr_basicsr.archs.drn_arch import ChannelAttention, ResidualAttentionBlock
from lightsr_basicsr.archs.kdsr_arch import (
    NEGATIVE_SLOPE,
    DegradationEncoder,
    DynamicDepthwiseConv,
    DynamicResidualBlock,
    DynamicSRNetwork,
    EncoderResidualBlock,
)


def dynamic_depthwise_conv(self: DynamicDepthwiseConv, x: Tensor, idr: Tensor) -> Tensor:
    """Filter each image of (N, C, H, W) with kernels made from its own vector, (N, C), all in one convolution."""
    images, channels, height, width = x.shape
    kernels = self.kernel(idr).reshape(images * channels, 1, 3, 3)
    out = F.conv2d(x.reshape(1, images * channels, height, width), kernels, padding=1, groups=images * channels)
    return out.reshape(images, channels, height, width)


def dynamic_residual_block(self: DynamicResidualBlock, x: Tensor, idr: Tensor) -> Tensor:
    """Refine (N, C, H, W) according to (N, C), every step in memory of its own."""
    return x + self.conv1(F.leaky_relu(self.da_conv1(x, idr), NEGATIVE_SLOPE))


def dynamic_network(self: DynamicSRNetwork, x: Tensor, idr: Tensor) -> Tensor:
    """Map RGB (N, 3, H, W) and vectors (N, C) to (N, 3, scale * H, scale * W), through every step of the tail."""
    shallow = self.head(self.sub_mean(x))
    blocks, last = self.body
    x = last(blocks(shallow, idr)) + shallow
    upsample, last = self.tail
    for layer in (*upsample, last, self.add_mean):
        x = layer(x)
    return x


def encoder_residual_block(self: EncoderResidualBlock, x: Tensor) -> Tensor:
    """Refine (N, C, H, W), every step in memory of its own."""
    first, activation, second = self.body
    return x + second(F.leaky_relu(first(x), activation.negative_slope))


def degradation_encoder(self: DegradationEncoder, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Map (N, num_in_ch, H, W) to the vector that steers G and the one distilled, every step in memory of its own."""
    for layer in self.E:
        x = F.leaky_relu(x, layer.negative_slope) if isinstance(layer, nn.LeakyReLU) else layer(x)
    distilled = self.mlp(x.flatten(1))
    return self.compress(distilled), [distilled]


def channel_attention(self: ChannelAttention, x: Tensor) -> Tensor:
    """Weigh the channels of (N, C, H, W), their means taken by pooling."""
    return x * self.conv_du(F.adaptive_avg_pool2d(x, 1))


def residual_attention_block(self: ResidualAttentionBlock, x: Tensor) -> Tensor:
    """Refine (N, C, H, W): weigh, then add."""
    return self.body(x) + x


STEPS: dict[type[nn.Module], Callable[..., Any]] = {
    DynamicDepthwiseConv: dynamic_depthwise_conv,
    DynamicResidualBlock: dynamic_residual_block,
    DynamicSRNetwork: dynamic_network,
    EncoderResidualBlock: encoder_residual_block,
    DegradationEncoder: degradation_encoder,
    ChannelAttention: channel_attention,
    ResidualAttentionBlock: residual_attention_block,
}
