"""What logs say: curves, stages, states and checkpoints, also of resumed, torn and damaged ones."""

import json
import logging
import os
import random
import re
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from basicsr.utils.logger import initialized_logger

import lightsr_basicsr
from lightsr_basicsr import cli
from lightsr_basicsr.tools.report import alive, runs
from lightsr_basicsr.tools.report.find import ReportError
from lightsr_basicsr.tools.report.runs import FINISHED, INTERRUPTED, RUNNING, best_of_run
from lightsr_basicsr.tools.report.series import Key, Series, thin
from tests import tiny
from tests.browser import content
from tests.test_tools.report.work import make_log, make_run, only, report, scores, step

L_PIX = Key("loss", "l_pix")
PSNR = Key("metric", "psnr", "Set5")


def test_a_real_run_and_its_resume(workdir, capsys):
    tiny.make_pairs(Path("data"), 4)
    options = tiny.train_options(total_iter=12)
    options["logger"] |= {"print_freq": 3, "save_checkpoint_freq": 4}
    assert cli.main(["train", "-opt", tiny.write(options)]) == 0
    first = only("tiny")
    assert first.curves[L_PIX].iterations == [3, 6, 9, 12]
    # 5 and 10 are not told by the log, and 12 is the end.
    assert first.curves[Key("metric", "psnr", "v")].iterations == [5, 10, 12]
    best = json.loads(Path("experiments/tiny/best_metrics.json").read_text())["v"]["psnr"]
    (found,) = best_of_run(first)
    assert (found.iteration, round(found.value, 3)) == (best["iter"], round(best["val"], 3))
    assert first.state == FINISHED
    assert first.newest.versions["BasicSR"] == "1.4.2"
    assert list(first.newest.networks) == ["IMDN_RTC"]
    assert first.options["train"]["optim_g"] == {"type": "Adam", "lr": 0.001}
    assert [each.stage for each in first.spans] == [""]
    Path("experiments/tiny/training_states/12.state").unlink()
    initialized_logger.clear()  # as in another process
    logging.getLogger("basicsr").handlers.clear()
    time.sleep(1.1)  # the names of logs have seconds
    assert cli.main(["train", "-opt", "run.yml", "--auto_resume", "--force_yml", "train:total_iter=15"]) == 0
    assert len(list(Path("experiments/tiny").glob("*.log"))) == 2
    second = only("tiny")
    assert second.curves[L_PIX].iterations == [3, 6, 9, 12, 15]
    assert second.curves[Key("metric", "psnr", "v")].iterations == [5, 10, 15]
    assert "pretrain_network_g" not in second.options["path"]
    assert any("Resumed at iteration 8: 4 iterations" in note for note in second.notes)
    capsys.readouterr()
    assert report("tiny") == 0
    assert re.search("tiny +finished +15 of 15", capsys.readouterr().out)
    shown = content(Path("experiments/tiny/report.html"))
    assert [each["iteration"] for each in shown["pictures"] if each["name"] == "000"] == [5, 10, 12, 15]


def test_later_starts_win(workdir):
    make_run("x4", make_log(last=80, ended=False), make_log(start=40, losses=0.5, hour=9))
    found = only("x4")
    assert found.curves[L_PIX].iterations == list(range(10, 101, 10))
    assert found.curves[L_PIX].values[3:5] == [pytest.approx(1 / 40, rel=1e-4), 0.5]
    assert found.curves[PSNR].iterations == [50, 100]
    # Without what was computed twice.
    assert found.curves[L_PIX].seconds == pytest.approx(range(10, 101, 10), abs=0.1)
    assert found.state == FINISHED


def test_joined_logs(workdir):
    """Both starts in one file."""
    make_run("x4", make_log(last=80, ended=False) + make_log(start=40, losses=0.5, hour=9))
    found = only("x4")
    assert found.curves[L_PIX].iterations == list(range(10, 101, 10))
    assert found.curves[L_PIX].values[4] == 0.5
    assert found.curves[PSNR].iterations == [50, 100]
    assert found.state == FINISHED


def test_a_start_that_never_trained_changes_nothing(workdir):
    failed = make_log(start=10, hour=9).partition("Start training")[0].rpartition("\n")[0] + "\n"
    make_run("x4", make_log(last=80, ended=False), failed)
    assert only("x4").curves[L_PIX].iterations[-1] == 80


def test_validations_between_two_lines(workdir):
    """Several validations between two lines of losses, and lines that come later than one."""
    make_run("x4", make_log(freq=15, every=40, last=100))
    assert only("x4").curves[PSNR].iterations == [15, 30, 45, 60, 75, 90]


def test_iterations_of_best_values_are_believed(workdir):
    text = make_log(last=10, ended=False, freq=1000)
    text += scores("Set5", {"psnr": 30.0}, "2026-05-01 09:00:00", {"psnr": (30.0, 17)})
    text += scores("Set5", {"psnr": 29.0}, "2026-05-01 09:10:00", {"psnr": (30.0, 17)})
    make_run("x4", text)
    assert only("x4").curves[PSNR].iterations == [17, 1000]


def test_stages(workdir):
    when = "2026-05-01 08:00:30"
    text = make_log(last=50, total=100, stage="teacher/", ended=False, freq=1000).replace(
        "INFO: Network:", f"INFO: KDSR: the teacher.\n{when},000 INFO: Network:"
    )
    text += scores("teacher_Set5", {"psnr": 20.0}, when) + f"{when},000 INFO: KDSR: the student.\n"
    text += step(60, {"student/l_pix": 1.0, "student/l_kd": 2.0}, when) + scores("student_Set5", {"psnr": 21.0}, when)
    make_run("x4", text)
    found = only("x4")
    assert [each.stage for each in found.spans] == ["teacher", "student"]
    assert found.spans[0][1:] == (10, 1000)
    assert {key for key in found.curves if key.kind == "metric"} == {
        Key("metric", "psnr", "Set5", "teacher"), Key("metric", "psnr", "Set5", "student")
    }  # fmt: skip
    assert found.curves[Key("loss", "l_kd", "", "student")].values == [2.0]


@pytest.mark.parametrize("cut", ["[x4..][epoch:  0, iter:     1", "l_pix: 1.00", "INFO", "2026-05-01 08:0"])
def test_torn_last_line(workdir, cut):
    """A run that is writing, or was killed while it did."""
    line = step(60, {"l_pix": 1.0}, "2026-05-01 08:01:00")
    make_run("x4", make_log(last=50, ended=False) + line[: line.index(cut[:5]) + len(cut)])
    found = only("x4")
    assert found.curves[L_PIX].iterations[-1] == 50
    assert found.newest.lost == 1


def test_damaged_lines_and_characters(workdir):
    good = make_log(last=100).encode()
    lines = good.split(b"\n")
    place = next(number for number, line in enumerate(lines) if b"iter:      20" in line)
    lines[place] = lines[place].replace(b"l_pix", b"l_\xe4\xff").replace(b"5.0000e-02", b"5.00\0")
    make_run("x4", b"\n".join(lines))
    found = only("x4")
    assert 20 not in found.curves[L_PIX].iterations
    assert len(found.curves[L_PIX].iterations) == 9
    assert any("2 characters are not UTF-8" in note for note in found.notes)
    assert any("1 line cut off" in note for note in found.notes)


def test_logs_of_any_damage(workdir):
    """Bytes changed, lost and repeated anywhere: a page, or a message."""
    rng = random.Random(0)
    good = make_log(last=200, total=200, stage="teacher/").encode()
    for _ in range(150):
        log = bytearray(good)
        for _ in range(rng.randint(1, 25)):
            place, length = rng.randrange(len(log)), rng.randrange(300)
            kind = rng.randrange(4)
            if kind == 0:
                log[place] = rng.randrange(256)
            elif kind == 1 and length < len(log) - 10:
                del log[place : place + length]
            elif kind == 2:
                log[place:place] = log[rng.randrange(len(log)) :][:length]
            else:
                log[place : place + 8] = rng.randbytes(8)
        make_run("x4", bytes(log))
        with suppress(ReportError):
            lightsr_basicsr.report("x4")


def test_learning_rates_of_groups(workdir):
    """Only those are told apart that differ."""
    text = make_log(last=0, ended=False)
    for iteration, rates in ((10, "1.000e-04,1.000e-04,"), (20, "1.000e-04,5.000e-05,")):
        line = step(iteration, {"l_pix": 1.0}, "2026-05-01 08:01:00")
        text += line.replace("1.000e-04,", rates)
    make_run("x4", text)
    rates = {key.name: series.values for key, series in only("x4").curves.items() if key.kind == "lr"}
    assert rates == {"lr": [1e-4, 1e-4], "lr of group 2": [5e-5]}


def test_windows_logs(workdir):
    make_run("x4", make_log().replace("\n", "\r\n").encode("utf-16"))
    assert only("x4").curves[L_PIX].iterations == list(range(10, 101, 10))


def test_nan_is_a_gap_and_told(workdir):
    make_run("x4", make_log(last=50, losses="nan") + step(60, {"l_pix": "inf"}, "2026-05-01 08:01:00"))
    found = only("x4")
    assert thin(found.curves[L_PIX]).values == [None] * 6
    assert any("l_pix is NaN or Inf at 6 of 6 points, first at iteration 10" in note for note in found.notes)
    assert report("x4", "--quiet") == 0


def test_huge_logs(workdir):
    """100,000 lines are read in seconds, and curves are thinned without losing their extremes."""
    lines = "".join(
        step(each, {"l_pix": 100.0 if each == 777 else 1.0}, "2026-05-01 08:00:10") for each in range(1, 100_001)
    )
    make_run("x4", make_log(last=0, total=100_000, ended=False) + lines)
    begun = time.perf_counter()
    assert report("x4", "--quiet") == 0
    assert time.perf_counter() - begun < 20
    assert Path("experiments/x4/report.html").stat().st_size < 2_000_000
    (curve,) = next(
        each["curves"] for each in content(Path("experiments/x4/report.html"))["charts"] if each["name"] == "l_pix"
    )
    assert (len(curve["x"]), curve["points"], max(curve["high"]), curve["x"][-1]) == (1500, 100_000, 100.0, 100_000)


def test_thinning_keeps_means_and_gaps():
    series = Series(list(range(6)), [1.0, 3.0, float("nan"), float("nan"), 5.0, 5.0], [0.0] * 6)
    assert thin(series, 3)[:2] == ([1, 3, 5], [2.0, None, 5.0])
    assert thin(series, 3).high == [3.0, None, 5.0]


def test_states(workdir, monkeypatch):
    folder = make_run("x4", make_log(last=50, ended=False))
    assert only("x4").state == INTERRUPTED
    lock = folder.with_name(".x4.lock")
    lock.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
    assert only("x4").state == RUNNING
    assert runs.ends_at(only("x4")) == 0.0  # its log is of long ago
    os.utime(lock, (time.time() - 3600,) * 2)  # no sign of life
    assert only("x4").state == INTERRUPTED
    lock.write_text(json.dumps({"host": "another", "pid": 1}))
    assert only("x4").state == RUNNING
    monkeypatch.setattr(alive.os, "kill", lambda pid, number: (_ for _ in ()).throw(ProcessLookupError))
    lock.write_text(json.dumps({"host": socket.gethostname(), "pid": 4_000_000}))
    os.utime(lock, (time.time() - 40,) * 2)  # killed: it would have touched it
    assert only("x4").state == INTERRUPTED
    lock.unlink()
    plain = make_log(last=50, ended=False).replace("Training ends at", "Once")
    make_run("plain", plain)  # of BasicSR's own script, which has no lock
    assert only("plain").state == RUNNING
    os.utime(next(Path("experiments/plain").glob("*.log")), (1e9, 1e9))
    assert only("plain").state == INTERRUPTED


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_killed_run_is_not_running(workdir):
    """At once, with a lock that was just touched, and in agreement with what the notes say."""
    folder = make_run("x4", make_log(last=5, ended=False))
    code = "import sys, time; from pathlib import Path; from lightsr_basicsr.tools.run.lock import locked\n"
    code += "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        assert only("x4").state == RUNNING
        assert only("x4").notes == ["No iteration is logged yet: the first line of losses comes at iteration 10."]
        process.kill()
        while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.01)
        assert only("x4").state == INTERRUPTED  # not yet noticed by its parent
    assert folder.with_name(".x4.lock").exists()
    assert only("x4").state == INTERRUPTED
    assert "the run stopped before" in only("x4").notes[0]
    lock = folder.with_name(".x4.lock")  # another process has its number by now
    lock.write_text(json.dumps(json.loads(lock.read_text()) | {"pid": os.getpid()}))
    assert only("x4").state == INTERRUPTED


def test_the_lock_is_that_of_a_run(workdir):
    from lightsr_basicsr.tools.run.lock import locked

    folder = make_run()
    with locked(folder):
        assert only("x4").state == RUNNING
    assert only("x4").state == FINISHED


def test_best_checkpoints(workdir):
    folder = make_run("x4", make_log(total=200, last=150, ended=False))
    for name in ("net_g_50", "net_g_100", "net_dual_100"):
        (folder / f"models/{name}.pth").touch()
    psnr, niqe = best_of_run(only("x4"))
    assert (psnr.metric, psnr.iteration, psnr.value, psnr.files) == ("psnr", 150, 1.5, [])
    assert (psnr.kept[0], psnr.kept[1], [file.name for file in psnr.kept[2]]) == (
        100,
        1.0,
        ["net_g_100.pth", "net_dual_100.pth"],
    )
    assert (niqe.metric, niqe.higher, niqe.iteration) == ("niqe", False, 150)
    (folder / "models/net_g_150.pth").touch()
    assert [file.name for file in best_of_run(only("x4"))[0].files] == ["net_g_150.pth"]


def _with_images(number: int, **settings) -> str:
    line = f"2026-05-01 08:00:00,003 INFO: Number of val images/folders in Set5: {number}\n"
    text = make_log(**settings)
    place = text.index("\n", text.index("Training ends at")) + 1
    return text[:place] + line + text[place:]


@pytest.mark.parametrize("in_one", [False, True])
def test_best_values_of_other_validation_images(workdir, in_one):
    """PSNR rises in a log, so that the earlier start, of other images, is better up to the end of the later one."""
    logs = [
        _with_images(3, last=100, ended=False, total=200).replace("psnr: 1.0", "psnr: 9.0"),
        _with_images(5, start=100, last=200, total=200, hour=9),
    ]
    folder = make_run("x4", "".join(logs)) if in_one else make_run("x4", *logs)
    (folder / "models/net_g_best.pth").touch()
    (folder / "models/net_g_100.pth").touch()
    found = only("x4")
    psnr = best_of_run(found)[0]
    assert (psnr.iteration, psnr.value, psnr.files, psnr.kept) == (200, 2.0, [], None)
    (note,) = (note for note in found.notes if "validation images" in note)
    assert note.startswith("Set5: 5 validation images after iteration 100, 3 before.")
    assert report("x4", "--quiet") == 0
    charts = content(folder / "report.html")["charts"]
    assert {each["kind"]: each["curves"][0]["since"] for each in charts} == {
        "metric": 100, "loss": 0, "lr": 0, "time": 0
    }  # fmt: skip


def test_numbers_of_validation_images(workdir):
    """Computed again from the start, or back to what they were."""
    make_run("again", _with_images(3, last=50, ended=False), _with_images(5, hour=9))
    assert only("again").valid_since("Set5") == 0
    logs = [_with_images(3, last=60, ended=False), _with_images(5, start=60, last=80, ended=False, hour=9)]
    make_run("back", *logs, _with_images(3, start=60, hour=10))
    assert only("back").valid_since("Set5") == 0
    make_run("forth", *logs, _with_images(3, start=80, hour=10))
    assert only("forth").valid_since("Set5") == 80
    assert any("3, 5 before" in note for note in only("forth").notes)
