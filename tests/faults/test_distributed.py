"""Two processes: one validation of both, and what one of them meets alone ends or goes on in both.

With torchrun, which starts and ends the processes: test_torchrun.py.
"""

import json
import math
import multiprocessing.util
import os
import signal
from functools import partial
from pathlib import Path

import pytest
import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import METRIC_REGISTRY

from lightsr_basicsr import cli
from lightsr_basicsr._fixes import shared_validation
from lightsr_basicsr._fixes.validation import NOW, Sum
from lightsr_basicsr.checkpoints import whole
from lightsr_basicsr.tools.run import elastic
from tests import tiny
from tests.two import run_two

pytestmark = pytest.mark.faults
two = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")


@pytest.fixture
def options(workdir) -> dict:
    tiny.make_pairs(workdir / "data", 8)
    options = tiny.train_options(total_iter=4)
    options["val"]["val_freq"] = 100
    return options


def states() -> list[str]:
    return sorted(file.name for file in Path("experiments/tiny/training_states").iterdir())


def log(pattern: str = "experiments/tiny/*.log") -> str:
    return "\n".join(file.read_text() for file in sorted(Path().glob(pattern)))


# What happens to one process. These run in it, before its run.


def replace(owner, name: str, make) -> None:
    setattr(owner, name, make(getattr(owner, name)))


def record_means(rank: int, file: str, bad: str) -> None:
    """Write the means of each set in full, and let the network give NaN for one image, and SSIM fail on another."""

    def recording(log_values):
        def log_values_too(self, current_iter, dataset_name, tb_logger):
            if self.opt["rank"] == 0:
                with open(file, "a") as stream:
                    stream.write(
                        f"{dataset_name} {sorted((k, float(v).hex()) for k, v in self.metric_results.items())}\n"
                    )
            log_values(self, current_iter, dataset_name, tb_logger)

        return log_values_too

    def spoiling(test):
        def test_too(self):
            test(self)
            if bad in NOW.name:
                self.output[:] = math.nan

        return test_too

    def failing(get):
        def get_too(name):
            metric = get(name)

            def measure(**data):
                if name == "calculate_ssim" and "set5/LR/002" in NOW.name:
                    raise FloatingPointError("did not converge")
                return metric(**data)

            return measure

        return get_too

    replace(METRIC_REGISTRY, "get", failing)
    replace(SRModel, "_log_validation_metric_values", recording)
    replace(SRModel, "test", spoiling)


def fill_disk(rank: int, of: int, name: str) -> None:
    """Let the disk of one process be full for files of this name."""

    def full(write):
        def write_too(path, *args, **kwargs):
            if name in Path(path).name:
                raise whole.CheckpointError(f"{path} cannot be written: No space left on device.")
            write(path, *args, **kwargs)

        return write_too

    if rank == of:
        from lightsr_basicsr._fixes import saving
        from lightsr_basicsr.models import best_metrics

        replace(saving, "write_pickle", full)
        replace(best_metrics, "write_whole", full)
        saving.PAUSE = 0


def spoil_batch(rank: int, of: int) -> None:
    """Put NaN into the third training batch of one process."""
    calls = []

    def spoiling(feed):
        def feed_too(self, data):
            feed(self, data)
            calls.append(len(data["lq"]))
            if len(calls) == 3:
                self.lq[0, 0, 0, 0] = math.nan

        return feed_too

    if rank == of:
        replace(SRModel, "feed_data", spoiling)


def at_iteration(rank: int, number: int, actions: dict) -> None:
    """Act at the start of an iteration, each process on its own."""

    def acting(learn):
        def learn_too(self, current_iter, *args, **kwargs):
            if current_iter == number and rank in actions:
                actions[rank]()
            return learn(self, current_iter, *args, **kwargs)

        return learn_too

    replace(SRModel, "update_learning_rate", acting)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def delete(name: str) -> None:
    Path(name).unlink()


def note_threads(rank: int, spoil=None) -> None:
    """Write the names of this process's threads when it ends, after everything else."""

    def write() -> None:
        names = [file.read_text().strip() for file in Path("/proc/self/task").glob("*/comm")]
        Path(f"threads{rank}").write_text(" ".join(names))

    multiprocessing.util.Finalize(None, write, exitpriority=0)
    if spoil is not None:
        spoil(rank)


# The tests.


def test_values_are_added_in_the_order_of_the_set():
    values = [0.1, 0.2, 0.3, Sum(0.0, 1), 0.7]
    parts = [{"psnr": values[::3]}, {"psnr": values[1::3]}, {"psnr": values[2::3]}, {}]
    together = shared_validation.Values(shared_validation.in_order(parts, "psnr"))
    assert together / 2 == (0 + 0.1 + 0.2 + 0.3 + Sum(0.0, 1) + 0.7) / 5
    assert math.isnan(shared_validation.Values([Sum(0.0, 1)]) / 1)


@two
def test_a_validation_of_two_processes_is_that_of_one(options, monkeypatch):
    for count in (1, 5):
        tiny.make_pairs(Path(f"set{count}"), count, side=40)
    sets = [tiny.paired(f"v{count}", f"set{count}") for count in (5, 1)] + [tiny.paired("bad", "data")]
    options = tiny.test_options(*sets)
    options["val"]["metrics"]["ssim"] = {**tiny.metrics()["psnr"], "type": "calculate_ssim"}
    for owner, name in ((SRModel, "_log_validation_metric_values"), (SRModel, "test"), (METRIC_REGISTRY, "get")):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # undone after the test
    statuses, errors = run_two("test", options, spoil=partial(record_means, file="two.txt", bad="data/LR/003"))
    assert statuses == [0, 0], errors
    Path("results").rename("of_two")
    record_means(0, "one.txt", "data/LR/003")
    assert cli.main(["test", "-opt", "run.yml"]) == 0
    assert Path("two.txt").read_text() == Path("one.txt").read_text() != ""
    pictures = sorted(path.relative_to("results") for path in Path("results").rglob("*.png"))
    assert len(pictures) == 5 + 1 + 8
    assert all(Path("results", each).read_bytes() == Path("of_two", each).read_bytes() for each in pictures)
    for found in (log("of_two/tiny_test/*.log"), log("results/tiny_test/*.log")):
        assert found.count("003.png: the SR image has NaN or Inf") == 1
        assert found.count("calculate_ssim failed on") == 1


@two
def test_a_network_with_statistics_is_validated_without_averages(options):
    """Its wrapper would exchange them in each forward pass, and the processes have different numbers of images."""
    tiny.make_pairs(Path("three"), 3)
    options["datasets"]["val"], options["val"]["val_freq"] = tiny.paired("v", "three"), 1
    small = {"img_size": 16, "window_size": 4, "depths": [1], "embed_dim": 4, "num_heads": [1], "mlp_ratio": 1}
    options["network_g"] = {"type": "SwinIR", "upscale": 2, "upsampler": "pixelshuffledirect", **small}
    del options["train"]["ema_decay"]
    statuses, errors = run_two("train", options)
    assert statuses == [0, 0], errors
    assert len(json.loads(Path("experiments/tiny/best_metrics.json").read_text())["v"]["psnr"]) == 3


@two
@pytest.mark.parametrize("name", ["net_g_3", "best_metrics"])
def test_a_full_disk_of_the_first_process_ends_both(options, name):
    options["val"]["val_freq"] = 3
    statuses, errors = run_two("train", options, spoil=partial(fill_disk, of=0, name=name))
    assert statuses == [2, 1]
    assert "No space left on device" in errors[0]
    assert "Traceback" not in "".join(errors)
    assert states()[:2] == ["1.state", "2.state"]


@two
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux, which names threads in files")
@pytest.mark.parametrize(("spoil", "expected"), [(None, [0, 0]), (partial(fill_disk, of=0, name="net_g_3"), [2, 1])])
def test_no_thread_of_the_group_outlives_a_run(options, spoil, expected):
    """Such a thread lets go of tensors while the interpreter ends, which aborts the process."""
    statuses, errors = run_two("train", options, spoil=partial(note_threads, spoil=spoil))
    assert statuses == expected, errors
    threads = [Path(f"threads{rank}").read_text() for rank in (0, 1)]
    assert all("python" in each for each in threads), threads
    assert not any("gloo" in each for each in threads), threads


@two
def test_an_image_gone_for_one_process_ends_both_with_a_state(options):
    options["logger"]["save_checkpoint_freq"] = 100
    tiny.make_pairs(Path("set"), 2)
    options["datasets"]["val"], options["val"]["val_freq"] = tiny.paired("v", "set"), 2
    gone = partial(at_iteration, number=2, actions={0: partial(delete, "set/LR/001.png")})
    statuses, errors = run_two("train", options, spoil=gone)
    assert statuses == [1, 1]
    assert "set/LR/001.png: No such file or directory" in errors[0]
    assert "saved up to iteration 2" in errors[0]
    assert "Traceback" not in "".join(errors)
    assert states() == ["2.state"]


@two
def test_broken_images_of_both_processes_are_counted_together(options):
    options["datasets"]["train"]["max_broken"] = 1
    options["train"]["total_iter"] = 100
    gone = {0: partial(delete, "data/LR/001.png"), 1: partial(delete, "data/LR/006.png")}
    statuses, errors = run_two("train", options, spoil=partial(at_iteration, number=2, actions=gone))
    assert statuses == [1, 1]
    assert "2 images are missing or broken, datasets.train.max_broken is 1" in errors[0]
    assert all(name in log() for name in ("001.png", "006.png"))
    assert int(states()[-1].split(".")[0]) < 10


@two
def test_nan_in_one_process_skips_the_step_in_both(options):
    statuses, errors = run_two("train", options, spoil=partial(spoil_batch, of=1))
    assert statuses == [0, 0], errors
    assert "Iteration 3: loss or gradients are NaN or Inf, so the step was skipped" in log()
    assert states() == ["1.state", "2.state", "4.state"]
    weights = torch.load("experiments/tiny/models/net_g_latest.pth")["params"]
    assert all(each.isfinite().all() for each in weights.values())


@two
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_other_one(options, killed):
    options["train"]["total_iter"] = 1000
    statuses, errors = run_two("train", options, spoil=partial(at_iteration, number=3, actions={killed: die}))
    assert statuses[killed] == -signal.SIGKILL
    assert statuses[1 - killed] == 1
    if killed == 1:
        assert "Another process of the run has ended" in errors[0]
        assert "saved up to iteration 2. To resume: the same launch of" in errors[0]
    assert "Traceback" not in errors[1 - killed]
    assert states() == ["1.state", "2.state"]


@two
def test_a_run_that_is_started_again_goes_on(options):
    """As torchrun does with --max-restarts: it keeps the store, in which the second start finds the first's addresses.

    An earlier run of the name is moved aside once, and the end has the bits of an unbroken run.
    """
    options["train"]["total_iter"] = 8
    assert run_two("train", options)[0] == [0, 0]
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    launch = {"TORCHELASTIC_MAX_RESTARTS": "1", "TORCHELASTIC_RUN_ID": "a", "TORCHELASTIC_USE_AGENT_STORE": "True",
              "GROUP_WORLD_SIZE": "1", "MASTER_PORT": str(store.port)}  # fmt: skip
    killed = partial(at_iteration, number=4, actions={1: die})
    first = {**launch, "TORCHELASTIC_RESTART_COUNT": "0"}
    assert run_two("train", options, spoil=killed, environment=first)[0] == [1, -signal.SIGKILL]
    second = {**launch, "TORCHELASTIC_RESTART_COUNT": "1"}
    statuses, errors = run_two("train", options, environment=second)
    assert statuses == [0, 0], errors
    assert "resuming from" in errors[0]
    assert "3.state" in errors[0]
    (whole,) = Path("experiments").glob("tiny_archived_*")
    whole, resumed = (torch.load(folder / "models/net_g_latest.pth") for folder in (whole, Path("experiments/tiny")))
    assert whole.keys() == resumed.keys() == {"params", "params_ema"}
    for key, state in whole.items():
        assert all(torch.equal(value, resumed[key][name]) for name, value in state.items())


def test_states_of_the_same_launch_are_told_from_older_ones(workdir):
    first = {"TORCHELASTIC_MAX_RESTARTS": "3", "TORCHELASTIC_RUN_ID": "a", "TORCHELASTIC_RESTART_COUNT": "0"}
    again, other = {**first, "TORCHELASTIC_RESTART_COUNT": "1"}, {**first, "TORCHELASTIC_RUN_ID": "b"}
    folder = workdir / "experiments" / "x4"
    (folder / "training_states").mkdir(parents=True)
    state = folder / "training_states" / "5.state"
    state.touch()
    os.utime(state, (1, 1))
    assert not elastic.has_saved(folder, again)
    elastic.note_launch(folder, first)
    assert not elastic.has_saved(folder, again)  # killed before anything was saved: the state is of an earlier run
    os.utime(state)
    elastic.note_launch(folder, again)
    assert elastic.has_saved(folder, again)
    assert elastic.has_saved(folder, first)  # the agent of another machine does not count
    assert not elastic.has_saved(folder, other)
    assert not elastic.has_saved(folder, {})
    elastic.forget_launch(folder)
    assert not elastic.has_saved(folder, again)
    unnamed = {**first, "TORCHELASTIC_RUN_ID": "none"}
    elastic.note_launch(folder, unnamed)
    os.utime(state)
    assert [elastic.has_saved(folder, {**unnamed, "TORCHELASTIC_RESTART_COUNT": n}) for n in "01"] == [False, True]
