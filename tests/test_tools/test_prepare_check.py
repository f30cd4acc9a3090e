"""``basicsr prepare check``: every kind of fault is named with its file, and nothing is said of sound data."""

import io
import json
import os
import re
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from basicsr.data import build_dataset
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.utils.lmdb_util import LmdbMaker
from PIL import Image

from lightsr_basicsr.cli import main
from lightsr_basicsr.data.degradations import add_noise, blur_subsample, imresize
from lightsr_basicsr.tools.prepare.check import CheckReport, check_images
from lightsr_basicsr.tools.prepare.check_files import KINDS
from lightsr_basicsr.tools.prepare.jobs import PrepareError
from tests import tiny


def picture(seed: int = 0, width: int = 48, height: int = 32) -> np.ndarray:
    """Return a smooth image (H, W, 3), B G R."""
    rough = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)


def encoded(mode: str, kind: str, seed: int = 0, **how) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture(seed)[..., ::-1].copy()).convert(mode).save(stream, kind, **how)
    return stream.getvalue()


def turned(kind: str, tag: int = 6, **how) -> bytes:
    exif = Image.Exif()
    exif[0x112] = tag
    return encoded("RGB", kind, exif=exif, **how)


def hidden() -> bytes:
    stream = io.BytesIO()
    colours = np.dstack([picture(3), np.full((32, 48), 255, np.uint8)])
    colours[:4, :4, 3] = 0
    Image.fromarray(colours).save(stream, "PNG")
    return stream.getvalue()


def put(folder: str, **files: bytes) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        Path(folder, name.replace("__", ".")).write_bytes(content)


def check(*roots, **how) -> CheckReport:
    return check_images(*roots, progress=False, **how)


def said(report: CheckReport, name: str) -> list[tuple[str, bool, str]]:
    """Return kind, whether it is an error, and text of what was found about the file called ``name``."""
    return [(each.kind, each.error, each.message) for each in report.findings if Path(each.file).name == name]


@pytest.fixture
def pairs(workdir) -> Path:
    tiny.make_pairs(workdir / "data", 6)
    return workdir / "data"


def check_pairs(**how) -> CheckReport:
    return check("data/HR", "data/LR", **{"scale": 2, **how})


# --- one file ---------------------------------------------------------------------------------------------------------

PNG, JPEG = encoded("RGB", "PNG"), encoded("RGB", "JPEG")
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
    "noise.png": (b"\xf0\xf1" * 99, "damaged or no image: neither OpenCV nor Pillow can read it"),
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
    "alpha.png": (encoded("RGBA", "PNG"), "channels", "alpha channel, opaque: is dropped, and nothing is lost"),
    "hidden.png": (hidden(), "channels", "alpha channel, transparent in parts: is dropped, and what it hides shows"),
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


def test_an_image_that_pillow_refuses_for_its_size_is_none_the_worse(workdir, monkeypatch):
    put("HR", large__png=PNG)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    ((kind, error, message),) = said(check("HR"), "large.png")
    assert (kind, error) == ("format", False)
    assert "so large that Pillow refuses it: training reads it" in message
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # more is a warning, twice as much refused
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check("HR").findings == []


def test_files_that_are_no_images_are_read_as_such_by_basicsr(workdir):
    put("HR", sound__png=PNG, Thumbs__db=b"\0\1", notes__txt=b"hello")
    Path("HR", ".hidden").write_text("not read")
    Path("HR", "sub").mkdir()
    report = check("HR")
    hint = "; BasicSR reads every file of a folder as one: move it away"
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
        ("names", False, "holds a space: BasicSR's meta_info files end a name there")
    ]
    assert said(report, "v1.2.png") == [("names", False, "holds a dot: BasicSR cuts keys of an LMDB there, to 'v1'")]
    assert said(report, "größe.png") == [
        ("names", False, "holds characters beyond ASCII: BasicSR's LMDBs cannot have them")
    ]
    ((kind, error, message),) = said(report, "twin.png")
    assert (kind, error) == ("names", False)
    assert "has the name of Twin.jpg but for ending or case" in message
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
    assert said(report, "odd.png") == [("sizes", False, "45x32: not all sides are multiples of 2; LR needs it cut")]
    assert len(report.findings) == 1
    report = check("HR", patch=33)
    assert said(report, "even.png") == [("sizes", True, "48x32 is smaller than the patch of 33x33: training stops")]
    assert check("HR", patch=32).findings == []


# --- pairs ------------------------------------------------------------------------------------------------------------


def test_sound_pairs_give_a_section_that_basicsr_reads(pairs):
    report = check_pairs()
    assert report.findings == []
    assert (report.pairs, report.template, report.psnr, report.notes) == (6, "{}", (60.0, 60.0, 60.0), [])
    assert report.section["test_1"]["name"] == "data_x2"
    assert len(build_dataset({**report.section["test_1"], "phase": "val", "scale": 2})) == 6
    report = check_pairs(patch=16)
    dataset = build_dataset({**report.section["train"], "phase": "train", "scale": 2})
    assert dataset[0]["lq"].shape == (3, 8, 8)


def test_the_template_is_guessed(pairs):
    for file in (pairs / "LR").iterdir():
        file.rename(file.with_name(f"{file.stem}x2.png"))
    report = check_pairs()
    assert report.findings == []
    assert (report.pairs, report.template) == (6, "{}x2")
    assert report.notes == ["template guessed from 6 LR names: {}x2"]
    assert report.section["test_1"]["filename_tmpl"] == "{}x2"
    assert len(build_dataset({**report.section["test_1"], "phase": "val", "scale": 2})) == 6
    given = check_pairs(template="{}x2")
    assert (given.notes, given.section) == ([], report.section)
    with pytest.raises(PrepareError, match=r"'\{\}x2' fits 6: give --template '\{\}x2'"):
        check_pairs(template="{}x4")


def test_the_template_is_guessed_although_some_names_do_not_fit(pairs):
    for file in sorted((pairs / "LR").iterdir())[1:]:
        file.rename(file.with_name(f"{file.stem}{{x2.png"))
    report = check_pairs()
    assert report.template == "{}{{x2"
    assert report.notes == ["template guessed from 5 LR names: {}{{x2"]
    assert said(report, "000.png") == [
        ("names", True, "has no partner 000{x2.png in data/LR; did you mean 000.png? Rename it")
    ]


NEAR = {
    "001x2.png": "has no partner 001.png in data/LR; did you mean 001x2.png? Rename it",
    "001_LR.jpg": "has no partner 001.png in data/LR; did you mean 001_LR.jpg? Rename it and store it as .png",
    "001.PNG": "has no partner 001.png in data/LR; BasicSR does not take 001.PNG, since the ending differs",
    "001.bmp": "has no partner 001.png in data/LR; BasicSR does not take 001.bmp, since the ending differs",
}


@pytest.mark.parametrize("name", NEAR)
def test_a_partner_whose_name_nearly_fits(pairs, name):
    (pairs / "LR" / "001.png").rename(pairs / "LR" / name)
    report = check_pairs()
    ((kind, error, message),) = said(report, "001.png")
    assert (kind, error) == ("names", True)
    assert message.startswith(NEAR[name])
    assert report.pairs == 6
    assert {finding.kind for finding in report.findings} <= {"names", "format"}
    with pytest.raises(AssertionError):  # BasicSR's word on it
        PairedImageDataset({**tiny.paired("a", "data"), "phase": "val", "scale": 2})


def test_upper_and_lower_case(pairs):
    for kind in ("HR", "LR"):
        (pairs / kind / "001.png").rename(pairs / kind / "name.png")
    (pairs / "LR" / "name.png").rename(pairs / "LR" / "Name.png")
    message = "has no partner name.png in data/LR; did you mean Name.png? Upper and lower case count: rename it"
    assert said(check_pairs(), "name.png") == [("names", True, message)]


def test_missing_partners_in_both_directions(pairs):
    (pairs / "LR" / "001.png").unlink()
    (pairs / "HR" / "004.png").unlink()
    report = check_pairs()
    assert [(each.kind, each.file, each.message) for each in report.errors] == [
        ("names", "data/HR/001.png", "has no partner 001.png in data/LR"),
        ("names", "data/LR/004.png", "has no partner in data/HR"),
    ]
    assert report.pairs == 4
    assert report.warnings == []


def test_a_file_that_is_no_image_needs_no_partner(pairs):
    (pairs / "LR" / "Thumbs.db").write_bytes(b"\0")
    ((kind, _, _),) = said(check_pairs(), "Thumbs.db")
    assert kind == "not an image"


SIZES = {
    (32, 30): "HR 32x30, expected 32x32 for LR 16x16 times 2: training and testing stop",
    (33, 32): "HR 33x32, expected 32x32 for LR 16x16 times 2: training stops, testing takes the upper left part",
    (64, 64): "HR 64x64, expected 32x32 for LR 16x16 times 2: this pair seems to be x4",
    (8, 8): "HR 8x8, expected 32x32 for LR 16x16 times 2: HR is smaller than LR: were the two exchanged?",
}


@pytest.mark.parametrize("size", SIZES)
def test_pairs_of_wrong_size(pairs, size):
    cv2.imwrite(str(pairs / "HR" / "002.png"), picture(9, *size))
    ((kind, error, message),) = said(check_pairs(), "002.png")[:1]
    assert (kind, error) == ("sizes", True)
    assert message.startswith(SIZES[size])


def test_a_turned_pair(pairs):
    image = picture(9, 48, 32)
    cv2.imwrite(str(pairs / "LR" / "002.png"), imresize(image, 1 / 2).swapaxes(0, 1))
    cv2.imwrite(str(pairs / "HR" / "002.png"), image)
    ((_, error, message),) = said(check_pairs(), "002.png")
    assert error
    assert message.endswith("one of them is turned by 90 degrees")


def test_pairs_smaller_than_the_patch(pairs):
    report = check_pairs(patch=34)
    assert len(report.errors) == 6
    assert said(report, "000.png") == [("sizes", True, "32x32 is smaller than the patch of 34x34: training stops")]


def swap(folder: Path, one: str, other: str) -> None:
    first, second = (folder / name for name in (one, other))
    contents = first.read_bytes(), second.read_bytes()
    second.write_bytes(contents[0])
    first.write_bytes(contents[1])


DEGRADATIONS = {
    "bicubic": lambda image, draw: imresize(image, 1 / 2),
    "BD": lambda image, draw: blur_subsample(image, 2),
    "noise": lambda image, draw: add_noise(imresize(image, 1 / 2), draw.standard_normal((32, 48, 3)), 50),
    "JPEG": lambda image, draw: cv2.imdecode(
        cv2.imencode(".jpg", imresize(image, 1 / 2), [cv2.IMWRITE_JPEG_QUALITY, 20])[1], cv2.IMREAD_COLOR
    ),
    "darker": lambda image, draw: (imresize(image, 1 / 2) * 0.8).astype(np.uint8),
}


@pytest.mark.parametrize("how", DEGRADATIONS)
def test_exchanged_images_are_found_whatever_the_degradation(workdir, how):
    put("HR")
    put("LR")
    draw = np.random.default_rng(0)
    for seed in range(12):
        image = picture(seed, 96, 64)
        cv2.imwrite(f"HR/{seed:02}.png", image)
        cv2.imwrite(f"LR/{seed:02}.png", DEGRADATIONS[how](image, draw))
    assert check("HR", "LR", scale=2).findings == []
    swap(Path("LR"), "03.png", "07.png")
    report = check("HR", "LR", scale=2)
    assert [(each.kind, each.file, each.error) for each in report.findings] == [
        ("pairs", "LR/03.png", False),
        ("pairs", "LR/07.png", False),
    ]
    assert said(report, "03.png")[0][2].startswith("shows something else than 03.png; it looks like 07.png (PSNR ")


def test_a_slip_by_one_is_found_in_every_pair(workdir):
    put("HR")
    put("LR")
    for seed in range(8):
        cv2.imwrite(f"HR/{seed}.png", picture(seed, 96, 64))
        cv2.imwrite(f"LR/{(seed + 1) % 8}.png", imresize(picture(seed, 96, 64), 1 / 2))
    messages = [finding.message for finding in check("HR", "LR", scale=2).findings]
    assert len(messages) == 8
    assert messages[1].startswith("shows something else than 1.png; it looks like 0.png")


def test_an_image_that_was_made_in_another_way(workdir):
    put("HR")
    put("LR")
    for seed in range(8):
        grain = np.random.default_rng(seed).integers(0, 40, (64, 96, 3), np.uint8)
        image = picture(seed, 96, 64) // 2 + grain
        cv2.imwrite(f"HR/{seed}.png", image)
        cv2.imwrite(f"LR/{seed}.png", imresize(image, 1 / 2) if seed != 5 else image[::2, ::2])
    report = check("HR", "LR", scale=2)
    ((kind, error, message),) = said(report, "5.png")
    assert (kind, error) == ("pairs", False)
    assert message.startswith("was made in another way than the rest: PSNR ")
    assert message.endswith("median 60.0")
    assert len(report.findings) == 1


def test_what_is_usual_in_a_data_set_is_not_reported(workdir):
    """LR images darker throughout; ones as good as exact but for one; ones whose PSNR depends on the content."""
    for kind in ("darker", "nearly", "grainy"):
        put(f"{kind}/HR")
        put(f"{kind}/LR")
        for seed in range(9):
            image = picture(seed, 96, 64) // 4 + 100
            if kind == "grainy":
                image += np.random.default_rng(seed).integers(0, int(4 * 1.5**seed), image.shape, np.uint8)
            low = imresize(image, 1 / 2) if kind != "grainy" else image[::2, ::2]
            if kind == "darker":
                low = (low * 0.8).astype(np.uint8)
            elif kind == "nearly" and seed == 4:
                low[::8] += 1
            cv2.imwrite(f"{kind}/HR/{seed}.png", image)
            cv2.imwrite(f"{kind}/LR/{seed}.png", low)
        report = check(f"{kind}/HR", f"{kind}/LR", scale=2)
        assert report.findings == [], kind
        assert report.psnr[1] - report.psnr[0] > {"darker": 0, "nearly": 1, "grainy": 11}[kind]


def test_16_bit_pairs_are_compared_too(workdir):
    put("HR")
    put("LR")
    for seed in range(4):
        deep = picture(seed).astype(np.uint16) * 257
        cv2.imwrite(f"HR/{seed}.png", deep)
        cv2.imwrite(f"LR/{seed}.png", imresize(deep, 1 / 2))
    report = check("HR", "LR", scale=2)
    assert {(finding.kind, finding.error) for finding in report.findings} == {("depth", False)}
    assert report.psnr[0] > 50
    for seed in range(4):
        cv2.imwrite(f"LR/{seed}.png", imresize(picture(seed), 1 / 2))
    assert {finding.kind for finding in check("HR", "LR", scale=2).findings} == {"depth"}


# --- LMDB -------------------------------------------------------------------------------------------------------------


def make_lmdb(path: str, images: dict[str, np.ndarray]) -> None:
    maker = LmdbMaker(path, map_size=1 << 24)
    for key, image in images.items():
        maker.put(cv2.imencode(".png", image)[1].tobytes(), key, image.shape)
    maker.close()


def make_lmdbs(count: int = 4) -> None:
    images = {f"{seed:03}": picture(seed) for seed in range(count)}
    make_lmdb("HR.lmdb", images)
    make_lmdb("LR.lmdb", {key: imresize(image, 1 / 2) for key, image in images.items()})


def test_lmdbs(workdir):
    make_lmdbs()
    report = check("HR.lmdb", "LR.lmdb", scale=2)
    assert report.findings == []
    assert (report.pairs, report.folders[0].readable, report.folders[1].largest) == (4, 4, (24, 16))
    assert len(build_dataset({**report.section["test_1"], "phase": "val", "scale": 2})) == 4
    section = check("HR.lmdb").section["test_1"]
    assert build_dataset({**section, "phase": "test", "scale": 2})[3]["lq"].shape == (3, 32, 48)


def test_lmdbs_with_faults(workdir):
    images = {f"{seed:03}": picture(seed) for seed in range(4)}
    make_lmdb("HR.lmdb", {**images, "v1.2": picture(7)})
    make_lmdb("LR.lmdb", {f"{key}x2": imresize(image, 1 / 2) for key, image in images.items()})
    with Path("LR.lmdb/meta_info.txt").open("a") as meta:
        meta.write("003x2.png (16,24,3) 1\n\n")
    report = check("HR.lmdb", "LR.lmdb", scale=2)
    assert said(report, "000") == [
        (
            "names",
            True,
            "has no partner 000 in LR.lmdb; did you mean 000x2? BasicSR pairs LMDBs by equal keys: "
            "make it again with those of HR",
        )
    ]
    assert ("broken", True) in [each[:2] for each in said(report, "v1")]  # BasicSR cuts the key at the dot
    assert said(report, "003x2") == [("names", False, "listed 2 times: it is read as often")]
    assert ("broken", True) in [each[:2] for each in said(report, r"\n")]  # it reads the empty line as a key


def test_a_value_of_an_lmdb_that_was_cut(workdir):
    make_lmdb("cut.lmdb", {"000": picture(0)})
    maker = LmdbMaker("values.lmdb", map_size=1 << 24)
    maker.put(PNG[:-20], "000", (32, 48, 3))
    maker.put(encoded("L", "PNG", 1), "001", (32, 48, 1))
    maker.close()
    report = check("values.lmdb")
    assert said(report, "000")[0][:2] == ("broken", True)
    assert said(report, "001") == [("channels", False, "gray: becomes three equal channels")]


def test_lmdbs_that_cannot_be_opened(workdir):
    make_lmdbs(1)
    Path("LR.lmdb/meta_info.txt").unlink()
    with pytest.raises(PrepareError, match=r"LR\.lmdb has no meta_info\.txt"):
        check("HR.lmdb", "LR.lmdb", scale=2)
    Path("LR.lmdb/meta_info.txt").write_text("")
    with pytest.raises(PrepareError, match="lists no images"):
        check("LR.lmdb")
    Path("broken.lmdb").mkdir()
    Path("broken.lmdb/meta_info.txt").write_text("000.png (1,1,3) 1\n")
    Path("broken.lmdb/data.mdb").write_bytes(b"\0" * 5000)
    with pytest.raises(PrepareError, match=r"broken\.lmdb cannot be opened as an LMDB"):
        check("broken.lmdb")


# --- the command ------------------------------------------------------------------------------------------------------


def run(*arguments: str) -> int:
    return main(["prepare", "check", *arguments, "--quiet"])


def test_the_command_on_sound_data(pairs, capsys):
    assert run("data/HR") == 0
    assert yaml.safe_load(capsys.readouterr().out.split("For an option file:")[1]) == {
        "datasets": {
            "test_1": {
                "name": "HR",
                "type": "SingleImageDataset",
                "dataroot_lq": "data/HR",
                "io_backend": {"type": "disk"},
            }
        }
    }
    assert run("data/HR", "data/LR", "--scale", "2", "--patch", "16") == 0
    out = capsys.readouterr().out
    assert "pairs             6, LR named {}" in out
    assert "errors, warnings  0, 0" in out
    assert yaml.safe_load(out.split("For an option file:")[1])["datasets"]["train"]["gt_size"] == 16


def test_the_command_on_bad_data(pairs, capsys):
    (pairs / "LR" / "001.png").write_bytes(PNG[:-20])
    (pairs / "HR" / "002.png").write_bytes(encoded("CMYK", "JPEG"))
    (pairs / "LR" / "003.png").unlink()
    assert run("data/HR", "data/LR", "--scale", "2") == 1
    out = capsys.readouterr().out
    warnings, errors = out.split("errors:\n")
    assert "  channels (1)\n    data/HR/002.png: CMYK" in warnings
    assert "    data/HR/002.png: is a JPEG and not a PNG" in warnings
    assert "  broken (1)\n    data/LR/001.png: damaged: " in errors
    assert "  sizes (1)\n    data/HR/002.png: HR 48x32, expected 32x32" in errors
    assert "  names (1)\n    data/HR/003.png: has no partner 003.png in data/LR" in errors
    assert ["files", "6, 6 readable images", "5, 4 readable images"] in [
        re.split("  +", line) for line in out.split("\n")
    ]
    assert "errors, warnings  3, 2" in errors
    assert "option file" not in out


def test_warnings_alone_do_not_fail(workdir, capsys):
    put("HR", gray__png=encoded("L", "PNG"))
    assert run("HR") == 0
    out = capsys.readouterr().out
    assert out.startswith("warnings:\n  channels (1)\n    HR/gray.png: gray")
    assert "For an option file" in out


def test_json(pairs, capsys):
    (pairs / "LR" / "001.png").write_bytes(b"")
    assert run("data/HR", "data/LR", "--scale", "2", "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["errors"], told["warnings"], told["pairs"], told["section"]) == (1, 0, 6, {})
    assert told["findings"] == [{"kind": "broken", "file": "data/LR/001.png", "message": "empty file", "error": True}]
    assert told["folders"][0]["median"] == [32, 32]


USAGE = {
    "there is no folder none": ["none"],
    "empty holds no files": ["empty"],
    "its sub-folder HR does": ["data"],
    "pairs need their scale": ["data/HR", "data/LR"],
    "--template '{}x2' needs a second folder": ["data/HR", "--template", "{}x2"],
    "--template must hold {}": ["data/HR", "data/LR", "--scale", "2", "--template", "x2"],
    "--scale must be at least 1, got 0": ["data/HR", "--scale", "0"],
    "a multiple of the scale 2; got 17": ["data/HR", "data/LR", "--scale", "2", "--patch", "17"],
    "must both be folders or both be LMDBs": ["data/HR", "LR.lmdb", "--scale", "2"],
    "BasicSR pairs LMDBs by equal keys": ["HR.lmdb", "LR.lmdb", "--scale", "2", "--template", "{}x2"],
    "--jobs must be at least 1": ["data/HR", "--jobs", "0"],
}


@pytest.mark.parametrize("message", USAGE)
def test_usage(pairs, capsys, message):
    Path("empty").mkdir()
    make_lmdbs(1)
    assert run(*USAGE[message]) == 2
    assert message in capsys.readouterr().err


def test_nothing_is_written_and_interrupting_says_so(pairs, capsys, monkeypatch):
    before = tiny.tree(pairs)
    assert run("data/HR", "data/LR", "--scale", "2") == 0
    assert tiny.tree(pairs) == before

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("lightsr_basicsr.tools.prepare.check._look", stop)
    assert run("data/HR") == 130
    assert "stopped; nothing was changed." in capsys.readouterr().err


def test_opencv_is_as_loud_as_before(workdir, capfd):
    logging = getattr(cv2.utils, "logging", cv2)
    put("HR", a__png=PNG, cut__tif=encoded("RGB", "TIFF")[:-60])
    before = logging.setLogLevel(2)
    try:
        check("HR")
        assert logging.getLogLevel() == 2
    finally:
        logging.setLogLevel(before)
    assert capfd.readouterr().err == ""


def test_every_finding_has_a_known_kind_and_errors_come_first(pairs):
    put("data/HR", notes__txt=b"x", gray__png=encoded("L", "PNG"))
    findings = check_pairs().findings
    assert {finding.kind for finding in findings} <= set(KINDS)
    assert [finding.error for finding in findings] == sorted((finding.error for finding in findings), reverse=True)
