"""Adapt a third-party network to SRNetwork's interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lightsr_basicsr.archs.network import SRNetwork, first_channels
from lightsr_basicsr.archs.reparam import deploy
from lightsr_basicsr.runtimes.base import BackendError, Traits, last_line

UNKNOWN_SCALE = 0
# Sides of the image that the scale is measured on: a network with windows may take multiples of 16 or 64 only.
PROBED_SIDES = (48, 64)


class OtherNetwork(SRNetwork):
    """Another package's network, adapted to SRNetwork's interface.

    Args:
        net (nn.Module): The network; in evaluation mode if ``scale`` is None.
        scale (float | None): Output side over input side, ``UNKNOWN_SCALE`` for unknown; None runs the network to find
            it. Default: None.
        num_in_ch (int | None): Channels of the input image; None takes those of the first convolution. Default: None.

    Raises:
        BackendError: If ``scale`` is None and the network does not map one LR image to one SR image.
    """

    def __init__(self, net: nn.Module, scale: float | None = None, num_in_ch: int | None = None) -> None:
        super().__init__()
        self.net = net
        self.num_in_ch = first_channels(net) if num_in_ch is None else num_in_ch
        if scale is None:
            like = next(net.parameters(), torch.empty(0))
            scale = probe_scale(net, self.num_in_ch, type(net).__name__, like)
        self.upscale = scale
        self.super_resolves = scale != UNKNOWN_SCALE
        self.train(net.training)

    def forward(self, x: Tensor) -> Any:
        """Map images (N, num_in_ch, H, W) to the network's output, (N, num_out_ch, sH, sW) for super-resolution."""
        return self.net(x)


def prepare(net: nn.Module) -> SRNetwork:
    """Return a deployed copy of ``net``, of any package, in evaluation mode and with SRNetwork's interface.

    Raises:
        BackendError: If it does not map one LR image to one SR image, or a block cannot be merged.
    """
    if not isinstance(net, nn.Module):
        raise BackendError(f"Expected a network (torch.nn.Module), got {type(net).__name__}.")
    if not getattr(net, "super_resolves", True):
        raise BackendError(f"{name_of(net)} does not map one LR image to one SR image: it cannot be run alone.")
    try:
        deployed = deploy(net)
    except ValueError as error:
        raise BackendError(f"{name_of(net)} cannot be deployed: {error}") from error
    return deployed if isinstance(deployed, SRNetwork) else OtherNetwork(deployed)


def unwrap(net: nn.Module) -> nn.Module:
    """Return another package's network without its adapter, any other network itself."""
    return net.net if isinstance(net, OtherNetwork) else net


def name_of(net: nn.Module) -> str:
    """Return the class name of a network, without its adapter.

    >>> name_of(OtherNetwork(nn.Conv2d(3, 3, 1), scale=1))
    'Conv2d'
    """
    return type(unwrap(net)).__name__


def traits_of(net: SRNetwork) -> Traits:
    """Return scale, channels and smallest side of a network."""
    return Traits(net.upscale, net.num_in_ch, net.min_side)


def smooth_picture(num_ch: int, height: int, width: int) -> Tensor:
    """Return one image (1, num_ch, height, width) in [0, 1] without noise, on which networks behave as on test images.

    Activations of some networks overflow on random values.
    """
    rows, columns = torch.meshgrid(torch.linspace(0, 3, height), torch.linspace(0, 4, width), indexing="ij")
    return torch.stack([0.5 + 0.4 * torch.sin(rows + (1 + ch) * columns) for ch in range(num_ch)])[None]


def probe_scale(run: Callable[[Tensor], Tensor], num_in_ch: int, name: str, like: Tensor | None = None) -> float:
    """Return output side over input side of ``run``, measured on a small image.

    Args:
        run (Callable): Maps an image (1, num_in_ch, H, W) to an image.
        num_in_ch (int): Channels of its input.
        name (str): Its name in error messages.
        like (Tensor | None): Tensor with the device and type that the image must have. Default: None, float32 on the
            CPU.

    Raises:
        BackendError: If it cannot be run, or returns no image of a fitting size.
    """
    reasons = []
    for side in PROBED_SIDES:
        picture = smooth_picture(num_in_ch, side, side)
        try:
            with torch.no_grad():
                made = run(picture if like is None else picture.to(like))
        except Exception as error:
            # Backends and networks of other packages raise exceptions of any type.
            reasons.append(f"{side}x{side}: {last_line(error)}")
            continue
        if isinstance(made, Tensor) and made.ndim == 4 and made.shape[2] == made.shape[3]:
            scale = made.shape[2] / side
            return int(scale) if scale.is_integer() else scale
        found = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
        reasons.append(f"{side}x{side} gave {found}")
    raise BackendError(
        f"{name} does not map one LR image (1, {num_in_ch}, H, W) to one SR image, so its scale is unknown "
        f"({'; '.join(reasons)})."
    )
