"""Decode image files that are stored unchanged, several at a time, to ensure that they are whole."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2

from lightsr_basicsr.tools.images import ImageError, decode
from lightsr_basicsr.tools.prepare.jobs import cores

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Verified:
    """A decoded image file: its bytes, (height, width, channels) and bits per channel."""

    content: bytes
    shape: tuple[int, int, int]
    bits: int


def verify(file: Path) -> Verified:
    """Read and decode an image file.

    Raises:
        ImageError: If it is broken, no image, or of another depth than 8 or 16 bit.
    """
    content, image = decode(file, cv2.IMREAD_UNCHANGED)
    height, width = image.shape[:2]
    return Verified(content, (height, width, image.shape[2] if image.ndim == 3 else 1), image.itemsize * 8)


def attempt(file: Path) -> Verified | ImageError:
    """Return the result of :func:`verify`, or its error."""
    try:
        return verify(file)
    except ImageError as error:
        return error


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int | None = None
) -> Iterator[tuple[Item, Result]]:
    """Yield each item with the result of ``function``, in the order of ``items``; threads work a few items ahead."""
    count = workers or cores()
    executor, ahead = ThreadPoolExecutor(count), deque()
    try:
        for item in items:
            ahead.append((item, executor.submit(function, item)))
            # One item more than threads, so that none is idle while the first result is consumed.
            if len(ahead) > count:
                first, future = ahead.popleft()
                yield first, future.result()
        while ahead:
            first, future = ahead.popleft()
            yield first, future.result()
    finally:
        executor.shutdown(cancel_futures=True)
