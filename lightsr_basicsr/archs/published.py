"""The networks computed step by step as their authors' code does: what speed is measured against.

The forward passes of this package leave out needless work; here is what they are equal to, up to rounding. Each entry
of ``STEPS`` is such a forward pass of one kind of block; :func:`published_form` gives a network that runs on them.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from types import MethodType
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lightsr_basicsr.archs.ddistill_sr_units import DynamicUnit, UnitOutput
from lightsr_basicsr.archs.drn_arch import ChannelAttention, ResidualAttentionBlock
from lightsr_basicsr.archs.fdiwn_units import ATTENTION_GROUPS, CoefficientUnit, ResidualWeighting, ShuffleAttention
from lightsr_basicsr.archs.imdn_units import ContrastAwareChannelAttention
from lightsr_basicsr.archs.kdsr_units import (
    NEGATIVE_SLOPE,
    DegradationEncoder,
    DynamicDepthwiseConv,
    DynamicResidualBlock,
    DynamicSRNetwork,
    EncoderResidualBlock,
)


def published_form(net: nn.Module) -> nn.Module:
    """Return a copy of ``net`` that computes the same step by step as the authors' code; other networks: a copy."""
    new = deepcopy(net)
    for module in new.modules():
        steps = next((STEPS[kind] for kind in type(module).__mro__ if kind in STEPS), None)
        if steps is not None:
            module.forward = MethodType(steps, module)
    return new


def _deviation(x: Tensor) -> Tensor:
    """Return the biased standard deviation of each channel, by sums, (N, C, 1, 1)."""
    count = x.shape[2] * x.shape[3]
    mean = x.sum(3, keepdim=True).sum(2, keepdim=True) / count
    return ((x - mean).pow(2).sum(3, keepdim=True).sum(2, keepdim=True) / count).pow(0.5)


def _contrast_attention(attention: ContrastAwareChannelAttention, x: Tensor) -> Tensor:
    """IMDN, specification of its CCA."""
    mean = nn.functional.adaptive_avg_pool2d(x, 1)
    return x * attention.conv_du(_deviation(x) + mean)


def _coefficients(unit: CoefficientUnit, x: Tensor) -> Tensor:
    """FDIWN, combination coefficients."""
    return (unit.upper_branch(x) + unit.lower_branch(_deviation(x))) / 2


def _shuffle_attention(attention: ShuffleAttention, x: Tensor) -> Tensor:
    """FDIWN, attention by groups of channels, each half means and half maps, then a shuffle of the channels."""
    by_mean, by_map = rearrange(x, "n (g c) h w -> (n g) c h w", g=ATTENTION_GROUPS).chunk(2, dim=1)
    mean = nn.functional.adaptive_avg_pool2d(by_mean, 1)
    by_mean = by_mean * torch.sigmoid(attention.cweight * mean + attention.cbias)
    by_map = by_map * torch.sigmoid(attention.sweight * attention.gn(by_map) + attention.sbias)
    weighed = torch.cat([by_mean, by_map], dim=1)
    return (
        rearrange(weighed, "(n g) c h w -> n (g c) h w", g=ATTENTION_GROUPS)
        .unflatten(1, (2, -1))
        .transpose(1, 2)
        .flatten(1, 2)
    )


def _residual_weighting(unit: ResidualWeighting, x: Tensor) -> Tensor:
    """FDIWN, wide units."""
    skip = unit.conv(x) if hasattr(unit, "conv") else x
    return unit.res_scale(unit.SAlayer(unit.body(x))) + unit.x_scale(skip)


def _dynamic_unit(unit: DynamicUnit, x: Tensor) -> UnitOutput:
    """DDistill-SR, static and dynamic branch side by side."""
    static = getattr(unit, unit.deployed_name)(x) if unit.deployed else unit.sum_branches(x)
    if unit.dy_branch is None:
        return unit.act(static), None
    scale, residual = unit.dy_branch(x)
    return unit.act(scale * static + residual), residual


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
    ContrastAwareChannelAttention: _contrast_attention,
    CoefficientUnit: _coefficients,
    ShuffleAttention: _shuffle_attention,
    ResidualWeighting: _residual_weighting,
    DynamicUnit: _dynamic_unit,
    DynamicDepthwiseConv: dynamic_depthwise_conv,
    DynamicResidualBlock: dynamic_residual_block,
    DynamicSRNetwork: dynamic_network,
    EncoderResidualBlock: encoder_residual_block,
    DegradationEncoder: degradation_encoder,
    ChannelAttention: channel_attention,
    ResidualAttentionBlock: residual_attention_block,
}
