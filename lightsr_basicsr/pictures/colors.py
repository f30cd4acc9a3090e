"""Colors: through a profile to RGB, other numbers of bits, and without transparency."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms

from lightsr_basicsr.pictures.picture import largest


def profile_space(icc: bytes | None) -> str:
    """Return the colors that a profile is for, ``RGB``, ``GRAY``, ``CMYK`` ...; '' without one."""
    return icc[16:20].decode("latin-1").strip() if icc and len(icc) >= 128 else ""


def srgb_profile() -> bytes:
    """Return the profile of sRGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def through_profile(image: Image.Image, icc: bytes) -> Image.Image | None:
    """Return an image of 8 bits, gray or CMYK, as sRGB by its profile; None if that is damaged."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def cmyk_to_rgb(image: Image.Image, icc: bytes | None) -> tuple[Image.Image, bytes | None, str]:
    """Return a CMYK image as RGB, the profile of the result or None, and a note."""
    if profile_space(icc) == "CMYK" and (converted := through_profile(image, icc)) is not None:
        return converted, srgb_profile(), "CMYK became sRGB by its color profile."
    return image.convert("RGB"), None, "CMYK without a color profile became RGB: the colors are approximate."


def to_kind(pixels: np.ndarray, kind: str) -> np.ndarray:
    """Return pixels of any shape as ``uint8``, ``uint16`` or ``float32``, rounded; floats outside [0, 1] are clipped.

    >>> to_kind(np.uint16([0, 257, 65535]), "uint8").tolist(), to_kind(np.float32([0.5, 1.5]), "uint16").tolist()
    ([0, 1, 255], [32768, 65535])
    """
    if pixels.dtype == kind:
        return pixels
    if kind == "float32":
        return pixels.astype(np.float32) / np.float32(largest(pixels.dtype))
    if pixels.dtype == np.float32:
        return np.rint(np.clip(pixels, 0, 1) * np.float32(largest(kind))).astype(kind)
    if kind == "uint8":
        return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return pixels.astype(np.uint16) * np.uint16(257)


def on_white(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Return what is seen of ``color`` (H, W, C) with ``alpha`` (H, W), of the same type, on a white ground."""
    top = np.float32(largest(color.dtype))
    shown = alpha[:, :, None].astype(np.float32) / top
    seen = top + (color.astype(np.float32) - top) * shown
    return seen if color.dtype == np.float32 else np.rint(seen).astype(color.dtype)
