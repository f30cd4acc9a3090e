"""Measure on every backend how much faster a pruned network is than its dense one.

``python docs/studies/narrow_benchmark.py IMDN_x4.pth net_pruned_latest.pth`` runs both in turns on one LR image, and
prints the seconds of each and the median over rounds of their ratio, with the range. ``basicsr benchmark`` compares
each network with a reference of its own instead. Minutes on two CPU cores.
"""

from __future__ import annotations

import argparse
import platform
import time

import torch
from training_benchmark import in_turns, report

from lightsr_basicsr.runtimes import open_runtime

BACKENDS = (("torch", "fp32"), ("torch", "bf16"), ("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino", "bf16"))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dense", help="checkpoint of the dense network")
    parser.add_argument("narrow", help="checkpoint of the narrower one")
    parser.add_argument("--size", type=int, nargs=2, default=(180, 320), metavar=("H", "W"), help="of the LR image")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--processor-time", action="store_true", help="of all threads, for a busy machine")
    args = parser.parse_args()
    clock = time.process_time if args.processor_time else time.perf_counter
    print(f"CPU, {args.threads} threads, torch {torch.__version__}, {platform.platform()}")
    image = torch.rand(1, 3, *args.size)
    for backend, precision in BACKENDS:
        steps = {}
        for title, file in (("narrow", args.narrow), ("dense", args.dense)):
            run = open_runtime(file, backend, precision, threads=args.threads)
            steps[title] = lambda _, run=run: run(image)
        report(f"{backend} {precision}, LR {args.size[0]}x{args.size[1]}", in_turns(steps, args.rounds, clock))


if __name__ == "__main__":
    main()
