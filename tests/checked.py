"""Images, files and folders for the tests of ``basicsr prepare check``."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from basicsr.utils.lmdb_util import LmdbMaker
from PIL import Image

from lightsr_basicsr.data.degradations import imresize
from lightsr_basicsr.tools.prepare.check.report import CheckReport, check_images
from tests import tiny


def picture(seed: int = 0, width: int = 48, height: int = 32) -> np.ndarray:
    """Return a smooth image (H, W, 3), B G R."""
    rough = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)


def encoded(mode: str, kind: str, seed: int = 0, **how) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture(seed)[..., ::-1].copy()).convert(mode).save(stream, kind, **how)
    return stream.getvalue()


def turned(kind: str, tag: int = 6, **how) -> bytes:
    exif = Image.Exif()
    exif[0x112] = tag
    return encoded("RGB", kind, exif=exif, **how)


def hidden() -> bytes:
    stream = io.BytesIO()
    colours = np.dstack([picture(3), np.full((32, 48), 255, np.uint8)])
    colours[:4, :4, 3] = 0
    Image.fromarray(colours).save(stream, "PNG")
    return stream.getvalue()


def put(folder: str, **files: bytes) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        Path(folder, name.replace("__", ".")).write_bytes(content)


def check(*roots, **how) -> CheckReport:
    return check_images(*roots, progress=False, **how)


def said(report: CheckReport, name: str) -> list[tuple[str, bool, str]]:
    """Return kind, whether it is an error, and text of what was found about the file called ``name``."""
    return [(each.kind, each.error, each.message) for each in report.findings if Path(each.file).name == name]


@pytest.fixture
def pairs(workdir) -> Path:
    tiny.make_pairs(workdir / "data", 6)
    return workdir / "data"


def check_pairs(**how) -> CheckReport:
    return check("data/HR", "data/LR", **{"scale": 2, **how})


def make_lmdb(path: str, images: dict[str, np.ndarray]) -> None:
    maker = LmdbMaker(path, map_size=1 << 24)
    for key, image in images.items():
        maker.put(cv2.imencode(".png", image)[1].tobytes(), key, image.shape)
    maker.close()


def make_lmdbs(count: int = 4) -> None:
    images = {f"{seed:03}": picture(seed) for seed in range(count)}
    make_lmdb("HR.lmdb", images)
    make_lmdb("LR.lmdb", {key: imresize(image, 1 / 2) for key, image in images.items()})


PNG, JPEG = encoded("RGB", "PNG"), encoded("RGB", "JPEG")
