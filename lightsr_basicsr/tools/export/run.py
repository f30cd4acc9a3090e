"""Turn a network's file into a graph for other engines: ONNX, OpenVINO or TorchScript, compared before it is there."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import isfinite
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lightsr_basicsr import __version__
from lightsr_basicsr.archs.imdn_arch import IMDN_AS
from lightsr_basicsr.archs.network import SRNetwork
from lightsr_basicsr.runtimes.base import BackendError, require
from lightsr_basicsr.runtimes.graphs import (
    OPSET,
    check_opset,
    checked,
    has_own_kernels,
    over_images,
    ready,
    to_onnx,
    to_openvino,
    to_torchscript,
)
from lightsr_basicsr.runtimes.metadata import Metadata, for_torchscript, put_into_onnx, put_into_openvino
from lightsr_basicsr.runtimes.network import OtherNetwork
from lightsr_basicsr.tools.export.files import (
    check_places,
    check_source,
    choose_target,
    files_of,
    plain_path,
    workshop,
)
from lightsr_basicsr.tools.export.half import to_half
from lightsr_basicsr.tools.export.int8 import quantize
from lightsr_basicsr.tools.export.verify import Row, Sample, make_samples, open_engine, verify
from lightsr_basicsr.tools.info.checkpoint import checksum
from lightsr_basicsr.tools.networks import Opened, form_with, innermost, open_network, read_weights

PRECISIONS = ("fp32", "fp16", "int8")
# Largest difference of the images, in parts of the range; of int8 the cost in PSNR is told instead.
TOLERANCES = {"fp32": 1e-4, "fp16": 1e-2, "int8": None}
NEEDED = {"onnx": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino"), "torchscript": ()}

Told = Callable[[str], None]


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        network (str): Registered name of the network.
        scale (float): Output side over input side.
        num_in_ch (int): Channels of the input image.
        source (str): The checkpoint.
        sha256 (str): Of the checkpoint.
        weights (str): Its wrapper of the weights that were taken, ``'bare'`` for none.
        form (str): Form of the checkpoint: ``'train'``, ``'pruned'`` or ``'deploy'``.
        merged (bool): Whether branches were merged on the way.
        format (str): ``'onnx'``, ``'openvino'`` or ``'torchscript'``.
        precision (str): ``'fp32'``, ``'fp16'`` or ``'int8'``.
        opset (int | None): Version of ONNX's operators; None for other formats.
        path (str): The new file, the one to open.
        files (tuple[str, ...]): All new files.
        size (int): Of all of them together, in bytes.
        rows (tuple[Row, ...]): The comparisons with the network of the checkpoint, run by torch in float32.
        notes (tuple[str, ...]): What else to know, in sentences.
        int8 (dict | None): Of a quantized network, its measured loss: ``psnr_cost_db``, ``images`` and ``data``.
    """

    network: str
    scale: float
    num_in_ch: int
    source: str
    sha256: str
    weights: str
    form: str
    merged: bool
    format: str
    precision: str
    opset: int | None
    path: str
    files: tuple[str, ...]
    size: int
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    int8: dict[str, Any] | None = None


@dataclass(frozen=True)
class Quantization:
    """What an int8 network is calibrated and measured on; see :func:`lightsr_basicsr.tools.export.int8.quantize`.

    Attributes:
        photographs (str | PathLike | None): Folder of HR photographs; None takes those of scikit-image.
        held_out (str | PathLike | None): Folder of HR photographs to measure on; None is a part of the former.
        images (int | None): Number of crops; None is 100.
    """

    photographs: str | PathLike | None = None
    held_out: str | PathLike | None = None
    images: int | None = None


@dataclass(frozen=True)
class _Job:
    """A network on its way into a file."""

    opened: Opened
    net: SRNetwork  # deployed
    samples: list[Sample]
    format: str
    precision: str
    opset: int
    quantization: Quantization
    tell: Told


def export(
    source: str | PathLike,
    target: str | PathLike | None = None,
    *,
    format: str | None = None,
    precision: str = "fp32",
    opset: int | None = None,
    network: Mapping[str, Any] | None = None,
    weights: str | None = None,
    picture: str | PathLike | None = None,
    tolerance: float | None = None,
    overwrite: bool = False,
    quantization: Quantization | None = None,
    tell: Told = lambda line: None,
) -> Exported:
    """Write the deployed form of a network's file for another engine, after a comparison of the two on photographs.

    Args:
        source (str | PathLike): ``.pth``, ``.pt`` or ``.safetensors``, in the training form or the deployed one.
        target (str | PathLike | None): The new file or its folder; the suffix decides the format: ``.onnx``, ``.xml``
            (with a ``.bin`` beside it), ``.ts`` or ``.torchscript``. None is the source's name. Default: None.
        format (str | None): ``'onnx'``, ``'openvino'`` or ``'torchscript'``; None is what the target's suffix says, or
            ``'onnx'``. Default: None.
        precision (str): ``'fp32'``, ``'fp16'`` or ``'int8'``; images are float32 in any. Default: ``'fp32'``.
        opset (int | None): Version of ONNX's operators, for ``.onnx`` only; None is 17. Default: None.
        network (Mapping | None): Section of an option file that the source was trained with, for networks that cannot
            be told from a file. Default: None.
        weights (str | None): ``'ema'`` or ``'raw'``; None takes EMA weights if there are any. Default: None.
        picture (str | PathLike | None): An LR image to compare on, beside the photographs. Default: None.
        tolerance (float | None): Largest difference of the outputs in [0, 1] that is allowed; None is 1e-4 for fp32 and
            1e-2 for fp16. Default: None.
        overwrite (bool): Whether files that are there are replaced. Default: False.
        quantization (Quantization | None): What ``'int8'`` is calibrated and measured on. Default: photographs of
            scikit-image.
        tell (Callable): Called with one line before each step that takes long. Default: nothing is told.

    Raises:
        CheckpointError, ConvertError, ImageError, BackendError: If a file or an argument is wrong, a library is
            missing, or the outputs differ. Nothing is written then, and files that are there stay as they are.
    """
    source = plain_path(source)
    check_source(source)
    place, kind = choose_target(source, target, format, precision)
    _check_arguments(kind, precision, opset, tolerance, quantization)
    places = files_of(place, kind)
    state, taken = read_weights(source, weights)
    opened = open_network(state, source, network)
    check_places(places, source, overwrite)
    net = ready(opened.net)
    samples = make_samples(opened.net, net.num_in_ch, net.min_side, picture and plain_path(picture))
    job = _Job(opened, net, samples, kind, precision, opset or OPSET, quantization or Quantization(), tell)
    with workshop(places, overwrite) as parts:
        metadata, notes = _write(job, _metadata(job, source), parts[-1])
        tell("comparing with the network on photographs")
        rows = verify(open_engine(parts[-1], kind), samples, TOLERANCES[precision] if tolerance is None else tolerance)
    written = {
        "path": str(place),
        "files": tuple(map(str, places)),
        "size": sum(file.stat().st_size for file in places),
    }
    told = {"source": str(source), "weights": taken, "rows": tuple(rows), "notes": (*notes, *_notes(opened))}
    return _done(job, metadata, {**told, **written})


def _done(job: _Job, metadata: Metadata, rest: Mapping[str, Any]) -> Exported:
    told = ("scale", "num_in_ch", "sha256", "precision", "opset")
    known = {name: getattr(metadata, name) for name in told}
    name = innermost(job.opened.section)["type"]
    form = {"form": job.opened.form, "merged": _is_merged(job), "format": job.format}
    return Exported(network=name, **known, **form, int8=metadata.int8, **rest)


def _check_arguments(
    kind: str, precision: str, opset: int | None, tolerance: float | None, quantization: Quantization | None
) -> None:
    if precision not in PRECISIONS:
        raise BackendError(f"`precision` must be one of {', '.join(PRECISIONS)}, got {precision!r}.")
    if precision == "int8" and kind != "openvino":
        raise BackendError(f"int8 is written for OpenVINO only, got {kind}: name a file that ends in .xml.")
    if precision != "int8" and quantization is not None:
        raise BackendError(f"Photographs calibrate int8, and the precision is {precision}: leave them away.")
    if tolerance is not None and not (tolerance >= 0 and isfinite(tolerance)):
        raise BackendError(f"The tolerance must be a finite number of at least 0, got {tolerance}.")
    if opset is not None and kind != "onnx":
        raise BackendError(f"An opset is a version of ONNX's operators; {kind} has none: leave it away.")
    for module in NEEDED[kind]:
        require(module, "openvino" if kind == "openvino" else "onnx")
    if kind != "torchscript":
        check_opset(opset or OPSET)


def _plain(net: SRNetwork) -> nn.Module:
    return net.net if isinstance(net, OtherNetwork) else net


def _is_merged(job: _Job) -> bool:
    return list(_plain(job.net).state_dict()) != list(job.opened.net.state_dict())


def _metadata(job: _Job, source: Path) -> Metadata:
    found = form_with(job.opened.section, _plain(job.net).state_dict())
    section = dict(job.opened.section if found is None else found[1])
    return Metadata(
        network=section.pop("type"),
        arguments=section,
        scale=job.net.upscale,
        num_in_ch=job.net.num_in_ch,
        num_out_ch=job.samples[0].expected.shape[1],
        min_side=job.net.min_side,
        precision=job.precision,
        sha256=checksum(source),
        source=source.name,
        pools_globally=job.net.pools_globally,
        opset=job.opset if job.format == "onnx" else None,
        producer=f"lightsr-basicsr {__version__}",
    )


def _notes(opened: Opened) -> list[str]:
    notes = []
    if isinstance(opened.net, IMDN_AS):
        notes.append(
            "Images with sides of 60 or more that are no multiples of 4 are padded in the file, where the network run "
            "by torch cuts them into four."
        )
    if opened.untold:
        names = ", ".join(opened.untold)
        notes.append(f"No checkpoint tells {names}: if the network was trained with other values, use --opt.")
    return notes


def _write(job: _Job, metadata: Metadata, part: Path) -> tuple[Metadata, list[str]]:
    """Write the files of a model and return what they tell of it and what else to know."""
    job.tell(f"tracing {innermost(job.opened.section)['type']}; some networks take a minute")
    if job.precision == "int8":
        return _write_int8(job, metadata, part)
    if job.format == "torchscript":
        _save_torchscript(to_torchscript(job.net, job.precision), metadata, part)
        return metadata, []
    if job.format == "openvino":
        _save_openvino(to_openvino(job.net), metadata, part)
        notes = ["Weights are stored as halves; engines compute with them as they choose."] if _halves(job) else []
        return metadata, notes
    return metadata, _write_onnx(job, metadata, part)


def _write_int8(job: _Job, metadata: Metadata, part: Path) -> tuple[Metadata, list[str]]:
    chosen = job.quantization
    model, cost = quantize(
        job.net, chosen.photographs, held_out=chosen.held_out, **({"images": chosen.images} if chosen.images else {})
    )
    metadata = replace(metadata, int8=cost.to_metadata())
    _save_openvino(model, metadata, part)
    return metadata, [
        f"int8 costs {cost.decibels:.3f} dB of PSNR: {cost.int8:.3f} for {cost.fp32:.3f} on {cost.images} images "
        f"({cost.data}).",
        "Compare its speed with bf16 before you use it: basicsr benchmark --precision bf16 int8.",
    ]


def _write_onnx(job: _Job, metadata: Metadata, part: Path) -> list[str]:
    model = to_onnx(job.net, job.opset, one_image=True)
    notes = []
    if _halves(job):
        job.tell("looking for values that a half cannot hold")
        model, kept = to_half(model, job.samples[-1].images[:1, :, :40, :40])
        if kept:
            notes.append(f"{kept} steps with values beyond those of a half stay in float32.")
    model = checked(over_images(model) if has_own_kernels(job.net) else model)
    put_into_onnx(model, metadata)
    part.write_bytes(model.SerializeToString())
    return notes


def _halves(job: _Job) -> bool:
    return job.precision == "fp16"


def _save_openvino(model: Any, metadata: Metadata, part: Path) -> None:
    put_into_openvino(model, metadata)
    require("openvino", "openvino").save_model(model, str(part), compress_to_fp16=metadata.precision == "fp16")


def _save_torchscript(program: torch.jit.ScriptModule, metadata: Metadata, part: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions advise another format, and still read this one
        torch.jit.save(program, str(part), _extra_files=for_torchscript(metadata))
