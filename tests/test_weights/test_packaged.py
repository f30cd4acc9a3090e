"""The small networks in the package: they load, are found by name, and beat bicubic on photographs."""

import configparser
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_psnr

import lightsr_basicsr
from lightsr_basicsr import Upscaler, cli, identify
from lightsr_basicsr.data.degradations import imresize, mod_crop
from lightsr_basicsr.data.photographs import photographs
from lightsr_basicsr.tools.complexity import count_parameters
from lightsr_basicsr.weights.content import find_problem
from lightsr_basicsr.weights.find import default_name, find_weights
from lightsr_basicsr.weights.names import files

OURS = [entry for entry in files() if entry.packaged]
MOST_BYTES = 200_000
GAIN = 1.5  # dB


def test_there_is_one_for_x2_and_for_x4_and_they_are_small():
    assert [entry.scale for entry in OURS] == [2, 4]
    assert sum(entry.in_package.stat().st_size for entry in OURS) < MOST_BYTES


@pytest.mark.parametrize("entry", OURS, ids=lambda entry: entry.name)
def test_file_and_table_agree(entry):
    assert find_problem(entry.in_package, entry) is None
    found = identify(entry.in_package)
    assert (found.network, found.scale, found.form) == (entry.network, entry.scale, "deploy")
    assert 10_000 <= count_parameters(lightsr_basicsr.load(entry.name)) <= 25_000


@pytest.mark.parametrize("entry", OURS, ids=lambda entry: entry.name)
def test_spandrel_opens_the_file_without_this_package(entry):
    spandrel = pytest.importorskip("spandrel", reason="the extra spandrel is not installed")
    found = spandrel.ModelLoader().load_from_file(entry.in_package)
    image = torch.rand(1, 3, 7, 6)
    with torch.no_grad():
        expected = lightsr_basicsr.load(entry.name)(image).clamp(0, 1)
        torch.testing.assert_close(found(image), expected)


def test_the_files_are_installed_with_the_package():
    setup = configparser.ConfigParser()
    setup.read(Path(lightsr_basicsr.__file__).parents[1] / "setup.cfg")
    patterns = [text.strip() for text in setup["options.package_data"]["lightsr_basicsr.weights"].split(",")]
    for entry in OURS:
        assert any(entry.in_package.match(pattern) for pattern in patterns)


@pytest.mark.parametrize("entry", OURS, ids=lambda entry: entry.name)
def test_a_photograph_comes_out_better_than_by_bicubic(entry):
    scale = entry.scale
    ((_, image),) = photographs(["coffee.png"])
    hr = mod_crop(image[100:300, 150:400], scale)
    lr = imresize(hr, 1 / scale)
    bicubic = imresize(lr, scale)
    net = lightsr_basicsr.load(entry.name)
    ours = net.upscale(np.ascontiguousarray(lr[:, :, ::-1]), backend="torch", device="cpu")[:, :, ::-1]
    before, after = (calculate_psnr(sr, hr, scale, test_y_channel=True) for sr in (bicubic, ours))
    assert after > before + GAIN


def test_the_default_follows_the_scale(tmp_path):
    image = np.zeros((5, 6, 3), np.uint8)
    sizes = {outscale: Upscaler(outscale=outscale, backend="torch", device="cpu") for outscale in (None, 1.5, 2, 3)}
    assert [each.scale for each in sizes.values()] == [4, 2, 2, 4]
    assert [each.upscale(image).shape[0] for each in sizes.values()] == [20, 8, 10, 15]
    assert default_name(100) == "TinySR_x4"


def test_the_command_needs_a_picture_alone(workdir, cache, capsys):
    cv2.imwrite("photo.png", np.full((9, 8, 3), 128, np.uint8))
    assert cli.main(["upscale", "photo.png"]) == 0
    assert cv2.imread("results/photo.png").shape == (36, 32, 3)
    assert "tiny_x4.safetensors, x4" in capsys.readouterr().err
    assert cli.main(["upscale", "photo.png", "-s", "2", "-o", "twice.png", "--quiet"]) == 0
    assert cv2.imread("twice.png").shape == (18, 16, 3)
    assert not cache.exists()


def test_names_mean_the_file_in_the_package(cache, workdir, capsys):
    (x2, _) = OURS
    assert {find_weights(name) for name in ("TinySR_x2", "tiny_x2", x2.file)} == {x2.in_package}
    assert cli.main(["fetch", "tinysr_x2"]) == 0
    output = capsys.readouterr()
    assert output.out.strip() == str(x2.in_package)
    assert "TinySR_x2 is in the package." in output.err
    assert cli.main(["fetch", "TinySR_x2", "--folder", "weights"]) == 0
    assert find_problem(Path("weights") / x2.file, x2) is None
    assert cli.main(["fetch", "--list"]) == 0
    assert capsys.readouterr().out.count("in the package") == len(OURS)
    assert not cache.exists()


def test_an_existing_file_of_that_name_wins(workdir):
    shutil.copyfile(OURS[0].in_package, "TinySR_x4")
    assert find_weights("TinySR_x4") == Path("TinySR_x4")
