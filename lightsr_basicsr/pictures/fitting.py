"""What each format can hold, and a picture with what it cannot hold taken out, in words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from lightsr_basicsr.pictures.colors import on_white, profile_space, srgb_profile, through_profile, to_kind
from lightsr_basicsr.pictures.files import ImageError
from lightsr_basicsr.pictures.picture import Picture, largest


@dataclass(frozen=True)
class Format:
    """What files of a format hold.

    Args:
        name (str): As people write it.
        kinds (tuple[str, ...]): Types of pixels, the best last.
        metadata (tuple[str, ...]): Fields of ``Metadata`` that it stores.
        alpha (bool): Whether there is transparency. Default: True.
        gray (bool): Whether there is gray without equal channels of RGB. Default: True.
        side (int): The longest side in pixels.
    """

    name: str
    kinds: tuple[str, ...]
    metadata: tuple[str, ...]
    alpha: bool = True
    gray: bool = True
    side: int = 2**31 - 1


FORMATS = {
    "PNG": Format("PNG", ("uint8", "uint16"), ("icc", "exif", "dpi", "xmp", "comment", "chunks"), side=1_000_000),
    "JPEG": Format("JPEG", ("uint8",), ("icc", "exif", "dpi", "xmp", "iptc", "comment"), alpha=False, side=65_500),
    "WEBP": Format("WebP", ("uint8",), ("icc", "exif", "dpi", "xmp"), gray=False, side=16_383),
    "BMP": Format("BMP", ("uint8",), ("dpi",), alpha=False),
    "TIFF": Format("TIFF", ("uint8", "uint16", "float32"), ("icc", "exif", "dpi", "xmp", "iptc")),
    "GIF": Format("GIF", ("uint8",), ("comment",), gray=False, side=65_535),
}
SUFFIXES = {".png": "PNG", ".apng": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".jfif": "JPEG", ".webp": "WEBP",
            ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF", ".gif": "GIF"}  # fmt: skip
BITS = {"uint8": "8 bits", "uint16": "16 bits", "float32": "floating point"}
NAMES = {"icc": "color profile", "exif": "Exif tags", "dpi": "resolution", "xmp": "XMP", "iptc": "IPTC tags",
         "comment": "comment"}  # fmt: skip


def format_of(path: Path) -> str:
    """Return the format that a file's name asks for.

    Raises:
        ImageError: If its ending is none that is written.
    """
    found = SUFFIXES.get(path.suffix.lower())
    if found is None:
        raise ImageError(f"{path}: the ending decides the format and must be {', '.join(SUFFIXES)}: rename it.")
    return found


def size_problem(path: Path, width: int, height: int) -> str:
    """Return why a picture of this size cannot be written to ``path``, '' if it can: to know before it is computed.

    Raises:
        ImageError: If the name's ending is none that is written.

    Examples:
        >>> size_problem(Path("a.webp"), 20_000, 10)
        'WebP holds at most 16,383 pixels per side, got 20000x10: write PNG or TIFF'
    """
    known = FORMATS[format_of(path)]
    if max(width, height) <= known.side:
        return ""
    return f"{known.name} holds at most {known.side:,} pixels per side, got {width}x{height}: write PNG or TIFF"


def fitted(picture: Picture, target: str) -> tuple[Picture, tuple[str, ...]]:
    """Return a picture that the format ``target``, a key of ``FORMATS``, holds, and sentences on what is lost.

    Transparency becomes a white ground where the format has none.
    """
    known, notes = FORMATS[target], []
    color, alpha, metadata = picture.color, picture.alpha, picture.metadata
    if alpha is not None and not known.alpha:
        if (alpha < largest(alpha.dtype)).any():
            color = on_white(color, alpha)
            notes.append(f"{known.name} holds no transparency: shown on white.")
        alpha = None
    if picture.kind not in known.kinds:
        kind = known.kinds[-1]
        clips = picture.kind == "float32" and bool(color.min() < 0 or color.max() > 1)
        end = ", and values outside 0 to 1 are clipped" if clips else ""
        notes.append(f"{known.name} holds no {BITS[picture.kind]}: written with {BITS[kind]}{end}.")
        color, alpha = to_kind(color, kind), None if alpha is None else to_kind(alpha, kind)
    deep_pair = target == "TIFF" and alpha is not None and color.dtype != np.uint8  # which few programs read
    if color.shape[2] == 1 and (not known.gray or deep_pair):
        color, icc = _as_rgb(color, metadata.icc)
        if icc is None and metadata.icc:
            notes.append(f"{known.name} stores this gray as RGB: its color profile is left out.")
        metadata = replace(metadata, icc=icc)
    held = {name: getattr(metadata, name) for name in vars(metadata)}
    lost = [NAMES[name] for name, value in held.items() if value and name in NAMES and name not in known.metadata]
    if lost:
        notes.append(f"{known.name} does not hold: {', '.join(lost)}.")
    return replace(picture, color=color, alpha=alpha, metadata=metadata, format=target), tuple(notes)


def _as_rgb(gray: np.ndarray, icc: bytes | None) -> tuple[np.ndarray, bytes | None]:
    """Return gray (H, W, 1) as RGB, and the profile for it; None if there is none."""
    if profile_space(icc) == "GRAY":
        image = through_profile(Image.fromarray(gray[:, :, 0]), icc) if gray.dtype == np.uint8 else None
        if image is not None:
            return np.asarray(image), srgb_profile()
        icc = None
    return gray.repeat(3, axis=2), icc
