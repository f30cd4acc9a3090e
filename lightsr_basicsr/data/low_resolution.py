"""LR images of known parameters, identical in files and in training."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lightsr_basicsr.data.degradations import (
    add_noise,
    blur_downsample,
    blur_subsample,
    classic_degradation,
    imresize,
)
from lightsr_basicsr.data.kernels import anisotropic_kernel, isotropic_kernel, reduced_kernel
from lightsr_basicsr.errors import UserError

DEGRADATIONS = ("bi", "bd", "dn")


def _bytes_of(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")  # names of files need not be UTF-8


@dataclass(frozen=True)
class LowResolution:
    """BI, BD or DN degradation of whole-number images."""

    degradation: str = "bi"  # one of DEGRADATIONS
    border: str = "mirror"  # or "replicate"; see :func:`~lightsr_basicsr.data.degradations.imresize`
    seed: int = 0  # of the noise of DN

    def clean(self, image: np.ndarray, scale: int) -> np.ndarray:
        """Return the LR image (h, w, C) of ``image`` (H, W, C), without noise."""
        if self.degradation == "bd":
            return blur_subsample(image, scale)
        return imresize(image, 1 / scale, self.border)

    def noise(self, shape: tuple[int, ...], scale: int, name: str) -> np.ndarray:
        """Return the standard normal numbers (``shape``) of the LR image ``name``, independent of other images."""
        draw = np.random.default_rng([self.seed, scale, zlib.crc32(_bytes_of(name))])
        return draw.standard_normal(shape, dtype=np.float32)

    def degrade(self, image: np.ndarray, scale: int, name: str) -> np.ndarray:
        """Return the LR image (h, w, C) of ``image`` (H, W, C), of the same type."""
        low = self.clean(image, scale)
        if self.degradation != "dn":
            return low
        return add_noise(low, self.noise(low.shape, scale, name))


@dataclass(frozen=True)
class Blur:
    """A Gaussian blur: standard deviations in HR pixels along and across the angle ``theta`` in degrees.

    The angle is measured from the x axis towards the y axis, which points down. Without ``sigma_2`` it is isotropic.
    """

    sigma_1: float
    sigma_2: float | None = None
    theta: float = 0.0

    @property
    def name(self) -> str:
        """Name in folders.

        Examples:
            >>> Blur(1.8).name, Blur(3.5, 1.5, 30).name
            ('sig1.8', '3.5_1.5_30')
        """
        if self.sigma_2 is None:
            return f"sig{float(self.sigma_1)}"
        return f"{float(self.sigma_1)}_{float(self.sigma_2)}_{self.theta:g}"

    def kernel(self) -> Tensor:
        """Return the kernel (1, 21, 21)."""
        along, across, angle = (
            torch.tensor([value], dtype=torch.float64)
            for value in (self.sigma_1, self.sigma_2 or 0, math.radians(self.theta))
        )
        return isotropic_kernel(along) if self.sigma_2 is None else anisotropic_kernel(along, across, angle)


@dataclass(frozen=True)
class BlindSet:
    """A set of LR images of one blur and one noise level, a standard deviation in gray levels of 8 bits.

    Raises:
        UserError: If the scale, the blur or the noise level is out of range.
    """

    blur: Blur
    noise: float
    scale: int
    seed: int = 0

    def __post_init__(self) -> None:
        sigmas = [sigma for sigma in (self.blur.sigma_1, self.blur.sigma_2) if sigma is not None]
        if self.scale < 2 or not all(math.isfinite(number) and number >= 0 for number in (*sigmas, self.noise)):
            raise UserError(f"scale must be at least 2, blurs and noise finite and at least 0, got {self.folder}.")
        if len(sigmas) == 2 and not all(sigmas):
            raise UserError(f"an anisotropic kernel needs two standard deviations above 0, got {self.blur.name}.")

    @property
    def folder(self) -> str:
        """Name of its folder.

        Examples:
            >>> BlindSet(Blur(1.8), noise=0, scale=4).folder
            'LRiso_x4_sig1.8'
            >>> BlindSet(Blur(3.5, 1.5, 30), noise=10, scale=4).folder
            'LRaniso_x4_3.5_1.5_30_n10'
        """
        isotropic = self.blur.sigma_2 is None
        noise = "" if isotropic and not self.noise else f"_n{self.noise:g}"
        return f"LR{'iso' if isotropic else 'aniso'}_x{self.scale}_{self.blur.name}{noise}"

    def degrade(self, image: np.ndarray, name: str) -> np.ndarray:
        """Return the LR image, uint8, of ``image`` (H, W, 3); its noise depends on ``name``, not on the order."""
        top = np.iinfo(image.dtype).max
        whole = torch.from_numpy(image.astype(np.float32) / top).permute(2, 0, 1).unsqueeze(0)
        noise = None
        if self.noise:
            draw = np.random.default_rng([self.seed, zlib.crc32(self.folder.encode()), zlib.crc32(_bytes_of(name))])
            shape = (3, *(side // self.scale for side in image.shape[:2]))
            noise = torch.from_numpy(draw.standard_normal(shape, dtype=np.float32))
        low = classic_degradation(whole, self.blur.kernel(), self.scale, noise, self.noise)
        return (low[0] * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def degrade_batch(image: Tensor, drawn: Mapping[str, Tensor]) -> Tensor:
    """Return LR images of a batch by what ``ClassicBlindDataset`` or ``KernelBlindDataset`` drew, on its device.

    Args:
        image (Tensor): HR images (N, 3, H, W) in [0, 1].
        drawn (Mapping): Tensors (N,): ``sigma_1``, ``sigma_2`` (pixels), ``theta`` (radians), ``level`` (gray levels),
            ``seed`` (of the noise), ``scale``, and ``shared``: whether the first image's blur and level apply to all.
            Or ``kernel`` (N, k, k) and ``scale``: DCLS's degradation, which is not clipped.

    Returns:
        Tensor: LR images (N, 3, H / scale, W / scale) in [0, 1], multiples of 1/255.
    """
    if "kernel" in drawn:
        return (reduce_blurred(image, drawn["kernel"], int(drawn["scale"][0])) * 255).round() / 255
    scale, count = int(drawn["scale"][0]), 1 if bool(drawn["shared"][0]) else len(image)
    # On the CPU, since not every device has float64.
    values = {key: drawn[key][:count].cpu() for key in ("sigma_1", "sigma_2", "theta", "level")}
    kernel = anisotropic_kernel(values["sigma_1"], values["sigma_2"], values["theta"])
    noise = None
    if bool((values["level"] > 0).any()):
        seeds = [int(seed) for seed in drawn["seed"][:count]]
        shape = (len(image) // count, image.shape[1], *(side // scale for side in image.shape[2:]))
        # The noise of an image with its own degradation depends on no batch or process.
        generators = (torch.Generator(image.device).manual_seed(seed) for seed in seeds)
        noise = torch.cat([torch.randn(shape, generator=each, device=image.device) for each in generators])
    return classic_degradation(image, kernel, scale, noise, values["level"])


def reduce_blurred(image: Tensor, kernel: Tensor, scale: int) -> Tensor:
    """Return (N, C, H / scale, W / scale) of HR images (N, C, H, W), blurred by (N, k, k) and reduced, not rounded."""
    return blur_downsample(image, kernel, scale, border="mirror")


def target_kernel(image: Tensor, kernel: Tensor, scale: int) -> Tensor:
    """Return the kernels (N, 1, k, k) in LR pixels of a blur of HR images (N, C, H, W) by (N, k, k).

    See :func:`~lightsr_basicsr.data.kernels.reduced_kernel`; LR sides are at least k.
    """
    whole = kernel.new_ones(1, 1, 1)
    clean, blurred = (reduce_blurred(image, each, scale) for each in (whole, kernel))
    return reduced_kernel(clean, blurred, kernel.shape[-1])
