"""DRN's rule about which batches a training step is taken for."""

from __future__ import annotations

from collections.abc import Mapping

from basicsr.utils import get_root_logger

# The official trainer's error of the epoch before the first.
FIRST_ERROR = 1e8


class SkipRule:
    """DRN's rule about which batches are used; it stands among the schedulers, for BaseModel to save and restore it.

    A batch is used if its total loss is below ``threshold * error_last``, so never where it is NaN. ``error_last``
    starts at 1e8 and after each epoch becomes the mean of its logged losses. Unlike officially losses that are not
    finite are left out of that mean, for nothing is below NaN.

    Args:
        threshold (float | None): See above; None is no rule.
        epoch_iter (int): Iterations of an epoch.
    """

    def __init__(self, threshold: float | None, epoch_iter: int) -> None:
        self.threshold, self.epoch_iter, self.error_last = threshold, epoch_iter, FIRST_ERROR
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self.seen, self.finite, self.skipped, self.total = 0, 0, 0, 0.0

    def accepts(self, loss: float, logged: float) -> bool:
        """Tell whether a batch of this loss is used, and count its logged loss."""
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
        """Do nothing: the rule counts where it is asked."""

    def state_dict(self) -> dict[str, float]:
        """Return what has been counted."""
        return {key: value for key, value in vars(self).items() if key not in ("threshold", "epoch_iter")}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Restore what :meth:`state_dict` returned; the options stay those of the option file."""
        vars(self).update(state)
