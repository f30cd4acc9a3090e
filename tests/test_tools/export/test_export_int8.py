"""Quantization: which convolutions become int8, what the model computes, and what is measured of it."""

import sys

import cv2
import numpy as np
import pytest
import torch

from lightsr_basicsr.archs.ddistill_sr_arch import DDistill_SR
from lightsr_basicsr.archs.imdn_arch import IMDN, IMDN_RTC
from lightsr_basicsr.data.photographs import photographs
from lightsr_basicsr.runtimes.base import BackendError
from lightsr_basicsr.runtimes.graphs import to_openvino
from lightsr_basicsr.runtimes.openvino_tuning import operations
from lightsr_basicsr.tools.export.int8 import PsnrCost, psnr_of, quantize, quantize_model
from lightsr_basicsr.tools.export.int8_data import Pair
from lightsr_basicsr.tools.export.int8_recipes import (
    RECIPES,
    count_quantized,
    ignored_names,
    ignored_types,
    with_network,
)

openvino = pytest.importorskip("openvino", reason="int8 needs OpenVINO")
nncf = pytest.importorskip("nncf", reason="int8 needs NNCF")
PER_BLOCK, FUSION = 5, 2  # convolutions of IMDN that do the work: c1 to c5; c and LR_conv


@pytest.fixture(scope="module")
def net() -> IMDN:
    torch.manual_seed(0)
    return IMDN(num_feat=16, num_block=2, upscale=2).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four photographs of 100x100 pixels."""
    place = tmp_path_factory.mktemp("photographs")
    ((_, coffee),) = photographs(["coffee.png"])
    for index in range(4):
        cv2.imwrite(str(place / f"{index}.png"), coffee[75 * index : 75 * index + 100, 200:300])
    return place


@pytest.fixture(scope="module")
def made(net, folder):
    return quantize(net, folder, images=8, progress=False)


def run(model, images):
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    return torch.from_numpy(openvino.Core().compile_model(model, "CPU", settings)(images.numpy())[0])


def crops(count=8):
    ((_, coffee),) = photographs(["coffee.png"])
    images = torch.from_numpy(coffee[..., ::-1].copy()).permute(2, 0, 1).float()[None] / 255
    return [images[..., 20 * index : 20 * index + 48, 200:248] for index in range(count)]


def test_the_convolutions_that_do_the_work_become_int8(made):
    assert count_quantized(made[0]) == 2 * PER_BLOCK + FUSION


def test_recipes_leave_alone_what_they_say(net):
    model = to_openvino(net)
    alone = ignored_names(model, RECIPES["convolutions"])
    ends = {name for name in alone if "fea_conv" in name or "upsampler" in name}
    assert len(ends) == 2
    assert len(alone) == 2 + 2 * 2  # two of pooled vectors in each block
    assert all("cca" in name for name in set(alone) - ends)
    assert {"Add", "ReduceMean", "Sqrt"} <= set(ignored_types(model, RECIPES["convolutions"]))
    assert set(ignored_names(model, RECIPES["convolutions-and-ends"])) == set(alone) - ends
    assert ignored_names(model, RECIPES["everything"]) == ignored_types(model, RECIPES["everything"]) == []


def test_the_image_of_a_skip_is_an_end_too():
    """IMDN_RTC has its last convolution behind a sum, and only that makes the image."""
    alone = ignored_names(to_openvino(IMDN_RTC(num_feat=4, num_block=1)), RECIPES["convolutions"])
    assert sorted(name.split("/")[2] for name in alone) == ["model.0", "model.2"]


def test_int8_is_close_to_fp32_and_not_equal(net, made):
    images = torch.cat(crops(2))
    with torch.no_grad():
        exact = net(images)
    difference = (run(made[0], images) - exact).abs().mean() / exact.std()
    assert 1e-4 < difference < 0.02


def test_the_model_takes_any_number_and_size(net, made):
    assert run(made[0], torch.rand(2, 3, 21, 34)).shape == (2, 3, 42, 68)
    assert run(made[0], torch.rand(1, 3, 9, 8)).shape == (1, 3, 18, 16)


def test_the_network_stays_as_it_is(net, folder):
    before = {key: value.clone() for key, value in net.state_dict().items()}
    quantize(net.train(), folder, images=8, progress=False)
    assert net.training
    net.eval()
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


def test_everything_in_int8_is_farther_off(net):
    images, model = crops(1)[0], to_openvino(net)
    exact = run(model, images)
    far = {name: (run(quantize_model(nncf, model, crops(), RECIPES[name], False), images) - exact).abs().mean()
           for name in ("convolutions", "everything")}  # fmt: skip
    assert far["everything"] > 2 * far["convolutions"]


def test_the_loss_is_measured_on_what_was_held_out(made, folder):
    _, cost = made
    assert cost.images == 1
    assert folder.name in cost.data
    assert cost.decibels == pytest.approx(cost.fp32 - cost.int8)
    assert cost.decibels != 0
    assert cost.to_metadata() == {"psnr_cost_db": round(cost.decibels, 4), "images": 1, "data": cost.data}


def test_metadata_is_rounded():
    told = PsnrCost(0.123456, 30.0, 29.876544, 2, "two").to_metadata()
    assert told == {"psnr_cost_db": 0.1235, "images": 2, "data": "two"}


@pytest.mark.parametrize("channels", [1, 3])
def test_psnr_of_an_image_that_is_one_level_off(net, channels):
    class OneLevelOff:
        scale = 2

        def __call__(self, images):
            return torch.full((1, channels, 40, 40), 101 / 255)

    psnr = psnr_of(OneLevelOff(), Pair(torch.zeros(1, channels, 20, 20), np.full((40, 40, 3), 100, np.uint8)))
    level = 219 / 255 if channels == 3 else 1  # Y has 219 levels
    assert psnr == pytest.approx(20 * np.log10(255 / level), abs=0.01)


def test_nothing_is_written_but_the_bars(net, capfd):
    quantize_model(nncf, to_openvino(net), crops(), RECIPES["convolutions"])
    out, err = capfd.readouterr()
    assert out == ""
    assert "int8 ranges" in err
    assert "INFO" not in err


def test_without_nncf_the_extra_is_named(net, monkeypatch):
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(BackendError, match=r'pip install .*\[int8\]"'):
        quantize(net)


def test_a_model_with_nothing_to_quantize():
    lr = openvino.opset8.parameter([-1, 3, -1, -1], np.float32, name="lr")
    model = openvino.Model([openvino.opset8.relu(lr)], [lr])
    with pytest.raises(BackendError, match="no convolution to quantize in this network: use fp32 or bf16"):
        quantize_model(nncf, model, crops(), RECIPES["convolutions"], False)


def test_a_failure_inside_nncf_is_one_sentence(net, monkeypatch):
    def fail(*args, **kwargs):
        raise IndexError("list index\nout of range")

    monkeypatch.setattr(nncf, "quantize", fail)
    with pytest.raises(BackendError, match=r"this network: IndexError: list index out of range\. Use fp32 or bf16"):
        quantize_model(nncf, to_openvino(net), crops(), RECIPES["convolutions"], False)


def test_exceptions_of_a_network_by_name(net):
    model = to_openvino(net)
    for op in model.get_ops():
        op.set_friendly_name(op.get_friendly_name().replace("/IMDB1/c1/", "/IMDB1/dy_branch/"))
    plain = RECIPES["convolutions"]
    more = set(ignored_names(model, with_network(plain, "DDistill_SR"))) - set(ignored_names(model, plain))
    assert [name.split("/")[2] for name in more] == ["dy_branch"]
    assert with_network(plain, "IMDN") == plain
    assert with_network(RECIPES["everything"], "DDistill_SR").except_for is None


def test_a_network_with_kernels_for_every_image_is_quantized_inside_its_loop():
    torch.manual_seed(0)
    net = DDistill_SR(num_feat=16, upscale=2, deploy=True).eval()
    images, model = torch.cat(crops(2)), to_openvino(net)
    quantized = quantize_model(nncf, model, crops(), with_network(RECIPES["convolutions"], "DDistill_SR"), False)
    exact = run(model, images)
    difference = (run(quantized, images) - exact).abs().mean() / exact.std()
    assert 0 < difference < 0.1


def test_kernels_that_are_made_of_an_image_stay_as_they_are():
    torch.manual_seed(0)
    dynamic = DDistill_SR(num_feat=16, deploy=True).eval()
    model, recipe = to_openvino(dynamic), RECIPES["convolutions"]
    left_alone = ignored_names(model, recipe)
    assert {"/LR_conv/unit/Conv", "/B1/c1_r/unit/Conv", "/B1/Conv"} <= {
        name.removesuffix("/WithoutBiases") for name in left_alone
    }
    assert "Multiply" in ignored_types(model, recipe)  # it is in the graph of one image, inside that of many
    quantized = quantize_model(nncf, model, [torch.rand(1, 3, 40, 40)] * 2, recipe, progress=False)
    convolutions = [op for op in operations(model) if op.get_type_name() == "Convolution"]
    assert 0 < count_quantized(quantized) <= len(convolutions) - len(left_alone)
