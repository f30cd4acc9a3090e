"""Small networks to convert, as if trained, and helpers that examine conversions."""

import os

import torch
from torch import nn

from lightsr_basicsr.archs.dcls_arch import DCLS
from lightsr_basicsr.archs.ddistill_sr_arch import DDistill_SR
from lightsr_basicsr.tools import photographs
from lightsr_basicsr.tools.convert import run as convert

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def make_quick(monkeypatch, size: tuple[int, int] | None = (24, 32)) -> None:
    """Count no operations and, unless ``size`` is None, compare on a smaller image."""
    monkeypatch.setattr(convert, "count_multi_adds", lambda *_: 1)
    if size:
        monkeypatch.setattr(photographs, "LR_SIZE", size)


def trained(net: nn.Module) -> nn.Module:
    """Return the network with statistics, normalisation and mean shifts other than the initial ones."""
    for module in net.modules():
        if isinstance(module, NORMS):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.1, 0.1)
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    for name, parameter in net.named_parameters():
        if "idconv1" in name or "mean.weight" in name:
            parameter.data.add_(torch.randn_like(parameter), alpha=0.05)
    return net.eval()


def distilled(**kwargs) -> DDistill_SR:
    return trained(DDistill_SR(num_feat=16, num_latent=4, **kwargs))


def with_kernel() -> DCLS:
    """Return a DCLS whose kernel is smooth, as that of a trained one: without a sum, division amplifies rounding."""
    net = DCLS(num_feat=16, num_block=1, num_group=1, code_length=8, upscale=2, kernel_size=11)
    for layer in net.Estimator.dec:
        nn.init.constant_(layer.bias, 0.1)
    return net.eval()


def files() -> list[str]:
    return sorted(os.listdir())


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
