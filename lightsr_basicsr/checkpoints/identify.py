"""Identify the network behind a checkpoint, from the names and shapes of its tensors alone, and load it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, NamedTuple

from lightsr_basicsr.errors import require_basicsr

require_basicsr()

from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from lightsr_basicsr.archs.network import Shapes, SRNetwork
from lightsr_basicsr.archs.reparameterized_arch import Reparameterized, plain_shapes
from lightsr_basicsr.checkpoints.build import build_for_shapes
from lightsr_basicsr.checkpoints.files import CheckpointError, read_state_dict, unwrap
from lightsr_basicsr.checkpoints.keys import describe_difference, without_prefixes
from lightsr_basicsr.checkpoints.lookalikes import name_lookalike
from lightsr_basicsr.checkpoints.tensors import describe_not_finite, not_finite

State = Mapping[str, Tensor]


class UnknownNetworkError(CheckpointError):
    """A readable file of a network that is not in this package. The message names that network, where known."""


@dataclass(frozen=True)
class Identity:
    """Network, scale, form and arguments of a checkpoint.

    Attributes:
        network (str): Registered name, to be used as ``network_g.type``.
        scale (float): Output side over input side.
        form (str): ``'deploy'`` where reparameterized branches are merged, ``'pruned'`` where layers are narrower than
            the dense network's, else ``'train'``; a network without such parts is deployed as it was trained.
        arguments (dict): Constructor arguments, as far as tensors show them.
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
    """Return which network a checkpoint file or state dict holds.

    Args:
        source (str | PathLike | Mapping): A ``.pth``, ``.pt`` or ``.safetensors`` file, or tensors by name, bare or
            wrapped.

    Raises:
        CheckpointError: If the file cannot be read, or is nearly a network of this package: the message lists the
            tensors that do not fit.
        UnknownNetworkError: If it is another network's.
    """
    return _identify(*_state_of(source))[0]


def load(source: str | PathLike | State, **arguments: Any) -> nn.Module:
    """Return the network that a checkpoint holds, with its weights, on the CPU, in evaluation mode.

    Weights that are NaN or infinite are loaded with a warning.

    Args:
        source (str | PathLike | Mapping): As for :func:`identify`.
        arguments (Any): Constructor arguments that no tensor shows, such as ``chop=True`` for FDIWN.

    Raises:
        CheckpointError, UnknownNetworkError: As :func:`identify`.
    """
    state, name = _state_of(source)
    if found := describe_not_finite(not_finite(state)):
        warnings.warn(f"{name}: {found}.", stacklevel=2)
    return load_identified(state, name, **arguments)[1]


def load_identified(state: State, name: str, **arguments: Any) -> tuple[Identity, nn.Module]:
    """Return identity and network of the bare tensors ``state``, which messages call ``name``.

    Raises:
        CheckpointError, UnknownNetworkError: As :func:`identify`.
    """
    identity, state = _identify(state, name)
    net = ARCH_REGISTRY.get(identity.network)(**{**identity.arguments, **arguments})
    if difference := describe_difference(net, state):  # by other arguments than the file's own
        raise CheckpointError(f"{name} does not fit {type(net).__name__}:{difference}")
    net.load_state_dict(state)
    return identity, net.eval()


def _state_of(source: str | PathLike | State) -> tuple[State, str]:
    if isinstance(source, Mapping):
        return unwrap(source, "the state dict")[0], "The state dict"
    return read_state_dict(source)[0], str(source)


def _identify(state: State, name: str) -> tuple[Identity, State]:
    """Return the identity of tensors, and the tensors without a prefix that only their file adds to all names."""
    near_misses: list[str] = []
    for bare in without_prefixes(state):
        if identity := _network_of(bare, name, near_misses):
            return identity, bare
    if near_misses:
        raise CheckpointError(near_misses[0])
    raise UnknownNetworkError(f"{name} is not a network of this package: {name_lookalike(state)}")


def _network_of(state: State, name: str, near_misses: list[str]) -> Identity | None:
    """Return the network with all names and shapes of ``state``, None for none; add what is nearly one."""
    ours = [(key, cls) for key, cls in ARCH_REGISTRY if isinstance(cls, type) and issubclass(cls, SRNetwork)]
    for network, cls in (*ours, *((Reparameterized.__name__, _Widened(key, cls)) for key, cls in ours)):
        attempt = try_network(cls, state)
        if attempt is not None and not attempt.misfit:
            return Identity(network, attempt.scale, _form(attempt.arguments), attempt.arguments)
        if attempt is not None:
            near_misses.append(f"{name} looks like {network}, but does not fit it:{attempt.misfit}")
    return None


class Attempt(NamedTuple):
    """Result of reading tensors as one network: why they do not fit ('' if they do), arguments and scale."""

    misfit: str
    arguments: dict[str, Any] = {}  # noqa: RUF012
    scale: float = 0


class _Widened(NamedTuple):
    """A network with wide convolutions (``Reparameterized``), in the form that :func:`try_network` takes."""

    network: str
    cls: type[SRNetwork]

    def arguments_from(self, shapes: Shapes) -> dict[str, Any] | None:
        """Return the arguments of a network with these shapes, None for another network's."""
        plain, block = plain_shapes(shapes) or (None, None)
        arguments = self.cls.arguments_from(plain) if plain else None
        return None if arguments is None else {"network": {"type": self.network, **arguments}, "block": block}

    def __call__(self, **arguments: Any) -> nn.Module:
        """Build the network."""
        return Reparameterized(**arguments)


class _Shapes(dict):
    """Shapes by tensor name that remember the last name looked up."""

    last: str = ""

    def __getitem__(self, key: str) -> tuple[int, ...]:
        self.last = key
        return super().__getitem__(key)


def try_network(cls: type[SRNetwork] | _Widened, state: State) -> Attempt | None:
    """Read ``state`` as a network of class ``cls``; None if it has none of its tensors."""
    shapes = _Shapes({key: tuple(value.shape) for key, value in state.items()})
    try:
        arguments = cls.arguments_from(shapes)
        if arguments is None:
            return None
        net = build_for_shapes(cls, arguments, state)
    except KeyError:
        return Attempt(f"\n    missing in the file:\n      {shapes.last}")
    except ModuleNotFoundError as error:  # DAT without spandrel
        return Attempt(f" {error}")
    except Exception as error:
        # Constructors raise anything for shapes that do not belong together.
        seen = f"{shapes.last} {shapes.get(shapes.last, '')}"
        return Attempt(f"\n    no constructor arguments give its shapes; looked at last: {seen}\n    {error}")
    difference = describe_difference(net, state)
    return Attempt(difference, arguments, net.upscale)


def _form(arguments: Mapping[str, Any]) -> str:
    if arguments.get("deploy"):
        return "deploy"
    return "pruned" if arguments.get("channels") else "train"
