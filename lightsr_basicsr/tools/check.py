"""Check an option file against what is registered, before BasicSR creates or renames any folder.

Nothing here writes, draws from a seeded generator that training uses, or sets up BasicSR's logger (which would lose
the log file of the run).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY

from lightsr_basicsr import checkpoints
from lightsr_basicsr.tools.check_data import check_dataset
from lightsr_basicsr.tools.options import EXPONENT_NUMBER

# Keys that BasicSR reads without a default; a number of kind int may be written 5e3 as !!float.
REQUIRED: dict[str, dict[str, type]] = {
    "train": {"train": dict, "logger": dict},
    "test": {"val": dict},
    "both": {"name": str, "model_type": str, "num_gpu": int, "datasets": dict, "path": dict},
}
REQUIRED_IN: dict[str, dict[str, type]] = {
    "train": {"total_iter": int, "optim_g": dict, "scheduler": dict},
    "logger": {"print_freq": int, "save_checkpoint_freq": int, "use_tb_logger": bool},
    "val": {"save_img": bool},
}
OPTIONAL_IN: dict[str, tuple[str, ...]] = {
    "": ("scale", "manual_seed", "val", "dist_params", "find_unused_parameters", "comparison"),
    "train": ("ema_decay", "warmup_iter", "pixel_opt", "perceptual_opt", "gan_opt", "optim_d", "net_d_iters"),
    "logger": ("wandb",),
    "val": ("val_freq", "metrics", "pbar", "suffix"),
    "path": (
        "pretrain_network_g", "param_key_g", "strict_load_g", "resume_state", "ignore_resume_networks",
        "pretrain_network_d", "param_key_d", "strict_load_d",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One thing found in an option file: where (a dotted path), what, and whether it stops the run."""

    where: str
    message: str
    fatal: bool = True

    def __str__(self) -> str:
        return f"{self.where}: {'' if self.fatal else '(warning) '}{self.message}"


def check_options(options: Mapping[str, Any], is_train: bool, resuming: bool = False) -> list[Finding]:
    """Return everything that would stop or spoil a run with these options; empty if nothing.

    Args:
        options (Mapping): Content of an option file, overrides applied.
        is_train (bool): For ``train`` (True) or ``test`` (False).
        resuming (bool): Whether a training state will replace ``path.pretrain_*``.
    """
    findings = [*_check_keys(options, is_train), *_check_texts(options), *_check_device(options)]
    networks: dict[str, torch.nn.Module] = {}
    for key in [key for key in options if str(key).startswith("network_")]:
        findings += _check_network(key, options[key], networks)
    findings += _check_type("model_type", options.get("model_type"), MODEL_REGISTRY, "model")
    if not any(str(key).startswith("network_") for key in options):
        findings.append(Finding("network_g", "is missing: name the network, for example {type: IMDN, upscale: 4}"))
    if not resuming:
        findings += _check_pretrained(options, networks)
    if is_train:
        findings += [*_check_losses(options), *_check_optimization(options)]
    findings += [*_check_metrics(options), *_check_datasets(options, is_train)]
    return findings


def _section(options: Mapping, key: str) -> Mapping:
    return options[key] if isinstance(options.get(key), Mapping) else {}


def _check_keys(options: Mapping, is_train: bool) -> Iterator[Finding]:
    mode = "train" if is_train else "test"
    yield from _check_required("", options, {**REQUIRED["both"], **REQUIRED[mode]})
    for name, required in REQUIRED_IN.items():
        if name not in options or (name in ("train", "logger") and not is_train):
            continue
        if name == "val":
            required = _required_in_val(options, is_train)
        yield from _check_required(name, _section(options, name), required)
    if is_train and "debug" in str(options.get("name")):
        yield Finding("name", "holds 'debug', so BasicSR validates and saves every 8 iterations, without logs", False)
    for name in OPTIONAL_IN:
        yield from _check_misspelt(name, _section(options, name) if name else options)


def _required_in_val(options: Mapping, is_train: bool) -> dict[str, type]:
    required = dict(REQUIRED_IN["val"])
    if is_train:
        required["val_freq"] = int
    elif _section(options, "val").get("save_img"):
        required["suffix"] = object
    return required


def _check_required(section: str, content: Mapping, required: Mapping[str, type]) -> Iterator[Finding]:
    for key, kind in required.items():
        where = f"{section}.{key}" if section else key
        if key not in content:
            close = get_close_matches(key, [str(name) for name in content if name not in required], n=1)
            hint = f"; found '{close[0]}', is that a typo?" if close else ""
            yield Finding(where, f"is missing{hint}")
        elif message := _wrong_kind(key, content[key], kind):
            yield Finding(where, message)


def _wrong_kind(key: str, value: Any, kind: type) -> str:
    if kind is int and key == "num_gpu":
        fine = value == "auto" or (isinstance(value, int) and value >= 0)
        return "" if fine else f"must be a number of GPUs or auto, got {value!r}"
    if kind is int:
        fine = isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
        return "" if fine else f"must be a positive number, got {value!r}"
    if kind is dict:
        return "" if isinstance(value, Mapping) else f"must be a section of its own, got {value!r}"
    if kind is bool:
        return "" if isinstance(value, bool) else f"must be true or false, got {value!r}"
    return "" if kind is object or (isinstance(value, kind) and value) else f"must be a text, got {value!r}"


def _check_misspelt(section: str, content: Mapping) -> Iterator[Finding]:
    required = {**REQUIRED["both"], **REQUIRED["train"]} if not section else REQUIRED_IN.get(section, {})
    known = {*required, *OPTIONAL_IN[section]}
    for key in map(str, content):
        if key in known or key.startswith(("network_", "pretrain_", "param_key", "strict_load")):
            continue
        close = [name for name in get_close_matches(key, sorted(known - set(content)), n=1, cutoff=0.8)]
        if close and close[0] in OPTIONAL_IN[section]:
            yield Finding(f"{section}.{key}".lstrip("."), f"is not read by BasicSR: did you mean '{close[0]}'?")


def _check_texts(content: Any, where: str = "") -> Iterator[Finding]:
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield from _check_texts(value, f"{where}.{key}".lstrip("."))
    elif isinstance(content, list):
        for index, value in enumerate(content):
            yield from _check_texts(value, f"{where}[{index}]")
    elif isinstance(content, str) and EXPONENT_NUMBER.fullmatch(content):
        yield Finding(where, f"is the text '{content}' in YAML: write !!float {content}")


def _check_device(options: Mapping) -> Iterator[Finding]:
    wanted, there = options.get("num_gpu"), torch.cuda.device_count()
    if isinstance(wanted, int) and wanted > there:
        yield Finding("num_gpu", f"is {wanted}, but torch sees {there} CUDA devices: write auto, or 0 for the CPU")
    train = _section(_section(options, "datasets"), "train")
    if isinstance(wanted, str) and there > 1:
        yield Finding("num_gpu", f"auto takes {there} GPUs here, each with batch_size_per_gpu images", False)
    prefetch = train.get("prefetch_mode")
    where = "datasets.train.prefetch_mode"
    if prefetch == "cuda" and (wanted == 0 or not there):
        yield Finding(where, "cuda needs a GPU: leave the line out on CPU")
    if prefetch == "cpu" and train.get("persistent_workers"):
        yield Finding(where, "cpu together with persistent_workers hangs in BasicSR: leave one of them out")
    if train.get("persistent_workers") and not train.get("num_worker_per_gpu"):
        yield Finding("datasets.train.persistent_workers", "needs num_worker_per_gpu of at least 1")


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
    names = [name for name, p in parameters.items() if name not in given and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
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


def _check_pretrained(options: Mapping, networks: Mapping[str, torch.nn.Module]) -> Iterator[Finding]:
    paths = _section(options, "path")
    for key, path in paths.items():
        if not str(key).startswith("pretrain_network_") or path is None:
            continue
        name = str(key).removeprefix("pretrain_")
        suffix = name.removeprefix("network_")
        try:
            state, wrapper = checkpoints.read_state_dict(Path(str(path)).expanduser())
        except checkpoints.CheckpointError as error:
            yield Finding(f"path.{key}", str(error))
            continue
        net = networks.get(name)
        if net is None:
            continue
        strict = paths.get(f"strict_load_{suffix}", True)
        difference = checkpoints.describe_difference(net, state) if strict else ""
        if difference:
            yield Finding(f"path.{key}", f"{path} does not fit {type(net).__name__}:{difference}")
        elif not checkpoints.count_fitting(net, state):
            yield Finding(f"path.{key}", f"no tensor of {path} fits {type(net).__name__}: another network's file?")
        yield from _check_wrapper(options, key, suffix, wrapper)


def _check_wrapper(options: Mapping, key: str, suffix: str, wrapper: str) -> Iterator[Finding]:
    """BasicSR's own models do not look for the weights; ours do."""
    model = _look_up(MODEL_REGISTRY, str(options.get("model_type")))
    wanted = _section(options, "path").get(f"param_key_{suffix}", "params")
    uses_door = model is not None and model.load_network.__module__.startswith("lightsr_basicsr.")
    if model and not uses_door and wanted is not None and wrapper == "bare":
        yield Finding(
            f"path.{key}",
            f"is a bare state dict, in which {options['model_type']} does not find '{wanted}': "
            f"set param_key_{suffix}: ~, or model_type: LossDictModel",
        )


def _check_losses(options: Mapping) -> Iterator[Finding]:
    for key, content in _section(options, "train").items():
        if not (str(key).endswith("_opt") and isinstance(content, Mapping)):
            continue
        where = f"train.{key}"
        findings = list(_check_type(f"{where}.type", content.get("type"), LOSS_REGISTRY, "loss"))
        if not findings:
            kwargs = {name: value for name, value in content.items() if name != "type"}
            findings = list(_check_arguments(where, _look_up(LOSS_REGISTRY, content["type"]), kwargs))
        yield from findings
    from basicsr.models.sr_model import SRModel

    model = _look_up(MODEL_REGISTRY, str(options.get("model_type")))
    train = _section(options, "train")
    if model and issubclass(model, SRModel) and not (train.get("pixel_opt") or train.get("perceptual_opt")):
        yield Finding("train", "names no loss: add pixel_opt (for example {type: L1Loss}) or perceptual_opt")


def _check_optimization(options: Mapping) -> Iterator[Finding]:
    """Build an optimizer and a scheduler for one parameter, the way the model will."""
    model = _look_up(MODEL_REGISTRY, str(options.get("model_type")))
    train = _section(options, "train")
    optim, scheduler = (deepcopy(dict(_section(train, key))) for key in ("optim_g", "scheduler"))
    if model is None or not optim or not scheduler or list(_check_texts(train)):
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
    metrics = _section(options, "val").get("metrics") or {}
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
    datasets = _section(options, "datasets")
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
        findings += _check_required(where, content, required)
        yield from findings
        if not findings:
            ready = {**content, "phase": phase, **({"scale": options["scale"]} if "scale" in options else {})}
            dataset = _look_up(DATASET_REGISTRY, content["type"])
            yield from (Finding(f"{where}{place}", text) for place, text in check_dataset(dataset, ready))
