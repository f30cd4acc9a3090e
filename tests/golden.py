"""Golden data: fixed weights as a function of key and shape, and the outputs that official code gave with them."""

import json
import zlib
from pathlib import Path

import numpy as np
import torch

OWN = Path(__file__).parent / "data" / "golden"


def read(folder: Path, name: str) -> tuple[dict, dict]:
    """Return description and arrays of one fixture."""
    with np.load(folder / f"{name}.npz") as arrays:
        return json.loads((folder / f"{name}.json").read_text()), {key: arrays[key] for key in arrays}


def fill(key: str, shape: list[int], dtype: str = "float32") -> torch.Tensor:
    """Return the weight that the fixtures were recorded with: counters 1, kernels N(0, 1/fan_in), biases N(0, 0.01)."""
    if "int" in dtype:
        return torch.ones(shape, dtype=torch.int64)
    noise = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)
    fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 1
    if key.endswith("running_var"):
        value = 0.5 + np.abs(noise)
    elif key.endswith(("bias", "running_mean")):
        value = 0.1 * noise
    else:
        value = noise / np.sqrt(fan_in) if fan_in > 1 else 1 + 0.1 * noise
    return torch.from_numpy(np.asarray(value, np.float32).reshape(shape))


def state_dict(description: dict) -> dict[str, torch.Tensor]:
    """Return the weights of a fixture, in official keys and order."""
    return {
        entry["key"]: torch.tensor(entry["value"], dtype=torch.float32).reshape(entry["shape"])
        if "value" in entry
        else fill(entry["key"], entry["shape"], entry["dtype"])
        for entry in description["state_dict"]
    }


def worst(ours: torch.Tensor, recorded: np.ndarray) -> float:
    """Return the largest absolute difference; shapes must be equal."""
    assert tuple(ours.shape) == recorded.shape
    return float((ours - torch.from_numpy(recorded)).abs().max())
