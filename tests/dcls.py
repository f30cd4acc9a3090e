"""One training step of a small DCLS with fixed weights, as the official code was recorded."""

from __future__ import annotations

from pathlib import Path

import torch
from basicsr.models import build_model
from torch import Tensor

NETWORK = {"type": "DCLS", "num_feat": 16, "num_block": 2, "num_group": 2, "code_length": 16}
SMALL = {**NETWORK, "num_block": 1, "num_group": 1, "upscale": 2, "kernel_size": 11}


def options(folder: Path, network: dict = SMALL, is_train: bool = True, **train) -> dict:
    """Return what the constructor of BlindKernelModel is given."""
    return {
        "model_type": "BlindKernelModel", "scale": network["upscale"], "num_gpu": 0, "dist": False, "rank": 0,
        "is_train": is_train, "network_g": dict(network), "val": {},
        "path": {"experiments_root": str(folder), "models": str(folder), "training_states": str(folder),
                 "visualization": str(folder)},
        "train": {
            "total_iter": 10, "optim_g": {"type": "Adam", "lr": 1e-3}, "pixel_opt": {"type": "L1Loss"},
            "kernel_opt": {"type": "L1Loss"}, **train,
            "scheduler": {"type": "MultiStepLR", "milestones": [100], "gamma": 0.5},
        },
    }  # fmt: skip


def batch(gt: Tensor, kernel: Tensor, scale: int) -> dict:
    """Return a batch as KernelBlindDataset gives it."""
    drawn = {"kernel": kernel, "scale": torch.full((len(gt),), scale)}
    return {"gt": gt, "kernel": kernel, "degradation": drawn}


def step(folder: Path, state: dict[str, Tensor], gt: Tensor, kernel: Tensor) -> dict[str, float]:
    """Return losses and norms of the gradients of both parts at x4 with kernels of 21."""
    model = build_model(options(folder, {**NETWORK, "upscale": 4, "kernel_size": 21}))
    model.net_g.load_state_dict(state)
    model.feed_data(batch(gt, kernel, 4))
    losses = model.compute_losses()
    found = {name: float(loss.detach()) for name, loss in losses.items()}
    losses["l_pix"].backward(retain_graph=True)
    reached = sum(parameter.grad is not None for parameter in model.net_g.Estimator.parameters())
    losses["l_ker"].backward()
    norms = {}
    for part in ("Estimator", "Restorer"):
        gradients = [parameter.grad.flatten() for parameter in getattr(model.net_g, part).parameters()]
        norms[part] = float(torch.cat(gradients).norm())
    return {**found, "reached": reached, **norms}
