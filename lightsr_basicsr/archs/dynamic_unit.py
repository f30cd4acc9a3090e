"""Reparameterized dynamic units (RDU) of DDistill-SR: several static branches beside an input-dependent one.

Paper: Wang et al., "DDistill-SR: Reparameterized Dynamic Distillation Network for Lightweight Image Super-Resolution",
IEEE TMM 2022, arXiv 2312.14551. This is the published style, DBB; the others are in ``dynamic_unit_styles``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lightsr_basicsr.archs.reparam import (
    Kernel,
    channel_selection,
    conv_from,
    fuse_bn,
    merge_pointwise,
    pad_kernel,
)

BLOCK_SLOPE = 0.05

Activation = Callable[[Tensor], Tensor]
UnitOutput = tuple[Tensor, Tensor | None]


def block_lrelu(x: Tensor) -> Tensor:
    """Apply the activation of the distillation blocks."""
    return F.leaky_relu(x, BLOCK_SLOPE)


def identity(x: Tensor) -> Tensor:
    """Return ``x``."""
    return x


@dataclass(frozen=True)
class UnitForm:
    """What all units of a network have in common.

    Attributes:
        deploy (bool): Whether to build the deployed form, one convolution in place of the branches.
        dynamic (bool): Whether there is a dynamic branch; without one the residual is None.
        num_latent (int | None): Rank L of the dynamic branch; None is the root of its input width, rounded down.
    """

    deploy: bool
    dynamic: bool
    num_latent: int | None


class HardSigmoid(nn.Module):
    """``clip(x + 3, 0, 6) / 3``: range [0, 2] and 1 at 0, twice torch's function of that name."""

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to the same shape."""
        return F.relu6(x + 3) / 3


class SelfGate(nn.Module):
    """``y * hs(W y)`` on vectors."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(length, length, bias=False), HardSigmoid())

    def forward(self, y: Tensor) -> Tensor:
        """Gate (N, length)."""
        return y * self.fc(y)


class DynamicBranch(nn.Module):
    """Dynamic convolution decomposition: a low-rank residual and a channel scale, both made from the input's mean.

    Args:
        num_in (int): Input channels.
        num_out (int): Output channels.
        num_latent (int | None): Rank L; None is the root of ``num_in``, rounded down.
    """

    def __init__(self, num_in: int, num_out: int, num_latent: int | None) -> None:
        super().__init__()
        self.num_latent = latent = isqrt(num_in) if num_latent is None else num_latent
        squeezed = max(num_in, latent * latent) // 16
        self.q = nn.Conv2d(num_in, latent, 1, bias=False)
        self.p = nn.Conv2d(latent, num_out, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(latent)
        self.bn2 = nn.BatchNorm1d(latent)
        self.fc = nn.Sequential(nn.Linear(num_in, squeezed, bias=False), SelfGate(squeezed))
        self.fc_phi = nn.Linear(squeezed, latent * latent, bias=False)
        self.fc_scale = nn.Linear(squeezed, num_out, bias=False)
        self.hs = HardSigmoid()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (N, num_in, H, W) to the channel scale (N, num_out, 1, 1) and the residual (N, num_out, H, W)."""
        squeezed = self.fc(x.mean(dim=(2, 3)))
        scale = self.hs(self.fc_scale(squeezed))[:, :, None, None]
        mixing = self.fc_phi(squeezed).view(-1, self.num_latent, self.num_latent)
        latent = self.bn1(self.q(x))
        flat = latent.flatten(2)
        mixed = self.bn2(mixing @ flat) + flat
        return scale, self.p(mixed.view_as(latent))


class BNAndPad(nn.Module):
    """Batch normalisation, then padding with what it makes of zero, so that a 1x1 stage before it can be merged.

    In training mode the border uses the running statistics of after this step, and no gradient flows into it.
    """

    def __init__(self, num_ch: int, pad: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(num_ch)
        self.pad = pad

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, H + 2 * pad, W + 2 * pad)."""
        return self.add_border(self.bn(x))

    def add_border(self, inner: Tensor) -> Tensor:
        """Pad the normalised (N, C, H, W) to (N, C, H + 2 * pad, W + 2 * pad)."""
        bn, pad = self.bn, self.pad
        gain = bn.weight.detach() / torch.sqrt(bn.running_var + bn.eps)
        zero = (bn.bias.detach() - bn.running_mean * gain).view(1, -1, 1, 1)
        images, channels, height, width = inner.shape
        padded = zero.expand(images, channels, height + 2 * pad, width + 2 * pad).clone()
        padded[..., pad:-pad, pad:-pad] = inner
        return padded


class IdentityBasedConv1x1(nn.Module):
    """1x1 convolution whose kernel is a learned weight, zero at first, plus the identity."""

    def __init__(self, num_ch: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.zeros(num_ch, num_ch // groups, 1, 1))

    def kernel(self) -> Tensor:
        """Return the kernel, (C, C / groups, 1, 1), in the weight's dtype and on its device."""
        return self.weight + channel_selection(len(self.weight), self.groups, self.weight.new_ones(1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        return F.conv2d(x, self.kernel(), groups=self.groups)


class DynamicUnit(nn.Module):
    """What all reparameterized dynamic units share: ``act(scale * static(x) + residual)``.

    Subclasses hold the static branches and sum their kernels.

    Args:
        num_in (int): Input channels.
        num_out (int): Output channels.
        kernel_size (int): Odd.
        groups (int): Groups of the static convolution.
        act (Activation): Activation of the output; the residual is handed out without.
        form (UnitForm): What all units of a network have in common.
    """

    deployed_name = "dbb_reparam"

    def __init__(
        self, num_in: int, num_out: int, kernel_size: int, groups: int, act: Activation, form: UnitForm
    ) -> None:
        super().__init__()
        self.kernel_size, self.groups, self.act, self.deployed = kernel_size, groups, act, form.deploy
        self.dy_branch = DynamicBranch(num_in, num_out, form.num_latent) if form.dynamic else None
        if form.deploy:
            conv = nn.Conv2d(num_in, num_out, kernel_size, padding=kernel_size // 2, groups=groups)
            self.add_module(self.deployed_name, conv)
        else:
            self.build_branches(num_in, num_out)

    @abstractmethod
    def build_branches(self, num_in: int, num_out: int) -> None:
        """Create the static branches of the training form."""

    @abstractmethod
    def sum_branches(self, x: Tensor) -> Tensor:
        """Map (N, num_in, H, W) to (N, num_out, H, W) through the static branches."""

    @abstractmethod
    def merged_kernel(self) -> Kernel:
        """Return the one convolution that the static branches are in evaluation mode."""

    def forward(self, x: Tensor) -> UnitOutput:
        """Map (N, num_in, H, W) to output and dynamic residual, both (N, num_out, H, W)."""
        static = getattr(self, self.deployed_name)(x) if self.deployed else self.sum_branches(x)
        if self.dy_branch is None:
            return self.act(static), None
        scale, residual = self.dy_branch(x)
        static = scale * static  # bound again, so that the unscaled one is let go
        return self.act(static + residual), residual

    def to_deploy(self) -> DynamicUnit:
        """Return the deployed form of this unit."""
        if self.deployed:
            return self
        new = type(self).__new__(type(self))
        nn.Module.__init__(new)
        new.kernel_size, new.groups, new.act, new.deployed = self.kernel_size, self.groups, self.act, True
        new.dy_branch = self.dy_branch
        with torch.no_grad():
            new.add_module(self.deployed_name, conv_from(self.merged_kernel(), self.groups))
        return new


class DiverseBranchUnit(DynamicUnit):
    """RDU, style DBB: the static part is a diverse branch block of four branches."""

    def build_branches(self, num_in: int, num_out: int) -> None:
        """Create the static branches of the training form."""
        if self.groups == num_out:
            raise ValueError(f"A diverse branch unit needs more output channels than groups, got {num_out} of each.")
        size, groups, pad = self.kernel_size, self.groups, self.kernel_size // 2
        self.dbb_origin = conv_bn(num_in, num_out, size, groups, pad)
        self.dbb_avg = nn.Sequential()
        self.dbb_avg.add_module("conv", nn.Conv2d(num_in, num_out, 1, groups=groups, bias=False))
        self.dbb_avg.add_module("bn", BNAndPad(num_out, pad))
        self.dbb_avg.add_module("avg", nn.AvgPool2d(size, stride=1))
        self.dbb_avg.add_module("avgbn", nn.BatchNorm2d(num_out))
        self.dbb_1x1 = conv_bn(num_in, num_out, 1, groups, 0)
        self.dbb_1x1_kxk = nn.Sequential()
        self.dbb_1x1_kxk.add_module("idconv1", IdentityBasedConv1x1(num_in, groups))
        self.dbb_1x1_kxk.add_module("bn1", BNAndPad(num_in, pad))
        self.dbb_1x1_kxk.add_module("conv2", nn.Conv2d(num_in, num_out, size, groups=groups, bias=False))
        self.dbb_1x1_kxk.add_module("bn2", nn.BatchNorm2d(num_out))

    def sum_branches(self, x: Tensor) -> Tensor:
        """Map (N, num_in, H, W) to (N, num_out, H, W); the order of the sum is the official one."""
        total = self.dbb_origin(x) + self.dbb_1x1(x)
        for branch in (self.dbb_avg, self.dbb_1x1_kxk):
            total = total + _run_padded(branch, x)
        return total

    def merged_kernel(self) -> Kernel:
        """Return the sum of the four branches' kernels."""
        size, groups, avg, deep = self.kernel_size, self.groups, self.dbb_avg, self.dbb_1x1_kxk
        num_out = self.dbb_origin.conv.out_channels
        mean = avg.conv.weight.new_full((size, size), 1 / size**2)
        branches = (
            fuse_bn(self.dbb_origin.conv.weight, self.dbb_origin.bn),
            pad_kernel(fuse_bn(self.dbb_1x1.conv.weight, self.dbb_1x1.bn), size),
            merge_pointwise(
                fuse_bn(avg.conv.weight, avg.bn.bn),
                fuse_bn(channel_selection(num_out, groups, mean), avg.avgbn),
                groups,
            ),
            merge_pointwise(fuse_bn(deep.idconv1.kernel(), deep.bn1.bn), fuse_bn(deep.conv2.weight, deep.bn2), groups),
        )
        return Kernel(sum(kernel.weight for kernel in branches), sum(kernel.bias for kernel in branches))


def _run_padded(branch: nn.Sequential, x: Tensor) -> Tensor:
    """Run a branch that pads after its first stage, layer by layer: a call of all would keep the unpadded map."""
    first, norm, *rest = branch
    x = norm.bn(first(x))
    x = norm.add_border(x)
    for layer in rest:
        x = layer(x)
    return x


def conv_bn(num_in: int, num_out: int, kernel_size: int, groups: int, padding: int) -> nn.Sequential:
    """Return a bias-free convolution and its batch normalisation, keys ``conv`` and ``bn``."""
    branch = nn.Sequential()
    branch.add_module("conv", nn.Conv2d(num_in, num_out, kernel_size, padding=padding, groups=groups, bias=False))
    branch.add_module("bn", nn.BatchNorm2d(num_out))
    return branch
