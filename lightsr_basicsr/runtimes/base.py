"""Base of the runtimes: one call from images to images, which are checked before the backend sees them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from os import PathLike
from pathlib import Path
from threading import RLock
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightsr_basicsr.archs.network import shape_hint
from lightsr_basicsr.errors import UserError, install_command

BACKENDS = ("torch", "onnxruntime", "openvino", "ncnn")
PRECISIONS = ("fp32", "bf16", "fp16", "int8")
# Backends start any number of threads, and abort the whole program where the system refuses them.
MOST_THREADS = 1024
NEEDS_EXPORT = (
    "int8 needs a network that was quantized on images: export it (basicsr export --precision int8) and run that file."
)


class BackendError(UserError):
    """A backend cannot run this network, file or image, or not on this machine or in this way."""


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
        # A library built for another NumPy or another system raises exceptions of any type while it is imported.
        library = module.split(".")[0]
        if isinstance(error, ModuleNotFoundError) and str(error.name).split(".")[0] == library:
            raise BackendError(f"{library} is needed and not installed: {install_command(extra)}") from error
        raise BackendError(
            f"{library} is installed, but cannot be imported ({error}): {install_command(extra, '--force-reinstall')}"
        ) from error


def openvino_core() -> Any:
    """Return OpenVINO's core, one for the process: unloading its plugins beside running threads corrupts memory.

    Raises:
        BackendError: If OpenVINO is not installed.
    """
    return _one_core(require("openvino", "openvino"))


@cache
def _one_core(openvino: ModuleType) -> Any:
    return openvino.Core()


def last_line(error: Exception) -> str:
    r"""Return the last line of a backend's message, without its full stop; backends put their source files first.

    >>> last_line(RuntimeError("engine.cpp:3:\nbad file."))
    'bad file'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".!") if lines else type(error).__name__


def worded(names: tuple[str, ...]) -> str:
    """Return ``names`` as a text, 'nothing' for none.

    >>> worded(("torch", "onnxruntime", "openvino"))
    'torch, onnxruntime or openvino'
    """
    return " or ".join(filter(None, (", ".join(names[:-1]), *names[-1:]))) or "nothing"


def check_threads(threads: int | None) -> None:
    """Raise BackendError unless ``threads`` is a number of CPU threads, or None."""
    whole = isinstance(threads, int) and not isinstance(threads, bool)
    if threads is not None and not (whole and 1 <= threads <= MOST_THREADS):
        raise BackendError(f"`threads` must be a whole number from 1 to {MOST_THREADS}, got {threads!r}.")


def check_possible(
    backend: str, precision: str, place: str, possible: tuple[str, ...], quantized: bool = False
) -> None:
    """Raise BackendError unless a backend can run a network, or a quantized one, in this precision on this device."""
    if precision == "int8" and not quantized:
        raise BackendError(NEEDS_EXPORT)
    if precision not in possible:
        others = tuple(name for name in possible if name != "int8")
        raise BackendError(f"{backend} cannot run {precision} on this {place}: choose {worded(others)}.")


class Traits(NamedTuple):
    """Scale of a network and requirements for its input images."""

    scale: float  # output side over input side
    num_in_ch: int = 3  # channels of the input image
    min_side: int = 1  # smallest height and width of an input image, in pixels


class Runtime(ABC):
    """A network, ready to run on one backend; calling it maps images to images.

    Several threads may call it; they wait for one another.

    Attributes:
        backend (str): One of ``BACKENDS``.
        precision (str): One of ``PRECISIONS``, used inside; images are float32 on both sides.
        scale, num_in_ch, min_side: Those of :class:`Traits`.
        metadata (dict | None): Of an exported file; None for a network, or a file without metadata.
        threads (int): CPU threads it may use.
        device (str): ``'cpu'``, ``'cuda'``, ``'cuda:1'``, or OpenVINO's name of its device.
        network (nn.Module | None): The network that was opened, None for a file.
        chosen_because (str): Why this backend was chosen: part of a sentence, ``'because ...'``.

    Args are these attributes; ``threads`` None takes as many as torch does.

    Raises:
        BackendError: If ``threads`` is not a number of threads.
    """

    backend: str
    _read: Callable[[Path], Any]  # returns the content of a file as the class takes it

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
        # Backends count processors in their own ways, some beyond the limits of a container; torch's count is for all.
        self.threads = torch.get_num_threads() if threads is None else threads
        self.metadata = None if metadata is None else dict(metadata)
        self.network: nn.Module | None = None
        self.chosen_because = "because it was asked for"
        # Backends that own the memory of the result would mix up the images of two threads.
        self.lock = RLock()

    @classmethod
    def of_file(cls, path: str | PathLike, traits: Traits, precision: str = "fp32", **arguments: Any) -> Runtime:
        """Return the runtime of a file in a format of this backend; ``arguments`` are those of the class.

        Raises:
            BackendError: If it cannot be read; see the class.
        """
        return cls(cls._read(Path(path)), traits, precision, **arguments)

    def __call__(self, images: Tensor) -> Tensor:
        """Map float32 images (N, C, H, W) in [0, 1] to (N, C, scale * H, scale * W), float32, on their device.

        Values may leave [0, 1] where the network's do. The result shares no memory with the backend.

        Raises:
            BackendError: If these are not such images, or are smaller than the network needs.
        """
        self.check_images(images)
        # Not inference mode: its tensors could never be part of a loss.
        with self.lock, torch.no_grad():
            made = self._run(images.detach())
            self._check_made(made, images)
            return made.to(images.device, torch.float32)

    def check_images(self, images: Tensor) -> None:
        """Raise BackendError unless ``images`` are valid input for this network."""
        wanted = f"(N, {self.num_in_ch}, H, W)"
        if not isinstance(images, Tensor):
            hint = " Arrays become tensors by torch.from_numpy(x)." if type(images).__module__ == "numpy" else ""
            raise BackendError(f"Expected a tensor of images {wanted}, got {type(images).__name__}.{hint}")
        if images.ndim != 4 or images.shape[1] != self.num_in_ch or not len(images):
            hint = shape_hint(images, self.num_in_ch)
            raise BackendError(f"Expected images {wanted}, got {tuple(images.shape)}.{hint}")
        if images.dtype != torch.float32:
            hint = "x.float()" if images.is_floating_point() else "x.float() / 255"
            raise BackendError(f"Expected float32 images in [0, 1], got {images.dtype}: pass {hint}.")
        if min(images.shape[2:]) < self.min_side:
            raise BackendError(
                f"Expected images of at least {self.min_side}x{self.min_side} pixels, got "
                f"{images.shape[2]}x{images.shape[3]}: pad the image, or use a larger one."
            )

    def _check_made(self, made: Tensor, images: Tensor) -> None:
        """Raise BackendError unless ``made`` has the size that the scale stands for, to a pixel of the input."""
        if not self.scale:  # of another program's file, to be measured
            return
        wanted = [round(side * self.scale) for side in images.shape[2:]]
        most = max(1, self.scale)
        fits = made.ndim == 4 and len(made) == len(images)
        if not fits or any(abs(side - near) > most for side, near in zip(made.shape[2:], wanted, strict=True)):
            raise BackendError(
                f"{self.backend} made images of shape {tuple(made.shape)} from {tuple(images.shape)}, expected "
                f"{wanted[0]}x{wanted[1]} at x{self.scale:g}: the file does not hold what it says. Export it again."
            )

    def prepare_for(self, shape: tuple[int, int, int, int]) -> None:  # noqa: B027  most backends need nothing
        """Prepare for images of this shape (N, C, H, W) now, which may take seconds, so that they run fast."""

    def channels_of_input(self) -> int | None:
        """Return the channels of the backend's input image, None if unknown."""
        return None

    @abstractmethod
    def _run(self, images: Tensor) -> Tensor:
        """Map checked images (N, C, H, W) to (N, C, sH, sW) in any floating-point type, on any device."""

    def __str__(self) -> str:
        return f"{self.backend}, {self._how}"

    @property
    def explained(self) -> str:
        """The backend, why it was chosen, and how it runs, in words."""
        return f"{self.backend} ({self.chosen_because}), {self._how}"

    @property
    def _how(self) -> str:
        return f"{self.precision}, on {self.device}, {self.threads} CPU thread{'s'[: self.threads > 1]}"
