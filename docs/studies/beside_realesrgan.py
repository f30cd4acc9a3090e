"""Run the same pictures with the same weights through `basicsr upscale` and through Real-ESRGAN's class, RealESRGANer.

python docs/studies/beside_realesrgan.py PYTHON PHOTOGRAPHS [--count 20] [--rounds 3]

PYTHON is the interpreter of an environment with `pip install realesrgan`, PHOTOGRAPHS a folder of photographs. The
wheel holds the class but not the script, so LOOP does what the script does with each file. Both are new processes, by
turns, on the CPU, with one thread and in float32, and enlarge 160x120 pixels four times by TinySR x4, whose layers and
keys are those of SRVGGNetCompact. Printed are rates and memory on RGB pictures, and what of other pictures was kept.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
from PIL import ExifTags, Image, ImageCms, ImageOps
from safetensors.torch import load_file

import lightsr_basicsr

WEIGHTS = Path(lightsr_basicsr.__file__).parent / "weights" / "tiny_x4.safetensors"
SIZE = (160, 120)
MAKE, ORIENTATION = 0x010F, 0x0112
# The script goes on after a RuntimeError, and any other ends it. Here the other pictures are still wanted.
LOOP = """
import glob, os, sys, types
import cv2, torchvision.transforms.functional as functional
moved = types.ModuleType("torchvision.transforms.functional_tensor")  # BasicSR 1.4.2 imports it, torchvision dropped it
moved.rgb_to_grayscale = functional.rgb_to_grayscale
sys.modules[moved.__name__] = moved
from realesrgan import RealESRGANer
from realesrgan.archs.srvgg_arch import SRVGGNetCompact
source, target, weights = sys.argv[1:]
net = SRVGGNetCompact(num_in_ch=3, num_out_ch=3, num_feat=16, num_conv=7, upscale=4, act_type="prelu")
upsampler = RealESRGANer(scale=4, model_path=weights, model=net, tile=0, tile_pad=10, pre_pad=0, half=False)
os.makedirs(target, exist_ok=True)
for path in sorted(glob.glob(os.path.join(source, "*"))):
    name, ending = os.path.splitext(os.path.basename(path))
    try:
        image = cv2.imread(path, cv2.IMREAD_UNCHANGED)
        alpha = len(image.shape) == 3 and image.shape[2] == 4
        result, _ = upsampler.enhance(image, outscale=4)
        cv2.imwrite(os.path.join(target, name + (".png" if alpha else ending)), result)
    except Exception as error:
        print(f"{name}{ending}: {type(error).__name__}: {error}")
"""


def main() -> None:
    """Make pictures, run both, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python")
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    photographs = [read_small(path) for path in sorted(args.photographs.iterdir())[: args.count]]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        torch.save({"params": load_file(WEIGHTS)}, root / "net.pth")
        for name, count in (("one", 1), ("many", args.count)):
            (root / name).mkdir()
            for number in range(count):
                to_image(photographs[number % len(photographs)]).save(root / name / f"{number:03}.png")
        write_kinds(root / "kinds", photographs[0])
        compare_rates(args, root)
        differences = [abs(pixels(root / "many-theirs" / path.name) - pixels(path)).max()
                       for path in sorted((root / "many-ours").iterdir())]  # fmt: skip
        print(f"largest difference of {len(differences)} RGB results: {255 * max(differences):.0f} of 255")
        for who in ("theirs", "ours"):
            run(args.python, root, "kinds", who, quiet=False)
        print("\n| input | RealESRGANer | basicsr upscale |\n| --- | --- | --- |")
        for path in sorted((root / "kinds").iterdir()):
            answers = [describe(path, root / f"kinds-{who}") for who in ("theirs", "ours")]
            print(f"| {path.name}: {describe(path, path.parent)} | {' | '.join(answers)} |")


def read_small(path: Path) -> np.ndarray:
    """Return the middle of a photograph as (120, 160, 3) float32 RGB in [0, 1], with more than 256 levels."""
    image = cv2.imread(str(path))[..., ::-1]
    height, width = image.shape[:2]
    unit = min(width // 4, height // 3)
    top, left = (height - 3 * unit) // 2, (width - 4 * unit) // 2
    part = image[top : top + 3 * unit, left : left + 4 * unit].astype(np.float32) / 255
    return cv2.resize(part, SIZE, interpolation=cv2.INTER_AREA)


def to_image(values: np.ndarray) -> Image.Image:
    """Return a Pillow image of 8 bits."""
    return Image.fromarray((values * 255).round().astype(np.uint8))


def write_kinds(folder: Path, values: np.ndarray) -> None:
    """Write one photograph as a picture of each kind."""
    folder.mkdir()
    image, gray = to_image(values), to_image(values).convert("L")
    rows, columns = np.mgrid[:120, :160]
    disk = Image.fromarray(np.clip(255 * (50 - np.hypot(rows - 60, columns - 80)) / 6 + 128, 0, 255).astype(np.uint8))
    image.save(folder / "rgb.png")
    gray.save(folder / "gray.png")
    Image.merge("RGBA", (*image.split(), disk)).save(folder / "rgb-alpha.png")
    hidden = Image.composite(image, Image.new("RGB", SIZE), disk.point(lambda level: 255 if level else 0))
    Image.merge("RGBA", (*hidden.split(), disk)).save(folder / "rgb-alpha-black-beyond.png")
    Image.merge("LA", (gray, disk)).save(folder / "gray-alpha.png")
    deep = (values * 65535).round().astype(np.uint16)
    cv2.imwrite(str(folder / "rgb-16.png"), deep[..., ::-1])
    cv2.imwrite(str(folder / "gray-16.png"), deep[..., 1])
    palette = image.quantize(255)
    palette.paste(255, mask=disk.point(lambda level: 255 if level < 128 else 0))
    palette.save(folder / "palette-transparent.png", transparency=255)
    image.convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    exif, profile = Image.Exif(), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif[ORIENTATION], exif[MAKE] = 6, "Camera"
    image.save(folder / "camera.jpg", quality=95, exif=exif, icc_profile=profile, dpi=(300, 300))
    broken = (folder / "camera.jpg").read_bytes()
    (folder / "broken.jpg").write_bytes(broken[: len(broken) // 2])
    (folder / "words.png").write_text("No picture.")
    cv2.imwrite(str(folder / "float.tif"), values[..., ::-1])
    frames = [Image.fromarray(np.roll(np.asarray(image), 8 * step, 1)).quantize(128) for step in range(3)]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:], duration=100, loop=0)


def compare_rates(args: argparse.Namespace, root: Path) -> None:
    """Print seconds and memory of both on RGB pictures."""
    rounds = []
    for _ in range(args.rounds):
        rounds.append({(who, name): run(args.python, root, name, who)
                       for name in ("one", "many") for who in ("theirs", "ours")})  # fmt: skip
    for label, measure in (("seconds", 0), ("processor seconds", 1), ("peak memory, MiB", 2)):
        for name in ("one", "many"):
            theirs, ours = ([each[who, name][measure] for each in rounds] for who in ("theirs", "ours"))
            print(f"{label}, {name}:", ratio(theirs, ours))
        if measure < 2:
            theirs, ours = ([(each[who, "many"][measure] - each[who, "one"][measure]) / (args.count - 1)
                             for each in rounds] for who in ("theirs", "ours"))  # fmt: skip
            print(f"{label}, each further picture:", ratio(theirs, ours))


def ratio(theirs: list[float], ours: list[float]) -> str:
    """Return medians, and the ratio of ours to theirs with its range over the rounds."""
    each = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    medians = f"RealESRGANer {median(theirs):.3f}, basicsr upscale {median(ours):.3f}"
    return f"{medians}, ratio {median(each):.2f} ({min(each):.2f} to {max(each):.2f})"


def run(python: str, root: Path, name: str, who: str, quiet: bool = True) -> tuple[float, float, float]:
    """Enlarge a folder in a new process and return its seconds, processor seconds and peak memory in MiB."""
    source, target = str(root / name), str(root / f"{name}-{who}")
    command = [python, "-c", LOOP, source, target, str(root / "net.pth")]
    if who == "ours":
        command = [sys.executable, "-m", "lightsr_basicsr", "upscale", source, "-o", target, "--overwrite"]
        command += ["--model", str(WEIGHTS), "--backend", "torch", "--device", "cpu", "--fp32", "--quiet"]
    out = subprocess.DEVNULL if quiet else None
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
    _, _, used = os.wait4(process.pid, 0)
    return time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def pixels(path: Path) -> np.ndarray:
    """Return (H, W, 3) float values in [0, 1] as a viewer shows them: upright, and on white."""
    values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if values.dtype == np.uint8:  # Pillow, which turns pictures upright, would make the others 8 bits
        with Image.open(path) as image:
            shown = ImageOps.exif_transpose(image).convert("RGBA")
        return np.asarray(Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown))[..., :3] / 255
    values = values.astype(np.float64) / (65535 if values.dtype == np.uint16 else 1)
    return values[..., ::-1] if values.ndim == 3 else np.repeat(values[..., None], 3, 2)


def describe(source: Path, folder: Path) -> str:
    """Return what a result holds, and its PSNR on the input after it was reduced to its size."""
    found = sorted(folder.glob(source.stem + ".*"))
    if not found:
        return "no result"
    path = found[0]
    words = [path.suffix[1:] if path.name != source.name else ""]
    values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if values is None:
        return "text"
    if values.dtype == np.uint8:
        with Image.open(path) as image:
            words += [image.mode, *(key for key in ("icc_profile", "dpi", "transparency") if key in image.info)]
            words += [
                f"{ExifTags.TAGS[key]}={value}" for key, value in image.getexif().items() if key in (MAKE, ORIENTATION)
            ]
            words += [f"{image.n_frames} frames"] if getattr(image, "n_frames", 1) > 1 else []
    else:
        words += [f"{values.dtype} x{1 if values.ndim == 2 else values.shape[2]}"]
    if folder != source.parent and source.stem != "broken":
        shown, wanted = pixels(path), pixels(source)
        if shown.shape[0] * wanted.shape[1] == shown.shape[1] * wanted.shape[0]:
            small = cv2.resize(shown, wanted.shape[1::-1], interpolation=cv2.INTER_AREA)
            words.append(f"{-10 * np.log10(((small - wanted) ** 2).mean()):.1f} dB")
        else:
            words.append(f"lying, {shown.shape[1]}x{shown.shape[0]}")
    return " ".join(filter(None, words))


if __name__ == "__main__":
    main()
