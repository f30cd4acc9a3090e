"""Tiny films, written by PyAV alone, and what a film holds, read by PyAV alone."""

from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

av = pytest.importorskip("av", reason="the extra video is not installed: pip install '.[video]'")

WIDTH, HEIGHT, COUNT = 32, 24, 8
BASE = Fraction(1, 1000)
SAMPLES = 1024
RATE = 48_000
# Milliseconds at which frames begin that are shown for different times, from half a second on.
UNEVEN = [500, 540, 580, 657, 697, 774, 814, 900]


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Return a smooth picture (H, W, 3), uint8, that moves with its number."""
    rows, columns = np.mgrid[:height, :width]
    waves = [
        np.sin((columns + 2 * number) / 7 + phase) + np.cos((rows - number) / 5 + 2 * phase) for phase in (0, 1, 2)
    ]
    return np.rint(127.5 + 55 * np.stack(waves, axis=2)).astype(np.uint8)


def film(
    path: str | Path,
    times: list[int] | None = None,
    *,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    sound: str | None = "aac",
    base: Fraction = BASE,
    format: str | None = None,
    turn: int | None = None,
    subtitle: str | None = None,
    **context: Any,
) -> Path:
    """Write a film with sound of a sine wave.

    Args:
        path: The file.
        times: When frames begin, in ticks of ``base``.
        size: Width and height.
        codec, pix_fmt, options: Of the pictures.
        sound: The encoder of the sound, None for none.
        base: Seconds of a tick.
        format: The container, for another ending.
        turn: Degrees by which players turn it.
        subtitle: A kind of subtitles to add.
        context: Further attributes of the encoder.
    """
    times = [40 * number for number in range(COUNT)] if times is None else times
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format=format) as out:
        pictures = out.add_stream(codec, rate=25, options={"crf": "4", **(options or {})})
        coder = pictures.codec_context
        coder.width, coder.height, coder.pix_fmt, coder.time_base = *size, pix_fmt, base
        for name, value in context.items():
            setattr(coder, name, value)
        if turn is not None:
            pictures.set_display_rotation(turn)
        track = out.add_stream(sound, rate=RATE, layout="mono") if sound else None
        if track is not None:
            track.metadata["language"] = "deu"
        texts = out.add_mux_stream(subtitle, time_base=BASE) if subtitle else None
        out.metadata["title"] = "waves"
        out.start_encoding()
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(number, *size), "rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = time, base
            out.mux(pictures.encode(frame))
        out.mux(pictures.encode(None))
        if texts is not None:
            packet = av.Packet(b"hello")
            packet.pts, packet.dts, packet.duration, packet.time_base, packet.stream = 100, 100, 200, BASE, texts
            out.mux(packet)
        if track is not None:
            _sing(out, track, times[-1] * base)
    return Path(path)


def _sing(out: Any, track: Any, seconds: Fraction) -> None:
    for start in range(0, int(seconds * RATE), SAMPLES):
        wave = np.sin(2 * np.pi * 440 / RATE * np.arange(start, start + SAMPLES)) / 2
        frame = av.AudioFrame.from_ndarray(wave.astype(np.float32)[None], "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
        out.mux(track.encode(frame))
    out.mux(track.encode(None))


class Held(NamedTuple):
    """What a film holds."""

    seconds: list[float]  # when frames begin
    base: Fraction
    size: tuple[int, int]
    aspect: Fraction
    colors: tuple[int, int, int, int]
    turn: int
    pix_fmt: str
    codec: str
    sound: list[tuple[float, bytes]]  # when packets begin, and what they hold
    language: str | None
    title: str | None
    frames: list[np.ndarray]  # as they are stored


def held(path: str | Path) -> Held:
    """Return what a film holds."""
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        frames = list(file.decode(video=0))
        first, coder = frames[0], stream.codec_context
        facts = (
            [float(frame.pts * frame.time_base) for frame in frames],
            stream.time_base,
            (first.width, first.height),
            stream.sample_aspect_ratio or Fraction(1),
            (int(first.colorspace), int(first.color_range), int(first.color_primaries), int(first.color_trc)),
            first.rotation,
            first.format.name,
            coder.name,
        )
        pixels = [frame.to_ndarray() for frame in frames]
        title = file.metadata.get("title")
        sounds = file.streams.audio
        language = sounds[0].metadata.get("language") if sounds else None
    with av.open(str(path)) as file:
        packets = file.demux(audio=0) if file.streams.audio else ()
        sound = [(float(each.pts * each.time_base), bytes(each)) for each in packets if each.size]
    return Held(*facts, sound, language, title, pixels)
