"""Arithmetic on the kernels of convolutions: how several linear layers become one.

Everything is computed in float64 unless a dtype is given, and rounded once in :func:`conv_from`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class Kernel(NamedTuple):
    """Weight (O, I / groups, K, K) and bias (O,) of a convolution."""

    weight: Tensor
    bias: Tensor


def plain_kernel(weight: Tensor, bias: Tensor | None = None, dtype: torch.dtype = torch.float64) -> Kernel:
    """Return the kernel of a convolution (O, I / groups, K, K) with or without bias (O,).

    >>> plain_kernel(torch.ones(2, 1, 3, 3)).bias
    tensor([0., 0.], dtype=torch.float64)
    """
    weight = weight.to(dtype)
    return Kernel(weight, weight.new_zeros(len(weight)) if bias is None else bias.to(dtype))


def fuse_bn(weight: Tensor, bn: nn.BatchNorm2d, bias: Tensor | None = None) -> Kernel:
    """Fold evaluation-mode ``bn`` into the convolution (O, I / groups, K, K) before it.

    >>> bn = nn.BatchNorm2d(1, eps=0.0)
    >>> bn.running_mean.fill_(6.0), bn.running_var.fill_(4.0)
    (tensor([6.]), tensor([4.]))
    >>> weight, bias = fuse_bn(torch.full((1, 1, 1, 1), 8.0), bn)
    >>> weight.item(), bias.item()
    (4.0, -3.0)

    Raises:
        ValueError: If ``bn`` keeps no statistics, or a variance is not positive, or a number is not finite.
    """
    if bn.running_var is None:
        raise ValueError("Batch normalisation without running statistics cannot be folded: it has no evaluation mode.")
    mean, variance = bn.running_mean.double(), bn.running_var.double()
    if not (torch.isfinite(mean).all() and torch.isfinite(variance).all() and (variance > 0).all()):
        raise ValueError(
            "Batch normalisation has a running variance that is zero, negative or no number, or a mean that is no "
            "number: it was not trained on sound data. Train the network further, or use an earlier checkpoint."
        )
    gain = torch.rsqrt(variance + bn.eps)
    gain = gain if bn.weight is None else gain * bn.weight.double()
    kernel = plain_kernel(weight, bias)
    shift = 0 if bn.bias is None else bn.bias.double()
    return Kernel(kernel.weight * gain.view(-1, 1, 1, 1), shift + (kernel.bias - mean) * gain)


def merge_pointwise(first: Kernel, second: Kernel, groups: int) -> Kernel:
    """Merge a 1x1 convolution with the KxK one after it, both in ``groups``.

    Exact where the feature map between them is padded with the bias of the first, not with zeros.

    >>> narrow = Kernel(torch.full((4, 2, 1, 1), 3.0), torch.ones(4))
    >>> wide = Kernel(torch.full((2, 4, 3, 3), 0.5), torch.zeros(2))
    >>> weight, bias = merge_pointwise(narrow, wide, groups=1)
    >>> weight.shape, weight[0, 0, 0, 0].item(), bias
    (torch.Size([2, 2, 3, 3]), 6.0, tensor([18., 18.]))
    """
    parts = (second.weight.chunk(groups), first.weight[:, :, 0, 0].chunk(groups), first.bias.chunk(groups))
    merged = [
        (torch.einsum("omuv,mi->oiuv", wide, narrow), torch.einsum("omuv,m->o", wide, bias))
        for wide, narrow, bias in zip(*parts, strict=True)
    ]
    weight, bias = (torch.cat(part) for part in zip(*merged, strict=True))
    return Kernel(weight, second.bias + bias)


def pad_kernel(kernel: Kernel, size: int) -> Kernel:
    """Surround a smaller kernel with zeros to ``size`` x ``size``, its center on the new one's.

    The center of an even kernel is the first of its two middle taps, as in torch's padding ``'same'``.

    >>> pad_kernel(Kernel(torch.ones(1, 1, 1, 1), torch.zeros(1)), 3).weight[0, 0]
    tensor([[0., 0., 0.],
            [0., 1., 0.],
            [0., 0., 0.]])
    """
    side = kernel.weight.shape[-1]
    before = (size - 1) // 2 - (side - 1) // 2
    return Kernel(F.pad(kernel.weight, [before, size - side - before] * 2), kernel.bias)


def channel_selection(num_ch: int, groups: int, value: Tensor) -> Tensor:
    """Return the weight (num_ch, num_ch / groups, K, K) that applies ``value`` (K, K) to each channel alone.

    >>> channel_selection(4, 2, torch.tensor([[5]]))[..., 0, 0]
    tensor([[5, 0],
            [0, 5],
            [5, 0],
            [0, 5]])
    """
    per_group = num_ch // groups
    columns = torch.arange(num_ch, device=value.device) % per_group
    return F.one_hot(columns, per_group).to(value)[:, :, None, None] * value


def sum_kernels(*kernels: Kernel) -> Kernel:
    """Return the kernel of a sum of convolutions of one size and the same input.

    >>> one = Kernel(torch.ones(1, 1, 3, 3), torch.ones(1))
    >>> total = sum_kernels(one, one, one)
    >>> total.weight[0, 0, 0], total.bias
    (tensor([3., 3., 3.]), tensor([3.]))
    """
    return Kernel(sum(kernel.weight for kernel in kernels), sum(kernel.bias for kernel in kernels))


def same_padding(kernel_size: int) -> int | str:
    """Return the padding with which a convolution of stride 1 keeps the size.

    >>> same_padding(5), same_padding(4)
    (2, 'same')
    """
    return kernel_size // 2 if kernel_size % 2 else "same"


def conv_from(kernel: Kernel, like: Tensor, groups: int = 1, bias: bool = True) -> nn.Conv2d:
    """Return a same-size convolution with this kernel, dtype and device of ``like``, detached, with gradients on.

    >>> conv_from(plain_kernel(torch.ones(8, 1, 3, 3)), torch.empty(0), groups=4)
    Conv2d(4, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), groups=4)
    """
    num_out, per_group, size, _ = kernel.weight.shape
    conv = nn.Conv2d(per_group * groups, num_out, size, padding=same_padding(size), groups=groups, bias=bias).to(like)
    with torch.no_grad():
        conv.weight.copy_(kernel.weight)
        if bias:
            conv.bias.copy_(kernel.bias)
    return conv


def fold_after(conv: nn.Conv2d, weight: Tensor, bias: Tensor | None, shuffle: int = 1) -> nn.Conv2d:
    """Fold a 1x1 convolution into ``conv`` (no groups) before it, with a pixel shuffle by ``shuffle`` between them.

    Exact at the borders too, because a 1x1 convolution needs no padding. A 1x1 convolution *before* a padded one cannot
    be folded: its bias is missing in the zeros around the image.

    From ``conv`` with ``C * shuffle ** 2`` output channels, and weight (O, C, 1, 1) and bias (O,) of the 1x1
    convolution, it makes one with ``O * shuffle ** 2`` output channels.

    Example:
        >>> last = nn.Conv2d(8, 3 * 2**2, 3, padding=1)  # then a pixel shuffle by 2, then this:
        >>> shift = nn.Conv2d(3, 3, 1)
        >>> fold_after(last, shift.weight, shift.bias, shuffle=2)
        Conv2d(8, 12, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
    """
    mix, kernel, parts = weight[:, :, 0, 0].double(), plain_kernel(conv.weight, conv.bias), shuffle**2
    # A shuffle spreads consecutive channels over a square.
    folded = torch.einsum("oc,cpiuv->opiuv", mix, kernel.weight.unflatten(0, (-1, parts))).flatten(0, 1)
    shift = torch.einsum("oc,cp->op", mix, kernel.bias.unflatten(0, (-1, parts))).flatten()
    if bias is not None:
        shift = shift + bias.double().repeat_interleave(parts)
    return conv_from(Kernel(folded, shift), conv.weight)
