"""Measure the limits of this machine: convolutions in float32 and bfloat16, and memory bandwidth.

``python docs/studies/ceilings.py [--threads N]`` prints operations per second (a multi-add is two) of a 3x3
convolution of 64 channels at 180x320, the commonest layer of these networks, in torch with channels last, and bytes per
second of a copy. The multi-adds of a network divided by the first rate are a lower bound of its time with direct
convolutions. Takes ten seconds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from time import perf_counter

import torch
from torch.nn import functional as F  # noqa: N812

CHANNELS, HEIGHT, WIDTH = 64, 180, 320
ROUNDS = 30


def best_seconds(run: Callable[[], object]) -> float:
    """Return the shortest of some runs after a few that warm up."""
    seconds = []
    for _ in range(ROUNDS):
        start = perf_counter()
        run()
        seconds.append(perf_counter() - start)
    return min(seconds[3:])


def convolution_rate(dtype: torch.dtype) -> float:
    """Return operations per second of a 3x3 convolution."""
    image = torch.randn(1, CHANNELS, HEIGHT, WIDTH).to(dtype, memory_format=torch.channels_last)
    kernel = torch.randn(CHANNELS, CHANNELS, 3, 3).to(dtype, memory_format=torch.channels_last)
    operations = 2 * 9 * CHANNELS**2 * HEIGHT * WIDTH
    return operations / best_seconds(lambda: F.conv2d(image, kernel, padding=1))


def copy_rate() -> float:
    """Return bytes read and written per second by a copy of 256 MB."""
    source = torch.randn(64 * 2**20)
    target = torch.empty_like(source)
    return 2 * source.numel() * 4 / best_seconds(lambda: target.copy_(source))


def main() -> None:
    """Print the three rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: %(default)s")
    torch.set_num_threads(parser.parse_args().threads)
    with torch.no_grad():
        for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
            print(f"convolution, {name:<9} {convolution_rate(dtype) / 1e9:>8.0f} GFLOP/s")
        print(f"copy                   {copy_rate() / 1e9:>8.1f} GB/s")


if __name__ == "__main__":
    main()
