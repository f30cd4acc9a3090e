"""Reparameterized dynamic units (RDU) of DDistill-SR: several static branches beside an input-dependent one.

Paper: Wang et al., "DDistill-SR: Reparameterized Dynamic Distillation Network for Lightweight Image Super-Resolution",
IEEE TMM 2022, arXiv 2312.14551. This is the published style, DBB; the others are in ``dynamic_unit_styles``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lightsr_basicsr.archs.branches import Branches, DiverseBranches
from lightsr_basicsr.archs.reparam import conv_from, with_children

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


class DynamicUnit(Branches):
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

    def forward(self, x: Tensor) -> UnitOutput:
        """Map (N, num_in, H, W) to output and dynamic residual, both (N, num_out, H, W)."""
        static = getattr(self, self.deployed_name)(x) if self.deployed else self.sum_branches(x)
        if self.dy_branch is None:
            return self.act(static), None
        scale, residual = self.dy_branch(x)
        static = scale * static  # bound again, so that the unscaled one is let go
        return self.act(static + residual), residual

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
    """RDU, style DBB: the static part is a diverse branch block of four branches."""

    def build_branches(self, num_in: int, num_out: int) -> None:
        """Create the static branches of the training form."""
        if self.groups == num_out:  # officially another set of branches, which no network here needs
            raise ValueError(f"A diverse branch unit needs more output channels than groups, got {num_out} of each.")
        super().build_branches(num_in, num_out)
