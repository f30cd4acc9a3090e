"""Training states: which one a run resumes from, and what is in it."""

from __future__ import annotations

import pickle
import re
from collections import Counter
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch

from lightsr_basicsr.checkpoints.files import CheckpointError, read_state_dict
from lightsr_basicsr.registry import look_up

# BasicSR writes these into every state, and reads them all.
CONTENT = ("epoch", "iter", "optimizers", "schedulers")


class Resumption(NamedTuple):
    """The state from which a run resumes, None for a new start; and one sentence for each newer one, why not it."""

    state: Path | None
    passed_over: list[str]


def newest_readable_state(folder: Path, options: Mapping[str, Any]) -> Resumption:
    """Return the newest training state of which every file can be read: the state, and the weights that go with it.

    Args:
        folder (Path): The run's folder ``training_states``; it need not exist.
        options (Mapping): Content of an option file. Its model says which weights a resumed run loads.

    Raises:
        CheckpointError: If a state holds Python objects that are not safe to load.
    """
    damages = []
    for iteration in saved_iterations(folder):
        state = folder / f"{iteration}.state"
        damage = _find_damage(state, options)
        if not damage:
            return Resumption(state, [f"{each}: resuming from {iteration}" for each in damages])
        damages.append(damage)
    return Resumption(None, [f"{each}: starting at iteration 0" for each in damages])


def saved_iterations(folder: Path) -> list[int]:
    """Return the iterations whose states are in ``folder``, readable or not, the newest first."""
    return sorted((int(file.stem) for file in folder.glob("*.state") if file.stem.isdigit()), reverse=True)


def read_state(path: str | PathLike) -> dict[str, Any]:
    """Read a training state, its tensors on the CPU; nothing in the file is executed.

    Raises:
        CheckpointError: If the file is damaged, is no training state, or holds Python objects.
    """
    state, damage = _read(Path(path))
    if damage:
        raise CheckpointError(
            f"The training state {path} cannot be read ({damage}): resume from an older one, or with --auto_resume, "
            "which takes the newest that can be read."
        )
    return state


def resume_files(options: Mapping[str, Any], state: Path) -> dict[str, Path]:
    """Return the files of weights that a run resumed from ``state`` loads, by the keys of their networks.

    A model of another package loads what BasicSR points it at: a file for each network of the option file that
    ``path.ignore_resume_networks`` does not name.
    """
    from basicsr.utils.registry import MODEL_REGISTRY

    options = {**options, **{key: _section(options, key) for key in ("path", "train")}}
    model = look_up(MODEL_REGISTRY, options.get("model_type"))
    if hasattr(model, "resume_files"):
        return model.resume_files(options, state)
    ignored, folder = options["path"].get("ignore_resume_networks") or (), _models_beside(state)
    names = [key.removeprefix("network_") for key in map(str, options) if key.startswith("network_")]
    return {
        f"network_{name}": folder / f"net_{name}_{state.stem}.pth" for name in names if f"network_{name}" not in ignored
    }


def _section(options: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    return options[key] if isinstance(options.get(key), Mapping) else {}


def _models_beside(state: Path) -> Path:
    return state.absolute().parent.parent / "models"


def _find_damage(path: Path, options: Mapping[str, Any]) -> str:
    """Return which file of a state cannot be read and why, '' if a run can resume from it."""
    state, damage = _read(path)
    if damage:
        return f"{path.parent.name}/{path.name} cannot be read ({damage})"
    for file in _saved_files(options, path.with_name(f"{state['iter']}.state")):
        try:
            read_state_dict(file)
        except CheckpointError:
            return f"{file.parent.name}/{file.name} cannot be read ({_size(file)})"
    return ""


def _saved_files(options: Mapping[str, Any], state: Path) -> list[Path]:
    """Return the weights that the run saved with ``state``.

    Left out are files of other runs and of networks that this run has never saved: those are mistakes in the option
    file, for the check to report, and no reason to give up a state.
    """
    try:
        files = resume_files(options, state).values()
    except (KeyError, TypeError, ValueError):  # options that are wrong, which is also for the check to report
        return []
    own = [file for file in files if file.absolute().parent == _models_beside(state)]
    return [file for file in own if any(file.parent.glob(f"{file.stem.rpartition('_')[0]}_*.pth"))]


def _read(path: Path) -> tuple[dict[str, Any], str]:
    """Return the content of a state, and why it cannot be used, '' if it can."""
    if path.is_dir() or not path.stat().st_size:
        return {}, _size(path)
    try:
        content = _load(path)
    except (OSError, CheckpointError):
        raise
    except Exception:
        # The readers raise a dozen unrelated types for a damaged file.
        return {}, _size(path)
    if not isinstance(content, dict) or not all(key in content for key in CONTENT):
        return {}, f"expected a dictionary with {', '.join(CONTENT)}, got {str(content)[:40]}"
    return content, ""


def _load(path: Path) -> Any:
    if hasattr(torch.serialization, "add_safe_globals"):
        torch.serialization.add_safe_globals([Counter])  # milestones of BasicSR's schedulers
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not re.search("[Uu]nsupported (global|class)", str(error)):
            raise
        if "collections.Counter" in str(error):  # torch before 2.4 cannot be told that it is safe
            return torch.load(path, map_location="cpu", weights_only=False)
        raise CheckpointError(
            f"The training state {path} holds Python objects, and running code from a file is not safe. Expected "
            "numbers, texts and tensors. Start the run anew, under another name, from its weights "
            "(path.pretrain_network_g)."
        ) from error


def _size(path: Path) -> str:
    if path.is_dir():
        return "a folder"
    if not path.exists():
        return "missing"
    return f"{path.stat().st_size:,} bytes, cut off or damaged" if path.stat().st_size else "empty"
