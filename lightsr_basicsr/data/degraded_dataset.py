"""HR images whose LR images are made on the fly: BI, BD and DN, at one scale or, for DRN, at several."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from basicsr.utils.registry import DATASET_REGISTRY

from lightsr_basicsr import fields
from lightsr_basicsr.data.degradations import BORDERS, add_noise
from lightsr_basicsr.data.hr_images import HRDataset, to_tensors
from lightsr_basicsr.data.image_cache import Key
from lightsr_basicsr.data.low_resolution import DEGRADATIONS, LowResolution
from lightsr_basicsr.registry import register

LEVELS = {"": "LR images", "_down2": "images of half the HR side", "_down4": "images of a quarter of the HR side"}


@register(DATASET_REGISTRY)
class DegradedImageDataset(HRDataset):
    """HR images with LR images made on the fly, equal to the files that ``basicsr prepare lr`` writes.

    Items are ``lq`` (3, h, w) and ``gt`` (3, h * scale, w * scale), RGB in [0, 1], with ``lq_path`` and ``gt_path``.

    Args:
        opt (dict): A dataset section of an option file:
            dataroot_gt (str): Folder or LMDB of HR images, which are cropped to multiples of the scale.
            io_backend (dict): ``type: disk`` or ``type: lmdb``.
            meta_info_file (str): Optional list of the images to use.
            degradation (str): ``bi`` (default), ``bd`` or ``dn``.
            border (str): ``mirror`` (default) or ``replicate``, as in ``prepare lr``.
            noise_seed (int): Seed of the noise of ``dn``. Default: 0.
            redraw_noise (bool): Whether to draw new noise each time an image is seen in training. Default: false, an
                image has fixed noise, as in the official data.
            gt_size, use_hflip, use_rot: As in ``PairedImageDataset``; training only.
            scale, phase: Added by BasicSR.

    Raises:
        ValueError: If an option is unknown, or an image is missing, broken or smaller than ``gt_size``.
    """

    options: ClassVar = {
        "degradation": fields.text("How LR images are made, as `prepare lr` does.", DEGRADATIONS, default="bi"),
        "border": fields.text("What lies beyond the border of an image.", tuple(BORDERS), default="mirror"),
        "redraw_noise": fields.flag("Whether training draws new noise each time an image is seen.", default=False),
    }

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        self.how = LowResolution(*map(self.option, ("degradation", "border", "noise_seed")))

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.paths[index]
        hr = self.read_hr(path)
        crop = self.random_crop(hr, path) if self.training else None
        lows = [self._level(hr, crop, factor, path) for factor in self.factors]
        gt, *levels = to_tensors([_cut(hr, crop), *lows], self.opt)
        named = {f"lq{self._suffix(factor)}": level for factor, level in zip(self.factors, levels, strict=True)}
        return {"gt": gt, **named, "lq_path": path, "gt_path": path}

    @property
    def factors(self) -> list[int]:
        """HR over LR size of each LR image of an item."""
        return [self.scale]

    def _suffix(self, factor: int) -> str:
        return "" if factor == self.scale else f"_down{factor}"

    def _level(self, hr: np.ndarray, crop: tuple[int, int, int] | None, factor: int, path: str) -> np.ndarray:
        """Return the part of the LR image of ``hr`` at 1 / ``factor`` that belongs to ``crop`` (top, left, size)."""
        shape = tuple(side // factor for side in hr.shape[:2])
        inside = None if crop is None else tuple(value // factor for value in crop)
        if crop is None:
            low = self.how.clean(hr, factor)
        else:
            # The reach of the bicubic kernel. At the image's own border the part ends there, as the whole image does.
            margin = 3 * factor
            top, left = (max(start - margin, 0) for start in crop[:2])
            around = hr[top : crop[0] + crop[2] + margin, left : crop[1] + crop[2] + margin]
            offset = (inside[0] - top // factor, inside[1] - left // factor, inside[2])
            low = _cut(self.how.clean(around, factor), offset)
        if self.how.degradation != "dn":
            return low
        return add_noise(low, self._noise((*shape, 3), low.shape, inside, factor, path))

    def _noise(
        self, whole: tuple[int, ...], part: tuple[int, ...], inside: tuple[int, ...] | None, factor: int, path: str
    ) -> np.ndarray:
        if self.training and self.option("redraw_noise"):
            return np.random.standard_normal(part).astype(np.float32)
        return _cut(self.how.noise(whole, factor, Path(path).stem), inside)


def _cut(image: np.ndarray, crop: tuple[int, ...] | None) -> np.ndarray:
    if crop is None:
        return image
    top, left, size = crop
    return image[top : top + size, left : left + size]


@register(DATASET_REGISTRY)
class MultiScalePairedDataset(DegradedImageDataset):
    """HR images with the LR images of every level that dual regression (DRN) compares with.

    At x4 items hold ``gt``, ``lq`` (HR / 4) and ``lq_down2`` (HR / 2); at x8 ``lq_down4`` too. The crops of all levels
    show the same part of the image (DRN's data: the corner is a multiple of the scale). Levels with a folder are read,
    the others are made from HR; DRN's own are separate bicubic images, not downscales of each other.

    Args:
        opt (dict): As ``DegradedImageDataset`` takes it, and optionally for each level:
            dataroot_lq, dataroot_lq_down2, dataroot_lq_down4 (str): Folder or LMDB of the level's images.
            filename_tmpl, filename_tmpl_down2, filename_tmpl_down4 (str): Their names, as ``'{}x4'`` and ``'{}x2'``.

    Raises:
        ValueError: If the scale is not a power of 2, an image is missing, or a level is not HR's size over its factor.
    """

    options: ClassVar = {
        **{f"dataroot_lq{level}": fields.anything(f"Folder or LMDB of {images}.") for level, images in LEVELS.items()},
        **{
            f"filename_tmpl{level}": fields.text(f"Names of {images}; `{{}}` is that of the HR image.", default="{}")
            for level, images in LEVELS.items()
        },
    }

    def __init__(self, opt: dict[str, Any]) -> None:
        if opt["scale"] < 2 or opt["scale"] & (opt["scale"] - 1):
            raise ValueError(f"levels are powers of 2, so the scale must be 2, 4 or 8, got {opt['scale']}")
        super().__init__(opt)
        self.read_factors = [f for f in self.factors if f"lq{self._suffix(f)}" in self.store.roots]
        self.partners = {f: self._find_partners(f) for f in self.read_factors}

    @property
    def factors(self) -> list[int]:
        """HR over LR size of each level, from the network's input upwards: [4, 2] at x4."""
        return [2**power for power in range(self.scale.bit_length() - 1, 0, -1)]

    @property
    def known_keys(self) -> tuple[str, ...]:
        """Options beyond those that BasicSR reads from any section, for the levels of this scale."""
        levels = tuple(self._suffix(factor) for factor in self.factors if factor != self.scale)
        return tuple(key for key in super().known_keys if "_down" not in key or key.endswith(levels))

    def _roots(self) -> dict[str, str]:
        named = {f"lq{self._suffix(f)}": self.opt.get(f"dataroot_lq{self._suffix(f)}") for f in self.factors}
        return {**super()._roots(), **{kind: root for kind, root in named.items() if root}}

    def _find_partners(self, factor: int) -> dict[str, str]:
        kind, template = f"lq{self._suffix(factor)}", self.opt.get(f"filename_tmpl{self._suffix(factor)}", "{}")
        found = {Path(path).stem: path for path in self.store.paths(kind)}
        wanted = {
            path: Path(path).stem if self.store.in_lmdb else template.format(Path(path).stem) for path in self.paths
        }
        missing = [stem for stem in wanted.values() if stem not in found]
        if missing:
            raise ValueError(f"{self.store.roots[kind]} lacks {len(missing)} images, the first is {missing[0]}")
        return {path: found[stem] for path, stem in wanted.items()}

    def images(self) -> list[Key]:
        """Return the kind and the path of all images that are read, those of the levels included."""
        levels = [(f"lq{self._suffix(f)}", path) for f, partners in self.partners.items() for path in partners.values()]
        return super().images() + levels

    def _level(self, hr: np.ndarray, crop: tuple[int, int, int] | None, factor: int, path: str) -> np.ndarray:
        if factor not in self.read_factors:
            return super()._level(hr, crop, factor, path)
        partner = self.partners[factor][path]
        low = self.store.read(partner, f"lq{self._suffix(factor)}")
        height, width = (side // factor for side in hr.shape[:2])
        # HR is cropped; an LR image made from the whole HR image may be this much larger.
        most = math.ceil((self.scale - 1) / factor)
        if not (0 <= low.shape[0] - height <= most and 0 <= low.shape[1] - width <= most):
            raise ValueError(
                f"{partner} is {low.shape[1]}x{low.shape[0]}, expected HR / {factor} = {width}x{height} "
                f"or up to {most} more: is dataroot_lq{self._suffix(factor)} the folder of this scale?"
            )
        return _cut(low[:height, :width], None if crop is None else tuple(value // factor for value in crop))
