"""Images that are deleted, cut off or replaced while a run reads them, and workers that are killed."""

import os
import random
import signal
from pathlib import Path

import pytest
import torch
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.models.sr_model import SRModel

from lightsr_basicsr import cli
from lightsr_basicsr.data.readable import BROKEN, BrokenImageError, Readable
from tests import tiny

pytestmark = pytest.mark.faults


def run(options: dict, *more: str) -> int:
    return cli.main(["train", "-opt", tiny.write(options), *more])


@pytest.fixture
def options(workdir) -> dict:
    tiny.make_pairs(workdir / "data", 8)
    tiny.make_pairs(workdir / "val", 2)
    made = tiny.train_options()
    made["datasets"]["val"] = tiny.paired("v", "val")
    made["logger"]["save_checkpoint_freq"] = 100
    return made


def at_iteration(monkeypatch, number: int, action) -> None:
    """Do something to the data within a step."""
    feed, calls = SRModel.feed_data, []

    def feed_data(self, data):
        calls.append(1)
        if len(calls) == number:
            action()
        feed(self, data)

    monkeypatch.setattr(SRModel, "feed_data", feed_data)


def log() -> str:
    return "\n".join(file.read_text() for file in sorted(Path("experiments").glob("*/train_*.log")))


BREAK = {
    "deleted": (lambda file: file.unlink(), "No such file or directory"),
    "cut off": (lambda file: file.write_bytes(file.read_bytes()[:60]), "cannot be read as an image"),
    "empty": (lambda file: file.write_bytes(b""), ""),
    "text": (lambda file: file.write_text("Moved to another disk"), "cannot be read as an image"),
    "a folder": (lambda file: (file.unlink(), file.mkdir()), "Is a directory"),
}


@pytest.mark.parametrize(
    ("how", "kind", "workers"),
    [*((how, kind, 0) for how in BREAK for kind in ("HR", "LR")), ("cut off", "LR", 2)],
)
def test_a_broken_image_is_named_and_replaced(options, monkeypatch, how, kind, workers):
    options["datasets"]["train"]["num_worker_per_gpu"] = workers
    file = Path("data", kind, "005.png")
    at_iteration(monkeypatch, 2, lambda: BREAK[how][0](file))
    assert run(options) == 0
    lines = [line for line in log().splitlines() if "another image takes its place" in line]
    assert len(lines) == 1
    assert str(file) in lines[0]
    assert BREAK[how][1] in lines[0]
    assert "(1 of at most 10)" in lines[0]


def test_more_than_max_broken_end_the_run_with_a_state(options, monkeypatch, capsys):
    options["datasets"]["train"]["max_broken"] = 2
    at_iteration(monkeypatch, 3, lambda: [file.unlink() for file in list(Path("data/HR").iterdir())[:5]])
    assert run(options) == 1
    (state,) = Path("experiments/tiny/training_states").iterdir()
    error = capsys.readouterr().err
    assert "3 images are missing or broken" in error or "No such file" in error
    assert f"saved up to iteration {state.stem}. To resume" in error


def test_none_is_replaced_where_none_may_be_broken(options, monkeypatch, capsys):
    options["datasets"]["train"]["max_broken"] = 0
    at_iteration(monkeypatch, 3, lambda: Path("data/HR/005.png").unlink())
    assert run(options) == 1
    assert "data/HR/005.png: No such file or directory." in capsys.readouterr().err


@pytest.mark.parametrize("workers", [0, 2])
def test_all_images_gone(options, monkeypatch, capsys, workers):
    options["datasets"]["train"]["num_worker_per_gpu"] = workers
    at_iteration(monkeypatch, 3, lambda: os.rename("data", "unmounted"))
    assert run(options) == 1
    error = capsys.readouterr().err
    assert "No such file or directory" in error
    assert "Traceback" not in error
    assert "saved up to iteration" in error


def test_a_broken_validation_image_ends_the_run_with_a_state(options, monkeypatch, capsys):
    at_iteration(monkeypatch, 3, lambda: Path("val/LR/001.png").write_bytes(b"x"))
    assert run(options) == 1
    assert "val/LR/001.png cannot be read as an image." in capsys.readouterr().err
    assert [file.name for file in Path("experiments/tiny/training_states").iterdir()] == ["5.state"]


@pytest.mark.parametrize("model", ["LossDictModel", "SRModel"])
@pytest.mark.parametrize("bad", ["000", "001"])
def test_a_validation_set_may_allow_broken_images(options, monkeypatch, model, bad):
    options["model_type"], options["datasets"]["val"]["max_broken"] = model, 1
    tiny.make_pairs(Path("val"), 3)
    at_iteration(monkeypatch, 1, lambda: Path(f"val/LR/{bad}.png").write_bytes(b""))
    assert run(options) == 0
    assert f"val/LR/{bad}.png" in log()
    assert "left out of the set (1 of at most 1)" in log()
    assert "# psnr: nan" not in log()


def test_more_broken_images_than_a_validation_set_allows_end_the_run(options, monkeypatch, capsys):
    options["datasets"]["val"]["max_broken"] = 1
    tiny.make_pairs(Path("val"), 3)
    at_iteration(monkeypatch, 1, lambda: [Path(f"val/LR/00{place}.png").write_bytes(b"") for place in (0, 2)])
    assert run(options) == 1
    assert "more than max_broken of this set (1) are broken" in capsys.readouterr().err
    assert list(Path("experiments/tiny/training_states").glob("*.state"))


def test_a_validation_set_without_a_readable_image_ends_the_run(options, monkeypatch, capsys):
    options["datasets"]["val"]["max_broken"] = 9
    at_iteration(monkeypatch, 1, lambda: [file.write_bytes(b"") for file in Path("val/HR").iterdir()])
    assert run(options) == 1
    assert "val/HR/001.png" in capsys.readouterr().err


@pytest.mark.parametrize("prefetch", [None, "cpu"])
def test_a_killed_worker_ends_the_run_with_a_state(options, monkeypatch, capsys, prefetch):
    import multiprocessing

    options["datasets"]["train"].update(num_worker_per_gpu=2, dataset_enlarge_ratio=100)
    options["train"]["total_iter"] = 150
    options["val"]["val_freq"] = 1000
    if prefetch:
        options["datasets"]["train"]["prefetch_mode"] = prefetch
    at_iteration(
        monkeypatch, 3, lambda: [os.kill(each.pid, signal.SIGKILL) for each in multiprocessing.active_children()]
    )
    assert run(options) == 1
    error = capsys.readouterr().err
    assert "Images could not be loaded: " in error  # RuntimeError, or ConnectionError if it died while sending
    assert "saved up to iteration" in error


def test_the_draws_of_other_samples_stay_the_same(options):
    section = {**options["datasets"]["train"], "phase": "train", "scale": 2}
    whole = PairedImageDataset(dict(section))
    random.seed(1)
    expected = [whole[index] for index in (0, 1)]
    readable = Readable(PairedImageDataset(dict(section, io_backend={"type": "disk"})), True, 3)
    names = [Path(pair["lq_path"]).name for pair in readable.paths]  # in the order of the folder
    Path("data/LR", names[3]).unlink()
    random.seed(1)
    for index in (0, 1):
        item = readable[index]
        assert torch.equal(item["lq"], expected[index]["lq"])
        assert item[BROKEN] == ""
    replaced = readable[3]
    assert replaced["lq_path"].endswith(names[4])
    assert replaced[BROKEN] == f"data/LR/{names[3]}: No such file or directory"
    Path("data/HR").rename("data/gone")
    with pytest.raises(BrokenImageError, match=rf"data/HR/{names[3]}.*data/HR/{names[6]}"):
        readable[3]


def test_a_test_names_the_image_too(options, capsys, monkeypatch):
    assert run(options) == 0
    made = tiny.test_options(tiny.paired("v", "val"), pretrain_network_g="experiments/tiny/models/net_g_latest.pth")
    at_iteration(monkeypatch, 1, lambda: Path("val/LR/001.png").unlink())
    assert cli.main(["test", "-opt", tiny.write(made)]) == 2
    assert "val/LR/001.png: No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize("value", [-1, 1.5, "3"])
def test_other_limits_are_refused(options, capsys, value):
    options["datasets"]["train"]["max_broken"] = value
    assert run(options) == 2
    assert "datasets.train.max_broken: must be a whole number of at least 0" in capsys.readouterr().err
