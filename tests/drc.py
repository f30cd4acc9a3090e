"""Dual regression compression on a tiny DRN, as it was recorded: networks, batches, and the results under their names.

Everything is in [0, 255] here: the networks are built with ``img_range`` 1.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from lightsr_basicsr.archs.sites import sites_of
from lightsr_basicsr.pruning.l1 import keep_by_l1
from lightsr_basicsr.pruning.surgery import prune
from tests import golden
from tests.conftest import SHARED

FOLDERS = {"official": SHARED / "golden", "own": golden.OWN}
CHANNELS = [4, 8, 20, 24, 16, 12]
TINY = {"type": "DRN", "num_feat": 8, "num_block": 1, "upscale": 4, "img_range": 1.0}


def read(folder: Path, name: str) -> tuple[dict, dict]:
    """Return description and arrays of one recording; skip without it."""
    if not folder.is_dir():
        pytest.skip(f"no recordings at {folder}: the official ones are not part of the repository")
    return golden.read(folder, name)


def build(section: dict) -> nn.Module:
    return ARCH_REGISTRY.get(section["type"])(**{key: value for key, value in section.items() if key != "type"})


def tiny(description: dict, key: str = "state_dict", **more) -> nn.Module:
    """Return the tiny dense DRN with the recorded weights, in training mode."""
    net = build({**TINY, **more})
    net.load_state_dict(golden.state_dict({**description, "state_dict": description[key]}))
    return net


def levels(net: nn.Module, image: np.ndarray, name: str) -> dict[str, np.ndarray]:
    with torch.no_grad():
        outputs = net.forward_levels(torch.from_numpy(image))
    return {f"{name}_lv{index}": level.numpy() for index, level in enumerate(outputs)}


def transform(description: dict, arrays: dict) -> dict[str, np.ndarray]:
    """Return the outputs of the dense and of the pruned network."""
    net = tiny(description)
    small, section = prune(net, TINY, sites_of(net), description["kept"])
    assert section["channels"] == description["channel_config"]
    return {**levels(net, arrays["in0"], "dense"), **levels(small, arrays["in0"], "out0")}


def compare(ours: dict[str, np.ndarray | Tensor], arrays: dict[str, np.ndarray], relative: float = 1e-6) -> None:
    """Assert that results equal the recorded ones of their names, up to ``relative`` of the largest value."""
    for name, value in ours.items():
        recorded = arrays[name]
        difference = np.abs(np.asarray(value) - recorded).max()
        assert difference <= relative * np.abs(recorded).max(), (name, difference)


def describe() -> dict:
    """Return a description of the tiny DRN with fixed weights and its own mean shifts, for recordings of ours."""
    entries = []
    for key, value in build(TINY).state_dict().items():
        entries.append({"key": key, "shape": list(value.shape), "dtype": "float32"})
        if "mean" in key:
            entries[-1]["value"] = (value if "weight" in key else 255 * value).flatten().tolist()
    return {"arch": "DRN tiny", "state_dict": entries}


def keep(description: dict) -> list[list[int]]:
    """Return the channels that have the largest weights."""
    net = tiny(description)
    return keep_by_l1(net, sites_of(net), CHANNELS)


def images(seed: int, side: int, count: int = 1) -> dict[str, np.ndarray]:
    """Return random HR images of ``side`` pixels and their means over squares of 2 and of 4, in [0, 255]."""
    high = 255 * np.random.default_rng(seed).random((count, 3, side, side), np.float32)
    lows = (high.reshape(count, 3, side // f, f, side // f, f).mean(axis=(3, 5)) for f in (2, 4))
    return {"hr": high, **dict(zip(("lr2", "lr1"), lows, strict=True))}
