"""A training step in parts of its batch, whose gradients are averaged: less memory for the same step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn


def in_parts(model: Any, work: Callable[[], Mapping[str, Tensor]], names: Sequence[str]) -> dict[str, Tensor]:
    """Let ``work`` see one part of a model's batch after the other; return the means of the losses that it returns.

    Afterwards the batch is whole again, and ``model.output`` is that of all parts, without gradients.

    Args:
        model (Any): A training model; ``speed.parts`` is the number of parts.
        work (Callable): Adds the gradients of ``model``'s batch by ``model.speed.backward``; returns scalars by name.
        names (Sequence[str]): Attributes of ``model`` with a value for each image: tensors (N, ...), or dictionaries of
            them; those that it lacks do not matter.

    Raises:
        ValueError: If the parts cannot be of equal size.
    """
    count = model.speed.parts
    if count == 1:
        return dict(work())
    whole = {name: value for name in names if (value := getattr(model, name, None)) is not None}
    parts = {name: split(value, count) for name, value in whole.items()}
    vars(model).pop("output", None)
    statistics, found, outputs = Statistics(model), [], []
    for number in range(count):
        vars(model).update({name: each[number] for name, each in parts.items()})
        with nullcontext() if number == count - 1 else _within_this_process(model), statistics.of_part():
            found.append({name: loss.detach() for name, loss in work().items()})
        outputs.append(getattr(model, "output", None))
    vars(model).update(whole)
    if outputs[0] is not None:
        model.output = torch.cat([output.detach() for output in outputs])
    statistics.average()
    return {name: torch.stack([losses[name] for losses in found]).mean(0) for name in found[0]}


def split(value: Any, count: int) -> list[Any]:
    """Return the equal parts, in their order, of a tensor (N, ...) or of a dictionary of such tensors.

    Raises:
        ValueError: If N is no multiple of ``count``.
    """
    if isinstance(value, Mapping):
        split_up = {key: split(each, count) for key, each in value.items()}
        return [{key: each[number] for key, each in split_up.items()} for number in range(count)]
    if len(value) % count:
        raise ValueError(
            f"train.accumulate: {count} needs batches of a multiple of {count} images, got {len(value)}: change it, or "
            "datasets.train.batch_size_per_gpu."
        )
    return list(value.chunk(count))


class Statistics:
    """What forward passes change in networks, as batch normalization: each part starts from the same, the mean stays.

    So the averages over iterations are as long as for an undivided batch, and where the change does not depend on the
    images, as in spectral normalization, it is the same.

    Args:
        model (Any): A training model.
    """

    def __init__(self, model: Any) -> None:
        nets = [value for value in vars(model).values() if isinstance(value, nn.Module)]
        self.buffers = list({id(each): each for net in nets for each in net.buffers()}.values())
        self.before = [each.clone() for each in self.buffers]
        self.after: list[list[Tensor]] = []

    @contextmanager
    def of_part(self) -> Iterator[None]:
        """Run a part from the statistics of the start."""
        for buffer, before in zip(self.buffers, self.before, strict=True) if self.after else ():
            buffer.copy_(before)
        yield
        self.after.append([each.clone() for each in self.buffers])

    def average(self) -> None:
        """Set the statistics to the mean of the parts; counters advance once, and equal values keep their bits."""
        for buffer, *parts in zip(self.buffers, *self.after, strict=True):
            if buffer.is_floating_point():
                stacked = torch.stack(parts)
                equal = (stacked == stacked[0]).all(dim=0)
                buffer.copy_(torch.where(equal, stacked[0], stacked.mean(dim=0)))


@contextmanager
def _within_this_process(model: Any) -> Iterator[None]:
    """Keep distributed training from exchanging gradients, which the last part does for all."""
    with ExitStack() as stack:
        for net in vars(model).values():
            if isinstance(net, nn.parallel.DistributedDataParallel):
                stack.enter_context(net.no_sync())
        yield
