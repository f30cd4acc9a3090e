"""HR images for blind super-resolution: KDSR's classic degradation, drawn here and applied on the training device."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from basicsr.data.realesrgan_dataset import RealESRGANDataset
from basicsr.utils.registry import DATASET_REGISTRY
from torch import Tensor

from lightsr_basicsr import fields
from lightsr_basicsr.data.degradations import KERNEL_SIZE
from lightsr_basicsr.data.hr_images import OPTIONS, HRDataset, ImageStore, check_section, to_tensors
from lightsr_basicsr.data.low_resolution import BlindSet, Blur, degrade_batch
from lightsr_basicsr.registry import register

# Kernels of Real-ESRGAN's and KDSR's option files, kinds, probabilities, widths: of the first blur, and of both.
BLUR: dict[str, Any] = {
    "blur_kernel_size": 21,
    "kernel_list": ["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"],
    "kernel_prob": [0.45, 0.25, 0.12, 0.03, 0.12, 0.03],
    "sinc_prob": 0.1,
    "blur_sigma": [0.2, 3],
    "betag_range": [0.5, 4],
    "betap_range": [1, 2],
}
KERNELS = {
    **BLUR,
    **{f"{key}2": value for key, value in BLUR.items()},
    "blur_sigma2": [0.2, 1.5],
    "final_sinc_prob": 0.8,
}
BLURS = ("isotropic", "anisotropic")
PER = ("batch", "image")
WHERE = ("model", "worker")


@register(DATASET_REGISTRY)
class ClassicBlindDataset(HRDataset):
    """HR images with the classic blind degradation of KDSR: Gaussian blur, bicubic downsampling, noise, 8 bits.

    In training an item is ``gt`` (3, gt_size, gt_size), RGB in [0, 1], ``gt_path`` and ``degradation``, the drawn
    numbers from which ``LossDictModel`` makes ``lq`` on its device
    (:func:`~lightsr_basicsr.data.low_resolution.degrade_batch`). With ``degrade_on: worker`` it has ``lq`` instead, for
    any model. In validation an item has ``lq`` and ``gt``, equal to the files of ``basicsr prepare blind``.

    Args:
        opt (dict): A dataset section of an option file:
            dataroot_gt (str), io_backend (dict), meta_info_file (str): As in ``DegradedImageDataset``.
            blur (str): ``isotropic`` (default) or ``anisotropic``.
            sigma (list | float): Range or value of the standard deviations in HR pixels. Default: [0.2, 4.0].
            theta (list | float): Range or value of the angle in degrees; anisotropic only. Default: [0, 180].
            noise_level (list | float): Range or value of the noise level in gray levels of 255. Default: 0; KDSR with
                noise: [0, 25].
            degradation_per (str): ``batch`` (default, as published: all images of a batch share blur and noise level)
                or ``image``. Each process draws its own.
            degrade_on (str): ``model`` (default) or ``worker``, which needs ``degradation_per: image``.
            sigma_2 (float): Second standard deviation in validation; anisotropic only.
            noise_seed (int): Seed of the noise in validation. Default: 0.
            gt_size, use_hflip, use_rot: As in ``PairedImageDataset``; training only.
            scale, phase: Added by BasicSR.

    Raises:
        ValueError: If an option is unknown or a range invalid, or an image is missing, broken or too small.
    """

    options: ClassVar = {
        "blur": fields.text("Kind of the Gaussian blur.", BLURS, default=BLURS[0]),
        "sigma": fields.span("Standard deviations in HR pixels.", default=[0.2, 4.0]),
        "sigma_2": fields.number("Second standard deviation in validation; anisotropic only.", least=0),
        "theta": fields.span("Angle in degrees; anisotropic only.", default=[0.0, 180.0]),
        "noise_level": fields.span("Standard deviation of the noise in gray levels of 255.", default=0),
        "degradation_per": fields.text("What shares blur and noise level.", PER, default=PER[0]),
        "degrade_on": fields.text("Where LR images are made.", WHERE, default=WHERE[0]),
    }

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        self.blur, self.shared = self.option("blur"), self.option("degradation_per") == "batch"
        # In a worker training items get `lq`, so that any model can train on them.
        self.degrades_in_worker = self.option("degrade_on") == "worker"
        self.ranges = {key: _range(self.option(key)) for key in ("sigma", "theta", "noise_level")}
        if self.training:
            self._check_training()
        self.fixed = None if self.training else self._fixed_set()

    def _check_training(self) -> None:
        if self.degrades_in_worker and self.shared:
            raise ValueError("a worker sees one image at a time: degrade_on: worker needs degradation_per: image")
        if self.opt["gt_size"] <= KERNEL_SIZE // 2:
            raise ValueError(
                f"gt_size must be larger than {KERNEL_SIZE // 2}, half of the blur kernel, got {self.opt['gt_size']}"
            )

    def _fixed_set(self) -> BlindSet:
        wanted = ("sigma", "theta", "noise_level") if self.blur == "anisotropic" else ("sigma", "noise_level")
        for key in wanted:
            low, high = self.ranges[key]
            if low != high:
                raise ValueError(
                    f"{key} must be one number in validation, so that results are comparable, got [{low}, {high}]"
                )
        sigma, theta, level = (self.ranges[key][0] for key in ("sigma", "theta", "noise_level"))
        turned = () if self.blur == "isotropic" else (self.opt.get("sigma_2", sigma), theta)
        return BlindSet(Blur(sigma, *turned), level, self.scale, self.option("noise_seed"))

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.paths[index]
        hr = self.read_hr(path)
        if self.fixed is not None:
            # Degraded before the change to RGB: noise is drawn in the channel order of files.
            gt, lq = to_tensors([hr, self.fixed.degrade(hr, Path(path).stem)], self.opt)
            return {"lq": lq, "gt": gt, "lq_path": path, "gt_path": path}
        top, left, size = self.random_crop(hr, path)
        gt = to_tensors([hr[top : top + size, left : left + size]], self.opt)[0]
        item = {"gt": gt.contiguous(), "gt_path": path}
        drawn = self._draw()
        if not self.degrades_in_worker:
            return {**item, "degradation": drawn}
        low = degrade_batch(item["gt"][None], {key: value[None] for key, value in drawn.items()})[0]
        return {**item, "lq": low, "lq_path": path}

    def _draw(self) -> dict[str, Tensor]:
        """Draw one degradation, in KDSR's order."""
        if self.blur == "isotropic":
            theta, sigma_1 = 0.0, np.random.uniform(*self.ranges["sigma"])
            sigma_2 = sigma_1
        else:
            theta = math.radians(np.random.uniform(*self.ranges["theta"]))
            sigma_1, sigma_2 = (np.random.uniform(*self.ranges["sigma"]) for _ in range(2))
        level = np.random.uniform(*self.ranges["noise_level"])
        numbers = {"sigma_1": sigma_1, "sigma_2": sigma_2, "theta": theta, "level": level}
        drawn = {key: torch.tensor(value, dtype=torch.float64) for key, value in numbers.items()}
        whole = {"seed": np.random.randint(2**31), "scale": self.scale, "shared": self.shared}
        return {**drawn, **{key: torch.tensor(value) for key, value in whole.items()}}


def _range(value: float | Sequence[float]) -> tuple[float, float]:
    low, high = value if isinstance(value, (list, tuple)) else (value, value)
    return float(low), float(high)


@register(DATASET_REGISTRY)
class SecondOrderDataset(RealESRGANDataset):
    """BasicSR's ``RealESRGANDataset`` over a plain folder: no meta-info file needed, published numbers as defaults.

    Items are ``gt`` (3, 400, 400), RGB in [0, 1], and three blur kernels (21, 21), from which ``RealESRNetModel`` and
    ``RealESRGANModel`` make ``lq`` on any device, CPU included.

    Args:
        opt (dict): As in ``RealESRGANDataset``. Without ``meta_info`` all images of ``dataroot_gt`` are used. Kernel
            options default to those of the Real-ESRGAN paper's option files.

    Raises:
        ValueError: If an option is unknown, the folder or the list is missing, or an image cannot be read.
    """

    options: ClassVar = {
        "meta_info": fields.text("List of the images to take; without it all are taken.", null=True),
        **OPTIONS,
    }

    def __init__(self, opt: dict[str, Any]) -> None:
        check_section(type(self), opt, (*fields.declared(type(self)), *KERNELS))
        store = ImageStore({"gt": opt["dataroot_gt"]}, opt["io_backend"])
        # BasicSR always opens a list, here an empty one.
        super().__init__({**KERNELS, **opt, "meta_info": os.devnull})
        if not store.in_lmdb:
            self.paths = store.paths("gt", opt.get("meta_info"))

    def __getitem__(self, index: int) -> dict[str, Any]:
        try:
            return super().__getitem__(index)
        except (AttributeError, TypeError) as error:  # BasicSR uses an image that OpenCV could not read
            raise ValueError(f"{self.paths[index]} in {self.gt_folder} cannot be read by OpenCV") from error
