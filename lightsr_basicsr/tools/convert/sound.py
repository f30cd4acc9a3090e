"""Check that the weights of a network can be merged."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from lightsr_basicsr.errors import UserError
from lightsr_basicsr.tools.images import some

NAMED = 3


class ConvertError(UserError):
    """A conversion is not possible: an argument, the target or the weights are wrong."""


def check_sound(net: nn.Module, source: Path) -> None:
    """Raise ConvertError, with names, if weights or statistics of batch normalisation cannot be merged."""
    norms = {
        name: module
        for name, module in net.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None
    }
    statistics = {f"{name}.running_{which}".lstrip(".") for name in norms for which in ("mean", "var")}
    wrong = [
        key for key, value in net.state_dict().items() if key not in statistics and not torch.isfinite(value).all()
    ]
    if wrong:
        raise ConvertError(
            f"{source} cannot be merged: weights are NaN or infinite ({some(wrong, NAMED)}): the training diverged; "
            "use an earlier checkpoint."
        )
    fresh = [name for name, norm in norms.items() if not norm.running_mean.any() and (norm.running_var == 1).all()]
    if fresh:
        raise ConvertError(
            f"{source} cannot be merged: batch normalisation never saw data, its statistics are the initial ones "
            f"({some(fresh, NAMED)}). Train the network, or use a later checkpoint."
        )
    broken = [
        name
        for name, norm in norms.items()
        if not (torch.isfinite(norm.running_mean) & torch.isfinite(norm.running_var) & (norm.running_var > 0)).all()
    ]
    if broken:
        raise ConvertError(
            f"{source} cannot be merged: batch normalisation has a running variance that is zero, negative or not "
            f"finite, or a mean that is not finite ({some(broken, NAMED)}). Train the network further, or use an "
            "earlier checkpoint."
        )
