"""KDSR as the official option files and several processes run it."""

import re
from pathlib import Path

import pytest

from lightsr_basicsr import cli
from lightsr_basicsr.data.blind_dataset import KERNELS
from tests import kdsr, tiny
from tests.kdsr import train

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
    tiny.train_in_two_processes(options)
    assert (Path("experiments/gan/models") / "net_d_3.pth").is_file()


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
    tiny.train_in_two_processes(options)
    one, two = logged("one"), logged("two")
    assert {key: len(values) for key, values in one.items()} == {
        "teacher/l_pix": 10, "# psnr": 4, "student/l_kd": 10, "student/l_pix": 10 - encoder_only_iter
    }  # fmt: skip
    assert one.keys() == two.keys() == {"teacher/l_pix", "student/l_pix", "student/l_kd", "# psnr"}
    for key, values in one.items():
        assert values == pytest.approx(two[key], rel=1e-3, abs=0.01 if key == "# psnr" else 0), key
