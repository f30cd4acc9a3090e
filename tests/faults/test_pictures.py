"""Images that claim more than they hold, and names that no encoding knows."""

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile

from lightsr_basicsr import cli
from lightsr_basicsr.data.hr_images import ImageStore
from lightsr_basicsr.pictures.files import ImageError
from lightsr_basicsr.pictures.pixels import PixelError, decode, most_pixels, open_header
from lightsr_basicsr.tools.check.options import check_options
from lightsr_basicsr.tools.images import measure, read_image
from lightsr_basicsr.tools.prepare.lmdb import prepare_lmdb
from lightsr_basicsr.tools.prepare.lr import prepare_lr
from lightsr_basicsr.tools.prepare.meta import prepare_meta
from lightsr_basicsr.tools.prepare.subimages import prepare_subimages
from tests import tiny
from tests.checked import PNG, check, put, said

pytestmark = pytest.mark.faults
LIMIT = "OPENCV_IO_MAX_IMAGE_PIXELS"


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, rows: bytes = b"") -> bytes:
    """Return a PNG of 8-bit RGB whose header claims this size, with these rows."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def bmp(width: int, height: int) -> bytes:
    sizes = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + sizes


def tiff(width: int, height: int) -> bytes:
    tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: width * height % 2**32}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)


def saved(kind: str, **settings) -> bytes:
    """Return a small image in a format of Pillow's."""
    stream = io.BytesIO()
    Image.effect_noise((32, 32), 50).convert("RGB").save(stream, kind, **settings)
    return stream.getvalue()


def jpeg(width: int, height: int, **settings) -> bytes:
    """Return a JPEG whose frame header claims this size."""
    content = saved("JPEG", **settings)
    at = content.index(b"\xff\xc2" if settings else b"\xff\xc0") + 5
    return content[:at] + struct.pack(">HH", height, width) + content[at + 4 :]


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + saved("GIF")[10:]


BOMBS = {
    "largest.png": png(2**31 - 1, 2**31 - 1),
    "square.png": png(32_768, 32_768),
    "below_the_limit.png": png(20_000, 20_000),  # 400 million pixels in 65 bytes
    "long.png": png(1, 10**9),
    "large.bmp": bmp(40_000, 40_000),
    "wide.tif": tiff(60_000, 60_000),
    "below.jpg": jpeg(22_300, 22_300),
    "progressive.jpg": jpeg(65_500, 7_600, progressive=True),
    "renamed.png": jpeg(22_300, 22_300),
    "picture.bmp": gif(22_300, 22_300),
}


@pytest.fixture
def undecoded(monkeypatch):
    """Fail where anything is decoded."""

    def imdecode(*args):
        raise AssertionError("the image was decoded")

    monkeypatch.setattr(cv2, "imdecode", imdecode)
    monkeypatch.setattr(ImageFile.ImageFile, "load", imdecode)


@pytest.mark.parametrize("name", BOMBS)
def test_a_size_that_cannot_be_is_refused_before_decoding(name, workdir, undecoded):
    Path("HR").mkdir()
    file = Path("HR", name)
    file.write_bytes(BOMBS[name])
    for read in (measure, read_image, lambda file: decode(file.read_bytes(), cv2.IMREAD_COLOR)):
        with pytest.raises(ValueError, match=r"claims \d+x\d+ pixels"):
            read(file)
    with pytest.raises(ValueError, match=rf"{name}.*claims \d+x\d+ pixels"):
        ImageStore({"gt": "HR"}, {"type": "disk"}).read(str(file), "gt")
    ((kind, error, message),) = said(check("HR"), name)[-1:]
    assert (kind, error) == ("broken", True)
    assert "pixels" in message


@pytest.mark.parametrize(
    "prepare",
    [
        lambda: prepare_subimages("HR", "out", work=tiny.QUIET),
        lambda: prepare_lr("HR", "out", scales=[2], work=tiny.QUIET),
        lambda: prepare_meta(["HR"], "out.txt", work=tiny.QUIET),
        lambda: prepare_lmdb(["HR"], "out", work=tiny.QUIET),
    ],
)
def test_prepare_names_such_files(prepare, workdir, undecoded):
    Path("HR").mkdir()
    for name, content in BOMBS.items():
        Path("HR", name).write_bytes(content)
    failed = prepare().failed
    assert len(failed) == len(BOMBS)
    assert all("claims" in line for line in failed)


def test_the_limit_can_be_raised_and_lowered(workdir, monkeypatch):
    put("HR", sound__png=PNG)  # 48x32
    assert most_pixels() == 500_000_000
    monkeypatch.setenv(LIMIT, "1535")
    with pytest.raises(ImageError, match=rf"sound.png: claims 48x32 pixels, and at most 1,535 .* {LIMIT}=1536"):
        read_image(Path("HR/sound.png"))
    monkeypatch.setenv(LIMIT, "1536")
    assert read_image(Path("HR/sound.png")).shape == (32, 48, 3)
    for wrong in ("much", "0", "-1", "1e9", ""):
        monkeypatch.setenv(LIMIT, wrong)
        with pytest.raises(PixelError, match=f"{LIMIT} must be a number of pixels, got"):
            most_pixels()


def test_the_densest_png_is_read(workdir):
    """A black image of one bit a pixel is the most that deflate packs into a byte."""
    Image.new("1", (9000, 9000), 0).save("black.png", optimize=True)
    assert os.path.getsize("black.png") < 9000 * 9000 / 5000
    assert measure(Path("black.png")) == (9000, 9000)


@pytest.mark.parametrize(("kind", "settings"), [("JPEG", {}), ("JPEG", {"progressive": True}), ("GIF", {})])
def test_the_densest_images_are_read(kind, settings, workdir):
    """White is the most that a format packs into a byte."""
    Image.new("L", (6000, 6000), 255).save("white.png", kind, quality=1, optimize=True, **settings)
    assert measure(Path("white.png"), decode=True) == (6000, 6000)


def test_memory_that_is_not_there_is_told(workdir, capsys, monkeypatch):
    put("HR", sound__png=PNG)
    monkeypatch.setattr(cv2, "imencode", lambda *args: np.empty(2**60, np.uint8))
    assert cli.main(["prepare", "lr", "-i", "HR", "-o", "out", "--scale", "2", "--quiet"]) == 1
    assert "sound.png: needs more memory than there is" in capsys.readouterr().err


def test_any_command_tells_that_memory_is_missing(workdir, capsys, monkeypatch):
    put("HR", sound__png=PNG)
    monkeypatch.setattr(Path, "iterdir", lambda self: np.empty(2**60, np.uint8))
    assert cli.main(["prepare", "lr", "-i", "HR", "-o", "out", "--scale", "2", "--quiet"]) == 2
    assert "there is not enough memory (" in capsys.readouterr().err


def test_pillow_keeps_its_limit(workdir, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    put("HR", sound__png=PNG)
    with open("HR/sound.png", "rb") as stream, open_header(stream, len(PNG)) as image:
        assert image.size == (48, 32)
    assert Image.MAX_IMAGE_PIXELS == 100
    # More than Pillow allows, with a tag that it is asked for.
    assert prepare_subimages("HR", "out", work=tiny.QUIET).failed == []


def test_opencv_has_the_same_limit_in_data_sets_of_others():
    code = (
        "import lightsr_basicsr, cv2, numpy as np\n"
        "image = cv2.imencode('.png', np.zeros((40, 40, 3), np.uint8))[1]\n"
        "try: print(cv2.imdecode(image, 1) is None)\n"
        "except cv2.error: print(True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, LIMIT: "1000"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "True"


# Names that are not UTF-8

LATIN = os.fsdecode(b"caf\xe9.png")


@pytest.fixture
def latin(workdir) -> Path:
    """Six pairs, one with a name in Latin-1."""
    tiny.make_pairs(workdir / "data", 6)
    for kind in ("HR", "LR"):
        os.rename(f"data/{kind}/000.png", f"data/{kind}/{LATIN}")
        (Path("data") / kind / "001.png").write_bytes((Path("data") / kind / LATIN).read_bytes())  # a duplicate
    return workdir / "data"


def test_such_names_are_printed_by_prepare_check(latin, capsys):
    assert cli.main(["prepare", "check", "data/HR", "data/LR", "--scale", "2", "--quiet"]) == 0
    assert r"caf\udce9" in capsys.readouterr().out


def test_such_names_are_printed_by_prepare_lr(latin, capsys):
    Path("data/HR", LATIN).write_bytes(PNG[:100])
    assert cli.main(["prepare", "lr", "-i", "data/HR", "-o", "out", "--scale", "2", "--quiet"]) == 1
    assert r"caf\udce9.png: " in capsys.readouterr().err


def test_names_do_not_reach_the_terminal_as_commands(workdir, capsys):
    put("HR", **{"a\nb__png": PNG, "c\td__png": PNG[:100], "e\x1b[2Jf__png": PNG[:100]})
    assert cli.main(["prepare", "check", "HR", "--quiet"]) == 1
    assert cli.main(["prepare", "lr", "-i", "HR", "-o", "out", "--scale", "2", "--quiet"]) == 1
    assert cli.main(["prepare", "lmdb", "-i", "HR", "-o", "out", "--quiet"]) == 2
    out = "".join(capsys.readouterr())
    assert not set(out) & set("\x1b\t")
    assert out.count("control characters") == 3
    assert out.count("a line feed or another space") == 2


def test_such_a_file_that_is_missing_is_named(workdir, capsys):
    assert cli.main(["info", LATIN]) == 2
    assert r"caf\udce9.png" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["test", "val of a training"])
def test_outputs_of_such_names_are_refused(latin, kind):
    test = tiny.test_options(tiny.paired("a", "data"))
    options = test if kind == "test" else tiny.train_options()
    findings = check_options(options, is_train=kind != "test")
    found = [finding for finding in findings if finding.fatal]
    phase = "test_1" if kind == "test" else "val"
    assert [finding.where for finding in found] == [f"datasets.{phase}.dataroot_gt", f"datasets.{phase}.dataroot_lq"]
    assert all(r"rename caf\udce9.png" in finding.message for finding in found)
    options["val"]["save_img"] = False
    assert not any(finding.fatal for finding in check_options(options, is_train=kind != "test"))


@pytest.mark.parametrize("command", ["train", "test"])
def test_a_run_in_such_a_folder_is_refused(workdir, capsys, monkeypatch, command):
    tiny.make_pairs(workdir / "data", 2)
    folder = workdir / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    monkeypatch.chdir(folder)
    options = tiny.train_options(str(workdir / "data"))
    assert cli.main([command, "-opt", tiny.write(options)]) == 2
    assert r"caf\udce9 is not UTF-8, and OpenCV cannot write images there" in capsys.readouterr().err
    assert os.listdir(folder) == ["run.yml"]


# What is lost in reading


def deep_and_others(folder: Path) -> None:
    """Replace the first LR images by one of 16 bits, one with alpha, a gray one of 16 bits; pixels stay."""
    for name, change in {
        "000.png": lambda image: image.astype(np.uint16) * 257,
        "001.png": lambda image: cv2.cvtColor(image, cv2.COLOR_BGR2BGRA),
        "002.png": lambda image: cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.uint16) * 257,
    }.items():
        image = cv2.imread(str(folder / "LR" / name))
        cv2.imwrite(str(folder / "LR" / name), change(image))


NOTE = "(warning) of 12 images looked at, 2 have 16 bits, 1 have alpha, 1 are gray: they are read as RGB of 8 bits"


@pytest.mark.parametrize("backend", ["disk", "lmdb"])
def test_depth_alpha_and_gray_are_told(workdir, backend):
    tiny.make_pairs(workdir / "data", 6)
    deep_and_others(workdir / "data")
    section = tiny.paired("a", "data")
    if backend == "lmdb":
        prepare_lmdb(["data/HR", "data/LR"], "packed", work=tiny.QUIET)
        section |= {"dataroot_gt": "packed/HR.lmdb", "dataroot_lq": "packed/LR.lmdb", "io_backend": {"type": "lmdb"}}
    findings = check_options(tiny.test_options(section, {**section, "name": "b", "dataroot_lq": "data/LR"}), False)
    found = [str(finding) for finding in findings if finding.where == "datasets.test_1"]
    assert found == [f"datasets.test_1: {NOTE}"]


def test_usual_images_need_no_word(workdir):
    tiny.make_pairs(workdir / "data", 3)
    findings = check_options(tiny.test_options(tiny.paired("a", "data")), False)
    assert not [finding for finding in findings if "looked at" in finding.message]
