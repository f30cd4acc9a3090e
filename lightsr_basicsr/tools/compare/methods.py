"""Methods to compare: networks of any file, and bicubic interpolation."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from lightsr_basicsr import __version__
from lightsr_basicsr.checkpoints import SUFFIXES as CHECKPOINTS
from lightsr_basicsr.checkpoints.identify import UnknownNetworkError, load
from lightsr_basicsr.data.degradations import imresize
from lightsr_basicsr.pictures.picture import Picture
from lightsr_basicsr.runtimes.choice import AUTO
from lightsr_basicsr.runtimes.metadata import SUFFIXES as EXPORTED
from lightsr_basicsr.runtimes.metadata import read_metadata
from lightsr_basicsr.tools.compare.sets import CompareError
from lightsr_basicsr.tools.files import checksum, split_title
from lightsr_basicsr.tools.networks import adapt, build, open_checkpoint
from lightsr_basicsr.upscale.upscaler import Upscaler
from lightsr_basicsr.weights.find import find_weights

BICUBIC = "bicubic"
EXAMPLE = "basicsr compare IMDN_x4 bicubic -i LR --gt HR"

Tell = Callable[[float], Any]


@dataclass(frozen=True)
class How:
    """How networks are run; the words are those of :class:`~lightsr_basicsr.upscale.upscaler.Upscaler`.

    ``backend`` None is torch, whose pictures are those of ``basicsr test``, and for exported files the fastest.
    """

    backend: str | None = None
    precision: str | None = None
    device: str | None = None
    tile: int | None = None
    self_ensemble: bool = False
    trust: bool = False


@dataclass
class Method:
    """Something that enlarges pictures.

    Args:
        title (str): Its name in tables.
        scale (int): Size of the result over size of the picture.
        key (str): Stands for the file and the settings: another one gives other pictures.
        source (str): Name of the file, '' for bicubic interpolation.
        upscaler (Upscaler | None): The network; None is bicubic interpolation. Default: None.
        net (nn.Module | None): The network in torch, for its costs; None if unknown. Default: None.
    """

    title: str
    scale: int
    key: str
    source: str = ""
    upscaler: Upscaler | None = None
    net: nn.Module | None = None

    def enlarge(self, low: np.ndarray, tell: Tell | None = None) -> np.ndarray:
        """Return an image (H, W, 3), BGR uint8, enlarged.

        Args:
            low (np.ndarray): The image.
            tell (Callable | None): Called with the part that is done, 0 to 1. Default: None.

        Raises:
            UserError: If it does not fit into memory, or the network makes NaN.
        """
        if self.upscaler is None:
            return imresize(low, self.scale)
        rgb = Picture(np.ascontiguousarray(low[:, :, ::-1]))
        return np.ascontiguousarray(self.upscaler.upscale_picture(rgb, tell).color[:, :, ::-1])


def open_methods(
    models: Sequence[str | PathLike],
    how: How | None = None,
    *,
    scale: int | None = None,
    section: Mapping[str, Any] | None = None,
    report: Callable[[str], Any] = lambda text: None,
) -> list[Method]:
    """Return the methods that are named, in order.

    Args:
        models (Sequence): Checkpoints, names of official files in the cache, exported files, and ``'bicubic'``;
            ``'TITLE=FILE'`` gives a title, which is the file's name otherwise.
        how (How | None): How networks are run. Default: None, as ``basicsr test`` does.
        scale (int | None): Needed for bicubic interpolation alone; else that of the networks. Default: None.
        section (Mapping | None): Section of an option file, for checkpoints that cannot be identified. Default: None.
        report (Callable): Called with sentences on what is done otherwise than expected.

    Raises:
        UserError: If there is no such file or network, two have one title, or their scales differ.
    """
    how, named = how or How(), [split_title(model) for model in models]
    if not named:
        raise CompareError(f"Expected methods to compare, got none: name some, as in `{EXAMPLE}`.")
    paths = [None if rest.lower() == BICUBIC else find_weights(rest) for _, rest in named]
    titles = [title or _title_of(rest, path) for (title, rest), path in zip(named, paths, strict=True)]
    same = sorted({title for title in titles if titles.count(title) > 1})
    if same:
        raise CompareError(f"Several methods are called {same[0]!r}: give titles, as in mine={named[-1][1]}.")
    found = [
        None if path is None else _network(title, path, how, section, report)
        for title, path in zip(titles, paths, strict=True)
    ]
    common = _common_scale([each for each in found if each is not None], scale)
    return [each or Method(title, common, f"{BICUBIC} x{common}") for title, each in zip(titles, found, strict=True)]


def _title_of(named: str, path: Path | None) -> str:
    if path is None:
        return BICUBIC
    if path.name != os.path.basename(named):  # found by name
        return named
    return path.name if path.suffix.lower() in EXPORTED else path.stem


def _network(
    title: str, path: Path, how: How, section: Mapping[str, Any] | None, report: Callable[[str], Any]
) -> Method:
    settings = asdict(how)
    if path.suffix.lower() in CHECKPOINTS:
        source = net = _opened(path, section)
    else:
        source, net = path, _described(path)
    settings["backend"] = how.backend or (AUTO if net is None or source is path else "torch")
    upscaler = Upscaler(source, **settings, report=lambda text: report(f"{title}: {text}"))
    files = [path] + [path.with_suffix(".bin")] * (path.suffix.lower() in (".xml", ".param"))
    content = [checksum(file) for file in files if file.is_file()]
    key = json.dumps([content, settings, section if source is not path else None, __version__], default=str)
    return Method(title, upscaler.scale, hashlib.sha256(key.encode()).hexdigest(), path.name, upscaler, net)


def _opened(path: Path, section: Mapping[str, Any] | None) -> nn.Module:
    try:
        return load(path)
    except UnknownNetworkError:
        return open_checkpoint(path, None, section)[0].ours


def _described(path: Path) -> nn.Module | None:
    """Return the network that an exported file was made of, with random weights; None if another program made it."""
    metadata = read_metadata(path)
    if metadata is None:
        return None
    section = {"type": metadata.network, **metadata.arguments}
    return adapt(build(section), section)


def _common_scale(found: Sequence[Method], scale: int | None) -> int:
    """Return the scale of all networks.

    Raises:
        CompareError: If they differ, or there are none and no scale is given.
    """
    scales = {each.scale for each in found}
    if len(scales) > 1:
        listed = ", ".join(f"{each.title} x{each.scale}" for each in found)
        raise CompareError(f"Expected networks of one scale, got {listed}: compare those of one scale at a time.")
    if not scales and scale is None:
        raise CompareError("Bicubic interpolation alone has no scale: name a network too, or --scale.")
    if scale is not None and scales and scales != {scale}:
        raise CompareError(f"Expected networks of scale {scale}, got x{scales.pop()}: leave --scale out.")
    return scales.pop() if scales else scale
