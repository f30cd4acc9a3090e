"""TinySR: 3x3 convolutions in a row on LR size, trained wide, for enlarging pictures without another file at hand.

Ours: the layers of Real-ESRGAN's SRVGGNetCompact with few channels, trained with the branches of Zhang et al.,
"Edge-oriented Convolution Block for Real-time Super Resolution on Mobile Devices", ACM MM 2021. The deployed form has
the keys of SRVGGNetCompact (``act_type: prelu``) and computes the same, so that files move both ways.
"""

from __future__ import annotations

import re
from itertools import pairwise
from math import isqrt
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lightsr_basicsr.archs.network import Shapes, SRNetwork, count_matches
from lightsr_basicsr.archs.reparam import BLOCKS, rep_conv
from lightsr_basicsr.registry import register


@register(ARCH_REGISTRY)
class TinySR(SRNetwork):
    """A row of convolutions on the enlarged input: deployed 18,556 parameters at x2, 23,776 at x4.

    Args:
        num_in_ch (int): Channels of input and output. Default: 3.
        num_feat (int): Channels inside. Default: 16.
        num_conv (int): Convolutions between the first and the last. Default: 7.
        upscale (int): At least 1. Default: 4.
        block (str): What the convolutions train as: ``'ECB'``, ``'RepVGG'`` or ``'DBB'``. Default: ``'ECB'``.
        deploy (bool): Whether to build the deployed form, one convolution in place of each block. Default: False.

    Raises:
        ValueError: If an argument is outside these values.
    """

    pools_globally = False

    def __init__(
        self,
        num_in_ch: int = 3,
        num_feat: int = 16,
        num_conv: int = 7,
        upscale: int = 4,
        block: str = "ECB",
        deploy: bool = False,
    ) -> None:
        super().__init__()
        if min(num_feat, upscale) < 1 or num_conv < 0:
            raise ValueError(
                "TinySR needs `num_feat` and `upscale` of at least 1 and `num_conv` of at least 0, got "
                f"{num_feat}, {upscale} and {num_conv}."
            )
        widths = [num_in_ch, *[num_feat] * (num_conv + 1)]
        self.body = nn.Sequential()
        for before, after in pairwise(widths):
            self.body.extend([rep_conv(block, before, after, deploy=deploy), nn.PReLU(after)])
        self.body.append(rep_conv(block, num_feat, num_in_ch * upscale**2, deploy=deploy))
        self.num_in_ch = self.num_out_ch = num_in_ch
        self.upscale = upscale
        self.tile_overlap, self.tile_wide = num_conv + 2, True  # all that a pixel depends on

    @classmethod
    def arguments_from(cls, shapes: Shapes) -> dict[str, Any] | None:
        """Return the arguments of a file with these shapes, None for another network's."""
        forms = {"weight": None, **{main: block for block, (_, main) in BLOCKS.items()}}
        main = next((main for main in forms if f"body.0.{main}" in shapes), None)
        if main is None or "body.1.weight" not in shapes or not all(re.match(r"body\.\d+\.", key) for key in shapes):
            return None
        layers = count_matches(shapes, r"body\.(\d+)\.")
        num_feat, num_in_ch = shapes[f"body.0.{main}"][:2]
        upscale = isqrt(shapes[f"body.{layers - 1}.{main}"][0] // num_in_ch)
        found = {"num_in_ch": num_in_ch, "num_feat": num_feat, "num_conv": (layers - 3) // 2, "upscale": upscale}
        return {**found, **({"deploy": True} if forms[main] is None else {"block": forms[main]})}

    def forward(self, x: Tensor) -> Tensor:
        """Map RGB (N, num_in_ch, H, W) in [0, 1] to (N, num_in_ch, upscale * H, upscale * W), not clamped."""
        self.check_input(x)
        return F.pixel_shuffle(self.body(x) + torch.repeat_interleave(x, self.upscale**2, dim=1), self.upscale)
