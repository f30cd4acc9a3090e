"""Files of a run are whole or absent, and a save that fails ends the run (full disk, quota, wrong folder)."""

import json
import os
import resource
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.models.base_model import BaseModel
from basicsr.models.sr_model import SRModel

from lightsr_basicsr import _fixes, cli
from lightsr_basicsr._fixes import saving
from lightsr_basicsr.checkpoints import CheckpointError, whole, write_whole
from lightsr_basicsr.checkpoints.states import read_state
from lightsr_basicsr.errors import UserError
from lightsr_basicsr.whole import remove_parts
from tests import tiny

pytestmark = pytest.mark.faults
RUN = Path("experiments/tiny")


@pytest.fixture
def pairs(workdir, monkeypatch):
    tiny.make_pairs(workdir / "data", 4)
    monkeypatch.setattr(saving, "PAUSE", 0)
    return workdir


def train(options: dict, *flags: str) -> int:
    return cli.main(["train", "-opt", tiny.write(options), *flags])


def full(error: type[Exception] = OSError):
    def fail(*_, **__):
        raise error(28, "No space left on device")

    return fail


@contextmanager
def files_of_at_most(size: int):
    """Let no file of this process grow beyond ``size`` bytes: the kernel's own refusal, as of a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(workdir, monkeypatch, name):
    Path("a.json").write_bytes(b"old")
    monkeypatch.setattr(os, name, full())
    with pytest.raises(CheckpointError, match=r"a\.json was not written: No space left on device\."):
        write_whole("a.json", b"new")
    assert [path.name for path in workdir.iterdir()] == ["a.json"]
    assert Path("a.json").read_bytes() == b"old"


@pytest.mark.parametrize("kept", [b"", b"ne", b"newer", b"old"])
def test_what_the_disk_did_not_keep_never_gets_the_name(workdir, monkeypatch, kept):
    def lose(_):
        (part,) = workdir.glob(".*.part")
        part.write_bytes(kept)

    monkeypatch.setattr(os, "fsync", lose)
    with pytest.raises(CheckpointError, match="what was read back differs"):
        write_whole("a.json", b"new")
    assert not list(workdir.iterdir())


def test_a_link_is_followed_and_long_names_and_empty_files_are_written(workdir):
    Path("real.bin").touch()
    Path("link.bin").symlink_to("real.bin")
    write_whole("link.bin", b"")
    write_whole("link.bin", memoryview(b"x" * (1 << 21)))
    write_whole("n" * 255, b"1")
    assert Path("link.bin").is_symlink()
    assert Path("real.bin").stat().st_size == 1 << 21
    assert Path("n" * 255).read_bytes() == b"1"


def test_left_over_parts_are_removed(workdir):
    for name in (".net_g_1.pth.77.part", "mine.part", ".hidden"):
        Path(name).touch()
    assert [part.name for part in remove_parts(workdir)] == [".net_g_1.pth.77.part"]
    assert sorted(path.name for path in workdir.iterdir()) == [".hidden", "mine.part"]


@pytest.mark.parametrize("model_type", ["LossDictModel", "SRModel"])
@pytest.mark.parametrize("suffix", [".pth", ".state"])
def test_a_failed_save_ends_the_run(pairs, capsys, monkeypatch, model_type, suffix):
    write = whole.write_whole

    def fail_at_3(path, *args):
        if Path(path).name.endswith(f"3{suffix}"):
            full()()
        write(path, *args)

    fail = pytest.MonkeyPatch()
    fail.setattr(whole, "write_whole", lambda path, *args: _reported(fail_at_3, path, *args))
    options = {**tiny.train_options(total_iter=4), "model_type": model_type}
    assert train(options) == 2
    told = capsys.readouterr().err
    fail.undo()
    assert f"3{suffix} was not written: No space left on device. The run ends here" in told
    assert "--auto_resume" in told
    assert not (RUN / "training_states" / "3.state").exists()
    assert not (RUN / "models" / "net_g_latest.pth").exists()
    assert read_state(RUN / "training_states" / "2.state")["iter"] == 2
    assert train(options, "--auto_resume") == 0
    assert "resuming from" in capsys.readouterr().err


def _reported(write, path, *args):
    try:
        write(path, *args)
    except OSError as error:
        raise CheckpointError(f"{path} was not written: {error.strerror}.") from error


def test_a_quota_ends_the_run_and_leaves_the_last_state(pairs, capsys):
    options = tiny.train_options(total_iter=2)
    options["network_g"] = {"type": "IMDN_RTC", "num_feat": 32, "num_block": 2}
    assert train(options) == 0
    options["train"]["total_iter"] = 4
    least = min(file.stat().st_size for file in RUN.rglob("net_g_2.pth"))
    with files_of_at_most(least // 2):
        assert train(options, "--auto_resume") == 2
    assert "net_g_3.pth was not written: File too large." in capsys.readouterr().err
    assert sorted(path.name for path in (RUN / "models").iterdir()) == [
        "net_g_1.pth",
        "net_g_2.pth",
        "net_g_latest.pth",
    ]
    assert read_state(RUN / "training_states" / "2.state")["iter"] == 2
    assert train(options, "--auto_resume") == 0


def test_a_folder_in_the_place_of_the_best_metrics_is_set_aside(pairs):
    options = tiny.train_options(total_iter=5)
    assert train(options) == 0
    (RUN / "best_metrics.json").unlink()
    (RUN / "best_metrics.json").mkdir()
    assert train({**options, "train": {**options["train"], "total_iter": 10}}, "--auto_resume") == 0
    assert (RUN / "best_metrics_damaged.json").is_dir()
    assert "v" in json.loads((RUN / "best_metrics.json").read_text())


def test_best_metrics_that_cannot_be_written_end_the_run_after_its_states(pairs, capsys, monkeypatch):
    monkeypatch.setattr("lightsr_basicsr.models.best_metrics.write_whole", lambda path, _: _reported(full(), path))
    assert train(tiny.train_options(total_iter=6)) == 2
    assert "best_metrics.json was not written: No space left on device." in capsys.readouterr().err
    assert read_state(RUN / "training_states" / "5.state")["iter"] == 5


def test_a_save_that_fails_once_is_tried_again(workdir, monkeypatch):
    monkeypatch.setattr(saving, "PAUSE", 0)
    write, calls = whole.write_whole, []

    def fail_twice(path, *args):
        calls.append(path)
        if len(calls) < 3:
            raise CheckpointError("busy")
        write(path, *args)

    monkeypatch.setattr(whole, "write_whole", fail_twice)
    model = BaseModel({"num_gpu": 0, "is_train": True, "path": {"training_states": "."}})
    model.save_training_state(0, 7)
    assert len(calls) == 3
    assert read_state("7.state")["iter"] == 7


@pytest.mark.parametrize("thing", [lambda: 0, open])
def test_what_cannot_be_pickled_is_no_silent_loss(workdir, thing):
    model = BaseModel({"num_gpu": 0, "is_train": True, "path": {"training_states": "."}})
    model.schedulers = [type("Odd", (), {"state_dict": lambda self: {"f": lambda: thing}})()]
    save = torch.save
    with pytest.raises(Exception, match=r"pickle|local"):
        model.save_training_state(0, 7)
    assert torch.save is save
    assert not list(workdir.iterdir())


def test_the_fix_is_made_once():
    assert saving.failed_saves_end_the_run in _fixes.FIXES
    assert saving.failed_saves_end_the_run() is False


@pytest.mark.parametrize("name", ["a.png", "new/folder/a.jpg", "a.bmp"])
def test_an_image_that_cannot_be_written_is_named_and_leaves_nothing(workdir, name):
    from basicsr.models import sr_model

    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    with files_of_at_most(100), pytest.raises(UserError, match=f"{name} was not written: File too large. Make room"):
        sr_model.imwrite(image, name)
    assert not Path(name).exists()
    sr_model.imwrite(image, name)
    cv2.imwrite(f"other{Path(name).suffix}", image)
    assert Path(name).read_bytes() == Path(f"other{Path(name).suffix}").read_bytes()


def test_a_test_on_a_full_disk_does_not_end_well(pairs, capsys):
    assert train(tiny.train_options(total_iter=1)) == 0
    options = tiny.test_options(tiny.paired("v", "data"), pretrain_network_g=str(RUN / "models" / "net_g_latest.pth"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Path, "write_bytes", full())
        assert cli.main(["test", "-opt", tiny.write(options)]) == 2
    told = capsys.readouterr().err
    assert (
        "results/tiny_test/visualization/v/000_tiny_test.png was not written: No space left on device. Make room"
        in told
    )


def test_a_full_disk_while_the_option_file_is_copied_names_the_copy(pairs, capsys, monkeypatch):
    from shutil import copyfile

    def fail(source, target):
        copyfile(source, target)
        raise OSError(28, "No space left on device", source, None, target)

    monkeypatch.setattr("shutil.copyfile", fail)
    monkeypatch.setattr("basicsr.utils.options.copyfile", fail, raising=False)
    assert train(tiny.train_options(total_iter=1)) == 2
    assert "experiments/tiny/run.yml: No space left on device. Make room, then run" in capsys.readouterr().err


@pytest.mark.parametrize("model_type", ["LossDictModel", "SRModel"])
def test_a_folder_that_is_deleted_during_the_run_loses_no_training(pairs, monkeypatch, model_type):
    step, calls = SRModel.feed_data, []

    def feed_data(self, data):
        calls.append(1)
        if len(calls) == 2:
            shutil.rmtree("experiments")
        step(self, data)

    monkeypatch.setattr(SRModel, "feed_data", feed_data)
    assert train({**tiny.train_options(total_iter=3), "model_type": model_type}) == 0
    assert read_state(RUN / "training_states" / "3.state")["iter"] == 3
    assert (RUN / "models" / "net_g_latest.pth").is_file()
