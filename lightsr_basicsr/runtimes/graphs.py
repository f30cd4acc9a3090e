"""Networks as graphs for other backends: ONNX, OpenVINO, TorchScript; any number of images, any size.

All of them are traced, so a network's decisions in Python are made once: the networks of this package compute with the
size, while they are traced, instead of branching on it.
"""

from __future__ import annotations

import gc
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lightsr_basicsr.archs.network import SRNetwork
from lightsr_basicsr.errors import short_message
from lightsr_basicsr.runtimes.base import BackendError, openvino_core, require
from lightsr_basicsr.runtimes.constant_parts import ConstantParts
from lightsr_basicsr.runtimes.network import name_of, prepare, smooth_picture, unwrap
from lightsr_basicsr.runtimes.openvino_tuning import fold_constants

if TYPE_CHECKING:
    import onnx
    import openvino

INPUT, OUTPUT = "lr", "sr"
OPSET = 17
LOWEST_OPSET = 13  # the first in which axes are inputs, as the graph around one image has them
TRACED_SIZE = (45, 37)
MOST_BYTES = 2**31 - 1  # of one file in the format of ONNX


def to_onnx(net: nn.Module, opset: int = OPSET, one_image: bool = False) -> onnx.ModelProto:
    """Return the deployed form of a network as ONNX: input ``lr`` (n, C, h, w), output ``sr`` (n, C, sh, sw), float32.

    Args:
        net (nn.Module): Any network; unchanged.
        opset (int): Version of ONNX's operators, see :func:`opsets`. Default: 17.
        one_image (bool): Whether a network that computes kernels from each image becomes a graph with n = 1; else its
            graph runs image by image. Default: False.

    Raises:
        BackendError: If the network has no such graph, or ONNX is not installed.
    """
    onnx = require("onnx", "onnx")
    check_opset(opset)
    plain = ready(net).requires_grad_(False)  # constants have no gradient
    single = has_own_kernels(net)
    content = _exported(plain, opset, single)
    if len(content) > MOST_BYTES:
        raise BackendError(f"One ONNX file holds at most 2 GB, and {name_of(net)} has {len(content):,} bytes.")
    model = onnx.load_from_string(content)
    channels = model.graph.output[0].type.tensor_type.shape.dim[1]
    if channels.dim_param and isinstance(unwrap(plain), SRNetwork):  # lost behind computed crops
        channels.dim_value = plain.num_out_ch
    return checked(over_images(model) if single and not one_image else model)


def to_openvino(net: nn.Module) -> openvino.Model:
    """Return the deployed form of any network as an OpenVINO model, with the same input and output.

    Raises:
        BackendError: If the network has no such graph, or OpenVINO or ONNX is not installed.
    """
    core = openvino_core()
    return fold_constants(core.read_model(to_onnx(net).SerializeToString()))


def to_torchscript(net: nn.Module, precision: str = "fp32") -> torch.jit.ScriptModule:
    """Return the deployed form of a network as a TorchScript program from (N, C, H, W) to (N, C, sH, sW), float32.

    Args:
        net (nn.Module): See :func:`to_onnx`.
        precision (str): ``'fp32'``, or ``'fp16'`` for half precision inside. Default: ``'fp32'``.

    Raises:
        BackendError: If the network has no such program.
    """
    plain, single = ready(net), has_own_kernels(net)
    if precision == "fp16":
        plain = _WithHalves(plain).eval()
    with quiet_tracer(), torch.no_grad():
        try:
            program = torch.jit.trace(plain, _example_images(plain, single), check_trace=False)
            return torch.jit.freeze(torch.jit.script(_ImageByImage(program).eval()) if single else program)
        except Exception as error:
            raise _no_graph(net, "TorchScript", error) from error


class _WithHalves(nn.Module):
    """A network in half precision between float32 images."""

    def __init__(self, net: SRNetwork) -> None:
        super().__init__()
        self.net, self.num_in_ch = net.half(), net.num_in_ch

    def forward(self, lr: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, sH, sW)."""
        return self.net(lr.half()).float()


class _ImageByImage(nn.Module):
    """A program for one image, run on each image of a batch."""

    def __init__(self, one: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.one = one

    def forward(self, lr: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, sH, sW)."""
        return torch.cat([self.one(image) for image in lr.split(1)])


class _OnnxWords(ConstantParts):
    """Say what a network computes in operations of which ONNX needs few, while the network is traced."""

    def traced(self, func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Return what an operation makes."""
        if func is torch.conv2d and len(args) > 1 and not self.is_constant(args[1]):
            # The exporter must know the shapes of computed kernels, too.
            args = (args[0], args[1].reshape([int(side) for side in args[1].shape]), *args[2:])
        if func in (torch.addcmul, Tensor.addcmul, Tensor.addcmul_) and not kwargs:
            x, a, b = args
            return x.add_(a * b) if func is Tensor.addcmul_ else x + a * b  # the exporter's has a factor of one more
        if func is Tensor.__getitem__ and isinstance(args[1], tuple) and all(map(_adds_or_keeps, args[1])):
            return _with_axes(*args)
        return func(*args, **kwargs)


def _adds_or_keeps(part: Any) -> bool:
    return part is None or (isinstance(part, slice) and part == slice(None))


def _with_axes(x: Tensor, key: tuple) -> Tensor:
    """Return ``x[key]`` for a key of ``None`` and ``:`` alone, without cuts of which nothing is left."""
    for axis, part in enumerate(key):
        x = x.unsqueeze(axis) if part is None else x
    return x


def ready(net: nn.Module) -> SRNetwork:
    """Return the deployed form of ``net`` on the CPU, in float32.

    Raises:
        BackendError: If it does not map an LR image to an SR image, or branches on the image's size.
    """
    if getattr(net, "chop", False):
        raise BackendError(
            f"{name_of(net)} with `chop` cuts an image repeatedly by its size, which a graph cannot: use "
            "`chop: false`, and cut large images yourself."
        )
    return prepare(net).cpu().float()


def has_own_kernels(net: nn.Module) -> bool:
    """Return whether a network computes kernels from each image, so that its graph is for a single image."""
    return bool(getattr(net, "kernels_per_image", False))


def _example_images(net: nn.Module, single: bool) -> Tensor:
    # With one image the tracer would make the number of images constant.
    return smooth_picture(net.num_in_ch, *TRACED_SIZE).repeat(1 if single else 2, 1, 1, 1)


def opsets() -> range:
    """Return the versions of ONNX's operators that the installed torch can export."""
    from torch.onnx import _constants

    names = ("ONNX_TORCHSCRIPT_EXPORTER_MAX_OPSET", "ONNX_MAX_OPSET", "onnx_main_opset")
    highest = next((getattr(_constants, name) for name in names if hasattr(_constants, name)), OPSET)
    return range(LOWEST_OPSET, highest + 1)


def check_opset(opset: int) -> None:
    """Raise BackendError unless the installed torch can export with this opset."""
    if opset not in opsets():
        raise BackendError(
            f"The exporter of torch {torch.__version__} knows opset {opsets().start} to {opsets().stop - 1}, got "
            f"{opset}; {OPSET} suits most backends."
        )


def _exported(net: nn.Module, opset: int, single: bool) -> bytes:
    buffer = io.BytesIO()
    changing = {2: "h", 3: "w"} if single else {0: "n", 2: "h", 3: "w"}
    growing = {axis: name if axis == 0 else f"s{name}" for axis, name in changing.items()}
    # The newer exporter takes minutes for some thousand nodes; before torch 2.5 the older one was the only one.
    choice = {"dynamo": False} if "dynamo" in signature(torch.onnx.export).parameters else {}
    with quiet_tracer(), _OnnxWords(net):
        try:
            torch.onnx.export(
                net, (_example_images(net, single),), buffer, input_names=[INPUT], output_names=[OUTPUT],
                dynamic_axes={INPUT: changing, OUTPUT: growing}, opset_version=opset, **choice,
            )  # fmt: skip
        except Exception as error:
            raise _no_graph(net, "ONNX", error) from error
    return buffer.getvalue()


@contextmanager
def quietly(level: int, *loggers: str) -> Iterator[None]:
    """Suppress warnings, standard output, and what these loggers log below ``level``."""
    levels = {log: log.level for log in map(logging.getLogger, loggers)}
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for log in levels:
            log.setLevel(level)
        try:
            yield
        finally:
            for log, before in levels.items():
                log.setLevel(before)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Leave cycles of objects alone inside the block: looking for them takes an eighth of a long export."""
    active = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if active:
            gc.enable()


@contextmanager
def quiet_tracer() -> Iterator[None]:
    """Suppress the tracer's warnings of decisions by size and of deprecation; the images are compared afterwards."""
    with quietly(logging.CRITICAL, "torch.onnx"), _without_collector():
        yield


def _no_graph(net: nn.Module, kind: str, error: Exception) -> BackendError:
    return BackendError(
        f"{name_of(net)} has no {kind} graph for images of any size ({short_message(error, 300)}). Run it with torch "
        "instead."
    )


def over_images(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model for any number of images that runs ``model``, from (1, C, h, w) to (1, C, sh, sw), on each."""
    from onnx import TensorProto, helper

    graph, axis, inner = model.graph, "first_axis", {INPUT: "one_lr", OUTPUT: "one_sr"}
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [inner.get(name, name) for name in names]
    shapes = [
        [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in (graph.input[0], graph.output[0])
    ]
    inside = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape[1:])
              for name, shape in zip(("image_lr", "image_sr"), shapes, strict=True)]  # fmt: skip
    nodes = [
        helper.make_node("Unsqueeze", ["image_lr", axis], ["one_lr"]),
        *graph.node,
        helper.make_node("Squeeze", ["one_sr", axis], ["image_sr"]),
    ]
    constants = [helper.make_tensor(axis, TensorProto.INT64, [1], [0]), *graph.initializer]
    body = helper.make_graph(nodes, "one_image", inside[:1], inside[1:], initializer=constants)
    outside = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape[1:]])
               for name, shape in zip((INPUT, OUTPUT), shapes, strict=True)]  # fmt: skip
    loop = helper.make_node("Scan", [INPUT], [OUTPUT], name="images", body=body, num_scan_inputs=1)
    whole = helper.make_graph([loop], "images", outside[:1], outside[1:])
    return helper.make_model(whole, opset_imports=model.opset_import, ir_version=model.ir_version)


def checked(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model with inferred shapes, after a check of its validity.

    Raises:
        BackendError: If it is not valid.
    """
    onnx = require("onnx", "onnx")
    try:
        shaped = onnx.shape_inference.infer_shapes(model)
        onnx.checker.check_model(shaped, full_check=True)
    except Exception as error:
        # The checker and the inference raise their own types.
        raise BackendError(f"The ONNX graph is not valid ({error}). Please report it.") from error
    return shaped
