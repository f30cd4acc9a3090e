"""The adaptive cropping of IMDN_AS as one graph: which crops are taken is computed from the size, not decided."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

MULTIPLE = 4


def run_in_crops(run: Callable[[Tensor], Tensor], x: Tensor, shave: int, min_side: int) -> Tensor:
    """Run a network of scale 1 on an image or on its four overlapping quarters, as the size requires, without branches.

    Sides that are multiples of 4 need no crops. Others are padded to multiples of 4 by repeating the last row and
    column, where one side is below ``min_side``; else the four quarters, ``shave`` pixels larger than a half and
    rounded down to multiples of 4, are run and stitched. A traced graph that contains this holds for all sizes.

    Args:
        run (Callable): Maps crops (K, C, h, w), h and w multiples of 4, to the same size.
        x (Tensor): Images (N, C, H, W).
        shave (int): Pixels that a quarter is larger than a half.
        min_side (int): Smallest side of an image that is cut into quarters.
    """
    sides = [torch.as_tensor(side) for side in x.shape[2:]]
    odd = (sides[0] % MULTIPLE + sides[1] % MULTIPLE).clamp(max=1)
    large = (torch.minimum(*sides) - (min_side - 1)).clamp(min=0, max=1)
    cut = odd * large  # 1 for quarters, 0 for the image as one crop
    seen, places = zip(*(_along(side, cut, shave) for side in sides), strict=True)
    # (N, C, H, W) -> (N, C, K, h, K, w) -> (K * K * N, C, h, w)
    crops = x[:, :, seen[0]][..., seen[1]]
    _, c, k, h, _, w = crops.shape
    made = run(crops.permute(2, 4, 0, 1, 3, 5).reshape(-1, c, h, w))
    rows = made.reshape(k, k, -1, made.shape[1], h, w).permute(2, 3, 0, 4, 1, 5)
    rows = rows.reshape(rows.shape[0], rows.shape[1], k * h, k * w)
    return rows.index_select(2, places[0]).index_select(3, places[1])


def _along(side: Tensor, cut: Tensor, shave: int) -> tuple[Tensor, Tensor]:
    """Return for one side the pixels that each crop sees (K, h), and where the crops hold each pixel of the side."""
    quarter = torch.div(side, 2, rounding_mode="floor") + shave
    quarter = quarter - quarter % MULTIPLE
    padded = side + (MULTIPLE - side % MULTIPLE) % MULTIPLE
    length = cut * quarter + (1 - cut) * padded
    starts = torch.arange(1 + cut) * (side - length)
    seen = (starts[:, None] + torch.arange(length)[None]).clamp(max=side - 1)
    pixel = torch.arange(side)
    second = (pixel >= torch.div(side, 2, rounding_mode="floor")).long() * cut
    return seen, pixel - second * (side - length) + second * length
