"""Export a checkpoint for other backends: ONNX, OpenVINO, TorchScript or ncnn, published if its images are right."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from lightsr_basicsr import __version__
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
from lightsr_basicsr.runtimes.ncnn_library import require_ncnn, require_pnnx
from lightsr_basicsr.runtimes.network import name_of, unwrap
from lightsr_basicsr.runtimes.openvino_runtime import openvino_precisions
from lightsr_basicsr.tools.agreement import check_tolerance
from lightsr_basicsr.tools.export.files import check_neighbour, choose_target, files_of, workshop
from lightsr_basicsr.tools.export.half import to_half
from lightsr_basicsr.tools.export.int8 import AIM, IMAGES, quantize
from lightsr_basicsr.tools.export.ncnn import export_ncnn
from lightsr_basicsr.tools.export.verify import ExportRow, Sample, make_samples, open_session, verify
from lightsr_basicsr.tools.files import check_target, checksum, plain_path
from lightsr_basicsr.tools.networks import Opened, form_with, innermost, open_checkpoint
from lightsr_basicsr.weights.find import find_weights

PRECISIONS = ("fp32", "fp16", "int8")
# Largest difference of the images, in parts of the range; for int8 the cost in PSNR is reported instead.
TOLERANCES = {"fp32": 1e-4, "fp16": 1e-2, "int8": None}
NEEDED = {"onnx": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino"), "torchscript": (), "ncnn": ()}

Report = Callable[[str], None]


@dataclass(frozen=True)
class Exported:
    """Result of an export."""

    network: str  # registered name of the network
    scale: float  # output side over input side
    num_in_ch: int  # channels of the input image
    source: str  # the checkpoint
    sha256: str  # of the checkpoint
    weights: str  # wrapper of the weights used, 'bare' for none
    form: str  # form of the checkpoint: 'train', 'pruned' or 'deploy'
    merged: bool  # whether branches were merged on the way
    format: str  # 'onnx', 'openvino', 'torchscript' or 'ncnn'
    precision: str  # 'fp32', 'fp16' or 'int8'
    opset: int | None  # version of ONNX's operators; None for other formats
    path: str  # the new file, the one to open
    files: tuple[str, ...]  # all new files
    size: int  # of all of them together, in bytes
    rows: tuple[ExportRow, ...]  # the comparisons with the network of the checkpoint, run by torch in float32
    notes: tuple[str, ...] = ()  # further remarks for the user, in sentences
    int8: dict[str, Any] | None = None  # measured loss of a quantized network, as `PsnrCost.to_metadata` returns it


@dataclass(frozen=True)
class Quantization:
    """Images to calibrate an int8 network and to measure its loss on, as ``int8.quantize`` takes them."""

    photographs: str | PathLike | None = None  # folder of HR images; None takes those of scikit-image
    held_out: str | PathLike | None = None  # folder of HR images to measure on; None is a part of the former
    images: int = IMAGES  # number of crops
    max_loss: float = 1.0  # largest loss in dB with which the file is written
    aim_loss: float = AIM  # loss in dB at which the search ends, see `int8.quantize`


@dataclass(frozen=True)
class _Job:
    """A network on its way into a file."""

    source: Path
    weights: str
    opened: Opened
    net: SRNetwork  # deployed
    samples: list[Sample]
    format: str
    precision: str
    opset: int
    quantization: Quantization
    report: Report


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
    report: Report = lambda line: None,
) -> Exported:
    """Write the deployed form of a checkpoint for another backend, after comparing its images on test images.

    Args:
        source (str | PathLike): Checkpoint in the training form or the deployed form, or the name of an official file
            in the cache.
        target (str | PathLike | None): The new file or its folder; None is the source's name with another suffix.
        format (str | None): ``'onnx'``, ``'openvino'``, ``'torchscript'``, ``'ncnn'``; None is the suffix's, or ONNX.
        precision (str): ``'fp32'``, ``'fp16'`` or ``'int8'``; images are float32 in any. Default: ``'fp32'``.
        opset (int | None): Version of ONNX's operators, for ONNX only; None is 17. Default: None.
        network (Mapping | None): Section of an option file, for networks that their tensors do not identify.
        weights (str | None): ``'ema'`` or ``'raw'``; None takes EMA weights if there are any. Default: None.
        picture (str | PathLike | None): An additional LR image to compare on. Default: None.
        tolerance (float | None): Largest allowed difference in [0, 1]; None is that of ``TOLERANCES``. Default: None.
        overwrite (bool): Whether to overwrite existing files. Default: False.
        quantization (Quantization | None): Images for ``'int8'``. Default: None, those of scikit-image.
        report (Callable): Called with one line before each long step. Default: no report.

    Raises:
        UserError: If a file or an argument is wrong, a library is missing, or images differ. Nothing is written then.
    """
    source = find_weights(plain_path(source))
    place, kind = choose_target(source, target, format, precision)
    _check_arguments(kind, precision, opset, tolerance, quantization)
    opened, _, taken = open_checkpoint(source, weights, network)
    check_neighbour(place, kind)
    for file in (places := files_of(place, kind)):
        check_target(file, source, overwrite)
    net = ready(opened.net)
    samples = make_samples(opened.net, net.num_in_ch, net.min_side, picture and plain_path(picture))
    quantization, opset = quantization or Quantization(), opset or OPSET
    job = _Job(source, taken, opened, net, samples, kind, precision, opset, quantization, report)
    return _publish(job, places, overwrite, TOLERANCES[precision] if tolerance is None else tolerance)


def _check_arguments(
    kind: str, precision: str, opset: int | None, tolerance: float | None, quantization: Quantization | None
) -> None:
    if precision not in PRECISIONS:
        raise BackendError(f"`precision` must be one of {', '.join(PRECISIONS)}, got {precision!r}.")
    if precision == "int8" and kind != "openvino":
        raise BackendError(f"int8 is written for OpenVINO only, got {kind}: name a file that ends in .xml.")
    if precision != "int8" and quantization is not None:
        raise BackendError(f"Images calibrate int8, and the precision is {precision}: leave them and --max-loss out.")
    for limit in (quantization.max_loss, quantization.aim_loss) if quantization else ():
        if isnan(limit):
            raise BackendError("--max-loss and --aim-loss are numbers of dB, got nan: name one, such as 0.5.")
    if tolerance is not None:
        check_tolerance(tolerance)
    if opset is not None and kind != "onnx":
        raise BackendError(f"An opset is a version of ONNX's operators; {kind} has none: leave it out.")
    for module in NEEDED[kind]:
        require(module, "openvino" if kind == "openvino" else "onnx")
    if kind == "ncnn":
        require_ncnn()
        require_pnnx()
    elif kind != "torchscript":
        check_opset(opset or OPSET)


def _publish(job: _Job, places: Sequence[Path], overwrite: bool, tolerance: float | None) -> Exported:
    with workshop(places, overwrite) as parts:
        metadata, notes = _write(job, _metadata(job), parts[-1])
        job.report("comparing with the network on test images")
        rows = verify(open_session(parts[-1], job.format), job.samples, tolerance)
    return Exported(
        network=innermost(job.opened.section)["type"],
        scale=metadata.scale,
        num_in_ch=metadata.num_in_ch,
        source=str(job.source),
        sha256=metadata.sha256,
        weights=job.weights,
        form=job.opened.form,
        merged=list(unwrap(job.net).state_dict()) != list(job.opened.net.state_dict()),
        format=job.format,
        precision=job.precision,
        opset=metadata.opset,
        path=str(places[-1]),
        files=tuple(map(str, places)),
        size=sum(file.stat().st_size for file in places),
        rows=tuple(rows),
        notes=(*notes, *_notes(job.opened)),
        int8=metadata.int8,
    )


def _metadata(job: _Job) -> Metadata:
    found = form_with(job.opened.section, unwrap(job.net).state_dict())
    section = dict(job.opened.section if found is None else found[1])
    return Metadata(
        network=section.pop("type"),
        arguments=section,
        scale=job.net.upscale,
        num_in_ch=job.net.num_in_ch,
        num_out_ch=job.samples[0].expected.shape[1],
        min_side=job.net.min_side,
        precision=job.precision,
        sha256=checksum(job.source),
        source=job.source.name,
        pools_globally=job.net.pools_globally,
        opset=job.opset if job.format == "onnx" else None,
        producer=f"lightsr-basicsr {__version__}",
    )


def _notes(opened: Opened) -> Iterator[str]:
    if opened.unrecoverable:
        names = ", ".join(opened.unrecoverable)
        yield f"No checkpoint holds {names}: if the network was trained with other values, use --opt."


def _write(job: _Job, metadata: Metadata, part: Path) -> tuple[Metadata, list[str]]:
    """Write the files of a model and return their metadata and notes for the user."""
    job.report(f"tracing {innermost(job.opened.section)['type']}; some networks take a minute")
    if job.precision == "int8":
        return _write_int8(job, metadata, part)
    if job.format == "torchscript":
        _save_torchscript(to_torchscript(job.net, job.precision), metadata, part)
        return metadata, []
    if job.format == "ncnn":
        return export_ncnn(job.net, metadata, part)
    if job.format == "openvino":
        _save_openvino(to_openvino(job.net), metadata, part)
        halves = "Weights are stored in half precision; the backend chooses what to compute in."
        return metadata, [halves] if job.precision == "fp16" else []
    return metadata, _write_onnx(job, metadata, part)


def _write_int8(job: _Job, metadata: Metadata, part: Path) -> tuple[Metadata, list[str]]:
    chosen = job.quantization
    model, cost = quantize(
        job.net, chosen.photographs, held_out=chosen.held_out, images=chosen.images, aim=chosen.aim_loss,
        limit=chosen.max_loss,
    )  # fmt: skip
    found = f"{cost.decibels:.3f} dB of PSNR: {cost.int8:.3f} for {cost.fp32:.3f} on {cost.images} images ({cost.data})"
    if not cost.decibels <= chosen.max_loss:  # nor for NaN
        costly = f" It costs most in {cost.costly}." if cost.costly else ""
        raise BackendError(
            f"int8 costs {found}; {chosen.max_loss:g} dB are allowed (--max-loss). Nothing was written.{costly} More "
            "images to calibrate on may help (--photographs); else use fp32 or fp16."
        )
    metadata = replace(metadata, int8=cost.to_metadata())
    other = "bf16" if "bf16" in openvino_precisions("CPU") else "fp32"
    _save_openvino(model, metadata, part)
    return metadata, [
        f"int8 costs {found}.",
        *([f"In floating point, as they cost most: {', '.join(cost.floating)}."] if cost.floating else ()),
        f"Compare its speed with {other} before you use it: basicsr benchmark --precision {other} int8.",
    ]


def _write_onnx(job: _Job, metadata: Metadata, part: Path) -> list[str]:
    model = to_onnx(job.net, job.opset, one_image=True)
    notes = []
    if job.precision == "fp16":
        job.report("looking for values that half precision cannot hold")
        model, kept = to_half(model, job.samples[-1].images[:1, :, :40, :40], name_of(job.net))
        if kept:
            notes.append(f"{kept} steps that need more than half precision stay in float32.")
    model = checked(over_images(model) if has_own_kernels(job.net) else model)
    put_into_onnx(model, metadata)
    part.write_bytes(model.SerializeToString())
    return notes


def _save_openvino(model: Any, metadata: Metadata, part: Path) -> None:
    put_into_openvino(model, metadata)
    require("openvino", "openvino").save_model(model, str(part), compress_to_fp16=metadata.precision == "fp16")


def _save_torchscript(program: torch.jit.ScriptModule, metadata: Metadata, part: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions recommend another format, and still read this one
        torch.jit.save(program, str(part), _extra_files=for_torchscript(metadata))
