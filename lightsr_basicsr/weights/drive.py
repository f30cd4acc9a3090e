"""Download a file from Google Drive, whose pages only the package gdown reads."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from lightsr_basicsr.errors import install_command, short_message
from lightsr_basicsr.weights.download import DownloadError

HOSTS = ("drive.google.com", "docs.google.com")
FILE = re.compile(r"(?:/d/|[?&]id=)([\w-]+)")


def is_drive(address: str) -> bool:
    """Return whether an address is one of Google Drive.

    >>> is_drive("https://drive.google.com/file/d/abc/view")
    True
    """
    try:
        return urlsplit(address).hostname in HOSTS
    except ValueError:
        return False


def download_from_drive(address: str, part: Path, progress: bool = False) -> None:
    """Download a file of Google Drive to ``part``.

    Raises:
        DownloadError: If gdown is not installed, the address is not that of one file, or Google does not send it.
    """
    try:
        import gdown
    except ImportError as error:
        raise DownloadError(
            f"{address} is on Google Drive, which needs the package gdown: {install_command('fetch')}. Or "
            "download it in a browser."
        ) from error
    found = FILE.search(address)
    if found is None or "/folders/" in address:
        raise DownloadError(f"{address} is not the address of one file on Google Drive: name that of the file.")
    part.unlink(missing_ok=True)
    try:
        done = gdown.download(id=found[1], output=str(part), quiet=not progress, use_cookies=False)
    except Exception as error:
        # gdown and the libraries below it raise many types.
        raise DownloadError(f"{address} cannot be downloaded ({short_message(error)}).") from error
    if done is None or not part.is_file():
        raise DownloadError(f"{address} cannot be downloaded: Google Drive sends no file.")
