"""DRN's rules for training steps: which batches are used, and how often the schedulers step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from basicsr.utils import get_root_logger
from torch import Tensor

from lightsr_basicsr import fields
from lightsr_basicsr.models.reparam_model import ReparamModel

# Mean loss before the first epoch, as in the official trainer.
FIRST_ERROR = 1e8
# Iterations of its epoch.
EPOCH_ITER = 1000
# Options of StepRulesModel, for the registered models that derive from it.
OPTIONS = {
    "train.skip_threshold": fields.number(
        "Steps are taken below this times the mean loss of the epoch before; 1e6 for DRN, else none.",
        above=0,
        null=True,
    ),
    "train.epoch_iter": fields.count("Iterations of an epoch of that rule.", as_float=True, default=1000),
    "train.schedule_every": fields.count("The schedulers step every so many iterations.", as_float=True, default=1),
}


class SkipRule:
    """DRN's rule for skipping batches. It is listed among the schedulers, so that BaseModel saves and restores it.

    A batch is used if its total loss is below ``threshold * error_last``, hence never if it is NaN. ``error_last``
    starts at 1e8 and after each epoch becomes the mean of its logged losses. Unlike in the official code, losses that
    are not finite do not enter the mean, since no loss is below NaN.

    Args:
        threshold (float | None): See above; None disables the rule.
        epoch_iter (int): Iterations of an epoch.
    """

    def __init__(self, threshold: float | None, epoch_iter: int) -> None:
        self.threshold, self.epoch_iter, self.error_last = threshold, epoch_iter, FIRST_ERROR
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self.seen, self.finite, self.skipped, self.total = 0, 0, 0, 0.0

    def accepts(self, loss: float, logged: float) -> bool:
        """Return whether to use a batch of this loss, and count its logged loss."""
        accepted = loss < self.threshold * self.error_last
        self.seen += 1
        self.skipped += not accepted
        if abs(logged) < float("inf"):
            self.finite += 1
            self.total += logged
        if self.seen >= self.epoch_iter:
            self._end_epoch()
        return accepted

    def _end_epoch(self) -> None:
        if self.skipped:
            get_root_logger().warning(
                f"{self.skipped} of the last {self.seen} batches were skipped: their loss was NaN or not below "
                f"{self.threshold:g} times {self.error_last:g} (train.skip_threshold, mean loss of the epoch before)."
            )
        self.error_last = self.total / self.finite if self.finite else self.error_last
        self._begin_epoch()

    def step(self) -> None:
        """Do nothing: :meth:`accepts` counts."""

    def state_dict(self) -> dict[str, float]:
        """Return the counters."""
        return {key: value for key, value in vars(self).items() if key not in ("threshold", "epoch_iter")}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Restore the counters; the options stay those of the option file."""
        vars(self).update(state)


class StepRulesModel(ReparamModel):
    """ReparamModel with DRN's rules: skips batches of too large a loss, and may step its schedulers rarely.

    Args:
        opt (dict): Those of ReparamModel and of ``OPTIONS``. Periods and milestones are counted in steps of the
            schedulers; ``schedule_every`` 1000 is DRN's staircase.
    """

    default_threshold: float | None = None
    schedule_every = 1
    statistics: Sequence[tuple[Tensor, Tensor]] = ()

    def init_training_settings(self) -> None:
        """Set up the training and the skip rule."""
        train = self.opt["train"]
        self.schedule_every = int(train.get("schedule_every", 1))
        super().init_training_settings()
        threshold = train.get("skip_threshold", self.default_threshold)
        self.skip_rule = SkipRule(threshold, int(train.get("epoch_iter", EPOCH_ITER)))
        self.schedulers.append(self.skip_rule)

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """Step the schedulers every ``train.schedule_every`` iterations."""
        if (current_iter - 1) % self.schedule_every == 0:
            super().update_learning_rate(current_iter, warmup_iter)

    def resume_training(self, resume_state: dict) -> None:
        """Restore the training; ``train.schedule_every`` must be that of the state."""
        steps, iteration = resume_state["schedulers"][0].get("last_epoch"), resume_state["iter"]
        if steps is not None and steps != (iteration - 1) // self.schedule_every:
            raise SystemExit(
                f"The training state of iteration {iteration} has a schedule of {steps} steps, which is not one in "
                f"{self.schedule_every} iterations: it was saved with another train.schedule_every. Set that again."
            )
        super().resume_training(resume_state)

    def run_network(self) -> Tensor:
        """Return the output of ``net_g``; copy the statistics of batch normalization before.

        The forward pass changes them, which a skipped batch must not do.
        """
        buffers = self.get_bare_model(self.net_g).buffers() if self.skip_rule.threshold is not None else ()
        self.statistics = [(buffer, buffer.clone()) for buffer in buffers]
        return super().run_network()

    def logged_loss(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the loss whose mean the rule compares with: the total."""
        return sum(losses.values())

    def accepts(self, losses: Mapping[str, Tensor]) -> bool:
        """Return whether the skip rule accepts the mean losses of all processes."""
        if self.skip_rule.threshold is None:
            return True
        values = torch.stack([sum(losses.values()).detach(), self.logged_loss(losses).detach()])
        if self.opt["dist"]:
            torch.distributed.all_reduce(values)
            values /= self.opt["world_size"]
        accepted = self.skip_rule.accepts(*values.tolist())
        self.loss_is_finite = bool(values[0].isfinite())
        if not accepted:
            self.output = self.output.detach()
            for buffer, kept in self.statistics:
                buffer.copy_(kept)
        return accepted
