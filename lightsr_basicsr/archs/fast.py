"""Fast forms of the sums, products and gates that the networks' figures show.

A new feature map of some megabytes costs more than most operations on it, because the system has to provide its pages.
So these work in fewer passes, or in the memory of a feature map that no other layer reads. Each docstring gives the
formula; functions whose names end in ``_in_place`` overwrite their first argument.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


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


class RunningFusion:
    """A 1x1 convolution of feature maps side by side, computed as they come, so that none waits for the last.

    Where gradients are recorded all of them are kept anyway, and in a traced graph the backend decides: there the
    convolution runs once.

    Args:
        conv (nn.Conv2d): A plain 1x1 convolution; its input channels are those of all feature maps together.
        at_once (bool): Whether to convolve once in any case. Default: False.
    """

    def __init__(self, conv: nn.Conv2d, at_once: bool = False) -> None:
        self.conv, self.at_once = conv, at_once
        self.waiting: list[Tensor] = []
        self.sum: Tensor | None = None
        self.channels = 0

    def add(self, x: Tensor) -> None:
        """Take the next feature map, (N, C, H, W)."""
        if self.at_once or not may_overwrite() or torch.jit.is_tracing():
            self.waiting.append(x)
            return
        part = self.conv.weight[:, self.channels : self.channels + x.shape[1]]
        self.channels += x.shape[1]
        if self.sum is None:
            self.sum = F.conv2d(x, part, self.conv.bias)
        else:
            self.sum += F.conv2d(x, part)

    def finish(self) -> Tensor:
        """Return the convolution of all feature maps, (N, O, H, W)."""
        return self.conv(concat_and_release(self.waiting)) if self.sum is None else self.sum
