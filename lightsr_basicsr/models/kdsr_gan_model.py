"""KDSR, stage 3 of the real-world family: the student continues with perceptual and adversarial losses."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from basicsr.models.srgan_model import SRGANModel
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor

from lightsr_basicsr import fields
from lightsr_basicsr.models.accumulation import in_parts
from lightsr_basicsr.models.kdsr_checks import USM_SWITCHES, GANContract
from lightsr_basicsr.models.kdsr_student_model import KDSRNetSTModel
from lightsr_basicsr.registry import register


@register(MODEL_REGISTRY)
class KDSRGANSTModel(KDSRNetSTModel, SRGANModel):
    """Trains KDSR's real-world student with pixel, distillation, perceptual and adversarial losses.

    Source: Zj-BinXia/KDSR, the GAN half. **Quirk:** there three switches select sharpened HR images (unsharp masking),
    but all losses use the plain ones; only the teacher's input follows ``l1_gt_usm``. ``usm_targets: teacher_only``
    reproduces that; with ``per_loss`` each loss follows its switch, as in Real-ESRGAN. LR images are always made of
    plain HR images.

    Args:
        opt (dict): Those of KDSRNetSTModel and SRGANModel, and of ``options``.
    """

    options: ClassVar = {
        "l1_gt_usm": fields.flag("Whether the pixel loss and the teacher take sharpened HR images.", default=False),
        "percep_gt_usm": fields.flag("Whether the perceptual loss takes sharpened HR images.", default=False),
        "gan_gt_usm": fields.flag("Whether the adversarial loss takes sharpened HR images.", default=False),
        "usm_targets": fields.text(
            "Whether `l1_gt_usm` acts on the teacher alone, or each of the three keys on its loss.",
            ("teacher_only", "per_loss"),
            default="teacher_only",
        ),
    }
    contract: ClassVar = GANContract
    batch_attributes: ClassVar = ("lq", "gt", "gt_usm")

    def __init__(self, opt: dict[str, Any]) -> None:
        # The synthesis would blur sharpened images.
        super().__init__({**opt, "gt_usm": False})

    def optimize_parameters(self, current_iter: int) -> None:
        """Take one step of the student (every ``net_d_iters`` after ``net_d_init_iters``) and one of ``net_d``."""
        # Not in feed_data: validation images may be too small to sharpen, and need not be.
        self.gt_usm = self.usm_sharpener(self.gt) if any(self.opt.get(key) for key in USM_SWITCHES) else self.gt
        self.net_d.requires_grad_(False)
        self.optimizer_g.zero_grad()
        losses: dict[str, Tensor] = {}
        self.loss_is_finite = True
        if current_iter % self.net_d_iters == 0 and current_iter > self.net_d_init_iters:
            losses = in_parts(self, self.add_gradients, self.batch_attributes)
            self.loss_is_finite = self.speed.step([self.optimizer_g])
        else:
            with torch.no_grad():
                self.output = self.run_network()
        self.net_d.requires_grad_(True)
        self.optimizer_d.zero_grad()
        judged = (*self.batch_attributes, "output")
        losses.update(in_parts(self, self._add_gradients_of_discriminator, judged))
        self.loss_is_finite &= self.speed.step([self.optimizer_d])
        self.log_dict = self.reduce_loss_dict(losses)
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)

    def target(self, switch: str) -> Tensor:
        """Return the HR images (N, 3, H, W) with which the loss of this switch compares."""
        literal = self.opt.get("usm_targets", "teacher_only") == "teacher_only"
        return self.gt if literal or not self.opt.get(switch) else self.gt_usm

    def compute_losses(self) -> dict[str, Tensor]:
        """Set ``self.output`` to the student's output and return its losses by name."""
        teacher = self.vectors_of(self.gt_usm if self.opt.get("l1_gt_usm") else self.gt)
        self.output = self.run_network()
        losses = {
            "l_g_pix": self.cri_pix(self.output, self.target("l1_gt_usm")),
            "l_kd": self.cri_kd(teacher, self.distilled),
        }
        if self.cri_perceptual:
            perceptual, style = self.cri_perceptual(self.output, self.target("percep_gt_usm"))
            losses.update(l_g_percep=perceptual, l_g_style=style)
        losses["l_g_gan"] = self.cri_gan(self.speed.run(self.net_d, self.output), True, is_disc=False)
        return {name: loss for name, loss in losses.items() if loss is not None}

    def _add_gradients_of_discriminator(self) -> dict[str, Tensor]:
        logged = {}
        for name, images, real in (("real", self.target("gan_gt_usm"), True), ("fake", self.output.detach(), False)):
            prediction = self.speed.run(self.net_d, images)
            loss = self.cri_gan(prediction, real, is_disc=True)
            self.speed.backward(loss)
            logged[f"l_d_{name}"], logged[f"out_d_{name}"] = loss, prediction.detach().mean()
        return logged
