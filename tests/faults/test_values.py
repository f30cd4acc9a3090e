"""Values of another kind than is read: told with the key, the kind wanted and the value given."""

import pytest

from lightsr_basicsr.cli import main
from lightsr_basicsr.tools.check.options import check_options
from tests import tiny

pytestmark = pytest.mark.faults


def changed(path: str, value) -> list[str]:
    options = tiny.train_options()
    *parents, last = path.split(".")
    section = options
    for key in parents:
        section = section[key]
    section[last] = value
    return [str(each) for each in check_options(options, is_train=True)]


@pytest.fixture(autouse=True)
def pairs(workdir):
    tiny.make_pairs(workdir / "data", 2)


@pytest.mark.parametrize(("path", "value", "wanted"), [
    ("manual_seed", "0", "a whole number from 0 to 4,000,000,000"),
    ("manual_seed", 2**40, "a whole number from 0 to 4,000,000,000"),
    ("datasets.train.num_worker_per_gpu", "2", "a whole number of at least 0"),
    ("datasets.train.batch_size_per_gpu", 2.0, "a whole number of at least 1"),
    ("datasets.train.dataset_enlarge_ratio", 0, "a number above 0"),
    ("datasets.train.prefetch_mode", "gpu", "cpu or cuda"),
    ("datasets.train.use_hflip", "false", "true or false"),
    ("train.total_iter", 4.5, "a whole number of at least 1"),
    ("train.total_iter", float("inf"), "a whole number of at least 1"),
    ("train.ema_decay", 1.5, "a number from 0 to 1"),
    ("train.pixel_opt", [{"type": "L1Loss"}], "a section"),
    ("train.pixel_opt.loss_weight", "1", "a number"),
    ("train.pixel_opt.loss_weight", float("nan"), "a number"),
    ("train.optim_g.lr", "0.1", "a number of at least 0"),
    ("train.optim_g.lr", float("inf"), "a number of at least 0"),
    ("train.optim_g.betas", [0.9], "a list of 2, each a number from 0 to 1"),
    ("train.scheduler.milestones", "5", "a list, each a whole number of at least 1"),
    ("train.scheduler.milestones", ["5"], "a list, each a whole number of at least 1"),
    ("train.scheduler.milestones", [-5], "a list, each a whole number of at least 1"),
    ("train.scheduler.gamma", "0.5", "a number of at least 0"),
    ("val.metrics.psnr.crop_border", "5", "a whole number of at least 0"),
    ("val.metrics.psnr.crop_border", [1], "a whole number of at least 0"),
])  # fmt: skip
def test_the_kind_is_told(path, value, wanted):
    assert f"{path}: must be {wanted}, got {value!r}" in changed(path, value)


def test_milestones_beyond_the_end_are_told():
    assert "total_iter is 10, so the rate never falls" in "".join(changed("train.scheduler.milestones", [50, 60]))


def test_a_value_of_any_length_is_told_in_one_line():
    assert all(len(text) < 300 for text in changed("scale", "9" * 100_000))


def test_numbers_that_yaml_takes_for_text_are_told_once():
    assert changed("train.optim_g.lr", "1e-4") == ["train.optim_g.lr: is the text '1e-4' in YAML: write !!float 1e-4"]


@pytest.mark.parametrize("name", ["9" * 300, "a\0b", "~nobody-of-this-name/data", "data/HR/000.png"])
@pytest.mark.parametrize("key", ["datasets.val.dataroot_gt", "path.pretrain_network_g", "path.resume_state"])
def test_paths_that_no_file_can_have_are_told(key, name, workdir, capsys):
    options = tiny.train_options()
    *parents, last = key.split(".")
    section = options
    for part in parents:
        section = section[part]
    section[last] = name
    assert main(["train", "-opt", tiny.write(options)]) == 2
    assert len(capsys.readouterr().err) < 2000
    assert not (workdir / "experiments").exists()
