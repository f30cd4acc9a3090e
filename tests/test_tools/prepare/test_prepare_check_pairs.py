"""``basicsr prepare check`` of pairs and LMDBs: sizes, partners, images of something else."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from basicsr.data import build_dataset
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.utils.lmdb_util import LmdbMaker

from lightsr_basicsr.data.degradations import add_noise, blur_subsample, imresize
from lightsr_basicsr.tools.prepare.jobs import PrepareError
from tests import checked, tiny
from tests.checked import PNG, check, check_pairs, encoded, make_lmdb, make_lmdbs, picture, put, said

pairs = checked.pairs

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
    "001.PNG": "has no partner 001.png in data/LR; BasicSR does not pair it with 001.PNG, since the ending differs",
    "001.bmp": "has no partner 001.png in data/LR; BasicSR does not pair it with 001.bmp, since the ending differs",
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
    message = "has no partner name.png in data/LR; did you mean Name.png? Case matters: rename it"
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
    (33, 32): "HR 33x32, expected 32x32 for LR 16x16 times 2: training stops, testing uses the upper left part",
    (64, 64): "HR 64x64, expected 32x32 for LR 16x16 times 2: this pair seems to be x4",
    (8, 8): "HR 8x8, expected 32x32 for LR 16x16 times 2: HR is smaller than LR: were the two swapped?",
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
    assert message.endswith("one of them is rotated by 90 degrees")


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
    assert said(report, "03.png")[0][2].startswith("does not show 03.png; it looks like 07.png (PSNR ")


def test_a_slip_by_one_is_found_in_every_pair(workdir):
    put("HR")
    put("LR")
    for seed in range(8):
        cv2.imwrite(f"HR/{seed}.png", picture(seed, 96, 64))
        cv2.imwrite(f"LR/{(seed + 1) % 8}.png", imresize(picture(seed, 96, 64), 1 / 2))
    messages = [finding.message for finding in check("HR", "LR", scale=2).findings]
    assert len(messages) == 8
    assert messages[1].startswith("does not show 1.png; it looks like 0.png")


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
    assert message.startswith("was made differently from the rest: PSNR ")
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
    assert said(report, "003x2") == [("names", False, "listed 2 times: BasicSR reads it 2 times")]
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
