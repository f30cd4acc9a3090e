"""KDSR, stage 1: the teacher, whose encoder takes HR images."""

from __future__ import annotations

from typing import ClassVar

import torch
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor

from lightsr_basicsr.models.blind import BlindModel
from lightsr_basicsr.models.kdsr_checks import TeacherContract
from lightsr_basicsr.registry import register


@register(MODEL_REGISTRY)
class KDSRNetTAModel(BlindModel):
    """Trains KDSR's teacher: its encoder and SR network together, by the pixel loss.

    Paper: Xia et al., ICLR 2023, arXiv 2211.16928. Validation, too, gives HR images to the encoder, so the scores are
    an upper bound and cannot be compared with those of blind methods.

    Args:
        opt (dict): Options; ``network_g`` is a ``BlindSR_TA``.
    """

    contract: ClassVar = TeacherContract

    def run_network(self) -> Tensor:
        """Return the SR images (N, 3, H, W) of the teacher for ``self.lq`` and ``self.gt``."""
        sr, _ = self.speed.run(self.net_g, self.lq, self.gt)
        return sr

    def test(self) -> None:
        """Set ``self.output`` to the output for ``self.lq`` and ``self.gt``, of the averaged network if any."""
        net = self.net_g_ema if hasattr(self, "net_g_ema") else self.get_bare_model(self.net_g)
        training = net.training
        net.eval()
        with torch.no_grad():
            self.output = net(self.lq, self.gt)
        net.train(training)
