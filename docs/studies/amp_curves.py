"""Train small networks for real in float32 and with ``amp: bf16``, and draw their loss curves.

``python docs/studies/amp_curves.py --train BSDS500/train --test Set5`` trains IMDN x4, FDIWN x4 and a KDSR student x4
(64 features, 4 blocks), batch 4, for each of three seeds in both forms, on random crops with bicubic LR images, for the
student of images blurred before, after 200 iterations of its teacher. A seed decides initial weights and crops, so that
the two forms of a seed see the same. It writes a line for every 20 iterations into
``amp_curves.csv`` (mean loss, and PSNR (Y) in float32 on the HR images of ``--test`` every 100), goes on where it was
interrupted, and prints what bf16 changes beside what a seed changes. ``--draw FILE`` draws the curves of the file
instead. Two hours on one CPU core.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import torch
from kdsr_benchmark import options
from training_benchmark import build

from lightsr_basicsr.data.degradations import imresize
from lightsr_basicsr.data.low_resolution import degrade_batch
from lightsr_basicsr.plugins import registries

TABLE = Path(__file__).with_suffix(".csv")
SCALE, BATCH, RATE = 4, 4, 5e-4
STUDENT = "BlindSR_ST"
TITLES = {STUDENT: "KDSR's student"}
KDSR_SIZE, TEACHER_ITERATIONS, TEST_SIGMA = (64, 6, 4), 200, 1.6
NETWORKS = {"IMDN": {"lr_side": 24, "iterations": 500}, "FDIWN": {"lr_side": 16, "iterations": 300},
            STUDENT: {"lr_side": 24, "iterations": 400}}  # fmt: skip
FORMS: dict[str, dict[str, Any]] = {"float32": {}, "bf16": {"amp": "bf16"}}
COLORS = {"float32": "#777777", "bf16": "#1f77b4"}
COLUMNS = ("network", "seed", "form", "iteration", "loss", "psnr")
EVERY, VALIDATE = 20, 100
Pair = tuple[np.ndarray, np.ndarray]


def read_pairs(folder: Path, most: int | None = None) -> list[Pair]:
    """Return the HR images (H, W, 3) of a folder, BGR uint8, with their bicubic LR images."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in (".jpg", ".png", ".bmp"))[:most]
    if not files:
        raise SystemExit(f"{folder} should hold images (jpg, png, bmp), but has none: name another folder.")
    images = [cv2.imread(str(file), cv2.IMREAD_COLOR) for file in files]
    cropped = [image[: len(image) // SCALE * SCALE, : image.shape[1] // SCALE * SCALE] for image in images]
    return [(image, imresize(image, 1 / SCALE)) for image in cropped]


def to_tensor(images: list[np.ndarray]) -> torch.Tensor:
    """Return RGB images (N, 3, H, W) in [0, 1] of BGR ones."""
    stacked = np.stack([image[:, :, ::-1] for image in images])
    return torch.from_numpy(np.ascontiguousarray(stacked.transpose(0, 3, 1, 2))).float() / 255


def draw_batch(pairs: list[Pair], side: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """Return random crops, turned and mirrored."""
    crops: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for index in rng.integers(len(pairs), size=BATCH):
        hr, lr = pairs[index]
        y, x = (int(rng.integers(length - side + 1)) for length in lr.shape[:2])
        turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        for image, factor, found in ((hr, SCALE, crops[0]), (lr, 1, crops[1])):
            crop = image[y * factor : (y + side) * factor, x * factor : (x + side) * factor]
            crop = np.rot90(crop, turns)
            found.append(crop[:, ::-1] if mirrored else crop)
    return {"gt": to_tensor(crops[0]), "lq": to_tensor(crops[1])}


def blurred(hr: torch.Tensor, sigma: np.ndarray) -> dict[str, Any]:
    """Return what ``LossDictModel`` takes: HR images (N, 3, H, W), and the blur of each before it is reduced."""
    sigmas, none = torch.from_numpy(sigma), torch.zeros(len(sigma))
    drawn = {"sigma_1": sigmas, "sigma_2": sigmas, "theta": none.double(), "level": none, "seed": none,
             "scale": none + SCALE, "shared": none}  # fmt: skip
    return {"gt": hr, "degradation": drawn}


def blur_pairs(pairs: list[Pair]) -> list[Pair]:
    """Return the pairs with LR images of blurred HR images."""
    found = []
    for hr, _ in pairs:
        batch = blurred(to_tensor([hr]), np.array([TEST_SIGMA]))
        low = (degrade_batch(batch["gt"], batch["degradation"])[0] * 255).round().byte().numpy()
        found.append((hr, np.ascontiguousarray(low.transpose(1, 2, 0)[:, :, ::-1])))
    return found


@torch.no_grad()
def psnr_of(net: torch.nn.Module, pairs: list[Pair]) -> float:
    """Return the mean PSNR (Y) of a network in float32."""
    calculate, values = registries()["metrics"].get("calculate_psnr"), []
    for hr, lr in pairs:
        output = net.eval()(to_tensor([lr]))
        image = (output[0].clamp(0, 1).numpy().transpose(1, 2, 0)[:, :, ::-1] * 255).round().astype(np.uint8)
        values.append(calculate(image, hr, crop_border=SCALE, test_y_channel=True))
    net.train()
    return mean(values)


def build_student(seed: int, train: dict[str, Any], pairs: list[Pair], folder: Path) -> Any:
    """Return KDSR's student, which starts from a teacher that is trained before, the same for both forms."""
    common = {"ema_decay": 0, "optim_g": {"type": "Adam", "lr": RATE}}
    opt = options("KDSRNetTAModel", KDSR_SIZE, folder, "cpu")
    opt["train"].update(deepcopy(common))
    teacher, rng = registries()["models"].get("KDSRNetTAModel")(opt), np.random.default_rng(seed)
    for iteration in range(1, TEACHER_ITERATIONS + 1):
        batch = draw_batch(pairs, NETWORKS[STUDENT]["lr_side"], rng)
        teacher.feed_data(blurred(batch["gt"], rng.uniform(0.2, 4, BATCH)))
        teacher.optimize_parameters(iteration)
    torch.save({"params": teacher.net_g.state_dict()}, folder / "teacher.pth")
    opt = options("KDSRNetSTModel", KDSR_SIZE, folder, "cpu")
    opt["path"]["pretrain_network_g"] = opt["path"]["pretrain_network_TA"]
    opt["train"].update(**common, **train)
    return registries()["models"].get("KDSRNetSTModel")(opt)


def train(network: str, seed: int, form: str, pairs: list[Pair], tests: list[Pair]) -> Iterator[dict[str, Any]]:
    """Train, and yield the lines of the table."""
    torch.manual_seed(seed)
    rng, plan = np.random.default_rng(seed), NETWORKS[network]
    losses: list[float] = []
    if network == STUDENT:
        tests = blur_pairs(tests)
        with TemporaryDirectory() as folder:
            model = build_student(seed, FORMS[form], pairs, Path(folder))
    else:
        more = {"optim_g": {"type": "Adam", "lr": RATE}, **FORMS[form]}
        model = build({"type": network, "upscale": SCALE}, {}, more, 1)
    for iteration in range(1, plan["iterations"] + 1):
        batch = draw_batch(pairs, plan["lr_side"], rng)
        blind = network == STUDENT
        model.feed_data(blurred(batch["gt"], rng.uniform(0.2, 4, BATCH)) if blind else batch)
        model.optimize_parameters(iteration)
        losses.append(model.get_current_log()["l_pix"])
        if iteration % EVERY == 0:
            psnr = f"{psnr_of(model.net_g, tests):.3f}" if iteration % VALIDATE == 0 else ""
            loss = f"{mean(losses[-EVERY:]):.5f}"
            yield dict(zip(COLUMNS, (network, seed, form, iteration, loss, psnr), strict=True))


def read_table(path: Path) -> list[dict[str, str]]:
    """Return the lines of the table, [] if there is none."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def curve_of(rows: list[dict[str, str]], network: str, seed: str, form: str, column: str) -> dict[int, float]:
    """Return a column of a training by iteration, where it has values."""
    wanted = [row for row in rows if (row["network"], row["seed"], row["form"]) == (network, seed, form)]
    return {int(row["iteration"]): float(row[column]) for row in wanted if row[column]}


def seeds_of(rows: list[dict[str, str]], network: str) -> list[str]:
    """Return the seeds that a network was trained with in both forms."""
    found = [{row["seed"] for row in rows if (row["network"], row["form"]) == (network, form)} for form in FORMS]
    return sorted(set.intersection(*found))


def summarize(rows: list[dict[str, str]]) -> None:
    """Print the last losses and PSNR, and their differences, as mean and standard deviation over the seeds."""
    for network in NETWORKS:
        seeds = seeds_of(rows, network)
        for column, start in (("loss", 0.8), ("psnr", 0)):
            last: dict[str, list[float]] = {}
            for form in FORMS:
                curves = [curve_of(rows, network, seed, form, column) for seed in seeds]
                # Of the loss the mean over the last fifth, of PSNR the last value.
                tails = [[value for key, value in curve.items() if key > start * max(curve)] for curve in curves]
                last[form] = [mean(tail) if column == "loss" else tail[-1] for tail in tails]
            if not seeds:
                continue
            change = [b - a for a, b in zip(last["float32"], last["bf16"], strict=True)]
            spread = [stdev(values) if len(seeds) > 1 else float("nan") for values in (*last.values(), change)]
            numbers = ", ".join(
                f"{name} {mean(values):.4f} ({each:.4f})"
                for (name, values), each in zip({**last, "bf16 - float32": change}.items(), spread, strict=True)
            )
            print(f"{network} {column}, {len(seeds)} seeds, mean (standard deviation): {numbers}")


def draw(rows: list[dict[str, str]], path: Path) -> None:
    """Draw the losses of all trainings, a panel for each network, one line for each seed and form."""
    from matplotlib.figure import Figure

    networks = [network for network in NETWORKS if seeds_of(rows, network)]
    figure = Figure(figsize=(4.4 * len(networks), 3.8), dpi=80, layout="constrained")
    for axes, network in zip(figure.subplots(1, len(networks), squeeze=False)[0], networks, strict=True):
        for form, color in COLORS.items():
            for number, seed in enumerate(seeds_of(rows, network)):
                curve = curve_of(rows, network, seed, form, "loss")
                label, style = (form if number == 0 else None), ("-" if form == "float32" else "--")
                axes.plot([*curve], [*curve.values()], style, color=color, label=label, linewidth=1.3)
        plan = NETWORKS[network]
        axes.set_title(
            f"{TITLES.get(network, network)} x{SCALE}, batch {BATCH}, LR {plan['lr_side']}x{plan['lr_side']}",
            fontsize=11,
        )
        axes.set_yscale("log")
        axes.set_xlabel("iteration")
        axes.set_ylabel(f"L1 loss, mean over {EVERY} iterations")
        axes.grid(visible=True, which="both", color="#e6e6e6")
        axes.legend()
    figure.savefig(path)


def main() -> None:
    """Train what the table lacks, and print what it says, or draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, help="folder of HR images")
    parser.add_argument("--test", type=Path, help="folder of HR images")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--draw", type=Path, help="draw the table into this file, and train nothing")
    args = parser.parse_args()
    rows = read_table(args.table)
    if args.draw:
        draw(rows, args.draw)
    elif args.train and args.test:
        pairs, tests = read_pairs(args.train), read_pairs(args.test)
        for network, seed, form in ((n, s, f) for s in args.seeds for n in args.networks for f in FORMS):
            if not any((row["network"], row["seed"], row["form"]) == (network, str(seed), form) for row in rows):
                found = list(train(network, seed, form, pairs, tests))
                write(args.table, found)
                rows += read_table(args.table)[-len(found) :]
    summarize(rows)


def write(path: Path, found: list[dict[str, Any]]) -> None:
    """Add lines to the table."""
    anew = not path.is_file()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if anew:
            writer.writeheader()
        writer.writerows(found)


if __name__ == "__main__":
    main()
