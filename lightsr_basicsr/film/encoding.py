"""Encoders of films: which there are, what they are asked for, and what they cannot take."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lightsr_basicsr.film.colors import Colors, Converter
from lightsr_basicsr.film.names import FilmError, container_of, require_av

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame

SEGMENT = 48  # frames that are encoded alone; what a killed run loses at most
MOST_PIXELS, MOST_SIDE = 35_651_584, 16_384  # level 6.2 of H.264 and HEVC, 6.3 of AV1: no player takes more


class Codec(NamedTuple):
    """An encoder.

    Args:
        encoder (str): FFmpeg's name.
        crf (int): The usual quality, less is better.
        most (int): The largest number for it.
        options (dict[str, str]): What else it is told.
        tag (str): What QuickTime wants it to be called in MP4 and MOV, '' for the usual. Default: ''.
    """

    encoder: str
    crf: int
    most: int
    options: dict[str, str]
    tag: str = ""


CODECS = {
    # With several threads one segment in some ten thousand came out with other bytes.
    "h264": Codec("libx264", 18, 51, {"preset": "medium", "threads": "1"}),
    "hevc": Codec("libx265", 20, 51, {"preset": "medium", "x265-params": "log-level=error"}, tag="hvc1"),
    "vp9": Codec("libvpx-vp9", 24, 63, {"deadline": "good", "cpu-used": "3", "row-mt": "1"}),
    "av1": Codec("libsvtav1", 24, 63, {"preset": "6"}),
}
USUAL = {"webm": "vp9"}  # by container; the others get H.264


class Setup(NamedTuple):
    """What an encoder is to make.

    Args:
        codec (str): A key of ``CODECS``.
        crf (int): Quality.
        size (tuple[int, int]): Width and height, even.
        rate (Fraction): Frames per second, on average.
        time_base (Fraction): Seconds of a tick.
        aspect (Fraction): Width over height of a pixel.
        colors (Colors): What the numbers stand for.
        squared (bool): Whether frames are stretched to ``size``, so that their pixels are square.
    """

    codec: str
    crf: int
    size: tuple[int, int]
    rate: Fraction
    time_base: Fraction
    aspect: Fraction
    colors: Colors
    squared: bool = False

    def as_text(self) -> str:
        """Return everything that decides the result."""
        return repr((tuple(self), sorted(CODECS[self.codec].options.items()), SEGMENT))


def choose_codec(target: Path, codec: str | None, crf: float | None) -> tuple[str, int]:
    """Return a key of ``CODECS``, and the quality.

    Args:
        target (Path): The film to be written.
        codec (str | None): A key; None for the usual one of the container.
        crf (float | None): None for the usual one of the codec.

    Raises:
        FilmError: If one is unknown, the encoder is missing, or the container does not hold it.
    """
    container = container_of(target)
    name = codec or USUAL.get(container, "h264")
    if name not in CODECS:
        raise FilmError(f"Expected one of {', '.join(CODECS)} as codec, got {codec!r}: choose one of them.")
    check_crf(crf, name)
    if container == "webm" and name not in ("vp9", "av1"):
        raise FilmError(f"{target.name}: WebM holds vp9 and av1, got {name}: write .mkv or .mp4, or change --codec.")
    known = CODECS[name]
    available = require_av().codecs_available
    if known.encoder not in available:
        others = [each for each, other in CODECS.items() if other.encoder in available]
        choice = f"choose --codec {' or '.join(others)}, or " if others else ""
        raise FilmError(
            f"Expected the encoder {known.encoder} for {name} in PyAV, got a PyAV without it: {choice}install the "
            "package index's own build: pip install --force-reinstall av."
        )
    return name, known.crf if crf is None else int(crf)


def check_crf(crf: float | None, codec: str | None = None) -> None:
    """Raise FilmError unless ``crf`` is None, or a whole number that the codec, or any of them, takes."""
    most = max(each.most for each in CODECS.values()) if codec is None else CODECS[codec].most
    whole = isinstance(crf, int) and not isinstance(crf, bool)
    if crf is not None and not (whole and 0 <= crf <= most):
        raise FilmError(f"Expected a crf from 0 (best) to {most}{f' for {codec}' if codec else ''}, got {crf}.")


def even(size: tuple[int, int]) -> tuple[int, int]:
    """Return the next even width and height: colors are stored for two pixels together.

    >>> even((321, 240))
    (322, 240)
    """
    return size[0] + size[0] % 2, size[1] + size[1] % 2


def check_size(size: tuple[int, int]) -> None:
    """Raise FilmError if no codec defines frames of this size."""
    if size[0] * size[1] > MOST_PIXELS or max(size) > MOST_SIDE:
        raise FilmError(
            f"Expected frames of at most {MOST_PIXELS / 1e6:.1f} million pixels (8192x4352) and {MOST_SIDE:,} per "
            f"side, which is as much as films hold, got {size[0]}x{size[1]}: choose a smaller scale with -s."
        )


def configure(context: VideoCodecContext, setup: Setup) -> None:
    """Tell an encoder what to make."""
    from av.codec.context import Flags

    known = CODECS[setup.codec]
    context.width, context.height = setup.size
    context.pix_fmt = setup.colors.encoded
    context.time_base, context.framerate = setup.time_base, setup.rate
    context.sample_aspect_ratio = setup.aspect
    context.gop_size = SEGMENT
    Converter(setup.colors).mark(context)
    context.flags |= int(Flags.global_header)
    context.options = {**known.options, "crf": str(setup.crf)}


def open_encoder(setup: Setup) -> VideoCodecContext:
    """Return an encoder that is ready.

    Raises:
        FilmError: If it refuses.
    """
    av = require_av()
    known = CODECS[setup.codec]
    os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 prints its settings unless only errors are asked for
    try:
        context = av.CodecContext.create(known.encoder, "w")
        configure(context, setup)
        context.open()
    except (av.FFmpegError, ValueError) as error:
        raise FilmError(
            f"Expected the encoder {known.encoder} to take frames of {setup.size[0]}x{setup.size[1]} pixels, got: "
            f"{getattr(error, 'strerror', None) or error}: choose another --codec or scale."
        ) from error
    return context


class Packed(NamedTuple):
    """A frame as encoded: its time stamp in ticks, whether it needs no other frame, and its bytes."""

    pts: int
    is_key: bool
    data: bytes


class Encoder:
    """Encodes a segment, frame by frame.

    Args:
        setup (Setup): What to make.
        converter (Converter): Of its colors.
    """

    def __init__(self, setup: Setup, converter: Converter) -> None:
        self.setup, self.converter = setup, converter
        self.context = open_encoder(setup)
        self.packets: list[Packed] = []

    def add(self, pixels: np.ndarray, pts: int, duration: int) -> None:
        """Encode (H, W, 3) uint8 or uint16; what an even size adds repeats the last row and column."""
        width, height = self.setup.size
        if self.setup.squared:
            self._encode(self.converter.to_frame(pixels, self.setup.size), pts, duration)
            return
        missing = (height - pixels.shape[0], width - pixels.shape[1])
        if any(missing):
            pixels = np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
        self._encode(self.converter.to_frame(pixels), pts, duration)

    def _encode(self, frame: VideoFrame, pts: int, duration: int) -> None:
        frame.pts, frame.time_base, frame.duration = pts, self.setup.time_base, duration
        self._keep(self.context.encode(frame))

    def finish(self) -> list[Packed]:
        """Return the segment, in the order in which it is decoded."""
        self._keep(self.context.encode(None))
        return self.packets

    def _keep(self, packets: list[Packet]) -> None:
        self.packets += [Packed(int(each.pts), bool(each.is_keyframe), bytes(each)) for each in packets if each.size]


def first_bytes(context: Any) -> bytes:
    """Return what a player must know before the first frame."""
    return bytes(context.extradata or b"")
