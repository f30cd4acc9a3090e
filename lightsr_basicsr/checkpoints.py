"""The one door for checkpoints: read a file, unwrap it, load it strictly with an error that lists the difference."""

from __future__ import annotations

import io
import os
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightsr_basicsr.errors import UserError

WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "model", "net")
WRAPPING_PREFIXES = re.compile(r"^((module|_orig_mod)\.)+")  # of data-parallel and of compiled modules
SUFFIXES = (".pth", ".pt", ".safetensors")
LISTED_KEYS = 8
THERE_ALREADY = "{} is there already: replace it with --overwrite, or choose another name with -o."
# What stands in the place of a checkpoint when a download went wrong.
STARTS = {
    b"<": "a web page",
    b"version https://git-lfs": "a Git LFS pointer and not the file itself (git lfs pull)",
    b"\x89PNG": "a picture",
}


class CheckpointError(UserError):
    """A file that cannot be read as weights, or does not fit the network. The message says what to do."""


def read_state_dict(path: str | PathLike, prefer: str | None = None) -> tuple[dict[str, Tensor], str]:
    """Read the weights of one network from a ``.pth``, ``.pt`` or ``.safetensors`` file.

    Args:
        path (str | PathLike): The file. Pickles are read with ``weights_only``, so nothing in them is executed.
        prefer (str | None): Wrapper to look for first, for example ``'params'``. After it come those in
            ``WRAPPERS`` and the bare dictionary. Default: None.

    Returns:
        tuple: Tensors on the CPU by key, without a leading ``module.`` or ``_orig_mod.``; and the wrapper's name,
            ``'bare'`` for none. A list of state dicts, as DRN's dual networks are published, is one with the position
            in the list in front of each key.

    Raises:
        CheckpointError: If the file is missing, unreadable, or holds no tensors by name.
    """
    return unwrap(_read(Path(path)), str(path), prefer)


def unwrap(content: Mapping[str, Any], source: str, prefer: str | None = None) -> tuple[dict[str, Tensor], str]:
    """Return the tensors inside what a file or a program holds, and the wrapper's name, as :func:`read_state_dict`.

    Raises:
        CheckpointError: If there are no tensors by name.
    """
    order = WRAPPERS if prefer is None else (prefer, *WRAPPERS)
    wrapper = next((name for name in order if isinstance(content.get(name), Mapping)), "bare")
    state = content if wrapper == "bare" else content[wrapper]
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(
            f"{source} holds no weights: expected tensors by name, bare or under one of {', '.join(WRAPPERS)}; "
            f"got {_kinds(state)}. Is it a training state (.state) or another program's file?"
        )
    dense = ((key, value.to_dense() if value.is_sparse else value) for key, value in state.items())
    return {WRAPPING_PREFIXES.sub("", str(key)): value for key, value in dense}, wrapper


def _read(path: Path) -> Mapping[str, Any]:
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; expected a checkpoint file.")
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint at {path} (looked from {Path.cwd()}).")
    try:
        content = _read_safetensors(path) if _is_safetensors(path) else _read_pickle(path)
    except CheckpointError:
        raise
    except Exception as error:
        # The readers raise a dozen unrelated types for a damaged file; all of them mean the same to the user.
        raise CheckpointError(
            f"{path} ({path.stat().st_size:,} bytes) cannot be read as a checkpoint: it is {_describe_start(path)}, or "
            f"damaged ({type(error).__name__}). If it was copied or downloaded, check its size and get it again."
        ) from error
    if isinstance(content, list) and content and all(isinstance(entry, Mapping) for entry in content):
        return {f"{index}.{key}": value for index, entry in enumerate(content) for key, value in entry.items()}
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}; expected a dictionary of tensors.")
    return content


def _read_pickle(path: Path) -> Any:
    if _is_torchscript(path):
        raise CheckpointError(
            f"{path} is a TorchScript archive, a program and not weights. "
            "Save the weights where it was made, with torch.save(net.state_dict(), path)."
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not re.search("[Uu]nsupported (global|class)", str(error)):
            raise
        raise CheckpointError(
            f"{path} holds Python objects beside its tensors, and running code from a weights file is not safe. "
            "Save it again where it was made, with torch.save(net.state_dict(), path)."
        ) from error


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(9)
    # What is in it counts more than its name.
    return start[8:] == b"{" or (path.suffix.lower() == ".safetensors" and not start.startswith(b"PK"))


def _describe_start(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(64).lstrip()
    if not start:
        return "empty"
    found = (text for mark, text in STARTS.items() if start.startswith(mark))
    return next(found, "not a checkpoint (.pth, .pt or .safetensors)")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise CheckpointError(f"Reading {path} needs the package safetensors: pip install safetensors") from error
    return load_file(path)


def _kinds(content: Any) -> str:
    if not isinstance(content, Mapping):
        return type(content).__name__
    # What is no tensor is what keeps the others from being weights.
    entries = sorted(content.items(), key=lambda entry: isinstance(entry[1], Tensor))
    names = [f"'{key}' ({type(value).__name__})" for key, value in entries[:LISTED_KEYS]]
    return ", ".join(names) or "an empty dictionary"


def write_state_dict(
    path: str | PathLike,
    state: Mapping[str, Tensor],
    wrapper: str = "params",
    check: Callable[[dict[str, Tensor]], None] | None = None,
    overwrite: bool = True,
) -> None:
    """Write the weights of one network, so that the file is whole and holds them, or is what it was before.

    Its content is read back and compared tensor by tensor in memory, written beside its place, and then moved.

    Args:
        path (str | PathLike): The file. ``.safetensors`` decides for that format, any other suffix for a pickle.
        state (Mapping): Tensors by key.
        wrapper (str): Key under which a pickle holds them; ``'bare'`` for none, ``'list'`` for a list of state dicts,
            by the number that each key begins with. A ``.safetensors`` file is always bare. Default: ``'params'``.
        check (Callable | None): Called with the tensors that were read back, before anything is on the disk; what it
            raises leaves everything as it was. Default: None.
        overwrite (bool): Whether a file that is there is replaced, behind a symbolic link too. Default: True.

    Raises:
        CheckpointError: If it cannot be written, another content is read back, or there is a file by now.
    """
    path = Path(path)
    tensors = {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in state.items()}
    content = _encode(path, tensors, wrapper)
    if not _same_tensors(tensors, read_back := _decode(path, content, wrapper)):
        raise CheckpointError(f"{path} was not written: what was read back is not what was written. Please report it.")
    if check is not None:
        check(read_back)
    place = Path(os.path.realpath(path)) if overwrite else path
    part = place.with_name(f".{place.name[:40]}.{os.getpid()}.part")  # a name may be 255 bytes long
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _publish(part, place, overwrite)
    except OSError as error:
        raise CheckpointError(f"{path} was not written: {error.strerror or error}.") from error
    finally:
        part.unlink(missing_ok=True)


def _publish(part: Path, place: Path, overwrite: bool) -> None:
    """Give a file that is whole its name."""
    try:
        (os.replace if overwrite else os.link)(part, place)
    except (OSError, NotImplementedError) as error:
        if overwrite:
            raise
        if os.path.lexists(place):
            raise CheckpointError(THERE_ALREADY.format(place)) from error
        os.replace(part, place)  # FAT and some network folders know no links


def _encode(path: Path, state: dict[str, Tensor], wrapper: str) -> bytes:
    if path.suffix.lower() == ".safetensors":
        try:
            from safetensors.torch import save
        except ImportError as error:
            raise CheckpointError(f"Writing {path} needs the package safetensors: pip install safetensors") from error
        return save(state, {"format": "pt"})
    wrapped = {"bare": lambda: state, "list": lambda: split_list(state)}.get(wrapper, lambda: {wrapper: state})
    buffer = io.BytesIO()  # torch's own file writer may end the process on a full disk
    torch.save(wrapped(), buffer)
    return buffer.getvalue()


def _decode(path: Path, content: bytes, wrapper: str) -> dict[str, Tensor]:
    """Return what :func:`read_state_dict` would of a file with this content."""
    if path.suffix.lower() == ".safetensors":
        from safetensors.torch import load

        return load(content)
    held = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    if isinstance(held, list):
        held = {f"{index}.{key}": value for index, entry in enumerate(held) for key, value in entry.items()}
    return unwrap(held, str(path), wrapper)[0]


def split_list(state: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Return the list of state dicts whose positions :func:`read_state_dict` put in front of the keys.

    Raises:
        CheckpointError: If the keys do not begin with ``0.``, ``1.`` and so on.
    """
    entries: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        position, _, rest = key.partition(".")
        entries.setdefault(position, {})[rest] = value
    positions = [str(index) for index in range(len(entries))]
    if set(entries) != set(positions) or any("" in entry for entry in entries.values()):
        raise CheckpointError(
            f"Only keys that begin with a position, as in '0.weight', can be held as a list; got '{next(iter(state))}'."
        )
    return [entries[position] for position in positions]


def _same_tensors(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        value.dtype == other[key].dtype
        and value.shape == other[key].shape
        and bool(((value == other[key]) | ((value != value) & (other[key] != other[key]))).all())
        for key, value in one.items()
    )


def describe_difference(net: nn.Module, state: Mapping[str, Tensor]) -> str:
    """Return a readable list of missing, unexpected and mis-shaped keys of ``state`` for ``net``; '' if it fits."""
    own = net.state_dict()
    missing = [key for key in own if key not in state]
    unexpected = [key for key in state if key not in own]
    shapes = [
        f"{key} {tuple(state[key].shape)}, expected {tuple(own[key].shape)}"
        for key in own
        if key in state and own[key].shape != state[key].shape
    ]
    parts = (("missing in the file", missing), ("not in the network", unexpected), ("of another shape", shapes))
    return "".join(_list_keys(title, keys) for title, keys in parts if keys)


def _list_keys(title: str, keys: list[str]) -> str:
    lines = keys[:LISTED_KEYS] + ([f"... and {len(keys) - LISTED_KEYS} more"] if len(keys) > LISTED_KEYS else [])
    return "".join(f"\n    {line}" for line in (f"{len(keys)} {title}:", *(f"  {key}" for key in lines)))


def describe_misfit(net: nn.Module, state: Mapping[str, Tensor], source: str | PathLike, strict: bool = True) -> str:
    """Return why ``state`` does not fit ``net`` and what it holds instead; '' if it fits.

    With ``strict`` False it fits if one of its tensors does.
    """
    if not strict:
        fits = count_fitting(net, state)
        return "" if fits else f"no tensor of {source} fits {type(net).__name__}: another network's file?"
    difference = describe_difference(net, state)
    if not difference:
        return ""
    from lightsr_basicsr.identification import UnknownNetworkError, load_identified  # which reads through this module

    misfit = f"{source} does not fit {type(net).__name__}"
    if _is_deployed_form_of(net, state):
        return (
            f"{misfit}: it holds this network in its deployed form, and the training form is wanted, which cannot be "
            "had back from it. Take the training form's file; for tests set `deploy: true`, or `type: Deployed`."
        )
    if not hasattr(net, "arguments_from"):  # another package's network, of whose files we know nothing
        return f"{misfit}:{difference}"
    try:
        identity, held = load_identified(state, str(source))
    except UnknownNetworkError as error:
        return f"{misfit}: {str(error).partition(': ')[2]}{difference}"
    except CheckpointError:
        return f"{misfit}:{difference}"
    # Lists of keys only tell what differs within one network.
    listed = difference if identity.network == type(net).__name__ else ""
    if _is_deployed_form_of(held, net.state_dict()):
        return f"{misfit}: it holds {identity}, and its deployed form is wanted: basicsr convert {source}"
    return f"{misfit}: it holds {identity}.{listed}"


def _is_deployed_form_of(net: nn.Module, state: Mapping[str, Tensor]) -> bool:
    from lightsr_basicsr.archs.reparam import deploy  # networks' own module, which comes after this one

    try:
        return not describe_difference(deploy(net), state)
    except Exception:
        # Of other packages' networks anything can be raised, and then this is not the reason.
        return False


def load_strictly(net: nn.Module, state: Mapping[str, Tensor], source: str | PathLike = "the checkpoint") -> None:
    """Load ``state`` into ``net``; every key and shape must fit.

    Raises:
        CheckpointError: With the missing, unexpected and mis-shaped keys, and what the file holds instead.
    """
    misfit = describe_misfit(net, state, source)
    if misfit:
        raise CheckpointError(misfit)
    net.load_state_dict(state)


def load_fitting(net: nn.Module, state: Mapping[str, Tensor], source: str | PathLike = "the checkpoint") -> None:
    """Load the tensors of ``state`` that have the name and shape of one in ``net``; leave the rest of it as it is.

    Raises:
        CheckpointError: If none fits.
    """
    if not count_fitting(net, state):
        raise CheckpointError(f"No tensor of {source} fits {type(net).__name__}: another network's file?")
    own = net.state_dict()
    fitting = {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
    net.load_state_dict(fitting, strict=False)


def count_fitting(net: nn.Module, state: Mapping[str, Tensor]) -> int:
    """Return how many tensors of ``state`` have the name and shape of one in ``net``."""
    own = net.state_dict()
    return sum(key in own and own[key].shape == value.shape for key, value in state.items())
