"""Training: resuming, the ETA, the schedule."""

from __future__ import annotations

import functools
import math
import os
import sys
from inspect import getsource
from os import path as osp
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from lightsr_basicsr._fixes.detect import uses
from lightsr_basicsr.checkpoints.files import CheckpointError
from lightsr_basicsr.checkpoints.states import newest_readable_state, read_state, weights_folder
from lightsr_basicsr.errors import UserError, message_of, short_message
from lightsr_basicsr.registry import look_up

if TYPE_CHECKING:
    from collections.abc import Callable

    from lightsr_basicsr.models.contract import ModelContract

# The state that the run of this process was resumed from.
STARTED_FROM = SimpleNamespace(iter=0, state=None)
# What torch's optimizers keep of each weight, of its shape.
MOMENTS = ("exp_avg", "exp_avg_sq", "momentum_buffer")
# Attributes of BasicSR's schedulers that come from the option file.
SCHEDULE = ("milestones", "gamma", "restarts", "restart_weights", "periods", "cumulative_period", "eta_min")


def resume_on_any_device() -> bool:
    """Resume on CPU, from the run's real folder, and past files that were cut off while being written.

    Why: ``load_resume_state`` asks for the current CUDA device; ``--auto_resume`` looks under the working directory
    although the run lives under ``root_path``, and then starts over; a new ``name`` has no folders yet.
    Since: always. Until: BasicSR loads states without CUDA.
    """
    import basicsr.train as train

    if not uses(train.load_resume_state, "current_device"):
        return False
    train.load_resume_state = load_resume_state
    return True


def load_resume_state(opt: dict) -> dict | None:
    """Stand in for ``basicsr.train.load_resume_state``: the state on CPU, or None for a fresh run."""
    from basicsr.utils import check_resume

    STARTED_FROM.iter, STARTED_FROM.state = 0, None
    path = _newest_state(opt) if opt["auto_resume"] else opt["path"].get("resume_state")
    opt["path"]["resume_state"] = path
    if not path:
        return None
    try:
        state = read_state(path)
    except (CheckpointError, OSError) as error:
        raise SystemExit(message_of(error)) from error
    kept = _leave_unsaved_networks(opt, state["iter"])
    check_resume(opt, state["iter"])
    opt["path"].update(kept)
    _find_networks_beside(path, opt["path"])
    if opt["rank"] == 0:
        for key in ("experiments_root", "models", "training_states", "log", "visualization"):
            os.makedirs(opt["path"][key], exist_ok=True)
    STARTED_FROM.iter, STARTED_FROM.state = state["iter"], state
    return state


def _newest_state(opt: dict) -> str | None:
    weights_of = functools.partial(_contract_of(opt).resume_files, opt)
    state, passed_over = newest_readable_state(Path(opt["path"]["training_states"]), weights_of)
    if opt["rank"] == 0:
        sys.stderr.writelines(f"{line}\n" for line in passed_over)
    return str(state) if state else None


def _contract_of(opt: dict) -> ModelContract:
    from basicsr.utils.registry import MODEL_REGISTRY

    from lightsr_basicsr.models.contract import contract_of

    return contract_of(look_up(MODEL_REGISTRY, opt["model_type"]))


def _leave_unsaved_networks(opt: dict, iteration: int) -> dict[str, Any]:
    """Keep the files of networks that the model did not save; BasicSR would set them to files of the run.

    Returns the ``param_key_*`` of those files, which BasicSR would change to the raw weights.
    """
    contract, paths = _contract_of(opt), opt["path"]
    unsaved = contract.unsaved_networks(opt, iteration)
    given = paths.get("ignore_resume_networks") or []
    given = [given] if isinstance(given, str) else given
    # Each stage saves other networks, so one list for the whole run would be wrong.
    paths["ignore_resume_networks"] = [*unsaved] if contract.stages(opt) else [*given, *unsaved]
    keys = [name.replace("network", "param_key") for name in unsaved]
    return {key: paths[key] for key in keys if key in paths}


def _find_networks_beside(state_path: str, paths: dict) -> None:
    """Set files of weights to those beside the state, if the run has a new name."""
    for key, value in paths.items():
        if key.startswith("pretrain_network") and value and not osp.isfile(value):
            beside = weights_folder(Path(state_path)) / osp.basename(value)
            if beside.is_file():
                paths[key] = str(beside)


def eta_of_the_last_iteration() -> bool:
    """Show an ETA of zero, not of minus one day, at the last iteration.

    Why: the remaining iterations are counted one short. Since: always. Until: BasicSR counts them.
    """
    import basicsr.train as train

    logger = train.MessageLogger
    if not uses(logger.__call__, "max_iters") or logger.__module__ == __name__:
        return False

    class MessageLogger(logger):
        """MessageLogger that does not subtract the running iteration twice."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.max_iters += 1

    train.MessageLogger = MessageLogger
    return True


def schedule_of_the_option_file() -> bool:
    """Resume with the schedule that the option file gives now, and report other settings of the optimizers.

    Why: a state restores the schedule that it was saved with, so a run with longer periods ends with
    ``tuple indices must be integers``, and new milestones do nothing; it restores the learning rate too, without a
    word. Since: always. Until: BasicSR keeps the file's.
    """
    from basicsr.models.base_model import BaseModel

    original = BaseModel.resume_training
    if not uses(original, "schedulers", "load_state_dict"):
        return False

    def resume_training(self: Any, resume_state: dict) -> None:
        given = [_settings(each) for each in self.optimizers]
        plans = [{key: value for key, value in vars(each).items() if key in SCHEDULE} for each in self.schedulers]
        _restore(self, resume_state, original)
        for scheduler, plan in zip(self.schedulers, plans, strict=True):
            vars(scheduler).update(plan)
        _report_kept(given, [_settings(each) for each in self.optimizers])

    BaseModel.resume_training = resume_training
    return True


def _restore(model: Any, state: dict, resume_training: Callable[[Any, dict], None]) -> None:
    """Restore optimizers and schedulers; raise CheckpointError if the state is of other ones."""
    before = _numbers(model)
    try:
        resume_training(model, state)
        for (name, place), value in _numbers(model).items():
            if type(before.get((name, place))) in (int, float) and not _is_number(name, value):
                raise ValueError(f"{name} is {value!r}")
        for optimizer in model.optimizers:
            for weight, kept in optimizer.state.items():
                shapes = {kept[name].shape for name in MOMENTS if getattr(kept.get(name), "shape", None) is not None}
                if shapes - {weight.shape}:
                    raise ValueError(f"moments of shape {[*map(tuple, shapes)]} for a weight of {tuple(weight.shape)}")
    except (AssertionError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise CheckpointError(
            f"The training state of iteration {state['iter']} does not fit the optimizers and schedulers of the option "
            f"file ({short_message(error, 160)}): resume from an older one, set networks and optimizers as they were, "
            "or start a run of another name from its weights (path.pretrain_network_g)."
        ) from error


def _numbers(model: Any) -> dict[tuple[str, int], Any]:
    """Return the settings of all groups of parameters and of schedulers, by name and place."""
    groups = [group for each in model.optimizers for group in each.param_groups]
    holders = enumerate([*groups, *map(vars, model.schedulers)])
    return {(name, place): value for place, holder in holders for name, value in holder.items()}


def _is_number(name: str, value: Any) -> bool:
    number = isinstance(value, (int, float)) and math.isfinite(value)
    return number and (value >= 0 or name not in ("lr", "initial_lr"))


def _settings(optimizer: Any) -> list[dict[str, Any]]:
    """Return the settings of each group of parameters as an option file gives them."""
    return [
        {
            "lr" if key == "initial_lr" else key: list(value) if isinstance(value, tuple) else value
            for key, value in group.items()
            if key not in ("params", "lr")
        }
        for group in optimizer.param_groups
    ]


def _report_kept(given: list[list[dict]], kept: list[list[dict]]) -> None:
    """Log settings of optimizers that the option file gives otherwise than the state, which prevails."""
    from basicsr.utils import get_root_logger

    for place, (groups, restored) in enumerate(zip(given, kept, strict=True), 1):
        for ours, theirs in zip(groups, restored, strict=True):
            for key in sorted(ours.keys() & theirs.keys()):
                if ours[key] != theirs[key]:
                    get_root_logger().warning(
                        f"Optimizer {place}: the option file has {key} {ours[key]}, the training state {theirs[key]}, "
                        "which the resumed run keeps. For another one start a run of another name from the weights "
                        "(path.pretrain_network_g), or change the schedule, which is taken from the option file."
                    )


def one_final_validation() -> bool:
    """Do not validate the last iteration again at the end of training, which takes hours with many sets.

    Why: the loop validates at ``val_freq``, and the pipeline again after the loop, whether or not that was the last
    iteration. Since: always. Until: BasicSR asks.
    """
    import basicsr.train as train
    from basicsr.models.base_model import BaseModel

    original = BaseModel.validation
    if original.__module__ == __name__ or getsource(train.train_pipeline).count("model.validation(") != 2:
        return False

    @functools.wraps(original, assigned=("__doc__",))
    def validation(self: Any, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool = False) -> None:
        # Not self.is_train, which Real-ESRGAN's models leave true after they have validated, in tests too.
        done, trains = (current_iter, id(dataloader)), self.opt["is_train"]
        if trains and done in vars(self).setdefault("validated", set()):
            return
        original(self, dataloader, current_iter, tb_logger, save_img)
        if trains:
            self.validated = {each for each in self.validated if each[0] == current_iter} | {done}

    BaseModel.validation = validation
    return True


def network_in_one_line() -> bool:
    """Log name and number of parameters of a network, and its layers at debug level only.

    Why: hundreds of lines hide what the run says about itself. Since: always. Until: BasicSR logs them as debug.
    """
    from basicsr.models.base_model import BaseModel
    from basicsr.utils import get_root_logger

    if uses(BaseModel.print_network, "debug"):
        return False

    def print_network(self: Any, net: Any) -> None:
        net, logger = self.get_bare_model(net), get_root_logger()
        size = sum(parameter.numel() for parameter in net.parameters())
        logger.info("Network: %s, with parameters: %s", type(net).__name__, f"{size:,d}")
        logger.debug(net)

    BaseModel.print_network = print_network
    return True
