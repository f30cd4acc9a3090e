"""Size and work of a network as a function of the channels at its sites, also of expected ones, with gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lightsr_basicsr.archs.sites import Site
from lightsr_basicsr.errors import UserError, short_message

KINDS = ("params", "multi_adds")
SHARES = 1000  # that are tried for one everywhere
HALVINGS = 60  # of the price of a channel


class CostError(UserError):
    """A budget that cannot be held."""


@dataclass
class _Layer:
    """A convolution or linear layer: its size, how often its weights are used, and the sites that narrow it."""

    rows: int
    columns: int
    use: float  # numbers of a kernel, times output pixels for multiply-adds
    bias: int  # numbers in a bias for each row
    rows_of: list[tuple[int, int]] = field(default_factory=list)  # (site, rows for each channel)
    columns_of: list[tuple[int, int]] = field(default_factory=list)


class Cost:
    """Parameters, or multiply-adds of convolutions and linear layers, of a network with these channels at its sites.

    Multiply-adds are compared at the size of one image, and the products of queries and keys are left out.

    Args:
        net (nn.Module): The network.
        sites (Sequence[Site]): Its sites.
        kind (str): ``'params'`` or ``'multi_adds'``.
        image (Tensor): An input (N, C, H, W), for the size of feature maps.
    """

    def __init__(self, net: nn.Module, sites: Sequence[Site], kind: str, image: Tensor) -> None:
        self.sites, self.fixed = list(sites), 0.0
        pixels = _pixels(net, image) if kind == "multi_adds" else {}
        layers = {name: each for name, each in net.named_modules() if isinstance(each, (nn.Conv2d, nn.Linear))}
        found = {name: _layer(each, kind, pixels.get(name, 0)) for name, each in layers.items()}
        for index, site in enumerate(self.sites):
            found[site.producer].rows_of.append((index, len(site.rows([0]))))
            for name in site.consumers:
                found[name].columns_of.append((index, len(site.columns([0]))))
        self.layers = [each for each in found.values() if each.rows_of or each.columns_of]
        if kind == "params":
            touched = sum(each.rows * (each.columns * each.use + each.bias) for each in self.layers)
            self.fixed = sum(parameter.numel() for parameter in net.parameters()) - touched
        else:
            others = [each for each in found.values() if not (each.rows_of or each.columns_of)]
            self.fixed = sum(each.rows * each.columns * each.use for each in others)
        self.dense = float(self([site.width for site in self.sites]))

    def __call__(self, widths: Tensor | Sequence[float]) -> Tensor:
        """Return the cost, a scalar, of these numbers of channels (sites,), which need not be whole."""
        widths = torch.as_tensor(widths, dtype=torch.float64) if not isinstance(widths, Tensor) else widths
        total = torch.zeros((), dtype=widths.dtype, device=widths.device) + self.fixed
        for each in self.layers:
            rows, columns = (
                size - sum(count * (self.sites[index].width - widths[index]) for index, count in narrowed)
                for size, narrowed in ((each.rows, each.rows_of), (each.columns, each.columns_of))
            )
            total = total + rows * (columns * each.use + each.bias)
        return total

    def share(self, widths: Tensor | Sequence[float]) -> Tensor:
        """Return the cost over that of the dense network."""
        return self(widths) / self.dense


def uniform_widths(cost: Cost, limit: float) -> list[int]:
    """Return the channels at each site, one share of the width everywhere, that cost at most ``limit``, or least."""
    found = [1] * len(cost.sites)
    for share in range(1, SHARES + 1):
        widths = [max(round(site.width * share / SHARES), 1) for site in cost.sites]
        if float(cost(widths)) <= limit:
            found = widths
    return found


def _layer(module: nn.Conv2d | nn.Linear, kind: str, pixels: float) -> _Layer:
    weight = module.weight
    use = weight[0, 0].numel() * (pixels if kind == "multi_adds" else 1)
    return _Layer(weight.shape[0], weight.shape[1], use, int(kind == "params" and module.bias is not None))


@torch.no_grad()
def _pixels(net: nn.Module, image: Tensor) -> dict[str, float]:
    """Return for each convolution and linear layer how many outputs each of its rows computes for one image."""
    seen: dict[str, float] = {}

    def watch(name: str) -> Any:
        def count(module: nn.Module, _: Any, output: Tensor) -> None:
            seen[name] = seen.get(name, 0) + output.numel() / len(module.weight) / len(image)

        return count

    layers = [(name, each) for name, each in net.named_modules() if isinstance(each, (nn.Conv2d, nn.Linear))]
    hooks = [each.register_forward_hook(watch(name)) for name, each in layers]
    training = net.training
    try:
        net.eval()(image)
    except Exception as error:
        # Networks of other packages may raise any exception.
        raise CostError(
            f"{type(net).__name__} cannot run on an image {tuple(image.shape)}, so its multiply-adds are unknown "
            f"({short_message(error)}): set `type: params`, or another gt_size."
        ) from error
    finally:
        net.train(training)
        for hook in hooks:
            hook.remove()
    return seen


def check_cost(options: Mapping[str, Any]) -> tuple[str, float, float]:
    """Return kind, target and weight of the options ``cost``.

    Raises:
        CostError: If one is missing, unknown, or outside of its range.
    """
    known = {"type", "target", "weight"}
    if unknown := sorted(map(str, set(options) - known)):
        raise CostError(f"`cost` takes type, target and weight, got {', '.join(unknown)}: remove it.")
    kind, target, weight = options.get("type"), options.get("target"), options.get("weight", 1.0)
    if kind not in KINDS:
        raise CostError(f"`cost` needs a `type` of {' or '.join(KINDS)}, got {kind!r}: write one of them.")
    for name, value, most in (("target", target, 1), ("weight", weight, float("inf"))):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < most:
            limits = "within (0, 1), a part of the dense network's" if most == 1 else "above 0"
            example = 0.7 if most == 1 else 1
            raise CostError(f"`cost` needs a `{name}` {limits}, got {value!r}: write {example}, for example.")
    return kind, float(target), float(weight)


def check_reach(cost: Cost, candidates: Sequence[Sequence[int]], target: float) -> None:
    """Raise CostError if even the smallest candidates cost more than ``target`` of the dense network."""
    least = float(cost.share([min(each) for each in candidates]))
    if least > target:
        raise CostError(
            f"The smallest candidates leave {least:.3f} of the dense network, so a `target` of {target} cannot be met: "
            "raise it, or `pruning_rate`."
        )


@torch.no_grad()
def choose(
    alphas: Tensor, candidates: Sequence[Sequence[int]], cost: Cost | None = None, target: float = 1.0
) -> list[int]:
    """Return the number of channels at each site: the candidate with the largest alpha, the first of equal ones.

    With a ``cost``, every channel has a price in alpha, the least one at which the whole costs at most ``target`` of
    the dense network.

    Args:
        alphas (Tensor): (sites, candidates).
        candidates (Sequence[Sequence[int]]): Numbers of channels at each site.
        cost (Cost | None): Cost of the network. Default: None, as published.
        target (float): Share of the dense network's cost. Default: 1.
    """
    numbers = torch.tensor(candidates, dtype=torch.float64)
    values = alphas.detach().cpu().double()

    def at(price: float) -> list[int]:
        best = (values - price * prices * numbers).argsort(dim=1, descending=True, stable=True)[:, 0]
        return [each[index] for each, index in zip(candidates, best.tolist(), strict=True)]

    prices = torch.zeros(len(numbers), 1, dtype=torch.float64)
    chosen = at(0.0)
    if cost is None or float(cost.share(chosen)) <= target:
        return chosen
    full = torch.tensor([float(site.width) for site in cost.sites], dtype=torch.float64, requires_grad=True)
    with torch.enable_grad():
        prices = torch.autograd.grad(cost.share(full), full)[0][:, None]
    low, high = 0.0, 1.0
    while float(cost.share(at(high))) > target and high < 1e30:
        low, high = high, 2 * high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if float(cost.share(at(middle))) > target else (low, middle)
    return at(high)
