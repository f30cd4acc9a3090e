"""PSNR and SSIM of the networks in the package, and the course of their training.

``python docs/studies/tiny_study.py measure DATASET... --models FILE...`` compares them with bicubic interpolation, and
with networks of FILE at their scale, on folders as ``basicsr prepare lr -i HR -o DATASET --scale 2 4`` makes them: mean
over the images, Y channel, as many pixels cropped as the scale. ``... course LOG... -o tiny_training.csv`` turns logs
of training into a table. Minutes on two CPU cores.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

import lightsr_basicsr
from lightsr_basicsr.data.degradations import imresize
from lightsr_basicsr.tools.images import list_images, read_image
from lightsr_basicsr.weights.names import files

from basicsr.metrics import calculate_psnr, calculate_ssim  # isort: skip  lightsr_basicsr makes it importable

SCALES = (2, 4)
STEP = re.compile(r"iter:\s*([\d,]+), lr:\(([\d.e+-]+),.*l_pix: ([\d.e+-]+)")
SCORES = {"psnr": re.compile(r"# psnr: ([\d.]+)"), "ssim": re.compile(r"# ssim: ([\d.]+)")}
COLUMNS = ("scale", "iteration", "rate", "l_pix", "psnr", "ssim")


def scores(sr: np.ndarray, hr: np.ndarray, scale: int) -> tuple[float, float]:
    """Return PSNR in dB and SSIM of (H, W, 3), BGR, uint8."""
    settings = {"crop_border": scale, "test_y_channel": True}
    return calculate_psnr(sr, hr, **settings), calculate_ssim(sr, hr, **settings)


def enlarged(net: torch.nn.Module | None, image: np.ndarray, scale: int) -> np.ndarray:
    """Return (h, w, 3), BGR, uint8, enlarged by a network, or without one by bicubic interpolation."""
    if net is None:
        return imresize(image, scale)
    x = torch.from_numpy(image[:, :, ::-1].copy()).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        y = net(x)[0].clamp(0, 1).mul(255).round().byte()
    return np.ascontiguousarray(y.permute(1, 2, 0).numpy()[:, :, ::-1])


def measure(folder: Path, models: list[str]) -> None:
    """Print the mean scores of one data set."""
    for scale in SCALES:
        ours = [entry.name for entry in files() if entry.packaged]
        nets = {name: lightsr_basicsr.load(name) for name in [*ours, *models]}
        nets = {"bicubic": None, **{name: net for name, net in nets.items() if net.upscale == scale}}
        found: dict[str, list] = {name: [] for name in nets}
        for file in list_images(folder / f"HR_x{scale}"):
            hr, lr = read_image(file), read_image(folder / f"LRBI_x{scale}" / file.name)
            for name, net in nets.items():
                found[name].append(scores(enlarged(net, lr, scale), hr, scale))
        for name, each in found.items():
            psnr, ssim = np.mean(each, axis=0)
            print(f"{folder.name} x{scale}, {len(each)} images, {name}: {psnr:.4f} / {ssim:.4f}", flush=True)


def course(log: Path) -> Iterator[dict[str, str]]:
    """Yield a row for each line of loss in the log of a training, with the scores measured at that iteration."""
    scale, row = re.search(r"_x(\d)", log.name)[1], None
    for line in log.read_text(encoding="utf-8").splitlines():
        if step := STEP.search(line):
            if row:
                yield row
            row = {"scale": scale, "iteration": step[1].replace(",", ""), "rate": step[2], "l_pix": step[3]}
        for name, pattern in SCORES.items():
            if row and (score := pattern.search(line)):
                row[name] = score[1]
    if row:
        yield row


def main() -> None:
    """Measure, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("measure", "course"))
    parser.add_argument("paths", nargs="+", type=Path, help="data sets, or logs named after their option files")
    parser.add_argument("--models", nargs="*", default=[], help="checkpoints to compare with")
    parser.add_argument("-o", "--output", type=Path, default=Path("tiny_training.csv"))
    args = parser.parse_args()
    cv2.setNumThreads(1)
    if args.what == "measure":
        for folder in args.paths:
            measure(folder, args.models)
        return
    with args.output.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        for log in args.paths:
            table.writerows(course(log))


if __name__ == "__main__":
    main()
