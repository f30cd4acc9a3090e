"""DRN, its channel-pruned forms, and the dual networks that map its outputs back to LR.

Papers: Guo et al., "Closed-loop Matters: Dual Regression Networks for Single Image Super-Resolution", CVPR 2020,
arXiv 2003.07018; "Towards Lightweight Super-Resolution with Dual Regression Learning", arXiv 2207.07929 (pruned forms).
Attribute names are the official checkpoints' key names. Inside, images are in [0, 255] and the mean shifts are trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from os import PathLike
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lightsr_basicsr.archs.drn_units import REDUCTION, up_block
from lightsr_basicsr.archs.layers import DUAL_SLOPE, Downscaler, MeanShift, conv3x3, read_channels
from lightsr_basicsr.archs.network import Shapes, SRNetwork, count_matches
from lightsr_basicsr.archs.reparam import build_deployed, fold_after, with_children
from lightsr_basicsr.archs.sites import Site
from lightsr_basicsr.registry import register


@register(ARCH_REGISTRY)
class DRN(SRNetwork):
    """DRN: down to LR size and up again, with an output at every level (paper, figure 3).

    Official sizes (``num_feat``, ``num_block``): S x4 (16, 30), L x4 (20, 40), S x8 (8, 30), L x8 (10, 36); 4.8 M,
    9.8 M, 5.4 M, 10.0 M parameters. The pruned S30, S50 and S70 are the S forms with a channel list.

    Args:
        num_feat (int): Base width F; the widest level has ``F * upscale`` channels, at least 16. Default: 16.
        num_block (int): Residual blocks of a level. Default: 30.
        upscale (int): 2, 4 or 8. Default: 4.
        channels (Sequence[int] | str | None): Inner widths of a pruned network, or a text file of them: one per
            down block, then per up level one for each residual block and one for the upsampler. None is the dense
            network. Default: None.
        img_range (float): Largest value inside; 255 for the official files. Default: 255.
        freeze_mean_shift (bool): Whether to keep the mean shifts fixed; officially they are trained. Default: False.
        deploy (bool): Whether to build the deployed form, with the mean shift of the outputs folded into the last
            convolutions and the 1x1 convolutions after the upsamplers into these where that saves work. Default: False.

    Raises:
        ValueError: If an argument is outside these values.
    """

    training_output = "levels"

    def __init__(
        self,
        num_feat: int = 16,
        num_block: int = 30,
        upscale: int = 4,
        channels: Sequence[int] | str | PathLike | None = None,
        img_range: float = 255.0,
        freeze_mean_shift: bool = False,
        deploy: bool = False,
    ) -> None:
        super().__init__()
        if upscale not in (2, 4, 8):
            raise ValueError(f"DRN supports `upscale` 2, 4 or 8, got {upscale}.")
        if num_feat < 1 or num_block < 1 or num_feat * min(upscale, 4) < REDUCTION:
            raise ValueError(
                f"DRN needs `num_block` of at least 1 and every level at least {REDUCTION} channels wide (`num_feat` "
                f"times {min(upscale, 4)} here), got {num_block} and {num_feat}."
            )
        if img_range <= 0:
            raise ValueError(f"DRN needs a positive `img_range` (255 for the official files), got {img_range}.")
        self.upscale, self.img_range = upscale, img_range
        dense = dense_channels(num_feat, num_block, upscale)
        config = iter(dense if channels is None else read_channels(channels, dense, "DRN"))
        self.sub_mean = MeanShift(-1, img_range, trainable=not freeze_mean_shift)
        self.head = conv3x3(3, num_feat)
        level = [num_feat * 2**power for power in range(upscale.bit_length())]
        self.down = nn.ModuleList(Downscaler(narrow, next(config), wide) for narrow, wide in pairwise(level))
        self.up_blocks = nn.ModuleList(
            up_block(num_in, num_out, [next(config) for _ in range(num_block)], next(config))
            for num_in, num_out in zip(block_widths(num_feat, upscale), level[-2::-1], strict=True)
        )
        self.tail = nn.ModuleList(conv3x3(width, 3) for width in (level[-1], *level[:0:-1]))
        self.add_mean = MeanShift(1, img_range, trainable=not freeze_mean_shift)
        if deploy:
            build_deployed(self)

    @classmethod
    def arguments_from(cls, shapes: Shapes) -> dict[str, Any] | None:
        """Return the arguments of a file with these shapes, None for another network's."""
        if "up_blocks.0.0.body.3.conv_du.0.weight" not in shapes:
            return None
        num_level = count_matches(shapes, r"down\.(\d+)\.dual_module")
        num_feat = shapes["head.weight"][0]
        num_block = count_matches(shapes, r"up_blocks\.0\.(\d+)\.body\.")
        found = [shapes[f"down.{level}.dual_module.0.0.weight"][0] for level in range(num_level)]
        for level in range(num_level):
            found += [shapes[f"up_blocks.{level}.{block}.body.0.weight"][0] for block in range(num_block)]
            last = shapes.get(f"up_blocks.{level}.{num_block + 1}.weight")
            # A folded upsampler leaves no trace of its own width; the full width gives the same deployed network.
            found.append(shapes[f"up_blocks.{level}.{num_block}.0.weight"][1] if last is None else last[1])
        arguments = {"num_feat": num_feat, "num_block": num_block, "upscale": 2**num_level}
        pruned = {} if found == dense_channels(**arguments) else {"channels": found}
        shifts = count_matches(shapes, r"(add_mean)\.")
        return {**arguments, **pruned, **({} if shifts else {"deploy": True})}

    def to_deploy(self) -> DRN:
        """Return a network whose convolutions hold the linear layers after them: 1x1 at the upsamplers, mean shift."""
        if isinstance(self.add_mean, nn.Identity):
            return self
        tails = nn.ModuleList(fold_after(tail, self.add_mean.weight, self.add_mean.bias) for tail in self.tail)
        ups = nn.ModuleList(fold_last(up) for up in self.up_blocks)
        return with_children(self, {"up_blocks": ups, "tail": tails, "add_mean": nn.Identity()})

    def prunable_sites(self) -> list[Site]:
        """Return down blocks, then per level the residual blocks and the upsampler; [] for the deployed form."""
        if isinstance(self.add_mean, nn.Identity):
            return []
        ends = [(f"down.{level}", "dual_module.0.0", "dual_module.1") for level in range(len(self.down))]
        sites = [_site(self, *names) for names in ends]
        for level, up in enumerate(self.up_blocks):
            name, num_block = f"up_blocks.{level}", len(up) - 2
            sites += [_site(self, f"{name}.{block}", "body.0", "body.2") for block in range(num_block)]
            shuffled, last = f"{name}.{num_block}.0", f"{name}.{num_block + 1}"
            sites.append(Site(f"{name}.{num_block}", shuffled, (last,), up[-1].in_channels, "shuffled", repeat=4))
        return sites

    def feature_maps(self, kd_nums: int) -> list[str]:
        """Return the input of the last tail; from 1 on of all tails but the first; at 2 also one map in each level.

        Quirk: that one is of the module two before the middle of the level, of its input if it is a convolution, as it
        is with one block per level alone.
        """
        tails = [f"tail.{level}:input" for level in range(1, len(self.tail))]
        if kd_nums < 2:
            return tails[-1:] if kd_nums == 0 else tails
        middles = []
        for level, up in enumerate(self.up_blocks):
            index = (len(up) // 2 - 2) % len(up)
            middles.append(f"up_blocks.{level}.{index}{':input' if isinstance(up[index], nn.Conv2d) else ''}")
        return tails + middles

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Map RGB (N, 3, H, W) in [0, 1] to (N, 3, upscale * H, upscale * W), not clamped.

        In training mode return the outputs of all levels, from (N, 3, H, W) by factors of 2 to the full size.
        """
        self.check_input(x)
        outputs = [level / self.img_range for level in self.forward_levels(x * self.img_range, self.training)]
        return outputs if self.training else outputs[-1]

    def forward_levels(self, x: Tensor, all_levels: bool = True) -> list[Tensor]:
        """Map (N, 3, H, W) in [0, img_range] to the images of all levels or of the last, in the same range."""
        # All later work starts at HR size. This bicubic is torch's (a = -0.75, no antialiasing), not MATLAB's.
        x = F.interpolate(x, scale_factor=self.upscale, mode="bicubic", align_corners=False)
        x = self.head(self.sub_mean(x))
        copies = []
        for down in self.down:
            copies.append(x)
            x = down(x)
        outputs = [self.add_mean(self.tail[0](x))] if all_levels else []
        for level, (up, tail) in enumerate(zip(self.up_blocks, self.tail[1:], strict=True), 1):
            *blocks, shuffle, last = up
            for layer in (*blocks, *shuffle, last):
                x = layer(x)  # one by one: a call of all of them would keep the first input
            x = torch.cat([x, copies.pop()], dim=1)
            if all_levels or level == len(self.up_blocks):
                outputs.append(self.add_mean(tail(x)))
        return outputs


def _site(net: nn.Module, unit: str, producer: str, consumer: str) -> Site:
    width = net.get_submodule(f"{unit}.{consumer}").in_channels
    return Site(unit, f"{unit}.{producer}", (f"{unit}.{consumer}",), width)


def fold_last(up: nn.Sequential) -> nn.Sequential:
    """Return an up level whose upsampler holds the 1x1 convolution after it, unless that makes more channels."""
    *blocks, (conv, shuffle), last = up
    if last.out_channels > last.in_channels:  # in networks pruned far
        return up
    folded = fold_after(conv, last.weight, last.bias, shuffle.upscale_factor)
    return nn.Sequential(*blocks, nn.Sequential(folded, shuffle), nn.Identity())


def block_widths(num_feat: int, upscale: int) -> list[int]:
    """Return the width of the residual blocks of each up level."""
    num_level = upscale.bit_length() - 1
    return [num_feat * upscale] + [num_feat * 2 ** (num_level + 1 - level) for level in range(1, num_level)]


def dense_channels(num_feat: int, num_block: int, upscale: int) -> list[int]:
    """Return the channel list of a network that is not pruned."""
    down = [num_feat * 2**power for power in range(upscale.bit_length() - 1)]
    return down + [width for width in block_widths(num_feat, upscale) for _ in range(num_block + 1)]


@register(ARCH_REGISTRY)
class DualNetwork(SRNetwork):
    """Dual regression network of single-output networks (SwinIR-DR, DAT-DR): an SR image back to LR size.

    Without bias, so that weights trained on [0, 255] serve [0, 1] unchanged. The form for 3 is ours: the official one
    only halves, so its output for an x3 image does not have LR size. Its strided kernel is 5 wide, so that every pixel
    counts.

    Args:
        num_feat (int): Channels inside. Default: 16.
        downscale (int): 2, 3, 4 or 8, the whole factor to undo. Default: 4.
        num_in_ch (int): Channels of the image, SR and LR. Default: 3.

    Raises:
        ValueError: If an argument is outside these values.
    """

    pools_globally = False
    super_resolves = False

    def __init__(self, num_feat: int = 16, downscale: int = 4, num_in_ch: int = 3) -> None:
        super().__init__()
        if downscale not in (2, 3, 4, 8) or not isinstance(downscale, int) or min(num_feat, num_in_ch) < 1:
            raise ValueError(
                f"DualNetwork supports `downscale` 2, 3, 4 or 8 and `num_feat` and `num_in_ch` of at least 1, got "
                f"{downscale}, {num_feat} and {num_in_ch}."
            )
        self.upscale, self.num_in_ch, self.num_out_ch = 1 / downscale, num_in_ch, num_in_ch
        if downscale == 3:
            third = nn.Sequential(nn.Conv2d(num_in_ch, num_feat, 5, 3, 2, bias=False), nn.LeakyReLU(DUAL_SLOPE))
            self.dual_module = nn.Sequential(third, conv3x3(num_feat, num_in_ch, bias=False))
        else:
            self.dual_module = Downscaler(num_in_ch, num_feat, num_in_ch, downscale.bit_length() - 1).dual_module

    @classmethod
    def arguments_from(cls, shapes: Shapes) -> dict[str, Any] | None:
        """Return the arguments of a file with these shapes, None for another network's."""
        if "dual_module.0.0.weight" not in shapes:
            return None
        first = shapes["dual_module.0.0.weight"]
        steps = count_matches(shapes, r"dual_module\.(\d+)\.0\.")
        channels = {"num_in_ch": first[1]} if first[1] != 3 else {}
        return {"num_feat": first[0], "downscale": 3 if first[-1] == 5 else 2**steps, **channels}

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, num_in_ch, H, W) to (N, num_in_ch, H / downscale, W / downscale), rounded up at each step."""
        self.check_input(x)
        return self.dual_module(x)


@register(ARCH_REGISTRY)
class DRNDual(SRNetwork):
    """The dual networks of DRN, one per level, each halving the size (paper, section 3.2).

    Keys are those of the official files, which are lists, with the position in the list in front: ``0.dual_module``.

    Args:
        num_feat (int): Channels inside, as the ``num_feat`` of its DRN. Default: 16.
        upscale (int): That of its DRN: 2, 4 or 8. Default: 4.

    Raises:
        ValueError: If an argument is outside these values.
    """

    pools_globally = False
    training_output = "levels"
    super_resolves = False

    def __init__(self, num_feat: int = 16, upscale: int = 4) -> None:
        super().__init__()
        if upscale not in (2, 4, 8) or num_feat < 1:
            raise ValueError(
                f"DRNDual supports `upscale` 2, 4 or 8 and `num_feat` of at least 1, got {upscale} and {num_feat}."
            )
        self.upscale = 0.5
        for level in range(upscale.bit_length() - 1):
            self.add_module(str(level), Downscaler(3, num_feat, 3))

    @classmethod
    def arguments_from(cls, shapes: Shapes) -> dict[str, Any] | None:
        """Return the arguments of a file with these shapes, None for another network's."""
        if "0.dual_module.0.0.weight" not in shapes:
            return None
        levels = count_matches(shapes, r"(\d+)\.dual_module")
        return {"num_feat": shapes["0.dual_module.0.0.weight"][0], "upscale": 2**levels}

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Map one image per level, (N, 3, H_i, W_i), to (N, 3, H_i / 2, W_i / 2), rounded up, not clamped.

        ``levels`` are the outputs of DRN without the first, smallest one first.
        """
        if len(levels) != len(self._modules):
            raise ValueError(f"DRNDual expects {len(self._modules)} images, smallest first, got {len(levels)}.")
        for image in levels:
            self.check_input(image)
        return [dual(image) for dual, image in zip(self.children(), levels, strict=True)]

    def example_input(self, height: int, width: int, device: str = "cpu") -> tuple[list[Tensor]]:
        """Return images of all levels above this LR size: random, in [0, 1]."""
        sides = ((height * 2**level, width * 2**level) for level in range(1, len(self._modules) + 1))
        return ([torch.rand(1, 3, *side, device=device) for side in sides],)
