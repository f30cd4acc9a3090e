"""Images in a page: encoded as WebP, and as text."""

from __future__ import annotations

import io
from base64 import b64encode

import cv2
import numpy as np
from PIL import Image


def webp(image: np.ndarray, quality: int | None = None) -> bytes:
    """Return an image (H, W) or (H, W, 3), BGR uint8, as WebP; without ``quality`` exactly."""
    stream = io.BytesIO()
    shown = Image.fromarray(np.ascontiguousarray(image[:, :, ::-1] if image.ndim == 3 else image))
    if quality is None:
        shown.save(stream, "WEBP", lossless=True, quality=40, method=2)
    else:
        shown.save(stream, "WEBP", quality=quality, method=3)
    return stream.getvalue()


def as_text(content: bytes) -> str:
    """Return bytes as the text of a page."""
    return b64encode(content).decode()


def text_bytes(content: bytes) -> int:
    """Return the length of :func:`as_text`."""
    return 4 * -(-len(content) // 3)


def resized(image: np.ndarray, factor: float) -> np.ndarray:
    """Return an image at another size, at least one pixel; without change at 1."""
    if factor == 1:
        return image
    size = [max(1, round(side * factor)) for side in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST)
