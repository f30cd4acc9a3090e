"""Runs that keep decoded images in memory or fetch batches ahead: the same bits, and what cannot be is told before."""

import os
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path

import basicsr.train
import pytest

from lightsr_basicsr import allocator, cli
from lightsr_basicsr.data.image_cache import ImageCache, SharedMemory
from tests import tiny
from tests.faults.resume_count import RUN, compare, kill_in_step
from tests.two import run_two

pytestmark = pytest.mark.faults
CACHED = {"cache": "memory", "num_worker_per_gpu": 2, "persistent_workers": True}
PREFETCHED = {"prefetch": True, "num_worker_per_gpu": 1, "persistent_workers": True}


@pytest.fixture
def options(workdir) -> dict:
    tiny.make_pairs(workdir / "data", 8, side=48)
    made = tiny.train_options(total_iter=8)
    made["datasets"].pop("val")
    made["val"]["val_freq"], made["logger"]["save_checkpoint_freq"] = 100, 8
    return made


def run(options: dict, *more: str, **loading) -> int:
    changed = {**options["datasets"]["train"], **loading}
    return cli.main(["train", "-opt", tiny.write({**options, "datasets": {"train": changed}}), *more])


def log() -> str:
    return "\n".join(file.read_text() for file in sorted(Path("experiments").glob("*/train_*.log")))


@pytest.mark.parametrize("loading", [CACHED, PREFETCHED], ids=["cache", "prefetch"])
def test_the_bits_are_the_same_also_of_a_run_that_was_stopped(options, monkeypatch, capsys, loading):
    assert run(options) == 0
    shutil.move(RUN, "plain")
    with monkeypatch.context() as patched:
        patched.setattr(basicsr.train, "build_model", basicsr.train.build_model)
        kill_in_step(signal.SIGTERM, "optimize_parameters", 5, after=False)
        assert run(options, **loading) == 143
    told = capsys.readouterr().err
    assert ("16 images, 0 MB when all are read" in told) == (loading is CACHED)
    assert ("Use cpu prefetch dataloader" in told) == (loading is PREFETCHED)
    assert run(options, "--auto_resume", **loading) == 0
    assert compare(RUN, Path("plain"), 8) == []


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_is_named_and_replaced_unless_it_is_kept(options, monkeypatch, workers):
    feed, calls = basicsr.train.build_model, []

    def build(opt):
        Path("data/HR/005.png").write_bytes(b"broken")
        Path("data/LR/002.png").unlink()
        return calls.append(1) or feed(opt)

    monkeypatch.setattr(basicsr.train, "build_model", build)
    assert run(options, cache="memory", num_worker_per_gpu=workers) == 0
    assert calls
    told = [line for line in log().splitlines() if "another image takes its place" in line]
    assert len(told) == 2
    assert "data/HR/005.png cannot be read as an image" in "".join(told)
    assert "data/LR/002.png: No such file or directory" in "".join(told)


def test_images_that_are_kept_need_no_file(options, monkeypatch):
    kept = ImageCache.keep
    monkeypatch.setattr(ImageCache, "keep", lambda self, key, image: (kept(self, key, image), os.remove(key[1])))
    assert run(options, cache="memory", max_broken=0) == 0
    assert list(Path("data").glob("*/*.png")) == []


def test_more_images_than_memory_are_told_before_the_run(options, monkeypatch, capsys):
    monkeypatch.setattr("lightsr_basicsr.tools.check.data.available_memory", lambda: 1000)
    assert run(options, cache="memory") == 2
    error = capsys.readouterr().err
    assert "datasets.train.cache: needs 0.00 GB for 16 decoded images, more than 90% of the free memory" in error
    assert not Path("experiments").exists()


def test_of_a_set_that_makes_its_images_first_it_is_told_when_they_are_there(options, monkeypatch, capsys):
    monkeypatch.setattr("lightsr_basicsr.tools.run.loading.available_memory", lambda: 1000)
    assert run(options, cache="memory") == 2
    assert "datasets.train.cache needs 0.00 GB for 16 decoded images" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs Linux")
def test_memory_that_the_system_refuses_is_told(options, capsys):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, before[1]))
    try:
        assert run(options, cache="memory") == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "GB, which the system refuses (File too large): raise its limits" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("where", "changes", "told"),
    [
        ("val", {"cache": "memory"}, "datasets.val.cache: is for the training set alone: leave the line out"),
        ("val", {"prefetch": True}, "datasets.val.prefetch: is for the training set alone: leave the line out"),
        ("train", {"cache": "disk"}, "datasets.train.cache: must be memory, got 'disk'"),
        ("train", {"prefetch": 3}, "datasets.train.prefetch: must be true or false, got 3"),
        ("train", {"prefetch": True, "prefetch_mode": "cpu"}, "datasets.train.prefetch: chooses prefetch_mode, which"),
    ],
)
def test_what_cannot_be_is_told(options, capsys, where, changes, told):
    options["datasets"] = {"train": options["datasets"]["train"], "val": tiny.paired("v", "data")}
    options["datasets"][where].update(changes)
    assert cli.main(["train", "-opt", tiny.write(options)]) == 2
    assert told in capsys.readouterr().err


def count_memories(rank: int) -> None:
    make = SharedMemory._make
    SharedMemory._make = lambda self: Path(f"made_by_{rank}").touch() or make(self)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
def test_two_processes_share_one_copy(options):
    options["datasets"]["train"].update(batch_size_per_gpu=2)
    assert run_two("train", options)[0] == [0, 0]
    shutil.move(RUN, "plain")
    options["datasets"]["train"]["cache"] = "memory"
    statuses, errors = run_two("train", options, spoil=count_memories)
    assert statuses == [0, 0], errors
    assert [file.name for file in Path().glob("made_by_*")] == ["made_by_0"]
    assert compare(RUN, Path("plain"), 8) == []


@pytest.mark.skipif(allocator.find_problem() != "", reason="needs glibc")
def test_memory_that_is_kept_changes_no_bit(options, monkeypatch):
    assert run(options) == 0
    shutil.move(RUN, "plain")
    kept, keep = [], allocator.freed_memory_kept

    @contextmanager
    def noted():
        with keep():
            kept.append(True)
            yield

    monkeypatch.setattr(allocator, "freed_memory_kept", noted)
    options["train"]["keep_memory"] = True
    assert run(options) == 0
    assert kept
    assert compare(RUN, Path("plain"), 8) == []


def test_memory_that_cannot_be_kept_is_told(options, monkeypatch, capsys):
    monkeypatch.setattr(allocator, "_glibc", lambda: None)
    options["train"]["keep_memory"] = True
    assert run(options) == 2
    assert "train.keep_memory: needs Linux with the C library glibc, which is not here" in capsys.readouterr().err
