"""Devices: distributed runs, Real-ESRGAN and blurring without a GPU."""

from __future__ import annotations

import functools
import os
from typing import Any

from lightsr_basicsr._fixes.detect import uses


def distributed_without_gpu() -> bool:
    """Start ``--launcher pytorch`` with gloo on machines without a GPU, and pick GPUs by local rank.

    Why: ``rank % 0``; with several machines the global rank is not a device number. Since: always. Until: BasicSR
    asks for CUDA first.
    """
    from basicsr.utils import dist_util

    if uses(dist_util._init_dist_pytorch, "is_available"):
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
    distributed.init_process_group(backend=backend, **_store_of_this_start(), **kwargs)


def _store_of_this_start() -> dict[str, Any]:
    """Return a store of their own for processes that torchrun has started again; several machines count differently.

    The agent of current torch keeps the store over restarts (seen with 2.14), so that processes find the addresses of
    dead ones there, and wait half an hour for them.
    """
    start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if start == "0" or os.environ.get("GROUP_WORLD_SIZE") != "1":
        return {}
    from torch.distributed import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    store, rank, processes = next(rendezvous("env://"))
    return {"store": PrefixStore(f"start_{start}", store), "rank": rank, "world_size": processes}


def wrap_on_cpu() -> bool:
    """Wrap networks for distributed training on CPU.

    Why: ``model_to_device`` asks for the current CUDA device. Since: always. Until: it leaves out ``device_ids``.
    """
    from basicsr.models.base_model import BaseModel

    original = BaseModel.model_to_device
    if not uses(original, "current_device"):
        return False

    def model_to_device(self: Any, net: Any) -> Any:
        if not self.opt["dist"] or self.device.type != "cpu":
            return original(self, net)
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(net, find_unused_parameters=self.opt.get("find_unused_parameters", False))

    BaseModel.model_to_device = model_to_device
    return True


def realesrgan_on_any_device() -> bool:
    """Train the Real-ESRGAN models on the device of the option file.

    Why: ``.cuda()`` in their constructors and in their pair pool. Since: always. Until: they use ``self.device``.
    """
    from basicsr.models.realesrgan_model import RealESRGANModel
    from basicsr.models.realesrnet_model import RealESRNetModel

    faulty = [model for model in (RealESRGANModel, RealESRNetModel) if uses(model.__init__, "cuda")]
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


def filter_any_memory_layout() -> bool:
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
