"""`basicsr prepare subimages`: where crops lie, pairs, what is refused, what a dataset reads."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from lightsr_basicsr import cli
from lightsr_basicsr.tools.prepare.jobs import PrepareError
from lightsr_basicsr.tools.prepare.subimages import LowPartners, Window, prepare_subimages
from tests.tiny import QUIET, make_pairs, tree


def pairs(template: str = "{}", scale: int = 2) -> LowPartners:
    """Write three HR images of 40x40 and their LR images; return the latter."""
    make_pairs(Path("set"), 3, side=40, scale=scale)
    for file in Path("set/LR").iterdir():
        file.rename(file.with_stem(template.format(file.stem)))
    return LowPartners(Path("set/LR"), Path("set/LR_sub"), scale, template)


def names(folder: str) -> list[str]:
    return sorted(file.name for file in Path(folder).glob("*.png"))


@pytest.mark.parametrize(
    ("side", "window", "starts"),
    [
        (960, Window(), [0, 240, 480]),
        (1000, Window(), [0, 240, 480, 520]),
        (1000, Window(threshold=39), [0, 240, 480, 520]),
        (1000, Window(threshold=40), [0, 240, 480]),
        (480, Window(), [0]),
        (481, Window(), [0, 1]),
        (479, Window(), []),
    ],
)
def test_where_crops_begin(side, window, starts):
    assert window.starts(side) == starts


def test_crops_are_numbered_row_by_row_and_hold_the_pixels(workdir):
    Path("photos").mkdir()
    image = np.random.default_rng(0).integers(0, 256, (25, 38, 3), np.uint8)
    cv2.imwrite("photos/one.png", image)
    done = prepare_subimages("photos", "crops", Window(16, 10), work=QUIET)
    assert (done.made, done.kept, done.failed) == (8, 0, [])
    corners = [(top, left) for top in (0, 9) for left in (0, 10, 20, 22)]
    for index, (top, left) in enumerate(corners, 1):
        crop = cv2.imread(f"crops/one_s{index:03d}.png", cv2.IMREAD_UNCHANGED)
        assert np.array_equal(crop, image[top : top + 16, left : left + 16]), index


@pytest.mark.parametrize("scale", [2, 4])
def test_pairs_show_the_same_and_train_as_the_section_says(workdir, capsys, scale):
    from basicsr.data.paired_image_dataset import PairedImageDataset

    pairs(f"{{}}x{scale}", scale)
    arguments = ["-i", "set/HR", "-o", "set/HR_sub", "--lr", "set/LR", "--lr-output", "set/LR_sub", "--quiet"]
    arguments += ["--scale", str(scale), "--template", f"{{}}x{scale}", "--crop", "16", "--step", "8"]
    assert cli.main(["prepare", "subimages", *arguments]) == 0
    assert names("set/HR_sub") == names("set/LR_sub")
    assert len(names("set/HR_sub")) == 3 * 16
    hr, lr = cv2.imread("set/HR/001.png"), cv2.imread(f"set/LR/001x{scale}.png")
    side = 16 // scale
    assert np.array_equal(cv2.imread("set/HR_sub/001_s007.png"), hr[8:24, 16:32])
    assert np.array_equal(cv2.imread("set/LR_sub/001_s007.png"), lr[8 // scale :, 16 // scale :][:side, :side])
    printed = capsys.readouterr().out
    section = yaml.safe_load(printed[printed.index("datasets:") :])["datasets"]["train"]
    assert section["gt_size"] == 16
    item = PairedImageDataset({**section, "phase": "train", "scale": scale})[5]
    assert (item["gt"].shape, item["lq"].shape) == ((3, 16, 16), (3, side, side))


def test_an_interrupted_run_is_continued_and_nothing_is_made_twice(workdir):
    low = pairs()
    prepare_subimages("set/HR", "set/HR_sub", Window(16, 8), low, work=QUIET)
    whole = {file: file.read_bytes() for folder in ("HR_sub", "LR_sub") for file in Path("set", folder).glob("*.png")}
    lost = [Path("set/HR_sub/001_s003.png"), Path("set/LR_sub/001_s004.png"), Path("set/LR_sub/002_s001.png")]
    for file in lost:
        file.unlink()
    Path("set/HR_sub/.001_s003.png.part").touch()
    before = tree(Path("set"))
    done = prepare_subimages("set/HR", "set/HR_sub", Window(16, 8), low, work=QUIET)
    assert (done.made, done.kept) == (3, len(whole) - 3)
    assert {file: file.read_bytes() for file in whole} == whole
    after = tree(Path("set"))
    changed = {name for name in after if name.endswith(".png") and after[name] != before.get(name)}
    assert changed == {str(file.relative_to("set")) for file in lost}
    assert not list(Path("set").rglob("*.part"))


def test_small_and_broken_images_are_reported_and_others_made(workdir, capsys):
    pairs()
    whole = Path("set/HR/000.png").read_bytes()
    Path("set/HR/cut.png").write_bytes(whole[: len(whole) // 2])
    # A whole header and end, but damaged in between.
    Path("set/HR/rotten.png").write_bytes(whole[:60] + bytes(len(whole) - 80) + whole[-20:])
    cv2.imwrite("set/HR/flat.png", np.zeros((15, 40, 3), np.uint8))
    assert cli.main(["prepare", "subimages", "-i", "set/HR", "-o", "out", "--crop", "16", "--step", "8"]) == 1
    printed = capsys.readouterr()
    assert "48 files made" in printed.out
    assert "type: SecondOrderDataset\n    dataroot_gt: out\n" in printed.out
    assert "2 files could not be used" in printed.err
    assert "note: 1 images are smaller than a crop of 16x16 and were skipped: flat.png (40x15)" in printed.out
    assert "cut.png: image file is truncated" in printed.err
    assert "rotten.png: " in printed.err
    assert len(names("out")) == 48


def test_a_broken_lr_image_leaves_no_half_pairs(workdir):
    low = pairs()
    whole = Path("set/LR/001.png").read_bytes()
    Path("set/LR/001.png").write_bytes(whole[:60] + bytes(len(whole) - 80) + whole[-20:])
    done = prepare_subimages("set/HR", "set/HR_sub", Window(16, 8), low, work=QUIET)
    assert len(done.failed) == 1
    assert "set/LR/001.png" in done.failed[0]
    assert names("set/HR_sub") == names("set/LR_sub")
    assert len(names("set/HR_sub")) == 2 * 16


def test_every_kind_of_image_by_the_documented_rule(workdir):
    Path("photos").mkdir()
    rng = np.random.default_rng(0)
    color, deep = rng.integers(0, 256, (16, 24, 3), np.uint8), rng.integers(0, 65536, (16, 24, 3), np.uint16)
    cv2.imwrite("photos/a.b c ä.png", color)
    cv2.imwrite("photos/gray.png", color[:, :, 0])
    cv2.imwrite("photos/deep.png", deep)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(color).save("photos/turned.jpg", exif=turned)
    Image.fromarray(np.dstack([color, color[:, :, 0]]), "CMYK").save("photos/cmyk.jpg")
    done = prepare_subimages("photos", "crops", Window(16, 8), work=QUIET)
    assert (done.made, done.failed) == (10, [])
    assert done.notes[0].startswith("1 images stay at 16 bits (first deep.png)")

    def crop(name):
        return cv2.imread(f"crops/{name}", cv2.IMREAD_UNCHANGED)

    assert np.array_equal(crop("a.b c ä_s002.png"), color[:, 8:])
    assert np.array_equal(crop("gray_s001.png"), np.dstack([color[:, :16, 0]] * 3))
    assert np.array_equal(crop("deep_s002.png"), deep[:, 8:])
    assert np.array_equal(crop("turned_s002.png"), cv2.imread("photos/turned.jpg")[8:])
    assert np.array_equal(crop("cmyk_s001.png"), cv2.imread("photos/cmyk.jpg")[:, :16])
    prepare_subimages("photos", "shallow", Window(16, 8, depth="8"), work=QUIET)
    assert cv2.imread("shallow/deep_s001.png", cv2.IMREAD_UNCHANGED).dtype == np.uint8


def test_pairs_that_are_none_are_refused(workdir):
    low = pairs("{}x2")
    arguments = {"window": Window(16, 8), "work": QUIET}
    with pytest.raises(PrepareError, match=r"no 000\.\*, 001\.\*, 002\.\* .* it holds 000x2, .*--template '{}x2'"):
        prepare_subimages("set/HR", "out", low=LowPartners(low.source, low.out, 2), **arguments)
    cv2.imwrite("set/LR/001x2.png", np.zeros((19, 20, 3), np.uint8))
    with pytest.raises(PrepareError, match=r"exactly 2 times .*: 001\.png 40x40 with 001x2\.png 20x19"):
        prepare_subimages("set/HR", "out", low=low, **arguments)
    assert not Path("out").exists()
    assert not low.out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--crop", "0"], "crop and step must be at least 1"),
        (["-o", "set/HR"], "set/HR is given twice: sources and outputs must be different folders"),
        (["--lr", "set/LR"], "pairs need --lr, --lr-output and --scale, all three"),
        (["--scale", "2"], "pairs need --lr, --lr-output and --scale, all three"),
        (["--lr", "set/LR", "--lr-output", "low", "--scale", "2", "--crop", "15"], "crop must be a multiple of the"),
        (["--lr", "set/LR", "--lr-output", "low", "--scale", "2", "--step", "7"], "align with HR, got 7"),
        (["--lr", "set/LR", "--lr-output", "low", "--scale", "2", "--template", "x2"], "must contain {} once"),
    ],
)
def test_mistakes_are_explained_before_anything_is_written(workdir, capsys, arguments, message):
    pairs()
    before = tree(Path())
    assert cli.main(["prepare", "subimages", "-i", "set/HR", "-o", "x", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert tree(Path()) == before


def test_crops_of_another_size_are_not_mixed_in(workdir):
    pairs()
    prepare_subimages("set/HR", "crops", Window(16, 8), work=QUIET)
    with pytest.raises(PrepareError, match=r"crops was made with crop 16 \(now 20\)"):
        prepare_subimages("set/HR", "crops", Window(20, 8), work=QUIET)
