"""The page: what it holds, how large it is, and how it behaves in a browser."""

import html
import re
from base64 import b64decode
from pathlib import Path

import cv2
import numpy as np
import pytest

from lightsr_basicsr.tools.compare import webpage
from lightsr_basicsr.tools.compare.results import luma
from lightsr_basicsr.tools.compare.run import Settings, compare
from tests.browser import browse, content, logged, needs_browser
from tests.test_tools.compare.work import make_network, make_set

SCRIPT = "<script>document.title='bad'</script>"
EVIL = "<img src=x onerror=document.title='bad'>"


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """The page of two networks and bicubic on two pictures, one of which has a name that is HTML."""
    folder = tmp_path_factory.mktemp("page")
    make_set(str(folder / "data"), "a", EVIL, side=80)
    for name in ("alone", "cut"):
        (folder / f"data/LR/{name}.png").write_bytes(b"no picture")
    (folder / "data/HR/cut.png").write_bytes(b"no picture")
    for seed, name in enumerate(("one", "two")):
        make_network(str(folder / f"{name}.pth"), seed)
    models = [f"{SCRIPT.replace('=', ' ')}={folder / 'one.pth'}", folder / "two.pth", "bicubic"]
    compare(models, f"</script>={folder / 'data/LR'}", folder / "data/HR", folder / "out", settings=Settings(sheets=()))
    return folder / "out" / "index.html"


def image(page: Path, name: str) -> np.ndarray:
    text = re.search(f'<script type="text/plain" id="{name}">(.*?)</script>', page.read_text("utf-8"))[1]
    return cv2.imdecode(np.frombuffer(b64decode(text), np.uint8), cv2.IMREAD_COLOR)


def test_names_cannot_become_elements(page):
    text = page.read_text(encoding="utf-8")
    assert EVIL not in text
    assert html.escape("<script>document.title ") in text  # the title
    assert content(page)["methods"][0]["title"].startswith("<script>")
    assert EVIL in [each["name"] for each in content(page)["pictures"]]
    assert content(page)["sets"][0]["title"] == "</script>"
    assert text.count("</script>") == text.count("<script")


def test_nothing_is_loaded_from_elsewhere(page):
    text = page.read_text(encoding="utf-8")
    assert "default-src 'none'; img-src data:" in text
    assert not re.search(r"https?://|@import|<link|fetch\(|XMLHttpRequest|innerHTML|eval\(", text)


def test_small_sets_are_exact(page):
    place = next(index for index, each in enumerate(content(page)["pictures"]) if each["name"] == "a")
    assert content(page)["exact"]
    data = page.parents[1] / "data"
    np.testing.assert_array_equal(image(page, f"{place}-gt"), cv2.imread(str(data / "HR/a.png")))
    np.testing.assert_array_equal(image(page, f"{place}-lq"), cv2.imread(str(data / "LR/a.png")))
    x, y, width, height = content(page)["pictures"][place]["crop"]
    part = image(page, f"{place}-gt")[y : y + height, x : x + width]
    np.testing.assert_array_equal(image(page, f"{place}-c-gt"), part)


def test_large_sets_stay_within_the_size_and_parts_exact(workdir):
    rng = np.random.default_rng(0)
    for kind, side in (("HR", 320), ("LR", 160)):
        Path(kind).mkdir()
        for name in range(8):
            cv2.imwrite(f"{kind}/{name}.png", rng.integers(0, 256, (side, side, 3), np.uint8))
    found = compare(["bicubic"], "LR", "HR", "out", scale=2, settings=Settings(sheets=(), megabytes=1))
    page = Path("out/index.html")
    assert 300_000 < page.stat().st_size <= 1_000_000
    made = content(page)
    assert not made["exact"]
    assert "WebP quality" in made["note"]
    x, y, width, height = made["pictures"][3]["crop"]
    exact = found.images(found.pictures[3]).made[0]
    np.testing.assert_array_equal(image(page, "3-c-m0"), exact[y : y + height, x : x + width])
    assert page.name == webpage.PAGE


def test_luma_is_basicsrs():
    from basicsr.metrics.metric_util import to_y_channel

    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    np.testing.assert_allclose(luma(pixels), to_y_channel(pixels)[:, :, 0], atol=1e-3)


STEPS = (Path(__file__).parent / "steps.js").read_text(encoding="utf-8")


@needs_browser
def test_keys_pointer_and_tables(page):
    log = logged(page, STEPS)
    made = content(page)
    names = [each["name"] for each in made["pictures"]]
    assert log["start"][2] == names[0]
    assert log["start"][1] == made["title"]  # no script in a name has changed it
    left, right, over, under = log["sides"]
    assert (left, right) == ("LR", "HR")
    assert over == image(page, "0-gt")[10, 10, ::-1].tolist()
    assert under == image(page, "0-lq")[5, 5, ::-1].tolist()
    assert log["cut"] == ["52"]
    assert log["next"] == [names[1]]
    assert log["errors"][0] is False
    assert log["closer"] == [True, "two closer"]
    assert log["zoom"] == ["24 \u00d7 24", 5]
    assert log["part"] == ["1 64 56 24 24"]  # in the corner
    values = [each["scores"]["psnr"][2] for each in made["pictures"]]
    best = [f"{value:.2f}" for value in sorted(values, reverse=True)]
    assert log["sorted"] == [best, "descending", f"card-{int(np.argmax(values))}"]
    assert log["again"] == [best[::-1], f"card-{int(np.argmin(values))}"]
    assert len(log["metric"][0][0]) == len("0.9999")
    assert log["theme"] == [True]
    assert log["gallery"] == [2 * 6]
    assert log["marks"] == [2, made["title"]]
    title, hint = log["spread"]
    assert title == "Methods differ by of 255 levels"
    assert "standard deviation" in hint
    assert "in the part that is enlarged" in hint
    assert log["failures"] == ["2 pictures are left out: see why", "#left-out", False, 2]


@needs_browser
def test_screens_of_a_phone(page, tmp_path):
    """Nothing is wider than the screen, and there is something to see."""
    script = "document.title = `${document.documentElement.scrollWidth} of ${innerWidth}`;"
    done = browse(page, "--dump-dom", "--window-size=500,900", script=script)
    wide, screen = map(int, re.search(r"<title>(\d+) of (\d+)</title>", done.stdout).groups())
    assert 300 < wide <= screen == 500
    picture = tmp_path / "phone.png"
    browse(page, f"--screenshot={picture}", "--window-size=500,900")
    assert cv2.imread(str(picture)).std() > 20
