"""DistillFinetuneModel: a pruned network learns from a larger one what its feature maps should be.

Paper: Guo et al., "Towards Lightweight Super-Resolution with Dual Regression Learning", arXiv 2207.07929.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar

import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lightsr_basicsr import fields
from lightsr_basicsr.checkpoints import misfit, read_state_dict
from lightsr_basicsr.models.distill_checks import INPUT, DistillContract, checked_maps
from lightsr_basicsr.models.dual_regression_model import RANGE_OF_LEVELS, DualRegressionModel, on_range
from lightsr_basicsr.models.speed import to_float32
from lightsr_basicsr.pruning.selection import in_training_form
from lightsr_basicsr.registry import register


@register(MODEL_REGISTRY)
class DistillFinetuneModel(DualRegressionModel):
    """Trains with the loss of DualRegressionModel and the distance of feature maps from those of a teacher.

    Maps are compared by their means over the channels, so widths need not match, and summed over all pairs (MSE,
    ``l_kd``). Which maps: those that both networks name for ``train.kd_nums``, or the pairs of ``train.kd_maps``. The
    teacher runs in evaluation mode without gradients, and is not saved. Quirks, as published: of levels below the last
    DRN compares the whole input of the tail, skip included; at ``kd_nums`` 2 the map inside a level is counted from the
    end of its modules (see ``DRN.feature_maps``).

    DCLS may be trained without a teacher, as officially. There the dual network stays as it is, which is a slip; here
    it is trained.

    Args:
        opt (dict): Those of DualRegressionModel, and of ``options``.

    Raises:
        CheckpointError: If a file cannot be read or does not fit.
        ValueError: If the maps of the networks do not belong together.
    """

    options: ClassVar = {
        "network_teacher": fields.section("The larger network to learn from, of the same scale; DCLS needs none."),
        "path.pretrain_network_teacher": fields.text("Checkpoint of the teacher.", null=True),
        "path.teacher_param_key": fields.text("Which weights of that checkpoint.", null=True, default="params_ema"),
        "train.kd_nums": fields.count(
            "Which maps that networks name: 0 the last, 1 that of every level, 2 also one inside every level.",
            least=0,
            most=2,
            default=0,
        ),
        "train.kd_maps": fields.several(
            "Pairs of modules of student and teacher whose outputs, or with `:input` whose inputs, are compared.",
            fields.several("", fields.text(), 2),
            null=True,
        ),
        "train.kd_weight": fields.number("Weight of the distance of the maps.", least=0, default=1.0),
        "train.kd_image_opt": fields.section(
            "Loss between the SR images of student and teacher; SwinIR-light-DRC: {type: L1Loss}.", null=True
        ),
    }
    contract: ClassVar = DistillContract

    def init_training_settings(self) -> None:
        """Set up the teacher and the maps, then the training."""
        train, student = self.opt["train"], self.get_bare_model(self.net_g)
        self.teacher = self._build_teacher() if self.opt.get("network_teacher") else None
        self.maps = [] if self.teacher is None else checked_maps(student, self.teacher, self.opt)
        super().init_training_settings()
        loss = build_loss(train["kd_image_opt"]).to(self.device) if train.get("kd_image_opt") else None
        default = RANGE_OF_LEVELS if self.training_output == "levels" else 1.0
        self.cri_kd_image = on_range(loss, float(train.get("loss_range", default)))

    def _build_teacher(self) -> nn.Module:
        paths, teacher = self.opt["path"], build_network(self.opt["network_teacher"])
        file = paths["pretrain_network_teacher"]
        # The key does not start with param_key: BasicSR resets those to raw weights when a run is resumed.
        state, wrapper = read_state_dict(file, prefer=paths.get("teacher_param_key", "params_ema"))
        misfit.load_weights(teacher, self.contract.weights_for(teacher, state), file)
        get_root_logger().info(f"Teacher: {type(teacher).__name__} from {file} ({wrapper}).")
        return teacher.to(self.device).requires_grad_(False)

    def compute_losses(self) -> dict[str, Tensor]:
        """Return the losses of dual regression, ``l_kd`` and, where it is wanted, ``l_kd_image``."""
        if self.teacher is None:
            return super().compute_losses()
        ours, theirs = zip(*self.maps, strict=True) if self.maps else ((), ())
        with mean_maps(self.get_bare_model(self.net_g), ours) as seen:
            losses = super().compute_losses()
        with torch.no_grad(), mean_maps(self.teacher, theirs) as expected:
            image = self.teacher_image()
        if self.maps:
            pairs = ((seen[name], expected[other]) for name, other in self.maps)
            losses["l_kd"] = self.opt["train"].get("kd_weight", 1.0) * sum(F.mse_loss(*pair) for pair in pairs)
        if self.cri_kd_image:
            losses["l_kd_image"] = self.cri_kd_image(self.output, image)
        return losses

    def teacher_image(self) -> Tensor:
        """Return the SR image of the teacher, which also runs all of its levels."""
        levels = getattr(self.teacher, "training_output", "image") == "levels"
        teacher = in_training_form(self.teacher) if levels else self.teacher.eval()
        output: Any = self.speed.run(teacher, self.lq)
        return output[-1] if levels else output


@contextmanager
def mean_maps(net: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Collect feature maps of forward passes within the block by their names, as means over the channels (N, H, W)."""
    seen: dict[str, Tensor] = {}

    def watch(name: str) -> Any:
        def keep(module: nn.Module, inputs: tuple, output: Tensor) -> None:
            feature = to_float32(inputs[0] if name.endswith(INPUT) else output)
            # Of (N, H * W, C), as transformers have them, the last axis.
            seen[name] = feature.mean(1 if feature.ndim == 4 else -1)

        return keep

    with ExitStack() as stack:
        for name in dict.fromkeys(names):
            module = net.get_submodule(name.removesuffix(INPUT))
            stack.callback(module.register_forward_hook(watch(name)).remove)
        yield seen
