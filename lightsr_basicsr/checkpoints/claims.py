"""Compare what a file of ``torch.save`` claims with the bytes it has, before torch reserves any memory for it.

torch reserves what a file asks for, and some versions read beyond a storage that is too short. Here the pickle is read
without making anything of it: tensors and objects are placeholders.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Sequence, Sized
from pathlib import Path
from typing import Any, NamedTuple

# Files are stored without compression; one that was compressed afterwards may unpack to this many times its bytes.
MOST_TIMES = 4
SLACK = 2**20  # bytes that any file may claim
ITEM_SIZES = {"ComplexDouble": 16, "ComplexFloat": 8, "Double": 8, "Long": 8, "Float": 4, "Int": 4, "QInt32": 4,
              "Half": 2, "BFloat16": 2, "Short": 2}  # fmt: skip
PICKLES_BEFORE, PICKLES_AFTER = 3, 1  # around the content, in files of torch before 1.6
REBUILD = ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3")


class ClaimError(ValueError):
    """A file claims more than its bytes can hold. The message says what, as the end of a sentence."""


class Storage(NamedTuple):
    """A storage that a pickle refers to."""

    key: str
    numbers: int
    item_size: int

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.numbers * self.item_size


def check_claims(path: Path) -> None:
    """Raise an error if a file of ``torch.save`` claims more than its bytes can hold.

    Raises:
        ClaimError: With the claim.
        Exception: Of any type, if the file is damaged or another program's.
    """
    if zipfile.is_zipfile(path):
        _check_zip(path)
        return
    size = path.stat().st_size
    with path.open("rb") as file:
        for _ in range(PICKLES_BEFORE):
            Scan(file, size).load()
        scan = Scan(file, size)
        scan.load()
        for _ in range(PICKLES_AFTER):
            Scan(file, size).load()
    claimed = sum(storage.size for storage in scan.storages.values())
    if claimed > size:
        raise ClaimError(f"its tensors take {claimed:,} bytes")


def most_claimed(held: int) -> int:
    """Return how many bytes may be claimed where so many are held."""
    return MOST_TIMES * held + SLACK


def _check_zip(path: Path) -> None:
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        records = {entry.filename: entry.file_size for entry in archive.infolist()}
        if len(records) < len(archive.infolist()):
            raise ValueError("records of the same name")
        if sum(records.values()) > most_claimed(size):
            raise ClaimError(f"it unpacks to {sum(records.values()):,} bytes")
        (name,) = (name for name in records if name.endswith("/data.pkl"))
        content = archive.read(name)
    scan = Scan(io.BytesIO(content), len(content))
    scan.load()
    root = name.removesuffix("data.pkl")
    for key, storage in scan.storages.items():
        found = records.get(f"{root}data/{key}", 0)
        if storage.size > found:
            raise ClaimError(f"tensors of {storage.size:,} bytes are in a record of {found:,}")


class _Placeholder:
    """Stands for any object of a pickle."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, *args: Any) -> _Placeholder:
        return _Placeholder()

    def _ignore(self, *args: Any) -> None:
        pass

    __setstate__ = __setitem__ = append = extend = add = update = _ignore


class Scan(pickle._Unpickler):
    """Reads a pickle of torch without making anything of it, and collects its storages by key.

    This is the unpickler in Python: that in C reserves memory for memo numbers that a file may choose.
    """

    def __init__(self, file: Any, size: int) -> None:
        super().__init__(file, encoding="utf-8", errors="replace")
        self.left = most_claimed(size)
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return a placeholder for an object of this name; a call of it is checked."""
        full = f"{module}.{name}"

        def make(cls: type, *args: Any, **kwargs: Any) -> Any:
            self._spend(args)
            if full in REBUILD:
                _check_view(*args[:4])
            if full == "collections.OrderedDict":
                return OrderedDict(*args)
            return object.__new__(cls)

        return type(name, (_Placeholder,), {"__new__": make, "full": full})

    def persistent_load(self, pid: Any) -> Any:
        """Return the storage that a pickle refers to."""
        kind, *about = pid
        if kind != "storage":
            return _Placeholder()
        typed, key, _, numbers = about[:4]
        name = str(getattr(typed, "full", typed)).rpartition(".")[2].removesuffix("Storage")
        storage = Storage(str(key), _whole(numbers), ITEM_SIZES.get(name, 1))
        known = self.storages.setdefault(storage.key, storage)
        if known != storage:
            raise ClaimError(f"storage {storage.key} has two sizes")
        return storage

    def _spend(self, args: Sequence[Any]) -> None:
        """Bound what calls copy or reserve: a few bytes can repeat a large argument, or be a large number."""
        self.left -= sum(len(each) if isinstance(each, Sized) else abs(each) if isinstance(each, int) else 1
                         for each in args)  # fmt: skip
        if self.left < 0:
            raise ClaimError("its objects take more memory than the file")


def _check_view(storage: Any, offset: Any, size: Any, stride: Any) -> None:
    """Raise ClaimError if a tensor leaves its storage."""
    if not isinstance(storage, Storage):
        return
    size, stride = [_whole(side) for side in size], [_whole(step) for step in stride]
    last = _whole(offset) + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
    if 0 not in size and last >= storage.numbers:
        raise ClaimError(f"a tensor of shape {tuple(size)} needs {last + 1:,} numbers, of {storage.numbers:,}")


def _whole(number: Any) -> int:
    if not isinstance(number, int) or number < 0:
        raise ClaimError(f"a size is {str(number)[:40]}")
    return int(number)
