"""BlindKernelModel: a network that estimates the blur kernel, trained by the image and by the kernel.

Paper: Luo et al., "Deep Constrained Least Squares for Blind Image Super-Resolution", CVPR 2022.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from basicsr.losses import build_loss
from basicsr.utils import imwrite
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor
from torch.utils.data import DataLoader

from lightsr_basicsr import fields
from lightsr_basicsr.data.low_resolution import target_kernel
from lightsr_basicsr.models.base import LossDictModel
from lightsr_basicsr.models.blind_kernel_checks import BlindKernelContract
from lightsr_basicsr.models.training_outputs import KERNEL, Criteria, describe_missing, losses_beside, take_apart
from lightsr_basicsr.registry import register

PIXELS = 8  # of a picture, for one value of a kernel
GAP = 16  # pixels between two kernels


@register(MODEL_REGISTRY)
class BlindKernelModel(LossDictModel):
    """LossDictModel for DCLS: ``l_pix`` trains the restorer, ``l_ker`` the estimator, which the image does not reach.

    A batch has HR images ``gt`` and the kernels ``kernel`` (N, k, k) that blur them, as ``KernelBlindDataset`` makes
    them. The target is not that kernel, but the one of the LR image
    (:func:`~lightsr_basicsr.data.low_resolution.target_kernel`). Images whose target is not finite, as flat ones, do
    not count in ``l_ker``.

    With a dual network in ``network_g``, ``l_dual`` compares its output with the LR image and trains all of it; the
    official code leaves the dual network as it is.

    Args:
        opt (dict): Those of LossDictModel and of ``options``.

    Raises:
        CheckpointError: If a file cannot be read or does not fit.
        ValueError: If the network, the losses and the data do not belong together, or a batch has no kernels.
    """

    options: ClassVar = {
        "train.kernel_opt": fields.section("Loss of the estimated kernels; in the paper {type: L1Loss}."),
        "train.dual_opt": fields.section("Loss of a built-in dual network; in DRC {type: L1Loss, loss_weight: 0.1}."),
        "val.save_kernels": fields.flag(
            "Whether pictures of the estimated kernels are saved, beside the true ones where these are known.",
            default=False,
        ),
    }
    contract: ClassVar = BlindKernelContract
    batch_attributes: ClassVar = ("lq", "gt", "hr_kernel")
    kernel_folder: Path | None = None  # of the set that is being validated

    def init_training_settings(self) -> None:
        """Set up the training, and the losses of kernels and dual images."""
        networks = {"network_g": self.get_bare_model(self.net_g)}
        problems = [f"{key}: {text}" for key, text in self.contract(type(self)).find_problems(self.opt, networks)]
        if problems:
            raise ValueError("; ".join(problems))
        super().init_training_settings()
        train = self.opt["train"]
        dual = build_loss(train["dual_opt"]).to(self.device) if train.get("dual_opt") else None
        self.criteria = Criteria(dual=dual, kernel=build_loss(train["kernel_opt"]).to(self.device))

    def feed_data(self, data: dict[str, Any]) -> None:
        """Take a batch, with its HR kernels if it has them."""
        super().feed_data(data)
        self.hr_kernel = data["kernel"].to(self.device) if "kernel" in data and "gt" in data else None
        self.names = data.get("lq_path", ())

    def run_network(self) -> Tensor:
        """Return SR images (N, C, H, W); keep kernels and dual images for the losses."""
        self.parts = take_apart(KERNEL, super().run_network())
        return self.parts.image

    def true_kernel(self) -> Tensor | None:
        """Return the target (N, 1, k, k) for the batch, None where its HR kernels are unknown, or larger than LR."""
        if self.hr_kernel is None or min(self.lq.shape[2:]) < self.hr_kernel.shape[-1]:
            return None
        with torch.no_grad():
            return target_kernel(self.gt, self.hr_kernel, self.opt["scale"])

    def compute_losses(self) -> dict[str, Tensor]:
        """Add the loss of the kernels and, if there is a dual network, that of its images."""
        if self.hr_kernel is None:
            raise ValueError(describe_missing(["kernel"], type(self).__name__))
        losses = super().compute_losses()
        batch = {"lq": self.lq, "gt": self.gt, "kernel": self.hr_kernel}
        losses.update(losses_beside(self.parts, batch, self.criteria, self.opt["scale"]))
        self.parts = None
        return losses

    def nondist_validation(self, dataloader: DataLoader, current_iter: int, tb_logger: Any, save_img: bool) -> None:
        """Validate as LossDictModel does; save the kernels of each image if ``val.save_kernels`` says so."""
        if self.opt["val"].get("save_kernels"):
            folder = Path(self.opt["path"]["visualization"], "kernels", dataloader.dataset.opt["name"])
            self.kernel_folder, self.kernel_iter = folder, current_iter if self.is_train else None
        try:
            super().nondist_validation(dataloader, current_iter, tb_logger, save_img)
        finally:
            self.kernel_folder = None

    def get_current_visuals(self) -> dict[str, Tensor]:
        """Return the images of a validation; write the picture of its kernels on the way."""
        if self.kernel_folder is not None:
            net = self.get_bare_model(getattr(self, "net_g_ema", self.net_g))
            with torch.no_grad():
                kernels = [net.Estimator(self.lq), self.true_kernel()]
            end = "" if self.kernel_iter is None else f"_{self.kernel_iter}"
            picture = draw_kernels([kernel[0, 0] for kernel in kernels if kernel is not None])
            imwrite(picture, str(self.kernel_folder / f"{Path(self.names[0]).stem}{end}.png"))
        return super().get_current_visuals()


def draw_kernels(kernels: list[Tensor]) -> np.ndarray:
    """Return kernels (k, k) side by side, gray levels (H, W) of 8 bits, each from 0 to its largest value.

    >>> draw_kernels([torch.eye(3), torch.eye(3)]).shape
    (24, 64)
    """
    parts: list[np.ndarray] = []
    for kernel in kernels:
        kernel = kernel.detach().float().cpu().nan_to_num()
        levels = (kernel.clamp(min=0) / kernel.max().clamp(min=1e-12) * 255).round().to(torch.uint8).numpy()
        parts += [np.full((PIXELS * len(levels), GAP), 255, np.uint8)] if parts else []
        parts.append(np.kron(levels, np.ones((PIXELS, PIXELS), np.uint8)))
    return np.concatenate(parts, axis=1)
