"""Which border LR images were made with: it changes the outer two pixels, and nobody sees it."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from lightsr_basicsr import cli
from lightsr_basicsr.data.low_resolution import LowResolution
from lightsr_basicsr.tools.prepare.check.report import check_images
from lightsr_basicsr.tools.prepare.lr import prepare_lr
from tests import tiny

pytestmark = pytest.mark.faults


def borders(scale: int) -> dict[str, int]:
    return check_images(f"set/HR_x{scale}", f"set/LRBI_x{scale}", scale, progress=False).borders


@pytest.fixture
def hr(workdir) -> Path:
    """Images of noise, one of them larger than the part that is compared, one of uneven sides."""
    rng = np.random.default_rng(0)
    Path("HR").mkdir()
    for index, size in enumerate([(48, 60), (1100, 70), (61, 47)]):
        cv2.imwrite(f"HR/{index}.png", rng.integers(0, 256, (*size, 3), np.uint8))
    return Path("HR")


@pytest.mark.parametrize("border", ["mirror", "replicate"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_border_is_told(hr, border, scale, capsys):
    prepare_lr(hr, "set", LowResolution(border=border), [scale], work=tiny.QUIET)
    assert borders(scale) == {border: 3}
    cli.main(["prepare", "check", f"set/HR_x{scale}", f"set/LRBI_x{scale}", "--scale", str(scale), "--quiet"])
    assert f"{border} 3; what `prepare lr --border` makes" in capsys.readouterr().out


def test_a_set_of_both_is_counted(hr):
    prepare_lr(hr, "set", LowResolution(border="replicate"), [2], work=tiny.QUIET)
    prepare_lr(hr, "other", LowResolution(border="mirror"), [2], work=tiny.QUIET)
    Path("other/LRBI_x2/1.png").replace("set/LRBI_x2/1.png")
    assert borders(2) == {"replicate": 2, "mirror": 1}


def test_what_cannot_be_told_is_not(hr):
    """Neither a blurred image, nor one whose edges are flat, has a border that shows."""
    cv2.imwrite("HR/3.png", np.full((48, 48, 3), 99, np.uint8))
    prepare_lr(hr, "set", work=tiny.QUIET, scales=[2])
    for index in range(3):
        image = cv2.imread(f"set/LRBI_x2/{index}.png")
        cv2.imwrite(f"set/LRBI_x2/{index}.png", cv2.GaussianBlur(image, (5, 5), 1))
    assert borders(2) == {}
