"""Validation of LossDictModel: sets without ground truth, and the record of the best metrics."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.registry import METRIC_REGISTRY


def needs_reference(metric_type: str) -> bool:
    """Return whether the registered metric compares with a ground-truth image (it has a parameter ``img2``)."""
    return "img2" in inspect.signature(METRIC_REGISTRY.get(metric_type)).parameters


@contextmanager
def without_reference(model: SRModel, set_name: str) -> Iterator[None]:
    """Limit a model to metrics that need no ground truth, and log which these are."""
    metrics = model.opt["val"]["metrics"]
    usable = {name: metric for name, metric in metrics.items() if not needs_reference(metric["type"])}
    get_root_logger().info(f"{set_name} has no ground truth: metrics computed: {', '.join(usable) or 'none'}.")
    whole, results = model.opt, vars(model).pop("metric_results", None)
    model.opt = {**whole, "val": {**whole["val"], "metrics": usable or None}}
    try:
        yield
    finally:
        # SRModel keeps the metric names of the first set it sees for all later sets.
        vars(model).pop("metric_results", None)
        model.opt = whole
        if results is not None:
            model.metric_results = results


def best_metrics_file(options: Mapping[str, Any]) -> Path:
    """Return the file in a run's folder that holds the best metrics of each set."""
    return Path(options["path"]["experiments_root"]) / "best_metrics.json"


def read_best_metrics(file: Path, names: Mapping[str, Any], iteration: int) -> dict[str, Any]:
    """Return the records of ``file`` up to ``iteration``; those of sets that had other metrics are left out."""
    return {
        name: record
        for name, record in json.loads(file.read_text()).items()
        if record.keys() == names.keys() and all(best["iter"] <= iteration for best in record.values())
    }
