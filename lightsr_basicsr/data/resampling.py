"""Weighted sums of image rows, the core of exact resampling, as fast matrix products."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

# Output rows of one product: few, so that its matrix has few zeros. Products of one call: several, so that threads
# seldom wait for each other, but no more than the processor's cache holds.
ROWS, PRODUCTS = 8, 4


class Products(NamedTuple):
    """Products of one matrix (rows of output, rows of input) with ``count`` parts of the input, ``step`` rows apart."""

    first: int
    step: int
    count: int
    matrix: Tensor


def as_products(indices: np.ndarray, weights: np.ndarray, kind: torch.dtype) -> tuple[Products, ...]:
    """Return the products that sum ``weights[i, t]`` times input row ``indices[i, t]`` over t, for every output row i.

    The zeros in the matrices cost less than the linear algebra library saves.

    Examples:
        >>> indices, weights = np.array([[0, 1], [2, 3]]), np.array([[0.5, 0.5], [0.5, 0.5]])
        >>> as_products(indices, weights, torch.float64)[0].matrix.tolist()
        [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]
    """
    found: list[Products] = []
    for start in range(0, len(indices), ROWS):
        taps, parts = indices[start : start + ROWS], weights[start : start + ROWS]
        first = int(taps.min())
        matrix = np.zeros((len(taps), taps.max() - first + 1))
        np.add.at(matrix, (np.arange(len(taps))[:, None], taps - first), parts)
        single = Products(first, 0, 1, torch.from_numpy(matrix).to(kind))
        if found and (joined := _join(found[-1], single)):
            found[-1] = joined
        else:
            found.append(single)
    return tuple(found)


def _join(before: Products, single: Products) -> Products | None:
    """Return ``before`` with ``single`` appended; None if its matrix or distance differs."""
    step = single.first - (before.first + (before.count - 1) * before.step)
    fits = before.count < PRODUCTS and step > 0 and (before.count == 1 or step == before.step)
    if not fits or not torch.equal(before.matrix, single.matrix):
        return None
    return before._replace(step=step, count=before.count + 1)


def weigh_rows(
    image: np.ndarray, products: tuple[Products, ...], top: int | None = None, middle: int = 0
) -> np.ndarray:
    """Return the weighted sums of the rows of ``image`` (H, W) or (H, W, C), with the axes exchanged: (W, rows, C).

    A second call therefore does the same for the columns and restores the axes.

    Args:
        image (ndarray): uint8, uint16 or floating point.
        products (tuple): From :func:`as_products`; the weights of a row sum to 1.
        top (int | None): Round halves up, as MATLAB does, clip to [0, ``top``], and return uint8 or uint16. None:
            return the unrounded sums.
        middle (int): Subtracted first and added back at the end, to keep sums small.
    """
    flat = np.ascontiguousarray(image).reshape(len(image), -1)
    flat = torch.from_numpy(flat.astype(np.int32) if flat.dtype == np.uint16 else flat)
    kind, width = products[0].matrix.dtype, flat.shape[1]
    rows = sum(each.count * len(each.matrix) for each in products)
    to = {None: np.float32 if kind == torch.float32 else np.float64, 255: np.uint8, 65535: np.uint16}[top]
    out, done = np.empty((rows, width), to), 0
    for first, step, count, matrix in products:
        shape = (count, matrix.shape[1], width)
        parts = flat.as_strided(shape, (step * width, width, 1), first * width).to(kind)
        sums = torch.bmm(matrix.expand(count, -1, -1), parts.sub_(middle) if middle else parts)
        if top is not None:
            # Storing the sums as integers drops the rest of the fraction.
            sums.add_(middle + 0.5).clamp_(0, top + 0.5)
        end = done + count * len(matrix)
        np.copyto(out[done:end], sums.view(-1, width).numpy(), casting="unsafe")
        done = end
    return _exchange_axes(out.reshape(rows, *image.shape[1:]))


def _exchange_axes(image: np.ndarray) -> np.ndarray:
    if image.ndim > 3 or (image.ndim == 3 and image.shape[2] > 4):
        return np.ascontiguousarray(image.swapaxes(0, 1))
    # Ten times as fast as NumPy, but for up to four channels.
    return cv2.transpose(image).reshape(image.shape[1], image.shape[0], *image.shape[2:])
