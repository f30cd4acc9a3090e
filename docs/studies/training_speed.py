"""Measure what the options of a faster training step gain, and where the time of a step goes.

``python docs/studies/training_speed.py`` takes steps of IMDN_RTC and IMDN x4 (batch 16, LR 48x48) in float32, with
``channels_last``, ``amp: bf16``, both, and with ``--compile`` also compiled ones, in turns; ratios are medians over
rounds. Then it takes the parts of a plain step in turns: forward pass, backward pass, optimizer, average, guards.
Before all that it prints the memory of a step with ``accumulate``, beyond what the process has before its first step.
Results hold for processors with the instructions in the first line. Nothing else should run meanwhile; where others do,
``--threads 1 --cpu-time`` counts the time of the processor alone. Five minutes on two CPU cores.
"""

from __future__ import annotations

import argparse
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from training_benchmark import build, in_turns, report

NETWORKS = {"IMDN_RTC": 3, "IMDN": 1}  # with how many times the rounds: the first one is fast
FORMS: dict[str, dict[str, Any]] = {
    "float32": {},
    "channels_last": {"channels_last": True},
    "bf16": {"amp": "bf16"},
    "bf16, channels_last": {"amp": "bf16", "channels_last": True},
}
DIVIDED: dict[str, dict[str, Any]] = {"accumulate 4": {"accumulate": 4}}
PARTS = (1, 2, 4)
COMPILED: dict[str, dict[str, Any]] = {
    "compiled": {"compile": True},
    "compiled, channels_last": {"compile": True, "channels_last": True},
    "compiled, bf16, channels_last": {"compile": True, "amp": "bf16", "channels_last": True},
}
WANTED = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def instructions() -> str:
    """Return which instruction sets that matter here the processor has, or what torch says of it."""
    file = Path("/proc/cpuinfo")
    flags = set(file.read_text().split()) if file.is_file() else set()
    return ", ".join(name for name in WANTED if name in flags) or "unknown instructions"


def parts_of(model: Any, rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """Return the median seconds of the parts of a step, with the guards' search for NaN."""
    from lightsr_basicsr.tools.run.step_guard import _are_finite

    taken: dict[str, list[float]] = {}

    def timed(title: str, work: Callable[[], Any]) -> Any:
        start = clock()
        result = work()
        taken.setdefault(title, []).append(clock() - start)
        return result

    for _ in range(rounds + 1):
        timed("zeroed gradients", model.optimizer_g.zero_grad)
        loss = sum(timed("forward", model.compute_losses).values())
        timed("backward", lambda loss=loss: model.speed.backward(loss))
        timed("search for NaN", lambda: _are_finite([each.grad for each in model.net_g.parameters()]))
        timed("optimizer", lambda: model.speed.step([model.optimizer_g]))
        timed("average", lambda: model.model_ema(0.999))
    return {title: median(values[1:]) for title, values in taken.items()}


def print_peak(network: str, parts: int, batch: int) -> None:
    """Print the megabytes that two steps take beyond what the process has before."""

    def used() -> float:
        if torch.cuda.is_available():
            return torch.cuda.max_memory_allocated() / 1e6
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6

    model = build({"type": network, "upscale": 4}, {}, {"accumulate": parts}, batch)
    before = used()
    for number in (1, 2):
        model.optimize_parameters(number)
    print(used() - before)


def peaks(network: str, batch: int) -> dict[int, float]:
    """Return these megabytes by the number of parts."""
    command = [sys.executable, __file__, "--networks", network, "--batch", str(batch), "--peak-of"]
    runs = {
        parts: subprocess.run([*command, str(parts)], capture_output=True, text=True, check=True) for parts in PARTS
    }
    return {parts: float(run.stdout.split()[-1]) for parts, run in runs.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), help="registered names, x4")
    parser.add_argument("--compile", action="store_true", help="also compiled networks, minutes longer")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cpu-time", action="store_true", help="time of the processor, of all threads together")
    parser.add_argument("--peak-of", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.peak_of:
        print_peak(args.networks[0], args.peak_of, args.batch)
        return
    clock = time.process_time if args.cpu_time else time.perf_counter
    machine = f"{torch.get_num_threads()} threads, torch {torch.__version__}, {platform.platform()}"
    print(torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU ({instructions()})", machine, sep=", ")
    # First, since a process inherits the peak of the one that starts it.
    for name in args.networks:
        found = ", ".join(f"accumulate {parts} {taken:.0f} MB" for parts, taken in peaks(name, args.batch).items())
        print(f"{name} x4, batch {args.batch}, memory of a step: {found}")
    for name in args.networks:
        rounds, network = args.rounds * NETWORKS.get(name, 1), {"type": name, "upscale": 4}
        forms = {**FORMS, **DIVIDED, **(COMPILED if args.compile else {})}
        built = {title: build(network, {}, {"ema_decay": 0.999, **form}, args.batch) for title, form in forms.items()}
        candidates = {title: model.optimize_parameters for title, model in built.items()}
        report(f"{name} x4, a step, batch {args.batch}, LR 48x48", in_turns(candidates, rounds, clock))
        parts = parts_of(built["float32"], rounds, clock)
        print("  parts in float32: " + ", ".join(f"{title} {1e3 * each:.1f} ms" for title, each in parts.items()))


if __name__ == "__main__":
    main()
