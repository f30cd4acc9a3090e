"""Reparameterization: several linear branches become one convolution.

A block that trains wide has a method ``to_deploy`` that returns its narrow module and leaves the block as it is;
:func:`deploy` applies it to a copy of a whole network. Batch normalisation is folded as it is in evaluation mode.
Everything of ours is computed in float64 and rounded once, so the deployed network differs by rounding alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy, deepcopy
from typing import NamedTuple

import torch
from basicsr.archs.ecbsr_arch import ECB
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class Kernel(NamedTuple):
    """Weight (O, I / groups, K, K) and bias (O,) of a convolution."""

    weight: Tensor
    bias: Tensor


def plain_kernel(weight: Tensor, bias: Tensor | None = None, dtype: torch.dtype = torch.float64) -> Kernel:
    """Return the kernel of a convolution (O, I / groups, K, K) with or without bias (O,)."""
    weight = weight.to(dtype)
    return Kernel(weight, weight.new_zeros(len(weight)) if bias is None else bias.to(dtype))


def fuse_bn(weight: Tensor, bn: nn.BatchNorm2d, bias: Tensor | None = None) -> Kernel:
    """Fold evaluation-mode ``bn`` into the convolution (O, I / groups, K, K) before it.

    Raises:
        ValueError: If ``bn`` keeps no statistics, or such that nothing can be divided by.
    """
    if bn.running_var is None:
        raise ValueError("Batch normalisation without running statistics cannot be folded: it has no evaluation mode.")
    mean, variance = bn.running_mean.double(), bn.running_var.double()
    if not (torch.isfinite(mean).all() and torch.isfinite(variance).all() and (variance > 0).all()):
        raise ValueError(
            "Batch normalisation has a running variance that is zero, negative or no number, or a mean that is no "
            "number: it saw no sound data. Train the network further, or take an earlier file."
        )
    gain = torch.rsqrt(variance + bn.eps)
    gain = gain if bn.weight is None else gain * bn.weight.double()
    kernel = plain_kernel(weight, bias)
    shift = 0 if bn.bias is None else bn.bias.double()
    return Kernel(kernel.weight * gain.view(-1, 1, 1, 1), shift + (kernel.bias - mean) * gain)


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
    """Surround a smaller kernel with zeros to ``size`` x ``size``, its centre on the new one's.

    The centre of an even kernel is the one of its two middle taps that comes first, as in torch's padding ``'same'``.
    """
    side = kernel.weight.shape[-1]
    before = (size - 1) // 2 - (side - 1) // 2
    return Kernel(F.pad(kernel.weight, [before, size - side - before] * 2), kernel.bias)


def channel_selection(num_ch: int, groups: int, value: Tensor) -> Tensor:
    """Return the weight (num_ch, num_ch / groups, K, K) that applies ``value`` (K, K) to each channel alone."""
    per_group = num_ch // groups
    columns = torch.arange(num_ch, device=value.device) % per_group
    return F.one_hot(columns, per_group).to(value)[:, :, None, None] * value


def sum_kernels(*kernels: Kernel) -> Kernel:
    """Return the kernel of convolutions of one size that see the same input and are added up."""
    return Kernel(sum(kernel.weight for kernel in kernels), sum(kernel.bias for kernel in kernels))


def same_padding(kernel_size: int) -> int | str:
    """Return the padding with which a convolution of stride 1 keeps the size."""
    return kernel_size // 2 if kernel_size % 2 else "same"


def conv_from(kernel: Kernel, like: Tensor, groups: int = 1, bias: bool = True) -> nn.Conv2d:
    """Return a same-size convolution with this kernel, dtype and device of ``like``, detached, with gradients on."""
    num_out, per_group, size, _ = kernel.weight.shape
    conv = nn.Conv2d(per_group * groups, num_out, size, padding=same_padding(size), groups=groups, bias=bias).to(like)
    with torch.no_grad():
        conv.weight.copy_(kernel.weight)
        if bias:
            conv.bias.copy_(kernel.bias)
    return conv


def fold_after(conv: nn.Conv2d, weight: Tensor, bias: Tensor | None, shuffle: int = 1) -> nn.Conv2d:
    """Return ``conv`` (no groups) with a 1x1 convolution after it, a pixel shuffle by ``shuffle`` allowed between them.

    Exact at the borders too, for a 1x1 convolution needs no padding. A 1x1 convolution *before* a padded one cannot be
    folded: its bias is missing in the zeros around the image.

    Args:
        conv (nn.Conv2d): With ``C * shuffle ** 2`` output channels.
        weight (Tensor): Of the 1x1 convolution, (O, C, 1, 1).
        bias (Tensor | None): Of the same, (O,).
        shuffle (int): Factor of the pixel shuffle. Default: 1, none.
    """
    mix, kernel, parts = weight[:, :, 0, 0].double(), plain_kernel(conv.weight, conv.bias), shuffle**2
    # The channels that a shuffle spreads over a square come one after the other.
    folded = torch.einsum("oc,cpiuv->opiuv", mix, kernel.weight.unflatten(0, (-1, parts))).flatten(0, 1)
    shift = torch.einsum("oc,cp->op", mix, kernel.bias.unflatten(0, (-1, parts))).flatten()
    if bias is not None:
        shift = shift + bias.double().repeat_interleave(parts)
    return conv_from(Kernel(folded, shift), conv.weight)


def with_children(module: nn.Module, children: Mapping[str, nn.Module], keep: Sequence[str] | None = None) -> nn.Module:
    """Return a module like ``module`` with other children of these names; it shares the rest, and its source stays.

    Args:
        module (nn.Module): The source.
        children (Mapping[str, nn.Module]): New children by name.
        keep (Sequence[str] | None): Names of those that it shares; None shares all others. Default: None.
    """
    new = copy(module)
    kept = {name: child for name, child in module._modules.items() if keep is None or name in keep}
    new._parameters, new._buffers = dict(module._parameters), dict(module._buffers)
    new._modules = {**kept, **children}
    return new


def deploy(net: nn.Module) -> nn.Module:
    """Return a copy of ``net``, in evaluation mode, in which every block that can has become its deployed module.

    The network itself is left as it is. A network without such blocks, or one already deployed, comes back as a copy.
    Blocks are modules with a method ``to_deploy``, those of other packages too, and BasicSR's ``ECB``.

    Raises:
        ValueError: If a block cannot be merged, with its name: batch normalisation without sound statistics.
    """
    with torch.no_grad():
        return _replace(deepcopy(net, _detached(net)), "", {}).eval()


def _detached(net: nn.Module) -> dict[int, Tensor]:
    """Return, for ``deepcopy``, what stands for tensors that modules keep beside their parameters, by identity.

    A feature kept from the last step, or a weight that a hook makes of others, is part of a graph and cannot be copied.
    """
    kept = (value for module in net.modules() for value in vars(module).values())
    return {id(value): value.detach().clone() for value in kept if isinstance(value, Tensor) and not value.is_leaf}


def _replace(module: nn.Module, name: str, done: dict[nn.Module, nn.Module]) -> nn.Module:
    """Replace the children, then the module; one that the network holds twice stays one."""
    if module in done:
        return done[module]
    for key, child in module._modules.items():
        if child is not None:
            module._modules[key] = _replace(child, f"{name}.{key}".lstrip("."), done)
    try:
        done[module] = _deploy_one(module)
    except ValueError as error:
        raise ValueError(f"{name or type(module).__name__}: {error}") from error
    return done[module]


def _deploy_one(module: nn.Module) -> nn.Module:
    if isinstance(module, ECB):
        return _deploy_ecb(module)
    return module.to_deploy() if hasattr(module, "to_deploy") else module


def _deploy_ecb(block: ECB) -> nn.Module:
    """Return the convolution of a block of BasicSR's ECBSR, its activation after it."""
    like = block.conv3x3.weight
    weight, bias = block.float().rep_params()  # computes with float32 constants
    conv = conv_from(plain_kernel(weight, bias), like)
    return conv if block.act_type == "linear" else nn.Sequential(conv, block.act.to(like.dtype))


def build_deployed(net: nn.Module) -> None:
    """Give a network that is being built the modules of its deployed form."""
    net._modules = deploy(net)._modules
    net.train()


def has_branches(net: nn.Module) -> bool:
    """Tell whether :func:`deploy` would change anything."""
    return list(deploy(net).state_dict()) != list(net.state_dict())
