"""Decoded images in memory: the same bits, read once by all processes, and refused where they cannot be."""

import multiprocessing
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr import train as basicsr_train
from basicsr.data import build_dataset
from basicsr.utils import FileClient, imfrombytes

from lightsr_basicsr.data.cached import find_cache_problem, keep_images, keys_of, sizes_of
from lightsr_basicsr.data.image_cache import ImageCache, SharedMemory
from lightsr_basicsr.tools.prepare.lmdb import prepare_lmdb
from lightsr_basicsr.tools.run.loading import kept_images, with_prefetch
from tests import tiny

IMAGE = np.arange(2 * 5 * 3, dtype=np.uint8).reshape(2, 5, 3)
KEYS, SIZES = [("gt", "a"), ("lq", "a"), ("gt", "b")], [30, 30, 0]


@pytest.fixture
def pairs(workdir):
    tiny.make_pairs(workdir / "data", 3, side=48)
    prepare_lmdb(["data/HR", "data/LR"], ".", work=tiny.QUIET)
    return workdir


def section(**changes) -> dict:
    options = tiny.train_options()["datasets"]["train"]
    return {**options, "phase": "train", "scale": 2, "batch_size_per_gpu": 3, **changes}


def hr(kind: str, **changes) -> dict:
    keys = ("name", "dataroot_gt", "io_backend", "gt_size", "use_hflip", "use_rot")
    whole = section()
    return {"type": kind, "phase": "train", "scale": 2, **{key: whole[key] for key in keys}, **changes}


IN_LMDB = {"dataroot_gt": "HR.lmdb", "io_backend": {"type": "lmdb"}}
SECTIONS = {
    "pairs": section(),
    "pairs, LMDB": section(**IN_LMDB, dataroot_lq="LR.lmdb"),
    "Y channel": section(color="y"),
    "RealESRGANPairedDataset": section(type="RealESRGANPairedDataset"),
    "second order": hr("SecondOrderDataset"),
    "bicubic": hr("DegradedImageDataset"),
    "bicubic, LMDB": hr("DegradedImageDataset", **IN_LMDB),
    "BD": hr("DegradedImageDataset", degradation="bd", scale=3, gt_size=24),
    "levels": hr("MultiScalePairedDataset", dataroot_lq="data/LR"),
    "blind": hr("ClassicBlindDataset", degrade_on="worker", degradation_per="image"),
    "kernels": hr("KernelBlindDataset", degrade_on="worker", gt_size=24),
}


def cached(dataset) -> ImageCache:
    keys = keys_of(dataset)
    cache = ImageCache(keys, sizes_of(dataset, keys))
    keep_images(dataset, cache)
    return cache


def items(dataset, workers: int = 0, context: str | None = None) -> list:
    """Return two passes over a set, as a training reads them."""
    options = {**section(num_worker_per_gpu=workers, batch_size_per_gpu=1)}
    sampler = basicsr_train.EnlargedSampler(dataset, 1, 0, ratio=2)
    loader = basicsr_train.build_dataloader(dataset, options, num_gpu=0, sampler=sampler, seed=3)
    loader.multiprocessing_context = context if workers else None
    return list(loader)


def equal(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return one == other


@pytest.mark.parametrize("kind", SECTIONS)
def test_items_have_the_same_bits(pairs, kind):
    options = {key: each for key, each in SECTIONS[kind].items() if key not in ("num_worker_per_gpu",)}
    plain, dataset = build_dataset(options), build_dataset(options)
    cache = cached(dataset)
    assert all(map(equal, items(plain), items(dataset)))
    assert cache.kept == len(keys_of(dataset)) > 0


@pytest.mark.parametrize("context", ["fork", "spawn"])
@pytest.mark.parametrize("kind", ["pairs, LMDB", "bicubic"])
def test_workers_share_one_memory(pairs, context, kind):
    options = {key: each for key, each in SECTIONS[kind].items() if key not in ("num_worker_per_gpu",)}
    plain, dataset = build_dataset(options), build_dataset(options)
    cache = cached(dataset)
    assert all(map(equal, items(plain), items(dataset, 2, context)))
    assert cache.kept == len(keys_of(dataset))  # the workers have filled what this process sees


def test_an_image_is_read_once(pairs, monkeypatch):
    dataset = build_dataset(section())
    cached(dataset)
    read, files = FileClient.get, []
    monkeypatch.setattr(FileClient, "get", lambda self, path, kind="default": files.append(path) or read(self, path))
    items(dataset)
    assert len(files) == len(set(files)) == 6


def test_only_the_crop_becomes_float(pairs, monkeypatch):
    dataset = build_dataset(section())
    cached(dataset)
    items(dataset)
    assert dataset.file_client.get(dataset.paths[0]["gt_path"], "gt").decoded(None, "color", True).shape == (48, 48, 3)


def test_images_of_another_kind_than_color_are_read_as_ever(pairs):
    dataset = build_dataset(section())
    cached(dataset)
    path = dataset.paths[0]["gt_path"]
    for _ in range(2):
        gray = imfrombytes(dataset.file_client.get(path, "gt"), "grayscale")
        assert np.array_equal(gray, cv2.imread(path, cv2.IMREAD_GRAYSCALE))
        color = imfrombytes(dataset.file_client.get(path, "gt"))
        assert np.array_equal(color, cv2.imread(path))
        color[:] = 0  # what was given belongs to the caller


def test_a_cache_keeps_what_it_knows_and_has_room_for():
    cache = ImageCache(KEYS, SIZES)
    assert cache.find(("gt", "a")) is None
    for key in [*KEYS, ("gt", "unknown")]:
        cache.keep(key, IMAGE)
    cache.keep(("lq", "a"), np.zeros((9, 9, 3), np.uint8))  # larger than its file claimed
    cache.keep(("lq", "a"), IMAGE.astype(np.float32))
    assert np.array_equal(cache.find(("gt", "a")), IMAGE)
    assert np.array_equal(cache.find(("lq", "a")), IMAGE)
    assert cache.find(("gt", "b")) is cache.find(("gt", "unknown")) is None
    assert cache.kept == 2
    with pytest.raises(ValueError, match="read-only"):
        cache.find(("gt", "a"))[0] = 1


def test_an_image_that_a_camera_turned_is_kept():
    cache = ImageCache(KEYS, SIZES)
    cache.keep(("gt", "a"), IMAGE.reshape(5, 2, 3))
    assert cache.find(("gt", "a")).shape == (5, 2, 3)


@pytest.mark.parametrize("on_linux", [True, False])
def test_processes_share_a_cache(monkeypatch, on_linux):
    if not on_linux:
        monkeypatch.delattr("os.memfd_create", raising=False)
    cache = ImageCache(KEYS, SIZES)
    path = cache.memory.path
    other = pickle.loads(pickle.dumps(cache))
    other.keep(("gt", "a"), IMAGE)
    assert np.array_equal(cache.find(("gt", "a")), IMAGE)
    assert other.token == cache.token != ImageCache(KEYS, SIZES).token
    assert cache.is_of_its_images
    assert not ImageCache(KEYS[:2], SIZES[:2], SharedMemory(ImageCache.size_of(SIZES[:2]), path)).is_of_its_images
    process = multiprocessing.get_context("fork").Process(target=cache.keep, args=(("lq", "a"), IMAGE))
    process.start()
    process.join()
    assert cache.kept == 2
    del cache, other
    assert not Path(path).exists()


def test_a_memory_that_is_not_there_is_told():
    with pytest.raises(OSError, match="nowhere"):
        SharedMemory(10, "/nowhere")


def test_more_images_than_memory_are_told(pairs):
    dataset = build_dataset(section())
    needed = 3 * (48 * 48 + 24 * 24) * 3
    assert find_cache_problem(dataset, 2 * needed) == ""
    problem = find_cache_problem(dataset, needed)
    assert "0.00 GB for 6 decoded images" in problem
    assert "remove it" in problem


def test_what_reads_images_in_its_own_way_is_refused(pairs):
    class Own(type(build_dataset(section()))):
        def __getitem__(self, index):
            return super().__getitem__(index)

    assert "Own reads images in another way" in find_cache_problem(Own(section()), 10**9)
    assert "memcached" in find_cache_problem(build_dataset({**section(), "io_backend": {"type": "memcached"}}), 10**9)


def test_sizes_are_those_of_headers(pairs):
    for options in (section(), SECTIONS["pairs, LMDB"]):
        dataset = build_dataset(options)
        assert sizes_of(dataset, keys_of(dataset)) == 3 * [48 * 48 * 3, 24 * 24 * 3]
    dataset = build_dataset(section())
    Path("data/HR/001.png").write_bytes(b"broken")
    assert sizes_of(dataset, keys_of(dataset))[2] == 0


def test_sets_without_the_option_are_left_alone(pairs):
    with kept_images():
        for changes in ({}, {"cache": None}, {"cache": "memory", "phase": "val"}):
            assert basicsr_train.build_dataset(section(**changes)).file_client is None
        assert basicsr_train.build_dataset(section(cache="memory")).file_client is not None
    assert basicsr_train.build_dataset is build_dataset


def test_prefetch_chooses_the_mode_of_the_device(monkeypatch):
    options = {"num_gpu": 0, "datasets": {"train": {"prefetch": True}, "val": {}}}
    assert with_prefetch(options)["datasets"] == {"train": {"prefetch": True, "prefetch_mode": "cpu"}, "val": {}}
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert with_prefetch(options)["datasets"]["train"]["prefetch_mode"] == "cpu"
    chosen = with_prefetch({**options, "num_gpu": 1})["datasets"]["train"]
    assert chosen == {"prefetch": True, "prefetch_mode": "cuda", "pin_memory": True}
    plain = {"datasets": {"train": {}}}
    assert with_prefetch(plain) is plain
