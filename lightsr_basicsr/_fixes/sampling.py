"""Sampling: how many batches training reads, with which images and which random numbers."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from lightsr_basicsr._fixes.detect import uses
from lightsr_basicsr._fixes.training import STARTED_FROM

# Held while random numbers are drawn: `prefetch_mode: cpu` may read samples in a thread of the training process.
DRAWING = threading.RLock()
STEP = 1  # what the seeds of steps have more than those of samples


class Sample(int):
    """The index of an image that also knows its place in the stream of training images."""

    epoch: int
    place: int

    def __new__(cls, index: int, epoch: int = 0, place: int = 0) -> Sample:
        """Return ``index`` with the epoch and the place in it, counted over all processes."""
        sample = super().__new__(cls, index)
        sample.epoch, sample.place = epoch, place
        return sample


def exact_total_iter() -> bool:
    """Train exactly ``total_iter`` iterations, label the final validation with that number, and resume mid-epoch.

    Why: epochs are counted as if the last incomplete batch were used, but the loader drops it, so training ends early
    (with a batch larger than the dataset: after no iteration at all); where it does not, the loop overshoots by one.
    A resumed run restarts its epoch and sees the same images again. Since: always. Until: BasicSR counts the batches
    of its loader.
    """
    import basicsr.train as train
    from basicsr.data.data_sampler import EnlargedSampler

    if not uses(train.create_train_val_dataloader, "ceil", "EnlargedSampler"):
        return False

    class ExactSampler(EnlargedSampler):
        """EnlargedSampler that can skip the start of one epoch and the end of another, and yields places too.

        Places are counted over all processes, so two processes together read what one with the double batch reads.
        """

        first_epoch = last_epoch = first_sample = last_sample = None
        batch_of_halves = 0

        def __iter__(self) -> Iterator[Sample]:
            places = range(self.rank, self.total_size, self.num_replicas)
            order = super().__iter__()
            if self.batch_of_halves:
                order = in_halves(list(order), len(self.dataset), self.batch_of_halves)
            samples = (Sample(i, self.epoch, place) for i, place in zip(order, places, strict=True))
            start = self.first_sample if self.epoch == self.first_epoch else None
            stop = self.last_sample if self.epoch == self.last_epoch else None
            return islice(samples, start, stop)

    create = train.create_train_val_dataloader

    def create_train_val_dataloader(opt: dict, logger: Any) -> tuple:
        loader, sampler, val_loaders, _, total = create(opt, logger)
        _fill_one_batch(sampler, loader.batch_size)
        _plan(sampler, len(loader), loader.batch_size, total)
        sampler.batch_of_halves = loader.batch_size if opt["datasets"]["train"].get("halves") else 0
        if STARTED_FROM.state is not None:
            # BasicSR begins with the epoch of the state, which may have been saved with another batch.
            STARTED_FROM.state["epoch"] = sampler.first_epoch
        logger.info("Training ends at iteration %s, %s iterations per epoch.", total, len(loader))
        return loader, sampler, val_loaders, sampler.last_epoch, total

    train.EnlargedSampler = ExactSampler
    train.create_train_val_dataloader = create_train_val_dataloader
    return True


def in_halves(order: Sequence[int], size: int, batch: int) -> list[int]:
    """Return ``order``, indices below ``size``, so that batches begin with the first half of the images.

    The first half of each batch is of the first half of the images, the rest of the second, both in their order here.
    A search trains weights on the one and widths on the other (``datasets.train.halves``).

    >>> in_halves([5, 1, 0, 4, 3, 2], 6, 4)
    [1, 0, 5, 4, 2, 1]
    """
    parts = [[i for i in order if i < size // 2], [i for i in order if i >= size // 2]]
    if not all(parts):
        return list(order)
    first, second = map(cycle, parts)
    counts = [batch // 2, batch - batch // 2] * (len(order) // batch) + [len(order) % batch]
    return [i for place, count in enumerate(counts) for i in islice(second if place % 2 else first, count)]


def _fill_one_batch(sampler: Any, batch: int) -> None:
    """Repeat a dataset that is smaller than one batch; the sampler takes indices modulo the dataset's length."""
    if sampler.num_samples < batch:
        sampler.num_samples = batch
        sampler.total_size = batch * sampler.num_replicas


def _plan(sampler: Any, per_epoch: int, batch: int, total: int) -> None:
    """Set where ``sampler`` starts and ends: it continues after the iterations that a resumed run has done."""
    sampler.first_epoch, done = divmod(STARTED_FROM.iter, per_epoch)
    sampler.first_sample = done * batch
    end = max(total, STARTED_FROM.iter)
    sampler.last_epoch = max((end - 1) // per_epoch, sampler.first_epoch)
    sampler.last_sample = (end - sampler.last_epoch * per_epoch) * batch


def repeatable_samples() -> bool:
    """Draw the random numbers of a training sample from the seed and its place in the stream alone.

    Why: workers draw from one stream each, so crops depend on the number of workers; without ``persistent_workers``
    each pass, and each resumed run, draws the same crops again. Since: always. Until: BasicSR seeds by place.
    """
    import basicsr.train as train
    from basicsr.data import worker_init_fn

    build = train.build_dataloader
    if build.__module__ == __name__ or not uses(worker_init_fn, "random", "seed"):
        return False

    def build_dataloader(dataset: Dataset, dataset_opt: dict, *args: Any, **kwargs: Any) -> Any:
        if dataset_opt["phase"] == "train":
            dataset = Repeatable(dataset, kwargs.get("seed") or 0)
        return build(dataset, dataset_opt, *args, **kwargs)

    train.build_dataloader = build_dataloader
    return True


class Repeatable(Dataset):
    """``dataset`` with random numbers that depend only on the seed and the requested :class:`Sample`."""

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.dataset, self.seed = dataset, seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, sample: int) -> Any:
        if not isinstance(sample, Sample):  # requested by something else than training
            return self.dataset[sample]
        with seeded(self.seed, sample.epoch, sample.place):
            return self.dataset[int(sample)]

    def __getitems__(self, samples: list[int]) -> list[Any]:
        return [self[sample] for sample in samples]

    def __getattr__(self, name: str) -> Any:
        if name == "dataset":  # missing while a worker unpickles this
            raise AttributeError(name)
        return getattr(self.dataset, name)


@contextmanager
def seeded(*entropy: int) -> Iterator[None]:
    """Seed the generators of Python, numpy and torch (CPU) within the block, and restore them after it."""
    with DRAWING:
        python, array, tensor = random.getstate(), np.random.get_state(), torch.get_rng_state()
        _seed(*entropy)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(array)
            torch.set_rng_state(tensor)


def _seed(*entropy: int) -> int:
    """Seed the generators of Python, numpy and torch (CPU); return a number for others."""
    numbers = np.random.SeedSequence(entropy).generate_state(4)
    random.seed(int(numbers[0]))
    np.random.seed(numbers[1])
    # torch.manual_seed would queue one more call for CUDA at each sample.
    torch.default_generator.manual_seed(int(numbers[2]))
    return int(numbers[3])


def repeatable_steps() -> bool:
    """Draw the random numbers of a training step from the seed, the process and the iteration alone.

    Why: degradations on the device, drop path and dropout draw from generators that no training state holds, and that
    validations and new epochs advance as well, so that a resumed run draws other numbers. Since: always. Until:
    BasicSR seeds by iteration.
    """
    import basicsr.train as train

    build = train.build_model
    if build.__module__ == __name__:
        return False

    def build_model(opt: dict) -> Any:
        return _seed_steps(build(opt), opt)

    train.build_model = build_model
    return True


def _seed_steps(model: Any, opt: dict) -> Any:
    """Seed the generators before each step of ``model``, and keep them for it alone while it runs."""
    learn = model.update_learning_rate

    def update_learning_rate(current_iter: int, *args: Any, **kwargs: Any) -> None:
        learn(current_iter, *args, **kwargs)
        with DRAWING:
            other = _seed(opt["manual_seed"], current_iter, opt["rank"], STEP)
            if torch.cuda.is_initialized():
                torch.cuda.manual_seed_all(other)

    model.update_learning_rate = update_learning_rate
    model.feed_data, model.optimize_parameters = _drawing(model.feed_data), _drawing(model.optimize_parameters)
    return model


def _drawing(method: Callable) -> Callable:
    def alone(*args: Any, **kwargs: Any) -> Any:
        with DRAWING:
            return method(*args, **kwargs)

    return alone
