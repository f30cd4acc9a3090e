"""Bad input of ``basicsr upscale``, a row for each kind: what is given, the exit status, the answer, what is left."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from lightsr_basicsr import cli
from lightsr_basicsr.weights.folder import cache_folder
from tests.faults.test_pictures import BOMBS
from tests.faults.test_upscale import black, jpeg, saved
from tests.test_upscale import made

pytestmark = pytest.mark.faults
MODEL = "--model rtc.pth --backend torch --device cpu"


class Row(NamedTuple):
    """A kind of bad input; beside it lies good.png, and both go to the folder out."""

    file: str | bytes | None  # its name
    content: bytes | Callable[[Path], object] | None
    status: int
    answer: str  # part of what is printed
    left: tuple[str, ...] = ("good.png",)  # in the folder of the results
    words: str = f"in -o out {MODEL}"


BOTH = ("good.png", "{}")
NOT_UTF8 = os.fsdecode(b"caf\xe9.png")


def wrong_checksum(path: Path) -> None:
    cache_folder().mkdir(parents=True)
    cache_folder().joinpath("IMDN_x4.pth").write_bytes(b"damaged")


def full_disk(path: Path) -> None:
    """Let files of more than a few bytes fail as on a full disk."""
    Path("full").touch()


TABLE = {
    "0 bytes": Row("bad.png", b"", 1, "empty file, expected a PNG"),
    "text": Row("bad.png", b"hello", 1, "got text: rename it, or leave it out"),
    "truncated JPEG": Row("bad.jpg", jpeg()[:400], 1, "cut short or damaged"),
    "1x1": Row("bad.png", saved("a.png", black(1, 1)), 0, "2 written to out", BOTH),
    "20,000x10": Row("bad.png", saved("a.png", black(10, 20_000)), 0, "2 written to out", BOTH),
    "decompression bomb": Row("bad.png", BOMBS["largest.png"], 1, "pixels"),
    "CMYK": Row("bad.jpg", made.MADE["cmyk.jpg"], 0, "CMYK without a color profile became RGB", BOTH),
    "palette with transparency": Row("bad.png", made.MADE["palette.png"], 0, "2 written to out", BOTH),
    "animated GIF": Row("bad.gif", made.MADE["moving.gif"], 0, "GIF holds 256 colors per frame", BOTH),
    "animated WebP": Row("bad.webp", made.MADE["moving.webp"], 0, "2 written to out", BOTH),
    "animated PNG": Row("bad.png", made.MADE["moving.png"], 0, "2 written to out", BOTH),
    "output folder is a file": Row("bad.png", made.MADE["gray.png"], 2, "cannot be written", (),
                                   f"in -o rtc.pth/out {MODEL}"),
    "full disk": Row("bad.png", full_disk, 1, "the disk is full", ()),
    "output equal to input": Row("bad.png", made.MADE["gray.png"], 2, "would replace the input", (),
                                 f"in -o in {MODEL}"),
    "name that is not UTF-8": Row(NOT_UTF8, made.MADE["gray.png"], 0, "2 written to out", BOTH),
    "unknown model": Row(None, None, 2, "Did you mean IMDN_x4", (), "in -o out -n IMDM_x4"),
    "model of another scale": Row(None, None, 0, "the network makes x2, which is then resized to x3", ("good.png",),
                                  f"in -o out -s 3 {MODEL}"),
    "wrong checksum": Row(None, wrong_checksum, 2, "is not the official file", (), "in -o out -n IMDN_x4"),
}  # fmt: skip


@pytest.mark.parametrize("kind", TABLE)
def test_bad_input(workdir, capsys, monkeypatch, kind):
    row = TABLE[kind]
    monkeypatch.setenv("XDG_CACHE_HOME", str(workdir / "cache"))
    made.checkpoint()
    made.fill(Path("in"), "gray.png")
    Path("in/gray.png").rename("in/good.png")
    path = Path("in", row.file or "none")
    if isinstance(row.content, bytes):
        path.write_bytes(row.content)
    elif row.content is not None:
        row.content(path)
    if Path("full").exists():
        monkeypatch.setattr("lightsr_basicsr.whole.os.fsync", _no_room)
    before = {each: each.read_bytes() for each in Path("in").iterdir()}
    assert cli.main(["upscale", *row.words.split()]) == row.status
    text = capsys.readouterr()
    assert row.answer in text.out + text.err
    assert "Traceback" not in text.err
    found = {each.name for each in Path("out").iterdir()} if Path("out").exists() else set()
    assert found == {name.format(row.file) for name in row.left}
    assert {each: each.read_bytes() for each in Path("in").iterdir()} == before


def _no_room(handle: int) -> None:
    raise OSError(28, "No space left on device")


def test_the_other_scale_is_reached(workdir):
    made.checkpoint()
    Image.fromarray(np.zeros((6, 8), np.uint8)).save("a.png")
    assert cli.main(["upscale", "a.png", "-o", "out", "-s", "3", *MODEL.split()]) == 0
    assert Image.open("out/a.png").size == (24, 18)
