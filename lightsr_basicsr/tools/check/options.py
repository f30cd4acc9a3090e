"""Check an option file against what is registered, before BasicSR creates or renames any folder.

Nothing here writes, draws from a seeded generator that training uses, or sets up BasicSR's logger (which would lose
the log file of the run). Only metrics and losses may fetch their weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY

from lightsr_basicsr.checkpoints import CheckpointError, read_state_dict
from lightsr_basicsr.checkpoints.misfit import describe_misfit
from lightsr_basicsr.errors import short_message
from lightsr_basicsr.registry import look_up
from lightsr_basicsr.tools.check.backend import check_backend, runs_exported
from lightsr_basicsr.tools.check.data import check_dataset
from lightsr_basicsr.tools.check.downloads import check_downloads
from lightsr_basicsr.tools.check.keys import (
    Finding,
    check_device,
    check_keys,
    check_misspelt,
    check_required,
    check_tensorboard,
    check_texts,
    section_of,
)
from lightsr_basicsr.tools.check.names import check_arguments, check_type
from lightsr_basicsr.tools.check.training import check_training


def check_options(options: Mapping[str, Any], is_train: bool, state: Path | None = None) -> list[Finding]:
    """Return everything that would stop or spoil a run with these options; empty if nothing.

    Args:
        options (Mapping): Content of an option file, overrides applied.
        is_train (bool): For ``train`` (True) or ``test`` (False).
        state (Path | None): The training state from which the run goes on; it replaces ``path.pretrain_*``.
    """
    findings = [*check_keys(options, is_train), *check_texts(options), *check_device(options)]
    networks: dict[str, torch.nn.Module] = {}
    for key in [key for key in options if str(key).startswith("network_")]:
        findings += _check_network(key, options[key], networks)
    findings += check_type("model_type", options.get("model_type"), MODEL_REGISTRY, "model")
    if not any(str(key).startswith("network_") for key in options):
        findings.append(Finding("network_g", "is missing: name the network, for example {type: IMDN, upscale: 4}"))
    if state:
        findings += _check_resume_state(options, state, networks)
    else:
        findings += _check_pretrained(options, networks, is_train)
    model = look_up(MODEL_REGISTRY, options.get("model_type"))
    if is_train and hasattr(model, "stages"):
        findings += _find_problems(model, options, networks)
        findings += _check_stages(model, options, networks, state)
    else:
        findings += [*_check_run(options, networks, is_train), *_check_datasets(options, is_train, networks)]
    if is_train:
        findings += check_tensorboard(options)
    findings += [*_check_metrics(options), *_check_comparison(options, is_train)]
    findings += check_backend(options, networks.get("network_g"), is_train)
    # Nothing is downloaded for a run that does not start.
    return findings if any(finding.fatal for finding in findings) else [*findings, *check_downloads(options, is_train)]


def _check_run(options: Mapping, networks: Mapping[str, torch.nn.Module], is_train: bool) -> Iterator[Finding]:
    """Yield what the model of these options cannot work with."""
    model = look_up(MODEL_REGISTRY, options.get("model_type"))
    yield from _check_model_of(options, networks.get("network_g"), is_train)
    if is_train:
        yield from _find_problems(model, options, networks)
        yield from check_training(options)


def _check_stages(
    model: Any, options: Mapping, networks: Mapping[str, torch.nn.Module], state: Path | None
) -> Iterator[Finding]:
    """Yield findings of each stage of a run; the first one shows its network all that the others see, and more."""
    for index, (name, stage) in enumerate(model.stages(_with_sections(options), state).items()):
        titles = {key: top for key in stage for top in networks if options[top] is stage[key]}
        own = {key: networks[top] for key, top in titles.items()}
        typos = check_misspelt("train", section_of(section_of(options, "train"), name))
        for finding in (*_check_run(stage, own, True), *typos):
            yield _as_written(finding, titles, f" ({name} stage)")
        if index == 0:
            yield from _check_datasets(stage, True, own)


def _as_written(finding: Finding, titles: Mapping[str, str], stage: str) -> Finding:
    """Return ``finding`` with networks called as the option file of the whole run calls them."""
    found = re.compile("|".join(titles) or "$^")
    where, message = (found.sub(lambda match: titles[match[0]], text) for text in (finding.where, finding.message))
    return replace(finding, where=where + stage, message=message)


def _find_problems(model: Any, options: Mapping, networks: Mapping[str, torch.nn.Module]) -> Iterator[Finding]:
    """Ask a model of ours what is wrong with the options."""
    if hasattr(model, "find_problems"):
        yield from (Finding(where, text) for where, text in model.find_problems(_with_sections(options), networks))


def _with_sections(options: Mapping) -> Mapping:
    """Return ``options`` with sections where there should be some; that others are there is told elsewhere."""
    return {**options, **{key: section_of(options, key) for key in ("datasets", "path", "train")}}


def _check_model_of(options: Mapping, net: torch.nn.Module | None, is_train: bool) -> Iterator[Finding]:
    """SRModel's step gives LR and compares one image; some of our networks take or give more."""
    model = look_up(MODEL_REGISTRY, options.get("model_type"))
    if net is None or not _steps_like_srmodel(model):
        return
    model = model.__name__
    name = type(net).__name__
    if not getattr(net, "super_resolves", True):
        yield Finding("model_type", f"{model} runs networks that map LR to SR, and {name} does not")
    elif is_train and (output := getattr(net, "training_output", "image")) != "image":
        dual = output in ("levels", "image_and_dual")
        own = "a model of its own" + (", DualRegressionModel" if dual else "")
        yield Finding("model_type", f"{model} trains on one image, and {name} gives more in training: it needs {own}")


def _steps_like_srmodel(model: Any) -> bool:
    """Tell whether a model class inherits its training step from SRModel or LossDictModel."""
    names = ("run_network", "compute_losses", "optimize_parameters")
    steps = [getattr(model, name).__qualname__ for name in names if hasattr(model, name)]
    return bool(steps) and all(step.startswith(("SRModel.", "LossDictModel.")) for step in steps)


def _check_network(key: str, content: Any, built: dict[str, torch.nn.Module]) -> Iterator[Finding]:
    if not isinstance(content, Mapping):
        yield Finding(key, f"must be a section with a type, got {content!r}")
        return
    findings = list(check_type(f"{key}.type", content.get("type"), ARCH_REGISTRY, "network"))
    kwargs = {name: value for name, value in content.items() if name != "type"}
    if not findings:
        network = look_up(ARCH_REGISTRY, content["type"])
        findings = list(check_arguments(key, network, kwargs))
    yield from findings
    if findings:
        return
    try:
        built[key] = network(**deepcopy(kwargs))
    except Exception as error:
        # Constructors of other plugins raise anything; whatever it is, the run would end with it.
        yield Finding(key, f"{content['type']} cannot be built: {short_message(error)}")


def _check_resume_state(options: Mapping, state: Path, networks: Mapping[str, torch.nn.Module]) -> Iterator[Finding]:
    state = state.expanduser()
    if not state.is_file():
        yield Finding("path.resume_state", f"there is no training state {state} (looked from {Path.cwd()})")
        return
    model = look_up(MODEL_REGISTRY, options.get("model_type"))
    if not hasattr(model, "resume_files") or not section_of(options, "train") or not state.stem.isdigit():
        return
    problems = list(model.find_resume_problems(_with_sections(options), state))
    yield from (Finding(where, text) for where, text in problems)
    # Where the plan is another one, so are the files.
    for key, file in () if problems else model.resume_files(_with_sections(options), state).items():
        yield from _check_file(options, model, f"pretrain_{key}", str(file), networks.get(key), is_train=True)


def _check_pretrained(options: Mapping, networks: Mapping[str, torch.nn.Module], is_train: bool) -> Iterator[Finding]:
    paths, model = section_of(options, "path"), look_up(MODEL_REGISTRY, options.get("model_type"))
    if is_train:
        missing = [key for key in getattr(model, "required_paths", ()) if not paths.get(key)]
        yield from (Finding(f"path.{key}", f"is missing: {model.__name__} starts from that file") for key in missing)
    unused = () if is_train else getattr(model, "training_networks", ())
    for key, path in paths.items():
        name = str(key).removeprefix("pretrain_")
        if name.startswith("network_") and key != name and path is not None and name not in unused:
            yield from _check_file(options, model, str(key), str(path), networks.get(name), is_train)


def _check_file(
    options: Mapping, model: Any, key: str, path: str, net: torch.nn.Module | None, is_train: bool
) -> Iterator[Finding]:
    """Yield why the file of weights that ``path.<key>`` names cannot be read, or does not fit."""
    paths, suffix = section_of(options, "path"), key.removeprefix("pretrain_network_")
    try:
        wanted = paths.get(f"param_key_{suffix}", "params")
        state, wrapper = read_state_dict(Path(path).expanduser(), prefer=wanted)
    except CheckpointError as error:
        yield Finding(f"path.{key}", str(error))
        return
    if net is None:
        return
    describe = getattr(model, "describe_misfit", None) if is_train else None
    describe = describe or describe_misfit
    misfit = describe(net, state, path, paths.get(f"strict_load_{suffix}", True))
    if misfit:
        yield Finding(f"path.{key}", misfit)
    yield from _check_wrapper(options, key, suffix, wrapper)


def _check_wrapper(options: Mapping, key: str, suffix: str, wrapper: str) -> Iterator[Finding]:
    """BasicSR's own models do not look for the weights; ours do."""
    model = look_up(MODEL_REGISTRY, options.get("model_type"))
    wanted = section_of(options, "path").get(f"param_key_{suffix}", "params")
    found = {"bare"} if wanted is None else {wanted, "params"}
    if model and not hasattr(model, "describe_misfit") and wrapper not in found:
        held, key_found = ("a bare state dict", "~") if wrapper == "bare" else (f"weights under '{wrapper}'", wrapper)
        yield Finding(
            f"path.{key}",
            f"holds {held}, in which {options['model_type']} does not find '{wanted or 'bare weights'}': "
            f"set param_key_{suffix}: {key_found}, or model_type: LossDictModel",
        )


def _check_metrics(options: Mapping) -> Iterator[Finding]:
    metrics = section_of(options, "val").get("metrics") or {}
    if not isinstance(metrics, Mapping):
        yield Finding("val.metrics", f"must hold one section per metric, got {metrics!r}")
        return
    for name, content in metrics.items():
        where = f"val.metrics.{name}"
        if not isinstance(content, Mapping):
            yield Finding(where, f"must be a section with a type, got {content!r}")
            continue
        findings = list(check_type(f"{where}.type", content.get("type"), METRIC_REGISTRY, "metric"))
        if not findings:
            kwargs = {key: value for key, value in content.items() if key not in ("type", "better")}
            function = look_up(METRIC_REGISTRY, content["type"])
            findings = list(check_arguments(where, function, kwargs, given=("img", "img2")))
        yield from findings


def _check_datasets(options: Mapping, is_train: bool, networks: Mapping[str, torch.nn.Module]) -> Iterator[Finding]:
    datasets = section_of(options, "datasets")
    phases = [str(phase).split("_")[0] for phase in datasets]
    if is_train and "train" not in phases:
        yield Finding("datasets.train", "is missing")
    if not is_train and "test" not in phases:
        yield Finding("datasets", "has no test set: add a section test_1")
    for key, content in datasets.items():
        phase, where = str(key).split("_")[0], f"datasets.{key}"
        allowed = ("train", "val") if is_train else ("test", "val")
        if phase not in allowed:
            yield Finding(where, f"is not a phase that BasicSR knows here: name it {' or '.join(allowed)}, or val_2")
            continue
        if not isinstance(content, Mapping):
            yield Finding(where, f"must be a section, got {content!r}")
            continue
        findings = list(check_type(f"{where}.type", content.get("type"), DATASET_REGISTRY, "dataset"))
        required: dict[str, type] = {"name": str}
        if phase == "train":
            required["batch_size_per_gpu"] = int
            if "num_worker_per_gpu" not in content:
                findings.append(Finding(f"{where}.num_worker_per_gpu", "is missing: 0 loads in the main process"))
        findings += check_required(where, content, required)
        yield from findings
        if not findings:
            ready = {**content, "phase": phase, **({"scale": options["scale"]} if "scale" in options else {})}
            dataset = look_up(DATASET_REGISTRY, content["type"])
            wanted, needed = _fed_by(options, phase, networks)
            problems = check_dataset(dataset, ready, wanted, needed)
            yield from (Finding(f"{where}{place}", text) for place, text in problems)


def _fed_by(
    options: Mapping, phase: str, networks: Mapping[str, torch.nn.Module]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the keys of a batch of which the model needs one, and those that it needs all, as far as that is known."""
    model = look_up(MODEL_REGISTRY, options.get("model_type"))
    if getattr(model, "feed_data", None) is SRModel.feed_data:
        return ("lq",), ()
    wanted = getattr(model, "fed_by", ())
    if phase != "train":  # where LR images are never synthesised
        wanted = tuple(key for key in wanted if key == "lq")
    needed = ("gt",) if getattr(model, "needs_gt", False) or (phase == "train" and wanted) else ()
    if phase == "train" and hasattr(model, "needed_keys"):
        needed += model.needed_keys(_with_sections(options), networks)
    return wanted, needed


def _check_comparison(options: Mapping, is_train: bool) -> Iterator[Finding]:
    if not (is_train or section_of(options, "path").get("pretrain_network_g") or runs_exported(options)):
        fatal = "comparison" in options
        yield Finding("path.pretrain_network_g", "is missing: the network has random weights", fatal)
    if "comparison" not in options:
        return
    wanted = {"dataset": object, "crop_border": object, "test_y_channel": bool}
    yield from check_required("comparison", section_of(options, "comparison"), wanted)
    names, datasets = section_of(options, "comparison").get("dataset"), section_of(options, "datasets")
    for name in names if isinstance(names, list) else [names]:
        yield from _check_compared(name, datasets)


def _check_compared(name: Any, datasets: Mapping) -> Iterator[Finding]:
    if name not in datasets:
        yield Finding("comparison.dataset", f"is {name!r}, which is not in datasets: {', '.join(map(str, datasets))}")
        return
    section = section_of(datasets, str(name))
    dataset = look_up(DATASET_REGISTRY, section.get("type"))
    if dataset and "dataroot_gt" not in section and not getattr(dataset, "prepares_data", False):
        yield Finding("comparison.dataset", f"{name} has no ground truth to compare with")
