"""Measure what the guards of a training cost: the watch for signals, the search for NaN, clipping, and the lock.

``python docs/studies/guard_benchmark.py`` takes steps of IMDN_RTC and IMDN x4 as BasicSR's loop takes them, bare and
watched, in turns; ratios are medians over rounds. Nothing else should run meanwhile. Three minutes on two CPU cores.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from training_benchmark import IMDN, build, in_turns, report

from lightsr_basicsr.tools.run.lock import locked
from lightsr_basicsr.tools.run.watch import Watch

RTC = {"type": "IMDN_RTC", "upscale": 4}
LOADER = SimpleNamespace(sampler=SimpleNamespace(epoch=0))
CLIPPED = {"max_norm": 1.0}


def candidate(network: dict[str, Any], train: dict[str, Any], batch: int, watched: bool) -> Callable[[int], None]:
    """Return one iteration of BasicSR's loop on one batch, with or without the guards."""
    model = build(network, {"world_size": 1, "datasets": {"train": {}}}, train, batch)
    images = {"lq": model.lq, "gt": model.gt, "lq_path": ["lq.png"] * batch, "gt_path": ["gt.png"] * batch}
    watch = Watch()
    if watched:
        watch.attach(model, model.opt)

    def iterate(iteration: int) -> None:
        data = watch.between(lambda: images, LOADER) if watched else images
        model.update_learning_rate(iteration)
        model.feed_data(data)
        model.optimize_parameters(iteration)

    return iterate


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=16)
    args = parser.parse_args()
    print(f"CPU, {torch.get_num_threads()} threads, torch {torch.__version__}, {platform.platform()}")
    with tempfile.TemporaryDirectory() as folder, locked(Path(folder) / "run"):
        for name, network, rounds in (("IMDN_RTC", RTC, 3 * args.rounds), ("IMDN", IMDN, args.rounds)):
            candidates = {
                "bare": candidate(network, {}, args.batch, False),
                "watched": candidate(network, {}, args.batch, True),
                "watched, gradients clipped": candidate(network, CLIPPED, args.batch, True),
            }
            report(f"{name} x4, an iteration, batch {args.batch}, LR 48x48", in_turns(candidates, rounds))


if __name__ == "__main__":
    main()
