"""Resampling against MATLAB's files, and against hand-computed values."""

import math

import cv2
import numpy as np
import pytest
import torch
from basicsr.utils.img_process_util import filter2D
from basicsr.utils.matlab_functions import imresize as basicsr_imresize

from lightsr_basicsr.data.degradations import (
    add_noise,
    anisotropic_kernel,
    blur_downsample,
    blur_subsample,
    classic_degradation,
    imresize,
    isotropic_kernel,
    mod_crop,
    quantize,
    resize_taps,
)
from tests.golden import OWN, read


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_equals_the_files_that_matlab_wrote_bit_for_bit(shared, scale):
    files = sorted((shared / "data" / "Set5" / f"HR_x{scale}").glob("*.png"))
    assert len(files) == 5
    for file in files:
        low = cv2.imread(str(shared / "data" / "Set5" / f"LRBI_x{scale}" / file.name))
        ours = imresize(cv2.imread(str(file)), 1 / scale, border="replicate")
        assert np.array_equal(ours, low), file.name


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("border", ["mirror", "replicate"])
def test_equals_the_recording_made_when_it_equalled_matlab(scale, border):
    with np.load(OWN / "imresize.npz") as recorded:
        assert np.array_equal(imresize(recorded["high"], 1 / scale, border), recorded[f"{border}_x{scale}"])


def test_x2_weights_are_the_stretched_cubic_of_the_paper():
    taps, weights = resize_taps(8, 0.5)
    used = weights[1] != 0
    # cubic(0.25), cubic(0.75), cubic(1.25), cubic(1.75) for a = -0.5, halved
    expected = np.array([-0.01171875, -0.03515625, 0.11328125, 0.43359375])
    np.testing.assert_allclose(weights[1][used], [*expected, *expected[::-1]])
    assert taps[1][used].tolist() == [0, 0, 1, 2, 3, 4, 5, 6]  # the first is the mirror image of index 0


def test_borders_differ_only_near_the_edge():
    image = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    mirror, replicate = (imresize(image, 0.25, border) for border in ("mirror", "replicate"))
    assert np.array_equal(mirror[2:-2, 2:-2], replicate[2:-2, 2:-2])
    assert not np.array_equal(mirror, replicate)


@pytest.mark.parametrize("scale", [1 / 4, 1 / 3, 1 / 2, 2, 3, 4])
@pytest.mark.parametrize("border", ["mirror", "replicate"])
def test_flat_images_stay_flat(scale, border):
    for value in (0, 77, 255):
        image = np.full((13, 17), value, np.uint8)
        out = imresize(image, scale, border)
        assert out.shape == (int(np.ceil(13 * scale)), int(np.ceil(17 * scale)))
        assert (out == value).all()


def test_an_image_smaller_than_the_kernel_works():
    assert imresize(np.full((3, 3, 3), 9, np.uint8), 0.25).tolist() == [[[9, 9, 9]]]


@pytest.mark.parametrize(
    ("image", "scale", "border", "error", "message"),
    [
        (np.zeros((4, 4)), 0.5, "mirror", TypeError, "uint8 or uint16, got float64"),
        (np.zeros((4, 4), np.uint8), 0.5, "wrap", ValueError, "one of .*'mirror', 'replicate'.*got 'wrap'"),
        (np.zeros((4, 4), np.uint8), 0, "mirror", ValueError, "positive, got 0"),
    ],
)
def test_wrong_arguments_are_explained(image, scale, border, error, message):
    with pytest.raises(error, match=message):
        imresize(image, scale, border)


def test_mod_crop_keeps_the_top_left():
    image = np.arange(7 * 9).reshape(7, 9)
    assert np.array_equal(mod_crop(image, 4), image[:4, :8])


def one_tap_after_the_other(image: np.ndarray, scale: float, border: str) -> np.ndarray:
    """Resize in float64 as the definition reads, slowly."""
    for _ in range(2):
        indices, weights = resize_taps(len(image), scale, border)
        total = np.zeros((len(indices), *image.shape[1:]))
        for tap in range(indices.shape[1]):
            total += image[indices[:, tap]] * weights[:, tap].reshape(-1, *[1] * (image.ndim - 1))
        image = np.clip(np.floor(total + 0.5), 0, np.iinfo(image.dtype).max).astype(image.dtype).swapaxes(0, 1)
    return image


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("scale", [1 / 2, 1 / 3, 1 / 4, 1 / 8, 2, 3])
@pytest.mark.parametrize("border", ["mirror", "replicate"])
def test_blocks_and_single_precision_change_no_pixel(kind, scale, border):
    rng, top = np.random.default_rng(0), np.iinfo(kind).max
    black_and_white = rng.integers(0, 2, (50, 41, 3)) * top  # many sums half way, and beyond both ends
    for image in (rng.integers(0, top + 1, (73, 58, 3)), black_and_white, rng.integers(top - 3, top + 1, (40, 40))):
        image = image.astype(kind)
        assert np.array_equal(imresize(image, scale, border), one_tap_after_the_other(image, scale, border))


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_bd_takes_the_centre_pixel_of_each_cell(scale):
    """A single bright pixel shows in full where it is the one that is taken, and only there."""
    peak = {}
    for row in range(scale):
        image = np.zeros((scale * 8, scale * 8), np.uint8)
        image[scale * 4 + row, scale * 4 + row] = 255
        peak[row] = int(blur_subsample(image, scale)[4, 4])
    assert max(peak, key=peak.get) == scale // 2
    # h(0, 0) of the kernel: the middle number of the specification's vector, squared
    assert peak[scale // 2] == round(255 * 0.25603834**2)


def test_bd_equals_the_kernel_written_out():
    vector = np.array([0.04414655, 0.11722289, 0.21061139, 0.25603834, 0.21061139, 0.11722289, 0.04414655])
    image = np.random.default_rng(0).integers(0, 256, (20, 31, 3), np.uint8)
    padded = np.pad(image.astype(float), ((3, 3), (3, 3), (0, 0)), mode="edge")
    blurred = sum(vector[i] * vector[j] * padded[i : i + 20, j : j + 31] for i in range(7) for j in range(7))
    # 20 = 3 * 6 + 2 and 31 = 3 * 10 + 1, where the last column is the last pixel
    rows, columns = [*range(1, 20, 3)], [*range(1, 31, 3), 30]
    assert np.array_equal(blur_subsample(image, 3), np.floor(blurred[np.ix_(rows, columns)] + 0.5).astype(np.uint8))


def test_bd_of_16_bit_is_that_of_8_bit_in_finer_steps():
    image = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    deep = blur_subsample(image.astype(np.uint16) * 257, 3)
    assert deep.dtype == np.uint16
    assert np.abs(deep / 257 - blur_subsample(image, 3)).max() <= 0.5


def test_noise_is_added_in_grey_levels_and_rounded_half_up():
    image = np.array([[100, 100, 100, 0, 255]], np.uint8)
    noise = np.array([[1.0, -1 / 60, 1 / 60, -1, 1]])
    assert add_noise(image, noise, level=30).tolist() == [[130, 100, 101, 0, 255]]
    assert add_noise(image.astype(np.uint16) * 257, noise, level=30)[0, 0] == 130 * 257


def test_noise_of_the_wrong_shape_is_explained():
    with pytest.raises(ValueError, match=r"shape of the image, \(2, 2\), got \(2, 2, 3\)"):
        add_noise(np.zeros((2, 2), np.uint8), np.zeros((2, 2, 3)))


def kernel_of(case: dict) -> torch.Tensor:
    """Return the kernel that a case of the recording names, its random numbers included."""
    draws = case.get("uniform_draws", [])

    def drawn(low, high, position):
        return low + draws[position] * (high - low)

    if case["blur_type"] == "iso_gaussian":
        sigma = drawn(case["sig_min"], case["sig_max"], 0) if draws else case["sig"]
        return isotropic_kernel(torch.tensor([sigma]).double())
    if draws:
        low, high = case["lambda_min"], case["lambda_max"]
        values = drawn(low, high, 1), drawn(low, high, 2), drawn(0, math.pi, 0)
    else:
        values = case["lambda_1"], case["lambda_2"], math.radians(case["theta"])
    return anisotropic_kernel(*(torch.tensor([value]).double() for value in values))


def test_classic_degradation_equals_the_official_one(shared):
    description, arrays = read(shared / "golden", "kdsr_degradation")
    for case in description["cases"]:
        name, hr = case["name"], torch.from_numpy(arrays[case.get("hr", "hr")])
        kernel, level, noise = kernel_of(case), case.get("noise", 0), arrays.get(f"{case['name']}_randn")
        if noise is not None:
            noise = torch.from_numpy(noise)
            level *= case.get("uniform_draws", [1])[-1]
        if f"{name}_kernel" in arrays:
            np.testing.assert_allclose(kernel[0].numpy(), arrays[f"{name}_kernel"], atol=1e-6, err_msg=name)
        raw = blur_downsample(hr, kernel, case["scale"], case.get("mode", "bicubic"))
        raw = raw if noise is None else raw + level / 255 * noise
        expected = arrays[f"{name}_lr_raw"]
        np.testing.assert_allclose(raw.numpy(), expected, atol=1e-5, err_msg=name)
        if "mode" not in case:
            low = classic_degradation(hr, kernel, case["scale"], noise, level).numpy()
            apart = np.abs(low - arrays[f"{name}_lr"]) * 255
            near_half = np.abs(expected * 255 % 1 - 0.5) < 2e-3
            assert apart[~near_half].max() < 1e-3, name
            assert apart.max() < 1.001, name


def random_kernels(count: int) -> torch.Tensor:
    draws = torch.rand(3, count, generator=torch.Generator().manual_seed(count)).double()
    sigma_1, sigma_2 = draws[:2] * 3.8 + 0.2
    return anisotropic_kernel(sigma_1, sigma_2, draws[2] * math.pi)


@pytest.mark.parametrize("kernels", [isotropic_kernel(torch.tensor([2.6])), random_kernels(1), random_kernels(3)])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_classic_degradation_equals_basicsr_away_from_the_border(kernels, scale):
    image = torch.rand(3, 3, 48, 60)
    ours = blur_downsample(image, kernels, scale)
    blurred = filter2D(image, kernels.float().expand(3, -1, -1))
    for low, each in zip(ours, blurred, strict=True):
        theirs = basicsr_imresize(each, 1 / scale)
        # BasicSR mirrors what lies beyond the border, KDSR repeats it.
        torch.testing.assert_close(low[:, 2:-2, 2:-2], theirs[:, 2:-2, 2:-2], atol=2e-6, rtol=0)


def test_each_image_of_a_batch_may_have_its_own_kernel():
    image, kernels = torch.rand(3, 3, 40, 40), random_kernels(3)
    alone = [blur_downsample(image[i : i + 1], kernels[i : i + 1], 4) for i in range(3)]
    torch.testing.assert_close(blur_downsample(image, kernels, 4), torch.cat(alone), atol=2e-6, rtol=0)
    round_ones = isotropic_kernel(torch.tensor([0.0, 1.0, 3.0]))
    alone = [blur_downsample(image[i : i + 1], round_ones[i : i + 1], 4) for i in range(3)]
    torch.testing.assert_close(blur_downsample(image, round_ones, 4), torch.cat(alone), atol=2e-6, rtol=0)


def test_noise_levels_may_differ_in_a_batch():
    image, noise = torch.full((2, 3, 44, 44), 0.6), torch.randn(2, 3, 11, 11)
    low = classic_degradation(image, isotropic_kernel(torch.tensor([1.0])), 4, noise, torch.tensor([0.0, 20.0]))
    assert low[0].unique().numel() == 1
    torch.testing.assert_close(low[1], quantize(0.6 + 20 / 255 * noise[1]))


@pytest.mark.parametrize(
    ("side", "kernels", "mode", "message"),
    [
        (42, 1, "bicubic", "multiples of the scale 4, got 42x42"),
        (8, 1, "bicubic", "sides of more than 10, got 8x8"),
        (48, 3, "bicubic", "one for each of 2 images, got 3"),
        (48, 1, "cubic", "'bicubic' or 's-fold', got 'cubic'"),
    ],
)
def test_what_cannot_be_degraded_is_explained(side, kernels, mode, message):
    with pytest.raises(ValueError, match=message):
        blur_downsample(torch.rand(2, 3, side, side), random_kernels(kernels), 4, mode)


@pytest.mark.parametrize("shape", [(1, 20, 20), (1, 21, 11), (21, 21)])
def test_kernels_that_have_no_centre_are_explained(shape):
    with pytest.raises(ValueError, match=r"must be \(N, k, k\) with an odd k, got \(" + ", ".join(map(str, shape))):
        blur_downsample(torch.rand(1, 3, 48, 48), torch.ones(shape), 4)


def test_whole_numbers_are_not_blurred():
    with pytest.raises(TypeError, match=r"`image` must be floating point, got torch.uint8: convert it first"):
        blur_downsample(torch.zeros(1, 3, 48, 48, dtype=torch.uint8), random_kernels(1), 4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kernels", [isotropic_kernel(torch.tensor([2.6])), random_kernels(2)])
def test_gpu_gives_what_the_cpu_gives(kernels):
    image = torch.rand(2, 3, 64, 64)
    ours = blur_downsample(image.cuda(), kernels.cuda(), 4).cpu()
    torch.testing.assert_close(ours, blur_downsample(image, kernels, 4), atol=2e-5, rtol=0)
