"""Compare the cost of training form and deployed form of a reparameterized network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from basicsr.utils.registry import MODEL_REGISTRY

from lightsr_basicsr.registry import look_up
from lightsr_basicsr.tools.complexity import count_parameters
from lightsr_basicsr.tools.run.compare import Networks, load_networks, open_datasets

ROUNDS = 7


@dataclass(frozen=True)
class Cost:
    """Cost of a network: parameters, bytes of its file, and seconds for one image (median of alternating runs)."""

    parameters: int
    size: int
    seconds: float


def forms_of(options: Mapping[str, Any], models: Path) -> Networks:
    """Return sections and files of both forms in a run's folder of weights, by title; {} without a deployed form."""
    model = look_up(MODEL_REGISTRY, options["model_type"])
    network, deployed = options["network_g"], models / "net_g_latest_deploy.pth"
    if not (hasattr(model, "deploys") and model.deploys(options) and deployed.is_file()):
        return {}
    return {
        "training form": (network, models / "net_g_latest.pth"),
        "deployed form": ({"type": "Deployed", "network": network}, deployed),
    }


def measure_costs(options: Mapping[str, Any], networks: Networks) -> dict[str, Cost]:
    """Return the cost of networks on the first image that the section ``comparison`` names, by title.

    They run in turns on the same image, so that other load on the machine slows them alike.
    """
    nets, device = load_networks(options, networks)
    seconds = time_in_turns(nets, first_image(options).to(device))
    return {
        title: Cost(count_parameters(net), networks[title][1].stat().st_size, seconds[title])
        for title, net in nets.items()
    }


def first_image(options: Mapping[str, Any]) -> torch.Tensor:
    """Return the first LR image (1, C, H, W) of the sets that the section ``comparison`` names."""
    _, dataset = next(iter(open_datasets(options).items()))
    return dataset[0]["lq"][None]


def time_in_turns(nets: Mapping[str, torch.nn.Module], image: torch.Tensor) -> dict[str, float]:
    """Return the seconds that networks take for an image, by title: the median of rounds in which all run in turns."""
    seconds: dict[str, list[float]] = {title: [] for title in nets}
    for _ in range(ROUNDS + 1):
        for title, net in nets.items():
            seconds[title].append(_seconds(net, image))
    # The first round warms up.
    return {title: median(times[1:]) for title, times in seconds.items()}


def _seconds(net: torch.nn.Module, image: torch.Tensor) -> float:
    start = perf_counter()
    with torch.no_grad():
        net(image)
    if image.is_cuda:
        torch.cuda.synchronize()
    return perf_counter() - start
