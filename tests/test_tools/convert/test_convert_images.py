"""Conversion of files: the image that networks are compared on."""

import builtins
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from lightsr_basicsr.archs.ddistill_sr_arch import DDistill_SR
from lightsr_basicsr.pictures.files import ImageError
from lightsr_basicsr.tools.agreement import AgreementError, measure, run_on
from lightsr_basicsr.tools.convert.run import convert
from lightsr_basicsr.tools.photographs import lr_image
from tests.converting import distilled, files, make_quick


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    make_quick(monkeypatch, size=None)


@pytest.fixture
def saved(workdir) -> DDistill_SR:
    """A network, whose file is net.pth."""
    net = distilled()
    torch.save({"params": net.state_dict()}, "net.pth")
    return net


def picture(name: str, *shape: int, dtype=np.uint8) -> str:
    image = lr_image(None, 4).image[: shape[0], : shape[1]]
    image = image.astype(dtype) * (257 if dtype == np.uint16 else 1)
    channels = shape[2] if len(shape) == 3 else 1
    image = {1: image[:, :, 1], 3: image, 4: np.dstack([image, image[:, :, :1]])}[channels]
    assert cv2.imwrite(name, image)
    return name


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((30, 40), np.uint8), ((30, 40, 4), np.uint8), ((30, 40, 3), np.uint16), ((30, 40, 3), np.uint8)],
)
def test_any_image_will_do(saved, shape, dtype):
    done = convert("net.pth", picture=picture("lr.png", *shape, dtype=dtype))
    assert (done.picture, done.lr_size) == ("lr.png", (30, 40))
    assert 0 < done.difference < 1e-5


def test_depth_does_not_change_what_the_network_sees(saved):
    shown = [lr_image(Path(picture(f"{dtype.__name__}.png", 30, 40, 3, dtype=dtype)), 4)
             for dtype in (np.uint8, np.uint16)]  # fmt: skip
    assert [each.image.dtype for each in shown] == [np.uint8, np.uint16]
    assert measure(*(run_on(saved, each) for each in shown), "", "").largest < 1e-6


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"\x89PNG\r\n", ImageError, "lr.png"),
        (b"text", ImageError, "no image"),
        (None, ImageError, r"There is no LR image at lr\.png \(looked from .*\): name an LR image with -i"),
        ((10, 12, 3), AgreementError, r"cannot be run on lr\.png, 10x12 pixels: .*at least 15x15"),
    ],
)
def test_an_image_that_cannot_be_used_is_reported(saved, content, error, message):
    if isinstance(content, tuple):
        picture("lr.png", *content)
    elif content:
        Path("lr.png").write_bytes(content)
    before = files()
    with pytest.raises(error, match=message):
        convert("net.pth", picture="lr.png")
    assert files() == before


def test_without_scikit_image_an_image_is_asked_for(saved, monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "skimage":
            raise ModuleNotFoundError("No module named 'skimage'")
        return real(name, *args, **kwargs)

    lr = picture("lr.png", 30, 40, 3)
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImageError, match=r"scikit-image, which is missing .*Or name an LR image with -i"):
        convert("net.pth")
    assert files() == ["lr.png", "net.pth"]
    assert convert("net.pth", picture=lr).picture == "lr.png"
