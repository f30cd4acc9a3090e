"""Build the networks of an option file, within bounds of size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn
from torch.nn.modules import module as hooks

from lightsr_basicsr.errors import short_message
from lightsr_basicsr.registry import look_up
from lightsr_basicsr.tools.check.context import Finding, Run
from lightsr_basicsr.tools.check.names import arguments_of, check_section_of_type

# Of one network: half a gigabyte of weights. Networks for super-resolution have up to 40 million parameters.
MOST_PARAMETERS, MOST_MODULES = 150_000_000, 10_000
# No argument of a known network is as large; one that is may stand for a single tensor of many gigabytes.
LARGE_ARGUMENT = 2000


class TooLargeError(ValueError):
    """A network with more parameters or modules than the check builds."""


def check_networks(run: Run) -> Iterator[Finding]:
    """Yield networks that cannot be built, and keep the others in ``run.networks``."""
    keys = [key for key in run.options if str(key).startswith("network_")]
    if not keys:
        yield Finding("network_g", "is missing: name the network, for example {type: IMDN, upscale: 4}")
    for key in keys:
        content = run.options[key]
        findings = check_section_of_type(key, content, ARCH_REGISTRY, "network")
        yield from findings
        if not findings:
            try:
                run.networks[key] = _build(look_up(ARCH_REGISTRY, content["type"]), arguments_of(content))
            except Exception as error:
                # Constructors of other plugins may raise any exception; the run would stop with it.
                yield Finding(key, f"{content['type']} cannot be built: {short_message(error)}")


def _build(network: type, arguments: Mapping[str, Any]) -> nn.Module:
    """Return the network on the CPU.

    Raises:
        TooLargeError: If it is too large to be built here.
    """
    with bounded_size():
        if _largest(arguments) > LARGE_ARGUMENT and hasattr(torch, "get_default_device"):
            with torch.device("meta"):  # without memory
                network(**arguments_of(arguments))
        return network(**arguments)


def _largest(values: Any) -> float:
    """Return the largest number in nested arguments, 0 for none."""
    if isinstance(values, (Mapping, list, tuple)):
        return max(map(_largest, values.values() if isinstance(values, Mapping) else values), default=0)
    return values if isinstance(values, (int, float)) else 0


@contextmanager
def bounded_size() -> Iterator[None]:
    """Let constructors raise TooLargeError once the networks built within the block are too large (torch 2.0)."""
    built = {"parameters": 0, "modules": 0}

    def count(kind: str, number: int, most: int) -> None:
        built[kind] += number
        if built[kind] > most:
            raise TooLargeError(f"it has more than {most:,} {kind}: is an argument too large?")

    def add_parameter(module: nn.Module, name: str, parameter: Any) -> None:
        count("parameters", 0 if parameter is None else parameter.numel(), MOST_PARAMETERS)

    def add_module(module: nn.Module, name: str, child: Any) -> None:
        count("modules", 1, MOST_MODULES)

    with ExitStack() as stack:
        for kind, hook in (("parameter", add_parameter), ("module", add_module)):
            if register := getattr(hooks, f"register_module_{kind}_registration_hook", None):
                stack.callback(register(hook).remove)
        yield
