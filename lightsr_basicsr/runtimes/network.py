"""A network of any package, with what ours tell about themselves: scale, channels, smallest image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lightsr_basicsr.archs.network import SRNetwork
from lightsr_basicsr.archs.reparam import deploy
from lightsr_basicsr.runtimes.base import BackendError, Runtime, Traits, last_line

# Sides of the picture that tells the scale; a network with windows may take multiples of 16 or 64 alone.
PROBED_SIDES = (48, 64)


class OtherNetwork(SRNetwork):
    """Another package's network, with what ours tell about themselves.

    Args:
        net (nn.Module): The network, in evaluation mode.

    Raises:
        BackendError: If it does not make larger images of images.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.num_in_ch = first_channels(net)
        like = next(net.parameters(), torch.empty(0))
        self.upscale = probe_scale(net, self.num_in_ch, type(net).__name__, like)
        self.train(net.training)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, num_in_ch, H, W) to (N, num_out_ch, sH, sW)."""
        return self.net(x)


def prepare(net: nn.Module) -> SRNetwork:
    """Return a copy of ``net``, of any package, deployed and in evaluation mode, that tells about itself as ours do.

    Raises:
        BackendError: If it does not map one LR image to one SR image, or a block cannot be merged.
    """
    if not isinstance(net, nn.Module):
        raise BackendError(f"Expected a network (torch.nn.Module), got {type(net).__name__}.")
    if not getattr(net, "super_resolves", True):
        raise BackendError(f"{type(net).__name__} does not map one LR image to one SR image: it cannot be run alone.")
    try:
        deployed = deploy(net)
    except ValueError as error:
        raise BackendError(f"{type(net).__name__} cannot be deployed: {error}") from error
    return deployed if isinstance(deployed, SRNetwork) else OtherNetwork(deployed)


def name_of(net: nn.Module) -> str:
    """Return the name of a network's class, of that inside for another package's."""
    return type(net.net if isinstance(net, OtherNetwork) else net).__name__


def traits_of(net: SRNetwork) -> Traits:
    """Return what images must be like for a network, and how large they come out."""
    return Traits(net.upscale, net.num_in_ch, net.min_side)


def smooth_picture(num_ch: int, height: int, width: int) -> Tensor:
    """Return one image (1, num_ch, height, width) in [0, 1] without noise, on which networks behave as on photographs.

    Some networks' activations overflow on random values.
    """
    rows, columns = torch.meshgrid(torch.linspace(0, 3, height), torch.linspace(0, 4, width), indexing="ij")
    return torch.stack([0.5 + 0.4 * torch.sin(rows + (1 + ch) * columns) for ch in range(num_ch)])[None]


def probe_scale(run: Callable[[Tensor], Tensor], num_in_ch: int, name: str, like: Tensor | None = None) -> float:
    """Return output side over input side of ``run``, told by running it on a small picture.

    Args:
        run (Callable): Maps an image (1, num_in_ch, H, W) to an image.
        num_in_ch (int): Channels of its input.
        name (str): What it is called in error texts.
        like (Tensor | None): Of the device and type that the picture must have. Default: None, float32 on the CPU.

    Raises:
        BackendError: If it cannot be run, or gives no image of a fitting size.
    """
    reasons = []
    for side in PROBED_SIDES:
        picture = smooth_picture(num_in_ch, side, side)
        try:
            with torch.no_grad():
                made = run(picture if like is None else picture.to(like))
        except Exception as error:
            # Engines and networks of other packages raise anything.
            reasons.append(f"{side}x{side}: {last_line(error)}")
            continue
        if isinstance(made, Tensor) and made.ndim == 4 and made.shape[2] == made.shape[3]:
            scale = made.shape[2] / side
            return int(scale) if scale.is_integer() else scale
        given = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
        reasons.append(f"{side}x{side} gave {given}")
    raise BackendError(
        f"{name} does not map one LR image (1, {num_in_ch}, H, W) to one SR image, so its scale is not known "
        f"({'; '.join(reasons)})."
    )


def check_agreement(net: SRNetwork, runtime: Runtime, tolerance: float) -> None:
    """Run a network and what an engine made of it on two sizes, and compare.

    A traced graph may have kept the size it was traced with, which the engine does not notice.

    Args:
        net (SRNetwork): The network, on the CPU, in evaluation mode.
        runtime (Runtime): The engine.
        tolerance (float): Largest mean difference, in parts of the range [0, 1].

    Raises:
        BackendError: If the engine fails, or the images differ.
    """
    sides = (max(net.min_side, least) for least in (32, 24, 40, 48))
    for height, width in zip(sides, sides, strict=False):
        picture = smooth_picture(net.num_in_ch, height, width)
        with torch.no_grad():
            expected = net(picture)
        problem = _difference(runtime, picture, expected, tolerance)
        if problem:
            raise BackendError(
                f"{runtime.backend} does not reproduce {name_of(net)} at {height}x{width} pixels: {problem}."
            )


def _difference(runtime: Runtime, picture: Tensor, expected: Tensor, tolerance: float) -> str:
    """Return how the runtime's image differs from what is expected, '' if it does not."""
    try:
        made = runtime(picture)
    except Exception as error:
        # Engines raise anything.
        return last_line(error)
    if made.shape != expected.shape:
        return f"expected {tuple(expected.shape)}, got {tuple(made.shape)}"
    difference = (made - expected).abs().mean().item()
    return "" if difference <= tolerance else f"images differ by {difference:.1e} in the mean"


def first_channels(net: nn.Module) -> int:
    """Return the input channels of a network's first convolution if images have as many, else 3."""
    count = next((value.shape[1] for value in net.parameters() if value.ndim == 4), 3)
    return count if count in (1, 3, 4) else 3
