"""Images behind a dataset section: every kind of fault is found and named."""

from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.data.single_image_dataset import SingleImageDataset
from basicsr.utils.lmdb_util import make_lmdb_from_imgs

from lightsr_basicsr.data.degraded_dataset import DegradedImageDataset
from lightsr_basicsr.tools.check.data import check_dataset
from lightsr_basicsr.tools.images import spread
from tests import tiny


@pytest.fixture
def pairs(workdir):
    tiny.make_pairs(workdir / "data", 4)
    return workdir / "data"


def check(phase="val", **changes) -> list[str]:
    options = {**tiny.paired("a", "data"), "phase": phase, "scale": 2, **changes}
    return [f"{key} {message}".strip() for key, message in check_dataset(PairedImageDataset, options)]


TRAIN = {"phase": "train", "gt_size": 16, "use_hflip": True, "use_rot": True}


def test_good_pairs_have_no_problems(pairs):
    assert check() == []
    assert check(**TRAIN) == []


def test_missing_and_empty_folders(pairs):
    (pairs / "empty").mkdir()
    (pairs / "nested" / "inner").mkdir(parents=True)
    assert check(dataroot_gt="data/none") == [f".dataroot_gt there is no folder data/none (looked from {Path.cwd()})"]
    assert "holds no images (0 other files)" in check(dataroot_lq="data/empty")[0]
    assert check(dataroot_lq="data/nested", dataroot_gt="data/nested") == [
        "is empty: its folder has no images outside subfolders"
    ]
    assert "different number of images" in check(dataroot_lq="data/nested")[0]


@pytest.mark.parametrize("key", ["dataroot_flow", "dataroot_mask", "dataroot"])
def test_a_folder_that_is_left_empty_is_no_problem(pairs, key):
    """BasicSR's EDVR files have `dataroot_flow: ~`."""
    assert check(**{key: None}) == []
    assert check(**TRAIN, **{key: None}) == []
    assert check(**{key: 3}) == [f".{key} must be one folder, got 3"]


def test_a_folder_that_the_dataset_needs_must_not_be_empty(pairs):
    (problem,) = check(dataroot_gt=None)
    assert problem.startswith("PairedImageDataset cannot be read: ")


def test_a_list_of_images_allows_other_files_in_the_folder(pairs):
    (pairs / "HR" / "notes.txt").write_text("x")
    assert "notes.txt" in check()[0]
    Path("meta.txt").write_text("000.png (32,32,3)\n")
    assert check(meta_info_file="meta.txt") == []
    assert "FileNotFoundError" in check(meta_info_file="none.txt")[0]


@pytest.mark.parametrize("keep", [0, 3, 60, 200])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_truncated_images_are_named(workdir, keep, suffix):
    (workdir / "LR").mkdir()
    for index in range(3):
        cv2.imwrite(f"LR/{index}{suffix}", np.random.default_rng(index).integers(0, 256, (40, 40, 3), np.uint8))
    path = workdir / "LR" / f"1{suffix}"
    path.write_bytes(path.read_bytes()[:keep])
    options = {"name": "a", "dataroot_lq": "LR", "io_backend": {"type": "disk"}, "phase": "test"}
    ((key, message),) = check_dataset(SingleImageDataset, options)
    assert key == ".dataroot_lq"
    assert f"holds broken images: 1{suffix} (" in message


@pytest.mark.parametrize("missing", [4, 12, 200])
def test_a_cut_file_is_found_outside_the_decoded_sample(pairs, monkeypatch, missing):
    monkeypatch.setattr("lightsr_basicsr.tools.check.data.DECODED", 2)
    path = pairs / "HR" / "002.png"
    path.write_bytes(path.read_bytes()[:-missing])
    assert "holds broken images: 002.png" in check()[0]


def test_a_photograph_with_bytes_after_its_end_is_whole(workdir, monkeypatch):
    """Phones append motion clips and maps to JPEG files."""
    monkeypatch.setattr("lightsr_basicsr.tools.check.data.DECODED", 2)
    (workdir / "LR").mkdir()
    for index in range(5):
        path = workdir / "LR" / f"{index}.jpg"
        cv2.imwrite(str(path), np.random.default_rng(index).integers(0, 256, (40, 40, 3), np.uint8))
        path.write_bytes(path.read_bytes() + b"trailer" * 100)
    options = {"name": "a", "dataroot_lq": "LR", "io_backend": {"type": "disk"}, "phase": "test"}
    assert check_dataset(SingleImageDataset, options) == []


def test_a_file_that_is_no_image_is_named(pairs):
    (pairs / "HR" / "Thumbs.db").write_bytes(b"x")
    (pairs / "LR" / "001.png").write_text("not an image")
    problems = check()
    assert any("files that are not images, which BasicSR would read as images: Thumbs.db" in line for line in problems)
    assert any("001.png (no image that Pillow knows)" in line for line in problems)


def test_unpaired_names(pairs):
    (pairs / "LR" / "003.png").rename(pairs / "LR" / "999.png")
    assert check() == [
        ".dataroot_lq has no LQ image for these of dataroot_gt: 003.png (no 003.*)",
        ".dataroot_gt has no GT image for these of dataroot_lq: 999",
    ]
    assert "no 000x2.*" in check(filename_tmpl="{}x2")[0]
    assert check(filename_tmpl="{0}{1}") == [
        ".filename_tmpl must contain {} for the name of the GT image, got '{0}{1}'"
    ]


def test_wrong_sizes(pairs):
    cv2.imwrite(str(pairs / "HR" / "001.png"), np.zeros((30, 32, 3), np.uint8))
    assert check() == ["pairs of the wrong size: 001.png GT 32x30, expected 32x32 (LQ 16x16 times 2)"]
    cv2.imwrite(str(pairs / "HR" / "001.png"), np.zeros((33, 32, 3), np.uint8))
    assert check() == []  # validation cuts it
    assert "001.png GT 32x33, expected 32x32" in check(**TRAIN)[0]


def test_images_smaller_than_the_patch(pairs):
    assert "is smaller than gt_size 64" in check(**{**TRAIN, "gt_size": 64})[0]


def test_a_missing_key_of_the_dataset_is_named(pairs):
    assert check(phase="train", gt_size=16, use_rot=True) == [".use_hflip is missing: PairedImageDataset needs it"]


def make_lmdb(pairs):
    for kind in ("HR", "LR"):
        names = sorted(path.name for path in (pairs / kind).iterdir())
        make_lmdb_from_imgs(
            str(pairs / kind), str(pairs / f"{kind}.lmdb"), names, [n[:-4] for n in names], map_size=1 << 24
        )


LMDB = {"dataroot_gt": "data/HR.lmdb", "dataroot_lq": "data/LR.lmdb", "io_backend": {"type": "lmdb"}}


def test_lmdb(pairs):
    make_lmdb(pairs)
    assert check(**LMDB) == []
    assert check(**LMDB, filename_tmpl="{}x2") == []  # BasicSR pairs LMDBs by equal keys
    assert "must end in .lmdb" in check(**{**LMDB, "dataroot_gt": "data/HR"})[0]
    (pairs / "LR.lmdb" / "meta_info.txt").write_text("000.png (16,16,3) 1\nghost.png (16,16,3) 1\n")
    assert "lists images that are missing or broken: ghost.png" in check(**LMDB)[0]
    (pairs / "LR.lmdb" / "meta_info.txt").unlink()
    assert "has no meta_info.txt" in check(**LMDB)[0]


def test_an_unreadable_lmdb(workdir):
    tiny.make_pairs(workdir / "data", 2)
    make_lmdb(workdir / "data")
    (workdir / "data" / "HR.lmdb" / "data.mdb").write_bytes(b"\0" * 5000)
    problems = check(**LMDB)
    assert len(problems) == 1
    assert "HR.lmdb cannot be opened" in problems[0]


def test_a_value_that_is_no_image_in_an_lmdb(workdir):
    tiny.make_pairs(workdir / "data", 2)
    make_lmdb(workdir / "data")
    with lmdb.open("data/LR.lmdb", map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"001", b"broken")
    assert "missing or broken: 001.png" in check(**LMDB)[0]


def test_errors_of_other_plugins_are_introduced(pairs):
    class Other(PairedImageDataset):
        def __init__(self, opt):
            raise ValueError("no such thing")

    section = {**tiny.paired("a", "data"), "phase": "val", "scale": 2}
    assert check_dataset(Other, section) == [("", "Other cannot be read: ValueError: no such thing")]


def test_items_of_other_plugins_may_be_anything(pairs):
    class Other(PairedImageDataset):
        def __getitem__(self, index):
            return 1, 2

    assert check_dataset(Other, {**tiny.paired("a", "data"), "phase": "val", "scale": 2}) == []


def test_a_misspelt_option_of_ours_is_told_in_its_own_words(pairs):
    section = {"name": "a", "dataroot_gt": "data/HR", "io_backend": {"type": "disk"}, "phase": "val", "scale": 2}
    assert check_dataset(DegradedImageDataset, {**section, "degredation": "dn"}) == [
        ("", "degredation is not an option of DegradedImageDataset: did you mean 'degradation'?")
    ]


def test_spread_takes_both_ends():
    assert spread(list(range(10)), 4) == [0, 3, 6, 9]
    assert spread([1, 2], 4) == [1, 2]
