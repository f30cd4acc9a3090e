"""ReparamModel: train the training form, validate and save the deployed form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch import nn
from torch.utils.data import DataLoader

from lightsr_basicsr import fields
from lightsr_basicsr.archs.reparam import deploy
from lightsr_basicsr.models.base import LossDictModel
from lightsr_basicsr.models.contract import ReparamContract
from lightsr_basicsr.registry import register

# In the range [0, 1], in which one of 255 gray levels is 4e-3. Rounding alone is below 1e-5.
NOTABLE_DIFFERENCE = 1e-3


@register(MODEL_REGISTRY)
class ReparamModel(LossDictModel):
    """Trains the training form of a network with reparameterizable blocks.

    Validation runs the deployed form, built once per set from the averaged network (if any), and logs the largest
    difference from the training form. The deployed form is saved beside ``net_g_<iter>.pth`` as
    ``net_g_<iter>_deploy.pth``, with raw and averaged weights. Training, its states and resumption use the training
    form only. Tests run the deployed form too.

    Args:
        opt (dict): Those of LossDictModel and of ``options``. ``train.reparam`` is true by default here, false in
            models that derive from this one, which then behave like LossDictModel.

    Raises:
        CheckpointError: If ``path.pretrain_network_g`` cannot be read or does not fit.
    """

    options: ClassVar = {
        "train.reparam": fields.flag("Whether the deployed form is validated and saved too.", default=True),
    }
    contract: ClassVar = ReparamContract
    reparam_by_default = True
    net_deploy: nn.Module | None = None
    per_image = ("differences",)  # lists of a value per image, which processes that share a set put together

    @classmethod
    def deploys(cls, options: Mapping[str, Any]) -> bool:
        """Return whether a run with these options validates and saves the deployed form."""
        train = options.get("train")
        return (train if isinstance(train, Mapping) else {}).get("reparam", cls.reparam_by_default) is True

    def nondist_validation(self, dataloader: DataLoader, current_iter: int, tb_logger: Any, save_img: bool) -> None:
        """Validate the deployed form, and log how much the training form differs from it."""
        self.differences: list[float] = []
        if self.deploys(self.opt):
            self.net_deploy = self._deployed(getattr(self, "net_g_ema", self.net_g))
        try:
            super().nondist_validation(dataloader, current_iter, tb_logger, save_img)
        finally:
            self.net_deploy = None
        if self.differences:
            name, most = dataloader.dataset.opt["name"], float(np.max(self.differences))
            self._log_difference(most, name, current_iter, tb_logger)

    def _deployed(self, net: nn.Module) -> nn.Module | None:
        """Return the deployed form of ``net``; if that fails, log it and return None, and stop a test."""
        try:
            return deploy(self.get_bare_model(net))
        except Exception as error:
            if not self.is_train:
                raise SystemExit(f"The network cannot be deployed, as a test needs it: {error}") from error
            # Blocks of other packages may raise any exception; a long training must continue.
            get_root_logger().warning(f"The network cannot be deployed now: {error}")
            return None

    def test(self) -> None:
        """Run the network; in validation also the deployed form, whose image is the result."""
        super().test()
        if self.net_deploy is None:
            return
        trained = self.output
        with torch.no_grad():
            self.output = self.net_deploy(self.lq)
        self.differences.append((trained - self.output).abs().max().item())

    def _log_difference(self, difference: float, dataset_name: str, current_iter: int, tb_logger: Any) -> None:
        logger = get_root_logger()
        text = f"{dataset_name}: training and deployed form differ by at most {difference:.1e} of the range [0, 1]."
        logger.info(text) if difference <= NOTABLE_DIFFERENCE else logger.warning(text)
        if tb_logger:
            tb_logger.add_scalar(f"metrics/{dataset_name}/deploy_difference", difference, current_iter)

    def save(self, epoch: int, current_iter: int) -> None:
        """Save the deployed form, then the training form and, last, the training state."""
        if self.deploys(self.opt):
            found = {"params": self.net_g, "params_ema": getattr(self, "net_g_ema", None)}
            nets = {key: self._deployed(net) for key, net in found.items() if net is not None}
            if None not in nets.values():
                label = "latest" if current_iter == -1 else current_iter
                self.save_network([*nets.values()], "net_g", f"{label}_deploy", param_key=[*nets])
        super().save(epoch, current_iter)
