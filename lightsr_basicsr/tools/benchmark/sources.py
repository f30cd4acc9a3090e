"""What is measured: checkpoints, exported files, option files, and networks by name with random weights."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightsr_basicsr.archs.network import SRNetwork
from lightsr_basicsr.checkpoints import SUFFIXES
from lightsr_basicsr.data.photographs import photographs
from lightsr_basicsr.errors import UserError
from lightsr_basicsr.tools.networks import (
    ConvertError,
    OtherNetwork,
    build,
    innermost,
    open_network,
    read_network,
    read_weights,
    untold_by_files,
)
from lightsr_basicsr.tools.options import OptionError, parse_value

OPTION_FILES = (".yml", ".yaml")
# Back ends that can open an exported file, by its suffix.
EXPORTED = {".onnx": ("onnxruntime", "openvino"), ".xml": ("openvino",), ".ts": ("torch",), ".torchscript": ("torch",)}
# Short names, and the sizes that the papers' tables are about.
STANDARD = {
    "IMDN": {"type": "IMDN", "upscale": 4},
    "FDIWN": {"type": "FDIWN", "upscale": 4},
    "DDistill-SR": {"type": "DDistill_SR", "upscale": 4, "deploy": True},
    "KDSR-M": {"type": "BlindSR_ST", "n_feats": 64, "n_encoder_res": 9, "scale": 4, "n_sr_blocks": 53},
    "DRN-S": {"type": "DRN"},
}
SEED = 0
DAMPING, MOST_DAMPINGS = 0.8, 20
PROBE_SIDE = 48
PHOTOGRAPH = "coffee.png"


class BenchmarkError(UserError):
    """Something about a benchmark that the user can put right; the message says how."""


@dataclass(frozen=True)
class Subject:
    """One network to measure.

    Attributes:
        title (str): How tables and plots call it.
        section (dict | None): The network's section of an option file; None for what the file tells.
        path (str | None): Checkpoint or exported file; None for random weights.
        seed (int): Of random weights.
    """

    title: str
    section: dict[str, Any] | None = None
    path: str | None = None
    seed: int = SEED

    @property
    def exported(self) -> bool:
        """Whether an engine made the file, so that it is run as it is."""
        return self.path is not None and Path(self.path).suffix.lower() in EXPORTED

    @property
    def weights(self) -> str:
        """Where the weights come from, in words."""
        return f"random, seed {self.seed}" if self.path is None else Path(self.path).name

    def network(self) -> SRNetwork:
        """Return the network of a checkpoint or a section, on the CPU, in evaluation mode.

        Raises:
            BenchmarkError: If it cannot be opened or built, or maps no LR image to an SR image.
        """
        try:
            net = _random(self.section, self.seed) if self.path is None else _opened(Path(self.path), self.section)
        except (ConvertError, OptionError) as error:
            raise BenchmarkError(str(error)) from error
        if not net.super_resolves:
            raise BenchmarkError(
                f"{self.title} maps no LR image to an SR image (or does not tell its scale), so there is nothing to "
                "measure; of KDSR name the student."
            )
        return net


def find_subjects(sources: Sequence[str | PathLike], network: str | None = None) -> list[Subject]:
    """Return what to measure, in order, each with a title of its own.

    Args:
        sources (Sequence): Checkpoints, exported files, option files, and names of networks with arguments, such as
            ``'IMDN:upscale=4'``. None at all are ``network`` if there is one, else the networks in ``STANDARD``.
        network (str | None): Name with arguments, or option file, of the network that checkpoints hold, where their
            tensors do not tell. Default: None.

    Raises:
        BenchmarkError: If a source is neither a file nor a network. Files are not opened yet.
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
    path = Path(source).expanduser()
    suffix = path.suffix.lower()
    if suffix in (*SUFFIXES, *EXPORTED):
        if not path.is_file():
            raise BenchmarkError(f"There is no file {path} (looked from {Path.cwd()}).")
        return Subject(path.stem if suffix not in EXPORTED else path.name, section, str(path))
    own = parse_section(source)
    return Subject(path.stem if suffix in OPTION_FILES else _describe(own), own)


def parse_section(text: str) -> dict[str, Any]:
    """Return the section of ``'IMDN:upscale=4,num_feat=32'``, of a title in ``STANDARD``, or of an option file.

    Raises:
        BenchmarkError: If it is none of these.
    """
    if Path(text).suffix.lower() in OPTION_FILES:
        try:
            return read_network(text)
        except (ConvertError, OptionError) as error:
            raise BenchmarkError(str(error)) from error
    name, _, arguments = text.partition(":")
    start = STANDARD.get(name, {"type": name})
    try:
        given = parse_value("{" + re.sub(r"(\w+)\s*=\s*", r"\1: ", arguments) + "}")
    except OptionError:
        given = None
    if not isinstance(given, dict) or not name or None in given.values():
        raise BenchmarkError(f"A network is named as in IMDN:upscale=4,num_feat=64, got '{text}'.")
    _check_name(name, text, start)
    # Numbers like 1e-4 are text inside a mapping of YAML.
    return {**start, **{key: parse_value(value) if isinstance(value, str) else value for key, value in given.items()}}


def _check_name(name: str, text: str, section: Mapping[str, Any]) -> None:
    try:
        untold_by_files(section)  # which looks the name up
    except ConvertError as error:
        there = f" Nor is there a file {text} that could be measured." if "/" in text or "." in name else ""
        raise BenchmarkError(f"{error}{there} Sizes that papers use: {', '.join(STANDARD)}.") from error


def _describe(section: Mapping[str, Any]) -> str:
    """Return a network's name with its arguments, or the short name of a standard one."""
    known = next((title for title, standard in STANDARD.items() if standard == section), None)
    arguments = ",".join(f"{key}={value}" for key, value in section.items() if key != "type")
    return known or (f"{section['type']}:{arguments}" if arguments else str(section["type"]))


def _opened(path: Path, section: Mapping[str, Any] | None) -> SRNetwork:
    try:
        return open_network(read_weights(path, None)[0], path, section).ours
    except (ConvertError, OptionError):
        raise
    except ValueError as error:
        raise BenchmarkError(
            f"{error} Its network can be named: --network FILE.yml, or NAME:ARGUMENT=VALUE."
        ) from error


def _random(section: Mapping[str, Any], seed: int) -> SRNetwork:
    """Return a network with weights that keep its numbers finite: others cost another time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = build(dict(section))
    ours = net if isinstance(net, SRNetwork) else OtherNetwork(net, innermost(section))
    if ours.super_resolves:
        _tame(ours)
    return ours


def _tame(net: SRNetwork) -> None:
    side = max(PROBE_SIDE, net.min_side)
    image = photograph(side, side, net.num_in_ch)
    for _ in range(MOST_DAMPINGS):
        with torch.no_grad():
            if _moderate(net(image)):
                return
            for parameter in net.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(DAMPING)
    raise ConvertError(f"Random weights of {type(net).__name__} give no finite numbers: name a checkpoint of it.")


def _moderate(output: Any) -> bool:
    return not isinstance(output, Tensor) or bool(torch.isfinite(output).all() and output.abs().max() < 1e6)


def photograph(height: int, width: int, channels: int = 3) -> Tensor:
    """Return an LR image (1, channels, height, width), float32 RGB in [0, 1]: a photograph, mirrored to its size.

    Without scikit-image, which brings the photograph, a smooth random image stands in: noise makes some networks
    overflow.
    """
    try:
        ((_, picture),) = photographs([PHOTOGRAPH])
        small = nn.functional.interpolate(image_tensor(picture), scale_factor=0.25, mode="area")
    except (ImportError, FileNotFoundError):
        noise = torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(SEED))
        small = nn.functional.interpolate(noise, (120, 160), mode="bicubic").clamp(0, 1)
    rows, columns = (np.pad(np.arange(have), (0, max(want - have, 0)), "symmetric")[:want]
                     for have, want in zip(small.shape[2:], (height, width), strict=True))  # fmt: skip
    image = small[:, :, torch.from_numpy(rows)][:, :, :, torch.from_numpy(columns)]
    if channels == 1:
        return image.mean(1, keepdim=True)
    return image[:, [channel % 3 for channel in range(channels)]].contiguous()


def image_tensor(picture: np.ndarray) -> Tensor:
    """Return B G R (H, W, 3), 8 or 16 bits, as (1, 3, H, W) R G B in [0, 1]."""
    scaled = picture[:, :, ::-1].astype(np.float32) / np.iinfo(picture.dtype).max
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)))[None]
