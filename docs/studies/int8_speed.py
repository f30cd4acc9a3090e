"""Measure an int8 file beside its network in bf16: both run by turns on OpenVINO, so that their ratio is that of today.

``python docs/studies/int8_speed.py IMDN_x4.pth IMDN_x4_int8.xml [FDIWN_x4.pt FDIWN_x4_int8.xml ...]`` takes pairs of a
checkpoint and its file, and prints the ratio of times: median of the rounds (smallest to largest). A minute for a pair.
"""

from __future__ import annotations

import argparse
from statistics import median

import torch

import lightsr_basicsr  # noqa: F401  makes BasicSR importable, and registers the networks
from lightsr_basicsr.runtimes.choice import open_runtime
from lightsr_basicsr.tools.complexity import in_rounds
from lightsr_basicsr.tools.photographs import image_of_size


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--size", nargs=2, type=int, default=(180, 320), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    if len(args.files) % 2:
        parser.error(f"expected pairs of a checkpoint and an int8 file, got {len(args.files)} files: name both.")
    image = image_of_size(*args.size)
    for network, file in zip(args.files[::2], args.files[1::2], strict=True):
        runs = {}
        for name, source, precision in (("bf16", network, "bf16"), ("int8", file, None)):
            runtime = open_runtime(source, "openvino", precision, "cpu", args.threads)
            runtime.prepare_for(tuple(image.shape))
            runs[name] = lambda runtime=runtime: runtime(image)
        taken = in_rounds(runs, args.rounds, pause=0.05)
        ratios = [slow / fast for slow, fast in zip(taken["bf16"], taken["int8"], strict=True)]
        times = ", ".join(f"{name} {1e3 * median(each):.1f} ms" for name, each in taken.items())
        print(f"{file}: {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) times as fast as bf16; {times}")


if __name__ == "__main__":
    main()
