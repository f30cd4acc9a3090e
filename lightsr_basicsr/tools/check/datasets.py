"""Check the section ``datasets`` of an option file, and which of its sets ``comparison`` names."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from basicsr.utils.registry import DATASET_REGISTRY

from lightsr_basicsr.registry import look_up
from lightsr_basicsr.tools.check.basicsr_fields import LARGEST
from lightsr_basicsr.tools.check.context import Finding, Run, Seen
from lightsr_basicsr.tools.check.data import check_dataset, describe_seen, prepares_data, unwritable_names
from lightsr_basicsr.tools.check.keys import check_section
from lightsr_basicsr.tools.check.known import fields_of_set
from lightsr_basicsr.tools.check.names import check_type

# Each of them is opened.
MOST_SETS = 100


def check_datasets(run: Run) -> Iterator[Finding]:
    """Yield missing sets, and what is wrong with each one: keys, images, and items for the model."""
    datasets = run.section("datasets")
    phases = {str(key).split("_")[0] for key in datasets}
    if run.is_train and "train" not in phases:
        yield Finding("datasets.train", "is missing")
    if not run.is_train and not phases & {"test", "val"}:
        yield Finding("datasets", "has no test set: add a section test_1")
    if len(datasets) > MOST_SETS:
        yield Finding("datasets", f"holds {len(datasets):,} sections, more than {MOST_SETS}")
        return
    for key, content in datasets.items():
        phase, where = str(key).split("_")[0], f"datasets.{key}"
        allowed = ("train", "val") if run.is_train else ("test", "val")
        if phase not in allowed:
            yield Finding(where, f"has a phase that is unknown here: name it {' or '.join(allowed)}, or val_2")
        elif not isinstance(content, Mapping):
            yield Finding(where, f"must be a section, got {content!r}")
        else:
            yield from _check_section(run, where, phase, content)


def _check_section(run: Run, where: str, phase: str, content: Mapping[str, Any]) -> Iterator[Finding]:
    findings = list(check_type(f"{where}.type", content.get("type"), DATASET_REGISTRY, "dataset"))
    dataset = look_up(DATASET_REGISTRY, content.get("type"))
    findings += check_section(where, content, fields_of_set(dataset), dataset, phase == "train")
    for key in sorted(LARGEST.keys() & content.keys()):
        if isinstance(content[key], (int, float)) and LARGEST[key] < content[key] < math.inf:
            findings.append(Finding(f"{where}.{key}", f"must be at most {LARGEST[key]:,}, got {content[key]:g}"))
    yield from findings
    if any(finding.fatal for finding in findings):
        return
    section = {**content, "phase": phase, **({"scale": run.options["scale"]} if "scale" in run.options else {})}
    wanted = run.contract.input_keys
    if phase != "train":  # LR images are synthesized in training only
        wanted = tuple(key for key in wanted if key == "lq")
    needed = run.contract.needed_keys(phase, run.sound_options, run.networks)
    seen = Seen()
    problems = check_dataset(dataset, section, wanted, needed, seen)
    if not problems:
        run.seen[where.removeprefix("datasets.")] = seen
    if phase != "train" and (run.section("val").get("save_img") or run.section("comparison")):
        problems += unwritable_names(section)
    yield from (Finding(f"{where}{place}", text) for place, text in problems)
    kept = phase != "train" and run.section("val").get("save_as_read")
    if (note := describe_seen(seen.kinds)) and not kept:
        yield Finding(where, note, fatal=False)


def check_comparison(run: Run) -> Iterator[Finding]:
    """Yield a test of random weights, and what is wrong with the section ``comparison``."""
    if not (run.is_train or run.section("path").get("pretrain_network_g") or run.section("val").get("exported")):
        fatal = bool(run.section("comparison"))
        yield Finding("path.pretrain_network_g", "is missing: the network has random weights", fatal)
    names = run.section("comparison").get("dataset")
    for name in names if isinstance(names, list) else [names]:
        if isinstance(name, str):  # what else it is, its field says
            yield from _check_compared(run, name)


def _check_compared(run: Run, name: str) -> Iterator[Finding]:
    datasets = run.section("datasets")
    if name not in datasets:
        yield Finding("comparison.dataset", f"is {name!r}, which is not in datasets: {', '.join(map(str, datasets))}")
        return
    section = run.section("datasets", name)
    dataset = look_up(DATASET_REGISTRY, section.get("type"))
    if dataset and "dataroot_gt" not in section and not prepares_data(dataset):
        yield Finding("comparison.dataset", f"{name} has no ground truth to compare with")
