"""`basicsr prepare multiscale`: sizes, pixels, names, what is refused, and the way on to training."""

import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from lightsr_basicsr import cli
from lightsr_basicsr.tools.prepare.jobs import PrepareError
from lightsr_basicsr.tools.prepare.multiscale import Sizes, prepare_multiscale
from tests.tiny import ANEW, QUIET, make_pairs, tree


def noise(file: str, height: int = 40, width: int = 61, dtype: type = np.uint8) -> np.ndarray:
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (height, width, 3), dtype, endpoint=True)
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(file, image)
    return image


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        # As int() in Real-ESRGAN's generate_multiscale_DF2K.py gives them.
        ((2040, 1356), [(1530, 1017), (1020, 678), (680, 452), (601, 400)]),
        ((1357, 2039), [(1017, 1529), (678, 1019), (452, 679), (400, 601)]),
        ((300, 300), [(225, 225), (150, 150), (100, 100), (400, 400)]),
    ],
)
def test_sizes_are_those_of_the_original_script(size, expected):
    assert Sizes().of(*size) == expected


def test_pixels_are_those_of_pillow(workdir):
    noise("photos/a.b c.png")
    Image.new("L", (50, 48), 77).save("photos/gray.png")
    done = prepare_multiscale("photos", "small", Sizes((0.75, 1 / 3), 20), work=QUIET)
    assert (done.made, done.kept, done.failed) == (6, 0, [])
    with Image.open("photos/a.b c.png") as image:
        for index, size in enumerate([(45, 30), (20, 13), (30, 20)]):
            expected = np.asarray(image.resize(size, Image.Resampling.LANCZOS))
            with Image.open(f"small/a.b cT{index}.png") as small:
                assert np.array_equal(np.asarray(small), expected), index
    assert np.all(cv2.imread("small/grayT2.png", cv2.IMREAD_UNCHANGED) == np.full((20, 20, 3), 77))


def test_sixteen_bits_are_rounded_to_eight(workdir):
    deep = noise("photos/deep.png", dtype=np.uint16)
    Path("shallow").mkdir()
    cv2.imwrite("shallow/deep.png", np.floor(deep / 257 + 0.5).astype(np.uint8))
    done = prepare_multiscale("photos", "a", Sizes((0.5,), 0), work=QUIET)
    prepare_multiscale("shallow", "b", Sizes((0.5,), 0), work=QUIET)
    assert done.notes[0] == "1 images have 16 bits (first deep.png) and were rounded to 8"
    small = cv2.imread("a/deepT0.png", cv2.IMREAD_UNCHANGED)
    assert small.dtype == np.uint8
    assert np.array_equal(small, cv2.imread("b/deepT0.png"))


def test_cmyk_turned_and_transparent_images_by_the_documented_rule(workdir):
    color = noise("photos/color.png")
    Image.fromarray(np.dstack([color, color[:, :, 0]]), "CMYK").save("photos/cmyk.jpg")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(color).save("photos/turned.jpg", exif=turned)
    cv2.imwrite("photos/alpha.png", np.dstack([color, color[:, :, 0]]))
    prepare_multiscale("photos", "small", Sizes((0.5,), 0), work=QUIET)
    for file in Path("photos").iterdir():
        read = Image.fromarray(cv2.imread(str(file))[:, :, ::-1].copy())
        expected = read.resize((read.width // 2, read.height // 2), Image.Resampling.LANCZOS)
        with Image.open(f"small/{file.stem}T0.png") as small:
            assert np.array_equal(np.asarray(small), np.asarray(expected)), file.name


def test_on_to_training_as_it_is_printed(workdir, capsys):
    make_pairs(Path("data"), 2)
    command = ["prepare", "multiscale", "-i", "data/HR", "-o", "data/small", "--shortest", "8", "--quiet"]
    assert cli.main(command) == 0
    printed = capsys.readouterr().out
    assert "8 files made, 0 existing files kept: data/small" in printed
    section = yaml.safe_load(printed[printed.index("datasets:") :])["datasets"]["train"]
    follow = next(line.split("names with: basicsr ")[1] for line in printed.splitlines() if "names with: " in line)
    assert cli.main(shlex.split(follow)) == 0
    listed = [line.split(" ")[0] for line in Path(section["meta_info"]).read_text().splitlines()]
    files = {str(file) for folder in ("HR", "small") for file in Path("data", folder).glob("*.png")}
    assert {str(Path(section["dataroot_gt"], name)) for name in listed} == files
    assert len(files) == 10


def test_an_interrupted_run_is_continued(workdir):
    make_pairs(Path("data"), 3)
    prepare_multiscale("data/HR", "small", Sizes(shortest=8), work=QUIET)
    whole = {file: file.read_bytes() for file in Path("small").glob("*.png")}
    Path("small/001T1.png").unlink()
    Path("small/.002T0.png.part").touch()
    before = tree(Path("small"))
    done = prepare_multiscale("data/HR", "small", Sizes(shortest=8), work=QUIET)
    assert (done.made, done.kept) == (1, 11)
    assert {file: file.read_bytes() for file in Path("small").glob("*.png")} == whole
    after = tree(Path("small"))
    assert {name for name in after if name.endswith(".png") and after[name] != before.get(name)} == {"001T1.png"}
    assert not list(Path("small").glob(".*.part"))


def test_enlarged_tiny_and_broken_images_are_reported(workdir, capsys):
    noise("photos/a.png")
    noise("photos/b.png", 3, 2)
    Path("photos/cut.png").write_bytes(Path("photos/a.png").read_bytes()[:-50])
    command = ["prepare", "multiscale", "-i", "photos", "-o", "small", "--scales", "1/2", "0.25", "--shortest", "50"]
    assert cli.main([*command, "--quiet"]) == 1
    printed = capsys.readouterr()
    assert "3 files made" in printed.out
    assert "note: 2 images were enlarged to a shorter side of 50 (first a.png)" in printed.out
    assert "photos/b.png: 2x3 is too small for these scales" in printed.err
    assert "photos/cut.png: image file is truncated" in printed.err
    assert sorted(file.name for file in Path("small").glob("*.png")) == ["aT0.png", "aT1.png", "aT2.png"]


def test_other_scales_are_not_mixed_in(workdir):
    make_pairs(Path("data"), 1)
    prepare_multiscale("data/HR", "small", Sizes((0.5,), 0), work=QUIET)
    with pytest.raises(PrepareError, match=r"small was made with scales \[0\.5\] \(now \[0\.75\]\)"):
        prepare_multiscale("data/HR", "small", Sizes((0.75,), 0), work=QUIET)
    done = prepare_multiscale("data/HR", "small", Sizes((0.75,), 0), work=ANEW)
    assert (done.made, cv2.imread("small/000T0.png").shape) == (1, (24, 24, 3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "data/HR"], "data/HR is the source itself: choose another -o"),
        (["--scales", "0.5", "1.5"], "scales must be between 0 and 1, got 0.5, 1.5"),
        (["--shortest", "-1"], "shortest must be at least 1 pixel, or 0 for no such image, got -1"),
        (["--scales", "--shortest", "0"], "nothing to make: give scales, or a shorter side"),
    ],
)
def test_mistakes_are_explained_before_anything_is_written(workdir, capsys, arguments, message):
    make_pairs(Path("data"), 1)
    before = tree(Path())
    assert cli.main(["prepare", "multiscale", "-i", "data/HR", "-o", "x", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert tree(Path()) == before


def test_a_scale_that_is_no_number(capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["prepare", "multiscale", "-i", "a", "-o", "b", "--scales", "half"])
    assert "expected a number or a fraction such as 1/3, got 'half'" in capsys.readouterr().err
