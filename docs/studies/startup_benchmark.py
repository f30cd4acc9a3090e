"""Measure how long commands take to start, beside importing torch and BasicSR, and ``upscale`` to its first picture.

python docs/studies/startup_benchmark.py WEIGHTS [--rounds 7]

One small picture is enlarged by new processes, one after the other in each round, so that what else the machine does
meets all of them alike. Medians are printed, of seconds and of processor time, and the ratio of the latter to that of
importing torch.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

BASE = "import torch"
COMMAND = ["-m", "lightsr_basicsr"]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder, "small.png")
        pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(small)
        weights, copy = str(args.weights.resolve()), ["-o", folder + "/copy.pth", "--overwrite"]
        words = [*COMMAND, "upscale", str(small), "-o", folder + "/out", "--overwrite", "--quiet"]
        words += ["--model", weights]
        runs = {
            BASE: ["-c", "import torch"],
            "import torch, BasicSR": ["-c", "import torch, lightsr_basicsr, basicsr"],
            "basicsr list": [*COMMAND, "list", "networks"],
            "basicsr info": [*COMMAND, "info", weights],
            "basicsr convert --keep-form": [*COMMAND, "convert", weights, "--keep-form", *copy],
            "basicsr new --help": [*COMMAND, "new", "--help"],
            "basicsr upscale, torch": [*words, "--backend", "torch"],
            "basicsr upscale, fastest backend": words,
        }
        seconds = {name: [] for name in runs}
        for _ in range(args.rounds):
            for name, command in runs.items():
                seconds[name].append(_time(command))
    print("| process | seconds, median of", args.rounds, "| processor time | ratio |\n| --- | --- | --- | --- |")
    base = median(processor for _, processor in seconds[BASE])
    for name, times in seconds.items():
        wall, processor = map(median, zip(*times, strict=True))
        print(f"| {name} | {wall:.1f} | {processor:.1f} | {processor / base:.2f} |")


def _time(command: list[str]) -> tuple[float, float]:
    """Return seconds and processor time of a new process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - start, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
