"""One training step of BasicSR's RealESRNetModel on CPU with the smallest settings."""

import torch
from basicsr.models import build_model


def one_step(folder) -> dict:
    noise = {
        "gaussian_noise_prob": 0.5,
        "noise_range": [1, 30],
        "poisson_scale_range": [0.05, 3],
        "gray_noise_prob": 0.4,
    }
    options = {
        "model_type": "RealESRNetModel_basicsr", "scale": 4, "num_gpu": 0, "dist": False, "is_train": True, "rank": 0,
        "queue_size": 2, "gt_size": 64, "gt_usm": True, "high_order_degradation": True,
        "resize_prob": [0.2, 0.7, 0.1], "resize_range": [0.5, 1.5], "jpeg_range": [30, 95],
        "second_blur_prob": 0.8, "resize_prob2": [0.3, 0.4, 0.3], "resize_range2": [0.5, 1.2], "jpeg_range2": [30, 95],
        **noise, **{f"{key}2": value for key, value in noise.items()},
        "network_g": {"type": "MSRResNet", "num_feat": 4, "num_block": 1, "upscale": 4},
        "path": {"models": str(folder)},
        "train": {
            "ema_decay": 0.9, "optim_g": {"type": "Adam", "lr": 1e-4}, "pixel_opt": {"type": "L1Loss"},
            "scheduler": {"type": "MultiStepLR", "milestones": [5]},
        },
    }  # fmt: skip
    options["gaussian_noise_prob2"], options["gray_noise_prob2"] = 0.5, 0.4
    model = build_model(options)
    kernel = torch.full((2, 21, 21), 1 / 441)
    for _ in range(2):
        model.feed_data({"gt": torch.rand(2, 3, 128, 128), "kernel1": kernel, "kernel2": kernel, "sinc_kernel": kernel})
        model.optimize_parameters(1)
    return model.log_dict
