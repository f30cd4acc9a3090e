"""Sites: where channels of a network can be removed, because one layer makes them and only known ones read them.

Paper: Guo et al., "Towards Lightweight Super-Resolution with Dual Regression Learning", arXiv 2207.07929. The width of
what a block takes and gives never changes, so that removing channels is a change of two layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from math import isqrt
from typing import Literal

import torch
from torch import Tensor, nn

from lightsr_basicsr.errors import UserError, short_message

# 'convolutions', 'linear': row `first + c` of the producer makes channel c, which is column c of the consumers.
# 'shuffled': a pixel shuffle lies between, so `repeat` rows in a row make one channel.
# 'heads': channel j is index j of all `repeat` attention heads: its rows of query, key and value, and its columns.
Kind = Literal["convolutions", "linear", "shuffled", "heads"]
PARTS_OF_ATTENTION = 3


class SiteError(UserError):
    """A network without sites, or sites that are not where a channel can be removed."""


@dataclass(frozen=True)
class Site:
    """Channels that can be removed one by one.

    Attributes:
        name (str): Of the unit; for attention the module whose ``forward`` attends.
        producer (str): Name of the convolution or linear layer whose outputs are removed.
        consumers (tuple[str, ...]): Names of those that read them. The first one's weights rank the channels.
        width (int): Number of channels; for attention those of one head.
        kind (Kind): How channels lie in the producer and the consumers, see above.
        repeat (int): Rows of the producer for one channel (shuffled), or attention heads. Default: 1.
        first (int): Row of the producer with which the channels begin; rows before it always stay. Default: 0.
        feature (str): Name of the module whose output a choice of channels compares with that of the dense network.
            Default: '', the first consumer.
    """

    name: str
    producer: str
    consumers: tuple[str, ...]
    width: int
    kind: Kind = "convolutions"
    repeat: int = 1
    first: int = 0
    feature: str = ""

    @property
    def compared(self) -> str:
        """The module whose output is compared with that of the dense network."""
        return self.feature or self.consumer

    @property
    def consumer(self) -> str:
        """The consumer whose weights rank the channels."""
        return self.consumers[0]

    @property
    def unit(self) -> int:
        """The number in a channel list over that of channels: attention is listed as the width of all heads."""
        return self.repeat if self.kind == "heads" else 1

    @property
    def listed(self) -> int:
        """The number of the whole width in a channel list."""
        return self.width * self.unit

    def rows(self, channels: Sequence[int]) -> list[int]:
        """Return the rows of the producer that make these channels, ascending."""
        if self.kind == "heads":
            blocks = range(PARTS_OF_ATTENTION * self.repeat)
            return sorted(block * self.width + channel for block in blocks for channel in channels)
        return sorted(self.first + self.repeat * channel + row for channel in channels for row in range(self.repeat))

    def columns(self, channels: Sequence[int]) -> list[int]:
        """Return the columns of the consumers that read these channels, ascending."""
        heads = range(self.repeat if self.kind == "heads" else 1)
        return sorted(head * self.width + channel for head in heads for channel in channels)

    def dropped(self, kept: Sequence[int]) -> list[int]:
        """Return the other channels than ``kept``."""
        return sorted(set(range(self.width)) - set(kept))

    def per_channel(self, columns: Tensor) -> Tensor:
        """Sum values of the consumers' columns, (listed,), to those of the channels, (width,)."""
        return columns.view(-1, self.width).sum(0)

    def per_column(self, channels: Tensor) -> Tensor:
        """Repeat values of the channels, (width,), for the consumers' columns, (listed,)."""
        return channels.repeat(self.unit)


def sites_of(net: nn.Module, pairs: Sequence[Sequence[str]] | None = None) -> list[Site]:
    """Return the sites that a network declares, or those of ``pairs``: names of producer and consumer.

    Raises:
        SiteError: If there are none, or a layer is not a plain convolution or linear layer of the site's size.
    """
    name = type(net).__name__
    sites = sites_of_pairs(net, pairs) if pairs else list(getattr(net, "prunable_sites", list)())
    if not sites:
        raise SiteError(
            f"{name} names no sites, where channels can be removed: name them as pairs of layers in the option file, "
            "train.sites: [[body.0.conv1, body.0.conv2], ...]; the second one alone reads what the first one makes."
        )
    for site in sites:
        for layer, axis, least in ((site.producer, 0, site.rows([site.width - 1])[-1] + 1),
                                   *((each, 1, site.listed) for each in site.consumers)):  # fmt: skip
            weight = _layer(net, layer).weight
            if weight.shape[axis] != least:
                side = ("outputs", "inputs")[axis]
                raise SiteError(f"{name}: {layer} has {weight.shape[axis]} {side}, but its site {site.name} {least}.")
    return sites


def sites_of_pairs(net: nn.Module, pairs: Sequence[Sequence[str]]) -> list[Site]:
    """Return sites by the names of two layers each, the second of which alone reads what the first makes.

    Between them may be anything that works on channels one by one and keeps zero zero for a channel that is not read,
    or a pixel shuffle.

    Raises:
        SiteError: If a layer does not exist, is no plain convolution or linear layer, or is in two sites in one role,
            or the sizes do not belong together.
    """
    sites = []
    for pair in pairs:
        if isinstance(pair, str) or len(pair) != 2 or not all(isinstance(each, str) for each in pair):
            raise SiteError(f"A site is a pair of names, [body.0.conv1, body.0.conv2], got {pair!r}.")
        sites.append(_site_of_pair(net, *pair))
    for role in ("producer", "consumer"):
        names = [getattr(site, role) for site in sites]
        if twice := next((each for each in names if names.count(each) > 1), None):
            raise SiteError(f"{twice} is the {role} of two sites: name every layer once in a role.")
    return sites


def _site_of_pair(net: nn.Module, producer: str, consumer: str) -> Site:
    made, read = _layer(net, producer), _layer(net, consumer)
    num_out, num_in = made.weight.shape[0], read.weight.shape[1]
    factor = isqrt(num_out // num_in)
    kind: Kind = "linear" if isinstance(read, nn.Linear) else "convolutions"
    if num_out != num_in and factor**2 * num_in == num_out:
        kind = "shuffled"
    elif num_out != num_in:
        raise SiteError(
            f"{producer} makes {num_out} channels, but {consumer} reads {num_in}: the layers of a site must follow "
            "one another, with nothing but activations or a pixel shuffle between them."
        )
    shared = producer.split(".")
    shared = shared[: next((i for i, (a, b) in enumerate(zip(shared, consumer.split("."), strict=False)) if a != b), 0)]
    repeat = num_out // num_in
    return Site(".".join(shared) or f"{producer}, {consumer}", producer, (consumer,), num_in, kind, repeat)


def _layer(net: nn.Module, name: str) -> nn.Conv2d | nn.Linear:
    """Return the convolution or linear layer of this name, its weight a parameter of its own."""
    try:
        layer = net.get_submodule(name)
    except AttributeError as error:
        raise SiteError(f"{type(net).__name__} has no layer {name}: print the network for the names.") from error
    plain = isinstance(layer, (nn.Conv2d, nn.Linear)) and isinstance(layer._parameters.get("weight"), nn.Parameter)
    if not plain or getattr(layer, "groups", 1) != 1 or isinstance(layer, nn.ConvTranspose2d):
        raise SiteError(
            f"{name} is {type(layer).__name__}{', grouped' if plain else ''}: a site needs plain convolutions or "
            "linear layers. A reparameterized network is pruned in its deployed form."
        )
    return layer


@torch.no_grad()
def narrow(net: nn.Module, sites: Sequence[Site], kept: Sequence[Sequence[int]]) -> nn.Module:
    """Return a copy of ``net`` in which the channels of each site are ``kept`` alone; not for attention.

    For networks whose layers are all that knows the widths.
    """
    net = deepcopy(net)
    for site, channels in zip(sites, kept, strict=True):
        if site.kind == "heads":
            raise SiteError(f"{site.name} is attention, which only a network with `channels` of its own can narrow.")
        made, gone = net.get_submodule(site.producer), site.dropped(channels)
        _keep(made, 0, without(made.weight.shape[0], site.rows(gone)))
        for name in site.consumers:
            _keep(net.get_submodule(name), 1, without(site.listed, site.columns(gone)))
    return net


def without(count: int, dropped: Sequence[int]) -> list[int]:
    """Return the indices below ``count`` but for those ``dropped``."""
    gone = set(dropped)
    return [index for index in range(count) if index not in gone]


def _keep(layer: nn.Conv2d | nn.Linear, axis: int, indices: list[int]) -> None:
    """Keep rows (axis 0) or columns (axis 1) of a layer, in place."""
    index = torch.tensor(indices, device=layer.weight.device)
    layer.weight = nn.Parameter(layer.weight.index_select(axis, index))
    if axis == 0 and layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias.index_select(0, index))
    linear = isinstance(layer, nn.Linear)
    setattr(layer, (("out_features", "in_features") if linear else ("out_channels", "in_channels"))[axis], len(indices))


@torch.no_grad()
def check_probe(net: nn.Module, sites: Sequence[Site], image: Tensor) -> None:
    """Check that nothing but the consumers reads the channels of the sites, by removing the last channel of each.

    The pruned network must give what the whole one gives whose consumers ignore that channel.

    Args:
        net (nn.Module): The network; it is unchanged.
        sites (Sequence[Site]): None of attention.
        image (Tensor): An input (N, C, H, W).

    Raises:
        SiteError: With the first site that does not stand alone.
    """
    try:
        deepcopy(net).eval()(image)
    except Exception as error:
        # Networks of other packages may raise any exception.
        raise SiteError(
            f"{type(net).__name__} cannot run on an image {tuple(image.shape)} ({short_message(error)}), so its sites "
            "cannot be tried: set another gt_size."
        ) from error
    for site in sites:
        text = (
            f"{type(net).__name__}: something else than {', '.join(site.consumers)} reads what {site.producer} makes, "
            "or a layer between has weights for each channel (PReLU, normalization)"
        )
        if site.width < 2:
            continue
        masked = deepcopy(net).eval()
        for name in site.consumers:
            masked.get_submodule(name).weight[:, site.columns([site.width - 1])] = 0
        expected = masked(image)
        try:
            seen = narrow(net, [site], [range(site.width - 1)]).eval()(image)
        except Exception as error:
            # Networks of other packages may raise any exception for a tensor of another width.
            raise SiteError(f"{text} ({short_message(error, 200)}): leave that site out.") from error
        if seen.shape != expected.shape or not torch.allclose(seen, expected, rtol=1e-3, atol=1e-4):
            raise SiteError(f"{text}: its channels cannot be removed, leave that site out.")


def prune_state(state: Mapping[str, Tensor], sites: Sequence[Site], kept: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """Return the tensors of a network without the channels that are not ``kept``, ascending, at each site.

    Nothing else changes: rows of producers, with their biases, and columns of consumers are left out.
    """
    state = dict(state)
    for site, channels in zip(sites, kept, strict=True):
        gone = site.dropped(channels)
        rows = torch.tensor(without(len(state[f"{site.producer}.weight"]), site.rows(gone)))
        for key in (f"{site.producer}.weight", f"{site.producer}.bias"):
            if key in state:
                state[key] = state[key].index_select(0, rows.to(state[key].device))
        columns = torch.tensor(without(site.listed, site.columns(gone)))
        for key in (f"{name}.weight" for name in site.consumers):
            state[key] = state[key].index_select(1, columns.to(state[key].device))
    return state
