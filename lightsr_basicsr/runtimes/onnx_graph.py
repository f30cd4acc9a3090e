"""Check an ONNX graph before a backend reads it: some backends end the whole program where one is not valid."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lightsr_basicsr.errors import short_message
from lightsr_basicsr.runtimes.base import BackendError, require

if TYPE_CHECKING:
    import onnx

STANDARD = ("", "ai.onnx")  # names of the domain of ONNX's own operators


def check_graph(path: Path) -> None:
    """Raise BackendError unless a file holds a valid graph, with an input and an output, of ONNX's own operators.

    OpenVINO 2026.4 dies by SIGSEGV of an unknown operator or a wrong type.
    """
    onnx = require("onnx", "onnx")
    try:
        model = onnx.load(str(path), load_external_data=False)
        onnx.checker.check_model(str(path))
        onnx.shape_inference.infer_shapes(model, check_type=True)
    except Exception as error:
        # Reader, checker and inference raise their own types.
        raise BackendError(
            f"openvino cannot read {path}: it is no valid ONNX graph ({short_message(error, 200)}), damaged, or of a "
            "newer onnx. Export it again."
        ) from error
    if not model.graph.input or not model.graph.output:
        raise BackendError(f"{path} has no input or no output: expected one from images to images. Export it again.")
    own = {function.domain for function in model.functions}
    foreign = sorted({f"{node.domain}.{node.op_type}" for node in _nodes(model.graph)
                      if node.domain not in STANDARD and node.domain not in own})  # fmt: skip
    if foreign:
        raise BackendError(
            f"openvino cannot read {path}: it knows ONNX's own operators, and the graph has {', '.join(foreign[:3])}. "
            "Run it with onnxruntime."
        )


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of a graph and of the graphs inside its nodes."""
    graphs = [graph]
    while graphs:
        for node in graphs.pop().node:
            yield node
            for attribute in node.attribute:
                graphs += [attribute.g] if attribute.HasField("g") else list(attribute.graphs)
