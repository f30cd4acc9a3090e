"""Validation in a distributed run: each process takes a share of the images, and all know the values of the set."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import reduce
from itertools import zip_longest
from typing import Any

from lightsr_basicsr._fixes.detect import uses
from lightsr_basicsr._fixes.validation import NOW
from lightsr_basicsr.errors import OtherProcessError, short_message

NOTHING = object()


class Values:
    """The values of a metric, one per image. Adding keeps one more; dividing gives their mean, of whatever number.

    >>> (Values([30.0]) + 20.0) / 1
    25.0
    """

    def __init__(self, values: Iterable[float] = ()) -> None:
        self.values = [*values]

    def __add__(self, value: float) -> Values:
        self.values.append(value)
        return self

    def __truediv__(self, images: int) -> float:
        # One by one, as BasicSR's loop adds them; sum() rounds otherwise.
        return reduce(operator.add, self.values, 0) / len(self.values)


class Share:
    """Every n-th image of a validation set; at their end the values of all n processes are put together.

    Args:
        loader (DataLoader): The loader of the whole set.
        model (SRModel): The model that validates, with ``rank`` and ``world_size`` in its options.
    """

    def __init__(self, loader: Any, model: Any) -> None:
        import torch
        from torch.utils.data import DataLoader

        self.loader, self.model, self.met = loader, model, False
        self.rank, self.processes = model.opt["rank"], model.opt["world_size"]
        self.places = range(self.rank, len(loader.dataset), self.processes)
        # A generator of its own: that of the training should not depend on the number of processes.
        kept = {"pin_memory": loader.pin_memory, "generator": torch.Generator()}
        self.own = DataLoader(loader.dataset, sampler=self.places, **kept)

    def __len__(self) -> int:
        return len(self.places)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def __iter__(self) -> Iterator[Any]:
        self.model.metric_results = {metric: Values() for metric in vars(self.model).get("metric_results", ())}
        batches = iter(self.own)
        for NOW.place in self.places:
            yield next(batches)
        self.meet()

    def meet(self, error: Exception | None = None) -> None:
        """Put the values of all processes together, in the order of the set; let the first one log all warnings.

        Raises:
            OtherProcessError: If another process reports an error.
        """
        from basicsr.utils import get_root_logger
        from torch import distributed

        self.met = True
        lists = {name: each.values for name, each in self._values().items()}
        lists |= {name: vars(self.model).get(name, []) for name in self._per_image()}
        gathered: list[Any] = [None] * self.processes
        distributed.all_gather_object(gathered, (lists, NOW.warnings, error and short_message(error)))
        parts, warnings, errors = zip(*gathered, strict=True)
        if self.rank == 0:
            for _, text in sorted(each for some in warnings for each in some):
                get_root_logger().warning(text)
        if any(errors) and error is None:
            raise OtherProcessError(" ".join(f"{text.rstrip('.')}." for text in dict.fromkeys(filter(None, errors))))
        for name, each in self._values().items():
            each.values = in_order(parts, name)
        vars(self.model).update({name: in_order(parts, name) for name in self._per_image()})

    def _values(self) -> dict[str, Values]:
        found = vars(self.model).get("metric_results", {})
        return {name: each for name, each in found.items() if isinstance(each, Values)}

    def _per_image(self) -> tuple[str, ...]:
        return getattr(self.model, "per_image", ())


def in_order(parts: Iterable[dict[str, list]], name: str) -> list:
    """Return the values under ``name`` in the order of the set: of each process the first, then the second, ...

    >>> in_order([{"psnr": [1, 3]}, {"psnr": [2]}], "psnr")
    [1, 2, 3]
    """
    turns = zip_longest(*(part.get(name, []) for part in parts), fillvalue=NOTHING)
    return [each for turn in turns for each in turn if each is not NOTHING]


def validation_on_all_processes() -> bool:
    """Let each process of a distributed run validate a share of the images; means and records are those of one.

    Why: the first process validates alone, and the others wait, with NCCL ten minutes at most; a network with buffers
    would wait for them in each forward pass. Since: always. Until: BasicSR's SRModel shares the images.
    """
    from basicsr.models.sr_model import SRModel

    if not uses(SRModel.dist_validation, "nondist_validation", "opt"):
        return False
    alone = SRModel.dist_validation

    def dist_validation(self: Any, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool) -> None:
        with _bare_networks(self) as networks:
            if not _adds_values(type(self)):
                return alone(self, dataloader, current_iter, tb_logger, save_img)
            _share_statistics(networks)
            with _no_second_bar(self):
                _validate(self, Share(dataloader, self), current_iter, tb_logger, save_img)

    SRModel.dist_validation = dist_validation
    return True


def _validate(model: Any, share: Share, *args: Any) -> None:
    NOW.warnings = []
    try:
        if len(share):
            model.nondist_validation(share, *args)
        else:
            share.meet()
    except Exception as error:
        if not share.met:
            share.meet(error)  # the others wait there
        raise
    finally:
        NOW.warnings = None


def _adds_values(model: type) -> bool:
    """Return whether the validation of ``model`` is that of SRModel, or adds values as that does."""
    for each in model.__mro__:
        method = vars(each).get("nondist_validation")
        if method and not uses(method, "super", "nondist_validation"):
            return uses(method, "metric_results", "enumerate")
    return False


@contextmanager
def _bare_networks(model: Any) -> Iterator[list[Any]]:
    """Take the wrappers off the networks, since processes may have different numbers of images; yield the networks."""
    from torch import nn
    from torch.nn.parallel import DistributedDataParallel

    wrapped = {name: net for name, net in vars(model).items() if isinstance(net, DistributedDataParallel)}
    vars(model).update({name: net.module for name, net in wrapped.items()})
    try:
        yield [net for name, net in vars(model).items() if name.startswith("net_") and isinstance(net, nn.Module)]
    finally:
        vars(model).update(wrapped)


def _share_statistics(networks: list[Any]) -> None:
    """Give all processes the statistics of the first one, which are saved; others saw other batches."""
    from torch import distributed

    for buffer in (each for net in networks for each in net.buffers() if each.is_floating_point()):
        values = buffer.contiguous()
        distributed.broadcast(values, 0)
        buffer.copy_(values)


@contextmanager
def _no_second_bar(model: Any) -> Iterator[None]:
    whole = model.opt
    if whole["rank"]:
        model.opt = {**whole, "val": {**whole["val"], "pbar": False}}
    try:
        yield
    finally:
        model.opt = whole
