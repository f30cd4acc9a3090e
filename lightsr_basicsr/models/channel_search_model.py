"""ChannelSearchModel: how many channels each site of a trained network needs.

Paper: Guo et al., "Towards Lightweight Super-Resolution with Dual Regression Learning", arXiv 2207.07929.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from lightsr_basicsr.models.pruning_checks import SearchContract
from lightsr_basicsr.models.search_steps import (
    ALPHA_OPTIMIZER,
    CLIP_NORM,
    OPTIONS,
    VIRTUAL_WEIGHT_DECAY,
    after_step,
    halves_of,
)
from lightsr_basicsr.models.speed import compute_gradients
from lightsr_basicsr.models.supernet_model import SupernetModel
from lightsr_basicsr.pruning.gradients import clipped, without_nan
from lightsr_basicsr.registry import register


@register(MODEL_REGISTRY)
class ChannelSearchModel(SupernetModel):
    """Searches a channel list: weights and alphas (see ``pruning.soft_channels``) are trained in turn.

    Each step takes a batch whose first half trains the weights, and whose second half, of other images
    (``datasets.train.halves``), the alphas: the loss of the second half after a virtual step of the weights with the
    first is minimized by the alphas, then the loss of the first by the weights and dual networks. The loss is that of
    DualRegressionModel. Quirks, as published: the virtual step is not differentiated; the loss of the alphas takes the
    dual networks of the start, where they are separate; without ``cost`` only the candidates limit the size; with
    ``clip_alphas``, as for DCLS, the weights' part of a joint norm shrinks the alphas' gradients. (The official code
    then also limits each value to ``clip_norm``, which a norm of that size already does.)

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

    def setup_optimizers(self) -> None:
        """Set up also the optimizer of the alphas, the last one."""
        super().setup_optimizers()
        train = self.opt["train"]
        self.clip_norm, self.clips_alphas = train.get("clip_norm", CLIP_NORM), train.get("clip_alphas", False)
        options = {**ALPHA_OPTIMIZER, **(train.get("optim_alpha") or {})}
        self.optimizer_alpha = self.get_optimizer(options.pop("type"), [self.soft.alphas], **options)
        self.optimizers.append(self.optimizer_alpha)

    @property
    def stepped_optimizers(self) -> list[Optimizer]:
        """The optimizers of weights and dual networks."""
        return self.optimizers[:-1]

    def optimize_parameters(self, current_iter: int) -> None:
        """Take one step of the alphas, then one of the weights."""
        halves = halves_of({"lq": self.lq, "gt": self.gt, **self.beside})
        logged = self._step_alphas(*halves)
        self._take(halves[0])
        for optimizer in self.stepped_optimizers:
            optimizer.zero_grad()
        losses = self.compute_losses()
        compute_gradients(sum(losses.values()))
        clip_grad_norm_(self.net_g.parameters(), self.clip_norm)
        for optimizer in self.stepped_optimizers:
            optimizer.step()
        self.log_dict = self.reduce_loss_dict({**losses, **logged})

    def _take(self, images: Mapping[str, Tensor]) -> None:
        self.lq, self.gt = images["lq"], images["gt"]
        self.beside = {key: images[key] for key in self.beside}

    def _step_alphas(self, first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take a step of the alphas, and return what to log of it."""
        self.virtual = self._virtual_weights(first)
        # Their gradients only limit those of the alphas.
        weights = [value.requires_grad_() for value in self.virtual.values()] if self.clips_alphas else []
        self._take(second)
        self.soft.requires_grad_(True)
        loss = sum(self.compute_losses().values())
        self.virtual = None
        logged = {"l_alpha": loss.detach()}
        if self.cost is not None:
            logged["cost"] = share = self.cost.share(self.soft.expected_widths())
            # In units of the loss, so that a weight serves images in [0, 1] and [0, 255] alike.
            loss = loss + self.cost_weight * loss.detach() * (share / self.target - 1).clamp_min(0)
        self.soft.alphas.grad = self._gradients(loss, [self.soft.alphas, *weights])[0]
        self.optimizer_alpha.step()
        self.soft.requires_grad_(False)
        return {key: value.detach() for key, value in logged.items()}

    def _gradients(self, loss: Tensor, tensors: Sequence[Tensor]) -> Sequence[Tensor | None]:
        """Return the gradients of a loss, with ``clip_alphas`` without NaN and limited in their joint norm."""
        gradients = torch.autograd.grad(loss, tensors, allow_unused=True)
        return clipped(without_nan(gradients), self.clip_norm) if self.clips_alphas else gradients

    def _virtual_weights(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return all parameters of ``net_g`` after one plain step with ``images``, without gradients."""
        train, named = self.opt["train"], dict(self.get_bare_model(self.net_g).named_parameters())
        fixed = {name: value.detach() for name, value in named.items()}
        if not train.get("virtual_step", True):
            return fixed
        weights = {name: value for name, value in named.items() if value.requires_grad}
        self._take(images)
        gradients = self._gradients(sum(self.compute_losses().values()), [*weights.values()])
        rate, decay = self.optimizer_g.param_groups[0]["lr"], train.get("virtual_weight_decay", VIRTUAL_WEIGHT_DECAY)
        return {**fixed, **after_step(weights, gradients, rate, decay)}
