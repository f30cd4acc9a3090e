"""The units of FDIWN's blocks: wide residual weighting, shuffle attention, combination coefficients.

Paper: Gao et al., "Feature Distillation Interaction Weighting Network for Lightweight Image Super-Resolution",
AAAI 2022, arXiv 2112.08655. Attribute names are the official checkpoints' key names.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lightsr_basicsr.archs.fast import add_product, add_product_in_place, multiply_in_place, run_steps, sigmoid_in_place
from lightsr_basicsr.archs.layers import conv3x3, std_as_published
from lightsr_basicsr.archs.pooling import Pooling
from lightsr_basicsr.archs.reparam import conv_from, plain_kernel

TRUNK = 24
HALF = TRUNK // 2
ATTENTION_GROUPS = 6
# Source of each output channel of a shuffle attention: two halves, interleaved.
MIXED = [half * HALF + channel for channel in range(HALF) for half in range(2)]


class WeightNormConv2d(nn.Module):
    """Convolution with weight normalisation, ``weight_g * weight_v / ||weight_v||`` for each output channel.

    Own parameters instead of torch's hook or parametrization: the hook breaks ``copy.deepcopy``, and with it EMA
    copies; the parametrization saves other keys than those of the official files.
    """

    def __init__(self, num_in: int, num_out: int, kernel_size: int) -> None:
        super().__init__()
        plain = nn.Conv2d(num_in, num_out, kernel_size)
        self.padding = kernel_size // 2
        self.bias = plain.bias
        weight = plain.weight.detach()
        # Without memory, as files are identified, arithmetic imports libraries that take longer than all the rest.
        norms = weight.new_empty(num_out, 1, 1, 1) if weight.is_meta else _filter_norms(weight)
        self.weight_g = nn.Parameter(norms)
        self.weight_v = nn.Parameter(weight.clone())

    @property
    def weight(self) -> Tensor:
        """The kernel, (num_out, num_in, K, K)."""
        return self.weight_v * (self.weight_g / _filter_norms(self.weight_v))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, num_in, H, W) to (N, num_out, H, W)."""
        return F.conv2d(x, self.weight, self.bias, padding=self.padding)

    def to_deploy(self) -> nn.Conv2d:
        """Return the equal ordinary convolution."""
        direction, length = self.weight_v.double(), self.weight_g.double()
        return conv_from(plain_kernel(direction * (length / _filter_norms(direction)), self.bias), self.weight_v)


def _filter_norms(weight: Tensor) -> Tensor:
    return torch.sqrt(weight.square().sum(dim=(1, 2, 3), keepdim=True))


class Scale(nn.Module):
    """A learned factor."""

    def __init__(self, value: float = 1.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([value]))

    def forward(self, x: Tensor) -> Tensor:
        """Multiply (N, C, H, W) by the factor."""
        return x * self.scale


class ShuffleAttention(Pooling):
    """Weigh half of each group's channels by their means, half by their normalised values, then mix the channels."""

    def __init__(self) -> None:
        super().__init__()
        shape = (1, TRUNK // ATTENTION_GROUPS // 2, 1, 1)
        self.cweight = nn.Parameter(torch.zeros(shape))
        self.cbias = nn.Parameter(torch.ones(shape))
        self.sweight = nn.Parameter(torch.zeros(shape))
        self.sbias = nn.Parameter(torch.ones(shape))
        self.gn = nn.GroupNorm(shape[1], shape[1])

    def forward_as_published(self, x: Tensor) -> Tensor:
        """Weigh and mix the channels of (N, 24, H, W)."""
        by_mean, by_value = rearrange(x, "n (g c) h w -> (n g) c h w", g=ATTENTION_GROUPS).chunk(2, dim=1)
        mean = F.adaptive_avg_pool2d(by_mean, 1)
        by_mean = by_mean * torch.sigmoid(self.cweight * mean + self.cbias)
        by_value = by_value * torch.sigmoid(self.sweight * self.gn(by_value) + self.sbias)
        weighed = torch.cat([by_mean, by_value], dim=1)
        return shuffle_channels(rearrange(weighed, "(n g) c h w -> n (g c) h w", g=ATTENTION_GROUPS), 2)

    def forward(self, x: Tensor) -> Tensor:
        """Fast form of :meth:`forward_as_published`: one gate for both kinds of channels."""
        return self.weigh_mixed(x[:, MIXED])

    def weigh_mixed(self, mixed: Tensor) -> Tensor:
        """Weigh the channels of (N, 24, H, W), which are mixed already.

        Both kinds of channels are multiplied by ``sigmoid(slope * x + shift)``; for those that are weighed by their
        means the slope is zero. Group normalisation of one channel each is the slope and the shift of the others.
        """
        # As vectors until they meet the feature map: with four axes, OpenVINO would compute them once per pixel.
        std, mean = (part.flatten(1) for part in self.std_mean(mixed, self.gn.eps))
        by_mean, by_value, mean_shift, value_shift = self._gate_parameters()
        slope = by_value / std
        shift = by_mean * mean + mean_shift + value_shift - slope * mean
        gate = sigmoid_in_place(add_product(shift[:, :, None, None], slope[:, :, None, None], mixed))
        return multiply_in_place(gate, mixed)

    def _gate_parameters(self) -> list[Tensor]:
        """Return the parameters of the two kinds of gates, (1, 24) each: factors, then summands."""
        norm_weight, norm_bias = (part.view_as(self.sweight) for part in (self.gn.weight, self.gn.bias))
        none = torch.zeros_like(self.cweight)
        pairs = (
            (self.cweight, none),
            (none, self.sweight * norm_weight),
            (self.cbias, none),
            (none, self.sweight * norm_bias + self.sbias),
        )
        return [torch.cat(pair * ATTENTION_GROUPS, dim=1)[:, MIXED].flatten(1) for pair in pairs]


def shuffle_channels(x: Tensor, groups: int) -> Tensor:
    """Interleave ``groups`` runs of channels of (N, C, H, W)."""
    return rearrange(x, "n (g c) h w -> n (c g) h w", g=groups)


class ResidualWeighting(nn.Module):
    """Base of the wide units: wide body and shuffle attention beside a skip, both scaled."""

    def __init__(self, num_in: int, expand: int, squeeze: int = HALF, conv: nn.Module | None = None) -> None:
        super().__init__()
        self.res_scale = Scale()
        self.x_scale = Scale()
        if conv is not None:
            self.conv = conv
        self.body = nn.Sequential(
            WeightNormConv2d(num_in, expand, 1),
            nn.ReLU(inplace=True),
            WeightNormConv2d(expand, squeeze, 1),
            WeightNormConv2d(squeeze, TRUNK, 3),
        )
        self.SAlayer = ShuffleAttention()

    def skip(self, x: Tensor) -> Tensor:
        """Map the input of the unit, (N, C, H, W), to (N, 24, H, W)."""
        return self.conv(x)

    def forward_as_published(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, 24, H, W)."""
        skip = self.skip(x)
        return self.res_scale(self.SAlayer(self.body(x))) + self.x_scale(skip)

    def forward(self, x: Tensor) -> Tensor:
        """Fast form of :meth:`forward_as_published`: the last convolution mixes the channels; sum in place."""
        skip = self.skip(x)
        *first, last = self.body
        mixed = F.conv2d(run_steps(first, x), last.weight[MIXED], last.bias[MIXED], padding=1)
        return add_product_in_place(self.x_scale(skip), self.SAlayer.weigh_mixed(mixed), self.res_scale.scale)


class IdenticalResidualWeighting(ResidualWeighting):
    """WIRW, wide identical residual weighting unit: 24 to 24 channels with an identity skip (paper, figure 4)."""

    def __init__(self, expand: int) -> None:
        super().__init__(TRUNK, expand)

    def skip(self, x: Tensor) -> Tensor:
        """Return ``x``."""
        return x


class ConvolutionalResidualWeighting(ResidualWeighting):
    """WCRW, wide convolutional residual weighting unit: 12 to 24 channels, convolution as skip (paper, figure 4)."""

    def __init__(self, expand: int) -> None:
        super().__init__(HALF, expand, conv=conv3x3(HALF, TRUNK))


class SelfCalibrationFusion(ResidualWeighting):
    """SCF, the wide half of the fusion: 48 to 24 channels with a convolution as skip."""

    def __init__(self, expand: int) -> None:
        super().__init__(2 * TRUNK, expand, TRUNK)
        self.conv = conv3x3(2 * TRUNK, TRUNK)  # last, as in the official files; the order matters to optimizer states


class CoefficientUnit(Pooling):
    """A coefficient in [0.5, 1) per channel, from the mean and the standard deviation of its feature map."""

    def __init__(self) -> None:
        super().__init__()
        self.upper_branch = nn.Sequential(nn.AdaptiveAvgPool2d(1), *self._squeeze())
        self.lower_branch = nn.Sequential(*self._squeeze())

    @staticmethod
    def _squeeze() -> tuple[nn.Module, ...]:
        # The second ReLU is why no coefficient is below 0.5.
        hidden = TRUNK // 8
        return nn.Conv2d(TRUNK, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, TRUNK, 1), nn.ReLU(), nn.Sigmoid()

    def forward_as_published(self, x: Tensor) -> Tensor:
        """Map (N, 24, H, W) to (N, 24, 1, 1)."""
        return (self.upper_branch(x) + self.lower_branch(std_as_published(x))) / 2

    def forward(self, x: Tensor) -> Tensor:
        """Fast form of :meth:`forward_as_published`; the pooling in the upper branch keeps the mean."""
        std, mean = self.std_mean(x)
        return (self.upper_branch(mean) + self.lower_branch(std)) / 2
