"""Signals during training: a state of the running iteration is saved, and the resumed run ends with the same bits."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from basicsr.models.sr_model import SRModel

from lightsr_basicsr import cli
from lightsr_basicsr.models.blind import BlindModel
from tests import kdsr, tiny

pytestmark = pytest.mark.faults


@pytest.fixture(autouse=True)
def heard():
    """Let signals be heard: in the background, or under nohup, a run inherits that some are ignored."""
    default = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in default.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run(options: dict, *more: str) -> int:
    return cli.main(["train", "-opt", tiny.write(options), *more])


def weights(name: str = "net_g_latest", folder: str = "experiments/tiny") -> dict:
    return torch.load(Path(folder, "models", f"{name}.pth"))


def assert_same(ours: dict, theirs: dict) -> None:
    assert ours.keys() == theirs.keys()
    for kind, state in ours.items():
        assert all(torch.equal(value, theirs[kind][key]) for key, value in state.items())


def options_of(model: str = "LossDictModel", **train) -> dict:
    options = tiny.train_options(**train)
    options["model_type"] = model
    options["logger"]["save_checkpoint_freq"] = 100  # only the signal saves
    return options


def send_within(monkeypatch, cls: type, method: str, at: int, *numbers: int) -> None:
    """Send signals to this process within the ``at``-th call of a method."""
    original, calls = getattr(cls, method), []

    def sending(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == at:
            for number in numbers:
                os.kill(os.getpid(), number)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(cls, method, sending)


def states(folder: str = "experiments/tiny") -> list[str]:
    return sorted(file.name for file in Path(folder, "training_states").iterdir())


@pytest.mark.parametrize(
    ("name", "status", "model"),
    [("SIGTERM", 143, "LossDictModel"), ("SIGINT", 130, "LossDictModel"), ("SIGUSR1", 143, "LossDictModel"),
     ("SIGHUP", 129, "LossDictModel"), ("SIGTERM", 143, "SRModel"), ("SIGTERM", 143, "ReparamModel")],
)  # fmt: skip
def test_a_signal_within_a_step_saves_that_iteration(workdir, monkeypatch, capsys, name, status, model):
    tiny.make_pairs(workdir / "data", 6)
    options = options_of(model)
    if model == "ReparamModel":
        options["network_g"] = {"type": "Reparameterized", "network": options["network_g"]}
    assert run(options) == 0
    whole = weights()
    shutil.rmtree("experiments")
    at = random.Random(name).randint(2, 9)
    with monkeypatch.context() as patched:
        send_within(patched, SRModel, "feed_data" if at % 5 else "model_ema", at, getattr(signal, name))
        assert run(options) == status
    done = states()
    assert len(done) == 1
    assert f"saved up to iteration {done[0].split('.')[0]}. To resume: basicsr train" in capsys.readouterr().err
    assert run(options, "--auto_resume") == 0
    assert_same(weights(), whole)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_signal_within_validation_saves_at_once_and_validation_ends(workdir, monkeypatch):
    tiny.make_pairs(workdir / "data", 6)
    seen = []
    test = SRModel.test
    monkeypatch.setattr(SRModel, "test", lambda self: (seen.append(states()), test(self)))
    send_within(monkeypatch, SRModel, "get_current_visuals", 2, signal.SIGTERM)
    assert run(options_of()) == 143
    assert seen == [[], [], *[["5.state"]] * 4]
    assert Path("experiments/tiny/best_metrics.json").is_file()


def test_a_second_ctrl_c_ends_at_once(workdir, monkeypatch, capsys):
    tiny.make_pairs(workdir / "data", 6)
    send_within(monkeypatch, SRModel, "feed_data", 3, signal.SIGINT, signal.SIGINT)
    assert run(options_of()) == 130
    assert states() == []
    assert "nothing was saved yet" in capsys.readouterr().err


def test_a_signal_before_the_first_iteration_ends_at_once(workdir, monkeypatch):
    tiny.make_pairs(workdir / "data", 6)
    send_within(monkeypatch, SRModel, "setup_optimizers", 1, signal.SIGTERM)
    assert run(options_of()) == 143


def test_the_command_to_resume_repeats_the_overrides(workdir, monkeypatch, capsys):
    tiny.make_pairs(workdir / "data", 6)
    send_within(monkeypatch, SRModel, "feed_data", 3, signal.SIGTERM)
    assert run(options_of(), "--force_yml", "train:total_iter=8", "train:scheduler:milestones=[5, 6]") == 143
    command = (
        "basicsr train -opt run.yml --auto_resume --force_yml train:total_iter=8 'train:scheduler:milestones=[5, 6]'"
    )
    assert command in capsys.readouterr().err


@pytest.mark.parametrize("at", [3, 4, 5, 7])
def test_both_stages_of_kdsr(workdir, monkeypatch, at):
    tiny.make_pairs(workdir / "data", 5)
    options = kdsr.run_options()
    options["logger"]["save_checkpoint_freq"] = 100
    assert kdsr.train(options) == 0
    shutil.move("experiments", "whole")
    with monkeypatch.context() as patched:
        send_within(patched, BlindModel, "compute_losses", at, signal.SIGTERM)
        assert kdsr.train(options) == 143
    assert f"{at}.state" in states("experiments/kdsr")
    assert kdsr.train(options, "--auto_resume") == 0
    for name in ("net_g_latest", "net_TA_4"):
        assert_same(weights(name, "experiments/kdsr"), weights(name, "whole/kdsr"))


def test_a_real_process_with_workers(workdir):
    """The signal goes to the whole process group, as Ctrl-C and Slurm send it; workers die of it."""
    tiny.make_pairs(workdir / "data", 6)
    options = options_of(total_iter=100_000)
    options["datasets"]["train"]["num_worker_per_gpu"] = 2
    options["datasets"]["train"]["dataset_enlarge_ratio"] = 1000
    options["val"]["val_freq"] = 100_000
    process = subprocess.Popen(
        [sys.executable, "-m", "lightsr_basicsr", "train", "-opt", tiny.write(options)],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    for line in process.stderr:
        if "iter:       5" in line:
            break
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGTERM)
    text = process.communicate(timeout=60)[1]
    assert process.returncode == 143, text[-2000:]
    (state,) = states()
    assert f"saved up to iteration {state.removesuffix('.state')}." in text
    assert "Traceback" not in text
