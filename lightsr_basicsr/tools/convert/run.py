"""Convert a checkpoint from the training form to the deployed form, or to another file format."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from lightsr_basicsr.archs.network import SRNetwork
from lightsr_basicsr.archs.reparam import deploy
from lightsr_basicsr.checkpoints import SUFFIXES, split_list, write_state_dict
from lightsr_basicsr.checkpoints.misfit import load_weights
from lightsr_basicsr.tools.agreement import Difference, check_tolerance, compare
from lightsr_basicsr.tools.complexity import count_multi_adds, count_parameters, hd_lr_size
from lightsr_basicsr.tools.convert.sound import ConvertError, check_sound
from lightsr_basicsr.tools.files import check_target, plain_path
from lightsr_basicsr.tools.networks import (
    Opened,
    build,
    form_with,
    inner_of,
    open_checkpoint,
    unrecoverable_arguments,
)
from lightsr_basicsr.tools.photographs import LRImage, lr_image
from lightsr_basicsr.weights.find import find_weights
from lightsr_basicsr.weights.folder import folder_beside

HELD_AS = ("params", "params_ema", "bare", "state_dict", "list")
TOLERANCE = 1e-4  # of the output's range; float32 rounding of most networks is below 1e-5


@dataclass(frozen=True)
class Side:
    """The file before or after a conversion."""

    path: str
    size: int  # in bytes
    wrapper: str  # key under which the tensors are, 'bare' for none, 'list' for a list of state dicts
    form: str  # 'train', 'pruned' or 'deploy'
    tensors: int
    parameters: int  # of the network
    multi_adds: int | None  # for an output of 1280x720; None where they cannot be counted
    dtype: str  # of the file's floating-point tensors; 'float32' for most


@dataclass(frozen=True)
class Conversion:
    """Result of a conversion."""

    network: str  # registered name of the network in the source
    scale: float  # output side over input side; 0 if unknown, for a network of another package
    before: Side  # the source; its `wrapper` is that of the weights used
    after: Side | None  # the new file; None where the source is deployed already and nothing else was asked for
    section: dict[str, Any]  # section `network_g` of an option file for the new file
    unrecoverable: tuple[str, ...] = ()  # its arguments that no checkpoint holds, and that are missing in it
    picture: str | None = None  # the image that the two networks were compared on; None where tensors were compared
    lr_size: tuple[int, int] | None = None  # height and width of the image
    difference: float | None = None  # largest difference of the outputs in [0, 1]
    # The same in float32 where the network's own rounding exceeds the tolerance, so that `difference` is in float64.
    in_float32: float | None = None
    inner: str | None = None  # for `Reparameterized` and `Deployed`, the network inside
    block: str | None = None  # for `Reparameterized`, its block


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
    """Write the deployed form of a checkpoint, after comparing the images of both forms.

    For a checkpoint that is deployed already, write a copy if a target, weights or a wrapper is given, else nothing.

    Args:
        source (str | PathLike): ``.pth``, ``.pt`` or ``.safetensors``, or the name of an official file in the cache.
        target (str | PathLike | None): The new file or its folder; the suffix decides the format. None is the
            source's name with ``_deploy``. Default: None.
        network (Mapping | None): Section of an option file, for networks that their tensors do not identify.
        weights (str | None): ``'ema'`` or ``'raw'``; None takes EMA weights if there are any. Default: None.
        keep_form (bool): Whether to keep branches and change only the format; tensors are compared then.
        wrapper (str | None): One of ``HELD_AS``; None is ``'params'``. A ``.safetensors`` file is always bare.
        picture (str | PathLike | None): LR image to compare on; None is a test image of scikit-image.
        tolerance (float): Largest allowed difference of the outputs in [0, 1]. Default: 1e-4.
        overwrite (bool): Whether to replace an existing target, also behind a symbolic link. Default: False.

    Raises:
        UserError: If a file or an argument is wrong, or the outputs differ. No file is written or changed then.
    """
    source = find_weights(plain_path(source))
    check_tolerance(tolerance)
    opened, state, taken = open_checkpoint(source, weights, network)
    deployed = None if keep_form else _merge(opened, source)
    if not keep_form and deployed is None and target is weights is wrapper is None:
        return _unwritten(opened, opened, _side(source, opened, taken, state))
    place = _choose_target(source, target, keep_form, deployed is None)
    check_target(place, source, overwrite)
    wrapper = _check_wrapper(place, wrapper, state)
    shown = None if deployed is None else lr_image(picture and plain_path(picture), opened.ours.upscale)
    done = _unwritten(opened, deployed or opened, _side(source, opened, taken, state))
    write = partial(write_state_dict, place, wrapper=wrapper, overwrite=overwrite)
    if deployed is None:
        # In the network's order; a .safetensors file has another.
        write({key: state[key] for key in opened.net.state_dict()})
        return replace(done, after=replace(done.before, path=str(place), size=place.stat().st_size, wrapper=wrapper))
    found = _write_compared(write, opened, deployed, shown, tolerance)
    after = _side(place, deployed, wrapper, deployed.net.state_dict())
    return replace(done, after=after, picture=shown.name, lr_size=shown.image.shape[:2], **found._asdict())


def _choose_target(source: Path, target: str | PathLike | None, keep_form: bool, same_form: bool) -> Path:
    """Return the file to write; ``same_form`` is whether it has the form of the source."""
    if target is None and keep_form:
        raise ConvertError("To keep the form and change the format, name the file to write: -o FILE.")
    suffixed = source.suffix.lower() in SUFFIXES
    stem, suffix = (source.stem, source.suffix) if suffixed else (source.name, SUFFIXES[0])
    name = f"{stem}{'' if same_form and target is not None else '_deploy'}{suffix}"
    place = folder_beside(source) / name if target is None else plain_path(target)
    place = place / name if os.path.isdir(place) or str(target).endswith(os.sep) else place
    if place.suffix.lower() not in SUFFIXES:
        raise ConvertError(f"The name of {place} decides the format: it must end in {', '.join(SUFFIXES)}.")
    return place


def _check_wrapper(place: Path, wrapper: str | None, state: Mapping[str, Tensor]) -> str:
    """Return how the new file holds the tensors."""
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
    """Return the deployed network, None if it is deployed already."""
    name = opened.section["type"]
    try:
        net = deploy(opened.net)
    except ValueError as error:
        check_sound(opened.net, source)  # lists everything that is wrong
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
        raise ConvertError(f"No option file can build the deployed form of {name}: its blocks have other tensors.")
    # An option file holds every argument that is not the default.
    missing = unrecoverable_arguments(found[1]) if opened.unrecoverable else ()
    return Opened(net, dict(found[1]), "deploy", missing)


def _write_compared(
    write: Callable[..., None], opened: Opened, deployed: Opened, shown: LRImage, tolerance: float
) -> Difference:
    """Write the deployed network if a network with the tensors read back gives the same images."""
    found = []

    def check(state: dict[str, Tensor]) -> None:
        written = deployed._replace(net=build(deployed.section))
        load_weights(written.net, state)
        found.append(compare(opened.ours, written.ours, shown, tolerance))

    write(deployed.net.state_dict(), check=check)
    return found[-1]


def _side(path: Path, opened: Opened, wrapper: str, state: Mapping[str, Tensor]) -> Side:
    net, size = opened.ours, path.stat().st_size
    dtypes = {str(value.dtype).removeprefix("torch.") for value in state.values() if value.is_floating_point()}
    names = ", ".join(sorted(dtypes))
    return Side(str(path), size, wrapper, opened.form, len(state), count_parameters(net), _multi_adds(net), names)


def _multi_adds(net: SRNetwork) -> int | None:
    # A KDSR teacher also needs the HR image, which its `example_input` contains.
    if not net.super_resolves and net.upscale <= 1:
        return None
    try:
        return count_multi_adds(net, *hd_lr_size(net.upscale))
    except Exception:
        # Networks of other packages raise exceptions of any type, and the file matters more than its cost.
        return None


def _unwritten(opened: Opened, result: Opened, before: Side) -> Conversion:
    return Conversion(
        network=opened.section["type"],
        scale=opened.ours.upscale,
        before=before,
        after=None,
        section=result.section,
        unrecoverable=result.unrecoverable,
        **inner_of(opened.section),
    )
