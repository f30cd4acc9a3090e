"""A run that is stopped and resumed ends with the bits of an uninterrupted one; ``resume_count`` is the long form."""

import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import basicsr.train
import pytest
import torch
from basicsr.models.base_model import BaseModel

from lightsr_basicsr import cli
from lightsr_basicsr.checkpoints.states import POOL, pool_file, read_pool, read_state
from lightsr_basicsr.models.kept_checkpoints import delete_old
from tests import tiny
from tests.faults.resume_cases import CASES, make_data, plain, second_order
from tests.faults.resume_count import RUN, compare, kill_in_step

pytestmark = pytest.mark.faults
CONTENT = {"epoch": 0, "iter": 3, "optimizers": [], "schedulers": []}
ANEW = "The pool is filled anew, and the resumed run ends with other bits than an uninterrupted one."


@pytest.fixture
def data(workdir) -> Path:
    make_data(workdir)
    return workdir


def run(options: dict, *more: str) -> int:
    return cli.main(["train", "-opt", tiny.write(options), *more])


def of_pool(total: int, **changes) -> dict:
    """Return options of a run with a pool that is saved at every iteration, and never validated."""
    options = second_order(plain("RealESRNetModel", {"type": "IMDN_RTC", "num_feat": 4, "num_block": 1}))
    options["train"]["total_iter"], options["logger"]["save_checkpoint_freq"] = total, 1
    options["val"]["val_freq"] = 100
    options["datasets"].pop("val")
    return {**options, **changes}


def state(iteration: int) -> Path:
    return RUN / "training_states" / f"{iteration}.state"


@pytest.mark.parametrize(
    ("case", "at"),
    [("KDSRGANSTModel, second order", 3), ("prefetched, drop path", 7)],
)
def test_a_run_stopped_by_a_signal_ends_with_the_same_bits(data, monkeypatch, case, at):
    """Networks and state, after the pool is full, and after a validation."""
    options = CASES[case]()
    options["train"]["total_iter"], options["logger"]["save_checkpoint_freq"] = at + 2, at + 2
    options["val"]["val_freq"] = at
    assert run(options) == 0
    shutil.move(RUN, "whole")
    with monkeypatch.context() as patched:
        patched.setattr(basicsr.train, "build_model", basicsr.train.build_model)
        kill_in_step(signal.SIGTERM, "optimize_parameters", at, after=False)
        assert run(options) == 143
    assert run(options, "--auto_resume") == 0
    assert compare(RUN, Path("whole"), at + 2) == []


def test_the_size_of_the_pool_is_told_once(data, capsys):
    assert run(of_pool(2)) == 0
    size = 2 * 3 * (16**2 + 32**2) * 4
    text = capsys.readouterr().err
    assert text.count(f"Each training state holds the pool of 2 image pairs, {size:,} bytes") == 1
    assert read_state(state(1))[POOL]["filled"] == 1


def test_without_exact_resume_the_state_is_small_and_the_log_tells(data, capsys):
    options = of_pool(3, exact_resume=False)
    assert run(options) == 0
    assert POOL not in read_state(state(3))
    options["train"]["total_iter"] = 4
    assert run(options, "--auto_resume") == 0
    assert "iteration 3 has no pool of image pairs (exact_resume was false, or" in (text := capsys.readouterr().err)
    assert text.count(ANEW) == 1


def model_of(rank: int, **options) -> SimpleNamespace:
    opt = {"rank": rank, "dist": True, "num_gpu": 2, "scale": 2, "gt_size": 32, "second_blur_prob": 0.8,
           "datasets": {"train": {"batch_size_per_gpu": 2}},
           "path": {"training_states": ".", "resume_state": "./3.state"}, **options}  # fmt: skip
    return SimpleNamespace(opt=opt, device="cpu", queue_size=4, optimizers=[], schedulers=[])


def images(count: int, side: int) -> torch.Tensor:
    return torch.zeros(count, 3, side, side)


@pytest.mark.parametrize(
    ("pool", "told"),
    [
        ({"lq": images(8, 16), "gt": images(8, 32), "filled": 4}, "holds a pool of shape (8, 3, 16, 16) where the"),
        ({"lq": images(4, 16), "gt": images(4, 64), "filled": 4}, "shape (4, 3, 64, 64) where the option file wants 4"),
        ({"lq": images(4, 16), "gt": images(4, 32), "filled": 3}, "1 free places, for another batch size"),
        ({"lq": images(4, 16), "gt": images(4, 32), "filled": -2}, "6 free places, for another batch size"),
        ({"lq": torch.zeros(4), "gt": torch.zeros(()), "filled": 4}, "holds a pool of shape (4,)"),
        ({"lq": images(4, 16), "filled": 4}, "something else in the place of the pool"),
        ([1], "something else in the place of the pool"),
    ],
)
def test_a_pool_that_does_not_fit_is_filled_anew(capsys, pool, told):
    model = model_of(0)
    BaseModel.resume_training(model, {**CONTENT, POOL: pool})
    text = capsys.readouterr().err
    assert told in text
    assert ANEW in text
    assert not hasattr(model, "queue_lr")


def test_other_processes_save_and_restore_their_own_pools(workdir):
    """Without a word to each other: a signal lets one of them save earlier."""
    saved = model_of(1)
    saved.queue_lr, saved.queue_gt, saved.queue_ptr = torch.rand(4, 3, 16, 16), torch.rand(4, 3, 32, 32), 2
    BaseModel.save_training_state(saved, 0, -1)
    assert list(workdir.iterdir()) == []
    BaseModel.save_training_state(saved, 0, 3)
    assert [file.name for file in workdir.iterdir()] == ["3_rank1.pool"]
    resumed = model_of(1)
    BaseModel.resume_training(resumed, CONTENT)
    assert torch.equal(resumed.queue_lr, saved.queue_lr)
    assert torch.equal(resumed.queue_gt, saved.queue_gt)
    assert resumed.queue_ptr == 2


@pytest.mark.parametrize("content", [None, b"", b"PK", b"no pool"])
def test_a_missing_or_torn_pool_of_another_process_is_reported(workdir, capsys, content):
    if content is not None:
        pool_file(workdir, 3, 2).write_bytes(content)
    model = model_of(2)
    BaseModel.resume_training(model, CONTENT)
    text = capsys.readouterr().err
    assert "iteration 3, process 2 " in text
    assert ANEW in text
    assert not hasattr(model, "queue_lr")


def test_pools_of_old_states_are_deleted_with_them(workdir):
    for iteration in (1, 2, 3):
        for file in (f"{iteration}.state", f"{iteration}_rank1.pool", f"{iteration}_rank12.pool"):
            Path(file).touch()
    options = {"path": {"models": ".", "training_states": "."}, "logger": {"keep_last": 1}}
    delete_old(options, 3, ())
    assert sorted(file.name for file in workdir.iterdir()) == ["3.state", "3_rank1.pool", "3_rank12.pool"]
    assert read_pool(Path("2_rank1.pool")) is None


def test_models_without_a_pool_are_left_alone(workdir, capsys):
    for model in (model_of(0, high_order_degradation=False), SimpleNamespace(**{**vars(model_of(0)), "opt": {}})):
        BaseModel.resume_training(model, CONTENT)
    assert capsys.readouterr().err == ""
