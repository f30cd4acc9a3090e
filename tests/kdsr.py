"""The smallest KDSR: networks, options of every model, and batches."""

from copy import deepcopy

import numpy as np
import torch
from basicsr.archs import build_network
from basicsr.models import build_model

from lightsr_basicsr import cli
from tests import tiny
from tests.golden import fill

SIZE = {"n_feats": 4, "n_encoder_res": 1, "n_sr_blocks": 1, "scale": 2}
TEACHER, STUDENT = ({"type": name, **SIZE} for name in ("BlindSR_TA", "BlindSR_ST"))
ADAM = {"type": "Adam", "lr": 1e-3, "betas": [0.9, 0.99]}
STEPS = {"type": "MultiStepLR", "milestones": [3], "gamma": 0.5}
SYNTHESIS = {
    "gt_usm": False, "queue_size": 2, "gt_size": 32, "second_blur_prob": 0.8,
    "resize_prob": [0.2, 0.7, 0.1], "resize_range": [0.5, 1.5], "resize_prob2": [0.3, 0.4, 0.3],
    "resize_range2": [0.5, 1.2], "gaussian_noise_prob": 0.5, "gaussian_noise_prob2": 0.5, "noise_range": [1, 30],
    "noise_range2": [1, 25], "poisson_scale_range": [0.05, 3], "poisson_scale_range2": [0.05, 2.5],
    "gray_noise_prob": 0.4, "gray_noise_prob2": 0.4, "jpeg_range": [30, 95], "jpeg_range2": [30, 95],
}  # fmt: skip


def save_teacher(path, seed: int = 5, **changes) -> dict:
    """Write a teacher whose averaged weights differ from its raw ones, and return the averaged ones."""
    states = []
    for index in range(2):
        torch.manual_seed(seed + index)
        states.append(build_network({**TEACHER, **changes}).state_dict())
    torch.save({"params": states[0], "params_ema": states[1]}, path)
    return states[1]


def options(model: str, folder, **train) -> dict:
    """Return what a model's constructor is given in training."""
    return {
        "model_type": model, "scale": 2, "num_gpu": 0, "dist": False, "is_train": True, "rank": 0, "manual_seed": 0,
        "network_g": deepcopy(TEACHER if model == "KDSRNetTAModel" else STUDENT), "network_TA": deepcopy(TEACHER),
        "network_d": {"type": "UNetDiscriminatorSN_basicsr", "num_in_ch": 3, "num_feat": 2},
        "path": {"pretrain_network_TA": str(folder / "T.pth"), "experiments_root": str(folder),
                 "models": str(folder), "training_states": str(folder)},
        "train": {
            "total_iter": 10, "ema_decay": 0.9, "optim_g": dict(ADAM), "optim_d": dict(ADAM), "scheduler": dict(STEPS),
            "pixel_opt": {"type": "L1Loss"}, "kd_opt": {"type": "KDLoss"}, "gan_opt": {"type": "GANLoss",
            "gan_type": "vanilla", "loss_weight": 0.1}, **train,
        },
    }  # fmt: skip


def make(model: str, folder, **train):
    """Build a model; a teacher's file is written where there is none."""
    if not (folder / "T.pth").is_file():
        save_teacher(folder / "T.pth")
    return build_model(options(model, folder, **train))


def make_filled(model: str, folder):
    """Build a model whose networks all have the weights that depend on keys and shapes alone."""
    built = make(model, folder)
    for name in ("net_g", "net_g_ema", "teacher", "net_d"):
        if hasattr(built, name):
            state = getattr(built, name).state_dict()
            state.update({key: fill(key, list(value.shape)) for key, value in state.items() if "_mean." not in key})
            getattr(built, name).load_state_dict(state)
    return built


def batch(seed: int = 0, images: int = 2) -> dict:
    gt = torch.from_numpy(np.random.default_rng(seed).random((images, 3, 16, 16), np.float32))
    return {"lq": torch.nn.functional.avg_pool2d(gt, 2), "gt": gt}


def steps(model, count: int, start: int = 1) -> list[dict]:
    """Take some steps and return what was logged."""
    logged = []
    for number in range(start, start + count):
        model.update_learning_rate(number)
        model.feed_data(batch(number))
        model.optimize_parameters(number)
        logged.append(dict(model.get_current_log()))
    return logged


def run_options(folder: str = "data", teacher_iter: int = 4, total_iter: int = 8, **changes) -> dict:
    """Return an option file's content for a two-stage run on classic degradations, states at every iteration."""
    blind = {"type": "ClassicBlindDataset", "dataroot_gt": f"{folder}/HR", "io_backend": {"type": "disk"}}
    crops = tiny.train_options()["datasets"]["train"]
    crops = {key: crops[key] for key in ("use_hflip", "use_rot", "num_worker_per_gpu", "batch_size_per_gpu")}
    return {
        "name": "kdsr", "model_type": "KDSRModel", "scale": 2, "num_gpu": 0, "manual_seed": 0,
        "datasets": {
            "train": {"name": "t", **blind, **crops, "gt_size": 16, "batch_size_per_gpu": 2,
                      "degradation_per": "image", "noise_level": [0, 10]},
            "val": {"name": "v", **blind, "sigma": 1.2},
        },
        "network_TA": deepcopy(TEACHER), "network_g": deepcopy(STUDENT), "path": {},
        "train": {
            "total_iter": total_iter, "teacher_iter": teacher_iter, "ema_decay": 0.9, "pixel_opt": {"type": "L1Loss"},
            "kd_opt": {"type": "KDLoss"},
            "teacher": {"optim_g": dict(ADAM), "scheduler": {**STEPS, "milestones": [2]}},
            "student": {"optim_g": {**ADAM, "lr": 2e-3}, "scheduler": {**STEPS, "milestones": [3]}},
        },
        "val": {"val_freq": 2, "save_img": False, "metrics": tiny.metrics()},
        "logger": {"print_freq": 1, "save_checkpoint_freq": 1, "use_tb_logger": False}, **changes,
    }  # fmt: skip


def train(options: dict, *arguments: str) -> int:
    """Run ``basicsr train`` in this process and return its exit status."""
    return cli.main(["train", "-opt", tiny.write(options), *arguments])
