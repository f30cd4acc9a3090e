"""Networks run by ONNX Runtime."""

import sys

import pytest
import torch
from basicsr.archs.srresnet_arch import MSRResNet

from lightsr_basicsr.archs.imdn_arch import IMDN_RTC
from lightsr_basicsr.archs.reparameterized_arch import Reparameterized
from lightsr_basicsr.runtimes.base import BackendError, Traits
from lightsr_basicsr.runtimes.network import smooth_picture
from lightsr_basicsr.runtimes.onnx_runtime import OnnxRuntime

engine = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")


@pytest.fixture(scope="module")
def small() -> IMDN_RTC:
    torch.manual_seed(1)
    return IMDN_RTC(num_feat=8, num_block=2).eval()


@pytest.fixture(scope="module")
def runtime(small) -> OnnxRuntime:
    return OnnxRuntime.of_network(small, device="cpu", threads=1)


@pytest.mark.parametrize("size", [(1, 3, 16, 16), (2, 3, 21, 9), (1, 3, 40, 33)])
def test_any_size_and_number_gives_what_torch_gives(small, runtime, size):
    picture = smooth_picture(3, *size[2:]).repeat(size[0], 1, 1, 1)
    with torch.no_grad():
        assert torch.allclose(runtime(picture), small(picture), atol=1e-5)
    assert (runtime.backend, runtime.precision, runtime.scale) == ("onnxruntime", "fp32", 2)


def test_a_wide_network_is_deployed():
    net = Reparameterized({"type": "IMDN_RTC", "num_feat": 4, "num_block": 1}, "ECB").eval()
    runtime = OnnxRuntime.of_network(net, device="cpu", threads=1)
    with torch.no_grad():
        assert torch.allclose(runtime(smooth_picture(3, 16, 20)), net(smooth_picture(3, 16, 20)), atol=1e-4)


def test_results_are_the_callers_own(runtime):
    first = runtime(smooth_picture(3, 16, 16))
    kept = first.clone()
    runtime(1 - smooth_picture(3, 16, 16))
    assert torch.equal(first, kept)


def test_threads_are_limited_and_do_not_spin(small, monkeypatch):
    seen = []
    original = engine.InferenceSession

    def session(model, settings, **kwargs):
        seen.append(settings)
        return original(model, settings, **kwargs)

    monkeypatch.setattr(engine, "InferenceSession", session)
    runtime = OnnxRuntime.of_network(small, device="cpu", threads=1)
    assert (seen[0].intra_op_num_threads, seen[0].inter_op_num_threads, runtime.threads) == (1, 1, 1)
    assert seen[0].get_session_config_entry("session.intra_op.allow_spinning") == "0"


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_refused_on_the_cpu(small, precision):
    with pytest.raises(BackendError, match=rf"onnxruntime cannot run {precision} on this cpu: choose fp32\."):
        OnnxRuntime.of_network(small, precision, device="cpu")


def test_a_device_that_is_not_there_is_refused(small, monkeypatch):
    monkeypatch.setattr(engine, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(BackendError, match=r"on device 'cuda' here: choose cpu \(CUDA needs .*onnxruntime-gpu"):
        OnnxRuntime.of_network(small, device="cuda")


def test_a_network_of_another_package_runs():
    net = MSRResNet(num_feat=4, num_block=1, upscale=2).eval()
    runtime = OnnxRuntime.of_network(net, device="cpu", threads=1)
    with torch.no_grad():
        assert torch.allclose(runtime(smooth_picture(3, 13, 22)), net(smooth_picture(3, 13, 22)), atol=1e-5)


def test_a_graph_that_gives_other_images_is_refused(small, monkeypatch):
    from lightsr_basicsr.runtimes import graphs

    other = IMDN_RTC(num_feat=8, num_block=2)
    made = graphs.to_onnx(other)
    monkeypatch.setattr(graphs, "to_onnx", lambda net: made)
    with pytest.raises(BackendError, match=r"onnxruntime does not reproduce IMDN_RTC at 32x24 pixels: images differ"):
        OnnxRuntime.of_network(small, device="cpu", threads=1)


@pytest.mark.parametrize("missing", ["onnxruntime", "onnx"])
def test_without_the_library_the_command_is_named(small, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(BackendError, match=rf'{missing} is needed .*\[onnx\]"'):
        OnnxRuntime.of_network(small, device="cpu")


def test_a_damaged_file_is_refused(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"nothing of the kind")
    with pytest.raises(BackendError, match=r"onnxruntime cannot run .*net\.onnx"):
        OnnxRuntime.of_file(tmp_path / "net.onnx", Traits(2), device="cpu")
