"""`basicsr prepare blind`: the folders that the KDSR test options read."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from lightsr_basicsr import cli
from lightsr_basicsr.data.degradations import classic_degradation, isotropic_kernel
from lightsr_basicsr.data.low_resolution import Blur
from lightsr_basicsr.errors import UserError
from lightsr_basicsr.tools.options import read_options
from lightsr_basicsr.tools.prepare.blind import prepare_blind
from lightsr_basicsr.tools.prepare.jobs import PrepareError
from tests.test_tools.prepare.test_prepare_lr import contents, photographs
from tests.tiny import ANEW, QUIET

OPTIONS = Path(__file__).resolve().parents[3] / "options"


@pytest.mark.parametrize(("name", "arguments"), [
    ("test_kdsr_l_x4", ["-o", "datasets/Set5"]),
    ("test_kdsr_x2", ["-o", "datasets/Set5", "--scale", "2"]),
    ("test_kdsr_aniso_x4", ["-o", "datasets/Set14", "--kernel", "3.5,1.5,30", "--noise", "10"]),
])  # fmt: skip
def test_makes_the_folders_of_the_option_files(workdir, name, arguments):
    photographs(Path("photos"))
    assert cli.main(["prepare", "blind", "-i", "photos", *arguments, "--quiet"]) == 0
    for section in read_options(OPTIONS / f"{name}.yml")["datasets"].values():
        for root in ("dataroot_gt", "dataroot_lq"):
            assert len(list(Path(section[root]).glob("*.png"))) == 3, section[root]


def test_files_hold_what_training_would_see(workdir):
    photographs(Path("photos"))
    prepare_blind("photos", "set", 4, [Blur(2.2)], work=QUIET)
    hr = torch.from_numpy(cv2.imread("set/HR_x4/01.png").astype(np.float32) / 255).permute(2, 0, 1)[None]
    low = classic_degradation(hr, isotropic_kernel(torch.tensor([2.2])), 4)[0].permute(1, 2, 0).numpy()
    assert np.array_equal(cv2.imread("set/LRiso_x4_sig2.2/01.png"), np.rint(low * 255).astype(np.uint8))


def test_noise_repeats_and_differs_between_images_and_sets(workdir):
    photographs(Path("photos"), count=2)
    blurs = [Blur(1.0), Blur(2.0, 1.0, 45)]
    for out in ("one", "two"):
        prepare_blind("photos", out, 4, blurs, [0, 20], work=QUIET)
    assert contents(Path("one")) == contents(Path("two"))
    clean, noisy = (cv2.imread(f"one/LRaniso_x4_2.0_1.0_45_n{n}/00.png").astype(float) for n in (0, 20))
    inside = (clean > 70) & (clean < 186)
    assert 16 < (noisy - clean)[inside].std() < 24
    other = cv2.imread("one/LRiso_x4_sig1.0_n20/00.png") - cv2.imread("one/LRiso_x4_sig1.0/00.png").astype(float)
    assert np.abs(other - (noisy - clean)).mean() > 10


def test_a_turned_kernel_blurs_along_its_angle(workdir):
    Path("photos").mkdir()
    dot = np.zeros((44, 44, 3), np.uint8)
    dot[20:24, 20:24] = 255
    cv2.imwrite("photos/dot.png", dot)
    prepare_blind("photos", "set", 2, [Blur(4.0, 0.5, 45)], work=QUIET)
    low = cv2.imread("set/LRaniso_x2_4.0_0.5_45_n0/dot.png")[..., 0].astype(float)
    # y points down, so the streak goes from the top left to the bottom right
    assert low[8, 8] > 10 * max(low[8, 13], 1)


@pytest.mark.parametrize(("keywords", "message"), [
    ({"scale": 3}, "for x3 give --sigma or --kernel"),
    ({"blurs": [Blur(-1.0)]}, "at least 0, got LRiso_x4_sig-1.0"),
    ({"blurs": [Blur(2.0, 0.0, 3)]}, "two standard deviations above 0"),
    ({"noises": [float("nan")]}, "finite and at least 0"),
])  # fmt: skip
def test_mistakes_are_explained(workdir, keywords, message):
    photographs(Path("photos"))
    with pytest.raises(UserError, match=message):
        prepare_blind("photos", "set", **{"scale": 4, **keywords}, work=QUIET)
    assert not Path("set").exists()


def test_an_image_smaller_than_the_kernel_is_reported(workdir, capsys):
    photographs(Path("photos"), height=8, width=8, count=1)
    assert cli.main(["prepare", "blind", "-i", "photos", "-o", "set", "--quiet"]) == 1
    assert not list(Path("set").rglob("*.png")), "an HR image without LR image was left"
    assert (
        "00.png: A 21x21 kernel with reflected borders needs sides of more than 10, got 8x8" in capsys.readouterr().err
    )


def test_the_source_may_be_no_folder_of_the_result(workdir):
    photographs(Path("set/LRiso_x4_sig1.8"), height=48, width=60)
    before = contents(Path("set"))
    with pytest.raises(PrepareError, match="is a source and would be overwritten"):
        prepare_blind("set/LRiso_x4_sig1.8", "set", 4, [Blur(1.8)], work=ANEW)
    assert contents(Path("set")) == before


def test_deep_images_keep_their_depth_in_hr_by_default(workdir):
    Path("photos").mkdir()
    cv2.imwrite("photos/deep.png", np.random.default_rng(0).integers(0, 65536, (48, 48, 3), np.uint16))
    for depth, kind, notes in (("keep", np.uint16, 1), ("8", np.uint8, 0)):
        done = prepare_blind("photos", depth, 4, [Blur(1.0)], depth=depth, work=QUIET)
        assert cv2.imread(f"{depth}/HR_x4/deep.png", cv2.IMREAD_UNCHANGED).dtype == kind
        assert cv2.imread(f"{depth}/LRiso_x4_sig1.0/deep.png", cv2.IMREAD_UNCHANGED).dtype == np.uint8
        assert len(done.notes) == notes
