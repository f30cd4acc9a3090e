"""Choice of channels: parity with the official code, every form of site, kills at any iteration, files, bad options."""

import json
from pathlib import Path

import pytest
import torch
from basicsr.archs import build_network
from basicsr.models import build_model
from basicsr.utils import get_root_logger

from lightsr_basicsr import cli
from lightsr_basicsr.checkpoints.identify import identify, load
from lightsr_basicsr.pruning.l1 import keep_by_l1
from tests import drc, tiny
from tests.test_models.test_channel_search_model import complain
from tests.test_models.test_dual_regression_model import DRN, DRN_DUAL, EDSR, IMDN, SWINIR, assert_equal, dual_of
from tests.test_models.test_dual_regression_model import batch as random_batch
from tests.test_models.test_dual_regression_model import options as dual_options
from tests.test_models.test_dual_regression_run import flat, images, run_options  # noqa: F401 (a fixture)


@pytest.mark.parametrize("folder", drc.FOLDERS.values(), ids=drc.FOLDERS)
def test_order_scores_and_weights_equal_the_recorded_ones(folder, tmp_path):
    description, arrays = drc.read(folder, "drc_dcp_tiny")
    found = drc.select(description, arrays, tmp_path)
    assert found["selection_order"] == description["selection_order"]
    for name in ("first_round_mean_loss", "last_finetune_loss"):
        assert found[name] == pytest.approx(description[name], rel=1e-6)
    assert {key for key in arrays if key.startswith("pruned__")} <= set(found["arrays"])
    drc.compare(found["arrays"], arrays, relative=1e-6)


def make(folder, network: dict, dual: dict | None, **train):
    torch.manual_seed(1)
    content = dual_options(folder, network, dual, **{"pruning_rate": 0.5, "pass_iter": 1, **train})
    content |= {"model_type": "ChannelPruningModel", "datasets": {"train": {}}}
    torch.save(build_network(dict(network)).state_dict(), folder / "dense.pth")
    content["path"]["pretrain_network_dense"] = str(folder / "dense.pth")
    content["train"].pop("optim_g")
    content["train"].pop("scheduler")
    content["train"]["total_iter"] = total = train.pop("total_iter", 0) or _needed(content)
    return build_model(content), total


def _needed(content: dict) -> int:
    from lightsr_basicsr.archs.sites import sites_of
    from lightsr_basicsr.models.pruning_checks import iterations_of, settings_of, targets_in

    sites = sites_of(build_network(dict(content["network_g"])), content["train"].get("sites"))
    return iterations_of(targets_in(content, sites), settings_of(content["train"]))


FORMS = {
    "levels": (DRN, DRN_DUAL, {}),
    "chain": (IMDN, dual_of(3), {}),
    "attention": (SWINIR, None, {}),
    "foreign": ({**EDSR, "upscale": 4}, dual_of(4), {"sites": [["body.0.conv1", "body.0.conv2"]]}),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_site_is_pruned(tmp_path, form):
    network, dual, more = FORMS[form]
    model, total = make(tmp_path, network, dual, channels_per_round=2, **more)
    whole = {key: value.clone() for key, value in model.net_dense.state_dict().items()}
    scale = network["upscale"]
    for number in range(1, total + 1):
        model.feed_data(random_batch(number, scale, 8))
        model.optimize_parameters(number)
        assert model.selection.done == (number == total)
    assert_equal(dict(model.net_dense.state_dict()), whole)
    widths = [site.width - site.width // 2 for site in model.sites]
    assert [len(set(kept)) for kept in model.selection.kept] == widths
    assert [len(each) for each in model.selection.first_scores] == [site.width for site in model.sites]
    small, _ = model.pruned()
    state = model.net_g.state_dict()
    changed = {key for key, value in state.items() if not torch.equal(value, whole[key])}
    layers = {f"{site.consumer}.{kind}" for site in model.sites for kind in ("weight", "bias")}
    assert {f"{site.consumer}.weight" for site in model.sites} <= changed <= layers
    image = random_batch(0, scale, 8)["lq"][:1]
    model.feed_data({"lq": image})
    model.test()
    if form != "attention":  # which still has all queries and keys
        with torch.no_grad():
            torch.testing.assert_close(model.output, model.net_g.eval()(image), rtol=1e-4, atol=1e-5)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.net_g.parameters())


def test_l1_chooses_at_once_and_tunes_nothing(tmp_path):
    model, _ = make(tmp_path, DRN, DRN_DUAL, criterion="l1", total_iter=1)
    model.feed_data(random_batch(1))
    model.optimize_parameters(1)
    assert model.selection.done
    assert model.selection.kept == keep_by_l1(model.net_dense, model.sites, model.selection.targets)
    model.save(0, 1)
    assert identify(tmp_path / "net_pruned_1.pth").form == "pruned"
    state, whole = load(tmp_path / "net_pruned_1.pth").state_dict(), model.net_dense.state_dict()
    kept = model.selection.kept[0]
    name = model.sites[0].consumer
    assert torch.equal(state[f"{name}.weight"], whole[f"{name}.weight"][:, kept])


def test_a_gradient_that_is_not_finite_is_left_out(tmp_path):
    model, _ = make(tmp_path, DRN, DRN_DUAL, pass_iter=2)
    for number, bad in enumerate((True, False), 1):
        data = random_batch(number)
        if bad:
            data["gt"][0, 0, 0, 0] = float("nan")
        model.feed_data(data)
        model.optimize_parameters(number)
        assert model.loss_is_finite is not bad
    assert model.selection.first_scores[0].isfinite().all()


@pytest.mark.parametrize(("rate", "told"), [(1e-6, 0), (10.0, 1)])
def test_a_tuning_that_diverges_is_told(tmp_path, monkeypatch, rate, told):
    model, _ = make(tmp_path, DRN, DRN_DUAL, pass_iter=2, tune_lr=rate)
    warnings = []
    monkeypatch.setattr(get_root_logger(), "warning", warnings.append)
    for number in range(1, 2 * 2 * model.selection.targets[0] + 1):
        model.feed_data(random_batch(1))
        model.optimize_parameters(number)
    assert model.selection.index == 1
    assert len(warnings) == told
    assert all("it diverges" in text and "smaller `tune_lr` than 10" in text for text in warnings)


CHANNELS = [2, 2, 3, 2, 2, 2]


def pruning_run(name: str = "pruning", **train) -> dict:
    content = run_options(name, DRN, DRN_DUAL, **{"channels": CHANNELS, "pass_iter": 2, "total_iter": 52, **train})
    content["model_type"] = "ChannelPruningModel"
    for key in ("ema_decay", "optim_g", "scheduler"):
        del content["train"][key]
    torch.manual_seed(0)
    for key, file in (("network_g", "dense.pth"), ("network_dual", "dual.pth")):
        torch.save(drc.build(content[key]).state_dict(), file)
    content["path"] = {"pretrain_network_dense": "dense.pth", "pretrain_network_dual": "dual.pth"}
    content["val"]["val_freq"] = 26
    return content


def files_of(run: Path) -> dict:
    names = ("models/net_g_latest.pth", "models/net_pruned_latest.pth", "training_states/52.state")
    found = {name: flat(torch.load(run / name)) for name in names}
    return {**found, "selection": json.loads((run / "selection.json").read_text())}


@pytest.mark.parametrize("kept", [1, 6, 8, 23, 51])
def test_a_run_that_is_killed_anywhere_ends_with_the_same_bits(images, kept):  # noqa: F811
    """While scores are summed, while weights are tuned, between two sites, and right before the end."""
    content = pruning_run()
    run = Path("experiments/pruning")
    assert cli.main(["train", "-opt", tiny.write(content)]) == 0
    whole = files_of(run)
    for state in run.glob("training_states/*.state"):
        if int(state.stem) > kept:
            state.unlink()
    for file in [*run.glob("models/net_*_latest.pth"), run / "selection.json", run / "channel_configs.txt"]:
        file.unlink()
    assert cli.main(["train", "-opt", tiny.write(content), "--auto_resume"]) == 0
    again = files_of(run)
    assert again.pop("selection") == whole.pop("selection")
    for name, expected in whole.items():
        assert_equal(again[name], expected)
    (log, *_) = sorted(run.glob("train_*.log"))
    assert "Site 6 of 6, up_blocks.1.1: 2 of 16 channels kept. Left: 0:00:00." in log.read_text()


def test_the_result_is_a_network_with_a_channel_list(images):  # noqa: F811
    assert cli.main(["train", "-opt", tiny.write(pruning_run())]) == 0
    run = Path("experiments/pruning")
    identity = identify(run / "models/net_pruned_latest.pth")
    assert (identity.network, identity.form) == ("DRN", "pruned")
    assert identity.arguments["channels"] == CHANNELS
    assert (run / "channel_configs.txt").read_text().split() == list(map(str, CHANNELS))
    chosen = json.loads((run / "selection.json").read_text())
    assert chosen["network_g"] == {**DRN, "channels": CHANNELS}
    assert {name: len(kept) for name, kept in chosen["kept"].items()} == {
        "down.0": 2, "down.1": 2, "up_blocks.0.0": 3, "up_blocks.0.1": 2, "up_blocks.1.0": 2, "up_blocks.1.1": 2
    }  # fmt: skip
    content = tiny.test_options(tiny.paired("v", "data"), pretrain_network_g=str(run / "models/net_pruned_latest.pth"))
    content |= {"model_type": "LossDictModel", "scale": 4, "network_g": chosen["network_g"]}
    assert cli.main(["test", "-opt", tiny.write(content)]) == 0


def test_a_pruning_that_diverges_says_what_to_lower(images, capsys):  # noqa: F811
    content = pruning_run(feature_weight=1e38, nan_patience=2)
    assert cli.main(["train", "-opt", tiny.write(content)]) == 1
    assert "Lower tune_lr, or feature_weight for a network whose" in " ".join(capsys.readouterr().err.split())


def test_a_state_of_another_list_is_reported(images, capsys):  # noqa: F811
    content = pruning_run()
    assert cli.main(["train", "-opt", tiny.write(content)]) == 0
    content["train"]["channels"] = [2, 2, 2, 3, 2, 2]
    assert cli.main(["train", "-opt", tiny.write(content), "--auto_resume"]) == 2
    assert "pruning to another channel list: set train.channels as it was" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"channels": CHANNELS[:5]}, "train.channels: The pruning expects 6 numbers in `channels`, got 5"),
        ({"channels": [0, *CHANNELS[1:]]}, "number 0 of `channels` must be within 1 and 4, got 0"),
        ({"channels": [5, *CHANNELS[1:]]}, "number 0 of `channels` must be within 1 and 4, got 5"),
        ({"channels": [2.5, *CHANNELS[1:]]}, "expects whole numbers in `channels`, got 2.5"),
        ({"channels": "none.txt"}, "finds no channel list at none.txt"),
        ({"channels": None}, "train.pruning_rate: A pruning rate is the part of the channels to remove"),
        ({"channels": None, "pruning_rate": 1.0}, "within (0, 1), got 1.0"),
        ({"total_iter": 50}, "train.total_iter: must be 52, got 50: two passes for each round"),
        ({"criterion": "l1"}, "train.total_iter: must be 1, got 52: all channels are chosen at once"),
        ({"criterion": "l2"}, "train.criterion: must be dcp or l1"),
    ],
)
def test_options_that_do_not_fit_are_told_before_a_run(images, capsys, change, expected):  # noqa: F811
    content = pruning_run()
    content["train"].update(change)
    if content["train"]["channels"] is None:
        del content["train"]["channels"]
    complain(content, capsys, expected)


def test_files_that_do_not_fit_are_told_before_a_run(images, capsys):  # noqa: F811
    content = pruning_run()
    del content["path"]["pretrain_network_dense"]
    complain(content, capsys, "path.pretrain_network_dense: is missing")
    other = {**DRN, "num_feat": 8}
    torch.save(build_network(dict(other)).state_dict(), "other.pth")
    torch.save(build_network({**DRN_DUAL, "upscale": 8}).state_dict(), "dual8.pth")
    content["path"] = {"pretrain_network_dense": "other.pth", "pretrain_network_dual": "dual8.pth"}
    complain(content, capsys, "path.pretrain_network_dense: other.pth does not fit DRN: it holds DRN x4",
             "path.pretrain_network_dual: dual8.pth does not fit DRNDual: it holds DRNDual x0.5")  # fmt: skip
