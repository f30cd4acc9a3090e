"""What training reads: one stream per seed, whatever the workers; new crops in each epoch; a resumed run goes on."""

import copy
import pickle
import random
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr import train as basicsr_train
from basicsr.data.paired_image_dataset import PairedImageDataset

from lightsr_basicsr import _compat, cli
from lightsr_basicsr._fixes.sampling import Repeatable, Sample, _plan, seeded
from lightsr_basicsr._fixes.training import STARTED_FROM
from tests import tiny


@pytest.fixture
def pairs(workdir):
    """Pairs larger than a crop, so that crops differ."""
    for kind, side in (("HR", 64), ("LR", 32)):
        Path("data", kind).mkdir(parents=True)
        for index in range(5):
            image = np.random.default_rng(index).integers(0, 256, (side, side, 3), np.uint8)
            cv2.imwrite(f"data/{kind}/{index:03d}.png", image)
    return workdir


def section(**changes) -> dict:
    options = tiny.train_options()["datasets"]["train"]
    return {**options, "phase": "train", "scale": 2, "batch_size_per_gpu": 2, **changes}


def stream(epochs: int, rank: int = 0, world: int = 1, **changes) -> list[torch.Tensor]:
    """Return the batches of some epochs, as BasicSR's training would read them."""
    options = section(**changes)
    dataset = PairedImageDataset(options)
    sampler = basicsr_train.EnlargedSampler(dataset, world, rank, ratio=2)
    loader = basicsr_train.build_dataloader(dataset, options, num_gpu=0, dist=world > 1, sampler=sampler, seed=3)
    batches = []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        batches += [batch["gt"] for batch in loader]
    return batches


def test_the_fixes_are_applied():
    assert {"exact_total_iter", "repeatable_samples"} <= set(_compat.applied)


def test_the_stream_is_that_of_the_seed_whatever_the_workers(pairs):
    alone = stream(2, num_worker_per_gpu=0)
    together = stream(2, num_worker_per_gpu=2)
    kept = stream(2, num_worker_per_gpu=2, persistent_workers=True)
    for one, two, three in zip(alone, together, kept, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


def test_epochs_draw_other_crops(pairs):
    batches = torch.cat(stream(4, num_worker_per_gpu=1))
    assert len(batches.unique(dim=0)) == len(batches)


def test_two_processes_read_what_one_reads_with_the_double_batch(pairs):
    one = stream(1, batch_size_per_gpu=2)
    halves = [stream(1, rank=rank, world=2, batch_size_per_gpu=1) for rank in (0, 1)]
    for whole, first, second in zip(one, *halves, strict=True):
        assert torch.equal(whole, torch.cat([first, second]))


def test_the_generators_of_the_process_are_left_alone():
    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()

    state = copy.deepcopy((random.getstate(), np.random.get_state())), torch.get_rng_state()
    expected = draw()
    random.setstate(state[0][0]), np.random.set_state(state[0][1]), torch.set_rng_state(state[1])
    with seeded(1, 2, 3):
        first = draw()
    assert draw() == expected
    with seeded(1, 2, 3):
        assert draw() == first
    with seeded(1, 2, 4):
        assert draw() != first


def test_samples_and_datasets_travel_to_spawned_workers():
    sample = pickle.loads(pickle.dumps(Sample(7, epoch=2, place=5)))
    assert (sample, sample.epoch, sample.place) == (7, 2, 5)
    dataset = pickle.loads(pickle.dumps(Repeatable([10, 20], seed=1)))
    assert (len(dataset), dataset[Sample(1, 0, 0)], dataset.count(20)) == (2, 20, 1)


def test_datasets_can_be_asked_as_before():
    class Batched(list):
        def __getitems__(self, indices):
            raise AssertionError("would leave out the seeding")

    dataset = Repeatable(Batched([10, 20]), seed=1)
    assert (dataset[1], list(dataset), dataset.__getitems__([1, 0])) == (20, [10, 20], [20, 10])


def run(total: int, *arguments: str) -> dict[str, torch.Tensor]:
    options = tiny.train_options(total_iter=total)
    options["datasets"]["train"]["batch_size_per_gpu"] = 2
    assert cli.main(["train", "-opt", tiny.write(options), *arguments]) == 0
    return torch.load("experiments/tiny/models/net_g_latest.pth")


@pytest.mark.parametrize("stop", [2, 3, 4, 7])
def test_a_resumed_run_ends_where_an_uninterrupted_one_ends(pairs, stop):
    """Five images and a batch of 2 make epochs of two iterations; 3 and 7 stop in the middle of one."""
    whole = run(9)
    Path("experiments").rename("uninterrupted")
    run(stop)
    resumed = run(9, "--auto_resume")
    assert (STARTED_FROM.iter, STARTED_FROM.state["epoch"]) == (stop, stop // 2)
    for key in ("params", "params_ema"):
        for name, tensor in whole[key].items():
            assert torch.equal(tensor, resumed[key][name]), (key, name)


def planned(total: int, started: int, batch: int) -> list[tuple[int, int]]:
    """Return epoch and place of every sample that a run resumed at ``started`` reads, 20 images an epoch."""
    sampler = basicsr_train.EnlargedSampler([0] * 20, 1, 0)
    STARTED_FROM.iter = started
    try:
        _plan(sampler, 20 // batch, batch, total)
    finally:
        STARTED_FROM.iter = 0
    read = []
    for epoch in range(sampler.first_epoch, sampler.last_epoch + 1):
        sampler.set_epoch(epoch)
        samples = list(sampler)
        read += [(sample.epoch, sample.place) for sample in samples[: len(samples) // batch * batch]]
    return read


@pytest.mark.parametrize("batch", [2, 4, 5])
def test_however_often_it_is_resumed_no_sample_is_read_twice(batch):
    stops = [7, 9, 10, 10, 13, 23]
    read = [sample for start, stop in pairwise(stops) for sample in planned(stop, start, batch)]
    assert read == planned(stops[-1], stops[0], batch)
    assert len(read) == len(set(read)) == (stops[-1] - stops[0]) * batch


def test_a_run_resumed_past_its_end_reads_nothing():
    assert planned(5, 8, 4) == planned(8, 8, 4) == []


def test_a_resumed_run_with_another_batch_still_ends_at_total_iter(pairs):
    run(7)
    options = tiny.train_options(total_iter=11)
    options["datasets"]["train"]["batch_size_per_gpu"] = 5
    assert cli.main(["train", "-opt", tiny.write(options), "--auto_resume"]) == 0
    states = sorted(int(path.stem) for path in Path("experiments/tiny/training_states").glob("*.state"))
    assert states == list(range(1, 12))
