"""Measure the cost of dual regression and reparameterization in training, and the gain of conversion.

``python docs/studies/training_benchmark.py`` takes steps of IMDN x4 (batch 16, LR 48x48) plain, with dual regression,
and with reparameterizable convolutions, and steps of DRN with and without its dual networks. Then it runs DDistill-SR
x4 on one image (LR 180x320) in its training form, converted, and deployed in the official formulation, with the
converted weights. Candidates take turns, and ratios are medians over rounds; nothing else should run meanwhile. Some
minutes on two CPU cores, less with fewer ``--rounds``.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor

from lightsr_basicsr.archs.ddistill_sr_units import DynamicBranch
from lightsr_basicsr.archs.reparam import deploy
from lightsr_basicsr.plugins import registries

REGISTRIES = registries()
IMDN = {"type": "IMDN", "upscale": 4}
DRN = {"type": "DRN", "num_feat": 16, "num_block": 4, "upscale": 4}  # DRN-S with fewer blocks
DUAL = {"model_type": "DualRegressionModel", "network_dual": {"type": "DualNetwork", "downscale": 4}}
DUAL_LOSS = {"dual_opt": {"type": "L1Loss", "loss_weight": 0.1}}


class OfficialBranch(DynamicBranch):
    """The dynamic branch written step by step as the specification of the official code lists them."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (N, num_in, H, W) to the channel scale (N, num_out, 1, 1) and the residual (N, num_out, H, W)."""
        images, channels, height, width = x.shape
        squeezed = self.fc(torch.nn.AdaptiveAvgPool2d(1)(x).view(images, channels))
        mixing = self.fc_phi(squeezed).view(images, self.num_latent, self.num_latent)
        scale = self.hs(self.fc_scale(squeezed)).view(images, -1, 1, 1)
        flat = self.bn1(self.q(x)).view(images, self.num_latent, height * width)
        mixed = self.bn2(torch.matmul(mixing, flat)) + flat
        return scale, self.p(mixed.view(images, self.num_latent, height, width))


def options(network: dict[str, Any], more: dict[str, Any], train: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a model."""
    return {
        "model_type": "LossDictModel", "scale": 4, "num_gpu": int(torch.cuda.is_available()), "dist": False,
        "is_train": True, "rank": 0, "network_g": network, "path": {}, **more,
        "train": {
            "optim_g": {"type": "Adam", "lr": 2e-4}, "scheduler": {"type": "MultiStepLR", "milestones": [1000]},
            "pixel_opt": {"type": "L1Loss"}, **train,
        },
    }  # fmt: skip


def plain_levels(model: Any) -> None:
    """Make a step of the dual-regression model one without dual networks: the losses of all levels alone."""

    def run_network() -> Tensor:
        *model.lower, image = model.net_g(model.lq)
        model.backs = []
        return image

    def compute_losses() -> dict[str, Tensor]:
        image, lows = run_network(), [model.lq, *model.larger.values()]
        lower = sum(model.cri_pix(sr, low) for sr, low in zip(model.lower, lows, strict=True))
        return {"l_pix": model.cri_pix(image, model.gt), "l_levels": lower, "l_dual": lower.detach() * 0}

    model.compute_losses = compute_losses


def build(network: dict[str, Any], more: dict[str, Any], train: dict[str, Any], batch: int) -> Any:
    """Build a model, with a batch in it."""
    given = options(dict(network), more, train)
    model = REGISTRIES["models"].get(given["model_type"])(given)
    sides = {"lq": 48, "lq_down2": 96, "gt": 192}
    model.feed_data({key: torch.rand(batch, 3, side, side) for key, side in sides.items()})
    return model


def in_turns(
    candidates: dict[str, Callable[[int], Any]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Return the seconds of each candidate in each round; one more round before warms up."""
    times: dict[str, list[float]] = {title: [] for title in candidates}
    for number in range(rounds + 1):
        for title, run in candidates.items():
            start = clock()
            run(number + 1)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times[title].append(clock() - start)
    return {title: taken[1:] for title, taken in times.items()}


def report(heading: str, times: dict[str, list[float]]) -> None:
    """Print each candidate's median and its ratio to the first, with the range over the rounds."""
    print(f"\n{heading}")
    first = next(iter(times.values()))
    for title, taken in times.items():
        ratios = [one / other for one, other in zip(taken, first, strict=True)]
        low, high = min(ratios), max(ratios)
        print(f"  {title:<34}{median(taken):>8.3f} s {median(ratios):>8.3f} ({low:.3f} to {high:.3f})")


def steps(rounds: int, batch: int) -> None:
    """Measure training steps."""
    models = {
        "plain": build(IMDN, {}, {}, batch),
        "dual regression": build(IMDN, DUAL, DUAL_LOSS, batch),
        "reparameterized (ECB)": build({"type": "Reparameterized", "network": IMDN}, {}, {}, batch),
    }
    report(f"IMDN x4, a training step, batch {batch}, LR 48x48",
           in_turns({title: model.optimize_parameters for title, model in models.items()}, rounds))  # fmt: skip
    dual = {"model_type": "DualRegressionModel", "network_dual": {"type": "DRNDual", "num_feat": 16, "upscale": 4}}
    levels = {title: build(DRN, dual, DUAL_LOSS, max(batch // 4, 1)) for title in ("all levels", "dual regression")}
    plain_levels(levels["all levels"])
    report(f"DRN x4 (F 16, 4 blocks), a training step, batch {max(batch // 4, 1)}, LR 48x48",
           in_turns({title: model.optimize_parameters for title, model in levels.items()}, rounds))  # fmt: skip


def inference(rounds: int) -> None:
    """Measure DDistill-SR before and after conversion."""
    wide = REGISTRIES["networks"].get("DDistill_SR")().eval()
    narrow, official = deploy(wide), deploy(wide)
    for module in official.modules():
        if type(module) is DynamicBranch:
            module.__class__ = OfficialBranch
    image = torch.nn.functional.interpolate(torch.rand(1, 3, 12, 20), (180, 320), mode="bicubic").clamp(0, 1)
    nets = {"official formulation, deployed": official, "converted": narrow, "training form": wide}
    with torch.no_grad():
        assert torch.equal(official(image), narrow(image)), "The formulations must agree before they are timed."
        times = in_turns({title: lambda _, net=net: net(image) for title, net in nets.items()}, rounds)
    report("DDistill-SR x4, one image, LR 180x320", times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=16)
    args = parser.parse_args()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    print(f"{device}, torch {torch.__version__}, {platform.platform()}")
    steps(args.rounds, args.batch)
    inference(args.rounds)


if __name__ == "__main__":
    main()
