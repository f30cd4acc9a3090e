"""A tiny network and pictures of every kind, written by other code than the package's."""

from pathlib import Path

import cv2
import numpy as np
import torch
from basicsr.archs import build_network
from PIL import Image

from lightsr_basicsr import cli

WIDTH, HEIGHT = 24, 18
SETTINGS = {"backend": "torch", "device": "cpu"}
NETWORK = ("--model", "rtc.pth", "--backend", "torch", "--device", "cpu")


def upscale(*arguments: str) -> int:
    """Run the command in this process, with the network of :func:`checkpoint`."""
    return cli.main(["upscale", *arguments, *NETWORK])


def network(scale: int = 2):
    """Return a tiny network that enlarges by nearest neighbours, and adds a little to each pixel by convolutions."""
    torch.manual_seed(0)
    net = build_network({"type": "IMDN_RTC", "num_feat": 4, "num_block": 1, "upscale": scale}).eval()
    return net


def checkpoint(path: Path = Path("rtc.pth"), scale: int = 2) -> Path:
    torch.save({"params": network(scale).state_dict()}, path)
    return path


def smooth(*shape: int, seed: int = 0) -> np.ndarray:
    """Return (H, W, C) float32 in [0, 1] without noise."""
    height, width, channels = shape
    rng = np.random.default_rng(seed)
    small = rng.random((4, 4, channels)).astype(np.float32)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1).reshape(shape)


def eight(channels: int, seed: int = 0) -> np.ndarray:
    image = (smooth(HEIGHT, WIDTH, channels, seed=seed) * 255).round().astype(np.uint8)
    return image[:, :, 0] if channels == 1 else image


def frames(count: int = 3) -> list[Image.Image]:
    return [Image.fromarray(eight(3, seed)) for seed in range(count)]


def animation(path: Path) -> None:
    first, *others = frames()
    first.save(path, save_all=True, append_images=others, duration=80, loop=0)


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    exif[0x10F] = "Leitz"
    Image.fromarray(eight(3)).save(path, exif=exif, dpi=(300, 300))


MADE = {
    "gray.png": lambda path: Image.fromarray(eight(1)).save(path),
    "gray_alpha.png": lambda path: Image.fromarray(eight(2)).save(path),
    "rgb.jpg": lambda path: Image.fromarray(eight(3)).save(path),
    "rgba.png": lambda path: Image.fromarray(eight(4)).save(path),
    "rgba.webp": lambda path: Image.fromarray(eight(4)).save(path, lossless=True),
    "palette.png": lambda path: Image.fromarray(eight(3)).quantize(16).save(path, transparency=0),
    "cmyk.jpg": lambda path: Image.fromarray(eight(3)).convert("CMYK").save(path),
    "deep.png": lambda path: cv2.imwrite(str(path), (smooth(HEIGHT, WIDTH, 3) * 65535).astype(np.uint16)),
    "deep_alpha.png": lambda path: cv2.imwrite(str(path), (smooth(HEIGHT, WIDTH, 4) * 65535).astype(np.uint16)),
    "float.tif": lambda path: cv2.imwrite(str(path), smooth(HEIGHT, WIDTH, 3) * 3),
    "plain.bmp": lambda path: Image.fromarray(eight(3)).save(path),
    "turned.jpg": turned,
    "moving.gif": animation,
    "moving.webp": animation,
    "moving.png": animation,
    "still.gif": lambda path: Image.fromarray(eight(3)).quantize(16).save(path),
}


def fill(folder: Path, *names: str) -> Path:
    """Write pictures, all without names, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or MADE:
        MADE[name](folder / name)
    return folder
