"""Keys and plain values of an option file: missing, misspelt, of the wrong kind, or of no use on this machine."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import torch

from lightsr_basicsr.tools.check.context import Run
from lightsr_basicsr.tools.check.findings import Finding
from lightsr_basicsr.tools.options import EXPONENT_NUMBER

# Keys that BasicSR reads without a default; a number of kind int may be written 5e3 as !!float.
REQUIRED: dict[str, dict[str, type]] = {
    "train": {"train": dict, "logger": dict},
    "test": {"val": dict},
    "both": {"name": str, "model_type": str, "num_gpu": int, "datasets": dict, "path": dict},
}
REQUIRED_IN: dict[str, dict[str, type]] = {
    "train": {"total_iter": int},
    "logger": {"print_freq": int, "save_checkpoint_freq": int, "use_tb_logger": bool},
    "val": {"save_img": bool},
}
OPTIONAL_IN: dict[str, tuple[str, ...]] = {
    "": ("scale", "manual_seed", "val", "dist_params", "find_unused_parameters", "comparison"),
    "train": (
        "optim_g", "scheduler", "ema_decay", "warmup_iter", "pixel_opt", "perceptual_opt", "gan_opt", "optim_d",
        "net_d_iters", "net_d_init_iters", "kd_opt", "encoder_only_iter", "teacher_iter", "teacher", "student",
        "lr_sr", "gamma_sr", "lr_decay_sr", "encoder_iter", "lr_encoder", "gamma_encoder", "lr_decay_encoder",
        "reparam",
        "dual_opt", "optim_dual", "loss_range", "skip_threshold", "epoch_iter", "schedule_every",
    ),
    "logger": ("wandb",),
    "val": ("metrics", "pbar", "suffix", "backend", "precision", "threads", "exported"),
    "path": (
        "pretrain_network_g", "param_key_g", "strict_load_g", "resume_state", "ignore_resume_networks",
        "pretrain_network_d", "param_key_d", "strict_load_d", "pretrain_network_TA", "teacher_param_key",
        "pretrain_network_dual", "param_key_dual", "strict_load_dual",
    ),
}  # fmt: skip


def check_keys(run: Run) -> Iterator[Finding]:
    """Yield keys that BasicSR needs and does not find, and keys that look like a misspelt one."""
    mode = "train" if run.is_train else "test"
    yield from check_required("", run.options, {**REQUIRED["both"], **REQUIRED[mode]})
    for name, required in REQUIRED_IN.items():
        if run.options.get(name) is None or (name in ("train", "logger") and not run.is_train):
            continue
        if name == "val":
            required = _required_in_val(run)
        yield from check_required(name, run.section(name), required)
    if run.is_train and "debug" in str(run.options.get("name")):
        yield Finding("name", "holds 'debug', so BasicSR validates and saves every 8 iterations, without logs", False)
    for name in OPTIONAL_IN:
        yield from check_misspelt(name, run.section(name) if name else run.options)


def _required_in_val(run: Run) -> dict[str, type]:
    required = dict(REQUIRED_IN["val"])
    if run.is_train:
        required["val_freq"] = int
    elif run.section("val").get("save_img"):
        required["suffix"] = object
    return required


def check_required(section: str, content: Mapping, required: Mapping[str, type]) -> Iterator[Finding]:
    """Yield what of ``required`` (kinds by key) is missing in ``content`` or of another kind."""
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


def check_misspelt(section: str, content: Mapping) -> Iterator[Finding]:
    """Yield keys of a section ('' for the top level) that look like a misspelt one which BasicSR or a model reads."""
    required = {**REQUIRED["both"], **REQUIRED["train"]} if not section else REQUIRED_IN.get(section, {})
    known = {*required, *OPTIONAL_IN[section]}
    for key in map(str, content):
        if key in known or key.startswith(("network_", "pretrain_network_", "param_key_", "strict_load_")):
            continue
        close = get_close_matches(key, sorted(known - set(content)), n=1, cutoff=0.8)
        if close and close[0] in OPTIONAL_IN[section]:
            yield Finding(f"{section}.{key}".lstrip("."), f"is not read by BasicSR: did you mean '{close[0]}'?")


def check_texts(content: Any, where: str = "") -> Iterator[Finding]:
    """Yield numbers that YAML takes for text."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield from check_texts(value, f"{where}.{key}".lstrip("."))
    elif isinstance(content, list):
        for index, value in enumerate(content):
            yield from check_texts(value, f"{where}[{index}]")
    elif isinstance(content, str) and EXPONENT_NUMBER.fullmatch(content):
        yield Finding(where, f"is the text '{content}' in YAML: write !!float {content}")


def check_tensorboard(run: Run) -> Iterator[Finding]:
    """Yield a finding if TensorBoard files are wanted and torch cannot write them."""
    if run.section("logger").get("use_tb_logger") is not True:
        return
    try:
        importlib.import_module("torch.utils.tensorboard")
    except ImportError as error:
        message = f"torch cannot write TensorBoard files ({error}): install what is missing, or set it to false"
        yield Finding("logger.use_tb_logger", message)


def check_device(run: Run) -> Iterator[Finding]:
    """Yield settings of devices and data loaders that fail or hang on this machine."""
    wanted, there = run.options.get("num_gpu"), torch.cuda.device_count()
    if isinstance(wanted, int) and wanted > there:
        yield Finding("num_gpu", f"is {wanted}, but torch sees {there} CUDA devices: write auto, or 0 for the CPU")
    train = run.section("datasets", "train")
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
