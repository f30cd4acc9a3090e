"""``logger.keep_last`` and ``keep_best``: what is kept, what is deleted, and what a resumed run needs."""

import json
import math
from pathlib import Path

import pytest
import torch

from lightsr_basicsr import cli
from lightsr_basicsr.checkpoints.states import saved_iterations
from lightsr_basicsr.models.kept_checkpoints import best_wanted, delete_old, find_keep_problems
from tests import kdsr, tiny

pytestmark = pytest.mark.faults
RUN = Path("experiments/tiny")


def train(options: dict, *flags: str) -> int:
    return cli.main(["train", "-opt", tiny.write(options), *flags])


def names(folder: str) -> list[str]:
    return sorted(path.name for path in (RUN / folder).iterdir())


@pytest.fixture
def pairs(workdir):
    tiny.make_pairs(workdir / "data", 4)
    return workdir


def saved(*iterations: int, labels: tuple[str, ...] = ("g",), states: bool = True) -> None:
    for folder in ("models", "training_states"):
        Path(folder).mkdir(exist_ok=True)
    for iteration in iterations:
        for label in labels:
            Path(f"models/net_{label}_{iteration}.pth").touch()
        if states:
            Path(f"training_states/{iteration}.state").touch()


def delete(iteration: int, keep: int | None, unsaved: tuple[str, ...] = (), **paths: str) -> list[int]:
    options = {
        "path": {"models": "models", "training_states": "training_states", **paths},
        "logger": {"keep_last": keep},
    }
    delete_old(options, iteration, unsaved)
    return sorted(saved_iterations(Path("training_states")))


@pytest.mark.parametrize(("keep", "left"), [(1, [5]), (2, [4, 5]), (9, [1, 2, 3, 4, 5]), (None, [1, 2, 3, 4, 5])])
def test_the_newest_are_kept_with_their_states(workdir, keep, left):
    saved(1, 2, 3, 4, 5, labels=("g", "d", "dual"))
    assert delete(5, keep) == left
    assert {path.stem.rpartition("_")[2] for path in Path("models").iterdir()} == set(map(str, left))


def test_later_states_of_an_earlier_run_count_as_nothing(workdir):
    """A run that was resumed from 2: what it saves now is not given up for 20, which may be torn."""
    saved(1, 2, 3, 20)
    assert delete(3, 1) == [3, 20]
    saved(4)
    assert delete(4, 2) == [3, 4, 20]


def test_files_of_other_names_stay(workdir):
    saved(1, 2, 3)
    others = [
        "net_g_latest.pth",
        "net_g_best.pth",
        "net_g_1_copy.pth",
        "net_g_1.onnx",
        "IMDN_1.pth",
        "net_g_best_deploy.pth",
    ]
    for name in others:
        Path("models", name).touch()
    Path("models/net_g_1_deploy.pth").touch()
    assert delete(3, 1) == [3]
    assert sorted(path.name for path in Path("models").iterdir()) == sorted([*others, "net_g_3.pth"])


def test_weights_without_a_state_are_no_checkpoint_and_go(workdir):
    saved(1, 3)
    saved(2, states=False)
    assert delete(3, 2) == [1, 3]
    assert not Path("models/net_g_2.pth").exists()


def test_the_teacher_of_a_student_stays_with_its_state(workdir):
    saved(2, 4, labels=("TA",))
    saved(5, 6, 7)
    assert delete(7, 1, ("network_TA",), pretrain_network_TA="models/net_TA_4.pth") == [4, 7]
    assert sorted(path.name for path in Path("models").iterdir()) == ["net_TA_4.pth", "net_g_7.pth"]


def test_what_cannot_be_deleted_does_not_end_the_run(workdir, monkeypatch, capsys):
    saved(1, 2)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    assert delete(2, 1) == [1, 2]
    assert "1.state cannot be deleted (logger.keep_last): Permission denied." in capsys.readouterr().err


@pytest.mark.parametrize("model", ["LossDictModel", "SRModel", "SwinIRModel"])
def test_a_run_keeps_the_newest_and_the_best_and_can_be_resumed(pairs, model):
    options = tiny.train_options(total_iter=6)
    options["model_type"] = model
    options["val"]["val_freq"] = 1
    options["logger"] |= {"keep_last": 2, "keep_best": "v/psnr"}
    assert train(options) == 0
    assert names("training_states") == ["5.state", "6.state"]
    assert names("models") == ["net_g_5.pth", "net_g_6.pth", "net_g_best.pth", "net_g_latest.pth"]
    (log,) = (RUN).glob("*.log")
    assert "Deleted the checkpoints and states of iterations 3 (logger.keep_last: 2)." in log.read_text()
    options["train"]["total_iter"] = 8
    assert train(options, "--auto_resume") == 0
    assert names("training_states") == ["7.state", "8.state"]
    record = json.loads((RUN / "best_metrics.json").read_text())["v"]["psnr"]
    best = torch.load(RUN / "models" / "net_g_best.pth")["params"]
    if record["iter"] in (7, 8):
        own = torch.load(RUN / "models" / f"net_g_{record['iter']}.pth")["params"]
        assert all(torch.equal(best[key], own[key]) for key in own)


def test_the_best_file_is_the_network_of_the_best_record(pairs):
    options = tiny.train_options(total_iter=5)
    options["val"] |= {
        "val_freq": 1,
        "metrics": {**tiny.metrics(), "niqe": {**tiny.metrics()["psnr"], "better": "lower"}},
    }
    options["logger"]["keep_best"] = "niqe"  # PSNR under another name, of which the lowest is the best
    assert train(options) == 0
    record = json.loads((RUN / "best_metrics.json").read_text())["v"]
    assert record["niqe"]["iter"] != record["psnr"]["iter"]
    best, own = (torch.load(RUN / "models" / f"net_g_{name}.pth") for name in ("best", record["niqe"]["iter"]))
    assert best.keys() == own.keys() == {"params", "params_ema"}
    for key in best:
        assert all(torch.equal(best[key][name], own[key][name]) for name in own[key])


def test_nan_is_no_best(pairs, monkeypatch):
    monkeypatch.setattr("basicsr.models.sr_model.calculate_metric", lambda *_: math.nan)
    options = tiny.train_options(total_iter=5)
    options["logger"]["keep_best"] = "psnr"
    assert train(options) == 0
    assert not (RUN / "models" / "net_g_best.pth").exists()
    assert json.loads((RUN / "best_metrics.json").read_text()) == {"v": {}}


def test_the_deployed_form_of_the_best_is_kept_too(pairs):
    options = tiny.train_options(total_iter=2)
    options |= {"model_type": "ReparamModel"}
    options["network_g"] = {"type": "Reparameterized", "network": options["network_g"]}
    options["logger"] |= {"keep_last": 1, "keep_best": "psnr"}
    assert train(options) == 0
    expected = ["2", "2_deploy", "best", "best_deploy", "latest", "latest_deploy"]
    assert names("models") == [f"net_g_{name}.pth" for name in expected]


def test_two_stages(workdir):
    """The teacher's hand-over is kept: the student starts from it, in a resumed run and with --stage."""
    tiny.make_pairs(workdir / "data", 4)
    options = kdsr.run_options()
    options["name"] = "tiny"
    options["logger"] |= {"keep_last": 1, "keep_best": "v/psnr"}
    options["val"]["val_freq"] = 1
    handover, total = options["train"]["teacher_iter"], options["train"]["total_iter"]
    assert train(options) == 0
    assert names("training_states") == sorted([f"{handover}.state", f"{total}.state"])
    kept = names("models")
    assert {f"net_TA_{handover}.pth", f"net_g_{total}.pth", "net_TA_best.pth", "net_g_best.pth"} <= set(kept)
    assert not [name for name in kept if name in (f"net_TA_{handover - 1}.pth", f"net_g_{total - 1}.pth")]
    options["train"]["total_iter"] = total + 1
    assert train(options, "--auto_resume") == 0
    assert train(options, "--auto_resume", "--stage", "student") == 0


@pytest.mark.parametrize(
    ("wanted", "told"),
    [("psnr", ""), ("v/psnr", ""), ("w/psnr", "must name a set that is validated (there: v, x/y); got 'w'"),
     ("ssim", "must be a metric of val.metrics (there: psnr)"), ("psnr/v", "must be a metric"),
     ("/", "must be a metric"), ("/psnr", ""), ("x/y/psnr", ""), (None, ""), (5, "")],
)  # fmt: skip
def test_the_best_that_is_wanted_must_be_validated(wanted, told):
    sets = {"train": {"name": "t"}, "val": {"name": "v"}, "val_2": {"name": "x/y"}}
    options = {"logger": {"keep_best": wanted}, "val": {"metrics": {"psnr": {}}}, "datasets": sets}
    found = [text for _, text in find_keep_problems(options)]
    assert [told in text for text in found] == ([True] if told else [])


@pytest.mark.parametrize("broken", [{"val": None}, {"val": {"metrics": ["psnr"]}}, {"datasets": 3}, {"logger": []}])
def test_a_best_of_wrong_sections_ends_in_no_error(broken):
    options = {"logger": {"keep_best": "psnr"}, "val": {"metrics": {"psnr": {}}}, "datasets": {"val": {"name": "v"}}}
    assert len(list(find_keep_problems({**options, **broken}))) <= 1
    assert best_wanted(options) == ("v", "psnr")


@pytest.mark.parametrize("value", [0, -1, 1.5, "2", True])
def test_the_check_reports_wrong_values(pairs, capsys, value):
    options = tiny.train_options()
    options["logger"] |= {"keep_last": value, "keep_best": "mse"}
    assert train(options) == 2
    told = capsys.readouterr().err
    assert "logger.keep_last: must be a whole number of at least 1" in told
    assert "logger.keep_best: must be a metric of val.metrics (there: psnr), or SET/METRIC; got 'mse'" in told
