"""Compare the keys and shapes of a state dict with those of a network."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import takewhile

from torch import Tensor, nn

from lightsr_basicsr.checkpoints.files import LISTED_KEYS
from lightsr_basicsr.checkpoints.tensors import short_key

State = Mapping[str, Tensor]
MOST_PREFIXES = 4


def describe_difference(net: nn.Module, state: Mapping[str, Tensor]) -> str:
    """Return a readable list of missing, unexpected and mis-shaped keys of ``state`` for ``net``; '' if it fits."""
    own = net.state_dict()
    missing = [key for key in own if key not in state]
    unexpected = [key for key in state if key not in own]
    shapes = [
        f"{short_key(key)} {tuple(state[key].shape)}, expected {tuple(own[key].shape)}"
        for key in own
        if key in state and own[key].shape != state[key].shape
    ]
    kinds = [
        f"{short_key(key)} {state[key].dtype}, expected {own[key].dtype}"
        for key in own
        if key in state and own[key].is_floating_point() and not state[key].is_floating_point()
    ]
    parts = (
        ("missing in the file", missing),
        ("not in the network", unexpected),
        ("of another shape", shapes),
        ("of whole numbers", kinds),
    )
    return "".join(_list_keys(title, keys) for title, keys in parts if keys)


def _list_keys(title: str, keys: list[str]) -> str:
    lines = keys[:LISTED_KEYS] + ([f"... and {len(keys) - LISTED_KEYS} more"] if len(keys) > LISTED_KEYS else [])
    return "".join(f"\n    {line}" for line in (f"{len(keys)} {title}:", *(f"  {short_key(key)}" for key in lines)))


def fitting(net: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of ``state`` that have the name and shape of one in ``net``."""
    own = net.state_dict()
    return {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}


def shared_prefixes(keys: Collection[str]) -> list[str]:
    """Return the prefixes that all of ``keys`` begin with, the shortest first, each with its last dot.

    >>> shared_prefixes(["model.net.conv.weight", "model.net.conv.bias"])
    ['model.', 'model.net.', 'model.net.conv.']
    """
    # What the first and the last in the order of texts begin with, all between them do.
    ends = [end.split(".")[:-1][:MOST_PREFIXES] for end in (min(keys, default=""), max(keys, default=""))]
    parts = [part for part, _ in takewhile(lambda pair: pair[0] == pair[1], zip(*ends, strict=False))]
    return [".".join([*parts[:count], ""]) for count in range(1, len(parts) + 1)]


def without_prefixes(state: State) -> Iterator[State]:
    """Yield ``state``, then the same tensors without the prefixes that all of their names share.

    Lightning and other programs name the tensors of a network after the attribute that held it: ``model.``, ``net_g.``.
    Whether such a prefix belongs to the network shows only in whether the rest is one.
    """
    yield state
    for prefix in shared_prefixes(state):
        yield {key.removeprefix(prefix): value for key, value in state.items()}


def fitted(net: nn.Module, state: State, strict: bool = True) -> State:
    """Return ``state`` without a prefix that all names share, if only that fits ``net``; else ``state`` itself.

    With ``strict`` False it fits if one of its tensors does.
    """
    fits = (lambda found: not describe_difference(net, found)) if strict else (lambda found: bool(fitting(net, found)))
    return next(filter(fits, without_prefixes(state)), state)
