"""Turn a file of a network in its training form into one of its deployed form, or into another file format."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightsr_basicsr.archs.network import SRNetwork
from lightsr_basicsr.archs.reparam import deploy
from lightsr_basicsr.checkpoints import SUFFIXES, load_strictly, split_list, write_state_dict
from lightsr_basicsr.tools.complexity import count_multi_adds, count_parameters, hd_lr_size
from lightsr_basicsr.tools.convert_picture import Picture, largest_difference, run_on, take_picture
from lightsr_basicsr.tools.convert_source import (
    ConvertError,
    Opened,
    build,
    form_with,
    open_network,
    read_weights,
    untold_by_files,
)

HELD_AS = ("params", "params_ema", "bare", "state_dict", "list")
TOLERANCE = 1e-4  # of the output's range; float32 rounding of deep networks is below 1e-5
NAMED = 3


@dataclass(frozen=True)
class Side:
    """The file before or after.

    Attributes:
        path (str): The file.
        size (int): In bytes.
        wrapper (str): Key under which the tensors are, ``'bare'`` for none, ``'list'`` for a list of state dicts.
        form (str): ``'train'``, ``'pruned'`` or ``'deploy'``.
        tensors (int): Number of tensors.
        parameters (int): Of the network.
        multi_adds (int | None): For an output of 1280x720; None where that cannot be counted.
    """

    path: str
    size: int
    wrapper: str
    form: str
    tensors: int
    parameters: int
    multi_adds: int | None


@dataclass(frozen=True)
class Conversion:
    """What was done.

    Attributes:
        network (str): Registered name of the network that the source holds.
        scale (float): Output side over input side; 0 where another package's network does not tell.
        before (Side): The source; its ``wrapper`` is the one of the weights that were taken.
        after (Side | None): The new file; None where the source is deployed already and nothing was written.
        section (dict): Section ``network_g`` of an option file that uses the new file.
        untold (tuple[str, ...]): Its arguments that no file tells, and that are missing in it.
        picture (str | None): What the two networks were compared on; None where tensors were compared.
        lr_size (tuple[int, int] | None): Height and width of it.
        difference (float | None): Largest difference of the outputs in [0, 1].
    """

    network: str
    scale: float
    before: Side
    after: Side | None
    section: dict[str, Any]
    untold: tuple[str, ...] = ()
    picture: str | None = None
    lr_size: tuple[int, int] | None = None
    difference: float | None = None


def convert(
    source: str | PathLike,
    target: str | PathLike | None = None,
    *,
    network: Mapping[str, Any] | None = None,
    weights: str | None = None,
    keep_form: bool = False,
    wrapper: str | None = None,
    picture: str | PathLike | None = None,
    tolerance: float = TOLERANCE,
    overwrite: bool = False,
) -> Conversion:
    """Write the deployed form of a network's file, after a comparison of the two on a picture.

    Args:
        source (str | PathLike): ``.pth``, ``.pt`` or ``.safetensors``.
        target (str | PathLike | None): The new file or its folder; the suffix decides the format. None is the
            source's name with ``_deploy``. Default: None.
        network (Mapping | None): Section of an option file that the source was trained with, for networks that cannot
            be told from a file; None tells it from the file. Default: None.
        weights (str | None): ``'ema'`` or ``'raw'``; None takes EMA weights if there are any. Default: None.
        keep_form (bool): Whether branches stay, so that only the format changes; tensors are compared then.
        wrapper (str | None): One of ``HELD_AS``; None is ``'params'``. A ``.safetensors`` file is always bare.
        picture (str | PathLike | None): LR image to compare on; None takes a photograph of scikit-image.
        tolerance (float): Largest difference of the outputs in [0, 1] that is allowed. Default: 1e-4.
        overwrite (bool): Whether a target that is there is replaced. Default: False.

    Raises:
        CheckpointError, ConvertError, ImageError: If a file or an argument is wrong, or the outputs differ. Nothing is
            written then, and a target that is there stays as it is.
    """
    source = Path(source).expanduser()
    if not tolerance >= 0:
        raise ConvertError(f"The tolerance must be a number of at least 0, got {tolerance}.")
    state, taken = read_weights(source, weights)
    opened = open_network(state, source, network)
    deployed = None if keep_form else _merge(opened, source)
    if not keep_form and deployed is None:
        return _done(opened, _side(source, opened, taken), opened, None)
    place = _check_target(source, target, keep_form, overwrite)
    held = _check_wrapper(place, wrapper, state)
    before = _side(source, opened, taken)
    if deployed is None:
        # In the network's order; a .safetensors file has one of its own.
        write_state_dict(place, {key: state[key] for key in opened.net.state_dict()}, held)
        return _done(opened, before, opened, replace(before, path=str(place), size=place.stat().st_size, wrapper=held))
    shown = take_picture(None if picture is None else Path(picture).expanduser(), opened.ours.upscale)
    difference = _write_compared(opened, deployed, place, held, shown, tolerance)
    return _done(opened, before, deployed, _side(place, deployed, held), shown, difference)


def _done(
    opened: Opened,
    before: Side,
    result: Opened,
    after: Side | None,
    picture: Picture | None = None,
    difference: float | None = None,
) -> Conversion:
    return Conversion(
        network=opened.section["type"],
        scale=opened.ours.upscale,
        before=before,
        after=after,
        section=result.section,
        untold=result.untold,
        picture=None if picture is None else picture.name,
        lr_size=None if picture is None else picture.image.shape[:2],
        difference=difference,
    )


def _check_target(source: Path, target: str | PathLike | None, keep_form: bool, overwrite: bool) -> Path:
    """Return the file to write, after a look at whether it can be."""
    if target is None and keep_form:
        raise ConvertError("To keep the form and change the format, name the file to write: -o FILE.")
    suffixed = source.suffix.lower() in SUFFIXES
    stem, suffix = (source.stem, source.suffix) if suffixed else (source.name, SUFFIXES[0])
    name = f"{stem}{'' if keep_form else '_deploy'}{suffix}"
    place = source.with_name(name) if target is None else Path(target).expanduser()
    place = place / name if place.is_dir() or str(target).endswith(os.sep) else place
    if place.suffix.lower() not in SUFFIXES:
        raise ConvertError(f"The name of {place} decides the format: it must end in {', '.join(SUFFIXES)}.")
    if not place.parent.is_dir():
        raise ConvertError(f"There is no folder {place.parent}: create it first, or choose another with -o.")
    if not os.access(place.parent, os.W_OK):
        raise ConvertError(f"{place.parent} is not writable: choose another folder with -o.")
    if place.exists():
        _check_existing(place, source, overwrite)
    return place


def _check_existing(place: Path, source: Path, overwrite: bool) -> None:
    if place.samefile(source):
        raise ConvertError(f"{place} is the file that is converted, and it stays: choose another name with -o.")
    if not place.is_file():
        raise ConvertError(f"{place} is there and is no plain file: choose another name with -o.")
    if not overwrite:
        raise ConvertError(f"{place} is there already: replace it with --overwrite, or choose another name with -o.")


def _check_wrapper(place: Path, wrapper: str | None, state: Mapping[str, Tensor]) -> str:
    """Return how the tensors will be held."""
    if wrapper not in (None, *HELD_AS):
        raise ConvertError(f"Tensors can be held as {', '.join(HELD_AS)}; got {wrapper!r}.")
    if place.suffix.lower() == ".safetensors":
        if wrapper not in (None, "bare"):
            raise ConvertError(f"A .safetensors file is always bare; {wrapper!r} needs one that ends in .pth or .pt.")
        return "bare"
    if wrapper == "list":
        split_list(state)
    return wrapper or "params"


def _merge(opened: Opened, source: Path) -> Opened | None:
    """Return the deployed network, None for one that is deployed already."""
    name = opened.section["type"]
    try:
        net = deploy(opened.net)
    except ValueError as error:
        raise ConvertError(f"{source} cannot be merged. {error}") from error
    state = net.state_dict()
    if list(state) == list(opened.net.state_dict()):
        if opened.form == "deploy":
            return None
        raise ConvertError(
            f"{name} has no reparameterizable blocks: there is nothing to convert; to change the format use "
            "--keep-form -o FILE."
        )
    _check_statistics(opened.net, source)
    found = form_with(opened.section, state)
    if found is None:
        raise ConvertError(f"No option file can build the deployed form of {name}: its blocks give other tensors.")
    untold = untold_by_files(found[1]) if opened.untold else ()  # an option file tells all that is not the default
    return Opened(net, dict(found[1]), "deploy", untold)


def _check_statistics(net: nn.Module, source: Path) -> None:
    """Raise ConvertError if normalisation still has the statistics that it starts with."""
    norms = [
        (name, module)
        for name, module in net.named_modules()
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)) and module.running_mean is not None
    ]
    fresh = [name for name, norm in norms if not norm.running_mean.any() and (norm.running_var == 1).all()]
    if fresh:
        more = f" and {len(fresh) - NAMED} more" if len(fresh) > NAMED else ""
        raise ConvertError(
            f"{source} cannot be merged: batch normalisation never saw data, its statistics are those of the start "
            f"({', '.join(fresh[:NAMED])}{more}). Train the network, or take a later file."
        )


def _write_compared(
    opened: Opened, deployed: Opened, place: Path, held: str, picture: Picture, tolerance: float
) -> float:
    """Write the deployed network if it gives the same images, read back from the file too; return the difference."""
    expected = run_on(opened.ours, picture)
    if not all(bool(torch.isfinite(image).all()) for image in expected):
        raise ConvertError(
            f"The output of the network itself is not a number on {picture.name}: nothing was written. Try another "
            "picture with -i; if it stays so, the training diverged."
        )
    found = []

    def compare(net: Opened) -> None:
        found.append(largest_difference(expected, run_on(net.ours, picture)))
        _check_difference(found[-1], tolerance, picture)

    def compare_written(state: dict[str, Tensor]) -> None:
        written = deployed._replace(net=build(deployed.section))
        load_strictly(written.net, state, place)
        compare(written)

    compare(deployed)
    write_state_dict(place, deployed.net.state_dict(), held, compare_written)
    return max(found)


def _check_difference(difference: float, tolerance: float, picture: Picture) -> None:
    if not difference <= tolerance:
        shown = f"by {difference:.3g} of the range" if isfinite(difference) else "by what is not a number"
        raise ConvertError(
            f"The deployed network's output differs {shown} on {picture.name}; {tolerance:g} is allowed "
            "(--tolerance). Nothing was written."
        )


def _side(path: Path, opened: Opened, wrapper: str) -> Side:
    net, tensors = opened.ours, len(opened.net.state_dict())
    return Side(str(path), path.stat().st_size, wrapper, opened.form, tensors, count_parameters(net), _multi_adds(net))


def _multi_adds(net: SRNetwork) -> int | None:
    if not net.super_resolves:
        return None
    try:
        return count_multi_adds(net, *hd_lr_size(net.upscale))
    except RuntimeError:
        return None
