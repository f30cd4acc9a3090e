"""Decoded images in memory that the processes of a machine share: reserved by size, filled as images are read."""

from __future__ import annotations

import hashlib
import mmap
import os
import secrets
import tempfile
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from itertools import accumulate
from typing import Any

import numpy as np

CHANNELS = 3  # images are read as B G R of 8 bits
HEADER = 64  # bytes that tell this memory from another one
Key = tuple[str, str]  # kind of the image, as ``gt``, and its path, or its key in an LMDB


class SharedMemory:
    """Bytes that this process and those that it starts, forked or spawned, read and write.

    On Linux they lie in no file system, whose /dev/shm may be small in a container; elsewhere in a temporary file.
    Those that nobody has written take no memory.

    Args:
        size (int): Number of bytes.
        path (str | None): That of the memory of another process; None for a new one.

    Raises:
        OSError: If there is no such memory.
    """

    def __init__(self, size: int, path: str | None = None) -> None:
        self.size, self.path = size, path or ""
        file = os.open(path, os.O_RDWR) if path else self._make()
        try:
            self.bytes = mmap.mmap(file, size)
        except ValueError as error:
            raise OSError(f"{self.path} holds less than {size} bytes") from error
        finally:
            if path:
                os.close(file)

    def _make(self) -> int:
        """Return the descriptor of a new file of this size, which lives as long as this object."""
        if hasattr(os, "memfd_create"):
            file = os.memfd_create("decoded images")
            self.path, made = f"/proc/{os.getpid()}/fd/{file}", ""
        else:
            file, self.path = tempfile.mkstemp(prefix="decoded_images_")
            made = self.path
        weakref.finalize(self, _release, file, made, os.getpid())
        os.truncate(file, self.size)
        return file

    def __getstate__(self) -> dict[str, Any]:
        return {"size": self.size, "path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)


def _release(file: int, path: str, owner: int) -> None:
    if os.getpid() != owner:  # a fork has the descriptor too
        return
    os.close(file)
    if path:
        with suppress(OSError):
            os.remove(path)


class ImageCache:
    """Images (H, W, 3), B G R, uint8, of known keys; each is kept once it has been read.

    Args:
        keys (Sequence[Key]): All images.
        sizes (Sequence[int]): The bytes of each one, decoded; an image that turns out larger is not kept.
        memory (SharedMemory | None): That of another process with the same images; None for a new one.
    """

    def __init__(self, keys: Sequence[Key], sizes: Sequence[int], memory: SharedMemory | None = None) -> None:
        self.places = {key: place for place, key in enumerate(keys)}
        self.sizes = list(sizes)
        self.starts = list(accumulate(self.sizes, initial=HEADER + 8 * len(self.sizes)))
        self.memory = memory or SharedMemory(self.starts[-1])
        self.identity = hashlib.sha256(repr((list(keys), self.sizes)).encode("utf-8", "replace")).digest()
        if memory is None:
            self.memory.bytes[:HEADER] = self.identity + secrets.token_bytes(HEADER - len(self.identity))
        self._open()

    def _open(self) -> None:
        count = 2 * len(self.sizes)
        self.shapes = np.frombuffer(self.memory.bytes, np.int32, count, HEADER).reshape(-1, 2)
        self.order = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key not in ("shapes", "order")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open()

    @staticmethod
    def size_of(sizes: Sequence[int]) -> int:
        """Return the bytes of the memory of a cache for images of these sizes."""
        return HEADER + 8 * len(sizes) + sum(sizes)

    @property
    def is_of_its_images(self) -> bool:
        """Whether the memory was made for the same images."""
        return self.token.startswith(self.identity)

    @property
    def token(self) -> bytes:
        """What tells this cache, and the images for which it is, from every other one."""
        return bytes(self.memory.bytes[:HEADER])

    @property
    def kept(self) -> int:
        """How many images there are now."""
        return int(np.count_nonzero(self.shapes[:, 1]))

    def find(self, key: Key) -> np.ndarray | None:
        """Return an image (H, W, 3), which must not be changed; None if it has not been read yet."""
        place = self.places.get(key)
        if place is None or not self.shapes[place, 1]:
            return None
        # Processors may reorder memory accesses; none passes a lock: pixels are there before the width is.
        with self.order:
            height, width = map(int, self.shapes[place])
        pixels = np.frombuffer(self.memory.bytes, np.uint8, height * width * CHANNELS, self.starts[place])
        pixels.flags.writeable = False
        return pixels.reshape(height, width, CHANNELS)

    def keep(self, key: Key, image: np.ndarray) -> None:
        """Keep an image (H, W, 3), uint8, unless it is unknown or larger than its file claimed.

        Two processes that have read the same image write the same bytes.
        """
        place = self.places.get(key)
        if place is None or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != CHANNELS:
            return
        if not 0 < image.nbytes <= self.sizes[place]:
            return
        target = np.frombuffer(self.memory.bytes, np.uint8, image.nbytes, self.starts[place])
        target.reshape(image.shape)[:] = image
        with self.order:
            self.shapes[place, 0] = image.shape[0]
        with self.order:
            self.shapes[place, 1] = image.shape[1]
