"""Make the narrower network of a network and the channels that it keeps, and its section of an option file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from lightsr_basicsr.archs.sites import Site, prune_state
from lightsr_basicsr.checkpoints import misfit
from lightsr_basicsr.pruning.channel_lists import listed
from lightsr_basicsr.registry import look_up

Pairs = Sequence[Sequence[str]]


def pruned_section(network: Mapping[str, Any], numbers: Sequence[int], pairs: Pairs | None = None) -> dict[str, Any]:
    """Return the section ``network_g`` of the narrower network: with ``channels``, or wrapped for named ``pairs``.

    >>> pruned_section({"type": "IMDN", "num_block": 1}, [20, 24, 48])
    {'type': 'IMDN', 'num_block': 1, 'channels': [20, 24, 48]}
    """
    if pairs is None:
        return {**network, "channels": list(numbers)}
    return {"type": "Pruned", "network": dict(network), "sites": [list(pair) for pair in pairs],
            "channels": list(numbers)}  # fmt: skip


def prune(
    net: nn.Module,
    network: Mapping[str, Any],
    sites: Sequence[Site],
    kept: Sequence[Sequence[int]],
    pairs: Pairs | None = None,
) -> tuple[nn.Module, dict[str, Any]]:
    """Return the narrower network with the weights of ``net``, in evaluation mode, and its section of an option file.

    No weight is changed. For convolutions and linear layers the output is that of ``net`` whose consumers ignore the
    other channels; attention loses them in its products of query and key too.

    Args:
        net (nn.Module): The network; it is unchanged.
        network (Mapping): Its section: ``type`` and arguments.
        sites (Sequence[Site]): Its sites.
        kept (Sequence[Sequence[int]]): The channels to keep at each.
        pairs (Sequence | None): The names by which the sites were given, None for those that the network declares.

    Raises:
        CheckpointError: If the section is not that of ``net``.
    """
    kept = [sorted(channels) for channels in kept]
    section = pruned_section(network, listed(sites, [len(channels) for channels in kept]), pairs)
    narrow = look_up(ARCH_REGISTRY, section["type"])(**{key: each for key, each in section.items() if key != "type"})
    misfit.load_weights(narrow, prune_state(net.state_dict(), sites, kept), "The pruned state")
    return narrow.to(next(net.parameters()).device).eval(), section


@torch.no_grad()
def mask(net: nn.Module, sites: Sequence[Site], kept: Sequence[Sequence[int]]) -> nn.Module:
    """Return a copy of ``net`` whose consumers ignore all channels but those ``kept``; its shapes stay."""
    net = deepcopy(net)
    for site, channels in zip(sites, kept, strict=True):
        for name in site.consumers:
            net.get_submodule(name).weight[:, site.columns(site.dropped(channels))] = 0
    return net
