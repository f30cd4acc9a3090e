"""Size and arithmetic of a network: parameters, and multiply-adds of one image."""

from __future__ import annotations

from copy import deepcopy
from math import ceil
from typing import Any

import torch
from torch import nn

HD_HEIGHT, HD_WIDTH = 720, 1280


def count_parameters(net: nn.Module) -> int:
    """Return the number of parameters, frozen ones included, each shared one once; buffers do not count."""
    return sum(parameter.numel() for parameter in net.parameters())


def count_multi_adds(net: nn.Module, height: int, width: int) -> int:
    """Return the multiply-adds of one forward pass in evaluation mode; for most networks this computes nothing.

    Convolutions, linear layers and matrix products count, functional ones too: weight-normalised convolutions, dynamic
    kernels, attention. Biases, normalisation, activations, other element-wise work, pooling and interpolation do not.
    Published numbers leave out more or less than that.

    The network itself is left as it is. One that runs on ``meta`` tensors, as ours do, needs neither time nor memory;
    another runs once on the CPU, at the full size.

    Args:
        net (nn.Module): The network, on any device. One without a method ``example_input`` gets an RGB image.
        height (int): Height of the LR image, in pixels.
        width (int): Width of the LR image, in pixels.

    Raises:
        RuntimeError: If torch is older than 2.1 and has no operation counter, or if the network cannot run.
    """
    counter = _counter_class()
    try:
        return _count_on("meta", counter, net, height, width)
    except RuntimeError:
        # Python attributes that hold tensors stay on the CPU, and values such as `.item()` do not exist on `meta`.
        return _count_on("cpu", counter, net, height, width)


def hd_lr_size(upscale: float) -> tuple[int, int]:
    """Return height and width of the LR image, in pixels, from which papers count: of a 1280x720 output, rounded up.

    Raises:
        ValueError: If ``upscale`` is not positive.
    """
    if upscale <= 0:
        raise ValueError(f"An LR size needs a positive `upscale`, got {upscale}: 4 for x4.")
    return ceil(HD_HEIGHT / upscale), ceil(HD_WIDTH / upscale)


def _counter_class() -> type:
    try:
        from torch.utils.flop_counter import FlopCounterMode
    except ImportError as error:
        raise RuntimeError(
            "Counting multiply-adds needs torch.utils.flop_counter, which torch has from 2.1 on, got torch "
            f"{torch.__version__}: pip install -U torch torchvision"
        ) from error
    return FlopCounterMode


def _count_on(device: str, counter: type, net: nn.Module, height: int, width: int) -> int:
    copy = deepcopy(net).to(device).eval()
    with torch.no_grad(), counter(display=False) as counted:
        copy(*_example_input(net, height, width, device))
    # Torch counts a multiplication and an addition as two operations.
    return counted.get_total_flops() // 2


def _example_input(net: nn.Module, height: int, width: int, device: str) -> tuple[Any, ...]:
    if hasattr(net, "example_input"):
        return net.example_input(height, width, device=device)
    return (torch.rand(1, 3, height, width, device=device),)
