"""Run a network with ncnn, on the CPU, or on a GPU by Vulkan."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightsr_basicsr.runtimes.agreement import check_agreement
from lightsr_basicsr.runtimes.base import BackendError, Runtime, Traits, check_possible
from lightsr_basicsr.runtimes.metadata import read_metadata
from lightsr_basicsr.runtimes.ncnn_file import check_sound, read_param, weights_of
from lightsr_basicsr.runtimes.ncnn_library import find_ncnn_device, ncnn_precisions, require_ncnn
from lightsr_basicsr.runtimes.network import traits_of

FILE = "model.param"


class NcnnRuntime(Runtime):
    """A network, run by ncnn, one image after the other.

    Args:
        path (Path): The ``.param`` file, with the ``.bin`` file beside it; both are read at once.
        traits (Traits): Scale, channels and smallest side of the network.
        precision (str): ``'fp32'``, ``'bf16'``, or where the processor or GPU has it ``'fp16'``. Default: ``'fp32'``.
        device (str | None): ``'cpu'``, or ``'vulkan:0'`` for a GPU. Default: None, the CPU.
        common (Any): ``threads`` and ``metadata`` of :class:`Runtime`.

    Raises:
        BackendError: If ncnn is not installed, or cannot read the files, or not on this device.
    """

    backend = "ncnn"

    def __init__(
        self, path: Path, traits: Traits, precision: str = "fp32", *, device: str | None = None, **common: Any
    ) -> None:
        place = find_ncnn_device(device)
        check_possible(self.backend, precision, place, ncnn_precisions(place))
        super().__init__(traits, precision, device=place, **common)
        self.net = load_net(path, precision, place, self.threads)
        self.names = self.net.input_names()[0], self.net.output_names()[0]

    @classmethod
    def of_network(
        cls, net: nn.Module, precision: str = "fp32", patience: float = 1200.0, **arguments: Any
    ) -> NcnnRuntime:
        """Return the runtime of a network, converted in a temporary folder; ``arguments`` are those of the class.

        Raises:
            BackendError: If it cannot be converted within ``patience`` seconds, or ncnn gives other images; see the
                class.
        """
        place = find_ncnn_device(arguments.get("device"))
        check_possible(cls.backend, precision, place, ncnn_precisions(place))
        from lightsr_basicsr.runtimes.graphs import ready
        from lightsr_basicsr.runtimes.ncnn_graph import to_ncnn

        deployed = ready(net)
        model = to_ncnn(deployed, patience=patience)
        with tempfile.TemporaryDirectory(prefix="lightsr_ncnn_") as folder:
            path = Path(folder, FILE)
            path.write_text(model.param, encoding="utf-8")
            weights_of(path).write_bytes(model.weights)
            runtime = cls(path, traits_of(deployed), precision, **arguments)
        check_agreement(deployed, runtime)
        return runtime

    @staticmethod
    def _read(path: Path) -> Path:
        """Return the path of a ``.param`` file after a check of both files."""
        weights = weights_of(path)
        if not weights.is_file():
            raise BackendError(
                f"ncnn cannot read {path}: its weights, {weights}, are missing. Copy both files together."
            )
        metadata = read_metadata(path)
        check_sound(path, read_param(path), weights.read_bytes(), metadata and metadata.checksums)
        return path

    def _run(self, images: Tensor) -> Tensor:
        return torch.stack([torch.from_numpy(self._one(image)) for image in images.cpu().contiguous().numpy()])

    def _one(self, image: np.ndarray) -> np.ndarray:
        """Map one image (C, H, W) to (C, sH, sW)."""
        extractor, (given, wanted) = self.net.create_extractor(), self.names
        # Copied, because ncnn wants channels at multiples of 16 bytes.
        extractor.input(given, require_ncnn().Mat(image).clone())
        status, made = extractor.extract(wanted)
        if status or made.empty():
            raise BackendError(
                f"ncnn cannot run an image of {image.shape[1]}x{image.shape[2]} pixels (status {status}): it is too "
                "small for the network, or memory ran out."
            )
        return np.array(made)


def load_net(path: Path, precision: str, device: str, threads: int) -> Any:
    """Return an ``ncnn.Net`` of a ``.param`` file and the ``.bin`` file beside it.

    Raises:
        BackendError: If ncnn cannot read them.
    """
    net = require_ncnn().Net()
    settings = {
        "num_threads": threads,
        **dict.fromkeys(("use_fp16_storage", "use_fp16_packed"), precision == "fp16"),
        "use_fp16_arithmetic": False,
        "use_bf16_storage": precision == "bf16",
        "use_winograd_convolution": True,
        "use_vulkan_compute": device != "cpu",
    }
    for name, value in settings.items():
        setattr(net.opt, name, value)
    if device != "cpu":
        net.set_vulkan_device(int(device.partition(":")[2] or 0))
    for load, file in ((net.load_param, path), (net.load_model, weights_of(path))):
        if load(str(file)):
            raise BackendError(
                f"ncnn cannot read {file}: it is damaged, or has layers that this ncnn lacks. Export it again."
            )
    if not net.input_names() or not net.output_names():
        raise BackendError(f"{path} has no input or no output: expected one from images to images. Export it again.")
    return net
