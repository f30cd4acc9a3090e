"""Quantize a network to int8 convolutions, and measure the loss of quality."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from basicsr.metrics.psnr_ssim import calculate_psnr
from torch import Tensor
from tqdm import tqdm

from lightsr_basicsr.archs.network import SRNetwork
from lightsr_basicsr.errors import short_message
from lightsr_basicsr.runtimes.base import BackendError, Runtime, Traits, require
from lightsr_basicsr.runtimes.graphs import quietly, ready, to_openvino
from lightsr_basicsr.runtimes.network import name_of, traits_of
from lightsr_basicsr.runtimes.openvino_runtime import OpenVinoRuntime
from lightsr_basicsr.tools.export.int8_data import Pair, QuantizationData, gather
from lightsr_basicsr.tools.export.int8_layers import layers, restored, shares, told
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
# Loss in dB, on photographs that set the ranges, below which nothing more is tried. Set5 shows three times as much.
AIM = 0.03
# How the range of an activation follows from those of the crops: their mean, which cuts the rarest values off and
# suits most networks, or all of it: FDIWN x4 loses 1.7 dB on Set5 by the former, 0.09 dB by the latter.
RANGES = ("mean", "all")
FLOATING_AT_MOST = 0.5  # of the convolutions; with more than that in floating point int8 gains no time
ROUNDS = 4  # of leaving more convolutions in floating point
QUIET = logging.ERROR, "nncf", "torch.utils.cpp_extension"  # standard output is for results


@dataclass(frozen=True)
class PsnrCost:
    """Loss by quantization on images that set no range."""

    decibels: float  # PSNR of the fp32 network less that of the int8 network; negative where int8 is better
    fp32: float  # PSNR of the fp32 network in dB, on Y, without a border as wide as the scale
    int8: float  # that of the int8 network
    images: int  # number of images it was measured on
    data: str  # their origin, in words
    floating: tuple[str, ...] = ()  # parts of the network that stay in floating point, because they cost most
    costly: str = ""  # the parts that cost most, in words; only for a loss above the limit

    def to_metadata(self) -> dict[str, Any]:
        """Return the entry for the metadata of an exported file."""
        return {"psnr_cost_db": round(self.decibels, 4), "images": self.images, "data": self.data}


def quantize(
    net: SRNetwork,
    photographs: str | PathLike | None = None,
    *,
    held_out: str | PathLike | None = None,
    images: int = IMAGES,
    aim: float = AIM,
    limit: float = float("inf"),
    progress: bool = True,
) -> tuple[openvino.Model, PsnrCost]:
    """Return the deployed form of a network as an OpenVINO model with int8 convolutions, and its loss of quality.

    Ranges are set by the values inside the network on LR crops; there is no training. Where the loss is above ``aim``,
    other ranges are tried, then the parts of the network that cost most stay in floating point. The rest should run in
    bfloat16 where the CPU has it: then a residual costs no more time than in int8.

    Args:
        net (SRNetwork): The network, in training or deployed form; unchanged.
        photographs (str | PathLike | None): Folder of HR images like those in use; None takes those of scikit-image,
            which are few: a hundred of your own are better. Default: None.
        held_out (str | PathLike | None): Folder of HR images to measure the loss on; None holds out every fourth of
            ``photographs``. Default: None.
        images (int): Number of LR crops, at least 8. Default: 100.
        aim (float): Loss in dB to stop at, measured on some of ``photographs``. Default: 0.03.
        limit (float): Loss in dB above which the most costly parts are named. Default: no limit.
        progress (bool): Whether to show bars. Default: True.

    Returns:
        tuple: The model, for any number and size of images, and the loss.

    Raises:
        BackendError: If OpenVINO or NNCF is not installed, the network has no graph or nothing to quantize, or the
            images are too few or too small.
    """
    traits = traits_of(net)
    nncf, data = load_nncf(), gather(photographs, held_out, traits, images=images, progress=progress)
    plain = to_openvino(_quantizable(net))
    search = _Search(nncf, name_of(net), traits, plain, OpenVinoRuntime(plain, traits), data, progress)
    found = search.best(aim)
    cost = replace(_measure(search.exact, found.runtime, data, progress), floating=found.floating)
    if not cost.decibels <= limit:  # nor for NaN
        cost = replace(cost, costly=told(search.shares(found.runtime.model)))
    return found.runtime.model, cost


def _quantizable(net: SRNetwork) -> SRNetwork:
    """Return the deployed form of a network in which as many convolutions as possible have constant kernels."""
    plain = ready(net)
    for module in plain.modules():
        if hasattr(module, "joins_residual"):
            module.joins_residual = False
    return plain


class _Tried(NamedTuple):
    """An int8 model, its loss in dB on the images that models are chosen on, and its parts in floating point."""

    runtime: OpenVinoRuntime
    loss: float
    floating: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Search:
    """Models of one network, in order of effort, until one loses little enough."""

    nncf: Any
    network: str  # registered name
    traits: Traits
    plain: openvino.Model
    exact: OpenVinoRuntime  # of the former, in fp32
    data: QuantizationData
    progress: bool

    def best(self, aim: float) -> _Tried:
        """Return the first model that loses at most ``aim`` dB, else the one that loses least by ranges alone."""
        recipe = with_network(RECIPES["convolutions"], self.network)
        fp32 = self._psnr(self.exact)
        tried: list[_Tried] = []
        for ranges in RANGES:
            model = quantize_model(self.nncf, self.plain, self.data.crops, recipe, self.progress, ranges)
            runtime = self._run(model)
            tried.append(_Tried(runtime, fp32 - self._psnr(runtime)))
            if tried[-1].loss <= aim:
                return tried[-1]
        least = min(tried, key=lambda one: one.loss)
        return self._with_parts_in_floating_point(least, fp32, aim) or least

    def shares(self, model: openvino.Model) -> dict[str, float]:
        """Return the share of the error by part of the network, largest first."""
        return shares(self.plain, model, self.data.crops, self.exact, self._run, self.progress)

    def _run(self, model: openvino.Model) -> OpenVinoRuntime:
        return OpenVinoRuntime(model, self.traits, "int8")

    def _psnr(self, runtime: Runtime) -> float:
        return float(np.mean([psnr_of(runtime, pair) for pair in self.data.chosen_on]))

    def _with_parts_in_floating_point(self, start: _Tried, fp32: float, aim: float) -> _Tried | None:
        """Return the model with as many parts in floating point as bring its loss to ``aim``; None if too many."""
        model = start.runtime.model
        parts, found = layers(model), list(self.shares(model).items())
        left, floating, most = start.loss, [], FLOATING_AT_MOST * count_quantized(model)
        for _ in range(ROUNDS):
            # Errors of different parts add up about as their squares do, and the loss is about proportional to those.
            while found and (left > aim or not floating):
                part, share = found.pop(0)
                floating.append(part)
                left -= share * start.loss
            names = [name for part in floating for name in parts[part]]
            if len(names) > most:
                return None
            runtime = self._run(restored(model, self.plain, names))
            left = fp32 - self._psnr(runtime)
            if left <= aim:
                return _Tried(runtime, left, tuple(floating))
        return None


def quantize_model(
    nncf: Any,
    model: openvino.Model,
    crops: Sequence[Tensor],
    recipe: Recipe,
    progress: bool = True,
    ranges: str = RANGES[0],
) -> openvino.Model:
    """Return a copy of an fp32 model with int8 convolutions, whose ranges are set by LR crops (1, C, H, W).

    ``ranges`` is one of ``RANGES``.

    Raises:
        BackendError: If NNCF fails, or finds nothing to quantize.
    """
    whole = model.clone()
    # A network that computes kernels from each image is a loop around a graph for one image.
    loop = next((op for op in whole.get_ops() if op.get_type_name() == "TensorIterator"), None)
    quantized = _quantize_graph(nncf, whole if loop is None else loop.get_function(), crops, recipe, ranges, progress)
    if not count_quantized(quantized):
        raise BackendError("NNCF found no convolution to quantize in this network: use fp32 or bf16.")
    if loop is None:
        return quantized
    loop.set_function(quantized)
    whole.validate_nodes_and_infer_types()
    return whole


def _quantize_graph(
    nncf: Any, model: openvino.Model, crops: Sequence[Tensor], recipe: Recipe, ranges: str, progress: bool
) -> openvino.Model:
    left_alone = nncf.IgnoredScope(
        names=ignored_names(model, recipe), types=ignored_types(model, recipe), validate=False
    )
    preset = nncf.QuantizationPreset.MIXED if recipe.asymmetric else nncf.QuantizationPreset.PERFORMANCE
    advanced = nncf.AdvancedQuantizationParameters(
        # Halved weights avoid overflow on CPUs without VNNI; on those with it they cost a bit of precision. Bias
        # correction gains nothing where residuals are not quantized, and fails on some convolutions.
        overflow_fix=nncf.OverflowFix.DISABLE, disable_bias_correction=True,
        activations_range_estimator_params=_range_estimator(ranges),
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


def _range_estimator(ranges: str) -> Any:
    kinds = require("nncf.quantization.range_estimator", EXTRA).RangeEstimatorParametersSet
    return {"mean": kinds.MEAN_MINMAX, "all": kinds.MINMAX}[ranges]


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
