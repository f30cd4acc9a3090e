"""What every runtime checks and promises, shown on torch's; and what is torch's own."""

import sys

import numpy as np
import pytest
import torch
from basicsr.archs.srresnet_arch import MSRResNet
from torch import nn

from lightsr_basicsr.archs.ddistill_sr_arch import DDistill_SR
from lightsr_basicsr.archs.drn_arch import DRNDual
from lightsr_basicsr.archs.imdn_arch import IMDN_RTC
from lightsr_basicsr.runtimes import base, torch_runtime
from lightsr_basicsr.runtimes.base import BackendError, Traits, require
from lightsr_basicsr.runtimes.network import smooth_picture
from lightsr_basicsr.runtimes.torch_runtime import TorchRuntime
from tests.converting import distilled


def needs_bf16():
    if "bf16" not in torch_runtime.torch_precisions("cpu"):
        pytest.skip("this CPU or torch has no bfloat16")


@pytest.fixture(scope="module")
def small() -> IMDN_RTC:
    torch.manual_seed(1)
    return IMDN_RTC(num_feat=8, num_block=2).eval()


@pytest.fixture(scope="module")
def runtime(small) -> TorchRuntime:
    return TorchRuntime.of_network(small, device="cpu")


def test_it_runs_the_network(small, runtime):
    picture = smooth_picture(3, 20, 17).repeat(2, 1, 1, 1)
    with torch.no_grad():
        assert torch.allclose(runtime(picture), small(picture), atol=1e-6)
    assert (runtime.backend, runtime.precision, runtime.scale, runtime.device) == ("torch", "fp32", 2, "cpu")
    threads = torch.get_num_threads()
    assert str(runtime) == f"torch, fp32, on cpu, {threads} CPU thread{'s' if threads > 1 else ''}"


def test_it_runs_the_deployed_form_and_leaves_the_network_as_it_was():
    net = distilled().train()
    runtime = TorchRuntime.of_network(net, device="cpu")
    assert isinstance(runtime.module, DDistill_SR)
    assert len(runtime.module.state_dict()) < len(net.state_dict())
    assert net.training
    with torch.no_grad():
        expected = net.eval()(smooth_picture(3, 16, 16))
    assert torch.allclose(runtime(smooth_picture(3, 16, 16)), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(3, 8, 8), r"Expected images \(N, 3, H, W\), got \(3, 8, 8\). One image .* x\[None\]"),
        (torch.zeros(1, 1, 8, 8), r"Expected images \(N, 3, H, W\), got \(1, 1, 8, 8\). A gray image"),
        (torch.zeros(0, 3, 8, 8), r"got \(0, 3, 8, 8\)"),
        (torch.zeros(8, 9, 3), r"got \(8, 9, 3\). One image .* x.permute\(2, 0, 1\)\[None\]"),
        (torch.zeros(2, 8, 9, 3), r"got \(2, 8, 9, 3\). Channels come .* x.permute\(0, 3, 1, 2\)"),
        (np.zeros((1, 3, 8, 8)), r"got ndarray. Arrays become tensors by torch.from_numpy\(x\)"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), r"got torch.uint8: pass x.float\(\) / 255"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.float16), r"got torch.float16: pass x.float\(\)\."),
        (torch.zeros(1, 3, 4, 8), "at least 5x5 pixels, got 4x8"),
        ([[0.0]], "Expected a tensor .* got list"),
    ],
)
def test_wrong_images_are_refused(small, images, message):
    runtime = TorchRuntime(small, Traits(2, 3, 5), device="cpu")
    with pytest.raises(BackendError, match=message):
        runtime(images)


def test_results_can_enter_a_loss(runtime):
    made = runtime(smooth_picture(3, 8, 8))
    weight = torch.ones(1, requires_grad=True)
    (made * weight).sum().backward()
    assert weight.grad.item() == pytest.approx(made.sum().item(), rel=1e-4)


def test_bf16_is_close_and_not_the_same(small):
    needs_bf16()
    runtime = TorchRuntime.of_network(small, "bf16", device="cpu")
    picture = smooth_picture(3, 24, 24)
    with torch.no_grad():
        difference = (runtime(picture) - small(picture)).abs()
    assert runtime(picture).dtype == torch.float32
    assert 0 < difference.max() < 0.02


def test_bf16_keeps_both_ends_in_float32():
    needs_bf16()
    seen = []

    class Ends(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.middle, self.last = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))

        def forward(self, x):
            first = self.first(x)
            middle = self.middle(first)
            last = self.last(middle)
            seen[:] = [first.dtype, middle.dtype, last.dtype]
            return last

    TorchRuntime(Ends(), Traits(1), "bf16", device="cpu")(smooth_picture(3, 8, 8))
    assert seen == [torch.float32, torch.bfloat16, torch.float32]


def test_precisions_that_are_not_here_are_refused(small, monkeypatch):
    with pytest.raises(BackendError, match="torch cannot run fp16 on this cpu: choose fp32"):
        TorchRuntime.of_network(small, "fp16", device="cpu")
    with pytest.raises(BackendError, match="basicsr export --precision int8"):
        TorchRuntime.of_network(small, "int8", device="cpu")
    monkeypatch.setattr(torch_runtime, "torch_precisions", lambda kind: ("fp32",))
    with pytest.raises(BackendError, match=r"torch cannot run bf16 on this cpu: choose fp32\."):
        TorchRuntime.of_network(small, "bf16", device="cpu")


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "mps"])
def test_devices_that_are_not_here_are_refused(small, device):
    with pytest.raises(BackendError, match=f"torch cannot run on device '{device}' here: choose cpu"):
        TorchRuntime.of_network(small, device=device)


def test_threads_are_those_of_the_call_alone(small, monkeypatch):
    inside = []
    net = nn.Sequential(small)
    net.register_forward_hook(lambda *_: inside.append(torch.get_num_threads()))
    TorchRuntime(net, Traits(2), device="cpu", threads=2)(smooth_picture(3, 8, 8))
    assert (inside, torch.get_num_threads()) == ([2], 1)
    for wrong in (0, -1, 1.5, True, 10**6):
        with pytest.raises(BackendError, match="`threads` must be a whole number"):
            TorchRuntime(net, Traits(2), device="cpu", threads=wrong)


def test_channels_last_gives_the_same_image(small, runtime):
    other = TorchRuntime.of_network(small, device="cpu", channels_last=True)
    assert next(other.module.parameters()).is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(other(smooth_picture(3, 12, 9)), runtime(smooth_picture(3, 12, 9)), atol=1e-6)


def test_a_network_of_another_package_tells_its_scale_by_running():
    net = MSRResNet(num_feat=4, num_block=1, upscale=3).train()
    runtime = TorchRuntime.of_network(net, device="cpu")
    assert (runtime.scale, runtime.num_in_ch) == (3, 3)
    assert runtime(smooth_picture(3, 7, 9)).shape == (1, 3, 21, 27)
    assert net.training
    gray = MSRResNet(num_in_ch=1, num_out_ch=1, num_feat=4, num_block=1, upscale=2)
    assert TorchRuntime.of_network(gray, device="cpu").num_in_ch == 1


def test_what_is_no_network_from_images_to_images_is_refused():
    with pytest.raises(BackendError, match="DRNDual does not map one LR image to one SR image"):
        TorchRuntime.of_network(DRNDual(), device="cpu")
    with pytest.raises(BackendError, match="Linear does not map one LR image"):
        TorchRuntime.of_network(nn.Linear(7, 2), device="cpu")
    with pytest.raises(BackendError, match=r"Expected a network .* got str"):
        TorchRuntime.of_network("net.pth", device="cpu")


def test_a_damaged_program_is_refused(tmp_path):
    (tmp_path / "net.ts").write_bytes(b"nothing of the kind")
    with pytest.raises(BackendError, match=r"net.ts cannot be read as TorchScript .*export it again"):
        TorchRuntime.of_file(tmp_path / "net.ts", Traits(2))


def test_a_missing_library_is_named_with_its_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackendError, match=r'openvino is needed .*pip install .*\[openvino\]"'):
        require("openvino", "openvino")
    with pytest.raises(BackendError, match="nothing_of_this_name is needed and not installed"):
        require("nothing_of_this_name.inside", "onnx")


def test_a_broken_library_is_told_apart(monkeypatch):
    def fail(name):
        raise ImportError("libfoo.so.1: cannot open shared object file")

    monkeypatch.setattr(base, "import_module", fail)
    with pytest.raises(BackendError, match=r"is installed, but cannot be imported \(libfoo.*--force-reinstall"):
        require("onnxruntime", "onnx")


@pytest.mark.parametrize("message", ["engine.cpp:3:\nbad file!.\n", "bad file."])
def test_an_engines_last_line_is_quoted_without_its_end(message):
    assert base.last_line(RuntimeError(message)) == "bad file"


@pytest.mark.parametrize(("names", "text"), [((), "nothing"), (("a",), "a"), (("a", "b", "c"), "a, b or c")])
def test_choices_are_worded(names, text):
    assert base.worded(names) == text


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("compiled", [False, True])
def test_on_cuda(small, precision, compiled):
    runtime = TorchRuntime.of_network(small, precision, device="cuda", compile=compiled)
    pictures = [smooth_picture(3, 24, 24), smooth_picture(3, 24, 24).flip(-1)]
    made = [runtime(picture) for picture in pictures]
    for picture, image in zip(pictures, made, strict=True):
        with torch.no_grad():
            assert (image - small(picture)).abs().max() < (1e-3 if precision == "fp32" else 0.02)
        assert image.device.type == "cpu"


def test_the_result_is_laid_out_as_images_are():
    runtime = TorchRuntime.of_network(IMDN_RTC(), device="cpu", channels_last=True)
    assert runtime(torch.rand(1, 3, 9, 11)).is_contiguous()
