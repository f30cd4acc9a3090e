"""Read a checkpoint file and unwrap its tensors; nothing in a file is executed."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from lightsr_basicsr.errors import UserError

WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "model", "net")
WRAPPING_PREFIXES = re.compile(r"^((module|_orig_mod)\.)+")  # of data-parallel and of compiled modules
OBJECTS = re.compile("[Uu]nsupported (global|class)")  # torch's words for a file of other objects than tensors
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
        CheckpointError: If there are no tensors by name.
    """
    if isinstance(content, list) and content and all(isinstance(entry, Mapping) for entry in content):
        content = {f"{index}.{key}": value for index, entry in enumerate(content) for key, value in entry.items()}
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{source} holds a {type(content).__name__}; expected a dictionary of tensors.")
    order = WRAPPERS if prefer is None else (prefer, *WRAPPERS)
    wrapper = next((name for name in order if isinstance(content.get(name), Mapping)), "bare")
    state = content if wrapper == "bare" else content[wrapper]
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(
            f"{source} holds no weights: expected tensors by name, bare or under one of {', '.join(WRAPPERS)}; "
            f"got {_kinds(state)}. Is it a training state (.state) or another program's file?"
        )
    dense = ((key, value.to_dense() if value.is_sparse else value) for key, value in state.items())
    return {WRAPPING_PREFIXES.sub("", str(key)): value for key, value in dense}, wrapper


def _read(path: Path) -> Any:
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; expected a checkpoint file.")
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint at {path} (looked from {Path.cwd()}).")
    try:
        return require_safetensors(path).load_file(path) if _is_safetensors(path) else _read_pickle(path)
    except CheckpointError:
        raise
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
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not OBJECTS.search(str(error)):
            raise
        raise CheckpointError(
            f"{path} holds Python objects beside its tensors, and running code from a weights file is not safe. "
            "Save it again where it was made, with torch.save(net.state_dict(), path)."
        ) from error


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(9)
    # The content decides, not the name.
    return start[8:] == b"{" or (path.suffix.lower() == ".safetensors" and not start.startswith(b"PK"))


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
    names = [f"'{key}' ({type(value).__name__})" for key, value in entries[:LISTED_KEYS]]
    return ", ".join(names) or "an empty dictionary"
