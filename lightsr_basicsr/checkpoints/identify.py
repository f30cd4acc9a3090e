"""Tell which network made a file, from the names and shapes of its tensors alone, and load it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, NamedTuple

from lightsr_basicsr import _compat

_compat.require_basicsr()

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from lightsr_basicsr.archs.network import Shapes, SRNetwork
from lightsr_basicsr.archs.reparameterized_arch import Reparameterized, plain_shapes
from lightsr_basicsr.checkpoints.files import CheckpointError, read_state_dict, unwrap
from lightsr_basicsr.checkpoints.keys import describe_difference, load_exactly
from lightsr_basicsr.checkpoints.lookalikes import name_lookalike

State = Mapping[str, Tensor]


class UnknownNetworkError(CheckpointError):
    """A readable file that no network of this package made. The message names what it is, where that is known."""


@dataclass(frozen=True)
class Identity:
    """What a file holds.

    Attributes:
        network (str): Registered name, to be used as ``network_g.type``.
        scale (float): Output side over input side.
        form (str): ``'deploy'`` where reparameterized branches are merged, ``'pruned'`` where layers are narrower than
            the dense network's, else ``'train'``; a network without such parts is deployed as it was trained.
        arguments (dict): Constructor arguments, as far as the file tells them.
    """

    network: str
    scale: float
    form: str
    arguments: dict[str, Any] = field(hash=False)

    def __str__(self) -> str:
        shown = ", ".join(f"{name} {_short(value)}" for name, value in self.arguments.items())
        return f"{self.network} x{self.scale:g}, {self.form} form ({shown})"


def _short(value: Any) -> str:
    if isinstance(value, list) and len(value) > 8:
        return f"[{value[0]}, {value[1]}, ... {len(value)} numbers]"
    return str(value)


def identify(source: str | PathLike | State) -> Identity:
    """Return what a checkpoint file or state dict holds.

    Args:
        source (str | PathLike | Mapping): A ``.pth``, ``.pt`` or ``.safetensors`` file, or tensors by name, bare or
            wrapped.

    Raises:
        CheckpointError: If the file cannot be read, or is nearly a network of this package: the message lists what
            does not fit.
        UnknownNetworkError: If it is another network's.
    """
    state, name = _state_of(source)
    return _recognise(state, name)


def load(source: str | PathLike | State, **arguments: Any) -> nn.Module:
    """Return the network that a checkpoint holds, with its weights, on the CPU, in evaluation mode.

    Args:
        source (str | PathLike | Mapping): As for :func:`identify`.
        arguments (Any): Constructor arguments that a file cannot tell, such as ``chop=True`` for FDIWN.

    Raises:
        CheckpointError, UnknownNetworkError: As :func:`identify`.
    """
    return load_identified(*_state_of(source), **arguments)[1]


def load_identified(state: State, name: str, **arguments: Any) -> tuple[Identity, nn.Module]:
    """Return identity and network of the bare tensors ``state``; ``name`` stands for them in error texts."""
    identity = _recognise(state, name)
    net = ARCH_REGISTRY.get(identity.network)(**{**identity.arguments, **arguments})
    load_exactly(net, state, name)
    return identity, net.eval()


def _state_of(source: str | PathLike | State) -> tuple[State, str]:
    if isinstance(source, Mapping):
        return unwrap(source, "the state dict")[0], "The state dict"
    return read_state_dict(source)[0], str(source)


def _recognise(state: State, name: str) -> Identity:
    near_misses = []
    ours = [(key, cls) for key, cls in ARCH_REGISTRY if isinstance(cls, type) and issubclass(cls, SRNetwork)]
    for network, cls in (*ours, *((Reparameterized.__name__, _Widened(key, cls)) for key, cls in ours)):
        attempt = try_network(cls, state)
        if attempt is not None and not attempt.misfit:
            return Identity(network, attempt.scale, _form(attempt.arguments), attempt.arguments)
        if attempt is not None:
            near_misses.append(f"{name} looks like {network}, but does not fit it:{attempt.misfit}")
    if near_misses:
        raise CheckpointError(near_misses[0])
    raise UnknownNetworkError(f"{name} is not a network of this package: {name_lookalike(state)}")


class Attempt(NamedTuple):
    """What came of reading a file as one network: why it does not fit, '' if it does; then arguments and scale."""

    misfit: str
    arguments: dict[str, Any] = {}  # noqa: RUF012  never changed
    scale: float = 0


class _Widened:
    """A network whose convolutions train wide, to be tried as one of a class of its own."""

    def __init__(self, network: str, cls: type[SRNetwork]) -> None:
        self.network, self.cls = network, cls

    def arguments_from(self, shapes: Shapes) -> dict[str, Any] | None:
        """Return the arguments of a file with these shapes, None for another network's."""
        plain, block = plain_shapes(shapes) or (None, None)
        arguments = self.cls.arguments_from(plain) if plain else None
        return None if arguments is None else {"network": {"type": self.network, **arguments}, "block": block}

    def __call__(self, **arguments: Any) -> nn.Module:
        """Build the network."""
        return Reparameterized(**arguments)


class _Shapes(dict):
    """Shapes by tensor name that remember which one was looked at last."""

    last: str = ""

    def __getitem__(self, key: str) -> tuple[int, ...]:
        self.last = key
        return super().__getitem__(key)


def try_network(cls: type[SRNetwork] | _Widened, state: State) -> Attempt | None:
    """Read ``state`` as a network of class ``cls``; None if it is of another kind altogether."""
    shapes = _Shapes({key: tuple(value.shape) for key, value in state.items()})
    try:
        arguments = cls.arguments_from(shapes)
        if arguments is None:
            return None
        net = _build(cls, arguments)
    except KeyError:
        return Attempt(f"\n    missing in the file:\n      {shapes.last}")
    except ModuleNotFoundError as error:  # DAT without spandrel
        return Attempt(f" {error}")
    except Exception as error:
        # Constructors, libraries' among them, raise anything for shapes that make no sense together.
        seen = f"{shapes.last} {shapes.get(shapes.last, '')}"
        return Attempt(f"\n    no constructor arguments give its shapes; looked at last: {seen}\n    {error}")
    difference = describe_difference(net, state)
    return Attempt(difference, arguments, net.upscale)


def _build(cls: type[SRNetwork] | _Widened, arguments: Mapping[str, Any]) -> nn.Module:
    """Build for its shapes alone: without memory where torch can, for a file may claim any size."""
    if hasattr(torch.device, "__enter__"):
        # Networks that compute while they are built cannot be built there.
        with suppress(RuntimeError), torch.device("meta"):
            return cls(**arguments)
    with torch.random.fork_rng(devices=[]):  # looking at a file does not change what is drawn later
        return cls(**arguments)


def _form(arguments: Mapping[str, Any]) -> str:
    if arguments.get("deploy"):
        return "deploy"
    return "pruned" if arguments.get("channels") else "train"
