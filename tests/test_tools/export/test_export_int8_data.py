"""Photographs for quantization: crops, what is held out, and what is wrong with a folder."""

import cv2
import numpy as np
import pytest
import torch

from lightsr_basicsr.data.degradations import imresize
from lightsr_basicsr.data.photographs import PHOTOGRAPHS, photographs
from lightsr_basicsr.pictures.files import ImageError
from lightsr_basicsr.runtimes.base import BackendError, Traits
from lightsr_basicsr.tools.export import int8_data as quantize_data
from lightsr_basicsr.tools.export.int8_data import gather, lr_side


@pytest.fixture
def folder(tmp_path):
    """Eight photographs of 120x100 pixels, every one of another brightness."""
    ((_, coffee),) = photographs(["coffee.png"])
    for index in range(8):
        image = (coffee[40 * index : 40 * index + 100, 100:220] * (0.3 + 0.1 * index)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f"{index}.png"), image)
    return tmp_path


def collect(folder, images=8, held_out=None, held_out_at_most=20, **traits):
    made_for = Traits(**{"scale": 2, **traits})
    return gather(folder, held_out, made_for, images=images, held_out_at_most=held_out_at_most, progress=False)


def read(path):
    return cv2.imread(str(path))


def test_crops_are_lr_of_the_photographs_that_are_not_held_out(folder):
    data = collect(folder)
    lr = [imresize(read(folder / f"{index}.png"), 0.5) for index in (0, 1, 2, 4, 5, 6)]
    assert len(data.crops) == 8
    for crop in data.crops:
        assert crop.shape == (1, 3, 48, 48)
        assert crop.dtype == torch.float32
        pixels = (crop[0].flip(0).permute(1, 2, 0) * 255).round().byte().numpy()
        places = [(top, left) for top in range(50 - 47) for left in range(60 - 47)]
        assert any(
            np.array_equal(pixels, image[top : top + 48, left : left + 48]) for image in lr for top, left in places
        )


def test_every_fourth_photograph_is_held_out(folder):
    data = collect(folder)
    assert [np.array_equal(pair.hr, read(folder / name)) for pair, name in
            zip(data.held_out, ("3.png", "7.png"), strict=True)] == [True, True]  # fmt: skip
    assert data.held_out[0].lr.shape == (1, 3, 50, 60)
    assert folder.name in data.held_out_from


def test_crops_are_the_same_every_time(folder):
    assert all(torch.equal(one, two) for one, two in zip(collect(folder).crops, collect(folder).crops, strict=True))


def test_a_folder_to_measure_on_leaves_all_photographs_for_ranges(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    cv2.imwrite(str(other / "white.png"), np.full((120, 130, 3), 255, np.uint8))
    data = collect(folder, held_out=other)
    assert (len(data.held_out), data.held_out_from) == (1, other.name)
    assert data.held_out[0].hr.min() == 255
    brightest = max(crop.mean() for crop in data.crops)
    assert brightest > max(crop.mean() for crop in collect(folder).crops)  # 7.png is among them now


def test_without_a_folder_the_demo_photographs_are_taken(monkeypatch):
    seen = []

    def noted(names):
        seen.extend(names)
        yield from photographs(names)

    monkeypatch.setattr(quantize_data, "photographs", noted)
    data = collect(None, images=10, scale=4)
    read, chosen_on = seen[: len(PHOTOGRAPHS["train"])], seen[len(PHOTOGRAPHS["train"]) : -len(PHOTOGRAPHS["val"])]
    assert read == [*PHOTOGRAPHS["train"]]
    assert set(chosen_on) <= set(read)
    assert seen[-len(PHOTOGRAPHS["val"]) :] == [*PHOTOGRAPHS["val"]]
    assert len(data.crops) == 10
    assert len(data.chosen_on) == len(chosen_on) <= 8
    assert [max(pair.lr.shape) for pair in data.held_out] == [112, 128]  # the sides of large ones are cut


def test_a_gray_network_gets_gray_crops(folder):
    data = collect(folder, num_in_ch=1)
    assert data.crops[0].shape == (1, 1, 48, 48)
    assert data.held_out[0].lr.shape == (1, 1, 50, 60)


@pytest.mark.parametrize(("scale", "min_side", "side"), [(2, 1, 48), (4, 15, 48), (8, 15, 32), (4, 60, 60)])
def test_side_of_a_crop(scale, min_side, side):
    assert lr_side(scale, min_side) == side


def test_too_few_photographs(folder):
    for index in range(5):
        (folder / f"{index}.png").unlink()
    with pytest.raises(BackendError, match=r"holds 3 images, expected at least 4"):
        collect(folder)


def test_a_missing_folder(tmp_path):
    with pytest.raises(ImageError, match="does not exist"):
        collect(tmp_path / "nowhere")


def test_a_small_photograph_is_named(folder):
    cv2.imwrite(str(folder / "2.png"), np.zeros((90, 200, 3), np.uint8))
    with pytest.raises(BackendError, match=r"2\.png is 200x90 pixels, expected at least 96x96"):
        collect(folder)


@pytest.mark.parametrize("name", ["2.png", "3.png"])
def test_a_broken_photograph_is_named(folder, name):
    (folder / name).write_bytes(b"no image")
    with pytest.raises(BackendError, match=rf"{name}.*take it out of the folder"):
        collect(folder)


def test_too_few_crops(folder):
    with pytest.raises(BackendError, match="at least 8 crops to set ranges, got 3"):
        collect(folder, images=3)


@pytest.mark.parametrize("wrong", [{"scale": 1.5}, {"scale": 0.5}, {"num_in_ch": 4}])
def test_networks_that_crops_cannot_be_made_for(folder, wrong):
    with pytest.raises(BackendError, match="whole scales and 1 or 3 channels"):
        collect(folder, **wrong)
