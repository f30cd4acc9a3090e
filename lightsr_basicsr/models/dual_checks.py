"""Checks for option files of dual regression: networks, dual networks and LR images that belong together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lightsr_basicsr.archs.network import first_channels
from lightsr_basicsr.errors import short_message
from lightsr_basicsr.models.contract import Networks, Options, Problems, ReparamContract
from lightsr_basicsr.models.kernel_checks import (
    INSIDE,
    estimates_kernel,
    find_kernel_problems,
    with_dual_hint,
    without_idle,
)
from lightsr_basicsr.models.training_outputs import KERNEL, beside_keys

# Losses of BasicSR and ours that are not one number for two images.
OTHER_LOSSES = ("PerceptualLoss", "GANLoss", "WeightedTVLoss", "KDLoss")

# LR side in pixels for trying networks if the option file has no crop size.
TRIED_SIDE = 24


class DualContract(ReparamContract):
    """The contract of ``DualRegressionModel``."""

    training_networks = ("network_dual",)
    needed_sections: ClassVar = {"train.pixel_opt": "{type: L1Loss}"}

    def schedule_every(self, train: Mapping[str, Any]) -> Any:
        """Return ``train.schedule_every``."""
        return train.get("schedule_every", 1)

    def needed_keys(self, phase: str, options: Options, networks: Networks) -> tuple[str, ...]:
        """Return, for training, also those of a network with levels, or of one that estimates kernels."""
        beside = beside_keys(networks.get("network_g")) if phase == "train" else ()
        return (*super().needed_keys(phase, options, networks), *beside)

    def find_problems(self, options: Options, networks: Networks) -> Problems:
        """Yield also unsuitable losses, networks that do not match, and a warm-up together with ``schedule_every``."""
        yield from super().find_problems(options, networks)
        train = options.get("train") or {}
        for key in ("pixel_opt", "dual_opt", "kernel_opt"):
            if isinstance(section := train.get(key), Mapping) and section.get("type") in OTHER_LOSSES:
                yield f"train.{key}.type", f"must be a loss between two images such as L1Loss, got {section['type']}"
        warmup, every = train.get("warmup_iter"), self.schedule_every(train)
        if isinstance(warmup, (int, float)) and warmup > 0 and every != 1:
            yield "train.warmup_iter", f"is {warmup}, which excludes schedule_every {every}: remove one"
        yield from self._find_missing_losses(train, networks.get("network_g"))
        if "network_g" in networks:
            yield from _find_network_problems(networks["network_g"], options, networks)

    def _find_missing_losses(self, train: Mapping[str, Any], net: nn.Module | None) -> Problems:
        """Yield a loss that the kind of network needs, or does not have."""
        key, example, kernels = "dual_opt", "{type: L1Loss, loss_weight: 0.1}", estimates_kernel(net)
        if kernels:
            key, example = "kernel_opt", "{type: L1Loss}"
        elif net is not None and train.get("kernel_opt"):
            yield "train.kernel_opt", f"has no effect: {type(net).__name__} estimates no kernel, remove it"
        if not train.get(key):
            yield f"train.{key}", f"is missing: {self.name} needs it, for example {example}"

    @staticmethod
    def weights_for(net: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return ``state``; for a dual network only the dual part of a file that holds both, for DCLS what it has."""
        if estimates_kernel(net):
            return without_idle(net, state)
        inside = {key.removeprefix(INSIDE): value for key, value in state.items() if key.startswith(INSIDE)}
        return inside if inside and is_dual(net) else state

    @classmethod
    def describe_misfit(cls, net: nn.Module, state: Mapping[str, Tensor], source: str, strict: bool) -> str:
        """Return why ``load_network`` would not load what is meant for ``net``, and what to do."""
        misfit = super().describe_misfit(net, state, source, strict)
        return with_dual_hint(misfit, net, state) if estimates_kernel(net) else misfit


def is_dual(net: nn.Module) -> bool:
    """Return whether ``net`` is known to shrink its input; a network of another package may, without ``upscale``."""
    return getattr(net, "upscale", 1) < 1


def _find_network_problems(net: nn.Module, options: Options, networks: Networks) -> Problems:
    """Yield networks that do not belong together; ``net`` is the one that is trained for SR."""
    known = getattr(net, "training_output", "image") in ("image", "levels", "image_and_dual", KERNEL)
    if not getattr(net, "super_resolves", True) or not known:
        outputs = "must give one image, images of all levels, or an image and its dual image or kernel in training"
        yield "network_g.type", f"{outputs}; {type(net).__name__} does not: use another model_type"
        return
    if estimates_kernel(net):
        yield from find_kernel_problems(net, options)
        yield from _find_dual_problems(net, net.upscale, options, networks)
        return
    scale, own = options.get("scale"), getattr(net, "upscale", None)
    own = own if isinstance(own, int) else scale
    if scale is not None and scale != own:
        yield "scale", f"is {scale!r}, but network_g enlarges by {own}: they must be equal"
    yield from _find_dual_problems(net, own, options, networks)


def _find_dual_problems(net: nn.Module, scale: int | None, options: Options, networks: Networks) -> Problems:
    name = type(net).__name__
    output = getattr(net, "training_output", "image")
    if output in ("image_and_dual", KERNEL):
        if options.get("network_dual"):
            yield "network_dual", f"has no effect: {name} contains its dual network, remove the section"
        if (options.get("path") or {}).get("pretrain_network_dual"):
            text = f"has no effect: {name} contains its dual network, and its own file holds both; remove it"
            yield "path.pretrain_network_dual", text
        return
    wanted, levels = _dual_section(net, scale), output == "levels"
    if not options.get("network_dual"):
        yield "network_dual", f"is missing: {name} needs {wanted}"
        return
    dual = networks.get("network_dual")
    if dual is None:
        return
    if not hasattr(net, "arguments_from") or not hasattr(dual, "arguments_from"):
        yield from _find_misfit(net, dual, scale, options)
    if not hasattr(dual, "arguments_from"):  # of another package: nothing more is known
        return
    lists = dual.training_output == "levels"
    if not is_dual(dual) or lists is not levels:
        yield "network_dual.type", f"is {type(dual).__name__}, but {name} needs {wanted}"
        return
    factor = 2 ** len(list(dual.children())) if lists else round(1 / dual.upscale)
    if scale is not None and factor != scale:
        key = "upscale" if lists else "downscale"
        yield f"network_dual.{key}", f"is {factor}, but network_g enlarges by {scale}: write {wanted}"
    channels = getattr(net, "num_out_ch", dual.num_in_ch)
    if channels != dual.num_in_ch:
        yield "network_dual.num_in_ch", f"is {dual.num_in_ch}, but network_g gives {channels}: write {wanted}"


def _find_misfit(net: nn.Module, dual: nn.Module, scale: int | None, options: Options) -> Problems:
    """Yield what running both on an LR image of the crop's size shows; for networks of other packages."""
    crop = ((options.get("datasets") or {}).get("train") or {}).get("gt_size")
    side = crop // scale if isinstance(crop, int) and scale else TRIED_SIDE
    low = image = torch.zeros(1, getattr(net, "num_in_ch", first_channels(net)), side, side)
    for key, part, factor in (("network_g", net, scale), ("network_dual", dual, 1)):
        expected = (*low.shape[:2], side * (factor or 1), side * (factor or 1))
        seen = tuple(image.shape)
        try:
            image = _run(part, image)
            shape = tuple(image.shape)
        except Exception as error:
            yield key, f"{type(part).__name__} cannot run on an image of shape {seen}: {short_message(error)}"
            return
        if factor and shape != expected:
            yield key, f"{type(part).__name__} makes {shape} of an image of shape {seen}; expected {expected}"
            return


@torch.no_grad()
def _run(net: nn.Module, image: torch.Tensor) -> torch.Tensor:
    training = net.training
    try:
        return net.eval()(image.to(next(net.parameters()).device))
    finally:
        net.train(training)


def _dual_section(net: nn.Module, scale: int | None) -> str:
    """Return the section ``network_dual`` that belongs to ``net``."""
    if getattr(net, "training_output", "image") == "levels":
        # The head is one convolution or, reparameterized, several in parallel.
        weights = (value for key, value in net.state_dict().items() if key.startswith("head.") and value.ndim == 4)
        num_feat = len(next(weights, torch.empty(16)))
        return f"{{type: DRNDual, num_feat: {num_feat}, upscale: {scale}}}"
    if scale is not None and scale not in (2, 3, 4, 8):
        return f"a network that shrinks by {scale} (DualNetwork shrinks by 2, 3, 4 or 8)"
    channels = getattr(net, "num_out_ch", 3)
    gray = f", num_in_ch: {channels}" if channels != 3 else ""
    return f"{{type: DualNetwork, downscale: {scale or 'that of network_g'}{gray}}}"
