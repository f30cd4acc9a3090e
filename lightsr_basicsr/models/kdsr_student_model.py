"""KDSR, stage 2: the student, which learns to see in LR what the teacher saw in HR."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn

from lightsr_basicsr import fields
from lightsr_basicsr.checkpoints import CheckpointError, describe_difference, read_state_dict
from lightsr_basicsr.checkpoints.misfit import load_strictly
from lightsr_basicsr.models.blind import BlindModel
from lightsr_basicsr.registry import register

# Keys of the official option files: the first group overrules the scheduler there, the second is read and not used.
RATE_KEYS = ("lr_sr", "gamma_sr", "lr_decay_sr")
UNUSED_KEYS = ("encoder_iter", "lr_encoder", "gamma_encoder", "lr_decay_encoder")
# BasicSR's losses between images, which take no lists.
PIXEL_LOSSES = ("L1Loss", "MSELoss", "CharbonnierLoss", "WeightedTVLoss", "PerceptualLoss", "GANLoss")
# In which of its arguments the SR networks of teacher and student must agree.
SHARED_ARGUMENTS = ("scale", "n_feats", "n_sr_blocks")


@register(MODEL_REGISTRY)
class KDSRNetSTModel(BlindModel):
    """Trains KDSR's student by the pixel loss and the distance of its degradation vectors from the teacher's.

    Paper: Xia et al., ICLR 2023, arXiv 2211.16928. Only the teacher's encoder is kept; it runs without gradients, is in
    no optimizer, is not wrapped for distributed training and not saved. Tests build no teacher.

    Args:
        opt (dict): Options; beyond those of SRModel:
            network_TA: The teacher, a ``BlindSR_TA``.
            path.pretrain_network_TA (str): Its file.
            path.teacher_param_key (str): Which weights of that file. Default: ``params_ema``.
            path.pretrain_network_g (str): A student's file, or a teacher's, of which G is taken strictly.
            train.kd_opt: The distillation loss, a ``KDLoss``.
            train.encoder_only_iter (int): For so many iterations train the encoder alone, by distillation. Default: 0.
            train.lr_sr, gamma_sr, lr_decay_sr: As the official files have them: the rate of iteration i is
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
    required_paths = ("pretrain_network_TA",)
    training_networks = ("network_TA",)

    def __init__(self, opt: dict[str, Any]) -> None:
        self.drawn_in_part = False
        self.encoder_only_iter = int((opt.get("train") or {}).get("encoder_only_iter") or 0)
        if self.encoder_only_iter:
            # G gets no gradient for a while, which distributed training otherwise takes for a mistake.
            opt = {**opt, "find_unused_parameters": True}
        super().__init__(opt)

    @classmethod
    def unsaved_networks(cls, options: Mapping[str, Any], current_iter: int) -> tuple[str, ...]:
        """Return the teacher's key: see :meth:`LossDictModel.unsaved_networks`."""
        return cls.training_networks

    def init_training_settings(self) -> None:
        """Set up the teacher and the distillation loss, then what SRModel sets up."""
        train = self.opt["train"]
        self.teacher = self._frozen_teacher()
        self.cri_kd = build_loss(train["kd_opt"]).to(self.device)
        self.encoder_only = False
        self.rate = {key: train[key] for key in RATE_KEYS} if "lr_sr" in train else None
        super().init_training_settings()
        if self.ema_decay > 0 and self.drawn_in_part:
            self.model_ema(0)  # what the file does not hold was drawn a second time for the averaged network
        self._tell_of_official_keys(train)

    def _frozen_teacher(self) -> nn.Module:
        paths = self.opt["path"]
        teacher, file = build_network(self.opt["network_TA"]), paths["pretrain_network_TA"]
        # Not a key that begins with param_key: BasicSR turns those to raw weights when a run is resumed.
        state, wrapper = read_state_dict(file, prefer=paths.get("teacher_param_key", "params_ema"))
        load_strictly(teacher, state, file)
        get_root_logger().info(f"Teacher: {type(teacher).__name__} from {file} ({wrapper}).")
        del teacher.G  # most of the weights, and only the encoder is asked
        return teacher.to(self.device).eval().requires_grad_(False)

    def _tell_of_official_keys(self, train: Mapping[str, Any]) -> None:
        logger = get_root_logger()
        if self.rate:
            logger.warning(
                "train.lr_sr, gamma_sr and lr_decay_sr overrule train.scheduler for network_g: "
                "leave them out and give the scheduler its milestones."
            )
        ignored = [key for key in UNUSED_KEYS if key in train]
        if ignored:
            logger.warning(
                "train.%s: not used, as in the official code. To train the encoder alone at first: encoder_only_iter.",
                ", ".join(ignored),
            )

    def load_network(
        self, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = "params"
    ) -> None:
        """Load a student's file as LossDictModel does; of a teacher's file load G strictly and leave the encoder.

        Raises:
            CheckpointError: If the file cannot be read or does not fit.
        """
        state, wrapper = read_state_dict(load_path, prefer=self.opt["path"].get("teacher_param_key", "params_ema"))
        net = self.get_bare_model(net)
        if not self.is_train or not is_teacher(state):
            super().load_network(net, load_path, strict, param_key)
            if hasattr(net, "represent") and not strict:  # a student, and not the discriminator
                self.drawn_in_part = bool(describe_difference(net, state))
            return
        misfit = self.describe_misfit(net, state, load_path, strict)
        if misfit:
            raise CheckpointError(misfit)
        net.G.load_state_dict(sr_network_of(state))
        self.drawn_in_part = True
        get_root_logger().info(f"G of {type(net).__name__} starts from the teacher {load_path} ({wrapper}).")

    @classmethod
    def describe_misfit(cls, net: nn.Module, state: Mapping[str, Tensor], source: str, strict: bool) -> str:
        """Return why :meth:`load_network` would not load ``state`` of the file ``source`` into ``net``; '' if it does.

        See :meth:`LossDictModel.describe_misfit`.
        """
        if not is_teacher(state) or getattr(net, "encoder_sees_gt", True):
            return super().describe_misfit(net, state, source, strict)
        difference = describe_difference(net.G, sr_network_of(state))
        return f"{source}: the teacher's G does not fit {type(net).__name__}:{difference}" if difference else ""

    def teacher_vectors(self) -> list[Tensor]:
        """Return the teacher's vectors (N, 4 * n_feats) for this batch."""
        return self.vectors_of(self.gt)

    @torch.no_grad()
    def vectors_of(self, hr: Tensor) -> list[Tensor]:
        """Return the teacher's vectors (N, 4 * n_feats) for this batch with ``hr`` as its HR images."""
        return self.teacher.represent(self.lq, hr)[1]

    def run_network(self) -> Tensor:
        """Return what the student makes of ``self.lq``, and keep its vectors in ``self.distilled``."""
        sr, self.distilled = self.net_g(self.lq)
        return sr

    def compute_losses(self) -> dict[str, Tensor]:
        """Return the pixel loss and the distillation loss; while the encoder trains alone, only the latter."""
        teacher = self.teacher_vectors()
        if self.encoder_only:
            return {"l_kd": self.cri_kd(teacher, self.net_g(self.lq, represent_only=True))}
        losses = super().compute_losses()
        return {**losses, "l_kd": self.cri_kd(teacher, self.distilled)}

    def optimize_parameters(self, current_iter: int) -> None:
        """Take one step; the first ``train.encoder_only_iter`` iterations leave G as it is."""
        self.encoder_only = current_iter <= self.encoder_only_iter
        super().optimize_parameters(current_iter)

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """Step the schedulers; then the official keys, where given, overrule the rate of ``net_g``."""
        super().update_learning_rate(current_iter, warmup_iter)
        if self.rate:
            rate = self.rate["lr_sr"] * self.rate["gamma_sr"] ** (current_iter // self.rate["lr_decay_sr"])
            for group in self.optimizer_g.param_groups:
                group["lr"] = rate

    @classmethod
    def find_problems(cls, options: Mapping[str, Any], networks: Mapping[str, nn.Module]) -> Iterator[tuple[str, str]]:
        """Yield networks that are no teacher and student, or not of one kind, and missing losses."""
        yield from super().find_problems(options, networks)
        train = options.get("train") or {}
        for key, gain in (("pixel_opt", "{type: L1Loss}"), ("kd_opt", "{type: KDLoss}")):
            if not train.get(key):
                yield f"train.{key}", f"is missing: {cls.__name__} needs it, for example {gain}"
        if isinstance(train.get("kd_opt"), Mapping) and train["kd_opt"].get("type") in PIXEL_LOSSES:
            yield "train.kd_opt.type", f"must be a loss between lists of vectors, KDLoss; got {train['kd_opt']['type']}"
        missing = [key for key in RATE_KEYS if key not in train]
        if "lr_sr" in train and missing:
            yield "train.lr_sr", f"needs {' and '.join(missing)} too; or leave it out and use the scheduler"
        if "network_TA" not in options:
            yield "network_TA", "is missing: the teacher, for example {type: BlindSR_TA, scale: 4}"
        roles = {"network_g": ("student", False), "network_TA": ("teacher", True)}
        found = {key: networks[key] for key in roles if key in networks}
        wrong = [key for key, net in found.items() if getattr(net, "encoder_sees_gt", None) is not roles[key][1]]
        for key in wrong:
            name = {"student": "BlindSR_ST", "teacher": "BlindSR_TA"}[roles[key][0]]
            yield f"{key}.type", f"must be a {roles[key][0]}, {name}; got {type(found[key]).__name__}"
        if len(found) == len(roles) and not wrong:
            yield from _find_difference(found["network_TA"], found["network_g"])


def is_teacher(state: Mapping[str, Tensor]) -> bool:
    """Tell whether ``state`` is a KDSR teacher's, by its encoder."""
    return "E.E.0.weight" in state


def sr_network_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of G in ``state``, without their prefix."""
    return {key.removeprefix("G."): value for key, value in state.items() if key.startswith("G.")}


def _find_difference(teacher: nn.Module, student: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield the arguments in which the SR networks differ, for the student's starts as the teacher's."""
    arguments = [net.arguments_from({key: value.shape for key, value in net.state_dict().items()})
                 for net in (teacher, student)]  # fmt: skip
    for key in SHARED_ARGUMENTS:
        theirs, ours = (each[key] for each in arguments)
        if theirs != ours:
            yield f"network_TA.{key}", f"is {theirs}, but the student's (network_g.{key}) is {ours}: they must be equal"
