"""Every kind of pixels in every format, with all metadata, judged by readers of other authors."""

import io
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image

from lightsr_basicsr.pictures import png
from lightsr_basicsr.pictures.colors import to_kind
from lightsr_basicsr.pictures.files import ImageError
from lightsr_basicsr.pictures.fitting import size_problem
from lightsr_basicsr.pictures.picture import KINDS, Metadata, Picture
from lightsr_basicsr.pictures.reading import from_bytes, read_picture
from lightsr_basicsr.pictures.writing import encoded, write_picture
from tests.test_pictures.made import GRAY_ICC, SHAPES, SRGB, XMP, exif, pixels, png_chunks

tifffile = pytest.importorskip("tifffile")


def picture(kind: str, shape: str, **more) -> Picture:
    channels, clear = SHAPES[shape]
    return Picture(pixels(kind, 13, 17, channels), pixels(kind, 13, 17) if clear else None, shape, **more)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_png_and_tiff_keep_every_pixel(tmp_path, kind, shape, ending):
    before = picture(kind, shape)
    notes = write_picture(tmp_path / f"a.{ending}", before)
    after = read_picture(tmp_path / f"a.{ending}")
    if ending == "png" and kind == "float32":
        assert notes == ("PNG holds no floating point: written with 16 bits.",)
        before = replace(before, color=to_kind(before.color, "uint16"), alpha=None)
    else:
        assert notes == ()
        assert (after.alpha is None) == (before.alpha is None)
        assert before.alpha is None or (after.alpha == before.alpha).all()
    assert after.color.dtype == before.color.dtype
    assert (after.color == before.color).all()  # gray with alpha in a deep TIFF has three equal channels
    assert after.is_gray or not before.is_gray or (ending == "tif" and kind != "uint8")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_another_reader_sees_the_same_tiff(tmp_path, kind, shape):
    before = picture(kind, shape)
    content = encoded(before, "TIFF")[0]
    seen = Image.open(io.BytesIO(content)) if kind == "uint8" else None
    opaque = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) if seen is None else np.asarray(seen)
    color = opaque[..., : before.color.shape[2]] if opaque.ndim == 3 else opaque[:, :, None]
    assert (color == (before.color if seen is not None else before.color[..., ::-1])).all() or shape == "gray+alpha"
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages[0]
        assert len(file.pages) == 1
        assert page.dtype == kind
        assert [int(each) for each in page.extrasamples] == ([2] if before.alpha is not None else [])


@pytest.mark.parametrize("shape", ["gray", "gray+alpha", "RGB", "RGBA"])
@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_another_reader_sees_the_same_png(kind, shape):
    before = picture(kind, shape)
    content = encoded(before, "PNG")[0]
    header = png_chunks(content)[b"IHDR"]
    assert header[8:10] == bytes(
        [8 if kind == "uint8" else 16, {"gray": 0, "gray+alpha": 4, "RGB": 2, "RGBA": 6}[shape]]
    )
    stored = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    stored = stored[:, :, None] if stored.ndim == 2 else stored
    assert stored.dtype == kind
    assert (stored[:, :, 2::-1][:, :, : before.color.shape[2]] == before.color).all()
    assert before.alpha is None or (stored[:, :, 3] == before.alpha).all()


FULL = Metadata(SRGB, exif(1), (300.0, 150.0), XMP.replace(b"6", b"1"), b"8BIM\x04\x04\0\0\0\0\0\0", b"a hut")


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp", "tif"])
def test_metadata_stay(tmp_path, ending):
    before = picture("uint8", "RGB", metadata=FULL)
    notes = write_picture(tmp_path / f"a.{ending}", before)
    image = Image.open(tmp_path / f"a.{ending}")
    tags = image.getexif()
    after = read_picture(tmp_path / f"a.{ending}").metadata
    assert after.dpi == pytest.approx((300, 150), abs=0.02)
    if ending == "bmp":
        assert notes == ("BMP does not hold: color profile, Exif tags, XMP, IPTC tags, comment.",)
        return
    assert image.info["icc_profile"] == after.icc == SRGB
    assert tags[0x10F] == "Leitz M"
    assert tags.get_ifd(0x8769)[0x927C] == b"maker note"
    assert dict(tags.get_ifd(0x8769))[0xA002] == 17
    assert after.xmp == FULL.xmp
    assert (after.iptc == FULL.iptc) == (ending in ("jpg", "tif"))
    if ending == "png":
        assert image.text["Comment"] == "a hut"
        assert notes == ("PNG does not hold: IPTC tags.",)
    if ending == "jpg":
        assert image.info["comment"] == b"a hut"
        assert notes == ()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tif"])
def test_exif_says_the_new_size_and_upright_and_holds_no_thumbnail(tmp_path, ending, order):
    first = tmp_path / "first.jpg"
    Image.fromarray(pixels("uint8", 13, 17, 3)).save(first, exif=b"Exif\0\0" + exif(6, order=order))
    before = read_picture(first)
    assert before.size == (13, 17)
    write_picture(tmp_path / f"a.{ending}", before.with_pixels(before.color.repeat(4, 0).repeat(4, 1)))
    tags = Image.open(tmp_path / f"a.{ending}").getexif()
    assert tags.get(0x112, 1) == 1
    assert (tags.get_ifd(0x8769)[0xA002], tags.get_ifd(0x8769)[0xA003]) == (52, 68)
    assert not tags.get_ifd(1)
    assert b"thumb" not in (tmp_path / f"a.{ending}").read_bytes()
    assert tags.get_ifd(0x8769)[0x927C] == b"maker note"


def test_a_tiffs_tags_reach_a_jpeg_and_come_back(tmp_path):
    write_picture(tmp_path / "a.tif", picture("uint16", "RGB", metadata=FULL))
    deep = read_picture(tmp_path / "a.tif")
    assert write_picture(tmp_path / "a.jpg", deep) == ("JPEG holds no 16 bits: written with 8 bits.",)
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.getexif()[0x10F] == "Leitz M"
        assert 0x111 not in image.getexif()
    write_picture(tmp_path / "b.tif", read_picture(tmp_path / "a.jpg"))
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.pages[0].tags[0x10F].value == "Leitz M"
        assert file.pages[0].tags[34675].value == SRGB
        assert file.pages[0].tags[34665].value["PixelXDimension"] == 17


@pytest.mark.parametrize(("quality", "sampling"), [(90, 0), (90, 1), (90, 2)])
def test_a_jpeg_keeps_its_subsampling_and_others_have_none(tmp_path, quality, sampling):
    Image.fromarray(pixels("uint8", 16, 16, 3)).save(tmp_path / "a.jpg", quality=quality, subsampling=sampling)
    write_picture(tmp_path / "b.jpg", read_picture(tmp_path / "a.jpg"))
    write_picture(tmp_path / "c.jpg", picture("uint8", "RGB"))
    layers = [Image.open(tmp_path / name).layer[0][1:3] for name in ("a.jpg", "b.jpg", "c.jpg")]
    assert layers[0] == layers[1]
    assert layers[2] == (1, 1)


def test_a_webp_is_lossless_if_its_source_was(tmp_path):
    before = picture("uint8", "RGBA")
    write_picture(tmp_path / "a.webp", before)
    after = read_picture(tmp_path / "a.webp")
    assert after.lossless
    assert (after.color == before.color).all()
    assert (after.alpha == before.alpha).all()
    write_picture(tmp_path / "b.webp", replace(before, lossless=False))
    assert not read_picture(tmp_path / "b.webp").lossless
    write_picture(tmp_path / "c.webp", before, quality=80)
    assert not read_picture(tmp_path / "c.webp").lossless


@pytest.mark.parametrize("ending", ["jpg", "bmp"])
def test_transparency_becomes_white_where_there_is_none(tmp_path, ending):
    clear = Picture(np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16), np.uint8), "RGBA")
    name = {"jpg": "JPEG", "bmp": "BMP"}[ending]
    assert write_picture(tmp_path / f"a.{ending}", clear) == (f"{name} holds no transparency: shown on white.",)
    assert (read_picture(tmp_path / f"a.{ending}").color == 255).all()
    opaque = replace(clear, alpha=np.full((16, 16), 255, np.uint8))
    assert write_picture(tmp_path / f"b.{ending}", opaque) == ()
    half = Picture(np.zeros((1, 1, 1), np.uint16), np.full((1, 1), 32768, np.uint16))
    assert write_picture(tmp_path / f"c.{ending}", half)[0] == f"{name} holds no transparency: shown on white."
    assert read_picture(tmp_path / f"c.{ending}").color.item() == 127


def test_floats_are_clipped_where_they_must_be_and_said_so(tmp_path):
    wild = Picture(np.float32([[[-1.0], [0.5], [2.0]]]))
    notes = write_picture(tmp_path / "a.png", wild)
    assert notes == ("PNG holds no floating point: written with 16 bits, and values outside 0 to 1 are clipped.",)
    assert read_picture(tmp_path / "a.png").color.ravel().tolist() == [0, 32768, 65535]
    write_picture(tmp_path / "a.tif", wild)
    assert (read_picture(tmp_path / "a.tif").color == wild.color).all()


def test_a_gray_profile_is_not_given_to_rgb(tmp_path):
    gray = picture("uint8", "gray", metadata=Metadata(icc=GRAY_ICC))
    notes = write_picture(tmp_path / "a.webp", gray)
    after = read_picture(tmp_path / "a.webp").metadata.icc
    assert after is None or after[16:20] == b"RGB "
    assert after or notes == ("WebP stores this gray as RGB: its color profile is left out.",)
    write_picture(tmp_path / "a.png", gray)
    assert read_picture(tmp_path / "a.png").metadata.icc == GRAY_ICC


def test_a_png_keeps_its_chunks_on_color_and_text(tmp_path):
    gamma = ((b"gAMA", b"\0\1\x86\xa0"), (b"tEXt", b"Title\0hut"), (b"tIME", b"\x07\xe0\1\1\1\1\1"))
    write_picture(tmp_path / "a.png", picture("uint8", "RGB", metadata=Metadata(chunks=gamma)))
    assert read_picture(tmp_path / "a.png").metadata.chunks == gamma
    with Image.open(tmp_path / "a.png") as image:
        assert image.info["gamma"] == 1.0
        assert image.info["Title"] == "hut"


def test_the_file_is_whole_or_as_before(tmp_path, monkeypatch):
    path = tmp_path / "new" / "a.png"
    before = picture("uint8", "RGB")
    write_picture(path, before)
    with pytest.raises(ImageError, match="already exists"):
        write_picture(path, before, overwrite=False)
    content = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ImageError, match=r"a\.png was not written: No space left on device"):
        write_picture(path, picture("uint16", "RGB"))
    assert path.read_bytes() == content
    assert [each.name for each in path.parent.iterdir()] == ["a.png"]


def test_names_that_are_no_utf8(tmp_path):
    path = tmp_path / "caf\udce9.png"
    write_picture(path, picture("uint16", "gray+alpha"))
    assert read_picture(path).kind == "uint16"
    path.write_bytes(b"")
    with pytest.raises(ImageError, match=r"caf\\xe9\.png: empty file"):
        read_picture(path)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("a.webp", (16_384, 1), "WebP holds at most 16,383 pixels per side, got 16384x1: write PNG or TIFF"),
        ("a.jpg", (1, 65_501), "JPEG holds at most 65,500 pixels per side"),
        ("a.gif", (2, 2), "a GIF has 256 colors: write PNG"),
        ("a.psd", (2, 2), "the ending decides the format and must be .png, "),
        ("a", (2, 2), "the ending decides the format"),
    ],
)
def test_what_cannot_be_written_says_why(tmp_path, name, size, message):
    wide = Picture(np.zeros((*size[::-1], 1), np.uint8))
    with pytest.raises(ImageError) as raised:
        write_picture(tmp_path / name, wide)
    assert message in str(raised.value)
    assert name in str(raised.value)
    assert not list(tmp_path.iterdir())
    if name in ("a.webp", "a.jpg"):
        assert size_problem(tmp_path / name, *size)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match=r"file.a\.png was not written: "):
        write_picture(tmp_path / "file" / "a.png", picture("uint8", "gray"))


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
@pytest.mark.parametrize(("channels", "see_through"), SHAPES.values())
def test_large_pngs_are_made_in_strips(kind, channels, see_through, monkeypatch):
    monkeypatch.setattr(png, "LARGE", 0)
    monkeypatch.setattr(png, "STRIP", 1000)
    color = pixels(kind, 37, 23, channels)
    alpha = pixels(kind, 37, 23) if see_through else None
    content = png.encode(color, alpha, [(b"tEXt", b"Title\0hut")])
    assert png_chunks(content)[b"tEXt"] == b"Title\0hut"
    read = from_bytes(content, "a picture", ".png")
    np.testing.assert_array_equal(read.color, color)
    assert read.kind == kind
    if see_through:
        np.testing.assert_array_equal(read.alpha, alpha)
