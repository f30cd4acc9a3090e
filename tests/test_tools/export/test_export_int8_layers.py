"""Which parts of a network cost most in int8, and models in which they stay in floating point."""

from pathlib import Path

import cv2
import pytest
import torch

from lightsr_basicsr import cli
from lightsr_basicsr.archs.ddistill_sr_arch import DDistill_SR
from lightsr_basicsr.archs.imdn_arch import IMDN_RTE
from lightsr_basicsr.data.photographs import photographs
from lightsr_basicsr.runtimes.graphs import to_openvino
from lightsr_basicsr.runtimes.network import traits_of
from lightsr_basicsr.runtimes.openvino_runtime import OpenVinoRuntime
from lightsr_basicsr.tools.export import int8_recipes
from lightsr_basicsr.tools.export.int8 import RANGES, quantize, quantize_model
from lightsr_basicsr.tools.export.int8_layers import layers, restored, shares, told
from lightsr_basicsr.tools.export.int8_recipes import RECIPES, count_quantized

openvino = pytest.importorskip("openvino", reason="int8 needs OpenVINO")
nncf = pytest.importorskip("nncf", reason="int8 needs NNCF")
LOST = "fea_conv.2"  # of IMDN_RTE: OpenVINO loses its scale in int8


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Four photographs of 100x100 pixels."""
    place = tmp_path_factory.mktemp("photographs")
    ((_, coffee),) = photographs(["coffee.png"])
    for index in range(4):
        cv2.imwrite(str(place / f"{index}.png"), coffee[75 * index : 75 * index + 100, 200:300])
    return place


@pytest.fixture
def rte(monkeypatch) -> IMDN_RTE:
    """A network of which one convolution spoils the image, as long as no exception is made for it."""
    monkeypatch.setattr(int8_recipes, "EXCEPTIONS", {})
    torch.manual_seed(0)
    net = IMDN_RTE(num_feat=8, img_range=1.0).eval()
    # Images near their HR images, so that the loss is in the usual range.
    net.upsampler[0].bias.data.fill_(0.45)
    return net


def images(count=2):
    ((_, coffee),) = photographs(["coffee.png"])
    whole = torch.from_numpy(coffee[..., ::-1].copy()).permute(2, 0, 1).float()[None] / 255
    return [whole[..., 20 * index : 20 * index + 48, 200:248] for index in range(count)]


def test_the_convolution_at_fault_is_found_and_left_out(rte):
    plain, traits = to_openvino(rte), traits_of(rte)
    model = quantize_model(nncf, plain, images(), RECIPES["convolutions"], False)
    run = lambda model: OpenVinoRuntime(model, traits, "int8", threads=1)  # noqa: E731
    exact = OpenVinoRuntime(plain, traits, threads=1)
    found = shares(plain, model, images(), exact, run, progress=False)
    assert next(iter(found)) == LOST
    assert found[LOST] > 0.5
    assert told(found).startswith(f"{LOST} (")
    better = restored(model, plain, layers(model)[LOST])
    assert count_quantized(better) == count_quantized(model) - 1
    far, near = ((run(each)(images()[0]) - exact(images()[0])).std() for each in (model, better))
    assert near < 0.5 * far


def test_parts_that_cost_most_stay_in_floating_point(rte, folder):
    _, all_int8 = quantize(rte, folder, images=8, aim=float("inf"), progress=False)
    model, cost = quantize(rte, folder, images=8, aim=1e-3, progress=False)
    assert all_int8.floating == ()
    assert LOST in cost.floating
    assert abs(cost.decibels) < abs(all_int8.decibels)
    assert 0 < count_quantized(model) < 44


def test_an_aim_out_of_reach_changes_nothing(rte, folder):
    model, cost = quantize(rte, folder, images=8, aim=-1.0, progress=False)
    assert (cost.floating, cost.costly) == ((), "")
    assert count_quantized(model) == 44


def test_a_refusal_names_what_costs_most(rte, folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(rte.state_dict(), "net.pth")
    Path("net.yml").write_text("network_g: {type: IMDN_RTE, num_feat: 8, img_range: 1.0}\n")
    command = ["export", "net.pth", "--precision", "int8", "--photographs", str(folder), "--opt", "net.yml"]
    assert cli.main([*command, "--max-loss", "-50", "--aim-loss", "90"]) == 2
    said = capsys.readouterr().err
    assert "-50 dB are allowed (--max-loss). Nothing was written. It costs most in " in said
    assert f"{LOST} (" in said
    assert cli.main([*command, "--aim-loss", "nan"]) == 2
    assert "--aim-loss are numbers of dB, got nan" in capsys.readouterr().err


def test_with_all_convolutions_back_the_model_is_the_network_also_inside_a_loop():
    torch.manual_seed(0)
    net = DDistill_SR(num_feat=16, upscale=2, deploy=True).eval()
    plain, traits = to_openvino(net), traits_of(net)
    model = quantize_model(nncf, plain, images(), RECIPES["convolutions"], False)
    back = restored(model, plain, [name for names in layers(model).values() for name in names])
    assert count_quantized(back) == 0 < count_quantized(model)
    for made in (OpenVinoRuntime(back, traits, threads=1), OpenVinoRuntime(plain, traits, threads=1)):
        assert torch.allclose(made(images()[0]), net(images()[0]).detach(), atol=1e-4)


def test_ranges_of_all_values_cut_nothing_off(rte):
    plain, traits = to_openvino(rte), traits_of(rte)
    dark = [image * scale for image in images(1) for scale in (0.1, 0.2, 0.3, 1.0)]
    tops = []
    for ranges in RANGES:
        model = quantize_model(nncf, plain, dark, RECIPES["convolutions"], False, ranges)
        ops = [op for op in model.get_ops() if op.get_type_name() == "FakeQuantize"]
        tops.append(sum(float(op.input_value(2).get_node().get_data().max()) for op in ops))
    assert tops[0] < 0.8 * tops[1]
    assert traits.scale == 2
