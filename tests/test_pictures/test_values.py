"""Pixels to a network and back: nothing is lost, and transparency has clean edges."""

import cv2
import numpy as np
import pytest

from lightsr_basicsr.pictures.alpha import constant, enlarged_alpha, filled
from lightsr_basicsr.pictures.colors import on_white, to_kind
from lightsr_basicsr.pictures.files import ImageError
from lightsr_basicsr.pictures.picture import KINDS, Picture, largest
from lightsr_basicsr.pictures.values import alpha_from_network, alpha_to_network, from_network, to_network
from tests.test_pictures.made import SHAPES, pixels


def picture(kind: str, shape: str, height: int = 300, width: int = 17) -> Picture:
    channels, clear = SHAPES[shape]
    alpha = pixels(kind, height, width) if clear else None
    return Picture(pixels(kind, height, width, channels), alpha, shape)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_network_leaves_alone_comes_back(kind, shape):
    before = picture(kind, shape)
    given = to_network(before)
    assert (given.shape, given.dtype) == ((1, 3, 300, 17), np.float32)
    assert given.min() >= 0
    assert given.max() <= 1
    assert given.flags["C_CONTIGUOUS"]
    assert (from_network(given, before) == before.color).all()
    assert (from_network(given[0], before) == before.color).all()
    if before.alpha is not None:
        assert (alpha_from_network(alpha_to_network(before), before) == before.alpha).all()


def test_every_value_of_16_bits_comes_back():
    whole = Picture(np.arange(65_536, dtype=np.uint16).reshape(256, 256, 1))
    assert (from_network(to_network(whole), whole) == whole.color).all()


def test_an_area_is_the_same_as_the_part_of_the_whole():
    before = picture("uint16", "RGBA")
    area = (slice(7, 29), slice(3, 10))
    assert (to_network(before, area) == to_network(before)[(..., *area)]).all()
    assert (alpha_to_network(before, area) == alpha_to_network(before)[(..., *area)]).all()


def test_a_smooth_ramp_of_16_bits_has_no_steps_of_8():
    ramp = np.linspace(20_000, 21_000, 1000).astype(np.uint16)
    deep = Picture(ramp[None, :, None].repeat(3, 2))
    wide = cv2.resize(to_network(deep)[0].transpose(1, 2, 0), (4000, 4), interpolation=cv2.INTER_CUBIC)
    found = from_network(wide.transpose(2, 0, 1), deep)
    assert np.abs(np.diff(found[0, :, 0].astype(int))).max() <= 2
    assert len(np.unique(found)) > 990


def test_rounding_and_clipping():
    gray = Picture(np.zeros((1, 3, 1), np.uint8))
    output = np.float32([[[-0.5, 100.6 / 255, 1.5]]] * 3)
    assert from_network(output, gray).ravel().tolist() == [0, 101, 255]
    deep = Picture(np.zeros((1, 3, 3), np.uint16))
    assert from_network(output, deep)[0, :, 0].tolist() == [0, round(100.6 / 255 * 65535), 65535]


def test_gray_gets_the_mean_of_the_channels_and_color_from_gray_three():
    gray = Picture(np.zeros((1, 1, 1), np.uint8))
    assert from_network(np.float32([[[0.1]], [[0.2]], [[0.6]]]), gray).item() == round(0.3 * 255)
    color = Picture(np.zeros((1, 1, 3), np.uint8))
    assert from_network(np.float32([[[1.0]]]), color).ravel().tolist() == [255, 255, 255]


def test_floats_outside_keep_their_range():
    wild = Picture(np.float32([[[-2.0], [0.0], [6.0]]]))
    assert wild.value_range == (-2.0, 6.0)
    given = to_network(wild)
    assert given[0, 0].ravel().tolist() == [0, 0.25, 1]
    assert from_network(given, wild).ravel().tolist() == [-2, 0, 6]
    assert Picture(np.float32([[[0.2]]])).value_range == (0.0, 1.0)


def test_nan_is_reported_and_shapes_are_checked():
    gray = Picture(np.zeros((1, 1, 1), np.uint8))
    with pytest.raises(ImageError, match="the network gives NaN: try precision fp32"):
        from_network(np.float32([[[np.nan]]]), gray)
    with pytest.raises(ValueError, match="must be"):
        from_network(np.zeros((2, 3, 4, 4), np.float32), gray)
    with pytest.raises(ValueError, match="has no alpha"):
        alpha_to_network(gray)


@pytest.mark.parametrize(
    ("color", "alpha"),
    [
        (np.zeros((2, 2), np.uint8), None),
        (np.zeros((2, 2, 2), np.uint8), None),
        (np.zeros((0, 2, 3), np.uint8), None),
        (np.zeros((2, 2, 3), np.int32), None),
        (np.zeros((2, 2, 3), np.uint8), np.zeros((2, 3), np.uint8)),
        (np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.uint16)),
    ],
)
def test_a_picture_of_other_arrays_is_refused(color, alpha):
    with pytest.raises(ValueError, match="must be"):
        Picture(color, alpha)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hidden", [0, 1])
def test_colors_of_hidden_pixels_do_not_bleed(kind, hidden):
    """A red disk whose hidden surroundings are green or white stays red up to its edge when it is enlarged."""
    top = largest(np.dtype(kind))
    rows, columns = np.mgrid[:40, :40]
    disk = np.hypot(rows - 20, columns - 20) < 12
    color = np.where(disk[..., None], np.array([top, 0, 0]), np.array([hidden * top, top, hidden * top])).astype(kind)
    alpha = np.where(disk, top, 0).astype(kind)
    full = filled(Picture(color, alpha, "RGBA"))
    assert (full.color[disk] == color[disk]).all()
    assert (full.color == np.array([top, 0, 0], kind)).all()
    assert (full.alpha == alpha).all()
    large = cv2.resize(full.color.astype(np.float32), (160, 160), interpolation=cv2.INTER_CUBIC)
    seen = on_white(large / np.float32(top), enlarged_alpha(alpha, (160, 160)).astype(np.float32) / np.float32(top))
    assert np.abs(seen[..., 1] - seen[..., 2]).max() < 1e-5  # a mixture of red and white only


def test_filled_takes_the_nearest_color():
    color = np.uint8([[[10], [0], [0], [0], [20]]])
    alpha = np.uint8([[255, 0, 0, 0, 3]])
    found = filled(Picture(color, alpha)).color.ravel().tolist()
    assert found in ([10, 10, 10, 20, 20], [10, 10, 20, 20, 20])


def test_nothing_to_fill_returns_the_picture():
    for alpha in (None, np.zeros((3, 3), np.uint8), np.full((3, 3), 9, np.uint8)):
        before = Picture(pixels("uint8", 3, 3, 3), alpha)
        assert filled(before) is before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(68, 52), (25, 30), (17, 13)])
def test_constant_transparency_stays_exactly(kind, size):
    value = largest(np.dtype(kind)) / 3
    alpha = np.full((13, 17), value, kind)
    assert constant(alpha) == alpha[0, 0]
    noise = pixels(kind, *size[::-1])
    for found in (None, noise):
        assert (enlarged_alpha(alpha, size, found) == alpha[0, 0]).all()
        assert enlarged_alpha(alpha, size, found).shape == size[::-1]


@pytest.mark.parametrize("kind", KINDS)
def test_areas_of_one_transparency_stay_exactly_whatever_a_network_gives(kind):
    top = largest(np.dtype(kind))
    alpha = np.zeros((30, 30), kind)
    alpha[:, 15:] = top
    assert constant(alpha) is None
    for found in (None, pixels(kind, 120, 120)):
        large = enlarged_alpha(alpha, (120, 120), found)
        assert large.dtype == kind
        assert (large[:, :56] == 0).all()
        assert (large[:, 64:] == top).all()
    smooth = enlarged_alpha(alpha, (120, 120))
    assert (np.diff(smooth.astype(float), axis=1) >= 0).all()  # no rings
    with pytest.raises(ValueError, match="found must be"):
        enlarged_alpha(alpha, (120, 120), pixels(kind, 60, 60))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", KINDS)
def test_kinds_there_and_back(kind, other):
    there = to_kind(pixels(kind, 20, 20), other)
    assert there.dtype == other
    back = to_kind(there, kind)
    exact = KINDS.index(other) >= KINDS.index(kind)
    step = 0 if exact else largest(np.dtype(kind)) / largest(np.dtype(other if other != "float32" else "uint8"))
    assert np.abs(back.astype(float) - pixels(kind, 20, 20)).max() <= step
