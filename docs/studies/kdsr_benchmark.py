"""Measure a step of KDSR's models: the student's beside the official formulation, and images per second.

``python docs/studies/kdsr_benchmark.py`` uses the published real-world size (128, 6, 42) at batch 9 with LR 64x64;
about ten minutes on two CPU cores, less with ``--rounds 1`` or a smaller ``--size``. In the official formulation the
teacher's encoder runs with gradients, although its output is detached in the loss, and the teacher keeps its G. Nothing
else should run meanwhile. Ratios are medians of rounds in which the candidates take turns.
"""

from __future__ import annotations

import argparse
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from lightsr_basicsr.models.kdsr_student_model import KDSRNetSTModel
from lightsr_basicsr.plugins import registries

REGISTRIES = registries()
SIZE = (128, 6, 42)
ADAM = {"type": "Adam", "lr": 2e-4, "betas": [0.9, 0.99]}


def build_network(section: dict[str, Any]) -> torch.nn.Module:
    """Build the network of a section of an option file."""
    return REGISTRIES["networks"].get(section["type"])(**{key: section[key] for key in section if key != "type"})


class OfficialStudent(KDSRNetSTModel):
    """The student's step as the official code takes it."""

    def _frozen_teacher(self) -> torch.nn.Module:
        teacher = build_network(self.opt["network_TA"])
        teacher.load_state_dict(torch.load(self.opt["path"]["pretrain_network_TA"], weights_only=True)["params"])
        return teacher.to(self.device).eval()

    def vectors_of(self, hr: Tensor) -> list[Tensor]:
        """Return the teacher's vectors, their graph still attached."""
        return self.teacher.represent(self.lq, hr)[1]


def options(model: str, size: tuple[int, int, int], folder: Path, device: str) -> dict[str, Any]:
    """Return the options of a model."""
    arguments = dict(zip(("n_feats", "n_encoder_res", "n_sr_blocks"), size, strict=True), scale=4)
    teacher, student = ({"type": name, **arguments} for name in ("BlindSR_TA", "BlindSR_ST"))
    file = folder / "teacher.pth"
    if not file.is_file():
        torch.save({"params": build_network(dict(teacher)).state_dict()}, file)
    return {
        "model_type": model, "scale": 4, "num_gpu": int(device == "cuda"), "dist": False, "is_train": True, "rank": 0,
        "network_g": teacher if model == "KDSRNetTAModel" else student, "network_TA": teacher,
        "network_d": {"type": "UNetDiscriminatorSN_basicsr", "num_in_ch": 3, "num_feat": 64},
        "path": {"pretrain_network_TA": str(file)},
        "train": {
            "ema_decay": 0.999, "optim_g": dict(ADAM), "optim_d": dict(ADAM), "pixel_opt": {"type": "L1Loss"},
            "scheduler": {"type": "MultiStepLR", "milestones": [1000]}, "kd_opt": {"type": "KDLoss"},
            "gan_opt": {"type": "GANLoss", "gan_type": "vanilla", "loss_weight": 1.0},
        },
    }  # fmt: skip


def build(form: str, args: argparse.Namespace, folder: Path) -> Any:
    """Build one of the models, with a batch in it."""
    name = {"teacher": "KDSRNetTAModel", "GAN": "KDSRGANSTModel"}.get(form, "KDSRNetSTModel")
    given = options(name, tuple(args.size), folder, args.device)
    model = OfficialStudent(given) if form == "official" else REGISTRIES["models"].get(given["model_type"])(given)
    side = args.side
    model.feed_data({"lq": torch.rand(args.batch, 3, side, side), "gt": torch.rand(args.batch, 3, 4 * side, 4 * side)})
    return model


def seconds(model: Any, number: int) -> float:
    """Return the seconds of one step."""
    start = time.perf_counter()
    model.optimize_parameters(number)
    if model.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measure_peak(form: str, args: argparse.Namespace, folder: Path) -> None:
    """Print the peak memory in bytes of this process, or its GPU, over two steps."""
    model = build(form, args, folder)
    for number in (1, 2):
        model.optimize_parameters(number)
    on_gpu = args.device == "cuda"
    print(torch.cuda.max_memory_allocated() if on_gpu else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def peak(form: str, folder: str) -> int:
    """Measure the memory of a form in a process of its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--peak-of", form, "--folder", folder]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", nargs=3, type=int, default=SIZE, help="n_feats, n_encoder_res, n_sr_blocks")
    parser.add_argument("--batch", type=int, default=9)
    parser.add_argument("--side", type=int, default=64, help="of the LR images")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak_of:
        measure_peak(args.peak_of, args, Path(args.folder))
        return
    with tempfile.TemporaryDirectory() as folder:
        report(args, folder)


def report(args: argparse.Namespace, folder: str) -> None:
    """Print memory and time of the student's step in both forms, and images per second of the three models."""
    device = torch.cuda.get_device_name() if args.device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{device}, torch {torch.__version__}, {platform.platform()}")
    print(f"size {tuple(args.size)}, batch {args.batch}, LR {args.side}x{args.side}, fp32\n")
    build("teacher", args, Path(folder))  # writes the teacher's file
    peaks = [[peak(form, folder) / 1e6 for form in ("official", "student")] for _ in range(args.rounds)]
    official, ours = (median(column) for column in zip(*peaks, strict=True))
    saved = [first - second for first, second in peaks]
    print(f"student's step, peak memory: official {official:,.0f} MB, ours {ours:,.0f} MB")
    print(f"  ours below by {median(saved):,.0f} MB (rounds: {', '.join(f'{one:,.0f}' for one in saved)})\n")
    models = {form: build(form, args, Path(folder)) for form in ("official", "student", "teacher", "GAN")}
    times: dict[str, list[float]] = {form: [] for form in models}
    for number in range(1, args.rounds + 2):
        for form, model in models.items():
            taken = seconds(model, number)
            if number > 1:  # the first step sets things up
                times[form].append(taken)
    ratios = [ours / official for ours, official in zip(times["student"], times["official"], strict=True)]
    rounds = ", ".join(f"{ratio:.3f}" for ratio in ratios)
    print(f"student's step, time: ours / official {median(ratios):.3f} (rounds: {rounds})")
    print("\n| step | images per second |\n|---|---:|")
    for form in ("teacher", "student", "GAN"):
        print(f"| {form} | {args.batch / median(times[form]):.2f} |")


if __name__ == "__main__":
    main()
