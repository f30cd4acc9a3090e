"""Check an option file against what is registered, before BasicSR creates or renames any folder.

Nothing here writes, draws from a seeded generator that training uses, or sets up BasicSR's logger (which would lose
the log file of the run).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY

from lightsr_basicsr import checkpoints
from lightsr_basicsr.tools.check_data import check_dataset
from lightsr_basicsr.tools.check_keys import (
    Finding,
    check_device,
    check_keys,
    check_required,
    check_tensorboard,
    check_texts,
    section_of,
)


def check_options(options: Mapping[str, Any], is_train: bool, resuming: bool = False) -> list[Finding]:
    """Return everything that would stop or spoil a run with these options; empty if nothing.

    Args:
        options (Mapping): Content of an option file, overrides applied.
        is_train (bool): For ``train`` (True) or ``test`` (False).
        resuming (bool): Whether a training state will replace ``path.pretrain_*``.
    """
    findings = [*check_keys(options, is_train), *check_texts(options), *check_device(options)]
    networks: dict[str, torch.nn.Module] = {}
    for key in [key for key in options if str(key).startswith("network_")]:
        findings += _check_network(key, options[key], networks)
    findings += _check_type("model_type", options.get("model_type"), MODEL_REGISTRY, "model")
    if not any(str(key).startswith("network_") for key in options):
        findings.append(Finding("network_g", "is missing: name the network, for example {type: IMDN, upscale: 4}"))
    findings += _check_model_of(options, networks.get("network_g"), is_train)
    findings += _check_resume_state(options) if resuming else _check_pretrained(options, networks)
    if is_train:
        findings += _check_training_of_srmodel(options)
        findings += [*_check_losses(options), *_check_optimization(options), *check_tensorboard(options)]
    findings += [*_check_metrics(options), *_check_datasets(options, is_train), *_check_comparison(options, is_train)]
    return findings


def _look_up(registry: Any, name: str) -> Any:
    """Return the registered object as ``registry.get`` does, without the line that it prints."""
    table = dict(iter(registry))
    return table.get(name) or table.get(f"{name}_basicsr")


def _check_type(where: str, name: Any, registry: Any, kind: str) -> Iterator[Finding]:
    if name is None:
        yield Finding(where, f"is missing: name a registered {kind} (see `basicsr list`)")
    elif not _look_up(registry, str(name)):
        close = get_close_matches(str(name), list(registry.keys()), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else "see `basicsr list`, and is its plugin installed?"
        yield Finding(where, f"no {kind} named '{name}' is registered: {hint}")


def _check_arguments(where: str, function: Callable, kwargs: Mapping, given: tuple = ()) -> Iterator[Finding]:
    """Compare ``kwargs`` with the signature of ``function``; the first parameters are ``given`` by BasicSR."""
    parameters = inspect.signature(function).parameters
    names = [
        name
        for name, p in parameters.items()
        if name not in given and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    for key in kwargs:
        if key not in names:
            close = get_close_matches(str(key), names, n=1)
            hint = f": did you mean '{close[0]}'?" if close else f"; it takes {', '.join(names) or 'none'}"
            swallowed = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
            if close or not swallowed:
                yield Finding(f"{where}.{key}", f"is not an argument of {function.__name__}{hint}")
    for name in names:
        if parameters[name].default is inspect.Parameter.empty and name not in kwargs:
            yield Finding(f"{where}.{name}", f"is missing: {function.__name__} needs it")


def _check_model_of(options: Mapping, net: torch.nn.Module | None, is_train: bool) -> Iterator[Finding]:
    """SRModel's step gives LR and compares one image; some of our networks take or give more."""
    model = _look_up(MODEL_REGISTRY, str(options.get("model_type")))
    if net is None or not _steps_like_srmodel(model):
        return
    model = model.__name__
    name = type(net).__name__
    if not getattr(net, "super_resolves", True):
        yield Finding("model_type", f"{model} runs networks that map LR to SR, and {name} does not")
    elif is_train and not getattr(net, "single_output", True):
        yield Finding(
            "model_type", f"{model} trains on one image, and {name} gives more in training: it needs a model of its own"
        )


def _steps_like_srmodel(model: Any) -> bool:
    """Tell whether a model class inherits its training step from SRModel or LossDictModel."""
    steps = [
        getattr(model, name).__qualname__ for name in ("compute_losses", "optimize_parameters") if hasattr(model, name)
    ]
    return bool(steps) and steps[0].startswith(("SRModel.", "LossDictModel."))


def _check_network(key: str, content: Any, built: dict[str, torch.nn.Module]) -> Iterator[Finding]:
    if not isinstance(content, Mapping):
        yield Finding(key, f"must be a section with a type, got {content!r}")
        return
    findings = list(_check_type(f"{key}.type", content.get("type"), ARCH_REGISTRY, "network"))
    kwargs = {name: value for name, value in content.items() if name != "type"}
    if not findings:
        network = _look_up(ARCH_REGISTRY, content["type"])
        findings = list(_check_arguments(key, network, kwargs))
    yield from findings
    if findings:
        return
    try:
        built[key] = network(**deepcopy(kwargs))
    except Exception as error:
        # Constructors of other plugins raise anything; whatever it is, the run would end with it.
        yield Finding(key, f"{content['type']} cannot be built: {_one_line(error)}")


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or "no message"
    return text if isinstance(error, (ValueError, TypeError)) else f"{type(error).__name__}: {text}"


def _check_resume_state(options: Mapping) -> Iterator[Finding]:
    state = section_of(options, "path").get("resume_state")
    if state and not Path(str(state)).expanduser().is_file():
        yield Finding("path.resume_state", f"there is no training state {state} (looked from {Path.cwd()})")


def _check_pretrained(options: Mapping, networks: Mapping[str, torch.nn.Module]) -> Iterator[Finding]:
    paths = section_of(options, "path")
    for key, path in paths.items():
        if not str(key).startswith("pretrain_network_") or path is None:
            continue
        name = str(key).removeprefix("pretrain_")
        suffix = name.removeprefix("network_")
        try:
            wanted = paths.get(f"param_key_{suffix}", "params")
            state, wrapper = checkpoints.read_state_dict(Path(str(path)).expanduser(), prefer=wanted)
        except checkpoints.CheckpointError as error:
            yield Finding(f"path.{key}", str(error))
            continue
        net = networks.get(name)
        if net is None:
            continue
        strict = paths.get(f"strict_load_{suffix}", True)
        misfit = checkpoints.describe_misfit(net, state, str(path)) if strict else ""
        if misfit:
            yield Finding(f"path.{key}", misfit)
        elif not checkpoints.count_fitting(net, state):
            yield Finding(f"path.{key}", f"no tensor of {path} fits {type(net).__name__}: another network's file?")
        yield from _check_wrapper(options, key, suffix, wrapper)


def _check_wrapper(options: Mapping, key: str, suffix: str, wrapper: str) -> Iterator[Finding]:
    """BasicSR's own models do not look for the weights; ours do."""
    model = _look_up(MODEL_REGISTRY, str(options.get("model_type")))
    wanted = section_of(options, "path").get(f"param_key_{suffix}", "params")
    uses_door = model is not None and model.load_network.__module__.startswith("lightsr_basicsr.")
    found = {"bare"} if wanted is None else {wanted, "params"}
    if model and not uses_door and wrapper not in found:
        held, key_found = ("a bare state dict", "~") if wrapper == "bare" else (f"weights under '{wrapper}'", wrapper)
        yield Finding(
            f"path.{key}",
            f"holds {held}, in which {options['model_type']} does not find '{wanted or 'bare weights'}': "
            f"set param_key_{suffix}: {key_found}, or model_type: LossDictModel",
        )


def _check_losses(options: Mapping) -> Iterator[Finding]:
    for key, content in section_of(options, "train").items():
        if not (str(key).endswith("_opt") and isinstance(content, Mapping)):
            continue
        # A section of another plugin may end in _opt and be no loss.
        if "type" not in content and key not in ("pixel_opt", "perceptual_opt", "gan_opt"):
            continue
        where = f"train.{key}"
        findings = list(_check_type(f"{where}.type", content.get("type"), LOSS_REGISTRY, "loss"))
        if not findings:
            kwargs = {name: value for name, value in content.items() if name != "type"}
            findings = list(_check_arguments(where, _look_up(LOSS_REGISTRY, content["type"]), kwargs))
        yield from findings


def _check_training_of_srmodel(options: Mapping) -> Iterator[Finding]:
    """Models with a training set-up of their own may need other sections."""
    model, train = _look_up(MODEL_REGISTRY, str(options.get("model_type"))), section_of(options, "train")
    if getattr(model, "init_training_settings", None) is not SRModel.init_training_settings:
        return
    yield from check_required("train", train, {"optim_g": dict, "scheduler": dict})
    if not (train.get("pixel_opt") or train.get("perceptual_opt")):
        yield Finding("train", "names no loss: add pixel_opt (for example {type: L1Loss}) or perceptual_opt")


def _check_optimization(options: Mapping) -> Iterator[Finding]:
    """Build an optimizer and a scheduler for one parameter, the way the model will."""
    model = _look_up(MODEL_REGISTRY, str(options.get("model_type")))
    train = section_of(options, "train")
    optim, scheduler = (deepcopy(dict(section_of(train, key))) for key in ("optim_g", "scheduler"))
    if model is None or not optim or not scheduler or list(check_texts(train)):
        return
    stub = SimpleNamespace(opt={"train": {"scheduler": scheduler}}, optimizers=[], schedulers=[])
    for where, step in (
        ("train.optim_g", lambda: stub.optimizers.append(_optimizer(model, stub, optim))),
        ("train.scheduler", lambda: model.setup_schedulers(stub)),
    ):
        try:
            step()
        except KeyError as error:
            yield Finding(where, f"{error} is missing")
        except AttributeError:  # the model's own version needs more of the model than a stub has
            return
        except Exception as error:
            yield Finding(where, _one_line(error))
            return
    yield from _check_periods(train)


def _optimizer(model: type, stub: Any, optim: dict) -> torch.optim.Optimizer:
    return model.get_optimizer(stub, optim.pop("type"), [torch.nn.Parameter(torch.zeros(1))], **optim)


def _check_periods(train: Mapping) -> Iterator[Finding]:
    periods, total = train["scheduler"].get("periods"), train.get("total_iter")
    if isinstance(periods, list) and isinstance(total, (int, float)) and sum(periods) < total:
        yield Finding(
            "train.total_iter",
            f"{total:,} cannot be met: the periods of the scheduler end at iteration {sum(periods):,}",
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
        findings = list(_check_type(f"{where}.type", content.get("type"), METRIC_REGISTRY, "metric"))
        if not findings:
            kwargs = {key: value for key, value in content.items() if key not in ("type", "better")}
            function = _look_up(METRIC_REGISTRY, content["type"])
            findings = list(_check_arguments(where, function, kwargs, given=("img", "img2")))
        yield from findings


def _check_datasets(options: Mapping, is_train: bool) -> Iterator[Finding]:
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
        findings = list(_check_type(f"{where}.type", content.get("type"), DATASET_REGISTRY, "dataset"))
        required: dict[str, type] = {"name": str}
        if phase == "train":
            required["batch_size_per_gpu"] = int
            if "num_worker_per_gpu" not in content:
                findings.append(Finding(f"{where}.num_worker_per_gpu", "is missing: 0 loads in the main process"))
        findings += check_required(where, content, required)
        yield from findings
        if not findings:
            ready = {**content, "phase": phase, **({"scale": options["scale"]} if "scale" in options else {})}
            dataset = _look_up(DATASET_REGISTRY, content["type"])
            problems = check_dataset(dataset, ready, _fed_by(options))
            yield from (Finding(f"{where}{place}", text) for place, text in problems)


def _fed_by(options: Mapping) -> tuple[str, ...]:
    """Return the keys of a batch of which the model needs one, as far as that is known."""
    model = _look_up(MODEL_REGISTRY, str(options.get("model_type")))
    if getattr(model, "feed_data", None) is SRModel.feed_data:
        return ("lq",)
    return getattr(model, "fed_by", ())


def _check_comparison(options: Mapping, is_train: bool) -> Iterator[Finding]:
    if not is_train and not section_of(options, "path").get("pretrain_network_g"):
        fatal = "comparison" in options
        yield Finding("path.pretrain_network_g", "is missing: the network has random weights", fatal)
    if "comparison" not in options:
        return
    wanted = {"dataset": str, "crop_border": object, "test_y_channel": bool}
    yield from check_required("comparison", section_of(options, "comparison"), wanted)
    name, datasets = section_of(options, "comparison").get("dataset"), section_of(options, "datasets")
    if isinstance(name, str) and name not in datasets:
        yield Finding("comparison.dataset", f"is {name!r}, which is not in datasets: {', '.join(map(str, datasets))}")
        return
    section = section_of(datasets, str(name))
    dataset = _look_up(DATASET_REGISTRY, str(section.get("type")))
    if dataset and "dataroot_gt" not in section and not getattr(dataset, "prepares_data", False):
        yield Finding("comparison.dataset", f"{name} has no ground truth to compare with")
