"""Time the commands and datasets that make data, side by side in one run, and print ratios as Markdown tables.

``python docs/studies/data_benchmark.py`` takes some ten minutes on two cores; ``--part lr`` runs one part, and
``--images FOLDER`` replaces the mosaics of scikit-image's photographs by your images. Nothing else should run
meanwhile: ratios are medians over rounds in which the candidates take turns, but a busy machine blurs them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from lightsr_basicsr.data.degradations import anisotropic_kernel, classic_degradation, isotropic_kernel
from lightsr_basicsr.data.degraded_dataset import DegradedImageDataset
from lightsr_basicsr.data.low_resolution import LowResolution
from lightsr_basicsr.data.photographs import PHOTOGRAPHS, photographs
from lightsr_basicsr.tools.images import list_images
from lightsr_basicsr.tools.prepare.jobs import Work, cores
from lightsr_basicsr.tools.prepare.lmdb import prepare_lmdb
from lightsr_basicsr.tools.prepare.lr import prepare_lr

HEIGHT, WIDTH, TILE = 1356, 2040, 192
ROUNDS = 5
QUIET = Work(progress=False)


def mosaics(folder: Path, count: int, height: int = HEIGHT, width: int = WIDTH) -> Path:
    """Write images with the detail of photographs: tiles of photographs in their own resolution, never enlarged."""
    folder.mkdir(parents=True)
    sources = [image for _, image in photographs([*PHOTOGRAPHS["train"], *PHOTOGRAPHS["val"]])]
    rng = np.random.default_rng(0)
    for index in range(count):
        canvas = np.empty((height + TILE, width + TILE, 3), np.uint8)
        for top in range(0, height, TILE):
            for left in range(0, width, TILE):
                image = sources[rng.integers(len(sources))]
                y, x = (rng.integers(side - TILE) for side in image.shape[:2])
                canvas[top : top + TILE, left : left + TILE] = image[y : y + TILE, x : x + TILE]
        cv2.imwrite(str(folder / f"{index:04d}.png"), canvas[:height, :width])
    return folder


def take_turns(candidates: Mapping[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Run all candidates once unmeasured, then in turn, and return the seconds of each round by name."""
    for run in candidates.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(seconds: Mapping[str, list[float]], slow: str, fast: str) -> str:
    """Return the median over rounds of ``slow`` over ``fast``, with the lowest and the highest."""
    each = [one / other for one, other in zip(seconds[slow], seconds[fast], strict=True)]
    return f"{median(each):.2f} ({min(each):.2f} to {max(each):.2f})"


def table(title: str, header: str, rows: Iterator[str] | list[str]) -> None:
    """Print a Markdown table."""
    columns = header.count("|") + 1
    print(f"\n{title}\n\n| {header} |\n|{' --- |' * columns}")
    for row in rows:
        print(f"| {row} |", flush=True)


def preparing(folder: Path, work: Path, kind: str, scales: list[int], layout: str, jobs: int) -> Callable[[], object]:
    """Return a function that makes LR images in an empty folder."""
    out = work / f"lr_{layout}_{kind}_{len(scales)}_{scales[0]}_{jobs}"

    def run() -> None:
        shutil.rmtree(out, ignore_errors=True)
        prepare_lr(folder, out, LowResolution(kind), scales, layout, work=Work(workers=jobs, progress=False))

    return run


def files_alone(folder: Path, work: Path, kind: str, scales: list[int], layout: str, jobs: int) -> Callable[[], object]:
    """Return a function that reads the HR images and writes the same LR images, made before, and computes nothing."""
    made = work / f"made_{layout}_{kind}_{len(scales)}_{scales[0]}"
    prepare_lr(folder, made, LowResolution(kind), scales, layout, work=QUIET)
    contents = {path: cv2.imread(str(path)) for path in sorted(made.rglob("*.png"))}
    target = work / "files_alone"
    target.mkdir(exist_ok=True)

    def read_and_write(image: Path) -> None:
        cv2.imread(str(image))
        for path, content in contents.items():
            if path.name.startswith(image.stem):
                cv2.imwrite(str(target / f"{path.parent.name}_{path.name}"), content)

    def run() -> None:
        with ThreadPoolExecutor(jobs) as executor:
            list(executor.map(read_and_write, list_images(folder)))

    return run


def bench_lr(folder: Path, work: Path) -> None:
    """Time ``prepare lr`` on all cores against one, and against reading and writing the same files alone."""
    many = cores()
    lr_only = [("bi", [2]), ("bi", [3]), ("bi", [4]), ("bi", [8]), ("bi", [2, 3, 4]), ("bd", [3]), ("dn", [3])]
    with_hr = [("bi", [2, 3, 4]), ("bi", [4]), ("bd", [3]), ("dn", [3])]

    def rows() -> Iterator[str]:
        for kind, scales, layout in [*((*one, "benchmark") for one in with_hr), *((*one, "div2k") for one in lr_only)]:
            what = (folder, work, kind, scales, layout)
            seconds = take_turns({
                "one": preparing(*what, 1), "all": preparing(*what, many),
                "files, one": files_alone(*what, 1), "files, all": files_alone(*what, many),
            })  # fmt: skip
            names = ", ".join(f"x{scale}" for scale in scales)
            written = "HR and LR" if layout == "benchmark" else "LR"
            yield (
                f"{kind.upper()} {names}: {written} | {ratio(seconds, 'one', 'all')} | "
                f"{ratio(seconds, 'files, one', 'files, all')} | "
                f"{ratio(seconds, 'one', 'files, one')} | {ratio(seconds, 'all', 'files, all')}"
            )

    header = f"written | time on 1 core / {many} | the same, files alone | 1 core / files alone | {many} / files alone"
    table(f"`prepare lr`, {len(list_images(folder))} PNG images", header, rows())


def bench_lmdb(folder: Path, work: Path) -> None:
    """Compare ``prepare lmdb`` with BasicSR's function: time, memory, size."""
    kinds = ("ours", "basicsr", "basicsr-processes")
    results: dict[str, list[dict]] = {kind: [] for kind in kinds}
    for _ in range(ROUNDS):
        for kind in kinds:
            shutil.rmtree(work / "lmdb", ignore_errors=True)
            (work / "lmdb").mkdir()
            command = [sys.executable, __file__, "--child", kind, "--images", str(folder), "--work", str(work / "lmdb")]
            results[kind].append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))

    def rows() -> Iterator[str]:
        for kind in kinds:
            each = [one["seconds"] / two["seconds"] for one, two in zip(results[kind], results["ours"], strict=True)]
            memory = median(result["memory"] for result in results[kind]) / 2**20
            size = results[kind][0]["size"] / sum(file.stat().st_size for file in list_images(folder))
            yield f"{kind} | {median(each):.2f} ({min(each):.2f} to {max(each):.2f}) | {memory:.0f} MiB | {size:.2f}"

    header = "how | time over that of `prepare lmdb` | memory above the start | LMDB over files"
    table(f"`prepare lmdb`, {len(list_images(folder))} PNG images", header, rows())


def child_lmdb(kind: str, folder: Path, work: Path) -> None:
    """Make an LMDB in a process of its own and print seconds, bytes of memory and of the LMDB as JSON."""
    from basicsr.utils.lmdb_util import make_lmdb_from_imgs

    names = [file.name for file in list_images(folder)]
    keys = [Path(name).stem for name in names]
    total = sum(file.stat().st_size for file in list_images(folder))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        if kind == "ours":
            prepare_lmdb([folder], work, work=QUIET)
        else:
            make_lmdb_from_imgs(
                str(folder), str(work / "x.lmdb"), names, keys,
                multiprocessing_read=kind != "basicsr", n_thread=cores(), map_size=4 * total,
            )  # fmt: skip
    seconds = time.perf_counter() - start
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    size = sum(file.stat().st_blocks * 512 for file in work.rglob("data.mdb"))
    print(json.dumps({"seconds": seconds, "memory": memory, "size": size}))


def bench_blind(work: Path) -> None:
    """Time classic degradation of a batch against a loop over images with BasicSR's functions, all on the CPU."""
    from basicsr.data.degradations import bivariate_Gaussian
    from basicsr.utils.img_process_util import filter2D
    from basicsr.utils.matlab_functions import imresize as basicsr_imresize

    del work
    batch = torch.rand(64, 3, 256, 256)
    draws = torch.rand(3, 64, generator=torch.Generator().manual_seed(0)).double()
    sigma_1, sigma_2, theta = draws[0] * 3.8 + 0.2, draws[1] * 3.8 + 0.2, draws[2] * np.pi
    noise = torch.randn(64, 3, 64, 64)

    def loop(count: int, isotropic: bool) -> None:
        for index, image in enumerate(batch):
            which = index % count
            across = sigma_1[which] if isotropic else sigma_2[which]
            kernel = bivariate_Gaussian(
                21, float(sigma_1[which]), float(across), float(theta[which]), isotropic=isotropic
            )
            blurred = filter2D(image[None], torch.from_numpy(kernel).float()[None])[0]
            low = basicsr_imresize(blurred, 1 / 4) + 10 / 255 * noise[index]
            (low * 255).round().clamp(0, 255) / 255

    def ours(count: int, isotropic: bool) -> None:
        kernel = (
            isotropic_kernel(sigma_1[:count]) if isotropic
            else anisotropic_kernel(sigma_1[:count], sigma_2[:count], theta[:count])
        )  # fmt: skip
        classic_degradation(batch, kernel, 4, noise, 10.0)

    def rows() -> Iterator[str]:
        for threads in sorted({1, cores()}):
            torch.set_num_threads(threads)
            for isotropic in (True, False):
                for count in (1, 64):
                    seconds = take_turns(
                        {
                            "loop": lambda c=count, i=isotropic: loop(c, i),
                            "ours": lambda c=count, i=isotropic: ours(c, i),
                        },
                        rounds=3,
                    )
                    kind = "isotropic" if isotropic else "anisotropic"
                    per = "batch" if count == 1 else "image"
                    yield f"{kind}, one per {per} | {threads} | {ratio(seconds, 'loop', 'ours')}"

    table("Classic degradation of 64 x 3 x 256 x 256 to x4 with noise", "kernels | threads | loop / ours", rows())


def bench_datasets(folder: Path, work: Path) -> None:
    """Time items of a dataset that makes LR images against one that reads them from files."""
    from basicsr.data.paired_image_dataset import PairedImageDataset

    prepare_lr(folder, work / "stored", scales=[4], work=QUIET)
    common = {"name": "x", "io_backend": {"type": "disk"}, "phase": "train", "scale": 4, "gt_size": 256,
              "use_hflip": True, "use_rot": True, "dataroot_gt": str(work / "stored" / "HR_x4")}  # fmt: skip
    stored = PairedImageDataset({**common, "dataroot_lq": str(work / "stored" / "LRBI_x4")})
    candidates = {"stored": stored}
    for kind in ("bi", "bd", "dn"):
        candidates[kind] = DegradedImageDataset({**common, "degradation": kind})
    torch.set_num_threads(1)

    def pass_over(dataset: Dataset) -> None:
        random.seed(0)
        for index in range(len(dataset)):
            dataset[index]

    seconds = take_turns({name: lambda d=dataset: pass_over(d) for name, dataset in candidates.items()})
    rows = [f"{kind.upper()} | {ratio(seconds, kind, 'stored')}" for kind in ("bi", "bd", "dn")]
    table("Training items, gt_size 256, one process", "LR made on the fly | time over stored pairs", rows)


def main() -> None:
    """Run the selected parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("lr", "lmdb", "blind", "datasets")
    parser.add_argument("--part", nargs="+", choices=parts, default=parts)
    parser.add_argument("--images", type=Path, help="folder of PNG photographs; default: mosaics of 2040x1356")
    parser.add_argument("--count", type=int, default=12, help="mosaics to make (default: 12)")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child_lmdb(args.child, args.images, args.work)
        return
    print(f"{platform.machine()}, {cores()} cores, Python {platform.python_version()}, torch {torch.__version__}, "
          f"OpenCV {cv2.__version__}, load {os.getloadavg()[0]:.1f}")  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="data_benchmark_") as work:
        root = Path(work)
        large = args.images or mosaics(root / "large", args.count)
        if "lr" in args.part:
            bench_lr(large, root)
        if "lmdb" in args.part:
            bench_lmdb(args.images or mosaics(root / "crops", 40 * args.count, 480, 480), root)
        if "blind" in args.part:
            bench_blind(root)
        if "datasets" in args.part:
            bench_datasets(large, root)


if __name__ == "__main__":
    main()
