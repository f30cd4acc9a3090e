"""``basicsr test`` with ``val.save_as_read``: SR images keep what LR files hold."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from lightsr_basicsr import cli
from lightsr_basicsr.pictures.as_read import NOW
from lightsr_basicsr.pictures.picture import Metadata, Picture
from lightsr_basicsr.pictures.reading import read_picture
from lightsr_basicsr.pictures.writing import write_picture
from lightsr_basicsr.tools.prepare.lmdb import prepare_lmdb
from tests import tiny
from tests.test_pictures.made import SRGB, exif

RESULTS = Path("results/tiny_test/visualization")
KINDS = ["plain", "deep", "clear", "gray", "deep_clear"]


@pytest.fixture
def lr(workdir) -> Path:
    """Five pairs whose LR images are one of each of ``KINDS``; pixels and sizes stay."""
    tiny.make_pairs(workdir / "data", 5)
    folder = workdir / "data" / "LR"
    for index, kind in enumerate(KINDS):
        file = folder / f"{index:03d}.png"
        color = np.asarray(Image.open(file))
        alpha = np.where(np.arange(16) < 5, 0, 255)[None].repeat(16, 0).astype(np.uint8) if "clear" in kind else None
        color = color[:, :, :1] if kind == "gray" else color
        if "deep" in kind:
            color = color.astype(np.uint16) * 257 // 2 + 3
            alpha = None if alpha is None else alpha.astype(np.uint16) * 257
        write_picture(file, Picture(color, alpha, metadata=Metadata(icc=SRGB, exif=exif(1), dpi=(300.0, 300.0))))
    return folder


def run(section: dict, **val) -> list[Picture]:
    options = tiny.test_options(section)
    options["val"] |= val
    assert cli.main(["test", "-opt", tiny.write(options)]) == 0
    return [read_picture(RESULTS / section["name"] / f"{index:03d}_{options['name']}.png") for index in range(5)]


def test_without_the_option_nothing_changes(lr):
    found = run(tiny.paired("a", "data"))
    assert [(each.kind, each.mode) for each in found] == [("uint8", "RGB")] * 5
    assert all(each.metadata == Metadata() for each in found)


@pytest.mark.parametrize("backend", ["disk", "lmdb"])
@pytest.mark.parametrize("kind", ["PairedImageDataset", "SingleImageDataset"])
def test_with_it_bits_gray_alpha_and_tags_stay(lr, backend, kind, capsys):
    section = tiny.paired("a", "data") | {"type": kind}
    if backend == "lmdb":
        prepare_lmdb(["data/HR", "data/LR"], "packed", work=tiny.QUIET)
        section |= {"dataroot_gt": "packed/HR.lmdb", "dataroot_lq": "packed/LR.lmdb", "io_backend": {"type": "lmdb"}}
    if kind == "SingleImageDataset":
        del section["dataroot_gt"]
    found = run(section, save_as_read=True, **({"metrics": None} if kind == "SingleImageDataset" else {}))
    assert [(each.kind, each.mode) for each in found] == [
        ("uint8", "RGB"), ("uint16", "RGB"), ("uint8", "RGBA"), ("uint8", "gray"), ("uint16", "RGBA"),
    ]  # fmt: skip
    assert all(each.size == (32, 32) for each in found)
    if backend == "disk":
        assert all(each.metadata.icc == SRGB for each in found)
        assert all(Image.open(file).getexif()[0x10F] == "Leitz M" for file in (RESULTS / "a").glob("*.png"))
    for each in (found[2], found[4]):
        top = np.iinfo(each.kind).max
        assert (each.alpha[:, :8] == 0).all()
        assert (each.alpha[:, 12:] == top).all()
    assert "read as RGB of 8 bits" not in capsys.readouterr().out
    assert not NOW.on


def test_the_network_sees_16_bits(lr, monkeypatch):
    seen = []
    from basicsr.models.sr_model import SRModel

    feed = SRModel.feed_data
    monkeypatch.setattr(SRModel, "feed_data", lambda self, data: (seen.append(data["lq"].clone()), feed(self, data))[1])
    run(tiny.paired("a", "data"), save_as_read=True)
    stored = cv2.imread(str(lr / "001.png"), cv2.IMREAD_UNCHANGED)[:, :, ::-1].astype(np.float32) / 65535
    assert torch.equal(seen[1][0], torch.from_numpy(stored.transpose(2, 0, 1).copy()))
    plain = cv2.imread(str(lr / "000.png"))[:, :, ::-1].astype(np.float32) / 255
    assert torch.equal(seen[0][0], torch.from_numpy(plain.transpose(2, 0, 1).copy()))


def test_images_of_8_bits_are_those_without_the_option(lr):
    before, after = run(tiny.paired("a", "data"))[0], run(tiny.paired("a", "data"), save_as_read=True)[0]
    assert (before.color == after.color).all()


def test_a_picture_that_cannot_be_written_ends_the_test(lr, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lightsr_basicsr.pictures.writing.write_whole", full)
    options = tiny.test_options(tiny.paired("a", "data"))
    options["val"]["save_as_read"] = True
    assert cli.main(["test", "-opt", tiny.write(options)]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert not NOW.on
