"""Make the pictures of the site: the front page's, and the figures of docs/networks.md.

``python docs/studies/pictures.py WEIGHTS`` reads the official files in the folder WEIGHTS. Chelsea (Stéfan van der
Walt) and Coffee (Rachel Michetti), both CC0, and Astronaut (NASA, public domain) come with scikit-image. The picture of
the front page enlarges a part of Chelsea as it is; the figures enlarge bicubic LR images, by ``basicsr compare``.
Takes a minute on two cores.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

import lightsr_basicsr
from lightsr_basicsr.data.degradations import imresize
from lightsr_basicsr.data.photographs import photographs
from lightsr_basicsr.tools.compare.crops import Crop
from lightsr_basicsr.tools.compare.run import Settings

DOCS = Path(__file__).resolve().parents[1]
PICTURES = DOCS / "pictures"
# An eye of Chelsea and its surroundings: x, y, width and height in pixels.
EYE = (65, 84, 200, 60)
CROPS = {"chelsea": Crop(140, 84, 88, 66), "coffee": Crop(384, 40, 88, 66), "astronaut": Crop(196, 76, 88, 66)}
FILES = {"IMDN": "IMDN_x4.pth", "FDIWN": "FDIWN_x4.pt", "DDistill-SR": "DDistill-SRx4_inference.pth"}
WIDTH = 1400


def hero(weights: Path) -> Image.Image:
    """Return a picture whose left half has LR pixels, and whose right half IMDN made of them."""
    x, y, width, height = EYE
    (_, image) = next(photographs(["chelsea.png"]))
    low = Image.fromarray(image[y : y + height, x : x + width, ::-1])
    large = lightsr_basicsr.load(weights / FILES["IMDN"]).upscale(low)
    half = large.width // 2
    large.paste(low.resize(large.size, Image.Resampling.NEAREST).crop((0, 0, half, large.height)), (0, 0))
    draw, font = ImageDraw.Draw(large), ImageFont.load_default(18)
    draw.line([(half, 0), (half, large.height)], fill="white", width=3)
    for text, place, anchor in (("pixels of the photograph", 14, "ls"), ("IMDN x4", large.width - 14, "rs")):
        draw.text((place, large.height - 14), text, "white", font, anchor, stroke_width=2, stroke_fill="#333333")
    return large


def figures(weights: Path, folder: Path) -> dict[str, Image.Image]:
    """Return a figure of each photograph: a part of it by every method, with PSNR and SSIM."""
    methods = ["bicubic", "TinySR=TinySR_x4", *(f"{title}={weights / file}" for title, file in FILES.items())]
    found = {}
    for name, image in photographs(f"{name}.png" for name in CROPS):
        stem = name.removesuffix(".png")
        high = np.ascontiguousarray(image[: image.shape[0] // 4 * 4, : image.shape[1] // 4 * 4])
        for kind, pixels in (("HR", high), ("LR", imresize(high, 1 / 4))):
            (folder / stem / kind).mkdir(parents=True)
            cv2.imwrite(str(folder / stem / kind / f"{stem}.png"), pixels)
        settings = Settings(crop=CROPS[stem], latency=False, sheets=(stem,))
        done = lightsr_basicsr.compare(
            methods,
            f"scikit-image={folder / stem / 'LR'}",
            folder / stem / "HR",
            folder / stem / "out",
            settings=settings,
        )
        print(stem, done.means, done.failed)
        (sheet,) = (folder / stem / "out" / "sheets").glob("*.png")
        found[stem] = Image.open(sheet).convert("RGB")
    return found


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help=f"folder of {', '.join(FILES.values())}")
    weights = parser.parse_args().weights
    PICTURES.mkdir(exist_ok=True)
    hero(weights).save(PICTURES / "hero.jpg", quality=88, optimize=True)
    with TemporaryDirectory() as folder:
        for name, figure in figures(weights, Path(folder)).items():
            size = (WIDTH, round(figure.height * WIDTH / figure.width))
            figure.resize(size, Image.Resampling.LANCZOS).save(PICTURES / f"{name}.jpg", quality=86, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
