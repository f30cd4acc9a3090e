"""The other styles of reparameterized dynamic units (RDU) of DDistill-SR, and the choice among all of them.

Styles DBB (the published one), VGG, ResDBB, SRD and StaticDCD of the official code. The key names of the last three are
ours, because no official files of them exist.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from lightsr_basicsr.archs.ddistill_sr_units import (
    Activation,
    DiverseBranchUnit,
    DynamicUnit,
    UnitForm,
    UnitOutput,
    block_lrelu,
    compute_residual,
    identity,
)
from lightsr_basicsr.archs.reparam.branches import VGGBranches

LITE_KERNELS = (7, 5)
STYLES = ("DBB", "VGG", "ResDBB", "SRD", "StaticDCD")
LITE_STYLES = ("DBB", "ResDBB", "StaticDCD")


class RepVGGUnit(VGGBranches, DynamicUnit):
    """RDU, style VGG: 3x3, 1x1 and identity branch, each with batch normalisation."""

    deployed_name = "rbr_reparam"


class StaticDynamicUnit(DynamicUnit):
    """RDU, style StaticDCD: a plain convolution beside the dynamic branch, the same in both forms."""

    deployed_name = "conv"

    def __init__(
        self, num_in: int, num_out: int, kernel_size: int, groups: int, act: Activation, form: UnitForm
    ) -> None:
        super().__init__(num_in, num_out, kernel_size, groups, act, form._replace(deploy=True))


class ResidualDiverseUnit(nn.Module):
    """RDU, style ResDBB: two diverse branch units and a skip; the second, 3x3, gives the residual.

    The first has the activation, the second none; in the lite network the first is depthwise to twice the channels.
    """

    def __init__(self, num_ch: int, kernel_size: int, groups: int, act: Activation, form: UnitForm) -> None:
        super().__init__()
        inner = num_ch if groups == 1 else 2 * num_ch
        self.unit1 = DiverseBranchUnit(num_ch, inner, kernel_size, groups, act, form)
        self.unit2 = DiverseBranchUnit(inner, num_ch, 3, 1, identity, form)

    def forward(self, x: Tensor) -> UnitOutput:
        """Map (N, C, H, W) to output and dynamic residual, both (N, C, H, W)."""
        out, residual = self.unit2(self.unit1(x)[0])
        return out + x, residual


class SkippedDiverseUnit(nn.Module):
    """RDU, style SRD: a diverse branch unit without activation, a skip, then the activation."""

    def __init__(self, num_ch: int, act: Activation, form: UnitForm) -> None:
        super().__init__()
        self.act = act
        self.unit = DiverseBranchUnit(num_ch, num_ch, 3, 1, identity, form)

    def forward(self, x: Tensor) -> UnitOutput:
        """Map (N, C, H, W) to output and dynamic residual, both (N, C, H, W)."""
        out, residual = self.unit(x)
        return self.act(out + x), residual


PLAIN_UNITS = {"DBB": DiverseBranchUnit, "VGG": RepVGGUnit, "StaticDCD": StaticDynamicUnit}


def hold(unit: nn.Module) -> nn.Sequential:
    """Return a module with the one child ``unit``, which official files have in their key names."""
    return nn.Sequential(OrderedDict(unit=unit))


def build_unit(style: str, num_ch: int, act: Activation, form: UnitForm) -> nn.Sequential:
    """Return a module that holds a 3x3 unit of the chosen style as ``unit``."""
    if style == "ResDBB":
        return hold(ResidualDiverseUnit(num_ch, 3, 1, act, form))
    if style == "SRD":
        return hold(SkippedDiverseUnit(num_ch, act, form))
    return hold(PLAIN_UNITS[style](num_ch, num_ch, 3, 1, act, form))


class SeparableUnit(nn.Module):
    """Lite: a depthwise unit to twice the channels, back by a 1x1 convolution, skip; its residual is activated."""

    def __init__(self, style: str, num_ch: int, kernel_size: int, form: UnitForm) -> None:
        super().__init__()
        self.conv2 = nn.Conv2d(2 * num_ch, num_ch, 1)
        self.unit = hold(PLAIN_UNITS[style](num_ch, 2 * num_ch, kernel_size, num_ch, identity, form))
        self.conv1 = nn.Conv2d(2 * num_ch, num_ch, 1)

    def forward(self, x: Tensor) -> UnitOutput:
        """Map (N, C, H, W) to output and residual, both (N, C, H, W)."""
        out, residual = self.unit(x)
        out = block_lrelu(out)
        out = block_lrelu(self.conv1(out) + x)
        return out, block_lrelu(self.conv2(compute_residual(residual)))


def refiner(index: int, num_feat: int, lite: bool, style: str, form: UnitForm) -> nn.Module:
    """Return the unit that refines in step ``index`` (0, 1, 2) of a block; the first two of lite are depthwise."""
    if not lite or index >= len(LITE_KERNELS):
        return build_unit(style, num_feat, block_lrelu, form)
    if style == "ResDBB":
        return hold(ResidualDiverseUnit(num_feat, LITE_KERNELS[index], num_feat, block_lrelu, form))
    return SeparableUnit(style, num_feat, LITE_KERNELS[index], form)
