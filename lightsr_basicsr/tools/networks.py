"""Open any network: from a checkpoint, from a section of an option file, or by its registered name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

from basicsr.archs.ecbsr_arch import ECB
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from lightsr_basicsr.archs.network import SRNetwork
from lightsr_basicsr.checkpoints import WRAPPERS, CheckpointError, describe_difference, read_state_dict
from lightsr_basicsr.checkpoints.identify import UnknownNetworkError, load_identified
from lightsr_basicsr.checkpoints.keys import fitted, without_prefixes
from lightsr_basicsr.checkpoints.misfit import describe_misfit, load_weights
from lightsr_basicsr.errors import UserError
from lightsr_basicsr.plugins import import_plugins
from lightsr_basicsr.registry import OF_ANOTHER, look_up, similar_names
from lightsr_basicsr.runtimes.network import UNKNOWN_SCALE, OtherNetwork
from lightsr_basicsr.tools.options import find_option_file, read_options

WEIGHTS = {"ema": "params_ema", "raw": "params"}
UNRECOVERABLE = ("img_range", "chop")  # arguments that change images, but no tensor of a checkpoint
CHANNELS = ("num_in_ch", "in_chans", "in_nc", "in_channels")


class NetworkError(UserError):
    """A network cannot be opened: its checkpoint, its section of an option file or its name is wrong."""


class Opened(NamedTuple):
    """A network with its weights."""

    net: nn.Module  # in evaluation mode; with its branches where BasicSR's ECB would merge them
    section: dict[str, Any]  # its section of an option file
    form: str  # 'train', 'pruned' or 'deploy'
    unrecoverable: tuple[str, ...] = ()  # arguments missing in the section because no checkpoint holds them

    @property
    def ours(self) -> SRNetwork:
        """The network with SRNetwork's interface."""
        return adapt(self.net, self.section)


def adapt(net: nn.Module, section: Mapping[str, Any]) -> SRNetwork:
    """Return ``net`` with SRNetwork's interface; another package's gets scale and channels from its section."""
    if isinstance(net, SRNetwork):
        return net
    section = innermost(section)
    scale = _argument(section, "upscale") or _argument(section, "scale") or UNKNOWN_SCALE
    counts = (_argument(section, name) for name in CHANNELS)
    return OtherNetwork(net, scale, next((count for count in counts if isinstance(count, int)), None))


def innermost(section: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the section of the network inside ``Reparameterized`` or ``Deployed``, any other section itself.

    >>> innermost({"type": "Deployed", "network": {"type": "ECBSR", "scale": 2}})
    {'type': 'ECBSR', 'scale': 2}
    """
    while isinstance(section.get("network"), Mapping):
        section = section["network"]
    return section


def inner_of(section: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the name of the network inside another's section and the block for its convolutions; None for none."""
    inner = innermost(section)
    block = _argument(section, "block") if section["type"] == "Reparameterized" else None
    return {"inner": None if inner is section else inner["type"], "block": block}


def read_network(option_file: str, key: str = "network_g") -> dict[str, Any]:
    """Return the section of a network in an option file.

    Raises:
        OptionError, PluginError, NetworkError: If the file cannot be read, one of its ``plugins`` is missing, or it has
            no such section.
    """
    options = read_options(find_option_file(option_file))
    import_plugins(options.get("plugins"))
    section = options.get(key)
    if not isinstance(section, Mapping) or "type" not in section:
        existing = [name for name in map(str, options) if name.startswith("network_")]
        raise NetworkError(
            f"{option_file} has no section {key} with a `type`; its networks: {', '.join(existing) or 'none'}."
        )
    return dict(section)


def read_weights(source: Path, weights: str | None) -> tuple[dict[str, Tensor], str]:
    """Return the tensors of a checkpoint by key, and their wrapper.

    Args:
        source (Path): The checkpoint.
        weights (str | None): A key of ``WEIGHTS``; None takes EMA weights if there are any.

    Raises:
        CheckpointError, NetworkError: If the file cannot be read, or does not hold these weights.
    """
    if weights is None:
        return read_state_dict(source)
    if weights not in WEIGHTS:
        raise NetworkError(f"`weights` must be {' or '.join(WEIGHTS)}, got {weights!r}.")
    state, wrapper = read_state_dict(source, WEIGHTS[weights])
    if wrapper != WEIGHTS[weights]:
        existing = sorted({read_state_dict(source, name)[1] for name in WRAPPERS})
        shown = ", ".join("bare tensors" if name == "bare" else f"'{name}'" for name in existing)
        raise NetworkError(
            f"{source} has no '{WEIGHTS[weights]}', the key of {weights} weights; it holds {shown}. Omit --weights to "
            "use whichever is present."
        )
    return state, wrapper


def open_checkpoint(
    source: Path, weights: str | None, section: Mapping[str, Any] | None
) -> tuple[Opened, dict[str, Tensor], str]:
    """Return the network of a checkpoint, the tensors of the file, and their wrapper.

    Arguments and errors are those of :func:`read_weights` and :func:`open_network`; for an unknown network the message
    names the option ``--opt`` of the commands.
    """
    state, wrapper = read_weights(source, weights)
    try:
        opened = open_network(state, source, section)
        return opened, dict(fitted(opened.net, state)), wrapper
    except UnknownNetworkError as error:
        raise NetworkError(
            f"{error}\nIf it is a network of BasicSR or another package, name the option file it was trained with: "
            "--opt FILE. That also shows whether it is converted already."
        ) from error


def open_network(state: Mapping[str, Tensor], source: Path, section: Mapping[str, Any] | None) -> Opened:
    """Return the network of a checkpoint.

    Args:
        state (Mapping): Tensors of the checkpoint.
        source (Path): The checkpoint, for error messages.
        section (Mapping | None): Section of an option file, of the training form; None identifies the network by its
            tensors.

    Raises:
        CheckpointError, NetworkError: If the network is unknown or does not fit.
    """
    if section is not None:
        return _open_section(state, source, section)
    identity, net = load_identified(state, str(source))
    section = {"type": identity.network, **identity.arguments}
    return Opened(net, section, identity.form, unrecoverable_arguments(section))


def _open_section(state: Mapping[str, Tensor], source: Path, section: Mapping[str, Any]) -> Opened:
    found = next(filter(None, (form_with(section, bare) for bare in without_prefixes(state))), None)
    if found is None:
        _check_form_asked_for(section, state, source)
        raise CheckpointError(describe_misfit(build(section), state, source))
    net, fitting = found
    deployed = fitting is not section or fitting.get("deploy") or fitting["type"] == "Deployed"
    load_weights(net, state, source)
    return Opened(_with_branches(net), dict(fitting), "deploy" if deployed else "train")


def _with_branches(net: nn.Module) -> nn.Module:
    """Have BasicSR's ECB run its branches in evaluation mode too, where it would merge them in its own way."""
    for module in net.modules():
        if isinstance(module, ECB):
            # Unlike an attribute, a hook survives `eval` and a copy. Activations inside stay in evaluation mode.
            module.register_forward_pre_hook(lambda block, _: setattr(block, "training", True))
    return net


def _check_form_asked_for(section: Mapping[str, Any], state: Mapping[str, Tensor], source: Path) -> None:
    """Raise NetworkError if the section is of the deployed form and the checkpoint of the training form."""
    if section["type"] == "Deployed":
        training = section["network"]
    elif section.get("deploy"):
        training = {**section, "deploy": False}
    else:
        return
    if not describe_difference(build(training), state):
        raise NetworkError(
            f"{source} holds {innermost(training)['type']} in its training form, and the option file asks for the "
            "deployed one: name the option file of the training form (deploy: false, and no `type: Deployed`)."
        )


def _forms(section: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield a network's section, then the sections that its deployed form may have."""
    yield section
    if section["type"] == "Reparameterized":
        yield from _forms(section["network"])
        return
    if "deploy" in signature(_constructor(section)).parameters:
        yield {**section, "deploy": True}
    yield {"type": "Deployed", "network": dict(section)}


def form_with(section: Mapping[str, Any], state: Mapping[str, Tensor]) -> tuple[nn.Module, Mapping[str, Any]] | None:
    """Return the form of a section's network with the names and shapes of ``state``, and its section; None for none."""
    for form in _forms(section):
        net = build(form)
        if not describe_difference(net, state):
            return net, form
    return None


def build(section: Mapping[str, Any]) -> nn.Module:
    """Build a network with new weights, in evaluation mode, from its section of an option file.

    Raises:
        NetworkError: If it is not registered or its arguments are wrong.
    """
    constructor, arguments = _constructor(section), {key: value for key, value in section.items() if key != "type"}
    try:
        return constructor(**arguments).eval()
    except Exception as error:
        # Constructors of other packages raise exceptions of any type.
        raise NetworkError(f"{section['type']} cannot be built with {arguments}: {error}") from error


def _constructor(section: Mapping[str, Any]) -> Any:
    kind = section.get("type")
    found = look_up(ARCH_REGISTRY, kind)
    if found is None:
        hint = similar_names(ARCH_REGISTRY, kind) or "`basicsr list networks` shows them."
        raise NetworkError(f"No network named '{kind}' is registered: {hint} {OF_ANOTHER}.")
    return found


def _argument(section: Mapping[str, Any], name: str) -> Any:
    """Return a constructor argument of a section, its default if missing, None if the class has no such argument."""
    parameter = signature(_constructor(section)).parameters.get(name)
    default = None if parameter is None or parameter.default is parameter.empty else parameter.default
    return section.get(name, default)


def unrecoverable_arguments(section: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the arguments that matter to images, but are missing in a section made from the tensors of a checkpoint.

    Raises:
        NetworkError: If the network is not registered.
    """
    section = innermost(section)
    names = signature(_constructor(section)).parameters
    return tuple(name for name in names if name in UNRECOVERABLE and name not in section)
