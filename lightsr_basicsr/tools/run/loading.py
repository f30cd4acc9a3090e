"""How a training loads images: decoded ones kept in memory, and batches fetched ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from basicsr.utils import get_root_logger
from torch import distributed

from lightsr_basicsr.data.cached import find_cache_problem, keep_images, keys_of, sizes_of
from lightsr_basicsr.data.image_cache import ImageCache, SharedMemory
from lightsr_basicsr.errors import UserError, short_message
from lightsr_basicsr.processes import space
from lightsr_basicsr.tools.run.together import in_group
from lightsr_basicsr.upscale.memory import available_memory


@contextmanager
def kept_images() -> Iterator[None]:
    """Keep the decoded images of training sets that are built in this block, where ``cache: memory`` asks for it.

    Raises:
        UserError: If that cannot be.
    """
    import basicsr.train as train

    with built_sets(train, _keep):
        yield


@contextmanager
def built_sets(pipeline: ModuleType, change: Callable[[Any, Mapping[str, Any]], Any]) -> Iterator[None]:
    """Let BasicSR's pipeline take ``change(dataset, section)`` for each data set that it builds in this block."""
    build = pipeline.build_dataset
    pipeline.build_dataset = lambda section: change(build(section), section)
    try:
        yield
    finally:
        pipeline.build_dataset = build


def _keep(dataset: Any, section: Mapping[str, Any]) -> Any:
    if not section.get("cache") or section["phase"] != "train":
        return dataset
    # Of a set that makes its images first, only now all is known.
    problem = find_cache_problem(dataset, available_memory())
    problems = [each for each in _gather(problem) if each]
    if problems:
        raise UserError(f"datasets.train.cache {problems[0]}.")
    keys = keys_of(dataset)
    sizes = sizes_of(dataset, keys)
    try:
        cache = _shared_cache(keys, sizes)
    except OSError as error:  # as of `ulimit -f`
        why = error.strerror or short_message(error)
        text = f"needs {sum(sizes) / 1e9:.2f} GB, which the system refuses ({why}): raise its limits, or remove it"
        raise UserError(f"datasets.train.cache {text}.") from error
    keep_images(dataset, cache)
    text = "Decoded images are kept in memory from their first reading on: %d images, %.0f MB when all are read."
    get_root_logger().info(text, len(keys), sum(sizes) / 1e6)
    return dataset


def _shared_cache(keys: list[tuple[str, str]], sizes: list[int]) -> ImageCache:
    """Return a cache that the processes of this machine share, each its own where they cannot."""
    if not in_group():
        return ImageCache(keys, sizes)
    place, rank = space(), distributed.get_rank()
    first = _gather(place).index(place)
    cache = ImageCache(keys, sizes) if first == rank else None
    path, token = _gather((cache.memory.path, cache.token) if cache else None)[first]
    if cache is None:
        cache = _opened(keys, sizes, path, token)
    distributed.barrier()  # the first one keeps it open until all have it
    return cache


def _opened(keys: list[tuple[str, str]], sizes: list[int], path: str, token: bytes) -> ImageCache:
    try:
        cache = ImageCache(keys, sizes, SharedMemory(ImageCache.size_of(sizes), path))
    except OSError:  # of another machine, where that is not known
        return ImageCache(keys, sizes)
    return cache if cache.token == token and cache.is_of_its_images else ImageCache(keys, sizes)


def _gather(value: Any) -> list[Any]:
    """Return the values of all processes, in their order; all must call this."""
    if not in_group():
        return [value]
    gathered: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(gathered, value)
    return gathered


def with_prefetch(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a training with BasicSR's keys for ``datasets.train.prefetch``."""
    train = options["datasets"]["train"]
    if not train.get("prefetch"):
        return options
    on_gpu = options.get("num_gpu") != 0 and torch.cuda.is_available()
    mode = {"prefetch_mode": "cuda", "pin_memory": True} if on_gpu else {"prefetch_mode": "cpu"}
    return {**options, "datasets": {**options["datasets"], "train": {**train, **mode}}}
