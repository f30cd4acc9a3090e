"""DualRegressionModel: a network trained together with dual networks that map its SR images to LR.

Papers: Guo et al., "Closed-loop Matters: Dual Regression Networks for Single Image Super-Resolution", CVPR 2020,
arXiv 2003.07018 (networks with levels); "Towards Lightweight Super-Resolution with Dual Regression Learning",
arXiv 2207.07929 (any network).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from typing import Any, ClassVar

from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn
from torch.optim import Optimizer

from lightsr_basicsr import fields
from lightsr_basicsr.models import step_rules
from lightsr_basicsr.models.dual_checks import DualContract
from lightsr_basicsr.models.training_outputs import (
    KERNEL,
    Criteria,
    Parts,
    beside_keys,
    describe_missing,
    losses_beside,
    take_apart,
)
from lightsr_basicsr.registry import register

# The official trainer's `skip_threshold`.
SKIP_THRESHOLD = 1e6
# The range of the papers' losses: DRN works on [0, 255], the others on [0, 1].
RANGE_OF_LEVELS = 255.0


@register(MODEL_REGISTRY)
class DualRegressionModel(step_rules.StepRulesModel):
    """Trains with the pixel loss of SR images, and that of their dual images (shrunk by a dual network) against LR.

    The output of ``network_g`` in training decides:

    - a list of levels (DRN), with ``network_dual: {type: DRNDual, ...}``: ``l_pix`` compares the last level with HR,
      ``l_levels`` each lower one with the LR image of its size (the first one with the network's input), ``l_dual`` the
      dual image of each level but the first with the LR image of half its size;
    - one image (any network), with ``network_dual: {type: DualNetwork, downscale: ...}``: ``l_pix``, and ``l_dual`` of
      the dual image against the input;
    - an image and its dual image (SwinIR_DR, DAT_DR), without ``network_dual``: the same; one optimizer trains both;
    - an image, the blur kernel and, with ``dual: true``, the dual image (DCLS), without ``network_dual``: these losses,
      and ``l_ker`` of the kernel. BlindKernelModel trains the same, and draws kernels.

    Each dual network has its own optimizer and scheduler; they are saved as ``net_dual_*.pth`` and not built in tests.
    The perceptual loss takes the last image.

    Args:
        opt (dict): Those of StepRulesModel (``skip_threshold`` is 1e6 by default for levels) and of ``options``.
            ``path.pretrain_network_dual`` is a file of ours, an official list of DRN's dual networks, or for a
            DualNetwork a file of SwinIR_DR or DAT_DR, of which the dual part is loaded. With ``loss_range`` 255 an L1
            loss is 255 times as large: terms beside it, such as a perceptual loss, need a 255 times larger weight.

    Raises:
        CheckpointError: If a file cannot be read or does not fit.
        ValueError: If sections are missing, networks do not belong together, or a batch lacks LR images of a level.
    """

    options: ClassVar = {
        "network_dual": fields.section("The dual network, which shrinks SR images: DRNDual or DualNetwork."),
        "train.dual_opt": fields.section("Dual loss; in the papers {type: L1Loss, loss_weight: 0.1}.", null=True),
        "train.kernel_opt": fields.section("Loss of estimated kernels; in DCLS {type: L1Loss}.", null=True),
        "train.optim_dual": fields.section("Optimizer of each dual network; without it as `optim_g`.", null=True),
        "train.loss_range": fields.number(
            "Factor of the images in pixel and dual losses; 255 for DRN, else 1.", above=0
        ),
        **step_rules.OPTIONS,
        "train.reparam": fields.flag("Whether the deployed form is validated and saved too.", default=False),
    }
    contract: ClassVar = DualContract
    batch_attributes: ClassVar = ("lq", "gt", "beside")
    reparam_by_default = False

    def init_training_settings(self) -> None:
        """Set up the dual network, the training, and the dual loss."""
        train = self.opt["train"]
        net_g = self.get_bare_model(self.net_g)
        self.training_output = getattr(net_g, "training_output", "image")
        self.net_dual = _build_dual_network(self, net_g)
        self.default_threshold = SKIP_THRESHOLD if self.training_output == "levels" else None
        super().init_training_settings()
        factor = float(train.get("loss_range", RANGE_OF_LEVELS if self.training_output == "levels" else 1.0))
        dual, kernel = (
            build_loss(train[key]).to(self.device) if train.get(key) else None for key in ("dual_opt", "kernel_opt")
        )
        self.dual_weight = getattr(dual, "loss_weight", 1.0) or 1.0
        self.cri_pix = on_range(self.cri_pix, factor)
        self.criteria = Criteria(self.cri_pix, on_range(dual, factor), kernel)

    def setup_optimizers(self) -> None:
        """Set up the optimizer of ``net_g`` and one for each dual network, as in the official trainer."""
        train = self.opt["train"]
        options = deepcopy(dict(train.get("optim_dual") or train["optim_g"]))
        super().setup_optimizers()
        if self.net_dual is not None:
            dual, kind = self.get_bare_model(self.net_dual), options.pop("type")
            for net in dual.children() if self.training_output == "levels" else [dual]:
                self.optimizers.append(self.get_optimizer(kind, list(net.parameters()), **options))

    @property
    def stepped_optimizers(self) -> list[Optimizer]:
        """The optimizers of ``net_g`` and of the dual networks."""
        return self.optimizers

    def feed_data(self, data: dict[str, Any]) -> None:
        """Take a batch, with what the losses need beside: ``lq_down2`` and so on of levels, ``kernel`` of DCLS."""
        super().feed_data(data)
        keys = beside_keys(self.get_bare_model(self.net_g))
        # Validation needs none, so only the training step reports missing ones.
        self.beside = {key: data[key].to(self.device) for key in keys if key in data}
        self.missing = [key for key in keys if key not in data]

    def run_network(self) -> Tensor:
        """Return SR images (N, C, H, W); keep the other parts of the output for the losses."""
        return self.take_apart(super().run_network(), self.net_dual)

    def take_apart(self, output: Any, net_dual: nn.Module | None) -> Tensor:
        """Return the SR images in what the network gave; keep the rest, with the images of ``net_dual``."""
        dual = None if net_dual is None else partial(self.speed.run, net_dual)
        self.parts: Parts | None = take_apart(self.training_output, output, dual)
        return self.parts.image

    def compute_losses(self) -> dict[str, Tensor]:
        """Return the pixel loss of each level, the dual loss, which reaches ``net_g`` as well, and that of kernels."""
        if self.missing:
            raise ValueError(describe_missing(self.missing, type(self).__name__))
        losses = super().compute_losses()
        batch = {"lq": self.lq, "gt": self.gt, **self.beside}
        losses.update(losses_beside(self.parts, batch, self.criteria, self.opt["scale"]))
        self.parts = None
        return losses

    def logged_loss(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the sum of all terms with weight 1. Quirk: so does the official log, which the rule compares with."""
        total = sum(losses.values()).detach()
        return total + losses.get("l_dual", total * 0).detach() * (1 / self.dual_weight - 1)

    def save(self, epoch: int, current_iter: int) -> None:
        """Save the dual network, then ``net_g`` and, last, the training state."""
        if self.net_dual is not None:
            self.save_network(self.net_dual, "net_dual", current_iter)
        super().save(epoch, current_iter)


def on_range(loss: nn.Module | None, factor: float) -> Callable[[Tensor, Tensor], Tensor] | None:
    """Return ``loss`` as a function of two images in [0, 1], which are multiplied by ``factor`` first."""
    return None if loss is None else lambda image, target: loss(image * factor, target * factor)


def _build_dual_network(model: DualRegressionModel, net_g: nn.Module) -> nn.Module | None:
    """Return the dual network on the model's device, its file loaded; None where ``net_g`` holds it itself.

    Raises:
        ValueError: If the networks do not belong together.
    """
    opt, paths, networks = model.opt, model.opt["path"], {"network_g": net_g}
    if opt.get("network_dual"):
        networks["network_dual"] = build_network(opt["network_dual"])
    problems = [f"{key}: {text}" for key, text in model.contract(type(model)).find_problems(opt, networks)]
    if problems:
        raise ValueError("; ".join(problems))
    if model.training_output in ("image_and_dual", KERNEL):
        return None
    dual = model.model_to_device(networks["network_dual"])
    model.print_network(dual)
    if paths.get("pretrain_network_dual"):
        strict, key = paths.get("strict_load_dual", True), paths.get("param_key_dual", "params")
        model.load_network(dual, paths["pretrain_network_dual"], strict, key)
    return dual
