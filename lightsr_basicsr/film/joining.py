"""Join the segments of a film with the sound, subtitles and texts of the film that it was made of."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from lightsr_basicsr.film.encoding import CODECS, Setup, configure
from lightsr_basicsr.film.names import FilmError, container_of, require_av
from lightsr_basicsr.film.segments import Segments, Times
from lightsr_basicsr.film.source import BUFFER, Film, opened
from lightsr_basicsr.film.tracks import Track, tracks_of
from lightsr_basicsr.pictures.reading import printable
from lightsr_basicsr.whole import made_whole

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

# A container's own, not the film's.
OWN_TAGS = ("major_brand", "minor_version", "compatible_brands", "encoder")


class Timed(NamedTuple):
    """A packet and when it is decoded, in seconds; the number keeps the order of equal times."""

    seconds: float
    number: int
    packet: Packet


def join(film: Film, segments: Segments, setup: Setup, target: Path, overwrite: bool = True) -> tuple[str, ...]:
    """Write the enlarged film, whole or not at all.

    Args:
        film (Film): What it was made of.
        segments (Segments): All its frames.
        setup (Setup): How they were encoded.
        target (Path): The file.
        overwrite (bool): Whether an existing file is replaced. Default: True.

    Returns:
        tuple[str, ...]: Sentences on what the container does not hold.

    Raises:
        FilmError: If it cannot be written.
    """
    av = require_av()
    container = container_of(target)
    options = {"fflags": "+bitexact"}  # no random numbers: equal films are equal files
    if container in ("mp4", "mov"):
        options["video_track_timescale"] = str(setup.time_base.denominator)  # the clock of the film
    with made_whole(target, overwrite, FilmError) as file, opened(film.path) as source:
        told = _TellingFile(file)
        try:
            with av.open(told, "w", format=container, options=options, buffer_size=BUFFER) as made:
                pictures = _pictures(made, film, setup)
                tracks, notes = tracks_of(source, made)
                _texts(source, made)
                made.start_encoding()
                streams = [_of_pictures(segments, setup, pictures), _of_tracks(source, tracks)]
                for _, _, packet in heapq.merge(*streams):
                    made.mux(packet)
        except av.FFmpegError as error:
            cause = told.error or error
            raise FilmError(f"{printable(target)} was not written: {cause.strerror or cause}.") from cause
    return tuple(notes)


class _TellingFile:
    """A file that keeps the error of writing, of which PyAV says no more than that there was one."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.error = file, None
        self.seek, self.tell, self.read = file.seek, file.tell, file.read

    def write(self, data: Any) -> int:
        """Write, and return how many bytes."""
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise


def _pictures(made: OutputContainer, film: Film, setup: Setup) -> VideoStream:
    """Return the stream of pictures, whose encoder is opened only to say how to decode them."""
    stream = made.add_stream(CODECS[setup.codec].encoder, rate=setup.rate)
    configure(stream.codec_context, setup)
    if made.format.name in ("mp4", "mov") and CODECS[setup.codec].tag:
        stream.codec_context.codec_tag = CODECS[setup.codec].tag
    if film.turn is not None:
        stream.set_display_matrix(film.turn)
    return stream


def _texts(source: InputContainer, made: OutputContainer) -> None:
    for name, text in source.metadata.items():
        if name.lower() not in OWN_TAGS:
            made.metadata[name] = text
    chapters = source.chapters()
    if chapters:
        made.set_chapters(chapters)


def _of_pictures(segments: Segments, setup: Setup, stream: VideoStream) -> Iterator[Timed]:
    times = segments.times()
    decoded = decoding_times(times)
    durations = _durations(times)
    for number, packed in enumerate(segments.packets()):
        packet = _packet(packed.data)
        packet.pts, packet.dts, packet.duration = packed.pts, next(decoded), next(durations)
        packet.time_base, packet.is_keyframe, packet.stream = setup.time_base, packed.is_key, stream
        yield Timed(float(packet.dts * setup.time_base), 2 * number, packet)


def _packet(data: bytes) -> Any:
    return require_av().Packet(data)


def decoding_times(segments: Iterable[Times]) -> Iterator[int]:
    """Yield when each packet is decoded, in ticks, in the order of decoding.

    An encoder that starts anew for each segment decides it within a segment. Over all of them it is the time stamp of
    the frame that is shown as many frames before as the order of decoding differs from that of showing at most.

    Examples:
        >>> list(decoding_times([Times([0, 120, 40, 80], [], [], 40, True, 0)]))
        [-40, 0, 40, 80]
    """
    segments = list(segments)
    shown = [pts for times in segments for pts in sorted(times.pts)]
    late = max((place - rank for times in segments for place, rank in _ranks(times)), default=0)
    step = shown[1] - shown[0] if len(shown) > 1 else 1
    for place in range(len(shown)):
        yield shown[place - late] if place >= late else shown[0] - (late - place) * step


def _ranks(times: Times) -> Iterator[tuple[int, int]]:
    """Yield for each packet its place in the order of decoding and in that of showing."""
    rank = {pts: place for place, pts in enumerate(sorted(times.pts))}
    return ((place, rank[pts]) for place, pts in enumerate(times.pts))


def _durations(segments: list[Times]) -> Iterator[int]:
    """Yield how long each frame is shown, in the order of decoding."""
    for times, following in zip(segments, [*segments[1:], None], strict=True):
        shown = sorted(times.pts)
        end = min(following.pts) if following is not None else shown[-1] + times.duration
        until = dict(zip(shown, [*shown[1:], end], strict=True))
        yield from (until[pts] - pts for pts in times.pts)


def _of_tracks(source: InputContainer, tracks: dict[int, Track]) -> Iterator[Timed]:
    """Yield the packets of sound and subtitles.

    Raises:
        FilmError: If the film cannot be read to its end.
    """
    av, number = require_av(), 1
    if not tracks:
        return
    try:
        for packet in source.demux([source.streams[index] for index in tracks]):
            for made in tracks[packet.stream.index].take(packet):
                time = made.dts if made.dts is not None else made.pts
                yield Timed(float((time or 0) * (made.time_base or Fraction(0))), number, made)
                number += 2
    except av.FFmpegError as error:
        name = printable(Path(source.name)) if source.name else "the film"
        raise FilmError(f"{name}: its sound cannot be read to the end ({error.strerror}): copy it again.") from error
