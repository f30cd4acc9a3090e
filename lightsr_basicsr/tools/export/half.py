"""ONNX graphs in half precision, except for the steps with values beyond it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from lightsr_basicsr.runtimes.base import BackendError, require
from lightsr_basicsr.runtimes.graphs import INPUT

if TYPE_CHECKING:
    import onnx

# Largest magnitude on the test image; half precision holds 65,504, and other images may have larger values.
MOST = 8192.0
# By registered name of a network, steps in float32 for another reason: the quotient of spectra of DCLS needs the small
# values of its divisor, and so does the division of its kernel by the kernel's sum.
EXCEPTIONS = {"DCLS": re.compile(r"/(Estimator|Restorer/head2)/")}
FLOAT, HALF = 1, 10  # numbers of these types in ONNX


def to_half(model: onnx.ModelProto, images: Tensor, network: str = "") -> tuple[onnx.ModelProto, int]:
    """Return a model in half precision between float32 images, and the number of its steps that stay in float32.

    The model has shapes inside; the size of its values is measured on images (N, C, H, W). ``network`` is the
    registered name, for ``EXCEPTIONS``.

    Raises:
        BackendError: If the converter fails.
    """
    require("onnxruntime", "onnx")
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"
    kept = _wide_steps(model, images)
    if excepted := EXCEPTIONS.get(network):
        kept += [node.name for node in model.graph.node if excepted.search(node.name) and node.name not in kept]
    try:
        half = OnnxModel(convert_float_to_float16(model, keep_io_types=True, node_block_list=kept))
        _join_casts(half.model)
        half.topological_sort()  # the converter appends its first step
    except Exception as error:
        # The converter raises exceptions of any type.
        raise BackendError(f"The graph cannot be converted to half precision ({error}). Use fp32.") from error
    return half.model, len(kept)


def _join_casts(model: onnx.ModelProto) -> None:
    """Join float32 steps directly: the converter casts to half precision between them, once per consumer."""
    nodes, results = list(model.graph.node), {value.name for value in model.graph.output}
    halved = {node.output[0]: node.input[0] for node in nodes if _casts_to(node, HALF)}
    back = {
        node.output[0]: halved[node.input[0]]
        for node in nodes
        if _casts_to(node, FLOAT) and node.input[0] in halved and node.output[0] not in results
    }
    kept: dict[str, onnx.NodeProto] = {}
    for node in nodes:
        node.input[:] = [back.get(name, name) for name in node.input]
        if node.output[0] not in back:
            kept.setdefault(node.output[0], node)
    taken = results.union(*(node.input for node in kept.values()))
    left = [node for node in kept.values() if not _casts_to(node, HALF) or node.output[0] in taken]
    del model.graph.node[:]
    model.graph.node.extend(left)


def _casts_to(node: onnx.NodeProto, kind: int) -> bool:
    return node.op_type == "Cast" and node.attribute[0].i == kind


def _wide_steps(model: onnx.ModelProto, images: Tensor) -> list[str]:
    """Return the names of nodes with inputs or outputs beyond ``MOST`` on ``images``."""
    onnxruntime = require("onnxruntime", "onnx")
    watched = type(model)()
    watched.CopyFrom(model)
    watched.graph.output.extend(value for value in model.graph.value_info if value.type.tensor_type.elem_type == FLOAT)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    made = session.run(names, {INPUT: images.numpy()})
    # NaN exceeds it, too.
    large = {name for name, value in zip(names, made, strict=True) if value.size and not np.abs(value).max() <= MOST}
    return [node.name for node in model.graph.node if large & {*node.input, *node.output}]
