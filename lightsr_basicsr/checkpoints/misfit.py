"""Load weights into a network; the error names the network that the file holds instead."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike

from torch import Tensor, nn

from lightsr_basicsr.archs.reparam import deploy
from lightsr_basicsr.checkpoints import identify  # the module: it may be partially imported here
from lightsr_basicsr.checkpoints.files import CheckpointError
from lightsr_basicsr.checkpoints.keys import describe_difference, fitted, fitting


def describe_misfit(net: nn.Module, state: Mapping[str, Tensor], source: str | PathLike, strict: bool = True) -> str:
    """Return why ``state`` does not fit ``net`` and what it holds instead; '' if it fits.

    With ``strict`` False it fits if one of its tensors does.
    """
    if not strict:
        none = f"{source} holds no tensor that fits {type(net).__name__}: another network's file?"
        return "" if fitting(net, fitted(net, state, strict=False)) else none
    state = fitted(net, state)
    difference = describe_difference(net, state)
    if not difference:
        return ""
    misfit = f"{source} does not fit {type(net).__name__}"
    if _is_deployed_form_of(net, state):
        return (
            f"{misfit}: the file holds the deployed (merged) form; it cannot be converted back. Use the training "
            "checkpoint; for tests set `deploy: true`, or `type: Deployed`."
        )
    if not hasattr(net, "arguments_from"):  # another package's network
        return f"{misfit}:{difference}"
    try:
        identity, held = identify.load_identified(state, str(source))
    except identify.UnknownNetworkError as error:
        return f"{misfit}: {str(error).partition(': ')[2]}{difference}"
    except CheckpointError:
        return f"{misfit}:{difference}"
    # Between two networks nearly every key differs.
    listed = difference if identity.network == type(net).__name__ else ""
    if _is_deployed_form_of(held, net.state_dict()):
        return f"{misfit}: it holds {identity}; expected its deployed form: basicsr convert {source}"
    return f"{misfit}: it holds {identity}.{listed}"


def _is_deployed_form_of(net: nn.Module, state: Mapping[str, Tensor]) -> bool:
    try:
        return not describe_difference(deploy(net), state)
    except Exception:
        # Networks of other packages may raise anything, and then this is not the reason.
        return False


def load_weights(
    net: nn.Module, state: Mapping[str, Tensor], source: str | PathLike = "the checkpoint", strict: bool = True
) -> None:
    """Load ``state`` into ``net``; every key and shape must fit, or with ``strict`` False at least one tensor.

    A prefix that all keys share is taken off if only the rest fits.

    Raises:
        CheckpointError: With the missing, unexpected and mis-shaped keys, and the network that the file holds.
    """
    if misfit := describe_misfit(net, state, source, strict):
        raise CheckpointError(misfit)
    state = fitted(net, state, strict)
    net.load_state_dict(state if strict else fitting(net, state), strict=strict)
