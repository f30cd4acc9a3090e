"""Checks for option files of compression: sites, rates and lists of channels, budgets, halves of the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lightsr_basicsr import fields
from lightsr_basicsr.archs.network import first_channels
from lightsr_basicsr.archs.sites import Site, SiteError, check_probe, sites_of
from lightsr_basicsr.errors import UserError
from lightsr_basicsr.models.contract import Networks, Options, Problems
from lightsr_basicsr.models.dual_checks import TRIED_SIDE, DualContract
from lightsr_basicsr.pruning.channel_lists import candidate_widths, check_rate
from lightsr_basicsr.pruning.cost import Cost, check_cost, check_reach

SITES = {
    "train.sites": fields.several(
        "Sites of a network that names none: pairs of layers, of which the second alone reads what the first makes, as "
        "`[[body.0.conv1, body.0.conv2], ...]`.",
        fields.several("", fields.text(), 2),
        null=True,
    ),
}


def probe_image(options: Options, net: nn.Module) -> Tensor:
    """Return a random image (1, C, H, W) of the LR crop's size, on the device of ``net``."""
    crop, scale = ((options.get("datasets") or {}).get("train") or {}).get("gt_size"), options.get("scale")
    side = crop // scale if isinstance(crop, int) and isinstance(scale, int) and scale else TRIED_SIDE
    channels = getattr(net, "num_in_ch", first_channels(net))
    generator = torch.Generator().manual_seed(0)  # leaves that of the run alone
    return torch.rand(1, channels, side, side, generator=generator).to(next(net.parameters()).device)


def cost_of(
    options: Options, net: nn.Module, sites: Sequence[Site], candidates: Sequence[Sequence[int]]
) -> tuple[Cost | None, float, float]:
    """Return the cost of ``train.cost``, its target and weight; None, 1 and 0 without it.

    Raises:
        CostError: If the options are wrong, or the target cannot be met.
    """
    section = options["train"].get("cost")
    if not section:
        return None, 1.0, 0.0
    kind, target, weight = check_cost(section)
    cost = Cost(net, sites, kind, probe_image(options, net))
    check_reach(cost, candidates, target)
    return cost, target, weight


def require_one_process(options: Options, name: str) -> None:
    """Raise UserError in a distributed run: gradients here are taken apart, and every process would choose alone."""
    if options.get("dist"):
        raise UserError(f"{name} runs in one process, got a launcher: start it with `basicsr train` alone.")


class PruningContract(DualContract):
    """What search and pruning share: a network with sites."""

    required_paths = ("pretrain_network_g",)

    def find_problems(self, options: Options, networks: Networks) -> Problems:
        """Yield also a network without sites, sites that do not stand alone, and an average that nobody uses."""
        yield from super().find_problems(options, networks)
        if (options.get("train") or {}).get("ema_decay"):
            yield "train.ema_decay", f"has no effect: {self.name} keeps no average, remove it"
        net, pairs = networks.get("network_g"), options["train"].get("sites")
        if net is None:
            return
        try:
            sites = sites_of(net, pairs)
            if pairs:
                check_probe(net, sites, probe_image(options, net))
        except SiteError as error:
            yield "train.sites" if pairs else "network_g", str(error)
            return
        try:
            self.check_sites(options, net, sites)
        except UserError as error:
            yield self.place_of(options), str(error)

    def check_sites(self, options: Options, net: nn.Module, sites: Sequence[Site]) -> None:
        """Raise UserError for numbers that do not fit the sites."""

    def place_of(self, options: Options) -> str:
        """Return the key that such numbers are given by."""
        return "train.pruning_rate"


class SearchContract(PruningContract):
    """The contract of ``ChannelSearchModel``."""

    needed_sections: ClassVar = {**DualContract.needed_sections}

    def find_problems(self, options: Options, networks: Networks) -> Problems:
        """Yield also batches that are no halves."""
        yield from super().find_problems(options, networks)
        train = (options.get("datasets") or {}).get("train") or {}
        if not train.get("halves"):
            text = "must be true: weights learn from one half of the images, channel numbers from the other"
            yield "datasets.train.halves", text
        batch = train.get("batch_size_per_gpu")
        if isinstance(batch, int) and batch % 2:
            yield "datasets.train.batch_size_per_gpu", f"must be even, a half each for two kinds of steps; got {batch}"

    def check_sites(self, options: Options, net: nn.Module, sites: Sequence[Site]) -> None:
        """Raise UserError for a rate outside of (0, 1), and a cost that cannot be met."""
        rate = options["train"].get("pruning_rate")
        check_rate(rate)
        cost_of(options, net, sites, [candidate_widths(site.width, rate) for site in sites])

    def place_of(self, options: Options) -> str:
        """Return that of the cost, where the rate is right."""
        rate: Any = options["train"].get("pruning_rate")
        right = isinstance(rate, (int, float)) and 0 < rate < 1
        return "train.cost" if right and isinstance(options["train"].get("cost"), Mapping) else "train.pruning_rate"
