"""Measure where a step of KDSR's student and GAN spends its time, and what ``amp`` and ``channels_last`` gain.

``python docs/studies/kdsr_speed.py`` takes steps of both models at x4 (64 features, 6 and 4 blocks, batch 2, LR 32x32;
discriminator and VGG19 of the published size, VGG19 with random weights) in turns; ratios are medians over rounds, of
the time of the processor. The last form of the GAN leaves VGG19 in float32. Then come the parts of a step, in float32
and in bf16 with channels_last, and the synthesis of a batch's LR images (second order, HR 192x192), which every form
has. Five minutes on one CPU core.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torchvision
from kdsr_benchmark import REGISTRIES, options
from training_benchmark import in_turns, report
from training_speed import FORMS, instructions

from lightsr_basicsr.tools.options import read_options

OPTIONS = Path(__file__).resolve().parents[2] / "options" / "train_kdsrgan_x4.yml"
MODELS = ("KDSRNetSTModel", "KDSRGANSTModel")
FAST, ALL_BUT_VGG = "bf16, channels_last", "bf16, channels_last, VGG19 as it is"


def build(name: str, train: dict[str, Any], args: argparse.Namespace, folder: Path) -> Any:
    """Build a model with a batch in it."""
    published = read_options(OPTIONS)
    given = options(name, tuple(args.size), folder, "cpu")
    synthesis = {key: value for key, value in published.items() if key not in (*given, "name", "datasets", "logger")}
    more = {"perceptual_opt": published["train"]["perceptual_opt"]} if name == "KDSRGANSTModel" else {}
    opt = {**synthesis, **given, "gt_size": 4 * args.side, "queue_size": args.batch, "gt_usm": False}
    opt["train"] = {**given["train"], **more, **train}
    model = REGISTRIES["models"].get(name)(opt)
    shapes = {"lq": args.side, "gt": 4 * args.side}
    model.feed_data({key: torch.rand(args.batch, 3, side, side) for key, side in shapes.items()})
    return model


def random_vgg19(folder: Path) -> None:
    """Let the perceptual loss find weights of VGG19, which take as long as the true ones."""
    from basicsr.archs import vgg_arch  # after this package, which lets it be imported

    file = folder / "vgg19.pth"
    torch.save(torchvision.models.vgg19(weights=None).state_dict(), file)
    vgg_arch.VGG_PRETRAIN_PATH = str(file)


def seconds_of(work: Callable[[], Any], rounds: int) -> float:
    """Return the median seconds of the processor; one more round before warms up."""
    taken = []
    for _ in range(rounds + 1):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return median(taken[1:])


def parts_of(model: Any) -> dict[str, Callable[[], Any]]:
    """Return the parts of a step."""
    output = model.run_network().detach().requires_grad_()
    found: dict[str, Callable[[], Any]] = {
        "teacher": lambda: model.vectors_of(model.gt),
        "student, forward and backward": lambda: model.run_network().mean().backward(),
        "optimizer": model.optimizer_g.step,
        "average": lambda: model.model_ema(0.999),
    }
    if not hasattr(model, "net_d"):
        return found
    model.gt_usm, model.output = model.gt, output.detach()

    def judge() -> None:
        model.net_d.requires_grad_(False)
        model.cri_gan(model.speed.run(model.net_d, output), True, is_disc=False).backward()
        model.net_d.requires_grad_(True)

    perceptual = model.cri_perceptual
    return {
        **found,
        "perceptual loss": lambda: sum(x for x in perceptual(output, model.gt) if x is not None).backward(),
        "adversarial loss": judge,
        "discriminator's step": model._add_gradients_of_discriminator,
    }


def synthesis_of(model: Any, args: argparse.Namespace) -> Callable[[], Any]:
    """Return the synthesis of LR images of a batch."""
    side, kernel = 6 * args.side, torch.full((args.batch, 21, 21), 1 / 441)
    batch = {
        "gt": torch.rand(args.batch, 3, side, side),
        **dict.fromkeys(("kernel1", "kernel2", "sinc_kernel"), kernel),
    }
    return lambda: model.feed_data(batch)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", nargs=3, type=int, default=(64, 6, 4), help="n_feats, n_encoder_res, n_sr_blocks")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--side", type=int, default=32, help="of the LR images")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"CPU ({instructions()}), 1 thread, torch {torch.__version__}, {platform.platform()}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        random_vgg19(folder)
        for kind in MODELS:
            measure(kind, args, folder)


def measure(kind: str, args: argparse.Namespace, folder: Path) -> None:
    """Measure one model and print."""
    models = {title: build(kind, form, args, folder) for title, form in FORMS.items()}
    if kind == "KDSRGANSTModel":
        models[ALL_BUT_VGG] = build(kind, FORMS[FAST], args, folder)
        del models[ALL_BUT_VGG].cri_perceptual.vgg.forward
    candidates = {title: model.optimize_parameters for title, model in models.items()}
    report(f"{kind} x4, a step, batch {args.batch}, LR {args.side}x{args.side}",
           in_turns(candidates, args.rounds, time.process_time))  # fmt: skip
    for title in ("float32", FAST):
        model = models[title]
        taken = {part: seconds_of(work, args.rounds) for part, work in parts_of(model).items()}
        print(f"  parts, {title}: " + ", ".join(f"{part} {1e3 * each:.0f} ms" for part, each in taken.items()))
    work = synthesis_of(models["float32"], args)
    print(f"  synthesis of LR images: {1e3 * seconds_of(work, 3 * args.rounds):.0f} ms")


if __name__ == "__main__":
    main()
