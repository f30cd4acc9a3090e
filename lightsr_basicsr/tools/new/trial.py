"""Train for a few steps, in order to know how long a step takes here; nothing is kept."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from basicsr.archs import build_network
from basicsr.data import build_dataset
from basicsr.utils.registry import MODEL_REGISTRY
from torch.utils.data import default_collate

from lightsr_basicsr.models.kdsr_plan import STUDENT, TEACHER, stage_options
from lightsr_basicsr.registry import look_up
from lightsr_basicsr.tools.new.options import TEACHERS_SHARE

# Of each stage: so many steps in any case, more of them within some seconds, and less where that takes long.
STEPS, MOST_STEPS, SECONDS, LONGEST = 5, 50, 4.0, 20.0


class Pace(NamedTuple):
    """Seconds of a training step with its data, and of a validation."""

    step: float
    validation: float


class Trial(NamedTuple):
    """What was measured."""

    pace: Pace
    batch: int


def measure(options: Mapping[str, Any], device: str, tested: int) -> Trial:
    """Return the pace of a training, and the batch that fits into the memory of a GPU.

    Args:
        options (Mapping): Of the training, resolved.
        device (str): ``'cuda'`` or ``'cpu'``.
        tested (int): Images that a validation takes.
    """
    batch = options["datasets"]["train"]["batch_size_per_gpu"]
    with _quiet(), TemporaryDirectory(prefix="basicsr-new-") as folder:
        while True:
            try:
                return Trial(_pace(_as_run(options, device, folder, batch), Path(folder), tested), batch)
            except RuntimeError as error:
                if "out of memory" not in str(error) or batch == 1:
                    raise
            torch.cuda.empty_cache()
            batch //= 2


def _as_run(options: Mapping[str, Any], device: str, folder: str, batch: int) -> dict[str, Any]:
    """Return options with what BasicSR adds before a run."""
    opt = deepcopy(dict(options))
    opt |= {"is_train": True, "dist": False, "rank": 0, "world_size": 1, "num_gpu": int(device == "cuda")}
    own = dict.fromkeys(("experiments_root", "models", "training_states", "log", "visualization"), folder)
    opt["path"] = {**opt["path"], **own}
    for key, section in opt["datasets"].items():
        section |= {"phase": key.split("_")[0], "scale": opt["scale"]}
    opt["datasets"]["train"]["batch_size_per_gpu"] = batch
    return opt


def _pace(opt: dict[str, Any], folder: Path, tested: int) -> Pace:
    data = deepcopy(opt["datasets"])
    train, val = (build_dataset(data[key]) for key in ("train", next(key for key in data if key.startswith("val"))))
    paces = [_pace_of(stage, train, val, tested) for stage in _stages(opt, folder)]
    shares = [TEACHERS_SHARE, 1 - TEACHERS_SHARE] if len(paces) == 2 else [1.0]
    means = (sum(share * pace[part] for share, pace in zip(shares, paces, strict=True)) for part in (0, 1))
    return Pace(*means)


def _stages(opt: dict[str, Any], folder: Path) -> Iterator[dict[str, Any]]:
    if opt["model_type"] != "KDSRModel":
        yield opt
        return
    yield stage_options(opt, TEACHER)
    file = folder / "teacher.pth"
    torch.save({"params_ema": build_network(deepcopy(opt["network_TA"])).state_dict()}, file)
    student = stage_options(opt, STUDENT)
    yield {**student, "path": {**student["path"], "pretrain_network_TA": str(file)}}


def _pace_of(opt: dict[str, Any], train: Any, val: Any, tested: int) -> Pace:
    model = look_up(MODEL_REGISTRY, opt["model_type"])(deepcopy(opt))
    batch, times, start = opt["datasets"]["train"]["batch_size_per_gpu"], [], time.perf_counter()
    for step in range(1, MOST_STEPS + 1):
        began = time.perf_counter()
        items = default_collate([train[index % len(train)] for index in range(batch)])
        read = time.perf_counter() - began
        began = time.perf_counter()
        model.feed_data(items)
        model.optimize_parameters(step)
        model.get_current_log()  # waits for a GPU
        times.append(_together(time.perf_counter() - began, read, opt))
        if time.perf_counter() - start > (SECONDS if step >= STEPS else LONGEST):
            break
    began = time.perf_counter()
    model.feed_data(default_collate([val[0]]))
    model.test()
    model.get_current_visuals()
    shown = time.perf_counter() - began
    times = times[1:] or times  # the first one prepares
    # The mean, since other programs take their share of the training too.
    return Pace(sum(times) / len(times), shown * tested)


def _together(step: float, read: float, opt: Mapping[str, Any]) -> float:
    """Return the seconds of a step while the next one's data are read beside it; cores are shared without a GPU."""
    workers = opt["datasets"]["train"]["num_worker_per_gpu"]
    return max(step, read / max(1, workers)) if opt["num_gpu"] else step + read / max(1, workers)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep BasicSR's log of a run that is none from the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
