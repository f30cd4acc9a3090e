"""The fast forward passes equal the published formulation, and do less."""

from __future__ import annotations

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY

from lightsr_basicsr.archs.published import published_form
from lightsr_basicsr.data.photographs import photographs
from lightsr_basicsr.tools.complexity import count_multi_adds

NETWORKS = {
    "IMDN": ("IMDN", {"num_block": 2, "upscale": 2}),
    "FDIWN x4": ("FDIWN", {"upscale": 4}),
    "FDIWN_M x3": ("FDIWN_M", {"upscale": 3}),
    "DDistill-SR": ("DDistill_SR", {"num_feat": 16, "deploy": True}),
    "DDistill-SR, training form": ("DDistill_SR", {"num_feat": 16}),
    "DDistill-SR, kernel 7, rank by width": ("DDistill_SR", {"num_feat": 16, "deploy": True, "num_latent": None}),
    "DDistill-SR lite": ("DDistill_SR", {"num_feat": 16, "deploy": True, "lite": True}),
    "DDistill-SR VGG": ("DDistill_SR", {"num_feat": 16, "deploy": True, "style": "VGG"}),
    "DDistill-SR ResDBB": ("DDistill_SR", {"num_feat": 16, "deploy": True, "style": "ResDBB"}),
    "DDistill-SR SRD": ("DDistill_SR", {"num_feat": 16, "deploy": True, "style": "SRD"}),
    "DDistill-SR StaticDCD": ("DDistill_SR", {"num_feat": 16, "style": "StaticDCD"}),
    "DDistill-SR, residuals not fused": ("DDistill_SR", {"num_feat": 16, "deploy": True, "residual": False}),
    "DDistill-SR, static": ("DDistill_SR", {"num_feat": 16, "deploy": True, "residual": False, "dynamic": False}),
}


def build(title):
    name, arguments = NETWORKS[title]
    torch.manual_seed(0)
    net = ARCH_REGISTRY.get(name)(**arguments).double().eval()
    for module in net.modules():
        for values in (getattr(module, "running_mean", None), getattr(module, "running_var", None)):
            if values is not None:
                values.uniform_(0.5, 1.5)  # so that normalisation is not the identity that it starts as
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))  # attention starts with factors of zero
    return net


def pictures(images=1):
    ((_, coffee),) = photographs(["coffee.png"])
    crop = torch.from_numpy(coffee[100:133, 200:227].copy()).permute(2, 0, 1)[None].double() / 255
    return torch.cat([crop, crop.flip(3) ** 2][:images])


@pytest.mark.parametrize("title", NETWORKS)
@pytest.mark.parametrize("images", [1, 2])
def test_equals_the_published_formulation(title, images):
    net = build(title)
    with torch.no_grad():
        ours, published = net(pictures(images)), published_form(net)(pictures(images))
    assert torch.isfinite(published).all()
    scale = max(1.0, published.abs().max().item())
    assert (ours - published).abs().max() < 1e-11 * scale


@pytest.mark.parametrize("title", ["FDIWN x4", "DDistill-SR"])
def test_images_of_a_batch_do_not_mix(title):
    net, both = build(title), pictures(2)
    with torch.no_grad():
        assert torch.allclose(net(both), torch.cat([net(both[:1]), net(both[1:])]), atol=1e-12)


@pytest.mark.parametrize("title", ["IMDN", "FDIWN_M x3", "DDistill-SR, training form"])
def test_gradients_equal_those_of_the_published_formulation(title):
    net = build(title).train()
    published = published_form(net)
    for form in (net, published):
        form(pictures(2)).sin().sum().backward()
    for (name, ours), (_, theirs) in zip(net.named_parameters(), published.named_parameters(), strict=True):
        assert (ours.grad - theirs.grad).abs().max() <= 1e-7 * theirs.grad.abs().max(), name


def test_dynamic_branches_cost_fewer_multi_adds():
    pytest.importorskip("torch.utils.flop_counter", reason="multiply-adds are counted from torch 2.1 on")
    from torch.utils.flop_counter import FlopCounterMode

    net, operations = build("DDistill-SR"), []
    for form in (net, published_form(net)):
        with torch.no_grad(), FlopCounterMode(display=False) as counted:
            form(pictures())
        operations.append(counted.get_total_flops())
    assert operations[0] < 0.95 * operations[1]
    # The reported cost of a network is that of its authors' steps.
    assert 2 * count_multi_adds(net.float(), 33, 27) == operations[1]


def test_the_published_form_is_a_copy_that_follows_its_own_steps():
    net = build("FDIWN x4")
    published = published_form(net)
    steps = [module for module in published.modules() if "forward" in vars(module)]
    assert {"IdenticalResidualWeighting", "ShuffleAttention"} <= {type(module).__name__ for module in steps}
    assert all(module.forward == module.forward_as_published for module in steps)
    assert not any("forward" in vars(module) for module in net.modules())
    assert next(published.parameters()) is not next(net.parameters())
