"""Measure what tiles change, what passes over them give back, and what memory a network takes.

``python docs/studies/tiles.py psnr WEIGHTS BSDS500`` runs the official files in the folder WEIGHTS on a 720p picture,
whole and in the tiles that fit into a quarter of the memory for the whole, and prints the PSNR of one against the other
for the network's own passes and for one more, with the CPU time over that of the whole picture. The picture is joined
from nine photographs of BSDS500/test, which differ more than the parts of one; ``--one`` enlarges one. Networks without
an official file at hand follow with random weights.
``python docs/studies/tiles.py memory WEIGHTS`` prints the bytes of memory for each LR pixel of 640x360 on all backends,
each measured in a fresh process, and those of the live feature maps. The tables are those of docs/upscale.md. Takes an
hour of one core; ``--networks`` chooses some.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import process_time

import cv2
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
from lightsr_basicsr.upscale.memory import SHARE, bytes_per_pixel, live_bytes_per_pixel, plan_within_memory
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
MEMORY_SIZE = (360, 640)
ENLARGED = "147080.jpg"
HEIGHTS, WIDTHS = (240,) * 3, (427, 427, 426)  # of the nine photographs


def open_network(name: str, weights: Path) -> nn.Module:
    """Return a network with its official weights, or with random ones."""
    from basicsr.archs import build_network

    if name in FILES:
        return load(weights / FILES[name])
    torch.manual_seed(0)
    return build_network(dict(RANDOM[name]))


def joined(folder: Path) -> np.ndarray:
    """Return a 720p picture of nine photographs that are spread over a folder, (720, 1280, 3) in [0, 1]."""
    wide = [image for image in map(read_image, list_images(folder)) if image.shape[1] > image.shape[0]]
    chosen = iter(wide[:: len(wide) // 9])
    rows = [np.hstack([next(chosen)[20 : 20 + high, 20 : 20 + width] for width in WIDTHS]) for high in HEIGHTS]
    return np.vstack(rows)[..., ::-1].astype(np.float32) / 255


def enlarged(folder: Path) -> np.ndarray:
    """Return a 720p picture of one photograph, enlarged by bicubic interpolation, (720, 1280, 3) in [0, 1]."""
    image = cv2.resize(read_image(folder / ENLARGED), (1280, 854), interpolation=cv2.INTER_CUBIC)[60:780]
    return image[..., ::-1].astype(np.float32) / 255


def timed(runner: TileRunner, picture: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the enlarged picture, and the CPU time in seconds, which other programs change less than the clock's."""
    start = process_time()
    return runner.upscale(picture), process_time() - start


def measure_tiles(name: str, net: nn.Module, picture: np.ndarray, passes: Sequence[int] | None) -> None:
    """Print the row of a network: its own number of passes and one more, or those that were asked for."""
    runtime, sides = TorchRuntime.of_network(net, device="cpu", threads=1), picture.shape[:2]
    needed = bytes_per_pixel(runtime) * sides[0] * sides[1] / SHARE
    plan = plan_within_memory(runtime, *sides, available=int(needed / 4))
    runner = TileRunner.of_runtime(runtime, size=max(sides))
    whole, seconds = timed(runner, picture)
    cells = [f"| {name}", f"{1e6 * seconds / sides[0] / sides[1]:.0f} us", f"{plan.size} + {plan.overlap}"]
    for count in passes or ([plan.passes, plan.passes + 1] if net.pools_globally else [0]):
        runner.plan = plan._replace(passes=count)
        made, tiled = timed(runner, picture)
        found = "equal" if np.array_equal(made, whole) else f"{psnr_between(made, whole):.1f} dB"
        cells.append(f"{count}: {found}, {tiled / seconds:.1f}x")
        print(f"  {name}, {cells[-1]}", flush=True)
    print(" | ".join(cells), "|", flush=True)


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
    parser.add_argument("--networks", nargs="+", default=[*FILES, *list(RANDOM)[:2]])
    parser.add_argument("--one", action="store_true", help="on one photograph, enlarged to 720p")
    parser.add_argument("--passes", type=int, nargs="+", help="other than the network's own and one more")
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
            picture = (enlarged if args.one else joined)(args.bsds500 / "test")
            measure_tiles(name, open_network(name, args.weights), picture, args.passes)


if __name__ == "__main__":
    main()
