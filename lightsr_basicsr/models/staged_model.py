"""A run of several stages, each with a training model of its own, in one experiment."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, ClassVar

import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from torch.utils.data import DataLoader

from lightsr_basicsr.models.best_metrics import restore_best_metrics
from lightsr_basicsr.models.contract import ModelContract


class StagedModel:
    """Begins one stage after the other; subclasses say which, and how their models are built.

    Iterations are numbered across the stages, and schedules count those of their stage. A stage is built under a seed
    of its own, so that a run that is resumed before, at or after a hand-over ends with the same weights. Names of
    losses and validation sets are logged with the stage as prefix.

    Args:
        opt (dict): Options of the run.
    """

    contract: ClassVar[type[ModelContract]] = ModelContract
    title = ""  # of the run, in the log

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt, self.ends = opt, self.find_ends(opt)
        self.iteration = self.saved = 0
        # A resumed run builds its stage in resume_training.
        if not opt["is_train"] or not opt["path"].get("resume_state"):
            self._begin(next(iter(self.ends)))

    def find_ends(self, opt: dict[str, Any]) -> dict[str, int]:
        """Return the last iteration of each stage of the run, in their order, by its name."""
        raise NotImplementedError

    def build_stage(self, stage: str, resumed: int | None) -> SRModel:
        """Return the model of a stage, ``resumed`` at an iteration or from its start."""
        raise NotImplementedError

    def close_stage(self) -> None:
        """Keep what the next stage needs, in the first process."""

    def seed_of(self, stage: str) -> int:
        """Return what is added to the seed for the initial weights of a stage."""
        return list(self.ends).index(stage)

    def _begin(self, stage: str, resumed: int | None = None) -> None:
        """Build the model of a stage; its initial weights depend on the seed and the stage only."""
        self.stage = stage
        self.start = [0, *self.ends.values()][list(self.ends).index(stage)]
        get_root_logger().info(f"{self.title}: the {stage}.")
        with torch.random.fork_rng(devices=[]):
            # Networks are built on the CPU; torch.manual_seed would also seed all GPUs.
            torch.default_generator.manual_seed(self.opt["manual_seed"] + self.seed_of(stage))
            self.model = self.build_stage(stage, resumed)
        self.model.stage = f"{stage}_" if self.opt["is_train"] else ""

    @property
    def handover(self) -> int | None:
        """The last iteration of the stage, None for the last stage."""
        return None if self.stage == list(self.ends)[-1] else self.ends[self.stage]

    def stage_of(self, iteration: int) -> str:
        """Return the stage in which an iteration is."""
        return next((stage for stage, end in self.ends.items() if iteration <= end), list(self.ends)[-1])

    def resume_training(self, resume_state: dict) -> None:
        """Build the stage of the state and restore it."""
        self.iteration = self.saved = resume_state["iter"]
        self._begin(self.stage_of(self.iteration), self.iteration)
        own = {"iter": self.iteration - self.start, "iter_of_run": self.iteration}
        self.model.resume_training({**resume_state, **own})
        self.model.best_metric_results = restore_best_metrics(self.opt, self.iteration)

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """Step the schedulers of the stage of this iteration; begin the next stage after a hand-over."""
        if self.handover is not None and current_iter > self.handover:
            self._hand_over()
        train = self.model.opt["train"]
        self.model.update_learning_rate(current_iter - self.start, train.get("warmup_iter", -1))

    def _hand_over(self) -> None:
        self._keep()
        following = dict(pairwise(self.ends))[self.stage]
        best = getattr(self.model, "best_metric_results", None)
        del self.model
        gc.collect()  # distributed wrappers refer to themselves
        self._begin(following)
        if best is not None:
            self.model.best_metric_results = best

    def _keep(self) -> None:
        """Save the stage's result for the next one, and its state unless the run just did."""
        if self.iteration == self.handover != self.saved:
            self.model.save(0, self.handover)
            self.saved = self.handover
        self.model.save(-1, -1)
        if self.opt["rank"] == 0:
            self.close_stage()
        wait_for_others(self.opt)

    def feed_data(self, data: dict[str, Any]) -> None:
        """Take a batch."""
        self.model.feed_data(data)

    def optimize_parameters(self, current_iter: int) -> None:
        """Take one step of the stage."""
        self.model.optimize_parameters(current_iter - self.start)
        self.iteration = current_iter

    def get_current_learning_rate(self) -> list[float]:
        """Return the learning rates of ``net_g``."""
        return self.model.get_current_learning_rate()

    def get_current_log(self) -> dict[str, float]:
        """Return the losses of the last step, their names prefixed with the stage."""
        return {f"{self.stage}/{name}": value for name, value in self.model.get_current_log().items()}

    def validation(self, dataloader: DataLoader, current_iter: int, tb_logger: Any, save_img: bool = False) -> None:
        """Validate the network of the stage; in training the set's name in logs and records begins with the stage."""
        with _named_after(self.model.stage, dataloader.dataset):
            self.model.validation(dataloader, current_iter, tb_logger, save_img)

    def save(self, epoch: int, current_iter: int) -> None:
        """Save the networks of the stage and its training state; at the end of a stage also what the next one needs."""
        if current_iter == -1 and self.handover is not None:
            self._keep()
        else:
            self.model.save(epoch, current_iter)
            self.saved = current_iter


@contextmanager
def _named_after(stage: str, dataset: Any) -> Iterator[None]:
    """Put a prefix before the name of a data set."""
    options = dataset.opt
    dataset.opt = {**options, "name": f"{stage}{options['name']}"}
    try:
        yield
    finally:
        dataset.opt = options


def wait_for_others(options: Mapping[str, Any]) -> None:
    """Wait for all processes: the others read what the first one writes."""
    if options["dist"]:
        torch.distributed.barrier()
