"""Films and bad luck: damaged and other files, a kill half-way, a full disk, a missing library; each has its answer."""

import os
import resource
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from lightsr_basicsr.errors import install_command
from tests.test_film.made import COUNT, film, held
from tests.test_upscale import made
from tests.test_upscale.made import NETWORK, upscale

pytestmark = pytest.mark.faults


@pytest.fixture
def work(workdir) -> Path:
    made.checkpoint()
    return workdir


def there(folder: str = "out") -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir()) if Path(folder).exists() else []


def whole(name: str, **settings) -> bytes:
    return film(f"whole_{name}", **settings).read_bytes()


def cut(name: str, part: float, **settings) -> bytes:
    content = whole(name, times=[40 * number for number in range(100)], options={"crf": "0"}, **settings)
    return content[: int(part * len(content))]


def only_sound(name: str) -> bytes:
    from tests.test_film.made import _sing, av

    with av.open("sound.mp4", "w") as out:
        _sing(out, out.add_stream("aac", rate=48_000, layout="mono"), Fraction(1, 4))
    return Path("sound.mp4").read_bytes()


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:9/part.ts\n#EXT-X-ENDLIST\n"
# A film's name: what makes its content, and the reason in the table.
FILMS = {
    "empty.mp4": (lambda name: b"", "empty file, expected a film: copy or download it again"),
    "text.mp4": (lambda name: b"hello, world", "expected a film, got text: rename it, or leave it out"),
    "page.mkv": (lambda name: b"<html>not found</html>", "got a web page or other text: was it really downloaded?"),
    "noise.avi": (lambda name: bytes(range(256)) * 9, "expected a film, got another or a damaged file"),
    "list.mp4": (lambda name: PLAYLIST, "expected a film, got text"),
    "start.mp4": (lambda name: b"\0\0\0\x18ftypmp42", "got the first part of one: it is cut short or damaged"),
    "no_index.mp4": (lambda name: cut(name, 0.6), "got the first part of one: it is cut short or damaged"),
    "cut.mkv": (lambda name: cut(name, 0.6), "cut short: "),
    "cut.avi": (lambda name: cut(name, 0.6, codec="mpeg4", sound="mp2", base=Fraction(1, 25)), "cut short: "),
    "sound.mp4": (only_sound, "expected a film with pictures, got audio only: leave it out"),
}


@pytest.mark.parametrize("name", FILMS)
def test_a_bad_film_is_named_and_the_others_are_enlarged(work, capsys, name):
    make, reason = FILMS[name]
    made.fill(Path("in"), "gray.png")
    film("in/good.mp4", sound=None)
    Path("in", name).write_bytes(make(name))
    assert upscale(f"in/{name}", "in/gray.png", "in/good.mp4", "-o", "out") == 1
    text = capsys.readouterr()
    assert there() == ["good.mp4", "gray.png"]
    assert reason in text.err
    assert f"in/{name}" in text.err
    assert "Traceback" not in text.err
    assert "2 written to out; 1 failed." in text.out


def test_a_film_and_pictures_in_one_folder(work, capsys):
    made.fill(Path("in/sub"), "gray.png", "moving.gif")
    film("in/sub/a.mov")
    film("in/b.avi", codec="mpeg4", sound="mp2", base=Fraction(1, 25), times=list(range(COUNT)))
    assert upscale("in", "-o", "out", "--recursive") == 0
    assert there() == ["b.mkv", "sub"]
    assert there("out/sub") == ["a.mov", "gray.png", "moving.gif"]
    assert "/8 frames [" in capsys.readouterr().err
    assert upscale("in", "-o", "out", "--recursive") == 0
    assert "4 skipped" in capsys.readouterr().out
    assert upscale("in", "-o", "other", "--recursive", "--ext", "webm", "--crf", "40") == 0
    assert there("other/sub") == ["a.webm", "gray.png", "moving.gif"]
    assert "a.mov: webm does not hold aac: the sound was encoded anew, as opus." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["in.mp4", "-o", "in.mp4"], "The result in.mp4 would replace the input in.mp4"),
        (["in.mp4", "-o", "link.mp4"], "would replace the input"),
        (["in.mp4", "-o", "a.avi"], "the ending decides the format of a film and must be .mp4"),
        (["in.mp4", "-o", "a.png"], "the ending decides the format of a film and must be .mp4"),
        (["gray.png", "-o", "a.mp4"], "The output a.mp4 is a film, and gray.png a picture: name a picture"),
        (["in.mp4", "-o", "a.mp4", "--crf", "64"], "Expected a crf from 0 (best) to 63, got 64"),
        (["in.mp4", "-o", "a.mp4", "--crf", "52", "--codec", "h264"], "Expected a crf from 0 (best) to 51 for h264"),
    ],
)
def test_answers_before_anything_is_computed(work, capsys, arguments, answer):
    film("in.mp4")
    made.fill(Path(), "gray.png")
    Path("link.mp4").symlink_to("in.mp4")
    before = there(".")
    assert upscale(*arguments) == 2
    assert answer in capsys.readouterr().err
    assert there(".") == before


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["-s", "64"], "of at most 35.7 million pixels (8192x4352) and 16,384 per side"),
        (["--codec", "h264", "--ext", "webm"], "WebM holds vp9 and av1, got h264: write .mkv or .mp4"),
        (["--codec", "hevc", "-s", "0.01"], "Expected the encoder libx265 to take frames of 4x2 pixels, got: "),
    ],
)
def test_what_one_film_cannot_be(work, capsys, arguments, reason):
    film("in/a.mp4", size=(320, 240), sound=None)
    assert upscale("in", "-o", "out", *arguments) == 1
    assert reason in capsys.readouterr().err
    assert there() == []


def test_without_the_library_the_command_that_installs_it_is_told(work, capsys, monkeypatch):
    monkeypatch.setattr("lightsr_basicsr.tools.upscale.inputs.is_installed", lambda: False)
    made.fill(Path("in"), "gray.png")
    film("in/a.mp4")
    Path("only").mkdir()
    film("only/a.mp4")
    for arguments, written in ((["in"], ["gray.png"]), (["only"], []), (["in/a.mp4"], [])):
        assert upscale(*arguments, "-o", "out", "--overwrite") == 1
        assert f"films need PyAV, which is not installed: {install_command('video')}" in capsys.readouterr().err
        assert [name for name in there() if name in written] == written


def test_damage_in_the_middle_costs_a_few_frames(work, capsys):
    film("in.mp4", [40 * number for number in range(60)], options={"crf": "10"}, sound=None)
    content = bytearray(Path("in.mp4").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 300] = bytes(np.random.default_rng(0).integers(0, 256, 300, dtype=np.uint8))
    Path("in.mp4").write_bytes(content)
    assert upscale("in.mp4", "-o", "a.mp4") == 0
    assert len(held("a.mp4").frames) >= 40
    assert "Traceback" not in capsys.readouterr().err


def test_frames_of_another_size(work, capsys):
    """Two streams of transport that follow one another are one film, whose frames change their size."""
    parts = [
        film(f"{size[0]}.ts", format="mpegts", size=size, sound=None).read_bytes() for size in ((32, 24), (64, 48))
    ]
    Path("in.mts").write_bytes(b"".join(parts))
    assert upscale("in.mts", "-o", "a.mkv") == 1
    assert "expected frames of 32x24 pixels, got 64x48 at frame 8: cut it there" in capsys.readouterr().err
    assert not Path("a.mkv").exists()


def test_a_disk_that_is_full(work):
    """The limit on the size of a file stands for it: the error has the same treatment."""
    made.fill(Path("in"), "gray.png")
    film("in/a.mp4", [40 * number for number in range(60)], size=(96, 64))
    done = subprocess.run(
        [sys.executable, "-m", "lightsr_basicsr", "upscale", "in", "-o", "out", "--crf", "0", *NETWORK],
        capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)),
    )  # fmt: skip
    assert done.returncode == 1
    assert "the disk is full, and 1 were not tried: make room" in done.stderr
    assert "Traceback" not in done.stderr
    assert there() == []


@pytest.mark.parametrize("place", ["segment", "join"])
def test_no_room_while_writing(work, capsys, monkeypatch, place):
    film("in.mp4")
    with monkeypatch.context() as patched:
        if place == "segment":
            patched.setattr("lightsr_basicsr.whole.os.replace", _full)
        else:
            patched.setattr("lightsr_basicsr.film.joining.made_whole", _full_file)
        assert upscale("in.mp4", "-o", "a.mp4") == 1
    assert "No space left on device" in (text := capsys.readouterr().err)
    assert "the disk is full" in text
    assert not Path("a.mp4").exists()
    assert upscale("in.mp4", "-o", "a.mp4") == 0
    assert len(held("a.mp4").frames) == COUNT


def _full(*names):
    raise OSError(28, "No space left on device")


class _FullFile:
    def __init__(self) -> None:
        self.file = Path("half.part").open("w+b")  # noqa: SIM115

    def write(self, data) -> int:
        if self.file.tell() > 1000:
            _full()
        return self.file.write(data)

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()


def _full_file(*arguments):
    return _FullFile()


def test_a_killed_film_goes_on_and_equals_a_whole_one(work, capsys):
    """SIGKILL after at least one segment of 48 frames; the same command then ends with the bytes of a run alone."""
    film("in.mp4", [40 * number for number in range(110)], size=(192, 144))
    command = [sys.executable, "-m", "lightsr_basicsr", "upscale", "in.mp4", "-o", "a.mp4", *NETWORK]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    segments = Path(".a.mp4.segments")
    while process.poll() is None and not (segments / "000000.segment").exists():
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not Path("a.mp4").exists()
    kept = len(list(segments.glob("*.segment")))
    assert kept >= 1
    assert upscale("in.mp4", "-o", "a.mp4") == 0
    assert f"in.mp4: goes on after frame {48 * kept} of 110." in capsys.readouterr().err
    assert upscale("in.mp4", "-o", "whole.mp4") == 0
    assert Path("a.mp4").read_bytes() == Path("whole.mp4").read_bytes()
    assert len(held("a.mp4").frames) == 110
    assert not segments.exists()


def test_ctrl_c_keeps_segments_and_says_how_to_go_on(work, capsys, monkeypatch):
    film("in.mp4", [40 * number for number in range(60)])
    from lightsr_basicsr.upscale.films import FrameEnlarger

    enlarge, count = FrameEnlarger.enlarge, []

    def interrupted(*args):
        count.append(1)
        if len(count) == 55:
            raise KeyboardInterrupt
        return enlarge(*args)

    with monkeypatch.context() as patched:
        patched.setattr(FrameEnlarger, "enlarge", interrupted)
        assert upscale("in.mp4", "-o", "a.mp4") == 130
    assert "interrupted; to go on, run the command again." in capsys.readouterr().err
    assert upscale("in.mp4", "-o", "a.mp4") == 0
    assert "goes on after frame 48 of 60" in capsys.readouterr().err


def test_names_that_are_no_text(work):
    name = os.fsdecode(b"caf\xe9 \x1b[2J%d.mp4")
    film("plain.mp4")
    Path("in").mkdir()
    Path("plain.mp4").rename(Path("in", name))
    assert upscale("in", "-o", "out") == 0
    assert there() == [name]
