"""The pair pool of second-order degradations is part of the training state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightsr_basicsr._fixes.detect import wrapped_by
from lightsr_basicsr._fixes.saving import write_or_end
from lightsr_basicsr.checkpoints.states import POOL, pool_file, read_pool

# Names of the pool in a training state, and of the model's attributes that hold it.
PARTS = {"lq": "queue_lr", "gt": "queue_gt", "filled": "queue_ptr"}


def pool_in_the_training_state() -> bool:
    """Save the pool of pairs from which Real-ESRGAN's models mix their batches, and restore it.

    Why: a resumed run fills a new pool, and trains on other batches than an uninterrupted one. Other processes than the
    first save theirs beside the state. Since: always. Until: BasicSR saves it.
    """
    from basicsr.models.base_model import BaseModel

    save, resume = BaseModel.save_training_state, BaseModel.resume_training
    if wrapped_by(save, __name__):
        return False

    def save_training_state(self: Any, epoch: int, current_iter: int) -> None:
        pool = _pool_of(self) if current_iter != -1 else None
        if pool is None:
            save(self, epoch, current_iter)
        elif self.opt["rank"]:
            write_or_end(pool_file(self.opt["path"]["training_states"], current_iter, self.opt["rank"]), pool)
        else:
            _report_size(self, pool)
            with _added({POOL: pool}):
                save(self, epoch, current_iter)

    def resume_training(self: Any, resume_state: dict) -> None:
        resume(self, resume_state)
        if _mixes_pairs(self):
            _restore(self, resume_state)

    BaseModel.save_training_state, BaseModel.resume_training = save_training_state, resume_training
    return True


def _mixes_pairs(model: Any) -> bool:
    """Return whether training takes its batches from a pool; the options are those that the degradation reads."""
    opt = model.opt
    return hasattr(model, "queue_size") and "second_blur_prob" in opt and opt.get("high_order_degradation", True)


def _pool_of(model: Any) -> dict[str, Any] | None:
    """Return the pool as a training state holds it, None if there is none to save."""
    if not model.opt.get("exact_resume", True) or not hasattr(model, "queue_lr"):
        return None
    return {part: getattr(model, attribute) for part, attribute in PARTS.items()}


def _report_size(model: Any, pool: dict[str, Any]) -> None:
    """Log once what the pool adds to each training state."""
    from basicsr.utils import get_root_logger

    if vars(model).get("pool_reported"):
        return
    model.pool_reported = True
    size = sum(images.numel() * images.element_size() for images in (pool["lq"], pool["gt"]))
    get_root_logger().info(
        f"Each training state holds the pool of {len(pool['gt'])} image pairs, {size:,} bytes, so that a resumed run "
        "ends as an uninterrupted one. exact_resume: false leaves it out; logger.keep_last keeps fewer states."
    )


@contextmanager
def _added(entries: dict[str, Any]) -> Iterator[None]:
    """Add entries to the dictionary that ``torch.save`` writes in this block."""
    import torch

    original = torch.save

    def save(content: dict, *args: Any, **kwargs: Any) -> None:
        original({**content, **entries}, *args, **kwargs)

    torch.save = save
    try:
        yield
    finally:
        torch.save = original


def _restore(model: Any, state: dict) -> None:
    """Restore the pool of this process, or log why it is filled anew."""
    from basicsr.utils import get_root_logger

    rank, path = model.opt["rank"], model.opt["path"].get("resume_state")
    iteration = state.get("iter_of_run", state["iter"])  # a model in a run of stages counts from its stage's start
    # A copy for each run: the pool is large, and the state is kept.
    pool = read_pool(pool_file(Path(path).parent, iteration, rank)) if rank and path else state.pop(POOL, None)
    missing = "has no pool of image pairs (exact_resume was false, or it is of an earlier version)"
    problem = missing if pool is None else _find_problem(model, pool)
    if not problem:
        for part, attribute in PARTS.items():
            setattr(model, attribute, pool[part].to(model.device) if part != "filled" else pool[part])
    else:
        where = f", process {rank}" if rank else ""
        get_root_logger().warning(
            f"The training state of iteration {iteration}{where} {problem}. The pool is filled anew, and the "
            "resumed run ends with other bits than an uninterrupted one."
        )


def _find_problem(model: Any, pool: Any) -> str:
    """Return why a model cannot continue with a pool, '' if it can."""
    import torch

    kinds = {"lq": torch.Tensor, "gt": torch.Tensor, "filled": int}
    if not isinstance(pool, dict) or any(type(pool.get(part)) is not kind for part, kind in kinds.items()):
        return "holds something else in the place of the pool of image pairs"
    opt, section = model.opt, model.opt.get("datasets", {}).get("train", {})
    batch = section.get("batch_size_per_gpu", 1) * (1 if opt["dist"] else max(opt["num_gpu"], 1))
    side = opt["gt_size"]
    wanted = {"lq": (model.queue_size, side // opt["scale"]), "gt": (model.queue_size, side)}
    for part, (pairs, pixels) in wanted.items():
        shape = tuple(pool[part].shape)
        if shape[:1] + shape[2:] != (pairs, pixels, pixels):
            return f"holds a pool of shape {shape} where the option file wants {pairs} images of side {pixels}"
    free = model.queue_size - pool["filled"]
    fits = 0 <= pool["filled"] <= model.queue_size and free % batch == 0
    return "" if fits else f"holds a pool with {free} free places, for another batch size"
