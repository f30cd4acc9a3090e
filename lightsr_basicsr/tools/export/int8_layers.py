"""Which int8 convolutions cost most, and the same model with some of them in floating point again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from lightsr_basicsr.runtimes.base import Runtime, require
from lightsr_basicsr.runtimes.openvino_tuning import operations
from lightsr_basicsr.tools.export.int8_recipes import quantized_convolutions

if TYPE_CHECKING:
    import openvino

GROUPS_AT_MOST = 64  # each is measured by a model of its own, which takes seconds to compile
CROPS = 4  # to measure a group on
NAMED = 3


def layers(model: openvino.Model) -> dict[str, list[str]]:
    """Return the names of the int8 convolutions of ``model`` by the part of the network that they are in."""
    names = [op.get_friendly_name() for op in quantized_convolutions(model)]
    return grouped(names, GROUPS_AT_MOST)


def grouped(names: Sequence[str], most: int) -> dict[str, list[str]]:
    """Return the names by their first parts, as many parts as give at most ``most`` groups, and one at least.

    >>> grouped(["/B1/c1/Conv", "/B1/c2/Conv", "/B2/c1/Conv"], 2)
    {'B1': ['/B1/c1/Conv', '/B1/c2/Conv'], 'B2': ['/B2/c1/Conv']}
    >>> grouped(["/model/model.1/sub/sub.0/c1/Conv"], 1)
    {'model.1.sub.0.c1': ['/model/model.1/sub/sub.0/c1/Conv']}
    """
    split = [_attributes(name) for name in names]
    deepest = max((len(parts) for parts in split), default=1)
    found: dict[str, list[str]] = {}
    for depth in range(1, deepest + 1):
        deeper: dict[str, list[str]] = {}
        for name, parts in zip(names, split, strict=True):
            deeper.setdefault(".".join(parts[:depth]), []).append(name)
        if depth > 1 and len(deeper) > most:
            break
        found = deeper
    return found


def _attributes(name: str) -> list[str]:
    """Return the attributes that lead to a convolution; the exporter names an entry of a sequence after both."""
    parts = name.removesuffix("/WithoutBiases").removesuffix("/Conv").strip("/").split("/")
    pairs = zip(parts, [*parts[1:], ""], strict=True)
    return [part for part, after in pairs if not after.startswith(f"{part}.")]


def shares(
    plain: openvino.Model,
    quantized: openvino.Model,
    crops: Sequence[Tensor],
    exact: Runtime,
    run: Callable[[openvino.Model], Runtime],
    progress: bool = True,
) -> dict[str, float]:
    """Return by part of the network which share of the squared error would go if it stayed in floating point.

    Largest first. A share may be negative, where errors of two parts cancel, and the sum need not be 1.

    Args:
        plain (openvino.Model): The fp32 model.
        quantized (openvino.Model): The same with int8 convolutions.
        crops (Sequence[Tensor]): LR crops of one shape (1, C, H, W); the first four are used.
        exact (Runtime): Runs the fp32 model.
        run (Callable): Opens an int8 model.
        progress (bool): Whether to show a bar. Default: True.
    """
    images = torch.cat([*crops[:CROPS]])
    expected = exact(images)

    def error(model: openvino.Model) -> float:
        return (run(model)(images) - expected).square().mean().item()

    whole = max(error(quantized), 1e-30)
    parts = tqdm(layers(quantized).items(), "int8 layers", disable=not progress)
    found = {part: 1 - error(restored(quantized, plain, names)) / whole for part, names in parts}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def told(found: Mapping[str, float]) -> str:
    """Return the parts of the network that cost most, in words.

    >>> told({"B1.c1": 0.5, "B2.c1": 0.25, "B3.c1": -0.1})
    'B1.c1 (50 % of the error), B2.c1 (25 %)'
    """
    most = [f"{part} ({100 * share:.0f} %" for part, share in [*found.items()][:NAMED] if share > 0]
    return "), ".join(most).replace(" %", " % of the error", 1) + ")" if most else "no part by itself"


def restored(quantized: openvino.Model, plain: openvino.Model, names: Iterable[str]) -> openvino.Model:
    """Return a copy of an int8 model in which the convolutions of these names are as in the fp32 model."""
    whole, wanted = quantized.clone(), set(names)
    loop = next((op for op in whole.get_ops() if op.get_type_name() == "TensorIterator"), None)
    graph = whole if loop is None else loop.get_function().clone()
    weights = {op.get_friendly_name(): op.input_value(1).get_node() for op in operations(plain) if _has_weights(op)}
    constant = require("openvino.opset13", "openvino").constant
    for op in quantized_convolutions(graph):
        name = op.get_friendly_name()
        if name in wanted and name in weights:
            op.input(1).replace_source_output(constant(np.array(weights[name].get_data())).output(0))
            op.input(0).replace_source_output(_floating(op.input_value(0)))
    graph.validate_nodes_and_infer_types()
    if loop is not None:
        loop.set_function(graph)
        whole.validate_nodes_and_infer_types()
    return whole


def _has_weights(op: openvino.Node) -> bool:
    return "Convolution" in op.get_type_name() and op.input_value(1).get_node().get_type_name() == "Constant"


def _floating(value: openvino.Output) -> openvino.Output:
    """Return a value before it was quantized, which may have been before parts of it were joined or reshaped."""
    ops, node = require("openvino.opset13", "openvino"), value.get_node()
    kind, inputs = node.get_type_name(), node.input_values()
    if kind == "FakeQuantize":
        return inputs[0]
    if kind == "Concat":
        return ops.concat([_floating(part) for part in inputs], node.get_attributes()["axis"]).output(0)
    if kind == "Reshape":
        return ops.reshape(_floating(inputs[0]), inputs[1], node.get_attributes()["special_zero"]).output(0)
    return value
