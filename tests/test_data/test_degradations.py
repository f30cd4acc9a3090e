"""Resampling against MATLAB's files, and against hand-computed values."""

import cv2
import numpy as np
import pytest

from lightsr_basicsr.data.degradations import imresize_uint8, mod_crop, resize_taps
from tests.golden import OWN


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_equals_the_files_that_matlab_wrote_bit_for_bit(shared, scale):
    files = sorted((shared / "data" / "Set5" / f"HR_x{scale}").glob("*.png"))
    assert len(files) == 5
    for file in files:
        low = cv2.imread(str(shared / "data" / "Set5" / f"LRBI_x{scale}" / file.name))
        ours = imresize_uint8(cv2.imread(str(file)), 1 / scale, border="replicate")
        assert np.array_equal(ours, low), file.name


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("border", ["mirror", "replicate"])
def test_equals_the_recording_made_when_it_equalled_matlab(scale, border):
    with np.load(OWN / "imresize.npz") as recorded:
        assert np.array_equal(imresize_uint8(recorded["high"], 1 / scale, border), recorded[f"{border}_x{scale}"])


def test_x2_weights_are_the_stretched_cubic_of_the_paper():
    taps, weights = resize_taps(8, 0.5)
    used = weights[1] != 0
    # cubic(0.25), cubic(0.75), cubic(1.25), cubic(1.75) for a = -0.5, halved
    expected = np.array([-0.01171875, -0.03515625, 0.11328125, 0.43359375])
    np.testing.assert_allclose(weights[1][used], [*expected, *expected[::-1]])
    assert taps[1][used].tolist() == list(range(-1, 7))


def test_borders_differ_only_near_the_edge():
    image = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    mirror, replicate = (imresize_uint8(image, 0.25, border) for border in ("mirror", "replicate"))
    assert np.array_equal(mirror[2:-2, 2:-2], replicate[2:-2, 2:-2])
    assert not np.array_equal(mirror, replicate)


@pytest.mark.parametrize("scale", [1 / 4, 1 / 3, 1 / 2, 2, 3, 4])
@pytest.mark.parametrize("border", ["mirror", "replicate"])
def test_flat_images_stay_flat(scale, border):
    for value in (0, 77, 255):
        image = np.full((13, 17), value, np.uint8)
        out = imresize_uint8(image, scale, border)
        assert out.shape == (int(np.ceil(13 * scale)), int(np.ceil(17 * scale)))
        assert (out == value).all()


def test_an_image_smaller_than_the_kernel_works():
    assert imresize_uint8(np.full((3, 3, 3), 9, np.uint8), 0.25).tolist() == [[[9, 9, 9]]]


@pytest.mark.parametrize(
    ("image", "scale", "border", "error", "message"),
    [
        (np.zeros((4, 4)), 0.5, "mirror", TypeError, "uint8 image, got float64"),
        (np.zeros((4, 4), np.uint8), 0.5, "wrap", ValueError, "one of .*'mirror', 'replicate'.*got 'wrap'"),
        (np.zeros((4, 4), np.uint8), 0, "mirror", ValueError, "positive, got 0"),
    ],
)
def test_wrong_arguments_are_explained(image, scale, border, error, message):
    with pytest.raises(error, match=message):
        imresize_uint8(image, scale, border)


def test_mod_crop_keeps_the_top_left():
    image = np.arange(7 * 9).reshape(7, 9)
    assert np.array_equal(mod_crop(image, 4), image[:4, :8])
