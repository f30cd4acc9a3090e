"""Export a network for ncnn, and say which programs can run it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from lightsr_basicsr.archs.network import SRNetwork
from lightsr_basicsr.runtimes.metadata import Metadata
from lightsr_basicsr.runtimes.saving import write_ncnn

# Layers that the ncnn inside these programs was built with, of those that networks here have.
REALESRGAN = {"BinaryOp", "Concat", "Convolution", "Crop", "Input", "Interp", "PReLU", "PixelShuffle", "ReLU", "Split"}
UPSCAYL = REALESRGAN | {
    "Clip", "ConvolutionDepthWise", "Eltwise", "Flatten", "InnerProduct", "Padding", "Permute", "Pooling", "Reduction",
    "Reshape", "Sigmoid", "Slice",
}  # fmt: skip


def export_ncnn(net: SRNetwork, metadata: Metadata, part: Path) -> tuple[Metadata, list[str]]:
    """Write the text of layers to ``part`` and the weights beside it; return the metadata and notes for the user.

    Raises:
        BackendError: If the network has no graph for ncnn.
    """
    metadata, param = write_ncnn(net, metadata, part, cut=True)
    return metadata, list(_notes(param, metadata, part.stem))


def _notes(param: str, metadata: Metadata, name: str) -> Iterator[str]:
    if metadata.precision == "fp16":
        yield "Weights are stored in half precision; ncnn chooses what to compute in."
    yield f"Values below 0 are cut off. {_programs(param)}"
    if scale_in(name) != metadata.scale and metadata.scale in (2, 3, 4):
        scale = int(metadata.scale)
        yield f"Upscayl reads the scale from the name: call it {name}-{scale}x there, for x{scale}."
    if metadata.pools_globally:
        yield "Programs that cut pictures into tiles give other pixels, for it uses statistics of the whole picture."


def _programs(param: str) -> str:
    """Return which programs have what a text of layers needs, in a sentence."""
    kinds = {line.split()[0] for line in param.splitlines()[2:]}
    if '="' in param or kinds - UPSCAYL:
        return "It needs ncnn of 2025 or later with all its layers: Upscayl and Real-ESRGAN-ncnn-vulkan cannot run it."
    if kinds - REALESRGAN:
        return "It has layers that Upscayl runs, and Real-ESRGAN-ncnn-vulkan does not."
    return "It has layers that Upscayl and Real-ESRGAN-ncnn-vulkan run."


def scale_in(name: str) -> int:
    """Return the scale that Upscayl takes from the name of a file: 4 where there is none.

    >>> scale_in("IMDN-2x"), scale_in("TinySR_x3"), scale_in("mine")
    (2, 3, 4)
    """
    return next((scale for scale in (2, 3) if re.search(f"x{scale}|{scale}x", name.lower())), 4)
