"""Check an option file against what is registered, before BasicSR creates or renames any folder.

The check writes nothing, does not use the seeded generators of training, and does not set up BasicSR's logger (which
would lose the log file of the run). Only metrics and losses may download their weights.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from basicsr.utils.registry import MODEL_REGISTRY

from lightsr_basicsr.tools.check.backend import check_backend
from lightsr_basicsr.tools.check.context import Finding, Run
from lightsr_basicsr.tools.check.datasets import check_comparison, check_datasets
from lightsr_basicsr.tools.check.identities import check_identities
from lightsr_basicsr.tools.check.keys import (
    check_device,
    check_kept,
    check_keys,
    check_section,
    check_tensorboard,
    check_texts,
    check_wandb,
)
from lightsr_basicsr.tools.check.known import fields_of_model, within
from lightsr_basicsr.tools.check.metrics import check_metrics, check_sizes
from lightsr_basicsr.tools.check.names import check_type
from lightsr_basicsr.tools.check.networks import check_networks
from lightsr_basicsr.tools.check.training import check_training
from lightsr_basicsr.tools.check.trial import try_items
from lightsr_basicsr.tools.check.weights import check_downloads, check_weights


def check_options(
    options: Mapping[str, Any], is_train: bool, state: Path | None = None, typed: Collection[str] = ()
) -> list[Finding]:
    """Return everything that would stop or spoil a run with these options, [] if nothing.

    Args:
        options (Mapping): Content of an option file, overrides applied.
        is_train (bool): For ``train`` (True) or ``test`` (False).
        state (Path | None): The training state from which the run resumes; it replaces ``path.pretrain_*``.
        typed (Collection[str]): Dotted keys that were typed on the command line; one that nobody reads is a mistake.
    """
    run = Run(options, is_train, state)
    findings = [*check_keys(run), *check_texts(options), *check_device(run), *check_networks(run)]
    findings += check_type("model_type", options.get("model_type"), MODEL_REGISTRY, "model")
    findings += check_weights(run)
    stages = _stages(run) if is_train else []
    if stages:
        findings += [*_find_problems(run), *_check_stages(run, stages)]
    else:
        findings += [*_check_model(run), *check_datasets(run)]
    if is_train:
        findings += [*check_tensorboard(run), *check_wandb(run), *check_kept(run)]
    findings += [*check_metrics(run), *check_comparison(run), *check_backend(run)]
    findings += check_identities(run)
    findings = [replace(each, fatal=each.fatal or (each.unread and each.where in typed)) for each in findings]
    if not _stops(findings):
        findings += check_sizes(run)
        findings += _try_stages(stages) if stages else try_items(run)
    # Nothing is downloaded for a run that does not start.
    return findings if _stops(findings) else [*findings, *check_downloads(run)]


def _stops(findings: Iterable[Finding]) -> bool:
    return any(finding.fatal for finding in findings)


def _check_model(run: Run) -> Iterator[Finding]:
    """Yield what the model cannot be run with."""
    yield from _check_step(run)
    if run.is_train:
        yield from _find_problems(run)
        yield from check_training(run)
    else:
        problems = run.contract.find_test_problems(run.sound_options, run.networks)
        yield from (Finding(where, text) for where, text in problems)


def _find_problems(run: Run) -> Iterator[Finding]:
    yield from (Finding(where, text) for where, text in run.contract.find_problems(run.sound_options, run.networks))
    yield from (Finding(where, text, fatal=False) for where, text in run.contract.find_remarks(run.sound_options))


def _check_step(run: Run) -> Iterator[Finding]:
    """Yield a network that takes or gives more than the LR and SR image of SRModel's step."""
    net = run.networks.get("network_g")
    if net is None or not run.contract.trains_on_one_image:
        return
    model, name = run.contract.name, type(net).__name__
    if not getattr(net, "super_resolves", True):
        yield Finding("model_type", f"{model} runs networks that map LR to SR, but {name} does not")
    elif run.is_train and (output := getattr(net, "training_output", "image")) != "image":
        dual = output in ("levels", "image_and_dual")
        own = "a model of its own" + (", DualRegressionModel" if dual else "")
        yield Finding("model_type", f"{model} trains on one image, but {name} gives more in training: it needs {own}")


@dataclass(frozen=True)
class Stage:
    """A stage of a run: its name, itself as a run, and the keys of its networks in the option file."""

    name: str
    run: Run
    titles: Mapping[str, str]


def _stages(run: Run) -> list[Stage]:
    """Return the stages of a training; they share what is seen of the data sets."""
    stages = []
    for name, options in run.contract.stages(run.sound_options, run.saved_as, run.networks).items():
        titles = {key: top for key in options for top in run.networks if run.options[top] is options[key]}
        as_written = {**options, "datasets": run.section("datasets")}
        networks = {key: run.networks[top] for key, top in titles.items()}
        stages.append(Stage(name, Run(as_written, is_train=True, networks=networks, seen=run.seen), titles))
    return stages


def _check_stages(run: Run, stages: Iterable[Stage]) -> Iterator[Finding]:
    """Yield findings of each stage; the first one needs of a dataset all that the others need."""
    found: list[tuple[str, Finding]] = []
    for stage in stages:
        fields, model = within(fields_of_model(stage.run.model), "train"), stage.run.model
        own = check_section("train", run.section("train", stage.name), fields, model, None)
        found += ((stage.name, _as_written(each, stage.titles)) for each in (*_check_model(stage.run), *own))
    yield from _told_once(found)
    yield from check_datasets(next(iter(stages)).run)


def _try_stages(stages: Iterable[Stage]) -> Iterator[Finding]:
    found = ((stage, finding) for stage in stages for finding in try_items(stage.run))
    yield from _told_once((stage.name, _as_written(finding, stage.titles)) for stage, finding in found)


def _as_written(finding: Finding, titles: Mapping[str, str]) -> Finding:
    """Return ``finding`` with the network keys of the whole run's option file."""
    found = re.compile("|".join(titles) or "$^")
    where, message = (found.sub(lambda match: titles[match[0]], text) for text in (finding.where, finding.message))
    return replace(finding, where=where, message=message)


def _told_once(found: Iterable[tuple[str, Finding]]) -> Iterator[Finding]:
    """Yield findings of stages with the names of these; what several stages have in common is one finding."""
    stages: dict[Finding, list[str]] = {}
    for stage, finding in found:
        stages.setdefault(finding, []).append(stage)
    for finding, names in stages.items():
        names = list(dict.fromkeys(names))
        where = f"{finding.where} ({', '.join(names)} stage{'s' if len(names) > 1 else ''})"
        yield replace(finding, where=where)
