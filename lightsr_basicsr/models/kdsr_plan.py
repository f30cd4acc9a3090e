"""The plan of a KDSR run: what each of its two stages is given, and what cannot work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

TEACHER, STUDENT = "teacher", "student"
MODELS = {TEACHER: "KDSRNetTAModel", STUDENT: "KDSRNetSTModel"}
# In the teacher's stage `network_g` is what the whole run calls `network_TA`.
TEACHER_KEYS = {f"{key}_TA": f"{key}_g" for key in ("pretrain_network", "strict_load", "param_key")}

Problems = Iterator[tuple[str, str]]


def count(number: Any) -> int | None:
    """Return a number of iterations, which may be written ``4e5`` as float, as int; None if it is no such number."""
    whole = isinstance(number, (int, float)) and not isinstance(number, bool) and number >= 0 and number == int(number)
    return int(number) if whole else None


def stage_options(options: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """Return the options with which the model of one stage alone would train as the whole run does."""
    train = dict(options.get("train") or {})
    own = {name: train.pop(name, None) for name in (TEACHER, STUDENT)}[stage]
    handover, total = count(train.pop("teacher_iter", 0)), count(train.get("total_iter"))
    if handover is not None and total is not None:
        train["total_iter"] = handover if stage == TEACHER else total - handover
    stage_opt = {**options, "train": {**train, **(own or {})}, "model_type": MODELS[stage]}
    paths = dict(options.get("path") or {})
    if stage == TEACHER:
        paths = {key: value for key, value in paths.items() if key not in TEACHER_KEYS.values()}
        paths = {TEACHER_KEYS.get(key, key): value for key, value in paths.items()}
        stage_opt["network_g"] = stage_opt.pop("network_TA", None)
        stage_opt["train"].pop("kd_opt", None)
    return {**stage_opt, "path": paths}


def find_plan_problems(options: Mapping[str, Any]) -> Problems:
    """Yield what is wrong with the two stages as a whole, as (dotted key, message)."""
    train = options.get("train") or {}
    handover, total = count(train.get("teacher_iter")), count(train.get("total_iter"))
    if handover is None:
        got = train.get("teacher_iter")
        yield "train.teacher_iter", f"must be the whole number of iterations of the teacher, got {got!r}"
    elif total is not None and handover > total:
        yield "train.teacher_iter", f"is {handover:,}, more than train.total_iter ({total:,}), which counts both"
    elif not handover and not (options.get("path") or {}).get("pretrain_network_TA"):
        yield "path.pretrain_network_TA", "is missing: with train.teacher_iter 0 a trained teacher is needed"
    for name in (TEACHER, STUDENT):
        section = train.get(name, {})
        if not isinstance(section, Mapping):
            yield f"train.{name}", f"must be a section with what holds for the {name} only, got {section!r}"
            continue
        for key in [key for key in ("total_iter", "teacher_iter") if key in section]:
            yield f"train.{name}.{key}", "holds for the whole run: write it under train"
    for key, network in (("network_TA", "BlindSR_TA"), ("network_g", "BlindSR_ST")):
        if key not in options:
            yield key, f"is missing: for example {{type: {network}, scale: 4}}"


def find_resume_problems(options: Mapping[str, Any], state: Path) -> Problems:
    """Yield why a run with these options cannot go on from the file ``state``, as (dotted key, message)."""
    handover, folder = count(options["train"].get("teacher_iter")), models_beside(state)
    if handover is None or not state.stem.isdigit():
        return
    teachers, students = (_saved_iterations(folder, f"net_{name}_") for name in ("TA", "g"))
    stage, network = (TEACHER, "TA") if int(state.stem) <= handover else (STUDENT, "g")
    there = (folder / f"net_{network}_{int(state.stem)}.pth").is_file()
    if max(teachers, default=0) > handover:
        yield "train.teacher_iter", f"is {handover}, but {folder} has a teacher of iteration {max(teachers)}"
    elif min(students, default=handover + 1) <= handover:
        yield "train.teacher_iter", f"is {handover}, but {folder} has a student of iteration {min(students)}"
    elif not there or (stage == STUDENT and handover and handover not in teachers):
        wanted = f"the {stage}'s" + (f" with a teacher of iteration {handover}" if stage == STUDENT else "")
        message = (
            f"is {handover}, so {state} should be {wanted}, but {folder} has no such files: "
            "was the run begun with another train.teacher_iter, or with --stage?"
        )
        yield "train.teacher_iter", message


def _saved_iterations(folder: Path, prefix: str) -> list[int]:
    numbers = (file.stem.removeprefix(prefix) for file in folder.glob(f"{prefix}*.pth"))
    return [int(number) for number in numbers if number.isdigit()]


def models_beside(state: Path) -> Path:
    """Return the folder of weights of the run that saved ``state``."""
    return state.absolute().parent.parent / "models"
