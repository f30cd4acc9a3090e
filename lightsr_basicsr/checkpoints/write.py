"""Write the weights of one network: compared and complete, or not at all."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from lightsr_basicsr.checkpoints.files import CheckpointError, require_safetensors, unwrap
from lightsr_basicsr.checkpoints.whole import write_whole


def write_state_dict(
    path: str | PathLike,
    state: Mapping[str, Tensor],
    wrapper: str = "params",
    check: Callable[[dict[str, Tensor]], None] | None = None,
    overwrite: bool = True,
) -> None:
    """Write the weights of one network; if that fails, an existing file is left unchanged.

    The content is read back and compared in memory, and then written by :func:`write_whole`.

    Args:
        path (str | PathLike): The file. ``.safetensors`` decides for that format, any other suffix for a pickle.
        state (Mapping): Tensors by key.
        wrapper (str): Key under which a pickle holds them; ``'bare'`` for none, ``'list'`` for a list of state dicts,
            by the number that each key begins with. A ``.safetensors`` file is always bare. Default: ``'params'``.
        check (Callable | None): Called with the tensors that were read back, before anything is on the disk; if it
            raises, nothing is written. Default: None.
        overwrite (bool): Whether to overwrite an existing file, or the target of a symbolic link. Default: True.

    Raises:
        CheckpointError: If it cannot be written, the content read back differs, or ``path`` exists and may not be
            overwritten.
    """
    path = Path(path)
    tensors = {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in state.items()}
    content = _encode(path, tensors, wrapper)
    if not _same_tensors(tensors, read_back := _decode(path, content, wrapper)):
        raise CheckpointError(f"{path} was not written: what was read back is not what was written. Please report it.")
    if check is not None:
        check(read_back)
    write_whole(path, content, overwrite)


def _encode(path: Path, state: dict[str, Tensor], wrapper: str) -> bytes:
    if path.suffix.lower() == ".safetensors":
        return require_safetensors(path).save(state, {"format": "pt"})
    wrapped = {"bare": lambda: state, "list": lambda: split_list(state)}.get(wrapper, lambda: {wrapper: state})
    buffer = io.BytesIO()  # torch's own file writer may end the process on a full disk
    torch.save(wrapped(), buffer)
    return buffer.getvalue()


def _decode(path: Path, content: bytes, wrapper: str) -> dict[str, Tensor]:
    """Return the tensors that :func:`read_state_dict` would return for a file with this content."""
    if path.suffix.lower() == ".safetensors":
        return require_safetensors(path).load(content)
    return unwrap(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True), str(path), wrapper)[0]


def split_list(state: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Return the list of state dicts whose positions :func:`read_state_dict` put in front of the keys.

    >>> split_list({"0.weight": 1.5, "0.bias": 0.0, "1.weight": 2.5})
    [{'weight': 1.5, 'bias': 0.0}, {'weight': 2.5}]

    Raises:
        CheckpointError: If the keys do not start with ``0.``, ``1.`` and so on.
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
        and torch.allclose(value, other[key], rtol=0, atol=0, equal_nan=True)
        for key, value in one.items()
    )
