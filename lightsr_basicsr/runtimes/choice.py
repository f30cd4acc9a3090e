"""Open a network, a checkpoint or an exported file on the backend that suits it and this machine."""

from __future__ import annotations

from dataclasses import asdict
from difflib import get_close_matches
from functools import partial
from os import PathLike
from os.path import isfile
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from lightsr_basicsr.checkpoints import SUFFIXES as CHECKPOINTS
from lightsr_basicsr.checkpoints import CheckpointError
from lightsr_basicsr.errors import install_command
from lightsr_basicsr.runtimes.base import (
    BACKENDS,
    NEEDS_EXPORT,
    PRECISIONS,
    BackendError,
    Runtime,
    Traits,
    check_threads,
    require,
    worded,
)
from lightsr_basicsr.runtimes.fastest import FASTEST, FastestRuntime, content_of
from lightsr_basicsr.runtimes.metadata import SUFFIXES as EXPORTED
from lightsr_basicsr.runtimes.metadata import format_of, read_metadata
from lightsr_basicsr.runtimes.ncnn_library import find_ncnn_device, ncnn_precisions, require_ncnn, require_pnnx
from lightsr_basicsr.runtimes.ncnn_runtime import NcnnRuntime
from lightsr_basicsr.runtimes.network import probe_scale
from lightsr_basicsr.runtimes.onnx_runtime import OnnxRuntime, find_onnx_device, onnx_precisions
from lightsr_basicsr.runtimes.openvino_runtime import OpenVinoRuntime, find_openvino_device, openvino_precisions
from lightsr_basicsr.runtimes.torch_runtime import TorchRuntime, find_device, torch_precisions

AUTO = "auto"
PATIENCE = 30.0  # seconds that a conversion for ncnn may take to be a candidate for the fastest
PREFERRED = ("openvino", "onnxruntime", "torch")  # by it, the first one first; ncnn takes minutes to convert some
RUNTIMES = {"torch": TorchRuntime, "onnxruntime": OnnxRuntime, "openvino": OpenVinoRuntime, "ncnn": NcnnRuntime}
# Backends that read an exported file, the preferred one first; and the extra of those that are libraries themselves.
READERS = {"onnx": ("openvino", "onnxruntime"), "openvino": ("openvino",), "torchscript": ("torch",),
           "ncnn": ("ncnn",)}  # fmt: skip
EXTRAS = {"onnxruntime": "onnx", "openvino": "openvino", "ncnn": "ncnn"}
NEEDS_TRUST = (
    "{} is TorchScript, a program that runs with your rights when it is opened: it may read and change your files. If "
    "you made it or trust its author, say so: --trust on the command line, `val.trust: true` in an option file, "
    "trust=True in Python. Files of ONNX, OpenVINO and ncnn are no programs."
)


class Choice(NamedTuple):
    """A backend, and why it was chosen: the end of a sentence that begins with it."""

    backend: str
    reason: str


def open_runtime(
    source: nn.Module | str | PathLike,
    backend: str = AUTO,
    precision: str | None = None,
    device: str | torch.device | None = None,
    threads: int | None = None,
    trust: bool = False,
) -> Runtime:
    """Return the runtime of a network, ready to be called with images.

    Args:
        source (nn.Module | str | PathLike): A network of any package, with its weights; or a checkpoint of this
            package's networks (.pth, .pt, .safetensors); or an exported file (.onnx, .xml, .ts, .torchscript, .param).
        backend (str): One of ``BACKENDS``; ``'auto'`` for the usually fastest one; ``'fastest'`` for the one that is:
            measured with the first images, which takes seconds, and remembered. Default: ``'auto'``.
        precision (str | None): One of ``PRECISIONS``; None is ``'fp32'``, or the precision of an exported file.
        device (str | torch.device | None): ``'cpu'``, ``'cuda'``, or the backend's name of its device; None lets it
            choose.
        threads (int | None): CPU threads; None is torch's number.
        trust (bool): Whether a TorchScript file may run: it is a program, with all rights of yours. Default: False.

    Raises:
        BackendError: If the source cannot be opened, or not as asked for, or is a program that is not trusted.
    """
    check_names(backend, precision)
    check_threads(threads)
    if not isinstance(source, (nn.Module, str, PathLike)):
        raise BackendError(f"Expected a network, or the path of a file, got {type(source).__name__}.")
    device = None if device is None else str(device)
    if not isinstance(source, nn.Module) and Path(source).suffix.lower() in EXPORTED:
        return _open_exported(Path(source), backend, precision, device, threads, trust)
    net = source if isinstance(source, nn.Module) else _load(Path(source))
    runtime = _open_network(net, backend, precision or "fp32", device, threads)
    runtime.network = net
    return runtime


def _open_network(net: nn.Module, backend: str, precision: str, device: str | None, threads: int | None) -> Runtime:
    arguments = {"device": device, "threads": threads}
    if backend == FASTEST:
        return _fastest_of_network(net, precision, device, threads)
    if backend != AUTO:
        return RUNTIMES[backend].of_network(net, precision, **arguments)
    choice = choose(precision, device)
    try:
        runtime = RUNTIMES[choice.backend].of_network(net, precision, **arguments)
    except BackendError as error:
        # A network of another package may have no graph; torch runs any.
        if choice.backend == "torch" or precision not in _possible("torch", device):
            raise
        runtime = TorchRuntime.of_network(net, precision, **arguments)
        choice = Choice("torch", f"because {choice.backend} cannot run this network: {str(error).rstrip('.')}")
    runtime.chosen_because = choice.reason
    return runtime


def _fastest_of_network(net: nn.Module, precision: str, device: str | None, threads: int | None) -> Runtime:
    choose(precision, device)  # which tells why none is possible
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    able = [backend for backend in BACKENDS if _why_not(backend, precision, place) is None]
    arguments = {"device": place, "threads": threads}
    candidates = {backend: partial(RUNTIMES[backend].of_network, net, precision, **arguments) for backend in able}
    if "ncnn" in candidates:  # which converts at every start
        candidates["ncnn"] = partial(candidates["ncnn"], patience=PATIENCE)
    return FastestRuntime(candidates, {"network": content_of(net)}, threads=threads)


def _fastest_of_file(path: Path, precision: str | None, device: str | None, threads: int | None) -> Runtime:
    able = [reader for reader in READERS[format_of(path)] if reader == "torch" or _is_installed(reader)]
    candidates = {
        reader: partial(_open_exported, path, reader, precision, device, threads, trust=True) for reader in able
    }
    return FastestRuntime(candidates, {"network": content_of(path)}, threads=threads)


def _is_installed(reader: str) -> bool:
    try:
        require(reader, EXTRAS[reader])
    except BackendError:
        return False
    return True


def check_names(backend: str, precision: str | None) -> None:
    """Raise BackendError, with a suggestion, unless these are a backend and a precision or None."""
    for kind, value, known in (("backend", backend, (AUTO, FASTEST, *BACKENDS)), ("precision", precision, PRECISIONS)):
        if value not in known and not (kind == "precision" and value is None):
            close = get_close_matches(str(value).lower(), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"choose {worded(known)}."
            raise BackendError(f"There is no {kind} {value!r}: {hint}")


def choose(precision: str = "fp32", device: str | None = None) -> Choice:
    """Return the backend that ``'auto'`` stands for, for a network in this precision on this device.

    Raises:
        BackendError: If no backend here runs a network so.
    """
    if precision == "int8":
        raise BackendError(NEEDS_EXPORT)
    if (device or ("cuda" if torch.cuda.is_available() else "cpu")).split(":")[0] == "cuda":
        check_precision("torch", precision, device)
        return Choice("torch", "because it is the fastest on CUDA")
    missing = []
    for backend in PREFERRED:
        reason = _why_not(backend, precision, device)
        if reason is None:
            because = "because it is the fastest on this CPU" if backend == "openvino" else "because "
            return Choice(backend, because + "; ".join(missing))
        missing.append(reason)
    possible = tuple(name for name in PRECISIONS if any(name in _possible(backend, device) for backend in PREFERRED))
    others = tuple(name for name in possible if name != "int8")
    advice = f"choose {worded(others)}" if others else "name another device, or leave it out"
    raise BackendError(f"No backend here runs {precision} on {device or 'the CPU'}: {advice}.")


def check_precision(backend: str, precision: str, device: str | None = None) -> None:
    """Raise BackendError unless a backend is installed and can run a network in a precision on a device."""
    _check_installed(backend)
    if precision == "int8":
        raise BackendError(NEEDS_EXPORT)
    possible = tuple(name for name in _possible(backend, device) if name != "int8")
    if not possible:
        _precisions(backend, device)
    if precision not in possible:
        others = tuple(name for name in BACKENDS if name != backend and precision in _possible(name, device))
        hint = f", or the backend {worded(others)}" if others else ""
        raise BackendError(f"{backend} cannot run {precision} on this machine: choose {worded(possible)}{hint}.")


def _why_not(backend: str, precision: str, device: str | None) -> str | None:
    try:
        _check_installed(backend)
    except BackendError:
        return f"{backend} is not installed"
    return None if precision in _possible(backend, device) else f"{backend} cannot run {precision} here"


def _check_installed(backend: str) -> None:
    """Raise BackendError unless a backend and the exporter that it needs for networks are installed."""
    if backend == "ncnn":
        require_ncnn()
        require_pnnx()
    elif backend in EXTRAS:
        for library in (backend, "onnx"):
            require(library, EXTRAS[backend])


def _possible(backend: str, device: str | None) -> tuple[str, ...]:
    """Return the precisions of a backend on a device; () where it cannot run at all."""
    try:
        return _precisions(backend, device)
    except BackendError:
        return ()


def _precisions(backend: str, device: str | None) -> tuple[str, ...]:
    """Return the precisions of a backend on a device, or raise BackendError where it cannot run at all."""
    if backend == "torch":
        return torch_precisions(find_device(device).type)
    if backend == "onnxruntime":
        return onnx_precisions(find_onnx_device(device))
    if backend == "ncnn":
        return ncnn_precisions(find_ncnn_device(device))
    return openvino_precisions(find_openvino_device(device))


def _load(path: Path) -> nn.Module:
    from lightsr_basicsr.checkpoints.identify import load

    if path.suffix.lower() not in CHECKPOINTS and not isfile(path):
        known = (*CHECKPOINTS, *EXPORTED)
        raise BackendError(f"{path} is neither a checkpoint nor an exported file: a name ends in {worded(known)}.")
    try:
        return load(path)
    except CheckpointError as error:
        raise BackendError(str(error)) from error


def _open_exported(
    path: Path, backend: str, precision: str | None, device: str | None, threads: int | None, trust: bool
) -> Runtime:
    metadata = read_metadata(path)
    choice = choose_reader(path, AUTO if backend == FASTEST else backend)
    check_trust(path, trust)
    if backend == FASTEST and len(READERS[format_of(path)]) > 1:
        return _fastest_of_file(path, precision, device, threads)
    made_in = "fp32" if metadata is None else metadata.precision
    precision = _precision_of(path, made_in, precision, choice.backend, device)
    known, traits = None, Traits(0)  # a scale that is not known yet
    if metadata is not None:
        known, traits = asdict(metadata), Traits(metadata.scale, metadata.num_in_ch, metadata.min_side)
    runtime = RUNTIMES[choice.backend].of_file(path, traits, precision, device=device, threads=threads, metadata=known)
    channels = runtime.channels_of_input()
    # OpenVINO would write beyond its memory; TorchScript does not state its channels.
    if known is not None and choice.backend != "torch" and channels not in (None, traits.num_in_ch):
        raise BackendError(
            f"{path} says that it takes images of {traits.num_in_ch} channels, and its graph takes {channels}. Export "
            "it again."
        )
    if known is None:
        # Scale, and sometimes channels, of another program's file must be measured.
        runtime.num_in_ch = channels or runtime.num_in_ch
        runtime.scale = probe_scale(runtime, runtime.num_in_ch, path.name)
    runtime.chosen_because = choice.reason
    return runtime


def check_trust(path: Path, trust: bool) -> None:
    """Raise BackendError if an exported file is a program, and is not trusted."""
    if not trust and format_of(path) == "torchscript":
        raise BackendError(NEEDS_TRUST.format(path))


def choose_reader(path: Path, backend: str = AUTO) -> Choice:
    """Return the backend that runs an exported file.

    Raises:
        BackendError: If ``backend`` does not read it, or none that does is installed.
    """
    kind = format_of(path)
    readers = READERS[kind]
    if backend not in (AUTO, *readers):
        raise BackendError(f"{backend} does not read {path.name} ({kind}): choose {worded((*readers, AUTO))}.")
    if backend != AUTO:
        return Choice(backend, "because it was asked for")
    if len(readers) == 1:
        return Choice(readers[0], f"because {path.name} is its own format")
    for reader in readers:
        if not _is_installed(reader):
            continue
        first = reader == readers[0]
        reason = "it is the fastest on this CPU" if first else f"{readers[0]} is not installed"
        return Choice(reader, f"because {reason}")
    raise BackendError(f"Running {path.name} needs a backend: {install_command(readers[0])}")


def _precision_of(path: Path, made_in: str, wanted: str | None, backend: str, device: str | None) -> str:
    """Return the precision to run an exported file in."""
    if "int8" in (made_in, wanted):
        if wanted not in (None, made_in):
            raise BackendError(f"{path.name} was exported in {made_in}, and {wanted} was asked for: leave it out.")
        return "int8"
    if backend in ("openvino", "ncnn"):
        # They cast a model; an fp16 file runs in float32 where the device has no half precision.
        possible = _possible(backend, device)
        return wanted or (made_in if made_in in possible else "fp32")
    if wanted not in (None, made_in):
        raise BackendError(
            f"{path.name} was exported in {made_in}, and {backend} cannot run it in {wanted}: export it again, or "
            "leave the precision out."
        )
    return made_in
