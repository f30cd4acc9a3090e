"""The plan of a compression: iterations, options and files of search, pruning and fine-tuning."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from lightsr_basicsr.archs.sites import Site, sites_of
from lightsr_basicsr.checkpoints import write_whole
from lightsr_basicsr.checkpoints.states import weights_folder
from lightsr_basicsr.models.best_metrics import best_metrics_file
from lightsr_basicsr.models.kdsr_plan import count
from lightsr_basicsr.models.pruning_checks import DENSE, settings_of, targets_in
from lightsr_basicsr.models.speed import KEYS as SPEED
from lightsr_basicsr.pruning.channel_lists import ChannelListError, candidate_widths, listed
from lightsr_basicsr.pruning.cost import Cost, uniform_widths
from lightsr_basicsr.pruning.selection import iterations_of
from lightsr_basicsr.pruning.surgery import pruned_section
from lightsr_basicsr.registry import look_up

SEARCH, PRUNE, FINETUNE = "search", "prune", "finetune"
MODELS = {SEARCH: "ChannelSearchModel", PRUNE: "ChannelPruningModel", FINETUNE: "DistillFinetuneModel"}
LIST = "channel_configs.txt"  # in the run's folder, from the end of the search on
PRUNED = "net_pruned_latest.pth"  # in its folder of weights
ENDED = "stages.json"  # there too: the last iteration of each stage that has ended


def lengths(options: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Return the iterations of search and fine-tuning, each None if it is not a whole number."""
    train = options.get("train") or {}
    return count(train.get("search_iter")), count(train.get("finetune_iter"))


def stage_names(options: Mapping[str, Any]) -> list[str]:
    """Return the stages that a run has."""
    search, finetune = lengths(options)
    return [name for name, length in ((SEARCH, search), (PRUNE, 1), (FINETUNE, finetune)) if length != 0]


def largest_channels(options: Mapping[str, Any], sites: Sequence[Site]) -> list[int]:
    """Return the channel list with the most channels that the pruning may get; without a search, its own.

    Raises:
        ChannelListError: If rate or list do not fit.
    """
    train = stage_train(options, PRUNE)
    if lengths(options)[0] == 0:
        return listed(sites, targets_in({"train": train}, sites))
    rate = train.get("pruning_rate")
    return listed(sites, [max(candidate_widths(site.width, rate)) for site in sites])


def most_iterations(options: Mapping[str, Any], sites: Sequence[Site]) -> int:
    """Return how many iterations are set aside for the pruning: those of the largest channel list."""
    train = {**stage_train(options, PRUNE), "channels": largest_channels(options, sites)}
    return needed_iterations(train, sites)


def needed_iterations(train: Mapping[str, Any], sites: Sequence[Site]) -> int:
    """Return the iterations that the pruning with the section ``train`` takes."""
    if train.get("criterion") == "l1":
        return 1
    return iterations_of(targets_in({"train": train}, sites), settings_of(train))


def iterations_of_list(options: Mapping[str, Any], sites: Sequence[Site], folder: Path) -> int:
    """Return the iterations that the pruning to the list in ``folder`` takes.

    Raises:
        OSError: If there is none.
        ChannelListError: If it does not fit, or takes more iterations than are set aside.
    """
    needed = needed_iterations({**stage_train(options, PRUNE), "channels": read_list(folder)}, sites)
    if needed > (most := most_iterations(options, sites)):
        raise ChannelListError(
            f"The pruning to the list in {folder / LIST} takes {needed} iterations, but by the option file {most} are "
            "set aside: set train.pruning_rate and train.prune as in the search, or start a run of another name."
        )
    return needed


def sites_in(options: Mapping[str, Any]) -> list[Site]:
    """Return the sites of the dense network; the generators of random numbers stay as they are.

    Raises:
        SiteError: If it has none.
    """
    section = dict(options["network_g"])
    with torch.random.fork_rng(devices=[]):
        net = look_up(ARCH_REGISTRY, section.pop("type"))(**section)
    return sites_of(net, options["train"].get("sites"))


def find_ends(options: Mapping[str, Any], sites: Sequence[Site]) -> dict[str, int]:
    """Return the last iteration of each stage, in their order.

    Raises:
        ValueError: If the lengths of the stages are not whole numbers.
    """
    search, finetune = lengths(options)
    if search is None or finetune is None:
        given = [options["train"].get(key) for key in ("search_iter", "finetune_iter")]
        raise ValueError(f"A compression needs whole numbers `search_iter` and `finetune_iter`, got {given}.")
    pruned = search + most_iterations(options, sites)
    ends = {SEARCH: search, PRUNE: pruned, FINETUNE: pruned + finetune}
    return {name: ends[name] for name in stage_names(options)}


def stage_train(options: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """Return the section ``train`` of one stage: the common part, overruled by the stage's own."""
    train = dict(options.get("train") or {})
    own = {name: train.pop(name, None) for name in MODELS}[stage]
    for key in ("search_iter", "finetune_iter", "total_iter"):
        train.pop(key, None)
    if stage == SEARCH:
        train.pop("channels", None)
    if stage != FINETUNE:
        # They have no effect in the others.
        train = {key: value for key, value in train.items() if key not in SPEED}
    return {**train, **(own if isinstance(own, Mapping) else {})}


def stage_options(options: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """Return the options with which the model of one stage trains on its own as in the whole run.

    What is known only within a run is missing: the pruning's channels and the narrower network.
    """
    search, finetune = lengths(options)
    train = stage_train(options, stage)
    if stage == PRUNE:
        # Its learning rate is constant, and its optimizer of one kind.
        train = {key: value for key, value in train.items() if key not in ("optim_g", "optim_dual", "scheduler")}
    else:
        train["total_iter"] = search if stage == SEARCH else finetune
    paths = dict(options.get("path") or {})
    if stage == SEARCH:
        paths["pretrain_network_g"] = paths.get(DENSE)
        paths["param_key_g"] = paths.get("dense_param_key", "params_ema")
    content = {**options, "train": train, "path": paths, "model_type": MODELS[stage]}
    if stage != FINETUNE:
        content.pop("network_teacher", None)
    return content


def training_options(
    options: Mapping[str, Any], stage: str, sites: Sequence[Site], resumed: int | None
) -> dict[str, Any]:
    """Return the options of a stage within the run, ``resumed`` at an iteration, or from its start."""
    content = stage_options(options, stage)
    train, paths, models = content["train"], content["path"], Path(options["path"]["models"])
    if stage == PRUNE:
        if SEARCH in stage_names(options):
            train["channels"] = read_list(_folder(options))
            train["total_iter"] = iterations_of_list(options, sites, _folder(options))
        else:
            train["total_iter"] = needed_iterations(train, sites)
    elif stage == FINETUNE:
        content["network_g"] = narrower(options, read_list(_folder(options)))
        paths["pretrain_network_g"], paths["param_key_g"] = str(models / PRUNED), "params"
    if resumed is not None:
        models = weights_folder(Path(paths["resume_state"]))
        for key in ("g", "dual") if content.get("network_dual") else ("g",):
            paths[f"pretrain_network_{key}"] = str(models / f"net_{key}_{resumed}.pth")
            paths[f"param_key_{key}"] = "params"
    return content


def read_list(folder: Path) -> list[int]:
    """Return the channel list of the run in ``folder``.

    Raises:
        OSError: If it is not there.
        ChannelListError: If it holds something else than whole numbers.
    """
    words = (folder / LIST).read_bytes().split()
    try:
        return [int(word) for word in words]
    except ValueError as error:
        raise ChannelListError(f"{folder / LIST} must hold whole numbers, got {error}: it is damaged.") from error


def found_list(options: Mapping[str, Any], best: int | None) -> Path:
    """Return the file of the list that the search found: of its ``best`` validation, or else of its end."""
    folder = _folder(options)
    named = folder / f"channel_configs_{best}.txt"
    return named if named.is_file() else folder / "channel_configs_latest.txt"


def write_ends(options: Mapping[str, Any], ends: Mapping[str, int], stage: str) -> None:
    """Write down which stages have ended, ``stage`` as the last one."""
    done = list(ends)[: list(ends).index(stage) + 1]
    write_whole(_folder(options) / ENDED, json.dumps({name: ends[name] for name in done}).encode())


def read_ends(folder: Path) -> dict[str, int]:
    """Return the stages of the run in ``folder`` that have ended, with their last iterations; {} if none has."""
    try:
        content = json.loads((folder / ENDED).read_bytes())
    except (OSError, ValueError):
        return {}
    known = content.items() if isinstance(content, dict) else ()
    return {name: end for name, end in known if name in MODELS and type(end) is int}


def other_ends(folder: Path, ends: Mapping[str, int], done: int) -> str:
    """Return which stage before iteration ``done`` of the run in ``folder`` ended elsewhere than in ``ends``, or ''."""
    for stage, end in read_ends(folder).items():
        if end < done and ends.get(stage) != end:
            return (
                f"{folder} has ended its {stage} at iteration {end}, but by the option file that would be "
                f"{ends.get(stage, 'no stage')}: set the lengths of the stages, rate and pass_iter as they were, or "
                "start a run of another name."
            )
    return ""


def bring_files(options: Mapping[str, Any]) -> None:
    """Copy what stages have left beside the training state, for a run that goes on under another name."""
    own, other = _folder(options), weights_folder(Path(options["path"]["resume_state"])).parent
    names = [ENDED, "selection.json", best_metrics_file(options).name, f"models/{PRUNED}"]
    for name in (*names, *(file.name for file in other.glob("channel_configs*.txt"))):
        if (other / name).is_file() and not (own / name).is_file():
            write_whole(own / name, (other / name).read_bytes())


def narrower(options: Mapping[str, Any], numbers: Sequence[int]) -> dict[str, Any]:
    """Return the section of the dense network with these numbers of channels."""
    return pruned_section(options["network_g"], numbers, options["train"].get("sites"))


def uniform_list(options: Mapping[str, Any], net: nn.Module, numbers: Sequence[int]) -> list[int]:
    """Return the list of one share at every site of the dense ``net`` with at most the parameters of ``numbers``."""
    sites = sites_of(net, options["train"].get("sites"))
    cost = Cost(net, sites, "params", torch.empty(0))
    limit = float(cost([number / site.unit for number, site in zip(numbers, sites, strict=True)]))
    return listed(sites, uniform_widths(cost, limit))


def _folder(options: Mapping[str, Any]) -> Path:
    return Path(options["path"]["experiments_root"])
