"""Checks for networks that estimate the blur kernel, whichever model trains them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from basicsr.utils.registry import DATASET_REGISTRY
from torch import Tensor, nn

from lightsr_basicsr.models.contract import Options, Problems
from lightsr_basicsr.models.training_outputs import KERNEL
from lightsr_basicsr.registry import look_up

# Prefix of the dual network in a file that holds both networks.
INSIDE = "dual_model."
# Of a file that DRC's selection of channels left: which of them it had chosen, beside the weights.
LEFT_OVER = "Estimator.dec.d"


def estimates_kernel(net: nn.Module | None) -> bool:
    """Return whether ``net`` gives the blur kernel beside the image in training."""
    return getattr(net, "training_output", "image") == KERNEL


def without_idle(net: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return ``state`` without what DRC's files hold beside the network: a dual network that ``net`` lacks."""
    idle = getattr(net, "dual_model", None) is None
    return {key: value for key, value in state.items() if not (idle and key.startswith(INSIDE)) and key != LEFT_OVER}


def with_dual_hint(misfit: str, net: nn.Module, state: Mapping[str, Tensor]) -> str:
    """Return why a file does not fit, with what to do if its network has no dual network and ``net`` has one."""
    if not misfit or getattr(net, "dual_model", None) is None or any(key.startswith(INSIDE) for key in state):
        return misfit
    return (
        f"{misfit}\n    The file has no dual network: set network_g.dual: false and remove train.dual_opt, or take a "
        "file that was trained with dual: true."
    )


def find_kernel_problems(net: nn.Module, options: Options) -> Problems:
    """Yield losses, scale and data that do not belong to ``net``, which estimates kernels."""
    train = options.get("train") or {}
    dual, loss = getattr(net, "dual_model", None) is not None, train.get("dual_opt")
    if dual and not loss:
        text = (
            "is missing: network_g has a dual network; write {type: L1Loss, loss_weight: 0.1}, or network_g.dual: false"
        )
        yield "train.dual_opt", text
    elif loss and not dual:
        yield "train.dual_opt", "has no effect: network_g has no dual network; remove it, or write network_g.dual: true"
    yield from _find_data_problems(net, options)


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
    whole: Any = all(isinstance(number, int) for number in (crop, scale, side))
    if whole and scale > 0 and crop // scale < side:
        text = f"is {crop}, LR {crop // scale}: the kernel's target needs {side} LR pixels, at least {side * scale}"
        yield "datasets.train.gt_size", text
