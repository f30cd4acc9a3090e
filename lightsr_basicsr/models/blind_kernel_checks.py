"""Checks for option files of networks that estimate the blur kernel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from basicsr.utils.registry import DATASET_REGISTRY
from torch import Tensor, nn

from lightsr_basicsr.models.contract import LossDictContract, Networks, Options, Problems
from lightsr_basicsr.models.dual_checks import INSIDE, OTHER_LOSSES
from lightsr_basicsr.registry import look_up

# Of a file that DRC's selection of channels left: which of them it had chosen, beside the weights.
LEFT_OVER = "Estimator.dec.d"


class BlindKernelContract(LossDictContract):
    """The contract of ``BlindKernelModel``."""

    needed_sections: ClassVar = {"train.pixel_opt": "{type: L1Loss}", "train.kernel_opt": "{type: L1Loss}"}

    def needed_keys(self, phase: str, options: Options, networks: Networks) -> tuple[str, ...]:
        """Return, for training, also that of the kernel."""
        return (*super().needed_keys(phase, options, networks), *(("kernel",) if phase == "train" else ()))

    def find_problems(self, options: Options, networks: Networks) -> Problems:
        """Yield also unsuitable losses, and networks and data that do not belong together."""
        yield from super().find_problems(options, networks)
        train = options.get("train") or {}
        for key in ("pixel_opt", "kernel_opt", "dual_opt"):
            if isinstance(section := train.get(key), Mapping) and section.get("type") in OTHER_LOSSES:
                text = (
                    f"must be a loss between two images such as L1Loss, got {section['type']}: write {{type: L1Loss}}"
                )
                yield f"train.{key}.type", text
        net = networks.get("network_g")
        if net is None:
            return
        if getattr(net, "training_output", "image") != "image_and_kernel":
            text = (
                f"must be a network that estimates a kernel, got {type(net).__name__}: use DCLS, or another model_type"
            )
            yield "network_g.type", text
            return
        yield from _find_dual_problems(net, train)
        yield from _find_data_problems(net, options)

    @staticmethod
    def weights_for(net: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return ``state`` without what DRC's files hold beside the network: a dual network that ``net`` lacks."""
        idle = getattr(net, "dual_model", None) is None
        return {
            key: value for key, value in state.items() if not (idle and key.startswith(INSIDE)) and key != LEFT_OVER
        }


def _find_dual_problems(net: nn.Module, train: Mapping[str, Any]) -> Problems:
    dual, loss = getattr(net, "dual_model", None) is not None, train.get("dual_opt")
    if dual and not loss:
        text = (
            "is missing: network_g has a dual network; write {type: L1Loss, loss_weight: 0.1}, or network_g.dual: false"
        )
        yield "train.dual_opt", text
    elif loss and not dual:
        yield "train.dual_opt", "has no effect: network_g has no dual network; remove it, or write network_g.dual: true"


def _find_data_problems(net: nn.Module, options: Options) -> Problems:
    scale, own = options.get("scale"), net.upscale
    if scale is not None and scale != own:
        yield "scale", f"is {scale!r}, but network_g enlarges by {own}: they must be equal"
    section = (options.get("datasets") or {}).get("train") or {}
    size, side = section.get("kernel_size", 21), getattr(net, "kernel_size", None)
    dataset = look_up(DATASET_REGISTRY, section.get("type"))
    if getattr(dataset, "draws_kernels", False) and None not in (size, side) and size != side:
        yield "datasets.train.kernel_size", f"is {size}, but network_g estimates {side}x{side}: they must be equal"
    crop = section.get("gt_size")
    if (
        isinstance(crop, int)
        and isinstance(scale, int)
        and scale > 0
        and isinstance(side, int)
        and crop // scale < side
    ):
        text = f"is {crop}, LR {crop // scale}: the kernel's target needs {side} LR pixels, at least {side * scale}"
        yield "datasets.train.gt_size", text
