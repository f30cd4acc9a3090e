"""Networks to measure: checkpoints, exported files, option files, and names of networks with random weights."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from os.path import expanduser
from pathlib import Path
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor

from lightsr_basicsr.archs.network import SRNetwork
from lightsr_basicsr.checkpoints import SUFFIXES, CheckpointError
from lightsr_basicsr.errors import UserError
from lightsr_basicsr.registry import look_up
from lightsr_basicsr.runtimes.metadata import SUFFIXES as EXPORTED
from lightsr_basicsr.runtimes.network import name_of
from lightsr_basicsr.tools.networks import (
    NetworkError,
    adapt,
    build,
    open_network,
    read_network,
    read_weights,
    unrecoverable_arguments,
)
from lightsr_basicsr.tools.options import OptionError, parse_value
from lightsr_basicsr.tools.photographs import SEED, image_of_size
from lightsr_basicsr.weights.find import find_weights, is_name

OPTION_FILES = (".yml", ".yaml")
# Short names, with the sizes in the papers' tables.
STANDARD = {
    "IMDN": {"type": "IMDN", "upscale": 4},
    "FDIWN": {"type": "FDIWN", "upscale": 4},
    "DDistill-SR": {"type": "DDistill_SR", "upscale": 4, "deploy": True},
    "KDSR-M": {"type": "BlindSR_ST", "n_feats": 64, "n_encoder_res": 9, "scale": 4, "n_sr_blocks": 53},
    "DRN-S": {"type": "DRN"},
}
DAMPING, MOST_DAMPINGS = 0.8, 20
PROBE_SIDE = 48


class BenchmarkError(UserError):
    """A benchmark is not possible as asked for."""


@dataclass(frozen=True)
class Subject:
    """One network to measure."""

    title: str  # its name in tables and plots
    section: dict[str, Any] | None = None  # of an option file; None identifies the network by its tensors
    path: str | None = None  # checkpoint or exported file; None for random weights
    trust: bool = False  # whether an exported file that is a program may run

    @property
    def exported(self) -> bool:
        """Whether it is an exported file, which is run unchanged."""
        return self.path is not None and Path(self.path).suffix.lower() in EXPORTED

    @property
    def weights(self) -> str:
        """Origin of the weights, in words."""
        return f"random, seed {SEED}" if self.path is None else Path(self.path).name

    def network(self) -> SRNetwork:
        """Return the network of a checkpoint or a section, on the CPU, in evaluation mode.

        Raises:
            UserError: If it cannot be opened or built, or does not map an LR image to an SR image.
        """
        net = _random(self.section) if self.path is None else _opened(Path(self.path), self.section)
        if not net.super_resolves:
            raise BenchmarkError(
                f"{self.title} does not map an LR image to an SR image, or its scale is unknown: there is nothing to "
                "measure; for KDSR name the student."
            )
        return net


def find_subjects(sources: Sequence[str | PathLike], network: str | None = None) -> list[Subject]:
    """Return the networks to measure, in order, each with a unique title.

    Args:
        sources (Sequence): Checkpoints, names of official files in the cache, exported files, option files, and names
            of networks with arguments, such as ``'IMDN:upscale=4'``. If empty, ``network`` is measured if there is one,
            else the networks in ``STANDARD``.
        network (str | None): Name with arguments, or option file, of the network of checkpoints, where their tensors
            do not identify it. Default: None.

    Raises:
        UserError: If a source is neither a file nor a network. Files are not opened yet.
    """
    if not sources and network is None:
        return [Subject(title, dict(section)) for title, section in STANDARD.items()]
    section = None if network is None else parse_section(network)
    found = [_subject(str(source), section) for source in sources]
    if not found:
        found = [Subject(_describe(section), section)]
    titles = [subject.title for subject in found]
    return [
        subject if titles.count(subject.title) == 1 else Subject(str(source), subject.section, subject.path)
        for subject, source in zip(found, sources or [network], strict=True)
    ]


def _subject(source: str, section: dict[str, Any] | None) -> Subject:
    path = Path(expanduser(source))
    if not path.exists() and look_up(ARCH_REGISTRY, source) is None and is_name(source):
        path = find_weights(source)
    suffix = path.suffix.lower()
    if suffix in (*SUFFIXES, *EXPORTED):
        if not path.is_file():
            raise BenchmarkError(f"There is no file {path} (looked from {Path.cwd()}): name an existing one.")
        return Subject(path.stem if suffix not in EXPORTED else path.name, section, str(path))
    own = parse_section(source)
    return Subject(path.stem if suffix in OPTION_FILES else _describe(own), own)


def parse_section(text: str) -> dict[str, Any]:
    """Return the section of ``'IMDN:upscale=4,num_feat=32'``, of a title in ``STANDARD``, or of an option file.

    Raises:
        UserError: If it is none of these.

    >>> parse_section("IMDN:num_feat=32")
    {'type': 'IMDN', 'upscale': 4, 'num_feat': 32}
    """
    if Path(text).suffix.lower() in OPTION_FILES:
        return read_network(text)
    name, _, arguments = text.partition(":")
    start = STANDARD.get(name, {"type": name})
    try:
        given = parse_value("{" + re.sub(r"(\w+)\s*=\s*", r"\1: ", arguments) + "}")
    except OptionError:
        given = None
    if not isinstance(given, dict) or not name or None in given.values():
        raise BenchmarkError(f"A network is named as in IMDN:upscale=4,num_feat=64, got '{text}'.")
    try:
        unrecoverable_arguments(start)  # looks the name up
    except NetworkError as error:
        missing = f" Nor is there a file {text} to measure." if "/" in text or "." in name else ""
        raise BenchmarkError(f"{error}{missing} Sizes that papers use: {', '.join(STANDARD)}.") from error
    # In a YAML mapping numbers like 1e-4 are text.
    return {**start, **{key: parse_value(value) if isinstance(value, str) else value for key, value in given.items()}}


def _describe(section: Mapping[str, Any]) -> str:
    """Return a network's name with its arguments, or the short name of a standard one."""
    known = next((title for title, standard in STANDARD.items() if standard == section), None)
    arguments = ",".join(f"{key}={value}" for key, value in section.items() if key != "type")
    return known or (f"{section['type']}:{arguments}" if arguments else str(section["type"]))


def _opened(path: Path, section: Mapping[str, Any] | None) -> SRNetwork:
    try:
        return open_network(read_weights(path, None)[0], path, section).ours
    except CheckpointError as error:
        raise BenchmarkError(
            f"{error} Its network can be named: --network FILE.yml, or NAME:ARGUMENT=VALUE."
        ) from error


def _random(section: Mapping[str, Any]) -> SRNetwork:
    """Return a network with random weights that keep its numbers finite: other numbers take another time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        net = adapt(build(dict(section)), section)
    if net.super_resolves:
        _tame(net)
    return net


def _tame(net: SRNetwork) -> None:
    side = max(PROBE_SIDE, net.min_side)
    image = image_of_size(side, side, net.num_in_ch)
    for _ in range(MOST_DAMPINGS):
        with torch.no_grad():
            output = net(image)
            if not isinstance(output, Tensor) or (torch.isfinite(output).all() and output.abs().max() < 1e6):
                return
            for parameter in net.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(DAMPING)
    raise BenchmarkError(f"Random weights of {name_of(net)} give no finite numbers: name a checkpoint of it.")
