"""Pairs of downloaded sets under equal names."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from lightsr_basicsr import cli
from lightsr_basicsr.tools.prepare.jobs import PrepareError
from lightsr_basicsr.tools.prepare.pairs import prepare_pairs
from tests.tiny import ANEW, QUIET

DIV2KRK = ("img_{}_gt", "im_{}")


def picture(path: Path, side: int, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((side, side + 4, 3), value, np.uint8))


@pytest.fixture
def krk(workdir):
    for index in (1, 2, 10):
        picture(Path(f"krk/gt/img_{index}_gt.png"), 16, index)
        image = np.full((4, 5, 3), 100 + index, np.uint8)
        Path("krk/lr_x4").mkdir(exist_ok=True)
        cv2.imwrite(f"krk/lr_x4/im_{index}.png", image)
    return workdir


def test_pairs_get_equal_names_and_keep_their_pixels(krk):
    done = prepare_pairs("krk/gt", "krk/lr_x4", "out", names=DIV2KRK, work=QUIET)
    assert (done.made, done.failed) == (6, [])
    for kind in ("HR", "LR"):
        assert sorted(path.name for path in Path(f"out/{kind}_x4").glob("*.png")) == ["1.png", "10.png", "2.png"]
    assert cv2.imread("out/HR_x4/10.png")[0, 0, 0] == 10
    assert cv2.imread("out/LR_x4/10.png")[0, 0, 0] == 110
    assert done.section["test_1"]["dataroot_lq"] == "out/LR_x4"
    assert prepare_pairs("krk/gt", "krk/lr_x4", "out", names=DIV2KRK, work=QUIET).kept == 6
    assert prepare_pairs("krk/gt", "krk/lr_x4", "out", names=DIV2KRK, work=ANEW).made == 6


def test_both_kinds_may_lie_in_one_folder(workdir):
    for index in (1, 2):
        picture(Path(f"canon/{index}_HR.png"), 16, index)
        cv2.imwrite(f"canon/{index}_LR4.png", np.zeros((4, 5, 3), np.uint8))
    done = prepare_pairs("canon", "canon", "out", names=("{}_HR", "{}_LR4"), work=QUIET)
    assert done.made == 4


def test_the_command(krk, capsys):
    command = ["prepare", "pairs", "-i", "krk/gt", "krk/lr_x4", "-o", "out", "--quiet", "--names", *DIV2KRK]
    assert cli.main(command) == 0
    assert "dataroot_gt: out/HR_x4" in capsys.readouterr().out


def test_a_pair_of_the_wrong_size_is_named(krk):
    picture(Path("krk/gt/img_2_gt.png"), 20, 2)
    done = prepare_pairs("krk/gt", "krk/lr_x4", "out", names=DIV2KRK, work=QUIET)
    assert done.made == 4
    assert "img_2_gt.png: 24x20 is not 4 times 5x4 of im_2.png" in done.failed[0]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("{}", "{}"), r"img_1_gt\.png.* have no partner: .*--names"),
        (("image_{}", "im_{}"), r"krk/gt holds no image of that name: write --names"),
        (("img", "im_{}"), r"two names with one \{\} each, got 4 and img im_\{\}: for DIV2KRK"),
    ],
)
def test_names_that_do_not_pair_are_refused(krk, names, message):
    with pytest.raises(PrepareError, match=message):
        prepare_pairs("krk/gt", "krk/lr_x4", "out", names=names, work=QUIET)
    assert not Path("out").exists()
