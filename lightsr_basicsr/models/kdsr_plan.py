"""The plan of a KDSR run: the iterations, options and files of its two stages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightsr_basicsr.checkpoints import write_whole
from lightsr_basicsr.checkpoints.states import weights_folder

TEACHER, STUDENT = "teacher", "student"
MODELS = {TEACHER: "KDSRNetTAModel", STUDENT: "KDSRNetSTModel"}
# In the teacher's stage `network_g` is what the whole run calls `network_TA`.
TEACHER_KEYS = {f"{key}_TA": f"{key}_g" for key in ("pretrain_network", "strict_load", "param_key")}


def count(number: Any) -> int | None:
    """Return a number of iterations (``4e5`` is a float in YAML) as int, None if it is not a whole number."""
    whole = isinstance(number, (int, float)) and not isinstance(number, bool) and number >= 0 and number == int(number)
    return int(number) if whole else None


def handover_of(options: Mapping[str, Any]) -> int:
    """Return the last iteration of the teacher, 0 in a test.

    Raises:
        ValueError: If ``train.teacher_iter`` is not a whole number.
    """
    given = options["train"].get("teacher_iter") if options["is_train"] else 0
    if (handover := count(given)) is None:
        raise ValueError(f"KDSRModel needs a whole number `train.teacher_iter`, got {given!r}.")
    return handover


def stage_options(options: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """Return the options with which the model of one stage trains on its own as in the whole run."""
    train = dict(options.get("train") or {})
    own = {name: train.pop(name, None) for name in (TEACHER, STUDENT)}[stage]
    handover, total = count(train.pop("teacher_iter", 0)), count(train.get("total_iter"))
    if handover is not None and total is not None:
        train["total_iter"] = handover if stage == TEACHER else total - handover
    stage_opt = {
        **options,
        "train": {**train, **(own if isinstance(own, Mapping) else {})},
        "model_type": MODELS[stage],
    }
    paths = dict(options.get("path") or {})
    if stage == TEACHER:
        paths = {key: value for key, value in paths.items() if key not in TEACHER_KEYS.values()}
        paths = {TEACHER_KEYS.get(key, key): value for key, value in paths.items()}
        stage_opt["network_g"] = stage_opt.pop("network_TA", None)
        stage_opt["train"].pop("kd_opt", None)
    return {**stage_opt, "path": paths}


def teacher_file(options: Mapping[str, Any], handover: int) -> Path:
    """Return the file, in the run's own folder, of the teacher that was trained up to iteration ``handover``."""
    return Path(options["path"]["models"]) / f"net_TA_{handover}.pth"


def bring_teacher(options: Mapping[str, Any], handover: int) -> None:
    """Copy the teacher from beside the training state, for a run that is resumed under another name."""
    own, state = teacher_file(options, handover), Path(options["path"]["resume_state"])
    if not own.is_file():
        write_whole(own, (weights_folder(state) / own.name).read_bytes())


def training_options(options: Mapping[str, Any], stage: str, handover: int) -> dict[str, Any]:
    """Return the options of a stage; a student's have the teacher's file, which is also its default start."""
    stage_opt = stage_options(options, stage)
    if stage == STUDENT and options["is_train"]:
        paths = stage_opt["path"]
        teacher = str(teacher_file(options, handover)) if handover else paths["pretrain_network_TA"]
        start = paths.get("pretrain_network_g") or teacher
        stage_opt["path"] = {**paths, "pretrain_network_TA": teacher, "pretrain_network_g": start}
    return stage_opt
