"""Read a checkpoint file and unwrap its tensors; nothing in a file is executed."""

from __future__ import annotations

import errno
import os
import pickle
import re
import zipfile
from collections.abc import Mapping
from os import PathLike
from os.path import isdir, isfile  # unlike pathlib, with False for what cannot be a name
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from lightsr_basicsr.checkpoints.claims import ClaimError, check_claims
from lightsr_basicsr.checkpoints.tensors import MOST_TENSORS, dense, describe_problem, short_key
from lightsr_basicsr.errors import UserError, short_message, unfinished_hint

WRAPPERS = ("params_ema", "params-ema", "params", "state_dict", "model_state_dict", "model", "net", "net_g", "netG",
            "generator", "g_ema", "weights", "ema")  # fmt: skip
MOST_WRAPPED = 3  # times, as in {"model": {"state_dict": {"params": ...}}}
COUNTER = "n_averaged"  # which torch's AveragedModel adds to the tensors of its module
WRAPPING_PREFIXES = re.compile(r"^((module|_orig_mod)\.)+")  # of data-parallel and of compiled modules
OBJECTS = re.compile(
    "unsupported (global|class)", re.IGNORECASE
)  # torch's words for a file of other objects than tensors
SUFFIXES = (".pth", ".pt", ".safetensors")
LISTED_KEYS = 8
# A failed download leaves one of these in the place of a checkpoint.
STARTS = {
    b"<": "a web page",
    b"version https://git-lfs": "a Git LFS pointer and not the file itself (git lfs pull)",
    b"\x89PNG": "a picture",
}


class CheckpointError(UserError):
    """A file that cannot be read as weights or does not fit the network. The message says what to do."""


def read_state_dict(path: str | PathLike, prefer: str | None = None) -> tuple[dict[str, Tensor], str]:
    """Read the weights of one network from a ``.pth``, ``.pt`` or ``.safetensors`` file.

    Args:
        path (str | PathLike): The file. Pickles are read with ``weights_only``, so nothing in them is executed.
        prefer (str | None): Wrapper to look for first, for example ``'params'``. After it come those in
            ``WRAPPERS`` and the bare dictionary. Default: None.

    Returns:
        tuple: Tensors on the CPU by key, without a leading ``module.`` or ``_orig_mod.``; and the wrapper's name,
            ``'bare'`` for none. A list of state dicts, as DRN's dual networks are published, is one with the position
            in the list in front of each key.

    Raises:
        CheckpointError: If the file is missing, unreadable, or holds no tensors by name.
    """
    return unwrap(_read(Path(path)), str(path), prefer)


def unwrap(content: Any, source: str, prefer: str | None = None) -> tuple[dict[str, Tensor], str]:
    """Return the tensors in the content of a file and the wrapper's name, as :func:`read_state_dict`.

    Raises:
        CheckpointError: If there are no tensors by name, or they are no plain numbers in memory.
    """
    if isinstance(content, list) and content and all(isinstance(entry, Mapping) for entry in content):
        if sum(map(len, content)) > MOST_TENSORS:
            raise CheckpointError(f"{source} holds a list of more than {MOST_TENSORS:,} tensors: no network's weights.")
        content = {f"{index}.{key}": value for index, entry in enumerate(content) for key, value in entry.items()}
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{source} holds a {type(content).__name__}; expected a dictionary of tensors.")
    state, wrapper = _innermost(content, WRAPPERS if prefer is None else (prefer, *WRAPPERS))
    if not _is_state(state):
        raise CheckpointError(
            f"{source} holds no weights: expected tensors by name, bare or under one of {', '.join(WRAPPERS[:6])}; "
            f"got {_kinds(state)}. Is it a training state (.state) or another program's file?"
        )
    if problem := describe_problem(state):
        raise CheckpointError(
            f"{source} holds {problem}. Expected plain tensors of numbers by name: save it again where it was made, "
            "with torch.save(net.state_dict(), path)."
        )
    return _without_wrapping_prefixes({key: dense(value) for key, value in state.items()}), wrapper


def _innermost(content: Mapping, order: tuple[str, ...]) -> tuple[Mapping, str]:
    """Return the tensors by name in nested dictionaries, and the key that they were under, 'bare' for none."""
    wrapper = "bare"
    for _ in range(MOST_WRAPPED):
        inner = [key for key in order if isinstance(content.get(key), Mapping)]
        # A key of another name is taken where no other could be meant.
        inner = inner or [key for key, value in content.items() if isinstance(value, Mapping) and _is_state(value)]
        if not inner or (len(inner) > 1 and inner[0] not in order) or _is_state(content):
            break
        content, wrapper = content[inner[0]], str(inner[0])
    return content, wrapper


def _is_state(content: Mapping) -> bool:
    return bool(content) and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items())


def _without_wrapping_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    if COUNTER in state and all(WRAPPING_PREFIXES.match(key) for key in state if key != COUNTER):
        state = {key: value for key, value in state.items() if key != COUNTER}
    bare = {WRAPPING_PREFIXES.sub("", key): value for key, value in state.items()}
    return bare if len(bare) == len(state) else state


def _read(path: Path) -> Any:
    try:
        os.stat(path)
    except ValueError as error:  # a zero byte
        raise CheckpointError(f"{str(path)!r} is no name of a file: {error}.") from error
    except OSError as error:
        if error.errno != errno.ENOENT:  # a name too long, a folder without permission
            raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error
    if isdir(path):
        raise CheckpointError(f"{path} is a folder; expected a checkpoint file.")
    if not isfile(path):
        raise CheckpointError(
            f"There is no checkpoint at {short_message(str(path))} (looked from {Path.cwd()}).{unfinished_hint(path)}"
        )
    try:
        return require_safetensors(path).load_file(path) if _is_safetensors(path) else _read_pickle(path)
    except CheckpointError:
        raise
    except ClaimError as error:
        raise CheckpointError(
            f"{path} ({path.stat().st_size:,} bytes) claims more than it holds: {error}. It is damaged, or was made to "
            "exhaust memory: get it again from its authors."
        ) from error
    except Exception as error:
        # The readers raise many unrelated types for a damaged file, which all mean the same to the user.
        raise CheckpointError(
            f"{path} ({path.stat().st_size:,} bytes) cannot be read as a checkpoint: it is {_describe_start(path)}, or "
            f"damaged ({type(error).__name__}). If it was copied or downloaded, check its size and get it again."
        ) from error


def _read_pickle(path: Path) -> Any:
    if _is_torchscript(path):
        raise CheckpointError(
            f"{path} is a TorchScript archive, a program and not weights. "
            "Save the weights where it was made, with torch.save(net.state_dict(), path)."
        )
    try:
        return load_pickle(path)
    except pickle.UnpicklingError as error:
        if not OBJECTS.search(str(error)):
            raise
        raise CheckpointError(
            f"{path} holds Python objects beside its tensors, and running code from a weights file is not safe. "
            "Save it again where it was made, with torch.save(net.state_dict(), path)."
        ) from error


def load_pickle(path: Path) -> Any:
    """Return the content of a file of ``torch.save``, its tensors on the CPU; nothing in the file is executed.

    Raises:
        ClaimError: If it claims more than its bytes hold.
        pickle.UnpicklingError: If it holds other objects than tensors, numbers and texts.
        Exception: Of any type, if it is damaged.
    """
    check_claims(path)
    with path.open("rb") as file:  # of a path torch would read the ending
        return torch.load(file, map_location="cpu", weights_only=True)


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _is_safetensors(path: Path) -> bool:
    """Return whether a file begins as safetensors do; its name does not matter."""
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") <= path.stat().st_size - 8


def _describe_start(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(64).lstrip()
    if not start:
        return "empty"
    found = (text for mark, text in STARTS.items() if start.startswith(mark))
    return next(found, "not a checkpoint (.pth, .pt or .safetensors)")


def require_safetensors(path: Path) -> ModuleType:
    """Return ``safetensors.torch``; raise CheckpointError that says what to install for ``path`` if it is missing."""
    try:
        import safetensors.torch
    except ImportError as error:
        raise CheckpointError(f"{path} needs the package safetensors: pip install safetensors") from error
    return safetensors.torch


def _kinds(content: Any) -> str:
    if not isinstance(content, Mapping):
        return type(content).__name__
    # Entries that are no tensors come first: they are the problem.
    entries = sorted(content.items(), key=lambda entry: isinstance(entry[1], Tensor))
    names = [f"'{short_key(key)}' ({type(value).__name__})" for key, value in entries[:LISTED_KEYS]]
    return ", ".join(names) or "an empty dictionary"
