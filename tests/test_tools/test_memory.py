"""Memory of forward passes: toy networks whose numbers are counted by hand, and the networks of the package."""

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from lightsr_basicsr.tools import memory
from lightsr_basicsr.tools.memory import MemoryReport, peak_memory
from tests.cases import SWINIR_LIGHT, channels

needs_storages = pytest.mark.skipif(not hasattr(torch.Tensor, "untyped_storage"), reason="torch < 2.0")
UNIT = 4 * 8 * 8 * 4  # bytes of (1, 4, 8, 8) float32

NETWORKS = [
    ("IMDN", {}),
    ("IMDN_AS", {}),
    ("IMDN_RTC", {}),
    ("IMDN_RTE", {}),
    ("FDIWN", {"upscale": 2}),
    ("FDIWN", {}),
    ("FDIWN_M", {}),
    ("DDistill_SR", {"deploy": True}),
    ("DDistill_SR", {}),
    ("DDistill_SR", {"lite": True, "deploy": True}),
    ("DDistill_SR", {"lite": True}),
    ("BlindSR_ST", {"n_feats": 64, "n_encoder_res": 9, "n_sr_blocks": 53}),
    ("BlindSR_TA", {"n_feats": 64, "n_encoder_res": 9, "n_sr_blocks": 53}),
    ("DRN", {}),
    ("DRN", {"channels": channels("test_drn_s50_x4")}),
]
# SwinIR's blocks, which are BasicSR's, hold four maps beside the attention.
BORROWED = [SWINIR_LIGHT, {**SWINIR_LIGHT, "channels": channels("test_swinir_light_drc_x4")}]


class Toy(nn.Module):
    """Runs ``function`` on one convolution's output, as many times as there are inputs."""

    def __init__(self, function):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)
        self.function = function

    def forward(self, x):
        return self.function(self.conv, x)


def hold_all(conv, x):
    held = [x]
    for _ in range(4):
        held.append(conv(held[-1]))
    return held[-1]


def hold_none(conv, x):
    for _ in range(4):
        x = conv(x)
    return x


def copy_without_need(conv, x):
    made = conv(x)
    copy = made.clone()
    return conv(copy)


def copy_into_a_new_tensor(conv, x):
    made = conv(x)
    copy = torch.empty_like(made)
    copy.copy_(made)
    return conv(copy)


def copy_because_it_is_written_to(conv, x):
    made = conv(x)
    copy = made.clone()
    copy.mul_(2)
    return made + copy


def compose(conv, x):
    made = torch.zeros(1, 8, 8, 8)
    made[:, :4] = conv(x)
    made[:, 4:] = x
    return made


def work_in_place_on_views(conv, x):
    first, second = conv(x).chunk(2, dim=1)
    first.relu_()
    return first.add_(second).flatten(1).view(2, 8, 8)


def return_all(conv, x):
    return [conv(x), {"second": conv(x)}, conv(x)]


def return_a_copy_of_the_input(conv, x):
    return x.transpose(1, 2).contiguous()


@needs_storages
@pytest.mark.parametrize(
    ("function", "peak", "needed"),
    [
        (hold_all, 4, 2),
        (hold_none, 2, 2),
        (copy_without_need, 3, 2),
        (copy_into_a_new_tensor, 3, 2),
        (copy_because_it_is_written_to, 3, 3),
        (compose, 3, 3),
        (work_in_place_on_views, 1, 1),
        (return_all, 3, 3),
        (return_a_copy_of_the_input, 1, 0),
    ],
)
def test_toys_take_what_one_counts_by_hand(function, peak, needed):
    assert peak_memory(Toy(function), (torch.rand(1, 4, 8, 8),)) == MemoryReport(peak * UNIT, needed * UNIT)


@needs_storages
def test_a_sequence_holds_the_input_of_a_sequence_in_it():
    layers = [nn.Conv2d(4, 4, 1) for _ in range(4)]
    image = torch.rand(1, 4, 8, 8)
    assert peak_memory(nn.Sequential(*layers), (image,)).ratio == 1
    assert peak_memory(nn.Sequential(layers[0], nn.Sequential(*layers[1:])), (image,)).ratio == 1.5


def test_ratio_of_nothing():
    assert MemoryReport(0, 0).ratio == 1
    assert MemoryReport(1, 0).ratio == float("inf")


@needs_storages
def test_the_network_is_not_changed_and_runs_as_in_evaluation():
    net = nn.Sequential(nn.Dropout(1.0), nn.BatchNorm2d(4)).train()
    assert peak_memory(net, (torch.rand(1, 4, 8, 8),)) == MemoryReport(UNIT, UNIT)
    assert net.training
    assert net[1].num_batches_tracked == 0


@needs_storages
@pytest.mark.parametrize(("name", "kwargs"), [("IMDN_RTC", {}), ("BlindSR_TA", {"n_feats": 16, "n_sr_blocks": 2})])
def test_tensors_on_meta_tell_the_same(name, kwargs):
    net = ARCH_REGISTRY.get(name)(**kwargs)
    real = peak_memory(net, net.example_input(24, 24))
    assert peak_memory(net.to("meta"), net.example_input(24, 24, device="meta")) == real


@needs_storages
@pytest.mark.parametrize(("name", "kwargs"), NETWORKS)
def test_networks_let_go_of_what_they_need_no_longer(name, kwargs):
    net = ARCH_REGISTRY.get(name)(**kwargs)
    assert peak_memory(net, net.example_input(32, 32)).ratio <= 1.05


@needs_storages
@pytest.mark.parametrize("kwargs", BORROWED, ids=["light_dr", "light_drc"])
def test_bodies_of_libraries_hold_no_more_than_before(kwargs):
    net = ARCH_REGISTRY.get("SwinIR_DR")(**kwargs)
    assert peak_memory(net, net.example_input(32, 32)).ratio <= 1.25


def test_an_old_torch_is_told(monkeypatch):
    monkeypatch.setattr(memory, "Tensor", object)
    with pytest.raises(RuntimeError, match=r"torch 2\.0 or newer, got torch .*: pip install"):
        peak_memory(nn.Identity(), (torch.rand(1),))
