"""Checks for option files of models that degrade images on the device."""

from __future__ import annotations

import os
from typing import Any

import torch
from basicsr.data.realesrgan_dataset import RealESRGANDataset
from basicsr.utils.registry import DATASET_REGISTRY

from lightsr_basicsr.models.contract import LossDictContract, Networks, Options, Problems
from lightsr_basicsr.registry import look_up

POOL_SIZE = 180
# Side of RealESRGANDataset's crops, in pixels.
DEGRADED = 400
# Keys of the option file that BasicSR's synthesis reads.
SYNTHESIS = (
    "scale", "gt_size", "second_blur_prob",
    *(f"{key}{order}" for order in ("", "2") for key in (
        "resize_prob", "resize_range", "gaussian_noise_prob", "noise_range", "poisson_scale_range", "gray_noise_prob",
        "jpeg_range",
    )),
)  # fmt: skip


class BlindContract(LossDictContract):
    """The contract of ``BlindModel`` and of all that derive from it."""

    input_keys = ("lq", "degradation", "kernel1")

    def find_problems(self, options: Options, networks: Networks) -> Problems:
        """Yield also a network of another scale, missing keys of the synthesis, and an unsuitable size of the pool."""
        yield from super().find_problems(options, networks)
        scale, upscale = options.get("scale"), getattr(networks.get("network_g"), "upscale", None)
        if None not in (scale, upscale) and scale != upscale:
            yield "scale", f"is {scale}, but network_g enlarges by {upscale}: they must be equal"
        section = options.get("datasets", {}).get("train") or {}
        dataset = look_up(DATASET_REGISTRY, section.get("type"))
        if dataset is not None and issubclass(dataset, RealESRGANDataset):
            yield from _find_synthesis_problems(options)
            batch = section.get("batch_size_per_gpu", 1)
            yield from _find_pool_problem(options.get("queue_size", POOL_SIZE), batch, options)


def _find_synthesis_problems(options: Options) -> Problems:
    """Yield missing keys of the second-order degradation, and unsuitable sizes."""
    for key in SYNTHESIS:
        if key not in options:
            yield key, "is missing: the second-order degradation needs it (see options/train_kdsrnet_t_x4.yml)"
    if options.get("high_order_degradation", True) is not True:
        yield "high_order_degradation", "must be true or left out for images that come with kernels"
    size, scale = options.get("gt_size"), options.get("scale")
    if isinstance(size, int) and isinstance(scale, int) and (size % scale or DEGRADED % scale or size > DEGRADED):
        wanted = f"a multiple of the scale, as {DEGRADED} must, and at most {DEGRADED}, the side of the dataset's crops"
        yield "gt_size", f"is {size} at scale {scale}: must be {wanted}"


def _find_pool_problem(size: Any, batch: Any, options: Options) -> Problems:
    """Yield a pool that batches do not fill evenly; without a launcher one batch holds the images of all GPUs."""
    gpus = torch.cuda.device_count() if options.get("num_gpu") == "auto" else options.get("num_gpu")
    if isinstance(batch, int) and isinstance(gpus, int) and gpus > 1 and "WORLD_SIZE" not in os.environ:
        batch *= gpus
    whole = isinstance(size, int) and isinstance(batch, int) and batch > 0
    if not whole or size < 1 or size % batch:
        near = size // batch * batch or batch if whole else POOL_SIZE
        text = f"must be a multiple of the images in a batch, got {size!r} and {batch!r}: for example {near}"
        yield "queue_size", text
