"""Networks run by OpenVINO."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from basicsr.archs.srresnet_arch import MSRResNet

from lightsr_basicsr.archs.imdn_arch import IMDN_RTC
from lightsr_basicsr.archs.reparameterized_arch import Reparameterized
from lightsr_basicsr.runtimes import base, openvino_runtime
from lightsr_basicsr.runtimes.base import BackendError, Traits
from lightsr_basicsr.runtimes.network import smooth_picture
from lightsr_basicsr.runtimes.openvino_runtime import OpenVinoRuntime, openvino_precisions

openvino = pytest.importorskip("openvino", reason="openvino is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")


@pytest.fixture(scope="module")
def small() -> IMDN_RTC:
    torch.manual_seed(1)
    return IMDN_RTC(num_feat=8, num_block=2).eval()


@pytest.fixture
def runtime(small) -> OpenVinoRuntime:
    return OpenVinoRuntime.of_network(small, threads=1)


@pytest.mark.parametrize("size", [(1, 3, 16, 16), (2, 3, 21, 9)])
def test_any_size_and_number_gives_what_torch_gives(small, runtime, size):
    picture = smooth_picture(3, *size[2:]).repeat(size[0], 1, 1, 1)
    with torch.no_grad():
        expected = small(picture)
    assert torch.allclose(runtime(picture), expected, atol=1e-4)
    runtime.prepare_for(size)
    assert torch.allclose(runtime(picture), expected, atol=1e-4)
    assert (runtime.backend, runtime.precision, runtime.scale, runtime.device) == ("openvino", "fp32", 2, "cpu")


def test_a_wide_network_is_deployed():
    net = Reparameterized({"type": "IMDN_RTC", "num_feat": 4, "num_block": 1}, "ECB").eval()
    runtime = OpenVinoRuntime.of_network(net, threads=1)
    with torch.no_grad():
        assert torch.allclose(runtime(smooth_picture(3, 16, 20)), net(smooth_picture(3, 16, 20)), atol=1e-4)


def test_results_are_the_callers_own(runtime):
    for _ in range(2):
        first = runtime(smooth_picture(3, 16, 16))
        kept = first.clone()
        runtime(1 - smooth_picture(3, 16, 16))
        assert torch.equal(first, kept)
        runtime.prepare_for((1, 3, 16, 16))


def test_two_threads_get_their_own_images(runtime):
    pictures = [smooth_picture(3, 64, 64), 1 - smooth_picture(3, 64, 64)]
    expected = [runtime(picture) for picture in pictures]
    with ThreadPoolExecutor(2) as pool:
        made = [*pool.map(lambda turn: runtime(pictures[turn % 2]), range(60))]
    assert all(torch.equal(image, expected[turn % 2]) for turn, image in enumerate(made))


def test_precision_and_threads_are_stated(small, monkeypatch):
    asked = []
    original = openvino.Core.compile_model

    def compile_model(self, model, device, settings):
        asked.append(settings)
        return original(self, model, device, settings)

    monkeypatch.setattr(openvino.Core, "compile_model", compile_model)
    OpenVinoRuntime.of_network(small, threads=1)
    assert asked == [
        {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1},
    ]


def test_bf16_is_close_and_not_the_same(small):
    if "bf16" not in openvino_precisions("CPU"):
        pytest.skip("this CPU has no bfloat16")
    runtime = OpenVinoRuntime.of_network(small, "bf16", threads=1)
    with torch.no_grad():
        difference = (runtime(smooth_picture(3, 24, 24)) - small(smooth_picture(3, 24, 24))).abs().max()
    assert 0 < difference < 0.03


def test_precisions_that_are_not_here_are_refused(small, monkeypatch):
    with pytest.raises(BackendError, match="basicsr export --precision int8"):
        OpenVinoRuntime.of_network(small, "int8")
    monkeypatch.setattr(openvino_runtime, "openvino_precisions", lambda device: ("fp32", "int8"))
    with pytest.raises(BackendError, match=r"openvino cannot run bf16 on this CPU: choose fp32\."):
        OpenVinoRuntime.of_network(small, "bf16")


def test_a_device_that_is_not_there_is_refused(small):
    with pytest.raises(BackendError, match="openvino cannot run on device 'cuda' here: choose cpu"):
        OpenVinoRuntime.of_network(small, device="cuda")


def shapes_compiled(runtime, monkeypatch) -> list:
    compiled = []
    original = runtime._compile

    def compile_for(shape=None):
        compiled.append(shape)
        return original(shape)

    monkeypatch.setattr(runtime, "_compile", compile_for)
    return compiled


def test_a_size_has_a_model_of_its_own_once_that_pays(runtime, monkeypatch):
    compiled = shapes_compiled(runtime, monkeypatch)
    runtime.compile_seconds = 1e9
    for _ in range(3):
        runtime(smooth_picture(3, 8, 8))
    assert compiled == []
    runtime.compile_seconds = 0.0
    runtime(smooth_picture(3, 8, 8))
    runtime(smooth_picture(3, 8, 10))
    assert compiled == [(1, 3, 8, 8)]


def test_four_sizes_are_kept_those_used_last(runtime, monkeypatch):
    compiled = shapes_compiled(runtime, monkeypatch)
    for width in (8, 9, 10, 11):
        runtime.prepare_for((1, 3, 8, width))
    runtime(smooth_picture(3, 8, 8))
    runtime.prepare_for((1, 3, 8, 12))
    assert [shape[3] for shape in runtime.sizes] == [10, 11, 8, 12]
    assert [shape[3] for shape in compiled] == [8, 9, 10, 11, 12]


def test_only_the_request_that_ran_last_holds_memory(runtime, monkeypatch):
    released = []

    class Request:
        def __init__(self, name):
            self.name = name

        def get_compiled_model(self):
            return self

        def release_memory(self):
            released.append(self.name)

    first, second = Request("first"), Request("second")
    for request in (first, first, second, second, first):
        runtime._release_others(request)
    assert released == ["first", "second"]


def test_images_stay_right_when_memory_was_released(small, runtime):
    sizes = [(1, 3, 16, 16), (1, 3, 20, 24)]
    runtime.prepare_for(sizes[0])
    for size in (*sizes, *sizes):
        picture = smooth_picture(3, *size[2:])
        with torch.no_grad():
            assert torch.allclose(runtime(picture), small(picture), atol=1e-4)


def test_a_network_of_another_package_runs():
    net = MSRResNet(num_feat=4, num_block=1, upscale=2).eval()
    runtime = OpenVinoRuntime.of_network(net, threads=1)
    with torch.no_grad():
        assert torch.allclose(runtime(smooth_picture(3, 13, 22)), net(smooth_picture(3, 13, 22)), atol=1e-4)


@pytest.mark.parametrize("missing", ["openvino", "onnx"])
def test_without_the_library_the_command_is_named(small, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(BackendError, match=rf"{missing} is needed .*\["):
        OpenVinoRuntime.of_network(small)


def test_a_damaged_file_and_missing_weights_are_told(small, tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"nothing of the kind")
    with pytest.raises(BackendError, match=r"openvino cannot read .*net\.onnx"):
        OpenVinoRuntime.of_file(tmp_path / "net.onnx", Traits(2))
    openvino.save_model(OpenVinoRuntime.of_network(small).model, tmp_path / "net.xml")
    (tmp_path / "net.bin").unlink()
    with pytest.raises(BackendError, match=r"Its weights, .*net\.bin, are missing"):
        OpenVinoRuntime.of_file(tmp_path / "net.xml", Traits(2))


def test_one_core_serves_the_process():
    """Several, each with its plugins, corrupted memory when they were let go: later tests crashed."""
    assert base.openvino_core() is base.openvino_core()
