"""Train wide, validate and save what is deployed."""

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.models import build_model
from torch import nn

from lightsr_basicsr import cli
from lightsr_basicsr.archs.reparam import deploy
from lightsr_basicsr.checkpoints import read_state_dict
from lightsr_basicsr.checkpoints.identify import load
from lightsr_basicsr.models import reparam_model
from tests import tiny

PLAIN = {"type": "IMDN_RTC", "num_feat": 4, "num_block": 1}
WIDE = {"type": "Reparameterized", "network": PLAIN}
DUAL = {"network_dual": {"type": "DualNetwork", "num_feat": 2, "downscale": 2}}
DUAL_LOSS = {"dual_opt": {"type": "L1Loss", "loss_weight": 0.1}}


def options(network: dict = WIDE, model: str = "ReparamModel", **train) -> dict:
    return {**tiny.train_options(**train), "model_type": model, "network_g": network}


def run(content: dict, *arguments: str) -> int:
    return cli.main(["train", "-opt", tiny.write(content), *arguments])


@pytest.fixture
def pairs(workdir) -> Path:
    tiny.make_pairs(Path("data"), 5)
    return workdir


@pytest.fixture
def models(pairs) -> Path:
    return pairs / "experiments/tiny/models"


@pytest.fixture
def log(monkeypatch, caplog):
    """What the model logs; BasicSR's own logger hands nothing on."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(reparam_model, "get_root_logger", lambda: logging.getLogger("reparam"))
    return caplog


def make(tmp_path, network: dict = WIDE, **train) -> reparam_model.ReparamModel:
    paths = {key: str(tmp_path) for key in ("experiments_root", "models", "training_states", "visualization")}
    content = {**options(network, **train), "is_train": True, "dist": False, "rank": 0, "path": paths}
    return build_model(content)


class Images:
    """A validation set of two images with a batch dimension, as BasicSR's loader gives them."""

    def __init__(self):
        self.opt = {"name": "two"}
        self.items = [
            {"lq": torch.rand(1, 3, 8, 9), "gt": torch.rand(1, 3, 16, 18), "lq_path": [f"{index}.png"]}
            for index in range(2)
        ]
        self.dataset = self

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


@pytest.mark.parametrize("block", ["ECB", "DBB"])
def test_both_forms_are_saved_and_the_deployed_one_is_that_of_the_other(models, block):
    assert run(options({**WIDE, "block": block})) == 0
    assert {path.name for path in models.iterdir()} >= {
        "net_g_5.pth", "net_g_5_deploy.pth", "net_g_latest.pth", "net_g_latest_deploy.pth"
    }  # fmt: skip
    for name in ("5", "latest"):
        for key in ("params", "params_ema"):
            wide = load(read_state_dict(models / f"net_g_{name}.pth", key)[0])
            narrow = read_state_dict(models / f"net_g_{name}_deploy.pth", key)[0]
            assert list(narrow) == list(deploy(wide).state_dict())
            assert all(torch.equal(value, narrow[found]) for found, value in deploy(wide).state_dict().items())
    raw, averaged = (read_state_dict(models / "net_g_latest_deploy.pth", key)[0] for key in ("params", "params_ema"))
    assert any(not torch.equal(raw[key], averaged[key]) for key in raw)


def test_the_deployed_file_is_tested_as_the_plain_network(models):
    assert run(options()) == 0
    content = tiny.test_options(tiny.paired("v", "data"), pretrain_network_g=str(models / "net_g_latest_deploy.pth"))
    assert cli.main(["test", "-opt", tiny.write({**content, "network_g": PLAIN})]) == 0
    wide = tiny.test_options(tiny.paired("v", "data"), pretrain_network_g=str(models / "net_g_latest.pth"))
    wide = {**wide, "name": "wide_test", "network_g": WIDE, "model_type": "ReparamModel"}
    assert cli.main(["test", "-opt", tiny.write(wide)]) == 0
    pictures = [sorted(Path("results", name).rglob("*.png")) for name in ("tiny_test", "wide_test")]
    assert len(pictures[0]) == len(pictures[1]) == 5
    for ours, theirs in zip(*pictures, strict=True):
        # Where rounding decides between two grey levels the forms may differ by one.
        assert np.abs(cv2.imread(str(ours)).astype(int) - cv2.imread(str(theirs))).max() <= 1


def test_validation_runs_the_deployed_form_of_the_average(tmp_path, monkeypatch, log):
    """What stands for the deployed form here gives black images, so the score tells which one ran."""
    model, made = make(tmp_path, ema_decay=0.9), []

    class Black(nn.Module):
        def forward(self, x):
            return x.new_zeros(1, 3, 2 * x.shape[2], 2 * x.shape[3])

    monkeypatch.setattr(reparam_model, "deploy", lambda net: made.append(net) or Black())
    images, expected = Images(), []
    for item in images.items:
        with torch.no_grad():
            expected.append(model.net_g_ema(item["lq"]).abs().max().item())
    model.nondist_validation(images, 3, None, save_img=False)
    assert made == [model.net_g_ema]
    assert f"differ by at most {max(expected):.1e}" in log.text
    assert log.records[-1].levelname == "WARNING"  # it is more than rounding
    assert model.net_deploy is None
    gt = torch.cat([item["gt"].flatten() for item in images.items])
    assert model.metric_results["psnr"] < 20
    assert gt.mean() > 0.3


def test_the_difference_of_the_two_forms_is_logged_as_rounding(tmp_path, log):
    model, tags = make(tmp_path), {}

    class Board:
        def add_scalar(self, tag, value, step):
            tags[tag, step] = value

    model.nondist_validation(Images(), 3, Board(), save_img=False)
    assert 0 <= tags["metrics/two/deploy_difference", 3] < 1e-5
    assert [record.levelname for record in log.records if "two: training and deployed form" in record.message] == [
        "INFO"
    ]


def test_training_goes_on_with_the_training_form_after_validation(tmp_path):
    model = make(tmp_path)
    keys = list(model.net_g.state_dict())
    model.nondist_validation(Images(), 3, None, save_img=False)
    assert list(model.net_g.state_dict()) == keys
    model.feed_data({"lq": torch.rand(1, 3, 8, 8), "gt": torch.rand(1, 3, 16, 16)})
    before = model.net_g.state_dict()["model.0.ecb_squeeze.weight"].clone()
    model.optimize_parameters(1)
    assert not torch.equal(model.net_g.state_dict()["model.0.ecb_squeeze.weight"], before)


def test_a_resumed_run_ends_with_the_same_weights(models):
    content = options({**WIDE, "block": "RepVGG"})
    assert run(content) == 0
    expected = [torch.load(models / f"net_g_latest{form}.pth") for form in ("", "_deploy")]
    for number in range(6, 11):
        Path(f"experiments/tiny/training_states/{number}.state").unlink()
    for name in ("latest", "latest_deploy"):
        (models / f"net_g_{name}.pth").unlink()
    assert run(content, "--auto_resume") == 0
    found = [torch.load(models / f"net_g_latest{form}.pth") for form in ("", "_deploy")]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keys() == theirs.keys() == {"params", "params_ema"}
        for key in theirs:
            assert all(torch.equal(value, ours[key][name]) for name, value in theirs[key].items())


def test_it_goes_together_with_dual_regression_and_the_average(models):
    content = {**options(model="DualRegressionModel", reparam=True, **DUAL_LOSS), **DUAL}
    assert run(content) == 0
    names = {path.name for path in models.iterdir()}
    assert names >= {"net_g_latest.pth", "net_g_latest_deploy.pth", "net_dual_latest.pth"}
    state = read_state_dict(models / "net_g_latest_deploy.pth", "params_ema")[0]
    load(state)
    log = next(Path("experiments/tiny").glob("*.log")).read_text()
    assert "l_dual" in log
    assert "training and deployed form differ by at most" in log


def test_dual_regression_alone_saves_one_form(models):
    assert run({**options(PLAIN, "DualRegressionModel", **DUAL_LOSS), **DUAL}) == 0
    assert not list(models.glob("*_deploy.pth"))


def test_it_can_be_switched_off(models):
    assert run(options(reparam=False)) == 0
    assert not list(models.glob("*_deploy.pth"))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (PLAIN, "IMDN_RTC has no reparameterizable blocks"),
        ({**WIDE, "deploy": True}, "remove `deploy: true`"),
    ],
)
def test_a_network_without_blocks_is_refused_before_anything_is_written(pairs, capsys, network, message):
    before = tiny.tree(pairs)
    assert run(options(network)) == 2
    assert message in capsys.readouterr().err
    before["run.yml"] = tiny.tree(pairs)["run.yml"]
    assert tiny.tree(pairs) == before


def test_a_switch_that_is_no_switch_is_refused(pairs, capsys):
    assert run(options(reparam="deploy")) == 2
    assert "train.reparam: must be true or false, got 'deploy'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "network", [WIDE, {"type": "DDistill_SR", "num_feat": 16, "num_latent": 2, "upscale": 2}], ids=lambda n: n["type"]
)
def test_a_deployed_file_is_no_start_for_training(pairs, capsys, network):
    from basicsr.archs import build_network

    torch.save({"params": deploy(build_network(dict(network))).state_dict()}, "narrow.pth")
    content = {**options(network), "path": {"pretrain_network_g": "narrow.pth"}}
    assert run(content) == 2
    message = capsys.readouterr().err
    assert "path.pretrain_network_g: narrow.pth does not fit" in message
    assert "the file holds the deployed (merged) form; it cannot be converted back" in message
    assert not Path("experiments").exists()


def test_a_training_form_file_is_no_deployed_network(pairs, capsys):
    from basicsr.archs import build_network

    torch.save({"params": build_network(dict(WIDE)).state_dict()}, "wide.pth")
    content = tiny.test_options(tiny.paired("v", "data"), pretrain_network_g="wide.pth")
    assert cli.main(["test", "-opt", tiny.write({**content, "network_g": PLAIN})]) == 2
    assert "expected its deployed form: basicsr convert wide.pth" in capsys.readouterr().err


def test_statistics_that_cannot_be_folded_do_not_end_a_training(tmp_path, log):
    model = make(tmp_path, {**WIDE, "block": "RepVGG"}, ema_decay=0)
    model.net_g.model[0].rbr_dense.bn.running_var[0] = float("nan")
    model.nondist_validation(Images(), 3, None, save_img=False)
    model.save(0, 3)
    assert "The network cannot be deployed now: model.0: Batch normalisation has a running variance" in log.text
    assert (tmp_path / "net_g_3.pth").is_file()
    assert not (tmp_path / "net_g_3_deploy.pth").exists()


def test_whatever_keeps_a_network_from_being_deployed_does_not_end_a_training(tmp_path, log, monkeypatch):
    def refuse(net):
        raise RuntimeError("this block cannot")

    model = make(tmp_path)
    monkeypatch.setattr(reparam_model, "deploy", refuse)
    model.save(0, 3)
    assert "The network cannot be deployed now: this block cannot" in log.text
    assert (tmp_path / "net_g_3.pth").is_file()


def test_statistics_that_cannot_be_folded_end_a_test(pairs):
    from basicsr.archs import build_network

    wide = {**WIDE, "block": "RepVGG"}
    net = build_network(dict(wide))
    net.model[0].rbr_dense.bn.running_var[0] = 0
    torch.save({"params": net.state_dict()}, "broken.pth")
    content = tiny.test_options(tiny.paired("v", "data"), pretrain_network_g="broken.pth")
    content.update(network_g=wide, model_type="ReparamModel")
    with pytest.raises(SystemExit, match=r"cannot be deployed, as a test needs it: model\.0: Batch"):
        cli.main(["test", "-opt", tiny.write(content)])


def test_a_run_ends_with_both_forms_side_by_side(pairs, capsys):
    comparison = {"dataset": "val", "crop_border": 2, "test_y_channel": True}
    assert run({**options(), "comparison": comparison}) == 0
    out = capsys.readouterr().out
    titles = next(line for line in out.splitlines() if line.startswith("PSNR"))
    assert titles.split("  ")[-1].strip() == "deployed form"
    assert "training form" in titles
    mean = next(line for line in out.splitlines() if line.startswith("mean")).split()
    assert mean[-3:] == mean[-6:-3]  # PSNR / SSIM of both
    rows = [line.split() for line in out.splitlines() if line.startswith(("training form", "deployed form"))]
    parameters = [int(row[2].replace(",", "")) for row in rows]
    assert parameters[0] > 2 * parameters[1] == 2 * sum(value.numel() for value in load(
        Path("experiments/tiny/models/net_g_latest_deploy.pth")).parameters())  # fmt: skip
    assert rows[0][-1] == "(1.00)"
    assert Path("experiments/tiny/comparison.png").is_file()


def test_a_run_that_could_not_be_deployed_is_compared_in_its_training_form(pairs, capsys, monkeypatch):
    def refuse(net):
        raise RuntimeError("this block cannot")

    monkeypatch.setattr(reparam_model, "deploy", refuse)
    comparison = {"dataset": "val", "crop_border": 2, "test_y_channel": True}
    assert run({**options(), "comparison": comparison}) == 0
    titles = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("PSNR"))
    assert titles.split()[-1] == "Reparameterized"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_deploys_what_the_cpu_deploys(tmp_path):
    states = []
    for num_gpu in (0, 1):
        torch.manual_seed(1)
        content = {**options(WIDE, "DualRegressionModel", reparam=True, **DUAL_LOSS), **DUAL, "num_gpu": num_gpu}
        paths = dict.fromkeys(("experiments_root", "models", "training_states", "visualization"), str(tmp_path))
        model = build_model({**content, "is_train": True, "dist": False, "rank": 0, "path": paths})
        torch.manual_seed(2)
        model.feed_data({"lq": torch.rand(2, 3, 8, 8), "gt": torch.rand(2, 3, 16, 16)})
        model.optimize_parameters(1)
        model.save(0, 1)
        states.append(read_state_dict(tmp_path / "net_g_1_deploy.pth", "params_ema")[0])
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value, atol=1e-4, rtol=1e-3)
