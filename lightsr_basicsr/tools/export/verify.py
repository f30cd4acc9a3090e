"""Whether an exported file gives the images of its network: loaded again and run on photographs of three sizes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite, log10
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from lightsr_basicsr.data.photographs import photographs
from lightsr_basicsr.runtimes.base import BackendError, openvino_core, require
from lightsr_basicsr.tools.agreement import take_picture

PHOTOGRAPH = "coffee.png"
# Images, height, width: one with odd sides, one that is wider and larger than what is traced, and several images.
SHAPES = ((1, 45, 53), (1, 56, 96), (2, 40, 48))
SPREAD = 97  # pixels between the crops of one batch
MULTIPLE = 4  # to which a picture's sides are cut: IMDN_AS has another way with others that are large

Engine = Callable[[Tensor], Tensor]


class Sample(NamedTuple):
    """What was compared on: its name, images (N, C, H, W) in [0, 1], and what the network makes of them."""

    name: str
    images: Tensor
    expected: Tensor


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        picture (str): What it was made on.
        images (int): Number of images in one call.
        height (int): Of the LR image.
        width (int): Of the LR image.
        difference (float): Largest absolute difference of the outputs, which are in [0, 1].
        psnr (float | None): Of one output against the other, in dB; None where they are equal.
    """

    picture: str
    images: int
    height: int
    width: int
    difference: float
    psnr: float | None


def make_samples(net: nn.Module, num_in_ch: int, min_side: int, picture: Path | None) -> list[Sample]:
    """Return photographs with the images that a network makes of them.

    Args:
        net (nn.Module): The network, in evaluation mode and float32.
        num_in_ch (int): Channels of its input.
        min_side (int): Its smallest height and width.
        picture (Path | None): One more LR image, of the user; sides above 256 are cut.

    Raises:
        BackendError: If the network cannot be run on one of them, or gives no finite numbers.
        ConvertError, ImageError: If the picture cannot be read.
    """
    inputs = [(f"photograph '{Path(PHOTOGRAPH).stem}'", images) for images in _crops(num_in_ch, min_side)]
    if picture is not None:
        image = take_picture(picture, 1).image
        height, width = (side - side % MULTIPLE if side >= 60 else side for side in image.shape[:2])
        if min(height, width) < min_side:
            raise BackendError(
                f"{picture} has {width}x{height} pixels, and the network needs at least {min_side}x{min_side}: name a "
                "larger LR image with -i."
            )
        inputs.append((str(picture), _planes(image[:height, :width], num_in_ch)))
    return [Sample(name, images, _run_network(net, name, images)) for name, images in inputs]


def _crops(num_in_ch: int, min_side: int) -> list[Tensor]:
    try:
        ((_, image),) = photographs([PHOTOGRAPH])
    except (ImportError, FileNotFoundError) as error:
        raise BackendError(
            "What is exported is compared on photographs of scikit-image, which is not there: pip install scikit-image."
        ) from error
    image = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    crops = []
    for count, *sides in SHAPES:
        height, width = (max(side, min_side) for side in sides)
        lefts = (min(SPREAD * index, image.shape[1] - width) for index in range(count))
        crops.append(torch.cat([_planes(image[20 : 20 + height, left : left + width], num_in_ch) for left in lefts]))
    return crops


def _planes(image: np.ndarray, num_in_ch: int) -> Tensor:
    """Return an image (H, W, 3), B G R, as a tensor (1, num_in_ch, H, W), R G B or gray, in [0, 1]."""
    if num_in_ch == 1:
        planes = [cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)]
    else:
        planes = [image[:, :, 2 - channel % 3] for channel in range(num_in_ch)]
    return torch.from_numpy(np.stack(planes)[None].astype(np.float32) / np.iinfo(image.dtype).max)


def _run_network(net: nn.Module, name: str, images: Tensor) -> Tensor:
    count, _, height, width = images.shape
    where = f"{name}, {count} x {height}x{width}"
    try:
        with torch.no_grad():
            made = net.eval()(images)
    except Exception as error:
        # Networks of other packages raise anything.
        raise BackendError(
            f"{type(net).__name__} cannot be run on {where} ({error}). Only networks that take images of any size can "
            "be exported."
        ) from error
    if not torch.isfinite(made).all():
        raise BackendError(
            f"{type(net).__name__} itself gives no finite numbers on {where}: the training diverged; take an earlier "
            "file."
        )
    return made


def open_engine(path: Path, file_format: str) -> Engine:
    """Return what runs an exported file on the CPU, in float32 where it has the choice.

    Raises:
        BackendError: If the engine cannot load it.
    """
    openers = {"onnx": _open_onnx, "openvino": _open_openvino, "torchscript": _open_torchscript}
    try:
        return openers[file_format](path)
    except BackendError:
        raise
    except Exception as error:
        # Engines raise types of their own.
        raise BackendError(
            f"What was made cannot be loaded again: {_first_line(error)} Nothing was written."
        ) from error


def _open_onnx(path: Path) -> Engine:
    onnxruntime = require("onnxruntime", "onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: torch.from_numpy(session.run(None, {name: images.numpy()})[0])


def _open_openvino(path: Path) -> Engine:
    core = openvino_core()
    # A file that is mapped cannot be moved on every system. Without the hint the CPU may take bfloat16.
    core.set_property({"ENABLE_MMAP": False})
    compiled = core.compile_model(core.read_model(str(path)), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda images: torch.from_numpy(np.array(compiled(images.numpy())[0]))


def _open_torchscript(path: Path) -> Engine:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions advise another format, and still read this one
        program = torch.jit.load(str(path), map_location="cpu").eval()

    def run(images: Tensor) -> Tensor:
        with torch.no_grad():
            return program(images)

    return run


def verify(engine: Engine, samples: Sequence[Sample], tolerance: float | None) -> list[Row]:
    """Return by how much an engine's images differ from the network's.

    Args:
        engine (Callable): From images to images.
        samples (Sequence[Sample]): What to compare on.
        tolerance (float | None): Largest difference allowed; None allows any that is finite.

    Raises:
        BackendError: If the engine fails, or the images differ by more.
    """
    rows = [_compare(engine, sample) for sample in samples]
    worst = max(rows, key=lambda row: row.difference)
    if tolerance is not None and worst.difference > tolerance:
        raise BackendError(
            f"What was made gives images that differ by {worst.difference:.3g} of the range on {_where(worst)}; "
            f"{tolerance:g} is allowed (--tolerance). Nothing was written."
        )
    return rows


def _compare(engine: Engine, sample: Sample) -> Row:
    count, _, height, width = sample.images.shape
    blank = Row(sample.name, count, height, width, 0.0, None)
    try:
        got = engine(sample.images)
    except Exception as error:
        raise BackendError(
            f"What was made cannot be run on {_where(blank)}: {_first_line(error)} Nothing was written. The network "
            "may decide in Python, by the image's size, what to compute."
        ) from error
    if got.shape != sample.expected.shape:
        raise BackendError(
            f"What was made gives images {tuple(got.shape)} of {_where(blank)}, expected "
            f"{tuple(sample.expected.shape)}. Nothing was written."
        )
    error = (got.double() - sample.expected.double()).abs()
    largest, square = error.max().item(), error.square().mean().item()
    if not isfinite(largest):
        raise BackendError(
            f"What was made gives no finite numbers on {_where(blank)}: its precision is too small for the network's "
            "values. Nothing was written; try fp32."
        )
    return Row(sample.name, count, height, width, largest, -10 * log10(square) if square else None)


def _where(row: Row) -> str:
    return f"{row.picture}, {row.images} x {row.height}x{row.width}"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{(lines or [type(error).__name__])[0][:300].rstrip('.')}."
