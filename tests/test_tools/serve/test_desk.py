"""What becomes of a picture that anybody may have sent: the file of `basicsr upscale`, or a sentence."""

import struct
import threading
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from lightsr_basicsr.pictures.reading import read_picture
from lightsr_basicsr.pictures.writing import write_picture
from lightsr_basicsr.tools.serve import desk as desks
from lightsr_basicsr.tools.serve.desk import Desk, Limits, Wish, Work
from lightsr_basicsr.tools.serve.networks import How, Networks, ServeError, find_networks
from lightsr_basicsr.upscale.upscaler import Upscaler
from lightsr_basicsr.weights.official import TABLE
from tests.test_upscale import made

LIMITS = Limits(100_000, 1_000_000)
KINDS = ["rgb.png", "rgb.jpg", "rgba16.png", "gray16.tif", "turned.jpg"]


@pytest.fixture
def desk(workdir) -> Desk:
    made.checkpoint()
    return Desk(Networks({"net": Path("rtc.pth")}, How("torch", device="cpu")), workdir / "served", LIMITS)


def make(name: str) -> Path:
    path = Path(name)
    if name.startswith("turned"):
        made.turned(path)
    elif "16" in name:
        pixels = (made.smooth(made.HEIGHT, made.WIDTH, 4 if "rgba" in name else 1) * 65535).astype(np.uint16)
        cv2.imwrite(name, pixels)
    else:
        cv2.imwrite(name, made.eight(3))
    return path


def done(desk: Desk, path: Path, **wish) -> Work:
    work = Work(desk, path, Wish("net", **wish))
    assert work.wait(60)
    return work


@pytest.mark.parametrize("name", KINDS)
def test_the_result_is_the_file_of_the_command(desk, name):
    path = make(name)
    work = done(desk, path)
    write_picture(path.with_stem("wanted"), Upscaler("rtc.pth", **made.SETTINGS).upscale_picture(read_picture(path)))
    assert work.problem is None
    assert work.outcome.file.read_bytes() == path.with_stem("wanted").read_bytes()
    assert work.outcome.file.name == f"{path.stem}_large{path.suffix}"
    for shown in (work.outcome.before, work.outcome.after):
        with Image.open(shown) as image:
            assert (image.format, image.size) == ("PNG", read_picture(work.outcome.file).size)


def test_scale_and_format_can_be_chosen(desk):
    work = done(desk, make("rgb.png"), scale=3.0, ending="webp")
    assert work.outcome.file.suffix == ".webp"
    assert read_picture(work.outcome.file).size == (3 * made.WIDTH, 3 * made.HEIGHT)
    assert f"{made.WIDTH}x{made.HEIGHT} to {3 * made.WIDTH}x{3 * made.HEIGHT} pixels by net (torch, fp32)" in (
        work.outcome.text
    )
    assert read_picture(done(desk, make("rgb.png")).outcome.file).size == (2 * made.WIDTH, 2 * made.HEIGHT)


def test_the_content_decides_the_ending(desk):
    make("rgb.jpg").rename("shot.png")
    Image.fromarray(made.eight(3)).save("still.gif")
    assert done(desk, Path("shot.png")).outcome.file.name == "shot_large.jpg"
    assert done(desk, Path("still.gif")).outcome.file.name == "still_large.png"


def test_large_results_are_shown_smaller(desk, monkeypatch):
    monkeypatch.setattr(desks, "PREVIEW", 24)
    work = done(desk, make("rgb.png"))
    with Image.open(work.outcome.after) as image:
        assert image.size == (24, 18)
    assert work.outcome.text.endswith("The comparison is reduced to 24 pixels; the file has all.")


def bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def refused(desk: Desk, name: str, content: bytes | None = None) -> str:
    """Return why a file is refused; never with a folder of the server in it."""
    if content is not None:
        Path(name).write_bytes(content)
    work = done(desk, Path(name).absolute())
    assert work.outcome is None
    assert str(Path.cwd()) not in work.problem
    assert work.problem.startswith(f"{name}: ")
    assert work.problem.endswith(".")
    return work.problem


@pytest.mark.parametrize(("name", "content", "words"), [
    ("a.svg", b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "got an SVG drawing"),
    ("a.png", b"", "empty file"),
    ("a.txt", b"hello", "got text"),
    ("a.html", b"<html><script>alert(1)</script>", "got a web page"),
    ("a.mp4", b"\0\0\0\x20ftypisom", "films are enlarged by `basicsr upscale a.mp4`"),
    ("a.jpg", b"\xff\xd8\xff\xe0 broken", "a.jpg: "),
    ("<b>.png", b"\x89PNG\r\n\x1a\n", "<b>.png: "),
    ("large.png", bomb(40_000, 40_000), "claims 40000x40000 pixels, and at most 100,000 are read"),
    ("large.png", bomb(400, 400), "start the page with --max-pixels 160000."),
    ("large.tif", b"II*\0" + bytes(1_000_000), "expected at most 1 MB, got 1.0 MB"),
    ("cut.png", bomb(100, 100), "cut short or damaged"),
], ids=lambda value: None if isinstance(value, bytes) else value[:12])  # fmt: skip
def test_what_is_no_picture_is_refused_with_a_sentence(desk, name, content, words):
    assert words in refused(desk, name, content)


def test_animations_are_refused(desk):
    for name in ("a.gif", "a.webp", "a.png"):
        made.animation(Path(name))
        assert "an animation of 3 frames" in refused(desk, name)


def test_a_missing_file_is_told_without_its_folder(desk):
    assert "No such file" in refused(desk, "gone.png")


@pytest.mark.parametrize(("wish", "words"), [
    (Wish("other"), "Expected one of net, got 'other'"),
    (Wish("net", ending="../../x"), "Expected one of auto, png, jpg, webp, tif, got '../../x'"),
    (Wish("net", scale=1000.0), "Expected a scale above 0 and up to 64, got 1000"),
    (Wish("net", scale=float("nan")), "Expected a scale"),
    (Wish("net", scale=-2.0), "Expected a scale"),
])  # fmt: skip
def test_wishes_that_the_page_does_not_offer(desk, wish, words):
    work = Work(desk, make("rgb.png"), wish)
    assert work.wait(60)
    assert words in work.problem


def test_one_picture_at_a_time_and_both_can_be_cancelled(desk, monkeypatch):
    path, at_work, go_on = make("rgb.png"), threading.Event(), threading.Event()
    original = Upscaler.upscale_picture

    def slow(self, picture, progress=None):
        at_work.set()
        go_on.wait(20)
        progress(0.5)
        return original(self, picture, progress)

    monkeypatch.setattr(Upscaler, "upscale_picture", slow)
    first = Work(desk, path, Wish("net"))
    assert at_work.wait(30)
    second = Work(desk, path, Wish("net"))
    assert not second.wait(0.3)
    assert second.stage == "waiting for another picture"
    assert desk.running == {first, second}
    second.cancel()
    assert second.wait(5)
    first.cancel()
    go_on.set()
    assert first.wait(5)
    assert (first.problem, second.problem, desk.running) == ("Cancelled.", "Cancelled.", set())
    assert not list(desk.folder.rglob("*_large*"))
    monkeypatch.setattr(Upscaler, "upscale_picture", original)
    assert done(desk, path).outcome  # the next one has its turn


def test_networks_are_found_by_name_by_file_and_by_default(workdir, monkeypatch):
    monkeypatch.setenv("LIGHTSR_CACHE", str(workdir))
    Path("IMDN_x4.pth").write_bytes(b"fetched")
    assert list(find_networks()) == ["TinySR_x4", "TinySR_x2", "IMDN_x4"]
    made.checkpoint()
    assert find_networks(["tinysr-x2"], ["rtc.pth"]) == {
        "TinySR_x2": TABLE.with_name("tiny_x2.safetensors"), "rtc": Path("rtc.pth"),
    }  # fmt: skip
    with pytest.raises(ServeError, match="different names, got rtc twice"):
        find_networks([], ["rtc.pth", "rtc.pth"])


def test_only_the_last_networks_stay_open(workdir):
    made.checkpoint()
    networks = Networks({name: Path("rtc.pth") for name in "abc"}, How("torch", device="cpu"))
    first = networks.open("a")
    assert networks.open("b") is not first
    assert networks.open("a") is first
    networks.open("c")
    assert list(networks.opened) == ["a", "c"]
