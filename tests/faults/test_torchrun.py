"""Two processes that torchrun starts, ends and starts again. Without it, and in seconds: test_distributed.py."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lightsr_basicsr.tools.run.lock import locked
from tests import tiny
from tests.faults.conftest import long_form
from tests.two import run_two

pytestmark = pytest.mark.faults


def launch(options: dict, *more: str, restarts: int = 0) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
         f"--max-restarts={restarts}", "-m", "lightsr_basicsr.cli", "train", "-opt", tiny.write(options),
         "--launcher", "pytorch", *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def end(process: subprocess.Popen) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def options_of(workdir, **train) -> dict:
    tiny.make_pairs(workdir / "data", 8)
    return tiny.train_options(**train)


def ranks(process: subprocess.Popen) -> list[int]:
    """Return the processes that the launcher started, by rank."""
    found = {}
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and f"PPid:\t{process.pid}\n" in (folder / "status").read_text():
                environment = (folder / "environ").read_bytes().decode().split("\0")
                found.update({int(each[5:]): int(folder.name) for each in environment if each.startswith("RANK=")})
        except OSError:  # it has ended
            continue
    return [found[rank] for rank in sorted(found)]


def wait_for_iteration(process: subprocess.Popen, number: int) -> None:
    for line in process.stderr:
        if f"iter:{number:8,d}" in line:
            return
    raise AssertionError("the run ended before")


@long_form
def test_the_comparison_is_made_once_and_all_processes_end_well(workdir):
    """A demo set waits for the process that makes it; the comparison builds it again on one process alone."""
    options = options_of(workdir, total_iter=2)
    demo = {"name": "d", "type": "DemoPairedDataset", "dataroot": str(workdir / "demo")}
    crops = {key: options["datasets"]["train"][key] for key in ("use_hflip", "use_rot", "num_worker_per_gpu")}
    options["datasets"] = {"train": {**demo, **crops, "gt_size": 32, "batch_size_per_gpu": 2}, "val": dict(demo)}
    options["scale"], options["val"]["val_freq"] = 2, 100
    options["comparison"] = {"dataset": "val", "crop_border": 2, "test_y_channel": True}
    status, out, err = end(launch(options))
    assert status == 0, err[-2000:]
    assert out.count("PSNR / SSIM") == 1
    assert out.count("Look at experiments/tiny/comparison.png") == 1


@long_form
def test_a_signal_to_one_process_stops_all_at_the_same_iteration(workdir):
    options = options_of(workdir, total_iter=10_000)
    options["logger"]["save_checkpoint_freq"] = options["val"]["val_freq"] = 100_000
    process = launch(options)
    wait_for_iteration(process, 3)
    os.kill(ranks(process)[1], signal.SIGTERM)
    status, _, err = end(process)
    assert status != 0
    (state,) = Path("experiments/tiny/training_states").iterdir()
    assert f"saved up to iteration {state.stem}. To resume: the same launch of" in err
    assert "exitcode  : 143" in err


@long_form
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_is_restarted_from_the_newest_state(workdir, rank):
    """An earlier run of the name is moved aside once, and the restarted run ends with the bits of an unbroken one."""
    options = options_of(workdir, total_iter=40)
    options["val"]["val_freq"] = 100
    assert run_two("train", options)[0] == [0, 0]
    process = launch(options, restarts=1)
    wait_for_iteration(process, 3)
    os.kill(ranks(process)[rank], signal.SIGKILL)
    status, _, err = end(process)
    assert status == 0, err[-3000:]
    assert "torchrun has started this run again: it goes on from its newest state" in err
    assert not list(Path("experiments").glob(".*"))
    (whole,) = Path("experiments").glob("tiny_archived_*")
    whole, resumed = (torch.load(folder / "models/net_g_latest.pth") for folder in (whole, Path("experiments/tiny")))
    assert whole.keys() == resumed.keys() == {"params", "params_ema"}
    for key, state in whole.items():
        assert all(torch.equal(value, resumed[key][name]) for name, value in state.items())


@long_form
def test_what_the_first_process_alone_meets_before_the_run_ends_both(workdir):
    options = options_of(workdir, total_iter=2)
    with locked(workdir / "experiments" / "tiny"):
        start = time.monotonic()
        status, _, err = end(launch(options))
    assert status != 0
    assert time.monotonic() - start < 120
    assert "experiments/tiny is in use by another run" in err


@long_form
def test_diverged_processes_end_together(workdir):
    options = options_of(workdir, total_iter=8, nan_patience=3, optim_g={"type": "Adam", "lr": 1e10})
    status, _, err = end(launch(options))
    assert status != 0
    assert "Loss or gradients were NaN or Inf in the last 3 steps, up to iteration 4" in err
    assert [file.name for file in Path("experiments/tiny/training_states").iterdir()] == ["1.state"]


@long_form
def test_images_gone_on_one_process_end_all_with_a_state(workdir):
    options = options_of(workdir, total_iter=10_000)
    options["logger"]["save_checkpoint_freq"] = options["val"]["val_freq"] = 100_000
    options["datasets"]["train"]["max_broken"] = 0
    process = launch(options)
    wait_for_iteration(process, 3)
    Path("data/HR/002.png").unlink()
    start = time.monotonic()
    status, _, err = end(process)
    assert status != 0
    assert time.monotonic() - start < 60
    assert "data/HR/002.png: No such file or directory." in err
    assert len(list(Path("experiments/tiny/training_states").iterdir())) == 1
