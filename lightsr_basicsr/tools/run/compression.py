"""What a compression has made: its networks, and their sizes, costs and scores beside those of the dense one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os.path import expanduser
from pathlib import Path
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY, MODEL_REGISTRY

from lightsr_basicsr.checkpoints import write_whole
from lightsr_basicsr.models.compression_plan import (
    FINETUNE,
    PRUNE,
    PRUNED,
    SEARCH,
    narrower,
    read_list,
    stage_names,
    uniform_list,
)
from lightsr_basicsr.registry import look_up
from lightsr_basicsr.tools.complexity import count_multi_adds, count_parameters
from lightsr_basicsr.tools.options import OptionError
from lightsr_basicsr.tools.run.compare import Networks, load_networks
from lightsr_basicsr.tools.run.forms import first_image, time_in_turns

DENSE, NARROW, FINETUNED, UNIFORM = "dense", "pruned", "fine-tuned", "uniform width"
UNIFORM_LIST = "channel_configs_uniform.txt"


@dataclass(frozen=True)
class Row:
    """A network in numbers: parameters, multiply-adds for one image and seconds for it."""

    parameters: int
    multi_adds: int
    seconds: float


def compresses(options: Mapping[str, Any]) -> bool:
    """Return whether the run of an option file is a compression."""
    model = look_up(MODEL_REGISTRY, options.get("model_type"))
    return getattr(model, "title", "") == "Compression"


def require_compression(options: Mapping[str, Any], path: Path) -> None:
    """Raise OptionError unless the option file is one of a compression."""
    if not compresses(options):
        raise OptionError(
            f"basicsr compress expects model_type: CompressionModel, but {path} has {options.get('model_type')!r}: "
            "start it with basicsr train, or see options/compress_drn_s_x4.yml."
        )


def networks_of(options: Mapping[str, Any], folder: Path, stage: str | None) -> Networks:
    """Return sections and files of the networks of the run in ``folder`` up to ``stage``, by title."""
    models, paths = folder / "models", options["path"]
    found = {DENSE: (options["network_g"], Path(expanduser(paths["pretrain_network_dense"])))}
    if stage == SEARCH:
        return found
    section = narrower(options, read_list(folder))
    found[NARROW] = (section, models / PRUNED)
    if stage != PRUNE and FINETUNE in stage_names(options):
        found[FINETUNED] = (section, models / "net_g_latest.pth")
    return found


def measure(options: Mapping[str, Any], networks: Networks, folder: Path) -> dict[str, Row]:
    """Return the numbers of these networks, and of an untrained one of uniform width, by title.

    That one has one share of the channels everywhere, and at most the parameters of the pruned network; its list is
    written into ``folder``. Networks run in turns on the first image of the section ``comparison``.
    """
    nets, device = load_networks(options, networks)
    if NARROW in nets:
        numbers = uniform_list(options, nets[DENSE], read_list(folder))
        write_whole(folder / UNIFORM_LIST, "".join(f"{number}\n" for number in numbers).encode())
        section = narrower(options, numbers)
        nets[UNIFORM] = look_up(ARCH_REGISTRY, section.pop("type"))(**section).to(device).eval()
    image = first_image(options).to(device)
    seconds, side = time_in_turns(nets, image), image.shape[2:]
    return {title: Row(count_parameters(net), count_multi_adds(net, *side), seconds[title])
            for title, net in nets.items()}  # fmt: skip
