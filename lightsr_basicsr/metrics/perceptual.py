"""LPIPS and DISTS as papers on real-world super-resolution report them; computed by pyiqa (extra ``iqa``)."""

from __future__ import annotations

import io
import pickle
from contextlib import redirect_stdout
from functools import cache, partial
from pathlib import Path
from textwrap import shorten
from typing import Any, NamedTuple

import numpy as np
import torch
from basicsr.utils.registry import METRIC_REGISTRY
from torch import Tensor, nn

from lightsr_basicsr.errors import UserError, install_command
from lightsr_basicsr.registry import register


class MetricUnavailableError(UserError):
    """Raised if the library or the weights of a metric are missing. The message says how to get them."""


class Metric(NamedTuple):
    """A metric of pyiqa: title, name there, the two files of its weights, and the smallest side of an image."""

    title: str
    name: str
    backbone: str
    head: str
    min_side: int


LPIPS = {
    "vgg": Metric("LPIPS (vgg)", "lpips-vgg", "vgg16-397923af.pth", "LPIPS_v0.1_vgg-a78928a0.pth", 16),
    "alex": Metric("LPIPS (alex)", "lpips", "alexnet-owt-7be5be79.pth", "LPIPS_v0.1_alex-df73285e.pth", 31),
}
DISTS = Metric("DISTS", "dists", "vgg16-397923af.pth", "DISTS_weights-f5e65c96.pth", 1)
BACKBONES_URL = "https://download.pytorch.org/models"
HEADS_URL = "https://huggingface.co/chaofengc/IQA-PyTorch-Weights/resolve/main"


@register(METRIC_REGISTRY)
def calculate_lpips(
    img: np.ndarray,
    img2: np.ndarray,
    crop_border: int = 0,
    input_order: str = "HWC",
    net: str = "vgg",
    better: str = "lower",
) -> float:
    """Return the LPIPS distance, version 0.1, of two images; 0 for equal ones, lower is better.

    Paper: Zhang et al., CVPR 2018, arXiv 1801.03924. Images are scaled to [-1, 1] and compared at full size.
    With ``net`` vgg this takes about 3 KB of memory per pixel (8 GB for 2040 x 1356), on the GPU if available.

    Args:
        img (ndarray): (H, W, 3) BGR, or (H, W) or (H, W, 1) gray, in [0, 255].
        img2 (ndarray): The ground truth, of the same shape.
        crop_border (int): Pixels cut off at each side. Papers cut none for LPIPS. Default: 0.
        input_order (str): ``'HWC'`` or ``'CHW'``. Default: ``'HWC'``.
        net (str): Network of the features, ``'vgg'`` (VGG16) or ``'alex'``. Default: ``'vgg'``.
        better (str): ``'lower'``, which BasicSR reads in the option file; not used here.

    Raises:
        ValueError: If an argument or a shape is not one of these, or a side is below 16 (vgg) or 31 (alex).
        MetricUnavailableError: If pyiqa or the weights are missing.
    """
    return _measure(_lpips_with(net), img, img2, crop_border, input_order)


@register(METRIC_REGISTRY)
def calculate_dists(
    img: np.ndarray, img2: np.ndarray, crop_border: int = 0, input_order: str = "HWC", better: str = "lower"
) -> float:
    """Return the DISTS distance of two images; 0 for equal ones up to rounding, lower is better.

    Paper: Ding et al., TPAMI 2020, arXiv 2004.07728; VGG16 with the official alpha and beta. Images are compared at
    full size, as in KDSR-GAN's evaluation. The script of the DISTS authors first shrinks larger ones to a shorter
    side of 256, which gives other values.

    See :func:`calculate_lpips` for the arguments and errors. Papers cut no border here either; any size will do.
    """
    return _measure(DISTS, img, img2, crop_border, input_order)


def _prepare(metric: Metric, crop_border: int = 0, input_order: str = "HWC", better: str = "higher") -> None:
    """Load the network of a metric; raise its errors for this section of an option file."""
    if better != "lower":
        raise ValueError("add `better: lower`: without it BasicSR keeps the highest, the worst, value as the best.")
    _check_arguments(crop_border, input_order)
    _load(metric, _device())


def _prepare_lpips(net: str = "vgg", **section: Any) -> None:
    _prepare(_lpips_with(net), **section)


# The check of an option file calls `prepare`, so that missing weights show before the first validation.
calculate_lpips.prepare = _prepare_lpips
calculate_dists.prepare = partial(_prepare, DISTS)


def _lpips_with(net: str) -> Metric:
    if net not in LPIPS:
        raise ValueError(f"calculate_lpips expects `net` to be {' or '.join(LPIPS)}, got {net!r}.")
    return LPIPS[net]


def _check_arguments(crop_border: int, input_order: str) -> None:
    if not isinstance(crop_border, int) or crop_border < 0:
        raise ValueError(f"`crop_border` must be a whole number of pixels, 0 or more, got {crop_border!r}.")
    if input_order not in ("HWC", "CHW"):
        raise ValueError(f"`input_order` must be 'HWC' or 'CHW', got {input_order!r}.")


def _measure(metric: Metric, img: np.ndarray, img2: np.ndarray, crop_border: int, input_order: str) -> float:
    _check_arguments(crop_border, input_order)
    if img.shape != img2.shape:
        raise ValueError(f"{metric.title} compares images of the same shape, got {img.shape} and {img2.shape}.")
    first, second = (_to_tensor(image, crop_border, input_order) for image in (img, img2))
    if min(first.shape[2:]) < metric.min_side:
        height, width = first.shape[2:]
        raise ValueError(
            f"{metric.title} needs sides of at least {metric.min_side} pixels, got {height}x{width} after cutting "
            f"{crop_border} off each side."
        )
    device = _device()
    with torch.no_grad():
        return float(_load(metric, device)(first.to(device), second.to(device)))


def _to_tensor(image: np.ndarray, crop_border: int, input_order: str) -> Tensor:
    """Return a BGR or gray image in [0, 255] as RGB in [0, 1], (1, 3, h, w), without its border."""
    shape = image.shape
    if image.ndim == 2:
        image = image[..., None]
    elif image.ndim == 3 and input_order == "CHW":
        image = image.transpose(1, 2, 0)
    if image.ndim != 3 or image.shape[2] not in (1, 3):
        raise ValueError(f"Expected images of 1 or 3 channels in the order {input_order}, got shape {shape}.")
    height, width, _ = image.shape
    image = image[crop_border : max(height - crop_border, 0), crop_border : max(width - crop_border, 0)]
    rgb = np.broadcast_to(image, (*image.shape[:2], 3))[..., ::-1].transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(rgb, dtype=np.float32))[None] / 255


def _device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


@cache
def _load(metric: Metric, device: torch.device) -> nn.Module:
    try:
        import pyiqa

        # Random numbers of training must not depend on a metric, and pyiqa prints its file names.
        with torch.random.fork_rng(devices=[]), redirect_stdout(io.StringIO()):
            return pyiqa.create_metric(metric.name, device=device)
    except ImportError as error:
        raise MetricUnavailableError(
            f"{metric.title} is measured by pyiqa, which cannot be imported ({error}): {install_command('iqa')}"
        ) from error
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise MetricUnavailableError(
            f"{metric.title} cannot load its weights ({type(error).__name__}: {shorten(str(error), 100)}). They are "
            f"downloaded once. Without a connection, or if a file is damaged, place them yourself: {_places(metric)}."
        ) from error


def _places(metric: Metric) -> str:
    hub = Path(torch.hub.get_dir())
    return (
        f"{BACKBONES_URL}/{metric.backbone} to {hub / 'checkpoints' / metric.backbone}, and "
        f"{HEADS_URL}/{metric.head} to {hub / 'pyiqa' / metric.head} (the environment variable TORCH_HOME names "
        "another folder)"
    )
