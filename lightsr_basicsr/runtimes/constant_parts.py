"""Leave out of a traced graph what depends on weights alone: it is computed at once, and becomes a constant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

MAKERS = (torch.zeros, torch.ones, torch.eye, torch.full, torch.tensor, torch.arange)


class ConstantParts(TorchFunctionMode):
    """Compute at once, inside the block, what a network that is traced makes of its weights.

    A traced graph is otherwise several times as large: networks prepare weights at every call, and the tracer knows no
    weights. What is computed twice of the same weights becomes one constant.

    Args:
        net (nn.Module): The network; its weights need no gradient, and stay as they are.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        # The tensors are kept, so that no other one gets the identity of one of them.
        self.constants = {id(each): each for each in (*net.parameters(), *net.buffers())}
        self.made: dict[str, Any] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if torch._C._get_tracing_state() is None:  # an exporter computes with tensors of its own, after the trace
            return func(*args, **kwargs)
        tensors = _tensors_in((args, kwargs))
        if (tensors or func in MAKERS) and all(map(self.is_constant, tensors)):
            return self._computed(func, args, kwargs)
        if tensors and self.is_constant(tensors[0]) and _overwrites(func):
            self._give_up(tensors[0])
        return self.traced(func, args, kwargs)

    def traced(self, func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Return what an operation that depends on the image makes; the graph holds it."""
        return func(*args, **kwargs)

    def is_constant(self, value: Any) -> bool:
        """Return whether a value is a tensor that depends on weights alone."""
        return id(value) in self.constants

    def _computed(self, func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        words = repr(tree_map(lambda each: id(each) if isinstance(each, Tensor) else each, (args, kwargs)))
        key = f"{id(func)} {words}"
        if key in self.made:
            return self.made[key]
        with untraced():
            made = func(*args, **kwargs)
        self.constants |= {id(each): each for each in _tensors_in(made)}
        # What was computed of a tensor that is overwritten, and the tensor itself, are not what they were.
        if _overwrites(func):
            self.made = {}
        else:
            self.made[key] = made
        return made

    def _give_up(self, constant: Tensor) -> None:
        """Let a constant become a part of the graph, because the image is about to be written into it."""
        self.made = {}
        del self.constants[id(constant)]
        with untraced():
            kept = constant.detach().clone()  # the graph holds this tensor itself, which therefore must not change
        torch._C._set_value_trace(constant, torch._C._get_value_trace(kept.clone()))


def _tensors_in(values: Any) -> list[Tensor]:
    return [each for each in tree_flatten(values)[0] if isinstance(each, Tensor)]


def _overwrites(func: Any) -> bool:
    name = getattr(func, "__name__", "")
    return name == "__setitem__" or name.startswith("__i") or (name.endswith("_") and not name.endswith("__"))


@contextmanager
def untraced() -> Iterator[None]:
    """Leave what is computed inside the block out of the graph, where it becomes a constant."""
    state = torch._C._get_tracing_state()
    torch._C._set_tracing_state(None)
    try:
        yield
    finally:
        torch._C._set_tracing_state(state)
