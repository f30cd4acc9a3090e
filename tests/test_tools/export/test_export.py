"""Export of files: what is written gives the network's images and tells about itself, or nothing is written."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from basicsr.archs.ecbsr_arch import ECBSR

from lightsr_basicsr import cli
from lightsr_basicsr.archs.imdn_arch import IMDN_AS, IMDN_RTC
from lightsr_basicsr.archs.kdsr_arch import BlindSR_ST, BlindSR_TA
from lightsr_basicsr.archs.reparameterized_arch import Reparameterized
from lightsr_basicsr.checkpoints import CheckpointError
from lightsr_basicsr.data.photographs import photographs
from lightsr_basicsr.pictures.files import ImageError
from lightsr_basicsr.runtimes.base import BackendError
from lightsr_basicsr.runtimes.metadata import read_metadata
from lightsr_basicsr.tools.agreement import AgreementError
from lightsr_basicsr.tools.export import files as export_files
from lightsr_basicsr.tools.export import run as tool
from lightsr_basicsr.tools.export import verify as export_verify
from lightsr_basicsr.tools.export.run import Quantization, export
from lightsr_basicsr.tools.files import TargetError, checksum
from lightsr_basicsr.tools.networks import NetworkError, build
from tests.converting import distilled, files, trained, with_kernel

REFUSALS = (AgreementError, BackendError, ImageError, NetworkError, TargetError)
RTC_SMALL = {"num_feat": 4, "num_block": 1}
KDSR_SMALL = {"n_feats": 8, "n_encoder_res": 1, "n_sr_blocks": 1}
NEEDS = {"onnx": "onnxruntime", "openvino": "openvino", "torchscript": "torch", "ncnn": "ncnn"}
TARGETS = {"onnx": ["net.onnx"], "openvino": ["net.bin", "net.xml"], "torchscript": ["net.ts"],
           "ncnn": ["net.bin", "net.param"]}  # fmt: skip


@pytest.fixture(params=NEEDS)
def kind(request):
    """A format whose backend is installed."""
    if request.param == "ncnn":
        pytest.importorskip("pnnx", reason="pnnx is not installed")
    elif request.param != "torchscript":
        pytest.importorskip("onnx", reason="ONNX is not installed")
    pytest.importorskip(NEEDS[request.param], reason=f"{NEEDS[request.param]} is not installed")
    return request.param


@pytest.fixture
def _onnx():
    pytest.importorskip("onnx", reason="ONNX is not installed")
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")


@pytest.fixture
def saved(workdir) -> Path:
    """A trained network in its training form."""
    net = trained(Reparameterized({"type": "IMDN_RTC", **RTC_SMALL}, "RepVGG"))
    torch.save({"params": net.state_dict()}, "net.pth")
    return workdir


def test_what_is_written_gives_the_networks_images(saved, kind):
    done = export("net.pth", format=kind)
    assert files() == sorted([*TARGETS[kind], "net.pth"])
    assert (done.network, done.scale, done.form, done.merged) == ("IMDN_RTC", 2, "train", True)
    assert done.size == sum(Path(name).stat().st_size for name in done.files)
    assert sorted(done.files) == TARGETS[kind]
    assert [(row.images, row.height, row.width) for row in done.rows] == list(export_verify.SHAPES)
    assert all(row.difference < 1e-5 for row in done.rows)
    told = read_metadata(done.path)
    assert (told.network, told.arguments, told.scale, told.source) == ("IMDN_RTC", RTC_SMALL | rest(told), 2, "net.pth")
    assert told.sha256 == done.sha256 == checksum(Path("net.pth"))
    assert told.opset == done.opset == (17 if kind == "onnx" else None)
    assert told.producer.startswith("lightsr-basicsr ")
    # The told arguments build the network of the file.
    build({"type": told.network, **told.arguments})


def rest(told) -> dict:
    return {key: told.arguments[key] for key in told.arguments.keys() - RTC_SMALL.keys()}


@pytest.mark.usefixtures("_onnx")
@pytest.mark.parametrize(
    ("make", "merged", "form"),
    [
        (lambda: IMDN_RTC(**RTC_SMALL), False, "train"),
        (lambda: distilled(deploy=True), False, "deploy"),
        (distilled, True, "train"),
        (lambda: BlindSR_ST(**KDSR_SMALL), True, "train"),
    ],
)
def test_any_checkpoint_will_do(workdir, make, merged, form):
    torch.save(make().state_dict(), "net.pth")
    done = export("net.pth")
    assert (done.merged, done.form) == (merged, form)
    assert [row.images for row in done.rows].count(2) == 1


@pytest.mark.parametrize("make", [lambda: IMDN_RTC(**RTC_SMALL), lambda: BlindSR_ST(**KDSR_SMALL), with_kernel])
def test_half_precision_costs_little(workdir, kind, make):
    if kind == "ncnn" and make is with_kernel:
        pytest.skip("ncnn has no Fourier transforms")
    torch.save(make().state_dict(), "net.pth")
    if kind == "torchscript":
        try:
            torch.nn.Conv2d(3, 3, 3).half()(torch.zeros(1, 3, 8, 8).half())
        except RuntimeError:
            pytest.skip("this torch has no half-precision convolution on the CPU")
    small = export("net.pth", format=kind, precision="fp16")
    assert Path(small.path).stem == "net_fp16"
    assert read_metadata(small.path).precision == "fp16"
    assert all(1e-7 < row.difference < 1e-2 for row in small.rows)
    if kind == "onnx":
        import onnx

        onnx.checker.check_model(small.path, full_check=True)


@pytest.mark.usefixtures("_onnx")
def test_values_beyond_half_precision_stay_in_float32(workdir):
    net = IMDN_RTC(**RTC_SMALL).eval()
    with torch.no_grad():
        first, second = net.model[0], net.model[1].sub[0].c1
        first.weight.mul_(1e6), first.bias.mul_(1e6)
        for conv in (second,):
            conv.weight.mul_(1e-6)
        net.model[2].weight.mul_(1e-6)
    torch.save(net.state_dict(), "net.pth")
    done = export("net.pth", precision="fp16")
    assert "stay in float32" in done.notes[0]
    assert int(done.notes[0].split()[0]) > 1


@pytest.mark.usefixtures("_onnx")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "nothing/net.onnx"}, r"There is no folder .*nothing: create it first"),
        ({"target": f"out{os.sep}"}, r"There is no folder .*out: create it first"),
        (
            {"target": "net.tflite"},
            r"net\.tflite decides the format: .* in \.onnx, \.xml, \.ts, \.torchscript",
        ),
        ({"target": "net.pth", "overwrite": True}, "decides the format"),
        ({"target": "a.xml", "format": "onnx"}, r"a\.xml decides the format: it must end in \.onnx\."),
        ({"target": "folder.onnx"}, "exists and is no plain file"),
        ({"target": "there.onnx"}, r"there\.onnx already exists: replace it with --overwrite"),
        ({"target": "half.xml"}, r"half\.bin already exists"),
        ({"target": "a\0.onnx"}, "cannot hold the character NUL"),
        ({"format": "tensorrt"}, "`format` must be one of onnx, openvino, torchscript, ncnn, got 'tensorrt'"),
        ({"precision": "bf16"}, "`precision` must be one of fp32, fp16, int8, got 'bf16'"),
        ({"opset": 99}, "knows opset 13 to .*, got 99"),
        ({"format": "torchscript", "opset": 17}, "torchscript has none"),
        ({"tolerance": -1}, "finite number of at least 0, got -1"),
        ({"tolerance": float("nan")}, "finite number of at least 0, got nan"),
        ({"picture": "no.png"}, r"There is no LR image at no\.png"),
        ({"weights": "best"}, "`weights` must be ema or raw"),
        ({"tolerance": 0.0}, r"differ by \S+ of the range on .*; 0 is allowed"),
    ],
)
def test_what_cannot_be_done_leaves_nothing(saved, arguments, message):
    os.mkfifo("folder.onnx")
    Path("there.onnx").write_text("mine")
    Path("half.bin").write_text("mine")
    before = files()
    with pytest.raises(REFUSALS, match=message):
        export("net.pth", **arguments)
    assert files() == before


@pytest.mark.usefixtures("_onnx")
def test_what_is_no_network_for_it_is_told(workdir):
    torch.save(BlindSR_TA(**KDSR_SMALL).state_dict(), "teacher.pth")
    with pytest.raises(BackendError, match="BlindSR_TA does not map one LR image to one SR image"):
        export("teacher.pth")
    Path("bad.pth").write_bytes(b"<html>")
    with pytest.raises(CheckpointError, match="a web page"):
        export("bad.pth")
    Path("there.ts").touch()
    with pytest.raises(TargetError, match=r"there\.ts is an exported file already: name the checkpoint"):
        export("there.ts")
    net = IMDN_RTC(**RTC_SMALL)
    net.model[0].weight.data.fill_(float("nan"))
    torch.save(net.state_dict(), "nan.pth")
    with pytest.raises(AgreementError, match="itself gives no finite numbers on test image 'coffee', 1 x 45x53"):
        export("nan.pth")
    assert files() == ["bad.pth", "nan.pth", "teacher.pth", "there.ts"]


def test_files_that_are_there_are_replaced_only_when_asked(saved, kind):
    for name in TARGETS[kind]:
        Path(name).write_text("mine")
    with pytest.raises(TargetError, match="already exists"):
        export("net.pth", format=kind)
    assert {Path(name).read_text() for name in TARGETS[kind]} == {"mine"}
    export("net.pth", format=kind, overwrite=True)
    assert read_metadata(TARGETS[kind][-1]).network == "IMDN_RTC"
    assert files() == sorted([*TARGETS[kind], "net.pth"])


@pytest.mark.parametrize("step", ["trace", "load", "compare", "publish"])
@pytest.mark.parametrize("there", [False, True])
def test_an_interruption_leaves_nothing(saved, kind, monkeypatch, step, there):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    for name in TARGETS[kind] * there:
        Path(name).write_text("mine")
    before = files()
    if step == "publish":
        # Of two files the first is in its place already.
        left = [1] if kind in ("openvino", "ncnn") else []
        monkeypatch.setattr(export_files, "_flush", lambda part: left.pop() if left else interrupt())
    else:
        module, name = {"trace": (tool, "_write"), "load": (tool, "open_session"), "compare": (tool, "verify")}[step]
        monkeypatch.setattr(module, name, interrupt)
    with pytest.raises(KeyboardInterrupt):
        export("net.pth", format=kind, overwrite=there)
    assert files() == before
    assert all(Path(name).read_text() == "mine" for name in TARGETS[kind] * there)


@pytest.mark.usefixtures("_onnx")
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda images: images[..., :-1], r"another shape on .*: expected \(1, 3, 90, 106\), got \(1, 3, 90, 105\)"),
        (lambda images: images + 1e-3, r"differ by 0\.001 of the range on test image 'coffee', \d x"),
        (lambda images: images * float("nan"), "no finite numbers on test image 'coffee', 1 x 45x53.*try fp32"),
        (lambda images: images.nothing, "cannot be run on test image 'coffee', 1 x 45x53: .*nothing"),
    ],
)
def test_wrong_images_are_refused(saved, monkeypatch, spoil, message):
    opened = tool.open_session
    monkeypatch.setattr(tool, "open_session", lambda *args: lambda images: spoil(opened(*args)(images)))
    with pytest.raises(AgreementError, match=message):
        export("net.pth")
    assert files() == ["net.pth"]


def test_a_file_that_cannot_be_loaded_is_refused(saved, kind, monkeypatch):
    monkeypatch.setattr(tool, "_write", lambda job, told, part: (part.write_bytes(b"nothing") and told, []))
    with pytest.raises(BackendError, match="The exported file cannot be loaded"):
        export("net.pth", format=kind)
    assert files() == ["net.pth"]


@pytest.mark.usefixtures("_onnx")
def test_it_is_compared_on_the_users_picture_too(workdir):
    torch.save(IMDN_AS(num_feat=16, num_block=1).state_dict(), "net.pth")
    for name, side in (("lr.png", (67, 90)), ("tiny.png", (9, 20))):
        cv2.imwrite(name, np.random.default_rng(0).integers(0, 256, (*side, 3), np.uint8))
    done = export("net.pth", picture="lr.png")
    assert (done.rows[-1].picture, done.rows[-1].height, done.rows[-1].width) == ("lr.png", 67, 90)
    torch.save(distilled().state_dict(), "dd.pth")
    with pytest.raises(AgreementError, match=r"tiny\.png has 20x9 pixels, and the network needs at least 15x15"):
        export("dd.pth", picture="tiny.png")


@pytest.mark.usefixtures("_onnx")
def test_the_command_tells_what_was_done(workdir, capsys):
    net = ECBSR(3, 3, 1, 4, True, "prelu", 2)
    torch.save({"params": net.state_dict(), "params_ema": net.state_dict()}, "net.pth")
    section = {"type": "ECBSR", "num_in_ch": 3, "num_out_ch": 3, "num_block": 1, "num_channel": 4, "with_idt": True}
    section |= {"act_type": "prelu", "scale": 2}
    Path("net.yml").write_text(yaml.safe_dump({"network_g": section}))
    assert cli.main(["export", "net.pth", "--opt", "net.yml"]) == 0
    told = capsys.readouterr()
    for line in (
        "net.pth -> net.onnx",
        "network:    ECBSR x2, training form, deployed on the way",
        "under 'params_ema'",
        "format:     onnx, opset 17, fp32",
        "test image 'coffee'",
        "InferenceSession('net.onnx')",
    ):
        assert line in told.out, line
    assert "basicsr: tracing ECBSR" in told.err
    assert read_metadata("net.onnx").network == "Deployed"
    assert cli.main(["export", "net.pth", "--opt", "net.yml", "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][1]["width"] == 131


def test_the_commands_mistakes_are_told_in_one_line(workdir, capsys):
    assert cli.main(["export", "no.pth"]) == 2
    assert "There is no checkpoint at no.pth" in capsys.readouterr().err
    assert cli.main(["export", "no.pth", "--network", "network_d"]) == 2
    assert "--network names a section" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["export", "--help"])
    assert "basicsr export net_g_latest.pth -o net.xml" in capsys.readouterr().out


def test_the_printed_program_runs(saved, kind, capfd):
    cv2.imwrite("lr.png", np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8))
    assert cli.main(["export", "net.pth", "--format", kind]) == 0
    program = capfd.readouterr().out.partition("To use it:\n")[2]
    exec("\n".join(line.strip() for line in program.splitlines()), {})
    assert cv2.imread("sr.png").shape == (40, 60, 3)
    assert "imwrite" not in capfd.readouterr().err  # OpenCV warns of images that are not 8 bits


def test_samples_differ_from_each_other():
    net = IMDN_RTC(**RTC_SMALL).eval()
    one, other, *_, several = export_verify.make_samples(net, 3, 1, None)
    assert not torch.equal(several.images[0], several.images[1])
    assert one.images.shape[2:] != other.images.shape[2:]


@pytest.mark.usefixtures("saved")
def test_int8_tells_what_it_costs():
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    pytest.importorskip("nncf", reason="NNCF is not installed")
    ((_, coffee),) = photographs(["coffee.png"])
    Path("HR").mkdir()
    for index in range(4):
        cv2.imwrite(f"HR/{index}.png", coffee[75 * index : 75 * index + 100, 200:300])
    done = export("net.pth", precision="int8", quantization=Quantization("HR", images=8))
    assert done.path == "net_int8.xml"
    told = read_metadata(done.path)
    assert (told.precision, told.int8) == ("int8", done.int8)
    assert (done.int8["images"], done.int8["data"]) == (1, "every 4th photograph of HR")
    assert f"costs {done.int8['psnr_cost_db']:.3f}" in done.notes[0]
    operations = [op.get_type_name() for op in openvino.Core().read_model(done.path).get_ops()]
    assert "FakeQuantize" in operations


@pytest.mark.usefixtures("saved")
def test_int8_is_for_openvino_and_photographs_for_int8():
    before = files()
    with pytest.raises(BackendError, match=r"OpenVINO only, got onnx: name a file that ends in \.xml"):
        export("net.pth", "net.onnx", precision="int8")
    with pytest.raises(BackendError, match="calibrate int8, and the precision is fp16"):
        export("net.pth", "net.xml", precision="fp16", quantization=Quantization("HR"))
    assert files() == before
