"""A metric that cannot be computed for an image: told before the run, and no end of the run."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from basicsr.utils.registry import METRIC_REGISTRY

from lightsr_basicsr.cli import main
from lightsr_basicsr.tools.check.options import check_options
from tests import tiny

pytestmark = pytest.mark.faults

NIQE = {"type": "calculate_niqe", "crop_border": 0}


def put(folder: str, *sizes: tuple[int, int]) -> None:
    """Write pairs of these HR sizes (width, height) at x2."""
    for index, (width, height) in enumerate(sizes):
        for kind, scale in (("HR", 1), ("LR", 2)):
            Path(folder, kind).mkdir(parents=True, exist_ok=True)
            image = np.random.default_rng(index).integers(0, 256, (height // scale, width // scale, 3), np.uint8)
            cv2.imwrite(f"{folder}/{kind}/{index}.png", image)


def told(metric: dict, *sizes: tuple[int, int], lone: bool = False) -> list[str]:
    put("set", *sizes)
    section = tiny.paired("s", "set")
    if lone:
        section["type"] = "SingleImageDataset"
        del section["dataroot_gt"]
    options = tiny.test_options(section)
    options["val"]["metrics"] = {"m": metric}
    return [str(each) for each in check_options(options, is_train=False) if each.where == "val.metrics.m"]


@pytest.mark.parametrize("lone", [False, True])
def test_niqe_of_a_small_image_is_told(workdir, lone):
    found = told(NIQE, (188, 140), lone=lone)
    assert found == ["val.metrics.m: calculate_niqe needs SR images of at least 192x96 pixels, or upright; "
                     "smaller in datasets.test_1: 0.png (188x140)"]  # fmt: skip


@pytest.mark.parametrize(("metric", "size", "fine"), [
    (NIQE, (192, 96), True), (NIQE, (96, 192), True), (NIQE, (190, 190), False),
    ({**NIQE, "crop_border": 2}, (192, 96), False), ({**NIQE, "crop_border": 2}, (196, 100), True),
    ({"type": "calculate_ssim", "crop_border": 4}, (18, 32), False),
    ({"type": "calculate_ssim", "crop_border": 2}, (16, 32), True),
    ({"type": "calculate_psnr", "crop_border": 8}, (16, 32), False),
    ({"type": "calculate_psnr", "crop_border": 7}, (16, 32), True),
])  # fmt: skip
def test_sizes_that_a_metric_needs(metric, size, fine, workdir):
    assert (told(metric, size) == []) == fine


def test_some_small_images_are_a_warning(workdir):
    found = told(NIQE, (188, 140), (200, 200))
    assert len(found) == 1
    assert "(warning)" in found[0]
    assert found[0].endswith("they are left out of its mean")


def test_a_metric_that_fails_on_one_image_does_not_end_a_run(workdir, monkeypatch, capsys):
    values = {16: 10.0, 24: None, 32: 30.0}

    def calculate_odd(img, img2, **kwargs):
        if values[img.shape[0]] is None:
            raise np.linalg.LinAlgError("SVD did not converge")
        return values[img.shape[0]]

    monkeypatch.setitem(METRIC_REGISTRY._obj_map, "calculate_odd", calculate_odd)
    put("set", *((side, side) for side in values))
    options = tiny.test_options(tiny.paired("s", "set"))
    options["val"]["metrics"] = {"odd": {"type": "calculate_odd"}}
    assert main(["test", "-opt", tiny.write(options)]) == 0
    log = "".join(file.read_text() for file in (workdir / "results" / "tiny_test").glob("*.log"))
    assert "# odd: 20.0000" in log
    assert "calculate_odd failed on" in log
    assert "1.png (24x24x3)" in log
    assert "SVD did not converge" in log


def test_a_set_of_failures_is_no_best_score(workdir, monkeypatch):
    def calculate_never(img, img2, **kwargs):
        raise ZeroDivisionError

    monkeypatch.setitem(METRIC_REGISTRY._obj_map, "calculate_never", calculate_never)
    tiny.make_pairs(workdir / "data", 2)
    options = tiny.train_options(total_iter=5)
    options["val"]["metrics"] = {"never": {"type": "calculate_never"}}
    assert main(["train", "-opt", tiny.write(options)]) == 0
    assert (workdir / "experiments" / "tiny" / "models" / "net_g_5.pth").is_file()
