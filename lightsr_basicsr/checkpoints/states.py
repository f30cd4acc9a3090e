"""Training states: find the one from which a run resumes, and read it."""

from __future__ import annotations

import pickle
import re
from collections import Counter
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch

from lightsr_basicsr.checkpoints.files import OBJECTS, CheckpointError, load_pickle, read_state_dict

WeightsOf = Callable[[Path], Mapping[str, Path]]
# BasicSR writes these into every state, and reads them all.
CONTENT = ("epoch", "iter", "optimizers", "schedulers")
NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
POOL = "pair_pool"  # added by `_fixes.pool`
WANTED = f"{', '.join(CONTENT)} (two whole numbers, two lists of dictionaries)"


class Resumption(NamedTuple):
    """The state from which a run resumes, None for a new start; and one sentence for each newer one, why not it."""

    state: Path | None
    passed_over: list[str]


def newest_readable_state(folder: Path, weights_of: WeightsOf) -> Resumption:
    """Return the newest training state of which every file can be read: the state, and the weights that go with it.

    Args:
        folder (Path): The run's folder ``training_states``; it need not exist.
        weights_of (Callable): Given the path of a state, returns the files of weights that a run resumed from it loads,
            by the keys of their networks.

    Raises:
        CheckpointError: If a state holds Python objects that are not safe to load.
    """
    best, reached, passed_over = None, -1, []
    for iteration in saved_iterations(folder):
        if iteration <= reached:
            break
        state = folder / f"{iteration}.state"
        held, damage = _examine(state, weights_of)
        if damage:
            passed_over.append(damage)
        elif held > reached:  # a state that was renamed is that of the iteration which it holds
            passed_over += [f"{folder.name}/{best.name} holds iteration {reached}"] if best else []
            best, reached = state, held
    start = f"resuming from {best.stem}" if best else "starting at iteration 0"
    return Resumption(best, [f"{each}: {start}" for each in passed_over])


def saved_iterations(folder: Path) -> list[int]:
    """Return the iterations whose states are in ``folder``, readable or not, the newest first.

    Files of other names, such as the copy ``00010.state``, are no states of the run: BasicSR would not write them.
    """
    iterations = (saved_iteration(file) for file in folder.glob("*.state"))
    return sorted((each for each in iterations if each is not None), reverse=True)


def saved_iteration(state: Path) -> int | None:
    """Return the iteration in the name of a state that BasicSR wrote, None if it has another name.

    >>> [saved_iteration(Path(name)) for name in ("10.state", "010.state", "best.state", "².state")]
    [10, None, None, None]
    """
    return int(state.stem) if NUMBER.fullmatch(state.stem) else None


def as_saved(state: Path) -> Path:
    """Return the path with the name that the run gave to a state, which may have been renamed since.

    Raises:
        CheckpointError: If the file is no training state.
    """
    return state.with_name(f"{read_state(state)['iter']}.state")


def weights_folder(state: Path) -> Path:
    """Return the folder of weights of the run that saved ``state``."""
    return state.absolute().parent.parent / "models"


def pool_file(folder: str | PathLike, iteration: int, rank: int) -> Path:
    """Return the file of the pair pool of a process but the first, whose pool is in the state itself."""
    return Path(folder) / f"{iteration}_rank{rank}.pool"


def pool_files(folder: Path, iteration: int) -> list[Path]:
    """Return the files of the pair pools of an iteration, of all processes but the first."""
    return sorted(folder.glob(f"{iteration}_rank*.pool"))


def read_pool(path: Path) -> Any:
    """Return the content of such a file, None without one, and {} of one that cannot be read; nothing is executed."""
    if not path.is_file():
        return None
    try:
        return load_pickle(path)
    except Exception:
        # The readers raise many unrelated types for a damaged file.
        return {}


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


def _examine(path: Path, weights_of: WeightsOf) -> tuple[int, str]:
    """Return the iteration of a state, and which of its files cannot be read and why, '' if a run can resume."""
    state, damage = _read(path)
    if damage:
        return -1, f"{path.parent.name}/{path.name} cannot be read ({damage})"
    return state["iter"], _damage_of_weights(path.with_name(f"{state['iter']}.state"), weights_of)


def _damage_of_weights(state: Path, weights_of: WeightsOf) -> str:
    """Return which weights that were saved with a state cannot be used and why, '' if all can."""
    for file in _saved_files(weights_of, state):
        name = f"{file.parent.name}/{file.name}"
        try:
            kinds = [read_state_dict(file, prefer=kind)[0] for kind in ("params", "params_ema")]
        except CheckpointError:
            return f"{name} cannot be read ({_condition(file)})"
        if any(bool(tensor.isnan().any()) for tensors in kinds for tensor in tensors.values()):
            return f"{name} holds NaN"
    return ""


def _saved_files(weights_of: WeightsOf, state: Path) -> list[Path]:
    """Return the weights that the run saved with ``state``.

    Files of other runs, and of networks that this run has never saved, are left out: if these are missing, the option
    file is wrong. The check reports it, and no state is given up for it.
    """
    try:
        files = weights_of(state).values()
    except (AttributeError, KeyError, TypeError, ValueError):  # wrong options, which the check reports as well
        return []
    own = [file for file in files if file.absolute().parent == weights_folder(state)]
    return [file for file in own if any(file.parent.glob(f"{file.stem.rpartition('_')[0]}_*.pth"))]


def _read(path: Path) -> tuple[dict[str, Any], str]:
    """Return the content of a state, and why it cannot be used, '' if it can."""
    if path.is_dir() or not path.stat().st_size:
        return {}, _condition(path)
    try:
        content = _load(path)
    except (OSError, CheckpointError):
        raise
    except Exception:
        # The readers raise many unrelated types for a damaged file.
        return {}, _condition(path)
    return (content, "") if _is_state(content) else ({}, f"expected a dictionary with {WANTED}, got {_shown(content)}")


def _is_state(content: Any) -> bool:
    if not isinstance(content, dict) or not all(key in content for key in CONTENT):
        return False
    numbers, parts = ([content[key] for key in keys] for keys in (CONTENT[:2], CONTENT[2:]))
    counted = all(type(number) is int and number >= 0 for number in numbers)
    return counted and all(isinstance(part, list) and all(isinstance(each, dict) for each in part) for part in parts)


def _shown(content: Any) -> str:
    if isinstance(content, dict):
        content = {key: each if type(each) is int else type(each).__name__ for key, each in content.items()}
    return str(content)[:80]


def _load(path: Path) -> Any:
    _allow_milestones()
    try:
        return load_pickle(path)
    except pickle.UnpicklingError as error:
        if not OBJECTS.search(str(error)):
            raise
        raise CheckpointError(
            f"The training state {path} holds Python objects, and running code from a file is not safe. Expected "
            "numbers, texts and tensors. Start a run of another name from its weights (path.pretrain_network_g)."
        ) from error


def _allow_milestones() -> None:
    """Let torch's safe reader make a Counter, which BasicSR's schedulers keep their milestones in."""
    if hasattr(torch.serialization, "add_safe_globals"):
        torch.serialization.add_safe_globals([Counter])
        return
    # Before 2.4 the reader's list is the one dictionary that this cached function returns.
    torch._weights_only_unpickler._get_allowed_globals()["collections.Counter"] = Counter


def _condition(path: Path) -> str:
    """Return in what condition a file is that cannot be read."""
    if path.is_dir():
        return "a folder"
    if not path.exists():
        return "missing"
    return f"{path.stat().st_size:,} bytes, cut off or damaged" if path.stat().st_size else "empty"
