"""Measure the rate of `basicsr upscale` on small pictures beside decoding, computing and encoding one after the other.

python docs/studies/folder_rate.py WEIGHTS PHOTOGRAPHS [--count 100] [--side 160] [--rounds 5] [--backend torch]

Both run in one process, by turns, with the same backend and files. Beside them stands how long each step takes alone:
with two cores no order of work is faster than the longest step, nor than half the processor time of all of them.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median

from PIL import Image

from lightsr_basicsr.commands.upscale import _let_threads_rest

_let_threads_rest()  # as the command does, before torch is imported

from lightsr_basicsr import Upscaler  # noqa: E402
from lightsr_basicsr.pictures.reading import read_picture  # noqa: E402
from lightsr_basicsr.pictures.writing import write_picture  # noqa: E402
from lightsr_basicsr.tools.upscale.jobs import Job  # noqa: E402
from lightsr_basicsr.tools.upscale.run import Done, upscale_files  # noqa: E402


def main() -> None:
    """Measure and print rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--side", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--ending", default="png")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        jobs = make_jobs(args, Path(folder))
        upscaler = Upscaler(args.weights, backend=args.backend, device="cpu")
        one_after_the_other(jobs[:3], upscaler)
        steps, ratios, rates = [], [], []
        for _ in range(args.rounds):
            shutil.rmtree(folder + "/out", ignore_errors=True)
            steps.append(one_after_the_other(jobs, upscaler))
            shutil.rmtree(folder + "/out", ignore_errors=True)
            start = time.perf_counter()
            upscale_files(jobs, upscaler, Done())
            seconds = time.perf_counter() - start
            ratios.append(sum(steps[-1]) / seconds)
            rates.append(len(jobs) / seconds)
    names = ("decode", "compute", "encode and write")
    alone = [1000 * median(times) / len(jobs) for times in zip(*steps, strict=True)]
    print(", ".join(f"{name} {each:.1f} ms" for name, each in zip(names, alone, strict=True)), "a picture")
    print(f"{median(rates):.1f} pictures/s, {median(ratios):.2f} times the rate of one after the other")
    print(f"bound by the longest step: {sum(alone) / max(alone):.2f} times")


def make_jobs(args: argparse.Namespace, folder: Path) -> list[Job]:
    """Write small pictures and return what to do."""
    files = sorted(args.photographs.iterdir())
    jobs = []
    for number in range(args.count):
        image = Image.open(files[number % len(files)]).convert("RGB").crop((0, 0, args.side, args.side * 3 // 4))
        path = folder / f"{number:03}.{args.ending}"
        image.save(path)
        jobs.append(Job(path, folder / "out" / path.name))
    return jobs


def one_after_the_other(jobs: list[Job], upscaler: Upscaler) -> list[float]:
    """Enlarge pictures in one thread and return the seconds of each step."""
    spent = [0.0, 0.0, 0.0]
    for source, target in jobs:
        times = [time.perf_counter()]
        picture = read_picture(source)
        times.append(time.perf_counter())
        made = upscaler.upscale_picture(picture)
        times.append(time.perf_counter())
        write_picture(target, made)
        times.append(time.perf_counter())
        spent = [total + end - start for total, start, end in zip(spent, times, times[1:], strict=False)]
    return spent


if __name__ == "__main__":
    main()
