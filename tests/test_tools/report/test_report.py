"""``basicsr report``: what it writes, how runs are named, answers to bad input, and watching."""

import csv
import json
import os
import socket
from pathlib import Path

import pytest

import lightsr_basicsr
from lightsr_basicsr.errors import UserError
from lightsr_basicsr.tools.report import run
from lightsr_basicsr.tools.report.find import ReportError, find_runs
from lightsr_basicsr.tools.report.run import Settings
from lightsr_basicsr.tools.report.series import Key
from tests import tiny
from tests.browser import content
from tests.test_tools.report.work import make_log, make_pictures, make_run, only, report

L_PIX = Key("loss", "l_pix")
PSNR = Key("metric", "psnr", "Set5")


def test_logs_of_other_folders(workdir):
    """Only what lies in the folder of a run is taken for one, unless it is called as BasicSR does."""
    Path("notes").mkdir()
    Path("notes/build.log").write_text(make_log())
    assert "notes has none" in refused("notes")
    folder = make_run()
    (folder / "train_x4_20260501_000000.log").rename(folder / "nohup.log")
    assert only("x4").curves[L_PIX].iterations[-1] == 100


def test_options_that_differ(workdir):
    for name, rate in (("a", 1e-4), ("b", 2e-4)):
        make_run(name, make_log(name, rate=rate))
    resumed = make_log("b", start=50, rate=2e-4, hour=9)
    resumed = resumed.replace("network_g: None", "network_g: net_g_50.pth\n    ignore_resume_networks: []")
    make_run("b", make_log("b", last=50, ended=False, rate=2e-4), resumed)
    assert report("a", "b", "--quiet") == 0
    found = content(Path("experiments/report.html"))["options"]
    assert [(each["name"], each["values"]) for each in found if each["differs"]] == [
        ("train.optim_g.lr", ["0.0001", "0.0002"])
    ]
    assert "path.models" not in {each["name"] for each in found}


def test_csv(workdir):
    make_run("x4", make_log(losses="nan", last=50))
    assert report("x4", "--csv", "all.csv", "--quiet") == 0
    rows = list(csv.DictReader(Path("all.csv").read_text(encoding="utf-8").splitlines()))
    first = next(row for row in rows if row["name"] == "psnr")
    assert list(first.values()) == ["x4", "", "metric", "Set5", "psnr", "50", "50.1", "0.5"]
    assert next(row for row in rows if row["name"] == "l_pix")["value"] == "nan"
    assert report("x4", "--csv", "all.csv", "--quiet") == 0  # its own file is replaced


def test_from_python(workdir):
    make_run()
    found = lightsr_basicsr.report("x4")
    assert found.page == Path("experiments/x4/report.html")
    assert found.runs[0].curves[PSNR].values == [0.5, 1.0]


@pytest.mark.parametrize(
    "text", ["x4", "experiments/x4", "./experiments/x4/", "experiments/x4/models", "experiments/x4/run.yml",
             "experiments/x4/visualization/baby/baby_1.png", "tb_logger/x4",
             "experiments/x4/train_x4_20260501_000000.log"],
)  # fmt: skip
def test_names_of_a_run(workdir, text):
    folder = make_run()
    make_pictures(folder, "baby", [1])
    (folder / "run.yml").touch()
    Path("tb_logger/x4").mkdir(parents=True)
    (found,) = find_runs([text, "x4"])
    assert (found.folder.resolve(), found.title) == (folder.resolve(), "x4")


def test_runs_of_one_name(workdir):
    for place in ("one", "two"):
        make_run("x4", parent=f"{place}/experiments")
    found = find_runs(["one/experiments/x4", "two/experiments/x4"])
    assert [each.title for each in found] == ["one/x4", "two/x4"]
    found = find_runs(["same=one/experiments/x4", "same=two/experiments/x4"])
    assert [each.title for each in found] == ["same", "same (2)"]
    assert report("one/experiments/x4", "two/experiments/x4", "--quiet") == 0
    assert Path("report.html").is_file()


def refused(*arguments: str) -> str:
    with pytest.raises(UserError) as caught:
        lightsr_basicsr.report(*arguments)
    return str(caught.value)


def test_no_such_run(workdir):
    assert "There is no run near" in refused("x4")
    for name in ("imdn_x4", "fdiwn_x4", "other"):
        make_run(name)
    message = refused("imdn_x3")
    assert "neither imdn_x3 nor experiments/imdn_x3 exists" in message
    assert "experiments/imdn_x4" in message
    assert "other" not in message
    assert "got experiments with 3 of them: name one" in refused("experiments")
    assert "got '\\x00'" in refused("\0")


def test_folders_without_logs(workdir):
    make_run()
    Path("experiments/bare/models").mkdir(parents=True)
    message = refused("experiments/bare")
    assert "experiments/bare has none: it has not been trained yet. Start its training" in message
    Path("experiments/bare/models/net_g_8.pth").touch()
    message = refused("experiments/bare")
    assert "experiments/bare has networks and none: bring it from where the run was trained" in message
    Path("notes").mkdir()
    message = refused("notes")
    assert message.startswith("Expected train_*.log in the folder of a run, and notes has none. Runs near:")
    assert "experiments/x4" in message
    Path("results/x4").mkdir(parents=True)
    Path("results/x4/test_x4_1.log").touch()
    assert "a test has no curves" in refused("results/x4")


def test_projects_that_were_never_trained(workdir):
    Path("mine").mkdir()
    Path("mine/train.yml").write_text("name: mine\n")
    message = refused("mine")
    assert "mine has none: it has not been trained yet" in message
    assert "basicsr train -opt mine/train.yml" in message
    Path("photos").mkdir()
    Path("mine").rename("photos/mine")
    make_run("mine")
    assert find_runs(["photos/mine"])[0].folder == Path("experiments/mine")
    assert "has none" not in refused("y" * 300)


def test_runs_that_are_missing(workdir, capsys):
    """The page shows the others, whether one of them is missing or all but one."""
    make_run("one")
    make_run("two")
    assert report("one", "nosuch", "two", "--quiet") == 1
    assert "neither nosuch nor experiments/nosuch exists" in capsys.readouterr().err
    found = content(Path("experiments/report.html"))
    assert [each["title"] for each in found["runs"]] == ["one", "two"]
    assert any("nosuch" in note for note in found["notes"])
    assert report("one", "nosuch", "--quiet") == 1
    assert Path("experiments/one/report.html").is_file()
    assert report("nosuch", "other") == 2
    said = capsys.readouterr().err
    assert "'nosuch'" in said
    assert "'other'" in said


def test_empty_logs(workdir, capsys):
    make_run("empty", "")
    assert report("empty") == 2
    assert "experiments/empty/train_empty_20260501_000000.log, got an empty file" in capsys.readouterr().err
    make_run("noise", "no log\n")
    assert report("noise") == 2
    assert "got 7 bytes without any" in capsys.readouterr().err
    make_run()
    assert report("empty", "x4", "--quiet") == 1  # the others are shown
    assert "got an empty file" in capsys.readouterr().err
    assert any("got an empty file" in note for note in content(Path("experiments/report.html"))["notes"])
    make_run("x4", "", make_log())
    assert any("is empty and is left out" in note for note in only("x4").notes)


def test_no_iteration(workdir, capsys):
    make_run("x4", make_log(last=0, ended=False))
    assert report("x4") == 0
    assert "No iteration is logged" in capsys.readouterr().out
    found = content(Path("experiments/x4/report.html"))
    assert found["charts"] == found["best"] == []
    assert found["runs"][0]["versions"] == [["BasicSR", "1.4.2"], ["PyTorch", "2.4.0"]]


def test_broken_pictures(workdir):
    folder = make_run()
    make_pictures(folder, "baby", [50, 100])
    (folder / "visualization/baby/baby_75.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "visualization/baby/baby_80.png").touch()
    (folder / "visualization/baby/notes.txt").touch()
    assert report("x4", "--quiet") == 0
    found = content(Path("experiments/x4/report.html"))
    assert [each["iteration"] for each in found["pictures"]] == [50, 100]
    assert any("2 pictures cannot be read: baby_75.png" in note for note in found["notes"])


def test_pictures_fit_into_the_page(workdir):
    folder = make_run()
    rng = tiny.np.random.default_rng(0)
    for name in "abc":
        (folder / "visualization" / name).mkdir(parents=True)
        for iteration in range(20):
            noise = rng.integers(0, 256, (200, 200, 3), tiny.np.uint8)
            tiny.cv2.imwrite(str(folder / f"visualization/{name}/{name}_{iteration}.png"), noise)
    assert report("x4", "--quiet", "--pictures", "2", "--page-size", "1") == 0
    page = Path("experiments/x4/report.html")
    assert 100_000 < page.stat().st_size < 1_000_000
    found = content(page)
    assert {each["name"] for each in found["pictures"]} == {"a", "c"}
    assert [each["iteration"] for each in found["pictures"] if each["name"] == "a"][::15] == [0, 19]
    assert any("2 of 3 validation pictures" in note for note in found["notes"])
    assert any("WebP quality" in note for note in found["notes"])


@pytest.mark.parametrize(("flag", "name"), [("-o", "train_x4_20260501_000000.log"), ("-o", "models/net_g_100.pth"),
                                            ("--csv", "run.yml"), ("--csv", "report.html")])  # fmt: skip
def test_files_of_a_run_are_not_replaced(workdir, capsys, flag, name):
    folder = make_run()
    (folder / "models/net_g_100.pth").write_bytes(b"weights")
    (folder / "run.yml").write_text("name: x4\n")
    assert report("x4", "--quiet") == 0
    before = (folder / name).read_bytes()
    assert report("x4", flag, folder / name) == 2
    assert f"{folder / name} exists and is not a" in capsys.readouterr().err
    assert (folder / name).read_bytes() == before


def test_output_that_cannot_be_written(workdir, monkeypatch):
    make_run()
    assert "Expected a folder to write page.html to, and nowhere is none" in refused("x4", "nowhere/page.html")
    Path("out").mkdir()
    assert lightsr_basicsr.report("x4", "out").page == Path("out/report.html")
    monkeypatch.setattr(run.os, "access", lambda path, mode: False)
    assert "set its permissions right, or choose another with -o" in refused("x4", "page.html")


@pytest.mark.parametrize(("settings", "flag"), [({"pictures": -1}, "--pictures"), ({"megabytes": 0}, "--page-size"),
                                                ({"every": 0.1}, "--every")])  # fmt: skip
def test_settings(workdir, settings, flag):
    make_run()
    with pytest.raises(ReportError, match=flag):
        lightsr_basicsr.report("x4", settings=Settings(**settings))


@pytest.fixture
def going(workdir) -> Path:
    """The folder of a run that holds its lock."""
    folder = make_run("x4", make_log(last=50, ended=False))
    folder.with_name(".x4.lock").write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
    return folder


def test_watch_ends_with_the_run(going, monkeypatch, capsys):
    seen = []

    def wait(seconds: float) -> None:
        seen.append(content(going / "report.html")["live"])
        if len(seen) == 2:
            make_run("x4", make_log())
            going.with_name(".x4.lock").unlink()

    monkeypatch.setattr(run.time, "sleep", wait)
    assert report("x4", "--watch", "--every", "7") == 0
    assert seen == [7, 7]
    assert content(going / "report.html")["live"] is None
    assert "written every 7 s" in capsys.readouterr().err


def test_a_watch_sees_later_starts_and_survives_a_failure(going, monkeypatch, capsys):
    turns = []

    def wait(seconds: float) -> None:
        turns.append(content(Path("page.html"))["runs"][0]["last"])
        if len(turns) == 1:  # moved aside by another start, which has not logged yet
            going.rename(going.with_name("aside"))
        elif len(turns) == 2:
            going.with_name("aside").rename(going)
            later = make_log(start=50, last=90, ended=False, hour=9)
            (going / "train_x4_20260501_090000.log").write_text(later)
        else:
            going.with_name(".x4.lock").unlink()

    monkeypatch.setattr(run.time, "sleep", wait)
    assert report("x4", "--watch", "-o", "page.html") == 0
    assert turns == [50, 50, 90]
    assert "has none any more: was it renamed?" in capsys.readouterr().err


def test_interrupted_watch(going, monkeypatch, capsys):
    monkeypatch.setattr(run.time, "sleep", lambda seconds: (_ for _ in ()).throw(KeyboardInterrupt))
    assert report("x4", "--watch") == 130
    assert content(going / "report.html")["live"] is None
    assert "stopped" in capsys.readouterr().err


def test_watch_of_runs_that_have_ended(workdir):
    make_run()
    assert report("x4", "--watch", "--quiet") == 0


def test_a_watch_waits_for_the_first_lines(workdir, monkeypatch, capsys):
    """A training that has just begun: no folder but its lock, no log, an empty one, then lines."""
    folder = Path("experiments/x4")
    folder.parent.mkdir()
    lock = folder.with_name(".x4.lock")
    lock.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
    steps = [
        lambda: (folder / "models").mkdir(parents=True),
        lambda: make_run("x4", ""),
        lambda: make_run("x4", make_log(last=50, ended=False)),
        lambda: (make_run("x4", make_log()), lock.unlink()),
    ]
    monkeypatch.setattr(run.time, "sleep", lambda seconds: steps.pop(0)())
    assert report("x4", "--watch") == 0
    assert not steps
    assert capsys.readouterr().err.count("waiting for it at most 10 minutes; Ctrl-C ends that") == 1
    assert content(folder / "report.html")["runs"][0]["state"] == "finished"


def test_the_wait_for_the_first_lines_ends(workdir, monkeypatch, capsys):
    (Path("experiments/x4/models")).mkdir(parents=True)
    waited = []
    monkeypatch.setattr(run.time, "sleep", waited.append)
    assert report("x4", "--watch") == 2
    assert sum(waited) == pytest.approx(600, abs=5)
    assert "has not been trained yet" in capsys.readouterr().err
    assert report("nosuch", "--watch") == 2  # a slip in a name is told at once
    monkeypatch.setattr(run.time, "sleep", lambda seconds: (_ for _ in ()).throw(KeyboardInterrupt))
    assert report("x4", "--watch") == 130
    assert "stopped" in capsys.readouterr().err
