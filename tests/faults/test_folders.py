"""The folder of a run: names that reach other folders, folders of others, read-only ones, two runs of one name."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lightsr_basicsr import cli, processes
from lightsr_basicsr.tools.check.options import check_options
from lightsr_basicsr.tools.run import folder as folders
from lightsr_basicsr.tools.run import lock
from lightsr_basicsr.tools.run.lock import LockedError, lock_file, locked
from tests import tiny

pytestmark = pytest.mark.faults
BAD_NAMES = ["../data", "..", ".", "", "a/b", "a\\b", "/tmp/x", "a\0b", "n" * 201, "é" * 101, "a\nb", " ", "a ", ".x",
             "\ud800"]  # fmt: skip


@pytest.fixture
def pairs(workdir):
    tiny.make_pairs(workdir / "data", 4)
    return workdir


def run(options: dict, *flags: str, command: str = "train") -> int:
    return cli.main([command, "-opt", tiny.write(options), *flags])


@pytest.mark.parametrize("flags", [(), ("--auto_resume",), ("--stage", "teacher"), ("--debug",)], ids=str)
@pytest.mark.parametrize("name", [name for name in BAD_NAMES if "\ud800" not in name], ids=range(len(BAD_NAMES) - 1))
def test_a_name_that_is_no_name_of_a_folder_is_refused(pairs, capsys, name, flags):
    tiny.write({**tiny.train_options(), "name": name})
    before = tiny.tree(pairs)
    assert cli.main(["train", "-opt", "run.yml", *flags]) == 2
    assert "name: must be a plain name (no / or \\, " in capsys.readouterr().err
    assert tiny.tree(pairs) == before


def test_the_same_for_a_test_and_on_the_command_line(pairs, capsys):
    assert run(tiny.train_options(), "--force_yml", "name=../data") == 2
    assert run({**tiny.test_options(tiny.paired("a", "data")), "name": "../data"}, command="test") == 2
    assert capsys.readouterr().err.count("name: must be a plain name") == 2
    assert sorted(path.name for path in pairs.iterdir()) == ["data", "run.yml"]


@pytest.mark.parametrize("name", [*BAD_NAMES, 5, None, ["a"]], ids=range(len(BAD_NAMES) + 3))
def test_the_check_reports_names_of_runs_and_sets_and_suffixes(pairs, name):
    options = {**tiny.train_options(), "name": name}
    options["datasets"]["val"]["name"] = name
    wheres = [finding.where for finding in check_options(options, is_train=True) if finding.fatal]
    assert {"name", "datasets.val.name"} <= set(wheres)


@pytest.mark.parametrize(("suffix", "fine"), [("/../../x", False), ("a\\b", False), ("a/b", False), ("x4", True),
                                              ("", True), (None, True), (4, True), ("_x 4.b", True)])  # fmt: skip
def test_a_suffix_stays_in_the_folder(pairs, suffix, fine):
    options = tiny.test_options(tiny.paired("a", "data"))
    options["val"]["suffix"] = suffix
    wheres = [finding.where for finding in check_options(options, is_train=False)]
    assert ("val.suffix" not in wheres) is fine


@pytest.mark.parametrize(
    "name", ["x4", "IMDN x4 (2)", "größe", "超解像", "a.b", "n" * 200, "keep_archived_20260101_000000"]
)
def test_plain_names_are_fine(name):
    assert folders.run_folder({"name": name}, "train").name == name


@pytest.mark.parametrize("kind", ["weights", "file", "other"])
def test_what_is_not_of_a_run_is_not_renamed(pairs, capsys, kind):
    place = pairs / "experiments" / "mine"
    place.mkdir(parents=True)
    if kind == "file":
        place.rmdir()
        place.write_text("notes")
    else:
        (place / ("IMDN_x4.pth" if kind == "weights" else "notes.txt")).write_text("x")
    options = {**tiny.train_options(total_iter=1), "name": "mine"}
    tiny.write(options)
    before = tiny.tree(pairs)
    assert run(options) == 2
    assert "mine exists and is not the folder of a run" in capsys.readouterr().err
    assert {**tiny.tree(pairs), "run.yml": 0} == {**before, "run.yml": 0}


@pytest.mark.parametrize(
    "content", [[], ["models/"], ["tiny.yml"], ["train_tiny_1.log", "notes.txt"], ["log/", "x.pth"]]
)
def test_the_folder_of_a_run_is_known(tmp_path, content):
    for name in content:
        (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).touch()
    folders.check_folder(tmp_path, tb_logger=False)


@pytest.mark.parametrize("locked_out", ["experiments", "experiments/tiny", "experiments/tiny/models", "tb_logger"])
def test_a_read_only_folder_is_reported_before_the_run(pairs, capsys, monkeypatch, locked_out):
    (pairs / "experiments/tiny/models").mkdir(parents=True)
    (pairs / "tb_logger").mkdir()
    options = tiny.train_options(total_iter=1)
    options["logger"]["use_tb_logger"] = True
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != pairs / locked_out and real(path, mode))
    tiny.write(options)
    before = tiny.tree(pairs)
    assert run(options) == 2
    assert f"{pairs / locked_out} is not writable, and the run writes there" in capsys.readouterr().err
    assert {**tiny.tree(pairs), "run.yml": 0} == {**before, "run.yml": 0}


@pytest.mark.parametrize("name", ["experiments", "experiments/tiny/models"])
def test_a_file_in_the_place_of_a_folder_is_reported(pairs, capsys, name):
    (pairs / name).parent.mkdir(parents=True, exist_ok=True)
    (pairs / name).touch()
    if name != "experiments":
        (pairs / "experiments/tiny/log").mkdir()
    assert run(tiny.train_options(total_iter=1)) == 2
    assert f"{pairs / name} is a file where the run needs a folder" in capsys.readouterr().err


def test_parts_of_a_killed_save_are_gone_after_the_next_start(pairs):
    options = tiny.train_options(total_iter=1)
    assert run(options) == 0
    part = pairs / "experiments/tiny/models/.net_g_2.pth.99.part"
    part.touch()
    assert run({**options, "train": {**options["train"], "total_iter": 2}}, "--auto_resume") == 0
    assert not part.exists()


# The lock.


def hold(folder: Path, **changes: object) -> Path:
    """Write the lock of another run."""
    place = lock_file(folder)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps({**lock._this_process(), **changes}))
    return place


@pytest.fixture
def quick(monkeypatch):
    for name, value in (("BEAT", 0.05), ("PATIENCE", 0.6), ("LOOK", 0.02), ("WRITING", 0.05)):
        monkeypatch.setattr(lock, name, value)


def test_the_second_run_of_a_name_is_told_who_holds_it_before_anything_is_renamed(pairs, capsys):
    options = tiny.train_options(total_iter=1)
    assert run(options) == 0
    tiny.write(options)
    with locked(pairs / "experiments" / "tiny"):
        before = tiny.tree(pairs)
        assert cli.main(["train", "-opt", "run.yml"]) == 2
        assert cli.main(["train", "-opt", "run.yml", "--auto_resume"]) == 2
        assert tiny.tree(pairs) == before
    told = capsys.readouterr().err
    assert f"is in use by another run: process {os.getpid()} on {lock._this_process()['host']}, started 20" in told
    assert run({**options, "train": {**options["train"], "total_iter": 2}}, "--auto_resume") == 0
    assert not list(Path("experiments").glob("*archived*"))
    assert not lock_file(pairs / "experiments" / "tiny").exists()


def test_a_test_is_locked_too_and_other_names_are_free(pairs):
    with locked(pairs / "results" / "tiny_test"), locked(pairs / "results" / "other"):
        assert run(tiny.test_options(tiny.paired("a", "data")), command="test") == 2
    assert run(tiny.test_options(tiny.paired("a", "data")), command="test") == 0


def test_a_lock_is_released_after_an_error(tmp_path):
    with pytest.raises(RuntimeError), locked(tmp_path / "a"):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


@pytest.mark.parametrize("changes", [{"pid": None}, {"mark": "1"}], ids=["gone", "number taken again"])
def test_a_stale_lock_of_this_machine_is_recognised(tmp_path, changes):
    place = hold(tmp_path / "a", **{**changes, **({} if changes.get("mark") else {"pid": dead_pid()})})
    with locked(tmp_path / "a"):
        assert lock._read(place)["pid"] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_a_killed_process_that_its_parent_has_not_noticed_is_stale(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    end = time.monotonic() + 20
    while processes.stat_of(child.pid)[:1] != ["Z"] and time.monotonic() < end:
        time.sleep(0.01)
    hold(tmp_path / "a", pid=child.pid, mark=processes.mark_of(child.pid))
    with locked(tmp_path / "a"):
        pass
    child.wait()


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"pid": 3', "\0", '{"host": "elsewhere", "pid": 1}'])
def test_a_lock_that_shows_no_life_is_stale(tmp_path, quick, content):
    """A torn one, or one of another machine, where processes cannot be asked for."""
    lock_file(tmp_path / "a").write_text(content)
    said = []
    with locked(tmp_path / "a", said.append):
        pass
    assert "looking up to 1 s for a sign of life" in said[0]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("changes", [{"host": "elsewhere"}, {"space": "another container"}])
def test_a_lock_that_is_touched_is_in_use(tmp_path, quick, changes):
    place, ended = hold(tmp_path / "a", **changes), threading.Event()
    beats = threading.Thread(target=lock._beat, args=(place, ended))
    beats.start()
    try:
        with pytest.raises(LockedError, match=r"in use by another run"), locked(tmp_path / "a"):
            pass
    finally:
        ended.set()
        beats.join()


def test_a_lock_of_another_machine_that_is_released_is_free(tmp_path, quick):
    place = hold(tmp_path / "a", host="elsewhere")
    threading.Timer(0.1, place.unlink).start()
    with locked(tmp_path / "a"):
        pass


def test_of_many_that_start_at_once_one_runs(tmp_path):
    """Also where a stale lock is in the way."""
    hold(tmp_path / "a", pid=dead_pid())
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom lightsr_basicsr.tools.run.lock import LockedError, locked\n"
        "ready, said = Path(sys.argv[2]), Path(sys.argv[3])\n(ready / sys.argv[4]).touch()\n"
        "while len(list(ready.iterdir())) < 5: pass\n"
        "try:\n with locked(Path(sys.argv[1])):\n  print('runs', flush=True)\n  end = time.monotonic() + 60\n"
        "  while len(list(said.iterdir())) < 4 and time.monotonic() < end: time.sleep(0.05)\n"
        "except LockedError as error:\n (said / sys.argv[4]).touch()\n print('told')\n"
    )
    folders = [tmp_path / name for name in ("a", "ready", "said")]
    for folder in folders[1:]:
        folder.mkdir()
    command = [sys.executable, "-c", code, *map(str, folders)]
    runs = [subprocess.Popen([*command, str(number)], stdout=subprocess.PIPE, text=True) for number in range(5)]
    said = sorted(each.communicate(timeout=100)[0].strip() for each in runs)
    assert said == ["runs", "told", "told", "told", "told"]


@pytest.mark.parametrize("seen", [b"", b'{"pid": 3'])
def test_a_lock_that_is_being_written_is_read_when_it_is_whole(tmp_path, monkeypatch, seen):
    """The holder is alive: no wait for a sign of life, which one who ends before it never gives."""
    monkeypatch.setattr(lock, "_shows_life", None)
    place = lock_file(tmp_path / "a")
    place.write_bytes(seen)
    threading.Timer(0.1, place.write_text, [json.dumps(lock._this_process())]).start()
    with pytest.raises(LockedError, match=f"process {os.getpid()} on"), locked(tmp_path / "a"):
        pass


def test_a_stale_lock_that_was_replaced_is_never_moved(tmp_path, monkeypatch):
    """While it is away, a third run could take its place."""
    place = hold(tmp_path / "a", pid=dead_pid())
    stale = lock._read(place)
    place.unlink()
    with locked(tmp_path / "a"):
        own = lock._read(place)
        monkeypatch.setattr(Path, "rename", None)
        lock._remove_stale(place, stale)
        assert lock._read(place) == own


def test_runs_within_one_second_are_moved_aside_each_under_a_name_of_its_own(pairs, monkeypatch):
    from basicsr.utils import misc

    times = iter(["1", "1", "1", "1", "2", "2", "2"])
    last = ["3"]
    monkeypatch.setattr(misc, "get_time_str", lambda: next(times, *last))
    for _ in range(3):
        assert run(tiny.train_options(total_iter=1)) == 0
    assert sorted(path.name for path in Path("experiments").iterdir())[:3] == [
        "tiny",
        "tiny_archived_1",
        "tiny_archived_2",
    ]


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [("path.experiments_root", "else", "runs go under the working directory"),
     ("path.models", "x", "leave the line out"), ("rank", 3, "leave the line out"),
     ("auto_resume", True, "type --auto_resume")],
)  # fmt: skip
def test_what_the_run_sets_itself_is_told(pairs, capsys, key, value, told):
    options = tiny.train_options(total_iter=1)
    *section, last = key.split(".")
    (options[section[0]] if section else options)[last] = value
    assert run(options) == 0
    line = next(line for line in capsys.readouterr().err.splitlines() if f"{key}: (warning)" in line)
    assert "is set by the run itself, so this value does nothing" in line
    assert told in line
    assert Path("experiments/tiny/models/net_g_latest.pth").is_file()
