"""Dual regression compression on a tiny DRN, as it was recorded: networks, batches, and the results under their names.

Everything is in [0, 255] here: the networks are built with ``img_range`` 1.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from basicsr.models import build_model
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from lightsr_basicsr.archs.sites import prune_state, sites_of
from lightsr_basicsr.pruning.channel_lists import candidate_widths
from lightsr_basicsr.pruning.l1 import keep_by_l1
from lightsr_basicsr.pruning.soft_channels import run_supernet
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


def dual_state(description: dict) -> dict[str, Tensor]:
    """Return the recorded weights of the dual networks, in the keys of DRNDual."""
    entries = {**description, "state_dict": description["dual_state_dict"], "arch": "DRN"}
    return {key.removeprefix("dual."): value for key, value in golden.state_dict(entries).items()}


def options(model: str, folder: Path, **train: Any) -> dict:
    """Return the options with which a model works on [0, 255]."""
    paths = dict.fromkeys(("experiments_root", "models", "training_states"), str(folder))
    return {
        "model_type": model, "scale": 4, "num_gpu": 0, "dist": False, "rank": 0, "is_train": True, "path": paths,
        "network_g": dict(TINY), "network_dual": {"type": "DRNDual", "num_feat": 8, "upscale": 4},
        "datasets": {"train": {"halves": True}},
        "train": {
            "total_iter": 10, "optim_g": {"type": "Adam", "lr": 1e-4}, "pixel_opt": {"type": "L1Loss"},
            "dual_opt": {"type": "L1Loss", "loss_weight": 0.1}, "loss_range": 1,
            "scheduler": {"type": "MultiStepLR", "milestones": [1000]}, **train,
        },
    }  # fmt: skip


def batch(arrays: dict, *suffixes: str) -> dict[str, Tensor]:
    """Return the recorded images with these suffixes, one set after the other."""
    names = {"gt": "hr", "lq": "lr1", "lq_down2": "lr2"}
    return {
        key: torch.cat([torch.from_numpy(arrays[f"{name}{suffix}"]) for suffix in suffixes])
        for key, name in names.items()
    }


def search(description: dict, arrays: dict, folder: Path, steps: int = 3) -> dict[str, np.ndarray]:
    """Return what the channel search gives in its first steps."""
    model = build_model(options("ChannelSearchModel", folder, pruning_rate=0.3))
    model.net_g.load_state_dict(tiny(description).state_dict())
    for dual in (model.net_dual, model.first_dual):
        dual.load_state_dict(dual_state(description))
    assert model.candidates == description["channel_sets"]
    count = range(len(model.candidates))
    model.soft.alphas.data = torch.stack([golden.fill(f"alphas_all.{index}", [6]) for index in count])
    weights = dict(model.net_g.named_parameters())
    found = {f"channel_weights_{index}": model.soft.multipliers_of(index, weights).detach() for index in count}
    for step in range(steps):
        model.update_learning_rate(step + 1)
        model.feed_data(batch(arrays, "_train", "_val"))
        model.optimize_parameters(step + 1)
        found[f"alpha_grad_step{step}"] = model.soft.alphas.grad.clone()
        found[f"alpha_after_step{step}"] = model.soft.alphas.detach().clone()
        logged = model.get_current_log()
        found[f"losses_{step}"] = [logged.pop("l_alpha"), sum(logged.values())]
    assert description["argmax_channels_after_3_steps"] in (None, model.channel_list())
    with torch.no_grad():
        outputs = run_supernet(model.net_g, model.soft, torch.from_numpy(arrays["lr1_train"]))
    found |= {f"supernet_out_after3_lv{index}": level for index, level in enumerate(outputs)}
    return {name: np.asarray(value) for name, value in found.items()}


def select(description: dict, arrays: dict, folder: Path) -> dict[str, Any]:
    """Return what the greedy selection gives on two batches."""
    torch.save(tiny(description).state_dict(), folder / "dense.pth")
    torch.save(dual_state(description), folder / "dual.pth")
    content = options("ChannelPruningModel", folder, channels=description["channel_config"], pass_iter=2)
    content["path"] |= {f"pretrain_network_{key}": str(folder / f"{key}.pth") for key in ("dense", "dual")}
    content["train"]["total_iter"] = total = 4 * sum(description["channel_config"])
    model, losses = build_model(content), []
    for number in range(total):
        model.feed_data(batch(arrays, f"_{number % 2}"))
        model.optimize_parameters(number + 1)
        losses.append(sum(model.get_current_log().values()))
    found = {f"first_scores_{index}": each for index, each in enumerate(model.selection.first_scores)}
    starts = np.cumsum([0, *(4 * target for target in description["channel_config"])])
    small, section = model.pruned()
    dense = build(section)
    dense.load_state_dict(prune_state(model.net_dense.state_dict(), model.sites, map(sorted, model.selection.kept)))
    for key, value in small.state_dict().items():
        if not torch.equal(value, dense.state_dict()[key]):
            found[f"pruned__{key}"] = value
    found |= levels(small, arrays["in0"], "out0")
    return {
        "selection_order": model.selection.kept,
        "first_round_mean_loss": [float(np.mean(losses[start : start + 2])) for start in starts[:-1]],
        "last_finetune_loss": [losses[start - 1] for start in starts[1:]],
        "arrays": {
            name: np.asarray(value) for name, value in {**found, **levels(small, arrays["in0"], "out0")}.items()
        },
    }


RECORDED = ("drc_prune_transform", "drc_search_tiny", "drc_dcp_tiny", "drc_finetune_loss")


def record(name: str, folder: Path) -> tuple[dict, dict]:
    """Return description and arrays of a recording of ours."""
    description = describe()
    if name == "drc_prune_transform":
        description |= {"kept": keep(description), "channel_config": CHANNELS}
        arrays = {"in0": images(1, 24)["lr1"]}
        return description, {**arrays, **transform(description, arrays)}
    if name == "drc_finetune_loss":
        losses = {f"kd_nums_{number}": distill(folder, number, images(1, 16)) for number in range(3)}
        return {"arch": "DRN tiny", "losses": losses}, images(1, 16)
    if name == "drc_dcp_tiny":
        arrays = {f"{key}_{seed}": value for seed in (0, 1) for key, value in images(seed, 16).items()}
        description |= {"channel_config": [3, 4, 5, 4, 3, 4]}
        found = select(description, {**arrays, "in0": images(2, 16)["lr1"]}, folder)
        arrays |= {"in0": images(2, 16)["lr1"], **found.pop("arrays")}
        return {**description, **found}, arrays
    arrays = {f"{key}_{half}": value for half, seed in (("train", 1), ("val", 2))
              for key, value in images(seed, 16).items()}  # fmt: skip
    sets = [candidate_widths(width, 0.3) for width in (8, 16, 32, 32, 32, 32)]
    description |= {"channel_sets": sets, "argmax_channels_after_3_steps": None}
    found = search(description, arrays, folder)
    names = ("val_loss_unrolled", "train_loss_after_alpha_step")
    losses = [dict(zip(names, found.pop(f"losses_{step}").tolist(), strict=True)) for step in range(3)]
    return {**description, "steps": losses}, {**arrays, **found}


def filled(net: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """Return fixed weights for a network, its mean shifts as they are for [0, 255]."""
    state = net.state_dict()
    scaled = {key: value * (255 if "bias" in key else 1) for key, value in state.items() if "_mean." in key}
    return {key: scaled.get(key, golden.fill(prefix + key, list(value.shape))) for key, value in state.items()}


def distill(folder: Path, kd_nums: int, images_: dict[str, np.ndarray]) -> dict[str, float]:
    """Return the losses of a tiny student beside a tiny teacher."""
    content = options("DistillFinetuneModel", folder, kd_nums=kd_nums)
    content["network_g"] |= {"channels": CHANNELS}
    content["network_teacher"] = {**TINY, "num_feat": 12}
    content["path"] |= {"pretrain_network_teacher": str(folder / "teacher.pth")}
    torch.save(filled(build(content["network_teacher"]), "teacher."), folder / "teacher.pth")
    model = build_model(content)
    model.net_g.load_state_dict(filled(model.net_g))
    model.net_dual.load_state_dict(filled(model.net_dual, "dual."))
    model.feed_data(batch(images_, ""))
    losses = {name: value.item() for name, value in model.compute_losses().items()}
    kd = losses.pop("l_kd")
    return {"kd_loss": kd, "reconstruction_loss": sum(losses.values()), "total_loss": kd + sum(losses.values())}


def describe() -> dict:
    """Return a description of the tiny DRN with fixed weights and its own mean shifts, for recordings of ours."""
    entries = []
    for key, value in build(TINY).state_dict().items():
        entries.append({"key": key, "shape": list(value.shape), "dtype": "float32"})
        if "mean" in key:
            entries[-1]["value"] = (value if "weight" in key else 255 * value).flatten().tolist()
    dual = build({"type": "DRNDual", "num_feat": TINY["num_feat"]}).state_dict()
    duals = [{"key": f"dual.{key}", "shape": list(value.shape), "dtype": "float32"} for key, value in dual.items()]
    return {"arch": "DRN tiny", "state_dict": entries, "dual_state_dict": duals}


def keep(description: dict) -> list[list[int]]:
    """Return the channels that have the largest weights."""
    net = tiny(description)
    return keep_by_l1(net, sites_of(net), CHANNELS)


def images(seed: int, side: int, count: int = 1) -> dict[str, np.ndarray]:
    """Return random HR images of ``side`` pixels and their means over squares of 2 and of 4, in [0, 255]."""
    high = 255 * np.random.default_rng(seed).random((count, 3, side, side), np.float32)
    lows = (high.reshape(count, 3, side // f, f, side // f, f).mean(axis=(3, 5)) for f in (2, 4))
    return {"hr": high, **dict(zip(("lr2", "lr1"), lows, strict=True))}
