"""Checks for option files of compression: sites, rates and lists of channels, budgets, halves of the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os.path import expanduser
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lightsr_basicsr import fields
from lightsr_basicsr.archs.network import first_channels
from lightsr_basicsr.archs.sites import Site, SiteError, check_probe, sites_of
from lightsr_basicsr.checkpoints import CheckpointError, read_state_dict
from lightsr_basicsr.errors import UserError
from lightsr_basicsr.models.contract import Networks, Options, Problems
from lightsr_basicsr.models.dual_checks import TRIED_SIDE, DualContract
from lightsr_basicsr.models.speed import KEYS as SPEED
from lightsr_basicsr.pruning.channel_lists import candidate_widths, targets_of
from lightsr_basicsr.pruning.cost import Cost, check_cost, check_reach
from lightsr_basicsr.pruning.selection import Settings, iterations_of

CRITERIA = ("dcp", "l1")
DENSE = "pretrain_network_dense"
MOST_SIDE = 64  # of an image for trying networks, in LR pixels
SITES = {
    "train.sites": fields.several(
        "Sites of a network that names none: pairs of layers, of which the second alone reads what the first makes, as "
        "`[[body.0.conv1, body.0.conv2], ...]`.",
        fields.several("", fields.text(), 2),
        null=True,
    ),
}


def probe_image(options: Options, net: nn.Module) -> Tensor:
    """Return a random image (1, C, H, W) of the LR crop's size, or less, on the device of ``net``."""
    crop, scale = ((options.get("datasets") or {}).get("train") or {}).get("gt_size"), options.get("scale")
    side = crop // scale if isinstance(crop, int) and isinstance(scale, int) and scale > 0 else TRIED_SIDE
    side = min(max(side, getattr(net, "min_side", 1)), MOST_SIDE)
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
    if section is None:
        return None, 1.0, 0.0
    kind, target, weight = check_cost(section)
    cost = Cost(net, sites, kind, probe_image(options, net))
    check_reach(cost, candidates, target)
    return cost, target, weight


def has_wrong_values(model: type | None, options: Options) -> bool:
    """Return whether ``options`` hold a value that the fields of ``model`` do not take, which is told elsewhere."""
    for key, field in fields.declared(model).items() if model else ():
        section, _, name = key.rpartition(".")
        values = options.get(section) or {} if section else options
        if isinstance(values, Mapping) and name in values and field.problem(values[name]):
            return True
    return False


def require_one_process(options: Options, name: str) -> None:
    """Raise UserError in a distributed run: gradients here are taken apart, and every process would choose alone."""
    if options.get("dist"):
        raise UserError(f"{name} runs in one process, got a launcher: start it with `basicsr train` alone.")


def targets_in(options: Options, sites: Sequence[Site]) -> list[int]:
    """Return the channels to keep at each site, of ``train.channels`` or ``train.pruning_rate``.

    Raises:
        ChannelListError: If neither is given, or one does not fit.
    """
    return targets_of(sites, options["train"].get("channels"), options["train"].get("pruning_rate"))


def settings_of(train: Mapping[str, Any]) -> Settings:
    """Return how the section ``train`` lets channels be chosen."""
    default = Settings()
    return Settings(
        int(train.get("pass_iter", default.pass_iter)),
        int(train.get("channels_per_round", default.per_round)),
        float(train.get("tune_lr", default.lr)),
        float(train.get("tune_momentum", default.momentum)),
        train.get("clip_norm"),
    )


class PruningContract(DualContract):
    """What search and pruning share: a network with sites."""

    speed_without_effect: ClassVar = dict.fromkeys(SPEED, "runs networks in its own way")

    def find_problems(self, options: Options, networks: Networks) -> Problems:
        """Yield also a network without sites, sites that do not stand alone, and an average that nobody uses."""
        yield from super().find_problems(options, networks)
        if (options.get("train") or {}).get("ema_decay"):
            yield "train.ema_decay", f"has no effect: {self.name} keeps no average, remove it"
        net, pairs = networks.get("network_g"), options["train"].get("sites")
        if net is None or has_wrong_values(self.model, options):
            return
        try:
            sites = sites_of(net, pairs)
            if pairs:
                check_probe(net, sites, probe_image(options, net))
        except SiteError as error:
            yield "train.sites" if pairs else "network_g", str(error)
            return
        yield from self.find_site_problems(options, net, sites)

    def find_site_problems(self, options: Options, net: nn.Module, sites: Sequence[Site]) -> Problems:
        """Yield numbers that do not fit the sites."""
        yield from ()

    def find_remarks(self, options: Options) -> Problems:
        """Yield a dual loss of networks that nobody has trained; bf16 has no effect here."""
        loss, paths = options["train"].get("dual_opt"), options["path"]
        weight = loss.get("loss_weight", 1.0) if isinstance(loss, Mapping) else 0
        if options.get("network_dual") and weight and not paths.get("pretrain_network_dual"):
            text = (
                f"is not given, so the dual loss, of weight {weight}, begins with random networks: name the file that "
                "was trained with the dense network, or set train.dual_opt.loss_weight: 0"
            )
            yield "path.pretrain_network_dual", text


class SearchContract(PruningContract):
    """The contract of ``ChannelSearchModel``."""

    required_paths = ("pretrain_network_g",)

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

    def find_site_problems(self, options: Options, net: nn.Module, sites: Sequence[Site]) -> Problems:
        """Yield a rate outside of (0, 1), and a cost that cannot be met."""
        where, rate = "train.pruning_rate", options["train"].get("pruning_rate")
        try:
            candidates = [candidate_widths(site.width, rate) for site in sites]
            where = "train.cost"
            cost_of(options, net, sites, candidates)
        except UserError as error:
            yield where, str(error)


class SelectionContract(PruningContract):
    """The contract of ``ChannelPruningModel``."""

    required_paths = (DENSE,)
    required_sections = ()

    def find_problems(self, options: Options, networks: Networks) -> Problems:
        """Yield also a dense file that does not fit the network."""
        yield from super().find_problems(options, networks)
        path, net = (options.get("path") or {}).get(DENSE), networks.get("network_g")
        if not path or net is None or has_wrong_values(self.model, options):
            return
        try:
            prefer = options["path"].get("dense_param_key", "params_ema")
            state, _ = read_state_dict(expanduser(str(path)), prefer=prefer)
        except CheckpointError:
            return  # told by the check of files
        if misfit := self.describe_misfit(net, state, str(path), strict=True):
            yield f"path.{DENSE}", misfit

    def find_site_problems(self, options: Options, net: nn.Module, sites: Sequence[Site]) -> Problems:
        """Yield channels that do not fit the sites, and another number of iterations than their choice takes."""
        train = options["train"]
        try:
            targets = targets_in(options, sites)
        except UserError as error:
            yield f"train.{'pruning_rate' if train.get('channels') is None else 'channels'}", str(error)
            return
        needed, why = iterations_of(targets, settings_of(train)), "two passes for each round of the choice"
        if train.get("criterion") == "l1":
            needed, why = 1, "all channels are chosen at once"
        if train.get("total_iter") != needed:
            yield "train.total_iter", f"must be {needed}, got {train.get('total_iter')}: {why}"
