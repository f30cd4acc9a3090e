"""Describe a checkpoint: network, size, cost, and whether it is an official file; or an exported file."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import signature
from os import PathLike
from pathlib import Path
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from lightsr_basicsr.checkpoints import read_state_dict
from lightsr_basicsr.checkpoints.identify import Identity, load_identified
from lightsr_basicsr.checkpoints.tensors import not_finite
from lightsr_basicsr.runtimes.metadata import SUFFIXES, Metadata, format_of, read_metadata
from lightsr_basicsr.tools.complexity import count_multi_adds, count_parameters, hd_lr_size
from lightsr_basicsr.tools.files import checksum
from lightsr_basicsr.tools.info.channels import KeptChannels, kept_channels
from lightsr_basicsr.weights.find import find_weights
from lightsr_basicsr.weights.official import OfficialNetwork, find_official, official_networks


@dataclass(frozen=True)
class FileInfo:
    """Description of a checkpoint."""

    path: str
    size: int  # in bytes
    sha256: str
    wrapper: str  # key of the tensors in the file, 'bare' for none
    tensors: int  # their number
    identity: Identity
    parameters: int  # of the network, frozen ones included
    multi_adds: int | None  # of one forward pass; None for networks without an LR input, and if torch cannot count
    lr_size: tuple[int, int] | None  # height and width of the LR image for `multi_adds`
    num_in_ch: int  # channels of the input image
    min_side: int  # smallest height and width of an input image
    img_range: float  # largest value inside the network; its images are always in [0, 1]
    official: OfficialNetwork | None  # the official file with the same bytes
    same_network: tuple[OfficialNetwork, ...]  # official files of the same network and arguments
    not_finite: tuple[str, ...] = ()  # names of tensors that hold NaN or infinite numbers
    channels: tuple[KeptChannels, ...] = ()  # at each site of a pruned network


@dataclass(frozen=True)
class ExportedInfo:
    """Description of an exported file."""

    path: str
    size: int  # in bytes, including a separate file of weights
    format: str  # 'onnx', 'openvino', 'torchscript' or 'ncnn'
    metadata: Metadata | None  # None if another program wrote the file


def describe(path: str | PathLike) -> FileInfo | ExportedInfo:
    """Return the description of a checkpoint, or of an exported file by its suffix; nothing in it is executed.

    Raises:
        BackendError: As :func:`lightsr_basicsr.runtimes.metadata.read_metadata`.
        CheckpointError, UnknownNetworkError: As :func:`lightsr_basicsr.identify`.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        return describe_file(path)
    metadata, kind = read_metadata(path), format_of(path)
    parts = (path, path.with_suffix(".bin")) if kind in ("openvino", "ncnn") else (path,)
    return ExportedInfo(str(path), sum(part.stat().st_size for part in parts if part.is_file()), kind, metadata)


def describe_file(path: str | PathLike) -> FileInfo:
    """Return the description of a checkpoint, or of the official file of that name in the cache.

    Raises:
        WeightsError: As :func:`lightsr_basicsr.weights.find.find_weights`.
        CheckpointError, UnknownNetworkError: As :func:`lightsr_basicsr.identify`.
    """
    path = find_weights(path)
    state, wrapper = read_state_dict(path)
    identity, net = load_identified(state, str(path))
    sha256 = checksum(path)
    multi_adds, lr_size = _cost(net)
    return FileInfo(
        path=str(path),
        size=path.stat().st_size,
        sha256=sha256,
        wrapper=wrapper,
        tensors=len(state),
        identity=identity,
        parameters=count_parameters(net),
        multi_adds=multi_adds,
        lr_size=lr_size,
        num_in_ch=net.num_in_ch,
        min_side=net.min_side,
        img_range=getattr(net, "img_range", 1.0),
        official=find_official(sha256),
        same_network=tuple(entry for entry in official_networks() if _agrees(entry, identity)),
        not_finite=tuple(not_finite(state)),
        channels=kept_channels(identity),
    )


def _cost(net: nn.Module) -> tuple[int | None, tuple[int, int] | None]:
    if not net.super_resolves:
        return None, None
    lr_size = hd_lr_size(net.upscale)
    try:
        return count_multi_adds(net, *lr_size), lr_size
    except RuntimeError:
        return None, lr_size


def _agrees(entry: OfficialNetwork, identity: Identity) -> bool:
    if entry.network != identity.network or entry.file is None:
        return False
    parameters = signature(ARCH_REGISTRY.get(entry.network)).parameters
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    expected, found = {**defaults, **entry.constructor_arguments()}, {**defaults, **identity.arguments}
    return all(_plain(expected[name]) == _plain(found[name]) for name in expected)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value
