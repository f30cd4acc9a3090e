"""Compare the keys and shapes of a state dict with those of a network."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from lightsr_basicsr.checkpoints.files import LISTED_KEYS


def describe_difference(net: nn.Module, state: Mapping[str, Tensor]) -> str:
    """Return a readable list of missing, unexpected and mis-shaped keys of ``state`` for ``net``; '' if it fits."""
    own = net.state_dict()
    missing = [key for key in own if key not in state]
    unexpected = [key for key in state if key not in own]
    shapes = [
        f"{key} {tuple(state[key].shape)}, expected {tuple(own[key].shape)}"
        for key in own
        if key in state and own[key].shape != state[key].shape
    ]
    parts = (("missing in the file", missing), ("not in the network", unexpected), ("of another shape", shapes))
    return "".join(_list_keys(title, keys) for title, keys in parts if keys)


def _list_keys(title: str, keys: list[str]) -> str:
    lines = keys[:LISTED_KEYS] + ([f"... and {len(keys) - LISTED_KEYS} more"] if len(keys) > LISTED_KEYS else [])
    return "".join(f"\n    {line}" for line in (f"{len(keys)} {title}:", *(f"  {key}" for key in lines)))


def fitting(net: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of ``state`` that have the name and shape of one in ``net``."""
    own = net.state_dict()
    return {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
