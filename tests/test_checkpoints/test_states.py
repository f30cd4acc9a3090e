"""Which training state a run resumes from, on files as a killed run or a full disk leaves them."""

from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import torch

from lightsr_basicsr.checkpoints import CheckpointError
from lightsr_basicsr.checkpoints.states import Resumption, newest_readable_state, read_state, saved_iterations
from lightsr_basicsr.tools.check.context import Run

PLAIN = {"model_type": "SRModel", "network_g": {"type": "X"}, "network_d": {"type": "Y"}, "path": {}}
DUAL = {"model_type": "DualRegressionModel", "network_g": {}, "network_dual": {}, "path": {}, "train": {}}
KDSR = {"model_type": "KDSRModel", "network_g": {}, "network_TA": {}, "path": {}, "train": {"teacher_iter": 2}}
STUDENT = {
    "model_type": "KDSRNetSTModel", "network_g": {}, "network_TA": {}, "train": {},
    "path": {"pretrain_network_TA": "gone.pth"},
}  # fmt: skip


def content(iteration: int) -> dict:
    """Return a state as BasicSR saves it."""
    return {
        "epoch": 0, "iter": iteration, "optimizers": [{"state": {0: {"step": torch.tensor(1.0)}}}],
        "schedulers": [{"milestones": Counter([5]), "last_epoch": 1}],
    }  # fmt: skip


@pytest.fixture
def states(tmp_path) -> Path:
    """States of iterations 1 to 4, and the weights of four networks beside them."""
    for folder in ("models", "training_states"):
        (tmp_path / folder).mkdir()
    for iteration in range(1, 5):
        torch.save(content(iteration), tmp_path / "training_states" / f"{iteration}.state")
        for name in ("g", "d", "dual", "TA"):
            torch.save({"params": {"weight": torch.ones(2)}}, tmp_path / "models" / f"net_{name}_{iteration}.pth")
    return tmp_path / "training_states"


def newest(states: Path, options: dict) -> Resumption:
    run = Run(options, is_train=True)
    return newest_readable_state(states, partial(run.contract.resume_files, run.sound_options))


def cut(states: Path, name: str) -> None:
    file = states.parent / name
    file.write_bytes(file.read_bytes()[:50])


@pytest.mark.parametrize(
    ("options", "name", "expected"),
    [
        (PLAIN, "models/net_d_4.pth", 3),
        (PLAIN, "models/net_dual_4.pth", 4),  # not a network of this run
        (DUAL, "models/net_dual_4.pth", 3),
        (KDSR, "models/net_g_4.pth", 3),
        (KDSR, "models/net_TA_2.pth", 1),  # the teacher of both student's states, and the state of iteration 2
        (KDSR, "models/net_TA_4.pth", 4),
        (STUDENT, "models/net_TA_4.pth", 4),  # its teacher is the file of another run
        ({**PLAIN, "path": {"ignore_resume_networks": ["network_d"]}}, "models/net_d_4.pth", 4),
    ],
)
def test_the_files_are_those_that_the_model_would_load(states, options, name, expected):
    cut(states, name)
    found = newest(states, options)
    assert found.state == states / f"{expected}.state"
    assert len(found.passed_over) == 4 - expected
    assert all(f"{name} cannot be read (50 bytes" in line for line in found.passed_over)
    assert all(line.endswith(f": resuming from {expected}") for line in found.passed_over)


def test_a_state_may_be_a_folder_or_hold_something_else(states):
    (states / "4.state").unlink()
    (states / "4.state").mkdir()
    torch.save([1], states / "3.state")
    torch.save({"iter": 2}, states / "2.state")
    found = newest(states, PLAIN)
    assert found.state == states / "1.state"
    assert found.passed_over[0] == "training_states/4.state cannot be read (a folder): resuming from 1"
    assert "expected a dictionary with epoch, iter, optimizers, schedulers (two whole" in found.passed_over[1]
    assert found.passed_over[1].endswith("), got [1]): resuming from 1")


def test_none_is_left(states):
    for iteration in saved_iterations(states):
        (states / f"{iteration}.state").write_bytes(b"")
    found = newest(states, PLAIN)
    assert found.state is None
    assert found.passed_over[-1] == "training_states/1.state cannot be read (empty): starting at iteration 0"
    assert newest(states / "missing", PLAIN) == (None, [])


def test_a_network_that_the_run_never_saved_is_a_mistake_in_the_options_and_no_damage(states):
    """Otherwise a wrong model_type would start the run anew; the check reports the missing file."""
    for file in (states.parent / "models").glob("net_dual_*"):
        file.unlink()
    assert newest(states, DUAL).state == states / "4.state"


@pytest.mark.parametrize(
    "broken", [{"path": None}, {"train": 3}, {"train": {"teacher_iter": "x"}}, {"model_type": None}]
)
def test_options_that_are_wrong_are_left_to_the_check(states, broken):
    assert newest(states, {**KDSR, **broken}).state == states / "4.state"


def test_names_that_are_no_numbers_are_left_alone(states):
    (states / "best.state").write_bytes(b"")
    (states / "10.state.part").write_bytes(b"")
    assert saved_iterations(states) == [4, 3, 2, 1]


class Harmful:
    def __reduce__(self):
        return Path.touch, (Path("harmed"),)


def test_code_in_a_state_is_not_run_and_the_run_is_not_started_anew(states, monkeypatch):
    monkeypatch.chdir(states)
    torch.save({**content(4), "extra": Harmful()}, states / "4.state")
    for read in (lambda: read_state(states / "4.state"), lambda: newest(states, PLAIN)):
        with pytest.raises(CheckpointError, match="holds Python objects"):
            read()
    assert not Path("harmed").exists()


def test_a_state_is_read_with_the_milestones_of_its_schedulers(states):
    assert read_state(states / "3.state")["schedulers"][0]["milestones"] == Counter([5])


def test_the_files_of_a_renamed_state_are_those_of_its_iteration(states):
    (states / "4.state").rename(states / "9.state")
    assert newest(states, PLAIN).state == states / "9.state"
    cut(states, "models/net_g_4.pth")
    assert newest(states, PLAIN).state == states / "3.state"


def test_an_old_torch_that_has_no_list_of_safe_classes_reads_the_milestones(states, monkeypatch):
    """Torch 1.13 to 2.3: the Counter is added to the dictionary that its safe reader looks names up in."""
    allowed = torch._weights_only_unpickler._get_allowed_globals()
    monkeypatch.delitem(allowed, "collections.Counter", raising=False)
    monkeypatch.delattr(torch.serialization, "add_safe_globals")
    assert read_state(states / "3.state")["schedulers"][0]["milestones"] == Counter([5])
    assert allowed["collections.Counter"] is Counter
