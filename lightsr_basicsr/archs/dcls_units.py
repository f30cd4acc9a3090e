"""The parts of DCLS: kernel estimator, constrained-least-squares layer, and blocks of two paths.

Paper: Luo et al., "Deep Constrained Least Squares for Blind Image Super-Resolution", CVPR 2022. Attribute names are the
official checkpoints' key names.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lightsr_basicsr.archs.layers import conv3x3
from lightsr_basicsr.archs.pooling import Place, Pooling, Statistic
from lightsr_basicsr.archs.spectra import divide_spectra, inside_thirds, pool_in_thirds, without_zeros

NEGATIVE_SLOPE = 0.1
# Sides of the filters whose composition is the kernel, by the side of the kernel.
FILTER_SIZES = {11: (7, 3, 3, 1), 21: (11, 7, 5, 1), 31: (11, 9, 7, 5, 3)}
FILTER_WIDTH = 16  # channels between the filters
ATTENTION_REDUCTION = 4  # of the blocks; the reduction of the network is another one


def activation() -> nn.LeakyReLU:
    """Return the activation of the whole network."""
    return nn.LeakyReLU(NEGATIVE_SLOPE)


def in_float(x: Tensor) -> Tensor:
    """Return ``x`` in float32, or in float64 if it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def without_autocast(x: Tensor) -> AbstractContextManager[None]:
    """Keep full precision: transforms in half precision exist for few sizes, and quotients leave its range."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


class ResidualBlock(nn.Module):
    """Convolution, activation, convolution, skip; in pruned networks narrower inside."""

    def __init__(self, num_feat: int, num_inner: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv3x3(num_feat, num_inner), conv3x3(num_inner, num_feat)
        self.act = activation()

    def forward(self, x: Tensor) -> Tensor:
        """Refine (N, C, H, W)."""
        return x + self.conv2(self.act(self.conv1(x)))


class ChannelAttention(Pooling):
    """Weigh channels by their means over the whole feature map; hidden width is a quarter, rounded down."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        hidden = num_feat // ATTENTION_REDUCTION
        self.conv_du = nn.Sequential(
            nn.Conv2d(num_feat, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, num_feat, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Weigh the channels of (N, C, H, W)."""
        return x * self.conv_du(self.mean(x))


class KernelEstimator(nn.Module):
    """Estimate the blur kernel of an LR image as the composition of linear filters (paper, section 3.3).

    Args:
        num_in_ch (int): Channels of the image.
        num_feat (int): Channels inside.
        code_length (int): Length of the code from which all filters are made.
        kernel_size (int): A key of ``FILTER_SIZES``.
        inner (Sequence[int]): Inner widths of the residual blocks.
    """

    def __init__(self, num_in_ch: int, num_feat: int, code_length: int, kernel_size: int, inner: Sequence[int]) -> None:
        super().__init__()
        self.kernel_size, self.num_in_ch = kernel_size, num_in_ch
        self.head = nn.Sequential(nn.Conv2d(num_in_ch, num_feat, 7, padding=3))
        self.body = nn.Sequential(nn.Sequential(*(ResidualBlock(num_feat, width) for width in inner)))
        self.tail = nn.Sequential(
            nn.Conv2d(num_feat, num_feat, 3),
            activation(),
            nn.Conv2d(num_feat, num_feat, 3),
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(num_feat, code_length, 1),
            nn.Flatten(),
        )
        numbers = [out * into * side**2 for out, into, side in filters_of(kernel_size, num_in_ch)]
        self.dec = nn.ModuleList(nn.Linear(code_length, count) for count in numbers)
        for module in self.modules():
            start_as_kaiming(module)

    def forward(self, lq: Tensor) -> Tensor:
        """Estimate from (N, num_in_ch, H, W) kernels (N, 1, k, k), each of sum 1; single values may be negative."""
        x = self.head(lq)
        code = self.tail(self.body(x) + x)
        numbers = [in_float(layer(code)) for layer in self.dec]
        with without_autocast(code):
            return self.compose(numbers)

    def compose(self, numbers: Sequence[Tensor]) -> Tensor:
        """Return the kernels (N, 1, k, k) of filters whose weights are rows (N, ...) of ``numbers``."""
        images, side = numbers[0].shape[0], self.kernel_size
        # The batch is in the channels, so that one grouped convolution serves all images.
        x = numbers[0].new_ones(1, images * self.num_in_ch, 1, 1)
        for (out, into, size), each in zip(filters_of(side, self.num_in_ch), numbers, strict=True):
            padding = side - 1 if x.shape[-1] == 1 else 0
            x = F.conv2d(x, each.reshape(images * out, into, size, size), padding=padding, groups=images)
        kernel = x.reshape(images, self.num_in_ch, side, side).flip((2, 3)).mean(dim=1, keepdim=True)
        return kernel / without_zeros(kernel.sum(dim=(2, 3), keepdim=True))


def filters_of(kernel_size: int, num_in_ch: int) -> list[tuple[int, int, int]]:
    """Return output channels, input channels and side of each filter of a kernel.

    >>> filters_of(11, 3)
    [(16, 3, 7), (16, 16, 3), (16, 16, 3), (3, 16, 1)]
    """
    sides = FILTER_SIZES[kernel_size]
    widths = [num_in_ch, *[FILTER_WIDTH] * (len(sides) - 1), num_in_ch]
    return list(zip(widths[1:], widths, sides, strict=False))


def start_as_kaiming(module: nn.Module, factor: float = 1.0) -> None:
    """Initialise a convolution or linear layer as officially: normal numbers for ReLU times ``factor``, biases 0."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.kaiming_normal_(module.weight)
        nn.init.zeros_(module.bias)
        with torch.no_grad():
            module.weight *= factor


def _add_up_thirds(x: Tensor, places: tuple[Place, Place]) -> Tensor:
    """Return the sums of a part (N, C, h, w) of a map over the map's thirds, and their pixels, (2, N, C, 3, 3)."""
    down, across = (
        inside_thirds(place.whole, x.device)[:, place.start : place.start + size].double()
        for place, size in zip(places, x.shape[2:], strict=True)
    )
    x = x.double()
    return torch.stack([down @ part @ across.transpose(0, 1) for part in (x, torch.ones_like(x))])


THIRDS = Statistic(pool_in_thirds, _add_up_thirds, lambda sums: sums[0] / sums[1])


class ConstrainedLeastSquares(Pooling):
    """Deblur features by a regularised inverse filter in the frequency domain (paper, section 3.2).

    The filter that regularises is made from the features, one for each channel, instead of a Laplacian for all.
    """

    def __init__(self, num_feat: int, num_reduced: int) -> None:
        super().__init__()
        self.reduce_feature = nn.Conv2d(num_feat, num_reduced, 1)
        self.grad_filter = nn.Sequential(
            nn.Conv2d(num_reduced, num_reduced, 3),
            activation(),
            nn.Conv2d(num_reduced, num_reduced, 3),
            activation(),
            nn.Conv2d(num_reduced, num_reduced, 3),
            nn.Identity(),  # pooling to 3x3, which has another form in graphs
            nn.Conv2d(num_reduced, num_reduced, 1),
        )
        self.expand_feature = nn.Conv2d(num_reduced, num_feat, 1)

    def forward(self, x: Tensor, kernel: Tensor) -> Tensor:
        """Deblur (N, C, H, W) by kernels (N, 1, k, k) in LR pixels, convolved, not correlated."""
        reduced = self.reduce_feature(x)
        clear = self.deblur(reduced, kernel, self.regulariser(reduced))
        return self.expand_feature(clear.to(reduced.dtype))

    def regulariser(self, reduced: Tensor) -> Tensor:
        """Return a filter (N, c, 3, 3) of sum 0 for each channel of (N, c, H, W)."""
        *convs, _, last = self.grad_filter
        x = reduced
        for layer in convs:
            x = layer(x)
        filters = in_float(last(self.pooled(THIRDS, x))).exp()
        return filters - filters.mean(dim=(2, 3), keepdim=True)

    def deblur(self, reduced: Tensor, kernel: Tensor, regulariser: Tensor) -> Tensor:
        """Return (N, c, H, W) after division by the kernel's spectrum; borders are replicated, then wrap around."""
        border = kernel.shape[-1]
        with without_autocast(reduced):
            padded = F.pad(in_float(reduced), [border] * 4, mode="replicate")
            return divide_spectra(padded, in_float(kernel), regulariser, border)


class DualPathBlock(nn.Module):
    """DPAB: refine deblurred and plain features; the plain ones inform the deblurred ones (paper, section 3.4)."""

    def __init__(self, num_feat: int, num_plain: int, num_inner: int) -> None:
        super().__init__()
        self.body1 = nn.Sequential(conv3x3(num_feat, num_inner), activation(), conv3x3(num_inner, num_feat))
        self.body2 = nn.Sequential(conv3x3(num_plain, num_plain), activation(), conv3x3(num_plain, num_plain))
        self.CA_body1 = nn.Sequential(activation(), conv3x3(num_feat + num_plain, num_feat), ChannelAttention(num_feat))
        self.CA_body2 = ChannelAttention(num_plain)

    def forward(self, deblurred: Tensor, plain: Tensor) -> tuple[Tensor, Tensor]:
        """Refine (N, C, H, W) and (N, c, H, W)."""
        sharp, soft = self.body1(deblurred), self.body2(plain)
        return deblurred + self.CA_body1(torch.cat([sharp, soft], dim=1)), plain + self.CA_body2(soft)


class DualPathGroup(nn.Module):
    """A group of blocks of two paths.

    Quirk: twice the output of the last block, where the paper's figure adds the input of the group. The official blocks
    overwrite the list that the group adds at its end; all checkpoints depend on it.
    """

    def __init__(self, num_feat: int, num_plain: int, inner: Sequence[int]) -> None:
        super().__init__()
        self.body = nn.ModuleList(DualPathBlock(num_feat, num_plain, width) for width in inner)

    def forward(self, deblurred: Tensor, plain: Tensor) -> tuple[Tensor, Tensor]:
        """Refine (N, C, H, W) and (N, c, H, W)."""
        for block in self.body:
            deblurred, plain = block(deblurred, plain)
        return 2 * deblurred, 2 * plain


def upsampler(num_feat: int, num_out_ch: int, scale: int) -> nn.Sequential:
    """Return convolutions and pixel shuffles from (N, num_feat, H, W) to (N, num_out_ch, scale * H, scale * W)."""
    factors = [2, 2] if scale == 4 else [scale]
    steps = [layer for each in factors for layer in (conv3x3(num_feat, each**2 * num_feat), nn.PixelShuffle(each))]
    return nn.Sequential(*steps, conv3x3(num_feat, num_out_ch))
