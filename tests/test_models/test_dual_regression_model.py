"""Dual regression: parity with the official loss, three forms, optimizers, skip rule, resuming, two processes."""

import copy
import json
import logging
import math

import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from basicsr.models import build_model

from lightsr_basicsr.checkpoints import CheckpointError
from lightsr_basicsr.models.step_rules import SkipRule
from tests import golden
from tests.conftest import SHARED

DRN = {"type": "DRN", "num_feat": 4, "num_block": 1, "upscale": 4}
DRN_DUAL = {"type": "DRNDual", "num_feat": 4, "upscale": 4}
EDSR = {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "num_block": 1, "rgb_mean": [0.4, 0.4, 0.4]}
SWINIR = {"type": "SwinIR_DR", "depths": [2], "num_heads": [2], "embed_dim": 4, "img_size": 8, "upscale": 2,
          "window_size": 4}  # fmt: skip
DUAL_OPT = {"type": "L1Loss", "loss_weight": 0.1}


def dual_of(scale: int, **kwargs) -> dict:
    return {"type": "DualNetwork", "num_feat": 4, "downscale": scale, **kwargs}


def options(folder, network: dict, dual: dict | None, is_train: bool = True, path: dict | tuple = (), **train) -> dict:
    """Return what the model's constructor is given."""
    return copy.deepcopy({
        "model_type": "DualRegressionModel", "scale": network["upscale"], "num_gpu": 0, "dist": False, "rank": 0,
        "is_train": is_train, "network_g": network, **({"network_dual": dual} if dual else {}),
        "path": {"experiments_root": str(folder), "models": str(folder), "training_states": str(folder), **dict(path)},
        "train": {
            "total_iter": 10, "optim_g": {"type": "Adam", "lr": 1e-3}, "pixel_opt": {"type": "L1Loss"},
            "scheduler": {"type": "MultiStepLR", "milestones": [100], "gamma": 0.5}, "dual_opt": DUAL_OPT, **train,
        },
    })  # fmt: skip


def make(folder, network: dict = DRN, dual: dict | None = DRN_DUAL, **more):
    torch.manual_seed(1)
    return build_model(options(folder, network, dual, **more))


def batch(seed: int = 0, scale: int = 4, side: int = 6) -> dict:
    """Return random HR images, and as LR images their means over squares."""
    gt = torch.from_numpy(np.random.default_rng(seed).random((2, 3, side * scale, side * scale), np.float32))
    levels = {f"lq_down{factor}": torch.nn.functional.avg_pool2d(gt, factor) for factor in (4, 2) if factor < scale}
    return {"gt": gt, "lq": torch.nn.functional.avg_pool2d(gt, scale), **levels}


def steps(model, count: int, data: dict | None = None, start: int = 1) -> list[dict]:
    logged = []
    for number in range(start, start + count):
        model.update_learning_rate(number)
        model.feed_data(data or batch(number, model.opt["scale"]))
        model.optimize_parameters(number)
        logged.append(dict(model.get_current_log()))
    return logged


def everything(model) -> dict[str, torch.Tensor]:
    """Return all that a step changes: weights, averages, moments."""
    nets = {
        name: net.state_dict() for name in ("net_g", "net_dual", "net_g_ema") if (net := getattr(model, name, None))
    }
    found = {f"{name}.{key}": value for name, state in nets.items() for key, value in state.items()}
    for index, optimizer in enumerate(model.optimizers):
        for number, state in optimizer.state_dict()["state"].items():
            found |= {f"optimizer{index}.{number}.{key}": torch.as_tensor(value) for key, value in state.items()}
    return {key: value.clone() for key, value in found.items()}


def assert_equal(ours: dict, theirs: dict) -> None:
    assert ours.keys() == theirs.keys()
    assert [key for key, value in ours.items() if not torch.equal(value, theirs[key])] == []


class Recorded(torch.nn.Module):
    """Stands for a network whose levels are given, in [0, 255]."""

    training_output, upscale = "levels", 4

    def __init__(self, levels: list[torch.Tensor]) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [level / 255 for level in self.levels]


def official_step(state: dict, arrays: dict, folder) -> dict[str, np.ndarray]:
    """Return losses and gradients for recorded levels and targets in [0, 255], under the names of the recording.

    ``state`` are the weights of the dual networks, which are loaded from a list as the official files are.
    """
    states = [{key[2:]: value for key, value in state.items() if key[0] == level} for level in "01"]
    torch.save(states, folder / "list.pt")
    path = {"pretrain_network_dual": str(folder / "list.pt")}
    model = make(folder, dual={**DRN_DUAL, "num_feat": 16}, path=path)
    levels = [torch.from_numpy(arrays[f"sr_{index}"]).requires_grad_() for index in range(3)]
    images = {key: torch.from_numpy(arrays[name]) / 255
              for key, name in (("gt", "hr"), ("lq", "lr_0"), ("lq_down2", "lr_1"))}  # fmt: skip
    model.net_g = Recorded(levels)
    model.feed_data(images)
    losses = model.compute_losses()
    sum(losses.values()).backward()
    pix, lower, dual = (losses[name].item() for name in ("l_pix", "l_levels", "l_dual"))
    gradients = {f"grad_sr_{index}": level.grad.numpy() for index, level in enumerate(levels)}
    sums = {"loss_primary": pix + lower, "loss_dual": dual / 0.1, "loss_total": pix + lower + dual}
    return {"loss_pix": pix, **sums, **gradients}


@pytest.mark.parametrize("folder", [SHARED / "golden", golden.OWN], ids=["official", "own"])
def test_losses_and_gradients_equal_the_recorded_ones(folder, tmp_path):
    if not folder.is_dir():
        pytest.skip(f"no recordings at {folder}: the official ones are not part of the repository")
    description, arrays = golden.read(folder, "drn_dual_loss_x4")
    ours = official_step(golden.state_dict(description), arrays, tmp_path)
    for name in ("loss_primary", "loss_dual", "loss_total"):
        assert ours[name] == pytest.approx(float(arrays[name]), rel=1e-6)
    if "primary_terms" in arrays:
        assert ours["loss_pix"] == pytest.approx(float(arrays["primary_terms"][0]), rel=1e-6)
    for name in ("grad_sr_0", "grad_sr_1", "grad_sr_2"):
        # One pixel's share of the mean is 2e-4 at the largest level.
        assert np.abs(ours[name] - arrays[name]).max() < 1e-7, name


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_levels_are_each_compared_with_the_image_of_their_size(tmp_path, scale):
    network = {**DRN, "num_feat": 8, "upscale": scale}
    weights = {"pixel_opt": {"type": "L1Loss", "loss_weight": 0.5}, "dual_opt": {"type": "L1Loss", "loss_weight": 0.2}}
    model = make(tmp_path, network, {**DRN_DUAL, "upscale": scale}, **weights)
    data = batch(3, scale)
    lows = [data["lq"], *(data[f"lq_down{factor}"] for factor in (4, 2) if factor < scale)]
    sr = model.net_g(data["lq"])
    duals = list(model.net_dual.children())
    assert len(lows) == len(duals) == len(sr) - 1 == math.log2(scale)
    expected = {
        "l_pix": 0.5 * 255 * (sr[-1] - data["gt"]).abs().mean(),
        "l_levels": sum(0.5 * 255 * (sr[level] - low).abs().mean() for level, low in enumerate(lows)),
        "l_dual": sum(
            0.2 * 255 * (dual(image) - low).abs().mean() for dual, image, low in zip(duals, sr[1:], lows, strict=True)
        ),
    }
    model.feed_data(data)
    model.optimize_parameters(1)
    assert model.log_dict == pytest.approx({name: value.item() for name, value in expected.items()}, rel=1e-5)
    assert torch.equal(model.output, sr[-1])


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_one_image_of_any_network_is_led_back_to_the_input(tmp_path, scale):
    """BasicSR's own EDSR, with the range and the losses that are asked for."""
    model = make(tmp_path, {**EDSR, "upscale": scale}, dual_of(scale), dual_opt={**DUAL_OPT, "type": "MSELoss"},
                 loss_range=10)  # fmt: skip
    data = batch(4, scale)
    sr = model.net_g(data["lq"])
    expected = {
        "l_pix": 10 * (sr - data["gt"]).abs().mean().item(),
        "l_dual": 0.1 * 100 * (model.net_dual(sr) - data["lq"]).square().mean().item(),
    }
    assert steps(model, 1, data)[0] == pytest.approx(expected, rel=1e-5)
    assert all(loss["l_dual"] > 0 for loss in steps(model, 2, start=2))


def test_a_dual_network_inside_is_trained_by_the_one_optimizer(tmp_path):
    model = make(tmp_path, SWINIR, None)
    for module in model.net_g.modules():
        if hasattr(module, "drop_prob"):
            module.drop_prob = 0.0  # stochastic depth would draw another network
    before, data = everything(model), batch(5, 2, side=8)
    sr, back = model.net_g.train()(data["lq"])
    expected = {
        name: weight * (image - target).abs().mean().item()
        for name, weight, image, target in (("l_pix", 1, sr, data["gt"]), ("l_dual", 0.1, back, data["lq"]))
    }
    assert steps(model, 1, data)[0] == pytest.approx(expected, rel=1e-5)
    after = everything(model)
    moved = {key for key, value in before.items() if not torch.equal(value, after[key])}
    assert {"net_g.dual_model.dual_module.0.0.weight", "net_g.conv_first.weight"} <= moved
    assert len(model.optimizers) == 1
    assert model.net_dual is None


IMDN = {"type": "IMDN", "num_feat": 16, "num_block": 1, "upscale": 3}
FORMS = {"levels": (DRN, DRN_DUAL), "image": (IMDN, dual_of(3)), "back": (SWINIR, None)}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_learns_a_batch(tmp_path, form):
    network, dual = FORMS[form]
    model = make(tmp_path, network, dual, optim_g={"type": "Adam", "lr": 5e-3})
    logged = steps(model, 30, batch(1, network["upscale"], side=8))
    assert sum(logged[-1].values()) < 0.8 * sum(logged[0].values())
    assert logged[-1]["l_dual"] < 0.8 * logged[0]["l_dual"]


def test_reparameterized_networks_are_of_the_form_that_they_widen(tmp_path):
    content = options(tmp_path, DRN, DRN_DUAL, reparam=True)
    content["network_g"] = {"type": "Reparameterized", "network": dict(DRN)}
    model = build_model(content)
    assert set(steps(model, 1)[0]) == {"l_pix", "l_levels", "l_dual"}
    model.save(0, 1)
    assert {"net_g_1.pth", "net_g_1_deploy.pth", "net_dual_1.pth"} <= {file.name for file in tmp_path.iterdir()}


def test_the_dual_loss_reaches_the_network(tmp_path):
    model = make(tmp_path, pixel_opt={"type": "L1Loss", "loss_weight": 0})
    before = everything(model)
    steps(model, 1)
    after = everything(model)
    assert not torch.equal(before["net_g.head.weight"], after["net_g.head.weight"])


def test_each_dual_network_has_an_optimizer_and_a_schedule_of_its_own(tmp_path):
    model = make(tmp_path, optim_dual={"type": "Adam", "lr": 0.5},
                 scheduler={"type": "MultiStepLR", "milestones": [1], "gamma": 0.1})  # fmt: skip
    sizes = [sum(p.numel() for p in optimizer.param_groups[0]["params"]) for optimizer in model.optimizers]
    assert sizes == [sum(p.numel() for p in model.net_g.parameters()), 54 * 4, 54 * 4]
    steps(model, 2)
    assert [group["lr"] for optimizer in model.optimizers for group in optimizer.param_groups] == pytest.approx(
        [1e-4, 0.05, 0.05]
    )
    shared = make(tmp_path, {**EDSR, "upscale": 4}, dual_of(4))
    assert [optimizer.param_groups[0]["lr"] for optimizer in shared.optimizers] == [1e-3, 1e-3]


def test_the_perceptual_loss_sees_the_last_image_as_it_is(tmp_path):
    model, seen = make(tmp_path), []
    model.cri_perceptual = lambda image, gt: (seen.append((image, gt)) or image.mean(), None)
    assert set(steps(model, 1)[0]) == {"l_pix", "l_percep", "l_levels", "l_dual"}
    ((image, gt),) = seen
    assert image is model.output
    assert torch.equal(gt, batch(1)["gt"])


def test_the_average_follows_and_is_saved_with_the_dual_network(tmp_path):
    model = make(tmp_path, ema_decay=0.75)
    start = model.net_g.head.weight.detach().clone()
    steps(model, 1)
    expected = 0.75 * start + 0.25 * model.net_g.head.weight.detach()
    torch.testing.assert_close(model.net_g_ema.head.weight, expected)
    model.save(0, 1)
    assert set(torch.load(tmp_path / "net_g_1.pth")) == {"params", "params_ema"}
    saved = torch.load(tmp_path / "net_dual_1.pth")
    assert set(saved) == {"params"}
    assert_equal(saved["params"], dict(model.net_dual.state_dict()))


def test_a_dual_network_saved_before_is_where_another_begins(tmp_path):
    first = make(tmp_path)
    steps(first, 2)
    first.save(0, 2)
    second = make(tmp_path, path={"pretrain_network_dual": str(tmp_path / "net_dual_2.pth")})
    assert_equal(dict(second.net_dual.state_dict()), dict(first.net_dual.state_dict()))


def test_the_dual_part_of_a_whole_file_is_taken(tmp_path):
    whole = build_network(dict(SWINIR)).state_dict()
    torch.save({"params": whole}, tmp_path / "whole.pth")
    path = {"pretrain_network_dual": str(tmp_path / "whole.pth")}
    model = make(tmp_path, {**EDSR, "upscale": 2}, dual_of(2, num_feat=16), path=path)
    inside = {key: value for key, value in whole.items() if key.startswith("dual_model.")}
    assert_equal({f"dual_model.{key}": value for key, value in model.net_dual.state_dict().items()}, inside)
    assert len(inside) == 2


@pytest.mark.parametrize(
    ("network", "dual", "file", "message"),
    [
        (DRN, DRN_DUAL, {**DRN_DUAL, "upscale": 8}, "it holds DRNDual x0.5, train form .num_feat 4, upscale 8"),
        ({**EDSR, "upscale": 4}, dual_of(4), dual_of(2), "it holds DualNetwork x0.5.*downscale 2"),
        ({**EDSR, "upscale": 2}, dual_of(2), dual_of(3), "it holds DualNetwork x0.33.*downscale 3"),
        ({**EDSR, "upscale": 4}, dual_of(4, num_feat=16), SWINIR, "it holds DualNetwork x0.5.*downscale 2"),
        (DRN, DRN_DUAL, DRN, "does not fit DRNDual: it holds DRN x4"),
    ],
)
def test_a_file_of_another_dual_network_is_refused(tmp_path, network, dual, file, message):
    torch.save(build_network(dict(file)).state_dict(), tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=message):
        make(tmp_path, network, dual, path={"pretrain_network_dual": str(tmp_path / "other.pth")})


def test_a_network_that_holds_its_dual_network_keeps_it_when_loaded(tmp_path):
    """Only a dual network takes the dual part of a file."""
    state = build_network(dict(SWINIR)).state_dict()
    torch.save(state, tmp_path / "whole.pth")
    model = make(tmp_path, SWINIR, None, path={"pretrain_network_g": str(tmp_path / "whole.pth")})
    assert_equal(dict(model.net_g.state_dict()), dict(state))


def test_sections_that_are_missing_are_reported_without_a_check_before(tmp_path):
    with pytest.raises(
        ValueError, match=r"network_dual: is missing: DRN needs {type: DRNDual, num_feat: 4, upscale: 4}"
    ):
        make(tmp_path, dual=None)
    with pytest.raises(ValueError, match=r"train\.dual_opt: is missing"):
        make(tmp_path, dual_opt=None)


def test_a_batch_without_the_larger_levels_is_reported_in_training_only(tmp_path):
    model, data = make(tmp_path, {**DRN, "upscale": 8}, {**DRN_DUAL, "upscale": 8}), batch(0, 8)
    del data["lq_down4"]
    model.feed_data(data)
    model.test()
    with pytest.raises(ValueError, match=r"needs `lq_down4` in a training batch.*MultiScalePairedDataset"):
        model.optimize_parameters(1)


def test_a_test_builds_no_dual_network(tmp_path):
    model = make(tmp_path, is_train=False)
    assert not hasattr(model, "net_dual")
    model.feed_data({"lq": torch.rand(1, 3, 5, 6)})
    model.test()
    assert model.output.shape == (1, 3, 20, 24)


def test_the_rule_takes_the_mean_of_the_epoch_before():
    rule = SkipRule(2.0, 3)
    assert rule.accepts(1.9e8, 4.0)
    assert not rule.accepts(2e8, 8.0)
    assert rule.accepts(1.0, float("nan"))
    assert rule.error_last == 6.0  # the mean of what is finite, used or not
    assert rule.accepts(11.9, 1.0)
    assert not rule.accepts(12.0, 1.0)
    assert not rule.accepts(float("nan"), 1.0)
    assert rule.error_last == 1.0
    for _ in range(3):
        assert not rule.accepts(float("nan"), float("nan"))
    assert rule.error_last == 1.0


def test_the_rule_adds_dual_terms_with_weight_one(tmp_path):
    model = make(tmp_path, epoch_iter=2)
    logged = steps(model, 2)
    sums = [loss["l_pix"] + loss["l_levels"] + loss["l_dual"] / 0.1 for loss in logged]
    assert model.skip_rule.error_last == pytest.approx(sum(sums) / 2, rel=1e-5)


@pytest.mark.parametrize(("other", "accepted"), [(5.9, True), (6.1, False), (float("nan"), False)])
def test_processes_decide_by_their_mean(tmp_path, monkeypatch, other, accepted):
    """The total here is 4, and without weights it is 13; the limit is 5."""
    model = make(tmp_path, skip_threshold=2.5, epoch_iter=1)
    model.skip_rule.error_last, model.output = 2.0, torch.zeros(1)
    model.opt.update(dist=True, world_size=2)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda values: values.add_(other))
    assert model.accepts({"l_pix": torch.tensor(3.0), "l_dual": torch.tensor(1.0)}) is accepted
    assert model.skip_rule.error_last == pytest.approx(2.0 if math.isnan(other) else (13 + other) / 2)


@pytest.mark.parametrize("bad", ["large", "nan"])
def test_a_rejected_batch_changes_nothing(tmp_path, caplog, bad):
    model = make(tmp_path, ema_decay=0.5, skip_threshold=20, epoch_iter=3)
    logging.getLogger("basicsr").propagate = True
    steps(model, 3)
    before, data = everything(model), batch(9)
    data["gt"] = data["gt"] * 1000 if bad == "large" else data["gt"] * float("nan")
    with caplog.at_level(logging.WARNING, "basicsr"):
        (logged,) = steps(model, 1, data, start=4)
        assert_equal(everything(model), before)
        assert not model.output.requires_grad  # nothing of the step stays in memory
        assert model.parts is None
        assert not caplog.messages
        assert (logged["l_pix"] > 1e4) if bad == "large" else math.isnan(logged["l_pix"])
        steps(model, 2, start=5)
    after = everything(model)
    moved = [key for key, value in after.items() if not torch.equal(value, before[key])]
    assert any(key.startswith("net_g.") for key in moved)
    assert any(key.startswith("net_dual.") for key in moved)
    (message,) = caplog.messages
    assert message.startswith("1 of the last 3 batches were skipped: their loss was NaN or not below 20 times")


@pytest.mark.parametrize("block", ["RepVGG", "DBB"])
def test_a_rejected_batch_leaves_the_statistics_of_normalisation(tmp_path, block):
    network = {"type": "Reparameterized", "block": block, "upscale": 2,
               "network": {"type": "IMDN_RTC", "num_feat": 4, "num_block": 1}}  # fmt: skip
    content = options(tmp_path, network, dual_of(2), skip_threshold=1e6)
    del content["network_g"]["upscale"]
    model, good, bad = build_model(content), batch(1, scale=2), batch(2, scale=2)
    bad["lq"][0, 0, 0, 0] = float("nan")
    steps(model, 2, good)
    before = {key: value.clone() for key, value in model.net_g.state_dict().items()}
    steps(model, 1, bad, start=3)
    assert all(torch.equal(value, before[key]) for key, value in model.net_g.state_dict().items())
    steps(model, 1, good, start=4)
    assert any(not torch.equal(value, before[key]) for key, value in model.net_g.state_dict().items())
    assert all(torch.isfinite(value).all() for value in model.net_g.state_dict().values())


def test_a_gray_network_has_a_gray_dual_network(tmp_path):
    network = {"type": "MSRResNet", "num_in_ch": 1, "num_out_ch": 1, "num_feat": 4, "num_block": 1, "upscale": 2}
    with pytest.raises(ValueError, match="network_dual: DualNetwork cannot run"):
        make(tmp_path, network, dual_of(2))
    model = make(tmp_path, network, dual_of(2, num_in_ch=1))
    model.feed_data({key: value.mean(dim=1, keepdim=True) for key, value in batch(scale=2).items()})
    model.optimize_parameters(1)
    assert model.log_dict["l_dual"] > 0


@pytest.mark.parametrize(("network", "dual", "change"), [(DRN, DRN_DUAL, {"skip_threshold": None}),
                                                         ({**EDSR, "upscale": 4}, dual_of(4), {})])  # fmt: skip
def test_without_a_rule_every_batch_is_used(tmp_path, network, dual, change):
    model, data = make(tmp_path, network, dual, **change), batch(9)
    data["lq"] = data["lq"] * float("nan")
    steps(model, 1, data)
    assert any(torch.isnan(value).any() for value in model.net_g.state_dict().values())


def test_schedules_that_step_now_and_then_are_the_official_staircase(tmp_path):
    """CosineAnnealingLR of T_max 4 epochs of 3 iterations; eta_min as officially 1e-7."""
    scheduler = {"type": "CosineAnnealingRestartLR", "periods": [4], "restart_weights": [1], "eta_min": 1e-7}
    model = make(tmp_path, scheduler=scheduler, schedule_every=3, optim_g={"type": "Adam", "lr": 1e-4})
    for number in range(1, 13):
        model.update_learning_rate(number)
        epoch = (number - 1) // 3
        expected = 1e-7 + (1e-4 - 1e-7) * (1 + math.cos(math.pi * epoch / 4)) / 2
        rates = [optimizer.param_groups[0]["lr"] for optimizer in model.optimizers]
        assert rates == pytest.approx([expected] * 3, rel=1e-9)


def test_the_own_recording_is_of_the_official_dual_networks():
    description, _ = golden.read(golden.OWN, "drn_dual_loss_x4")
    assert json.loads(json.dumps(description))["state_dict"][0]["shape"] == [16, 3, 3, 3]
