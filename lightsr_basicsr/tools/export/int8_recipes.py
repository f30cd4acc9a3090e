"""Recipes: which operations of a graph are quantized, with the reason for every exception."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lightsr_basicsr.runtimes.openvino_tuning import operations

if TYPE_CHECKING:
    import openvino

CONVOLUTIONS = ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData")
# Excluded by ``convolutions``. A residual sum carries the image itself through the network: 8 bits of it cost IMDN x4
# 1.2 dB. Statistics of a feature map (variance, its root) span more orders of magnitude than 8 bits: 0.1 to 0.2 dB.
ARITHMETIC = (
    "Abs", "Add", "AvgPool", "Clamp", "Divide", "Exp", "Interpolate", "MVN", "MatMul", "MaxPool", "Maximum", "Minimum",
    "Multiply", "Power", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceSum", "Sigmoid", "Sqrt", "Subtract",
    "SquaredDifference", "Tanh",
)  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """Operations that are not quantized, and the kind of ranges."""

    arithmetic: bool = False  # whether inputs of sums, products, poolings and statistics are quantized too
    # Whether the first and last convolutions are quantized too; together they are less than a tenth of the work.
    ends: bool = False
    pooled: bool = False  # whether convolutions of pooled vectors are quantized too; their work is negligible
    asymmetric: bool = True  # whether the range of an activation may be off-center, which costs no time with VNNI
    except_for: str | None = None  # pattern of names of further convolutions to exclude


# The first one is the best for every network of the package.
RECIPES = {
    "convolutions": Recipe(),
    "convolutions-symmetric": Recipe(asymmetric=False),
    "convolutions-and-ends": Recipe(ends=True),
    "everything": Recipe(arithmetic=True, ends=True, pooled=True, asymmetric=False),
}
# By registered name of a network. The dynamic branches of DDistill-SR are quadratic in their input and chained, and
# cost it 15 dB in int8. The second convolution of IMDN_RTE has stride 2 and feeds two sums: OpenVINO (2026.4 at least)
# loses the scale of its int8 form, and the output 25 dB. DCLS divides by what its estimator and its regularising
# filters give, which amplifies their error seven times; they are 4 % of its work.
EXCEPTIONS = {
    "DDistill_SR": r".*/dy_branch/",
    "IMDN_RTE": r".*/fea_conv\.2/",
    "DCLS": r".*/(Estimator|head2)/",
}


def with_network(recipe: Recipe, network: str) -> Recipe:
    """Return the recipe with the exceptions of the network of this registered name."""
    return recipe if recipe.arithmetic else replace(recipe, except_for=EXCEPTIONS.get(network))


def ignored_types(model: openvino.Model, recipe: Recipe) -> list[str]:
    """Return the types of operations in ``model`` that the recipe excludes."""
    return [] if recipe.arithmetic else sorted({op.get_type_name() for op in operations(model)} & {*ARITHMETIC})


def ignored_names(model: openvino.Model, recipe: Recipe) -> list[str]:
    """Return the names of the convolutions in ``model`` that the recipe excludes, without duplicates."""
    ops = operations(model)
    # Calibration cannot foresee the range of a kernel that the graph computes from each image.
    found = {_name(op) for op in ops if _is_convolution(op) and not _is_constant(_weights(op))}
    if not recipe.ends:
        found |= _outermost(ops, _sources) | _outermost(ops[::-1], _users)
    if not recipe.pooled:
        found |= {_name(op) for op in ops if _is_convolution(op) and _has_one_pixel(op)}
    if recipe.except_for:
        found |= {name for name in map(_name, filter(_is_convolution, ops)) if re.match(recipe.except_for, name)}
    return sorted(found)


def count_quantized(model: openvino.Model) -> int:
    """Return how many convolutions of ``model`` have int8 weights, and with them a quantized input."""
    return len(quantized_convolutions(model))


def quantized_convolutions(model: openvino.Model) -> list[openvino.Node]:
    """Return the convolutions of ``model`` that have int8 weights, in order of execution."""
    return [op for op in operations(model) if _is_convolution(op) and _is_int8(_weights(op))]


def _is_int8(op: openvino.Node) -> bool:
    return _is_constant(op) and op.get_element_type().to_string() in ("i8", "u8")


def _is_constant(op: openvino.Node) -> bool:
    return op.get_type_name() == "Constant"


def _weights(convolution: openvino.Node) -> openvino.Node:
    """Return the origin of a convolution's weights, before they are scaled and reshaped."""
    op = convolution.input_value(1).get_node()
    while op.get_type_name() in ("Multiply", "Subtract", "Convert", "Reshape"):
        op = op.input_value(0).get_node()
    return op


def _name(op: openvino.Node) -> str:
    return op.get_friendly_name()


def _is_convolution(op: openvino.Node) -> bool:
    return op.get_type_name() in CONVOLUTIONS


def _has_one_pixel(op: openvino.Node) -> bool:
    return all(side.is_static and side.get_length() == 1 for side in list(op.get_output_partial_shape(0))[2:])


def _sources(op: openvino.Node) -> list[openvino.Node]:
    return [value.get_node() for value in op.input_values()]


def _users(op: openvino.Node) -> list[openvino.Node]:
    return [entry.get_node() for output in op.outputs() for entry in output.get_target_inputs()]


def _outermost(ops: Sequence[openvino.Node], neighbors: Callable[[openvino.Node], list[openvino.Node]]) -> set[str]:
    """Return the names of convolutions with no other convolution between them and the end of the graph at ``ops[0]``.

    ``neighbors`` returns the operations next to one on the side of that end.
    """
    found, seen = set(), set()
    for op in ops:
        behind = any(_name(other) in seen for other in neighbors(op))
        if _is_convolution(op) and not behind:
            found.add(_name(op))
        if _is_convolution(op) or behind:
            seen.add(_name(op))
    return found
