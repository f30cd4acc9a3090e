"""``basicsr prepare check`` of one folder: every fault is named, and nothing is said of sound data."""

import os
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from lightsr_basicsr.cli import main
from tests.checked import JPEG, PNG, check, encoded, hidden, picture, put, said, turned

# --- one file ---------------------------------------------------------------------------------------------------------

BROKEN = {
    "cut.png": (PNG[:-60], "damaged: "),
    "endless.png": (PNG[:-12], "damaged: cut short, the end of the PNG is missing"),
    "flipped.png": (PNG[: len(PNG) // 2] + bytes([PNG[len(PNG) // 2] ^ 255]) + PNG[len(PNG) // 2 + 1 :], "amaged"),
    "cut.jpg": (JPEG[:-200], "damaged: "),
    "endless.jpg": (JPEG[:-2], "damaged: "),
    "cut.webp": (encoded("RGB", "WEBP")[:-60], "damaged: "),
    "cut.bmp": (encoded("RGB", "BMP")[:-60], "damaged: "),
    "empty.png": (b"", "empty file"),
    "text.png": (b"<!DOCTYPE html>\n<html>", "text, not an image: it begins with '<!DOCTYPE html>'"),
    "noise.png": (b"\xf0\xf1" * 99, "damaged or not an image: neither OpenCV nor Pillow can read it"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_an_error(workdir, name):
    content, reason = BROKEN[name]
    put("HR", sound__png=encoded("RGB", "PNG", 1))
    Path("HR", name).write_bytes(content)
    report = check("HR")
    ((kind, error, message),) = said(report, name)
    assert (kind, error) == ("broken", True)
    assert reason in message
    assert len(report.findings) == 1
    assert (report.folders[0].files, report.folders[0].readable) == (2, 1)
    assert report.section == {}


ODD = {
    "gray.png": (encoded("L", "PNG"), "channels", "gray: becomes three equal channels"),
    "gray.jpg": (encoded("L", "JPEG"), "channels", "gray: becomes three equal channels"),
    "one_bit.png": (encoded("1", "PNG"), "channels", "gray: becomes three equal channels"),
    "alpha.png": (encoded("RGBA", "PNG"), "channels", "alpha channel, opaque: dropped, without loss"),
    "hidden.png": (hidden(), "channels", "alpha channel, transparent in parts: dropped, so hidden pixels show"),
    "palette.png": (encoded("P", "PNG"), "channels", "palette of at most 256 colours"),
    "cmyk.jpg": (encoded("CMYK", "JPEG"), "channels", "CMYK: becomes RGB without its colour profile"),
    "lab.tif": (encoded("LAB", "TIFF"), "channels", "LAB and not RGB"),
    "deep.png": (cv2.imencode(".png", picture().astype(np.uint16) * 257)[1].tobytes(), "depth", "reads the upper 8"),
    "jpeg.png": (JPEG, "format", "is a JPEG and not a PNG"),
    "png.jpg": (PNG, "format", "is a PNG and not a JPEG"),
    "pages.tif": (
        encoded("RGB", "TIFF", save_all=True, append_images=[Image.new("RGB", (48, 32))]),
        "format",
        "2 frames: training reads the first",
    ),
    "turned.jpg": (turned("JPEG"), "orientation", "orientation tag 6: training sees 32x48"),
    "mirrored.jpg": (turned("JPEG", 2), "orientation", "orientation tag 2: training sees 48x32"),
    "turned.png": (turned("PNG"), "orientation", "orientation tag 6: training sees 32x48"),
    "turned.webp": (turned("WEBP"), "orientation", "orientation tag 6: training sees "),
    "turned.tif": (
        encoded("RGB", "TIFF", tiffinfo={0x112: 6}),
        "orientation",
        "tag 6: training sees 32x48",
    ),
    "picture.ppm": (encoded("RGB", "PPM"), "format", "the ending .ppm: BasicSR reads it"),
}


@pytest.mark.parametrize("name", ODD)
def test_a_file_that_training_converts_is_a_warning(workdir, name):
    content, kind, text = ODD[name]
    put("HR")
    Path("HR", name).write_bytes(content)
    report = check("HR")
    ((found, error, message),) = said(report, name)
    assert (found, error) == (kind, False)
    assert text in message
    assert report.section


def test_upright_photographs_and_ones_with_bytes_after_their_end_are_sound(workdir):
    put("HR", upright__jpg=turned("JPEG", 1), phone__jpg=encoded("RGB", "JPEG", 1) + b"clip" * 100)
    assert check("HR").findings == []


def test_floating_point_is_an_error(workdir):
    put("HR")
    cv2.imwrite("HR/float.tif", picture().astype(np.float32) / 255)
    assert said(check("HR"), "float.tif") == [
        ("depth", True, "float32 numbers: BasicSR reads 8 and 16 bits per channel only; convert it")
    ]


@pytest.mark.parametrize("limit", [100, 1000])  # of Pillow: more is a warning, twice as much refused
def test_an_image_that_pillow_refuses_for_its_size_is_none_the_worse(workdir, monkeypatch, limit):
    put("HR", large__png=PNG)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check("HR").findings == []


def test_files_that_are_no_images_are_read_as_such_by_basicsr(workdir):
    put("HR", sound__png=PNG, Thumbs__db=b"\0\1", notes__txt=b"hello")
    Path("HR", ".hidden").write_text("not read")
    Path("HR", "sub").mkdir()
    report = check("HR")
    hint = "; BasicSR reads every file of a folder as an image: move it away"
    assert said(report, "notes.txt") == [("not an image", True, f"text, not an image: it begins with 'hello'{hint}")]
    assert said(report, "Thumbs.db")[0][:2] == ("not an image", True)
    assert len(report.findings) == 2


def test_the_summary_counts(workdir):
    put("HR", a__png=PNG, b__png=encoded("L", "PNG"), c__png=b"", d__jpg=turned("JPEG"))
    cv2.imwrite("HR/deep.png", picture(5, 8, 8).astype(np.uint16) * 257)
    (summary,) = check("HR").folders
    assert (summary.root, summary.files, summary.readable) == ("HR", 5, 4)
    assert (summary.smallest, summary.median, summary.largest) == ((8, 8), (32, 48), (48, 32))
    assert summary.channels == {"RGB": 3, "gray": 1}
    assert summary.bits == {8: 3, 16: 1}


# --- names, duplicates, sizes of one folder ---------------------------------------------------------------------------


def test_troublesome_names(workdir):
    files = {"with space.png": 0, "v1.2.png": 1, "größe.png": 2, "twin.png": 3, "Twin.jpg": 4, "fine-name_1.png": 5}
    for name, seed in files.items():
        put("HR", **{name: encoded("RGB", "JPEG" if name.endswith("jpg") else "PNG", seed)})
    report = check("HR")
    assert said(report, "with space.png") == [
        ("names", False, "contains a space: BasicSR's meta_info files end a name there")
    ]
    assert said(report, "v1.2.png") == [("names", False, "contains a dot: BasicSR cuts keys of an LMDB there, to 'v1'")]
    assert said(report, "größe.png") == [
        ("names", False, "contains characters beyond ASCII, which BasicSR's LMDBs cannot store")
    ]
    ((kind, error, message),) = said(report, "twin.png")
    assert (kind, error) == ("names", False)
    assert "differs from Twin.jpg only in ending or case" in message
    assert len(report.findings) == 4


@pytest.mark.skipif(os.name == "nt", reason="file names are text there")
def test_names_that_no_terminal_prints(workdir, capsys):
    put("HR", sound__png=PNG)
    Path(os.fsdecode(b"HR/\xff\x1b[31m.png")).write_bytes(encoded("L", "PNG"))
    assert main(["prepare", "check", "HR", "--quiet"]) == 0
    assert r"HR/\udcff\x1b[31m.png: gray" in capsys.readouterr().out


def test_duplicates(workdir):
    again = cv2.imencode(".png", picture(), [cv2.IMWRITE_PNG_COMPRESSION, 0])[1].tobytes()
    put("HR", a__png=PNG, b__png=PNG, c__png=again, d__png=encoded("RGB", "PNG", 1))
    put("HR", e__png=cv2.imencode(".png", picture().reshape(48, 32, 3))[1].tobytes())  # the same bytes in another shape
    report = check("HR")
    assert said(report, "b.png") == [("duplicates", False, "the same file as a.png")]
    assert said(report, "c.png") == [("duplicates", False, "the same pixels as a.png")]
    assert len(report.findings) == 2


def test_broken_files_are_no_duplicates(workdir):
    put("HR", a__png=b"", b__png=b"")
    assert {finding.kind for finding in check("HR").findings} == {"broken"}


def test_sizes_of_one_folder(workdir):
    put("HR", even__png=PNG)
    cv2.imwrite("HR/odd.png", picture(1, 45, 32))
    report = check("HR", scale=2)
    assert said(report, "odd.png") == [
        ("sizes", False, "45x32: not all sides are multiples of 2; crop it before making LR")
    ]
    assert len(report.findings) == 1
    report = check("HR", patch=33)
    assert said(report, "even.png") == [("sizes", True, "48x32 is smaller than the patch of 33x33: training stops")]
    assert check("HR", patch=32).findings == []
