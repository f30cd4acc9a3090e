"""Say what a network computes in operations that pnnx can convert to ncnn, while the network is traced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from lightsr_basicsr.runtimes.constant_parts import ConstantParts, untraced

MOST = 3e38  # nearly the largest number of float32; pnnx knows no lower bound alone


class NcnnWords(ConstantParts):
    """Exchange operations, inside the block, for equal ones that ncnn has.

    What depends on weights alone is computed at once and becomes a constant of the graph.

    Args:
        net (nn.Module): The network that is traced; its weights need no gradient.
    """

    def traced(self, func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Return what an operation makes, computed in other words where ncnn has no layer for it."""
        said = WORDS.get(func)
        made = None if said is None else said(*args, **kwargs)
        return func(*args, **kwargs) if made is None else made


def take_channels(x: Tensor, order: Sequence[int]) -> Tensor:
    """Return the channels of (N, C, H, W) in this order, (N, len(order), H, W), by a convolution of zeros and ones."""
    channels = int(x.shape[1])
    with untraced():
        weight = torch.eye(channels)[list(order)][:, :, None, None]
    return F.conv2d(x, weight)


def _clamp_min(x: Tensor, least: float) -> Tensor | None:
    return None if isinstance(least, Tensor) else torch.clamp(x, min=float(least), max=MOST)


def _add_product(x: Tensor, a: Tensor, b: Tensor, **others: Any) -> Tensor | None:
    return None if others else x + a * b


def _repeat(x: Tensor, times: int, dim: int | None = None, **others: Any) -> Tensor | None:
    if others or dim != 1 or x.ndim != 4:
        return None
    return take_channels(x, [channel for channel in range(int(x.shape[1])) for _ in range(int(times))])


def _view_as(x: Tensor, other: Tensor) -> Tensor:
    # Images and channels are constants of the graph.
    return x.reshape([int(side) if axis < 2 else side for axis, side in enumerate(other.shape)])


def _pad(x: Tensor, pad: Sequence[int | Tensor], mode: str = "constant", value: float | None = None) -> Tensor | None:
    """Return (N, C, H, W) padded at its ends by computed numbers: by the most, of which the rest is cut off."""
    if mode == "constant" or not any(isinstance(each, Tensor) for each in pad):
        return None
    height, width = x.shape[2:]
    # Of the traced image, whose sides are odd; ncnn pads by constants.
    most = [int(each) for each in pad] + [0] * (4 - len(pad))
    right, bottom = pad[1], pad[3] if len(pad) == 4 else 0
    return F.pad(x, most, mode, value)[:, :, : most[2] + height + bottom][:, :, :, : most[0] + width + right]


def _item(x: Tensor, key: Any) -> Tensor | None:
    if isinstance(key, int) and key == 0 and x.shape[0] == 1:
        return x.squeeze(0)
    if not isinstance(key, tuple):
        return None
    if len(key) == 2 and key[0] == slice(None) and isinstance(key[1], list):
        return take_channels(x, key[1])
    if not all(part is Ellipsis or isinstance(part, slice) for part in key) or len(key) > x.ndim:
        return None
    if Ellipsis in key:
        place = key.index(Ellipsis)
        key = (*key[:place], *[slice(None)] * (x.ndim - len(key) + 1), *key[place + 1 :])
    # pnnx drops a part like [4:-4] of a side that it does not know.
    ends = tuple(_with_end(part, x.shape[axis]) for axis, part in enumerate(key))
    return x[ends] if any(new is not old for new, old in zip(ends, key, strict=True)) else None


def _with_end(part: Any, side: Any) -> Any:
    """Return a part of a side whose end is counted from its start, where it begins and ends inside."""
    inside = isinstance(part, slice) and isinstance(part.start, int) and isinstance(part.stop, int)
    return slice(part.start, side + part.stop) if inside and part.start > 0 > part.stop else part


def _square(x: Tensor) -> Tensor:
    return x * x


def _sqrt(x: Tensor) -> Tensor:
    return x**0.5


WORDS = {
    # Upscayl's ncnn has no layer of one operand.
    **dict.fromkeys((torch.square, Tensor.square, Tensor.square_), _square),
    **dict.fromkeys((torch.sqrt, Tensor.sqrt), _sqrt),
    **dict.fromkeys((torch.clamp_min, Tensor.clamp_min), _clamp_min),
    **dict.fromkeys((torch.addcmul, Tensor.addcmul, Tensor.addcmul_), _add_product),
    **dict.fromkeys((torch.repeat_interleave, Tensor.repeat_interleave), _repeat),
    Tensor.view_as: _view_as,
    F.pad: _pad,
    Tensor.__getitem__: _item,
}
