"""Tensors of a checkpoint: plain numbers in memory, no more of them than its bytes hold, all finite."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor, nn

from lightsr_basicsr.checkpoints.claims import most_claimed

PLAIN = (Tensor, nn.Parameter, *([nn.Buffer] if hasattr(nn, "Buffer") else []))
NUMBERS = (torch.float64, torch.float32, torch.float16, torch.bfloat16,
           torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)  # fmt: skip
MOST_TENSORS = 10_000  # of one network
LISTED = 3


def describe_problem(state: Mapping[str, Tensor]) -> str:
    """Return why ``state`` cannot be the weights of a network, as the end of a sentence; '' if it can."""
    if len(state) > MOST_TENSORS:
        return f"{len(state):,} tensors, more than any network has ({MOST_TENSORS:,})"
    for key, value in state.items():
        if kind := _odd_kind(value):
            return f"'{short_key(key)}' as {kind}"
    if state and not any(value.is_floating_point() for value in state.values()):
        return "no floating-point numbers, only whole ones"
    held = {_storage(part).data_ptr(): _storage(part).nbytes() for value in state.values() for part in _parts(value)}
    # A side of 0 counts as 1: a network of the same shapes has other tensors with that side.
    claimed = sum(prod(max(side, 1) for side in value.shape) * value.element_size() for value in state.values())
    if claimed > most_claimed(sum(held.values())):
        return f"{sum(held.values()):,} bytes of numbers for tensors whose shapes claim {claimed:,}"
    return ""


def short_key(key: object, most: int = 80) -> str:
    """Return the name of a tensor for a message, in one line of printable characters."""
    text = key if isinstance(key, str) else type(key).__name__
    text = text if len(text) <= most else f"{text[:most]}..."
    return text if text.isprintable() else ascii(text)[1:-1]


def dense(value: Tensor) -> Tensor:
    """Return a tensor with all its zeros, which :func:`describe_problem` has found plain."""
    return value if value.layout == torch.strided else value.to_dense()


def not_finite(state: Mapping[str, Tensor]) -> list[str]:
    """Return the names of tensors that hold NaN or an infinite number.

    >>> not_finite({"a": torch.tensor([1.0, float("nan")]), "b": torch.zeros(2), "c": torch.tensor([float("inf")])})
    ['a', 'c']
    """
    return [key for key, value in state.items() if value.is_floating_point() and not torch.isfinite(value).all()]


def describe_not_finite(names: list[str]) -> str:
    """Return a warning about tensors that are not finite, '' for none.

    >>> describe_not_finite(["conv.weight"])
    '1 tensor holds NaN or infinite numbers (conv.weight): the training diverged, or the file is damaged'
    """
    if not names:
        return ""
    listed = ", ".join(map(short_key, names[:LISTED])) + (", ..." if names[LISTED:] else "")
    verb = "tensor holds" if len(names) == 1 else "tensors hold"
    return f"{len(names)} {verb} NaN or infinite numbers ({listed}): the training diverged, or the file is damaged"


def _odd_kind(value: Tensor) -> str:
    """Return what kind of tensor is no plain one, '' for a plain one."""
    if type(value) not in PLAIN:
        return f"a {type(value).__name__}, no plain tensor"
    if value.is_meta:
        return "a meta tensor, a shape without numbers"
    if value.is_nested:
        return "a nested tensor, several of different sizes"
    if value.is_quantized:
        return "a quantized tensor (`.dequantize()` makes it plain)"
    if value.layout not in (torch.strided, torch.sparse_coo):
        return f"a tensor of the layout {value.layout}"
    if value.dtype not in NUMBERS:
        return f"a tensor of {value.dtype}, expected floating-point numbers"
    if value.layout == torch.sparse_coo and _leaves_its_shape(value):
        return "a sparse tensor with numbers outside of its shape"
    return ""


def _leaves_its_shape(value: Tensor) -> bool:
    indices = value._indices()
    sides = torch.tensor(value.shape[: len(indices)], dtype=indices.dtype)[:, None]
    return bool(((indices < 0) | (indices >= sides)).any())


def _parts(value: Tensor) -> tuple[Tensor, ...]:
    return (value,) if value.layout == torch.strided else (value._indices(), value._values())


def _storage(value: Tensor) -> torch.UntypedStorage:
    return value.untyped_storage() if hasattr(value, "untyped_storage") else value.storage()
