"""Enlarge a picture by a network that ``basicsr export -o NET.param`` wrote: needs ncnn, numpy and Pillow alone.

``python run_ncnn.py NET.param picture.png enlarged.png [THREADS]``; NET.bin lies beside NET.param.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ncnn
import numpy as np
from PIL import Image


def open_network(param: str, threads: int = 1) -> ncnn.Net:
    """Return the network of a ``.param`` file and the ``.bin`` file beside it, for float32 on the CPU."""
    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    if net.load_param(param) or net.load_model(str(Path(param).with_suffix(".bin"))):
        raise SystemExit(f"ncnn cannot read {param}, or the .bin file beside it.")
    return net


def enlarge(net: ncnn.Net, picture: Image.Image) -> Image.Image:
    """Return a picture, enlarged: RGB from 0 to 1, channels first, goes into ``data`` and comes out of ``output``."""
    # Held while it is copied: ncnn.Mat itself keeps no reference.
    pixels = np.ascontiguousarray(np.asarray(picture.convert("RGB"), np.float32).transpose(2, 0, 1) / 255)
    extractor = net.create_extractor()
    extractor.input("data", ncnn.Mat(pixels).clone())
    status, made = extractor.extract("output")
    if status:
        raise SystemExit(f"ncnn cannot run a picture of {picture.width}x{picture.height} pixels.")
    image = np.array(made).transpose(1, 2, 0).clip(0, 1) * 255
    return Image.fromarray(image.round().astype(np.uint8))


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        raise SystemExit(__doc__)
    enlarge(open_network(sys.argv[1], *map(int, sys.argv[4:])), Image.open(sys.argv[2])).save(sys.argv[3])
