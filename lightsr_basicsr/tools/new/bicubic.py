"""What bicubic interpolation reaches on the held-out photographs: what a training has to exceed."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from basicsr.data import build_dataset
from basicsr.metrics import calculate_metric
from basicsr.utils import tensor2img

from lightsr_basicsr.data.degradations import imresize


def bicubic_psnr(options: Mapping[str, Any]) -> list[float]:
    """Return the mean PSNR in dB of bicubic interpolation for each validation set, measured as ``val.metrics`` says.

    Args:
        options (Mapping): Of the training, resolved.
    """
    return [_mean(options, key) for key in options["datasets"] if key.startswith("val")]


def _mean(options: Mapping[str, Any], key: str) -> float:
    section = {**deepcopy(options["datasets"][key]), "phase": "val", "scale": options["scale"]}
    dataset, scores = build_dataset(section), []
    for index in range(len(dataset)):
        item = dataset[index]
        low, high = (tensor2img([item[kind]]) for kind in ("lq", "gt"))
        pair = {"img": imresize(low, options["scale"]), "img2": high}
        scores.append(float(calculate_metric(pair, dict(options["val"]["metrics"]["psnr"]))))
    return sum(scores) / len(scores)
