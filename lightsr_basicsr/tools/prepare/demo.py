"""The demo of ``basicsr prepare``: test images as its input, and a contact sheet of its output."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from lightsr_basicsr.data.photographs import photographs
from lightsr_basicsr.tools.images import captioned, read_image, write_png
from lightsr_basicsr.tools.prepare.claims import RECORD
from lightsr_basicsr.tools.prepare.jobs import PrepareError

PART = 96  # side of the shown part of an HR image, in pixels
CELL = 288  # side of a cell of the sheet, in pixels
SHEET = "contact_sheet.png"

NAMES = ("chelsea.png", "coffee.png", "astronaut.png")
# Centre of the part shown, as fractions of height and width: an eye, the rim of a cup, a face.
SHOWN = {"chelsea": (0.36, 0.42), "coffee": (0.42, 0.52), "astronaut": (0.2, 0.42)}


def write_test_images(folder: Path) -> list[str]:
    """Write missing test images into ``folder`` and return all names without suffix.

    Raises:
        ImportError, FileNotFoundError: If scikit-image is missing or lacks them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for name, image in photographs(NAMES):
        names.append(name)
        if not (folder / f"{name}.png").exists():
            write_png(folder / f"{name}.png", image)
    return names


def check_sheet(out: Path) -> None:
    """Raise PrepareError if another file has the name of the contact sheet: one is drawn only beside prepared sets."""
    sheet = out / SHEET
    if os.path.lexists(sheet) and not any(out.glob(f"*/{RECORD}")):
        raise PrepareError(f"{sheet} exists and is not of this demo, so it is not replaced: choose another -o.")


def draw_contact_sheet(out: Path, names: Sequence[str], sets: Mapping[str, tuple[str, int]]) -> Path:
    """Draw the same part of each image in each set, pixels enlarged, to ``out/contact_sheet.png``; return its path.

    A row shows one of ``names``, without suffix, a column one of ``sets``: folder in ``out`` and scale by caption.
    """
    rows = [
        np.concatenate([_cell(out / folder / f"{name}.png", name, caption, factor)
                        for caption, (folder, factor) in sets.items()], axis=1)
        for name in names
    ]  # fmt: skip
    path = out / SHEET
    write_png(path, np.concatenate(rows))
    return path


def _cell(file: Path, name: str, caption: str, factor: int) -> np.ndarray:
    image = read_image(file)
    side = PART // factor
    corner = [round(length * share) - side // 2 for length, share in zip(image.shape, SHOWN[name], strict=False)]
    part = image[corner[0] : corner[0] + side, corner[1] : corner[1] + side]
    zoomed = cv2.resize(part, (CELL, CELL), interpolation=cv2.INTER_NEAREST)
    return captioned(zoomed, (caption, f"{name}, {side}x{side} pixels"), CELL)
