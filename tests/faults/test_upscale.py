"""``basicsr upscale`` and bad input: a row for each kind, with the answer; the good files beside it are enlarged."""

import io
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightsr_basicsr import cli
from lightsr_basicsr.weights.folder import cache_folder
from tests.faults.test_pictures import BOMBS
from tests.test_upscale import made
from tests.test_upscale.made import NETWORK, upscale

pytestmark = pytest.mark.faults
ROOT = os.geteuid() == 0 if hasattr(os, "geteuid") else False


def jpeg() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(made.eight(3)).save(stream, "JPEG")
    return stream.getvalue()


def saved(name: str, array: np.ndarray, **settings) -> bytes:
    stream = io.BytesIO()
    stream.name = name
    Image.fromarray(array).save(stream, **settings)
    return stream.getvalue()


def black(height: int, width: int) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


# A file's name: its content, and the reason in the table; None for files that are enlarged.
FILES = {
    "empty.png": (b"", "empty file, expected a PNG, JPEG, WebP, BMP, TIFF or GIF picture: copy or download it again"),
    "text.png": (b"hello", "got text: rename it, or leave it out"),
    "page.jpg": (b"<html>not found</html>", "got a web page or other text: was it really downloaded?"),
    "noise.png": (bytes(range(256)), "got another or a damaged file: open and save it with another program"),
    "cut.jpg": (jpeg()[:400], "cut short or damaged"),
    "cut.png": (saved("a.png", made.eight(3))[:-60], "cut short or damaged"),
    "cut.webp": (saved("a.webp", made.eight(3))[:-60], "cut short or damaged"),
    "cut.gif": (saved("a.gif", made.eight(1))[:200], "got another or a damaged file"),
    "one.png": (saved("a.png", black(1, 1)), None),
    "long.png": (saved("a.png", black(10, 20_000)), None),
    "long.webp": (
        saved("a.webp", black(10, 9_000)),
        "WebP holds at most 16,383 pixels per side, got 18000x20: write PNG",
    ),
    "jpeg.png": (jpeg(), None),
    **{f"bomb_{name}": (content, "pixels") for name, content in BOMBS.items() if name != "picture.bmp"},
    os.fsdecode(b"caf\xe9.png"): (saved("a.png", made.eight(3)), None),
    "line\nfeed\x1b[2J.png": (saved("a.png", made.eight(3)), None),
    "x" * 251 + ".png": (saved("a.png", made.eight(3)), None),
}


@pytest.fixture
def work(workdir) -> Path:
    made.checkpoint()
    return workdir


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file_is_named_and_the_others_are_enlarged(work, capsys, name):
    content, reason = FILES[name]
    made.fill(Path("in"), "gray.png", "rgba.png")
    Path("in", name).write_bytes(content)
    assert upscale("in/gray.png", f"in/{name}", "in/rgba.png", "-o", "out") == (0 if reason is None else 1)
    text = capsys.readouterr()
    there = {path.name for path in Path("out").iterdir()}
    assert there == {"gray.png", "rgba.png", *([name] if reason is None else [])}
    assert "Traceback" not in text.err
    assert "\x1b[2J" not in text.err
    if reason is None:
        return
    assert reason in text.err
    assert f"in/{name}" in text.err
    assert "2 written to out; 1 failed." in text.out


def test_all_of_them_in_one_folder(work, capsys):
    made.fill(Path("in"), "gray.png")
    for name, (content, _) in FILES.items():
        Path("in", name).write_bytes(content)
    assert upscale("in", "-o", "out") == 1
    good = [name for name, (_, reason) in FILES.items() if reason is None]
    assert {path.name for path in Path("out").iterdir()} == {"gray.png", *good}
    bad = len(FILES) - len(good)
    assert f"{len(good) + 1} written to out; {bad} failed." in capsys.readouterr().out


def test_only_bad_files(work, capsys):
    Path("empty.png").write_bytes(b"")
    assert upscale("empty.png", "-o", "out") == 1
    assert not Path("out").exists()
    assert upscale("empty.png", "-o", "new/file.png") == 1
    assert not Path("new").exists()


def test_a_link_to_nothing_and_a_pipe(work, capsys):
    made.fill(Path("in"), "gray.png")
    Path("in/link.png").symlink_to("nothing")
    os.mkfifo("in/pipe.png")
    assert upscale("in/link.png", "in/pipe.png", "in/gray.png", "-o", "out") == 1
    text = capsys.readouterr().err
    assert "is a link to a file that does not exist" in text
    assert "is no file and no folder" in text
    assert Path("out/gray.png").is_file()


def test_a_name_that_becomes_too_long(work, capsys):
    made.fill(Path("in"), "gray.png")
    long = "y" * 250 + ".png"
    Path("in/gray.png").rename(f"in/{long}")
    made.fill(Path("in"), "gray.png")
    assert upscale("in", "-o", "out", "--suffix", "large") == 1
    text = capsys.readouterr().err
    assert "File name too long" in text
    assert Path("out/gray_large.png").is_file()


@pytest.mark.skipif(ROOT, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(work, capsys):
    made.fill(Path("in"), "gray.png")
    Path("out").mkdir(mode=0o500)
    assert upscale("in", "-o", "out") == 2
    assert (
        "The output folder out cannot be written (Permission denied): choose another with -o."
        in capsys.readouterr().err
    )


def test_a_place_that_is_a_folder(work, capsys):
    made.fill(Path("in"), "gray.png", "rgba.png")
    Path("out/gray.png").mkdir(parents=True)
    assert upscale("in", "-o", "out") == 1
    assert "gray.png" in capsys.readouterr().err
    assert Path("out/rgba.png").is_file()


def test_an_official_file_with_another_checksum(work, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(work / "cache"))
    made.fill(Path("in"), "gray.png")
    cache_folder().mkdir(parents=True)
    cache_folder().joinpath("IMDN_x4.pth").write_bytes(b"damaged")
    assert cli.main(["upscale", "in", "-o", "out", "-n", "IMDN_x4"]) == 2
    assert "is not the official file" in capsys.readouterr().err


def test_a_disk_that_is_full(work):
    """The limit on the size of a file stands for it: the error has the same treatment."""
    for number in range(4):
        rng = np.random.default_rng(number)
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(f"{number}.png")
    done = subprocess.run(
        [sys.executable, "-m", "lightsr_basicsr", "upscale", "*.png", "-o", "out", *NETWORK],
        capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)),
    )  # fmt: skip
    assert done.returncode == 1
    assert "Make room" in done.stderr or "make room" in done.stderr
    assert "Traceback" not in done.stderr
    assert not Path("out").exists() or list(Path("out").iterdir()) == []
