"""Greedy choice of channels: the one whose weights the loss asks for most joins, then the weights are tuned.

At each site the consumer's weights are set to zero. In every round one pass over the batches sums the gradients of
those weights; the channel of the largest gradient gets its weights of the dense network back; and a second pass tunes
the weights of the kept channels, and the bias. Where several layers read the channels, as in DCLS's estimator, the
first one ranks them, and all change together. Sites are done in their order, each with the error that those before it
have left. Producers stay whole until the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD

from lightsr_basicsr.archs.sites import Site
from lightsr_basicsr.pruning.gradients import clipped

SCORE, TUNE = "score", "tune"
CHOSEN = -1.0  # score of a channel that is kept already


class _ReachedError(Exception):
    """Ends a forward pass after the layer whose output is wanted."""


@dataclass(frozen=True)
class Settings:
    """How channels are chosen; the defaults are those of the official code, for images in [0, 255].

    Attributes:
        pass_iter (int): Batches of a pass.
        per_round (int): Channels that join at a time.
        lr (float): Learning rate of the tuning.
        momentum (float): Nesterov momentum of the tuning, which begins anew with every channel.
        clip_norm (float | None): Largest norm of the gradients of the layers in work, those summed for the scores too,
            after each batch; None for no limit. DCLS: 0.1.
    """

    pass_iter: int = 10
    per_round: int = 1
    lr: float = 5e-5
    momentum: float = 0.9
    clip_norm: float | None = None


class Selection:
    """Chooses channels of a network batch by batch, and can be saved after any of them.

    Call :meth:`prepare` before the loss of a batch is computed, and :meth:`advance` with it. The object can be listed
    among a model's schedulers: its state is saved with theirs.

    Args:
        net (nn.Module): The network whose weights change; frozen here but for the layer in work.
        dense (Mapping): Tensors of the dense network.
        sites (Sequence[Site]): The sites.
        targets (Sequence[int]): Channels to keep at each.
        settings (Settings): See there.
    """

    def __init__(
        self,
        net: nn.Module,
        dense: Mapping[str, Tensor],
        sites: Sequence[Site],
        targets: Sequence[int],
        settings: Settings,
    ) -> None:
        self.net, self.dense, self.sites, self.settings = net, dense, list(sites), settings
        self.targets = list(targets)
        self.kept: list[list[int]] = [[] for _ in self.sites]  # in the order of their choice
        self.first_scores: list[Tensor] = []
        self.index, self.phase, self.batch, self.begun = 0, SCORE, 0, False
        self.summed: list[Tensor] | None = None
        net.requires_grad_(False)
        self.optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], settings.lr, settings.momentum, nesterov=True)
        self.bind()

    @property
    def done(self) -> bool:
        """Whether all channels are chosen."""
        return self.index >= len(self.sites)

    @property
    def site(self) -> Site:
        """The site in work."""
        return self.sites[self.index]

    @property
    def at_start(self) -> bool:
        """Whether the site in work has no channel yet, and no batch."""
        return not (self.done or self.batch or self.kept[self.index])

    def iterations(self) -> int:
        """Return the batches that the choice takes in all."""
        return iterations_of(self.targets, self.settings)

    def bind(self) -> None:
        """Let gradients, and the optimizer, change the consumers in work alone."""
        self.net.requires_grad_(False)
        site = self.sites[min(self.index, len(self.sites) - 1)]
        layers = map(self.net.get_submodule, site.consumers)
        parameters = [each for layer in layers for each in (layer.weight, layer.bias) if each is not None]
        for each in parameters:
            each.requires_grad_(True)
        self.optimizer.param_groups[0]["params"] = parameters
        self.optimizer.state.clear()

    @torch.no_grad()
    def prepare(self) -> None:
        """Set the consumer's weights to zero at the beginning of a site."""
        if self.begun or self.done:
            return
        for name in self.site.consumers:
            self.net.get_submodule(name).weight.zero_()
        self.begun = True

    def advance(self, loss: Tensor) -> bool:
        """Take a batch's loss, a scalar, as the next step, and return whether the site is done with it.

        A gradient that is not finite is left out of the scores.
        """
        gradients = list(torch.autograd.grad(loss, self.optimizer.param_groups[0]["params"]))
        if self.phase == SCORE:
            self._sum(gradients)
        else:
            self._tune(gradients)
        self.batch += 1
        if self.batch < self.settings.pass_iter:
            return False
        self.batch = 0
        if self.phase == SCORE:
            self._choose()
            self.phase = TUNE
            return False
        self.phase = SCORE
        return self._end_round()

    def _limited(self, gradients: list[Tensor]) -> list[Tensor]:
        return gradients if self.settings.clip_norm is None else clipped(gradients, self.settings.clip_norm)

    def _sum(self, gradients: list[Tensor]) -> None:
        """Add a batch's gradients to those for the scores. Quirk of DCLS: the sum is limited after each batch."""
        if all(bool(each.isfinite().all()) for each in gradients):
            before = self.summed or [torch.zeros_like(each) for each in gradients]
            self.summed = self._limited([old + new for old, new in zip(before, gradients, strict=True)])

    def _choose(self) -> None:
        """Let the channels of the largest summed gradients join, with their weights of the dense network."""
        layer = self.net.get_submodule(self.site.consumer)
        scores = scores_of(self.site, torch.zeros_like(layer.weight) if self.summed is None else self.summed[0])
        kept, self.summed = self.kept[self.index], None
        if not kept:
            self.first_scores.append(scores.cpu())
        scores[kept] = CHOSEN
        count = min(self.settings.per_round, self.targets[self.index] - len(kept))
        joined = scores.topk(count).indices.tolist()
        kept += joined
        columns = self.site.columns(joined)
        with torch.no_grad():
            for name in self.site.consumers:
                weight = self.net.get_submodule(name).weight
                weight[:, columns] = self.dense[f"{name}.weight"].to(weight)[:, columns]
        self.optimizer.state.clear()

    def _tune(self, gradients: list[Tensor]) -> None:
        parameters = self.optimizer.param_groups[0]["params"]
        for parameter, gradient in zip(parameters, self._limited(gradients), strict=True):
            parameter.grad = gradient
        dropped = self.site.columns(self.site.dropped(self.kept[self.index]))
        for name in self.site.consumers:
            self.net.get_submodule(name).weight.grad[:, dropped] = 0
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _end_round(self) -> bool:
        if len(self.kept[self.index]) < self.targets[self.index]:
            return False
        self.index, self.begun = self.index + 1, False
        self.bind()
        return True

    def take(self, kept: Sequence[Sequence[int]]) -> None:
        """Take channels that are chosen otherwise for all sites."""
        self.kept, self.index = [list(each) for each in kept], len(self.sites)
        self.bind()

    def step(self) -> None:
        """Do nothing: schedulers have this method."""

    def state_dict(self) -> dict[str, Any]:
        """Return where the choice is, and what it has chosen."""
        return {
            "index": self.index, "phase": self.phase, "batch": self.batch, "begun": self.begun,
            "kept": [list(each) for each in self.kept], "targets": list(self.targets),
            "first_scores": [each.clone() for each in self.first_scores], "summed": self.summed,
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state; the weights are those of the network's own file."""
        device = next(self.net.parameters()).device
        self.index, self.phase, self.batch, self.begun = (state[key] for key in ("index", "phase", "batch", "begun"))
        self.kept, self.first_scores = [list(each) for each in state["kept"]], list(state["first_scores"])
        self.summed = None if state["summed"] is None else [each.to(device) for each in state["summed"]]


def iterations_of(targets: Sequence[int], settings: Settings) -> int:
    """Return how many batches the choice of so many channels takes: two passes for each round."""
    return sum(ceil(target / settings.per_round) for target in targets) * 2 * settings.pass_iter


def scores_of(site: Site, gradient: Tensor) -> Tensor:
    """Return for each channel (width,) the sum of the norms of its kernels in a gradient (outputs, inputs, ...)."""
    return site.per_channel(gradient.reshape(*gradient.shape[:2], -1).norm(dim=2).sum(0))


@contextmanager
def watched(net: nn.Module, name: str, last: bool = False) -> Iterator[list[Tensor]]:
    """Collect the outputs of a layer in forward passes within the block; with ``last``, passes end there.

    A pass that ends there is to be run by :func:`run_until`.
    """
    seen: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
        seen.append(output.clone())  # what follows may work in place
        if last:
            raise _ReachedError

    hook = net.get_submodule(name).register_forward_hook(keep)
    try:
        yield seen
    finally:
        hook.remove()


@torch.no_grad()
def run_until(net: nn.Module, name: str, images: Tensor) -> Tensor:
    """Return the output of layer ``name`` for ``images`` (N, C, H, W), without the layers after it."""
    with watched(net, name, last=True) as seen, suppress(_ReachedError):
        net(images)
    return seen[0]


def in_training_form(net: nn.Module) -> nn.Module:
    """Return ``net``, set to give what it gives in training (all levels), with layers as in evaluation."""
    net.eval()
    net.training = True
    return net
