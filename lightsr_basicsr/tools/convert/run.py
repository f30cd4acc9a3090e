"""Turn a file of a network in its training form into one of its deployed form, or into another file format."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from lightsr_basicsr.archs.network import SRNetwork
from lightsr_basicsr.archs.reparam import deploy
from lightsr_basicsr.checkpoints import EXISTS, SUFFIXES, split_list, write_state_dict
from lightsr_basicsr.checkpoints.misfit import load_strictly
from lightsr_basicsr.tools.agreement import Difference, Picture, compare, take_picture
from lightsr_basicsr.tools.complexity import count_multi_adds, count_parameters, hd_lr_size
from lightsr_basicsr.tools.networks import (
    ConvertError,
    Opened,
    build,
    check_sound,
    form_with,
    inner_of,
    open_network,
    read_weights,
    untold_by_files,
)

HELD_AS = ("params", "params_ema", "bare", "state_dict", "list")
TOLERANCE = 1e-4  # of the output's range; float32 rounding of most networks is below 1e-5


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
        dtype (str): Of the file's floating-point tensors; ``'float32'`` for most.
    """

    path: str
    size: int
    wrapper: str
    form: str
    tensors: int
    parameters: int
    multi_adds: int | None
    dtype: str


@dataclass(frozen=True)
class Conversion:
    """What was done.

    Attributes:
        network (str): Registered name of the network that the source holds.
        scale (float): Output side over input side; 0 where another package's network does not tell.
        before (Side): The source; its ``wrapper`` is the one of the weights that were taken.
        after (Side | None): The new file; None where the source is deployed already and nothing else was asked for.
        section (dict): Section ``network_g`` of an option file that uses the new file.
        untold (tuple[str, ...]): Its arguments that no file tells, and that are missing in it.
        picture (str | None): What the two networks were compared on; None where tensors were compared.
        lr_size (tuple[int, int] | None): Height and width of it.
        difference (float | None): Largest difference of the outputs in [0, 1].
        in_float32 (float | None): The same in float32, where that was above the tolerance by the network's own rounding
            and ``difference`` is of float64; else None.
        inner (str | None): For ``Reparameterized`` and ``Deployed``, the network inside.
        block (str | None): For ``Reparameterized``, its block.
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
    in_float32: float | None = None
    inner: str | None = None
    block: str | None = None


class _Output(NamedTuple):
    """The file to write, how it holds tensors, and whether one that is there is replaced."""

    place: Path
    held: str
    overwrite: bool


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

    Of a file that is deployed already nothing is written, unless a target, weights or a wrapper is given: then a copy.

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
        overwrite (bool): Whether a target that is there is replaced, behind a symbolic link too. Default: False.

    Raises:
        CheckpointError, ConvertError, ImageError: If a file or an argument is wrong, or the outputs differ. Nothing is
            written then, and a target that is there stays as it is.
    """
    source = _path(source)
    _check_tolerance(tolerance)
    state, taken = read_weights(source, weights)
    opened = open_network(state, source, network)
    deployed = None if keep_form else _merge(opened, source)
    if not keep_form and deployed is None and target is weights is wrapper is None:
        return _done(opened, _side(source, opened, taken, state), opened, None)
    place = _check_target(source, target, keep_form, deployed is None, overwrite)
    output = _Output(place, _check_wrapper(place, wrapper, state), overwrite)
    shown = None if deployed is None else take_picture(picture and _path(picture), opened.ours.upscale)
    before = _side(source, opened, taken, state)
    if deployed is None:
        return _copy(opened, before, state, output)
    return _write_compared(opened, before, deployed, output, shown, tolerance)


def _check_tolerance(tolerance: float) -> None:
    if not (tolerance >= 0 and isfinite(tolerance)):
        raise ConvertError(f"The tolerance must be a finite number of at least 0, got {tolerance}.")


def _path(path: str | PathLike) -> Path:
    if "\0" in os.fspath(path):
        raise ConvertError(f"A path cannot hold the character NUL, got {os.fspath(path)!r}.")
    return Path(path).expanduser()


def _done(
    opened: Opened,
    before: Side,
    result: Opened,
    after: Side | None,
    picture: Picture | None = None,
    difference: Difference | None = None,
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
        difference=None if difference is None else difference.value,
        in_float32=None if difference is None else difference.in_float32,
        **inner_of(opened.section),
    )


def _check_target(source: Path, target: str | PathLike | None, keep_form: bool, same: bool, overwrite: bool) -> Path:
    """Return the file to write, after a look at whether it can be; ``same`` is whether it is the source's form."""
    if target is None and keep_form:
        raise ConvertError("To keep the form and change the format, name the file to write: -o FILE.")
    suffixed = source.suffix.lower() in SUFFIXES
    stem, suffix = (source.stem, source.suffix) if suffixed else (source.name, SUFFIXES[0])
    name = f"{stem}{'' if same and target is not None else '_deploy'}{suffix}"
    place = source.with_name(name) if target is None else _path(target)
    place = place / name if os.path.isdir(place) or str(target).endswith(os.sep) else place
    if place.suffix.lower() not in SUFFIXES:
        raise ConvertError(f"The name of {place} decides the format: it must end in {', '.join(SUFFIXES)}.")
    if os.path.lexists(place):
        _check_existing(place, source, overwrite)
    _check_folder(Path(os.path.realpath(place)) if overwrite else place)
    return place


def _check_existing(place: Path, source: Path, overwrite: bool) -> None:
    if place.exists() and place.samefile(source):
        raise ConvertError(f"{place} is the file that is converted, and it stays: choose another name with -o.")
    if place.exists() and not place.is_file():
        raise ConvertError(f"{place} is there and is no plain file: choose another name with -o.")
    if not overwrite:
        raise ConvertError(EXISTS.format(place))


def _check_folder(place: Path) -> None:
    """Raise ConvertError unless a file of this name can be made."""
    if not os.path.isdir(place.parent):
        raise ConvertError(f"There is no folder {place.parent}: create it first, or choose another with -o.")
    try:
        with tempfile.TemporaryFile(dir=place.parent):
            pass
    except OSError as error:
        raise ConvertError(
            f"{place.parent} is not writable ({error.strerror}): choose another folder with -o."
        ) from error
    try:
        os.lstat(place)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ConvertError(f"{place} cannot be written ({error.strerror}): choose another name with -o.") from error


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
        check_sound(opened.net, source)  # which names all that is wrong
        raise ConvertError(f"{source} cannot be merged. {error}") from error
    state = net.state_dict()
    if list(state) == list(opened.net.state_dict()):
        if opened.form == "deploy":
            return None
        raise ConvertError(
            f"{name} has no reparameterizable blocks, or they are merged already: there is nothing to convert; to "
            "change the format use --keep-form -o FILE."
        )
    check_sound(opened.net, source)
    found = form_with(opened.section, state)
    if found is None:
        raise ConvertError(f"No option file can build the deployed form of {name}: its blocks give other tensors.")
    untold = untold_by_files(found[1]) if opened.untold else ()  # an option file tells all that is not the default
    return Opened(net, dict(found[1]), "deploy", untold)


def _copy(opened: Opened, before: Side, state: Mapping[str, Tensor], output: _Output) -> Conversion:
    """Write the tensors as they are."""
    # In the network's order; a .safetensors file has one of its own.
    ordered = {key: state[key] for key in opened.net.state_dict()}
    write_state_dict(output.place, ordered, output.held, overwrite=output.overwrite)
    size = output.place.stat().st_size
    after = replace(before, path=str(output.place), size=size, wrapper=output.held)
    return _done(opened, before, opened, after)


def _write_compared(
    opened: Opened, before: Side, deployed: Opened, output: _Output, picture: Picture, tolerance: float
) -> Conversion:
    """Write the deployed network if what is read back gives the same images."""
    found = []

    def check(state: dict[str, Tensor]) -> None:
        written = deployed._replace(net=build(deployed.section))
        load_strictly(written.net, state, output.place)
        found.append(compare(opened.ours, written.ours, picture, tolerance))

    state = deployed.net.state_dict()
    write_state_dict(output.place, state, output.held, check, output.overwrite)
    after = _side(output.place, deployed, output.held, state)
    return _done(opened, before, deployed, after, picture, found[-1])


def _side(path: Path, opened: Opened, wrapper: str, state: Mapping[str, Tensor]) -> Side:
    net, size = opened.ours, path.stat().st_size
    dtypes = {str(value.dtype).removeprefix("torch.") for value in state.values() if value.is_floating_point()}
    shown = ", ".join(sorted(dtypes))
    return Side(str(path), size, wrapper, opened.form, len(state), count_parameters(net), _multi_adds(net), shown)


def _multi_adds(net: SRNetwork) -> int | None:
    # A KDSR teacher needs the HR image too, which its `example_input` brings.
    if not net.super_resolves and net.upscale <= 1:
        return None
    try:
        return count_multi_adds(net, *hd_lr_size(net.upscale))
    except Exception:
        # Networks of other packages raise anything, and the file is what was asked for.
        return None
