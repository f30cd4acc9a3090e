"""``basicsr test`` on a backend: runs, and option files that are wrong in one place."""

import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs.srresnet_arch import MSRResNet

from lightsr_basicsr import cli
from lightsr_basicsr.archs.imdn_arch import IMDN_RTC
from lightsr_basicsr.runtimes import BackendError, choice
from lightsr_basicsr.runtimes.base import Runtime, Traits
from lightsr_basicsr.runtimes.metadata import Metadata, for_torchscript
from lightsr_basicsr.runtimes.network import smooth_picture
from lightsr_basicsr.runtimes.validation import RuntimeNetwork, Settings, run_by_backend, settings_of
from lightsr_basicsr.tools.check.options import check_options
from tests import tiny


@pytest.fixture
def pairs(workdir):
    """Four image pairs, and the network's weights."""
    tiny.make_pairs(workdir / "data", 4)
    torch.manual_seed(1)
    torch.save({"params": IMDN_RTC(num_feat=4, num_block=1).state_dict()}, "net.pth")
    return workdir


def options(**val) -> dict:
    content = tiny.test_options(tiny.paired("a", "data"), pretrain_network_g="net.pth")
    content["val"].update(val)
    return content


def run(content: dict) -> np.ndarray:
    """Run a test and return its first picture."""
    assert cli.main(["test", "-opt", tiny.write(content)]) == 0
    pictures = sorted(Path("results", content["name"], "visualization", "a").glob("*.png"))
    assert len(pictures) == 4
    return cv2.imread(str(pictures[0])).astype(int)


def findings(content: dict, is_train: bool = False) -> list[str]:
    return [str(found) for found in check_options(content, is_train) if str(found).startswith("val.")]


def needs(*libraries: str) -> None:
    for library in libraries:
        pytest.importorskip(library, reason=f"{library} is not installed")


@pytest.mark.parametrize(
    ("backend", "libraries"), [("torch", ()), ("onnxruntime", ("onnx", "onnxruntime")), ("openvino", ("openvino",))]
)
def test_an_engine_gives_the_pictures_of_torch(pairs, capsys, backend, libraries):
    needs(*libraries)
    plain = run(options())
    assert "is run by" not in capsys.readouterr().err
    made = run({**options(backend=backend, threads=1), "name": "by_engine"})
    assert np.abs(made - plain).max() <= 1
    told = capsys.readouterr().err
    assert f"The network is run by {backend} (because it was asked for), fp32, on cpu, 1 CPU thread." in told


def test_auto_says_why(pairs, capsys):
    run(options(backend="auto"))
    assert re.search(r"The network is run by \w+ \(because .*\), fp32", capsys.readouterr().err)


def test_a_model_and_a_network_of_basicsr(pairs, capsys):
    torch.save({"params": MSRResNet(num_feat=4, num_block=1, upscale=2).state_dict()}, "net.pth")
    content = options(backend="torch") | {"model_type": "SRModel"}
    content["network_g"] = {"type": "MSRResNet", "num_feat": 4, "num_block": 1, "upscale": 2}
    made = run(content)
    del content["val"]["backend"]
    assert np.array_equal(made, run({**content, "name": "plain"}))


def test_the_comparison_is_of_the_engine(workdir, monkeypatch, capsys):
    class Black(Runtime):
        backend = "torch"

        def _run(self, images):
            return torch.zeros(len(images), 3, 2 * images.shape[2], 2 * images.shape[3])

    tiny.make_pairs(workdir / "data", 1, side=128)
    torch.save(IMDN_RTC(num_feat=4, num_block=1).state_dict(), "net.pth")
    content = options(backend="torch")
    content["comparison"] = {"dataset": "test_1", "crop_border": 2, "test_y_channel": True}
    monkeypatch.setattr(choice.TorchRuntime, "of_network", lambda *_, **__: Black(Traits(2)))
    assert cli.main(["test", "-opt", tiny.write(content)]) == 0
    printed = capsys.readouterr()
    mean = re.search(r"mean\s+\S+ / \S+\s+(\d+\.\d{4})", printed.out)[1]
    assert float(mean) < 10
    assert f"# psnr: {mean}" in printed.err


def program(name: str = "net.ts", **told) -> torch.nn.Module:
    net = IMDN_RTC(num_feat=4, num_block=1).eval()
    traced = torch.jit.trace(net, smooth_picture(3, 9, 11))
    told = {"network": "IMDN_RTC", "scale": 2, **told}
    torch.jit.save(traced, name, _extra_files=for_torchscript(Metadata(**told)))
    return net


def test_an_exported_file_needs_no_checkpoint(pairs):
    torch.save(program().state_dict(), "net.pth")
    plain = run(options())
    content = {**options(exported="net.ts", trust=True), "name": "exported"}
    content["path"] = {}
    assert [str(found) for found in check_options(content, False)] == []
    assert np.abs(run(content) - plain).max() <= 1


def test_a_problem_during_the_run_is_told_without_a_traceback(pairs, monkeypatch, capsys):
    def fail(*_, **__):
        raise BackendError("the backend is on fire")

    monkeypatch.setattr(choice.TorchRuntime, "of_network", fail)
    assert cli.main(["test", "-opt", tiny.write(options(backend="torch"))]) == 2
    assert "basicsr: the backend is on fire" in capsys.readouterr().err.replace("error: ", "")


@pytest.mark.parametrize(
    ("val", "message"),
    [
        ({"backend": "opnvino"}, "val.backend: must be auto, torch, onnxruntime, openvino or ncnn, got 'opnvino'"),
        ({"backend": 3}, "val.backend: must be auto, torch, onnxruntime, openvino or ncnn, got 3"),
        ({"precision": "half"}, "val.precision: must be fp32, bf16, fp16 or int8, got 'half'"),
        ({"threads": 0}, "val.threads: must be a whole number from 1 to 1,024, got 0"),
        ({"threads": "two"}, "val.threads: must be a whole number from 1 to 1,024, got 'two'"),
        ({"precision": "int8"}, "val.precision: int8 needs a network that was quantized"),
        ({"exported": "none.ts"}, "val.exported: There is no file none.ts"),
        ({"exported": "net.pth", "backend": "torch"}, "val.exported: net.pth is not an exported file"),
        ({"exported": ["a"]}, "val.exported: must be a text, got ['a']"),
        ({"bakend": "torch"}, "val.bakend: is not read by BasicSR or LossDictModel: did you mean 'backend'?"),
    ],
)
def test_what_is_wrong_is_found_before_anything_starts(pairs, val, message):
    (found,) = findings(options(**val))
    assert found.startswith(message)


def test_onnxruntime_has_no_bf16(pairs):
    needs("onnx", "onnxruntime")
    (found,) = findings(options(backend="onnxruntime", precision="bf16"))
    assert found.startswith("val.backend: onnxruntime cannot run bf16 on this machine: choose fp32")


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_missing_library_is_found(pairs, monkeypatch, backend):
    monkeypatch.setitem(sys.modules, backend, None)
    (found,) = findings(options(backend=backend))
    assert re.match(rf"val.backend: {backend} is needed .*pip install .*\[", found)


def test_bf16_where_the_machine_has_none(pairs, monkeypatch):
    monkeypatch.setattr(choice, "torch_precisions", lambda kind: ("fp32",))
    monkeypatch.setattr(choice, "openvino_precisions", lambda kind: ("fp32",))
    (found,) = findings({**options(precision="bf16"), "num_gpu": 0})
    assert found == "val.precision: No backend here runs bf16 on cpu: choose fp32."


def test_an_exported_file_of_another_scale_or_kind_is_found(pairs):
    program(scale=4)
    (found,) = findings(options(exported="net.ts", trust=True))
    assert found == "val.exported: net.ts enlarges by 4, but the option file has scale 2"
    program(num_in_ch=1)
    (found,) = findings(options(exported="net.ts", trust=True))
    assert found == "val.exported: net.ts takes images of 1 channels, network_g of 3"
    (found,) = findings(options(exported="net.ts", backend="openvino"))
    assert found.startswith("val.exported: openvino does not read net.ts")


def test_a_network_that_needs_more_than_an_lr_image_is_found(pairs):
    content = options(backend="torch")
    content["network_g"] = {"type": "DRNDual", "upscale": 4}
    assert any("does not map one LR image to one SR image" in found for found in findings(content))


def test_a_training_is_told_that_the_keys_do_nothing(workdir):
    tiny.make_pairs(workdir / "data", 4)
    content = tiny.train_options()
    content["val"]["backend"] = "openvino"
    (found,) = findings(content, is_train=True)
    assert found == "val.backend: (warning) has an effect in `basicsr test` only: training validates with torch"
    content["val"]["backend"] = "opnvino"
    (found,) = findings(content, is_train=True)
    assert "must be auto, torch, onnxruntime, openvino or ncnn" in found


def test_settings_are_those_of_the_section_val():
    assert settings_of({"val": {"save_img": True}}) is None
    assert settings_of({}) is None
    assert settings_of({"val": {"backend": None, "precision": "bf16"}}) == Settings(precision="bf16")


class Doubling(Runtime):
    """Makes twice the image, grown by copies."""

    backend = "torch"

    def _run(self, images):
        return 2 * images.repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_what_stands_for_a_network_is_like_it():
    net = IMDN_RTC(num_feat=4, num_block=1).eval()
    net.window_size = 8
    stands = RuntimeNetwork(net, Doubling(Traits(2)))
    assert not stands.training
    assert stands.train().training
    assert stands.network.training
    assert (stands.window_size, stands.upscale) == (8, 2)
    assert len(list(stands.parameters())) == len(list(net.parameters()))
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = stands.nothing_such
    from copy import deepcopy

    copied = deepcopy(stands)
    assert copied.runtime is stands.runtime
    assert copied.network is not net
    assert torch.equal(copied(torch.ones(1, 3, 2, 2)), torch.full((1, 3, 4, 4), 2.0))


def test_the_average_is_run_too():
    class Model:
        device = torch.device("cpu")
        net_g, net_g_ema = (IMDN_RTC(num_feat=4, num_block=1) for _ in range(2))

        @staticmethod
        def get_bare_model(net):
            return net

    average = Model.net_g_ema
    model = Model()
    stands = run_by_backend(model, Settings("torch"))
    assert stands is model.net_g_ema
    assert isinstance(model.net_g, RuntimeNetwork)
    with torch.no_grad():
        expected = average.eval()(smooth_picture(3, 8, 8))
    assert torch.allclose(stands(smooth_picture(3, 8, 8)), expected, atol=1e-6)
    with pytest.raises(BackendError, match="object has no net_g to run"):
        run_by_backend(object(), Settings("torch"))


def test_a_test_of_the_deployed_form_is_not_compared_with_itself(pairs, capsys):
    wide = {"type": "Reparameterized", "network": {"type": "IMDN_RTC", "num_feat": 4, "num_block": 1}}
    from lightsr_basicsr.archs.reparameterized_arch import Reparameterized

    torch.save(Reparameterized(wide["network"]).state_dict(), "net.pth")
    content = {**options(), "model_type": "ReparamModel", "network_g": wide}
    plain = run(content)
    assert "differ by at most" in capsys.readouterr().err
    content["val"]["backend"] = "torch"
    assert np.array_equal(run({**content, "name": "by_engine"}), plain)
    assert "differ by at most" not in capsys.readouterr().err
