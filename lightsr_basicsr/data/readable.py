"""Images that can no longer be read during a run: named, and in training replaced by other samples."""

from __future__ import annotations

from typing import Any

import cv2
from basicsr.utils import FileClient
from torch.utils.data import Dataset

from lightsr_basicsr import fields
from lightsr_basicsr.errors import UserError, short_message

# Key of items: what could not be read in place of the item, one per line. In training it is always present, '' if all
# could be read; in validation an item that has it has nothing else.
BROKEN = "broken_images"
MOST_BROKEN = 10
OPTIONS = {
    "max_broken": fields.count(
        "Images that may be missing or broken during a run: each is named, and replaced by another one in training, "
        "left out of the mean in validation, where the default is 0.",
        least=0,
        default=MOST_BROKEN,
    ),
}


class BrokenImageError(UserError):
    """An image that was readable when the run began cannot be read now; the message names the file."""


class Readable(Dataset):
    """``dataset`` with errors that name the file, and with other items or marks in the place of broken images.

    Random numbers are seeded for each sample, so the other samples of the run stay the same.

    Args:
        dataset (Dataset): Any map-style data set.
        training (bool): Whether to replace a broken image by the next readable one, and list such images in each item
            under ``BROKEN``. Otherwise the list is all that a broken image's item holds.
        most (int): How many images may be broken: in a row for one item of a training, in the set otherwise, where
            who reads the items counts. 0 allows none.

    Raises:
        BrokenImageError: For an item that cannot be read or replaced.
    """

    def __init__(self, dataset: Dataset, training: bool, most: int) -> None:
        self.dataset, self.training, self.most = dataset, training, most

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        broken: list[str] = []
        for place in range(index, index + (self.most if self.training else 0) + 1):
            FileClient.being_read = None
            try:
                item = self.dataset[place % len(self)]
            except MemoryError:
                raise
            except Exception as error:
                # Readers and data sets of other packages raise many unrelated types.
                broken.append(_describe(error, place % len(self)))
            else:
                return {**item, BROKEN: "\n".join(broken)} if self.training and isinstance(item, dict) else item
        if self.training or not self.most:
            raise BrokenImageError("; ".join(broken))
        return {BROKEN: broken[0]}

    def __getitems__(self, indices: list[int]) -> list[Any]:
        return [self[index] for index in indices]

    def __getattr__(self, name: str) -> Any:
        if name == "dataset":  # missing while a worker unpickles this
            raise AttributeError(name)
        return getattr(self.dataset, name)


def _describe(error: Exception, index: int) -> str:
    """Return one line with the file that could not be read and why."""
    reading = getattr(FileClient, "being_read", None)
    file = getattr(error, "filename", None) or (_name(*reading) if reading else f"item {index}")
    if isinstance(error, OSError):
        return f"{file}: {error.strerror or short_message(error)}"
    if isinstance(error, (AttributeError, TypeError, cv2.error)):  # BasicSR uses what OpenCV could not decode
        return f"{file} cannot be read as an image"
    text = short_message(error)
    return text if str(file) in text else f"{file}: {text}"


def _name(client: Any, path: Any, kind: str) -> str:
    roots = dict(zip(getattr(client, "_client", ()), getattr(client, "db_paths", ()), strict=False))
    return f"{path} in {roots[kind]}" if kind in roots else str(path)
