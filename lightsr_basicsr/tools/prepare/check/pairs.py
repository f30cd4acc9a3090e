"""Check pairs of images: whether sizes fit, and whether the LR image shows the HR image at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import cv2
import numpy as np

from lightsr_basicsr.data.degradations import BORDERS, imresize
from lightsr_basicsr.tools.images import to_8_bit
from lightsr_basicsr.tools.prepare.check.files import DatasetFinding, Facts
from lightsr_basicsr.tools.prepare.sources import size_text

CROP = 256
# The outer two pixels depend on the version of MATLAB, and on the crop.
SHAVED = 2
THUMB = 16
# In dB; an error of a quarter of a gray level, which counts as equal.
MOST = 60.0


@dataclass(frozen=True)
class Likeness:
    """Similarity of an LR image and its HR image; PSNR in dB."""

    hr: Facts
    lr: Facts
    psnr: float  # of the middle of LR against MATLAB's bicubic of HR, at most 60
    coarse: float  # of the two images at 16x16 pixels
    flat: float  # of a uniform image, the mean of HR, at 16x16 pixels
    hr_thumb: np.ndarray  # the images at 16x16 pixels
    lr_thumb: np.ndarray
    border: str  # of MATLAB's bicubic that LR equals at its upper left edges, '' if that cannot be told


def check_alone(facts: Facts, scale: int | None, patch: int | None) -> Iterator[DatasetFinding]:
    """Yield findings on the size of an HR image on its own."""
    if facts.size is None:
        return
    size = size_text(facts.size)
    if patch and min(facts.size) < patch:
        yield facts.finding("sizes", f"{size} is smaller than the patch of {patch}x{patch}: training stops", error=True)
    if scale and any(side % scale for side in facts.size):
        yield facts.finding("sizes", f"{size}: not all sides are multiples of {scale}; crop it before making LR")


def check_pair(hr: Facts, lr: Facts, scale: int, patch: int | None) -> Iterator[DatasetFinding]:
    """Yield findings on the sizes of a pair."""
    yield from check_alone(hr, None, patch)
    if hr.size is None or lr.size is None:
        return
    wanted = (lr.size[0] * scale, lr.size[1] * scale)
    if hr.size == wanted:
        return
    message = f"HR {size_text(hr.size)}, expected {size_text(wanted)} for LR {size_text(lr.size)} times {scale}"
    yield hr.finding("sizes", f"{message}: {_remedy(hr.size, lr.size, wanted, scale)}", error=True)


def _remedy(hr: tuple[int, int], lr: tuple[int, int], wanted: tuple[int, int], scale: int) -> str:
    if hr == wanted[::-1]:
        return "one of them is rotated by 90 degrees"
    if hr[0] < lr[0] or hr[1] < lr[1]:
        return "HR is smaller than LR: were the two swapped?"
    ratios = {round(high / low) for high, low in zip(hr, lr, strict=True)}
    if len(ratios) == 1 and scale not in ratios:
        return f"this pair seems to be x{ratios.pop()}"
    if hr[0] < wanted[0] or hr[1] < wanted[1]:
        return "training and testing stop; make LR again from HR (basicsr prepare lr)"
    return "training stops, testing uses the upper left part; crop HR (basicsr prepare lr --hr)"


def compare(hr: Facts, lr: Facts, hr_image: np.ndarray, lr_image: np.ndarray, scale: int) -> Likeness | None:
    """Return the similarity of an LR image (h, w, 3) and its HR image (H, W, 3); None if their sizes do not fit."""
    height, width = (side * scale for side in lr_image.shape[:2])
    surplus = (hr_image.shape[0] - height, hr_image.shape[1] - width)
    if not all(0 <= each < scale for each in surplus):
        return None
    hr_image = hr_image[:height, :width]
    hr_thumb, lr_thumb = _thumb(hr_image), _thumb(lr_image)
    middle = _psnr_of_the_middle(hr_image, lr_image, scale)
    coarse, flat = psnr(hr_thumb, lr_thumb), psnr(hr_thumb, hr_thumb.mean(axis=(0, 1)))
    border = _border(hr_image, lr_image, scale) if middle == MOST else ""
    return Likeness(hr, lr, middle, coarse, flat, hr_thumb, lr_thumb, border)


def _psnr_of_the_middle(hr_image: np.ndarray, lr_image: np.ndarray, scale: int) -> float:
    top, left = (max(0, (side - CROP) // 2) for side in lr_image.shape[:2])
    low = to_8_bit(lr_image[top : top + CROP, left : left + CROP])
    high = to_8_bit(hr_image[top * scale : (top + CROP) * scale, left * scale : (left + CROP) * scale])
    made = imresize(high, 1 / scale)
    if min(low.shape[:2]) > 2 * SHAVED:
        low, made = (image[SHAVED:-SHAVED, SHAVED:-SHAVED] for image in (low, made))
    return psnr(made.astype(np.float32), low.astype(np.float32))


def _border(hr_image: np.ndarray, lr_image: np.ndarray, scale: int) -> str:
    """Return the border with which the upper left edges of an LR image were made; '' for neither or both."""
    low, high = to_8_bit(lr_image[:CROP, :CROP]), to_8_bit(hr_image[: CROP * scale, : CROP * scale])
    fitting = []
    for border in BORDERS:
        same = low == imresize(high, 1 / scale, border)
        # The lower right edges are those of the crop.
        if same[:SHAVED, :-SHAVED].all() and same[:-SHAVED, :SHAVED].all():
            fitting.append(border)
    return fitting[0] if len(fitting) == 1 else ""


def _thumb(image: np.ndarray) -> np.ndarray:
    small = cv2.resize(image, (THUMB, THUMB), interpolation=cv2.INTER_AREA).astype(np.float32)
    return small if image.dtype == np.uint8 else small / 257


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Return the PSNR of gray levels in [0, 255], at most 60 dB.

    Examples:
        >>> round(psnr(np.zeros((8, 8)), np.full((8, 8), 16.0)), 2)
        24.05
    """
    error = float(np.mean(np.square(one - other)))
    return MOST if error <= 255**2 / 10 ** (MOST / 10) else float(10 * np.log10(255**2 / error))


def check_likeness(found: Sequence[Likeness]) -> Iterator[DatasetFinding]:
    """Yield findings on pairs that do not belong together, or whose LR image was made differently from the rest."""
    if not found:
        return
    # Each of the 16x16 pixels averages so many that blur, noise and compression hardly count. Measured on 200 photos
    # with bicubic, BD, DN, noise of level 60, JPEG of quality 20, and a fifth darker: right pairs reach 16 to 60 dB, an
    # image with the LR image of another one 11 (median) to 22. Where these overlap, a wrong image is no better than a
    # uniform one, and far below the median of the right pairs, which are alike in one data set. The lower limit is for
    # sets in which most pairs are wrong, as when all are shifted by one.
    coarse_limit = max(14.0, median(each.coarse for each in found) - 6)
    # The PSNR itself depends on the content. An outlier is five standard deviations below the median, estimated by the
    # median absolute deviation, which a few wrong pairs hardly change; none of the right pairs above is one. Where all
    # LR images are MATLAB's bicubic the deviation is 0, and 10 dB allow for the rounding of other programs.
    middle = median(each.psnr for each in found)
    deviation = 1.4826 * median(abs(each.psnr - middle) for each in found)
    limit = middle - max(10.0, 5 * deviation)
    thumbs = np.stack([each.hr_thumb for each in found])
    for each in found:
        message = f"PSNR {each.psnr:.1f} dB against bicubic of the HR image, median {middle:.1f}"
        if each.coarse < min(coarse_limit, each.flat + 1):
            near = found[int(np.square(thumbs - each.lr_thumb).mean(axis=(1, 2, 3)).argmin())]
            looks = f"; it looks like {near.hr.name}" if psnr(near.hr_thumb, each.lr_thumb) > each.coarse + 6 else ""
            yield each.lr.finding("pairs", f"does not show {each.hr.name}{looks} ({message})")
        elif each.psnr < limit:
            yield each.lr.finding("pairs", f"was made differently from the rest: {message}")
