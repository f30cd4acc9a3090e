"""A film in and a film out: what is kept, what is changed and said, and how a broken run goes on."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from lightsr_basicsr import Upscaler
from lightsr_basicsr.film import encoding, enlarging
from lightsr_basicsr.film.colors import Converter
from lightsr_basicsr.film.names import FilmError
from lightsr_basicsr.film.segments import folder_of
from lightsr_basicsr.film.source import Frames, read_film
from tests.test_film.made import COUNT, HEIGHT, UNEVEN, WIDTH, film, held
from tests.test_upscale import made

COLORS = {"colorspace": 1, "color_range": 2, "color_primaries": 9, "color_trc": 16}


@pytest.fixture
def upscaler() -> Upscaler:
    return Upscaler(made.network(), **made.SETTINGS)


@pytest.fixture
def short(monkeypatch):
    """Segments of three frames."""
    monkeypatch.setattr(encoding, "SEGMENT", 3)
    monkeypatch.setattr(enlarging, "SEGMENT", 3)


def leftovers() -> list[str]:
    return [path.name for path in Path().iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", ["a.mp4", "a.m4v", "a.mov", "a.mkv"])
def test_times_sound_colors_turn_and_shape_stay(workdir, upscaler, short, name):
    film("in" + name[1:], UNEVEN, sample_aspect_ratio=Fraction(4, 3), turn=90, **COLORS)
    assert upscaler.upscale_film("in" + name[1:], name) == ()
    before, after = held("in" + name[1:]), held(name)
    assert after.size == (2 * WIDTH, 2 * HEIGHT)
    assert after.seconds == before.seconds
    assert after.seconds[0] == 0.5
    assert after.sound == before.sound
    assert len(after.sound) > 30
    for fact in ("base", "aspect", "colors", "turn", "language", "title", "pix_fmt"):
        assert getattr(after, fact) == getattr(before, fact), fact
    assert after.turn == 90
    assert after.colors == tuple(COLORS.values())
    assert leftovers() == []


def test_webm_of_vp9_and_opus(workdir, upscaler):
    film("in.webm", UNEVEN, codec="libvpx-vp9", sound="libopus", turn=180)
    assert upscaler.upscale_film("in.webm", "a.webm") == ()
    before, after = held("in.webm"), held("a.webm")
    assert (after.seconds, after.sound, after.turn, after.codec) == (before.seconds, before.sound, before.turn, "vp9")


@pytest.mark.parametrize("base", [Fraction(1, 90_000), Fraction(1001, 30_000), Fraction(1, 25)])
def test_the_clock_stays(workdir, upscaler, short, base):
    film("in.mp4", [0, 1, 2, 4, 5, 9, 10, 11], base=base)
    upscaler.upscale_film("in.mp4", "a.mp4")
    before, after = held("in.mp4"), held("a.mp4")
    assert after.seconds == pytest.approx(before.seconds, abs=0)
    assert after.base == before.base


def test_frames_are_those_of_pictures(workdir, upscaler, short):
    """Without loss the stored numbers are those of the enlarged pictures, frame by frame."""
    film("in.mp4")
    upscaler.upscale_film("in.mp4", "a.mp4", crf=0)
    converter = Converter(read_film(Path("in.mp4")).colors)
    shots = list(Frames(read_film(Path("in.mp4"))))
    assert len(shots) == COUNT
    for shot, stored in zip(shots, held("a.mp4").frames, strict=True):
        np.testing.assert_array_equal(converter.to_frame(upscaler.upscale(shot.pixels)).to_ndarray(), stored)


def test_ten_bits_stay(workdir, upscaler):
    film("in.mkv", codec="libx265", pix_fmt="yuv420p10le", options={"x265-params": "log-level=none"})
    for codec, name in (("hevc", "a.mp4"), ("h264", "a.mkv")):
        upscaler.upscale_film("in.mkv", name, codec=codec)
        assert (held(name).pix_fmt, held(name).codec) == ("yuv420p10le", codec)


def test_av1(workdir, upscaler):
    film("in.mp4", size=(64, 48))
    upscaler.upscale_film("in.mp4", "a.mp4", codec="av1")
    assert held("a.mp4").seconds == held("in.mp4").seconds
    assert held("a.mp4").codec in ("av1", "libdav1d", "libaom-av1")


def test_odd_sizes_become_even_and_say_so(workdir, upscaler):
    film("in.mp4", size=(34, 26))
    upscaler = Upscaler(made.network(), **made.SETTINGS, outscale=1.5)
    assert upscaler.upscale_film("in.mp4", "a.mp4") == (
        "51x39 pixels became even: the last row or column is there twice.",
    )
    assert held("a.mp4").size == (52, 40)


def test_where_pixels_must_be_square_they_are_made_so(workdir, upscaler):
    film("in.mkv", sample_aspect_ratio=Fraction(4, 3), sound=None)
    notes = upscaler.upscale_film("in.mkv", "a.webm")
    assert notes == ("vp9 in this container holds square pixels only: frames were stretched to 86x48.",)
    assert (held("a.webm").size, held("a.webm").aspect) == ((86, 48), 1)


def test_sound_that_the_container_does_not_hold_is_encoded(workdir, upscaler):
    film("in.mp4")
    assert upscaler.upscale_film("in.mp4", "a.webm") == (
        "webm does not hold aac: the sound was encoded anew, as opus.",
    )
    after = held("a.webm")
    assert after.language == "deu"
    assert after.sound[-1][0] == pytest.approx(held("in.mp4").sound[-1][0], abs=0.05)


def test_films_of_other_kinds(workdir, upscaler):
    film("in.avi", codec="mpeg4", sound="mp2", base=Fraction(1, 25), times=list(range(COUNT)))
    film("in.mpg", codec="mpeg2video", sound="mp2", base=Fraction(1, 25), times=list(range(COUNT)))
    film("in.ts", sound="aac", format="mpegts")
    for name in ("in.avi", "in.mpg", "in.ts"):
        assert upscaler.upscale_film(name, "a.mkv") == ()
        before, after = held(name), held("a.mkv")
        start = before.seconds[0] - after.seconds[0]
        assert after.seconds == pytest.approx([each - start for each in before.seconds], abs=0.001)
        header = 7 if name == "in.ts" else 0  # of each packet, which no other container needs
        assert [data for _, data in after.sound] == [data[header:] for _, data in before.sound]


def test_films_without_sound_and_with_subtitles(workdir, upscaler):
    film("in.mkv", sound=None, subtitle="subrip")
    assert upscaler.upscale_film("in.mkv", "a.mkv") == ()
    notes = upscaler.upscale_film("in.mkv", "a.mp4")
    assert notes == ("mp4 does not hold subtitles of the kind subrip, which are left out: write .mkv.",)
    from tests.test_film.made import av

    with av.open("a.mkv") as file:
        assert [bytes(each) for each in file.demux(subtitles=0) if each.size] == [b"hello"]


def test_one_frame(workdir, upscaler):
    film("in.mp4", [0], sound=None)
    upscaler.upscale_film("in.mp4", "a.mp4")
    assert held("a.mp4").seconds == [0]


# Resuming


class StoppedError(Exception):
    pass


def stop_at(last: int):
    def progress(done: int, total: int) -> None:
        if done == last:
            raise StoppedError

    return progress


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm"])
@pytest.mark.parametrize("last", [1, 4, 7, 8])
def test_a_broken_run_goes_on_and_equals_a_whole_one(workdir, upscaler, short, name, last):
    film("in.mp4", UNEVEN)
    upscaler.upscale_film("in.mp4", f"whole{name[1:]}")
    with pytest.raises(StoppedError):
        upscaler.upscale_film("in.mp4", name, progress=stop_at(last))
    assert not Path(name).exists()
    kept = sorted(path.name for path in folder_of(Path(name)).glob("*.segment"))
    most = (last - 1) // 3
    assert len(kept) in (most, max(0, most - 1))  # the encoder may be a segment behind
    said, seen = [], []
    upscaler.report = said.append
    upscaler.upscale_film("in.mp4", name, progress=lambda *counts: seen.append(counts))
    assert seen == [(number, COUNT) for number in range(3 * len(kept) + 1, COUNT + 1)]
    assert said == ([f"in.mp4: goes on after frame {3 * len(kept)} of 8."] if kept else [])
    assert Path(name).read_bytes() == Path(f"whole{name[1:]}").read_bytes()
    assert leftovers() == []


@pytest.mark.parametrize("change", ["crf", "network", "film", "scale", "torn"])
def test_other_settings_start_over_and_say_so(workdir, upscaler, short, change):
    film("in.mp4", UNEVEN)
    with pytest.raises(StoppedError):
        upscaler.upscale_film("in.mp4", "a.mp4", progress=stop_at(7))
    settings, others = {}, {}
    if change == "crf":
        settings = {"crf": 30}
    elif change == "film":
        film("in.mp4", [time + 40 for time in UNEVEN])
    elif change == "torn":
        while len(finished := sorted(folder_of(Path("a.mp4")).glob("*.segment"))) < 2:  # the encoder was behind
            with pytest.raises(StoppedError):
                upscaler.upscale_film("in.mp4", "a.mp4", progress=stop_at(7))
        path = finished[1]
        path.write_bytes(path.read_bytes()[:-1])
    elif change == "scale":
        others = {"outscale": 1.5}
    net = made.network()
    if change == "network":
        next(net.parameters()).data.add_(0.01)
    said = []
    upscaler = Upscaler(net, **made.SETTINGS, **others, report=said.append)
    upscaler.upscale_film("in.mp4", "a.mp4", **settings)
    if change == "torn":
        assert said == ["in.mp4: goes on after frame 3 of 8."]
    else:
        word = {"crf": "encoder", "scale": "network, encoder"}.get(change, change)
        assert said == [f"in.mp4: what an earlier run left was made otherwise ({word}): starts over."]
    upscaler.upscale_film("in.mp4", "whole.mp4", **settings)
    assert Path("a.mp4").read_bytes() == Path("whole.mp4").read_bytes()


def test_a_failed_join_keeps_the_segments_and_the_old_film(workdir, upscaler, short, monkeypatch):
    film("in.mp4")
    Path("a.mp4").write_bytes(b"old")
    with monkeypatch.context() as patched:
        patched.setattr("lightsr_basicsr.whole.os.replace", lambda *names: 1 / 0)
        patched.setattr("lightsr_basicsr.film.segments.write_whole", lambda path, data, error: path.write_bytes(data))
        with pytest.raises(ZeroDivisionError):
            upscaler.upscale_film("in.mp4", "a.mp4")
    assert Path("a.mp4").read_bytes() == b"old"
    assert leftovers() == [".a.mp4.segments"]
    seen = []
    upscaler.upscale_film("in.mp4", "a.mp4", progress=lambda *counts: seen.append(counts))
    assert seen == []
    assert held("a.mp4").size == (64, 48)


# Errors


@pytest.mark.parametrize(
    ("settings", "output", "answer"),
    [
        ({"codec": "mpeg7"}, "a.mp4", "Expected one of h264, hevc, vp9, av1 as codec, got 'mpeg7'"),
        ({"crf": 52}, "a.mp4", "Expected a crf from 0 (best) to 51 for h264, got 52"),
        ({"crf": 1.5}, "a.mp4", "got 1.5"),
        ({"codec": "h264"}, "a.webm", "a.webm: WebM holds vp9 and av1, got h264: write .mkv or .mp4"),
        ({}, "a.avi", "the ending decides the format of a film and must be .mp4, .m4v, .mov, .mkv, .webm: rename it"),
    ],
)
def test_wishes_that_cannot_be(workdir, upscaler, settings, output, answer):
    film("in.mp4")
    with pytest.raises(FilmError) as caught:
        upscaler.upscale_film("in.mp4", output, **settings)
    assert answer in str(caught.value)
    assert sorted(path.name for path in Path().iterdir()) == ["in.mp4"]


def test_a_missing_encoder_is_named(workdir, upscaler, monkeypatch):
    film("in.mp4")
    from tests.test_film.made import av

    monkeypatch.setattr(av, "codecs_available", {"libsvtav1"})
    with pytest.raises(FilmError, match=r"Expected the encoder libx264 for h264 .* choose --codec av1, or install"):
        upscaler.upscale_film("in.mp4", "a.mp4")


def test_frames_that_are_too_large_are_told_before_work(workdir):
    film("in.mp4", size=(320, 240), sound=None)
    upscaler = Upscaler(made.network(), **made.SETTINGS, outscale=64)
    with pytest.raises(
        FilmError, match=r"in\.mp4: Expected frames of at most 35\.7 million .* got 20480x15360: choose"
    ):
        upscaler.upscale_film("in.mp4", "a.mp4", progress=stop_at(1))
