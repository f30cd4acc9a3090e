"""Encoded images: how many pixels one may have, and how it is decoded.

A file of a few bytes can claim any size, and decoders allocate what the header claims. Every image is therefore
measured by its header first. OpenCV has the same limit by its own variable, if this package is imported before it.
"""

from __future__ import annotations

import io
import os
from math import inf
from threading import Lock
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image

from lightsr_basicsr.errors import UserError
from lightsr_basicsr.pictures.limits import MOST_PIXELS, PIXELS_VARIABLE

# Bits that deflate packs into one byte at most: 1032 bytes.
DENSEST_PNG = 8 * 1032
CHANNELS_OF_PNG = {2: 3, 4: 2, 6: 4}  # by type of color, else 1
# Pixels that one byte can hold at most. JPEG: each block of 64 takes a bit, and two components can share a square of 32
# pixels in 8 blocks. GIF: a code of 12 bits stands for at most 4096 pixels. Other formats have no such number, or their
# decoders stop where the bytes end.
DENSEST = {"JPEG": 1024, "MPO": 1024, "GIF": 4096 * 8 // 12}
_lock = Lock()


class PixelError(UserError):
    """An image claims more pixels than are allowed, or than its bytes can hold."""


def most_pixels() -> int:
    """Return how many pixels an image may have: 500 million, or what the environment variable says.

    Raises:
        PixelError: If the variable is not a positive whole number.
    """
    text = os.environ.get(PIXELS_VARIABLE, str(MOST_PIXELS))
    if not text.isdecimal() or not int(text):
        raise PixelError(f"the environment variable {PIXELS_VARIABLE} must be a number of pixels, got {text!r}")
    return int(text)


def check_claim(width: int, height: int, most: int | None = None) -> None:
    """Raise PixelError if an image claims more than ``most`` pixels; without it, more than :func:`most_pixels`."""
    limit = most_pixels() if most is None else most
    if width * height > limit:
        means = "set the environment variable " + PIXELS_VARIABLE if most is None else "allow max_pixels"
        raise PixelError(
            f"claims {width}x{height} pixels, and at most {limit:,} are read: if the image really is so large, "
            f"{means}={width * height}"
        )


def open_header(stream: BinaryIO, length: int, most: int | None = None) -> Image.Image:
    """Return an image of ``length`` bytes as Pillow opens it, undecoded; ``most`` as for :func:`check_claim`.

    Raises:
        PixelError: If its header claims more pixels than are allowed, or than ``length`` bytes can hold.
        UnidentifiedImageError: If Pillow does not know the format.
    """
    with _lock:
        # Pillow's own limit is for servers, and below the size of stitched photographs.
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(stream)
        finally:
            Image.MAX_IMAGE_PIXELS = before
    width, height = image.size
    check_claim(width, height, most)
    if width * height > _most_held(stream, image.format, length):
        raise PixelError(
            f"damaged: claims {width}x{height} pixels, which a {image.format} of {length} bytes cannot hold"
        )
    return image


def _most_held(stream: BinaryIO, kind: str | None, length: int) -> float:
    """Return how many pixels an image of ``length`` bytes can hold, whatever its header claims."""
    if kind != "PNG":
        return DENSEST.get(str(kind), inf) * length
    place = stream.tell()
    stream.seek(24)  # in every PNG the depth and the type of color
    depth, color = stream.read(2)
    stream.seek(place)
    return DENSEST_PNG * length / (depth * CHANNELS_OF_PNG.get(color, 1))


def decode(content: bytes, flags: int) -> np.ndarray | None:
    """Return an encoded image, decoded by OpenCV's ``flags``; None if OpenCV cannot decode it.

    Raises:
        PixelError: If it claims too many pixels.
    """
    try:
        open_header(io.BytesIO(content), len(content)).close()
    except PixelError:
        raise
    except Exception:  # unknown to Pillow, or damaged: OpenCV may read it, within its own limit
        pass
    try:
        return cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error:  # empty, or more pixels than OpenCV allows
        return None
