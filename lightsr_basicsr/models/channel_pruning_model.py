"""ChannelPruningModel: which channels of a trained network stay, so many as a channel list says.

Paper: Guo et al., "Towards Lightweight Super-Resolution with Dual Regression Learning", arXiv 2207.07929.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from copy import deepcopy
from datetime import timedelta
from math import inf, isfinite
from pathlib import Path
from typing import Any, ClassVar

import torch
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lightsr_basicsr import fields
from lightsr_basicsr.archs.sites import sites_of
from lightsr_basicsr.checkpoints import CheckpointError, write_whole
from lightsr_basicsr.models.dual_regression_model import DualRegressionModel
from lightsr_basicsr.models.pruning_checks import (
    CRITERIA,
    SITES,
    SelectionContract,
    require_one_process,
    settings_of,
    targets_in,
)
from lightsr_basicsr.pruning.channel_lists import listed, write_channel_list
from lightsr_basicsr.pruning.l1 import keep_by_l1
from lightsr_basicsr.pruning.selection import Selection, in_training_form, run_until, watched
from lightsr_basicsr.pruning.surgery import mask, prune
from lightsr_basicsr.registry import register

OPTIONS = {
    "path.pretrain_network_dense": fields.text(
        "The trained network to prune, which is also what features are compared with.", null=True
    ),
    # A key that began with param_key would be set to the raw weights when a run is resumed.
    "path.dense_param_key": fields.text("Which weights of that checkpoint.", null=True, default="params_ema"),
    "train.channels": fields.anything("Channels to keep at each site: a list, or a text file of one."),
    "train.pruning_rate": fields.number("Without `channels`, the part of the channels to remove everywhere.", above=0),
    **SITES,
    "train.criterion": fields.text(
        "How channels are chosen: `dcp` by gradients, as published; `l1` by the size of weights, without data.",
        CRITERIA,
        default="dcp",
    ),
    "train.pass_iter": fields.count("Batches of a pass; two passes choose a channel.", as_float=True, default=10),
    "train.channels_per_round": fields.count("Channels that join at a time; officially 1.", default=1),
    "train.tune_lr": fields.number("Learning rate of the weights between two choices.", above=0, default=5e-5),
    "train.tune_momentum": fields.number("Their Nesterov momentum.", above=0, most=1, default=0.9),
    "train.clip_norm": fields.number(
        "Largest norm of the gradients of the layer in work after each batch, of the scores too; officially for DCLS "
        "0.1, for others none.",
        above=0,
        null=True,
    ),
    "train.feature_weight": fields.number("Weight of the distance of features.", least=0, default=1.0),
}

IF_DIVERGED = (
    "Lower tune_lr, or feature_weight for a network whose features are larger than [0, 1] (within a compression under "
    "train.prune), and resume with --auto_resume."
)

WORSE = 2.0  # times the distance of features without channels: batches differ, so a little more says nothing


@register(MODEL_REGISTRY)
class ChannelPruningModel(DualRegressionModel):
    """Chooses the channels that stay (see ``pruning.selection``), one batch per iteration, and tunes their weights.

    The loss is that of DualRegressionModel and the distance of the consumer's output from that of the dense network;
    dual networks are frozen. A run has as many iterations as the choice takes: two passes of ``train.pass_iter``
    batches for each channel to keep. At its end ``net_pruned_latest.pth`` is the narrower network, which loads strictly
    with ``channels`` of ``channel_configs.txt``; ``selection.json`` has the channels in the order of their choice.

    Where the consumers make the filters of DCLS's kernel, the kernels are compared. Two slips of the official code for
    DCLS are not repeated: there the distance is missing at two sites (the third block of the estimator, and its code),
    and the norm of the limited gradients (``clip_norm``) counts those of finished sites too.

    Args:
        opt (dict): Those of DualRegressionModel that concern its loss, and of ``options``. ``network_g`` is the dense
            network.

    Raises:
        CheckpointError: If a file cannot be read or does not fit.
        UserError: If the network has no sites, or list and network do not belong together.
    """

    options: ClassVar = OPTIONS
    contract: ClassVar = SelectionContract
    net_pruned: nn.Module | None = None
    if_diverged = IF_DIVERGED

    def init_training_settings(self) -> None:
        """Set up the dense network, the sites and the choice."""
        require_one_process(self.opt, type(self).__name__)
        paths, train, net = self.opt["path"], self.opt["train"], self.get_bare_model(self.net_g)
        self.net_dense = deepcopy(net)
        key = paths.get("dense_param_key", "params_ema")
        self.load_network(self.net_dense, paths["pretrain_network_dense"], param_key=key)
        if not paths.get("pretrain_network_g"):
            net.load_state_dict(self.net_dense.state_dict())
        self.net_dense.requires_grad_(False)
        self.sites = sites_of(net, train.get("sites"))
        targets = targets_in(self.opt, self.sites)
        self.selection = Selection(net, self.net_dense.state_dict(), self.sites, targets, settings_of(train))
        super().init_training_settings()
        self.skip_rule.threshold = None
        if self.net_dual is not None:
            self.net_dual.requires_grad_(False)
        self.schedulers.append(self.selection)
        self.progress = Progress(self.selection)

    def setup_optimizers(self) -> None:
        """Set up the optimizer of the layer in work alone."""
        self.optimizers.append(self.selection.optimizer)

    def setup_schedulers(self) -> None:
        """Set up none: the learning rate is constant."""

    def resume_training(self, resume_state: dict) -> None:
        """Restore the choice, and then the optimizer of the layer that is in work."""
        state = resume_state["schedulers"][-1] if resume_state["schedulers"] else {}
        if state.get("targets", self.selection.targets) != self.selection.targets:
            raise CheckpointError(
                "The training state is of a pruning to another channel list: set train.channels as it was, or start a "
                "run of another name."
            )
        if "kept" in state:
            self.selection.load_state_dict(state)
            self.selection.bind()
        super().resume_training(resume_state)
        self.progress.first = resume_state["iter"]

    def optimize_parameters(self, current_iter: int) -> None:
        """Take one batch of the choice; none where all channels are chosen."""
        if self.opt["train"].get("criterion") == "l1":
            self._choose_by_l1()
        if self.selection.done:
            self.log_dict = {}
            return
        self.selection.prepare()
        losses = self.compute_losses()
        loss = sum(losses.values())
        self.loss_is_finite = bool(loss.isfinite())
        self.progress.see(losses)
        if self.selection.advance(loss):
            self.progress.report(losses, current_iter)
        self.log_dict = self.reduce_loss_dict(losses)

    def compute_losses(self) -> dict[str, Tensor]:
        """Return the losses of dual regression, and the distance of the features of the site in work."""
        name, net = self.selection.site.compared, self.get_bare_model(self.net_g)
        expected = run_until(in_training_form(self.net_dense), name, self.lq)
        in_training_form(net)
        with watched(net, name) as seen:
            losses = super().compute_losses()
        weight = self.opt["train"].get("feature_weight", 1.0)
        return {**losses, "l_feature": weight * F.mse_loss(seen[0], expected)}

    def _choose_by_l1(self) -> None:
        """Choose all channels at once, by the size of their weights."""
        kept = keep_by_l1(self.net_dense, self.sites, self.selection.targets)
        self.get_bare_model(self.net_g).load_state_dict(mask(self.net_dense, self.sites, kept).state_dict())
        self.selection.take(kept)

    def pruned(self) -> tuple[nn.Module, dict[str, Any]]:
        """Return the narrower network with the weights as they are now, and its section of an option file."""
        net, pairs = self.get_bare_model(self.net_g), self.opt["train"].get("sites")
        return prune(net, self.opt["network_g"], self.sites, self.selection.kept, pairs)

    @torch.no_grad()
    def test(self) -> None:
        """Run the network; where all channels are chosen, the narrower one."""
        if not (self.is_train and self.selection.done):
            super().test()
            return
        self.net_pruned = self.net_pruned or self.pruned()[0]
        self.output = self.net_pruned(self.lq)

    def save(self, epoch: int, current_iter: int) -> None:
        """Save the narrower network where it is complete, then the masked one and, last, the training state."""
        if self.selection.done:
            net, section = self.pruned()
            write_choice(Path(self.opt["path"]["experiments_root"]), self.selection, section)
            self.save_network(net, "net_pruned", current_iter)
        super().save(epoch, current_iter)


def write_choice(folder: Path, selection: Selection, section: Mapping[str, Any]) -> None:
    """Write the channel list, and, with the narrower network's section, the channels in the order of their choice."""
    write_channel_list(folder / "channel_configs.txt", listed(selection.sites, selection.targets))
    kept = {site.name: kept for site, kept in zip(selection.sites, selection.kept, strict=True)}
    write_whole(folder / "selection.json", json.dumps({"network_g": section, "kept": kept}, default=str).encode())


class Progress:
    """Logs sites that are finished, and those whose tuning has diverged.

    Args:
        selection (Selection): The choice.
    """

    def __init__(self, selection: Selection) -> None:
        self.selection, self.started, self.first = selection, time.monotonic(), 0
        self.without_channels = inf  # the distance of features then; unknown after a resumption

    def see(self, losses: Mapping[str, Tensor]) -> None:
        """Take a batch's losses, before the choice does."""
        if self.selection.at_start:
            self.without_channels = losses["l_feature"].item()

    def report(self, losses: Mapping[str, Tensor], current_iter: int) -> None:
        """Log the site that was finished last, after a batch of these losses, and how long the others take.

        Warn if its features are further from the dense network's than they were without channels.
        """
        number, last = self.selection.index, losses["l_feature"].item()
        site, kept = self.selection.sites[number - 1], self.selection.targets[number - 1]
        seconds = (time.monotonic() - self.started) / max(current_iter - self.first, 1)
        left = timedelta(seconds=round((self.selection.iterations() - current_iter) * seconds))
        get_root_logger().info(
            f"Site {number} of {len(self.selection.sites)}, {site.name}: {kept} of {site.width} channels kept. Left: "
            f"{left}."
        )
        if not (isfinite(last) and last <= WORSE * self.without_channels):
            get_root_logger().warning(
                f"The tuning of {site.name} should have brought its features nearer to the dense network's, but "
                f"l_feature went from {self.without_channels:.4g} to {last:.4g}: it diverges. Start a run of another "
                f"name with a smaller `tune_lr` than {self.selection.settings.lr:g}."
            )
