"""Graphs of networks give the networks' images at any size and for any number of images."""

import warnings

import pytest
import torch
from torch import nn

from lightsr_basicsr.archs.drn_arch import DRN, DualNetwork
from lightsr_basicsr.archs.dual_regression_arch import SwinIR_DR
from lightsr_basicsr.archs.fdiwn_arch import FDIWN_M
from lightsr_basicsr.archs.imdn_arch import IMDN, IMDN_AS, IMDN_RTC, IMDN_RTE
from lightsr_basicsr.archs.kdsr_arch import BlindSR_ST, BlindSR_TA
from lightsr_basicsr.archs.reparameterized_arch import Reparameterized
from lightsr_basicsr.runtimes import graphs
from lightsr_basicsr.runtimes.base import BackendError
from lightsr_basicsr.runtimes.graphs import opsets, to_onnx, to_openvino, to_torchscript
from lightsr_basicsr.runtimes.network import smooth_picture
from tests.converting import distilled, trained, with_kernel

LIGHT = "pixelshuffledirect"
KDSR_SMALL = {"n_feats": 8, "n_encoder_res": 1, "n_sr_blocks": 1}
NETWORKS = {
    "DCLS": with_kernel,
    "IMDN": lambda: IMDN(num_feat=16, num_block=1),
    "IMDN_AS": lambda: IMDN_AS(num_feat=16, num_block=1),
    "IMDN_RTC": lambda: IMDN_RTC(num_feat=4, num_block=1, upscale=3),
    "IMDN_RTC gray": lambda: IMDN_RTC(num_in_ch=1, num_out_ch=1, num_feat=4, num_block=1),
    "IMDN_RTE": lambda: IMDN_RTE(num_feat=4),
    "DDistill_SR": distilled,
    "DRN": lambda: trained(DRN(4, 1, 4)),
    "BlindSR_ST": lambda: BlindSR_ST(**KDSR_SMALL),
    "SwinIR_DR": lambda: trained(SwinIR_DR(img_size=16, depths=(2,), embed_dim=8, num_heads=(2,), upsampler=LIGHT)),
    "Reparameterized": lambda: trained(
        Reparameterized({"type": "IMDN_RTC", "num_feat": 4, "num_block": 1}, "RepVGG")
    ),
}  # fmt: skip
# Odd sides, a multiple of 4, one odd side, and several images; none is the size that is traced.
SHAPES = ((1, 33, 51), (1, 40, 44), (2, 31, 38), (3, 21, 17))


def pictures(net: nn.Module, count: int, height: int, width: int) -> torch.Tensor:
    """Return images that differ, so that one image's kernels would show in another."""
    picture = smooth_picture(net.num_in_ch, height, width)
    return torch.cat([picture * (1 - 0.25 * index) for index in range(count)])


def check(net: nn.Module, run) -> None:
    for shape in SHAPES:
        images = pictures(net, *shape)
        with torch.no_grad():
            expected = net(images)
        assert (run(images) - expected).abs().max() < 1e-5, shape


@pytest.fixture(params=NETWORKS)
def net(request):
    return NETWORKS[request.param]().eval()


def run_onnx(model):
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["sr"], {"lr": images.numpy()})[0])


def run_openvino(model):
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = openvino.Core().compile_model(model, "CPU", hints)
    return lambda images: torch.from_numpy(compiled(images.numpy())[0].copy())


@pytest.fixture
def _onnx():
    pytest.importorskip("onnx", reason="ONNX is not installed")


@pytest.mark.usefixtures("_onnx")
def test_onnx_gives_the_networks_images(net):
    model = to_onnx(net)
    sides = [[side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim]
             for value in (*model.graph.input, *model.graph.output)]  # fmt: skip
    assert sides == [["n", net.num_in_ch, "h", "w"], ["n", net.num_out_ch, "sh", "sw"]]
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["lr", "sr"]
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == 17
    check(net, run_onnx(model))


@pytest.mark.usefixtures("_onnx")
def test_openvino_gives_the_networks_images(net):
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    check(net, run_openvino(to_openvino(net)))


def test_torchscript_gives_the_networks_images(net):
    check(net, to_torchscript(net))


class OneBlock(FDIWN_M):
    """FDIWN's parts, each once: the network itself has eighteen times as many operations to trace."""

    groups = 1

    def __init__(self, upscale):
        super().__init__(upscale)
        self.Li1.MY2, self.Li1.MY3 = nn.Identity(), nn.Identity()

    def run_groups(self, x):
        return self.Li1(x)


@pytest.mark.usefixtures("_onnx")
def test_fdiwn_gives_its_images():
    net = trained(OneBlock(2))
    check(net, run_onnx(to_onnx(net)))


@pytest.mark.usefixtures("_onnx")
def test_the_graph_runs_image_by_image_only_where_kernels_are_the_images_own():
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    net = BlindSR_ST(**KDSR_SMALL).eval()
    whole, single = to_onnx(net), to_onnx(net, one_image=True)
    assert [node.op_type for node in whole.graph.node] == ["Scan"]
    assert "Scan" not in {node.op_type for node in single.graph.node}
    assert single.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
    assert "Scan" not in {node.op_type for node in to_onnx(IMDN_RTC(num_feat=4)).graph.node}
    images = pictures(net, 1, 20, 30)
    assert torch.equal(run_onnx(whole)(images), run_onnx(single)(images))
    static = to_openvino(net)
    static.reshape([2, 3, 20, 30])
    images = pictures(net, 2, 20, 30)
    with torch.no_grad():
        assert (run_openvino(static)(images) - net(images)).abs().max() < 1e-5


@pytest.mark.usefixtures("_onnx")
def test_large_images_are_padded_where_the_network_cuts_them():
    net = IMDN_AS(num_feat=16, num_block=1).eval()
    images = pictures(net, 1, 64, 68)
    run = run_onnx(to_onnx(net))
    with torch.no_grad():
        assert (run(images) - net(images)).abs().max() < 1e-5
    assert run(pictures(net, 1, 61, 70)).shape == (1, 3, 61, 70)


@pytest.mark.usefixtures("_onnx")
def test_nothing_is_told_and_nothing_changed(capfd):
    net = BlindSR_ST(**KDSR_SMALL).train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        to_onnx(net)
        to_torchscript(net)
    assert capfd.readouterr() == ("", "")
    assert net.training
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


@pytest.mark.usefixtures("_onnx")
def test_opsets_are_those_of_the_exporter():
    net = IMDN_RTC(num_feat=4, num_block=1)
    for opset in (opsets()[0], opsets()[-1]):
        model = to_onnx(net, opset)
        assert {entry.domain: entry.version for entry in model.opset_import}[""] == opset
        check(net.eval(), run_onnx(model))
    for opset in (opsets()[0] - 1, opsets()[-1] + 1):
        with pytest.raises(BackendError, match=rf"knows opset 13 to \d+, got {opset}; 17 suits"):
            to_onnx(net, opset)


@pytest.mark.usefixtures("_onnx")
@pytest.mark.parametrize("make", [to_onnx, to_torchscript])
def test_networks_without_a_graph_are_refused(make):
    for teacher in (BlindSR_TA(**KDSR_SMALL), DualNetwork(4)):
        with pytest.raises(BackendError, match="does not map one LR image to one SR image"):
            make(teacher)
    with pytest.raises(BackendError, match=r"FDIWN_M with `chop` cuts an image repeatedly by its size.*chop: false"):
        make(FDIWN_M(2, chop=True))
    broken = Reparameterized({"type": "IMDN_RTC", "num_feat": 4, "num_block": 1}, "RepVGG").eval()
    next(module for module in broken.modules() if hasattr(module, "running_var")).running_var.fill_(-1)
    with pytest.raises(BackendError, match=r"cannot be deployed: .*variance that is zero, negative"):
        make(broken)


@pytest.mark.usefixtures("_onnx")
def test_what_the_tracer_cannot_do_is_told_in_one_sentence(monkeypatch, capfd):
    net = IMDN_RTC(num_feat=4, num_block=1)
    monkeypatch.setattr(IMDN_RTC, "forward", lambda self, x: self.model(x) if len(x) == 9 else 1 / 0)
    for make, kind in ((to_onnx, "ONNX"), (to_torchscript, "TorchScript")):
        with pytest.raises(BackendError, match=rf"^IMDN_RTC has no {kind} graph for images of any size \(ZeroDiv"):
            make(net)
    assert capfd.readouterr() == ("", "")


def test_half_precision_is_inside_only():
    net = IMDN_RTC(num_feat=4, num_block=1).eval()
    try:
        net.half()(torch.zeros(1, 3, 8, 8).half())
    except RuntimeError:
        pytest.skip("this torch has no half-precision convolution on the CPU")
    net = net.float()
    made = to_torchscript(net, "fp16")(pictures(net, 2, 20, 30))
    assert made.dtype == torch.float32
    with torch.no_grad():
        assert 0 < (made - net(pictures(net, 2, 20, 30))).abs().max() < 1e-2


@pytest.mark.usefixtures("_onnx")
def test_a_file_larger_than_the_format_is_refused(monkeypatch):
    monkeypatch.setattr(graphs, "MOST_BYTES", 100)
    with pytest.raises(BackendError, match=r"at most 2 GB, and IMDN_RTC has \d"):
        to_onnx(IMDN_RTC(num_feat=4, num_block=1))
