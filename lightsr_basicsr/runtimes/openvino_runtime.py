"""Run a network with OpenVINO, on the CPU or another of its devices."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from lightsr_basicsr.runtimes.agreement import check_agreement
from lightsr_basicsr.runtimes.base import (
    BackendError,
    Runtime,
    Traits,
    check_possible,
    last_line,
    openvino_core,
    worded,
)
from lightsr_basicsr.runtimes.network import traits_of
from lightsr_basicsr.runtimes.onnx_graph import check_graph
from lightsr_basicsr.runtimes.openvino_tuning import (
    average_rows_first,
    fold_constants,
    for_one_image,
    fuse_one_by_one,
)

# OpenVINO's names of the precisions, and of a device's ability to use them. The hint is always given, because without
# it OpenVINO may use bfloat16. An int8 model itself defines what is quantized; for the rest see `_hint`.
HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
CAPABILITIES = {"fp32": "FP32", "bf16": "BF16", "fp16": "FP16", "int8": "INT8"}
# Time that a model for one image size saves, as a fraction: 0.05 to 0.4, by network. Its compilation takes 0.2 to 20 s.
SAVING = 0.2
# Number of image sizes whose own model is kept, and of those whose total time is.
KEPT_SIZES, REMEMBERED_SIZES = 4, 64


class OpenVinoRuntime(Runtime):
    """A model, run by OpenVINO.

    Images run on a model for all sizes. After so many of one size that a model for this size alone would have saved the
    time of its compilation, it is compiled; the last four of these are kept. :meth:`prepare_for` does so at once.

    Args:
        model (Any): An ``openvino.Model`` with dynamic number and size of images.
        traits (Traits): Scale, channels and smallest side of the network.
        precision (str): One of ``PRECISIONS``; ``'int8'`` if the model is quantized. Default: ``'fp32'``.
        device (str | None): ``'cpu'``, or OpenVINO's name of a device. Default: None, the CPU.
        common (Any): ``threads`` and ``metadata`` of :class:`Runtime`.

    Raises:
        BackendError: If OpenVINO is not installed, or cannot run the model, or not so on this device.
    """

    backend = "openvino"

    def __init__(
        self,
        model: Any,
        traits: Traits,
        precision: str = "fp32",
        *,
        device: str | None = None,
        **common: Any,
    ) -> None:
        place = find_openvino_device(device)
        check_possible(self.backend, precision, place, openvino_precisions(place), quantized=True)
        super().__init__(traits, precision, device=place.lower(), **common)
        self.model = model
        self.one_image = for_one_image(model)  # instead of a loop over images, which is slower
        self.any_size: Any = None
        self.last: Any = None  # the request that ran last, and the only one that holds memory for feature maps
        self.compile_seconds = 0.0
        self.sizes: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        self.spent: OrderedDict[tuple[int, ...], float] = OrderedDict()

    @classmethod
    def of_network(cls, net: nn.Module, precision: str = "fp32", **arguments: Any) -> OpenVinoRuntime:
        """Return the runtime of a network, converted in memory; ``arguments`` are those of the class.

        Raises:
            BackendError: If it cannot be converted or the model gives other images; see the class.
        """
        place = find_openvino_device(arguments.get("device"))
        # Checked before the conversion, which may take half a minute.
        check_possible(cls.backend, precision, place, openvino_precisions(place))
        from lightsr_basicsr.runtimes.graphs import ready, to_openvino

        deployed = ready(net)
        runtime = cls(to_openvino(deployed), traits_of(deployed), precision, **arguments)
        check_agreement(deployed, runtime)
        return runtime

    @staticmethod
    def _read(path: Path) -> Any:
        """Return the ``openvino.Model`` in an OpenVINO (.xml, .bin beside it) or ONNX file."""
        core = openvino_core()
        if path.suffix.lower() == ".onnx":
            check_graph(path)
        try:
            return fold_constants(core.read_model(str(path)))
        except RuntimeError as error:
            weights = path.with_suffix(".bin")
            missing = path.suffix == ".xml" and not weights.is_file()
            hint = f" Its weights, {weights}, are missing." if missing else ""
            raise BackendError(f"openvino cannot read {path}: {last_line(error)}.{hint}") from error

    def channels_of_input(self) -> int | None:
        """Return the channels of the model's input, None if they are dynamic."""
        shape = self.model.input(0).partial_shape
        known = shape.rank.is_static and len(shape) == 4 and shape[1].is_static
        return shape[1].get_length() if known else None

    def prepare_for(self, shape: tuple[int, int, int, int]) -> None:
        """Compile a model for images of this shape (N, C, H, W) alone, and keep it for them."""
        if self.one_image is not None:
            shape = (1, *shape[1:])
        with self.lock:
            if shape not in self.sizes:
                self.sizes[shape] = self._compile(shape)
                if len(self.sizes) > KEPT_SIZES:
                    self.sizes.popitem(last=False)
            self.sizes.move_to_end(shape)

    def _run(self, images: Tensor) -> Tensor:
        if self.one_image is not None and len(images) > 1:
            return torch.cat([self._run(image) for image in images.split(1)])
        shape, given = tuple(images.shape), images.cpu().contiguous().numpy()
        if shape in self.sizes or self.spent.get(shape, 0) * SAVING > self.compile_seconds:
            self.prepare_for(shape)
            request = self.sizes[shape]
        else:
            request = self._request_for_any_size()
        self._release_others(request)
        start = perf_counter()
        try:
            # Copied: the next image would overwrite memory shared with OpenVINO.
            made = torch.from_numpy(request.infer({0: given}, share_inputs=False, share_outputs=False)[0])
        except RuntimeError as error:
            raise BackendError(f"openvino cannot run images of shape {shape}: {last_line(error)}") from error
        self._note(shape, perf_counter() - start)
        return made

    def _release_others(self, request: Any) -> None:
        """Return the memory of the request that ran last, unless it is ``request``: each keeps that of its image."""
        if self.last is not None and self.last is not request:
            model = self.last.get_compiled_model()
            if hasattr(model, "release_memory"):  # not in every OpenVINO
                model.release_memory()
        self.last = request

    def _request_for_any_size(self) -> Any:
        if self.any_size is None:
            start = perf_counter()
            self.any_size = self._compile()
            self.compile_seconds = perf_counter() - start
        return self.any_size

    def _note(self, shape: tuple[int, ...], seconds: float) -> None:
        """Add to the total time of a shape."""
        self.spent[shape] = self.spent.pop(shape, 0.0) + seconds
        if len(self.spent) > REMEMBERED_SIZES:
            self.spent.popitem(last=False)

    def _hint(self) -> str:
        # Beside int8, float32 costs a third of the speed and gains 0.01 dB (IMDN x4).
        halves = self.precision == "int8" and "bf16" in openvino_precisions(self.device.upper())
        return HINTS["bf16"] if halves else HINTS.get(self.precision, "f32")

    def _compile(self, shape: tuple[int, ...] | None = None) -> Any:
        """Return a request for images of ``shape``, of any shape if it is None."""
        settings = {
            "INFERENCE_PRECISION_HINT": self._hint(),
            "PERFORMANCE_HINT": "LATENCY",
            **({"INFERENCE_NUM_THREADS": self.threads} if self.device == "cpu" else {}),
        }
        try:
            model = (self.model if self.one_image is None else self.one_image).clone()
            if self.precision == "fp32":
                fuse_one_by_one(model)
            if shape is not None:
                model.reshape(list(shape))
                average_rows_first(model)
            return openvino_core().compile_model(model, self.device.upper(), settings).create_infer_request()
        except RuntimeError as error:
            raise BackendError(f"openvino cannot run this model on {self.device}: {last_line(error)}") from error


def find_openvino_device(device: str | None) -> str:
    """Return OpenVINO's name of a device; None is the CPU.

    Raises:
        BackendError: If OpenVINO is not installed or has no such device here.
    """
    devices = tuple(openvino_core().available_devices)
    name = (device or "cpu").upper()
    if name not in devices:
        raise BackendError(
            f"openvino cannot run on device {device!r} here: choose {worded(tuple(map(str.lower, devices)))}."
        )
    return name


def openvino_precisions(device: str) -> tuple[str, ...]:
    """Return the precisions that OpenVINO supports on a device, by its own name."""
    capabilities = openvino_core().get_property(device, "OPTIMIZATION_CAPABILITIES")
    return tuple(name for name, capability in CAPABILITIES.items() if capability in capabilities)
