"""Options of a faster step as runs: exact resumption, files as ever, states with and without a scaler."""

import copy
import shutil
from pathlib import Path

import pytest
import torch

from lightsr_basicsr import cli
from lightsr_basicsr.models.speed_checks import find_scaler_problems
from tests import kdsr, tiny
from tests.test_models.test_dual_regression_run import DRN, DRN_DUAL, flat, run_options

FAST = {"amp": "bf16", "channels_last": True}
# Of a scaler, as torch writes it.
SCALER = {
    "scale": 65536.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000, "_growth_tracker": 0,
}  # fmt: skip


def content_of(run: str, iteration: int) -> dict[str, torch.Tensor]:
    files = (*Path(run, "models").glob(f"*_{iteration}.pth"), Path(run, "training_states", f"{iteration}.state"))
    found = {key: value for file in files for key, value in flat(torch.load(file), file.name).items()}
    assert all(value.is_contiguous() for value in found.values())
    assert torch.bfloat16 not in {value.dtype for value in found.values()}
    return found


def assert_same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    assert [key for key, value in ours.items() if not torch.equal(value, theirs[key])] == []


def train(content: dict, *arguments: str) -> int:
    return cli.main(["train", "-opt", tiny.write(copy.deepcopy(content)), *arguments])


def stop_after(run: Path, iteration: int) -> None:
    """Leave of a run what one that was killed after an iteration would have left."""
    for file in run.rglob("*"):
        number = file.stem.rpartition("_")[2]
        if file.suffix in (".pth", ".state") and (number == "latest" or int(number) > iteration):
            file.unlink()


def test_a_resumed_run_with_a_faster_step_ends_with_the_same_weights(workdir):
    tiny.make_pairs(Path("data"), 5)
    content = tiny.train_options(total_iter=6, **FAST)
    assert train(content) == 0
    run, whole = Path("experiments/tiny"), content_of("experiments/tiny", 6)
    stop_after(run, 2)
    assert train(content, "--auto_resume") == 0
    assert_same(content_of(str(run), 6), whole)
    plain = {**content, "name": "plain", "train": {k: v for k, v in content["train"].items() if k not in FAST}}
    assert train(plain) == 0
    exact = content_of("experiments/plain", 6)
    assert exact.keys() == whole.keys()
    assert any(not torch.equal(value, whole[key]) for key, value in exact.items())


def test_both_stages_of_kdsr_resume_with_a_faster_step(images):
    content = kdsr.run_options()
    content["train"].update(FAST)
    assert kdsr.train(content) == 0
    run, last = Path("experiments/kdsr"), content["train"]["total_iter"]
    whole = content_of(str(run), last)
    stop_after(run, last - 1)
    assert kdsr.train(content, "--auto_resume") == 0
    assert_same(content_of(str(run), last), whole)


def test_a_state_without_a_scaler_or_with_one_too_many_is_told_before_the_run(workdir, capsys, monkeypatch):
    tiny.make_pairs(Path("data"), 5)
    content = tiny.train_options(total_iter=2)
    assert train(content) == 0
    file = Path("experiments/tiny/training_states/2.state")
    without, none = [*find_scaler_problems({"amp": "fp16"}, file)], [*find_scaler_problems({"amp": "bf16"}, file)]
    text = "is fp16, but 2.state was saved without: set it as it was, or start a run of another name"
    assert (without, none) == ([("train.amp", text)], [])
    state = torch.load(file)
    state["schedulers"].append(SCALER)
    torch.save(state, file)
    assert [*find_scaler_problems({"amp": "fp16"}, file)] == []
    content["train"]["total_iter"] = 4
    capsys.readouterr()
    assert train(content, "--auto_resume") == 2
    assert "train.amp: must be fp16 as before: 2.state holds the scaler of such a run" in capsys.readouterr().err
    assert [*find_scaler_problems({"amp": "fp16"}, Path("gone.state"))] == []


@pytest.mark.skipif(not hasattr(torch.amp, "GradScaler"), reason="before torch 2.3 only GPUs have a scaler")
def test_a_scaler_is_saved_and_restored_with_the_run(workdir, monkeypatch):
    """The check refuses fp16 on a CPU, where it is slow; torch knows how."""
    monkeypatch.setattr("lightsr_basicsr.models.contract.find_speed_problems", lambda *arguments: ())
    tiny.make_pairs(Path("data"), 5)
    content = tiny.train_options(total_iter=4, amp="fp16")
    assert train(content) == 0
    whole = content_of("experiments/tiny", 4)
    scaler = torch.load("experiments/tiny/training_states/4.state")["schedulers"][-1]
    assert scaler.keys() == SCALER.keys()
    shutil.copytree("experiments", "copied")
    stop_after(Path("experiments/tiny"), 2)
    assert train(content, "--auto_resume") == 0
    assert_same(content_of("experiments/tiny", 4), whole)


@pytest.mark.skipif(not hasattr(torch.amp, "GradScaler"), reason="before torch 2.3 only GPUs have a scaler")
def test_steps_that_a_scaler_leaves_out_end_a_run_as_any_other(workdir, monkeypatch, capsys):
    monkeypatch.setattr("lightsr_basicsr.models.contract.find_speed_problems", lambda *arguments: ())
    tiny.make_pairs(Path("data"), 5)
    content = tiny.train_options(total_iter=8, amp="fp16", nan_patience=3)
    monkeypatch.setattr("basicsr.losses.basic_loss.l1_loss", lambda *pair, **more: pair[0].mean() * float("nan"))
    assert train(content) == 1
    assert "NaN or Inf in the last 3 steps" in capsys.readouterr().err


@pytest.mark.parametrize("model", ["KDSRNetTAModel", "KDSRNetSTModel", "KDSRGANSTModel"])
@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_steps_of_kdsr_are_those_of_float32_but_for_rounding(tmp_path, model, amp):
    """Losses within 2 % of float32's, bf16 having 8 bits."""
    if amp == "fp16" and not hasattr(torch.amp, "GradScaler"):
        pytest.skip("before torch 2.3 only GPUs have a scaler")
    kdsr.save_teacher(tmp_path / "T.pth")
    torch.manual_seed(0)
    exact = kdsr.steps(kdsr.make(model, tmp_path), 3)
    torch.manual_seed(0)
    fast = kdsr.make(model, tmp_path, amp=amp, channels_last=True)
    logged = kdsr.steps(fast, 3)
    assert fast.loss_is_finite
    assert logged != exact
    for ours, theirs in zip(logged, exact, strict=True):
        assert ours == pytest.approx(theirs, rel=0.02, abs=0.002)


def test_a_resumed_run_with_dual_networks_and_a_faster_step_ends_with_the_same_weights(workdir):
    tiny.make_pairs(Path("data"), 5, scale=4)
    content = run_options("dual", DRN, DRN_DUAL, **FAST, skip_threshold=0.3, epoch_iter=3)
    assert train(content) == 0
    whole = content_of("experiments/dual", 4)
    stop_after(Path("experiments/dual"), 2)
    assert train(content, "--auto_resume") == 0
    assert_same(content_of("experiments/dual", 4), whole)
