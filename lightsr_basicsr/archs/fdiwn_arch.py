"""FDIWN: feature distillation interaction weighting network.

Paper: Gao et al., "Feature Distillation Interaction Weighting Network for Lightweight Image Super-Resolution",
AAAI 2022, arXiv 2112.08655. Attribute names are the official checkpoints' key names; the classes have the paper's
terms. Inside, images are in [0, 255] and the mean shifts are trained.
"""

from __future__ import annotations

from abc import abstractmethod
from math import isqrt
from typing import Any, NamedTuple

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lightsr_basicsr.archs.fast import add_product, add_product_in_place, sigmoid_in_place
from lightsr_basicsr.archs.fdiwn_units import (
    HALF,
    TRUNK,
    CoefficientUnit,
    ConvolutionalResidualWeighting,
    IdenticalResidualWeighting,
    Scale,
    SelfCalibrationFusion,
    ShuffleAttention,
    shuffle_channels,
)
from lightsr_basicsr.archs.layers import MeanShift, conv3x3, run_in_quarters
from lightsr_basicsr.archs.network import Shapes, SRNetwork, count_matches
from lightsr_basicsr.archs.pooling import sees_tiles
from lightsr_basicsr.archs.reparam import build_deployed, fold_after, with_children
from lightsr_basicsr.registry import register

NEGATIVE_SLOPE = 0.05
CHOP_SHAVE = 10
CHOP_MIN_SIDE = 19
CHOP_MOST_PIXELS = 160_000


class Widths(NamedTuple):
    """Sizes that depend on the scale: channels of the tail and of the three wide units, and the input of the skip."""

    tail: int
    identical: int
    convolutional: int
    fusion: int
    shifted_skip: bool


NARROW = Widths(tail=64, identical=48, convolutional=48, fusion=96, shifted_skip=False)
WIDE = Widths(tail=32, identical=60, convolutional=54, fusion=108, shifted_skip=True)


class DistillationInteractionBlock(nn.Module):
    """WDIB, wide-residual distillation interaction block: two paths that weigh and gate each other (figure 3)."""

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        self.srb1 = IdenticalResidualWeighting(widths.identical)
        self.srb2 = IdenticalResidualWeighting(widths.identical)
        self.rb1 = ConvolutionalResidualWeighting(widths.convolutional)
        self.rb2 = ConvolutionalResidualWeighting(widths.convolutional)
        self.A1_coffconv = CoefficientUnit()
        self.B1_coffconv = CoefficientUnit()
        self.A2_coffconv = CoefficientUnit()
        self.B2_coffconv = CoefficientUnit()
        self.conv_distilled1 = conv3x3(HALF, TRUNK, bias=False)
        self.conv_distilled2 = conv3x3(HALF, TRUNK, bias=False)
        self.scale_x1 = Scale()
        self.scale_x2 = Scale()
        self.srb3 = IdenticalResidualWeighting(widths.identical)
        self.srb4 = IdenticalResidualWeighting(widths.identical)
        self.fuse1 = SelfCalibrationFusion(widths.fusion)
        self.fuse2 = nn.Conv2d(2 * TRUNK, TRUNK, 1, bias=False)
        self.SAlayer = ShuffleAttention()

    def forward(self, x: Tensor) -> Tensor:
        """Refine (N, 24, H, W)."""
        both, b = self.join(x)
        return self.SAlayer(self.fuse(both, b, x))

    def interact(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (N, 24, H, W) to the two gated paths, (N, 24, H, W) each."""
        kept_a, rest = F.leaky_relu(self.srb1(x), NEGATIVE_SLOPE, inplace=True).chunk(2, dim=1)
        a = self.rb1(rest)
        b = add_product(x, self.A1_coffconv(a), a)
        a = add_product(a, self.B1_coffconv(x), x)
        kept_b, rest = F.leaky_relu(self.srb2(b), NEGATIVE_SLOPE, inplace=True).chunk(2, dim=1)
        b = self.rb2(rest)
        gated_b = add_product(b, self.A2_coffconv(a), a) * sigmoid_in_place(self.conv_distilled1(kept_b))
        gated_a = add_product(a, self.B2_coffconv(b), b) * sigmoid_in_place(self.conv_distilled2(kept_a))
        return gated_a, gated_b

    def join(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (N, 24, H, W) to both refined paths side by side, (N, 48, H, W), and the second alone, (N, 24, H, W)."""
        a, b = self.interact(x)
        a, b = self.srb3(a), self.srb4(b)
        return torch.cat([self.scale_x1(a), self.scale_x2(b)], dim=1), b

    def fuse(self, both: Tensor, b: Tensor, x: Tensor) -> Tensor:
        """Return ``fuse1(both) + sigmoid(fuse2(both)) * b + x``, (N, 24, H, W)."""
        return add_product_in_place(self.fuse1(both), sigmoid_in_place(self.fuse2(both)), b).add_(x)


class ShuffleWeightedGroup(nn.Module):
    """FSWG, feature shuffle weighted group: three blocks whose outputs are shuffled and fused (paper, figure 2)."""

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        self.MY1 = DistillationInteractionBlock(widths)
        self.MY2 = DistillationInteractionBlock(widths)
        self.MY3 = DistillationInteractionBlock(widths)
        self.conv = conv3x3(TRUNK, TRUNK, bias=False)
        self.conv1 = nn.Conv2d(2 * TRUNK, TRUNK, 3, padding=1, groups=4, bias=False)
        self.conv2 = nn.Conv2d(2 * TRUNK, TRUNK, 3, padding=1, groups=4, bias=False)
        self.rb1 = IdenticalResidualWeighting(widths.identical)
        self.scale_x = Scale(0.5)
        self.scale_res = Scale(0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Refine (N, 24, H, W)."""
        first = self.MY1(x)
        second = self.MY2(first)
        third = self.MY3(second + self.conv(first))
        fused = self.conv1(shuffle_channels(torch.cat([first, second], dim=1), 4))
        fused = self.conv2(shuffle_channels(torch.cat([fused, third], dim=1), 4))
        return add_product_in_place(self.scale_x(fused + third), self.rb1(x), self.scale_res.scale)


class WeightingNetwork(SRNetwork):
    """Base of FDIWN and FDIWN_M, which differ in the number of groups and in how often each runs.

    Args:
        upscale (int): 2, 3 or 4. Default: 4.
        img_range (float): Largest value inside; 255 for the official files. Default: 255.
        chop (bool): Whether to cut images into four overlapping quarters in evaluation, as for the published numbers;
            the statistics are then those of a quarter, and sides must be at least 19. Tiles are not chopped. Default:
            False.
        freeze_mean_shift (bool): Whether to keep the mean shifts fixed; officially they are trained. Default: False.
        deploy (bool): Whether to build the deployed form: without weight normalisation, and with the mean shift of the
            output folded into the last convolutions. Default: False.

    Raises:
        ValueError: If an argument is outside these values.
    """

    widths: dict[int, Widths]
    groups: int

    def __init__(
        self,
        upscale: int = 4,
        img_range: float = 255.0,
        chop: bool = False,
        freeze_mean_shift: bool = False,
        deploy: bool = False,
    ) -> None:
        super().__init__()
        if upscale not in self.widths:
            raise ValueError(f"{type(self).__name__} supports `upscale` 2, 3 or 4, got {upscale}.")
        if img_range <= 0:
            raise ValueError(f"{type(self).__name__} needs a positive `img_range` (255 officially), got {img_range}.")
        widths = self.widths[upscale]
        self.upscale, self.img_range, self.chop = upscale, img_range, chop
        self.shifted_skip = widths.shifted_skip
        self.Sub_mean = MeanShift(-1, img_range, trainable=not freeze_mean_shift)
        self.Add_mean = MeanShift(1, img_range, trainable=not freeze_mean_shift)
        self.head = conv3x3(3, TRUNK)
        for group in range(1, self.groups + 1):
            self.add_module(f"Li{group}", ShuffleWeightedGroup(widths))
        self.conv1 = conv3x3(TRUNK, widths.tail, bias=False)
        self.UP1 = nn.Sequential(conv3x3(widths.tail, 3 * upscale**2), nn.PixelShuffle(upscale))
        self.conv2 = conv3x3(3, widths.tail)
        self.UP2 = nn.Sequential(conv3x3(widths.tail, 3 * upscale**2), nn.PixelShuffle(upscale))
        if deploy:
            build_deployed(self)

    @classmethod
    def arguments_from(cls, shapes: Shapes) -> dict[str, Any] | None:
        """Return the arguments of a file with these shapes, None for another network's."""
        deployed = "Li1.MY1.srb1.body.0.weight" in shapes
        known = deployed or "Li1.MY1.srb1.body.0.weight_v" in shapes
        if not known or count_matches(shapes, r"Li(\d+)\.") != cls.groups:
            return None
        return {"upscale": isqrt(shapes["UP1.0.weight"][0] // 3), **({"deploy": True} if deployed else {})}

    @abstractmethod
    def run_groups(self, x: Tensor) -> Tensor:
        """Map (N, 24, H, W) to the sum of the groups' outputs, (N, 24, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """Map RGB (N, 3, H, W) in [0, 1] to (N, 3, upscale * H, upscale * W), not clamped.

        Raises:
            ValueError: For other shapes; with ``chop``, in evaluation, for sides below 19.
        """
        self.check_input(x)
        whole = self.training or not self.chop or sees_tiles(self)
        run = self.forward_whole if whole else self.forward_chopped
        return run(x * self.img_range) / self.img_range

    def forward_whole(self, x: Tensor) -> Tensor:
        """Map RGB (N, 3, H, W) in [0, img_range] to (N, 3, upscale * H, upscale * W) in the same range."""
        shifted = self.Sub_mean(x)
        x = shifted if self.shifted_skip else x
        deep = self.UP1(self.conv1(self.run_groups(self.head(shifted))))
        return self.Add_mean(deep + self.UP2(self.conv2(x)))

    def to_deploy(self) -> WeightingNetwork:
        """Return a network with the mean shift folded into the convolutions of both summands of the output."""
        if isinstance(self.Add_mean, nn.Identity):
            return self
        weight, bias = self.Add_mean.weight, self.Add_mean.bias
        ends = {
            name: nn.Sequential(fold_after(end[0], weight, added, self.upscale), end[1])
            for name, end, added in (("UP1", self.UP1, bias), ("UP2", self.UP2, None))
        }
        return with_children(self, {**ends, "Add_mean": nn.Identity()})

    def forward_chopped(self, x: Tensor) -> Tensor:
        """Map as :meth:`forward_whole` does, on four overlapping quarters, large ones again on quarters."""
        height, width = x.shape[2:]
        if min(height, width) < CHOP_MIN_SIDE:
            raise ValueError(
                f"{type(self).__name__} with `chop` needs sides of at least {CHOP_MIN_SIDE} pixels, got "
                f"{height}x{width}: use `chop: false` for such images."
            )
        size = (height // 2 + CHOP_SHAVE, width // 2 + CHOP_SHAVE)
        run = self.forward_whole if size[0] * size[1] < CHOP_MOST_PIXELS else self.forward_chopped
        return run_in_quarters(run, x, size, self.upscale)


@register(ARCH_REGISTRY)
class FDIWN(WeightingNetwork):
    """FDIWN: three groups, six group calls; 629 K (x2), 646 K (x3), 664 K (x4) parameters.

    See :class:`WeightingNetwork` for the arguments.
    """

    widths = {2: NARROW, 3: NARROW, 4: WIDE}  # noqa: RUF012
    groups = 3

    def run_groups(self, x: Tensor) -> Tensor:
        """Map (N, 24, H, W) to the sum of the groups' outputs; every group runs twice, the first in a row."""
        x = self.Li1(x)
        for group in (self.Li1, self.Li2, self.Li3, self.Li2, self.Li3):
            x = x + group(x)
        return x


@register(ARCH_REGISTRY)
class FDIWN_M(WeightingNetwork):  # noqa: N801
    """FDIWN-M, inferred: without official code or checkpoint to compare with, parity is not claimed.

    Published are 433 K (x2), 446 K (x3), 454 K (x4) parameters and 73.6, 35.9, 19.6 G multi-adds. Two groups, each
    applied twice, give 433,840, 446,814 and 454,648 parameters and those multi-adds (counted, as for FDIWN, without
    weight-normalised convolutions), with the widths of FDIWN x4 at x2 and x4 and those of x3 at x3. The order of the
    calls (each group twice in a row) and the sum at the end (of the four results) are our choice.

    See :class:`WeightingNetwork` for the arguments.
    """

    widths = {2: WIDE, 3: NARROW, 4: WIDE}  # noqa: RUF012
    groups = 2

    def run_groups(self, x: Tensor) -> Tensor:
        """Map (N, 24, H, W) to the sum of the four results."""
        total = None
        for group in (self.Li1, self.Li1, self.Li2, self.Li2):
            x = group(x)
            total = x if total is None else total + x
        return total
