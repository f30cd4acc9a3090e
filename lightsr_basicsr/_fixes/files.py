"""Reading and writing files: LMDB, JPEG, option files."""

from __future__ import annotations

import errno
import functools
import os
import time
from os import path as osp
from typing import Any

from lightsr_basicsr._fixes.detect import uses

_lmdb_environments: dict[str, Any] = {}
_lmdb_files: dict[str, tuple[int, int]] = {}


def share_lmdb_environments() -> bool:
    """Open an LMDB once per process, however many datasets read it, and let spawned workers receive its reader.

    Why: lmdb refuses a second environment on one path, so a training and a validation set in one LMDB fail; an open
    environment cannot be pickled; reading one that was cut off meanwhile ends the process by SIGBUS. Since: lmdb 2.0
    (the second open), always (the others). Until: BasicSR shares them.
    """
    from basicsr.utils.file_client import LmdbBackend

    if not uses(LmdbBackend.__init__, "open") or hasattr(LmdbBackend, "__setstate__"):
        return False

    def open_once(self: Any, db_paths: Any, client_keys: str | list[str] = "default", **settings: Any) -> None:
        import lmdb

        settings = {"readonly": True, "lock": False, "readahead": False, **settings}
        paths = [db_paths] if isinstance(db_paths, str) else [str(path) for path in db_paths]
        keys = [client_keys] if isinstance(client_keys, str) else list(client_keys)
        if len(paths) != len(keys):
            raise ValueError(f"Each LMDB needs one client key, got {len(paths)} paths and {len(keys)} keys.")
        self.db_paths, self._client = paths, {}
        for key, path in zip(keys, paths, strict=True):
            real = osp.realpath(path)
            if real not in _lmdb_environments:
                _lmdb_environments[real] = lmdb.open(path, **settings)
                _lmdb_files[_lmdb_environments[real].path()] = _file_of(_lmdb_environments[real])
            self._client[key] = _lmdb_environments[real]

    read = LmdbBackend.get

    def get(self: Any, filepath: Any, client_key: str) -> Any:
        if client_key in self._client:
            _check_size(self._client[client_key])
        return read(self, filepath, client_key)

    LmdbBackend.__init__, LmdbBackend.get = open_once, get
    LmdbBackend.__getstate__ = lambda self: {"db_paths": self.db_paths, "client_keys": list(self._client)}
    LmdbBackend.__setstate__ = lambda self, state: self.__init__(**state)
    return True


def _file_of(environment: Any) -> tuple[int, int]:
    """Return the number of an LMDB's file, which a copy in its place does not share, and its size."""
    path = environment.path()
    found = os.stat(osp.join(path, "data.mdb") if osp.isdir(path) else path)
    return found.st_ino, found.st_size


def _check_size(environment: Any) -> None:
    """Raise OSError if the file of an LMDB is smaller than when it was opened."""
    path = environment.path()
    number, size = _lmdb_files.get(path, (0, 0))
    try:
        number_now, size_now = _file_of(environment)
    except OSError:  # deleted or moved, and as readable as before
        return
    if number_now == number and size_now < size:
        raise OSError(errno.EIO, "the LMDB was cut off during the run", path)


def whole_jpeg_quality() -> bool:
    """Compress with a fractional JPEG quality, as the random degradations ask for.

    Why: OpenCV accepts integers only. Since: OpenCV 4.8 at the latest. Until: BasicSR rounds the quality.
    """
    import cv2
    import numpy as np
    from basicsr.data import degradations

    original = degradations.add_jpg_compression
    if hasattr(original, "__wrapped__"):
        return False
    try:
        cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 90.5])
        return False
    except (cv2.error, TypeError):
        pass

    @functools.wraps(original)
    def add_jpg_compression(img: Any, quality: float = 90) -> Any:
        return original(img, int(quality))

    degradations.add_jpg_compression = add_jpg_compression
    return True


def utf8_option_files() -> bool:
    """Read and copy option files as UTF-8.

    Why: they are opened in the encoding of the machine. Since: always. Until: BasicSR names the encoding.
    """
    from basicsr.utils import options

    if not uses(options.copy_opt_file, "open") or "open" in vars(options):
        return False
    options.open = functools.partial(open, encoding="utf-8")
    return True


def one_copy_of_the_option_file() -> bool:
    """Let only the first process of a distributed run copy the option file into the run's folder.

    Why: all write into one file at once, or into a folder that the first one has not made yet. Since: always. Until:
    BasicSR asks for the rank.
    """
    import basicsr.train as train
    from basicsr.utils import options
    from basicsr.utils.dist_util import master_only

    if hasattr(options.copy_opt_file, "__wrapped__"):
        return False
    options.copy_opt_file = train.copy_opt_file = master_only(options.copy_opt_file)
    return True


def archive_of_its_own() -> bool:
    """Let an earlier run that is moved aside never meet the folder of another one.

    Why: the name holds the time in seconds, so the third of three short runs ends with ``Directory not empty``. Since:
    always. Until: BasicSR looks for a free name.
    """
    import basicsr.train as train
    from basicsr import utils
    from basicsr.utils import misc

    original = misc.mkdir_and_rename
    if hasattr(original, "__wrapped__") or not uses(original, "get_time_str"):
        return False

    @functools.wraps(original)
    def mkdir_and_rename(path: str) -> None:
        while osp.exists(path) and osp.exists(f"{path}_archived_{misc.get_time_str()}"):
            time.sleep(0.1)
        original(path)

    misc.mkdir_and_rename = utils.mkdir_and_rename = train.mkdir_and_rename = mkdir_and_rename
    return True
