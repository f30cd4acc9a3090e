"""The best value of each metric on each set, kept in a run's folder over a resume."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from basicsr.utils import get_root_logger

from lightsr_basicsr.checkpoints import write_whole

BETTER = {"higher": -math.inf, "lower": math.inf}
Records = dict[str, dict[str, dict[str, Any]]]  # set, metric: better, val, iter


def best_metrics_file(options: Mapping[str, Any]) -> Path:
    """Return the file in a run's folder that holds the best metrics of each set."""
    return Path(options["path"]["experiments_root"]) / "best_metrics.json"


def write_best_metrics(options: Mapping[str, Any], records: Records) -> None:
    """Write the records of metrics that have a best value; raise CheckpointError if that fails."""
    reached = {
        name: {metric: best for metric, best in record.items() if best["iter"] >= 0} for name, record in records.items()
    }
    write_whole(best_metrics_file(options), json.dumps(reached, indent=2, default=float).encode())


def restore_best_metrics(options: Mapping[str, Any], iteration: int) -> Records:
    """Return the records of a run's file up to ``iteration``, of each metric on its own; never raise for its content.

    A file that is damaged is set aside with a warning, and what is sound in it is returned.

    Args:
        options (Mapping): Options of the run. Records of other metrics than those in ``val.metrics`` are left out.
        iteration (int): That of the state from which the run resumes.
    """
    file, metrics = best_metrics_file(options), (options.get("val") or {}).get("metrics") or {}
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        content = None
    sound = _sound_records(content)
    if sound != content and options["rank"] == 0:
        _set_aside(file)
    directions = {metric: _better(options) for metric, options in metrics.items()}
    return {
        name: {metric: kept.get(metric, _none_yet(better)) for metric, better in directions.items()}
        for name, record in sound.items()
        if (kept := _up_to(iteration, record, directions))
    }


def _sound_records(content: Any) -> Records:
    """Return the parts of ``content`` that are records."""
    sets = content if isinstance(content, dict) else {}
    found = {name: record for name, record in sets.items() if isinstance(record, dict)}
    return {name: {metric: best for metric, best in each.items() if _is_sound(best)} for name, each in found.items()}


def _is_sound(best: Any) -> bool:
    if not isinstance(best, dict) or not {"better", "val", "iter"} <= best.keys():
        return False
    value, iteration = best["val"], best["iter"]
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)
    return number and type(iteration) is int and isinstance(best["better"], str) and best["better"] in BETTER


def _up_to(iteration: int, record: Mapping[str, dict], directions: Mapping[str, str]) -> dict[str, dict]:
    return {
        metric: best
        for metric, best in record.items()
        if 0 <= best["iter"] <= iteration and best["better"] == directions.get(metric)
    }


def _better(options: Any) -> str:
    return options.get("better", "higher") if isinstance(options, Mapping) else "higher"


def _none_yet(better: str) -> dict[str, Any]:
    """Return the record with which BasicSR begins."""
    return {"better": better, "val": BETTER[better], "iter": -1}


def _set_aside(file: Path) -> None:
    aside = file.with_name(f"{file.stem}_damaged{file.suffix}")
    try:
        file.replace(aside)
        done = f"it is now {aside.name}"
    except OSError as error:
        done = f"it could not be renamed: {error.strerror}"
    get_root_logger().warning(
        f"{file} is damaged, so the best metrics in it are lost, at least in part; {done}. The run continues."
    )
