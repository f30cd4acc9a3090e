"""Keys and plain values of an option file: missing, misspelt, of the wrong kind, or of no use on this machine."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import torch

from lightsr_basicsr.data.cached import OPTIONS as OF_TRAINING_SETS
from lightsr_basicsr.errors import short_message
from lightsr_basicsr.fields import LONGEST_NAME, Field
from lightsr_basicsr.models.kept_checkpoints import find_keep_problems
from lightsr_basicsr.tools.check.basicsr_keys import PUT_BY_BASICSR
from lightsr_basicsr.tools.check.context import Finding, Run
from lightsr_basicsr.tools.check.known import fields_of_model, find, sources_known, within
from lightsr_basicsr.yaml_loader import EXPONENT_NUMBER

# Sections whose keys are known, '' being the top level; a test does not read those in TRAINING.
SECTIONS = ("", "train", "val", "path", "logger", "logger.wandb", "comparison")
TRAINING = ("train", "logger", "logger.wandb")
LONGEST_PATH = 2000  # in characters; file systems allow 4096 bytes
# BasicSR makes a folder of each key of `path` that does not hold one of these.
NO_FOLDER = ("strict_load", "pretrain_network", "resume", "param_key")


def check_keys(run: Run) -> Iterator[Finding]:
    """Yield keys that are missing, misspelt or unknown, and values of another kind than is read."""
    fields = fields_of_model(run.model)
    for name in SECTIONS if run.is_train else [name for name in SECTIONS if name not in TRAINING]:
        *parents, key = name.split(".")
        content = run.section(*parents).get(key) if name else run.options
        if isinstance(content, Mapping):
            yield from check_section(name, content, within(fields, name), run.model, run.is_train)
    yield from _check_folders(run, fields)
    val = run.section("val")
    if not run.is_train and val.get("save_img") and "suffix" not in val:
        yield missing("val", "suffix", val)
    yield from _check_put(run)
    if run.is_train and "debug" in str(run.options.get("name")):
        yield Finding("name", "holds 'debug', so BasicSR validates and saves every 8 iterations, without logs", False)


def _check_folders(run: Run, fields: Mapping[str, Field]) -> Iterator[Finding]:
    """Yield keys of ``path`` that BasicSR itself uses for folders, and cannot."""
    for key, value in run.section("path").items():
        if f"path.{key}" in fields and not any(part in key for part in NO_FOLDER) and not _is_folder(value):
            shown = short_message(repr(value), 200)
            yield Finding(f"path.{key}", f"must name a folder, which BasicSR makes, got {shown}")


def _is_folder(value: Any) -> bool:
    """Return whether a value can be the path of a folder."""
    fine = isinstance(value, str) and value.isprintable() and 0 < len(value) < LONGEST_PATH
    return fine and all(len(part.encode()) <= LONGEST_NAME for part in value.split("/"))


def _check_put(run: Run) -> Iterator[Finding]:
    """Yield keys that the run sets itself, so that their values in the option file do nothing."""
    for dotted in sorted(PUT_BY_BASICSR):
        *section, key = dotted.split(".")
        value = run.section(*section).get(key)
        if value is not None:
            text = "is set by the run itself, so this value does nothing"
            text += ": type --auto_resume" if value is True and key == "auto_resume" else ": leave the line out"
            if key.endswith("_root"):
                text += "; runs go under the working directory"
            yield Finding(dotted, text, False)


def check_section(
    where: str, content: Mapping, fields: Mapping[str, Field], reader: type | None, is_train: bool | None
) -> Iterator[Finding]:
    """Yield what is wrong with the keys of one section and their values.

    Args:
        where (str): Dotted key of the section, '' for the top level.
        content (Mapping): The section.
        fields (Mapping): What it may hold, by key.
        reader (type | None): The model or data set that reads it; None if that is unknown.
        is_train (bool | None): Whether for a training; None for a part of a section, which lacks no key.
    """
    needed = [] if is_train is None else ["always", "train" if is_train else "test"]
    absent = [key for key, field in fields.items() if field.required in needed and key not in content]
    unknown = [str(key) for key in content if find(fields, str(key)) is None]
    yield from (missing(where, key, unknown) for key in absent)
    for key, value in content.items():
        field, dotted = find(fields, str(key)), _dotted(where, key)
        if field is None:
            yield from _check_unknown(where, str(key), value, fields, content, absent, reader)
        elif value is None and field.required in needed:
            yield Finding(dotted, f"must be {field.wanted}, got None")
        elif (problem := field.problem(value)) and not is_number_text(value):
            yield Finding(dotted, problem)


def missing(where: str, key: str, unknown: Iterable[str]) -> Finding:
    """Return the finding that a section lacks ``key``, and which of its ``unknown`` keys may stand for it."""
    close = get_close_matches(key, map(str, unknown), n=1)
    return Finding(_dotted(where, key), "is missing" + (f"; found '{close[0]}', is that a typo?" if close else ""))


def _check_unknown(
    where: str, key: str, value: Any, fields: Mapping, content: Mapping, absent: list[str], reader: type | None
) -> Iterator[Finding]:
    """Yield a key that nobody reads; one close to a known key is fatal, where all that is read is known."""
    known = [name for name in fields if name not in content and not name.endswith("*")]
    close = get_close_matches(key, known, n=1, cutoff=0.8)
    of_a_set = where.startswith("datasets.")
    text = " or ".join([*(() if of_a_set and reader else ("BasicSR",)), *((reader.__name__,) if reader else ())])
    text = f"is not read by {text}"
    if close and close[0] in absent:
        return  # told as the missing one
    if close:
        yield Finding(_dotted(where, key), f"{text}: did you mean '{close[0]}'?", sources_known(reader), unread=True)
    elif where == "path" and not any(part in key for part in NO_FOLDER):
        text = f"{text}: BasicSR would make a folder of {short_message(repr(value), 200)}"
        yield Finding(f"path.{key}", text, not _is_folder(value))
    elif reader:
        near = get_close_matches(key, [name for name in fields if name in content], n=1, cutoff=0.8)
        yield Finding(_dotted(where, key), text + (f": did you mean '{near[0]}'?" if near else ""), False, unread=True)


def _dotted(where: str, key: Any) -> str:
    return f"{where}.{key}" if where else str(key) or "''"


def is_number_text(value: Any) -> bool:
    """Return whether ``value`` is a number such as 1e-4, which YAML takes for text."""
    return isinstance(value, str) and bool(EXPONENT_NUMBER.fullmatch(value))


def check_texts(content: Any, where: str = "") -> Iterator[Finding]:
    """Yield numbers that YAML takes for text."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield from check_texts(value, f"{where}.{key}".lstrip("."))
    elif isinstance(content, list):
        for index, value in enumerate(content):
            yield from check_texts(value, f"{where}[{index}]")
    elif is_number_text(content):
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


def check_kept(run: Run) -> Iterator[Finding]:
    """Yield findings on the checkpoint that ``logger.keep_best`` wants."""
    yield from (Finding(where, text) for where, text in find_keep_problems(run.options))


def check_wandb(run: Run) -> Iterator[Finding]:
    """Yield a finding if Weights & Biases is wanted and cannot be started."""
    wandb = run.section("logger", "wandb")
    if wandb.get("project") is None or "debug" in str(run.options.get("name")):
        return  # as BasicSR decides
    if importlib.util.find_spec("wandb") is None:
        yield Finding("logger.wandb", "wandb is not installed: pip install wandb, or set logger.wandb.project to ~")
    if run.section("logger").get("use_tb_logger") is not True:
        yield Finding("logger.wandb", "shows TensorBoard's files: set logger.use_tb_logger to true too")


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
    elif prefetch == "cuda" and train.get("pin_memory") is not True:
        yield Finding(where, "cuda needs pin_memory: true")
    if prefetch and train.get("prefetch"):
        yield Finding("datasets.train.prefetch", f"chooses prefetch_mode, which is {prefetch}: leave one of them out")
    for key in run.section("datasets"):
        content, trains = run.section("datasets", key), str(key).split("_")[0] == "train"
        for option in OF_TRAINING_SETS if not trains else ():
            if content.get(option):
                yield Finding(f"datasets.{key}.{option}", "is for the training set alone: leave the line out")
        if content.get("persistent_workers") and not (trains and content.get("num_worker_per_gpu")):
            text = (
                "needs num_worker_per_gpu of at least 1" if trains else "validation has no workers: leave the line out"
            )
            yield Finding(f"datasets.{key}.persistent_workers", text)
