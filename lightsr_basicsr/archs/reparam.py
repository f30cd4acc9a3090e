"""Reparameterization: several linear branches become one convolution.

A block that trains wide has a method ``to_deploy`` that returns its narrow module and leaves the block as it is;
:func:`deploy` applies it to a copy of a whole network. The arithmetic is exact up to rounding, for evaluation-mode
batch normalisation.
"""

from __future__ import annotations

from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class Kernel(NamedTuple):
    """Weight (O, I / groups, K, K) and bias (O,) of a convolution."""

    weight: Tensor
    bias: Tensor


def fuse_bn(weight: Tensor, bn: nn.BatchNorm2d) -> Kernel:
    """Fold evaluation-mode ``bn`` into the bias-free convolution ``weight`` (O, I / groups, K, K) before it."""
    gain = bn.weight / torch.sqrt(bn.running_var + bn.eps)
    return Kernel(weight * gain.view(-1, 1, 1, 1), bn.bias - bn.running_mean * gain)


def merge_pointwise(first: Kernel, second: Kernel, groups: int) -> Kernel:
    """Merge a 1x1 convolution with the KxK one after it, both in ``groups``.

    Exact where the map between them is padded with the bias of the first, not with zeros.
    """
    merged = [
        torch.einsum("omuv,mi->oiuv", wide, narrow[:, :, 0, 0])
        for wide, narrow in zip(second.weight.chunk(groups), first.weight.chunk(groups), strict=True)
    ]
    biases = [
        torch.einsum("omuv,m->o", wide, bias)
        for wide, bias in zip(second.weight.chunk(groups), first.bias.chunk(groups), strict=True)
    ]
    return Kernel(torch.cat(merged), second.bias + torch.cat(biases))


def pad_kernel(kernel: Kernel, size: int) -> Kernel:
    """Surround a smaller odd kernel with zeros to ``size`` x ``size``."""
    missing = (size - kernel.weight.shape[-1]) // 2
    return Kernel(F.pad(kernel.weight, [missing] * 4), kernel.bias)


def channel_selection(num_ch: int, groups: int, value: Tensor) -> Tensor:
    """Return the weight (num_ch, num_ch / groups, K, K) that applies ``value`` (K, K) to each channel alone."""
    per_group = num_ch // groups
    columns = torch.arange(num_ch, device=value.device) % per_group
    return F.one_hot(columns, per_group).to(value)[:, :, None, None] * value


def conv_from(kernel: Kernel, groups: int = 1) -> nn.Conv2d:
    """Return a same-size convolution with this kernel, detached, with gradients on."""
    num_out, per_group, size, _ = kernel.weight.shape
    conv = nn.Conv2d(per_group * groups, num_out, size, padding=size // 2, groups=groups)
    conv = conv.to(kernel.weight)
    with torch.no_grad():
        conv.weight.copy_(kernel.weight)
        conv.bias.copy_(kernel.bias)
    return conv


def deploy(net: nn.Module) -> nn.Module:
    """Return a copy of ``net``, in evaluation mode, in which every block that can has become its deployed module.

    The network itself is left as it is. A network without such blocks, or one already deployed, comes back as a copy.
    """
    return _replace(deepcopy(net)).eval()


def _replace(module: nn.Module) -> nn.Module:
    if hasattr(module, "to_deploy"):
        return module.to_deploy()
    for name, child in module.named_children():
        setattr(module, name, _replace(child))
    return module
