"""NaN and Inf in losses, gradients, weights and validated images."""

import json
import math
from pathlib import Path

import pytest
import torch
from basicsr.models.sr_model import SRModel

from lightsr_basicsr import cli
from lightsr_basicsr.models.base import LossDictModel
from lightsr_basicsr.models.speed import compute_gradients
from lightsr_basicsr.tools.run.step_guard import StepGuard
from tests import kdsr, tiny

pytestmark = pytest.mark.faults


def run(options: dict, *more: str) -> int:
    return cli.main(["train", "-opt", tiny.write(options), *more])


def weights(file: str = "experiments/tiny/models/net_g_latest.pth") -> dict:
    return torch.load(file)["params"]


def log() -> str:
    return "\n".join(file.read_text() for file in sorted(Path("experiments").glob("*/train_*.log")))


@pytest.fixture
def options(workdir) -> dict:
    tiny.make_pairs(workdir / "data", 6)
    return tiny.train_options()


def spoil(monkeypatch, cls: type, iterations: set[int], value: float = math.nan) -> None:
    """Put one value into the LR images of these training batches."""
    feed, calls = cls.feed_data, []

    def feed_data(self, data):
        feed(self, data)
        if len(data["lq"]) > 1:
            calls.append(1)
            if len(calls) in iterations:
                self.lq[0, 0, 0, 0] = value

    monkeypatch.setattr(cls, "feed_data", feed_data)


@pytest.mark.parametrize(
    ("model", "loss"), [("LossDictModel", "L1Loss"), ("LossDictModel", "MSELoss"), ("SRModel", "L1Loss")]
)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_bad_batch_is_skipped_and_named(options, monkeypatch, model, loss, value):
    options["model_type"], options["train"]["pixel_opt"] = model, {"type": loss}
    spoil(monkeypatch, SRModel, {3, 4, 7}, value)
    assert run(options) == 0
    assert all(each.isfinite().all() for each in weights().values())
    text = log()
    assert text.count("so the step was skipped") == 3
    assert "(2 in a row, 2 in all; 10 in a row end the run). Images: data/LR/00" in text
    assert "data/HR/00" in text
    assert "3 steps were skipped" in text
    saved = {int(file.stem) for file in Path("experiments/tiny/training_states").iterdir()}
    assert saved == {*range(1, 11)} - {3, 4, 7}


@pytest.mark.parametrize("model", ["LossDictModel", "SRModel"])
def test_an_absurd_learning_rate_ends_the_run_and_keeps_the_last_good_files(options, capsys, model):
    options["model_type"], options["train"]["total_iter"] = model, 3
    assert run(options) == 0
    before = {file.name: file.read_bytes() for file in Path("experiments/tiny/models").iterdir()}
    best = json.loads(Path("experiments/tiny/best_metrics.json").read_text()) if model == "LossDictModel" else None
    options["train"].update(total_iter=40, optim_g={"type": "Adam", "lr": 0.001}, nan_patience=4)
    options["path"] = {"resume_state": "experiments/tiny/training_states/3.state"}
    options["val"]["val_freq"] = 1
    original = torch.optim.Adam.load_state_dict

    def absurd(self, state):
        original(self, state)
        for group in self.param_groups:
            group["lr"] = 1e10

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.Adam, "load_state_dict", absurd)
        assert run(options) == 1
    after = {file.name: file.read_bytes() for file in Path("experiments/tiny/models").iterdir()}
    assert {name: after[name] for name in before} == before
    error = capsys.readouterr().err
    assert "Loss or gradients were NaN or Inf in the last 4 steps" in error
    assert "To resume" not in error
    assert "the SR image has NaN or Inf; its metrics are NaN" in log()
    if best:
        assert json.loads(Path("experiments/tiny/best_metrics.json").read_text())["v"]["psnr"]["val"] < 60


@pytest.mark.parametrize(("patience", "status"), [(10, 1), (0, 0), (None, 0)])
def test_a_run_that_ends_diverged(options, patience, status):
    options["train"].update(total_iter=4, optim_g={"type": "Adam", "lr": 1e10}, nan_patience=patience)
    assert run(options) == status
    assert [file.name for file in Path("experiments/tiny/training_states").iterdir()] == ["1.state"]
    best = Path("experiments/tiny/best_metrics.json")
    # A metric that was never finite is not in the file.
    assert not best.is_file() or json.loads(best.read_text())["v"].get("psnr", {"iter": -1})["iter"] < 2


def test_infinite_weights_are_never_saved(options, monkeypatch):
    step = torch.optim.Adam.step

    def overflow(self):
        step(self)
        self.param_groups[0]["params"][0].data.fill_(math.inf)

    monkeypatch.setattr(torch.optim.Adam, "step", overflow)
    assert run(options) == 1
    assert not list(Path("experiments/tiny/models").iterdir())


def test_a_metric_that_is_nan_is_named_and_no_record(options, monkeypatch):
    from lightsr_basicsr._fixes import validation

    validate = SRModel.nondist_validation.__closure__
    assert validate is not None
    monkeypatch.setattr("basicsr.metrics.psnr_ssim.calculate_psnr", lambda *a, **k: math.nan)
    assert validation.no_record_of_nan() is False  # applied once
    from basicsr.utils.registry import METRIC_REGISTRY

    monkeypatch.setitem(METRIC_REGISTRY._obj_map, "calculate_psnr", lambda img, img2, **k: math.nan)
    options["train"]["total_iter"] = 5
    assert run(options) == 0
    assert "data/LR/003.png: calculate_psnr is NaN" in log()
    assert "psnr" not in json.loads(Path("experiments/tiny/best_metrics.json").read_text())["v"]


def test_gradients_are_clipped(options):
    """SGD's first step is the learning rate times the clipped norm."""
    net = torch.nn.Linear(3, 2)
    model = type("Model", (), {})()
    model.opt, model.net_g = {"train": {"max_norm": 0.5}}, net
    model.optimizers = [torch.optim.SGD(net.parameters(), lr=1.0)]
    guard = StepGuard()
    guard.bind(model)
    before = [each.detach().clone() for each in net.parameters()]
    with guard.iteration():
        (100 * net(torch.ones(4, 3)).sum()).backward()
        model.optimizers[0].step()
    moved = torch.cat([(old - new).flatten() for old, new in zip(before, net.parameters(), strict=True)])
    assert moved.norm().item() == pytest.approx(0.5, rel=1e-4)


def test_training_with_a_limit_that_is_never_reached_is_bit_equal(options):
    assert run(options) == 0
    whole = weights()
    options["train"]["max_norm"] = 1e9
    assert run(options) == 0
    assert all(torch.equal(value, weights()[key]) for key, value in whole.items())


@pytest.mark.parametrize(
    ("key", "value"),
    [("max_norm", 0), ("max_norm", "1"), ("max_norm", -1), ("nan_patience", 1.5), ("nan_patience", -1)],
)
def test_other_values_are_refused(options, capsys, key, value):
    options["train"][key] = value
    assert run(options) == 2
    assert f"train.{key}: must be a" in capsys.readouterr().err


def test_statistics_of_batch_normalization_survive_a_bad_batch():
    net = torch.nn.BatchNorm2d(2)
    model = type("Model", (), {})()
    model.opt, model.net_g, model.optimizers = {"train": {}}, net, [torch.optim.Adam(net.parameters())]
    guard = StepGuard()
    guard.bind(model)
    for value, changed in ((1.0, True), (math.nan, False), (2.0, True)):
        before = net.running_mean.clone()
        with guard.iteration():
            model.optimizers[0].zero_grad()
            (net(torch.full((2, 2, 4, 4), value)) ** 2).sum().backward()
            model.optimizers[0].step()
        assert torch.equal(before, net.running_mean) is not changed
    assert (guard.in_a_row, guard.skipped) == (0, 1)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_has_no_finite_gradient(loss):
    weight = torch.ones(3, requires_grad=True)
    compute_gradients((weight * 0).sum() + loss)
    assert not weight.grad.isfinite().any()


def test_a_finite_loss_has_the_gradients_of_backward():
    weight = torch.rand(5, requires_grad=True)
    (weight.sin().sum() - 7).backward()
    expected, weight.grad = weight.grad, None
    compute_gradients(weight.sin().sum() - 7)
    assert torch.equal(weight.grad, expected)


def test_the_gan_skips_both_steps(tmp_path):
    model = kdsr.make("KDSRGANSTModel", tmp_path)
    guard = StepGuard()
    guard.bind(model)
    kept = {name: [each.clone() for each in getattr(model, name).parameters()] for name in ("net_g", "net_d")}
    for number in (1, 2):
        data = kdsr.batch(number)
        if number == 1:
            data["gt"][0, 0, 0, 0] = math.nan
        model.feed_data(data)
        with guard.iteration():
            model.optimize_parameters(number)
        for name, before in kept.items():
            same = all(torch.equal(*pair) for pair in zip(before, getattr(model, name).parameters(), strict=True))
            assert same is (number == 1), (name, number)
    assert guard.skipped == 1


def test_the_rule_of_dual_regression_counts_nan_too(options, monkeypatch):
    """Its rule never takes a step of NaN; without a count such a run would go on for ever."""
    options.update(model_type="DualRegressionModel", network_dual={"type": "DualNetwork", "downscale": 2})
    options["train"].update(dual_opt={"type": "L1Loss", "loss_weight": 0.1}, skip_threshold=1e6, nan_patience=3)
    spoil(monkeypatch, LossDictModel, {4, 5, 6})
    assert run(options) == 1
    assert log().count("so the step was skipped") == 3


@pytest.mark.parametrize("model", ["LossDictModel", "SRModel"])
@pytest.mark.parametrize("spoilt", ["weight", "buffer"])
def test_an_average_that_is_nan_is_never_saved(options, capsys, monkeypatch, model, spoilt):
    options["model_type"] = model
    average = SRModel.model_ema

    def model_ema(self, decay=0.999):
        average(self, decay)
        if not hasattr(self.net_g_ema, "mean"):
            self.net_g_ema.register_buffer("mean", torch.tensor(math.inf), persistent=False)
            self.get_bare_model(self.net_g).register_buffer("mean", torch.tensor(math.inf), persistent=False)
        if len(list(Path("experiments/tiny/models").iterdir())) == 3:
            target = next(self.net_g_ema.parameters()) if spoilt == "weight" else self.get_bare_model(self.net_g).mean
            target.data.fill_(math.nan)

    monkeypatch.setattr(SRModel, "model_ema", model_ema)
    assert run(options) == 1
    assert "Weights are NaN or Inf after iteration 4, and were not saved." in capsys.readouterr().err
    assert sorted(file.name for file in Path("experiments/tiny/models").iterdir()) == [
        f"net_g_{number}.pth" for number in (1, 2, 3)
    ]


@pytest.mark.parametrize("model", ["LossDictModel", "SRModel"])
@pytest.mark.parametrize("rate", [3e38, 1e300])
def test_a_rate_that_no_float_can_hold_ends_the_run_in_words(options, capsys, model, rate):
    options["model_type"] = model
    options["train"]["optim_g"]["lr"] = rate
    assert run(options) == 1
    assert "Iteration 1 cannot be computed (RuntimeError: value cannot be converted" in capsys.readouterr().err
    assert not list(Path("experiments/tiny/models").iterdir())
