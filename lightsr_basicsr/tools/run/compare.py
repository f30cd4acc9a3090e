"""Compare networks with bicubic interpolation: a table of PSNR and SSIM, and a picture to look at."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import torch
from basicsr.metrics import calculate_psnr, calculate_ssim
from basicsr.utils import tensor2img
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, MODEL_REGISTRY
from tqdm import tqdm

from lightsr_basicsr.checkpoints import read_state_dict
from lightsr_basicsr.checkpoints.misfit import load_weights
from lightsr_basicsr.data.degradations import imresize
from lightsr_basicsr.models.contract import contract_of
from lightsr_basicsr.registry import look_up
from lightsr_basicsr.tools.images import captioned, largest_sum

CROP = 96
ZOOM = 3
PANEL = CROP * ZOOM
DRAWN = 8
RED = (60, 60, 230)

# Sections of networks in an option file, and their checkpoints, by title.
Networks = Mapping[str, tuple[Mapping[str, Any], Path]]


@dataclass(frozen=True)
class Comparison:
    """One image: (PSNR in dB, SSIM) of bicubic interpolation and of the networks, by title.

    ``pictures`` are LR, enlarged without interpolation, then these in the same order, then HR, all (H, W, 3) BGR uint8;
    None where they are not kept.
    """

    name: str
    scores: dict[str, tuple[float, float]]
    pictures: list[np.ndarray] | None


def compare_run(
    options: Mapping[str, Any], networks: Networks, loaded: Mapping[str, torch.nn.Module] = MappingProxyType({})
) -> list[Comparison]:
    """Run networks on whole images of the datasets that ``comparison`` names, and compare with bicubic.

    Args:
        options (Mapping): Content of an option file.
        networks (Mapping): Sections of networks and their checkpoints, by title.
        loaded (Mapping): Built networks that accept images on any device, by title. Default: none.
    """
    settings, datasets = options["comparison"], open_datasets(options)
    nets, device = load_networks(options, networks)
    nets.update(loaded)
    found: list[Comparison] = []
    for key, dataset in datasets.items():
        label, rows = f" {options['datasets'][key]['name']}" if len(datasets) > 1 else "", []
        for index in tqdm(range(len(dataset)), f"comparison{label}", unit="image"):
            item = dataset[index]
            low, high = (tensor2img([item[kind]]) for kind in ("lq", "gt"))
            images = {"bicubic": imresize(low, options["scale"]), **_run(nets, item, device)}
            kept = [_enlarge(low, options["scale"]), *images.values(), high] if len(found) + index < DRAWN else None
            name = f"{Path(item['lq_path']).stem}{label}"
            rows.append(Comparison(name, _measure(images, high, settings), kept))
        found += sorted(rows, key=lambda one: one.name)
    return found


def load_networks(options: Mapping[str, Any], networks: Networks) -> tuple[dict[str, torch.nn.Module], str]:
    """Return networks with their weights by title, in evaluation mode, and the device on which they are."""
    device = "cuda" if options["num_gpu"] != 0 and torch.cuda.is_available() else "cpu"
    nets = {title: _load(options, dict(section), file).to(device) for title, (section, file) in networks.items()}
    return nets, device


def open_datasets(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the datasets that the section ``comparison`` names, by key."""
    named, built = options["comparison"]["dataset"], {}
    for key in [named] if isinstance(named, str) else named:
        section = deepcopy(dict(options["datasets"][key]))
        section.update(phase=key.split("_")[0], scale=options["scale"])
        built[key] = DATASET_REGISTRY.get(section["type"])(section)
    return built


def _load(options: Mapping, network: dict[str, Any], file: Path) -> torch.nn.Module:
    net = ARCH_REGISTRY.get(network.pop("type"))(**network)
    paths, key = options["path"], "teacher_param_key" if getattr(net, "encoder_sees_gt", False) else "param_key_g"
    state = read_state_dict(file, prefer=paths.get(key))[0]
    state = contract_of(look_up(MODEL_REGISTRY, options.get("model_type"))).weights_for(net, state)
    load_weights(net, state, file, paths.get("strict_load_g", True))
    return net.eval()


def _run(nets: Mapping[str, torch.nn.Module], item: Mapping[str, Any], device: str) -> dict[str, np.ndarray]:
    images = {}
    for title, net in nets.items():
        seen = ("lq", "gt") if getattr(net, "encoder_sees_gt", False) else ("lq",)
        with torch.no_grad():
            images[title] = tensor2img([net(*(item[kind][None].to(device) for kind in seen))])
    return images


def _measure(images: Mapping[str, np.ndarray], high: np.ndarray, settings: Mapping) -> dict[str, tuple[float, float]]:
    how = {"crop_border": settings["crop_border"], "test_y_channel": settings["test_y_channel"]}
    return {
        title: (float(calculate_psnr(image, high, **how)), float(calculate_ssim(image, high, **how)))
        for title, image in images.items()
    }


def _enlarge(image: np.ndarray, factor: int) -> np.ndarray:
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)


def mean_scores(comparisons: list[Comparison]) -> dict[str, tuple[float, float]]:
    """Return the mean (PSNR, SSIM) of bicubic interpolation and of the networks, by title."""
    titles = comparisons[0].scores
    return {title: tuple(np.mean([one.scores[title] for one in comparisons], axis=0).tolist()) for title in titles}


def draw_comparisons(comparisons: list[Comparison]) -> np.ndarray:
    """Return one picture (H, W, 3) BGR uint8: a row per image that has pictures, zoomed in where most is gained."""
    return np.concatenate([_draw_row(one) for one in comparisons if one.pictures is not None])


def _draw_row(comparison: Comparison) -> np.ndarray:
    pictures, high = comparison.pictures, comparison.pictures[-1]
    bicubic, *_, last = pictures[1:-1]
    top, left = _largest_gain(bicubic, last, high)
    captions = [
        (f"{comparison.name}, HR", "red: where the gain is largest"),
        ("LR", "pixels enlarged"),
        *((title, "{:.2f} dB / {:.4f}".format(*score)) for title, score in comparison.scores.items()),
        ("HR", "PSNR / SSIM"),
    ]
    parts = [image[top : top + CROP, left : left + CROP] for image in pictures]
    images = [_overview(high, top, left), *(_enlarge(part, ZOOM) for part in parts)]
    panels = [captioned(image, lines, PANEL) for image, lines in zip(images, captions, strict=True)]
    return np.concatenate(panels, axis=1)


def _largest_gain(bicubic: np.ndarray, ours: np.ndarray, high: np.ndarray) -> tuple[int, int]:
    """Return top and left of the crop in which the network lowers the squared error of bicubic interpolation most."""
    errors = [np.square(high.astype(np.float32) - image).mean(axis=2) for image in (bicubic, ours)]
    return largest_sum(errors[0] - errors[1], CROP, CROP)


def _overview(high: np.ndarray, top: int, left: int) -> np.ndarray:
    factor = PANEL / max(high.shape[:2])
    small = cv2.resize(high, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    corners = [
        (round(left * factor), round(top * factor)),
        (round((left + CROP) * factor), round((top + CROP) * factor)),
    ]
    return cv2.rectangle(small, *corners, RED, 2)
