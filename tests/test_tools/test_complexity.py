"""Counts against published and hand-computed numbers."""

import sys
from functools import partial
from importlib import import_module

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn
from torch.nn import functional as F  # noqa: N812

from lightsr_basicsr.tools import complexity
from lightsr_basicsr.tools.complexity import count_multi_adds, count_parameters, hd_lr_size
from tests.cases import SWINIR_LIGHT, channels

needs_counter = pytest.mark.skipif(
    tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 1), reason="torch < 2.1 has no counter"
)

KDSR_M = {"n_feats": 64, "n_encoder_res": 9, "n_sr_blocks": 53}
SWINIR_PRUNED = {**SWINIR_LIGHT, "channels": channels("test_swinir_light_drc_x4")}
# Name, arguments, LR size, G multi-adds. Those of DRN run the tails of all levels, evaluation only the last.
KNOWN = [
    ("IMDN", {"upscale": 2}, hd_lr_size(2), 158.77),
    ("IMDN", {"upscale": 3}, hd_lr_size(3), 71.45),
    ("IMDN", {"upscale": 4}, hd_lr_size(4), 40.89),
    ("IMDN_RTC", {}, hd_lr_size(2), 4.585),
    ("IMDN_RTE", {}, hd_lr_size(2), 5.259),
    ("FDIWN_M", {"upscale": 4}, hd_lr_size(4), 48.2),  # weight-normalised convolutions
    ("DDistill_SR", {"deploy": True}, hd_lr_size(4), 32.9),
    ("DDistill_SR", {}, hd_lr_size(4), 61.1),
    ("BlindSR_ST", KDSR_M, hd_lr_size(4), 228.64),  # kernels made in the forward pass
    ("BlindSR_TA", KDSR_M, hd_lr_size(4), 230.23),  # two inputs
    ("DRN", {}, (96, 96), 109.7),
    ("SwinIR_DR", SWINIR_LIGHT, (96, 96), 9.82),  # without its dual network
    ("SwinIR_DR", SWINIR_PRUNED, (96, 96), 6.70),
]


@needs_counter
@pytest.mark.parametrize(("name", "kwargs", "size", "known"), KNOWN)
def test_networks_cost_what_is_published(name, kwargs, size, known):
    assert count_multi_adds(ARCH_REGISTRY.get(name)(**kwargs), *size) / 1e9 == pytest.approx(known, rel=0.005)


@needs_counter
@pytest.mark.parametrize(
    ("net", "per_pixel"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), 3 * 8 * 9),
        (nn.Conv2d(3, 9, 5, padding=2, groups=3), 3 * 3 * 25),
        (nn.Conv2d(3, 8, 1, stride=2), 3 * 8 / 4),
        (nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU(), nn.AvgPool2d(2)), 9),
        (nn.Linear(6, 5), 3 * 5),  # along the 6 pixels of a row
    ],
)
def test_layers_cost_what_one_computes_by_hand(net, per_pixel):
    assert count_multi_adds(net, 4, 6) == per_pixel * 4 * 6


class Awkward(nn.Module):
    """Keeps tensors that no ``to`` moves, and looks at values."""

    def __init__(self):
        super().__init__()
        self.kernel = torch.ones(2, 3, 1, 1)
        self.passes = 0

    def forward(self, x):
        self.passes += 1
        return F.conv2d(x, self.kernel) if x.mean().item() < 2 else x


@needs_counter
def test_a_network_that_meta_cannot_run_is_run_and_not_changed():
    net = Awkward().train()
    assert count_multi_adds(net, 4, 6) == 2 * 3 * 4 * 6
    assert net.training
    assert net.passes == 0


@needs_counter
def test_the_network_is_not_changed():
    net = ARCH_REGISTRY.get("SwinIR_DR")(**{**SWINIR_LIGHT, "depths": [2], "num_heads": [2]}).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    count_multi_adds(net, 16, 16)
    assert net.training
    assert net.mean.device.type == "cpu"
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


@needs_counter
def test_errors_of_the_network_are_told():
    with pytest.raises(ValueError, match="at least 15x15"):
        count_multi_adds(ARCH_REGISTRY.get("DDistill_SR")(), 8, 8)
    with pytest.raises(RuntimeError, match="channels"):
        count_multi_adds(nn.Conv2d(4, 8, 1), 8, 8)


def test_an_old_torch_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.flop_counter", None)
    with pytest.raises(RuntimeError, match=r"from torch 2\.1 on, got torch .*: pip install"):
        count_multi_adds(Awkward(), 8, 8)


class Mixed(nn.Module):
    """Has what networks have beside convolutions, and sizes that are no multiples."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(16, 8, 4, stride=2, padding=1, groups=2, output_padding=1)
        self.norm, self.linear = nn.LayerNorm(8), nn.Linear(8, 24)
        self.register_buffer("order", torch.arange(8).flip(0))

    def forward(self, x):
        x = self.up(F.leaky_relu(self.down(x), 0.1, inplace=True))[:, self.order]
        q, k, v = self.linear(self.norm(x.flatten(2).transpose(1, 2))).chunk(3, dim=-1)
        tokens = torch.softmax(q.transpose(1, 2) @ k, dim=-1) @ v.transpose(1, 2)
        tokens = (
            tokens * F.one_hot(torch.arange(8), 8).float().sum(0)[:, None] + torch.einsum("nlc,nlc->nl", q, k)[:, None]
        )
        y = tokens.view_as(x).add_(x.mean((2, 3), keepdim=True))
        y = torch.cat([y, F.interpolate(F.avg_pool2d(x, 3), y.shape[2:], mode="bilinear")], dim=1)
        return F.pixel_shuffle(F.pad(y, (1, 2, 3, 4), "reflect").roll(1, 2), 2)


@needs_counter
@pytest.mark.parametrize(
    ("name", "kwargs"),
    [("IMDN", {}), ("IMDN_AS", {}), ("DCLS", {}), ("DAT_DR", {"depth": [1], "num_heads": [2]}), ("BlindSR_TA", KDSR_M),
     ("DDistill_SR", {}), ("DRNDual", {}), ("FDIWN", {"upscale": 2}), ("TinySR", {}), ("Mixed", {})],
)  # fmt: skip
def test_shapes_alone_give_the_counts_of_torch(name, kwargs):
    net = (Mixed() if name == "Mixed" else ARCH_REGISTRY.get(name)(**kwargs)).eval()
    passed = complexity._pass_of_shapes(net, 67, 90)
    counter = partial(import_module("torch.utils.flop_counter").FlopCounterMode, display=False)
    assert passed.multi_adds == complexity._observe(counter, net, 67, 90).get_total_flops() // 2 > 0
    assert passed.sizes == complexity._observe(complexity._ConvolutionOutputs, net, 67, 90).sizes


def test_parameters_are_counted_once_and_buffers_not():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    net[0].requires_grad_(False)
    net.append(net[0])
    assert count_parameters(net) == 3 * 8 * 9 + 8 + 2 * 8


def test_lr_sizes_of_a_720p_output():
    assert [hd_lr_size(scale) for scale in (1, 2, 3, 4, 8)] == [
        (720, 1280), (360, 640), (240, 427), (180, 320), (90, 160)
    ]  # fmt: skip
    with pytest.raises(ValueError, match="positive `upscale`, got 0"):
        hd_lr_size(0)
