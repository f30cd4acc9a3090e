"""HR images with blur kernels for blind super-resolution that estimates the kernel: the degradations of DCLS."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from basicsr.utils.registry import DATASET_REGISTRY
from torch import Tensor

from lightsr_basicsr import fields
from lightsr_basicsr.data.hr_images import HRDataset, to_tensors
from lightsr_basicsr.data.kernels import anisotropic_kernel, disturbed
from lightsr_basicsr.data.low_resolution import degrade_batch
from lightsr_basicsr.registry import register

BLURS = ("isotropic", "anisotropic")
WHERE = ("model", "worker")


@register(DATASET_REGISTRY)
class KernelBlindDataset(HRDataset):
    """HR images, each with a Gaussian blur kernel of its own, as DCLS is trained: blur, bicubic downsampling, 8 bits.

    In training an item is ``gt`` (3, gt_size, gt_size), RGB in [0, 1], ``gt_path``, ``kernel``, the kernel (k, k) of
    the HR image, and ``degradation``, from which ``LossDictModel`` and its children make ``lq`` on their device. With
    ``degrade_on: worker`` it has ``lq`` instead, for any model. In validation an item has ``lq``, ``gt`` and
    ``kernel``, which depends on the name of the image and ``kernel_seed`` alone.

    Args:
        opt (dict): A dataset section of an option file:
            dataroot_gt (str), io_backend (dict), meta_info_file (str): As in ``DegradedImageDataset``.
            blur (str): ``isotropic`` (default; DCLS's setting 1) or ``anisotropic`` (setting 2).
            sigma (list | float): Range or value of the standard deviations in HR pixels. Default: [0.2, 4.0].
            theta (list | float): Range or value of the angle in degrees; anisotropic only. Default: [0, 180].
            kernel_size (int): Side of the kernels in HR pixels, odd, that of the network. Default: 21.
            kernel_noise (float): Each value of a kernel is multiplied by a number within 1 and 1 plus this.
                Default: 0; DCLS's setting 2: 0.25.
            degrade_on (str): ``model`` (default) or ``worker``.
            kernel_seed (int): Seed of the kernels in validation. Default: 0.
            gt_size, use_hflip, use_rot: As in ``PairedImageDataset``; training only.
            scale, phase: Added by BasicSR.

    Raises:
        ValueError: If an option is unknown or wrong, or an image is missing, broken or too small.
    """

    draws_kernels = True  # of the side `kernel_size`
    options: ClassVar = {
        "blur": fields.text("Kind of the Gaussian blur.", BLURS, default=BLURS[0]),
        "sigma": fields.span("Standard deviations in HR pixels.", default=[0.2, 4.0]),
        "theta": fields.span("Angle in degrees; anisotropic only.", default=[0.0, 180.0]),
        "kernel_size": fields.count("Side of the kernels in HR pixels, odd.", default=21),
        "kernel_noise": fields.number("Largest part by which a value of a kernel is raised.", least=0, default=0.0),
        "degrade_on": fields.text("Where LR images are made.", WHERE, default=WHERE[0]),
        "kernel_seed": fields.count("Seed of the kernels in validation.", least=0, default=0),
    }

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        self.size = self.option("kernel_size")
        if self.size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, so that a kernel has a center, got {self.size}: take 21 or 31")
        if self.training and opt["gt_size"] <= self.size // 2:
            raise ValueError(
                f"gt_size must be larger than {self.size // 2}, half of the kernel, whose border is reflected, got "
                f"{opt['gt_size']}: enlarge it"
            )

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.paths[index]
        hr = self.read_hr(path)
        if not self.training:
            gt = to_tensors([hr], self.opt)[0]
            seed = zlib.crc32(Path(path).stem.encode("utf-8", "surrogateescape"))
            kernel = self.draw(np.random.default_rng([self.option("kernel_seed"), seed]))
            # Unlike in training clipped, as a file would be.
            low = degrade_batch(gt[None], self._degradation(kernel[None]))[0].clamp(0, 1)
            return {"lq": low, "gt": gt, "kernel": kernel, "lq_path": path, "gt_path": path}
        top, left, size = self.random_crop(hr, path)
        gt = to_tensors([hr[top : top + size, left : left + size]], self.opt)[0].contiguous()
        kernel = self.draw(np.random)
        item = {"gt": gt, "gt_path": path, "kernel": kernel}
        if self.option("degrade_on") == "model":
            return {**item, "degradation": {"kernel": kernel, "scale": torch.tensor(self.scale)}}
        return {**item, "lq": degrade_batch(gt[None], self._degradation(kernel[None]))[0], "lq_path": path}

    def _degradation(self, kernel: Tensor) -> dict[str, Tensor]:
        return {"kernel": kernel, "scale": torch.tensor([self.scale])}

    def draw(self, random: Any) -> Tensor:
        """Return a kernel (k, k), float32, of the numbers that a generator of numpy gives, in DCLS's order."""
        sigma_1 = sigma_2 = random.uniform(*_range(self.option("sigma")))
        theta = 0.0
        if self.option("blur") == "anisotropic":
            sigma_2 = random.uniform(*_range(self.option("sigma")))
            theta = np.radians(random.uniform(*_range(self.option("theta"))))
        numbers = (torch.tensor([number], dtype=torch.float64) for number in (sigma_1, sigma_2, theta))
        kernel = anisotropic_kernel(*numbers, self.size)
        if most := self.option("kernel_noise"):
            kernel = disturbed(kernel, torch.from_numpy(random.uniform(0, most, (1, self.size, self.size))))
        return kernel[0].float()


def _range(value: Any) -> tuple[float, float]:
    low, high = value if isinstance(value, (list, tuple)) else (value, value)
    return float(low), float(high)
