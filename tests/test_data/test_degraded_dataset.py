"""LR images made while training equal those in files, crop for crop."""

import random
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.utils.lmdb_util import make_lmdb_from_imgs

from lightsr_basicsr import cli
from lightsr_basicsr.data.degraded_dataset import DegradedImageDataset, MultiScalePairedDataset
from lightsr_basicsr.data.low_resolution import LowResolution
from lightsr_basicsr.tools.prepare.lr import prepare_lr
from tests import tiny
from tests.tiny import QUIET


@pytest.fixture
def photographs(workdir) -> Path:
    """Three noisy images of odd sides, so that every pixel of a border counts."""
    folder = workdir / "photos"
    folder.mkdir()
    for index in range(3):
        image = np.random.default_rng(index).integers(0, 256, (67, 83, 3), np.uint8)
        cv2.imwrite(str(folder / f"img.{index}.png"), image)
    return folder


def section(phase: str = "train", scale: int = 4, **more) -> dict:
    options = {"name": "x", "dataroot_gt": "photos", "io_backend": {"type": "disk"}, "phase": phase, "scale": scale}
    return {**options, **({"gt_size": 24, "use_hflip": True, "use_rot": True} if phase == "train" else {}), **more}


@pytest.mark.parametrize("degradation", ["bi", "bd", "dn"])
@pytest.mark.parametrize("border", ["mirror", "replicate"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_items_equal_those_of_prepared_files(photographs, degradation, border, scale):
    prepare_lr("photos", "set", LowResolution(degradation, border, 5), [scale], work=QUIET)
    files = {"dataroot_gt": f"set/HR_x{scale}", "dataroot_lq": f"set/LR{degradation.upper()}_x{scale}"}
    ours = {"degradation": degradation, "border": border, "noise_seed": 5}
    for phase in ("train", "val"):
        stored = PairedImageDataset(section(phase, scale, **files))
        stored.paths.sort(key=lambda paths: paths["gt_path"])
        made = DegradedImageDataset(section(phase, scale, **ours))
        assert len(made) == len(stored) == 3
        for index in [0, 1, 2] * 4:
            random.seed(index)
            expected = stored[index]
            random.seed(index)
            item = made[index]
            random.seed(random.random())
            for key in ("gt", "lq"):
                assert torch.equal(item[key], expected[key]), (phase, key)


def test_noise_is_redrawn_on_demand_only(photographs):
    once = DegradedImageDataset(section(degradation="dn", gt_size=64))
    again = DegradedImageDataset(section(degradation="dn", gt_size=64, redraw_noise=True))
    for dataset, equal in ((once, True), (again, False)):
        items = []
        for _ in range(2):
            random.seed(1)
            items.append(dataset[0]["lq"])
        assert torch.equal(*items) == equal


def test_images_in_an_lmdb_and_in_a_list(photographs):
    for index, path in enumerate(sorted(photographs.glob("*.png"))):
        path.rename(photographs / f"{index}.png")  # BasicSR cuts keys at the first dot
    names = ["0.png", "2.png"]
    make_lmdb_from_imgs("photos", "photos.lmdb", names, ["0", "2"], map_size=1 << 20)
    Path("list.txt").write_text("".join(f"{name} (67,83,3)\n" for name in names))
    in_lmdb = DegradedImageDataset(section("val", dataroot_gt="photos.lmdb", io_backend={"type": "lmdb"}))
    listed = DegradedImageDataset(section("val", meta_info_file="list.txt"))
    assert len(in_lmdb) == len(listed) == 2
    for one, two in zip(in_lmdb, listed, strict=True):
        assert torch.equal(one["lq"], two["lq"])


def three_levels(**more) -> dict:
    return section(scale=4, gt_size=24, **more)


def test_levels_from_files_and_computed_are_the_same(photographs):
    prepare_lr("photos", "set", scales=[4], work=QUIET)
    prepare_lr("set/HR_x4", "low", scales=[2, 4], layout="div2k", write_hr=False, work=QUIET)
    folders = {"dataroot_gt": "set/HR_x4", "dataroot_lq": "low/HR_x4_LR_bicubic/X4", "filename_tmpl": "{}x4"}
    half = {"dataroot_lq_down2": "low/HR_x4_LR_bicubic/X2", "filename_tmpl_down2": "{}x2"}
    computed = MultiScalePairedDataset(three_levels())
    for options in ({**folders, **half}, folders, {"dataroot_gt": "set/HR_x4", **half}):
        stored = MultiScalePairedDataset(three_levels(**options))
        for index in [0, 1, 2] * 4:
            items = []
            for dataset in (stored, computed):
                random.seed(index)
                items.append(dataset[index])
            for key, size in (("gt", 24), ("lq_down2", 12), ("lq", 6)):
                assert items[0][key].shape == (3, size, size)
                assert torch.equal(items[0][key], items[1][key])


def test_crops_of_all_levels_show_the_same_part(workdir):
    """Of a smooth image, each level is close to the mean of HR's cells, and far from it if one pixel beside."""
    Path("photos").mkdir()
    knots = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    cv2.imwrite("photos/a.png", cv2.resize(knots, (160, 160), interpolation=cv2.INTER_CUBIC))
    dataset = MultiScalePairedDataset(section(scale=8, gt_size=64))
    assert dataset.factors == [8, 4, 2]
    for _ in range(10):
        item = dataset[0]
        for key, factor in (("lq_down2", 2), ("lq_down4", 4), ("lq", 8)):
            cells = torch.nn.functional.avg_pool2d(item["gt"], factor)
            apart = (item[key] - cells).abs().mean()
            for axis in (1, 2):
                for step in (-1, 1):
                    beside = (item[key].roll(step, axis) - cells).narrow(axis, 1, 64 // factor - 2).abs().mean()
                    assert apart < beside / 4, (key, axis, step)


def test_levels_in_lmdbs(photographs):
    for index, path in enumerate(sorted(photographs.glob("*.png"))):
        path.rename(photographs / f"{index}.png")
    prepare_lr("photos", "set", scales=[2, 4], work=QUIET)
    for name in ("HR_x4", "LRBI_x4", "LRBI_x2"):
        keys = ["0", "1", "2"]
        make_lmdb_from_imgs(f"set/{name}", f"{name}.lmdb", [f"{key}.png" for key in keys], keys, map_size=1 << 20)
    roots = {"dataroot_gt": "HR_x4.lmdb", "dataroot_lq": "LRBI_x4.lmdb", "dataroot_lq_down2": "LRBI_x2.lmdb"}
    dataset = MultiScalePairedDataset(section("val", io_backend={"type": "lmdb"}, **roots))
    item = dataset[1]
    assert (item["gt"].shape, item["lq_down2"].shape, item["lq"].shape) == ((3, 64, 80), (3, 32, 40), (3, 16, 20))
    assert torch.equal(item["lq"], DegradedImageDataset(section("val"))[1]["lq"])


@pytest.mark.parametrize(("kind", "options", "message"), [
    (DegradedImageDataset, {"degradation": "bicubic"}, "degradation must be bi, bd or dn, got 'bicubic'"),
    (DegradedImageDataset, {"degredation": "dn"},
     "degredation is not an option of DegradedImageDataset: did you mean 'degradation'"),
    (DegradedImageDataset, {"redraw_nois": True}, "did you mean 'redraw_noise'"),
    (DegradedImageDataset, {"dataroot_lq": "empty"}, "dataroot_lq is not an option of DegradedImageDataset"),
    (DegradedImageDataset, {"degradation": "bd", "border": "miror"}, "border must be mirror or replicate, got 'miror'"),
    (DegradedImageDataset, {"noise_seed": 1.5}, "noise_seed must be a whole number of at least 0, got 1.5"),
    (DegradedImageDataset, {"gt_size": "48"}, "gt_size must be a whole number of at least 1, got '48'"),
    (DegradedImageDataset, {"gt_size": 0}, "gt_size must be a whole number of at least 1, got 0"),
    (DegradedImageDataset, {"io_backend": None}, "io_backend must be {type: disk} or {type: lmdb}, got None"),
    (DegradedImageDataset, {"io_backend": "disk"}, "io_backend must be {type: disk} .*, got 'disk'"),
    (DegradedImageDataset, {"io_backend": {"type": "dsik"}}, "io_backend must be .*, got {'type': 'dsik'}"),
    (DegradedImageDataset, {"dataroot_gt": ["photos"]}, r"dataroot_gt must be one folder or LMDB, got \['photos'\]"),
    (DegradedImageDataset, {"meta_info_file": "none.txt"}, "list of images none.txt does not exist"),
    (DegradedImageDataset, {"meta_info_file": "list.txt"}, "photos lacks img.7.png, which list.txt lists"),
    (MultiScalePairedDataset, {"dataroot_lq_down4": "empty"},
     "dataroot_lq_down4 is not an option of MultiScalePairedDataset: did you mean 'dataroot_lq_down2'"),
    (DegradedImageDataset, {"dataroot_gt": "nowhere"}, "folder nowhere does not exist"),
    (DegradedImageDataset, {"io_backend": {"type": "lmdb"}}, "must end in .lmdb"),
    (MultiScalePairedDataset, {"scale": 3}, "2, 4 or 8, got 3"),
    (MultiScalePairedDataset, {"dataroot_lq": "empty"}, "empty lacks 3 images, the first is img.0"),
])  # fmt: skip
def test_mistakes_are_explained(photographs, kind, options, message):
    Path("empty").mkdir()
    Path("list.txt").write_text("img.0.png\nimg.7.png\n")
    with pytest.raises(ValueError, match=message):
        kind({**section(), **options})


@pytest.mark.parametrize(("size", "fits"), [
    ((16, 20), True), ((17, 21), True), ((18, 20), False), ((16, 22), False), ((32, 40), False), ((15, 20), False),
])  # fmt: skip
def test_levels_of_another_size_are_explained(photographs, size, fits):
    """LR of the whole 67x83 images has 17x21 pixels, of those cut to 64x80 it has 16x20."""
    Path("low").mkdir()
    for index in range(3):
        cv2.imwrite(f"low/img.{index}.png", np.zeros((*size, 3), np.uint8))
    dataset = MultiScalePairedDataset(section(dataroot_lq="low"))
    if fits:
        assert dataset[0]["lq"].shape == (3, 6, 6)
        return
    message = rf"is {size[1]}x{size[0]}, expected HR / 4 = 20x16 or up to 1 more: is dataroot_lq the folder of this"
    with pytest.raises(ValueError, match=message):
        dataset[0]


def test_bad_images_are_explained(photographs):
    with pytest.raises(ValueError, match=r"img.0.png is 80x64 \(in multiples of 4\), smaller than gt_size 96"):
        DegradedImageDataset(section(gt_size=96))[0]
    with pytest.raises(ValueError, match=r"multiple of the scale 4, .*, got 30"):
        DegradedImageDataset(section(gt_size=30))[0]
    Path("low").mkdir()
    for index in range(3):
        cv2.imwrite(f"low/img.{index}.png", np.zeros((16, 19, 3), np.uint8))
    with pytest.raises(ValueError, match=r"img.2.png is 19x16, expected HR / 4 = 20x16"):
        MultiScalePairedDataset(section(dataroot_lq="low"))[2]
    (photographs / "img.1.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"img.1.png in photos is missing or cannot be read"):
        DegradedImageDataset(section())[1]


@pytest.mark.parametrize("kind", ["DegradedImageDataset", "MultiScalePairedDataset"])
def test_training_through_the_command(photographs, kind):
    options = tiny.train_options(total_iter=3)
    train = options["datasets"]["train"]
    del train["dataroot_lq"]
    train.update(type=kind, dataroot_gt="photos", num_worker_per_gpu=1)
    options["datasets"]["val"] = {
        "name": "v", "type": "DegradedImageDataset", "dataroot_gt": "photos", "io_backend": {"type": "disk"},
    }  # fmt: skip
    assert cli.main(["train", "-opt", tiny.write(options)]) == 0
    assert Path("experiments/tiny/models/net_g_3.pth").is_file()


@pytest.mark.parametrize(("kind", "change", "message"), [
    ("DegradedImageDataset", {"degredation": "dn"},
     ".degredation: is not read by DegradedImageDataset: did you mean 'degradation'?"),
    ("MultiScalePairedDataset", {"border": "miror"}, ".border: must be mirror or replicate, got 'miror'"),
    ("DegradedImageDataset", {"meta_info_file": "none.txt"}, ": list of images none.txt does not exist"),
])  # fmt: skip
def test_mistakes_stop_the_run_before_it_makes_anything(photographs, capsys, kind, change, message):
    options = tiny.train_options(total_iter=3)
    train = options["datasets"]["train"]
    del train["dataroot_lq"]
    train.update(type=kind, dataroot_gt="photos", **change)
    options["datasets"].pop("val")
    options["val"] = None
    assert cli.main(["train", "-opt", tiny.write(options)]) == 2
    assert f"datasets.train{message}" in capsys.readouterr().err
    assert not Path("experiments").exists()


def test_small_images_are_found_before_the_run(photographs, capsys):
    cv2.imwrite("photos/small.png", np.zeros((15, 40, 3), np.uint8))
    options = tiny.train_options(total_iter=3)
    train = options["datasets"]["train"]
    del train["dataroot_lq"]
    train.update(type="DegradedImageDataset", dataroot_gt="photos")
    options["datasets"].pop("val")
    options["val"] = None
    assert cli.main(["train", "-opt", tiny.write(options)]) == 2
    assert (
        "datasets.train.dataroot_gt: holds images smaller than gt_size 16: small.png (40x15)" in capsys.readouterr().err
    )
