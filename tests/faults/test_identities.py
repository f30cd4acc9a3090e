"""Names of sets and of saved images are unique."""

import shutil

import pytest

from lightsr_basicsr.cli import main
from lightsr_basicsr.tools.check.options import check_options
from tests import tiny

pytestmark = pytest.mark.faults


@pytest.fixture(autouse=True)
def pairs(workdir):
    tiny.make_pairs(workdir / "a", 2)
    tiny.make_pairs(workdir / "b", 2)


def told(options: dict, is_train: bool = False) -> tuple[list[str], list[str]]:
    """Return what stops the run, and what is a warning."""
    found = [each for each in check_options(options, is_train) if not each.where.startswith("path.")]
    return tuple([str(each) for each in found if each.fatal == fatal] for fatal in (True, False))


def lone(name: str, folder: str) -> dict:
    return {"name": name, "type": "SingleImageDataset", "dataroot_lq": f"{folder}/LR", "io_backend": {"type": "disk"}}


def test_two_sets_of_one_name_are_told(workdir):
    options = tiny.test_options(tiny.paired("Set5", "a"), tiny.paired("Set5", "b"))
    message = "datasets.test_2.name: is 'Set5', as that of test_1: their scores and images would be mixed"
    assert told(options)[0] == [message]
    assert main(["test", "-opt", tiny.write(options)]) == 2
    assert not (workdir / "results").exists()


def test_validation_sets_too_and_a_training_set_may_share_its_name():
    options = tiny.train_options("a")
    options["datasets"]["val_2"] = tiny.paired("v", "b")
    assert "datasets.val_2.name: is 'v', as that of val" in told(options, True)[0][0]
    options["datasets"]["val_2"]["name"] = "t"
    assert told(options, True)[0] == []


def test_names_that_differ_by_case_are_a_warning():
    fatal, warnings = told(tiny.test_options(tiny.paired("Set5", "a"), tiny.paired("set5", "b")))
    assert fatal == []
    assert "datasets.test_2.name: (warning) differs from that of test_1 by case alone" in warnings[0]


def test_two_images_of_one_output_are_told(workdir):
    shutil.copy("a/LR/000.png", "a/LR/000.jpg")
    options = tiny.test_options(lone("s", "a"))
    message = "datasets.test_1: has images that would be saved under one name: 000.jpg and 000.png"
    assert told(options)[0] == [message]
    options["val"]["save_img"] = False
    assert told(options)[0] == []


def test_images_that_differ_by_case_are_a_warning(workdir):
    shutil.copy("a/LR/000.png", "a/LR/A.png")
    shutil.copy("a/LR/000.png", "a/LR/a.png")
    if len(list((workdir / "a" / "LR").iterdir())) < 4:
        pytest.skip("this disk does not tell A from a")
    fatal, warnings = told(tiny.test_options(lone("s", "a")))
    assert fatal == []
    assert any("one file on Windows and macOS: A and a" in text for text in warnings)


def test_training_saves_images_of_all_sets_in_one_place():
    options = tiny.train_options("a")
    options["datasets"]["val_2"] = tiny.paired("v2", "b")
    assert "datasets.val_2: (warning) shares names with val" in told(options, True)[1][0]
    options["val"]["save_img"] = False
    assert told(options, True) == ([], [])
