"""`basicsr prepare lr`: MATLAB's files, resumption, what is refused, what is kept."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from lightsr_basicsr import cli
from lightsr_basicsr.archs.imdn_arch import IMDN_RTC
from lightsr_basicsr.data.degradations import blur_subsample, imresize
from lightsr_basicsr.data.low_resolution import LowResolution
from lightsr_basicsr.tools.prepare.jobs import PrepareError, Work
from lightsr_basicsr.tools.prepare.lr import prepare_lr
from tests import tiny
from tests.tiny import ANEW, QUIET


def photographs(folder: Path, count: int = 3, height: int = 50, width: int = 61) -> Path:
    """Write smooth random images of sides that are no multiples of 4."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(count):
        image = cv2.resize(rng.integers(0, 256, (9, 11, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{index:02d}.png"), image)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_equals_the_files_that_matlab_wrote(shared, workdir, scale):
    source = shared / "data" / "Set5" / f"HR_x{scale}"
    done = prepare_lr(source, "Set5", LowResolution(border="replicate"), [scale], work=QUIET)
    assert (done.made, done.failed) == (10, [])
    for file in sorted(source.glob("*.png")):
        theirs = cv2.imread(str(shared / "data" / "Set5" / f"LRBI_x{scale}" / file.name))
        assert np.array_equal(cv2.imread(f"Set5/LRBI_x{scale}/{file.name}"), theirs), file.name
        assert np.array_equal(cv2.imread(f"Set5/HR_x{scale}/{file.name}"), cv2.imread(str(file)))


def test_hr_is_cropped_and_lr_is_made_of_the_cropped_image(workdir):
    photographs(Path("photos"))
    prepare_lr("photos", "set", scales=[4], work=QUIET)
    whole = cv2.imread("photos/01.png")
    assert np.array_equal(cv2.imread("set/HR_x4/01.png"), whole[:48, :60])
    assert np.array_equal(cv2.imread("set/LRBI_x4/01.png"), imresize(whole[:48, :60], 1 / 4))


def test_bd_and_dn(workdir):
    photographs(Path("photos"))
    for kind in ("bd", "dn"):
        prepare_lr("photos", "set", LowResolution(kind, seed=3), [3], work=QUIET)
    hr = cv2.imread("set/HR_x3/02.png")
    assert np.array_equal(cv2.imread("set/LRBD_x3/02.png"), blur_subsample(hr, 3))
    noisy, clean = cv2.imread("set/LRDN_x3/02.png").astype(float), imresize(hr, 1 / 3).astype(float)
    inside = (clean > 100) & (clean < 156)
    assert 27 < (noisy - clean)[inside].std() < 33
    assert len({tuple(np.round((noisy - clean)[0, :5, channel])) for channel in range(3)}) == 3


def test_noise_depends_on_seed_and_name_only(workdir):
    photographs(Path("photos"))
    for out, seed, jobs in (("a", 0, 1), ("b", 0, 3), ("c", 1, 1)):
        prepare_lr("photos", out, LowResolution("dn", seed=seed), [3], work=Work(workers=jobs, progress=False))
    a, b, c = (contents(Path(out) / "LRDN_x3") for out in "abc")
    a.pop(".prepare.json"), b.pop(".prepare.json")
    assert a == {name: b[name] for name in a}
    assert all(a[name] != c[name] for name in a)


def test_div2k_layout_is_what_the_option_files_read(workdir):
    photographs(Path("datasets/DIV2K/DIV2K_train_HR"), height=48, width=60)
    status = cli.main(["prepare", "lr", "-i", "datasets/DIV2K/DIV2K_train_HR", "-o", "datasets/DIV2K", "--quiet",
                       "--layout", "div2k", "--scale", "3", "--degradation", "bd"])  # fmt: skip
    assert status == 0
    assert [path.name for path in sorted(Path("datasets/DIV2K/DIV2K_train_LR_BD/X3").glob("*.png"))] == [
        "00x3BD.png", "01x3BD.png", "02x3BD.png",
    ]  # fmt: skip
    prepare_lr("datasets/DIV2K/DIV2K_train_HR", "datasets/DIV2K", scales=[2], layout="div2k", work=QUIET)
    assert Path("datasets/DIV2K/DIV2K_train_LR_bicubic/X2/02x2.png").is_file()


def test_uneven_hr_images_are_reported_where_none_are_written(workdir):
    photographs(Path("set_HR"))
    done = prepare_lr("set_HR", "out", scales=[2, 4], layout="div2k", work=QUIET)
    assert [note.split(" (")[0] for note in done.notes] == [
        "3 HR images have sides that are no multiples of 2",
        "3 HR images have sides that are no multiples of 4",
    ]
    done = prepare_lr("set_HR", "out", scales=[4], layout="div2k", write_hr=True, work=QUIET)
    assert cv2.imread("out/set_HR_x4/00.png").shape == (48, 60, 3)
    assert (done.notes, done.section["train"]["dataroot_gt"]) == ([], "out/set_HR_x4")


def sections(printed: str) -> list[dict]:
    """Return what is printed for option files, each block a document."""
    return [yaml.safe_load(block) for block in printed.split("For an option file:")[1:]]


def test_each_scale_has_a_section_that_can_be_tested_with(workdir, capsys):
    photographs(Path("photos"))
    assert cli.main(["prepare", "lr", "-i", "photos", "-o", "set", "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "18 files made, 0 existing files kept" in printed
    blocks = sections(printed)
    assert [block["scale"] for block in blocks] == [2, 3, 4]
    torch.save(IMDN_RTC(num_feat=4, num_block=1).state_dict(), "x2.pth")
    options = {**tiny.test_options(pretrain_network_g="x2.pth"), **blocks[0]}
    assert cli.main(["test", "-opt", tiny.write(options)]) == 0


def test_a_benchmark_folder_has_a_section_to_train_with(workdir, capsys):
    photographs(Path("photos"), height=160, width=192)
    assert cli.main(["prepare", "lr", "-i", "photos", "-o", "set", "--scale", "2", "4", "--quiet"]) == 0
    printed = capsys.readouterr().out.split("For an option file:")[0]
    block = yaml.safe_load(printed.split("To train on these images at x2:")[1].split("To train on")[0])
    options = {**tiny.train_options(total_iter=2), **block}
    options["datasets"]["train"].update(num_worker_per_gpu=0, batch_size_per_gpu=2, persistent_workers=False)
    options["val"] = None
    assert cli.main(["train", "-opt", tiny.write(options)]) == 0


def test_the_section_of_a_training_set_trains(workdir, capsys):
    photographs(Path("d/some_HR"), height=160, width=192)
    arguments = ["-i", "d/some_HR", "-o", "d", "--layout", "div2k", "--scale", "2", "4", "--quiet"]
    assert cli.main(["prepare", "lr", *arguments]) == 0
    block = sections(capsys.readouterr().out)[0]
    options = {**tiny.train_options(total_iter=2), **block}
    options["datasets"]["train"].update(num_worker_per_gpu=0, batch_size_per_gpu=2, persistent_workers=False)
    options["val"] = None
    assert cli.main(["train", "-opt", tiny.write(options)]) == 0


def test_no_section_for_nothing(workdir, capsys):
    Path("photos").mkdir()
    Path("photos/a.png").write_bytes(b"no image")
    assert cli.main(["prepare", "lr", "-i", "photos", "-o", "set", "--quiet"]) == 1
    assert "datasets:" not in capsys.readouterr().out


def test_images_of_one_name_are_not_paired_with_each_other(workdir):
    photographs(Path("a"))
    photographs(Path("b"))
    cv2.imwrite("b/01.png", np.zeros((50, 61, 3), np.uint8))
    prepare_lr("a", "set", scales=[4], work=QUIET)
    before = contents(Path("set"))
    for degradation in ("bi", "dn"):  # dn would keep HR_x4 of a, and make LR of b
        with pytest.raises(PrepareError, match=r"made from other images named 01\.png: choose another -o"):
            prepare_lr("b", "set", LowResolution(degradation), [4], work=QUIET)
    assert contents(Path("set")) == before
    Path("a/01.png").replace("a/moved.png")
    done = prepare_lr("a", "set", scales=[4], work=QUIET)
    assert (done.made, done.kept) == (2, 4)


def test_a_source_is_not_written_to_through_a_link(workdir):
    source = photographs(Path("set/HR_x2"))
    Path("linked").mkdir()
    for file in source.glob("*.png"):
        (Path("linked") / file.name).symlink_to(file.resolve())
    before = contents(source)
    with pytest.raises(PrepareError, match=r"00\.png is a source and would be overwritten"):
        prepare_lr("linked", "set", scales=[2], work=ANEW)
    assert contents(source) == before


def test_an_interrupted_overwrite_is_continued_without_it(workdir, capsys, monkeypatch):
    from lightsr_basicsr.tools.prepare import sources

    photographs(Path("photos"), count=6)
    arguments = ["prepare", "lr", "-i", "photos", "-o", "set", "--scale", "4", "--quiet", "--jobs", "1"]
    assert cli.main(arguments) == 0
    whole, write, left = contents(Path("set")), sources.write_png, [5]

    def interrupted(file, image):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        write(file, image)

    monkeypatch.setattr(sources, "write_png", interrupted)
    assert cli.main([*arguments, "--overwrite"]) == 130
    assert "Run the same command again without --overwrite to continue" in capsys.readouterr().err
    there = len(list(Path("set").rglob("*.png")))
    assert 4 <= there < 12
    monkeypatch.setattr(sources, "write_png", write)
    assert cli.main(arguments) == 0
    assert f"{12 - there} files made, {there} existing files kept" in capsys.readouterr().out
    assert contents(Path("set")) == whole


@pytest.mark.parametrize("out", ["file", "file/below", "/proc/nothing"])
def test_a_place_that_cannot_be_written_to_is_explained(workdir, capsys, out):
    photographs(Path("photos"))
    Path("file").write_text("here")
    assert cli.main(["prepare", "lr", "-i", "photos", "-o", out]) == 2
    printed = capsys.readouterr().err
    assert "must be a folder, but" in printed or "/proc/nothing" in printed
    assert Path("file").read_text() == "here"


def header_of_a_giant(path: Path, side: int) -> None:
    """Write a PNG whose header promises side x side pixels, and which ends as a PNG does."""
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


@pytest.mark.parametrize("side", [20000, 50000])
@pytest.mark.parametrize(
    "command", [["lr"], ["blind"], ["multiscale"], ["subimages", "--crop", "16"], ["meta"], ["lmdb"]]
)
def test_a_header_that_promises_too_much_stops_nothing_else(workdir, capsys, side, command):
    photographs(Path("photos"), height=48, width=48)
    header_of_a_giant(Path("photos/giant.png"), side)
    out = "list.txt" if command == ["meta"] else "set"
    assert cli.main(["prepare", *command, "-i", "photos", "-o", out, "--quiet"]) == 1
    printed = capsys.readouterr()
    assert "giant.png" in printed.err
    assert "Traceback" not in printed.err
    assert "files made, 0 existing files kept" in printed.out


def test_a_killed_run_is_continued_with_the_same_result(workdir):
    photographs(Path("photos"), count=60, height=200, width=240)
    command = [sys.executable, "-m", "lightsr_basicsr.cli", "prepare", "lr", "-i", "photos", "--jobs", "1"]
    whole = prepare_lr("photos", "whole", work=QUIET)
    run = subprocess.Popen([*command, "-o", "killed"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(Path("killed").rglob("*.png"))) < 20 and time.monotonic() < deadline:
        time.sleep(0.002)
    run.send_signal(signal.SIGKILL)
    run.wait()
    before = {path: path.stat().st_mtime_ns for path in Path("killed").rglob("*.png")}
    assert 20 <= len(before) < 360, "killed too late to show anything"
    again = prepare_lr("photos", "killed", work=QUIET)
    assert (again.made, again.kept) == (360 - len(before), len(before))
    assert all(path.stat().st_mtime_ns == when for path, when in before.items()), "finished files were made again"
    assert contents(Path("killed")) == contents(Path("whole"))
    assert whole.made == 360


def test_other_settings_or_other_files_are_not_mixed_in(workdir):
    photographs(Path("photos"))
    prepare_lr("photos", "set", scales=[4], work=QUIET)
    before = contents(Path("set"))
    with pytest.raises(PrepareError, match=r"LRBI_x4 was made with border mirror \(now replicate\): choose another -o"):
        prepare_lr("photos", "set", LowResolution(border="replicate"), [4], work=QUIET)
    Path("other/LRBI_x4").mkdir(parents=True)
    cv2.imwrite("other/LRBI_x4/official.png", np.zeros((4, 4, 3), np.uint8))
    for overwrite, message in (
        (False, "images that this command did not make"),
        (True, "official.png: move them away"),
    ):
        with pytest.raises(PrepareError, match=message):
            prepare_lr("photos", "other", scales=[4], work=Work(overwrite=overwrite, progress=False))
    assert contents(Path("set")) == before
    assert [path.name for path in Path("other").rglob("*.png")] == ["official.png"]
    done = prepare_lr("photos", "set", LowResolution(border="replicate"), [4], work=ANEW)
    assert (done.made, done.kept) == (6, 0)
    assert contents(Path("set")) != before


def test_the_source_is_never_written_to(workdir):
    source = photographs(Path("set/HR_x4"), height=48, width=60)
    before = contents(source)
    done = prepare_lr(source, "set", scales=[4], work=ANEW)
    assert contents(source) == before
    assert done.section["test_1"]["dataroot_gt"] == "set/HR_x4"
    with pytest.raises(PrepareError, match="is the source itself"):
        prepare_lr("set/LRBI_x4", "set", scales=[4], work=QUIET)


def test_every_kind_of_image_by_the_documented_rule(workdir):
    folder = photographs(Path("photos"), count=1)
    rng = np.random.default_rng(1)
    color = rng.integers(0, 256, (24, 32, 3), np.uint8)
    deep = rng.integers(0, 65536, (24, 32, 3), np.uint16)
    cv2.imwrite(str(folder / "deep.png"), deep)
    cv2.imwrite(str(folder / "deep_gray.tiff"), deep[:, :, 0])
    cv2.imwrite(str(folder / "deep_color.tif"), deep)
    cv2.imwrite(str(folder / "gray.png"), color[:, :, 0])
    cv2.imwrite(str(folder / "alpha.png"), np.dstack([color, color[:, :, 0]]))
    for name in ("bitmap.bmp", "lossless.tif", "photo.jpg"):
        cv2.imwrite(str(folder / name), color)
    Image.fromarray(color).save(folder / "web.webp", lossless=True)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(color).save(folder / "turned.jpg", exif=turned, quality=95)
    done = prepare_lr(folder, "set", scales=[2], work=QUIET)
    assert done.failed == []
    assert done.notes == ["3 images stay at 16 bits (first deep.png). BasicSR reads the upper 8: see --depth 8."]

    def low(name):
        return cv2.imread(f"set/LRBI_x2/{name}.png", cv2.IMREAD_UNCHANGED)

    assert np.array_equal(low("deep"), imresize(deep, 1 / 2))
    assert np.array_equal(low("deep_color"), imresize(deep, 1 / 2))
    assert np.array_equal(low("deep_gray"), np.dstack([imresize(deep[:, :, 0], 1 / 2)] * 3))
    assert np.array_equal(low("gray"), np.dstack([imresize(color[:, :, 0], 1 / 2)] * 3))
    for name in ("alpha", "bitmap", "lossless"):
        assert np.array_equal(low(name), imresize(color, 1 / 2)), name
    assert np.array_equal(low("web"), imresize(color[:, :, ::-1], 1 / 2))
    assert low("turned").shape == (16, 12, 3)
    done = prepare_lr(folder, "shallow", scales=[2], depth="8", work=QUIET)
    eight = ((deep.astype(float) / 257) + 0.5).astype(np.uint8)
    assert np.array_equal(cv2.imread("shallow/LRBI_x2/deep.png", cv2.IMREAD_UNCHANGED), imresize(eight, 1 / 2))
    assert done.notes == []


def test_broken_files_are_named_and_the_others_are_made(workdir, capsys):
    folder = photographs(Path("photos"))
    whole = (folder / "00.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").touch()
    (folder / "text.jpg").write_text("no image")
    cv2.imwrite(str(folder / "tiny.png"), np.zeros((3, 3, 3), np.uint8))
    cv2.imwrite(str(folder / "float.tiff"), np.zeros((9, 9, 3), np.float32))
    assert cli.main(["prepare", "lr", "-i", "photos", "-o", "set", "--scale", "4", "--quiet"]) == 1
    printed = capsys.readouterr()
    assert "6 files made" in printed.out
    assert "5 files could not be used" in printed.err
    for part in (
        "cut.png: image file is truncated", "empty.png: empty file", "text.jpg: no image that Pillow knows",
        "float.tiff: holds float32 numbers, expected 8", "tiny.png: 3x3 is too small for x4",
    ):  # fmt: skip
        assert part in printed.err
    assert "Traceback" not in printed.err
    assert len(list(Path("set").rglob("*.png"))) == 6


def test_an_image_too_small_for_one_scale_is_made_at_none(workdir):
    folder = photographs(Path("photos"), count=1)
    cv2.imwrite(str(folder / "tiny.png"), np.zeros((3, 3, 3), np.uint8))
    done = prepare_lr(folder, "set", scales=[2, 4], work=QUIET)
    assert (done.made, done.failed) == (4, ["photos/tiny.png: 3x3 is too small for x4"])
    assert {file.name for file in Path("set").rglob("*.png")} == {"00.png"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-i", "nowhere", "-o", "x"], "folder nowhere does not exist"),
        (["-i", "above", "-o", "x"], "above holds no images (png, bmp, jpg, tif, webp); its sub-folder photos does"),
        (["-i", "above/photos", "-o", "x", "--scale", "1"], "at least 2, got [1]"),
        (["-i", "above/photos", "-o", "x", "--jobs", "0"], "--jobs must be at least 1, got 0"),
        (["-i", "twins", "-o", "x"], "a.bmp and a.png in twins would become the same file: rename one"),
    ],
)
def test_mistakes_are_explained_before_anything_is_written(workdir, capsys, arguments, message):
    photographs(Path("above/photos"))
    Path("twins").mkdir()
    for name in ("a.png", "a.bmp"):
        cv2.imwrite(f"twins/{name}", np.zeros((8, 8, 3), np.uint8))
    assert cli.main(["prepare", "lr", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not Path("x").exists()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="only some systems let a process leave cores")
def test_all_cores_that_the_process_may_use(monkeypatch):
    from lightsr_basicsr.tools.prepare.jobs import cores

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2, 5})
    assert cores() == 3


def test_prepare_alone_lists_its_sub_commands(capsys):
    assert cli.main(["prepare"]) == 1
    assert "prepare lr -i Set5" in capsys.readouterr().out
