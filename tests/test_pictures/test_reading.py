"""What files hold, and what is said about those that hold no picture."""

import io
import os
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from lightsr_basicsr.pictures.files import ImageError
from lightsr_basicsr.pictures.reading import read_picture
from tests.test_pictures.made import SRGB, encode, exif, pixels, put

tifffile = pytest.importorskip("tifffile")


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def with_chunk(png: bytes, name: bytes, data: bytes) -> bytes:
    return png[:33] + chunk(name, data) + png[33:]


def claiming(width: int, height: int) -> bytes:
    """Return a PNG without pixels that claims to have so many."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")[:-1]


def tiff(image: np.ndarray, **settings) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, image, **settings)
    return stream.getvalue()


def cv_png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


GRAY, RGB = pixels("uint8", 13, 17), pixels("uint8", 13, 17, 3)
DEEP_GRAY, DEEP, FLOATS = pixels("uint16", 13, 17), pixels("uint16", 13, 17, 3), pixels("float32", 13, 17, 3)
BITS = Image.fromarray(GRAY > 127)
BLACK_OR_WHITE = (np.asarray(BITS) * np.uint8(255))[..., None]
PALETTE = Image.fromarray(RGB).quantize(16)
ROWS = {
    "1-bit.png": (encode(BITS, "PNG"), "1-bit", BLACK_OR_WHITE, None),
    "1-bit.tif": (encode(BITS, "TIFF", compression="group4"), "1-bit", BLACK_OR_WHITE, None),
    "gray.png": (encode(GRAY, "PNG"), "gray", GRAY[..., None], None),
    "gray.bmp": (encode(GRAY, "BMP"), "gray", GRAY[..., None], None),
    "gray16.png": (cv_png(DEEP_GRAY), "gray", DEEP_GRAY[..., None], None),
    "gray16.tif": (tiff(DEEP_GRAY), "gray", DEEP_GRAY[..., None], None),
    "white0.tif": (tiff(DEEP_GRAY, photometric="miniswhite"), "gray", 65535 - DEEP_GRAY[..., None], None),
    "white0_8.tif": (tiff(GRAY, photometric="miniswhite"), "gray", 255 - GRAY[..., None], None),
    "transparent_gray.png": (
        with_chunk(cv_png(GRAY), b"tRNS", struct.pack(">H", GRAY[0, 0])),
        "gray+alpha", GRAY[..., None], np.where(GRAY[0, 0] == GRAY, 0, 255)),
    "transparent_gray16.png": (
        with_chunk(cv_png(DEEP_GRAY), b"tRNS", struct.pack(">H", DEEP_GRAY[2, 1])),
        "gray+alpha", DEEP_GRAY[..., None], np.where(DEEP_GRAY[2, 1] == DEEP_GRAY, 0, 65535)),
    "transparent_rgb.png": (
        with_chunk(cv_png(RGB[..., ::-1]), b"tRNS", struct.pack(">3H", *RGB[1, 2])),
        "RGBA", RGB, np.where((RGB[1, 2] == RGB).all(2), 0, 255)),
    "transparent_rgb16.png": (
        with_chunk(cv_png(DEEP[..., ::-1]), b"tRNS", struct.pack(">3H", *DEEP[1, 2])),
        "RGBA", DEEP, np.where((DEEP[1, 2] == DEEP).all(2), 0, 65535)),
    "palette.png": (encode(PALETTE, "PNG"), "palette", np.asarray(PALETTE.convert("RGB")), None),
    "palette.gif": (encode(PALETTE, "GIF"), "palette", np.asarray(PALETTE.convert("RGB")), None),
    "palette.bmp": (encode(PALETTE, "BMP"), "palette", np.asarray(PALETTE.convert("RGB")), None),
    "palette_transparency.png": (
        encode(PALETTE, "PNG", transparency=bytes([0, 100, 255])), "palette+transparency",
        np.asarray(PALETTE.convert("RGB")),
        np.select([np.asarray(PALETTE) == 0, np.asarray(PALETTE) == 1], [0, 100], 255)),
    "rgb.tif": (tiff(RGB, photometric="rgb", compression="zlib", predictor=True), "RGB", RGB, None),
    "rgb16.png": (cv_png(DEEP[..., ::-1]), "RGB", DEEP, None),
    "rgb16.tif": (tiff(DEEP, photometric="rgb", byteorder=">"), "RGB", DEEP, None),
    "big.tif": (tiff(DEEP, photometric="rgb", bigtiff=True, compression="zlib"), "RGB", DEEP, None),
    "tiled.tif": (tiff(DEEP.repeat(3, 0), photometric="rgb", tile=(16, 16)), "RGB", DEEP.repeat(3, 0), None),
    "float.tif": (tiff(FLOATS, photometric="rgb"), "RGB", FLOATS, None),
    "float_gray.tif": (tiff(FLOATS[..., 0] * 9 - 4), "gray", FLOATS[..., :1] * 9 - 4, None),
    "double.tif": (tiff(FLOATS.astype(np.float64), photometric="rgb"), "RGB", FLOATS, None),
    "planes.tif": (
        tiff(np.moveaxis(RGB, 2, 0).copy(), photometric="rgb", planarconfig="separate"), "RGB", RGB, None),
    "renamed.jpg": (encode(RGB, "PNG"), "RGB", RGB, None),
    "lossless.webp": (encode(RGB, "WEBP", lossless=True), "RGB", RGB, None),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_every_kind_is_read_as_it_is(tmp_path, name):
    content, mode, color, alpha = ROWS[name]
    found = read_picture(put(tmp_path / name, content))
    assert found.mode == mode
    assert found.notes == ()
    assert found.color.dtype == color.dtype
    assert (found.color == color).all()
    assert (found.alpha is None) == (alpha is None)
    assert alpha is None or (found.alpha == alpha).all()
    assert found.lossless
    assert found.color.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_premultiplied_colors_are_divided(tmp_path, kind):
    top = np.iinfo(kind).max
    image = np.array([[[top // 4, top // 2, 0, top // 2], [0, 0, 0, 0], [9, 9, 9, top]]], kind)
    content = tiff(image, photometric="rgb", extrasamples=["assocalpha"], planarconfig="contig")
    found = read_picture(put(tmp_path / "a.tif", content))
    assert (found.alpha == image[..., 3]).all()
    assert np.abs(found.color[0, 0].astype(int) - [top // 2, top, 0]).max() <= 1
    assert found.color[0, 2].tolist() == [9, 9, 9]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "rgb.tif", "deep.tif", "deep.png"])
def test_a_cameras_orientation_is_applied(tmp_path, name, orientation):
    small = RGB.copy()
    wanted = np.asarray(_turned(Image.fromarray(small), orientation))
    block = b"Exif\0\0" + exif(orientation)
    if name.endswith("tif"):
        image = small if name == "rgb.tif" else small.astype(np.uint16) * 257
        content = tiff(image, photometric="rgb", extratags=[(0x112, 3, 1, orientation, True)], resolution=(200, 100))
    elif name == "deep.png":
        content = with_chunk(cv_png(small[..., ::-1].astype(np.uint16) * 257), b"eXIf", exif(orientation))
    else:
        settings = {"quality": 100, "subsampling": 0, "dpi": (200, 100)} if name == "a.jpg" else {}
        settings |= {"lossless": True} if name == "a.webp" else {}
        content = encode(small, {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}[name[2:]], exif=block, **settings)
    found = read_picture(put(tmp_path / name, content))
    seen = found.color if found.kind == "uint8" else found.color // 257
    assert seen.shape == wanted.shape
    assert np.abs(seen.astype(int) - wanted).max() <= (4 if name == "a.jpg" else 0)
    if name in ("a.jpg", "rgb.tif"):
        assert found.metadata.dpi == ((100, 200) if orientation > 4 else (200, 100))


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    ways = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270",
            7: "TRANSVERSE", 8: "ROTATE_90"}  # fmt: skip
    return image.transpose(Image.Transpose[ways[orientation]]) if orientation in ways else image


@pytest.mark.parametrize(("kind", "name"), [("JPEG", "a.jpg"), ("TIFF", "a.tif")])
def test_cmyk_becomes_rgb_and_says_how(tmp_path, kind, name):
    image = Image.fromarray(RGB).convert("CMYK")
    settings = {"quality": 100} if kind == "JPEG" else {}
    found = read_picture(put(tmp_path / name, encode(image, kind, **settings)))
    assert (found.mode, found.color.shape) == ("CMYK", (13, 17, 3))
    assert found.notes == ("CMYK without a color profile became RGB: the colors are approximate.",)
    assert found.metadata.icc is None
    lying = read_picture(put(tmp_path / name, encode(image, kind, icc_profile=SRGB, **settings)))
    assert lying.metadata.icc is None


def test_cmyk_with_a_profile_is_converted_through_it(tmp_path, monkeypatch):
    """A real CMYK profile is 500 KB, so the conversion itself stands in for one."""
    from lightsr_basicsr.pictures import colors

    profile = SRGB[:16] + b"CMYK" + SRGB[20:]
    monkeypatch.setattr(ImageCms, "profileToProfile", lambda image, *_, **__: Image.new("RGB", image.size, (1, 2, 3)))
    image = Image.fromarray(RGB).convert("CMYK")
    found = read_picture(put(tmp_path / "a.jpg", encode(image, "JPEG", icc_profile=profile)))
    assert (found.color == [1, 2, 3]).all()
    assert found.notes == ("CMYK became sRGB by its color profile.",)
    assert colors.profile_space(found.metadata.icc) == "RGB"


def test_several_pictures_in_a_file_are_said(tmp_path):
    for name, content in (
        ("a.tif", tiff(np.stack([RGB] * 3), photometric="rgb")),
        ("deep.tif", tiff(np.stack([DEEP] * 3), photometric="rgb")),
        ("a.gif", encode(PALETTE, "GIF", save_all=True, append_images=[PALETTE.rotate(180)])),
    ):
        found = read_picture(put(tmp_path / name, content))
        assert found.notes[0].endswith("in the file; the others are left out.")
        assert found.size == (17, 13)


def test_damaged_tags_do_not_refuse_a_picture(tmp_path):
    for block in (b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0" + exif()[:60], os.urandom(40)):
        found = read_picture(put(tmp_path / "a.png", with_chunk(encode(RGB, "PNG"), b"eXIf", block)))
        assert (found.color == RGB).all()


JPEG, PNG, DEEP_PNG = encode(RGB.repeat(9, 0), "JPEG"), encode(RGB.repeat(9, 0), "PNG"), cv_png(DEEP.repeat(9, 0))
WEBP, TIFF = encode(RGB.repeat(9, 0), "WEBP"), tiff(RGB.repeat(9, 0), photometric="rgb", rowsperstrip=16)
DEEP_TIFF = tiff(DEEP.repeat(9, 0), photometric="rgb", rowsperstrip=16)
BROKEN = {
    "empty.png": (b"", "empty file"),
    "text.png": (b"hello\nworld\n", "got text: rename it"),
    "page.jpg": (b"<!DOCTYPE html><html>", "got a web page or other text: was it really downloaded?"),
    "noise.png": (bytes(range(128, 250)), "got another or a damaged file"),
    "paint.png": (encode(RGB, "PCX"), "got PCX: save it as one of these"),
    "cut.jpg": (JPEG[: len(JPEG) // 2], "truncated"),
    "cut.png": (PNG[: len(PNG) // 2], "truncated"),
    "cut_at_the_end.png": (PNG[:-40], ""),
    "cut16.png": (DEEP_PNG[: len(DEEP_PNG) // 2], ""),
    "cut16_at_the_end.png": (DEEP_PNG[:-20], ""),
    "cut.webp": (WEBP[: len(WEBP) // 2], ""),
    "cut.tif": (TIFF[: len(TIFF) // 2], "cut short"),
    "cut16.tif": (DEEP_TIFF[: len(DEEP_TIFF) // 2], "cut short"),
    "head.tif": (TIFF[:6], "the tags end early"),
    "sum.png": (PNG[:60] + bytes([PNG[60] ^ 1]) + PNG[61:], ""),
    "huge.png": (claiming(40_000, 40_000), "claims 40000x40000 pixels, and at most 500,000,000"),
    "bomb.png": (claiming(20_000, 20_000), "which a PNG of 64 bytes cannot hold"),
    "huge.tif": (
        b"II*\0" + struct.pack("<IH", 8, 2) + struct.pack("<HHII", 256, 4, 1, 10**5)
        + struct.pack("<HHII", 257, 4, 1, 10**5) + bytes(4), "set the environment variable OPENCV_IO_MAX_IMAGE_PIXELS"),
    "planes16.tif": (
        tiff(np.moveaxis(DEEP, 2, 0).copy(), photometric="rgb", planarconfig="separate"), "save it interleaved"),
    "pair16.tif": (
        tiff(DEEP[..., :2].copy(), photometric="minisblack", extrasamples=["unassalpha"], planarconfig="contig"),
        "save it as one of these"),
    "whole32.tif": (tiff(DEEP.astype(np.uint32), photometric="rgb"), "3 x 32 bits of whole numbers"),
    "half.tif": (tiff(FLOATS.astype(np.float16), photometric="rgb"), "16 bits of float numbers"),
    "nan.tif": (tiff(np.float32([[np.nan, 1]])), "holds NaN or infinite numbers"),
    "lab.tif": (encode(Image.new("LAB", (4, 4)), "TIFF"), "holds LAB pixels"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_is_no_picture_is_named_with_the_reason(tmp_path, name):
    content, message = BROKEN[name]
    with pytest.raises(ImageError) as raised:
        read_picture(put(tmp_path / name, content))
    text = str(raised.value)
    assert text.startswith(f"{tmp_path / name}: ")
    assert message in text
    assert "\n" not in text
    assert text.endswith((".", "?"))


def test_missing_and_unreadable_files_and_folders(tmp_path):
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(ImageError, match="cannot be read: "):
            read_picture(path)


def test_the_limit_can_be_raised_and_lowered(tmp_path):
    path = put(tmp_path / "a.png", encode(np.zeros((100, 100), np.uint8), "PNG"))
    with pytest.raises(ImageError, match=r"claims 100x100 pixels, and at most 9,999 are read: .* max_pixels=10000"):
        read_picture(path, max_pixels=9_999)
    assert read_picture(path, max_pixels=10_000).size == (100, 100)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (20_000, 10), (10, 20_000)])
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp"])
def test_odd_sizes(tmp_path, width, height, name):
    kind = {"png": "PNG", "jpg": "JPEG", "tif": "TIFF", "bmp": "BMP"}[name[2:]]
    found = read_picture(put(tmp_path / name, encode(np.zeros((height, width, 3), np.uint8), kind)))
    assert found.size == (width, height)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif", "deep.tif", "deep.png", "a.gif", "a.bmp"])
def test_damaged_bytes_never_end_in_another_error(tmp_path, name):
    contents = {"a.png": PNG, "a.jpg": JPEG, "a.webp": WEBP, "a.tif": TIFF, "deep.tif": DEEP_TIFF,
                "deep.png": DEEP_PNG, "a.gif": encode(PALETTE, "GIF"), "a.bmp": encode(RGB, "BMP")}  # fmt: skip
    rng, content = np.random.default_rng(0), contents[name]
    for _ in range(int(os.environ.get("PICTURE_FAULTS", "60"))):
        damaged = bytearray(content)
        head = rng.random() < 0.7
        for place in rng.integers(0, 200 if head else len(damaged), 1 + int(rng.integers(4))):
            damaged[place % len(damaged)] = rng.integers(256)
        try:
            read_picture(put(tmp_path / name, bytes(damaged[: None if head else rng.integers(1, len(damaged))])))
        except ImageError as error:
            assert name in str(error)  # noqa: PT017 (most damage is harmless)


def test_neither_torch_nor_basicsr_is_imported():
    code = (
        "import sys; from lightsr_basicsr.pictures import alpha, animation, values;"
        "print([name for name in ('torch', 'basicsr', 'skimage', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
