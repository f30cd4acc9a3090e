"""``basicsr compare``: numbers, what is kept, several sets, and answers to bad input."""

import csv
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import lightsr_basicsr
from lightsr_basicsr import cli
from lightsr_basicsr.data.degradations import imresize
from lightsr_basicsr.errors import install_command
from lightsr_basicsr.tools.compare import kept, methods, run
from lightsr_basicsr.tools.compare.crops import Crop, choose_crop, parse_crop
from lightsr_basicsr.tools.compare.methods import Method
from lightsr_basicsr.tools.compare.run import Settings
from lightsr_basicsr.tools.compare.scores import METRICS, ranks
from lightsr_basicsr.tools.compare.sets import CompareError, file_name, find_sets
from lightsr_basicsr.tools.compare.tables import latex_text
from tests import tiny
from tests.test_tools.compare.work import compare, make_network, make_set

PAIR = ("-i", "Two=data/LR", "--gt", "data/HR")


@pytest.fixture
def work(workdir) -> Path:
    make_set("data", "a", "b")
    make_network("one.pth")
    make_network("two.pth", seed=1)
    return workdir


@pytest.fixture
def counted(monkeypatch) -> list[str]:
    """The titles of methods, one for each picture that is enlarged."""
    calls, enlarge = [], Method.enlarge

    def count(self, low, tell=None):
        calls.append(self.title)
        return enlarge(self, low, tell)

    monkeypatch.setattr(Method, "enlarge", count)
    return calls


def rows(path: str) -> list[dict]:
    return list(csv.DictReader(Path(path).open(encoding="utf-8")))


def test_files_and_numbers(work, capsys):
    assert compare("one.pth", "mine=two.pth", "bicubic", *PAIR, "--no-latency", quick=False) == 0
    folder = Path("comparison")
    wanted = {"index.html", "means.csv", "pictures.csv", "table.tex", "results.json", "pictures", "costs.json"}
    assert wanted | {"sheets"} == {path.name for path in folder.iterdir()}
    assert {path.name for path in (folder / "sheets").iterdir()} == {
        f"Two_{n}.{e}" for n in "ab" for e in ("pdf", "png")
    }
    table = rows("comparison/pictures.csv")
    assert [(row["picture"], row["method"]) for row in table][:3] == [("a", "one"), ("a", "mine"), ("a", "bicubic")]
    high, low = cv2.imread("data/HR/a.png"), cv2.imread("data/LR/a.png")
    made = cv2.imread("comparison/pictures/Two/bicubic/a.png")
    np.testing.assert_array_equal(made, imresize(low, 2))
    from basicsr.metrics import calculate_psnr

    assert float(table[2]["psnr"]) == pytest.approx(calculate_psnr(made, high, 2, test_y_channel=True), abs=1e-9)
    means = rows("comparison/means.csv")
    assert float(means[2]["psnr"]) == pytest.approx(np.mean([float(row["psnr"]) for row in table[2::3]]))
    assert (means[0]["pictures"], means[0]["file"], means[2]["parameters"]) == ("2", "one.pth", "")
    text = capsys.readouterr().out
    assert "x2, 2 pictures of Two. PSNR and SSIM on luma (Y), without 2 pixels at each side." in text
    assert "Look at comparison/index.html; also written: means.csv," in text


def test_numbers_are_those_of_basicsr_test(work):
    """To the last digit that a log shows, and the pictures to the last bit."""
    options = tiny.test_options(tiny.paired("Two", "data"), pretrain_network_g="one.pth", strict_load_g=True)
    options["val"]["metrics"]["ssim"] = {"type": "calculate_ssim", "crop_border": 2, "test_y_channel": True}
    assert cli.main(["test", "-opt", tiny.write(options)]) == 0
    log = next(Path("results").rglob("*.log")).read_text()
    assert compare("one.pth", *PAIR) == 0
    means = rows("comparison/means.csv")[0]
    for name in ("psnr", "ssim"):
        told = float(log.rpartition(f"# {name}: ")[2].split()[0])
        assert float(means[name]) == pytest.approx(told, abs=6e-5)
    for name in "ab":
        theirs = next(Path("results/tiny_test/visualization/Two").glob(f"{name}*.png"))
        np.testing.assert_array_equal(cv2.imread(str(theirs)), cv2.imread(f"comparison/pictures/Two/one/{name}.png"))


def test_only_what_is_missing_is_done_again(work, counted):
    assert compare("one.pth", "bicubic", *PAIR) == 0
    assert sorted(counted) == ["bicubic", "bicubic", "one", "one"]
    first = rows("comparison/pictures.csv")
    counted.clear()
    assert compare("one.pth", "bicubic", *PAIR) == 0
    assert counted == []
    assert rows("comparison/pictures.csv") == first
    assert (
        compare("one.pth", "bicubic", *PAIR, "--rgb", "--crop-border", "0") == 0
    )  # other numbers of the same pictures
    assert counted == []
    assert rows("comparison/pictures.csv") != first
    Path("comparison/pictures/Two/one/a.png").unlink()
    Path("comparison/pictures/Two/one/b.json").write_text("{")
    assert compare("one.pth", "bicubic", *PAIR) == 0
    assert counted == ["one", "one"]
    counted.clear()
    make_network("one.pth", seed=5)
    make_set("data", "b")
    assert compare("one.pth", "bicubic", *PAIR) == 0
    assert counted == ["one", "one", "bicubic"]  # a by the new network, b is another picture


def test_a_run_that_is_interrupted_goes_on(work, counted, monkeypatch, capsys):
    write = kept.Place.write_picture

    def interrupted(self, image):
        if self.picture.stem == "b":
            raise KeyboardInterrupt
        write(self, image)

    with monkeypatch.context() as context:
        context.setattr(kept.Place, "write_picture", interrupted)
        assert compare("one.pth", "bicubic", *PAIR) == 130
    assert "run the command again" in capsys.readouterr().err
    counted.clear()
    assert compare("one.pth", "bicubic", *PAIR) == 0
    assert counted == ["one", "bicubic"]


def test_several_sets_and_titles(work):
    make_set("other", "c", "d", "e")
    arguments = ("one.pth", "bicubic", "-i", "data/LR", "Three=other/LR", "--gt", "data/HR", "other/HR")
    assert compare(*arguments) == 0
    found = [(row["set"], row["pictures"], row["method"]) for row in rows("comparison/means.csv")]
    assert found == [(s, n, m) for s, n in (("data", "2"), ("Three", "3")) for m in ("one", "bicubic")]
    assert "\\cmidrule(lr){4-5} \\cmidrule(lr){6-7}" in Path("comparison/table.tex").read_text()


def test_without_hr_images(workdir, capsys):
    make_set("photos", "a", side=200)
    make_set("photos", "b", side=48)
    make_network("one.pth")
    assert compare("one.pth", "bicubic", "-i", "photos/LR", "--no-latency", "--sheet", "a", quick=False) == 0
    table = {(row["picture"], row["method"]): row["niqe"] for row in rows("comparison/pictures.csv")}
    assert float(table["a", "one"]) > 0
    assert table["b", "one"] == ""  # too small for NIQE
    assert "niqe" not in capsys.readouterr().err.lower()
    assert Path("comparison/sheets/photos_a.pdf").is_file()


def test_one_picture_and_a_scale_for_bicubic(work):
    assert compare("bicubic", "-s", "2", "-i", "data/LR/a.png", "--gt", "data/HR/b.png") == 0
    assert [row["picture"] for row in rows("comparison/pictures.csv")] == ["a"]


def test_from_python(work):
    seen, told = [], []
    found = lightsr_basicsr.compare(
        ["one.pth", "bicubic"], "Two=data/LR", "data/HR", "out", settings=Settings(sheets=(), latency=False),
        report=told.append, progress=lambda stage, done, total, name: seen.append((stage, done, total)),
    )  # fmt: skip
    assert found.titles == ["one", "bicubic"]
    assert found.means["Two"]["psnr"][1] == pytest.approx(float(rows("out/means.csv")[1]["psnr"]))
    assert (("pictures", 2, 2) in seen, ("page", 2, 2) in seen, told) == (True, True, [])
    assert found.pictures[0].item.name == "a"


def test_bad_pictures_do_not_stop_the_others(work, capsys):
    Path("data/LR/cut.png").write_bytes(Path("data/LR/a.png").read_bytes()[:200])
    for kind in ("HR", "LR"):
        cv2.imwrite(f"data/{kind}/size.png", np.zeros((20, 20, 3), np.uint8))
    cv2.imwrite("data/HR/cut.png", np.zeros((20, 20, 3), np.uint8))
    cv2.imwrite("data/LR/alone.png", np.zeros((20, 20, 3), np.uint8))
    assert compare("one.pth", "bicubic", *PAIR) == 1
    assert {row["picture"] for row in rows("comparison/pictures.csv")} == {"a", "b"}
    text = capsys.readouterr().err
    lines = {line.split()[0]: line for line in text.splitlines() if line.startswith("data/LR/")}
    assert set(lines) == {f"data/LR/{name}.png" for name in ("alone", "cut", "size")}
    assert "no HR image in data/HR: names must be the same" in lines["data/LR/alone.png"]
    assert "has 20x20 pixels; at x2 the 20x20 of LR need 40x40" in lines["data/LR/size.png"]
    failed = json.loads(Path("comparison/results.json").read_text())["failed"]
    assert len(failed) == 3


def test_a_network_that_fails_on_a_picture_leaves_it_out(work, monkeypatch, capsys):
    enlarge = Method.enlarge

    def broken(self, low, tell=None):
        if self.title == "one" and low.shape[1] > 30:
            raise RuntimeError("no such kernel")
        return enlarge(self, low, tell)

    make_set("data", "large", side=80)
    monkeypatch.setattr(Method, "enlarge", broken)
    assert compare("one.pth", "bicubic", *PAIR) == 1
    assert {row["picture"] for row in rows("comparison/pictures.csv")} == {"a", "b"}
    assert "large.png  RuntimeError: no such kernel" in capsys.readouterr().err


def test_a_full_disk_ends_it(work, monkeypatch, capsys):
    def full(self, image):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept.Place, "write_picture", full)
    assert compare("one.pth", *PAIR) == 1
    text = capsys.readouterr().err
    assert text.count("No space left on device") == 1
    assert "the disk is full" in text


WRONG = {
    ("x2.pth", "x4.pth", *PAIR): "Expected networks of one scale, got x2 x2, x4 x4",
    ("x2.pth", "none.pth", *PAIR): "There is no checkpoint at none.pth",
    ("bicubic", *PAIR): "Bicubic interpolation alone has no scale",
    ("x2.pth", "bicubic", "bicubic", *PAIR): "Several methods are called 'bicubic': give titles, as in mine=bicubic",
    ("x2.pth", "-s", "3", *PAIR): "Expected networks of scale 3, got x2",
    ("x2.pth", "-i", "empty"): "empty holds no images",
    ("x2.pth", "-i", "nowhere"): "folder nowhere does not exist",
    ("x2.pth", "-i", "data/LR", "data/LR", "--gt", "data/HR"): "got 1: name as many with --gt as with -i, or none",
    ("x2.pth", "-i", "data/LR", "data/LR"): "Several sets are called 'data'",
    ("x2.pth", "-i", "data/LR", "--gt", "others"): "has no HR image for any of the 2 images of data/LR",
    ("x2.pth", "-i", "data/LR", "--metrics", "psnr"): "psnr compares with HR images",
    ("x2.pth", *PAIR, "--crop", "1,2,3"): "Expected x,y,w,h in pixels of HR",
    ("x2.pth", *PAIR, "--crop-border", "-1"): "Expected 0 or more pixels to cut off",
    ("x2.pth", *PAIR, "--page-size", "0"): "Expected a size of the page from 1 to 2000 MB",
    ("x2.pth", *PAIR, "-t", "-3"): "Expected 0 or more pixels as the side of tiles",
    ("x2.pth", *PAIR, "-o", "x2.pth"): "x2.pth cannot be written",
}


@pytest.mark.parametrize("arguments", WRONG, ids=lambda arguments: WRONG[arguments][:40])
def test_what_cannot_be_compared_is_said_before_work(workdir, capsys, arguments):
    make_set("data", "a", "b")
    Path("empty").mkdir()
    Path("others").mkdir()
    cv2.imwrite("others/z.png", np.zeros((8, 8, 3), np.uint8))
    make_network("x2.pth")
    make_network("x4.pth", scale=4)
    assert compare(*arguments) == 2
    assert WRONG[arguments] in capsys.readouterr().err
    assert not Path("comparison/pictures").exists()


def test_metrics_that_are_not_installed_are_said(work, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    from lightsr_basicsr.metrics import perceptual

    perceptual._load.cache_clear()
    assert compare("one.pth", *PAIR, "--metrics", "lpips") == 2
    assert install_command("iqa") in capsys.readouterr().err


def test_without_matplotlib_there_are_no_sheets(work, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert compare("one.pth", *PAIR, "--no-latency", quick=False) == 0
    assert f"no sheets: they need matplotlib: {install_command('benchmark')}" in capsys.readouterr().err
    assert not Path("comparison/sheets").exists()


def test_crops(work):
    found = run.compare(["one.pth", "two.pth"], "Two=data/LR", "data/HR", settings=Settings(sheets=(), latency=False))
    images = found.images(found.pictures[0])
    images.made[0][8:20, 30:44] = 255 - images.made[1][8:20, 30:44]
    crop = choose_crop(found, images).crop
    assert crop.x % 2 == crop.y % 2 == 0
    assert crop.x <= 30 <= 44 <= crop.x + crop.width
    assert choose_crop(found, images, Crop(1, 2, 10, 12)).crop == (1, 2, 10, 12)
    assert choose_crop(found, images, Crop(40, 2, 30, 12)).crop == crop  # outside
    assert Crop(3, 2, 10, 12).of_low(images.low, 2).shape == (6, 6, 3)
    with pytest.raises(CompareError, match="such as 120,40,64,64"):
        parse_crop("1,2,0,4")


def test_names_of_files():
    names = ["a", "A b", "../x", "..", "<img onerror>", "é", "CON" * 50, "caf\udce9"]
    made = [file_name(name) for name in names]
    assert len(set(made)) == len(made)
    assert all(not name.startswith(".") and "/" not in name and name.isascii() and len(name) < 100 for name in made)


def test_titles_of_sets(workdir):
    for folder in ("Set5/LR_x4", "BSD100", "x2"):
        Path(folder).mkdir(parents=True)
        cv2.imwrite(f"{folder}/a.png", np.zeros((8, 8, 3), np.uint8))
    titles = [each.title for each in find_sets(["Set5/LR_x4", "BSD100", "mine=x2"])]
    assert titles == ["Set5", "BSD100", "mine"]


def test_titles_of_methods(workdir):
    """One that is named keeps that name, whatever its file is called."""
    make_network("net.pth")
    named = ["TinySR_x2", "net.pth", "tiny=TinySR_x2", "bicubic"]
    assert [each.title for each in methods.open_methods(named)] == ["TinySR_x2", "net", "tiny", "bicubic"]


def test_marks_and_latex(work):
    assert ranks([0.31, 0.3, None, 0.3], METRICS["lpips"]) == [2, 1, 0, 1]
    assert ranks([30.0, 30.0], METRICS["psnr"]) == [0, 0]
    found = run.compare(
        ["a_b&c=one.pth", "bicubic"], "T%=data/LR", "data/HR", settings=Settings(sheets=(), latency=False)
    )
    found.means["T%"]["psnr"][:] = [float("inf"), 31.456]
    text = latex_text(found)
    assert "a\\_b\\&c & " in text
    assert "\\multicolumn{2}{c}{T\\%}" in text
    assert "\\textbf{$\\infty$}" in text
    assert "\\underline{31.46}" in text
    assert text.count("\\\\\n") == 4


def test_exported_files_have_costs(work, monkeypatch):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    assert cli.main(["export", "one.pth", "-o", "one.onnx"]) == 0
    assert compare("one.pth", "one.onnx", *PAIR, "--sheet", quick=False) == 0
    first, second = rows("comparison/means.csv")
    assert (second["method"], second["parameters"]) == ("one.onnx", first["parameters"])
    assert float(second["psnr"]) == pytest.approx(float(first["psnr"]), abs=0.01)
    assert float(second["latency"]) > 0
    assert methods.BICUBIC not in Path("comparison/results.json").read_text()
