"""Fast forms of the sums, products and gates that the networks' figures show.

A new feature map of some megabytes costs more than most operations on it, because the system has to provide its pages.
So these work in fewer passes, or in the memory of a feature map that no other layer reads. Each docstring gives the
formula; functions whose names end in ``_in_place`` overwrite their first argument.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def may_overwrite() -> bool:
    """Return whether no gradient is recorded, so that a feature map that no other layer reads may be overwritten."""
    return not torch.is_grad_enabled()


def concat_and_release(parts: list[Tensor]) -> Tensor:
    """Return ``torch.cat(parts, dim=1)`` and empty the list, so that its tensors do not live beside what follows."""
    whole = torch.cat(parts, dim=1)
    parts.clear()
    return whole


def run_steps(steps: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Return ``x`` after all ``steps``, one by one, because a call of all of them would keep the first input."""
    for step in steps:
        x = step(x)
    return x


def add_in_place(x: Tensor, y: Tensor) -> Tensor:
    """Return ``x + y``; a new tensor where ``x`` needs a gradient or the dtypes differ."""
    return x.add_(y) if x.dtype == y.dtype and not x.requires_grad else y + x


def add_product(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return ``x + a * b`` in one pass."""
    return torch.addcmul(x, a, b)


def add_product_in_place(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return ``x + a * b``, with gradients too: the backward pass does not need ``x``."""
    return x.addcmul_(a, b)


def multiply_in_place(x: Tensor, y: Tensor) -> Tensor:
    """Return ``x * y``; a new tensor where gradients are recorded, for which both factors are kept."""
    return x.mul_(y) if may_overwrite() else y * x


def sigmoid_in_place(x: Tensor) -> Tensor:
    """Return ``sigmoid(x)``, with gradients too: the backward pass needs the result alone."""
    return x.sigmoid_()
