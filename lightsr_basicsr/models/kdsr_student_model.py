"""KDSR, stage 2: the student, which learns to estimate the teacher's degradation vectors from LR images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn

from lightsr_basicsr import fields
from lightsr_basicsr.checkpoints import CheckpointError, describe_difference, misfit, read_state_dict
from lightsr_basicsr.checkpoints.keys import fitted
from lightsr_basicsr.models.blind import BlindModel
from lightsr_basicsr.models.kdsr_checks import RATE_KEYS, StudentContract, is_teacher, sr_network_of
from lightsr_basicsr.registry import register

# Keys of the official option files that are read there and not used.
UNUSED_KEYS = ("encoder_iter", "lr_encoder", "gamma_encoder", "lr_decay_encoder")


@register(MODEL_REGISTRY)
class KDSRNetSTModel(BlindModel):
    """Trains KDSR's student with the pixel loss and the distance of its degradation vectors from the teacher's.

    Paper: Xia et al., ICLR 2023, arXiv 2211.16928. Only the teacher's encoder is kept; it runs without gradients, is in
    no optimizer, is not wrapped for distributed training and not saved. Tests build no teacher.

    Args:
        opt (dict): Those of BlindModel and of ``options``. ``path.pretrain_network_g`` is a student's file, or a
            teacher's, of which G is loaded strictly. With ``train.lr_sr`` the learning rate of iteration i is
            ``lr_sr * gamma_sr ** (i // lr_decay_sr)``, whatever the scheduler says.

    Raises:
        CheckpointError: If a file cannot be read or does not fit.
    """

    options: ClassVar = {
        "network_TA": fields.section("The teacher, a BlindSR_TA."),
        "path.pretrain_network_TA": fields.text("Checkpoint of the teacher.", null=True),
        "path.teacher_param_key": fields.text("Which weights of that checkpoint.", null=True, default="params_ema"),
        "train.kd_opt": fields.section("Distillation loss, a KDLoss."),
        "train.encoder_only_iter": fields.count(
            "Iterations at the start that train the encoder alone, by distillation.",
            least=0,
            as_float=True,
            null=True,
            default=0,
        ),
        "train.lr_sr": fields.number("Learning rate of `network_g`; overrules the scheduler.", least=0),
        "train.gamma_sr": fields.number("Factor of `lr_sr`, every `lr_decay_sr` iterations.", least=0),
        "train.lr_decay_sr": fields.count("Iterations between two steps of `lr_sr`.", as_float=True),
        **{f"train.{key}": fields.anything("Of the official option files; not used.") for key in UNUSED_KEYS},
    }
    contract: ClassVar = StudentContract

    def __init__(self, opt: dict[str, Any]) -> None:
        self.drawn_in_part = False
        self.encoder_only_iter = int((opt.get("train") or {}).get("encoder_only_iter") or 0)
        if self.encoder_only_iter:
            # G has no gradient at first, which distributed training would otherwise refuse.
            opt = {**opt, "find_unused_parameters": True}
        super().__init__(opt)

    def init_training_settings(self) -> None:
        """Set up the teacher, the distillation loss, and the training."""
        train = self.opt["train"]
        self.teacher = self._frozen_teacher()
        self.cri_kd = build_loss(train["kd_opt"]).to(self.device)
        self.encoder_only = False
        self.rate = {key: train[key] for key in RATE_KEYS} if "lr_sr" in train else None
        super().init_training_settings()
        if self.ema_decay > 0 and self.drawn_in_part:
            self.model_ema(0)  # weights that the file lacks were initialized twice, differently
        _warn_of_official_keys(train)

    def _frozen_teacher(self) -> nn.Module:
        paths = self.opt["path"]
        teacher, file = build_network(self.opt["network_TA"]), paths["pretrain_network_TA"]
        # The key does not start with param_key: BasicSR resets those to raw weights when a run is resumed.
        state, wrapper = read_state_dict(file, prefer=paths.get("teacher_param_key", "params_ema"))
        misfit.load_weights(teacher, state, file)
        get_root_logger().info(f"Teacher: {type(teacher).__name__} from {file} ({wrapper}).")
        del teacher.G  # only the encoder is used, and G has most of the weights
        return teacher.to(self.device).eval().requires_grad_(False)

    def load_network(
        self, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = "params"
    ) -> None:
        """Load a student's file as LossDictModel does; from a teacher's file load G alone, strictly.

        Raises:
            CheckpointError: If the file cannot be read or does not fit.
        """
        state, wrapper = read_state_dict(load_path, prefer=self.opt["path"].get("teacher_param_key", "params_ema"))
        net = self.get_bare_model(net)
        if not self.is_train or not is_teacher(state):
            super().load_network(net, load_path, strict, param_key)
            if hasattr(net, "represent") and not strict:  # a student, and not the discriminator
                self.drawn_in_part = bool(describe_difference(net, fitted(net, state, strict=False)))
            return
        misfit = self.contract.describe_misfit(net, state, load_path, strict)
        if misfit:
            raise CheckpointError(misfit)
        net.G.load_state_dict(sr_network_of(state))
        self.drawn_in_part = True
        get_root_logger().info(f"G of {type(net).__name__} starts from the teacher {load_path} ({wrapper}).")

    @torch.no_grad()
    def vectors_of(self, hr: Tensor) -> list[Tensor]:
        """Return the teacher's vectors (N, 4 * n_feats) for this batch, with ``hr`` (N, 3, H, W) as HR images."""
        return self.speed.run(self.teacher.represent, self.lq, hr)[1]

    def run_network(self) -> Tensor:
        """Return the student's SR images (N, 3, H, W) for ``self.lq``; keep its vectors in ``self.distilled``."""
        sr, self.distilled = self.speed.run(self.net_g, self.lq)
        return sr

    def compute_losses(self) -> dict[str, Tensor]:
        """Return the pixel and distillation losses; while the encoder is trained alone, only the latter."""
        teacher = self.vectors_of(self.gt)
        if self.encoder_only:
            return {"l_kd": self.cri_kd(teacher, self.speed.run(self.net_g, self.lq, represent_only=True))}
        losses = super().compute_losses()
        return {**losses, "l_kd": self.cri_kd(teacher, self.distilled)}

    def optimize_parameters(self, current_iter: int) -> None:
        """Take one step; the first ``train.encoder_only_iter`` iterations do not change G."""
        self.encoder_only = current_iter <= self.encoder_only_iter
        super().optimize_parameters(current_iter)

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """Step the schedulers; the official keys, if present, override the learning rate of ``net_g``."""
        super().update_learning_rate(current_iter, warmup_iter)
        if self.rate:
            rate = self.rate["lr_sr"] * self.rate["gamma_sr"] ** (current_iter // self.rate["lr_decay_sr"])
            for group in self.optimizer_g.param_groups:
                group["lr"] = rate


def _warn_of_official_keys(train: Mapping[str, Any]) -> None:
    """Log which keys of the official option files override the scheduler, and which are not used."""
    logger = get_root_logger()
    if "lr_sr" in train:
        logger.warning(
            "train.lr_sr, gamma_sr and lr_decay_sr override train.scheduler for network_g: "
            "remove them and set the milestones of the scheduler."
        )
    ignored = [key for key in UNUSED_KEYS if key in train]
    if ignored:
        logger.warning(
            "train.%s: not used, as in the official code. To train the encoder alone at first, set encoder_only_iter.",
            ", ".join(ignored),
        )
