"""Golden data: fixed weights as a function of key and shape, and the outputs that official code gave with them."""

import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

OWN = Path(__file__).parent / "data" / "golden"
# Key prefix under which a recording holds a network that stands alone here.
PREFIXES = {"DualNetwork": "dual_model."}


def read(folder: Path, name: str) -> tuple[dict, dict]:
    """Return description and arrays of one recording."""
    with np.load(folder / f"{name}.npz") as arrays:
        arrays = {key: arrays[key] for key in arrays}
    text = arrays.pop("description").item() if "description" in arrays else (folder / f"{name}.json").read_text()
    return json.loads(text), arrays


def fill(key: str, shape: list[int], dtype: str = "float32") -> Tensor:
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


def state_dict(description: dict) -> dict[str, Tensor]:
    """Return the weights of a recording, in official keys and order."""
    prefix = PREFIXES.get(description["arch"].split(" ")[0], "")
    if description["arch"].startswith("DownBlock (single"):
        prefix = PREFIXES["DualNetwork"]
    return {
        entry["key"].removeprefix(prefix): _written(entry["value"], entry["shape"])
        if "value" in entry
        else fill(entry["key"], entry["shape"], entry["dtype"]) * entry.get("factor", 1)
        for entry in description["state_dict"]
    }


def _written(value: float | list, shape: list[int]) -> Tensor:
    """Return a weight that a recording lists: all numbers, or one for all."""
    value = torch.tensor(value, dtype=torch.float32)
    return value.reshape(shape) if value.ndim else value.expand(shape)


def load(net: nn.Module, description: dict) -> None:
    """Load a recording's weights; buffers that a constructor computes may be missing, nothing else."""
    missing, unexpected = net.load_state_dict(state_dict(description), strict=False)
    learned = {name for name, _ in net.named_parameters()}
    assert not unexpected
    assert not learned & set(missing)


def keys(net: nn.Module, description: dict) -> list[str]:
    """Return the keys of a network that a recording can have: all, or only parameters if it lists only these."""
    recorded = set(state_dict(description))
    computed = {name for name, _ in net.named_buffers()} - recorded
    return [key for key in net.state_dict() if key not in computed]


def compare(net: nn.Module, arrays: dict[str, np.ndarray]) -> Iterator[float]:
    """Yield the largest absolute difference of every recorded output of an evaluation-mode network."""
    tensors = {key: torch.from_numpy(value) for key, value in arrays.items() if value.dtype == np.float32}
    if "lq" in tensors:
        yield from _compare_blind(net, tensors)
    for key in [key for key in tensors if key.startswith("in")]:
        out, x = key.replace("in", "out"), tensors[key]
        if f"{out}_0" in tensors:
            levels = net.forward_levels(x) if hasattr(net, "forward_levels") else net([x] * len(net._modules))
            assert f"{out}_{len(levels)}" not in tensors
            yield from (worst(level, tensors[f"{out}_{index}"]) for index, level in enumerate(levels))
        else:
            sr = net(x)
            yield worst(sr, tensors[out])
            if key.replace("in", "pre") in tensors:
                yield worst(net.forward_raw(x), tensors[key.replace("in", "pre")])
            if key.replace("in", "kernel") in tensors:
                yield worst(net.super_resolve(x)[1], tensors[key.replace("in", "kernel")])
            if key.replace("in", "dual") in tensors:
                yield worst(net.dual_model(sr), tensors[key.replace("in", "dual")])


def _compare_blind(net: nn.Module, tensors: dict[str, Tensor]) -> Iterator[float]:
    inputs = [tensors[key] for key in ("lq", "gt") if key in tensors]
    yield worst(net(*inputs), tensors["out"])
    sr, (distilled,) = net.train()(*inputs)
    yield worst(sr, tensors["train_out"])
    yield worst(distilled, tensors["train_fea_0"])
    net.eval()


def worst(ours: Tensor, recorded: Tensor | np.ndarray) -> float:
    """Return the largest absolute difference; shapes must be equal."""
    recorded = torch.as_tensor(recorded)
    assert ours.shape == recorded.shape
    return float((ours - recorded).abs().max())
