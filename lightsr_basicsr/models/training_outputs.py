"""What networks of each kind give in a training step beside the SR image, and the losses of that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightsr_basicsr.data.low_resolution import target_kernel

Loss = Callable[[Tensor, Tensor], Tensor]
KERNEL = "image_and_kernel"  # the `training_output` of a network that estimates blur kernels


@dataclass(frozen=True)
class Parts:
    """What a network has given for LR images (N, C, h, w).

    Attributes:
        image (Tensor): SR images (N, C, H, W).
        lower (Sequence[Tensor]): Images of lower levels, from LR size on.
        backs (Sequence[Tensor]): Dual images, of LR size and of each level but the last.
        kernel (Tensor | None): Estimated kernels (N, 1, k, k).
    """

    image: Tensor
    lower: Sequence[Tensor] = ()
    backs: Sequence[Tensor] = ()
    kernel: Tensor | None = None


@dataclass(frozen=True)
class Criteria:
    """The losses between two images or two kernels, each as ``train`` has it; None for one that is not wanted."""

    pixel: Loss | None = None
    dual: Loss | None = None
    kernel: Loss | None = None


def take_apart(kind: str, output: Any, net_dual: Callable[..., Any] | None = None) -> Parts:
    """Return the parts of what a network whose ``training_output`` is ``kind`` gave; ``net_dual`` makes its duals."""
    if kind == "levels":
        *lower, image = output
        return Parts(image, lower, net_dual([*lower[1:], image]))
    if kind == "image_and_dual":
        image, back = output
        return Parts(image, backs=[back])
    if kind == KERNEL:
        image, kernel, *backs = output
        return Parts(image, backs=backs, kernel=kernel)
    return Parts(output, backs=[net_dual(output)])


def beside_keys(net: nn.Module | None) -> tuple[str, ...]:
    """Return the keys of a training batch that ``net``'s losses need beside ``lq`` and ``gt``.

    Those of the larger LR images of a network with levels, or that of the HR kernels of one that estimates kernels.
    """
    kind = getattr(net, "training_output", "image")
    if kind == KERNEL:
        return ("kernel",)
    return (
        tuple(f"lq_down{2**power}" for power in range(net.upscale.bit_length() - 2, 0, -1)) if kind == "levels" else ()
    )


def describe_missing(keys: Sequence[str], model: str) -> str:
    """Return the message on ``keys`` of :func:`beside_keys` that a training batch of ``model`` lacks."""
    what, dataset = "the LR images of larger levels", "MultiScalePairedDataset"
    if "kernel" in keys:
        what, dataset = "the kernels (N, k, k) that blur HR", "KernelBlindDataset"
    named = " and ".join(f"`{key}`" for key in keys)
    return f"{model} needs {named} in a training batch, {what}, got none: set the type of datasets.train to {dataset}."


def losses_beside(parts: Parts, batch: Mapping[str, Tensor], criteria: Criteria, scale: int) -> dict[str, Tensor]:
    """Return the losses, scalars by name, of all but the SR images: ``l_levels``, ``l_ker``, ``l_dual``.

    Args:
        parts (Parts): What the network gave.
        batch (Mapping): ``lq`` and ``gt``, and those of :func:`beside_keys`.
        criteria (Criteria): The losses.
        scale (int): Side of HR over that of LR.
    """
    lows = [batch["lq"], *(value for key, value in batch.items() if key.startswith("lq_down"))]
    losses = {}
    if parts.lower:
        losses["l_levels"] = sum(criteria.pixel(sr, low) for sr, low in zip(parts.lower, lows, strict=True))
    if parts.kernel is not None:
        with torch.no_grad():
            target = target_kernel(batch["gt"], batch["kernel"], scale)
        losses["l_ker"] = kernel_loss(criteria.kernel, parts.kernel, target)
    if parts.backs:
        losses["l_dual"] = sum(criteria.dual(back, low) for back, low in zip(parts.backs, lows, strict=True))
    return losses


def kernel_loss(loss: Loss, kernel: Tensor, target: Tensor) -> Tensor:
    """Return the loss of kernels (N, 1, k, k); images whose target is not finite, as flat ones, do not count."""
    usable = target.flatten(1).isfinite().all(dim=1)
    return loss(kernel[usable], target[usable]) if bool(usable.any()) else kernel.sum() * 0
