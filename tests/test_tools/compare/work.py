"""Pictures and networks of a comparison that takes a second."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from basicsr.utils.registry import ARCH_REGISTRY

from lightsr_basicsr import cli
from lightsr_basicsr.data.degradations import imresize

QUICK = ("--no-latency", "--sheet", "--quiet")


def make_set(folder: str, *names: str, side: int = 48, scale: int = 2) -> None:
    """Write folder/HR and folder/LR with smooth random pictures, NAME.png."""
    for kind in ("HR", "LR"):
        Path(folder, kind).mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        rng = np.random.default_rng(seed)
        small = rng.integers(0, 256, (10, 12, 3), np.uint8)
        high = cv2.resize(small, (side + 4 * scale, side), interpolation=cv2.INTER_CUBIC)
        for kind, image in (("HR", high), ("LR", imresize(high, 1 / scale))):
            Path(folder, kind, f"{name}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())


def make_network(path: str, seed: int = 0, scale: int = 2) -> str:
    """Write the smallest network, with random weights."""
    torch.manual_seed(seed)
    net = ARCH_REGISTRY.get("IMDN_RTC")(num_feat=4, num_block=1, upscale=scale)
    torch.save({"params": net.state_dict()}, path)
    return path


def compare(*arguments: str, quick: bool = True) -> int:
    """Run the command in this process."""
    return cli.main(["compare", *arguments, *(QUICK if quick else ())])
