"""RGB and back by every matrix and range, against the formulas of the standards."""

import numpy as np
import pytest

from lightsr_basicsr.film.colors import Colors, Converter, colors_of
from tests.test_film.made import av

WEIGHTS = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}


def expected(color: np.ndarray, matrix: int, full: bool, bits: int) -> np.ndarray:
    """Return Y, Cb and Cr of RGB in [0, 1] (ITU-T H.273)."""
    red, green, blue = color
    of_red, of_blue = WEIGHTS[matrix]
    luma = of_red * red + (1 - of_red - of_blue) * green + of_blue * blue
    differences = np.array([(blue - luma) / (2 - 2 * of_blue), (red - luma) / (2 - 2 * of_red)])
    one, most = 2 ** (bits - 8), 2**bits - 1
    if full:
        return np.array([luma * most, *(differences * most + 128 * one)])
    return np.array([(16 + 219 * luma) * one, *((128 + 224 * differences) * one)])


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("values", [1, 2])
@pytest.mark.parametrize("matrix", WEIGHTS)
def test_numbers_are_those_of_the_standard(matrix, values, deep):
    most = 65535 if deep else 255
    for color in np.random.default_rng(0).random((4, 3)):
        pixels = np.broadcast_to(np.rint(color * most), (16, 16, 3)).astype(np.uint16 if deep else np.uint8)
        converter = Converter(Colors(matrix, values, 2, 2, deep))
        frame = converter.to_frame(pixels)
        assert (frame.colorspace, frame.color_range) == (matrix, values)
        stored = [np.frombuffer(bytes(plane), "<u2" if deep else np.uint8)[0] for plane in frame.planes]
        np.testing.assert_allclose(
            stored, expected(color, matrix, values == 2, 10 if deep else 8), atol=4 if deep else 1.5
        )
        np.testing.assert_allclose(converter.to_rgb(frame)[4, 4] / most, pixels[0, 0] / most, atol=0.01)


@pytest.mark.parametrize(
    ("name", "height", "matrix", "found"),
    [
        ("yuv420p", 480, 2, (6, 1)),
        ("yuv420p", 720, 2, (1, 1)),
        ("yuv420p", 480, 1, (1, 1)),
        ("yuvj420p", 480, 2, (6, 2)),
        ("yuv420p", 2160, 9, (9, 1)),
        ("rgb24", 480, 0, (1, 1)),
        ("gray", 480, 2, (6, 1)),
    ],
)
def test_what_a_film_does_not_say_is_decided_by_its_height(name, height, matrix, found):
    frame = av.VideoFrame(64, height, name)
    frame.colorspace = matrix
    assert colors_of(frame)[:2] == found
    assert not colors_of(frame).deep


def test_depth():
    assert colors_of(av.VideoFrame(64, 64, "yuv420p10le")).deep
    assert not colors_of(av.VideoFrame(64, 64, "yuv444p")).deep
