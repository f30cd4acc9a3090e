"""Keeping: the newest and the best checkpoints of a run, and its best metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightsr_basicsr._fixes.detect import wrapped_by


def newest_and_best_checkpoints() -> bool:
    """Delete old checkpoints, keep the best network, and restore the best metrics, as ``logger`` says, for every model.

    Why: each save adds files until the disk is full, the best network is one of many, and a resumed run forgets the
    best metrics. Since: always. Until: BasicSR has a policy.
    """
    from basicsr.models.base_model import BaseModel
    from basicsr.models.sr_model import SRModel
    from basicsr.models.video_base_model import VideoBaseModel

    save, resume = BaseModel.save_training_state, BaseModel.resume_training
    if wrapped_by(save, __name__):
        return False

    def save_training_state(self: Any, epoch: int, current_iter: int | str) -> None:
        from lightsr_basicsr.models.contract import contract_of
        from lightsr_basicsr.models.kept_checkpoints import BEST, delete_old

        if current_iter in (-1, BEST):  # the networks alone
            return
        save(self, epoch, current_iter)
        if self.opt.get("rank", 0) == 0:
            delete_old(self.opt, current_iter, contract_of(type(self)).unsaved_networks(self.opt, current_iter))

    def resume_training(self: Any, resume_state: dict) -> None:
        from lightsr_basicsr.models.best_metrics import restore_best_metrics

        resume(self, resume_state)
        if "experiments_root" in self.opt.get("path", {}):  # a run of BasicSR's pipeline, which has a folder
            iteration = resume_state.get("iter_of_run", resume_state["iter"])
            self.best_metric_results = restore_best_metrics(self.opt, iteration)

    save_training_state.__wrapped__ = save
    BaseModel.save_training_state, BaseModel.resume_training = save_training_state, resume_training
    for model in (SRModel, VideoBaseModel):
        model._log_validation_metric_values = _keeping_best(model._log_validation_metric_values)
    return True


def _keeping_best(log: Callable) -> Callable:
    """Return the method that logs the values of a set, and keeps the best network and the record afterwards."""

    def log_values(self: Any, current_iter: int, dataset_name: str, tb_logger: Any) -> None:
        log(self, current_iter, dataset_name, tb_logger)
        if self.is_train and self.opt["rank"] == 0 and dataset_name in vars(self).get("best_metric_results", ()):
            _keep_best(self, dataset_name, current_iter)

    return log_values


def _keep_best(model: Any, dataset_name: str, current_iter: int) -> None:
    """Save the network as the best if it is, and then the record, so that none is of a network that was not saved."""
    from lightsr_basicsr.models.best_metrics import write_best_metrics
    from lightsr_basicsr.models.kept_checkpoints import BEST, best_set

    stage = getattr(model, "stage", "")
    if stage + best_set(model.opt, model.best_metric_results[dataset_name], current_iter) == dataset_name:
        model.save(-1, BEST)
    write_best_metrics(model.opt, model.best_metric_results)
