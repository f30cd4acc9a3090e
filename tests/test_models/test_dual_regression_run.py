"""Dual regression as runs: resuming, two processes, tests."""

import copy
import re
import shutil
from pathlib import Path

import pytest
import torch

from lightsr_basicsr import cli
from lightsr_basicsr.data.degradations import imresize
from tests import tiny
from tests.test_models.test_dual_regression_model import DRN, DRN_DUAL, DUAL_OPT, EDSR, assert_equal, dual_of


def run_options(name: str, network: dict, dual: dict | None, **train) -> dict:
    """Return an option file's content for four iterations on images of 32 pixels, states at each."""
    scale = network["upscale"]
    content = tiny.train_options(**{
        "total_iter": 4, "dual_opt": DUAL_OPT, **train,
        "scheduler": {"type": "CosineAnnealingRestartLR", "periods": [40], "eta_min": 1e-7},
    })  # fmt: skip
    train_set = {**content["datasets"]["train"], "type": "MultiScalePairedDataset", "batch_size_per_gpu": 2}
    del train_set["dataroot_lq"]
    content["datasets"]["train"] = train_set
    content["val"] = {"val_freq": 2, "save_img": False, "metrics": tiny.metrics()}
    return copy.deepcopy({**content, "name": name, "model_type": "DualRegressionModel", "scale": scale,
                          "network_g": network, **({"network_dual": dual} if dual else {})})  # fmt: skip


def train(content: dict, *arguments: str) -> None:
    assert cli.main(["train", "-opt", tiny.write(content), *arguments]) == 0


@pytest.fixture
def images(workdir) -> Path:
    import cv2

    tiny.make_pairs(Path("data"), 5, scale=4)
    for file in Path("data/HR").iterdir():
        cv2.imwrite(f"data/LR/{file.name}", imresize(cv2.imread(str(file)), 1 / 4))
    return workdir


def flat(content, prefix: str = "") -> dict[str, torch.Tensor]:
    """Return the numbers and tensors of nested dictionaries and lists by their paths."""
    if isinstance(content, torch.Tensor):
        return {prefix: content}
    if isinstance(content, (int, float)):
        return {prefix: torch.tensor(float(content), dtype=torch.float64)}
    pairs = (
        content.items()
        if isinstance(content, dict)
        else enumerate(content)
        if isinstance(content, (list, tuple))
        else ()
    )
    return {path: value for key, part in pairs for path, value in flat(part, f"{prefix}/{key}").items()}


@pytest.mark.parametrize("form", ["levels", "image"])
def test_a_resumed_run_ends_with_the_same_weights(images, form):
    """Two iterations and two more are four, in the middle of an epoch of the rule that has skipped a batch."""
    network, dual = (DRN, DRN_DUAL) if form == "levels" else ({**EDSR, "upscale": 4}, dual_of(4))
    content = run_options("run", network, dual, skip_threshold=0.3, epoch_iter=3, schedule_every=2)
    content["train"]["optim_g"]["lr"] = 0.01
    train(content)
    models, states = Path("experiments/run/models"), Path("experiments/run/training_states")
    files = ("models/net_g_latest.pth", "models/net_dual_latest.pth", "training_states/4.state")
    whole = {file: flat(torch.load(Path("experiments/run") / file)) for file in files}
    for file in [*models.glob("*_[34l]*.pth"), *states.glob("[34].state")]:
        file.unlink()
    assert sorted(file.name for file in states.iterdir()) == ["1.state", "2.state"]
    train(content, "--auto_resume")
    for file, expected in whole.items():
        assert_equal(flat(torch.load(Path("experiments/run") / file)), expected)
    rule = torch.load(states / "4.state")["schedulers"][-1]
    assert rule["error_last"] < 1e8
    assert (rule["seen"], rule["skipped"]) == (1, 1)


def logged(name: str) -> dict[str, list[float]]:
    """Return losses and validation scores in the log of a run, by name, in the order of the iterations."""
    (log,) = Path("experiments", name).glob("train_*.log")
    found: dict[str, list[float]] = {}
    for key, value in re.findall(r"(\bl_\w+|# psnr): ([\d.e+-]+)", log.read_text()):
        found.setdefault(key, []).append(float(value))
    found["skipped"] = [float(number) for number in re.findall(r"(\d+) of the last \d+ batches", log.read_text())]
    return found


def test_two_processes_do_what_one_does_with_the_double_batch(images):
    """Losses to 1e-3 of their size; sums are rounded in another order. Both skip the same batches."""
    content = run_options("one", DRN, DRN_DUAL, total_iter=10, skip_threshold=0.3, epoch_iter=5)
    # The order of images is drawn for a number that all processes can share equally.
    content["datasets"]["train"].update(batch_size_per_gpu=4, dataset_enlarge_ratio=4)
    train(content)
    content["name"], content["datasets"]["train"]["batch_size_per_gpu"] = "two", 2
    tiny.train_in_two_processes(content)
    one, two = logged("one"), logged("two")
    assert {key: len(values) for key, values in one.items()} == {
        "l_pix": 10, "l_levels": 10, "l_dual": 10, "# psnr": 5, "skipped": 1
    }  # fmt: skip
    assert one.keys() == two.keys()
    for key, values in one.items():
        assert values == pytest.approx(two[key], rel=1e-3, abs=0.01 if key == "# psnr" else 0), key


def test_a_run_can_be_tested_without_its_dual_network(images):
    train(run_options("run", DRN, DRN_DUAL))
    content = tiny.test_options(tiny.paired("v", "data"), pretrain_network_g="experiments/run/models/net_g_4.pth")
    content |= {"model_type": "DualRegressionModel", "scale": 4, "network_g": DRN, "network_dual": DRN_DUAL}
    content["path"]["pretrain_network_dual"] = "experiments/run/models/net_dual_4.pth"
    shutil.move("experiments/run/models/net_dual_4.pth", "gone.pth")
    assert cli.main(["test", "-opt", tiny.write(content)]) == 0


def test_a_state_of_another_model_is_reported(images):
    content = run_options("run", {**EDSR, "upscale": 4}, dual_of(4))
    train(content)
    plain = {key: value for key, value in content.items() if key != "network_dual"}
    plain = {**plain, "model_type": "LossDictModel", "train": {**content["train"], "total_iter": 6}}
    plain["path"] = {"resume_state": "experiments/run/training_states/4.state"}
    with pytest.raises(SystemExit, match=r"2 optimizers and 3 schedulers, but LossDictModel has 1 and 1: .*model_type"):
        train(plain)


def test_a_schedule_that_was_counted_in_another_way_is_reported(images):
    content = run_options("run", {**EDSR, "upscale": 4}, dual_of(4))
    train(content)
    content["train"].update(total_iter=6, schedule_every=2)
    with pytest.raises(SystemExit, match=r"schedule of 3 steps, .*one in 2 iterations: .*train.schedule_every"):
        train(content, "--auto_resume")
