"""Animated pictures: frames, times and repetitions stay."""

import gc
import weakref

import numpy as np
import pytest
from PIL import Image

from lightsr_basicsr.pictures.animation import Frame, read_animation, write_animation
from lightsr_basicsr.pictures.files import ImageError
from lightsr_basicsr.pictures.picture import Metadata, Picture
from tests.test_pictures.made import SRGB, encode, exif, pixels, put

TIMES = [100, 250, 40, 130, 90]


def frames(clear: bool, **metadata) -> list[Frame]:
    """Return frames of few colors: a moving square, and a growing hole if ``clear``."""
    found = []
    for index, time in enumerate(TIMES):
        color = np.full((20, 30, 3), (200, 30, 30) if index % 2 else (20, 90, 200), np.uint8)
        color[2:8, 2 + 4 * index : 8 + 4 * index] = (250, 250, 10)
        alpha = np.full((20, 30), 255, np.uint8)
        alpha[12:, : 5 + 3 * index] = 0 if clear else 255
        found.append(Frame(Picture(color, alpha, "RGBA", metadata=Metadata(**metadata)), time))
    return found


@pytest.mark.parametrize("loop", [0, 1, 3])
@pytest.mark.parametrize("clear", [False, True])
@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_frames_stay(tmp_path, name, clear, loop):
    before = frames(clear)
    write_animation(tmp_path / name, iter(before), loop)
    found = read_animation(tmp_path / name)
    assert (found.count, found.loop, found.size) == (5, loop, (30, 20))
    after = list(found)
    assert [frame.milliseconds for frame in after] == TIMES
    for old, new in zip(before, after, strict=True):
        assert (new.picture.alpha == old.picture.alpha).all()
        seen = old.picture.alpha > 0
        assert (new.picture.color[seen] == old.picture.color[seen]).all()
    with Image.open(tmp_path / name) as image:
        assert image.n_frames == 5


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("a.gif", ["GIF does not hold: color profile, Exif tags, resolution.", "GIF holds 256 colors per frame."]),
        ("a.webp", ["WebP does not hold: comment."]),
        ("a.png", []),
    ],
)
def test_metadata_stay(tmp_path, name, lost):
    notes = write_animation(tmp_path / name, frames(False, icc=SRGB, exif=exif(1), dpi=(72.0, 72.0), comment=b"hut"))
    assert list(notes) == lost
    with Image.open(tmp_path / name) as image:
        assert image.info.get("icc_profile") == (None if name == "a.gif" else SRGB)
        assert image.getexif().get(0x10F) == (None if name == "a.gif" else "Leitz M")
        assert name != "a.gif" or image.info["comment"] == b"hut"
        assert name == "a.gif" or image.getexif().get_ifd(0x8769)[0xA002] == 30


def test_soft_edges_become_hard_in_a_gif(tmp_path):
    alpha = np.arange(256, dtype=np.uint8).reshape(16, 16)
    soft = Picture(pixels("uint8", 16, 16, 3), alpha, "RGBA")
    other = Picture(255 - soft.color, alpha, "RGBA")
    write_animation(tmp_path / "a.gif", [Frame(soft, 50), Frame(other, 50)])
    for frame in read_animation(tmp_path / "a.gif"):
        assert (frame.picture.alpha == np.where(alpha < 128, 0, 255)).all()


def test_still_pictures_are_no_animations(tmp_path):
    image = Image.fromarray(pixels("uint8", 9, 9, 3))
    for kind in ("PNG", "GIF", "WEBP", "JPEG", "TIFF", "BMP"):
        assert read_animation(put(tmp_path / f"a.{kind.lower()}", encode(image, kind))) is None


def test_a_still_picture_before_an_animation_is_left_out_and_said(tmp_path):
    images = [Image.fromarray(pixels("uint8", 9, 9, 3) // (index + 1)) for index in range(3)]
    content = encode(images[0], "PNG", save_all=True, default_image=True, append_images=images[1:])
    found = read_animation(put(tmp_path / "a.png", content))
    assert found.count == len(list(found)) == 2
    assert found.notes == ("the still picture for programs without animation is left out.",)
    assert (next(iter(found)).picture.color == np.asarray(images[1])).all()


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_damaged_animations_are_named(tmp_path, name):
    write_animation(tmp_path / name, frames(True))
    content = (tmp_path / name).read_bytes()
    refused = 0
    for end in range(20, len(content), max(1, len(content) // 40)):
        try:
            list(read_animation(put(tmp_path / name, content[:end])) or ())
        except ImageError as error:
            refused += 1
            assert str(error).startswith(str(tmp_path / name))  # noqa: PT017
    assert refused
    with pytest.raises(ImageError, match="at most 10 are read"):
        read_animation(put(tmp_path / name, content), max_pixels=10)


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_at_most_three_frames_are_in_memory(tmp_path, name):
    alive = []

    def come():
        for index in range(12):
            color = np.full((20, 30, 3), 20 * index, np.uint8)
            made = [weakref.ref(color)]
            alive.append(made[0])
            yield Frame(Picture(color, np.full((20, 30), 255, np.uint8), "RGBA"), 100)
            del color
            gc.collect()
            assert sum(each() is not None for each in alive) <= 3

    write_animation(tmp_path / name, come())
    assert read_animation(tmp_path / name).count == 12


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_equal_frames_become_one_and_parts_that_stay_are_not_written(tmp_path, name):
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 6, (64, 64, 3), dtype=np.uint8) * 40
    ground[:, :, 1:] = 0  # few colors, for a GIF
    moved = ground.copy()
    moved[30:34, 31:35] = 255
    frames = [Frame(Picture(each), 50) for each in (ground, ground, moved, ground)]
    write_animation(tmp_path / name, frames)
    found = list(read_animation(tmp_path / name))
    assert [frame.milliseconds for frame in found] == [100, 50, 50]
    for frame, color in zip(found, (ground, moved, ground), strict=True):
        np.testing.assert_array_equal(frame.picture.color, color)
    write_animation(tmp_path / f"one_{name}", [frames[0], frames[2]])
    long = (tmp_path / f"one_{name}").stat().st_size
    write_animation(tmp_path / f"more_{name}", [frames[0], *[frames[2], frames[3]] * 10])
    assert (tmp_path / f"more_{name}").stat().st_size < 1.9 * long + 2000


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_random_animations_come_back(tmp_path, name):
    """Frames that change anywhere, with and without holes, are those that were written."""
    for seed in range(30):
        rng = np.random.default_rng(seed)
        color, alpha, before = np.zeros((17, 23, 3), np.uint8), np.full((17, 23), 255, np.uint8), []
        for _ in range(6):
            top, left = rng.integers(0, 16), rng.integers(0, 22)
            area = np.s_[top : top + rng.integers(1, 9), left : left + rng.integers(1, 9)]
            color, alpha = color.copy(), alpha.copy()
            color[area], alpha[area] = rng.integers(0, 256, 3), rng.choice([0, 255])
            if rng.random() < 0.3:
                alpha[:] = 255
            color[alpha == 0] = 0
            before.append(np.dstack([color, alpha]))
        write_animation(tmp_path / name, [Frame(Picture(each[:, :, :3], each[:, :, 3], "RGBA"), 40) for each in before])
        found = read_animation(tmp_path / name)
        after = [np.dstack([each.picture.color, each.picture.alpha]) for each in found or ()]
        kept = [each for place, each in enumerate(before) if not place or (each != before[place - 1]).any()]
        if len(kept) == 1:
            continue
        assert len(after) == len(kept)
        for old, new in zip(kept, after, strict=True):
            np.testing.assert_array_equal(new[:, :, 3], old[:, :, 3])
            np.testing.assert_array_equal(new[old[:, :, 3] > 0], old[old[:, :, 3] > 0])


def test_what_holds_no_animation_says_so(tmp_path):
    with pytest.raises(ImageError, match=r"a\.jpg: JPEG holds no animation: write GIF, WebP or PNG"):
        write_animation(tmp_path / "a.jpg", frames(False))
    with pytest.raises(ImageError, match="needs frames, got none"):
        write_animation(tmp_path / "a.gif", [])
    wide = Frame(Picture(np.zeros((1, 16_384, 3), np.uint8)), 10)
    with pytest.raises(ImageError, match="WebP holds at most"):
        write_animation(tmp_path / "a.webp", [wide, wide])
    assert not list(tmp_path.iterdir())
