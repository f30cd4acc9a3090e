"""Compare a network with bicubic interpolation: a table of PSNR and SSIM, and a picture to look at."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from basicsr.metrics import calculate_psnr, calculate_ssim
from basicsr.utils import tensor2img
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY
from tqdm import tqdm

from lightsr_basicsr.checkpoints import load_fitting, load_strictly, read_state_dict
from lightsr_basicsr.data.degradations import imresize

CROP = 96
ZOOM = 3
PANEL = CROP * ZOOM
GAP = 8
DRAWN = 8
CAPTION = 44
WHITE, BLACK, RED = (255, 255, 255), (0, 0, 0), (60, 60, 230)


@dataclass(frozen=True)
class Comparison:
    """One image: (PSNR in dB, SSIM) of bicubic interpolation and of the network.

    ``pictures`` are bicubic, network and HR, (H, W, 3) BGR uint8, or None where they are not kept.
    """

    name: str
    bicubic: tuple[float, float]
    network: tuple[float, float]
    pictures: tuple[np.ndarray, np.ndarray, np.ndarray] | None


def compare_run(options: Mapping[str, Any], weights: Path) -> list[Comparison]:
    """Run the network of an option file on one of its datasets, whole images, and compare with bicubic.

    Args:
        options (Mapping): Content of an option file. Its section ``comparison`` holds ``dataset`` (the key of a set in
            ``datasets``), ``crop_border`` (int, pixels left out at each side) and ``test_y_channel`` (bool).
        weights (Path): Checkpoint of ``network_g``.
    """
    settings = options["comparison"]
    network = dict(options["network_g"])
    net = ARCH_REGISTRY.get(network.pop("type"))(**network)
    load = load_strictly if options["path"].get("strict_load_g", True) else load_fitting
    load(net, read_state_dict(weights, prefer=options["path"].get("param_key_g"))[0], weights)
    device = "cuda" if options["num_gpu"] != 0 and torch.cuda.is_available() else "cpu"
    net.to(device).eval()
    section = deepcopy(dict(options["datasets"][settings["dataset"]]))
    section.update(phase=settings["dataset"].split("_")[0], scale=options["scale"])
    dataset = DATASET_REGISTRY.get(section["type"])(section)
    indices = tqdm(range(len(dataset)), "comparison", unit="image")
    found = (_compare(net, device, dataset[index], options["scale"], settings) for index in indices)
    kept = [one if row < DRAWN else replace(one, pictures=None) for row, one in enumerate(found)]
    return sorted(kept, key=lambda one: one.name)


def _compare(net: torch.nn.Module, device: str, item: Mapping, scale: int, settings: Mapping) -> Comparison:
    with torch.no_grad():
        output = net(item["lq"][None].to(device))
    low, high, ours = (tensor2img([tensor]) for tensor in (item["lq"], item["gt"], output))
    bicubic = imresize(low, scale)
    how = {"crop_border": settings["crop_border"], "test_y_channel": settings["test_y_channel"]}
    scores = [
        (float(calculate_psnr(image, high, **how)), float(calculate_ssim(image, high, **how)))
        for image in (bicubic, ours)
    ]
    return Comparison(Path(item["lq_path"]).stem, scores[0], scores[1], (bicubic, ours, high))


def mean_scores(comparisons: list[Comparison]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the mean (PSNR, SSIM) of bicubic interpolation and of the network."""
    means = [np.mean([getattr(c, who) for c in comparisons], axis=0) for who in ("bicubic", "network")]
    return tuple(means[0].tolist()), tuple(means[1].tolist())


def draw_comparisons(comparisons: list[Comparison], title: str) -> np.ndarray:
    """Return one picture (H, W, 3) BGR uint8: a row per image, zoomed in where the gain is largest.

    Args:
        comparisons (list[Comparison]): The rows; those without pictures (beyond the first eight) are left out.
        title (str): Name of the network in the captions.
    """
    return np.concatenate([_draw_row(one, title) for one in comparisons if one.pictures is not None])


def _draw_row(comparison: Comparison, title: str) -> np.ndarray:
    bicubic, ours, high = comparison.pictures
    top, left = _largest_gain(bicubic, ours, high)
    captions = (
        (f"{comparison.name}, HR", "red: where the gain is largest"),
        ("bicubic", "{:.2f} dB / {:.4f}".format(*comparison.bicubic)),
        (title, "{:.2f} dB / {:.4f}".format(*comparison.network)),
        ("HR", "PSNR / SSIM"),
    )
    parts = [image[top : top + CROP, left : left + CROP] for image in (bicubic, ours, high)]
    zoomed = [cv2.resize(part, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_NEAREST) for part in parts]
    panels = [_overview(high, top, left), *zoomed]
    return np.concatenate([panel(image, lines) for image, lines in zip(panels, captions, strict=True)], axis=1)


def _largest_gain(bicubic: np.ndarray, ours: np.ndarray, high: np.ndarray) -> tuple[int, int]:
    """Return top and left of the crop in which the network lowers the squared error of bicubic interpolation most."""
    errors = [np.square(high.astype(np.float32) - image).mean(axis=2) for image in (bicubic, ours)]
    gain = errors[0] - errors[1]
    sums = cv2.boxFilter(gain, -1, (CROP, CROP), anchor=(0, 0), normalize=True, borderType=cv2.BORDER_CONSTANT)
    height, width = gain.shape
    inside = sums[: max(height - CROP, 0) + 1, : max(width - CROP, 0) + 1]
    top, left = np.unravel_index(inside.argmax(), inside.shape)
    return int(top), int(left)


def _overview(high: np.ndarray, top: int, left: int) -> np.ndarray:
    factor = PANEL / max(high.shape[:2])
    small = cv2.resize(high, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    corners = [
        (round(left * factor), round(top * factor)),
        (round((left + CROP) * factor), round((top + CROP) * factor)),
    ]
    return cv2.rectangle(small, *corners, RED, 2)


def panel(image: np.ndarray, lines: tuple[str, str]) -> np.ndarray:
    """Return ``image`` (H, W, 3), cut to a square, on white under two lines of text."""
    sheet = np.full((PANEL + CAPTION + GAP, PANEL + GAP, 3), WHITE, np.uint8)
    height, width = min(image.shape[0], PANEL), min(image.shape[1], PANEL)
    sheet[CAPTION : CAPTION + height, :width] = image[:height, :width]
    for row, line in enumerate(lines):
        cv2.putText(sheet, line, (2, 17 + 20 * row), cv2.FONT_HERSHEY_SIMPLEX, 0.5, BLACK, 1, cv2.LINE_AA)
    return sheet
