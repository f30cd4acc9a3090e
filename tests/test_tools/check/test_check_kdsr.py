"""KDSR's mistakes are told before a run starts."""

from pathlib import Path
from urllib.error import URLError

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs import build_network

from lightsr_basicsr.tools.check.options import check_options
from tests import kdsr, tiny

# Keys that BasicSR adds to the options of a run.
RUNTIME_KEYS = ("is_train", "dist", "rank")


@pytest.fixture
def images(workdir) -> Path:
    for index in range(3):
        image = np.random.default_rng(index).integers(0, 256, (48, 48, 3), np.uint8)
        for folder, side in (("HR", 48), ("LR", 24)):
            Path("data", folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(f"data/{folder}/{index}.png", cv2.resize(image, (side, side)))
    kdsr.save_teacher(Path("T.pth"))
    return workdir


def told(options: dict) -> list[str]:
    return [str(finding) for finding in check_options(options, "train" in options) if finding.fatal]


def one_stage(model: str, **train) -> dict:
    """Return an option file's content for the teacher, the student or the GAN alone."""
    options, run = kdsr.options(model, Path()), kdsr.run_options()
    options["path"] = {} if model == "KDSRNetTAModel" else {"pretrain_network_TA": "T.pth"}
    if model != "KDSRGANSTModel":
        del options["network_d"]
    if model == "KDSRNetTAModel":
        del options["network_TA"]
    options["train"].update(train)
    keep = ("name", "datasets", "val", "logger")
    given = {key: value for key, value in options.items() if key not in RUNTIME_KEYS}
    return {**given, **{key: run[key] for key in keep}}


@pytest.mark.parametrize("model", ["KDSRNetTAModel", "KDSRNetSTModel", "KDSRGANSTModel"])
def test_what_is_right_passes(images, model):
    assert told(one_stage(model)) == []
    assert told(kdsr.run_options()) == []


def test_a_missing_teacher_is_told(images):
    options = one_stage("KDSRNetSTModel")
    options["path"]["pretrain_network_TA"] = "gone.pth"
    (finding,) = told(options)
    assert finding.startswith("path.pretrain_network_TA: There is no checkpoint at gone.pth")
    options["path"] = {}
    assert told(options) == ["path.pretrain_network_TA: is missing: KDSRNetSTModel starts from that file"]


@pytest.mark.parametrize("change", [{"n_feats": 8}, {"n_encoder_res": 2}, {"n_sr_blocks": 2}])
def test_a_teacher_of_another_size_is_told(images, change):
    kdsr.save_teacher(Path("T.pth"), **change)
    (finding,) = told(one_stage("KDSRNetSTModel"))
    assert "path.pretrain_network_TA: T.pth does not fit BlindSR_TA: it holds BlindSR_TA" in finding
    ((name, value),) = change.items()
    assert f"{name} {value}" in finding


def test_a_student_that_starts_from_a_teacher_of_another_size_is_told(images):
    kdsr.save_teacher(Path("W.pth"), n_sr_blocks=3)
    options = one_stage("KDSRNetSTModel")
    options["path"].update(pretrain_network_g="W.pth", strict_load_g=False)
    (finding,) = told(options)
    assert finding.startswith("path.pretrain_network_g: W.pth: the teacher's G does not fit BlindSR_ST:")
    options["path"]["pretrain_network_g"] = "T.pth"
    assert told(options) == []


@pytest.mark.parametrize("key", ["scale", "n_feats", "n_sr_blocks"])
def test_networks_of_two_kinds_are_told(images, key):
    options = kdsr.run_options()
    options["network_TA"][key] *= 2
    assert any(
        line.startswith(f"network_TA.{key} (student stage): is {2 * kdsr.SIZE[key]}, but the student's")
        for line in told(options)
    )


def test_another_scale_than_the_networks_is_told(images):
    options = kdsr.run_options()
    options["scale"] = 4
    found = told(options)
    assert "scale (teacher stage): is 4, but network_TA enlarges by 2: they must be equal" in found
    assert any(line.startswith("scale (student stage)") for line in found)


def test_networks_in_each_others_place_are_told(images):
    options = kdsr.run_options()
    options["network_TA"]["type"], options["network_g"]["type"] = "BlindSR_ST", "BlindSR_TA"
    found = told(options)
    assert "network_TA.type (teacher stage): must be a teacher, BlindSR_TA, for KDSRNetTAModel; got BlindSR_ST" in found
    assert "network_g.type (student stage): must be a student, BlindSR_ST; got BlindSR_TA" in found
    assert "network_TA.type (student stage): must be a teacher, BlindSR_TA; got BlindSR_ST" in found


def test_hr_that_is_not_scale_times_lr_is_told(images):
    options = one_stage("KDSRNetTAModel")
    options["datasets"]["train"] |= {**tiny.paired("t", "data"), "gt_size": 16}
    assert told({**options}) == []
    cv2.imwrite("data/LR/1.png", np.zeros((23, 24, 3), np.uint8))
    assert any("1.png GT 48x48, expected 48x46 (LQ 24x23 times 2)" in line for line in told(options))


@pytest.mark.parametrize(("model", "expected"), [("KDSRNetTAModel", 1), ("KDSRNetSTModel", 0)])
def test_a_validation_set_without_hr_is_told_for_the_teacher_only(images, model, expected):
    options = one_stage(model)
    options["datasets"]["val"] = {
        "name": "v", "type": "SingleImageDataset", "dataroot_lq": "data/LR", "io_backend": {"type": "disk"}
    }  # fmt: skip
    found = told(options)
    assert len(found) == expected
    assert not found or found[0] == ("datasets.val: gives no gt, and the model needs the HR image: add dataroot_gt")


def test_a_test_set_without_hr_is_told_for_the_teacher(images):
    options = one_stage("KDSRNetTAModel")
    del options["train"], options["logger"]
    options["path"] = {"pretrain_network_g": "T.pth"}
    options["val"] = {"save_img": False}
    options["datasets"] = {
        "test_1": {"name": "v", "type": "SingleImageDataset", "dataroot_lq": "data/LR", "io_backend": {"type": "disk"}}
    }
    assert told(options) == ["datasets.test_1: gives no gt, and the model needs the HR image: add dataroot_gt"]


def second_order(model: str = "KDSRNetTAModel") -> dict:
    options = {**one_stage(model), **kdsr.SYNTHESIS}
    options["datasets"]["train"] = {
        "name": "t", "type": "SecondOrderDataset", "dataroot_gt": "data/HR", "io_backend": {"type": "disk"},
        "gt_size": 32, "use_hflip": True, "use_rot": False, "num_worker_per_gpu": 0, "batch_size_per_gpu": 2,
    }  # fmt: skip
    return options


def test_a_pool_that_the_batches_do_not_fill_is_told(images):
    assert told(second_order()) == []
    assert told({**second_order(), "queue_size": 7}) == [
        "queue_size: must be a multiple of the images in a batch, got 7 and 2: for example 6"
    ]


def test_a_missing_key_of_the_synthesis_is_told(images):
    options = second_order()
    del options["jpeg_range2"], options["second_blur_prob"]
    found = told(options)
    assert [line.split(":")[0] for line in found] == ["second_blur_prob", "jpeg_range2"]
    assert "the second-order degradation needs it" in found[0]


def test_what_the_gan_lacks_or_does_not_know_is_told(images):
    options = one_stage("KDSRGANSTModel", ldl_opt={"type": "L1Loss"})
    del options["network_d"], options["train"]["gan_opt"], options["train"]["optim_d"]
    options.update(usm_targets="all", gt_usm=True)
    found = " ".join(told(options))
    for part in (
        "network_d: is missing", "train.gan_opt: is missing", "train.optim_d: is missing",
        "train.ldl_opt: has no effect", "gt_usm: has no effect",
        "usm_targets: must be teacher_only or per_loss, got 'all'",
    ):  # fmt: skip
        assert part in found


def test_missing_losses_are_told(images):
    options = kdsr.run_options()
    del options["train"]["kd_opt"]
    assert told(options) == [
        "train.kd_opt (student stage): is missing: KDSRNetSTModel needs it, for example {type: KDLoss}"
    ]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"teacher_iter": 9}, "train.teacher_iter: is 9, more than train.total_iter (8), which counts both"),
        ({"teacher_iter": "4"}, "train.teacher_iter: must be a whole number of at least 0, got '4'"),
        ({"teacher_iter": 0}, "path.pretrain_network_TA: is missing: with train.teacher_iter 0"),
        ({"teacher": None}, "train.teacher: must be a section, got None"),
    ],
)
def test_a_plan_that_makes_no_sense_is_told(images, change, expected):
    options = kdsr.run_options()
    options["train"].update(change)
    assert any(line.startswith(expected) for line in told(options))


def test_typos_within_a_stage_are_told(images):
    options = kdsr.run_options()
    options["train"]["student"] |= {"encoder_only_iters": 3, "optim_g": {"type": "Adma", "lr": 1e-3}}
    found = " ".join(told(options))
    assert "train.encoder_only_iters (student stage): is not read by" in found
    assert "did you mean 'encoder_only_iter'?" in found
    assert "train.optim_g (student stage)" in found


def test_official_rate_keys_come_together(images):
    assert told(one_stage("KDSRNetSTModel", lr_sr=0.1)) == [
        "train.lr_sr: needs gamma_sr and lr_decay_sr too; or remove it and use the scheduler"
    ]


def with_perceptual_loss() -> dict:
    return one_stage("KDSRGANSTModel", perceptual_opt={"type": "PerceptualLoss", "layer_weights": {"conv5_4": 1}})


def test_weights_of_vgg_that_cannot_be_had_are_told(images, monkeypatch):
    tried = []

    def fail(*args, **kwargs):
        tried.append(1)
        raise URLError("no route")

    monkeypatch.setattr("basicsr.archs.vgg_arch.vgg.vgg19", fail)
    (finding,) = told(with_perceptual_loss())
    assert finding.startswith(
        "train.perceptual_opt: URLError: <urlopen error no route>; without a connection put vgg19-"
    )
    assert str(images / "experiments" / "pretrained_models") in finding
    tried.clear()
    options = with_perceptual_loss()
    options["path"]["pretrain_network_TA"] = "gone.pth"
    assert len(told(options)) == 1
    assert not tried  # nothing is downloaded for a run that does not start


def test_all_gpus_share_a_pool_without_a_launcher(images, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    options = {**second_order(), "queue_size": 4, "num_gpu": 3}
    assert any("queue_size: must be a multiple of the images in a batch, got 4 and 6" in line for line in told(options))
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert not any("queue_size" in line for line in told(options))


@pytest.mark.parametrize("key", ["optim_g", "scheduler"])
@pytest.mark.parametrize("model", ["KDSRNetTAModel", "KDSRNetSTModel", "KDSRGANSTModel"])
def test_a_missing_optimizer_is_told(images, model, key):
    options = one_stage(model)
    del options["train"][key]
    assert any(line.startswith(f"train.{key}: is missing") for line in told(options))


@pytest.mark.parametrize(
    ("changes", "key", "expected"),
    [
        ({"gt_size": 33}, "gt_size", "is 33 at scale 2: must be a multiple of the scale, as 400 must, and at most 400"),
        ({"gt_size": 402}, "gt_size", "at most 400, the side of the dataset's crops"),
        ({"queue_size": 0}, "queue_size", "got 0 and 2: for example 2"),
        ({"queue_size": -2}, "queue_size", "got -2 and 2"),
        (
            {"resize_prob": [0.5, 0.5]},
            "resize_prob",
            "must be a list of 3, each a number of at least 0, got [0.5, 0.5]",
        ),
        ({"noise_range2": 5}, "noise_range2", "must be a list of 2, each a number of at least 0, got 5"),
        ({"high_order_degradation": False}, "high_order_degradation", "must be true or left out"),
    ],
)
def test_a_synthesis_that_cannot_run_is_told(images, changes, key, expected):
    assert any(line.startswith(f"{key}: ") and expected in line for line in told({**second_order(), **changes}))


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"optim_d": {"type": "Adma", "lr": 1e-4}}, "optim_d"),
        ({"kd_opt": {"type": "L1Loss"}}, "kd_opt.type"),
        ({"kd_opt": {"type": "KDLoss", "temperature": 0}}, "kd_opt"),
        ({"ema_decay": None}, "ema_decay"),
        ({"warmup_iter": "ten"}, "warmup_iter"),
        ({"encoder_only_iter": "two"}, "encoder_only_iter"),
        ({"lr_sr": 1e-4, "gamma_sr": 0.5, "lr_decay_sr": 0}, "lr_decay_sr"),
    ],
)
def test_values_that_cannot_be_used_are_told(images, changes, key):
    assert any(line.startswith(f"train.{key}: ") for line in told(one_stage("KDSRGANSTModel", **changes)))


@pytest.mark.parametrize("broken", [{"datasets": None}, {"train": 5}, {"path": []}, {"network_g": None}])
@pytest.mark.parametrize("model", ["KDSRNetSTModel", "KDSRGANSTModel", "KDSRModel"])
def test_sections_that_are_none_are_told_and_nothing_else_breaks(images, model, broken):
    options = kdsr.run_options() if model == "KDSRModel" else one_stage(model)
    assert told({**options, **broken})


def test_a_batch_of_nothing_is_told(images):
    options = second_order()
    options["datasets"]["train"]["batch_size_per_gpu"] = 0
    assert any(line.startswith("datasets.train.batch_size_per_gpu") for line in told(options))


def test_a_switch_that_is_no_truth_value_is_told(images):
    options = {**one_stage("KDSRGANSTModel"), "l1_gt_usm": "yes"}
    assert told(options) == ["l1_gt_usm: must be true or false, got 'yes'"]


def test_lengths_within_a_stage_are_told(images):
    options = kdsr.run_options()
    options["train"]["student"]["total_iter"] = 5
    assert "train.student.total_iter: holds for the whole run: write it under train" in told(options)


def test_a_typo_is_told_once(images):
    options = kdsr.run_options()
    options["train"]["warmup_itr"] = 5
    assert len([line for line in told(options) if "warmup_itr" in line]) == 1


def test_a_network_that_is_not_to_be_resumed_needs_no_file(images):
    options = one_stage("KDSRGANSTModel")
    for folder in ("models", "training_states"):
        Path("run", folder).mkdir(parents=True)
    state = Path("run/training_states/2.state")
    state.touch()
    torch.save({"params": build_network(dict(kdsr.STUDENT)).state_dict()}, "run/models/net_g_2.pth")
    found = [str(finding) for finding in check_options(options, True, state)]
    assert len(found) == 1
    assert found[0].startswith("path.resume_state: weights that were saved with 2.state: There is no checkpoint at")
    assert "net_d_2.pth" in found[0]
    options["path"]["ignore_resume_networks"] = ["network_TA", "network_d"]
    assert not [finding for finding in check_options(options, True, state) if finding.fatal]
