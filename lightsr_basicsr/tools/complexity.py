"""Complexity of a network: parameters, and multiply-adds, activations, convolutions and time for one image."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import ceil, prod
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
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

    The network is unchanged. Most need little time and memory, because only shapes are computed; networks that look at
    values run once on ``meta`` tensors, or on the CPU at the full size.

    Args:
        net (nn.Module): The network, on any device. Without a method ``example_input`` it gets an RGB image.
        height (int): Height of the LR image, in pixels.
        width (int): Width of the LR image, in pixels.

    Raises:
        RuntimeError: If the network cannot run, or looks at values and torch is older than 2.1, without a counter.
    """
    passed = _pass_of_shapes(net, height, width)
    if passed is not None:
        return passed.multi_adds
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
    return sum(_convolution_outputs(net, height, width))


def count_convolutions(net: nn.Module, height: int, width: int) -> int:
    """Return the number of convolutions in one forward pass in evaluation mode, as :func:`count_activations` counts."""
    return len(_convolution_outputs(net, height, width))


def _convolution_outputs(net: nn.Module, height: int, width: int) -> list[int]:
    passed = _pass_of_shapes(net, height, width)
    return (_observe(_ConvolutionOutputs, net, height, width) if passed is None else passed).sizes


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


class _NotFollowedError(RuntimeError):
    """An operation that cannot be computed by shapes alone, or counts in a way of its own."""


class _Shapes(TorchDispatchMode):
    """Computes a pass by shapes: feature maps are one zero, seen many times; counts multi-adds and convolutions.

    Not on ``meta`` tensors, of which many operations need libraries that take longer to import than the pass does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.multi_adds, self.sizes = 0, []
        self.zeros: dict[torch.dtype, Tensor] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if name in COUNTED:
            shape, cost = COUNTED[name](*args, **kwargs)
            self.multi_adds += cost
            if name == "convolution":
                self.sizes.append(prod(shape))
            return self._map(shape, args[0])
        if _is_of_its_own(name, func, args):
            raise _NotFollowedError(name)
        if func._schema.is_mutable and _is_map(args[0]):
            return args[0]
        if any(tag.name == "pointwise" for tag in func.tags):
            shapes = [value.shape for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
            if prod(shape := _broadcast(shapes)) > FEW:
                return self._map(shape, next(value for value in args if isinstance(value, Tensor)))
        elif name in SHAPED and _is_map(args[0] if isinstance(args[0], Tensor) else args[0][0]):
            return self._map(SHAPED[name](*args, **kwargs), args[0] if isinstance(args[0], Tensor) else args[0][0])
        return func(*args, **kwargs)

    def _map(self, shape: Sequence[int], like: Tensor) -> Tensor:
        zero = self.zeros.setdefault(like.dtype, torch.zeros(1, dtype=like.dtype))
        return zero.expand(tuple(shape)) if len(shape) else zero[0]


FEW = 2**16  # numbers of which an operation is as fast as its shape
DECIDING = {"data_dependent_output", "dynamic_output_shape"}  # tags of operations that look at values
OF_THEIR_OWN = ("attention", "conv", "scaled_mm", "linear")  # that torch counts, of them


def _is_of_its_own(name: str, func: Any, args: tuple) -> bool:
    """Return whether an operation counts in another way, or looks at values."""
    if name == "index":
        return any(places is not None and places.dtype == torch.bool for places in args[1])
    if name == "_local_scalar_dense":
        return args[0].is_floating_point() or args[0].dtype == torch.bool  # whole numbers are sizes and places
    counts = any(word in name for word in OF_THEIR_OWN) and not name.startswith("upsample_")
    return counts or not DECIDING.isdisjoint(tag.name for tag in func.tags)


def _is_map(value: Any) -> bool:
    if not isinstance(value, Tensor):
        return False
    return any(side > 1 and not stride for side, stride in zip(value.shape, value.stride(), strict=True))


def _broadcast(shapes: Sequence[Sequence[int]]) -> list[int]:
    """Return the shape of an element-wise result; torch's function for it imports what this class is there to avoid."""
    rank = max(map(len, shapes))
    padded = [(*[1] * (rank - len(shape)), *shape) for shape in shapes]
    return [next((side for side in sides if side != 1), 1) for sides in zip(*padded, strict=True)]


def _convolved(
    x: Tensor, weight: Tensor, bias: Any, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int],
    transposed: bool, more: Sequence[int], groups: int,
) -> tuple[tuple[int, ...], int]:  # fmt: skip
    """Return shape and multi-adds of a convolution of (N, C, ...)."""
    spatial = x.ndim - 2
    stride, padding, dilation, more = ([*each] * (1 if len(each) == spatial else spatial)
                                       for each in (stride, padding, dilation, more))  # fmt: skip
    sides = []
    for axis, side in enumerate(x.shape[2:]):
        reach = dilation[axis] * (weight.shape[2 + axis] - 1)
        if transposed:
            sides.append((side - 1) * stride[axis] - 2 * padding[axis] + reach + more[axis] + 1)
        else:
            sides.append((side + 2 * padding[axis] - reach - 1) // stride[axis] + 1)
    num_in, num_out = (weight.shape[0], weight.shape[1] * groups) if transposed else (x.shape[1], weight.shape[0])
    if x.shape[1] != (num_in if transposed else weight.shape[1] * groups) or min(sides) < 1:
        raise _NotFollowedError("a convolution of other sizes")
    places = prod(x.shape[2:] if transposed else sides)
    return (x.shape[0], num_out, *sides), x.shape[0] * places * weight.numel()


def _multiplied(a: Tensor, b: Tensor, **_: Any) -> tuple[tuple[int, ...], int]:
    """Return shape and multi-adds of a product of matrices (..., m, k) and (..., k, n)."""
    if a.shape[-1] != b.shape[-2] or a.shape[:-2] != b.shape[:-2]:
        raise _NotFollowedError("a product of other sizes")
    shape = (*a.shape[:-1], b.shape[-1])
    return shape, prod(shape) * a.shape[-1]


def _reduced(x: Tensor, axes: Sequence[int] | None = None, keepdim: bool = False, **_: Any) -> list[int]:
    gone = {axis % x.ndim for axis in (axes or range(x.ndim))}
    return [1 if axis in gone else side for axis, side in enumerate(x.shape) if keepdim or axis not in gone]


def _joined(parts: Sequence[Tensor], axis: int = 0) -> list[int]:
    axis %= parts[0].ndim
    return [sum(part.shape[axis] for part in parts) if each == axis else side
            for each, side in enumerate(parts[0].shape)]  # fmt: skip


def _shuffled(x: Tensor, factor: int) -> list[int]:
    *batch, channels, height, width = x.shape
    return [*batch, channels // factor**2, height * factor, width * factor]


# Shape and multi-adds of the operations that count; shapes of others that would take long, by torch's names.
COUNTED: dict[str, Callable[..., tuple[tuple[int, ...], int]]] = {
    "convolution": _convolved,
    "mm": _multiplied,
    "bmm": _multiplied,
    "addmm": lambda added, a, b, **_: _multiplied(a, b),
    "baddbmm": lambda added, a, b, **_: _multiplied(a, b),
}
SHAPED: dict[str, Callable[..., Sequence[int]]] = {
    "clone": lambda x, **_: x.shape,
    "_softmax": lambda x, *_: x.shape,
    "roll": lambda x, *_: x.shape,
    "mean": _reduced,
    "sum": _reduced,
    "cat": _joined,
    "pixel_shuffle": _shuffled,
}


def _pass_of_shapes(net: nn.Module, height: int, width: int) -> _Shapes | None:
    """Return what a pass costs that computes shapes alone, None if the network cannot be followed in that way."""
    try:
        return _run_within(_Shapes(), "cpu", net, height, width)
    except (RuntimeError, NotImplementedError):
        return None


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
