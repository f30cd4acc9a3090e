"""Check the checkpoints and the training state of a run, and download the weights of metrics and losses."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from os.path import expanduser, isfile
from pathlib import Path
from typing import Any

from basicsr.utils.registry import LOSS_REGISTRY, METRIC_REGISTRY
from torch import Tensor

from lightsr_basicsr.checkpoints import CheckpointError, read_state_dict
from lightsr_basicsr.checkpoints.keys import fitted, shared_prefixes
from lightsr_basicsr.checkpoints.misfit import describe_misfit
from lightsr_basicsr.checkpoints.states import weights_folder
from lightsr_basicsr.checkpoints.tensors import describe_not_finite, not_finite
from lightsr_basicsr.errors import short_message
from lightsr_basicsr.registry import look_up
from lightsr_basicsr.tools.check.context import Finding, Run
from lightsr_basicsr.tools.check.names import arguments_of
from lightsr_basicsr.weights.find import fetch_hint

# BasicSR's PerceptualLoss looks here first; otherwise torchvision downloads into torch's folder.
VGG_FOLDER = "experiments/pretrained_models"
VGG_FILES = {"vgg19": "vgg19-dcbb9e9d.pth", "vgg16": "vgg16-397923af.pth"}


def check_weights(run: Run) -> Iterator[Finding]:
    """Yield files that are missing, unreadable or do not fit: those of the training state, or else of ``path``."""
    yield from _check_pretrained(run) if run.state is None else _check_resume_state(run, Path(expanduser(run.state)))


def _check_resume_state(run: Run, state: Path) -> Iterator[Finding]:
    if not isfile(state):
        yield Finding("path.resume_state", f"there is no training state {state} (looked from {Path.cwd()})")
        return
    if not run.section("train"):
        return
    state = run.saved_as or state
    problems = list(run.contract.find_resume_problems(run.sound_options, state))
    yield from (Finding(where, text) for where, text in problems)
    # A state of another plan has other files.
    for key, file in () if problems else run.contract.resume_files(run.sound_options, state).items():
        found = _check_file(run, key, str(file))
        yield from (
            found if file.absolute().parent != weights_folder(state) else (_of_state(each, state) for each in found)
        )


def _of_state(finding: Finding, state: Path) -> Finding:
    """Return a finding on a file that the run itself has saved with ``state``, and no key of the option file names."""
    text = f"weights that were saved with {state.name}: {finding.message}"
    if finding.fatal:
        text += " Resume from an older state or with --auto_resume, unless the option file has another network now."
    return replace(finding, where="path.resume_state", message=text)


def _check_pretrained(run: Run) -> Iterator[Finding]:
    paths, contract = run.section("path"), run.contract
    if run.is_train:
        missing = [key for key in contract.required_paths if not paths.get(key)]
        yield from (Finding(f"path.{key}", f"is missing: {contract.name} starts from that file") for key in missing)
    unused = () if run.is_train else contract.training_networks
    for key, path in paths.items():
        name = str(key).removeprefix("pretrain_")
        if name.startswith("network_") and key != name and path is not None and name not in unused:
            yield from _check_file(run, name, str(path))


def _check_file(run: Run, network: str, path: str) -> Iterator[Finding]:
    """Yield why the checkpoint for ``network`` cannot be read, or does not fit."""
    where, paths, suffix = f"path.pretrain_{network}", run.section("path"), network.removeprefix("network_")
    wanted = _wanted_key(paths, suffix)
    try:
        state, wrapper = read_state_dict(Path(expanduser(path)), prefer=wanted)
    except CheckpointError as error:
        missing = not os.path.exists(expanduser(path))
        yield Finding(where, f"{error}{fetch_hint(Path(path)) if missing else ''}")
        return
    net = run.networks.get(network)
    if net is None:
        return
    strict = paths.get(f"strict_load_{suffix}", True)
    if run.is_train:
        misfit = run.contract.describe_misfit(net, state, path, strict)
    else:
        misfit = describe_misfit(net, run.contract.weights_for(net, state), path, strict)
    if misfit:
        yield Finding(where, misfit)
    yield from _remarks(run, network, path, state, wrapper)


def _wanted_key(paths: Mapping[str, Any], suffix: str) -> str | None:
    """Return the key of the weights in a checkpoint; what is none is told by its field."""
    key = paths.get(f"param_key_{suffix}", "params")
    return key if key is None or isinstance(key, str) else "params"


def _remarks(run: Run, network: str, path: str, state: Mapping[str, Tensor], wrapper: str) -> Iterator[Finding]:
    """Yield what to know of weights that fit, and why BasicSR's own models would not find them."""
    where, paths, suffix = f"path.pretrain_{network}", run.section("path"), network.removeprefix("network_")
    wanted, net = _wanted_key(paths, suffix), run.networks[network]
    if broken := describe_not_finite(not_finite(state)):
        yield Finding(where, f"{path}: {broken}", fatal=False)
    if run.contract.reads_any_wrapper or not run.model:
        return
    if fitted(net, state) is not state:
        yield Finding(
            where,
            f"the names of its tensors begin with '{shared_prefixes(state)[0]}', with which {run.options['model_type']}"
            " does not load them: set model_type: LossDictModel",
        )
    found = {"bare"} if wanted is None else {wanted, "params"}
    if wrapper not in found:
        held, key_found = ("a bare state dict", "~") if wrapper == "bare" else (f"weights under '{wrapper}'", wrapper)
        yield Finding(
            where,
            f"holds {held}, in which {run.options['model_type']} does not find '{wanted or 'bare weights'}': "
            f"set param_key_{suffix}: {key_found}, or model_type: LossDictModel",
        )


def check_downloads(run: Run) -> Iterator[Finding]:
    """Yield metrics and losses whose weights cannot be loaded; this may download half a gigabyte."""
    # The first process validates; the others find its downloads on disk.
    if os.environ.get("RANK", "0") != "0":
        return
    for name, content in (run.section("val").get("metrics") or {}).items():
        prepare = getattr(look_up(METRIC_REGISTRY, content["type"]), "prepare", None)
        if prepare is not None:
            yield from _try(f"val.metrics.{name}", prepare, content)
    loss = run.section("train", "perceptual_opt")
    if run.is_train and loss.get("type") == "PerceptualLoss":
        file = VGG_FILES.get(str(loss.get("vgg_type", "vgg19")), "the weights of VGG")
        hint = f"; without a connection put {file} into {Path(VGG_FOLDER).absolute()}"
        yield from _try("train.perceptual_opt", look_up(LOSS_REGISTRY, loss["type"]), loss, hint)


def _try(where: str, action: Callable, content: Mapping[str, Any], hint: str = "") -> Iterator[Finding]:
    try:
        action(**arguments_of(content))
    except Exception as error:
        # Metrics and losses of other plugins may raise any exception.
        yield Finding(where, short_message(error) + hint)
