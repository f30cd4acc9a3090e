"""Runs of several stages (KDSR, compression): limit one to a stage, and say how long it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from basicsr.utils.registry import MODEL_REGISTRY

from lightsr_basicsr.checkpoints.states import saved_iterations
from lightsr_basicsr.models.compression_plan import MODELS, read_ends, stage_names
from lightsr_basicsr.models.contract import contract_of
from lightsr_basicsr.models.kdsr_plan import TEACHER, count
from lightsr_basicsr.registry import look_up
from lightsr_basicsr.tools.options import OptionError


def has_stages(options: Mapping[str, Any]) -> bool:
    """Return whether the run of an option file has a teacher stage and a student stage."""
    train = options.get("train")
    return isinstance(train, Mapping) and "teacher_iter" in train


def limit_to_stage(options: Mapping[str, Any], stage: str, folder: Path, resume: bool) -> dict[str, Any]:
    """Return the options of a run limited to one of its stages.

    A stage but the first continues what the run in ``folder`` has reached. A student has the teacher that this run has
    trained, or else that of ``path.pretrain_network_TA``.

    Args:
        options (Mapping): Content of an option file.
        stage (str): ``'teacher'``, ``'student'``, or those of a compression.
        folder (Path): Folder of the run, with ``models`` and ``training_states``.
        resume (bool): Whether to resume from the newest state instead of the end of the stage before.

    Raises:
        OptionError: If the file has no such stage, the one before is missing, or a stage's states would be overwritten.
    """
    if stage in MODELS:
        return _limit_compression(options, stage, folder, resume)
    if not has_stages(options):
        raise OptionError(f"--stage {stage}: the option file has no two stages (no train.teacher_iter).")
    train = dict(options["train"])
    handover, total = count(train["teacher_iter"]), count(train.get("total_iter"))
    if handover is None or total is None:
        raise OptionError(f"--stage {stage}: train.teacher_iter and train.total_iter must be whole numbers.")
    if stage == TEACHER:
        return {**options, "train": {**train, "total_iter": handover}}
    state = folder / "training_states" / f"{handover}.state"
    if not state.is_file() or not (folder / "models" / f"net_TA_{handover}.pth").is_file():
        return _with_other_teacher(options, folder, handover, total)
    return _starting_from(options, stage, state, resume)


def _starting_from(options: Mapping[str, Any], stage: str, state: Path, resume: bool) -> dict[str, Any]:
    """Return the options of a run that begins a stage at ``state``, unless that stage has been worked on already."""
    paths, newest = dict(options.get("path") or {}), max(saved_iterations(state.parent))
    if not resume and newest > int(state.stem) and not paths.get("resume_state"):
        raise OptionError(
            f"--stage {stage}: the {stage} of {state.parents[1]} has been trained up to iteration {newest}. To "
            f"continue add --auto_resume; for another {stage} give the run another name."
        )
    start = {} if resume else {"resume_state": paths.get("resume_state") or str(state)}
    return {**options, "path": {**paths, **start}}


def _limit_compression(options: Mapping[str, Any], stage: str, folder: Path, resume: bool) -> dict[str, Any]:
    """Return the options of a compression that begins with ``stage``."""
    names = stage_names(options)
    if stage not in names:
        raise OptionError(f"--stage {stage}: train.{stage}_iter is 0, so the run has no such stage.")
    if stage == names[0]:
        return dict(options)
    before = names[names.index(stage) - 1]
    end = read_ends(folder).get(before)
    state = folder / "training_states" / f"{end}.state"
    if end is None or not state.is_file():
        raise OptionError(f"--stage {stage}: {folder} has not ended its {before}. Run it first (--stage {before}).")
    return _starting_from(options, stage, state, resume)


def with_total(options: Mapping[str, Any], stage: str | None) -> dict[str, Any]:
    """Return checked options with the iterations up to the end of ``stage``, where the model computes them."""
    contract = contract_of(look_up(MODEL_REGISTRY, options["model_type"]))
    total = contract.total_iter(options, stage)
    return dict(options) if total is None else {**options, "train": {**options["train"], "total_iter": total}}


def _with_other_teacher(options: Mapping[str, Any], folder: Path, handover: int, total: int) -> dict[str, Any]:
    """Return the options of a student-only run with a teacher that another run has trained."""
    if not (options.get("path") or {}).get("pretrain_network_TA"):
        reached = max(saved_iterations(folder / "training_states"), default=0)
        raise OptionError(
            f"--stage student: {folder} has no teacher of iteration {handover} (newest state: {reached or 'none'}). "
            "Train it first (--stage teacher), or name the file of another one: "
            "--force_yml path:pretrain_network_TA=FILE"
        )
    return {**options, "train": {**options["train"], "teacher_iter": 0, "total_iter": total - handover}}
