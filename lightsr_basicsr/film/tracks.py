"""Sound and subtitles of a film: copied as they are where the container holds them, else encoded anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lightsr_basicsr.film.names import require_av

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.stream import Stream

BITS_PER_CHANNEL = 128_000  # a second, of sound that is encoded anew
OPUS_RATE = 48_000  # samples a second, which every decoder of it takes


class Track:
    """A track that is copied.

    Args:
        made (Stream): Where it goes.
    """

    def __init__(self, made: Stream) -> None:
        self.made = made

    def take(self, packet: Packet) -> Iterator[Packet]:
        """Yield what becomes of a packet; an empty one is the end."""
        if packet.size and packet.dts is not None:
            packet.stream = self.made
            yield packet


class EncodedTrack(Track):
    """Sound that is encoded anew.

    Args:
        made (AudioStream): Where it goes.
        frame_rate (int): Samples per second.
    """

    def __init__(self, made: AudioStream) -> None:
        super().__init__(made)
        self.resampler: Any = None

    def take(self, packet: Packet) -> Iterator[Packet]:
        """Yield what becomes of a packet; an empty one is the end, and gives what is left."""
        av = require_av()
        try:
            frames = packet.decode()
        except av.FFmpegError:  # a moment of silence
            frames = []
        if self.resampler is None:
            context = self.made.codec_context
            self.resampler = av.AudioResampler(
                context.format, context.layout, context.sample_rate, frame_size=context.frame_size or None
            )
        for frame in (*frames, *([] if packet.size else [None])):
            for part in self.resampler.resample(frame):
                yield from self.made.encode(part)
        if not packet.size:
            yield from self.made.encode(None)


def tracks_of(source: InputContainer, made: OutputContainer) -> tuple[dict[int, Track], list[str]]:
    """Return the tracks that are kept, by their number in the source, and sentences on the others.

    Args:
        source (InputContainer): The film.
        made (OutputContainer): The enlarged film, before its header is written.
    """
    found: dict[int, Track] = {}
    notes: list[str] = []
    held, name = made.supported_codecs, made.format.name
    for stream in source.streams:
        kind = stream.type
        if kind not in ("audio", "subtitle") or stream.codec_context is None:
            if kind == "attachment":
                notes.append("attached files, such as fonts, are left out.")
            continue
        codec = stream.codec_context.codec.canonical_name
        if codec in held:
            found[stream.index] = Track(_described(made.add_stream_from_template(stream), stream))
        elif kind == "audio":
            encoder = "libopus" if name == "webm" else "aac"
            found[stream.index] = EncodedTrack(_described(_encoder(made, encoder, stream), stream))
            notes.append(f"{name} does not hold {codec}: the sound was encoded anew, as {encoder.removeprefix('lib')}.")
        else:
            notes.append(f"{name} does not hold subtitles of the kind {codec}, which are left out: write .mkv.")
    return found, list(dict.fromkeys(notes))


def _described(made: Any, stream: Stream) -> Any:
    """Return a new stream with the language, title and role of another one."""
    for key in ("language", "title", "handler_name"):
        if stream.metadata.get(key):
            made.metadata[key] = stream.metadata[key]
    made.disposition = stream.disposition
    return made


def _encoder(made: OutputContainer, encoder: str, stream: AudioStream) -> AudioStream:
    rate = OPUS_RATE if encoder == "libopus" else stream.codec_context.sample_rate
    track = made.add_stream(encoder, rate=rate, layout=stream.codec_context.layout.name)
    track.codec_context.bit_rate = BITS_PER_CHANNEL * len(stream.codec_context.layout.channels)
    return track
