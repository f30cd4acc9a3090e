"""Complexity of a network: parameters, and multiply-adds, activations, convolutions and time for one image."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from functools import partial
from math import ceil
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lightsr_basicsr._later import without_compiler
from lightsr_basicsr.archs.published import published_form

HD_HEIGHT, HD_WIDTH = 720, 1280
WARM_UPS = 2  # the first compiles, the second fills caches

Key = TypeVar("Key")


def count_parameters(net: nn.Module) -> int:
    """Return the number of parameters, including frozen ones, shared ones once; buffers do not count.

    >>> count_parameters(nn.Conv2d(3, 64, 3))
    1792
    """
    return sum(parameter.numel() for parameter in net.parameters())


def count_multi_adds(net: nn.Module, height: int, width: int) -> int:
    """Return the multiply-adds of one forward pass in evaluation mode; for most networks without computing it.

    Convolutions, linear layers and matrix products count, functional ones too: weight-normalised convolutions, dynamic
    kernels, attention. Biases, normalisation, activations, other element-wise work, pooling and interpolation do not.
    Published numbers exclude more or less than that. Counted are the steps of the authors' code, not the fewer ones of
    evaluation mode here, so that numbers of different code can be compared.

    The network is unchanged. Networks that run on ``meta`` tensors, as those of this package, need neither time nor
    memory; others run once on the CPU, at the full size.

    Args:
        net (nn.Module): The network, on any device. Without a method ``example_input`` it gets an RGB image.
        height (int): Height of the LR image, in pixels.
        width (int): Width of the LR image, in pixels.

    Raises:
        RuntimeError: If torch is older than 2.1 and has no operation counter, or if the network cannot run.
    """
    try:
        from torch.utils.flop_counter import FlopCounterMode
    except ImportError as error:
        raise RuntimeError(
            "Counting multiply-adds needs torch.utils.flop_counter, which exists from torch 2.1 on, got torch "
            f"{torch.__version__}: pip install -U torch torchvision"
        ) from error
    # Torch counts a multiplication and an addition as two operations.
    return _observe(partial(FlopCounterMode, display=False), net, height, width).get_total_flops() // 2


def count_activations(net: nn.Module, height: int, width: int) -> int:
    """Return the activations of one forward pass in evaluation mode: the number of outputs of its convolutions.

    That is the convention of the NTIRE challenges on efficient super-resolution, whose script counts modules;
    functional convolutions, such as those with computed kernels, count here too, and a convolution that runs twice
    counts twice. Linear layers, normalisation and everything else do not. Cost and arguments are those of
    :func:`count_multi_adds`; any version of torch works.

    Raises:
        RuntimeError: If the network cannot run.
    """
    return sum(_observe(_ConvolutionOutputs, net, height, width).sizes)


def count_convolutions(net: nn.Module, height: int, width: int) -> int:
    """Return the number of convolutions in one forward pass in evaluation mode, as :func:`count_activations` counts."""
    return len(_observe(_ConvolutionOutputs, net, height, width).sizes)


class _ConvolutionOutputs(TorchDispatchMode):
    """Records the number of outputs of each convolution of a pass."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func.overloadpacket is torch.ops.aten.convolution:
            self.sizes.append(output.numel())
        return output


def _observe(mode: Callable[[], Any], net: nn.Module, height: int, width: int) -> Any:
    """Return a new ``mode`` after one pass of a copy of the network, in the steps of the authors' code."""
    try:
        return _run_within(mode(), "meta", net, height, width)
    except RuntimeError:
        # Tensors in Python attributes stay on the CPU, and values such as `.item()` do not exist on `meta`.
        return _run_within(mode(), "cpu", net, height, width)


def _run_within(mode: Any, device: str, net: nn.Module, height: int, width: int) -> Any:
    copy = published_form(net).to(device).eval()
    if hasattr(net, "example_input"):
        inputs = net.example_input(height, width, device=device)
    else:
        inputs = (torch.rand(1, 3, height, width, device=device),)
    with torch.no_grad(), without_compiler(), mode:
        copy(*inputs)
    return mode


def hd_lr_size(upscale: float) -> tuple[int, int]:
    """Return height and width, in pixels, of the LR image for a 1280x720 output, the papers' convention, rounded up.

    Raises:
        ValueError: If ``upscale`` is not positive.

    >>> hd_lr_size(4)
    (180, 320)
    """
    if upscale <= 0:
        raise ValueError(f"An LR size needs a positive `upscale`, got {upscale}: 4 for x4.")
    return ceil(HD_HEIGHT / upscale), ceil(HD_WIDTH / upscale)


def in_rounds(
    runs: Mapping[Key, Callable[[], Any]],
    rounds: int,
    pause: float = 0.0,
    clock: Callable[[], float] = time.perf_counter,
    warm_ups: int = WARM_UPS,
) -> dict[Key, list[float]]:
    """Return the seconds of each of ``runs`` in each round.

    Args:
        runs (Mapping): Calls by key.
        rounds (int): Measured rounds.
        pause (float): Seconds between two runs. Default: 0.
        clock (Callable): Returns the time in seconds.
        warm_ups (int): Rounds before those that are measured. Default: 2.
    """
    draw = random.Random(0)
    taken: dict[Key, list[float]] = {key: [] for key in runs}
    for _ in range(warm_ups + rounds):
        for key in draw.sample(list(runs), len(runs)):
            if pause:
                time.sleep(pause)
            start = clock()
            runs[key]()
            taken[key].append(clock() - start)
    return {key: seconds[warm_ups:] for key, seconds in taken.items()}
