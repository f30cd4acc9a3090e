"""Training states that are torn or hold something else, beside sound ones and alone."""

import math
import shutil
from pathlib import Path

import pytest
import torch

from lightsr_basicsr import cli
from lightsr_basicsr.checkpoints import CheckpointError
from lightsr_basicsr.checkpoints.states import newest_readable_state, read_state, saved_iterations
from tests import tiny

pytestmark = pytest.mark.faults
STATE = {"epoch": 0, "iter": 4, "optimizers": [{}], "schedulers": [{}]}
CHANGES = [("iter", "4"), ("iter", -1), ("iter", True), ("epoch", 0.5), ("optimizers", {}), ("optimizers", None),
           ("schedulers", [3])]  # fmt: skip
ODD = [{}, [], [1], 3, None, "text", {"iter": 4}, torch.zeros(2), *({**STATE, key: odd} for key, odd in CHANGES)]


@pytest.mark.parametrize("content", ODD, ids=range(len(ODD)))
def test_what_is_no_state_is_passed_over_and_refused_by_name(workdir, content):
    torch.save({**STATE, "iter": 3}, "3.state")
    torch.save(content, "4.state")
    found = newest_readable_state(Path(), lambda state: {})
    assert found.state == Path("3.state")
    assert "4.state cannot be read (expected a dictionary with epoch, iter," in found.passed_over[0]
    with pytest.raises(CheckpointError, match="resume from an older one, or with --auto_resume"):
        read_state("4.state")


@pytest.mark.parametrize("broken", [b"", b"PK", {}, []], ids=str)
def test_a_job_that_is_queued_again_after_its_first_save_was_killed_starts_anew(workdir, capsys, broken):
    tiny.make_pairs(workdir / "data", 4)
    states = Path("experiments/tiny/training_states")
    states.mkdir(parents=True)
    if isinstance(broken, bytes):
        (states / "1.state").write_bytes(broken)
    else:
        torch.save(broken, states / "1.state")
    assert cli.main(["train", "-opt", tiny.write(tiny.train_options(total_iter=1)), "--auto_resume"]) == 0
    told = capsys.readouterr().err
    assert "training_states/1.state cannot be read" in told
    assert "starting at iteration 0" in told
    assert read_state(states / "1.state")["iter"] == 1


@pytest.fixture
def run(workdir) -> dict:
    """Options of a run that has ended at iteration 3, and is continued to 5."""
    tiny.make_pairs(workdir / "data", 4)
    assert train(tiny.train_options(total_iter=3)) == 0
    return tiny.train_options(total_iter=5)


STATES, MODELS = Path("experiments/tiny/training_states"), Path("experiments/tiny/models")


def train(options: dict, *flags: str) -> int:
    return cli.main(["train", "-opt", tiny.write(options), *flags])


@pytest.mark.parametrize(
    "name", ["00010", "0", "\N{SUPERSCRIPT TWO}", "\N{FULLWIDTH DIGIT FIVE}", "9" * 30, "1e3", "-5", "x"]
)
def test_copies_of_states_under_other_names_are_left_alone(run, capsys, name):
    copy = STATES / f"{name}.state"
    shutil.copy(STATES / "2.state", copy)
    before = copy.read_bytes()
    assert saved_iterations(STATES) == ([3, 2, 1, 0] if name == "0" else [3, 2, 1])
    assert train(run, "--auto_resume") == 0
    assert "resuming from" in capsys.readouterr().err
    assert read_state(STATES / "5.state")["iter"] == 5
    assert copy.read_bytes() == before


def test_the_newest_iteration_counts_and_not_the_largest_name(run, capsys):
    state = read_state(STATES / "3.state")
    torch.save({**state, "iter": 2}, STATES / "40.state")
    torch.save({**state, "iter": 50}, STATES / "60.state")
    assert train(run, "--auto_resume") == 0
    told = capsys.readouterr().err
    assert "models/net_g_50.pth cannot be read (missing): resuming from 3" in told
    assert "training_states/40.state holds iteration 2: resuming from 3" in told
    assert read_state(STATES / "5.state")["iter"] == 5


@pytest.mark.parametrize("name", ["40", "99999999"])
def test_a_renamed_state_resumes_its_own_iteration(run, capsys, name):
    (STATES / "3.state").rename(STATES / f"{name}.state")
    assert train(run, "--auto_resume") == 0
    assert f"resuming from {Path.cwd() / STATES / name}.state" in capsys.readouterr().err
    assert read_state(STATES / "5.state")["iter"] == 5


@pytest.mark.parametrize("harm", [False, True])
def test_a_state_of_any_name_is_checked_with_its_weights(run, capsys, harm):
    shutil.copy(STATES / "2.state", STATES / "mine.state")
    if harm:
        (MODELS / "net_g_2.pth").write_bytes(b"PK")
    run["path"]["resume_state"] = str(STATES / "mine.state")
    assert train(run) == (2 if harm else 0)
    assert ("weights that were saved with 2.state" in capsys.readouterr().err) is harm


@pytest.mark.parametrize("kind", ["params", "params_ema"])
def test_weights_that_are_nan_are_passed_over(run, capsys, kind):
    content = torch.load(MODELS / "net_g_3.pth")
    next(iter(content[kind].values())).fill_(math.nan)
    torch.save(content, MODELS / "net_g_3.pth")
    assert train(run, "--auto_resume") == 0
    assert "models/net_g_3.pth holds NaN: resuming from 2" in capsys.readouterr().err


@pytest.mark.parametrize("harm", ["cut", "gone", "empty"])
def test_weights_of_a_state_that_is_named_are_told_as_its_own(run, capsys, harm):
    file = MODELS / "net_g_2.pth"
    file.unlink()
    if harm != "gone":
        file.write_bytes(b"PK" if harm == "cut" else b"")
    run["path"]["resume_state"] = str(STATES / "2.state")
    assert train(run) == 2
    told = capsys.readouterr().err
    assert "path.resume_state: weights that were saved with 2.state: " in told
    assert "or with --auto_resume" in told
    assert "path.pretrain_network_g" not in told


def spoil_optimizers(state: dict) -> None:
    state["optimizers"] = [{}]


def spoil_groups(state: dict) -> None:
    state["optimizers"][0]["param_groups"][0]["params"].pop()


def spoil_moments(state: dict) -> None:
    moments = state["optimizers"][0]["state"][0]
    moments["exp_avg"] = moments["exp_avg"][:1]


def spoil_rate(value):
    def spoil(state: dict) -> None:
        state["optimizers"][0]["param_groups"][0]["lr"] = value

    return spoil


def spoil_schedule(state: dict) -> None:
    state["schedulers"][0]["last_epoch"] = "x"


SPOILT = [spoil_optimizers, spoil_groups, spoil_moments, *map(spoil_rate, ("x", math.nan, -1.0)), spoil_schedule]


@pytest.mark.parametrize("spoil", SPOILT)
@pytest.mark.parametrize("model", ["LossDictModel", "SRModel"])
def test_a_state_of_other_optimizers_is_refused_in_words(run, capsys, spoil, model):
    state = read_state(STATES / "3.state")
    spoil(state)
    torch.save(state, STATES / "3.state")
    assert train({**run, "model_type": model}, "--auto_resume") == 2
    assert "The training state of iteration 3 does not fit the optimizers" in capsys.readouterr().err
    assert saved_iterations(STATES) == [3, 2, 1]
