"""Which network a file to convert holds: told from its tensors, or from the option file it was trained with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import torch
from basicsr.archs.ecbsr_arch import ECB
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from lightsr_basicsr.archs.network import SRNetwork
from lightsr_basicsr.checkpoints import WRAPPERS, CheckpointError, describe_difference, read_state_dict
from lightsr_basicsr.checkpoints.identify import UnknownNetworkError, load_identified
from lightsr_basicsr.checkpoints.misfit import describe_misfit, load_strictly
from lightsr_basicsr.errors import UserError
from lightsr_basicsr.registry import look_up, similar_names
from lightsr_basicsr.tools.options import find_option_file, read_options

WEIGHTS = {"ema": "params_ema", "raw": "params"}
UNKNOWN_SCALE = 0
UNTOLD = ("img_range", "chop")  # arguments that change images and not the tensors of a file
CHANNELS = ("num_in_ch", "in_chans", "in_nc", "in_channels")
IMAGE_CHANNELS = (1, 3, 4)
NAMED = 3


class ConvertError(UserError):
    """Something about a conversion that the user can put right; the message says how."""


class OtherNetwork(SRNetwork):
    """Another package's network, with what ours tell about themselves.

    Args:
        net (nn.Module): The network.
        section (Mapping): Its section of an option file, to read scale and channels from.
    """

    def __init__(self, net: nn.Module, section: Mapping[str, Any]) -> None:
        super().__init__()
        self.net = net
        section = innermost(section)
        self.upscale = _argument(section, "upscale") or _argument(section, "scale") or UNKNOWN_SCALE
        told = (_argument(section, name) for name in CHANNELS)
        self.num_in_ch = next((count for count in told if isinstance(count, int)), _first_channels(net))
        self.super_resolves = self.upscale != UNKNOWN_SCALE

    def forward(self, x: Tensor) -> Any:
        """Run the network on (N, num_in_ch, H, W)."""
        return self.net(x)


def innermost(section: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the section of the network that ``Reparameterized`` or ``Deployed`` was asked to build, or itself."""
    while isinstance(section.get("network"), Mapping):
        section = section["network"]
    return section


def inner_of(section: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the name of the network inside another's section and the block its convolutions became, None for none."""
    inner = innermost(section)
    block = _argument(section, "block") if section["type"] == "Reparameterized" else None
    return {"inner": None if inner is section else inner["type"], "block": block}


def _first_channels(net: nn.Module) -> int:
    """Return the input channels of a network's first convolution if images have as many, else 3."""
    count = next((value.shape[1] for value in net.parameters() if value.ndim == 4), 3)
    return count if count in IMAGE_CHANNELS else 3


def _argument(section: Mapping[str, Any], name: str) -> Any:
    """Return the value of a constructor argument, its default if the section has none, None for no such argument."""
    parameter = signature(_constructor(section)).parameters.get(name)
    default = None if parameter is None or parameter.default is parameter.empty else parameter.default
    return section.get(name, default)


class Opened(NamedTuple):
    """A network with its weights.

    Attributes:
        net (nn.Module): In evaluation mode; with its branches where BasicSR's ECB would merge them.
        section (dict): Its section of an option file.
        form (str): ``'train'``, ``'pruned'`` or ``'deploy'``.
        untold (tuple[str, ...]): Arguments that are missing in the section because no file tells them.
    """

    net: nn.Module
    section: dict[str, Any]
    form: str
    untold: tuple[str, ...] = ()

    @property
    def ours(self) -> SRNetwork:
        """The network, or for another package's one around it that tells the same about itself."""
        return self.net if isinstance(self.net, SRNetwork) else OtherNetwork(self.net, self.section)


def read_network(option_file: str, key: str = "network_g") -> dict[str, Any]:
    """Return the section of a network in an option file.

    Raises:
        OptionError, ConvertError: If the file cannot be read or has no such section.
    """
    options = read_options(find_option_file(option_file))
    section = options.get(key)
    if not isinstance(section, Mapping) or "type" not in section:
        there = [name for name in map(str, options) if name.startswith("network_")]
        raise ConvertError(
            f"{option_file} has no section {key} with a `type`; its networks: {', '.join(there) or 'none'}."
        )
    return dict(section)


def read_weights(source: Path, weights: str | None) -> tuple[dict[str, Tensor], str]:
    """Return tensors by key and the wrapper they were in; ``weights`` is one of ``WEIGHTS``, None for any.

    Raises:
        CheckpointError, ConvertError: If the file cannot be read, or does not hold these.
    """
    if weights is None:
        return read_state_dict(source)
    if weights not in WEIGHTS:
        raise ConvertError(f"`weights` must be {' or '.join(WEIGHTS)}, got {weights!r}.")
    state, taken = read_state_dict(source, WEIGHTS[weights])
    if taken != WEIGHTS[weights]:
        held = sorted({read_state_dict(source, name)[1] for name in WRAPPERS})
        shown = ", ".join("bare tensors" if name == "bare" else f"'{name}'" for name in held)
        raise ConvertError(
            f"{source} has no '{WEIGHTS[weights]}', which {weights} weights are held under; it holds {shown}. Without "
            "this choice what is there is taken."
        )
    return state, taken


def open_network(state: Mapping[str, Tensor], source: Path, section: Mapping[str, Any] | None) -> Opened:
    """Return the network that a file holds.

    Args:
        state (Mapping): Its tensors.
        source (Path): The file, for error texts.
        section (Mapping | None): Section of an option file, of the training form; None for what the tensors tell.

    Raises:
        CheckpointError, ConvertError: If the network is not known or does not fit.
    """
    if section is not None:
        found = form_with(section, state)
        if found is None:
            _check_form_asked_for(section, state, source)
            raise CheckpointError(describe_misfit(build(section), state, source))
        net, fitting = found
        deployed = fitting is not section or fitting.get("deploy") or fitting["type"] == "Deployed"
        load_strictly(net, state, source)
        return Opened(_with_branches(net), dict(fitting), "deploy" if deployed else "train")
    try:
        identity, net = load_identified(state, str(source))
    except UnknownNetworkError as error:
        hint = (
            "If it is BasicSR's or another package's network, name the option file it was trained with: --opt FILE. "
            "That also tells whether it is converted already."
        )
        raise ConvertError(f"{error}\n{hint}") from error
    section = {"type": identity.network, **identity.arguments}
    return Opened(net, section, identity.form, untold_by_files(section))


def _with_branches(net: nn.Module) -> nn.Module:
    """Have BasicSR's ECB run its branches in evaluation mode too, where it merges them in its own way."""
    for module in net.modules():
        if isinstance(module, ECB):
            # A hook outlasts `eval`, and comes along in a copy. Activations inside stay in evaluation mode.
            module.register_forward_pre_hook(lambda block, _: setattr(block, "training", True))
    return net


def _check_form_asked_for(section: Mapping[str, Any], state: Mapping[str, Tensor], source: Path) -> None:
    """Raise ConvertError if the section asks for the deployed form, and the file is the training form."""
    if section["type"] == "Deployed":
        training = section["network"]
    elif section.get("deploy"):
        training = {**section, "deploy": False}
    else:
        return
    if not describe_difference(build(training), state):
        raise ConvertError(
            f"{source} holds {innermost(training)['type']} in its training form, and the option file asks for the "
            "deployed one: name the option file of the training form (deploy: false, and no `type: Deployed`)."
        )


def check_sound(net: nn.Module, source: Path) -> None:
    """Raise ConvertError, with names, if weights or the statistics of batch normalisation are such that none can merge.

    Args:
        net (nn.Module): The network, with the weights of the file.
        source (Path): The file, for error texts.
    """
    norms = {
        name: module
        for name, module in net.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None
    }
    statistics = {f"{name}.running_{which}".lstrip(".") for name in norms for which in ("mean", "var")}
    wrong = [
        key for key, value in net.state_dict().items() if key not in statistics and not torch.isfinite(value).all()
    ]
    if wrong:
        raise ConvertError(
            f"{source} cannot be merged: weights are not a number, or infinite ({_named(wrong)}): the training "
            "diverged; take an earlier file."
        )
    fresh = [name for name, norm in norms.items() if not norm.running_mean.any() and (norm.running_var == 1).all()]
    if fresh:
        raise ConvertError(
            f"{source} cannot be merged: batch normalisation never saw data, its statistics are those of the start "
            f"({_named(fresh)}). Train the network, or take a later file."
        )
    broken = [name for name, norm in norms.items() if not _divides(norm)]
    if broken:
        raise ConvertError(
            f"{source} cannot be merged: batch normalisation has a running variance that is zero, negative or no "
            f"number, or a mean that is no number ({_named(broken)}): it saw no sound data. Train the network further, "
            "or take an earlier file."
        )


def _divides(norm: nn.modules.batchnorm._BatchNorm) -> bool:
    mean, variance = norm.running_mean, norm.running_var
    return bool(torch.isfinite(mean).all() and torch.isfinite(variance).all() and (variance > 0).all())


def _named(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _forms(section: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield a network's section, then those that its deployed form may have."""
    yield section
    if section["type"] == "Reparameterized":
        yield from _forms(section["network"])
        return
    if "deploy" in signature(_constructor(section)).parameters:
        yield {**section, "deploy": True}
    yield {"type": "Deployed", "network": dict(section)}


def form_with(section: Mapping[str, Any], state: Mapping[str, Tensor]) -> tuple[nn.Module, Mapping[str, Any]] | None:
    """Return the network with these tensors' names and shapes, among a section's forms, and that form's section."""
    for form in _forms(section):
        net = build(form)
        if not describe_difference(net, state):
            return net, form
    return None


def _constructor(section: Mapping[str, Any]) -> Any:
    kind = section.get("type")
    found = look_up(ARCH_REGISTRY, kind)
    if found is None:
        hint = similar_names(ARCH_REGISTRY, kind) or "`basicsr list networks` shows them."
        raise ConvertError(f"No network named '{kind}' is registered: {hint}")
    return found


def build(section: Mapping[str, Any]) -> nn.Module:
    """Return a new network, in evaluation mode, from its section of an option file.

    Raises:
        ConvertError: If it is not registered or its arguments are wrong.
    """
    constructor, arguments = _constructor(section), {key: value for key, value in section.items() if key != "type"}
    try:
        return constructor(**arguments).eval()
    except Exception as error:
        # Constructors, other packages' among them, raise anything.
        raise ConvertError(f"{section['type']} cannot be built with {arguments}: {error}") from error


def untold_by_files(section: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the arguments that matter to images and that a section made from a file's tensors lacks."""
    section = innermost(section)
    return tuple(name for name in signature(_constructor(section)).parameters if name in UNTOLD and name not in section)
