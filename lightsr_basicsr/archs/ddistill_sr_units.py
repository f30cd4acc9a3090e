"""Reparameterized dynamic units (RDU) of DDistill-SR: several static branches beside an input-dependent one.

Paper: Wang et al., "DDistill-SR: Reparameterized Dynamic Distillation Network for Lightweight Image Super-Resolution",
IEEE TMM 2022, arXiv 2312.14551. This is the published style, DBB; the others are in ``ddistill_sr_styles``.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lightsr_basicsr.archs.pooling import Pooling
from lightsr_basicsr.archs.reparam import conv_from, with_children
from lightsr_basicsr.archs.reparam.branches import Branches, DiverseBranches

BLOCK_SLOPE = 0.05


class DynamicResidual(NamedTuple):
    """A residual before it is computed: a 1x1 convolution of ``x`` with a kernel of its own for each image."""

    x: Tensor  # (N, I, H, W)
    weight: Tensor  # (N, O, I)
    bias: Tensor  # (N, O)

    def compute(self) -> Tensor:
        """Return the residual, (N, O, H, W)."""
        return conv_per_image(self.x, self.weight[..., None, None], self.bias)


Activation = Callable[[Tensor], Tensor]
Residual = Tensor | DynamicResidual | None
UnitOutput = tuple[Tensor, Residual]


def block_lrelu(x: Tensor) -> Tensor:
    """Apply the activation of the distillation blocks."""
    return F.leaky_relu(x, BLOCK_SLOPE)


def identity(x: Tensor) -> Tensor:
    """Return ``x``."""
    return x


def conv_per_image(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve every image of (N, I, H, W) with its own kernel (N, O, I, K, K) and bias (N, O), at the same size."""
    images, num_out, num_in, size, _ = weight.shape
    if images == 1:
        return F.conv2d(x, weight[0], bias[0], padding=size // 2)
    # The batch moves into the channels, so that one grouped convolution serves all images.
    height, width = x.shape[2:]
    stacked = x.reshape(1, images * num_in, height, width)
    out = F.conv2d(stacked, weight.flatten(0, 1), bias.flatten(), padding=size // 2, groups=images)
    return out.view(images, num_out, height, width)


def compute_residual(residual: Residual) -> Tensor | None:
    """Return a residual as a feature map (N, O, H, W)."""
    return residual.compute() if isinstance(residual, DynamicResidual) else residual


class UnitForm(NamedTuple):
    """Settings of all units of a network."""

    deploy: bool  # whether to build the deployed form, one convolution in place of the branches
    dynamic: bool  # whether to have a dynamic branch; without one the residual is None
    num_latent: int | None  # rank L of the dynamic branch; None is the root of its input width, rounded down


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


class DynamicBranch(Pooling):
    """Dynamic convolution decomposition: a low-rank residual and a channel scale, both made from the input's mean."""

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
        scale, mixing = self.steer(x)
        latent = self.bn1(self.q(x))
        flat = latent.flatten(2)
        mixed = self.bn2(mixing @ flat) + flat
        return scale[:, :, None, None], self.p(mixed.view_as(latent))

    def steer(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the channel scale (N, num_out) and the matrix that mixes the latent channels, (N, L, L)."""
        squeezed = self.fc(self.mean(x, keepdim=False))
        return self.hs(self.fc_scale(squeezed)), self.fc_phi(squeezed).view(-1, self.num_latent, self.num_latent)

    def linear_form(self, x: Tensor) -> tuple[Tensor, DynamicResidual]:
        """Return scale (N, num_out) and residual of (N, num_in, H, W) in evaluation mode, where both norms are linear.

        The residual is ``p (bn2(M l) + l)`` with ``l = bn1(q x)``: one 1x1 convolution with a kernel of each image.
        """
        scale, mixing = self.steer(x)
        (gain1, shift1), (gain2, shift2) = _linear(self.bn1), _linear(self.bn2)
        spread = self.p.weight.flatten(1)
        inner = gain2[:, None] * mixing + torch.eye(self.num_latent, dtype=x.dtype, device=x.device)
        outer = spread @ inner
        weight = outer @ (gain1[:, None] * self.q.weight.flatten(1))
        return scale, DynamicResidual(x, weight, outer @ shift1 + spread @ shift2)


def _linear(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return factor and summand (C,) of batch normalisation in evaluation mode."""
    gain = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return gain, norm.bias - norm.running_mean * gain


class DynamicUnit(Branches):
    """Base of the reparameterized dynamic units: ``act(scale * static(x) + residual)``.

    Subclasses hold the static branches, of odd ``kernel_size`` and in ``groups``, and sum their kernels. The residual
    is returned without the activation.
    """

    deployed_name = "dbb_reparam"
    # Whether the deployed unit is one convolution with a kernel of the image; apart, the static one can be quantized.
    joins_residual = True

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

    def forward_as_published(self, x: Tensor) -> UnitOutput:
        """Map (N, num_in, H, W) to output and dynamic residual, both (N, num_out, H, W)."""
        static = self.static(x)
        if self.dy_branch is None:
            return self.act(static), None
        scale, residual = self.dy_branch(x)
        return self.act(scale * static + residual), residual

    def static(self, x: Tensor) -> Tensor:
        """Map (N, num_in, H, W) to (N, num_out, H, W) without the dynamic branch."""
        return getattr(self, self.deployed_name)(x) if self.deployed else self.sum_branches(x)

    def forward(self, x: Tensor) -> UnitOutput:
        """Fast form of :meth:`forward_as_published`: deployed and in evaluation mode one convolution."""
        if self.dy_branch is None:
            return self.forward_as_published(x)
        if self.deployed and not self.training and self.groups == 1:
            return self.forward_merged(x)
        static = self.static(x)
        scale, residual = self.dy_branch(x)
        static = scale * static  # bound again, so that the unscaled one is released
        return self.act(static + residual), residual

    def forward_merged(self, x: Tensor) -> tuple[Tensor, DynamicResidual]:
        """Compute the unit as one convolution: the residual is linear in ``x`` and joins the static kernel's center."""
        static = getattr(self, self.deployed_name)
        scale, residual = self.dy_branch.linear_form(x)
        if not self.joins_residual:
            return self.act(scale[:, :, None, None] * static(x) + residual.compute()), residual
        around = self.kernel_size // 2
        # The sizes are spelled out for graph exporters, which must know a kernel's shape.
        center = F.pad(residual.weight.reshape(-1, static.out_channels, static.in_channels, 1, 1), [around] * 4)
        weight = scale[:, :, None, None, None] * static.weight + center
        return self.act(conv_per_image(x, weight, scale * static.bias + residual.bias)), residual

    def to_deploy(self) -> DynamicUnit:
        """Return the deployed form of this unit; it shares the dynamic branch."""
        if self.deployed:
            return self
        kernel = self.merged_kernel()
        new = with_children(self, {}, keep=("dy_branch",))
        new.deployed = True
        new.add_module(self.deployed_name, conv_from(kernel, next(self.parameters()), self.groups))
        return new


class DiverseBranchUnit(DiverseBranches, DynamicUnit):
    """RDU, style DBB: the static part is a diverse branch block of four branches.

    With as many groups as output channels, which no network here has, the official code has another set of branches.
    """
