"""Any registered network with fewer channels at sites that are given by the names of its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from lightsr_basicsr.archs.layers import read_channels
from lightsr_basicsr.archs.sites import narrow, sites_of_pairs
from lightsr_basicsr.registry import look_up, register, similar_names


@register(ARCH_REGISTRY)
def Pruned(  # noqa: N802
    network: Mapping[str, Any], sites: Sequence[Sequence[str]], channels: Sequence[int] | str | PathLike
) -> nn.Module:
    """Return a network that is narrower between pairs of its layers, for networks without ``channels`` of their own.

    Args:
        network (Mapping): Section of the network: ``type`` and its arguments.
        sites (Sequence[Sequence[str]]): Names of two layers each, the second of which alone reads what the first makes:
            ``[[body.0.conv1, body.0.conv2], ...]``.
        channels (Sequence[int] | str): Channels that are left at each site, or a text file of them.

    Raises:
        ValueError: If the network is unknown, layers are no sites, or the numbers do not fit.

    Example:
        >>> edsr = {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_block": 1}
        >>> Pruned(edsr, [["body.0.conv1", "body.0.conv2"]], [24]).body[0].conv1.out_channels
        24
    """
    kind = network.get("type") if isinstance(network, Mapping) else None
    found = look_up(ARCH_REGISTRY, kind)
    if found is None:
        hint = similar_names(ARCH_REGISTRY, kind) or "`basicsr list networks` shows them."
        raise ValueError(f"Pruned needs a `network` section with a registered type, got {network!r}: {hint}")
    net = found(**{key: value for key, value in network.items() if key != "type"})
    found_sites = sites_of_pairs(net, sites)
    numbers = read_channels(channels, [site.width for site in found_sites], f"Pruned {kind}")
    return narrow(net, found_sites, [range(number) for number in numbers])
