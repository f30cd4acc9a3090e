"""Rewrite OpenVINO models so that they run faster and compute the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightsr_basicsr.runtimes.base import require

if TYPE_CHECKING:
    import openvino

INTEGERS = ("i4", "u4", "i8", "u8")


def fold_constants(model: openvino.Model) -> openvino.Model:
    """Compute the constant parts of a model, in place, and return the model.

    In models read from ONNX, biases are behind operations on shapes. OpenVINO computes those only after it has decided
    which biases join their convolutions, and FDIWN's do not: 1.15 times the time. A quantized model is unchanged, for
    OpenVINO must see its weights as integers: else IMDN takes 1.7 times as long.
    """
    if any(map(_is_quantized, operations(model))):
        return model
    passes = require("openvino.passes", "openvino")
    manager = passes.Manager()
    manager.register_pass(passes.ConstantFolding())
    manager.run_passes(model)
    return model


def average_rows_first(model: openvino.Model) -> None:
    """Start each mean over a feature map, in a model for one image size, with the means of its rows.

    OpenVINO pools rows three times as fast as it averages over two axes at once, and accumulates less rounding.
    """
    pool = require("openvino.opset13", "openvino").avg_pool
    for operation in operations(model):
        if not _is_mean_over_feature_map(operation):
            continue
        map_, row = operation.input_value(0), [1, operation.input_value(0).get_shape()[3]]
        rows = pool(map_, row, [0, 0], [0, 0], row, exclude_pad=False, rounding_type="floor", auto_pad="explicit")
        operation.input(0).replace_source_output(rows.output(0))


def for_one_image(model: openvino.Model) -> openvino.Model | None:
    """Return what a model that loops over its images runs on each, (1, C, h, w) to (1, C, sh, sw); None without a loop.

    Inside a loop OpenVINO neither fuses all that it could nor computes int8 convolutions as such.
    """
    names = [op.get_type_name() for op in model.get_ops()]
    if sorted(names) != ["Parameter", "Result", "TensorIterator"]:
        return None
    body = model.get_ops()[names.index("TensorIterator")].get_function()
    single = len(body.inputs) == len(body.outputs) == 1 and len(body.input(0).partial_shape) == 4
    return body.clone() if single else None


def fuse_one_by_one(model: openvino.Model) -> None:
    """Split each 1x1 convolution of concatenated feature maps that live longer into one per map, and sum these.

    The concatenation would be one more copy of all of them: a quarter of the memory of IMDN. OpenVINO adds the earlier
    sum inside the next convolution. A quantized model is unchanged, for its parts would have ranges of their own.
    """
    if any(map(_is_quantized, operations(model))):
        return
    opset = require("openvino.opset13", "openvino")
    for conv in filter(_is_fusion, operations(model)):
        maps, kernel = conv.input_value(0).get_node().input_values(), conv.input_value(1).get_node().get_data()
        whole, total, first = _with_bias(conv), None, 0
        for feature_map in maps:
            last = first + feature_map.get_partial_shape()[1].get_length()
            part = opset.constant(kernel[:, first:last].copy())
            made, first = opset.convolution(feature_map, part, [1, 1], [0, 0], [0, 0], [1, 1]), last
            if total is None:
                total = made if whole is conv else opset.add(made, whole.input_value(1))
            else:
                total = opset.add(made, total)
        for read in whole.output(0).get_target_inputs():
            read.replace_source_output(total.output(0))


def operations(model: openvino.Model) -> list[openvino.Node]:
    """Return the operations of ``model`` in order of execution, with those inside its loops over images."""
    found = []
    for op in model.get_ordered_ops():
        found += [op, *(operations(op.get_body()) if hasattr(op, "get_body") else ())]
    return found


def _is_quantized(operation: Any) -> bool:
    kind = operation.get_type_name()
    return kind == "FakeQuantize" or (kind == "Constant" and operation.get_element_type().to_string() in INTEGERS)


def _is_fusion(operation: Any) -> bool:
    """Return whether an operation is a 1x1 convolution of at least three maps, of which others read some too."""
    if operation.get_type_name() != "Convolution":
        return False
    joined, kernel = (operation.input_value(index).get_node() for index in range(2))
    if (joined.get_type_name(), kernel.get_type_name()) != ("Concat", "Constant"):
        return False
    maps, given = joined.input_values(), operation.get_attributes()
    plain = all(set(given[name]) == {one} for name, one in (("strides", 1), ("pads_begin", 0), ("pads_end", 0)))
    known = all(one.get_partial_shape()[1].is_static for one in maps)
    alone = len(joined.output(0).get_target_inputs()) == 1 and joined.get_attributes()["axis"] in (1, -3)
    shared = any(len(one.get_target_inputs()) > 1 for one in maps)
    return plain and known and alone and shared and len(maps) > 2 and list(kernel.shape[2:]) == [1, 1]


def _with_bias(conv: Any) -> Any:
    """Return the addition of a constant after a convolution, the convolution itself if there is none."""
    reads = list(conv.output(0).get_target_inputs())
    after = reads[0].get_node() if len(reads) == 1 else conv
    biased = after.get_type_name() == "Add" and after.input_value(1).get_node().get_type_name() == "Constant"
    return after if biased else conv


def _is_mean_over_feature_map(operation: Any) -> bool:
    if operation.get_type_name() != "ReduceMean" or operation.input_value(0).get_partial_shape().is_dynamic:
        return False
    axes = operation.input_value(1).get_node()
    two = axes.get_type_name() == "Constant" and sorted(axes.get_data().tolist()) == [2, 3]
    return two and operation.input_value(0).get_shape()[3] > 1
