"""Which checkpoints a run keeps: the newest ones (``logger.keep_last``), and the best (``logger.keep_best``)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from basicsr.utils import get_root_logger

from lightsr_basicsr import fields
from lightsr_basicsr.checkpoints.states import pool_files, saved_iterations

BEST = "best"  # in the place of the iteration in a file's name
OPTIONS = {
    "logger.keep_last": fields.count("How many of the newest checkpoints are kept, with their states; `~` keeps all.",
                                     null=True),
    "logger.keep_best": fields.text(
        "Metric whose best network is kept as `net_g_best.pth`: `psnr` of the first set, or `Set5/psnr`.", null=True
    ),
}  # fmt: skip
WEIGHTS = re.compile(r"net_[A-Za-z]+_(?P<iteration>\d+)(_deploy)?\.pth")


def delete_old(options: Mapping[str, Any], iteration: int, unsaved: Collection[str]) -> None:
    """Delete checkpoints and states that are older than the newest ``logger.keep_last``, and log which.

    States of later iterations, which an earlier run has left, and all files with other names stay. So do those of the
    iteration from which a network comes that this run does not save: the teacher of a run of two stages.

    Args:
        options (Mapping): Options of the run, with its folders under ``path``.
        iteration (int): The iteration that was just saved.
        unsaved (Collection[str]): Keys of networks that the run takes from ``path.pretrain_network_*``.
    """
    keep = (options.get("logger") or {}).get("keep_last")
    if not keep:
        return
    models, states = (Path(options["path"][key]) for key in ("models", "training_states"))
    newest = [saved for saved in saved_iterations(states) if saved <= iteration][:keep]
    needed = {iteration, *newest, *_iterations_of(Path(str(options["path"].get(f"pretrain_{key}"))) for key in unsaved)}
    files = _saved_files(models, states)
    old = sorted(saved for saved in files if saved < iteration and saved not in needed)
    if old:
        _delete([file for saved in old for file in files[saved]])
        listed = ", ".join(map(str, old))
        get_root_logger().info(f"Deleted the checkpoints and states of iterations {listed} (logger.keep_last: {keep}).")


def _saved_files(models: Path, states: Path) -> dict[int, list[Path]]:
    """Return the files of each iteration, the state first: without it, the weights are no checkpoint to resume from."""
    files: dict[int, list[Path]] = defaultdict(list)
    for saved in saved_iterations(states):
        files[saved] += [states / f"{saved}.state", *pool_files(states, saved)]
    for file in sorted(models.glob("net_*.pth")):
        for saved in _iterations_of([file]):
            files[saved].append(file)
    return files


def _iterations_of(files: Iterable[Path]) -> Iterator[int]:
    return (int(match["iteration"]) for file in files if (match := WEIGHTS.fullmatch(file.name)))


def _delete(files: Iterable[Path]) -> None:
    for file in files:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:  # the training must continue
            get_root_logger().warning(f"{file} cannot be deleted (logger.keep_last): {error.strerror}.")


def best_wanted(options: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the name of the set and the metric of ``logger.keep_best``, None if it is not given.

    >>> best_wanted({"logger": {"keep_best": "psnr"}, "datasets": {"train": {}, "val": {"name": "Set5"}}})
    ('Set5', 'psnr')
    """
    wanted = (options.get("logger") or {}).get("keep_best")
    if not wanted:
        return None
    name, _, metric = wanted.rpartition("/")
    return name or next(iter(_validated(options)), ""), metric


def best_set(options: Mapping[str, Any], record: Mapping[str, Mapping], iteration: int) -> str:
    """Return the set of ``logger.keep_best`` if its metric in ``record`` is the best now, else '/', no name."""
    name, metric = best_wanted(options) or ("/", "")
    return name if record.get(metric, {}).get("iter") == iteration else "/"


def find_keep_problems(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with ``logger.keep_best``: a metric or a set that is not validated."""
    sections = {key: options.get(key) for key in ("logger", "val", "datasets")}
    options = {key: section if isinstance(section, Mapping) else {} for key, section in sections.items()}
    if not isinstance(options["logger"].get("keep_best"), str) or not (wanted := best_wanted(options)):
        return
    name, metric = wanted
    metrics, sets = options["val"].get("metrics"), _validated(options)
    metrics = metrics if isinstance(metrics, Mapping) else {}
    if metric not in metrics:
        given = ", ".join(map(str, metrics)) or "none"
        yield "logger.keep_best", f"must be a metric of val.metrics (there: {given}), or SET/METRIC; got '{metric}'"
    elif name not in sets:
        given = ", ".join(sets) or "none"
        yield "logger.keep_best", f"must name a set that is validated (there: {given}); got '{name}'"


def _validated(options: Mapping[str, Any]) -> list[str]:
    """Return the names of the validation sets."""
    sets = {key: content for key, content in options["datasets"].items() if str(key).split("_")[0] == "val"}
    return [str(content.get("name")) for content in sets.values() if isinstance(content, Mapping)]
