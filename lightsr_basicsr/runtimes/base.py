"""What every way of running a network has in common: one call from images to images, checked before the engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from threading import RLock
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightsr_basicsr.errors import UserError

BACKENDS = ("torch", "onnxruntime", "openvino")
PRECISIONS = ("fp32", "bf16", "fp16", "int8")
# Engines start as many threads as they are told, and end the whole program where the system refuses them.
MOST_THREADS = 1024
NEEDS_EXPORT = (
    "int8 needs a network that was quantized on pictures: make a file of it (basicsr export --precision int8) and run "
    "that file."
)


class BackendError(UserError):
    """A network, file, machine or image with which an engine cannot do what was asked. The message says what to do."""


def require(module: str, extra: str) -> ModuleType:
    """Import an optional library.

    Args:
        module (str): Its import name, for example ``'openvino'``.
        extra (str): The extra of this package that installs it.

    Raises:
        BackendError: If it is not installed, or cannot be imported; with the command that installs it.
    """
    try:
        return import_module(module)
    except Exception as error:
        # A library that was built for another NumPy or another system raises anything while it is imported.
        library = module.split(".")[0]
        if isinstance(error, ModuleNotFoundError) and str(error.name).split(".")[0] == library:
            raise BackendError(
                f'{library} is needed and not installed: pip install "lightsr-basicsr[{extra}]"'
            ) from error
        raise BackendError(
            f"{library} is installed, but cannot be imported ({error}): "
            f'pip install --force-reinstall "lightsr-basicsr[{extra}]"'
        ) from error


def openvino_core() -> Any:
    """Return OpenVINO's core, one for the process: plugins that are unloaded beside running threads corrupt memory.

    Raises:
        BackendError: If OpenVINO is not installed.
    """
    return _one_core(require("openvino", "openvino"))


@cache
def _one_core(engine: ModuleType) -> Any:
    return engine.Core()


def last_line(error: Exception) -> str:
    """Return the last line of an engine's message, without its full stop; engines put their own source files first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".!") if lines else type(error).__name__


def worded(names: tuple[str, ...]) -> str:
    """Return ``names`` as a text: 'a, b or c'; 'nothing' for none."""
    return " or ".join(filter(None, (", ".join(names[:-1]), *names[-1:]))) or "nothing"


def check_threads(threads: int | None) -> None:
    """Raise BackendError unless this is a number of CPU threads, or None."""
    whole = isinstance(threads, int) and not isinstance(threads, bool)
    if threads is not None and not (whole and 1 <= threads <= MOST_THREADS):
        raise BackendError(f"`threads` must be a whole number from 1 to {MOST_THREADS}, got {threads!r}.")


class Traits(NamedTuple):
    """What an image must be like for a network, and how large it comes out.

    Attributes:
        scale (float): Output side over input side.
        num_in_ch (int): Channels of the input image.
        min_side (int): Smallest height and width of an input image, in pixels.
    """

    scale: float
    num_in_ch: int = 3
    min_side: int = 1


class Runtime(ABC):
    """A network, ready to run on one engine; calling it maps images to images.

    Several threads may call it; they wait for one another.

    Attributes:
        backend (str): One of ``BACKENDS``.
        precision (str): One of ``PRECISIONS``: what it computes with; images are float32 on both sides.
        scale (float): Output side over input side.
        num_in_ch (int): Channels of the input image.
        min_side (int): Smallest height and width of an input image, in pixels.
        metadata (dict | None): What an exported file tells about itself; None for a network, or a file that is silent.
        threads (int): CPU threads it may use.
        device (str): Where it computes: ``'cpu'``, ``'cuda'``, ``'cuda:1'``, or what OpenVINO calls its device.
        chosen_because (str): Why this back end was taken: the end of a sentence, ``'because ...'``.

    Args:
        traits (Traits): Scale, channels and smallest side of the network.
        precision (str): See attributes. Default: ``'fp32'``.
        device (str): See attributes. Default: ``'cpu'``.
        threads (int | None): See attributes; None takes as many as torch does. Default: None.
        metadata (Mapping | None): See attributes. Default: None.

    Raises:
        BackendError: If ``threads`` is no number of threads.
    """

    backend: str

    def __init__(
        self,
        traits: Traits,
        precision: str = "fp32",
        *,
        device: str = "cpu",
        threads: int | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        check_threads(threads)
        self.scale, self.num_in_ch, self.min_side = traits
        self.precision, self.device = precision, device
        # Engines count processors in their own ways, some past the limits of a container; torch's count is one for all.
        self.threads = torch.get_num_threads() if threads is None else threads
        self.metadata = None if metadata is None else dict(metadata)
        self.chosen_because = "because it was asked for"
        # Engines with memory of their own for the result would mix up the images of two threads.
        self.lock = RLock()

    def __call__(self, images: Tensor) -> Tensor:
        """Map float32 images (N, C, H, W) in [0, 1] to (N, C, scale * H, scale * W), float32, on their device.

        Values may leave [0, 1] where the network's do. The result is the caller's own.

        Raises:
            BackendError: If these are not such images, or are smaller than the network needs.
        """
        self.check_images(images)
        # Not inference mode: what it returns could never enter a loss.
        with self.lock, torch.no_grad():
            return self._run(images.detach()).to(images.device, torch.float32)

    def check_images(self, images: Tensor) -> None:
        """Raise BackendError unless ``images`` are what this network takes."""
        wanted = f"(N, {self.num_in_ch}, H, W)"
        if not isinstance(images, Tensor):
            hint = " Arrays become tensors by torch.from_numpy(x)." if type(images).__module__ == "numpy" else ""
            raise BackendError(f"Expected a tensor of images {wanted}, got {type(images).__name__}.{hint}")
        if images.ndim != 4 or images.shape[1] != self.num_in_ch or not len(images):
            hint = _shape_hint(images, self.num_in_ch)
            raise BackendError(f"Expected images {wanted}, got {tuple(images.shape)}.{hint}")
        if images.dtype != torch.float32:
            hint = "x.float()" if images.is_floating_point() else "x.float() / 255"
            raise BackendError(f"Expected float32 images in [0, 1], got {images.dtype}: pass {hint}.")
        if min(images.shape[2:]) < self.min_side:
            raise BackendError(
                f"Expected images of at least {self.min_side}x{self.min_side} pixels, got "
                f"{images.shape[2]}x{images.shape[3]}: pad the image, or use a larger one."
            )

    def prepare_for(self, shape: tuple[int, int, int, int]) -> None:  # noqa: B027  most engines need nothing
        """Do at once what makes images of this shape (N, C, H, W) fast, which may take seconds."""

    def channels_of_input(self) -> int | None:
        """Return the channels of the image that the engine wants, None if it does not tell."""
        return None

    @abstractmethod
    def _run(self, images: Tensor) -> Tensor:
        """Map checked images (N, C, H, W) to (N, C, sH, sW) in any floating-point type, on any device."""

    def __str__(self) -> str:
        return f"{self.backend}, {self.precision}, on {self.device}, {self.threads} CPU thread{'s'[: self.threads > 1]}"


def _shape_hint(images: Tensor, num_in_ch: int) -> str:
    """Return what makes images (N, num_in_ch, H, W) of what is nearly that, '' if it is something else."""
    channels_last = images.ndim in (3, 4) and images.shape[-1] == num_in_ch != images.shape[-3]
    if images.ndim == 3:
        whole = "x.permute(2, 0, 1)[None]" if channels_last else "x[None]"
        return f" One image needs a batch dimension: {whole}."
    return " Channels come before rows and columns: x.permute(0, 3, 1, 2)." if channels_last else ""
