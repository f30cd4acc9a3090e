"""Measure what a GPU gives: inference, training steps, the tests that need one, and a short real training.

``python docs/studies/gpu.py`` takes ten minutes at most and writes what it has after every row, so that a run that is
stopped is not lost: ``results.json``, and ``results.md`` with the tables as docs/benchmark.md has them.
Its parts run in the order of ``PARTS``, each within its share of the time; what no time was left for is named, and what
fails says why.

- inference: the authors' steps in eager float32 against channels last, half precision, recorded CUDA graphs and ONNX
  Runtime, for five networks; candidates take turns, ratios are medians of rounds.
- training: images per second in float32 against bf16 with channels last.
- tests: those with the marker ``gpu``.
- run: the demo of IMDN by the command, to its end.
- compiled: both tables again for ``torch.compile``, whose translation takes minutes.

``--device cpu --quick`` tries the script out on small images, where its numbers mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import kdsr_benchmark
import torch
import training_benchmark
from torch import Tensor

from lightsr_basicsr.archs.network import SRNetwork
from lightsr_basicsr.archs.published import published_form
from lightsr_basicsr.errors import short_message
from lightsr_basicsr.runtimes.choice import open_runtime
from lightsr_basicsr.runtimes.network import smooth_picture, traits_of
from lightsr_basicsr.runtimes.torch_runtime import TorchRuntime, torch_precisions
from lightsr_basicsr.tools.benchmark.sources import STANDARD
from lightsr_basicsr.tools.networks import build

ROOT = Path(__file__).resolve().parents[2]
# With the share of the time that each may end at; the first ones are wanted most.
PARTS = {"inference": 0.3, "training": 0.5, "tests": 0.7, "run": 0.85, "compiled": 1.0}
SIZES, QUICK_SIZES = ((180, 320), (1080, 1920)), ((24, 32),)
# Batches of LR 48x48, and 64x64 for KDSR, as the option files have them; larger ones fill a GPU better.
STEPS = {"IMDN": 16, "DRN": 32, "KDSR teacher": 9, "KDSR student": 9, "KDSR GAN": 9}
FORMS: dict[str, dict[str, Any]] = {"fp32": {}, "bf16, channels last": {"amp": "bf16", "channels_last": True}}
COMPILED = {"bf16, channels last, compiled": {**FORMS["bf16, channels last"], "compile": True}}
NO_TIME = "no time was left"
REFERENCE = "authors' steps, fp32"
Run = Callable[[], Any]
Opens = Callable[[], Run]


class Row(NamedTuple):
    """One measurement; ``ratio`` is the time of the first form over that of this one, in the same rounds."""

    part: str
    case: str
    form: str
    seconds: float | None = None
    ratio: tuple[float, float, float] | None = None  # median, smallest, largest
    per_second: float | None = None  # images
    memory: float | None = None  # peak on the GPU, in bytes
    difference: float | None = None  # largest, of the range, from the first form
    problem: str = ""


class Study:
    """Rows, and the time that is left for them."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.start, self.rows = args, time.perf_counter(), []
        self.share = 1.0  # of the time, that the part may end at
        self.out = Path(args.out).resolve()
        self.out.mkdir(parents=True, exist_ok=True)

    @property
    def left(self) -> float:
        """Seconds left to the part that runs."""
        return self.start + self.share * 60 * self.args.minutes - time.perf_counter()

    @property
    def patience(self) -> float:
        """Seconds that the rounds of one case may take."""
        return max(self.left / 4, 1.0)

    def add(self, row: Row) -> None:
        """Keep a row, print it, and write all."""
        self.rows.append(row)
        print(words(row), flush=True)
        content = {"machine": machine(self.args.device), "rows": [row._asdict() for row in self.rows]}
        (self.out / "results.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        (self.out / "results.md").write_text(tables(self.rows, self.args.device), encoding="utf-8")


def machine(device: str) -> str:
    """Return the device's name and the versions."""
    name = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    versions = f"torch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    return f"{name}, {versions}, {platform.platform()}"


def words(row: Row) -> str:
    """Return a row as a line."""
    found = [row.problem] if row.problem else []
    if row.seconds is not None:
        found.append(f"{1e3 * row.seconds:.2f} ms")
    if row.ratio is not None:
        found.append("{:.2f} times as fast ({:.2f} to {:.2f})".format(*row.ratio))
    if row.per_second is not None:
        found.append(f"{row.per_second:.1f} images/s")
    if row.memory is not None:
        found.append(f"{row.memory / 2**20:,.0f} MiB")
    if row.difference is not None:
        found.append(f"differs by {row.difference:.1e}")
    return f"{row.part}: {row.case}, {row.form}: " + ", ".join(found)


def tables(rows: list[Row], device: str) -> str:
    """Return the rows as Markdown, a table for each part."""
    text = [f"{machine(device)}; ratios to the first form of the same rounds: median (smallest to largest)."]
    for part in dict.fromkeys(row.part for row in rows):
        text += ["", f"## {part.capitalize()}", ""]
        text += [
            "| case | form | time | ratio | images/s | memory | difference |",
            "|---|---|---:|---:|---:|---:|---:|",
        ]
        text += [_line(row) for row in rows if row.part == part]
    return "\n".join(text) + "\n"


def _line(row: Row) -> str:
    cells = [
        "-" if row.seconds is None else f"{row.seconds:.4f} s",
        "-" if row.ratio is None else "{:.2f} ({:.2f} to {:.2f})".format(*row.ratio),
        "-" if row.per_second is None else f"{row.per_second:.1f}",
        "-" if row.memory is None else f"{row.memory / 2**20:,.0f} MiB",
        "-" if row.difference is None else f"{row.difference:.1e}",
    ]
    if row.problem:
        cells[0] = row.problem.replace("|", "/").replace("\n", " ")
    return "| " + " | ".join([row.case, row.form, *cells]) + " |"


def wait(device: str) -> None:
    """Wait until the device has done its work."""
    if device == "cuda":
        torch.cuda.synchronize()


def peak(device: str, run: Run) -> tuple[Any, float | None]:
    """Return what a call gives, and the largest memory on the GPU meanwhile, in bytes."""
    if device != "cuda":
        return run(), None
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    result = run()
    torch.cuda.synchronize()
    return result, float(torch.cuda.max_memory_allocated())


def recorded(net: SRNetwork, image: Tensor, precision: str) -> Run:
    """Return a call that replays a CUDA graph of a network for images of one size."""
    runtime = TorchRuntime.of_network(net, precision, device="cuda")
    still, stream = image.clone(), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):  # libraries choose their kernels
            runtime(still)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        made = runtime(still)

    def run() -> Tensor:
        still.copy_(image)
        graph.replay()
        return made

    return run


def inference_forms(net: SRNetwork, image: Tensor, device: str, compiles: bool) -> Iterator[tuple[str, Opens]]:
    """Yield the forms of a network, each with what opens it; the reference first."""

    def opened(**arguments: Any) -> Opens:
        def open_it() -> Run:
            runtime = TorchRuntime.of_network(net, device=device, **arguments)
            return lambda: runtime(image)

        return open_it

    def published() -> Run:
        runtime = TorchRuntime(published_form(net).eval(), traits_of(net), device=device, channels_last=False)
        return lambda: runtime(image)

    yield REFERENCE, published
    precisions = torch_precisions(device)
    if compiles:
        for precision in precisions:
            yield f"{precision}, compiled", opened(precision=precision, compile=True)
        return
    for precision in precisions:
        yield f"{precision}, channels last", opened(precision=precision)
    if device == "cuda":
        for precision in precisions:
            yield f"{precision}, recorded", partial(recorded, net, image, precision)
    for precision in ("fp32", "fp16") if device == "cuda" else ("fp32",):
        yield f"{precision}, ONNX Runtime", partial(_onnx, net, image, precision, device)


def _onnx(net: SRNetwork, image: Tensor, precision: str, device: str) -> Run:
    runtime = open_runtime(net, "onnxruntime", precision, device)
    return lambda: runtime(image)


def in_turns(runs: dict[str, Run], rounds: int, device: str, patience: float) -> dict[str, list[float]]:
    """Return the seconds of each call in each round, at least one; one round before warms up."""
    taken: dict[str, list[float]] = {form: [] for form in runs}
    start = time.perf_counter()
    for number in range(rounds + 1):
        for form, run in runs.items():
            wait(device)
            before = time.perf_counter()
            run()
            wait(device)
            taken[form].append(time.perf_counter() - before)
        if number and time.perf_counter() - start > patience:
            break
    return {form: each[1:] for form, each in taken.items()}


def ratio_to(first: list[float], other: list[float]) -> tuple[float, float, float]:
    """Return the median, smallest and largest of how many times as fast as the first a form was in its round."""
    ratios = [one / two for one, two in zip(first, other, strict=True)]
    return median(ratios), min(ratios), max(ratios)


@torch.no_grad()
def measure_inference(study: Study, part: str, case: str, net: SRNetwork, image: Tensor, compiles: bool) -> None:
    """Add the rows of one network and size."""
    device, runs, known, expected = study.args.device, {}, {}, None
    for form, opens in inference_forms(net, image, device, compiles):
        if study.left < 0:
            study.add(Row(part, case, form, problem=NO_TIME))
            continue
        try:
            run = opens()
            made, memory = peak(device, run)
            expected = made.clone() if form == REFERENCE else expected
            differs = None if expected is None else float((made - expected).abs().max())
        except Exception as error:
            # Libraries raise exceptions of any type, and the other forms continue.
            study.add(Row(part, case, form, problem=short_message(error)))
            continue
        runs[form], known[form] = run, Row(part, case, form, memory=memory, difference=differs)
    # Random networks give values of any range.
    size = 1.0 if expected is None else max(float(expected.max() - expected.min()), 1e-6)
    taken = in_turns(runs, study.args.rounds, device, study.patience) if REFERENCE in runs else {}
    for form, each in taken.items():
        row = known[form]._replace(seconds=median(each), ratio=ratio_to(taken[REFERENCE], each))
        study.add(row._replace(difference=None if form == REFERENCE else row.difference / size))


def inference(study: Study, part: str = "inference", compiles: bool = False) -> None:
    """Measure the networks at the sizes; the small size of all first."""
    sizes = QUICK_SIZES if study.args.quick else SIZES
    for height, width in sizes[:1] if compiles else sizes:
        for name in study.args.networks:
            case = f"{name} x4, {height}x{width}"
            if study.left < 0:
                study.add(Row(part, case, "all", problem=NO_TIME))
                continue
            torch.manual_seed(0)
            net = build(dict(STANDARD[name])).eval()
            image = smooth_picture(3, height, width).to(study.args.device)
            measure_inference(study, part, case, net, image, compiles)


def build_step(name: str, form: dict[str, Any], args: argparse.Namespace, folder: Path) -> tuple[Any, int]:
    """Build a model with a batch in it, and return it with its number of images."""
    batch = 1 if args.quick else STEPS[name]
    if name.startswith("KDSR"):
        size = (8, 1, 2) if args.quick else kdsr_benchmark.SIZE
        kind = {"KDSR teacher": "KDSRNetTAModel", "KDSR student": "KDSRNetSTModel", "KDSR GAN": "KDSRGANSTModel"}[name]
        given = kdsr_benchmark.options(kind, size, folder, args.device)
        given["train"].update(form)
        model = kdsr_benchmark.REGISTRIES["models"].get(kind)(given)
        model.feed_data({"lq": torch.rand(batch, 3, 64, 64), "gt": torch.rand(batch, 3, 256, 256)})
        return model, batch
    network, more, losses = {"IMDN": (training_benchmark.IMDN, {}, {}), "DRN": _dual()}[name]
    return training_benchmark.build(network, more, {"ema_decay": 0.999, **losses, **form}, batch), batch


def _dual() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    network = {"type": "DRN", "upscale": 4}
    dual = {"model_type": "DualRegressionModel", "network_dual": {"type": "DRNDual", "num_feat": 16, "upscale": 4}}
    return network, dual, training_benchmark.DUAL_LOSS


def training(study: Study, part: str = "training", forms: dict[str, dict[str, Any]] | None = None) -> None:
    """Measure steps of the models in the forms, by turns."""
    for name in study.args.steps:
        with tempfile.TemporaryDirectory() as folder:
            measure_steps(study, part, name, FORMS if forms is None else forms, Path(folder))


def measure_steps(study: Study, part: str, name: str, forms: dict[str, dict[str, Any]], folder: Path) -> None:
    """Add the rows of one model."""
    device, runs, known, images = study.args.device, {}, {}, 0
    for form, settings in forms.items():
        if study.left < 0:
            study.add(Row(part, name, form, problem=NO_TIME))
            continue
        try:
            torch.manual_seed(0)
            model, images = build_step(name, settings, study.args, folder)
            step = partial(model.optimize_parameters, 1)
            memory = peak(device, step)[1]
        except Exception as error:
            # A GPU without memory for one model may have it for the next.
            study.add(Row(part, name, form, problem=short_message(error)))
            continue
        runs[form], known[form] = step, Row(part, f"{name}, batch {images}", form, memory=memory)
    taken = in_turns(runs, study.args.rounds, device, study.patience) if runs else {}
    for form, each in taken.items():
        ratio, seconds = ratio_to(next(iter(taken.values())), each), median(each)
        study.add(known[form]._replace(seconds=seconds, ratio=ratio, per_second=images / seconds))


def tests(study: Study) -> None:
    """Run the tests that need a GPU."""
    command(study, "tests", "pytest -m gpu", [sys.executable, "-m", "pytest", "-q", "-m", "gpu", str(ROOT / "tests")])


def run(study: Study) -> None:
    """Train the demo by the command, to its end."""
    options = ROOT / "options" / "demo_train_imdn_x4.yml"
    less = ["--force_yml", "train:total_iter=20", "val:val_freq=20"] if study.args.quick else []
    line = [sys.executable, "-m", "lightsr_basicsr.cli", "train", "-opt", str(options), *less]
    command(study, "run", options.name, line)


def command(study: Study, part: str, case: str, line: list[str]) -> None:
    """Run a command and add how it ended; what it printed is in a file."""
    start = time.perf_counter()
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    around = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    with open(study.out / f"{part}.txt", "w", encoding="utf-8") as file:
        try:
            limit = max(study.left, 1)
            ended = subprocess.run(
                line, cwd=study.out, env=around, stdout=file, stderr=file, timeout=limit, check=False
            )
            status = ended.returncode
            problem = "" if status == 0 else f"exit status {status}, see {part}.txt"
        except subprocess.TimeoutExpired:
            problem = "no time was left to end"
    study.add(Row(part, case, "as it is", time.perf_counter() - start, problem=problem))


def compiled(study: Study) -> None:
    """Measure what torch translates."""
    training(study, "training, compiled", {"fp32": {}, **COMPILED})
    inference(study, "inference, compiled", compiles=True)


def main(arguments: list[str] | None = None) -> int:
    """Measure and write; return an exit status: 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=9.5)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--networks", nargs="+", choices=STANDARD, default=list(STANDARD))
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS), help="models that are trained")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="smallest sizes, to try the script out")
    parser.add_argument("-o", "--out", default="experiments/gpu", help="folder of the results")
    args = parser.parse_args(arguments)
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no CUDA device here: install torch for yours, or try the script with --device cpu.")
    torch.backends.cudnn.benchmark = True  # as in the commands that train and test
    study = Study(args)
    print(machine(args.device))
    for part in args.parts:
        study.share = PARTS[part]
        globals()[part](study)
    print(f"written: {study.out / 'results.md'}")
    return int(any(row.problem for row in study.rows))


if __name__ == "__main__":
    sys.exit(main())
