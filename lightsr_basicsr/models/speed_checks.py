"""What the options of a training step need: a device, a compiler, a torch, a model and losses that have them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from lightsr_basicsr.checkpoints import CheckpointError
from lightsr_basicsr.checkpoints.states import read_state
from lightsr_basicsr.models.speed import KEYS, MARK, PARTS

Problems = Iterator[tuple[str, str]]
OURS = __name__.partition(".")[0]
# Arguments of losses with which they are no means over the images of a batch.
SUMS = {"reduction": "sum", "criterion": "fro"}
COMPILERS = ("g++", "clang++", "cl") if os.name == "nt" else ("g++", "c++", "clang++")


def find_speed_problems(options: Mapping[str, Any], name: str, without_effect: Mapping[str, str]) -> Problems:
    """Yield why a training cannot have the options of its speed.

    Args:
        options (Mapping): Those of the run.
        name (str): The registered name of the model.
        without_effect (Mapping): Why options have no effect in that model, by their keys in ``train``.
    """
    train = options.get("train") or {}
    wanted = wanted_keys(train)
    for key in wanted:
        if key in without_effect:
            yield f"train.{key}", f"has no effect: {name} {without_effect[key]}; remove it"
    on_gpu = options.get("num_gpu") != 0 and torch.cuda.is_available()
    if train.get("amp") == "fp16" and not on_gpu:
        have = "num_gpu is 0" if options.get("num_gpu") == 0 else "torch sees none here"
        yield "train.amp", f"is fp16, which needs a GPU, and {have}: use bf16, which CPUs train with too, or remove it"
    if train.get("amp") == "bf16" and on_gpu and not torch.cuda.is_bf16_supported():
        yield "train.amp", f"is bf16, which {torch.cuda.get_device_name()} cannot compute with: use fp16, or remove it"
    if "compile" in wanted and "compile" not in without_effect and (text := describe_missing_compiler(on_gpu)):
        yield "train.compile", text


def find_slow(options: Mapping[str, Any]) -> Problems:
    """Yield that bf16 makes steps slower, on a processor without instructions for it."""
    on_gpu = options.get("num_gpu") != 0 and torch.cuda.is_available()
    if (options.get("train") or {}).get("amp") == "bf16" and not on_gpu and not _has_fast_bf16():
        text = "is bf16, for which this processor has no instructions: steps may take longer than without, compare both"
        yield "train.amp", text


def _has_fast_bf16() -> bool:
    try:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    except (AttributeError, RuntimeError):
        return False  # a torch without oneDNN


def wanted_keys(train: Mapping[str, Any]) -> list[str]:
    """Return the keys of ``KEYS`` that the section ``train`` sets to more than their defaults."""
    return [key for key in KEYS if train.get(key) and not (key == PARTS and train[key] == 1)]


def find_accumulation_problems(options: Mapping[str, Any], model: type) -> Problems:
    """Yield why a training cannot run its batches in the parts of ``train.accumulate``."""
    train = options.get("train") or {}
    parts, key = train.get(PARTS), f"train.{PARTS}"
    if not isinstance(parts, int) or parts < 2:
        return
    batch = ((options.get("datasets") or {}).get("train") or {}).get("batch_size_per_gpu")
    if isinstance(batch, int) and batch > 0 and batch % parts:
        near = [number for number in range(1, batch + 1) if batch % number == 0]
        text = f"is {parts}, which does not divide datasets.train.batch_size_per_gpu ({batch}) into equal parts"
        yield key, f"{text}: use one of {', '.join(map(str, near))}, or another batch"
    if _definer(model, "optimize_parameters").__module__.split(".")[0] != OURS:
        yield key, f"has no effect: {model.__name__} takes steps in its own way; remove it"
    elif issubclass(_definer(model, "feed_data"), _definer(model, "batch_attributes")) and (
        _definer(model, "feed_data") is not _definer(model, "batch_attributes")
    ):
        text = f"cannot be had: {model.__name__} does not say what its feed_data sets with a value for each image"
        yield key, f"{text}; remove it, or name these attributes in the model's `batch_attributes`"
    for name, section in train.items():
        for argument, value in SUMS.items():
            if isinstance(section, Mapping) and str(section.get(argument)) == value:
                text = f"cannot be {value} with {key}: that of a batch is not the mean of those of its parts"
                yield f"train.{name}.{argument}", f"{text}; remove one of them"


def _definer(model: type, name: str) -> type:
    """Return the class of which ``model`` has an attribute."""
    return next(each for each in model.__mro__ if name in vars(each))


def describe_missing_compiler(on_gpu: bool) -> str:
    """Return what ``torch.compile`` lacks on a GPU or the CPU, '' if nothing."""
    if not hasattr(torch, "compile"):
        return f"needs torch 2.0 or newer, and this is {torch.__version__}: upgrade torch, or remove it"
    if on_gpu:
        found = find_spec("triton") is not None
        return "" if found else "needs the package triton on a GPU, which is not installed: install it, or remove it"
    named = os.environ.get("CXX")
    found = [compiler for compiler in ([named] if named else COMPILERS) if shutil.which(compiler)]
    if found:
        answers = not named or _answers(named)
        return "" if answers else f"needs a C++ compiler that works, and $CXX, {named}, tells no version: set another"
    searched = f"$CXX is {named}" if named else f"looked for {', '.join(COMPILERS)}"
    return f"needs a C++ compiler on the CPU, and there is none ({searched}): install one (g++), or remove it"


def _answers(compiler: str) -> bool:
    """Return whether a compiler tells its version, which torch asks for."""
    try:
        return subprocess.run([compiler, "--version"], capture_output=True, timeout=60, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def find_scaler_problems(train: Mapping[str, Any], state: Path) -> Problems:
    """Yield that the training state ``state`` has a scaler of gradients where the section ``train`` has none, or not.

    What cannot be read is told elsewhere.
    """
    try:
        saved = any(MARK in each for each in read_state(state)["schedulers"])
    except (CheckpointError, OSError):
        return
    wanted = train.get("amp") == "fp16"
    if saved and not wanted:
        yield "train.amp", f"must be fp16 as before: {state.name} holds the scaler of such a run; set it, or begin anew"
    elif wanted and not saved:
        text = f"is fp16, but {state.name} was saved without: set it as it was, or start a run of another name"
        yield "train.amp", text
