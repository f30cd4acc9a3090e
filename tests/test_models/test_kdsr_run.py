"""KDSR's two stages in one run, through the command: hand-over, resuming, one stage only, mistakes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs import build_network

from lightsr_basicsr import cli
from lightsr_basicsr.models.kdsr_model import KDSRModel
from tests import kdsr, tiny
from tests.kdsr import train

RUN = Path("experiments/kdsr")


def weights(name: str = "net_g_latest", folder: Path = RUN) -> dict[str, dict[str, torch.Tensor]]:
    return torch.load(folder / "models" / f"{name}.pth")


def assert_equal(ours: dict, theirs: dict) -> None:
    assert ours.keys() == theirs.keys()
    for kind, state in ours.items():
        for key, value in state.items():
            assert torch.equal(value, theirs[kind][key]), (kind, key)


@pytest.fixture
def finished(images) -> Path:
    """An uninterrupted run, moved aside with every state that it had."""
    assert train(kdsr.run_options()) == 0
    return Path(shutil.move("experiments", "whole")) / "kdsr"


def cut_off(finished: Path, iteration: int, name: str = "kdsr") -> None:
    """Leave of ``finished`` what a run that was killed after ``iteration`` would have left."""
    shutil.copytree(finished, f"experiments/{name}")
    for file in Path("experiments", name).rglob("*_*.pth"):
        number = file.stem.rpartition("_")[2]
        if number == "latest" or int(number) > iteration:
            file.unlink()
    for file in Path("experiments", name, "training_states").iterdir():
        if int(file.stem) > iteration:
            file.unlink()


def test_the_student_follows_the_teacher(finished):
    files = sorted(file.name for file in (finished / "models").iterdir())
    assert files == sorted(
        [f"net_TA_{i}.pth" for i in (1, 2, 3, 4, "latest")] + [f"net_g_{i}.pth" for i in (5, 6, 7, 8, "latest")]
    )
    assert_equal(weights("net_TA_4", finished), weights("net_TA_latest", finished))
    (log,) = finished.glob("train_*.log")
    text = log.read_text()
    assert text.count("teacher/l_pix") == 4
    assert text.count("student/l_pix") == text.count("student/l_kd") == 4
    assert "G of BlindSR_ST starts from the teacher" in text
    assert "Validation teacher_v" in text
    assert "Validation student_v" in text
    assert set(json.loads((finished / "best_metrics.json").read_text())) == {"teacher_v", "student_v"}
    rates = [line.split("lr:(")[1][:9] for line in text.splitlines() if "lr:(" in line]
    assert rates == ["1.000e-03"] * 2 + ["5.000e-04"] * 2 + ["2.000e-03"] * 3 + ["1.000e-03"]


@pytest.mark.parametrize("iteration", [1, 3, 4, 5, 7, 8])
def test_a_run_stopped_anywhere_ends_with_the_same_weights(finished, iteration):
    cut_off(finished, iteration)
    assert train(kdsr.run_options(), "--auto_resume") == 0
    for name in ("net_TA_latest", "net_g_latest") if iteration <= 4 else ("net_g_latest",):
        assert_equal(weights(name), weights(name, finished))
    assert {"teacher_v", "student_v"} == set(json.loads((RUN / "best_metrics.json").read_text()))


def test_a_hand_over_between_two_states_keeps_the_teacher(finished):
    """States every third iteration: the teacher's last one is saved all the same, and serves a stop after it."""
    options = kdsr.run_options()
    options["logger"]["save_checkpoint_freq"] = 3
    assert train(options) == 0
    assert sorted(file.name for file in (RUN / "training_states").iterdir()) == ["3.state", "4.state", "6.state"]
    assert_equal(weights(), weights("net_g_latest", finished))
    whole = Path(shutil.move("experiments", "thirds")) / "kdsr"
    for iteration in (3, 4, 6):
        cut_off(whole, iteration)
        assert train(options, "--auto_resume") == 0
        assert_equal(weights(), weights("net_g_latest", finished))
        shutil.rmtree("experiments")


def test_a_teacher_that_was_cut_off_while_being_saved_is_trained_again(finished):
    cut_off(finished, 4)
    (RUN / "training_states" / "4.state").unlink()
    torn = RUN / "models" / "net_TA_4.pth"
    torn.write_bytes(torn.read_bytes()[:100])
    assert train(kdsr.run_options(), "--auto_resume") == 0
    assert_equal(weights(), weights("net_g_latest", finished))


def test_the_encoder_alone_is_trained_where_the_student_begins(images):
    options = kdsr.run_options()
    options["train"]["student"]["encoder_only_iter"] = 2
    assert train(options) == 0
    teacher = weights("net_TA_4")["params_ema"]
    for iteration, same in ((6, True), (7, False)):
        student = weights(f"net_g_{iteration}")["params"]
        trained = [key for key in student if key.startswith("G.") and "_mean." not in key]
        assert all(torch.equal(student[key], teacher[key]) is same for key in trained)


def test_the_student_is_drawn_from_a_seed_of_its_own(finished):
    """Teacher and student have most of their encoder in common; equal draws would hide that it is a new one."""
    options = kdsr.run_options()
    drawn = {}
    for stage, network in (("teacher", options["network_TA"]), ("student", options["network_g"])):
        with torch.random.fork_rng():
            torch.manual_seed(options["manual_seed"] + (stage == "student"))
            drawn[stage] = build_network(dict(network)).state_dict()
    options["train"]["student"]["optim_g"]["lr"] = 0.0
    torch.rand(3)  # what else draws does not matter
    assert train(options) == 0
    student = weights("net_g_5")["params"]
    assert all(torch.equal(student[key], value) for key, value in drawn["student"].items() if key.startswith("E_st."))


def test_the_generators_of_gpus_are_left_alone(images, monkeypatch):
    seeds = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    options = {**kdsr.run_options(), "is_train": True, "dist": False, "rank": 0}
    before = torch.get_rng_state()
    KDSRModel(options)
    assert not seeds
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("iteration", [2, 4, 6])
@pytest.mark.parametrize("listed", ["network_TA", ["network_g"]])
def test_networks_that_the_option_file_ignores_on_resumption_are_resumed(finished, iteration, listed):
    cut_off(finished, iteration)
    options = kdsr.run_options()
    options["path"]["ignore_resume_networks"] = listed
    assert train(options, "--auto_resume") == 0
    assert_equal(weights(), weights("net_g_latest", finished))


def test_a_student_that_starts_from_a_file_starts_from_the_same_weights_after_a_resumption(images):
    states = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        states.append(build_network(dict(kdsr.STUDENT)).state_dict())
    torch.save({"params": states[0], "params_ema": states[1]}, "start.pth")
    options = kdsr.run_options()
    options["path"].update(pretrain_network_g="start.pth", param_key_g="params_ema")
    assert train(options) == 0
    whole = Path(shutil.move("experiments", "whole")) / "kdsr"
    cut_off(whole, 2)
    assert train(options, "--auto_resume") == 0
    assert_equal(weights(), weights("net_g_latest", whole))


def test_a_run_that_is_taken_back_trains_its_teacher_anew(images):
    """States every third iteration; the teacher of the first time must not serve the second student."""
    options = kdsr.run_options()
    options["logger"]["save_checkpoint_freq"] = 3
    assert train(options) == 0
    first = weights("net_TA_4")
    options["path"]["resume_state"] = str(RUN / "training_states" / "3.state")
    options["train"]["teacher"]["pixel_opt"] = {"type": "MSELoss"}
    assert train(options) == 0
    assert_equal(weights("net_TA_4"), weights("net_TA_latest"))
    assert not torch.equal(weights("net_TA_4")["params"]["G.head.0.weight"], first["params"]["G.head.0.weight"])


def test_one_stage_after_the_other_is_the_whole(finished, capsys):
    assert train(kdsr.run_options(), "--stage", "teacher") == 0
    assert_equal(weights("net_TA_latest"), weights("net_TA_latest", finished))
    assert not list((RUN / "models").glob("net_g_*"))
    assert train(kdsr.run_options(), "--stage", "student") == 0
    assert_equal(weights(), weights("net_g_latest", finished))
    assert train(kdsr.run_options(), "--stage", "student") == 2
    assert "the student of" in capsys.readouterr().err
    assert_equal(weights(), weights("net_g_latest", finished))


def test_a_teacher_of_another_run_serves_a_student_that_can_be_resumed(finished, capsys):
    options = kdsr.run_options(name="other")
    options["path"]["pretrain_network_TA"] = str(finished / "models" / "net_TA_4.pth")
    assert train(options, "--stage", "student") == 0
    whole = weights("net_g_latest", Path("experiments/other"))
    shutil.move("experiments", "others")
    cut_off(Path("others/other"), 2, "other")
    assert train(options, "--stage", "student", "--auto_resume") == 0
    assert_equal(weights("net_g_latest", Path("experiments/other")), whole)


def test_numbers_of_iterations_may_be_written_as_floats(finished):
    options = kdsr.run_options(teacher_iter=4.0, total_iter=8.0)
    options["train"]["teacher"]["scheduler"] = {"type": "CosineAnnealingRestartLR", "periods": [4], "eta_min": 1e-6}
    assert train(options, "--stage", "teacher") == 0
    assert train(options, "--stage", "student") == 0
    assert not [folder for folder in Path("experiments").iterdir() if "archived" in folder.name]
    assert_equal(weights("net_TA_4"), weights("net_TA_latest"))
    assert (RUN / "models" / "net_g_8.pth").is_file()


def test_the_teacher_that_was_trained_is_taken_before_the_one_it_started_from(images):
    kdsr.save_teacher(Path("start.pth"))
    options = kdsr.run_options()
    options["path"]["pretrain_network_TA"] = "start.pth"
    assert train(options) == 0
    whole = Path(shutil.move("experiments", "whole")) / "kdsr"
    assert train(options, "--stage", "teacher") == 0
    assert train(options, "--stage", "student") == 0
    assert_equal(weights(), weights("net_g_latest", whole))


def test_a_student_without_a_teacher_is_reported_what_to_do(images, capsys):
    assert train(kdsr.run_options(), "--stage", "student") == 2
    told = capsys.readouterr().err
    assert "has no teacher of iteration 4 (newest state: none). Train it first (--stage teacher)" in told
    assert not Path("experiments").exists()


def test_stages_need_an_option_file_that_has_them(images, capsys):
    tiny.make_pairs(Path("pairs"), 4)
    assert train(tiny.train_options("pairs"), "--stage", "teacher") == 2
    assert "the option file has no two stages (no train.teacher_iter)" in capsys.readouterr().err


@pytest.mark.parametrize("iteration", [3, 4, 6])
def test_a_resumed_run_with_another_name_finds_its_teacher(finished, iteration):
    cut_off(finished, iteration)
    options = kdsr.run_options(name="second")
    options["path"]["resume_state"] = f"experiments/kdsr/training_states/{iteration}.state"
    assert train(options) == 0
    second = Path("experiments/second")
    assert_equal(weights("net_g_latest", second), weights("net_g_latest", finished))
    shutil.rmtree(RUN)  # the new run has all that it needs, and can be resumed itself
    (second / "training_states" / "8.state").unlink()
    del options["path"]["resume_state"]
    assert train(options, "--auto_resume") == 0
    assert_equal(weights("net_g_latest", second), weights("net_g_latest", finished))


def test_auto_resume_begins_anew_where_the_run_has_no_states(finished):
    """Whatever path.resume_state says, which holds without --auto_resume only."""
    cut_off(finished, 6)
    options = kdsr.run_options(name="third")
    options["path"]["resume_state"] = "experiments/kdsr/training_states/6.state"
    assert train(options, "--auto_resume") == 0
    assert_equal(weights("net_g_latest", Path("experiments/third")), weights("net_g_latest", finished))


@pytest.mark.parametrize(("name", "start"), [("net_TA_4", 3), ("net_g_6", 5)])
def test_a_run_resumes_before_weights_that_are_cut_off(finished, capsys, name, start):
    """The teacher of iteration 4 belongs to every state of the student, so its own stage is resumed."""
    cut_off(finished, 6)
    torn = RUN / "models" / f"{name}.pth"
    torn.write_bytes(torn.read_bytes()[:100])
    assert train(kdsr.run_options(), "--auto_resume") == 0
    reported = capsys.readouterr().err
    assert f"models/{name}.pth cannot be read (100 bytes, cut off or damaged): resuming from {start}\n" in reported
    assert_equal(weights(), weights("net_g_latest", finished))


@pytest.mark.parametrize("teacher_iter", [2, 5, 7])
def test_a_state_of_another_plan_is_refused(finished, capsys, teacher_iter):
    cut_off(finished, 6)
    before = tiny.tree(Path("experiments"))
    assert train(kdsr.run_options(teacher_iter=teacher_iter), "--auto_resume") == 2
    assert f"train.teacher_iter: is {teacher_iter}, but" in capsys.readouterr().err
    assert tiny.tree(Path("experiments")) == before


def test_a_student_stage_needs_no_hr_in_validation(finished):
    cut_off(finished, 4)
    options = kdsr.run_options()
    Path("data/LR").mkdir()
    for file in Path("data/HR").iterdir():
        cv2.imwrite(f"data/LR/{file.name}", cv2.imread(str(file))[::2, ::2])
    options["datasets"]["val"] = {
        "name": "v", "type": "SingleImageDataset", "dataroot_lq": "data/LR", "io_backend": {"type": "disk"}
    }  # fmt: skip
    assert train(options, "--stage", "student") == 0
    assert_equal(weights(), weights("net_g_latest", finished))


def test_a_run_that_is_killed_goes_on(finished):
    """Kill -9, wherever it strikes."""
    options = tiny.write(kdsr.run_options())
    command = [sys.executable, "-m", "lightsr_basicsr.cli", "train", "-opt", options, "--auto_resume"]
    # Sums are rounded in another order with another number of threads, and the tests have one.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    states = RUN / "training_states"
    deadline = time.monotonic() + 120
    while run.poll() is None and not (states / "5.state").is_file() and time.monotonic() < deadline:
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert (states / "4.state").is_file()
    assert train(kdsr.run_options(), "--auto_resume") == 0
    assert_equal(weights(), weights("net_g_latest", finished))


def test_tensorboard_tells_the_stages_apart(images):
    pytest.importorskip("tensorboard", reason="reads the files that were written")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    options = kdsr.run_options()
    options["logger"]["use_tb_logger"] = True
    assert train(options) == 0
    events = EventAccumulator("tb_logger/kdsr").Reload()
    assert set(events.Tags()["scalars"]) == {
        "teacher/l_pix", "student/l_pix", "student/l_kd", "metrics/teacher_v/psnr", "metrics/student_v/psnr"
    }  # fmt: skip
    assert [event.step for event in events.Scalars("student/l_kd")] == [5, 6, 7, 8]


def test_a_comparison_shows_teacher_and_student(images, capsys):
    options = kdsr.run_options(teacher_iter=2, total_iter=3)
    options["datasets"]["val_2"] = {**options["datasets"]["val"], "name": "w", "sigma": 2.0}
    options["comparison"] = {"dataset": ["val", "val_2"], "crop_border": 2, "test_y_channel": True}
    assert train(options) == 0
    shown = capsys.readouterr().out
    assert "bicubic" in shown
    assert shown.split("teacher", 1)[1].split()[0] == "student"
    assert "000 w" in shown
    picture = cv2.imread(str(RUN / "comparison.png"))
    assert picture.shape[1] % 6 == 0  # HR, LR, bicubic, teacher, student, HR


def test_the_student_can_be_tested_as_any_network(finished):
    options = tiny.test_options({**kdsr.run_options()["datasets"]["val"], "name": "v"})
    options["network_g"] = kdsr.STUDENT
    options["path"] = {"pretrain_network_g": str(finished / "models" / "net_g_latest.pth")}
    for model in ("LossDictModel", "KDSRNetSTModel", "KDSRModel"):
        options["model_type"], options["name"] = model, model
        assert cli.main(["test", "-opt", tiny.write(options)]) == 0
    pictures = [sorted(Path("results", name).rglob("000*.png")) for name in ("LossDictModel", "KDSRModel")]
    assert np.array_equal(*(cv2.imread(str(picture)) for (picture,) in pictures))
