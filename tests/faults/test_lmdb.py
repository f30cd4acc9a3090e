"""An LMDB that was cut off: reading it would end the process by SIGBUS."""

import os
from pathlib import Path

import lmdb
import numpy as np
import pytest

from lightsr_basicsr.data.lmdb_damage import lmdb_damage
from lightsr_basicsr.tools.check.data import check_dataset
from lightsr_basicsr.tools.prepare.jobs import PrepareError
from tests import tiny
from tests.checked import check as check_images
from tests.checked import make_lmdb, picture

pytestmark = pytest.mark.faults
FILE = Path("HR.lmdb/data.mdb")


@pytest.fixture
def images(workdir) -> bytes:
    """The data file of an LMDB of eight images."""
    make_lmdb("HR.lmdb", {f"{seed:03}": np.tile(picture(seed), (4, 4, 1)) for seed in range(8)})
    return FILE.read_bytes()


def problems() -> list[str]:
    section = {**tiny.paired("a", "."), "dataroot_gt": "HR.lmdb", "dataroot_lq": "HR.lmdb", "phase": "val", "scale": 1}
    return [text for _, text in check_dataset_of(section)]


def check_dataset_of(section: dict) -> list[tuple[str, str]]:
    from basicsr.data.paired_image_dataset import PairedImageDataset

    return check_dataset(PairedImageDataset, {**section, "io_backend": {"type": "lmdb"}})


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_cut_is_reported_by_the_check_and_by_prepare(images, share):
    FILE.write_bytes(images[: int(len(images) * share)])
    assert f"HR.lmdb is cut off: data.mdb has {int(len(images) * share):,} bytes" in problems()[0]
    with pytest.raises(PrepareError, match="is cut off"):
        check_images("HR.lmdb")


@pytest.mark.parametrize("size", [0, 1, 100, 152, 4096, 5000, 8192])
def test_nothing_but_the_first_pages(images, size):
    FILE.write_bytes(images[:size])
    assert len(problems()) == 2  # as HR and as LR


def test_a_whole_one_is_whole_also_with_room_at_its_end(images):
    assert problems() == []
    FILE.write_bytes(images + bytes(1 << 20))
    assert lmdb_damage(Path("HR.lmdb")) == ""


def test_pages_that_hold_nothing_may_be_missing(workdir):
    with lmdb.open("a.lmdb", map_size=1 << 24) as environment:
        for values in ({b"a": bytes(9000), b"b": bytes(90_000)}, {b"b": None}):
            with environment.begin(write=True) as transaction:
                for key, value in values.items():
                    transaction.delete(key) if value is None else transaction.put(key, value)
    file = Path("a.lmdb/data.mdb")
    whole = file.read_bytes()
    for pages in range(len(whole) // 4096, 2, -1):
        file.write_bytes(whole[: pages * 4096])
        if lmdb_damage(Path("a.lmdb")):
            break
    assert 3 < pages < len(whole) // 4096


def test_no_file_and_a_list_that_is_no_text(images):
    Path("HR.lmdb/meta_info.txt").write_bytes(b"\xff\xfe.png (32,48,3) 1\n")
    assert "lists images that are missing or broken" in problems()[0]
    FILE.unlink()
    assert "HR.lmdb holds no data.mdb" in problems()[0]


@pytest.mark.parametrize("left", [0, 4096, 0.5, 0.99])
def test_a_cut_during_the_run_is_an_error_and_no_signal(images, left):
    from basicsr.utils import FileClient

    client = FileClient("lmdb", db_paths=["HR.lmdb"], client_keys=["gt"])
    assert client.get("000", "gt")
    size = int(left * len(images)) if left < 1 else left
    os.truncate(FILE, size)
    with pytest.raises(OSError, match="the LMDB was cut off during the run"):
        client.get("007", "gt")
    FILE.write_bytes(images)  # the same file, whole again
    assert client.get("007", "gt")
