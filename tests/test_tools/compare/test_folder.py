"""Which folders a comparison may be written to: nothing of others is replaced, nothing is written among the inputs."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from lightsr_basicsr.tools.compare import kept, run
from tests.test_tools.compare.work import compare, make_network, make_set

PAIR = ("-i", "Two=data/LR", "--gt", "data/HR")
OTHERS = (
    "index.html",
    "results.json",
    "costs.json",
    "table.tex",
    "pictures/Two/one/a.png",
    "sheets/Two_a.png",
    ".git/x",
)


@pytest.fixture
def work(workdir) -> Path:
    make_set("data", "a", "b")
    make_network("one.pth")
    return workdir


@pytest.fixture
def refusing(work, monkeypatch) -> None:
    """No network is even opened before a folder is refused."""
    monkeypatch.setattr(run, "open_methods", None)


def contents() -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}


def refused(capsys, *arguments: str, quick: bool = True) -> str:
    """Return the message of a comparison that is refused and changes nothing."""
    before = contents()
    assert compare("one.pth", *arguments, quick=quick) == 2
    assert contents() == before
    return capsys.readouterr().err


@pytest.mark.parametrize("name", OTHERS)
def test_a_folder_with_files_of_others_is_left_alone(refusing, capsys, name):
    Path("site", name).parent.mkdir(parents=True)
    Path("site", name).write_text('{"methods": 1}')
    text = refused(capsys, *PAIR, "-o", "site")
    assert f"site holds other files: {Path(name).parts[0]}. They are not touched: choose another with -o." in text
    os.symlink("site", "link")
    assert "holds other files" in refused(capsys, *PAIR, "-o", "link")


def test_the_default_folder_is_no_exception(refusing, capsys):
    Path("comparison").mkdir()
    Path("comparison/thesis.tex").write_text("text")
    assert "comparison holds other files: thesis.tex" in refused(capsys, *PAIR)


INPUTS = ("data/LR", "data/HR", "data/LR/new", "data", ".", "data/../data/HR/x/y", "link", "link/LR/new")


@pytest.mark.parametrize("output", INPUTS)
def test_nothing_is_written_among_the_inputs(refusing, capsys, output):
    os.symlink("data", "link")
    text = refused(capsys, *PAIR, "-o", output)
    assert "Expected a folder apart from the pictures" in text
    assert "choose another with -o" in text
    os.symlink("data/LR", "low")
    assert "apart from the pictures" in refused(capsys, "-i", "low", "-o", "data/LR/new")


def test_single_pictures_are_inputs_too(refusing, capsys):
    assert "apart from" in refused(capsys, "-i", "data/LR/a.png", "--gt", "data/HR/a.png", "-o", "data/HR")


def test_beside_the_inputs_is_no_fault(work, monkeypatch):
    monkeypatch.chdir(work / "data")
    arguments = ("../one.pth", "-i", "LR", "--gt", "HR")
    assert compare(*arguments) == compare(*arguments) == 0
    assert compare(*arguments, "-o", "LR2") == 0
    Path("empty").mkdir()
    assert compare(*arguments, "-o", "empty") == 0


def test_pictures_of_a_comparison_are_inputs(work, capsys):
    assert compare("one.pth", *PAIR) == 0
    again = ("bicubic", "-s", "2", "-i", "comparison/pictures/Two/one")
    assert compare(*again) == 2
    Path("links").mkdir()
    os.symlink(Path("comparison/pictures/Two/one/a.png").resolve(), "links/a.png")
    assert compare("bicubic", "-s", "2", "-i", "links") == 2
    assert capsys.readouterr().err.count("apart from the pictures") == 2
    assert compare(*again, "-o", "other", "--metrics", "niqe") == 0


def test_an_interrupted_comparison_goes_on(work, monkeypatch):

    def stop(*_):
        raise KeyboardInterrupt

    for owner, name in ((kept, "measure_costs"), (kept.Place, "write_picture"), (run, "write_results")):
        with monkeypatch.context() as context:
            context.setattr(owner, name, stop)
            assert compare("one.pth", *PAIR) == 130
        if name == "measure_costs":  # killed while it wrote its first file
            Path("comparison/.costs.json.123.part").write_text("{")
    assert compare("one.pth", *PAIR) == 0
    Path("comparison/costs.json").unlink()  # so that latencies are measured again
    Path("comparison/notes.txt").write_text("mine")
    assert compare("one.pth", *PAIR) == 0
    assert Path("comparison/notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["index.html", "results.json"])
def test_another_file_within_a_comparison_is_not_replaced(work, capsys, name):
    assert compare("one.pth", *PAIR) == 0
    Path("comparison", name).write_text("<!doctype html>mine")
    assert f"comparison/{name} exists and is not" in refused(capsys, *PAIR)


def test_names_of_sheets_are_known_before_the_run(refusing, capsys):
    text = refused(capsys, *PAIR, "--sheet", "a", "nosuch", quick=False)
    assert "Expected names of pictures, got nosuch: choose among a, b with --sheet." in text
    assert not Path("comparison").exists()


@pytest.mark.parametrize("name", ["a", "Two/b", "b.png"])
def test_a_picture_has_several_names(work, name):
    pytest.importorskip("matplotlib")
    assert compare("one.pth", *PAIR, "--no-latency", "--sheet", name, quick=False) == 0
    assert len(list(Path("comparison/sheets").iterdir())) == 2


def test_a_picture_that_failed_has_no_sheet(work, capsys):
    pytest.importorskip("matplotlib")
    cv2.imwrite("data/LR/b.png", np.zeros((5, 5, 3), np.uint8))
    assert compare("one.pth", *PAIR, "--no-latency", "--sheet", "b", quick=False) == 1
    assert "there is no picture b to draw a sheet of" in capsys.readouterr().err
