"""ChannelSearchModel: how many channels each site of a trained network needs.

Paper: Guo et al., "Towards Lightweight Super-Resolution with Dual Regression Learning", arXiv 2207.07929.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, ClassVar

import torch
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from lightsr_basicsr.archs.sites import sites_of
from lightsr_basicsr.models.base import compute_gradients
from lightsr_basicsr.models.dual_regression_model import DualRegressionModel
from lightsr_basicsr.models.kept_checkpoints import BEST
from lightsr_basicsr.models.pruning_checks import SearchContract, cost_of, require_one_process
from lightsr_basicsr.models.search_steps import (
    ALPHA_OPTIMIZER,
    CLIP_NORM,
    OPTIONS,
    VIRTUAL_WEIGHT_DECAY,
    SearchState,
    after_step,
    halves_of,
)
from lightsr_basicsr.pruning.channel_lists import candidate_widths, listed, write_channel_list
from lightsr_basicsr.pruning.cost import choose
from lightsr_basicsr.pruning.soft_channels import ATTENTION, SoftChannels, run_supernet
from lightsr_basicsr.registry import register


@register(MODEL_REGISTRY)
class ChannelSearchModel(DualRegressionModel):
    """Searches a channel list: weights and alphas (see ``pruning.soft_channels``) are trained in turn.

    Each step takes a batch whose first half trains the weights, and whose second half, of other images
    (``datasets.train.halves``), the alphas: the loss of the second half after a virtual step of the weights with the
    first is minimized by the alphas, then the loss of the first by the weights and dual networks. The loss is that of
    DualRegressionModel. Quirks, as published: the virtual step is not differentiated; the loss of the alphas takes the
    dual networks of the start, where they are separate; without ``cost`` only the candidates limit the size.

    Validation runs the supernet and writes ``channel_configs_<iter>.txt`` into the run's folder, and
    ``channel_configs_best.txt`` where the first metric is the best. The weights of the search are of no further use.

    Args:
        opt (dict): Those of DualRegressionModel, without ``skip_threshold`` and ``ema_decay``, and of ``options``.
            ``path.pretrain_network_g`` is the dense network.

    Raises:
        CheckpointError: If a file cannot be read or does not fit.
        UserError: If the network has no sites, or rate, cost or networks do not belong together.
    """

    options: ClassVar = OPTIONS
    contract: ClassVar = SearchContract

    def init_training_settings(self) -> None:
        """Set up sites, candidates and alphas, then the training."""
        require_one_process(self.opt, type(self).__name__)
        train, net = self.opt["train"], self.get_bare_model(self.net_g)
        self.sites = sites_of(net, train.get("sites"))
        self.candidates = [candidate_widths(site.width, train["pruning_rate"]) for site in self.sites]
        self.soft = SoftChannels(
            self.sites, self.candidates, train.get("attention", ATTENTION[0]), train.get("unordered_channels", False)
        ).to(self.device)
        self.soft.requires_grad_(False)  # but for their own step
        self.cost, self.target, self.cost_weight = cost_of(self.opt, net, self.sites, self.candidates)
        super().init_training_settings()
        self.skip_rule.threshold = None
        self.first_dual = deepcopy(self.net_dual)
        if self.first_dual is not None:
            self.first_dual.requires_grad_(False)
        self.schedulers.append(SearchState(self.soft, self.first_dual))
        self.virtual: dict[str, Tensor] | None = None

    def setup_optimizers(self) -> None:
        """Set up also the optimizer of the alphas, the last one."""
        super().setup_optimizers()
        options = {**ALPHA_OPTIMIZER, **(self.opt["train"].get("optim_alpha") or {})}
        self.optimizer_alpha = self.get_optimizer(options.pop("type"), [self.soft.alphas], **options)
        self.optimizers.append(self.optimizer_alpha)

    @property
    def stepped_optimizers(self) -> list[Optimizer]:
        """The optimizers of weights and dual networks."""
        return self.optimizers[:-1]

    def run_network(self) -> Tensor:
        """Return SR images of the supernet, in a step of the alphas with virtual weights."""
        output = run_supernet(self.get_bare_model(self.net_g), self.soft, self.lq, self.virtual)
        return self.take_apart(output, self.net_dual if self.virtual is None else self.first_dual)

    def optimize_parameters(self, current_iter: int) -> None:
        """Take one step of the alphas, then one of the weights."""
        halves = halves_of({"lq": self.lq, "gt": self.gt, **self.larger})
        logged = self._step_alphas(*halves)
        self._take(halves[0])
        for optimizer in self.stepped_optimizers:
            optimizer.zero_grad()
        losses = self.compute_losses()
        compute_gradients(sum(losses.values()))
        clip_grad_norm_(self.net_g.parameters(), self.opt["train"].get("clip_norm", CLIP_NORM))
        for optimizer in self.stepped_optimizers:
            optimizer.step()
        self.log_dict = self.reduce_loss_dict({**losses, **logged})

    def _take(self, images: Mapping[str, Tensor]) -> None:
        self.lq, self.gt = images["lq"], images["gt"]
        self.larger = {key: images[key] for key in self.larger}

    def _step_alphas(self, first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take a step of the alphas, and return what to log of it."""
        self.virtual = self._virtual_weights(first)
        self._take(second)
        self.soft.requires_grad_(True)
        loss = sum(self.compute_losses().values())
        self.virtual = None
        logged = {"l_alpha": loss.detach()}
        if self.cost is not None:
            logged["cost"] = share = self.cost.share(self.soft.expected_widths())
            # In units of the loss, so that a weight serves images in [0, 1] and [0, 255] alike.
            loss = loss + self.cost_weight * loss.detach() * (share / self.target - 1).clamp_min(0)
        self.soft.alphas.grad = torch.autograd.grad(loss, self.soft.alphas)[0]
        self.optimizer_alpha.step()
        self.soft.requires_grad_(False)
        return {key: value.detach() for key, value in logged.items()}

    def _virtual_weights(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return all parameters of ``net_g`` after one plain step with ``images``, without gradients."""
        train, named = self.opt["train"], dict(self.get_bare_model(self.net_g).named_parameters())
        fixed = {name: value.detach() for name, value in named.items()}
        if not train.get("virtual_step", True):
            return fixed
        weights = {name: value for name, value in named.items() if value.requires_grad}
        self._take(images)
        gradients = torch.autograd.grad(sum(self.compute_losses().values()), [*weights.values()], allow_unused=True)
        rate, decay = self.optimizer_g.param_groups[0]["lr"], train.get("virtual_weight_decay", VIRTUAL_WEIGHT_DECAY)
        return {**fixed, **after_step(weights, gradients, rate, decay)}

    def test(self) -> None:
        """Run the supernet; in a test, which knows no alphas, the network."""
        if not self.is_train:
            super().test()
            return
        net = self.get_bare_model(self.net_g).eval()
        with torch.no_grad():
            self.output = run_supernet(net, self.soft, self.lq)
        net.train()

    def channel_list(self) -> list[int]:
        """Return the channel list that the alphas choose now."""
        return listed(self.sites, choose(self.soft.alphas, self.candidates, self.cost, self.target))

    def _log_validation_metric_values(self, current_iter: int, dataset_name: str, tb_logger: Any) -> None:
        super()._log_validation_metric_values(current_iter, dataset_name, tb_logger)
        record = self.best_metric_results.get(dataset_name) or {}
        first_set = next(iter(self.best_metric_results), None)
        if self.is_train and self.opt["rank"] == 0 and dataset_name == first_set:
            self.write_list(current_iter)
            if next(iter(record.values()), {}).get("iter") == current_iter:
                self.write_list(BEST)

    def write_list(self, name: int | str) -> None:
        """Write the channel list into the run's folder, and log its sum."""
        numbers, folder = self.channel_list(), Path(self.opt["path"]["experiments_root"])
        write_channel_list(folder / f"channel_configs_{name}.txt", numbers)
        dense = sum(site.listed for site in self.sites)
        get_root_logger().info(f"channel_configs_{name}.txt keeps {sum(numbers)} of {dense} channels.")

    def save(self, epoch: int, current_iter: int) -> None:
        """Save the channel list, networks and the training state; the alphas are part of that state."""
        if self.opt["rank"] == 0 and current_iter == -1:
            self.write_list("latest")
        super().save(epoch, current_iter)
