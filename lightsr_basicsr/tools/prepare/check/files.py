"""Check one image of a data set: whether it is whole, and how training will read it.

Training reads with OpenCV alone. Pillow is used as well, since it reports what OpenCV converts silently, and since each
is lax where the other is strict: Pillow with a truncated PNG, OpenCV (until 4) with a truncated JPEG.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import lmdb
import numpy as np
from PIL import Image, UnidentifiedImageError

from lightsr_basicsr.data.lmdb_damage import lmdb_damage
from lightsr_basicsr.pictures.files import ENDINGS, ORIENTATION, SUFFIXES, reason
from lightsr_basicsr.pictures.pixels import PixelError, decode, open_header
from lightsr_basicsr.tools.images import COLOR, existing_folder, nested_hint
from lightsr_basicsr.tools.prepare.jobs import PrepareError

KINDS = (
    "broken", "not an image", "format", "channels", "depth", "orientation", "sizes", "names", "duplicates", "pairs",
)  # fmt: skip
SILENT = 0
NAMES = {"1": "gray", "L": "gray", "I": "gray", "F": "gray", "P": "palette", "YCBCR": "YCbCr"}
WITH_ALPHA = {"RGBA": "RGB", "RGBa": "RGB", "LA": "gray", "La": "gray", "PA": "palette"}


@dataclass(frozen=True)
class DatasetFinding:
    """A fault or peculiarity of a file or folder."""

    kind: str  # one of KINDS
    file: str  # the file or folder, as the user named it
    message: str  # the fact and its consequence
    error: bool  # whether training or testing would stop or be wrong; False is a warning


@dataclass(frozen=True)
class Source:
    """A folder or an LMDB with the names that BasicSR reads: all but hidden files, or those in meta_info.txt."""

    root: Path
    names: tuple[str, ...]
    environment: lmdb.Environment | None = None

    def shown(self, name: str) -> str:
        """Return ``name`` with its folder, in printable characters."""
        path = str(self.root / name)
        return path if path.isprintable() else ascii(path)[1:-1]

    def finding(self, name: str, message: str, error: bool = False) -> DatasetFinding:
        """Return a finding about the name of a file."""
        return DatasetFinding("names", self.shown(name), message, error)

    def split(self, name: str) -> tuple[str, str]:
        """Return ``name`` as BasicSR splits it, without suffix, and its suffix; keys of an LMDB have none."""
        return (name, "") if self.environment else os.path.splitext(name)

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file; None if an LMDB does not hold it."""
        if self.environment is None:
            return (self.root / name).read_bytes()
        with self.environment.begin(write=False) as transaction:
            return transaction.get(name.encode("ascii", "replace"))


@dataclass
class Facts:
    """Properties of one file, as training reads it."""

    name: str  # in its folder, or key in its LMDB
    shown: str  # path for messages
    size: tuple[int, int] | None = None  # width and height; None if it cannot be read
    channels: str = "unknown"  # as stored, for example "RGB" or "gray + alpha"
    bits: int = 8  # per channel
    same_bytes: str = ""  # hash of the file
    same_pixels: str = ""  # hash of the pixels
    findings: list[DatasetFinding] = field(default_factory=list)  # its faults and peculiarities

    def finding(self, kind: str, message: str, error: bool = False) -> DatasetFinding:
        """Return a finding about this file."""
        return DatasetFinding(kind, self.shown, message, error)

    def add(self, kind: str, message: str, error: bool = False) -> None:
        """Add a finding about this file."""
        self.findings.append(self.finding(kind, message, error))


@dataclass
class _View:
    """A file as Pillow reads it; ``fault`` is the reason why it recognized the format but could not decode it."""

    format: str = ""
    mode: str = ""
    alpha: str = ""
    orientation: int = 1
    frames: int = 1
    fault: str = ""


class _BrokenError(ValueError):
    """A file that training could not read, or would read wrongly."""


def open_source(root: Path | str) -> Source:
    """Return the files of a folder, or of an LMDB if the name ends in .lmdb.

    Raises:
        PrepareError: If the folder is missing or empty, or the LMDB cannot be opened.
    """
    path = existing_folder(root)
    if path.suffix == ".lmdb":
        return _open_lmdb(path)
    names = sorted(file.name for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    if not names:
        raise PrepareError(f"{root} holds no files{nested_hint(path)}.")
    return Source(path, tuple(names))


def _open_lmdb(path: Path) -> Source:
    # Through BasicSR's reader, because lmdb refuses to open a path twice in one process.
    from basicsr.utils.file_client import LmdbBackend

    if damage := lmdb_damage(path):
        raise PrepareError(f"{path} {damage}: make it again.")
    try:
        lines = (path / "meta_info.txt").read_text(encoding="utf-8").splitlines(keepends=True)
        environment = LmdbBackend(str(path))._client["default"]
    except FileNotFoundError as error:
        raise PrepareError(f"{path} has no meta_info.txt, as after an interruption: make it again.") from error
    except (OSError, ValueError, lmdb.Error) as error:
        raise PrepareError(f"{path} cannot be opened as an LMDB of images: {reason(error)}. Make it again.") from error
    if not lines:
        raise PrepareError(f"{path / 'meta_info.txt'} lists no images.")
    return Source(path, tuple(line.split(".")[0] for line in lines), environment)


def look_at(source: Source, name: str) -> tuple[Facts, np.ndarray | None]:
    """Decode the file ``name``; return its facts, and the image (H, W, 3), B G R, uint8 or uint16, None if broken."""
    facts = Facts(name, source.shown(name))
    suffix = source.split(name)[1].lower()
    try:
        content = source.read(name)
        if content is None:
            raise _BrokenError("meta_info.txt lists this key, but the LMDB lacks it: make the LMDB again")
        view = _look_with_pillow(content)
        _check_whole(content, view)
        image = _decode(content, view, facts)
    except (OSError, lmdb.Error, _BrokenError) as error:
        kind, hint = "broken", ""
        if not source.environment and suffix not in SUFFIXES:
            kind, hint = "not an image", "; BasicSR reads every file of a folder as an image: move it away"
        facts.add(kind, reason(error) + hint, error=True)
        return facts, None
    if image is not None:
        _describe(facts, content, image, view)
        if source.environment is None:
            _compare_ending(facts, suffix, view)
    return facts, image


@contextmanager
def quiet_decoders() -> Iterator[None]:
    """Silence OpenCV's messages on files that are reported anyway."""
    # In cv2.utils.logging since OpenCV 5, in cv2 before.
    set_level = getattr(getattr(cv2.utils, "logging", cv2), "setLogLevel", lambda level: level)
    before = set_level(SILENT)
    try:
        yield
    finally:
        set_level(before)


def _look_with_pillow(content: bytes) -> _View:
    try:
        image = open_header(io.BytesIO(content), len(content))
    except UnidentifiedImageError:
        return _View()
    except PixelError as error:
        raise _BrokenError(str(error)) from error
    except Exception as error:
        return _View(fault=reason(error))
    view = _View(image.format or "", image.mode)
    with image:
        try:
            view.frames = getattr(image, "n_frames", 1)
            if view.format == "TIFF":  # decoding discards the tag
                view.orientation = _orientation(image)
            image.load()
            if view.format != "TIFF":  # in a PNG it may follow the pixels
                view.orientation = _orientation(image)
            view.alpha = _alpha(image)
        except Exception as error:  # Pillow's decoders raise any type on damaged files
            view.fault = reason(error) or type(error).__name__
    return view


def _orientation(image: Image.Image) -> int:
    with suppress(Exception):  # an unreadable tag has no effect
        return image.getexif().get(ORIENTATION, 1)
    return 1


def _alpha(image: Image.Image) -> str:
    if image.mode not in WITH_ALPHA and "transparency" not in image.info:
        return ""
    lowest = image.convert("RGBA").getchannel("A").getextrema()[0]
    return "opaque" if lowest == 255 else "transparent in parts"


def _check_whole(content: bytes, view: _View) -> None:
    if not content:
        raise _BrokenError("empty file")
    if view.fault:
        raise _BrokenError(f"damaged: {view.fault}")
    if view.format == "PNG" and ENDINGS[".png"] not in content:
        raise _BrokenError("damaged: cut short, the end of the PNG is missing")


def _decode(content: bytes, view: _View, facts: Facts) -> np.ndarray | None:
    """Return the image at its depth, or None with a finding if BasicSR cannot read that depth."""
    image = decode(content, COLOR)
    if image is not None and image.dtype in (np.uint8, np.uint16):
        return image
    raw = image if image is not None else decode(content, cv2.IMREAD_UNCHANGED)
    if raw is None:
        raise _BrokenError(_why_unreadable(content, view))
    facts.add("depth", f"{raw.dtype} numbers: BasicSR reads 8 and 16 bits per channel only; convert it", error=True)
    return None


def _why_unreadable(content: bytes, view: _View) -> str:
    if view.format:
        return f"OpenCV, with which BasicSR reads, cannot decode this {view.format}: damaged, or a rare variant"
    start = content[:40].split(b"\n")[0]
    with suppress(UnicodeDecodeError):
        # Often a web page or a Git LFS pointer in place of a download.
        if (text := start.decode()).isprintable():
            return f"text, not an image: it begins with '{text}'"
    return "damaged or not an image: neither OpenCV nor Pillow can read it"


def _describe(facts: Facts, content: bytes, image: np.ndarray, view: _View) -> None:
    facts.size = image.shape[1::-1]
    facts.bits = image.itemsize * 8
    facts.same_bytes = hashlib.blake2b(content, digest_size=16).hexdigest()
    digest = hashlib.blake2b(f"{image.shape} {image.dtype}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image))
    facts.same_pixels = digest.hexdigest()
    _describe_channels(facts, view)
    if facts.bits == 16:
        facts.add("depth", "16 bits: BasicSR reads the upper 8")
    if view.orientation in range(2, 9):
        facts.add(
            "orientation",
            f"orientation tag {view.orientation}: training sees {facts.size[0]}x{facts.size[1]}, "
            "but not all programs follow such a tag; store it upright",
        )
    if view.frames > 1 and view.format not in ("JPEG", "MPO"):  # phones store depth maps as frames
        facts.add("format", f"{view.frames} frames: training reads the first")


def _describe_channels(facts: Facts, view: _View) -> None:
    if not view.format:
        facts.add("format", "unknown to Pillow: training reads it, other sub-commands of `basicsr prepare` may not")
        return
    mode = WITH_ALPHA.get(view.mode, view.mode)
    facts.channels = NAMES.get(mode.split(";")[0].upper(), mode)
    if facts.channels == "gray":
        facts.add("channels", "gray: becomes three equal channels")
    elif facts.channels == "palette":
        facts.add("channels", "palette of at most 256 colours: becomes RGB")
    elif facts.channels == "CMYK":
        facts.add("channels", "CMYK: becomes RGB without its colour profile, so colours may differ from a viewer's")
    elif facts.channels != "RGB":
        facts.add("channels", f"{facts.channels} and not RGB: inspect OpenCV's conversion")
    if view.alpha:
        facts.channels += " + alpha"
        effect = "without loss" if view.alpha == "opaque" else "so hidden pixels show"
        facts.add("channels", f"alpha channel, {view.alpha}: dropped, {effect}")


def _compare_ending(facts: Facts, suffix: str, view: _View) -> None:
    found = {"MPO": "JPEG"}.get(view.format, view.format)
    expected = Image.registered_extensions().get(suffix)
    if found and expected and found != expected:
        facts.add("format", f"is a {found} and not a {expected}: training reads it, other programs may not")
    if suffix not in SUFFIXES:
        ending = f"the ending {suffix}" if suffix else "no ending"
        facts.add("format", f"{ending}: BasicSR reads it, other sub-commands of `basicsr prepare` skip it")
