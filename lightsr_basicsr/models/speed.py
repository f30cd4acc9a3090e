"""Options of a training step: half precision, another order of images in memory, compiled networks, batches in parts.

They change only how a network runs within a step. Losses, weights, optimizers, checkpoints and validation are as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightsr_basicsr import fields
from lightsr_basicsr.errors import UserError, short_message

TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
OPTIONS = {
    "train.amp": fields.text(
        "Half precision within the networks: `bf16`, or on a GPU `fp16` with scaled gradients; losses, weights and "
        "validation stay float32.",
        tuple(TYPES),
        null=True,
    ),
    "train.channels_last": fields.flag(
        "Whether networks get images as (N, H, W, C) in memory, which convolutions take faster.", default=False
    ),
    "train.compile": fields.flag(
        "Whether `torch.compile` translates the networks, which takes minutes at the start.", default=False
    ),
    "train.accumulate": fields.count(
        "Parts of each batch that run one after the other, for less memory; their gradients are averaged.", default=1
    ),
}
PARTS = "accumulate"
# Modules of torch that translate networks.
COMPILER = ("torch._dynamo", "torch._inductor")
KEYS = tuple(key.removeprefix("train.") for key in OPTIONS)
# A key that the state of a scaler has, and that of no scheduler.
MARK = "growth_interval"


class CompileError(UserError):
    """``torch.compile`` cannot translate a network, as where a compiler lacks its headers."""


class Scaler:
    """Scales losses so that gradients of fp16 do not vanish; a step with gradients that are not finite is left out.

    It is listed among the schedulers, so that BaseModel saves and restores it.

    Args:
        device (str): ``'cuda'`` or ``'cpu'``.
    """

    def __init__(self, device: str) -> None:
        # torch before 2.3 knows those of GPUs only.
        self.scaler = torch.amp.GradScaler(device) if hasattr(torch.amp, "GradScaler") else torch.cuda.amp.GradScaler()

    def scale(self, loss: Tensor) -> Tensor:
        """Return a scalar loss times the scale."""
        return self.scaler.scale(loss)

    def take_steps(self, optimizers: Iterable[Optimizer]) -> bool:
        """Take a step of each optimizer with what :meth:`scale` made; adapt the scale.

        Return whether gradients were finite, in all processes.
        """
        for optimizer in optimizers:
            # torch's scaler refuses one without gradients, whose step changes nothing.
            if has_gradients(optimizer):
                self.scaler.step(optimizer)
        before = self.scaler.get_scale()
        self.scaler.update()
        return self.scaler.get_scale() >= before

    def step(self) -> None:
        """Do nothing: :meth:`take_steps` adapts the scale."""

    def state_dict(self) -> dict[str, Any]:
        """Return the scale, and how long it has been fine."""
        return self.scaler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the scale."""
        self.scaler.load_state_dict(dict(state))


class Speed:
    """How a training step runs networks; without options as they are, to the bit.

    ``channels_last`` changes the order of the images alone: convolutions follow it, and weights, states and files keep
    theirs. A compiled form exists beside its network and shares its weights.

    Args:
        train (Mapping): The section ``train``, with ``OPTIONS``. Default: {}.
        device (str): ``'cuda'`` or ``'cpu'``, where the networks are. Default: ``'cpu'``.
    """

    def __init__(self, train: Mapping[str, Any] | None = None, device: str = "cpu") -> None:
        train = train or {}
        self.dtype = TYPES[train["amp"]] if train.get("amp") else None
        self.channels_last, self.compiles = bool(train.get("channels_last")), bool(train.get("compile"))
        self.parts = int(train.get(PARTS) or 1)
        self.scaler = Scaler(device) if self.dtype is torch.float16 else None
        self.device = device
        self.compiled: dict[Callable[..., Any], Callable[..., Any]] = {}

    def run(self, net: Callable[..., Any], *inputs: Any, **settings: Any) -> Any:
        """Return what a network, or a method of it, gives for ``inputs``, tensors or lists of them; float32."""
        if self.channels_last:
            inputs = tuple(_each(images, _to_channels_last) for images in inputs)
        if self.compiles:
            net = partial(self._run_compiled, net)
        if self.dtype is None:
            return net(*inputs, **settings)
        with torch.autocast(self.device, self.dtype):
            output = net(*inputs, **settings)
        return _each(output, to_float32)

    def cover(self, loss: nn.Module | None) -> None:
        """Run the network within a perceptual loss in the same way; its features are compared in float32."""
        if net := getattr(loss, "vgg", None):
            net.forward = partial(self.run, net.forward)

    def _run_compiled(self, net: Callable[..., Any], *inputs: Any, **settings: Any) -> Any:
        if net not in self.compiled:
            self.compiled[net] = torch.compile(net)
        try:
            return self.compiled[net](*inputs, **settings)
        except Exception as error:
            if not type(error).__module__.startswith(COMPILER):
                raise
            name = type(getattr(net, "__self__", net)).__name__
            raise CompileError(
                f"train.compile: torch.compile should translate {name}, but failed: {short_message(error)} Mend that, "
                "or remove train.compile."
            ) from error

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients of a scalar loss as :func:`compute_gradients` does, scaled for fp16.

        Of a part of the batch they are divided by the number of parts, so that their sum is a mean.
        """
        loss = loss / self.parts if self.parts > 1 else loss
        compute_gradients(loss if self.scaler is None else self.scaler.scale(loss))

    def step(self, optimizers: Iterable[Optimizer]) -> bool:
        """Take a step of each optimizer with the gradients of :meth:`backward`; return False if fp16 left one out."""
        if self.scaler is not None:
            return self.scaler.take_steps(optimizers)
        for optimizer in optimizers:
            optimizer.step()
        return True


def compute_gradients(loss: Tensor) -> None:
    """Compute the gradients of a scalar loss; if it is NaN or Inf, they are NaN.

    Without this, a loss without a slope there (L1 of NaN) has finite gradients, and in a distributed run only some
    processes would know of it; NaN in one process's gradients reaches all of them.
    """
    loss.backward(loss.detach() * 0 + 1)


def has_gradients(optimizer: Optimizer) -> bool:
    """Return whether any of an optimizer's weights has a gradient."""
    return any(weight.grad is not None for group in optimizer.param_groups for weight in group["params"])


def _each(value: Any, change: Any) -> Any:
    """Return ``value`` with each tensor in its lists, tuples and dictionaries changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: _each(part, change) for key, part in value.items()}
    return type(value)(_each(part, change) for part in value) if type(value) in (list, tuple) else value


def _to_channels_last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last) if images.ndim == 4 else images


def to_float32(output: Tensor) -> Tensor:
    """Return a tensor of half precision as float32, any other one as it is."""
    return output.float() if output.dtype in TYPES.values() else output
