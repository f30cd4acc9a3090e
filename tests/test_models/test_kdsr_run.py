"""KDSR's two stages in one run, through the command: hand-over, resuming, one stage only, mistakes."""

import json
import os
import re
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
from lightsr_basicsr.data.blind_dataset import KERNELS
from lightsr_basicsr.models.kdsr_model import KDSRModel
from tests import kdsr, tiny

RUN = Path("experiments/kdsr")


@pytest.fixture
def images(workdir) -> Path:
    """Five HR images larger than a crop."""
    Path("data/HR").mkdir(parents=True)
    for index in range(5):
        rough = np.random.default_rng(index).integers(0, 256, (8, 8, 3), np.uint8)
        cv2.imwrite(f"data/HR/{index:03d}.png", cv2.resize(rough, (32, 32), interpolation=cv2.INTER_CUBIC))
    return workdir


def train(options: dict, *arguments: str) -> int:
    return cli.main(["train", "-opt", tiny.write(options), *arguments])


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


def test_a_student_without_a_teacher_is_told_what_to_do(images, capsys):
    assert train(kdsr.run_options(), "--stage", "student") == 2
    told = capsys.readouterr().err
    assert "has no teacher of iteration 4 (newest state: none). Train it first (--stage teacher)" in told
    assert not Path("experiments").exists()


def test_stages_need_an_option_file_that_has_them(images, capsys):
    tiny.make_pairs(Path("pairs"), 4)
    assert train(tiny.train_options("pairs"), "--stage", "teacher") == 2
    assert "the option file has no two stages (no train.teacher_iter)" in capsys.readouterr().err


def test_a_state_of_another_plan_is_refused(finished, capsys):
    cut_off(finished, 6)
    before = tiny.tree(Path("experiments"))
    assert train(kdsr.run_options(teacher_iter=2), "--auto_resume") == 2
    assert "train.teacher_iter: is 2, but" in capsys.readouterr().err
    assert tiny.tree(Path("experiments")) == before


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


@pytest.mark.parametrize("name", ["net_TA_4", "net_g_6"])
def test_weights_that_are_torn_beside_a_whole_state_are_told(finished, capsys, name):
    cut_off(finished, 6)
    torn = RUN / "models" / f"{name}.pth"
    torn.write_bytes(torn.read_bytes()[:100])
    before = tiny.tree(Path("experiments"))
    assert train(kdsr.run_options(), "--auto_resume") == 2
    assert f"{name}.pth (100 bytes) cannot be read as a checkpoint" in capsys.readouterr().err
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


OFFICIAL = {
    "KDSRNetTAModel": {"gt_usm": False},
    "KDSRNetSTModel": {"gt_usm": False},
    "KDSRGANSTModel": {"l1_gt_usm": True, "percep_gt_usm": True, "gan_gt_usm": False},
}


@pytest.mark.parametrize("model", OFFICIAL)
def test_option_files_in_the_official_style_train_resume_and_test(images, model):
    """With the keys of the official files, those among them that are not used, and their dataset."""
    kdsr.save_teacher(Path("T.pth"))
    Path("meta.txt").write_text("".join(f"{index:03d}.png\n" for index in range(5)))
    options = {**kdsr.run_options(name="official"), **kdsr.SYNTHESIS, **OFFICIAL[model], "model_type": model}
    teaches = model == "KDSRNetTAModel"
    if model == "KDSRGANSTModel":
        del options["gt_usm"]
        options["network_d"] = {"type": "UNetDiscriminatorSN", "num_in_ch": 3, "num_feat": 2, "skip_connection": True}
    options["datasets"]["train"] = {
        **KERNELS, "name": "DF2K+OST", "type": "RealESRGANDataset", "dataroot_gt": "data/HR", "meta_info": "meta.txt",
        "io_backend": {"type": "disk"}, "gt_size": 32, "use_hflip": True, "use_rot": False, "use_shuffle": True,
        "num_worker_per_gpu": 0, "batch_size_per_gpu": 2, "dataset_enlarge_ratio": 1, "prefetch_mode": None,
    }  # fmt: skip
    train_section = {
        "ema_decay": 0.999, "optim_g": dict(kdsr.ADAM), "optim_d": dict(kdsr.ADAM), "total_iter": 4, "warmup_iter": -1,
        "scheduler": {"type": "MultiStepLR", "milestones": [4000000], "gamma": 0.5},
        "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
        "kd_opt": {"type": "KDLoss", "loss_weight": 1, "temperature": 0.15},
        "gan_opt": {"type": "GANLoss", "gan_type": "vanilla", "real_label_val": 1.0, "fake_label_val": 0.0,
                    "loss_weight": 1.0}, "net_d_iters": 1, "net_d_init_iters": 0,
        "encoder_iter": 100000, "lr_encoder": 2e-4, "gamma_encoder": 0.1, "lr_decay_encoder": 60000,
        "lr_sr": 2e-4, "gamma_sr": 0.5, "lr_decay_sr": 600000,
    }  # fmt: skip
    adversarial, distilled = ("optim_d", "gan_opt", "net_d_iters", "net_d_init_iters"), ("kd_opt", "encoder_iter",
        "lr_encoder", "gamma_encoder", "lr_decay_encoder", "lr_sr", "gamma_sr", "lr_decay_sr")  # fmt: skip
    left_out = (*adversarial, *distilled) if teaches else adversarial if model == "KDSRNetSTModel" else ()
    options["train"] = {key: value for key, value in train_section.items() if key not in left_out}
    options["path"] = {
        "pretrain_network_g": "T.pth", "strict_load_g": False, "pretrain_network_TA": "T.pth",
        "param_key_g": "params_ema", "resume_state": None, "ignore_resume_networks": "network_TA",
    }  # fmt: skip
    if teaches:
        options["network_g"] = options.pop("network_TA")
        options["path"] = {"pretrain_network_g": None, "strict_load_g": True, "resume_state": None}
    assert train(options, "--force_yml", "train:total_iter=2") == 0
    assert train(options, "--auto_resume") == 0
    assert (Path("experiments/official/models") / "net_g_4.pth").is_file()
    tested = {key: value for key, value in options.items() if key not in ("train", "logger", "network_d")}
    tested["datasets"] = {"test_1": options["datasets"]["val"]}
    tested["path"] = {**options["path"], "pretrain_network_g": "experiments/official/models/net_g_4.pth"}
    tested["path"].pop("pretrain_network_TA", None)
    tested["val"] = {"save_img": True, "suffix": None}
    assert cli.main(["test", "-opt", tiny.write(tested)]) == 0


def test_a_gan_under_two_processes_runs(images):
    kdsr.save_teacher(Path("T.pth"))
    options = {**kdsr.run_options(name="gan"), "model_type": "KDSRGANSTModel"}
    options["network_d"] = {"type": "UNetDiscriminatorSN", "num_in_ch": 3, "num_feat": 2}
    options["path"] = {"pretrain_network_TA": "T.pth"}
    options["train"] = kdsr.options("KDSRGANSTModel", Path())["train"]
    options["train"]["total_iter"] = 3
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
         "-m", "lightsr_basicsr.cli", "train", "-opt", tiny.write(options), "--launcher", "pytorch"],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert (Path("experiments/gan/models") / "net_d_3.pth").is_file()


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


def logged(name: str) -> dict[str, list[float]]:
    """Return losses and validation scores in the log of a run, by name, in the order of the iterations."""
    (log,) = Path("experiments", name).glob("train_*.log")
    found: dict[str, list[float]] = {}
    for key, value in re.findall(r"(\w+/l_\w+|# psnr): ([\d.e+-]+)", log.read_text()):
        found.setdefault(key, []).append(float(value))
    return found


@pytest.mark.parametrize("encoder_only_iter", [0, 3])
def test_two_processes_do_what_one_does_with_the_double_batch(images, encoder_only_iter):
    """Losses to 1e-3 of their size, scores to 0.01 dB; sums are rounded in another order, and Adam magnifies that."""
    options = kdsr.run_options(teacher_iter=10, total_iter=20, name="one")
    options["val"]["val_freq"] = 5
    options["train"]["student"]["encoder_only_iter"] = encoder_only_iter
    # The order of images is drawn for a number that all processes can share equally.
    options["datasets"]["train"].update(batch_size_per_gpu=4, dataset_enlarge_ratio=4)
    assert train(options) == 0
    options["name"], options["datasets"]["train"]["batch_size_per_gpu"] = "two", 2
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
         "-m", "lightsr_basicsr.cli", "train", "-opt", tiny.write(options), "--launcher", "pytorch"],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = logged("one"), logged("two")
    assert {key: len(values) for key, values in one.items()} == {
        "teacher/l_pix": 10, "# psnr": 5, "student/l_kd": 10, "student/l_pix": 10 - encoder_only_iter
    }  # fmt: skip
    assert one.keys() == two.keys() == {"teacher/l_pix", "student/l_pix", "student/l_kd", "# psnr"}
    for key, values in one.items():
        assert values == pytest.approx(two[key], rel=1e-3, abs=0.01 if key == "# psnr" else 0), key
