"""What belongs together in dual regression: networks, dual networks and LR images; and what cannot work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

# BasicSR's losses and ours that do not give one number for two images.
OTHER_LOSSES = ("PerceptualLoss", "GANLoss", "WeightedTVLoss", "KDLoss")

Problems = Iterator[tuple[str, str]]


def level_keys(net: nn.Module | None) -> tuple[str, ...]:
    """Return the keys of a batch under which the LR images of larger levels are, () for a network without levels."""
    if not getattr(net, "gives_levels", False):
        return ()
    return tuple(f"lq_down{2**power}" for power in range(net.upscale.bit_length() - 2, 0, -1))


def is_dual(net: nn.Module) -> bool:
    """Tell whether ``net`` leads to a smaller image; a network of another package may, without telling."""
    return getattr(net, "upscale", 1) < 1


def _upscale(net: nn.Module, options: Mapping[str, Any]) -> int | None:
    """Return the scale of the network, or if it does not tell that of the option file."""
    own = getattr(net, "upscale", None)
    return own if isinstance(own, int) else options.get("scale")


def find_loss_problems(name: str, train: Mapping[str, Any]) -> Problems:
    """Yield losses of the model ``name`` that ``train`` lacks, or that are none between two images."""
    examples = {"pixel_opt": "{type: L1Loss}", "dual_opt": "{type: L1Loss, loss_weight: 0.1}"}
    for key, example in examples.items():
        section = train.get(key)
        if not section:
            yield f"train.{key}", f"is missing: {name} needs it, for example {example}"
        elif not isinstance(section, Mapping):
            yield f"train.{key}", f"must be a section, for example {example}, got {section!r}"
        elif section.get("type") in OTHER_LOSSES:
            yield f"train.{key}.type", f"must be a loss between two images, as L1Loss, got {section['type']}"


def find_network_problems(net: nn.Module, options: Mapping[str, Any], networks: Mapping[str, nn.Module]) -> Problems:
    """Yield networks that do not belong together; ``net`` is the one that is trained for SR."""
    kinds = ("single_output", "gives_levels", "gives_back")
    known = any(getattr(net, kind, kind == "single_output") for kind in kinds)
    if not getattr(net, "super_resolves", True) or not known:
        told = "must give one image, images of all levels, or an image and its dual image in training"
        yield "network_g.type", f"{told}; {type(net).__name__} does not: another model_type?"
        return
    scale, own = options.get("scale"), _upscale(net, options)
    if None not in (scale, own) and scale != own:
        yield "scale", f"is {scale}, but network_g enlarges by {own}: they must be equal"
    yield from _find_dual_problems(net, own, options, networks)


def _find_dual_problems(
    net: nn.Module, scale: int | None, options: Mapping[str, Any], networks: Mapping[str, nn.Module]
) -> Problems:
    name = type(net).__name__
    if getattr(net, "gives_back", False):
        if options.get("network_dual"):
            yield "network_dual", f"is of no use: {name} holds its dual network itself, leave the section out"
        return
    wanted, levels = _dual_section(net, scale), getattr(net, "gives_levels", False)
    if not options.get("network_dual"):
        yield "network_dual", f"is missing: {name} needs {wanted}"
        return
    dual = networks.get("network_dual")
    if dual is None or not hasattr(dual, "arguments_from"):  # another package's, of which we know nothing
        return
    lists = not dual.single_output
    if not is_dual(dual) or lists is not levels:
        yield "network_dual.type", f"is {type(dual).__name__}, but {name} needs {wanted}"
        return
    factor = 2 ** len(list(dual.children())) if lists else round(1 / dual.upscale)
    if scale is not None and factor != scale:
        key = "upscale" if lists else "downscale"
        yield f"network_dual.{key}", f"is {factor}, but network_g enlarges by {scale}: write {wanted}"


def _dual_section(net: nn.Module, scale: int | None) -> str:
    """Return the section ``network_dual`` that belongs to ``net``."""
    if getattr(net, "gives_levels", False):
        head = net.state_dict().get("head.weight", torch.empty(16))  # a reparameterized one has other keys
        num_feat = len(head)
        return f"{{type: DRNDual, num_feat: {num_feat}, upscale: {scale}}}"
    if scale is not None and scale not in (2, 3, 4, 8):
        return f"a network that shrinks by {scale} (DualNetwork does by 2, 3, 4 or 8)"
    return f"{{type: DualNetwork, downscale: {scale or 'that of network_g'}}}"
