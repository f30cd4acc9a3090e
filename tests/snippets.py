"""The code on the pages: its blocks, and the small files that stand in for a reader's."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image

from lightsr_basicsr.data.degradations import imresize
from tests.test_tools.report.work import make_run

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^>]*?) -->\s*)?^ *```(?P<language>\w*)\n(?P<text>.*?)^ *```$", re.M | re.S
)
SHELL = ("", "bash", "sh", "console")
# Programs that are not run: their arguments are looked at instead.
PROGRAMS = ("basicsr", "torchrun", "srun", "scontrol", "pip", "python", "pytest", "ruff", "mkdocs", "cmake")
END = "\x1e"


class Block(NamedTuple):
    """A fenced block of a page, with the reason that its marker gives for not running it, None without marker."""

    page: str
    line: int
    language: str
    text: str
    reason: str | None

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    text, found = page.read_text(encoding="utf-8"), []
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("text"))
        found.append(
            Block(str(page.relative_to(ROOT)), line, match["language"], dedent(match["text"]), match["reason"])
        )
    return found


def commands_of(block: Block) -> list[list[str]]:
    """Return the commands of a shell block as the shell sees them, after it has run what is not in PROGRAMS."""
    record = Path("commands").resolve()
    record.write_text("")
    stubs = [f'{name}() {{ printf "%s\\0" {name} "$@" "$END" >> "$RECORD"; }}' for name in PROGRAMS]
    script = "\n".join(["set -e -o pipefail", *stubs, block.text])
    environment = {**os.environ, "RECORD": str(record), "END": END}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, f"{block.name}: bash says {done.stderr.strip()}"
    found = record.read_text().split(f"{END}\0")[:-1]
    return [entry.split("\0")[:-1] for entry in found]


# Files


def write_picture(path: str, height: int = 12, width: int = 16, channels: int = 3) -> None:
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, channels), np.uint8)
    Image.fromarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC)).save(place)


def write_pairs(high: str, low: str, name: str = "butterfly", side: int = 64) -> None:
    write_picture(f"{high}/{name}.png", side, side)
    Path(low).mkdir(parents=True, exist_ok=True)
    cv2.imwrite(f"{low}/{name}.png", imresize(cv2.imread(f"{high}/{name}.png"), 1 / 4))


def write_film(path: str) -> None:
    import av

    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for shade in (60, 120, 180):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), shade, np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def save_network(name: str, path: str, **arguments) -> None:
    from basicsr.utils.registry import ARCH_REGISTRY

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    state = ARCH_REGISTRY.get(name)(**arguments).state_dict()
    torch.save({"params": state, "params_ema": state}, path)


def write_program(path: str) -> None:
    Path(path).parent.mkdir()
    Path(path).write_text("#!/bin/sh\n")
    Path(path).chmod(0o755)


def export_network(path: str) -> None:
    from lightsr_basicsr.tools.export.run import export

    export("TinySR_x4", path)


def imdn(path: str) -> None:
    save_network("IMDN", path, num_feat=16, num_block=1, upscale=4)


# What a page that names one of these finds: a name, and what makes it.
FILES: dict[str, Callable[[str], None]] = {
    "photo.jpg": write_picture,
    "logo.png": lambda path: write_picture(path, channels=4),
    "poster.png": write_picture,
    "photos/a.jpg": write_picture,
    "photos/b.png": write_picture,
    "scans/a.tif": write_picture,
    "thumbnails/a.jpg": write_picture,
    "holidays/1/a.jpg": write_picture,
    "film.mp4": write_film,
    "film.mov": write_film,
    "data/Set5": lambda path: write_pairs(f"{path}/HR", f"{path}/LR"),
    "RealSR": lambda path: [write_picture(f"{path}(V3)/Canon/Test/4/1_{kind}.png") for kind in ("HR", "LR4")],
    "datasets/DIV2K/DIV2K_train_HR/0001.png": write_picture,
    "Flickr2K": lambda path: write_picture(f"{path}/Flickr2K_HR/000001.png"),
    "IMDN_x4.pth": imdn,
    "experiments/pretrained_models": lambda path: imdn(f"{path}/IMDN_x4.pth"),
    "net.onnx": export_network,
    "IMDN_x4.onnx": export_network,
    "build/upscale": write_program,
}
# Names of official files: their stand-ins lie in the cache.
CACHED = {
    "IMDN_x4.pth": imdn,
    "model_RTC.pth": lambda path: save_network("IMDN_RTC", path, num_feat=4, num_block=1),
}
# The networks that a reader of these pages has trained.
TRAINED = {
    "docs/compare.md": {"net_g_latest.pth": imdn},
    "docs/dcls.md": {
        "net_g_latest.pth": lambda path: save_network("DCLS", path, num_block=1, num_group=1, num_feat=16)
    },
    "docs/networks.md": {"net_g_latest.pth": imdn},
    "docs/report.md": {f"experiments/{name}": lambda path: make_run(path.rpartition("/")[2]) for name in ("a", "b")},
    "docs/reparameterization.md": {
        "net_g_latest.pth": lambda path: save_network(
            "Reparameterized", path, network={"type": "IMDN_RTC", "num_block": 1}, block="ECB"
        )
    },
    "docs/troubleshooting.md": {"net.pth": imdn},
}


def write_files(block: Block) -> None:
    """Write the files that a block names into the working directory, which is empty."""
    for path, write in {**FILES, **TRAINED.get(block.page, {})}.items():
        if re.search(rf"(?<![\w/]){path.split('/')[0]}\b", block.text):
            write(path)
    for file, write in CACHED.items():
        write(f"cache/{file}")
