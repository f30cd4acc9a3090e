"""Check that an exported file gives the images of its network: load it again and run it on images of several sizes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from lightsr_basicsr.errors import short_message
from lightsr_basicsr.runtimes.base import BackendError, openvino_core, require
from lightsr_basicsr.runtimes.ncnn_file import weights_of
from lightsr_basicsr.runtimes.ncnn_graph import INPUT, OUTPUT
from lightsr_basicsr.runtimes.ncnn_library import require_ncnn
from lightsr_basicsr.tools.agreement import AgreementError, measure
from lightsr_basicsr.tools.photographs import PHOTOGRAPH, load_photograph, lr_image, to_tensor

# Images, height, width: odd, large, small and mixed sides, and several images. Networks add the sizes at which they
# compute in another way (`compared_sizes`); tests/test_runtimes/test_branches.py holds that no way is left out.
SHAPES = ((1, 45, 53), (1, 127, 131), (1, 32, 24), (2, 40, 47))
SPREAD = 97  # pixels between the crops of one batch
TOO_WIDE = "Its precision may be too small for the network's values: try fp32."

Session = Callable[[Tensor], Tensor]


class Sample(NamedTuple):
    """A name, images (N, C, H, W) in [0, 1], and the images that the network makes of them."""

    name: str
    images: Tensor
    expected: Tensor

    def __str__(self) -> str:
        count, _, height, width = self.images.shape
        return f"{self.name}, {count} x {height}x{width}"


@dataclass(frozen=True)
class ExportRow:
    """One comparison of an exported file with its network."""

    picture: str  # name of the test image
    images: int  # number of images in one call
    height: int  # of the LR image
    width: int  # of the LR image
    difference: float  # largest absolute difference of the outputs, which are in [0, 1]
    psnr: float | None  # of one output against the other, in dB; None where they are equal


def make_samples(net: nn.Module, num_in_ch: int, min_side: int, picture: Path | None) -> list[Sample]:
    """Return test images with the images that a network makes of them.

    Args:
        net (nn.Module): The network, in evaluation mode and float32.
        num_in_ch (int): Channels of its input.
        min_side (int): Its smallest height and width.
        picture (Path | None): An additional LR image of the user; sides above 256 are cropped.

    Raises:
        AgreementError: If the network cannot be run on one of them, or gives no finite numbers.
        ImageError: If an image cannot be read or is too small.
    """
    shapes = (*((1, *size) for size in getattr(net, "compared_sizes", ())), *SHAPES)
    inputs = [(f"test image '{Path(PHOTOGRAPH).stem}'", images) for images in _crops(shapes, num_in_ch, min_side)]
    if picture is not None:
        image = lr_image(picture, 1).image
        height, width = image.shape[:2]
        if min(height, width) < min_side:
            raise AgreementError(
                f"{picture} has {width}x{height} pixels, and the network needs at least {min_side}x{min_side}: name a "
                "larger LR image with -i."
            )
        inputs.append((str(picture), to_tensor(image, num_in_ch)))
    return [_sample(net, name, images) for name, images in inputs]


def _crops(shapes: Sequence[tuple[int, int, int]], num_in_ch: int, min_side: int) -> list[Tensor]:
    image = cv2.resize(load_photograph(), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    crops = []
    for count, *sides in shapes:
        height, width = (max(side, min_side) for side in sides)
        lefts = (min(SPREAD * index, image.shape[1] - width) for index in range(count))
        crops.append(torch.cat([to_tensor(image[20 : 20 + height, left : left + width], num_in_ch) for left in lefts]))
    return crops


def _sample(net: nn.Module, name: str, images: Tensor) -> Sample:
    blank = Sample(name, images, images)
    try:
        with torch.no_grad():
            made = net.eval()(images)
    except Exception as error:
        # Networks of other packages raise exceptions of any type.
        raise AgreementError(
            f"{type(net).__name__} cannot be run on {blank} ({error}). Only networks for images of any size can be "
            "exported."
        ) from error
    if not torch.isfinite(made).all():
        raise AgreementError(
            f"{type(net).__name__} itself gives no finite numbers on {blank}: the training diverged; use an earlier "
            "checkpoint."
        )
    return blank._replace(expected=made)


def open_session(path: Path, file_format: str) -> Session:
    """Return a function that runs an exported file on the CPU, in float32 where there is a choice.

    The file is opened as the libraries' own examples do, without ``runtimes``: it must also serve users who run it
    without this package.

    Raises:
        BackendError: If the library cannot load it.
    """
    openers = {"onnx": _open_onnx, "openvino": _open_openvino, "torchscript": _open_torchscript, "ncnn": _open_ncnn}
    try:
        return openers[file_format](path)
    except BackendError:
        raise
    except Exception as error:
        # Each library raises its own types.
        reason = short_message(error, 300).rstrip(".")
        raise BackendError(f"The exported file cannot be loaded: {reason}. Nothing was written.") from error


def _open_onnx(path: Path) -> Session:
    onnxruntime = require("onnxruntime", "onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: torch.from_numpy(session.run(None, {name: images.numpy()})[0])


def _open_openvino(path: Path) -> Session:
    core = openvino_core()
    # Not every system can move a mapped file. Without the hint the CPU may compute in bfloat16.
    core.set_property({"ENABLE_MMAP": False})
    compiled = core.compile_model(core.read_model(str(path)), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda images: torch.from_numpy(np.array(compiled(images.numpy())[0]))


def _open_torchscript(path: Path) -> Session:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions recommend another format, and still read this one
        program = torch.jit.load(str(path), map_location="cpu").eval()

    def run(images: Tensor) -> Tensor:
        with torch.no_grad():
            return program(images)

    return run


def _open_ncnn(path: Path) -> Session:
    ncnn = require_ncnn()
    net = ncnn.Net()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    if net.load_param(str(path)) or net.load_model(str(weights_of(path))):
        raise ValueError("ncnn refuses it")

    def run(images: Tensor) -> Tensor:
        made = []
        for image in images.numpy():
            extractor = net.create_extractor()
            extractor.input(INPUT, ncnn.Mat(image).clone())
            status, found = extractor.extract(OUTPUT)
            if status or found.empty():
                raise ValueError(f"status {status}")
            made.append(torch.from_numpy(np.array(found)))
        return torch.stack(made)

    run.cuts = True  # values below 0
    return run


def verify(session: Session, samples: Sequence[Sample], tolerance: float | None) -> list[ExportRow]:
    """Return the differences, at most ``tolerance``, between a file's images and its network's; None allows any finite.

    Raises:
        AgreementError: If the file cannot be run, or the images differ by more.
    """
    rows = [_compare(session, sample) for sample in samples]
    worst, sample = max(zip(rows, samples, strict=True), key=lambda pair: pair[0].difference)
    if tolerance is not None and worst.difference > tolerance:
        raise AgreementError(
            f"The exported file gives images that differ by {worst.difference:.3g} of the range on {sample}; "
            f"{tolerance:g} is allowed (--tolerance). Nothing was written."
        )
    return rows


def _compare(session: Session, sample: Sample) -> ExportRow:
    try:
        made = session(sample.images)
    except Exception as error:
        reason = short_message(error, 300).rstrip(".")
        raise AgreementError(
            f"The exported file cannot be run on {sample}: {reason}. Nothing was written. The network may decide in "
            "Python, by the image's size, what to compute."
        ) from error
    expected = sample.expected.clamp_min(0) if getattr(session, "cuts", False) else sample.expected
    found = measure([made.double()], [expected.double()], "The exported file", str(sample), TOO_WIDE)
    count, _, height, width = sample.images.shape
    return ExportRow(sample.name, count, height, width, found.largest, found.psnr)
