"""BlindModel: training on LR images that are degraded on the device, by either family of blind degradations."""

from __future__ import annotations

from typing import Any, ClassVar

from basicsr.models.realesrnet_model import RealESRNetModel
from basicsr.utils import DiffJPEG, USMSharp

from lightsr_basicsr import fields
from lightsr_basicsr.models.base import LossDictModel
from lightsr_basicsr.models.blind_checks import POOL_SIZE, BlindContract


class BlindModel(LossDictModel):
    """LossDictModel that also takes batches of HR images with kernels and degrades them as Real-ESRGAN does.

    The keys of a batch select the degradation: ``degradation`` the classic family (``ClassicBlindDataset``),
    ``kernel1`` the second-order one with its pair pool (``RealESRGANDataset``, ``SecondOrderDataset``), ``lq`` none.
    The synthesis is BasicSR's own, on any device.

    Args:
        opt (dict): As LossDictModel takes it; for the second order with the top-level keys of Real-ESRGAN's option
            files; ``gt_usm`` (default: false) and ``queue_size`` (default: 180) are optional.
    """

    takes_options_of = (RealESRNetModel,)
    options: ClassVar = {
        "gt_usm": fields.flag("Whether HR images are sharpened before they are degraded.", default=False),
    }
    contract: ClassVar = BlindContract
    batch_attributes: ClassVar = ("lq", "gt")
    _dequeue_and_enqueue = RealESRNetModel._dequeue_and_enqueue

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__({"gt_usm": False, **opt})
        self.queue_size = self.opt.get("queue_size", POOL_SIZE)
        self.jpeger = DiffJPEG(differentiable=False).to(self.device)
        self.usm_sharpener = USMSharp().to(self.device)

    def feed_data(self, data: dict[str, Any]) -> None:
        """Take a batch; synthesize its LR images if it has none."""
        if "kernel1" in data:
            RealESRNetModel.feed_data(self, data)
        else:
            super().feed_data(data)
