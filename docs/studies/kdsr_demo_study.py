"""Compare teacher, student, and the same network without a teacher on the demo's images.

``python docs/studies/kdsr_demo_study.py`` trains ``options/demo_train_kdsr_x4.yml`` with each of three seeds. Then it
trains the student's network alone, without HR and without distillation, from random weights: for the student's number
of iterations, and for that of teacher and student together, which is the history of the student's G. Last comes a
teacher with the same total. It prints the mean PSNR (Y) over the three blurs and two images of the demo. Takes some 40
minutes on two CPU cores; results are kept under ``--folder``, and an interrupted study resumes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import yaml

from lightsr_basicsr.tools.options import read_options

OPTIONS = Path(__file__).resolve().parents[2] / "options" / "demo_train_kdsr_x4.yml"


def alone(options: dict[str, Any], total_iter: int) -> dict[str, Any]:
    """Return the options of the student's network alone: no weight on distillation, no start from the teacher."""
    train = {**options["train"], **options["train"]["student"], "total_iter": total_iter}
    train = {key: value for key, value in train.items() if key not in ("teacher", "student", "teacher_iter")}
    train["scheduler"] = {**train["scheduler"], "periods": [total_iter]}
    train["kd_opt"] = {**train["kd_opt"], "loss_weight": 0.0}
    # The model needs a teacher, whose vectors have no weight in the loss.
    teacher = f"experiments/{options['name']}/models/net_TA_latest.pth"
    rest = {key: value for key, value in options.items() if key != "comparison"}
    return {**rest, "model_type": "KDSRNetSTModel", "path": {"pretrain_network_TA": teacher}, "train": train}


def teacher_only(options: dict[str, Any], total_iter: int) -> dict[str, Any]:
    """Return the options of a run that ends with its teacher."""
    schedule = {**options["train"]["teacher"]["scheduler"], "periods": [total_iter]}
    teacher = {**options["train"]["teacher"], "scheduler": schedule}
    train = {**options["train"], "total_iter": total_iter, "teacher_iter": total_iter, "teacher": teacher}
    return {**{key: value for key, value in options.items() if key != "comparison"}, "train": train}


def run(options: dict[str, Any], folder: Path, name: str = "train") -> dict[str, float]:
    """Run a command, unless it is done, and return the last mean PSNR over the validation sets, by stage ('': none)."""
    result = folder / f"{options['name']}.json"
    if not result.is_file():
        file = folder / f"{options['name']}.yml"
        file.write_text(yaml.safe_dump(options, sort_keys=False))
        command = [sys.executable, "-m", "lightsr_basicsr.cli", name, "-opt", file.name, "--auto_resume"]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        result.write_text(json.dumps(last_scores(folder / "tb_logger" / options["name"])))
    return json.loads(result.read_text())


def last_scores(folder: Path) -> dict[str, float]:
    """Return the last PSNR in TensorBoard files, meaned over the sets of each stage."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    found: dict[str, list[float]] = {}
    for tag in events.Tags()["scalars"]:
        if tag.endswith("/psnr"):
            found.setdefault(tag.split("/")[1].partition("demo")[0].rstrip("_"), []).append(
                events.Scalars(tag)[-1].value
            )
    return {stage: mean(values) for stage, values in found.items()}


def study(seed: int, folder: Path) -> dict[str, float]:
    """Return the PSNR of each candidate for one seed."""
    options = {**read_options(OPTIONS), "manual_seed": seed}
    options["name"] = f"both_seed{seed}"
    total, handover = options["train"]["total_iter"], options["train"]["teacher_iter"]
    scores = run(options, folder)
    for title, iterations in (("alone, as long", total - handover), ("alone, as long as both", total)):
        name = f"alone_{iterations}_seed{seed}"
        scores[title] = run({**alone(options, iterations), "name": name}, folder)[""]
    longer = {**teacher_only(options, total), "name": f"teacher_{total}_seed{seed}"}
    scores["teacher, as long as both"] = run(longer, folder)["teacher"]
    return scores


def print_table(seeds: list[int], found: list[dict[str, float]]) -> None:
    """Print as Markdown the scores of each seed, with their mean and standard deviation."""
    print(f"\n| PSNR (dB) | {' | '.join(f'seed {seed}' for seed in seeds)} | mean | spread |")
    print("|---|" + "---:|" * (len(seeds) + 2))
    for title in found[0]:
        values = [scores[title] for scores in found]
        spread = stdev(values) if len(values) > 1 else 0.0
        print(f"| {title} | {' | '.join(f'{value:.3f}' for value in values)} | {mean(values):.3f} | {spread:.3f} |")


def main() -> None:
    """Run the study and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, default=Path("kdsr_study"))
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    found = [study(seed, args.folder) for seed in args.seeds]
    print_table(args.seeds, found)


if __name__ == "__main__":
    main()
