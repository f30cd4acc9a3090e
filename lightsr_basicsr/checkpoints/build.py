"""Build a network of the arguments that a file claims, for its shapes alone, within bounds of memory and time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lightsr_basicsr._later import without_compiler

FACTORIES = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.arange, torch.linspace,
             torch.eye}  # fmt: skip
# Numbers that a constructor may make for each of the file, and for any file: tables of windows, temporary results.
TIMES, MOST_NUMBERS = 32, 2**25
MOST_TENSORS = 10_000  # that a constructor may make; the networks of the package make a tenth of it


class TooLargeError(Exception):
    """A constructor makes more than the file can hold."""


class _Bounded(TorchFunctionMode):
    """Ends a constructor that makes far more tensors or numbers than its file holds; numbers on meta are free."""

    def __init__(self, state: Mapping[str, Tensor], on_meta: bool = False) -> None:
        super().__init__()
        self.on_meta = on_meta
        self.numbers = TIMES * sum(value.numel() for value in state.values()) + MOST_NUMBERS
        self.tensors = MOST_TENSORS

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in FACTORIES:
            self.tensors -= 1
            self._spend(0 if self.on_meta else func(*args, **{**kwargs, "device": "meta"}).numel())
            return func(*args, **kwargs)
        made = func(*args, **kwargs)
        if isinstance(made, Tensor) and not made.is_meta and not any(made is each for each in args):
            self._spend(made.numel())
        return made

    def _spend(self, numbers: int) -> None:
        self.numbers -= numbers
        if self.numbers < 0 or self.tensors < 0:
            raise TooLargeError("its shapes stand for a far larger network than the file holds")


def build_for_shapes(build: Callable[..., nn.Module], arguments: Mapping[str, Any], state: Mapping[str, Tensor]) -> Any:
    """Build a network, without memory where torch can, else with no more than a file of ``state`` may ask for.

    Raises:
        TooLargeError: If it needs far more than the file holds.
        Exception: What the constructor raises.
    """
    if hasattr(torch.device, "__enter__"):
        # Networks that compute in their constructors cannot be built on the meta device.
        with suppress(RuntimeError), without_compiler(), torch.device("meta"), _Bounded(state, on_meta=True):
            return build(**arguments)
    with torch.random.fork_rng(devices=[]), _Bounded(state):  # identifying a file leaves the random generators alone
        return build(**arguments)
