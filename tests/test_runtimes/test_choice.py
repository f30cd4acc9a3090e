"""The backend that opens a network or file, and why."""

import sys
from pathlib import Path

import pytest
import torch
from basicsr.archs.srresnet_arch import MSRResNet

from lightsr_basicsr.archs.imdn_arch import IMDN_RTC
from lightsr_basicsr.runtimes import choice, open_runtime
from lightsr_basicsr.runtimes.base import BackendError
from lightsr_basicsr.runtimes.choice import check_precision, choose, choose_reader
from lightsr_basicsr.runtimes.metadata import Metadata, for_torchscript
from lightsr_basicsr.runtimes.network import smooth_picture

POSSIBLE = {"torch": ("fp32", "bf16"), "onnxruntime": ("fp32",), "openvino": ("fp32", "bf16", "int8")}


@pytest.fixture
def machine(monkeypatch):
    """Return a function that makes a machine: installed backends and their precisions."""

    def make(*installed: str, possible=POSSIBLE, cuda: bool = False) -> None:
        def require(library, extra):
            if library != "onnx" and library not in installed:
                raise BackendError(f'{library} is needed and not installed: pip install ".[{extra}]"')

        monkeypatch.setattr(choice, "require", require)
        monkeypatch.setattr(choice, "_possible", lambda backend, device: possible[backend])
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)

    return make


@pytest.fixture(scope="module")
def small() -> IMDN_RTC:
    torch.manual_seed(1)
    return IMDN_RTC(num_feat=4, num_block=1).eval()


def needs(*libraries: str) -> None:
    for library in libraries:
        pytest.importorskip(library, reason=f"{library} is not installed")


@pytest.mark.parametrize(
    ("installed", "precision", "backend", "reason"),
    [
        (("openvino", "onnxruntime"), "fp32", "openvino", "because it is the fastest on this CPU"),
        (("onnxruntime",), "fp32", "onnxruntime", "because openvino is not installed"),
        ((), "fp32", "torch", "because openvino is not installed; onnxruntime is not installed"),
        (("openvino", "onnxruntime"), "bf16", "openvino", "because it is the fastest on this CPU"),
        (("onnxruntime",), "bf16", "torch", "because openvino is not installed; onnxruntime cannot run bf16 here"),
    ],
)
def test_auto_on_the_cpu(machine, installed, precision, backend, reason):
    machine(*installed)
    assert choose(precision, "cpu") == (backend, reason)
    assert choose(precision) == (backend, reason)


def test_auto_on_cuda_is_torch(machine):
    machine("openvino", "onnxruntime", possible={**POSSIBLE, "torch": ("fp32", "bf16", "fp16")}, cuda=True)
    assert choose("fp16").backend == "torch"
    assert choose("fp32", "cuda:1").backend == "torch"
    assert choose("fp32", "cpu").backend == "openvino"


def test_what_nothing_runs_is_told_with_what_is_possible(machine):
    machine("openvino", "onnxruntime")
    with pytest.raises(BackendError, match=r"No backend here runs fp16 on the CPU: choose fp32 or bf16\."):
        choose("fp16")
    with pytest.raises(BackendError, match="basicsr export --precision int8"):
        choose("int8")


@pytest.mark.parametrize(
    ("backend", "precision", "message"),
    [
        ("onnxruntime", "bf16", r"onnxruntime cannot run bf16 .*: choose fp32, or the backend torch or openvino"),
        ("torch", "fp16", r"torch cannot run fp16 on this machine: choose fp32 or bf16\.$"),
        ("openvino", "int8", "basicsr export --precision int8"),
    ],
)
def test_what_an_engine_cannot_is_told(machine, backend, precision, message):
    machine("openvino", "onnxruntime")
    with pytest.raises(BackendError, match=message):
        check_precision(backend, precision)
    check_precision(backend, "fp32")


@pytest.mark.parametrize(("backend", "extra"), [("onnxruntime", "onnx"), ("openvino", "openvino")])
def test_a_missing_engine_is_told(machine, backend, extra):
    machine()
    with pytest.raises(BackendError, match=rf'{backend} is needed .*pip install "\.\[{extra}\]"'):
        check_precision(backend, "fp32")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backend": "openvno"}, "no backend 'openvno': did you mean openvino"),
        ({"backend": "tflite"}, "no backend 'tflite': choose auto, torch, onnxruntime or openvino"),
        ({"precision": "bp16"}, "no precision 'bp16': did you mean"),
    ],
)
def test_unknown_names_are_refused(small, arguments, message):
    with pytest.raises(BackendError, match=message):
        open_runtime(small, **arguments)


@pytest.mark.parametrize("source", [123, None, ["a"], b"net.pth"])
def test_what_is_neither_a_network_nor_a_path_is_told(source):
    with pytest.raises(BackendError, match=f"Expected a network, or the path of a file, got {type(source).__name__}"):
        open_runtime(source)


@pytest.mark.parametrize("backend", ["torch", "onnxruntime", "openvino"])
def test_devices_of_torch_are_taken_and_others_refused(small, backend):
    if backend != "torch":
        pytest.importorskip(backend, reason=f"{backend} is not installed")
        pytest.importorskip("onnx", reason="onnx is not installed")
    assert open_runtime(small, backend, device=torch.device("cpu")).device == "cpu"
    with pytest.raises(BackendError, match=f"{backend} cannot run on device '3' here"):
        open_runtime(small, backend, device=3)


def test_a_device_that_nothing_knows_is_told(small):
    with pytest.raises(BackendError, match="No backend here runs fp32 on tpu: name another device, or leave it out"):
        open_runtime(small, device="tpu")


def test_without_any_engine_torch_runs_it(small, monkeypatch):
    for library in ("openvino", "onnxruntime", "onnx"):
        monkeypatch.setitem(sys.modules, library, None)
    runtime = open_runtime(small, device="cpu")
    assert runtime.backend == "torch"
    assert "openvino is not installed" in runtime.chosen_because


def test_auto_falls_back_to_torch_for_a_network_without_a_graph(small, monkeypatch):
    def fail(*_, **__):
        raise BackendError("no graph")

    monkeypatch.setattr(choice, "choose", lambda *_: choice.Choice("openvino", "because"))
    monkeypatch.setattr(choice.OpenVinoRuntime, "of_network", fail)
    runtime = open_runtime(small, device="cpu")
    assert (runtime.backend, runtime.chosen_because) == (
        "torch",
        "because openvino cannot run this network: no graph",
    )
    with pytest.raises(BackendError, match="no graph"):
        open_runtime(small, "openvino")


def test_a_checkpoint_is_opened(small, tmp_path):
    torch.save({"params": small.state_dict()}, tmp_path / "net.pth")
    runtime = open_runtime(tmp_path / "net.pth", "torch", device="cpu")
    with torch.no_grad():
        assert torch.allclose(runtime(smooth_picture(3, 8, 9)), small(smooth_picture(3, 8, 9)), atol=1e-6)
    assert runtime.chosen_because == "because it was asked for"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.pth", "There is no checkpoint"),
        ("none.onnx", "There is no file"),
        ("none.png", "neither a checkpoint nor an exported file"),
    ],
)
def test_what_is_not_there_is_told(workdir, name, message):
    with pytest.raises(BackendError, match=message):
        open_runtime(name)


@pytest.mark.parametrize(
    ("name", "backend", "message"),
    [
        ("net.xml", "onnxruntime", r"onnxruntime does not read net.xml \(openvino\): choose openvino or auto"),
        ("net.onnx", "torch", r"torch does not read net.onnx \(onnx\): choose openvino, onnxruntime or auto"),
        ("net.ts", "openvino", r"openvino does not read net.ts \(torchscript\): choose torch or auto"),
    ],
)
def test_an_engine_that_does_not_read_a_file_is_refused(name, backend, message):
    with pytest.raises(BackendError, match=message):
        choose_reader(Path(name), backend)


def test_readers_of_a_file(machine):
    machine("openvino", "onnxruntime")
    assert choose_reader(Path("net.onnx")).backend == "openvino"
    assert choose_reader(Path("net.xml")) == ("openvino", "because net.xml is its own format")
    machine("onnxruntime")
    assert choose_reader(Path("net.onnx")) == ("onnxruntime", "because openvino is not installed")
    machine()
    with pytest.raises(BackendError, match=r'needs a backend: pip install .*\[openvino\]"'):
        choose_reader(Path("net.onnx"))


def write_onnx(net, path: Path, **told) -> Path:
    import onnx

    from lightsr_basicsr.runtimes.graphs import to_onnx
    from lightsr_basicsr.runtimes.metadata import put_into_onnx

    model = to_onnx(net)
    if told:
        put_into_onnx(model, Metadata(**told))
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_an_exported_file_tells_about_itself(small, tmp_path, backend):
    needs("onnx", backend)
    path = write_onnx(small, tmp_path / "net.onnx", network="IMDN_RTC", scale=2, min_side=6)
    runtime = open_runtime(path, backend, device="cpu", threads=1)
    assert (runtime.scale, runtime.num_in_ch, runtime.min_side, runtime.precision) == (2, 3, 6, "fp32")
    assert runtime.metadata["network"] == "IMDN_RTC"
    with torch.no_grad():
        assert torch.allclose(runtime(smooth_picture(3, 8, 9)), small(smooth_picture(3, 8, 9)), atol=1e-4)
    with pytest.raises(BackendError, match="at least 6x6"):
        runtime(smooth_picture(3, 5, 9))


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_quantized_file_runs_as_it_is(small, tmp_path, backend):
    needs("onnx", backend)
    path = write_onnx(small, tmp_path / "net.onnx", network="IMDN_RTC", scale=2, precision="int8")
    runtime = open_runtime(path, backend, device="cpu", threads=1)
    assert (runtime.precision, runtime(smooth_picture(3, 8, 9)).shape) == ("int8", (1, 3, 16, 18))
    with pytest.raises(BackendError, match=r"net.onnx was exported in int8, and bf16 was asked for"):
        open_runtime(path, backend, "bf16", device="cpu")


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_another_programs_file_tells_its_scale_by_running(tmp_path, backend):
    needs("onnx", backend)
    gray = MSRResNet(num_in_ch=1, num_out_ch=1, num_feat=4, num_block=1, upscale=3).eval()
    runtime = open_runtime(write_onnx(gray, tmp_path / "net.onnx"), backend, device="cpu", threads=1)
    assert (runtime.scale, runtime.num_in_ch, runtime.metadata) == (3, 1, None)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_file_that_is_no_sr_network_is_refused(tmp_path, backend):
    needs("onnx", backend)
    import onnx
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 5]) for name in "ab"]
    graph = helper.make_graph([helper.make_node("Relu", ["a"], ["b"])], "g", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "x.onnx")
    with pytest.raises(BackendError, match=r"x.onnx does not map one LR image \(1, 3, H, W\) to one SR image"):
        open_runtime(tmp_path / "x.onnx", backend, device="cpu", threads=1)


def test_a_program_of_torch_is_opened(small, tmp_path):
    path = tmp_path / "net.ts"
    program = torch.jit.trace(small, smooth_picture(3, 9, 11))
    torch.jit.save(program, str(path), _extra_files=for_torchscript(Metadata("IMDN_RTC", scale=2)))
    with pytest.raises(BackendError, match="a program that runs with your rights"):
        open_runtime(path, device="cpu")
    runtime = open_runtime(path, device="cpu", trust=True)
    assert (runtime.backend, runtime.metadata["network"]) == ("torch", "IMDN_RTC")
    with torch.no_grad():
        assert torch.allclose(runtime(smooth_picture(3, 8, 9)), small(smooth_picture(3, 8, 9)), atol=1e-5)
    torch.jit.save(program, str(path))
    assert open_runtime(path, device="cpu", trust=True).scale == 2
    with pytest.raises(BackendError, match=r"net.ts was exported in fp32, and torch cannot run it in bf16"):
        open_runtime(path, precision="bf16", device="cpu", trust=True)


@pytest.mark.parametrize(
    ("made_in", "wanted", "backend", "taken"),
    [
        ("fp32", None, "openvino", "fp32"),
        ("fp32", "bf16", "openvino", "bf16"),
        ("fp16", None, "openvino", "fp32"),
        ("fp16", None, "onnxruntime", "fp16"),
        ("int8", None, "openvino", "int8"),
        ("int8", "int8", "onnxruntime", "int8"),
        ("int8", "fp32", "openvino", r"exported in int8, and fp32 was asked for"),
        ("fp32", "int8", "openvino", r"exported in fp32, and int8 was asked for"),
        ("fp16", "fp32", "onnxruntime", r"exported in fp16, and onnxruntime cannot run it in fp32"),
    ],
)
def test_precision_of_a_file(machine, made_in, wanted, backend, taken):
    machine("openvino", "onnxruntime")
    arguments = (Path("net.onnx"), made_in, wanted, backend, None)
    if len(taken) > 4:
        with pytest.raises(BackendError, match=taken):
            choice._precision_of(*arguments)
    else:
        assert choice._precision_of(*arguments) == taken
