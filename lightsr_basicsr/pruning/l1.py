"""Which channels to keep by the size of weights alone: no data, no training, in a second."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightsr_basicsr.archs.sites import Site


def importance(site: Site, weight: Tensor) -> Tensor:
    """Return for each channel (width,) the sum of absolute weights of its consumer, (outputs, inputs, ...)."""
    return site.per_channel(weight.abs().reshape(*weight.shape[:2], -1).sum(dim=(0, 2)))


def largest(scores: Tensor, count: int) -> list[int]:
    """Return the indices of the ``count`` largest scores (width,), ascending; of equal ones the first.

    >>> largest(torch.tensor([1.0, 3.0, 2.0, 3.0]), 2)
    [1, 3]
    """
    return sorted(scores.argsort(descending=True, stable=True)[:count].tolist())


@torch.no_grad()
def keep_by_l1(net: nn.Module, sites: Sequence[Site], targets: Sequence[int]) -> list[list[int]]:
    """Return the channels of each site that its consumer reads with the largest weights, ``targets`` of them."""
    weights = [net.get_submodule(site.consumer).weight for site in sites]
    return [
        largest(importance(site, weight), count) for site, weight, count in zip(sites, weights, targets, strict=True)
    ]
