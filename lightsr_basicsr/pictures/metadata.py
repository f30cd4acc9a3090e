"""What files say about their pixels: color profile, Exif, resolution, XMP and the press's tags."""

from __future__ import annotations

import re
from dataclasses import replace

from PIL import Image

from lightsr_basicsr.pictures import png, tiff
from lightsr_basicsr.pictures.picture import Metadata
from lightsr_basicsr.pictures.tags import (
    PREFIX,
    Directory,
    TagError,
    as_block,
    orientation_of,
    read_tags,
    resized,
    upright,
    without_thumbnail,
)

XMP_PREFIX, IPTC_PREFIX = b"http://ns.adobe.com/xap/1.0/\0", b"Photoshop 3.0\0"
XMP_ORIENTATION = re.compile(rb'(tiff:Orientation(?:="|>))[2-8](["<])')
LARGEST_SEGMENT = 65_533  # bytes after a JPEG segment's marker and length


def read_metadata(image: Image.Image, content: bytes) -> tuple[Metadata, int, list[str]]:
    """Return the metadata of a decoded image of any format but TIFF, how the camera was held, and notes.

    Args:
        image (Image.Image): As Pillow opened and decoded it.
        content (bytes): The file.

    Returns:
        tuple: The metadata, already upright; the orientation, 1 (upright) to 8, by which the pixels must be turned;
            and sentences on what was left out.
    """
    info, notes = image.info, []
    block, orientation = _exif(image, notes)
    found = Metadata(info.get("icc_profile") or None, block, _dpi(info, block), _xmp(info))
    if image.format in ("JPEG", "MPO"):
        segments = getattr(image, "applist", [])
        xmp = [data for name, data in segments if name == "APP1" and data.startswith(XMP_PREFIX)]
        iptc = [data for name, data in segments if name == "APP13" and data.startswith(IPTC_PREFIX)]
        found = replace(
            found,
            xmp=xmp[0].removeprefix(XMP_PREFIX) if xmp else found.xmp,
            iptc=b"".join(data.removeprefix(IPTC_PREFIX) for data in iptc) or None,
        )
    if image.format == "PNG":
        found = replace(found, chunks=png.kept_chunks(content))
    comment = info.get("comment") if image.format in ("JPEG", "MPO", "GIF") else None
    comment = comment.encode() if isinstance(comment, str) else comment
    return replace(found, xmp=_upright_xmp(found.xmp), comment=comment or None), orientation, notes


def _exif(image: Image.Image, notes: list[str]) -> tuple[bytes | None, int]:
    block = image.info.get("exif")
    try:
        if not block and "Raw profile type exif" in image.info:
            block = image.getexif().tobytes()
        if not block:
            return None, 1
        while block.startswith(PREFIX):
            block = block[len(PREFIX) :]
        return upright(without_thumbnail(block)), orientation_of(block)
    except Exception:  # Pillow's reader of tags raises any type
        notes.append("its Exif tags are damaged and left out.")
        return None, 1


def _dpi(info: dict, block: bytes | None) -> tuple[float, float] | None:
    found = info.get("dpi")
    if isinstance(found, tuple) and len(found) == 2 and all(float(each) > 1 for each in found):
        return float(found[0]), float(found[1])
    return tiff.dpi(read_tags(block)) if block else None


def _xmp(info: dict) -> bytes | None:
    found = info.get("xmp") or info.get("XML:com.adobe.xmp")
    return found.encode() if isinstance(found, str) else found or None


def _upright_xmp(xmp: bytes | None) -> bytes | None:
    return XMP_ORIENTATION.sub(rb"\g<1>1\2", xmp) if xmp else None


def tiff_metadata(tags: Directory) -> Metadata:
    """Return the metadata of a TIFF with these tags; its orientation, :func:`tags.orientation_of` tells, becomes 1."""

    def data(tag: int) -> bytes | None:
        field = tags.get(tag)
        return (getattr(field, "data", b"") or None) if field else None

    exif = tiff.described(tags)
    return Metadata(
        icc=data(tiff.ICC),
        exif=as_block(exif) if exif else None,
        dpi=tiff.dpi(tags),
        xmp=_upright_xmp(data(tiff.XMP)),
        iptc=data(tiff.PHOTOSHOP),
    )


def sized(metadata: Metadata, width: int, height: int) -> Metadata:
    """Return metadata whose Exif tags of the picture's size, as far as there are any, say ``width`` and ``height``."""
    try:
        return replace(metadata, exif=resized(metadata.exif, width, height)) if metadata.exif else metadata
    except TagError:
        return metadata


def exif_with_dpi(metadata: Metadata) -> bytes | None:
    """Return the Exif block of a format that stores the resolution nowhere else."""
    tags: Directory = {}
    if metadata.exif:
        tags = read_tags(metadata.exif)
    if not metadata.dpi or tiff.dpi(tags):
        return metadata.exif
    return as_block({**tags, **tiff.dpi_tags(metadata.dpi)})


def jpeg_segments(metadata: Metadata) -> tuple[bytes, list[str]]:
    """Return the JPEG segments of XMP and of the press's tags, and the names of those that are too long for one."""
    segments, lost = b"", []
    for marker, prefix, data, name in (
        (b"\xff\xe1", XMP_PREFIX, metadata.xmp, "XMP"),
        (b"\xff\xed", IPTC_PREFIX, metadata.iptc, "IPTC"),
    ):
        if data and len(prefix + data) > LARGEST_SEGMENT:
            lost.append(name)
        elif data:
            segments += marker + (len(prefix + data) + 2).to_bytes(2, "big") + prefix + data
    return segments, lost
