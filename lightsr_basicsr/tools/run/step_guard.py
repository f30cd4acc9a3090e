"""Keep NaN and Inf out of the weights: steps with such gradients are skipped, and the others may be clipped."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

PATIENCE = 10


class StepGuard:
    """Guards the optimizers of a training model, of whatever class.

    Distributed training averages gradients, so all processes decide alike without asking each other.

    Attributes:
        refused (bool): Whether the last iteration skipped a step.
        in_a_row, skipped (int): Such iterations up to now: without one between them, and in all.
        patience (float): How many of them in a row end the run.
    """

    def __init__(self) -> None:
        self.refused, self.in_a_row, self.skipped = False, 0, 0
        self.patience = self.max_norm = math.inf
        self.model: Any = None
        self.statistics: list[Tensor] = []
        self.kept: list[Tensor] = []

    def bind(self, model: Any) -> None:
        """Guard the optimizers of ``model``, unless that is done: each stage of a run has a model of its own."""
        if model is self.model:
            return
        train, self.model = model.opt["train"], model
        self.max_norm = float(train.get("max_norm") or math.inf)
        self.patience = int(train.get("nan_patience", PATIENCE) or 0) or math.inf
        for optimizer in model.optimizers:
            self._guard(optimizer)
        statistics = (each for net in _networks(model) for each in _statistics(net))
        self.statistics = list({id(each): each for each in statistics}.values())
        self.kept = [each.clone() for each in self.statistics]

    def _guard(self, optimizer: Optimizer) -> None:
        step = optimizer.step

        @wraps(step)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            return step(*args, **kwargs) if self._clears(optimizer) else None

        optimizer.step = guarded

    def _clears(self, optimizer: Optimizer) -> bool:
        """Clip the gradients, and return whether they are finite."""
        parameters = [each for group in optimizer.param_groups for each in group["params"] if each.grad is not None]
        if self.max_norm < math.inf:
            cleared = math.isfinite(clip_grad_norm_(parameters, self.max_norm))
        else:
            cleared = _are_finite([each.grad for each in parameters])
        self.refused |= not cleared
        return cleared

    @contextmanager
    def iteration(self) -> Iterator[None]:
        """Count an iteration with a skipped step, and undo what its forward pass did to batch normalization."""
        self.refused = False
        _copy(self.kept, self.statistics)
        yield
        # A model with a rule of its own does not even ask the optimizer.
        self.refused |= not getattr(self.model, "loss_is_finite", True)
        if self.refused:
            _copy(self.statistics, self.kept)
        self.in_a_row = self.in_a_row + 1 if self.refused else 0
        self.skipped += self.refused

    def weights_are_finite(self) -> bool:
        """Return whether the model can go on from its weights, their averages and statistics.

        A weight must be neither NaN nor Inf, as after a step of an absurd learning rate; a buffer not NaN, since masks
        of attention may hold Inf.
        """
        nets = _networks(self.model)
        groups = [group for each in getattr(self.model, "optimizers", ()) for group in each.param_groups]
        trained = [each for group in groups for each in group["params"]]
        weights = {id(each): each for each in [*trained, *(each for net in nets for each in net.parameters())]}
        buffers = {id(each): each for net in nets for each in net.buffers()}
        sound = all(bool(each.isfinite().all()) for each in weights.values())
        return sound and not any(bool(each.isnan().any()) for each in buffers.values())


def _networks(model: Any) -> list[nn.Module]:
    return [] if model is None else [value for value in vars(model).values() if isinstance(value, nn.Module)]


def _are_finite(gradients: list[Tensor]) -> bool:
    """Return whether no value is NaN or Inf."""
    if not gradients:
        return True
    # A few kernels on a GPU instead of one for each tensor. This norm, the fastest, overflows from 1e19 on.
    norms = torch.stack(list(torch._foreach_norm(gradients)))
    return math.isfinite(norms.sum()) or all(bool(each.isfinite().all()) for each in gradients)


def _statistics(net: nn.Module) -> Iterator[Tensor]:
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            yield from (module.running_mean, module.running_var)


def _copy(targets: list[Tensor], sources: list[Tensor]) -> None:
    if targets and hasattr(torch, "_foreach_copy_"):
        torch._foreach_copy_(targets, sources)
    else:
        for target, source in zip(targets, sources, strict=True):
            target.copy_(source)
