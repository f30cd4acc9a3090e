"""Training states that are torn or hold something else, beside sound ones and alone."""

from pathlib import Path

import pytest
import torch

from lightsr_basicsr import cli
from lightsr_basicsr.checkpoints import CheckpointError
from lightsr_basicsr.checkpoints.states import newest_readable_state, read_state
from tests import tiny

pytestmark = pytest.mark.faults
STATE = {"epoch": 0, "iter": 4, "optimizers": [{}], "schedulers": [{}]}
CHANGES = [("iter", "4"), ("iter", -1), ("iter", True), ("epoch", 0.5), ("optimizers", {}), ("optimizers", None),
           ("schedulers", [3])]  # fmt: skip
ODD = [{}, [], [1], 3, None, "text", {"iter": 4}, torch.zeros(2), *({**STATE, key: odd} for key, odd in CHANGES)]


@pytest.mark.parametrize("content", ODD, ids=range(len(ODD)))
def test_what_is_no_state_is_passed_over_and_refused_by_name(workdir, content):
    torch.save(STATE, "3.state")
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
