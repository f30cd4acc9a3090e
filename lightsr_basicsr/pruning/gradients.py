"""Gradients that are not applied by an optimizer as they are: limited in their norm."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def clipped(gradients: Sequence[Tensor | None], most: float) -> list[Tensor | None]:
    """Return gradients scaled to a joint norm of at most ``most``, as ``clip_grad_norm_`` does; None stays None.

    >>> clipped([torch.tensor([3.0]), None, torch.tensor([4.0])], 0.5)
    [tensor([0.3000]), None, tensor([0.4000])]
    """
    norms = [each.norm() for each in gradients if each is not None]
    factor = (most / (torch.stack(norms).norm() + 1e-6)).clamp_max(1) if norms else 1
    return [None if each is None else each * factor for each in gradients]


def without_nan(gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Return gradients with 0 in place of NaN and Inf; None stays None."""
    return [None if each is None else each.nan_to_num(0.0, 0.0, 0.0) for each in gradients]
