"""Images as Python programs hold them: arrays, Pillow's and tensors become pictures, and results the same type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from lightsr_basicsr.pictures.colors import cmyk_to_rgb
from lightsr_basicsr.pictures.files import ImageError
from lightsr_basicsr.pictures.picture import Picture
from lightsr_basicsr.pictures.reading import OPAQUE, SEE_THROUGH
from lightsr_basicsr.pictures.writing import as_pillow

EXPECTED = (
    "Expected an image: an array (H, W) or (H, W, C) of uint8, uint16 or floating point in [0, 1], an image of "
    "Pillow's, or a tensor (C, H, W) or (N, C, H, W) in [0, 1]"
)
DEEP_GRAY = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")  # Pillow's names of more than 8 bits


class Given(NamedTuple):
    """An image as pictures, and what makes an image of the same type of the pictures that they became."""

    pictures: list[Picture]
    give_back: Callable[[Sequence[Picture]], Any]


def as_pictures(image: Any) -> Given:
    """Return an image as pictures: one, or N of a tensor (N, C, H, W).

    Args:
        image (Any): An array (H, W) or (H, W, C), an image of Pillow's, or a tensor (C, H, W) or (N, C, H, W). C is 1
            (gray), 2 (gray and alpha), 3 (RGB) or 4 (RGB and alpha).

    Raises:
        ImageError: If it is something else, is empty, or holds NaN.
    """
    if isinstance(image, np.ndarray):
        return _of_array(image)
    if isinstance(image, Tensor):
        return _of_tensor(image)
    if isinstance(image, Image.Image):
        return _of_pillow(image)
    raise ImageError(f"{EXPECTED}, got {type(image).__name__}.")


def _of_array(image: np.ndarray) -> Given:
    picture = _picture(image[:, :, None] if image.ndim == 2 else image, f"an array {image.shape} of {image.dtype}")

    def give_back(made: Sequence[Picture]) -> np.ndarray:
        pixels = _channels(made[0]).astype(image.dtype, copy=False)
        return pixels[:, :, 0] if image.ndim == 2 else pixels

    return Given([picture], give_back)


def _of_tensor(images: Tensor) -> Given:
    title = f"a tensor {tuple(images.shape)} of {images.dtype}"
    if images.ndim not in (3, 4) or not images.numel() or images.dtype not in (torch.uint8, *_floats()):
        raise ImageError(f"{EXPECTED}, got {title}.")
    kind = torch.uint8 if images.dtype == torch.uint8 else torch.float32
    arrays = images.detach().reshape(-1, *images.shape[-3:]).permute(0, 2, 3, 1).to("cpu", kind).numpy()

    def give_back(made: Sequence[Picture]) -> Tensor:
        stacked = torch.from_numpy(np.stack([_channels(each) for each in made])).permute(0, 3, 1, 2)
        stacked = stacked.to(images.device, images.dtype).contiguous()
        return stacked if images.ndim == 4 else stacked[0]

    return Given([_picture(each, title) for each in arrays], give_back)


def _floats() -> tuple[torch.dtype, ...]:
    return torch.float32, torch.float64, torch.float16, torch.bfloat16


def _of_pillow(image: Image.Image) -> Given:
    title = f"a {image.mode} image of Pillow's"
    with suppress(Exception):  # Pillow raises any type for Exif tags that are damaged
        # Pillow saves no Exif tags unless asked to: what was turned by them would lie on its side.
        image = ImageOps.exif_transpose(image)
    if image.mode in DEEP_GRAY:
        return _of_deep_gray(image, title)
    info = {key: value for key, value in image.info.items() if key != "transparency"}
    if image.mode == "CMYK":
        source, info["icc_profile"], _ = cmyk_to_rgb(image, image.info.get("icc_profile"))
    else:
        see_through = "transparency" in image.info or image.mode not in OPAQUE
        known = (SEE_THROUGH if see_through else OPAQUE).get(image.mode)
        if known is None:
            raise ImageError(f"{EXPECTED}, got {title}: convert it to RGB.")
        source = image.convert(known[1])
    array = np.asarray(source)
    picture = _picture(array[:, :, None] if array.ndim == 2 else array, title)

    def give_back(made: Sequence[Picture]) -> Image.Image:
        result = as_pillow(made[0])
        result.info = {key: value for key, value in info.items() if value is not None}
        return result

    return Given([picture], give_back)


def _of_deep_gray(image: Image.Image, title: str) -> Given:
    array = np.asarray(image)
    if image.mode == "I" and (array.min() < 0 or array.max() > 65535):
        raise ImageError(f"{EXPECTED}, got {title} with numbers outside 0 to 65535: scale them.")
    wanted = np.float32 if image.mode == "F" else np.uint16
    picture = _picture(array.astype(wanted)[:, :, None], title)

    def give_back(made: Sequence[Picture]) -> Image.Image:
        pixels = made[0].color[:, :, 0]
        result = Image.fromarray(pixels.astype(np.int32) if image.mode == "I" else pixels)
        result.info = dict(image.info)
        return result

    return Given([picture], give_back)


def _picture(array: np.ndarray, title: str) -> Picture:
    """Return an array (H, W, 1 to 4) as a picture."""
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4) or not array.size:
        raise ImageError(f"{EXPECTED}, got {title}.")
    if array.dtype.kind == "f":
        array = array.astype(np.float32, copy=False)
        if not np.isfinite(array).all():
            raise ImageError(f"{EXPECTED}, got {title} with NaN or infinite numbers: replace them.")
    elif array.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"{EXPECTED}, got {title}: convert it, for example by x.astype('uint8').")
    if array.shape[2] in (1, 3):
        return Picture(array)
    return Picture(array[:, :, :-1], array[:, :, -1])


def _channels(picture: Picture) -> np.ndarray:
    """Return a picture as an array (H, W, C), alpha last."""
    return picture.color if picture.alpha is None else np.dstack([picture.color, picture.alpha])
