"""Run a network with ONNX Runtime, on the CPU or a CUDA device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lightsr_basicsr.runtimes.agreement import check_agreement
from lightsr_basicsr.runtimes.base import BackendError, Runtime, Traits, check_possible, last_line, require, worded
from lightsr_basicsr.runtimes.network import traits_of

EXTRA = "onnx"
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxRuntime(Runtime):
    """An ONNX model, run by ONNX Runtime.

    Args:
        model (bytes | str): The model, or the path of its file.
        traits (Traits): Scale, channels and smallest side of the network.
        precision (str): Of the model, never ``'bf16'``. Default: ``'fp32'``.
        device (str | None): ``'cpu'`` or ``'cuda'``; None is CUDA where ONNX Runtime supports it. Default: None.
        common (Any): ``threads`` and ``metadata`` of :class:`Runtime`.

    Raises:
        BackendError: If ONNX Runtime is not installed, or cannot run the model, or not on this device.
    """

    backend = "onnxruntime"
    _read = str  # ONNX Runtime opens the path itself

    def __init__(
        self,
        model: bytes | str,
        traits: Traits,
        precision: str = "fp32",
        *,
        device: str | None = None,
        **common: Any,
    ) -> None:
        kind = find_onnx_device(device)
        super().__init__(traits, precision, device=device or kind, **common)
        self.session = _session(model, self.device, self.threads)
        self.input = self.session.get_inputs()[0]

    @classmethod
    def of_network(cls, net: nn.Module, precision: str = "fp32", **arguments: Any) -> OnnxRuntime:
        """Return the runtime of a network, exported in memory; ``arguments`` are those of the class.

        Raises:
            BackendError: If it cannot be exported or the model gives other images; see the class.
        """
        kind = find_onnx_device(arguments.get("device"))
        check_possible(cls.backend, precision, kind, onnx_precisions(kind))
        require("onnx", EXTRA)
        from lightsr_basicsr.runtimes.graphs import ready, to_onnx

        deployed = ready(net)
        model = to_onnx(deployed)
        if precision == "fp16":
            # This module needs no other package: it is part of onnxruntime.
            float16 = require("onnxruntime.transformers.float16", EXTRA)
            model = float16.convert_float_to_float16(model, keep_io_types=True)
        runtime = cls(model.SerializeToString(), traits_of(deployed), precision, **arguments)
        check_agreement(deployed, runtime)
        return runtime

    def channels_of_input(self) -> int | None:
        """Return the channels of the model's input, None if they are dynamic."""
        shape = self.input.shape
        return shape[1] if len(shape) == 4 and isinstance(shape[1], int) else None

    def _run(self, images: Tensor) -> Tensor:
        # Float16 models of other programs may have float16 inputs.
        given = images.cpu().to(torch.float16 if "float16" in self.input.type else torch.float32).contiguous().numpy()
        try:
            return torch.from_numpy(self.session.run(None, {self.input.name: given})[0])
        except Exception as error:
            # Its exceptions have no common class but Exception.
            raise BackendError(
                f"onnxruntime cannot run images of shape {tuple(images.shape)}: {last_line(error)}"
            ) from error


def find_onnx_device(device: str | None) -> str:
    """Return ``'cpu'`` or ``'cuda'`` for a device's name; None is CUDA where this ONNX Runtime supports it.

    Raises:
        BackendError: If ONNX Runtime is not installed or does not support the device.
    """
    onnxruntime = require("onnxruntime", EXTRA)
    present = onnxruntime.get_available_providers()
    kinds = tuple(kind for kind, provider in PROVIDERS.items() if provider in present)
    kind = (device or ("cuda" if "cuda" in kinds and torch.cuda.is_available() else "cpu")).split(":")[0]
    if kind not in kinds:
        hint = " (CUDA needs the package onnxruntime-gpu in place of onnxruntime)" if kind == "cuda" else ""
        raise BackendError(f"onnxruntime cannot run on device {device!r} here: choose {worded(kinds)}{hint}.")
    return kind


def onnx_precisions(kind: str) -> tuple[str, ...]:
    """Return the precisions of a network in ONNX Runtime on a ``'cpu'`` or ``'cuda'``.

    >>> onnx_precisions("cpu")
    ('fp32',)
    """
    return ("fp32", "fp16") if kind == "cuda" else ("fp32",)


def _session(model: bytes | str, device: str, threads: int) -> Any:
    onnxruntime = require("onnxruntime", EXTRA)
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    settings.intra_op_num_threads, settings.inter_op_num_threads = threads, 1
    # Threads that wait in a loop take the processor from the preparation of the next image.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.log_severity_level = 3
    kind, _, index = device.partition(":")
    providers: list[Any] = [PROVIDERS["cpu"]]
    if kind == "cuda":
        providers.insert(0, (PROVIDERS["cuda"], {"device_id": int(index or 0)}))
    try:
        session = onnxruntime.InferenceSession(model, settings, providers=providers)
    except Exception as error:
        named = model if isinstance(model, str) else "the exported network"
        raise BackendError(f"onnxruntime cannot run {named}: {last_line(error)}") from error
    if PROVIDERS[kind] not in session.get_providers():
        raise BackendError("onnxruntime fell back to the CPU: its CUDA libraries are missing, or of another version.")
    return session
