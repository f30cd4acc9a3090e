"""Exported files: odd metadata, programs, a costly int8, sizes at which a network computes in another way."""

import json
import zipfile
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from torch import nn

from lightsr_basicsr import cli
from lightsr_basicsr.archs.imdn_arch import IMDN_AS, IMDN_RTC, IMDN_RTE, MultiDistillationTrunk
from lightsr_basicsr.archs.network import SRNetwork
from lightsr_basicsr.runtimes import BackendError, open_runtime
from lightsr_basicsr.runtimes.metadata import Metadata, read_metadata
from lightsr_basicsr.tools.benchmark.plan import Plan
from lightsr_basicsr.tools.benchmark.run import benchmark
from lightsr_basicsr.tools.export import run as tool
from lightsr_basicsr.tools.export.int8 import PsnrCost
from tests import tiny

pytestmark = pytest.mark.faults


def entry(**replaced) -> str:
    return json.dumps({**json.loads(Metadata("IMDN_RTC", {"upscale": 2}, 2).to_json()), **replaced})


def xml(text: str, name: str = "net.xml") -> str:
    net, info = ElementTree.Element("net"), ElementTree.Element("rt_info")
    info.append(ElementTree.Element("lightsr", value=text))
    net.append(info)
    ElementTree.ElementTree(net).write(name)
    return name


def archive(text: str, name: str = "net.ts") -> str:
    with zipfile.ZipFile(name, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("net/constants.pkl", b"")
        file.writestr("net/extra/lightsr", text)
    return name


# D5

ODD = {
    "scale a text": entry(scale="x"),
    "scale null": entry(scale=None),
    "scale 0": entry(scale=0),
    "scale infinite": entry(scale=float("inf")),
    "scale of 400 digits": entry(scale=10**400),
    "scale of 5000 digits": '{"network": "IMDN", "scale": ' + "1" * 5000 + "}",
    "scale true": entry(scale=True),
    "arguments null": entry(arguments=None),
    "arguments a list": entry(arguments=[1]),
    "arguments deep": entry(arguments={"a": json.loads("[" * 300 + "]" * 300)}),
    "deep": "[" * 100_000,
    "deep objects": '{"a":' * 5000 + "1" + "}" * 5000,
    "a list": "[1, 2]",
    "a number": "5",
    "null": "null",
    "nothing": "",
    "no network": '{"scale": 2}',
    "network a number": entry(network=5),
    "range of three": entry(value_range=[0, 1, 2]),
    "range a text": entry(value_range="01"),
    "range of nan": entry(value_range=[float("nan"), 1]),
    "channels 0": entry(num_in_ch=0),
    "channels 1.5": entry(num_in_ch=1.5),
    "side -1": entry(min_side=-1),
    "int8 a list": entry(int8=[1]),
    "opset a text": entry(opset="17"),
    "precision fp64": entry(precision="fp64"),
    "source a list": entry(source=["a"]),
    "colour null": entry(colour=None),
    "two megabytes": entry(source="a" * 2**21),
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
@pytest.mark.parametrize("write", [xml, archive])
def test_odd_metadata_is_told(text, write, workdir, capsys):
    path = write(text)
    for flags in ([], ["--json"]):
        assert cli.main(["info", *flags, path]) == 2
        told = capsys.readouterr().err
        assert path in told
        assert len(told) < 500
    with pytest.raises(BackendError):
        open_runtime(path, trust=True)


@pytest.mark.parametrize(
    "replaced",
    [
        {"source": "\ud800\x1b[31mred\x07"},
        {"arguments": {"a\ud800\x1b": "\ud800", "b": [["\x1b"]], "c": 1e308}},
        {"int8": {"psnr_cost_db": "\ud800", "data": None, "images": {}}},
        {"later": {"unknown": 1}},
    ],
)
def test_texts_that_no_terminal_shows_are_written_out(replaced, workdir, capsys):
    assert cli.main(["info", xml(entry(**replaced))]) == 0
    shown = capsys.readouterr().out
    shown.encode()
    assert "\x1b" not in shown


# D6


def program(path: str) -> str:
    """Write a program that doubles an image. Any other could write files."""

    class Doubling(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([torch.cat([x, x], 2)] * 2, 3)

    torch.jit.script(Doubling()).save(path)
    return path


@pytest.mark.parametrize("name", ["net.ts", "net.torchscript", "NET.TS"])
def test_a_program_is_not_opened_without_a_word(name, workdir, capsys, monkeypatch):
    path = program(name)
    with monkeypatch.context() as only:
        only.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("it was opened"))
        for source in (path, Path(path)):
            with pytest.raises(BackendError, match=r"a program .* --trust .*`val.trust: true`.* trust=True"):
                open_runtime(source)
        assert cli.main(["info", path]) == 0
        assert cli.main(["benchmark", path, "-o", "out", "--no-plots", "--quiet"]) == 2
        with pytest.raises(BackendError, match="--trust"):
            benchmark([path], plan=Plan(sizes=[(8, 8)], rounds=1, memory=False))
    assert "--trust" in capsys.readouterr().err
    assert open_runtime(path, trust=True).scale == 2


def test_a_test_runs_a_program_on_consent_alone(workdir, capsys, monkeypatch):
    tiny.make_pairs(workdir / "data", 1)
    tiny_net = IMDN_RTC(num_feat=4, num_block=1)
    torch.save(tiny_net.state_dict(), "net.pth")
    path = program("net.ts")
    content = tiny.test_options(tiny.paired("a", "data"), pretrain_network_g="net.pth")
    content["val"] |= {"exported": path}
    with monkeypatch.context() as only:
        only.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("it was opened"))
        for value in (None, False):
            content["val"]["trust"] = value
            assert cli.main(["test", "-opt", tiny.write(content)]) == 2
            assert "val.exported: net.ts is TorchScript" in capsys.readouterr().err
        content["val"]["trust"] = "yes"
        assert cli.main(["test", "-opt", tiny.write(content)]) == 2
        assert "val.trust: must be true or false" in capsys.readouterr().err
    assert cli.main(["test", "-opt", tiny.write(content), "--trust"]) == 0
    content["val"]["trust"] = True
    assert cli.main(["test", "-opt", tiny.write(content)]) == 0


def test_consent_alone_selects_no_backend(workdir):
    from lightsr_basicsr.runtimes.validation import settings_of

    assert settings_of({"val": {"trust": True}}) is None


# D8


@pytest.fixture
def small(workdir) -> str:
    torch.save(IMDN_RTC(num_feat=4, num_block=1).state_dict(), "net.pth")
    return "net.pth"


@pytest.mark.parametrize(
    ("loss", "given", "fine"),
    [(25.3, [], False), (1.01, [], False), (float("nan"), [], False), (0.06, [], True), (-0.2, [], True),
     (25.3, ["--max-loss", "30"], True), (0.06, ["--max-loss", "0.05"], False)],
)  # fmt: skip
def test_an_int8_that_costs_too_much_is_not_written(loss, given, fine, small, capsys, monkeypatch):
    if not find_spec("openvino"):
        pytest.skip("openvino is not installed")
    cost = PsnrCost(loss, 32.0, 32.0 - loss, 2, "two")
    monkeypatch.setattr(tool, "quantize", lambda net, *_, **__: (tool.to_openvino(net), cost))
    status = cli.main(["export", small, "--precision", "int8", *given])
    told = capsys.readouterr()
    assert status == (0 if fine else 2)
    assert Path("net_int8.xml").exists() == Path("net_int8.bin").exists() == fine
    if not fine:
        assert f"int8 costs {loss:.3f} dB of PSNR" in told.err
        assert "--max-loss" in told.err


@pytest.mark.parametrize("possible", [("fp32", "bf16", "int8"), ("fp32", "int8")])
def test_the_example_names_no_precision_that_the_cpu_lacks(possible, small, capsys, monkeypatch):
    if not find_spec("openvino"):
        pytest.skip("openvino is not installed")
    from lightsr_basicsr.runtimes import openvino_runtime

    for module in (openvino_runtime, tool):
        monkeypatch.setattr(module, "openvino_precisions", lambda device: possible)
    cost = PsnrCost(0.01, 32.0, 31.99, 2, "two")
    monkeypatch.setattr(tool, "quantize", lambda net, *_, **__: (tool.to_openvino(net), cost))
    assert cli.main(["export", small, "--precision", "int8"]) == 0
    assert ("bf16" in capsys.readouterr().out) == ("bf16" in possible)


def test_int8_of_imdn_rte_is_near_its_network():
    if not (find_spec("openvino") and find_spec("nncf")):
        pytest.skip("openvino and nncf are not installed")
    from lightsr_basicsr.runtimes.network import traits_of
    from lightsr_basicsr.runtimes.openvino_runtime import OpenVinoRuntime
    from lightsr_basicsr.tools.export.int8 import quantize
    from lightsr_basicsr.tools.export.int8_data import gather

    net = IMDN_RTE(img_range=1.0).eval()
    model, _ = quantize(net, images=8, progress=False)
    lr = gather(None, None, traits_of(net), images=8, progress=False).held_out[0].lr
    with torch.no_grad():
        expected = net(lr)
    error = OpenVinoRuntime(model, traits_of(net), "int8")(lr) - expected
    assert error.std() < 0.05 * expected.std()  # it was 0.8


# D9

SIZES = [(131, 127), (64, 64), (59, 70), (60, 61), (61, 60), (8, 9), (64, 66), (131, 128)]


@pytest.mark.parametrize("kind", ["onnx", "openvino", "torchscript"])
def test_exported_imdn_as_equals_the_network_at_every_size(kind, workdir):
    for library in {"onnx": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino")}.get(kind, ()):
        if not find_spec(library):
            pytest.skip(f"{library} is not installed")
    net = IMDN_AS(num_feat=16, num_block=1).eval()
    torch.save(net.state_dict(), "net.pth")
    done = tool.export("net.pth", format=kind)
    assert {(127, 131), *IMDN_AS.compared_sizes} <= {(row.height, row.width) for row in done.rows}
    runtime = open_runtime(done.path, trust=True, device="cpu", threads=1)
    for side in SIZES:
        lr = torch.rand(2, 3, *side)
        with torch.no_grad():
            assert torch.allclose(runtime(lr), net(lr), atol=1e-5)


def test_imdn_as_is_refused_for_ncnn_with_the_reason(workdir):
    if not (find_spec("ncnn") and find_spec("pnnx")):
        pytest.skip("ncnn is not installed")
    torch.save(IMDN_AS(num_feat=16, num_block=1).state_dict(), "net.pth")
    with pytest.raises(BackendError, match="no graph for ncnn: ncnn lacks what it needs"):
        tool.export("net.pth", format="ncnn")
    assert not Path("net.param").exists()


class Turning(SRNetwork):
    """A network that computes large images in another way, as its graph cannot."""

    pools_globally = False

    def __init__(self, turn: int) -> None:
        super().__init__()
        self.upscale, self.turn = 1, turn
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = self.conv(x)
        return made if min(x.shape[2:]) < self.turn else made.flip(3)


@pytest.mark.parametrize("turn", [50, 64, 96, 127])
def test_a_network_that_turns_at_a_size_is_not_exported(turn, workdir, monkeypatch):
    from lightsr_basicsr.tools.agreement import AgreementError
    from lightsr_basicsr.tools.networks import Opened

    net = Turning(turn).eval()
    torch.save(net.state_dict(), "net.pth")
    opened = Opened(net, {"type": "IMDN_RTC"}, "deploy")
    monkeypatch.setattr(tool, "open_checkpoint", lambda *_: (opened, net.state_dict(), "bare"))
    with pytest.raises(AgreementError, match="differ by"):
        tool.export("net.pth", format="torchscript")
    assert not Path("net.ts").exists()


def test_the_graph_of_imdn_as_runs_its_trunk_once():
    """An image that needs no cropping costs one pass, not four."""
    seen = []
    net = IMDN_AS(num_feat=16, num_block=1).eval()

    def trunk(x):
        seen.append(tuple(x.shape))
        return MultiDistillationTrunk.forward(net, x)

    from lightsr_basicsr.archs.crops import run_in_crops

    for side in ((64, 68), (131, 127)):
        run_in_crops(trunk, torch.rand(1, 3, *side), 32, 60)
    assert seen == [(1, 3, 64, 68), (4, 3, 96, 92)]


def test_the_metadata_of_a_real_export_passes(small):
    done = tool.export(small, format="torchscript")
    assert read_metadata(done.path).network == "IMDN_RTC"


# Graphs that a backend cannot take

NEEDS = pytest.mark.skipif(not find_spec("openvino") or not find_spec("onnx"), reason="needs openvino and onnx")


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    from lightsr_basicsr.runtimes.graphs import to_onnx

    return to_onnx(IMDN_RTC(num_feat=4, num_block=1, upscale=2))


def unknown_operator(model):
    model.graph.node[0].op_type = "Unheard"


def operator_of_another(model):
    model.graph.node[0].domain = "com.else"
    model.opset_import.add(domain="com.else", version=1)


def whole_numbers(model):
    model.graph.input[0].type.tensor_type.elem_type = 7


def no_output(model):
    del model.graph.output[:]


def a_circle(model):
    model.graph.node[0].input[0] = model.graph.node[-1].output[0]


@NEEDS
@pytest.mark.parametrize(
    ("harm", "text"),
    [
        (unknown_operator, "no valid ONNX graph .*Unheard"),
        (operator_of_another, "the graph has com.else.Conv. Run it with onnxruntime"),
        (whole_numbers, "no valid ONNX graph"),
        (no_output, "no input or no output"),
        (a_circle, "no valid ONNX graph"),
    ],
)
def test_graphs_that_would_end_the_program_are_refused(harm, text, graph, workdir):
    """OpenVINO dies by SIGSEGV of the first three."""
    import onnx

    model = onnx.ModelProto.FromString(graph.SerializeToString())
    harm(model)
    Path("net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BackendError, match=text):
        open_runtime("net.onnx", backend="openvino")(torch.zeros(1, 3, 9, 9))


@NEEDS
@pytest.mark.parametrize(("said", "channels"), [({"scale": 3}, 3), ({"scale": 1}, 3), ({"num_in_ch": 4}, 4)])
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_images_of_another_size_than_the_file_says_are_refused(said, channels, backend, graph, workdir):
    import onnx

    model = onnx.ModelProto.FromString(graph.SerializeToString())
    model.metadata_props.add(key="lightsr", value=entry(**said))
    Path("net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BackendError):
        open_runtime("net.onnx", backend=backend)(torch.zeros(1, channels, 12, 9))


@NEEDS
def test_a_graph_of_another_program_is_measured(graph, workdir):
    import onnx

    Path("net.onnx").write_bytes(onnx.ModelProto.FromString(graph.SerializeToString()).SerializeToString())
    assert open_runtime("net.onnx").scale == 2
