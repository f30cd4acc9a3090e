"""Kernels of DCLS: parity of kernels, LR images and targets, what workers and models make, refused options."""

import math

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset
from torch.nn import functional as F  # noqa: N812

from lightsr_basicsr.data.kernels import anisotropic_kernel, disturbed, isotropic_kernel, reduced_kernel
from lightsr_basicsr.data.low_resolution import degrade_batch, reduce_blurred, target_kernel
from tests import golden

CASES = ("iso_x4", "aniso_x4", "aniso_x2")


@pytest.mark.parametrize("index", range(3), ids=CASES)
def test_kernels_images_and_targets_equal_the_recorded_ones(index, shared):
    description, arrays = golden.read(shared / "golden", "dcls_kernel_target")
    case, prefix = description["cases"][index], f"{CASES[index]}_"
    given = {key.removeprefix(prefix): torch.from_numpy(value) for key, value in arrays.items() if prefix in key}
    size, scale = case["ksize"], case["scale"]
    if "sigma" in given:
        kernel = isotropic_kernel(given["sigma"].flatten(), size)
    else:
        numbers = (given[name].flatten() for name in ("sigma_x", "sigma_y", "radians"))
        kernel = disturbed(anisotropic_kernel(*numbers, size), given["disturb"])
    assert golden.worst(kernel, given["kernel"]) < 1e-6
    kernel, hr = kernel.float(), given["hr"]
    assert golden.worst(reduce_blurred(hr, kernel, scale), given["blur"]) < 1e-6
    assert golden.worst(reduce_blurred(hr, torch.ones(1, 1, 1), scale), given["lr"]) < 1e-6
    low = degrade_batch(hr, {"kernel": kernel, "scale": torch.tensor([scale])})
    assert golden.worst(low, given["input"]) == 0
    target = target_kernel(hr, kernel, scale)
    assert golden.worst(target, given["k_correct"]) < 1e-4
    assert float((given["k_pred"] - target).abs().mean()) == pytest.approx(case["loss"], rel=1e-4)


def test_the_target_is_the_kernel_of_a_circular_blur():
    """The largest values alone stay: those above 0.75 times the 41st largest, less that."""
    torch.manual_seed(0)
    clean = torch.rand(2, 3, 24, 26).double()
    kernel = anisotropic_kernel(torch.tensor([2.0, 3.0]), torch.tensor([1.0, 1.5]), torch.tensor([0.3, 1.0]), 11)
    padded = F.pad(clean, [5] * 4, mode="circular")
    weights = kernel.flip((1, 2)).repeat_interleave(3, 0).unsqueeze(1)
    blurred = F.conv2d(padded.reshape(1, 6, 34, 36), weights, groups=6).reshape(2, 3, 24, 26)
    least = 0.75 * kernel.flatten(1).sort(descending=True).values[:, 40]
    expected = (kernel - least.view(2, 1, 1)).clamp(0)
    expected = (expected / expected.sum((1, 2), keepdim=True)).unsqueeze(1)
    torch.testing.assert_close(reduced_kernel(clean, blurred, 11), expected, rtol=1e-6, atol=1e-9)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "HR").mkdir()
    for index in range(3):
        rough = np.random.default_rng(index).integers(0, 256, (12, 12, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "HR" / f"{index}.png"), cv2.resize(rough, (72, 66), interpolation=cv2.INTER_CUBIC))
    return tmp_path


def section(folder, phase: str = "train", **more) -> dict:
    crops = {"gt_size": 48, "use_hflip": True, "use_rot": True} if phase == "train" else {}
    return {"type": "KernelBlindDataset", "name": "few", "dataroot_gt": str(folder / "HR"), "scale": 2, "phase": phase,
            "io_backend": {"type": "disk"}, "kernel_size": 11, **crops, **more}  # fmt: skip


ANISOTROPIC = {"blur": "anisotropic", "sigma": [0.6, 5], "theta": [0, 180], "kernel_noise": 0.25}


def draw(made):
    import random

    random.seed(0), np.random.seed(0)
    return made[0]


@pytest.mark.parametrize("more", [{}, ANISOTROPIC], ids=["setting 1", "setting 2"])
def test_worker_and_model_make_the_same_images(folder, more):
    theirs = draw(build_dataset(section(folder, **more)))
    ours = draw(build_dataset(section(folder, degrade_on="worker", **more)))
    assert sorted(theirs) == ["degradation", "gt", "gt_path", "kernel"]
    assert torch.equal(theirs["gt"], ours["gt"])
    kernel = theirs["kernel"]
    assert kernel.shape == (11, 11)
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-5)
    drawn = {key: value[None] for key, value in theirs["degradation"].items()}
    low = degrade_batch(theirs["gt"][None], drawn)[0]
    assert torch.equal(low, ours["lq"])
    assert low.shape == (3, 24, 24)
    torch.testing.assert_close((low * 255).round(), low * 255, atol=1e-4, rtol=0)
    symmetric = torch.allclose(kernel, kernel.flip(0)) and torch.allclose(kernel, kernel.T)
    assert symmetric is (not more)


def test_each_item_has_its_own_kernel(folder):
    made = build_dataset(section(folder, **ANISOTROPIC))
    assert not torch.equal(made[0]["kernel"], made[0]["kernel"])


def test_kernels_of_validation_depend_on_name_and_seed_alone(folder):
    made = build_dataset(section(folder, "val", **ANISOTROPIC))
    first = made[1]
    np.random.rand(5)
    assert torch.equal(first["kernel"], build_dataset(section(folder, "val", **ANISOTROPIC))[1]["kernel"])
    assert not torch.equal(first["kernel"], made[0]["kernel"])
    other = build_dataset(section(folder, "val", kernel_seed=1, **ANISOTROPIC))
    assert not torch.equal(first["kernel"], other[1]["kernel"])
    assert first["lq"].shape == (3, 33, 36)
    assert first["lq"].min() >= 0
    assert first["lq"].max() <= 1


def test_one_number_is_a_fixed_blur(folder):
    made = build_dataset(section(folder, "val", sigma=1.3))
    expected = isotropic_kernel(torch.tensor([1.3], dtype=torch.float64), 11)[0].float()
    assert all(torch.equal(made[index]["kernel"], expected) for index in range(3))


def test_turns_are_drawn_in_degrees(folder):
    made = build_dataset(section(folder, "val", blur="anisotropic", sigma=2.0, theta=90))
    wide = anisotropic_kernel(*(torch.tensor([value]).double() for value in (2.0, 2.0, math.pi / 2)), 11)[0].float()
    torch.testing.assert_close(made[0]["kernel"], wide)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"kernel_size": 12}, "kernel_size must be odd.*got 12: take 21 or 31"),
        ({"kernel_size": 99}, "gt_size must be larger than 49.*got 48: enlarge"),
        ({"kernel_noise": -1}, "kernel_noise must be a number of at least 0, got -1"),
        ({"blur": "motion"}, "blur must be isotropic or anisotropic"),
        ({"sigma": [3, 1]}, "sigma must be"),
        ({"noise_level": 3}, "noise_level is not an option of KernelBlindDataset"),
    ],
    ids=str,
)
def test_wrong_options_are_refused(folder, more, message):
    with pytest.raises(ValueError, match=message):
        build_dataset(section(folder, **more))
