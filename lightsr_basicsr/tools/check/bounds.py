"""Bounds of memory and time, within which the check builds and runs the networks of an option file."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules import module as hooks
from torch.overrides import TorchFunctionMode

from lightsr_basicsr.checkpoints.build import FACTORIES

# Of all networks of a file: half a gigabyte of weights. Networks for super-resolution have up to 40 million parameters
# and 3,000 modules.
MOST_PARAMETERS, MOST_MODULES = 150_000_000, 10_000
# No number among the arguments of a network is as large. Larger ones make lists that fill the memory, before there is
# any module to count.
MOST_NUMBER = 10_000_000
# Of a processor, for building all networks, and again for running one.
SECONDS = 5
# Bytes beyond those in use, and for each processor, whose threads reserve some.
MEMORY, MEMORY_OF_THREAD = 5 * 2**27, 2**27 + 2**24


class TooLargeError(ValueError):
    """A network that needs more time or memory than the check takes."""


class NoMemoryError(TooLargeError):
    """A network that needs more memory than the check takes."""


class Bounds(TorchFunctionMode):
    """Lets what is built or run within the block raise TooLargeError once it is too large.

    Modules and parameters are counted from torch 2.0 on. A block may be entered again, and goes on counting.
    """

    def __init__(self) -> None:
        super().__init__()
        self.parameters = self.modules = 0
        self.seconds = float(SECONDS)
        self.since = 0.0
        self.stack = ExitStack()

    def __enter__(self) -> Bounds:
        self.since = time.thread_time()
        for kind, observer in (("parameter", self._add_parameter), ("module", self._add_module)):
            if register := getattr(hooks, f"register_module_{kind}_registration_hook", None):
                self.stack.callback(register(observer).remove)
        self.stack.enter_context(_bounded_memory())
        return super().__enter__()

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        self.seconds -= time.thread_time() - self.since
        self.stack.close()
        super().__exit__(kind, error, trace)
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            text = f"{MEMORY / 2**20:.0f} MB of memory"
            raise NoMemoryError(f"it takes more than {text}: is an argument too large?") from error

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in FACTORIES:
            self._check_size(func(*args, **{**kwargs, "device": "meta"}))
        made = func(*args, **kwargs)
        self._check_size(made)
        self._check_time()
        return made

    def _add_parameter(self, module: Any, name: str, parameter: Tensor | None) -> None:
        self.parameters += 0 if parameter is None else parameter.numel()
        _limit(self.parameters, MOST_PARAMETERS, "parameters")

    def _add_module(self, module: Any, name: str, child: Any) -> None:
        self.modules += 1
        _limit(self.modules, MOST_MODULES, "modules")
        self._check_time()

    def _check_size(self, made: Any) -> None:
        if isinstance(made, Tensor) and made.numel() > MOST_PARAMETERS:
            text = f"{MOST_PARAMETERS:,} parameters or other numbers in one tensor"
            raise NoMemoryError(f"it takes more than {text}: is an argument too large?")

    def _check_time(self) -> None:
        if time.thread_time() - self.since > self.seconds:
            raise TooLargeError(f"it takes more than {SECONDS} seconds of a processor: is an argument too large?")


def _limit(number: int, most: int, kind: str) -> None:
    if number > most:
        raise TooLargeError(f"it takes more than {most:,} {kind}: is an argument too large?")


@contextmanager
def _bounded_memory() -> Iterator[None]:
    """Let what would take all memory raise MemoryError or RuntimeError, on Linux."""
    used = Path("/proc/self/statm")
    if not used.is_file() or torch.cuda.is_available():  # a GPU reserves addresses as it likes
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(used.read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY + MEMORY_OF_THREAD * (os.cpu_count() or 1)
    limits = [limit for limit in (soft, hard, most) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(limits), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def too_large_numbers(values: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and values of numbers in nested arguments that no network takes."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from too_large_numbers(value, f"{where}.{key}")
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from too_large_numbers(value, where)
    elif isinstance(values, (int, float)) and abs(values) > MOST_NUMBER:
        yield where, values
