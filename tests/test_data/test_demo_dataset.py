"""The demo set is made once, completely or not at all, and is what it says."""

import cv2
import lmdb
import numpy as np
import pytest

from lightsr_basicsr.data import demo_dataset
from lightsr_basicsr.data.degradations import imresize
from lightsr_basicsr.data.demo_dataset import DemoMultiScaleDataset, DemoPairedDataset, prepare_demo


@pytest.fixture
def one_image(monkeypatch):
    monkeypatch.setattr(demo_dataset, "PHOTOGRAPHS", {"train": ("brick.png",), "val": ("chelsea.png",)})


def test_pairs_are_matlab_bicubic(workdir, one_image):
    dataset = DemoPairedDataset({"name": "demo", "phase": "val", "scale": 4, "dataroot": "data"})
    item = dataset[0]
    high = (item["gt"].permute(1, 2, 0).numpy()[..., ::-1] * 255).round().astype(np.uint8)
    low = (item["lq"].permute(1, 2, 0).numpy()[..., ::-1] * 255).round().astype(np.uint8)
    assert high.shape == (300, 448, 3)
    assert np.array_equal(imresize(high, 0.25), low)


def test_training_crops_are_aligned(workdir, one_image):
    dataset = DemoPairedDataset(
        {
            "name": "demo",
            "phase": "train",
            "scale": 3,
            "dataroot": "data",
            "gt_size": 96,
            "use_hflip": True,
            "use_rot": True,
        }
    )
    assert len(dataset) == 16  # 512 px, crops of 192 at steps of 96
    item = dataset[5]
    assert item["gt"].shape == (3, 96, 96)
    assert item["lq"].shape == (3, 32, 32)
    up = cv2.resize(item["lq"].permute(1, 2, 0).numpy(), (96, 96), interpolation=cv2.INTER_CUBIC)
    assert np.abs(up - item["gt"].permute(1, 2, 0).numpy()).mean() < 0.1


def test_levels_show_the_same_part(workdir, one_image):
    crop = {"gt_size": 96, "use_hflip": False, "use_rot": False}
    section = {"name": "demo", "phase": "train", "scale": 4, "dataroot": "data", **crop}
    item = DemoMultiScaleDataset(section)[5]
    shapes = {key: item[key].shape[-1] for key in ("gt", "lq_down2", "lq")}
    assert shapes == {"gt": 96, "lq_down2": 48, "lq": 24}
    whole = item["gt"].permute(1, 2, 0).numpy()
    for key, side in shapes.items():
        small = cv2.resize(whole, (side, side), interpolation=cv2.INTER_AREA)
        assert np.abs(small - item[key].permute(1, 2, 0).numpy()).mean() < 0.03


def test_a_key_that_the_levels_do_not_know_is_reported(workdir, one_image):
    with pytest.raises(ValueError, match="datarot"):
        DemoMultiScaleDataset({"name": "demo", "phase": "val", "scale": 4, "dataroot": "data", "datarot": "x"})


def test_a_second_use_makes_nothing_anew(workdir, one_image):
    paths = prepare_demo(workdir / "data", "val", 2)
    before = [(path / "data.mdb").stat().st_mtime_ns for path in paths]
    assert prepare_demo(workdir / "data", "val", 2) == paths
    assert [(path / "data.mdb").stat().st_mtime_ns for path in paths] == before


def test_an_interruption_leaves_nothing_half_made(workdir, one_image, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo_dataset, "imresize", interrupt)
    with pytest.raises(KeyboardInterrupt):
        prepare_demo(workdir / "data", "val", 4)
    assert list((workdir / "data").iterdir()) == []
    monkeypatch.undo()
    monkeypatch.chdir(workdir)
    gt, _ = prepare_demo(workdir / "data", "val", 4)
    with lmdb.open(str(gt), readonly=True, lock=False) as environment:
        assert environment.stat()["entries"] == 2
