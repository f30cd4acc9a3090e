"""What the options of a faster training step need: a device, a compiler, a torch that has them, a state with them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from lightsr_basicsr.checkpoints import CheckpointError
from lightsr_basicsr.checkpoints.states import read_state
from lightsr_basicsr.models.speed import KEYS, MARK

Problems = Iterator[tuple[str, str]]
COMPILERS = ("g++", "clang++", "cl") if os.name == "nt" else ("g++", "c++", "clang++")


def find_speed_problems(options: Mapping[str, Any], name: str, without_effect: Mapping[str, str]) -> Problems:
    """Yield why a training cannot have the options of its speed.

    Args:
        options (Mapping): Those of the run.
        name (str): The registered name of the model.
        without_effect (Mapping): Why options have no effect in that model, by their keys in ``train``.
    """
    train = options.get("train") or {}
    wanted = [key for key in KEYS if train.get(key)]
    for key in wanted:
        if key in without_effect:
            yield f"train.{key}", f"has no effect: {name} {without_effect[key]}; remove it"
    on_gpu = options.get("num_gpu") != 0 and torch.cuda.is_available()
    if train.get("amp") == "fp16" and not on_gpu:
        have = "num_gpu is 0" if options.get("num_gpu") == 0 else "torch sees none here"
        yield "train.amp", f"is fp16, which needs a GPU, and {have}: use bf16, which CPUs train with too, or remove it"
    if "compile" in wanted and "compile" not in without_effect and (text := describe_missing_compiler(on_gpu)):
        yield "train.compile", text


def describe_missing_compiler(on_gpu: bool) -> str:
    """Return what ``torch.compile`` lacks on a GPU or the CPU, '' if nothing."""
    if not hasattr(torch, "compile"):
        return f"needs torch 2.0 or newer, and this is {torch.__version__}: upgrade torch, or remove it"
    if on_gpu:
        found = find_spec("triton") is not None
        return "" if found else "needs the package triton on a GPU, which is not installed: install it, or remove it"
    named = os.environ.get("CXX")
    if any(map(shutil.which, [named] if named else COMPILERS)):
        return ""
    searched = f"$CXX is {named}" if named else f"looked for {', '.join(COMPILERS)}"
    return f"needs a C++ compiler on the CPU, and there is none ({searched}): install one (g++), or remove it"


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
