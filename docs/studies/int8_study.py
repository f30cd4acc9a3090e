"""Measure the cost of int8 in PSNR, and its gain in time, for the official networks.

``python docs/studies/int8_study.py WEIGHTS SET5 BSDS500`` quantizes the official files in the folder WEIGHTS with each
recipe, on crops of BSDS500/train. It prints the PSNR (Y) that each recipe costs on Set5 and on 50 images of
BSDS500/test, and the time of an LR image of 180x320 pixels on one CPU thread beside that of fp32 and bf16. SET5 holds
``HR_x4`` and ``LRBI_x4``, and the same for x2. Takes an hour on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from statistics import mean, median
from time import perf_counter
from typing import NamedTuple

import torch
from torch import Tensor

import lightsr_basicsr
from lightsr_basicsr.archs.network import SRNetwork
from lightsr_basicsr.runtimes.graphs import to_openvino
from lightsr_basicsr.runtimes.network import traits_of
from lightsr_basicsr.runtimes.openvino_runtime import OpenVinoRuntime
from lightsr_basicsr.tools.export.int8 import RANGES, load_nncf, psnr_of, quantize_model
from lightsr_basicsr.tools.export.int8_data import Pair, gather
from lightsr_basicsr.tools.export.int8_recipes import RECIPES, with_network
from lightsr_basicsr.tools.images import list_images, read_image
from lightsr_basicsr.tools.photographs import to_tensor

FILES = ("IMDN_x4.pth", "FDIWN_x4.pt", "DDistill-SRx4_inference.pth", "model_RTC.pth")
SIZE = (180, 320)
TESTED = 50


class Row(NamedTuple):
    """A line of the table: what ran, the PSNR on both sets in dB, and the median time in seconds."""

    title: str
    set5: float
    bsds: float
    seconds: float


def set5_pairs(folder: Path, scale: int) -> list[Pair]:
    """Return the images of Set5 with their official LR images."""
    sides = [list_images(folder / f"{kind}_x{scale}") for kind in ("HR", "LRBI")]
    return [Pair(to_tensor(read_image(lr)), read_image(hr)) for hr, lr in zip(*sides, strict=True)]


def times(runtimes: Mapping[str, OpenVinoRuntime], image: Tensor, rounds: int) -> dict[str, float]:
    """Return the median time of each, measured in turns, because other programs come and go."""
    for runtime in runtimes.values():
        runtime.prepare_for(tuple(image.shape))
        runtime(image)
    found: dict[str, list[float]] = {title: [] for title in runtimes}
    for _ in range(rounds):
        for title, runtime in runtimes.items():
            start = perf_counter()
            runtime(image)
            found[title].append(perf_counter() - start)
    return {title: median(values) for title, values in found.items()}


def study(net: SRNetwork, args: argparse.Namespace) -> list[Row]:
    """Return the rows of one network, fp32 first."""
    traits, graph = traits_of(net), to_openvino(net)
    data = gather(args.bsds / "train", args.bsds / "test", traits, images=args.images, held_out_at_most=TESTED)
    models = {"fp32": (graph, "fp32"), "bf16": (graph, "bf16")}
    for name in args.recipes:
        recipe = with_network(RECIPES[name], type(net).__name__)
        for kind in args.ranges:
            made = quantize_model(load_nncf(), graph, data.crops, recipe, ranges=kind)
            models[f"int8, {name}, {kind}"] = (made, "int8")
    runtimes = {title: OpenVinoRuntime(model, traits, kind, threads=1) for title, (model, kind) in models.items()}
    image = torch.nn.functional.interpolate(data.held_out[0].lr, SIZE, mode="bicubic").clamp(0, 1)
    seconds = times(runtimes, image, args.rounds)
    sets = set5_pairs(args.set5, int(traits.scale)), data.held_out
    return [
        Row(title, *(mean(psnr_of(runtime, pair) for pair in pairs) for pairs in sets), seconds[title])
        for title, runtime in runtimes.items()
    ]


def print_rows(title: str, rows: list[Row]) -> None:
    """Print a Markdown table of one network."""
    fp32, bf16 = rows[:2]
    print(f"\n{title}: fp32 {fp32.set5:.2f} dB on Set5, {fp32.bsds:.2f} dB on BSDS500/test\n")
    print("| precision | cost Set5, dB | cost BSDS500, dB | time, ms | x fp32 | x bf16 |\n|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row.title} | {fp32.set5 - row.set5:.3f} | {fp32.bsds - row.bsds:.3f} | {1000 * row.seconds:.0f} | "
            f"{fp32.seconds / row.seconds:.2f} | {bf16.seconds / row.seconds:.2f} |",
            flush=True,
        )


def main() -> None:
    """Run the study and print a table for each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="folder of official files")
    parser.add_argument("set5", type=Path)
    parser.add_argument("bsds", type=Path, help="BSDS500, with train and test")
    parser.add_argument("--files", nargs="+", default=FILES)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--ranges", nargs="+", choices=RANGES, default=list(RANGES))
    parser.add_argument("--images", type=int, default=100, help="crops that lay the ranges")
    parser.add_argument("--rounds", type=int, default=9, help="of the time measurement")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for file in args.files:
        net = lightsr_basicsr.load(args.weights / file).eval()
        print_rows(file, study(net, args))


if __name__ == "__main__":
    main()
