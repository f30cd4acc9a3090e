"""Sizes are those of the images as data sets read them: turned by a camera's tag."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from lightsr_basicsr.data.degradations import imresize
from lightsr_basicsr.tools.check.options import check_options
from lightsr_basicsr.tools.images import measure
from lightsr_basicsr.tools.prepare.lmdb import prepare_lmdb
from lightsr_basicsr.tools.prepare.meta import prepare_meta
from tests import tiny

pytestmark = pytest.mark.faults


def camera(tag: int, kind: str = "JPEG", width: int = 48, height: int = 32) -> bytes:
    """Return an image that is stored with these sides and has an orientation tag."""
    pixels = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8), (width, height))
    exif, stream = Image.Exif(), io.BytesIO()
    exif[0x112] = tag
    Image.fromarray(pixels).save(stream, kind, exif=exif)
    return stream.getvalue()


def put(tag: int) -> None:
    """Write HR/a.jpg with this tag, and LR/a.jpg of the image as it is read."""
    for folder in ("data/HR", "data/LR"):
        Path(folder).mkdir(parents=True)
    Path("data/HR/a.jpg").write_bytes(camera(tag))
    cv2.imwrite("data/LR/a.jpg", imresize(cv2.imread("data/HR/a.jpg"), 1 / 2))


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_sizes_are_as_read(kind, tag, workdir):
    file = workdir / f"a.{kind.lower()}"
    file.write_bytes(camera(tag, kind))
    assert measure(file) == measure(file, decode=True) == cv2.imread(str(file)).shape[1::-1]


@pytest.mark.parametrize("tag", [1, 3, 6, 8])
def test_pairs_of_turned_images_are_pairs(tag, workdir):
    put(tag)
    options = tiny.test_options(tiny.paired("s", "data"))
    options["network_g"] = {"type": "IMDN", "num_feat": 16, "num_block": 1, "upscale": 2}
    assert [str(each) for each in check_options(options, is_train=False) if each.fatal] == []


@pytest.mark.parametrize(("tag", "shape"), [(1, "(32,48,3)"), (6, "(48,32,3)"), (5, "(48,32,3)")])
def test_lists_and_lmdbs_hold_the_size_as_read(tag, shape, workdir):
    put(tag)
    prepare_meta(["data/HR"], "meta.txt", work=tiny.QUIET)
    assert Path("meta.txt").read_text() == f"a.jpg {shape}\n"
    done = prepare_lmdb(["data/HR", "data/LR"], "out", work=tiny.QUIET)
    assert Path("out/HR.lmdb/meta_info.txt").read_text() == f"a.png {shape} 1\n"
    assert not any("do not have exactly" in note for note in done.notes)
