"""Measure how long ``basicsr upscale`` takes from the command to its first picture, beside importing torch and BasicSR.

python docs/studies/startup_benchmark.py WEIGHTS [--rounds 7]

One small picture is enlarged by new processes, one after the other in each round, so that what else the machine does
meets all of them alike. Medians are printed, and their ratio to the import of torch and BasicSR.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

BASE = "import torch, BasicSR"


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
        words = ["-m", "lightsr_basicsr", "upscale", str(small), "-o", folder + "/out", "--overwrite", "--quiet"]
        words += ["--model", str(args.weights.resolve())]
        runs = {
            "import torch": ["-c", "import torch"],
            BASE: ["-c", "import torch, lightsr_basicsr, basicsr"],
            "basicsr upscale, torch": [*words, "--backend", "torch"],
            "basicsr upscale, fastest backend": words,
        }
        seconds = {name: [] for name in runs}
        for _ in range(args.rounds):
            for name, command in runs.items():
                start = time.perf_counter()
                subprocess.run([sys.executable, *command], check=True)
                seconds[name].append(time.perf_counter() - start)
    print("| process | seconds, median of", args.rounds, "| ratio |\n| --- | --- | --- |")
    for name, times in seconds.items():
        print(f"| {name} | {median(times):.1f} | {median(times) / median(seconds[BASE]):.2f} |")


if __name__ == "__main__":
    main()
