"""Transparency: colors that do not bleed, and edges that stay where they are."""

from __future__ import annotations

import cv2
import numpy as np

from lightsr_basicsr.pictures.picture import Picture, largest


def filled(picture: Picture) -> Picture:
    """Return a picture whose fully transparent pixels have the color of the nearest pixel that is seen.

    A file may hold any color there, often black or white, and a network or filter would mix it into the visible edge.
    A picture without transparency, or with nothing to be seen, is returned as it is.
    """
    alpha = picture.alpha
    if alpha is None:
        return picture
    hidden = alpha <= 0
    if not hidden.any() or hidden.all():
        return picture
    _, nearest = cv2.distanceTransformWithLabels(
        hidden.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    seen = ~hidden
    colors = np.zeros((int(nearest.max()) + 1, picture.color.shape[2]), picture.color.dtype)
    colors[nearest[seen]] = picture.color[seen]
    color = picture.color.copy()
    color[hidden] = colors[nearest[hidden]]
    return picture.with_pixels(color, alpha)


def constant(alpha: np.ndarray) -> float | None:
    """Return the one value of ``alpha``, None if there are several; then the network need not see it."""
    first = alpha.flat[0]
    return first.item() if (alpha == first).all() else None


def enlarged_alpha(alpha: np.ndarray, size: tuple[int, int], found: np.ndarray | None = None) -> np.ndarray:
    """Return transparency in another size, of the same type.

    Each value stays between the smallest and the largest one of the 3x3 pixels around its place: what is constant stays
    exactly so, opaque or clear, and edges get no rings.

    Args:
        alpha (np.ndarray): (H, W), uint8, uint16 or float32.
        size (tuple[int, int]): Width and height of the result.
        found (np.ndarray | None): What a network made of it, (height, width) of the same type. Default: None, bicubic
            interpolation.

    Raises:
        ValueError: If ``found`` is not of this size and type.
    """
    value = constant(alpha)
    if value is not None:
        return np.full(size[::-1], value, alpha.dtype)
    if found is None:
        smooth = cv2.resize(alpha.astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
        smooth = np.clip(smooth, 0, largest(alpha.dtype))
        found = (smooth if alpha.dtype == np.float32 else np.rint(smooth)).astype(alpha.dtype)
    if found.shape != size[::-1] or found.dtype != alpha.dtype:
        raise ValueError(f"found must be {size[::-1]} of {alpha.dtype}, got {found.shape} of {found.dtype}.")
    around = np.ones((3, 3), np.uint8)
    least, most = (
        cv2.resize(grow(alpha, around), size, interpolation=cv2.INTER_NEAREST) for grow in (cv2.erode, cv2.dilate)
    )
    return np.clip(found, least, most)
