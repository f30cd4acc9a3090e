"""Download a file over HTTP: resumed, bounded, with time-outs and retries; only the standard library is needed."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from http.client import HTTPException, InvalidURL
from pathlib import Path
from typing import Any, BinaryIO
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from tqdm import tqdm

from lightsr_basicsr import __version__
from lightsr_basicsr.errors import short_message
from lightsr_basicsr.weights.names import WeightsError

SCHEMES = ("http", "https")
TIMEOUT = 30.0  # seconds without an answer
WAITS = (0.5, 3.0)  # seconds before the second and the third attempt
BLOCK = 1 << 16
MOST = 1 << 30  # bytes of a file whose size is not known
ENOUGH = 1 << 20  # bytes after which an attempt was worth it, and attempts are counted anew
BUSY = (408, 429, 500, 502, 503, 504)  # statuses that another attempt may not meet


class DownloadError(WeightsError):
    """A file cannot be downloaded; the message says why."""


class _CutError(Exception):
    """An attempt failed for a reason that may have passed at the next one."""


def is_address(text: str) -> bool:
    """Return whether a text is an address to download from, ``http://`` or ``https://``.

    >>> is_address("https://example.org/net.pth"), is_address("C:/net.pth")
    (True, False)
    """
    return text.lower().startswith(tuple(f"{scheme}://" for scheme in SCHEMES))


def download(
    address: str, part: Path, *, size: int | None = None, checked: bool = False, progress: bool = False
) -> None:
    """Download a file to ``part``, and go on there if it exists.

    Proxies are those of the environment. A redirection may lead to HTTP and HTTPS only, from HTTPS to HTTPS only.

    Args:
        address (str): Of the file, ``http`` or ``https``.
        part (Path): The file to write. It stays after a failure if what is missing can be added later.
        size (int | None): In bytes; None for unknown, then at most ``MOST``.
        checked (bool): Whether its checksum will be compared. Otherwise bytes of an earlier run are not used.
        progress (bool): Whether to show a progress bar, if the error stream is a terminal. Default: False.

    Raises:
        DownloadError: If there is no connection, or the server has no such file or another one.
        OSError: If ``part`` cannot be written.
    """
    job = _Job(address, part, size, checked)
    if not checked or job.have > job.most:
        part.unlink(missing_ok=True)
    with tqdm(
        total=size, desc=part.stem, unit="B", unit_scale=True, leave=False, disable=None if progress else True
    ) as bar:
        _try_thrice(job, bar)


@dataclass
class _Job:
    address: str
    part: Path
    size: int | None
    checked: bool
    validator: str | None = None  # tells one version of the file from another

    @property
    def have(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    @property
    def most(self) -> int:
        return MOST if self.size is None else self.size


def _try_thrice(job: _Job, bar: tqdm) -> None:
    waits = list(WAITS)
    while True:
        start = job.have
        if job.checked and start == job.size:
            return
        try:
            return _attempt(job, bar)
        except _CutError as error:
            if job.have - start >= ENOUGH:
                waits = list(WAITS)
            if not waits:
                raise _give_up(job, error) from error
            time.sleep(waits.pop(0))


def _give_up(job: _Job, error: _CutError) -> DownloadError:
    kept = ""
    if job.checked and job.have:
        kept = f" {job.have:,} bytes are kept in {job.part}: the same command goes on there."
    else:
        job.part.unlink(missing_ok=True)
    return DownloadError(f"{job.address} cannot be downloaded ({error}).{kept}")


def _attempt(job: _Job, bar: tqdm) -> None:
    if not job.checked and job.validator is None:
        job.part.unlink(missing_ok=True)
    with _open(job) as response:
        start, total = _check_answer(job, response)
        job.validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if str(job.validator).startswith("W/"):
            job.validator = None  # the same page perhaps, but not the same bytes
        bar.total, bar.n = total, start
        with job.part.open("ab" if start else "wb") as file:
            _copy(job, response, file, bar, start)
    if total is not None and job.have < total:
        raise _CutError(f"the connection ended after {job.have:,} of {total:,} bytes")


def _copy(job: _Job, response: Any, file: BinaryIO, bar: tqdm, have: int) -> None:
    while block := _read(response):
        have += len(block)
        if have > job.most:
            file.close()
            job.part.unlink()
            raise DownloadError(f"{job.address} sends more than the expected {job.most:,} bytes: it is another file.")
        file.write(block)
        bar.update(len(block))


def _read(response: Any) -> bytes:
    try:
        return response.read(BLOCK)
    except (OSError, HTTPException) as error:
        raise _CutError(short_message(error)) from error


def _open(job: _Job) -> Any:
    """Send the request, for the rest of the file if there is a part of it."""
    if not is_address(job.address):
        raise DownloadError(f"An address to download from begins with https:// or http://, got {job.address}.")
    headers = {"User-Agent": f"lightsr-basicsr/{__version__}", "Accept-Encoding": "identity"}
    if job.have:
        headers["Range"] = f"bytes={job.have}-"
        if job.validator:
            headers["If-Range"] = job.validator
    try:
        return build_opener(_Redirects).open(Request(job.address, headers=headers), timeout=TIMEOUT)
    except DownloadError:
        raise
    except HTTPError as error:
        with error:
            raise _describe_status(job, error) from error
    except (ValueError, InvalidURL) as error:
        raise DownloadError(f"{job.address} is no address to download from: {short_message(error)}.") from error
    except (OSError, HTTPException) as error:  # URLError is an OSError
        raise _CutError(short_message(getattr(error, "reason", error))) from error


def _describe_status(job: _Job, error: HTTPError) -> Exception:
    if error.code == 416 and job.have:  # the part is as long as the file, or longer
        job.part.unlink()
        return _CutError("the server has no further bytes of it")
    if error.code in BUSY:
        return _CutError(f"HTTP {error.code}, {error.reason}")
    return DownloadError(f"{job.address} cannot be downloaded (HTTP {error.code}, {short_message(error.reason, 200)}).")


def _check_answer(job: _Job, response: Any) -> tuple[int, int | None]:
    """Return from which byte on the server sends the file, and the size of it all, None for unknown."""
    headers, start = response.headers, 0
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        raise DownloadError(f"{job.address} is sent as {headers['Content-Encoding']}, which was not asked for.")
    length = headers.get("Content-Length", "")
    total = int(length) if length.isdecimal() else None
    if response.status == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", "").strip())
        start = int(found[1]) if found else -1
        if start != job.have:
            job.part.unlink(missing_ok=True)
            raise _CutError("the server sends another part of it than was asked for")
        total = int(found[2]) if found[2] != "*" else total and total + start
    if total is not None and (total > job.most if job.size is None else total != job.size):
        expected = f"at most {job.most:,}" if job.size is None else f"{job.size:,}"
        raise DownloadError(f"{job.address} has {total:,} bytes, expected {expected}: it is another file.")
    return start, total if total is not None else job.size


class _Redirects(HTTPRedirectHandler):
    """Follow a redirection over HTTP or HTTPS only, and none that gives HTTPS up."""

    def redirect_request(self, req: Request, *answer: Any) -> Request | None:
        """Return the next request; ``answer`` ends with its address."""
        allowed = SCHEMES if urlsplit(req.full_url).scheme == "http" else ("https",)
        if urlsplit(answer[-1]).scheme.lower() not in allowed:
            raise DownloadError(
                f"{req.full_url} leads to {answer[-1]}; only {' and '.join(allowed)} addresses are followed."
            )
        return super().redirect_request(req, *answer)
