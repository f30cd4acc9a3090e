"""Write a network's graph with metadata, as it is converted, for a benchmark or a measurement on this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import nn

from lightsr_basicsr.runtimes.graphs import to_onnx
from lightsr_basicsr.runtimes.metadata import Metadata, put_into_onnx
from lightsr_basicsr.runtimes.ncnn_file import checksums_of, cut_below_zero, weights_of, with_entry
from lightsr_basicsr.runtimes.ncnn_graph import OUTPUT, to_ncnn

FORMATS = {"onnx": ".onnx", "ncnn": ".param"}


def save_graph(net: nn.Module, metadata: Metadata, path: Path) -> None:
    """Write the deployed form of a network as ONNX or for ncnn, by the suffix of ``path``; ncnn's weights beside it.

    Raises:
        BackendError: If it has no such graph, or a library is not installed.
    """
    if path.suffix == FORMATS["onnx"]:
        model = to_onnx(net)
        put_into_onnx(model, metadata)
        path.write_bytes(model.SerializeToString())
        return
    write_ncnn(net, metadata, path)


def write_ncnn(net: nn.Module, metadata: Metadata, path: Path, cut: bool = False) -> tuple[Metadata, str]:
    """Write a network for ncnn, the text of layers to ``path``; return the metadata and the text.

    ``cut`` says whether values below zero become zero, as other programs need it.

    Raises:
        BackendError: If it has no graph for ncnn.
    """
    model = to_ncnn(net, half=metadata.precision == "fp16")
    model = model._replace(param=cut_below_zero(model.param, OUTPUT)) if cut else model
    metadata = replace(metadata, checksums=checksums_of(model.param, model.weights))
    path.write_bytes(with_entry(model.param, metadata.to_json()).encode())
    weights_of(path).write_bytes(model.weights)
    return metadata, model.param
