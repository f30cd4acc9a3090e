"""Measure what a step of the channel search takes, in time and memory, against one of dual regression.

``python docs/studies/search_benchmark.py`` takes steps of DRN x4 (fewer blocks), IMDN x4 and SwinIR-light-DR x4 (fewer
blocks), all at LR 48x48. The first candidate is a dual-regression step with the whole batch. A search step takes the
same batch: one half for the weights, which it runs twice with the virtual step, the other for the channel numbers. So
it learns its weights from half as many images; the last candidate is a dual-regression step with these alone.

Candidates take turns, and ratios are medians over rounds. Memory is what a fresh process takes in three steps beyond
what it has with model and batch, and on Linux only. Some minutes on two CPU cores, less with fewer ``--rounds``.
"""

from __future__ import annotations

import argparse
import gc
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from training_benchmark import DRN, DUAL, DUAL_LOSS, IMDN, build, in_turns, report

STATUS = Path("/proc/self/status")
SWINIR = {
    "type": "SwinIR_DR", "upscale": 4, "img_size": 48, "window_size": 8, "embed_dim": 60, "depths": [2, 2],
    "num_heads": [6, 6],
}  # fmt: skip
PLAIN = "DualRegressionModel"
LEVELS_DUAL = {"model_type": PLAIN, "network_dual": {"type": "DRNDual", "num_feat": 16, "upscale": 4}}
NETWORKS = {
    "DRN x4 (F 16, 4 blocks)": (DRN, LEVELS_DUAL),
    "IMDN x4": (IMDN, DUAL),
    "SwinIR-light-DR x4 (4 blocks)": (SWINIR, {"model_type": PLAIN}),
}
SEARCH = {"model_type": "ChannelSearchModel", "datasets": {"train": {"halves": True}}}
# Model, share of the batch, further options of `train`.
CANDIDATES: dict[str, tuple[dict[str, Any], float, dict[str, Any]]] = {
    "dual regression": ({}, 1, {}),
    "search": (SEARCH, 1, {"pruning_rate": 0.3}),
    "search, no virtual step": (SEARCH, 1, {"pruning_rate": 0.3, "virtual_step": False}),
    "dual regression, half the batch": ({}, 0.5, {}),
}


def candidate(network: str, title: str, batch: int) -> Any:
    """Return a model of one candidate with a batch in it."""
    section, more = NETWORKS[network]
    changed, share, train = CANDIDATES[title]
    return build(section, {**more, **changed}, {**DUAL_LOSS, **train}, max(int(batch * share), 2))


def stepper(model: Any) -> Callable[[int], None]:
    """Return a step with the whole batch that ``model`` has now; a search step leaves half of it."""
    whole = {key: getattr(model, key) for key in ("lq", "gt", "larger")}

    def step(number: int) -> None:
        vars(model).update(whole)
        model.optimize_parameters(number)

    return step


def resident(kind: str) -> float:
    """Return this process's resident memory in MiB, now (``VmRSS``) or at most so far (``VmHWM``)."""
    return int(re.search(rf"{kind}:\s*(\d+) kB", STATUS.read_text())[1]) / 1024


def peak(network: str, title: str, batch: int) -> float:
    """Return the MiB that three steps of a candidate take in this process beyond model and batch."""
    step = stepper(candidate(network, title, batch))
    gc.collect()
    before = resident("VmRSS")
    for number in range(1, 4):
        step(number)
    return resident("VmHWM") - before


def peak_apart(network: str, title: str, batch: int) -> float:
    """Return ``peak`` as a fresh process measures it."""
    command = [sys.executable, __file__, "--batch", str(batch), "--peak", network, title]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def measure(network: str, rounds: int, batch: int, clock: Callable[[], float]) -> None:
    """Measure and print the candidates of one network."""
    if rounds:
        steps = {title: stepper(candidate(network, title, batch)) for title in CANDIDATES}
        report(f"{network}, a training step, batch {batch}, LR 48x48", in_turns(steps, rounds, clock))
    if STATUS.is_file():
        found = {title: peak_apart(network, title, batch) for title in CANDIDATES}
        first = next(iter(found.values()))
        print("  memory")
        for title, value in found.items():
            print(f"  {title:<34}{value:>6.0f} MiB {value / first:>8.3f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="of timing; 0 measures memory alone")
    parser.add_argument("--batch", type=int, default=8, help="images of a whole batch, an even number")
    parser.add_argument("--processor-time", action="store_true", help="of all threads, for a busy machine")
    parser.add_argument("--peak", nargs=2, metavar=("NETWORK", "TITLE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        print(peak(*args.peak, args.batch))
        return
    print(f"CPU, {torch.get_num_threads()} threads, torch {torch.__version__}, {platform.platform()}")
    clock = time.process_time if args.processor_time else time.perf_counter
    for network in NETWORKS:
        measure(network, args.rounds, args.batch, clock)


if __name__ == "__main__":
    main()
