"""Memory of one forward pass: what was alive at the worst moment, and what the layers need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import accumulate
from math import inf
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

aten = torch.ops.aten


@dataclass(frozen=True)
class MemoryReport:
    """Memory of one forward pass beyond parameters, buffers and inputs.

    Attributes:
        peak (int): Most bytes of tensors alive at the same time.
        needed (int): The same, had every tensor been let go right after its last use, and had nothing been copied.
    """

    peak: int
    needed: int

    @property
    def ratio(self) -> float:
        """``peak / needed``: 1 if nothing is held too long or copied without need at the worst moment."""
        return self.peak / self.needed if self.needed else (inf if self.peak else 1.0)


def peak_memory(net: nn.Module, inputs: Sequence[Any]) -> MemoryReport:
    """Measure one forward pass of a copy of ``net``, in evaluation mode and without gradients.

    Only tensors count, not what a convolution takes for itself while it runs. Needed is the largest sum, over the
    operations in the order in which they ran, of the tensors between their creation and their last use. The output
    lives to the end, views share the memory of their tensor, operations in place need none, and a copy shares that of
    its source until one of the two is written to. Concatenation and padding are layers, not copies.

    Args:
        net (nn.Module): The network. Where it and its inputs are on ``meta``, nothing is computed.
        inputs (Sequence[Any]): Positional arguments of ``forward``, on the network's device: tensors, or lists of them.

    Raises:
        RuntimeError: If torch is older than 2.0.
    """
    if not hasattr(Tensor, "untyped_storage"):
        raise RuntimeError(
            f"Tracing memory needs torch 2.0 or newer, got torch {torch.__version__}: pip install -U torch torchvision"
        )
    traced = deepcopy(net).eval()
    with torch.no_grad(), _Trace() as trace:
        output = traced(*inputs)
    return MemoryReport(trace.peak, trace.needed(output))


@dataclass(eq=False)
class _Storage:
    """Memory of a tensor and its views: bytes, steps of creation and last use, and the storage that it is a copy of."""

    size: int
    created: int
    last_use: int
    source: _Storage | None = None

    def origin(self) -> _Storage:
        return self if self.source is None else self.source.origin()


class _Trace(TorchDispatchMode):
    """Sees the operations of a pass, one step each."""

    def __init__(self) -> None:
        super().__init__()
        self.step, self.peak = 0, 0
        self.made: list[_Storage] = []
        # Its weak references keep an address from being used again while the entry is there.
        self.alive: dict[int, tuple[StorageWeakRef, _Storage]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        self.step += 1
        given = {_reference(tensor).cdata for tensor in _tensors((args, kwargs))}
        self.use(given)
        output = func(*args, **kwargs)
        for tensor in _tensors(output):
            reference = _reference(tensor)
            if reference.cdata not in given and reference.cdata not in self.alive:
                self.made.append(_Storage(tensor.untyped_storage().nbytes(), self.step, self.step))
                self.alive[reference.cdata] = (reference, self.made[-1])
        self.note_writes(func, args, kwargs)
        if (source := _copied(func, args, output)) is not None:
            self.note_copy(source, output)
        self.alive = {address: entry for address, entry in self.alive.items() if not entry[0].expired()}
        self.peak = max(self.peak, sum(storage.size for _, storage in self.alive.values()))
        return output

    def use(self, addresses: Iterable[int]) -> list[_Storage]:
        """Return the storages at these addresses that the pass has made, and note that this step uses them."""
        found = [self.alive[address][1] for address in addresses if address in self.alive]
        for storage in found:
            storage.last_use = self.step
        return found

    def note_writes(self, func: Any, args: tuple, kwargs: dict) -> None:
        """Part storages that are written to from their sources and from their copies."""
        values = {argument.name: value for argument, value in zip(func._schema.arguments, args, strict=False)} | kwargs
        written = [
            storage
            for argument in func._schema.arguments
            if argument.alias_info is not None and argument.alias_info.is_write
            for storage in self.use(_reference(tensor).cdata for tensor in _tensors(values.get(argument.name)))
        ]
        for _, storage in self.alive.values() if written else ():
            if storage in written or storage.source in written:
                storage.source = None

    def note_copy(self, source: Tensor, copy: Tensor) -> None:
        """Let ``copy`` share the memory of ``source``."""
        # What the pass has not made, such as a parameter, is there anyway.
        found = self.use([_reference(source).cdata]) or [_Storage(0, self.step, self.step)]
        for storage in self.use([_reference(copy).cdata]):
            storage.source = found[0] if found[0].origin() is not storage else None

    def needed(self, output: Any) -> int:
        """Return the largest sum of storages between creation and last use, in bytes."""
        self.use(_reference(tensor).cdata for tensor in _tensors(output))
        ends: dict[_Storage, int] = {}
        for storage in self.made:
            origin = storage.origin()
            ends[origin] = max(ends.get(origin, 0), storage.last_use)
        changes = [0] * (self.step + 2)
        for storage, end in ends.items():
            changes[storage.created] += storage.size
            changes[end + 1] -= storage.size
        return max(accumulate(changes))


def _copied(func: Any, args: tuple, output: Any) -> Tensor | None:
    """Return the tensor of which ``output`` holds nothing but a copy, if so."""
    if func.overloadpacket is aten.copy_:
        whole = output.numel() * output.element_size() == output.untyped_storage().nbytes()
        return args[1] if whole and args[1].dtype == output.dtype else None
    same = func.overloadpacket in (aten.clone, aten._to_copy) and args[0].dtype == output.dtype
    return args[0] if same and args[0].device == output.device else None


def _reference(tensor: Tensor) -> StorageWeakRef:
    return StorageWeakRef(tensor.untyped_storage())


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_flatten(values)[0] if isinstance(value, Tensor)]
