"""The faults of BasicSR and what mends them; the only module that changes BasicSR's.

A fix is a function that looks for its fault, mends it if it is there, and says whether it did. Its docstring tells
what, why, since when the fault is there, and until when the fix is needed. ``_compat.apply`` runs them after
``import basicsr``.
"""

from __future__ import annotations

import functools
import inspect
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from itertools import islice
from math import ceil
from os import path as osp
from types import CodeType, SimpleNamespace
from typing import Any

_started_from = SimpleNamespace(epoch=0, iter=0)
_lmdb_environments: dict[str, Any] = {}
# What BasicSR's schedulers take from the option file, and what they make of it.
SCHEDULE = ("milestones", "gamma", "restarts", "restart_weights", "periods", "cumulative_period", "eta_min")


def _uses(function: Callable, *names: str) -> bool:
    """Tell whether the compiled ``function``, or a function inside it, uses all these global or attribute names."""
    stack: list[CodeType] = [inspect.unwrap(function).__code__]
    seen: set[str] = set()
    while stack:
        code = stack.pop()
        seen.update(code.co_names)
        stack.extend(const for const in code.co_consts if isinstance(const, CodeType))
    return seen.issuperset(names)


def _resume_on_any_device() -> bool:
    """Resume on CPU, from the run's real folder, and past a state file that was cut off while being written.

    Why: ``load_resume_state`` asks for the current CUDA device; ``--auto_resume`` looks under the working directory
    although the run lives under ``root_path``, and then starts anew; a new ``name`` has no folders yet.
    Since: always. Until: BasicSR loads states without CUDA.
    """
    import basicsr.train as train

    if not _uses(train.load_resume_state, "current_device"):
        return False
    train.load_resume_state = load_resume_state
    return True


def load_resume_state(opt: dict) -> dict | None:
    """Stand in for ``basicsr.train.load_resume_state``: the state on CPU, or None for a fresh run."""
    from basicsr.utils import check_resume

    _started_from.epoch = _started_from.iter = 0
    path, state = _newest_state(opt)
    if state is None:
        return None
    opt["path"]["resume_state"] = path
    check_resume(opt, state["iter"])
    _find_networks_beside(path, opt["path"])
    if opt["rank"] == 0:
        for key in ("experiments_root", "models", "training_states", "log", "visualization"):
            os.makedirs(opt["path"][key], exist_ok=True)
    _started_from.epoch, _started_from.iter = state["epoch"], state["iter"]
    return state


def _newest_state(opt: dict) -> tuple[str | None, dict | None]:
    folder = opt["path"]["training_states"]
    if not opt["auto_resume"]:
        path = opt["path"].get("resume_state")
        # The optimizers move their states to their parameters' device.
        return path, _load_state(path) if path else None
    names = os.listdir(folder) if osp.isdir(folder) else []
    iters = sorted((int(name[:-6]) for name in names if name.endswith(".state") and name[:-6].isdigit()), reverse=True)
    for number in iters:
        path = osp.join(folder, f"{number}.state")
        try:
            return path, _load_state(path)
        except SystemExit as error:
            sys.stderr.write(f"{error}. Trying the state before it.\n")
    if iters:
        raise SystemExit(f"No training state in {folder} can be read. To begin anew leave out --auto_resume.")
    return None, None


def _load_state(path: str) -> dict:
    import torch

    try:
        return torch.load(path, map_location="cpu")
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise SystemExit(f"The training state {path} cannot be read: {reason}") from error


def _find_networks_beside(state_path: str, paths: dict) -> None:
    """Point networks at the folder of the state file, where the run was given a new name."""
    models = osp.join(osp.dirname(osp.dirname(osp.abspath(state_path))), "models")
    for key, value in paths.items():
        if key.startswith("pretrain_network") and value and not osp.isfile(value):
            beside = osp.join(models, osp.basename(value))
            if osp.isfile(beside):
                paths[key] = beside


def _exact_total_iter() -> bool:
    """Train exactly ``total_iter`` iterations, and label the final validation with that number.

    Why: epochs are counted as if the last incomplete batch were used, but the loader drops it, so training ends early
    (with a batch larger than the dataset: after no iteration at all); where it does not, the loop overshoots by one.
    Since: always. Until: BasicSR counts what its loader gives.
    """
    import basicsr.train as train
    from basicsr.data.data_sampler import EnlargedSampler

    if not _uses(train.create_train_val_dataloader, "ceil", "EnlargedSampler"):
        return False

    class ExactSampler(EnlargedSampler):
        """EnlargedSampler that gives ``last_samples`` indices in epoch ``last_epoch``."""

        last_epoch = last_samples = None

        def __iter__(self) -> Iterator[int]:
            indices = super().__iter__()
            return islice(indices, self.last_samples) if self.epoch == self.last_epoch else indices

    create = train.create_train_val_dataloader

    def create_train_val_dataloader(opt: dict, logger: Any) -> tuple:
        loader, sampler, val_loaders, _, total = create(opt, logger)
        _fill_one_batch(sampler, loader.batch_size)
        per_epoch = len(loader)
        left = max(total - _started_from.iter, 0)
        full_epochs = max(ceil(left / per_epoch) - 1, 0)
        sampler.last_epoch = _started_from.epoch + full_epochs
        sampler.last_samples = (left - full_epochs * per_epoch) * loader.batch_size
        logger.info("Training ends at iteration %s, %s iterations per epoch.", total, per_epoch)
        return loader, sampler, val_loaders, sampler.last_epoch, total

    train.EnlargedSampler = ExactSampler
    train.create_train_val_dataloader = create_train_val_dataloader
    return True


def _eta_of_the_last_iteration() -> bool:
    """Show an ETA of zero, not of minus one day, at the last iteration.

    Why: the remaining iterations are counted one short. Since: always. Until: BasicSR counts them.
    """
    import basicsr.train as train

    logger = train.MessageLogger
    if not _uses(logger.__call__, "max_iters") or logger.__module__ == __name__:
        return False

    class MessageLogger(logger):
        """MessageLogger that does not subtract the running iteration twice."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.max_iters += 1

    train.MessageLogger = MessageLogger
    return True


def _schedule_of_the_option_file() -> bool:
    """Resume with the schedule that the option file gives now.

    Why: a state brings back the schedule that it was saved with, so a run made longer by its periods ends with
    ``tuple indices must be integers``, and new milestones do nothing. Since: always. Until: BasicSR keeps its own.
    """
    from basicsr.models.base_model import BaseModel

    original = BaseModel.resume_training
    if not _uses(original, "schedulers", "load_state_dict"):
        return False

    def resume_training(self: Any, resume_state: dict) -> None:
        plans = [{key: value for key, value in vars(each).items() if key in SCHEDULE} for each in self.schedulers]
        original(self, resume_state)
        for scheduler, plan in zip(self.schedulers, plans, strict=True):
            vars(scheduler).update(plan)

    BaseModel.resume_training = resume_training
    return True


def _fill_one_batch(sampler: Any, batch: int) -> None:
    """Repeat a dataset that is smaller than one batch; the sampler takes indices modulo the dataset's length."""
    if sampler.num_samples < batch:
        sampler.num_samples = batch
        sampler.total_size = batch * sampler.num_replicas


def _distributed_without_gpu() -> bool:
    """Start ``--launcher pytorch`` with gloo where there is no GPU, and pick the GPU by local rank where there is.

    Why: ``rank % 0``; with several machines the global rank is not a device number. Since: always. Until: BasicSR
    asks for CUDA first.
    """
    from basicsr.utils import dist_util

    if _uses(dist_util._init_dist_pytorch, "is_available"):
        return False
    dist_util._init_dist_pytorch = init_dist_pytorch
    return True


def init_dist_pytorch(backend: str, **kwargs: Any) -> None:
    """Stand in for ``basicsr.utils.dist_util._init_dist_pytorch``."""
    import torch
    from torch import distributed

    if torch.cuda.is_available():
        local_rank = int(os.environ.get("LOCAL_RANK", os.environ["RANK"]))
        torch.cuda.set_device(local_rank % torch.cuda.device_count())
    if not torch.cuda.is_available() or (backend == "nccl" and not distributed.is_nccl_available()):
        backend = "gloo"
    distributed.init_process_group(backend=backend, **kwargs)


def _wrap_on_cpu() -> bool:
    """Wrap networks for distributed training on CPU.

    Why: ``model_to_device`` asks for the current CUDA device. Since: always. Until: it leaves out ``device_ids``.
    """
    from basicsr.models.base_model import BaseModel

    original = BaseModel.model_to_device
    if not _uses(original, "current_device"):
        return False

    def model_to_device(self: Any, net: Any) -> Any:
        if not self.opt["dist"] or self.device.type != "cpu":
            return original(self, net)
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(net, find_unused_parameters=self.opt.get("find_unused_parameters", False))

    BaseModel.model_to_device = model_to_device
    return True


def _share_lmdb_environments() -> bool:
    """Open an LMDB once per process, however many datasets read it, and let spawned workers receive its reader.

    Why: lmdb refuses a second environment on one path, so a training and a validation set in one LMDB fail; an open
    environment cannot be pickled. Since: lmdb 2.0 (the second open), always (pickling). Until: BasicSR shares them.
    """
    from basicsr.utils.file_client import LmdbBackend

    if not _uses(LmdbBackend.__init__, "open") or hasattr(LmdbBackend, "__setstate__"):
        return False

    def __init__(  # noqa: N807
        self: Any,
        db_paths: str | list[str],
        client_keys: str | list[str] = "default",
        readonly: bool = True,
        lock: bool = False,
        readahead: bool = False,
        **kwargs: Any,
    ) -> None:
        import lmdb

        paths = [db_paths] if isinstance(db_paths, str) else [str(path) for path in db_paths]
        keys = [client_keys] if isinstance(client_keys, str) else list(client_keys)
        if len(paths) != len(keys):
            raise ValueError(f"Each LMDB needs one client key, got {len(paths)} paths and {len(keys)} keys.")
        self.db_paths, self._client = paths, {}
        for key, path in zip(keys, paths, strict=True):
            real = osp.realpath(path)
            if real not in _lmdb_environments:
                _lmdb_environments[real] = lmdb.open(path, readonly=readonly, lock=lock, readahead=readahead, **kwargs)
            self._client[key] = _lmdb_environments[real]

    LmdbBackend.__init__ = __init__
    LmdbBackend.__getstate__ = lambda self: {"db_paths": self.db_paths, "client_keys": list(self._client)}
    LmdbBackend.__setstate__ = lambda self, state: self.__init__(**state)
    return True


def _realesrgan_on_any_device() -> bool:
    """Train the Real-ESRGAN models on the device of the option file.

    Why: ``.cuda()`` in their constructors and in their pair pool. Since: always. Until: they use ``self.device``.
    """
    from basicsr.models.realesrgan_model import RealESRGANModel
    from basicsr.models.realesrnet_model import RealESRNetModel

    faulty = [model for model in (RealESRGANModel, RealESRNetModel) if _uses(model.__init__, "cuda")]
    for model in faulty:
        _use_own_device(model)
    return bool(faulty)


def _use_own_device(model: type) -> None:
    enqueue = model._dequeue_and_enqueue

    def __init__(self: Any, opt: dict) -> None:  # noqa: N807
        from basicsr.utils import DiffJPEG, USMSharp

        super(model, self).__init__(opt)
        self.jpeger = DiffJPEG(differentiable=False).to(self.device)
        self.usm_sharpener = USMSharp().to(self.device)
        self.queue_size = opt.get("queue_size", 180)

    def _dequeue_and_enqueue(self: Any) -> None:
        if not hasattr(self, "queue_lr"):
            size, batch = self.queue_size, self.lq.size(0)
            if size % batch:
                raise ValueError(f"`queue_size` {size} must be a multiple of the batch size {batch}.")
            self.queue_lr = self.lq.new_zeros(size, *self.lq.shape[1:])
            self.queue_gt = self.gt.new_zeros(size, *self.gt.shape[1:])
            self.queue_ptr = 0
        enqueue(self)

    model.__init__, model._dequeue_and_enqueue = __init__, _dequeue_and_enqueue


def _filter_any_memory_layout() -> bool:
    """Blur tensors that are not contiguous.

    Why: ``filter2D`` calls ``view`` on a padded tensor, and padding on CPU keeps the channels-last layout that
    ``DiffJPEG`` produces. Since: torch 2.1 (CPU). Until: BasicSR uses ``reshape``.
    """
    import basicsr.models.realesrgan_model as gan
    import basicsr.models.realesrnet_model as net
    import basicsr.utils.img_process_util as util
    import torch

    original = util.filter2D
    try:
        original(torch.zeros(2, 3, 8, 8).to(memory_format=torch.channels_last), torch.zeros(1, 3, 3))
        return False
    except RuntimeError:
        pass

    @functools.wraps(original)
    def filter2D(img: Any, kernel: Any) -> Any:  # noqa: N802
        return original(img.contiguous(), kernel)

    for module in (util, gan, net):
        module.filter2D = filter2D
    return True


def _whole_jpeg_quality() -> bool:
    """Compress with a fractional JPEG quality, as the random degradations ask for.

    Why: OpenCV takes whole numbers only. Since: OpenCV 4.8 at the latest. Until: BasicSR rounds the quality.
    """
    import cv2
    import numpy as np
    from basicsr.data import degradations

    original = degradations.add_jpg_compression
    if hasattr(original, "__wrapped__"):
        return False
    try:
        cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 90.5])
        return False
    except (cv2.error, TypeError):
        pass

    @functools.wraps(original)
    def add_jpg_compression(img: Any, quality: float = 90) -> Any:
        return original(img, int(quality))

    degradations.add_jpg_compression = add_jpg_compression
    return True


def _utf8_option_files() -> bool:
    """Read and copy option files as UTF-8.

    Why: they are opened in the encoding of the machine. Since: always. Until: BasicSR names the encoding.
    """
    from basicsr.utils import options

    if not _uses(options.copy_opt_file, "open") or "open" in vars(options):
        return False
    options.open = functools.partial(open, encoding="utf-8")
    return True


FIXES: tuple[Callable[[], bool], ...] = (
    _resume_on_any_device,
    _exact_total_iter,
    _eta_of_the_last_iteration,
    _schedule_of_the_option_file,
    _distributed_without_gpu,
    _wrap_on_cpu,
    _share_lmdb_environments,
    _realesrgan_on_any_device,
    _filter_any_memory_layout,
    _whole_jpeg_quality,
    _utf8_option_files,
)


@contextmanager
def parsed_options(options: dict, arguments: list[str]) -> Iterator[None]:
    """Let BasicSR's pipelines take ``options`` as the content of the option file.

    Args:
        options (dict): What the file says, overrides included.
        arguments (list[str]): The command line for BasicSR's own parser, ``-opt FILE`` and its flags. The rest of
            BasicSR goes on seeing ``sys.argv``, which it writes into the copy of the option file.
    """
    import basicsr.test as test
    import basicsr.train as train
    from basicsr.utils import options as module

    class Loader:
        """Give ``options`` where a YAML loader would parse the stream."""

        def __init__(self, stream: Any) -> None:
            del stream

        def get_single_data(self) -> dict:
            return deepcopy(options)

        def dispose(self) -> None:
            pass

    original, ordered_yaml = module.parse_options, module.ordered_yaml

    def parse_options(*args: Any, **kwargs: Any) -> tuple:
        command_line, sys.argv = sys.argv, [sys.argv[0], *arguments]
        module.ordered_yaml = lambda: (Loader, None)
        try:
            return original(*args, **kwargs)
        finally:
            sys.argv, module.ordered_yaml = command_line, ordered_yaml

    train.parse_options = test.parse_options = parse_options
    try:
        yield
    finally:
        train.parse_options = test.parse_options = original
