"""Test images, and images as tensors."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from lightsr_basicsr.tools.images import read_image
from lightsr_basicsr.tools.photographs import load_photograph, lr_image, to_tensor


def test_a_large_image_is_cropped_to_its_center(workdir):
    cv2.imwrite("large.png", np.arange(300 * 400 * 3, dtype=np.uint32).astype(np.uint8).reshape(300, 400, 3))
    shown = lr_image(Path("large.png"), 4).image
    assert np.array_equal(shown, read_image(Path("large.png"))[22:278, 72:328])


def test_the_test_image_is_downscaled_for_the_network():
    whole = lr_image(None, 1).image
    assert whole.shape == (120, 160, 3)
    assert lr_image(None, 0.5).image.shape == (120, 160, 3)
    assert lr_image(None, 3).image.shape == (120, 160, 3)
    assert lr_image(None, 8).image.shape == (50, 75, 3)
    assert all(lr_image(None, scale).image.std() > 20 for scale in (1, 2, 3, 4, 8))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tensors_are_rgb_in_the_unit_range(dtype):
    image = load_photograph()[:20, :30].astype(dtype) * (257 if dtype == np.uint16 else 1)
    rgb = image[..., ::-1].astype(np.float32) / np.iinfo(dtype).max
    assert np.array_equal(to_tensor(image)[0].permute(1, 2, 0).numpy(), rgb)
    assert torch.equal(to_tensor(image, 4), to_tensor(image)[:, [0, 1, 2, 0]])
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float64) / np.iinfo(dtype).max
    assert np.array_equal(to_tensor(image, 1, torch.float64)[0, 0].numpy(), gray)
