"""The command: every kind of picture in and out, trees, names, skipping, and answers before work starts."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from lightsr_basicsr import cli
from lightsr_basicsr.pictures.animation import read_animation
from lightsr_basicsr.pictures.reading import read_picture
from lightsr_basicsr.tools.upscale import jobs as jobs_module
from lightsr_basicsr.tools.upscale import run as run_module
from tests.test_upscale import made
from tests.test_upscale.made import NETWORK, upscale


@pytest.fixture
def work(workdir) -> Path:
    made.checkpoint()
    return workdir


def files(folder: str = "out") -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


def test_every_kind_of_picture_keeps_what_it_is(work, capsys):
    made.fill(Path("in"))
    assert upscale("-i", "in", "-o", "out") == 0
    renamed = {"still.gif": "still.png"}
    assert files() == sorted(renamed.get(name, name) for name in made.MADE)
    for name in made.MADE:
        before, after = read_picture(Path("in", name)), read_picture(Path("out", renamed.get(name, name)))
        assert after.size == (2 * before.size[0], 2 * before.size[1])
        assert (after.kind, after.is_gray) == (before.kind, before.is_gray)
        assert (after.alpha is None) == (before.alpha is None)
        assert after.metadata.dpi == before.metadata.dpi
    for name in ("moving.gif", "moving.webp", "moving.png"):
        before, after = read_animation(Path("in", name)), read_animation(Path("out", name))
        assert (after.count, after.loop) == (before.count, before.loop)
        assert [frame.milliseconds for frame in after] == [80, 80, 80]
    assert read_picture("out/turned.jpg").size == (2 * made.HEIGHT, 2 * made.WIDTH)
    assert b"Leitz" in read_picture("out/turned.jpg").metadata.exif
    text = capsys.readouterr()
    assert "16 written to out." in text.out
    assert "cmyk.jpg: CMYK without a color profile became RGB" in text.err


def test_pixels_are_those_of_python(work):
    from lightsr_basicsr import Upscaler

    made.fill(Path("in"), "rgba.png", "deep.png")
    assert upscale("in/rgba.png", "in/deep.png", "-o", "out", "-s", "3", "--self-ensemble", "-t", "8") == 0
    runs = Upscaler("rtc.pth", **made.SETTINGS, outscale=3, self_ensemble=True)
    image = np.asarray(Image.open("in/rgba.png"))
    np.testing.assert_array_equal(np.asarray(Image.open("out/rgba.png")), runs.upscale(image))
    image = cv2.imread("in/deep.png", cv2.IMREAD_UNCHANGED)[:, :, ::-1]
    np.testing.assert_array_equal(
        cv2.imread("out/deep.png", cv2.IMREAD_UNCHANGED)[:, :, ::-1], runs.upscale(np.ascontiguousarray(image))
    )


def test_trees_are_kept(work, capsys):
    for folder in ("in", "in/a", "in/a/b", "in/.hidden"):
        made.fill(Path(folder), "gray.png")
    Path("in/notes.txt").write_text("text")
    assert upscale("in", "-o", "in/out", "--recursive") == 0
    assert files("in/out") == ["a/b/gray.png", "a/gray.png", "gray.png"]
    assert "3 written to in/out; 1 other files left out." in capsys.readouterr().out
    assert upscale("in", "-o", "in/out", "--recursive") == 0
    assert "0 written to in/out; 3 skipped" in capsys.readouterr().out
    assert upscale("in", "-o", "other") == 0
    assert files("other") == ["gray.png"]


def test_inputs_by_pattern_and_twice(work):
    made.fill(Path("in"), "gray.png", "rgb.jpg", "rgba.png")
    assert upscale("-i", "in/*.png", "in/gray.png", "in/../in/rgb.jpg", "-o", "out") == 0
    assert files() == ["gray.png", "rgb.jpg", "rgba.png"]


def test_names(work):
    made.fill(Path("in"), "gray.png", "still.gif")
    Path("in/none").write_bytes(Path("in/gray.png").read_bytes())
    assert upscale("in/gray.png", "in/still.gif", "in/none", "-o", "out", "--suffix", "x2") == 0
    assert files() == ["gray_x2.png", "none_x2.png", "still_x2.png"]
    assert upscale("in/gray.png", "-o", "new/large.webp") == 0
    assert Image.open("new/large.webp").size == (48, 36)
    assert upscale("in/gray.png", "-o", "jpg", "--ext", "jpg") == 0
    assert files("jpg") == ["gray.jpg"]


def test_pictures_that_become_pngs_take_no_name_of_others(work):
    made.fill(Path("in"), "still.gif", "gray.png")
    Path("in/gray.png").rename("in/still.png")
    assert upscale("in", "-o", "out") == 0
    assert upscale("in", "-o", "out", "--suffix", "x2") == 0
    assert files() == ["still.gif.png", "still.png", "still_x2.gif.png", "still_x2.png"]


def test_results_beside_the_pictures(work, capsys):
    made.fill(Path("in"), "gray.png", "rgb.jpg")
    for counts in ("2 written to in.", "0 written to in; 2 skipped"):
        assert upscale("in", "-o", "in", "--suffix", "x2") == 0
        assert counts in capsys.readouterr().out
    assert files("in") == ["gray.png", "gray_x2.png", "rgb.jpg", "rgb_x2.jpg"]


def test_finished_results_are_kept_unless_asked(work, capsys):
    made.fill(Path("in"), "gray.png", "rgba.png")
    Path("out").mkdir()
    Path("out/gray.png").write_bytes(b"mine")
    assert upscale("in", "-o", "out") == 0
    assert Path("out/gray.png").read_bytes() == b"mine"
    assert "1 written to out; 1 skipped, which exist already (--overwrite" in capsys.readouterr().out
    assert upscale("in", "-o", "out", "--overwrite") == 0
    assert Image.open("out/gray.png").size == (48, 36)


def test_what_is_said(work, capsys):
    made.fill(Path("in"), "gray.png")
    assert upscale("in", "-o", "out", "-s", "1.5") == 0
    text = capsys.readouterr()
    assert "rtc.pth, x2, run by torch (because it was asked for), fp32, on cpu" in text.err
    assert "the network makes x2, which is then resized to x1.5" in text.err
    assert "100%" in text.err
    assert upscale("in", "-o", "out", "--overwrite", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ([], "Name a picture, a film or a folder"),
        (["in", "-n", "IMDN_x4"], "-n and --model both name a network"),
        (["in", "--fp32", "--precision", "bf16"], "contradict"),
        (["in", "-g", "1", "--device", "cpu"], "contradict"),
        (["in", "-s", "0"], "Expected a scale above 0 and up to 64, got 0"),
        (["in", "-s", "nan"], "got nan"),
        (["inn"], "There is no input inn (looked from {}). Did you mean in?"),
        (["in/*.jpg"], "No file matches in/*.jpg"),
        (["empty"], "empty holds no pictures (.png"),
        (["tree"], "tree holds no pictures"),
        (["tree"], "--recursive looks into its sub-folders"),
        (["in", "-o", "in"], "The result in/gray.png would replace the input in/gray.png: name another folder with -o"),
        (["in/gray.png", "-o", "in/gray.png"], "would replace the input"),
        (["in/gray.png", "-o", "link.png"], "The result link.png would replace the input in/gray.png"),
        (["in", "in/gray.png", "-o", "one.png"], "The output one.png is one file, and there are several inputs"),
        (["in", "-o", "one.png"], "is one file"),
        (["in/gray.png", "-o", "one.png", "--ext", "jpg"], "leave --ext and --suffix out"),
        (["in", "--suffix", "a/b"], "Expected letters for a name as --suffix"),
        (["two", "--ext", "png"], "Several inputs would be written under one name"),
        (["two", "--ext", "png"], "\n  results/rgb.png: two/rgb.jpg, two/rgb.webp"),
        (["in", "-o", "rtc.pth"], "The output folder rtc.pth cannot be written (it is a file)"),
        (["in", "-o", "rtc.pth/new"], "cannot be written"),
    ],
)
def test_answers_before_anything_is_computed(work, capsys, arguments, answer, monkeypatch):
    made.fill(Path("in"), "gray.png")
    made.fill(Path("tree/sub"), "gray.png")
    made.fill(Path("two"), "rgb.jpg")
    Image.fromarray(made.eight(3)).save("two/rgb.webp")
    Path("empty").mkdir()
    Path("link.png").symlink_to("in/gray.png")
    before = files(".")
    monkeypatch.setattr("lightsr_basicsr.commands.upscale._open", None)
    assert upscale(*arguments) == 2
    text = capsys.readouterr().err
    assert answer.format(work) in text
    assert text.startswith("basicsr: ")
    assert files(".") == before


@pytest.mark.parametrize(
    ("network", "answer"),
    [
        (["--opt", "some.yml"], "--opt describes the network of a file: name that with --model"),
        (["-n", "IMDN_x4"], "basicsr fetch IMDN_x4"),
        (["-n", "IMDM_x4"], "Did you mean IMDN_x4"),
        (["--model", "none.pth"], "There is no checkpoint at none.pth"),
        (["--model", "in/gray.png"], "gray.png"),
        (["--model", "in"], "in"),
    ],
)
def test_networks_that_are_not_there(work, capsys, network, answer):
    made.fill(Path("in"), "gray.png")
    assert cli.main(["upscale", "in", "-o", "out", *network]) == 2
    assert answer in capsys.readouterr().err
    assert not Path("out").exists()


def test_arguments_of_real_esrgan(work):
    made.fill(Path("in"), "gray.png")
    words = [
        "-i",
        "in",
        "-o",
        "out",
        "-s",
        "2",
        "-t",
        "16",
        "--tile_pad",
        "10",
        "--suffix",
        "out",
        "--ext",
        "auto",
        "--fp32",
    ]
    assert upscale(*words) == 0
    assert files() == ["gray_out.png"]


def test_a_network_of_an_option_file(work):
    import torch
    from basicsr.archs import build_network

    made.fill(Path("in"), "gray.png")
    net = build_network({"type": "ECBSR", "num_in_ch": 3, "num_out_ch": 3, "num_block": 1, "num_channel": 4,
                         "with_idt": False, "act_type": "prelu", "scale": 2})  # fmt: skip
    torch.save({"params": net.state_dict()}, "ecbsr.pth")
    Path("ecbsr.yml").write_text(
        "network_g: {type: ECBSR, num_in_ch: 3, num_out_ch: 3, num_block: 1, num_channel: 4, with_idt: false, "
        "act_type: prelu, scale: 2}\n"
    )
    common = ["upscale", "in", "-o", "out", "--model", "ecbsr.pth", "--backend", "torch"]
    assert cli.main(common) == 2
    assert cli.main([*common, "--opt", "ecbsr.yml"]) == 0
    assert files() == ["gray.png"]


def test_exported_files(work):
    pytest.importorskip("onnx", reason="the extra onnx is not installed")
    made.fill(Path("in"), "rgba.png")
    for output in ("rtc.onnx", "rtc.ts"):
        assert cli.main(["export", "rtc.pth", "-o", output]) == 0
    for network in (["--model", "rtc.onnx"], ["--model", "rtc.ts", "--trust"]):
        assert cli.main(["upscale", "in", "-o", "out", "--overwrite", *network]) == 0
        assert Image.open("out/rgba.png").size == (48, 36)
    assert cli.main(["upscale", "in", "-o", "no", "--model", "rtc.ts"]) == 2


# Threads


def test_reading_and_writing_go_on_beside_the_network(work, monkeypatch):
    """At most one picture is decoded ahead, and large results wait for one another."""
    for number in range(6):
        made.fill(Path("in"), "gray.png")
        Path("in/gray.png").rename(f"in/{number}.png")
    alive, most = set(), []
    monkeypatch.setattr(run_module, "SMALL", 0)
    for name, begins in (("_read", True), ("_write", False)):
        work_of = getattr(run_module, name)

        def watched(path, *args, work_of=work_of, begins=begins):
            alive.add(path.name)
            most.append(len(alive))
            try:
                return work_of(path, *args)
            finally:
                if not begins:
                    alive.discard(path.name)

        monkeypatch.setattr(run_module, name, watched)
    assert upscale("in", "-o", "out") == 0
    assert len(files()) == 6
    assert max(most) <= 3


def test_a_full_disk_ends_the_run(work, capsys, monkeypatch):
    made.fill(Path("in"), "gray.png", "rgb.jpg", "rgba.png", "deep.png", "plain.bmp")
    link, count = os.replace, []

    def full(*args):
        count.append(1)
        if len(count) > 1:
            raise OSError(28, "No space left on device")
        return link(*args)

    with monkeypatch.context() as patched:
        patched.setattr("lightsr_basicsr.whole.os.replace", full)
        assert upscale("in", "-o", "out", "--overwrite") == 1
    text = capsys.readouterr()
    assert "No space left on device" in text.err
    assert "the disk is full, and" in text.err
    assert len(files()) == 1
    assert upscale("in", "-o", "out") == 0
    assert len(files()) == 5


def test_ctrl_c_keeps_what_is_done(work, capsys, monkeypatch):
    made.fill(Path("in"), "deep.png", "gray.png", "rgb.jpg")
    enlarge, count = run_module._enlarged, []

    def interrupted(*args):
        count.append(1)
        if len(count) == 3:
            raise KeyboardInterrupt
        return enlarge(*args)

    with monkeypatch.context() as patched:
        patched.setattr(run_module, "_enlarged", interrupted)
        assert upscale("in", "-o", "out") == 130
    assert files() == ["deep.png", "gray.png"]
    assert "interrupted; to go on, run the command again." in capsys.readouterr().err
    assert upscale("in", "-o", "out") == 0
    assert "1 written to out; 2 skipped" in capsys.readouterr().out


def test_what_killed_runs_left_is_removed(work):
    made.fill(Path("in"), "gray.png")
    Path("out").mkdir()
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True
    ).stdout
    for name in (f".gray.png.{dead.strip()}.part", f".other.png.{dead.strip()}.part", f".gray.png.{os.getppid()}.part"):
        Path("out", name).write_bytes(b"half")
    assert upscale("in", "-o", "out") == 0
    assert files() == sorted([".other.png." + dead.strip() + ".part", f".gray.png.{os.getppid()}.part", "gray.png"])
    assert jobs_module._is_running(os.getppid())


def test_a_killed_run_goes_on(work, capsys):
    """Whatever the moment of the kill, there are only whole results, and the next run makes the rest."""
    for number in range(12):
        Image.fromarray((made.smooth(90, 120, 3, seed=number) * 255).astype(np.uint8)).save(f"{number}.png")
    process = subprocess.Popen(
        [sys.executable, "-m", "lightsr_basicsr", "upscale", "*.png", "-o", "out", *NETWORK], stderr=subprocess.DEVNULL
    )
    while process.poll() is None and len(files() if Path("out").exists() else []) < 3:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(files()) >= 3
    before = [name for name in files() if name.endswith(".png")]
    assert all(Image.open(Path("out", name)).size == (240, 180) for name in before)
    assert upscale("*.png", "-o", "out") == 0
    assert f"{12 - len(before)} written to out" in capsys.readouterr().out
    assert files() == sorted(f"{number}.png" for number in range(12))


def test_argument_errors_import_no_torch():
    code = (
        "import sys; from lightsr_basicsr import cli\n"
        "status = cli.main(['upscale', 'none.png', '-n', 'IMDN_x4']); print(status, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False"]
