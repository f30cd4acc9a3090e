"""The page of a report: what it holds, and how it behaves in a browser."""

import html
import json
import os
import re
import socket
from pathlib import Path

import cv2
import pytest

from lightsr_basicsr.pages.building import was_made_by
from lightsr_basicsr.tools.report.pictures import Gallery
from lightsr_basicsr.tools.report.run import read_runs
from lightsr_basicsr.tools.report.webpage import build_page
from tests.browser import CHROMIUM, browse, content, logged, needs_browser
from tests.test_tools.report.work import make_log, make_pictures, make_run, report

EVIL = "<img src=x onerror=document.title='bad'>"
STEPS = (Path(__file__).parent / "steps.js").read_text(encoding="utf-8")


@pytest.fixture
def page(workdir) -> Path:
    """The page of two runs; the first has two stages, and the second a name that is HTML."""
    first = make_log("one", stage="teacher/").replace(
        "INFO: Network:", "INFO: KDSR: the teacher.\n2026-05-01 08:00:00,000 INFO: Network:"
    )
    first = first.replace("Validation Set5", "Validation teacher_Set5").replace("End of", "Not the end of")
    more = make_log("one", start=100, last=200, total=200, stage="student/", hour=9)
    first += more[more.index("2026-05-01 09:00:10") :].replace("Set5", "student_Set5")
    one = make_run("one", first.replace("total_iter: 100", "total_iter: 200"))
    two = make_run(EVIL, make_log("two", rate=2e-4, losses="nan", total=100))
    for folder in (one, two):
        make_pictures(folder, "baby", [50, 100])
    assert report(one, two, "--quiet") == 0
    return Path("experiments/report.html").resolve()


def test_names_cannot_become_elements(page):
    text = page.read_text(encoding="utf-8")
    assert EVIL not in text
    assert html.escape(EVIL) in text  # the title
    assert content(page)["runs"][1]["title"] == EVIL
    assert text.count("</script>") == text.count("<script")


def test_nothing_is_loaded_from_elsewhere(page):
    text = page.read_text(encoding="utf-8")
    assert "default-src 'none'; img-src data:" in text
    assert not re.search(r"https?://|@import|<link|fetch\(|XMLHttpRequest|innerHTML|eval\(", text)
    assert was_made_by(text.encode(), "basicsr report")
    assert not was_made_by(text.encode(), "basicsr compare")


@needs_browser
def test_keys_pointer_and_tables(page):
    log = logged(page, STEPS)
    made = content(page)
    title = html.unescape(f"one, {EVIL}")
    assert log["start"][2] == title  # no script in a name has changed it
    assert log["start"][1] == "baby 0 100, baby 1 100"
    charts = len(made["charts"])
    curves = sum(len(each["curves"]) for each in made["charts"])
    assert log["start"][0] == f"{charts} {curves}"
    assert log["tables"][0][0] == "one"
    own = sum(each["run"] == 0 for chart in made["charts"] for each in chart["curves"])
    assert log["hidden"] == [own, ["true", "false"]]
    assert log["without"] == ["baby 0 100"]
    assert log["smooth"][:2] == [0.1, "0.10"]
    assert log["log"] == [True, True, True]
    assert log["linear"] == [False, False]
    assert log["ticks"][0] == []  # none is longer than its axis
    assert log["ticks"][1] == ["1e-5", "2e-5", "5e-5", "1e-4", "2e-4", "5e-4"]
    assert log["ticks"][2] == ["2e-4", "3e-4", "4e-4", "5e-4"]
    assert log["ticks"][3] == ["3e-6", "1e-5", "3e-5", "1e-4", "3e-4", "0.001"]
    assert log["axis"] == ["time", True]
    assert log["values"] == ["iteration 10one, teacher0.1", "iteration 20one, teacher0.05", 1]
    assert log["escape"] == [True]
    assert log["range"][0] == [100, 150]
    assert log["whole"] == [None]
    assert log["earlier"] == ["baby 0 50, baby 1 50", "50"]
    assert "train.optim_g.lr" in log["options"][0]
    assert log["search"] == [["network_g.type"]]
    assert log["kept"] == ["IMDN"]
    assert log["stages"] == [["teacher", "student"]]
    assert any("NaN" in note for note in log["notes"][0])
    assert log["theme"] == [True, title]


@needs_browser
def test_a_page_of_nothing(workdir):
    """No iteration, no options, no picture: no script fails."""
    make_run("x4", "2026-05-01 08:00:00,000 INFO: Start training from epoch: 0, iter: 0\n")
    assert report("x4", "--quiet") == 0
    script = "document.title = `${document.documentElement.dataset.drawn} ${find('pictures-section').hidden}`;"
    done = browse(Path("experiments/x4/report.html").resolve(), "--dump-dom", script=script)
    assert "<title>0 0 true</title>" in done.stdout


@needs_browser
def test_a_live_page_loads_itself_and_keeps_what_was_chosen(workdir):
    folder = make_run("x4", make_log(last=50, ended=False))
    folder.with_name(".x4.lock").write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
    script = """
    const turn = Number(sessionStorage.getItem("turn") || 0);
    sessionStorage.setItem("turn", turn + 1);
    const press = (key) => document.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    if (turn === 0) { press("a"); press("o"); }
    if (turn === 1) { document.title = `again ${state.axis} ${state.clip} ${find("live").hidden}`; data.live = 1e6; }
    """
    page = Path("live.html").resolve()
    page.write_bytes(build_page(read_runs("x4"), Gallery({}, {}, []), every=1))
    done = browse(page, "--dump-dom", script=script, budget=9000)
    assert "<title>again time false false</title>" in done.stdout


@needs_browser
def test_screens_of_a_phone(page, tmp_path):
    """Nothing is wider than the screen, and there is something to see."""
    assert CHROMIUM
    script = "document.title = `${document.documentElement.scrollWidth} of ${innerWidth}`;"
    done = browse(page, "--dump-dom", "--window-size=500,900", script=script)
    wide, screen = map(int, re.search(r"<title>(\d+) of (\d+)</title>", done.stdout).groups())
    assert 300 < wide <= screen == 500
    picture = tmp_path / "phone.png"
    browse(page, f"--screenshot={picture}", "--window-size=500,900")
    assert cv2.imread(str(picture)).std() > 10


@needs_browser
def test_losses_of_different_sizes(workdir):
    """They share a logarithmic axis, unless the reader chooses another one; losses of one size a linear one."""
    make_run("large", make_log("large", losses=15.0))
    make_run("small", make_log("small"))
    assert report("large", "small", "--quiet") == 0
    script = """
    const chart = () => charts.find((chart) => chart.title.startsWith("l_pix"));
    const seen = () => log.push([`${log.length}`, chart().isLog, !chart().scale.hidden]);
    const log = [];
    seen();
    toggleRun(0); seen(); toggleRun(0);
    change({ log: false }); seen();
    change({ log: true }); seen();
    find("log").firstChild.click(); seen();
    const pre = make("pre", { id: "log" }, JSON.stringify(log));
    document.body.replaceChildren(pre);
    """
    seen = logged(Path("experiments/report.html").resolve(), script)
    assert list(seen.values()) == [[True, True], [False, False], [False, False], [True, False], [True, True]]


@needs_browser
@pytest.mark.parametrize("width", [1400, 700])
def test_tables_of_many_columns(workdir, width):
    """They stay in their box, which scrolls beside the names of runs."""
    for name in ("kdsr_" + "x" * 40, "two"):
        text = make_log(name)
        for metric in ("ssim", "lpips", "dists", "musiq"):
            text = text.replace("\t # niqe", f"\t # {metric}: 0.5000\n\t # niqe")
        make_run(name, text.replace("type: IMDN", "type: " + "BlindSR_ST" * 4))
    assert report("kdsr_" + "x" * 40, "two", "--quiet") == 0
    script = """
    const box = find("runs").parentElement;
    const { left, right } = box.getBoundingClientRect();
    box.scrollLeft = 9999;
    const moved = box.querySelector("tbody td").getBoundingClientRect().left - left;
    document.title = [document.documentElement.scrollWidth, innerWidth, right, box.scrollLeft > 9, moved].join(" ");
    """
    done = browse(Path("experiments/report.html").resolve(), "--dump-dom", f"--window-size={width},900", script=script)
    page, window, right, scrolls, moved = re.search(r"<title>(.*?)</title>", done.stdout)[1].split()
    assert int(page) <= int(window)
    assert float(right) <= int(window)
    assert scrolls == "true"
    assert abs(float(moved)) <= 2  # the names of runs stay
