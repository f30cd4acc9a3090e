"""Rewritten models: fewer or faster operations, the same images."""

import numpy as np
import pytest
import torch

from lightsr_basicsr.archs.imdn_arch import IMDN
from lightsr_basicsr.archs.kdsr_arch import BlindSR_ST
from lightsr_basicsr.runtimes.base import openvino_core
from lightsr_basicsr.runtimes.graphs import to_onnx
from lightsr_basicsr.runtimes.openvino_tuning import average_rows_first, fold_constants, fuse_one_by_one

pytest.importorskip("openvino", reason="OpenVINO is not installed")
pytest.importorskip("onnx", reason="ONNX is not installed")


def run(model, image) -> np.ndarray:
    core = openvino_core()
    return core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})({0: image})[0].copy()


def count(model, kind: str) -> int:
    return sum(operation.get_type_name() == kind for operation in model.get_ops())


def test_biases_are_constants_beside_their_convolutions():
    net = IMDN(num_feat=16, num_block=1).eval()
    model = openvino_core().read_model(to_onnx(net).SerializeToString())
    assert count(model, "ShapeOf") > 0
    fold_constants(model)
    convolutions = [one for one in model.get_ops() if one.get_type_name() == "Convolution"]
    after = [read.get_node() for one in convolutions for read in one.output(0).get_target_inputs()]
    assert len(after) == len(convolutions)
    assert {node.get_type_name() for node in after} == {"Add"}
    assert {node.input_value(1).get_node().get_type_name() for node in after} == {"Constant"}


@pytest.mark.parametrize("make", [lambda: IMDN(num_feat=16, num_block=1), lambda: BlindSR_ST(8, 1, n_sr_blocks=1)])
@pytest.mark.parametrize("size", [(37, 46), (20, 1)])
def test_means_by_rows_are_the_same_means(make, size):
    torch.manual_seed(0)
    model = fold_constants(openvino_core().read_model(to_onnx(make().eval()).SerializeToString()))
    image = np.random.default_rng(0).random((2, 3, *size), np.float32)
    average_rows_first(model)
    assert count(model, "AvgPool") == 0  # of images of any size no row has a length
    model.reshape(image.shape)
    before = run(model.clone(), image)
    average_rows_first(model)
    np.testing.assert_allclose(run(model, image), before, atol=1e-5)


@pytest.mark.parametrize(("width", "pools"), [(20, 4), (1, 0)])
def test_a_size_has_rows_to_start_with(width, pools):
    net = IMDN(num_feat=16, num_block=2).eval()
    model = fold_constants(openvino_core().read_model(to_onnx(net).SerializeToString()))
    model.reshape((1, 3, 12, width))
    average_rows_first(model)
    # Mean and variance of each block.
    assert (count(model, "ReduceMean"), count(model, "AvgPool")) == (4, pools)


@pytest.mark.parametrize("quantized", ["FakeQuantize", "i8"])
def test_quantized_models_keep_their_integers(quantized):
    from openvino import Model
    from openvino import opset13 as op

    image = op.parameter([1, 3, 4, 4], np.float32)
    if quantized == "i8":
        weights = op.convert(op.constant(np.ones((2, 3, 1, 1), np.int8)), np.float32)
    else:
        weights = op.fake_quantize(op.constant(np.ones((2, 3, 1, 1), np.float32)), *([0.0, 1.0] * 2), 256)
    model = Model([op.convolution(image, weights, [1, 1], [0, 0], [0, 0], [1, 1])], [image])
    before = model.get_ordered_ops()
    assert fold_constants(model).get_ordered_ops() == before


@pytest.mark.parametrize("blocks", [2, 3])
def test_outputs_of_blocks_are_fused_one_by_one(blocks):
    torch.manual_seed(0)
    net = IMDN(num_feat=16, num_block=blocks).eval()
    model = fold_constants(openvino_core().read_model(to_onnx(net).SerializeToString()))
    image = np.random.default_rng(0).random((2, 3, 12, 14), np.float32)
    before, joined = run(model.clone(), image), count(model, "Concat")
    fuse_one_by_one(model)
    # Two maps are not worth it.
    assert count(model, "Concat") == joined - (blocks > 2)
    np.testing.assert_allclose(run(model, image), before, atol=1e-5)


def test_a_quantized_fusion_stays(monkeypatch):
    model = fold_constants(openvino_core().read_model(to_onnx(IMDN(num_feat=16, num_block=3)).SerializeToString()))
    joined = count(model, "Concat")
    monkeypatch.setattr("lightsr_basicsr.runtimes.openvino_tuning._is_quantized", lambda operation: True)
    fuse_one_by_one(model)
    assert count(model, "Concat") == joined
