"""Two-stage runs (KDSR): limit one to its teacher or its student."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightsr_basicsr.checkpoints.states import saved_iterations
from lightsr_basicsr.models.kdsr_plan import TEACHER, count
from lightsr_basicsr.tools.options import OptionError


def has_stages(options: Mapping[str, Any]) -> bool:
    """Return whether the run of an option file has a teacher stage and a student stage."""
    train = options.get("train")
    return isinstance(train, Mapping) and "teacher_iter" in train


def limit_to_stage(options: Mapping[str, Any], stage: str, folder: Path, resume: bool) -> dict[str, Any]:
    """Return the options of a run limited to one of its two stages.

    The student has the teacher that the run in ``folder`` has trained, or else that of ``path.pretrain_network_TA``.

    Args:
        options (Mapping): Content of an option file.
        stage (str): ``'teacher'`` or ``'student'``.
        folder (Path): Folder of the run, with ``models`` and ``training_states``.
        resume (bool): Whether to resume from the newest state instead of the teacher's end.

    Raises:
        OptionError: If the file has no stages, the teacher is missing, or a student's states would be overwritten.
    """
    if not has_stages(options):
        raise OptionError(f"--stage {stage}: the option file has no two stages (no train.teacher_iter).")
    train, paths = dict(options["train"]), dict(options.get("path") or {})
    handover, total = count(train["teacher_iter"]), count(train.get("total_iter"))
    if handover is None or total is None:
        raise OptionError(f"--stage {stage}: train.teacher_iter and train.total_iter must be whole numbers.")
    if stage == TEACHER:
        return {**options, "train": {**train, "total_iter": handover}}
    state = folder / "training_states" / f"{handover}.state"
    if not state.is_file() or not (folder / "models" / f"net_TA_{handover}.pth").is_file():
        return _with_other_teacher(options, folder, handover, total)
    newest = max(saved_iterations(folder / "training_states"))
    if not resume and newest > handover and not paths.get("resume_state"):
        raise OptionError(
            f"--stage student: the student of {folder} has been trained up to iteration {newest}. To continue add "
            "--auto_resume; for another student give the run another name."
        )
    start = {} if resume else {"resume_state": paths.get("resume_state") or str(state)}
    return {**options, "path": {**paths, **start}}


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
