"""The supernet of the channel search: each consumer reads channels as far as the weighed candidate widths hold them.

Widths never change in the search. Candidates of a site weigh by the softmax of its alphas; channel number ``rank``, of
those ordered by the size of the consumer's weights, is multiplied by the weight of all candidates that would keep it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lightsr_basicsr.archs.sites import PARTS_OF_ATTENTION, Site
from lightsr_basicsr.pruning.l1 import importance

try:
    from torch.func import functional_call
except ImportError:  # torch 1.13
    from torch.nn.utils.stateless import functional_call

Weights = Mapping[str, Tensor]
# 'published': every candidate attends in turn, and outputs are summed with the alphas themselves, not their softmax, so
# that at the start attention gives nearly nothing. 'soft': multipliers as everywhere, on query and projection.
ATTENTION = ("published", "soft")
FIRST_ALPHA = 1e-3  # standard deviation of the alphas at the start


def multipliers(alphas: Tensor, candidates: Tensor, ranks: Tensor) -> Tensor:
    """Return the multiplier of each channel (width,), in [0, 1], from those that all candidates keep down to none.

    Args:
        alphas (Tensor): One number for each candidate, (candidates,).
        candidates (Tensor): Numbers of channels, (candidates,).
        ranks (Tensor): Place of each channel, 0 for the first one to keep, (width,).

    Example:
        >>> multipliers(torch.zeros(2), torch.tensor([1, 2]), torch.tensor([2, 0, 1]))
        tensor([0.0000, 1.0000, 0.5000])
    """
    return alphas.softmax(0) @ (candidates[:, None] > ranks[None]).to(alphas.dtype)


@torch.no_grad()
def ranks_of(site: Site, weight: Tensor, by_index: bool = False) -> Tensor:
    """Return the place of each channel (width,) by its consumer's weights, or with ``by_index`` its number."""
    numbers = torch.arange(site.width, device=weight.device)
    if by_index:
        return numbers
    order = importance(site, weight).argsort(descending=True)
    return torch.empty_like(order).index_copy_(0, order, numbers)


class SoftChannels(nn.Module):
    """The alphas of all sites, and what they make of the weights.

    Args:
        sites (Sequence[Site]): The sites.
        candidates (Sequence[Sequence[int]]): Numbers of channels at each, equally many.
        attention (str): How candidates of attention weigh, one of ``ATTENTION``. Default: ``'published'``.
        by_index (bool): Whether channels are kept in their order, not that of their weights. Default: False.
    """

    def __init__(
        self,
        sites: Sequence[Site],
        candidates: Sequence[Sequence[int]],
        attention: str = "published",
        by_index: bool = False,
    ) -> None:
        super().__init__()
        self.sites, self.attention, self.by_index = list(sites), attention, by_index
        self.alphas = nn.Parameter(FIRST_ALPHA * torch.randn(len(candidates), len(candidates[0])))
        self.register_buffer("candidates", torch.tensor(candidates))

    def expected_widths(self) -> Tensor:
        """Return the mean number of channels at each site, (sites,), with the candidates' weights."""
        return (self.alphas.softmax(1) * self.candidates).sum(1)

    def in_turn(self, site: Site) -> bool:
        """Return whether the candidates of a site run one after the other."""
        return site.kind == "heads" and self.attention == "published"

    def multipliers_of(self, index: int, weights: Weights) -> Tensor:
        """Return the multipliers of the channels (width,) of site number ``index``."""
        site = self.sites[index]
        ranks = ranks_of(site, weights[f"{site.consumer}.weight"], self.by_index)
        return multipliers(self.alphas[index], self.candidates[index], ranks)

    def masked(self, weights: Weights) -> dict[str, Tensor]:
        """Return the weights that multipliers change, by their names in ``weights``, which hold all of the network."""
        found = {}
        for index, site in enumerate(self.sites):
            if self.in_turn(site):
                continue
            factors = site.per_column(self.multipliers_of(index, weights))
            for name in (f"{each}.weight" for each in site.consumers):
                found[name] = weights[name] * factors.view(1, -1, *[1] * (weights[name].ndim - 2))
            if site.kind == "heads":
                others = torch.ones_like(factors).repeat(PARTS_OF_ATTENTION - 1)
                found |= _scaled_rows(site.producer, weights, torch.cat([factors, others]))
        return found

    def attending(self, index: int, net: nn.Module, weights: Weights) -> Callable[..., Tensor]:
        """Return a ``forward`` for the attention of site ``index`` that runs its candidates in turn."""
        site, alphas = self.sites[index], self.alphas[index]
        module, start = net.get_submodule(site.name), len(site.name) + 1
        ranks = ranks_of(site, weights[f"{site.consumer}.weight"], self.by_index)
        plain = type(module).forward

        def attend(*inputs: Any, **named: Any) -> Tensor:
            total = 0
            module.forward = plain.__get__(module)
            for width in self.candidates[index].unique():
                kept = site.per_column((ranks < width).to(alphas.dtype))
                found = _scaled_rows(site.producer, weights, kept.repeat(PARTS_OF_ATTENTION))
                found[f"{site.consumer}.weight"] = weights[f"{site.consumer}.weight"] * kept
                found = {name[start:]: value for name, value in found.items()}
                # Equal candidates give equal outputs.
                weight = alphas[self.candidates[index] == width].sum()
                total = total + weight * functional_call(module, found, inputs, named)
            module.forward = attend
            return total

        return attend


def _scaled_rows(layer: str, weights: Weights, factors: Tensor) -> dict[str, Tensor]:
    """Return weight and bias of a linear layer with its rows multiplied."""
    found = {f"{layer}.weight": weights[f"{layer}.weight"] * factors[:, None]}
    if f"{layer}.bias" in weights:
        found[f"{layer}.bias"] = weights[f"{layer}.bias"] * factors
    return found


def run_supernet(net: nn.Module, soft: SoftChannels, images: Tensor, weights: Weights | None = None) -> Any:
    """Return what a network gives for ``images`` (N, C, H, W) with soft channels.

    Gradients reach the alphas, and the parameters of ``net`` unless ``weights`` stand for all of them.
    """
    used = dict(net.named_parameters()) if weights is None else weights
    with _attention_in_turn(net, soft, used):
        return functional_call(net, {**(weights or {}), **soft.masked(used)}, (images,))


@contextmanager
def _attention_in_turn(net: nn.Module, soft: SoftChannels, weights: Weights) -> Iterator[None]:
    with ExitStack() as stack:
        for index, site in enumerate(soft.sites):
            if soft.in_turn(site):
                module = net.get_submodule(site.name)
                module.forward = soft.attending(index, net, weights)
                stack.callback(vars(module).pop, "forward")
        yield
