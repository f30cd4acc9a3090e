"""The plan of a KDSR run: the iterations, options and files of its two stages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

TEACHER, STUDENT = "teacher", "student"
MODELS = {TEACHER: "KDSRNetTAModel", STUDENT: "KDSRNetSTModel"}
# In the teacher's stage `network_g` is what the whole run calls `network_TA`.
TEACHER_KEYS = {f"{key}_TA": f"{key}_g" for key in ("pretrain_network", "strict_load", "param_key")}


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


def models_beside(state: Path) -> Path:
    """Return the folder of weights of the run that saved ``state``."""
    return state.absolute().parent.parent / "models"
