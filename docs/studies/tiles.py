"""Measure what tiles change, what passes over them give back, and what memory a network takes.

``python docs/studies/tiles.py psnr WEIGHTS BSDS500`` runs the official files in the folder WEIGHTS on photographs of
BSDS500/test as LR images, whole and in tiles, and prints the PSNR of one against the other for 0 to 3 passes, with the
time over that of the whole picture. Networks without an official file at hand follow with random weights.
``python docs/studies/tiles.py memory WEIGHTS`` prints the bytes of memory for each LR pixel of 640x360 on all backends,
each measured in a fresh process, and those of the live feature maps. The tables are those of docs/upscale.md. Takes
some hours on one core; ``--networks``, ``--pictures`` and ``--sizes`` choose parts.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import nn

import lightsr_basicsr  # noqa: F401  makes BasicSR importable, and registers the networks
from lightsr_basicsr.checkpoints.identify import load
from lightsr_basicsr.runtimes.base import BACKENDS
from lightsr_basicsr.runtimes.choice import open_runtime
from lightsr_basicsr.runtimes.network import smooth_picture
from lightsr_basicsr.runtimes.torch_runtime import TorchRuntime
from lightsr_basicsr.tools.benchmark.memory import PeakMemory, resident
from lightsr_basicsr.tools.images import list_images, read_image
from lightsr_basicsr.upscale.memory import live_bytes_per_pixel
from lightsr_basicsr.upscale.probe import psnr_between
from lightsr_basicsr.upscale.tiles import TileRunner

FILES = {
    "IMDN": "IMDN_x4.pth",
    "FDIWN": "FDIWN_x4.pt",
    "DDistill-SR": "DDistill-SRx4_inference.pth",
    "IMDN_RTC": "model_RTC.pth",
}
RANDOM = {
    "DRN-S, random": {"type": "DRN"},
    "KDSR-S M, random": {"type": "BlindSR_ST", "n_feats": 64, "n_encoder_res": 9, "n_sr_blocks": 53},
    "DCLS, random": {"type": "DCLS", "num_block": 2},
    "SwinIR-light-DR, random": {
        "type": "SwinIR_DR", "depths": [6] * 4, "num_heads": [6] * 4, "embed_dim": 60,
        "upsampler": "pixelshuffledirect",
    },
}  # fmt: skip
MOST_PASSES = 3
MEMORY_SIZE = (360, 640)


def open_network(name: str, weights: Path) -> nn.Module:
    """Return a network with its official weights, or with random ones."""
    from basicsr.archs import build_network

    if name in FILES:
        return load(weights / FILES[name])
    torch.manual_seed(0)
    return build_network(dict(RANDOM[name]))


def pictures_of(folder: Path, count: int) -> list[np.ndarray]:
    """Return photographs that are spread over the folder, (H, W, 3) in [0, 1]."""
    files = list_images(folder)
    chosen = files[:: max(1, len(files) // count)][:count]
    return [read_image(file)[..., ::-1].astype(np.float32) / 255 for file in chosen]


def measure_tiles(name: str, net: nn.Module, pictures: Sequence[np.ndarray], sizes: Sequence[int]) -> None:
    """Print a row for each size of the tiles, with the lowest and the highest PSNR over the pictures."""
    runtime = TorchRuntime.of_network(net, device="cpu", threads=1)
    runs = {(size, passes): [] for size in sizes for passes in range(MOST_PASSES + 1)}
    if not net.pools_globally:
        runs = {(size, passes): found for (size, passes), found in runs.items() if passes == 0}
    for picture in pictures:
        start = perf_counter()
        whole = TileRunner.of_runtime(runtime, size=max(picture.shape)).upscale(picture)
        seconds = perf_counter() - start
        for (size, passes), found in runs.items():
            start = perf_counter()
            made = TileRunner.of_runtime(runtime, size=size, passes=passes).upscale(picture)
            cost = (perf_counter() - start) / seconds
            found.append((psnr_between(made, whole), cost))
            print(f"  {name}, tiles {size}, passes {passes}: {found[-1][0]:.1f} dB, {cost:.1f}x", flush=True)
    overlap = TileRunner.of_runtime(runtime).plan.overlap
    for size in sizes:
        cells = [
            f"{min(found)[0]:.1f} to {max(found)[0]:.1f} ({np.mean([cost for _, cost in found]):.1f}x)"
            for (other, _), found in runs.items() if other == size
        ]  # fmt: skip
        print(" | ".join((f"| {name}", f"{size} + {overlap}", *cells)), "|", flush=True)


def measure_memory(name: str, weights: Path, backend: str) -> None:
    """Print the bytes per LR pixel that a backend takes; run in a process of its own."""
    runtime = open_runtime(open_network(name, weights), backend, device="cpu", threads=1)
    runtime(smooth_picture(3, 64, 64))
    image = smooth_picture(3, *MEMORY_SIZE)
    with PeakMemory("cpu", resident()) as peak:
        runtime(image)
    live = f", {live_bytes_per_pixel(runtime):.0f} of live feature maps" if backend == "torch" else ""
    print(f"{name}, {backend}: {peak.bytes / MEMORY_SIZE[0] / MEMORY_SIZE[1]:.0f} bytes{live}", flush=True)


def main() -> None:
    """Print the tables that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["psnr", "memory"])
    parser.add_argument("weights", type=Path)
    parser.add_argument("bsds500", type=Path, nargs="?")
    parser.add_argument("--networks", nargs="+", default=[*FILES, *RANDOM])
    parser.add_argument("--pictures", type=int, default=2)
    parser.add_argument("--crop", type=int, help="side of a part of each picture, for a quick look")
    parser.add_argument("--sizes", type=int, nargs="+", default=[96, 192])
    parser.add_argument("--backend", help="of one row, in this process")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in args.networks:
        if args.backend:
            measure_memory(name, args.weights, args.backend)
        elif args.what == "memory":
            for backend in BACKENDS:
                command = [sys.executable, __file__, "memory", args.weights, "--networks", name, "--backend", backend]
                subprocess.run(command, check=False)
        else:
            pictures = [each[: args.crop, : args.crop] for each in pictures_of(args.bsds500 / "test", args.pictures)]
            measure_tiles(name, open_network(name, args.weights), pictures, args.sizes)


if __name__ == "__main__":
    main()
