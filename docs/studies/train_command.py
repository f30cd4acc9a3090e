"""Measure what an iteration of ``basicsr train`` takes as a whole, beside its workers: reading, step, average, log.

``python docs/studies/train_command.py`` makes sub-images of 480 pixels of scikit-image's photographs in a temporary
folder, and trains IMDN_RTC and IMDN x4 (batch 16, LR 48x48, Adam, averaged weights) on them with the command, in one
process each, with other options by turns. Shown are the wall time of an iteration, the time of all its processors and
the page faults of the training process, medians over windows of iterations; ratios are medians over rounds.
``--profile`` shows instead where an iteration of each form spends its time. ``--losses FILE`` writes the curves of
losses, which are equal to the bit where the options change no number. Nothing else should run meanwhile; ten minutes on
two CPU cores. A reading of a batch from files and from memory is timed first; ``--networks`` without names ends there.
"""

from __future__ import annotations

import argparse
import cProfile
import csv
import json
import multiprocessing
import os
import platform
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch
import yaml
from data_benchmark import QUIET, mosaics
from training_speed import instructions

from lightsr_basicsr.data.cached import keep_images, keys_of, sizes_of
from lightsr_basicsr.data.image_cache import ImageCache
from lightsr_basicsr.data.low_resolution import LowResolution
from lightsr_basicsr.tools.prepare.lr import prepare_lr

IMAGES, SIDE, LR_SIDE = 120, 480, 48
LOADING = {"num_worker_per_gpu": 1, "persistent_workers": True}
CACHED = {"cache": "memory"}
KEPT = {"keep_memory": True}
FAST = {"channels_last": True, "amp": "bf16"}
# Options of the training set, and of the section `train`.
FORMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "default": (LOADING, {}),
    "cache": ({**LOADING, **CACHED}, {}),
    "keep_memory": (LOADING, KEPT),
    "cache, keep_memory": ({**LOADING, **CACHED}, KEPT),
    "channels_last": (LOADING, {"channels_last": True}),
    "cache, channels_last": ({**LOADING, **CACHED}, {"channels_last": True}),
    "cache, keep_memory, channels_last": ({**LOADING, **CACHED}, {**KEPT, "channels_last": True}),
    "bf16, channels_last": (LOADING, FAST),
    "cache, bf16, channels_last": ({**LOADING, **CACHED}, FAST),
    "cache, keep_memory, bf16, channels_last": ({**LOADING, **CACHED}, {**KEPT, **FAST}),
    "default, 2 workers": ({**LOADING, "num_worker_per_gpu": 2}, {}),
    "cache, 2 workers": ({**LOADING, **CACHED, "num_worker_per_gpu": 2}, {}),
    "cache, no worker": ({"num_worker_per_gpu": 0, **CACHED}, {}),
    "cache, no worker, bf16, channels_last": ({"num_worker_per_gpu": 0, **CACHED}, FAST),
    "prefetch": ({"num_worker_per_gpu": 1, "prefetch_mode": "cpu", "num_prefetch_queue": 2}, {}),
    "cache, prefetch": ({"num_worker_per_gpu": 1, "prefetch_mode": "cpu", "num_prefetch_queue": 2, **CACHED}, {}),
}
DEFAULT = [
    "default",
    "cache",
    "cache, keep_memory",
    "cache, keep_memory, channels_last",
    "cache, keep_memory, bf16, channels_last",
]


def options(network: str, form: str, data: Path, total: int, window: int) -> dict[str, Any]:
    """Return an option file of a training without validation."""
    loading, train = FORMS[form]
    high, low = data / "HR", data / "LR" / "HR_LR_bicubic" / "X4"
    return {
        "name": "measured", "model_type": "LossDictModel", "scale": 4, "num_gpu": "auto", "manual_seed": 0,
        "network_g": {"type": network, "upscale": 4}, "path": {"pretrain_network_g": None},
        "datasets": {"train": {
            "name": "sub-images", "type": "PairedImageDataset", "dataroot_gt": str(high), "dataroot_lq": str(low),
            "filename_tmpl": "{}x4", "io_backend": {"type": "disk"}, "gt_size": 4 * LR_SIDE, "use_hflip": True,
            "use_rot": True, "batch_size_per_gpu": 16, "dataset_enlarge_ratio": 100, **loading,
        }},
        "train": {
            "ema_decay": 0.999, "optim_g": {"type": "Adam", "lr": 2e-4, "betas": [0.9, 0.999]}, "total_iter": total,
            "scheduler": {"type": "MultiStepLR", "milestones": [10**6], "gamma": 0.5},
            "pixel_opt": {"type": "L1Loss"}, **train,
        },
        "logger": {"print_freq": window, "save_checkpoint_freq": 10**6, "use_tb_logger": False},
    }  # fmt: skip


def processor_seconds() -> float:
    """Return the time of the processors that this process and its living children have taken."""
    tick, total = os.sysconf("SC_CLK_TCK"), time.process_time()
    for child in multiprocessing.active_children():
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / tick
    return total


def run_here(file: Path, window: int, profile: Path | None) -> None:
    """Run the command in this process, and print a line for each window: wall seconds, processors' seconds, loss."""
    import basicsr.train as train

    from lightsr_basicsr import cli

    log, profiler = train.MessageLogger, cProfile.Profile()

    class Measured(log):
        """BasicSR's log, which also measures."""

        def __call__(self, values: dict) -> None:
            used = resource.getrusage(resource.RUSAGE_SELF)
            measured = {"iter": values["iter"], "wall": time.perf_counter(), "cpu": processor_seconds()}
            measured |= {"faults": used.ru_minflt, "peak": used.ru_maxrss / 1024}
            losses = {name: float(value) for name, value in values.items() if name.startswith("l_")}
            print("MEASURED" + json.dumps({**measured, **losses}), flush=True)
            if profile and values["iter"] == 2 * window:
                profiler.enable()
            super().__call__(values)

    train.MessageLogger = Measured
    status = cli.main(["train", "-opt", str(file)])
    if profile:
        profiler.disable()
        profiler.dump_stats(profile)
    sys.exit(status)


def run_command(network: str, form: str, data: Path, work: Path, args: argparse.Namespace) -> list[dict]:
    """Return what each window of a run measured, the first ones left out."""
    file = work / "measured.yml"
    file.write_text(yaml.safe_dump(options(network, form, data, args.iterations, args.window)))
    command = [
        sys.executable,
        __file__,
        "--child",
        str(file),
        "--window",
        str(args.window),
        *(["--profile"] if args.profile else []),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-4000:])
    return [json.loads(line.removeprefix("MEASURED")) for line in done.stdout.splitlines() if line[:8] == "MEASURED"]


def per_iteration(windows: list[dict], key: str) -> float:
    """Return the median seconds of an iteration, after two windows in which images are first read."""
    spans = [(two[key] - one[key]) / (two["iter"] - one["iter"]) for one, two in pairwise(windows)]
    return median(spans[1:])


def show_profile(file: Path, iterations: int) -> None:
    """Print the functions of the main process that take most of an iteration, without what they call."""
    stats = pstats.Stats(str(file))
    rows = sorted(((own, count, name) for name, (_, count, own, _, _) in stats.stats.items()), reverse=True)
    for own, count, (path, line, name) in rows[:14]:
        place = f"{Path(path).name}:{line} " if line else ""
        print(f"    {1e3 * own / iterations:>8.2f} ms {count / iterations:>8.1f} calls  {place}{name}")


def reading(data: Path, batches: int = 4) -> None:
    """Print the processor's time of reading a batch of 16 crops, from files and from memory, by turns."""
    from basicsr.data import build_dataset

    section = options("IMDN", "default", data, 1, 1)["datasets"]["train"]
    plain, cached = (build_dataset({**section, "phase": "train", "scale": 4}) for _ in range(2))
    keys = keys_of(cached)
    keep_images(cached, ImageCache(keys, sizes_of(cached, keys)))
    times: dict[str, list[float]] = {"files": [], "memory": []}
    for number in range(6):
        for title, dataset in zip(times, (plain, cached), strict=True):
            start = time.process_time()
            for place in range(len(dataset) if number == 0 else 16 * batches):
                dataset[place % len(dataset)]
            times[title].append((time.process_time() - start) / batches)
    first, second = (taken[1:] for taken in times.values())
    ratios = [one / other for one, other in zip(second, first, strict=True)]
    print(f"reading a batch: from files {median(first):.3f} s, from memory {median(second):.4f} s, "
          f"{median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})", flush=True)  # fmt: skip


def measure(network: str, data: Path, work: Path, args: argparse.Namespace) -> None:
    """Run all forms by turns, and print a table."""
    runs: dict[str, list[list[dict]]] = {form: [] for form in args.forms}
    for _ in range(args.rounds):
        for form, taken in runs.items():
            taken.append(run_command(network, form, data, work, args))
            seconds = [per_iteration(taken[-1], key) for key in ("wall", "cpu")]
            print(f"{network}, {form}: {seconds[0]:.3f} s, processors {seconds[1]:.3f} s", file=sys.stderr, flush=True)
            if args.profile:
                print(f"\n{network} x4, {form}: {per_iteration(taken[-1], 'wall'):.4f} s an iteration, of which")
                show_profile(work / "measured.prof", args.iterations - 2 * args.window)
    print(f"\n{network} x4, batch 16, LR 48x48, {args.threads} threads\n")
    print("| form | wall time | ratio | processors' time | ratio | page faults | peak memory |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    first = next(iter(runs.values()))
    for form, taken in runs.items():
        cells = [form]
        for key in ("wall", "cpu"):
            each, base = ([per_iteration(run, key) for run in runs] for runs in (taken, first))
            ratios = [one / other for one, other in zip(each, base, strict=True)]
            cells += [f"{median(each):.3f} s", f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"]
        cells += [f"{median(per_iteration(run, 'faults') for run in taken):,.0f}"]
        cells += [f"{median(run[-1]['peak'] for run in taken):.0f} MB"]
        print(f"| {' | '.join(cells)} |", flush=True)
    if args.losses:
        curves = {form: {row["iter"]: row["l_pix"] for row in taken[0]} for form, taken in runs.items()}
        with Path(f"{args.losses}_{network}.csv").open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["iteration", *curves])
            writer.writerows([it, *(curve[it] for curve in curves.values())] for it in next(iter(curves.values())))


def main() -> None:
    """Make images, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="*", default=["IMDN_RTC", "IMDN"], help="registered names, x4")
    parser.add_argument("--forms", nargs="+", default=DEFAULT, choices=FORMS, metavar="FORM", help=", ".join(FORMS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=80)
    parser.add_argument("--window", type=int, default=10, help="iterations of one measurement")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--side", type=int, default=SIDE, help="of the images, in pixels")
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--losses", metavar="FILE", help="beginning of the names of CSV files")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        run_here(args.child, args.window, args.child.with_suffix(".prof") if args.profile else None)
    with tempfile.TemporaryDirectory() as folder:
        work, data = Path(folder), Path(folder, "data")
        print(f"CPU ({instructions()}), torch {torch.__version__}, {platform.platform()}", flush=True)
        mosaics(data / "HR", args.images, args.side, args.side)
        prepare_lr(data / "HR", data / "LR", LowResolution("bi"), [4], "div2k", work=QUIET)
        reading(data)
        for network in args.networks:
            measure(network, data, work, args)


if __name__ == "__main__":
    main()
