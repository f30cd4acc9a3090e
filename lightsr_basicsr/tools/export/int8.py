"""Quantize a network to int8 convolutions, and measure the loss of quality."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from basicsr.metrics.psnr_ssim import calculate_psnr
from torch import Tensor
from tqdm import tqdm

from lightsr_basicsr.archs.network import SRNetwork
from lightsr_basicsr.errors import short_message
from lightsr_basicsr.runtimes.base import BackendError, Runtime, require
from lightsr_basicsr.runtimes.graphs import quietly, to_openvino
from lightsr_basicsr.runtimes.network import name_of, traits_of
from lightsr_basicsr.runtimes.openvino_runtime import OpenVinoRuntime
from lightsr_basicsr.tools.export.int8_data import Pair, QuantizationData, gather
from lightsr_basicsr.tools.export.int8_recipes import (
    RECIPES,
    Recipe,
    count_quantized,
    ignored_names,
    ignored_types,
    with_network,
)

if TYPE_CHECKING:
    import openvino

EXTRA = "int8"
IMAGES = 100
QUIET = logging.ERROR, "nncf", "torch.utils.cpp_extension"  # standard output is for results


@dataclass(frozen=True)
class PsnrCost:
    """Loss by quantization on images that set no range."""

    decibels: float  # PSNR of the fp32 network less that of the int8 network; negative where int8 is better
    fp32: float  # PSNR of the fp32 network in dB, on Y, without a border as wide as the scale
    int8: float  # that of the int8 network
    images: int  # number of images it was measured on
    data: str  # their origin, in words

    def to_metadata(self) -> dict[str, Any]:
        """Return the entry for the metadata of an exported file."""
        return {"psnr_cost_db": round(self.decibels, 4), "images": self.images, "data": self.data}


def quantize(
    net: SRNetwork,
    photographs: str | PathLike | None = None,
    *,
    held_out: str | PathLike | None = None,
    images: int = IMAGES,
    progress: bool = True,
) -> tuple[openvino.Model, PsnrCost]:
    """Return the deployed form of a network as an OpenVINO model with int8 convolutions, and its loss of quality.

    Ranges are set by the values inside the network on LR crops; there is no training. The rest should run in bfloat16
    where the CPU has it: then a residual costs no more time than in int8.

    Args:
        net (SRNetwork): The network, in training or deployed form; unchanged.
        photographs (str | PathLike | None): Folder of HR images like those in use; None takes those of scikit-image,
            which are few: a hundred of your own are better. Default: None.
        held_out (str | PathLike | None): Folder of HR images to measure the loss on; None holds out every fourth of
            ``photographs``. Default: None.
        images (int): Number of LR crops, at least 8. Default: 100.
        progress (bool): Whether to show bars. Default: True.

    Returns:
        tuple: The model, for any number and size of images, and the loss.

    Raises:
        BackendError: If OpenVINO or NNCF is not installed, the network has no graph or nothing to quantize, or the
            images are too few or too small.
    """
    nncf, traits = load_nncf(), traits_of(net)
    data = gather(photographs, held_out, traits, images=images, progress=progress)
    plain = to_openvino(net)
    quantized = quantize_model(nncf, plain, data.crops, with_network(RECIPES["convolutions"], name_of(net)), progress)
    exact, rounded = OpenVinoRuntime(plain, traits), OpenVinoRuntime(quantized, traits, "int8")
    return quantized, _measure(exact, rounded, data, progress)


def quantize_model(
    nncf: Any, model: openvino.Model, crops: Sequence[Tensor], recipe: Recipe, progress: bool = True
) -> openvino.Model:
    """Return a copy of an fp32 model with int8 convolutions, whose ranges are set by LR crops (1, C, H, W).

    Raises:
        BackendError: If NNCF fails, or finds nothing to quantize.
    """
    whole = model.clone()
    # A network that computes kernels from each image is a loop around a graph for one image.
    loop = next((op for op in whole.get_ops() if op.get_type_name() == "TensorIterator"), None)
    quantized = _quantize_graph(nncf, whole if loop is None else loop.get_function(), crops, recipe, progress)
    if not count_quantized(quantized):
        raise BackendError("NNCF found no convolution to quantize in this network: use fp32 or bf16.")
    if loop is None:
        return quantized
    loop.set_function(quantized)
    whole.validate_nodes_and_infer_types()
    return whole


def _quantize_graph(
    nncf: Any, model: openvino.Model, crops: Sequence[Tensor], recipe: Recipe, progress: bool
) -> openvino.Model:
    left_alone = nncf.IgnoredScope(
        names=ignored_names(model, recipe), types=ignored_types(model, recipe), validate=False
    )
    preset = nncf.QuantizationPreset.MIXED if recipe.asymmetric else nncf.QuantizationPreset.PERFORMANCE
    advanced = nncf.AdvancedQuantizationParameters(
        # Halved weights avoid overflow on CPUs without VNNI; on those with it they cost a bit of precision. Bias
        # correction gains nothing where residuals are not quantized, and fails on some convolutions.
        overflow_fix=nncf.OverflowFix.DISABLE, disable_bias_correction=True,
    )  # fmt: skip
    shown = tqdm(crops, "int8 ranges", disable=not progress)
    try:
        with quietly(*QUIET):
            return nncf.quantize(
                model, nncf.Dataset(shown, Tensor.numpy), preset=preset, subset_size=len(crops),
                ignored_scope=left_alone, advanced_parameters=advanced,
            )  # fmt: skip
    except Exception as error:
        # NNCF raises exceptions of any type for networks that it does not support.
        reason = short_message(error, 300).rstrip(".")
        raise BackendError(f"NNCF cannot quantize this network: {reason}. Use fp32 or bf16.") from error


def load_nncf() -> Any:
    """Return the library NNCF, imported without its messages.

    Raises:
        BackendError: If it or OpenVINO is not installed.
    """
    with quietly(*QUIET):
        require("openvino", EXTRA)
        return require("nncf", EXTRA)


def _measure(exact: Runtime, rounded: Runtime, data: QuantizationData, progress: bool) -> PsnrCost:
    pairs = tqdm(data.held_out, "int8 PSNR", disable=not progress)
    both = [(psnr_of(exact, pair), psnr_of(rounded, pair)) for pair in pairs]
    fp32, int8 = (float(np.mean(values)) for values in zip(*both, strict=True))
    return PsnrCost(fp32 - int8, fp32, int8, len(both), data.held_out_from)


def psnr_of(runtime: Runtime, pair: Pair) -> float:
    """Return the PSNR of one image in dB, on Y, without a border as wide as the scale."""
    made = to_image(runtime(pair.lr))
    hr = pair.hr if made.shape[2] == 3 else pair.hr.mean(axis=2, keepdims=True).round().astype(np.uint8)
    return float(calculate_psnr(
        made[..., ::-1], hr, crop_border=int(runtime.scale), test_y_channel=made.shape[2] == 3
    ))  # fmt: skip


def to_image(image: Tensor) -> np.ndarray:
    """Return an image (1, C, H, W) in [0, 1] as (H, W, C), uint8, rounded.

    >>> to_image(torch.full((1, 3, 1, 1), 0.2)).tolist()
    [[[51, 51, 51]]]
    """
    return (image[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
