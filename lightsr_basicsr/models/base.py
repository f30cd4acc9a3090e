"""LossDictModel: BasicSR's SRModel with named losses, any checkpoint format, and test sets without ground truth."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import cached_property
from typing import Any, ClassVar

from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.registry import METRIC_REGISTRY, MODEL_REGISTRY
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset

from lightsr_basicsr.checkpoints import misfit, read_state_dict
from lightsr_basicsr.data.low_resolution import degrade_batch
from lightsr_basicsr.data.readable import BROKEN
from lightsr_basicsr.models.accumulation import in_parts
from lightsr_basicsr.models.contract import LossDictContract
from lightsr_basicsr.models.speed import OPTIONS, Speed
from lightsr_basicsr.registry import register


@register(MODEL_REGISTRY)
class LossDictModel(SRModel):
    """SRModel whose training step is the sum of named losses; subclasses extend :meth:`compute_losses`.

    Beyond SRModel it reads any official or BasicSR checkpoint without ``param_key_g``, and validates sets without
    ground truth.

    Args:
        opt (dict): Options as BasicSR's ``SRModel`` takes them, and ``options``.

    Raises:
        CheckpointError: If ``path.pretrain_network_g`` cannot be read or does not fit the network.
    """

    options: ClassVar = OPTIONS
    contract: ClassVar = LossDictContract
    # What feed_data sets with a value for each image: tensors (N, ...), or dictionaries of them.
    batch_attributes: ClassVar[tuple[str, ...]] = ("lq", "gt")
    # False after a step that :meth:`accepts`, or fp16's scaler, rejected because of NaN or Inf.
    loss_is_finite = True
    stage = ""  # what a run of several stages puts before the names of its sets

    @cached_property
    def speed(self) -> Speed:
        """How a training step runs networks."""
        return Speed(self.opt.get("train"), "cpu" if self.opt.get("num_gpu", 0) == 0 else "cuda")

    def init_training_settings(self) -> None:
        """Set up the training; what scales the losses with ``train.amp: fp16`` is saved among the schedulers."""
        super().init_training_settings()
        self.speed.cover(self.cri_perceptual)
        if self.speed.scaler is not None:
            self.schedulers.append(self.speed.scaler)

    def feed_data(self, data: dict[str, Any]) -> None:
        """Take a batch; if it has a ``degradation`` instead of ``lq``, degrade ``gt`` on the device."""
        if "degradation" in data and "lq" not in data:
            gt = data["gt"].to(self.device)
            data = {**data, "gt": gt, "lq": degrade_batch(gt, data["degradation"])}
        super().feed_data(data)

    def run_network(self) -> Tensor:
        """Return the output (N, C, H, W) of ``net_g`` for ``self.lq`` (N, C, h, w) in a training step."""
        return self.speed.run(self.net_g, self.lq)

    def compute_losses(self) -> dict[str, Tensor]:
        """Set ``self.output`` to the output of the network and return the losses, scalars, by name."""
        self.output = self.run_network()
        losses = {}
        if self.cri_pix:
            losses["l_pix"] = self.cri_pix(self.output, self.gt)
        if self.cri_perceptual:
            perceptual, style = self.cri_perceptual(self.output, self.gt)
            losses.update(l_percep=perceptual, l_style=style)
        return {name: loss for name, loss in losses.items() if loss is not None}

    def accepts(self, losses: Mapping[str, Tensor]) -> bool:
        """Return whether to take the step for these losses; all processes must decide alike."""
        return True

    @property
    def stepped_optimizers(self) -> list[Optimizer]:
        """The optimizers that minimize the sum of the losses."""
        return [self.optimizer_g]

    def optimize_parameters(self, current_iter: int) -> None:
        """Minimize the sum of :meth:`compute_losses` by one step, unless :meth:`accepts` rejects it."""
        for optimizer in self.stepped_optimizers:
            optimizer.zero_grad()
        losses = in_parts(self, self.add_gradients, self.batch_attributes)
        if self.accepts(losses):
            self.loss_is_finite = self.speed.step(self.stepped_optimizers)
            if self.ema_decay > 0:
                self.model_ema(decay=self.ema_decay)
        self.log_dict = self.reduce_loss_dict(losses)

    def add_gradients(self) -> dict[str, Tensor]:
        """Add the gradients of :meth:`compute_losses` for the batch, or a part of it; return the losses."""
        losses = self.compute_losses()
        self.speed.backward(sum(losses.values()))
        return losses

    def model_ema(self, decay: float = 0.999) -> None:
        """Update the averaged network from ``net_g``; copy the statistics of batch normalization.

        BasicSR averages parameters only, so its average keeps the statistics from before the first iteration.
        """
        super().model_ema(decay)
        for average, current in zip(self.net_g_ema.buffers(), self.get_bare_model(self.net_g).buffers(), strict=True):
            average.copy_(current)

    def load_network(
        self, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = "params"
    ) -> None:
        """Load the checkpoint ``load_path`` into ``net``.

        The first of ``param_key``, ``params_ema``, ``params``, ``state_dict`` and the bare dictionary that the file has
        is loaded. A test without ``path.param_key_g`` prefers ``params_ema``, which validation during training
        measures. With ``strict`` False, tensors that do not fit are skipped; at least one must fit.

        Raises:
            CheckpointError: If the file cannot be read or does not fit.
        """
        net = self.get_bare_model(net)
        if not self.is_train and "param_key_g" not in self.opt["path"]:
            param_key = None
        state, wrapper = read_state_dict(load_path, prefer=param_key)
        state = self.contract.weights_for(net, state)
        get_root_logger().info(f"Loading {type(net).__name__} from {load_path} ({wrapper}).")
        if not strict:
            self._print_different_keys_loading(net, dict(state), strict=False)
        misfit.load_weights(net, state, load_path, strict)

    def nondist_validation(self, dataloader: DataLoader, current_iter: int, tb_logger: Any, save_img: bool) -> None:
        """Validate as SRModel does; on a set without ground truth compute only metrics without reference."""
        whole = not self.opt["val"].get("metrics") or "gt" in _first_item(dataloader.dataset)
        with nullcontext() if whole else without_reference(self, dataloader.dataset.opt["name"]):
            super().nondist_validation(dataloader, current_iter, tb_logger, save_img)

    def resume_training(self, resume_state: dict) -> None:
        """Restore optimizers and schedulers; SystemExit for a state of another model."""
        _check_state(self, resume_state)
        super().resume_training(resume_state)


def _first_item(dataset: Dataset) -> Mapping[str, Any]:
    """Return the first item that can be read, {} if there is none; what validation reads is reported there."""
    return next((item for item in map(dataset.__getitem__, range(len(dataset))) if BROKEN not in item), {})


def _check_state(model: SRModel, resume_state: dict) -> None:
    """Raise SystemExit unless the state holds as many optimizers and schedulers as the model has."""
    kinds = ("optimizers", "schedulers")
    saved, made = ([len(state[kind]) for kind in kinds] for state in (resume_state, vars(model)))
    if saved != made:
        raise SystemExit(
            f"The training state has {saved[0]} optimizers and {saved[1]} schedulers, but {type(model).__name__} "
            f"has {made[0]} and {made[1]}: it was saved by another model_type. Start a new run under another name, "
            "with path.pretrain_network_g for the weights."
        )


def needs_reference(metric_type: str) -> bool:
    """Return whether the registered metric compares with a ground-truth image (it has a parameter ``img2``)."""
    return "img2" in inspect.signature(METRIC_REGISTRY.get(metric_type)).parameters


@contextmanager
def without_reference(model: SRModel, set_name: str) -> Iterator[None]:
    """Limit a model to metrics that need no ground truth, and log which these are."""
    metrics = model.opt["val"]["metrics"]
    usable = {name: metric for name, metric in metrics.items() if not needs_reference(metric["type"])}
    get_root_logger().info(f"{set_name} has no ground truth: metrics computed: {', '.join(usable) or 'none'}.")
    whole, results = model.opt, vars(model).pop("metric_results", None)
    model.opt = {**whole, "val": {**whole["val"], "metrics": usable or None}}
    try:
        yield
    finally:
        # SRModel keeps the metric names of the first set it sees for all later sets.
        vars(model).pop("metric_results", None)
        model.opt = whole
        if results is not None:
            model.metric_results = results
