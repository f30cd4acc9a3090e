"""A run that takes a second: random image pairs and options for the smallest network."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import yaml

from lightsr_basicsr.data.degradations import imresize
from lightsr_basicsr.tools.prepare.jobs import Work

# How tests work through files: as ever, recreating what exists, one file at a time.
QUIET, ANEW, ALONE = Work(progress=False), Work(overwrite=True, progress=False), Work(1, progress=False)


def make_pairs(folder: Path, count: int, side: int = 32, scale: int = 2) -> None:
    """Write ``count`` pairs as folder/HR/*.png and folder/LR/*.png."""
    rng = np.random.default_rng(count)
    for kind in ("HR", "LR"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        image = cv2.resize(rng.integers(0, 256, (8, 8, 3), np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / "HR" / f"{index:03d}.png"), image)
        cv2.imwrite(str(folder / "LR" / f"{index:03d}.png"), imresize(image, 1 / scale))


def paired(name: str, folder: str) -> dict:
    return {
        "name": name,
        "type": "PairedImageDataset",
        "dataroot_gt": f"{folder}/HR",
        "dataroot_lq": f"{folder}/LR",
        "io_backend": {"type": "disk"},
    }


def metrics() -> dict:
    return {"psnr": {"type": "calculate_psnr", "crop_border": 2, "test_y_channel": True}}


def train_options(folder: str = "data", **train) -> dict:
    """Return options of a 10-iteration run: 16x16 patches, IMDN_RTC with 4 channels and 1 block."""
    crops = {"gt_size": 16, "use_hflip": True, "use_rot": True, "num_worker_per_gpu": 0, "batch_size_per_gpu": 4}
    return {
        "name": "tiny",
        "model_type": "LossDictModel",
        "scale": 2,
        "num_gpu": 0,
        "manual_seed": 0,
        "datasets": {"train": {**paired("t", folder), **crops}, "val": paired("v", folder)},
        "network_g": {"type": "IMDN_RTC", "num_feat": 4, "num_block": 1},
        "path": {},
        "train": {
            "ema_decay": 0.9,
            "optim_g": {"type": "Adam", "lr": 0.001},
            "scheduler": {"type": "MultiStepLR", "milestones": [5], "gamma": 0.5},
            "total_iter": 10,
            "pixel_opt": {"type": "L1Loss"},
            **train,
        },
        "val": {"val_freq": 5, "save_img": True, "metrics": metrics()},
        "logger": {"print_freq": 1, "save_checkpoint_freq": 1, "use_tb_logger": False},
    }


def test_options(*sets: dict, **path) -> dict:
    """Return options of a test run over ``sets``."""
    return {
        "name": "tiny_test",
        "model_type": "LossDictModel",
        "scale": 2,
        "num_gpu": 0,
        "manual_seed": 0,
        "datasets": {f"test_{index}": content for index, content in enumerate(sets, 1)},
        "network_g": {"type": "IMDN_RTC", "num_feat": 4, "num_block": 1},
        "path": path,
        "val": {"save_img": True, "suffix": "", "metrics": metrics()},
    }


test_options.__test__ = False


def write(options: dict, path: str = "run.yml") -> str:
    Path(path).write_text(yaml.safe_dump(options, sort_keys=False), encoding="utf-8")
    return path


def train_in_two_processes(options: dict) -> None:
    """Run ``basicsr train`` under torchrun on the CPU; it must end well."""
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
         "-m", "lightsr_basicsr.cli", "train", "-opt", write(options), "--launcher", "pytorch"],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


def tree(folder: Path) -> dict[str, int]:
    """Return every file below ``folder`` with its time of change, to see that nothing was touched."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}
