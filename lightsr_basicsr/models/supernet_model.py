"""The network of a channel search with soft channels: how it is set up, run and validated, and its channel lists."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from basicsr.utils import get_root_logger
from torch import Tensor

from lightsr_basicsr.archs.sites import sites_of
from lightsr_basicsr.models.dual_regression_model import DualRegressionModel
from lightsr_basicsr.models.kept_checkpoints import BEST
from lightsr_basicsr.models.pruning_checks import cost_of, require_one_process
from lightsr_basicsr.models.search_steps import SearchState
from lightsr_basicsr.pruning.channel_lists import candidate_widths, listed, write_channel_list
from lightsr_basicsr.pruning.cost import choose
from lightsr_basicsr.pruning.soft_channels import ATTENTION, SoftChannels, run_supernet


class SupernetModel(DualRegressionModel):
    """DualRegressionModel of a network with soft channels; validation writes the channel list that they choose.

    Args:
        opt (dict): Those of DualRegressionModel and of ``search_steps.OPTIONS``.
    """

    virtual: dict[str, Tensor] | None = None  # weights in place of the network's own, in a step of the alphas

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

    def run_network(self) -> Tensor:
        """Return SR images of the supernet, in a step of the alphas with virtual weights."""
        output = run_supernet(self.get_bare_model(self.net_g), self.soft, self.lq, self.virtual)
        return self.take_apart(output, self.net_dual if self.virtual is None else self.first_dual)

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
