"""Soft channels: the comparison matrix, gradients, what is masked, both forms of attention, budgets."""

import copy

import pytest
import torch
from basicsr.archs import build_network

from lightsr_basicsr.archs.sites import sites_of
from lightsr_basicsr.pruning.channel_lists import candidate_widths
from lightsr_basicsr.pruning.cost import Cost, CostError, check_cost, check_reach, choose
from lightsr_basicsr.pruning.l1 import keep_by_l1
from lightsr_basicsr.pruning.soft_channels import SoftChannels, multipliers, ranks_of, run_supernet
from lightsr_basicsr.pruning.surgery import mask, prune
from tests.test_pruning.test_surgery import NETWORKS

DRN, IMDN, SWINIR = (NETWORKS[name] for name in ("DRN", "IMDN", "SwinIR_DR"))


def build(section: dict):
    torch.manual_seed(0)
    net = build_network(copy.deepcopy(section)).eval()
    return net, sites_of(net)


def test_multipliers_are_sums_of_the_weights_of_candidates_that_keep_a_channel():
    alphas, candidates = torch.randn(6, dtype=torch.float64), torch.tensor([4, 4, 8, 8, 8, 12])
    ranks = torch.randperm(16)
    weights = alphas.softmax(0)
    expected = [sum(weights[j] for j in range(6) if candidates[j] > rank) for rank in ranks.tolist()]
    found = multipliers(alphas.requires_grad_(), candidates, ranks)
    torch.testing.assert_close(found, torch.stack([torch.as_tensor(each, dtype=torch.float64) for each in expected]))
    assert torch.autograd.gradcheck(lambda each: multipliers(each, candidates, ranks), alphas)


def test_ranks_follow_the_weights_of_the_consumer():
    net, (site, *_) = build(IMDN)
    weight = net.IMDB1.c2.weight
    order = weight.abs().sum((0, 2, 3)).argsort(descending=True)
    assert ranks_of(site, weight)[order].tolist() == list(range(site.width))
    assert ranks_of(site, weight, by_index=True).tolist() == list(range(site.width))


@pytest.mark.parametrize("section", [DRN, IMDN], ids=["DRN", "IMDN"])
def test_a_decided_supernet_is_the_network_pruned_by_l1(section):
    """One candidate with all of the weight: multipliers are 0 and 1."""
    net, sites = build(section)
    candidates = [candidate_widths(site.width, 0.3) for site in sites]
    soft = SoftChannels(sites, candidates)
    soft.alphas.data[:] = torch.tensor([0.0, 0, 100, 0, 0, 0])
    kept = keep_by_l1(net, sites, [each[2] for each in candidates])
    small, _ = prune(net, section, sites, kept)
    image = torch.rand(1, 3, 16, 12)
    with torch.no_grad():
        torch.testing.assert_close(run_supernet(net, soft, image), small(image), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("attention", ["published", "soft"])
def test_a_decided_attention_is_the_pruned_one(attention):
    net, sites = build(SWINIR)
    candidates = [[2, 4, 6] if site.kind == "heads" else [24, 12, 8] for site in sites]
    soft = SoftChannels(sites, candidates, attention)
    decided = torch.tensor([0.0, 1.0, 0.0]) if attention == "published" else torch.tensor([0.0, 100.0, 0.0])
    for index, site in enumerate(sites):
        soft.alphas.data[index] = decided if site.kind == "heads" else torch.tensor([0.0, 100.0, 0.0])
    small, _ = prune(net, SWINIR, sites, keep_by_l1(net, sites, [each[1] for each in candidates]))
    image = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(run_supernet(net, soft, image), small(image), rtol=1e-4, atol=1e-5)
    assert all("forward" not in vars(module) for module in net.modules())


def test_published_attention_sums_outputs_by_the_alphas_themselves():
    net, sites = build(SWINIR)
    soft = SoftChannels(sites, [[6, 6, 6] if site.kind == "heads" else [24] * 3 for site in sites])
    soft.alphas.data[:] = 0
    without = copy.deepcopy(net)
    for index, site in enumerate(sites):
        if site.kind == "heads":
            soft.alphas.data[index] = torch.tensor([0.5, 0.25, -0.25])
            proj = without.get_submodule(site.consumer)
            proj.weight.data *= 0.5
            proj.bias.data *= 0.5
    image = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(run_supernet(net, soft, image), without(image), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("attention", ["published", "soft"])
@pytest.mark.parametrize("virtual", [False, True])
def test_gradients_reach_alphas_and_weights(attention, virtual):
    net, sites = build(SWINIR)
    soft = SoftChannels(sites, [candidate_widths(site.width, 0.3) for site in sites], attention)
    weights = {name: value.detach() for name, value in net.named_parameters()} if virtual else None
    run_supernet(net, soft, torch.rand(1, 3, 8, 8), weights).mean().backward()
    mlps = [index for index, site in enumerate(sites) if site.kind == "linear"]
    assert soft.alphas.grad[mlps].abs().sum(1).gt(0).all()
    assert (net.conv_first.weight.grad is None) == virtual


@pytest.mark.parametrize("kind", ["params", "multi_adds"])
@pytest.mark.parametrize("section", NETWORKS.values(), ids=NETWORKS)
def test_costs_are_those_of_the_pruned_network(section, kind):
    pairs = [["body.0.conv1", "body.0.conv2"], ["upsample.0", "upsample.2"]] if section["type"] == "EDSR" else None
    net = build_network(copy.deepcopy(section))
    sites, image = sites_of(net, pairs), torch.rand(1, 3, 16, 16)
    widths = [max(site.width // 2, 1) for site in sites]
    small, _ = prune(net, section, sites, [range(width) for width in widths], pairs)
    cost = Cost(net, sites, kind, image)
    if kind == "params":
        assert float(cost(widths)) == sum(p.numel() for p in small.parameters())
    else:
        assert float(cost(widths)) == pytest.approx(Cost(small, sites_of(small, pairs), kind, image).dense)
    assert cost.share([site.width for site in sites]) == 1


def test_the_largest_alpha_decides_and_of_equal_ones_the_first():
    alphas = torch.tensor([[0.1, 0.5, 0.5], [-1.0, -3.0, -2.0]])
    assert choose(alphas, [[4, 8, 12], [4, 8, 12]]) == [8, 4]


def test_a_budget_is_held_by_the_sites_that_care_least():
    net, sites = build(IMDN)
    candidates = [candidate_widths(site.width, 0.1) for site in sites]
    cost = Cost(net, sites, "params", torch.rand(1, 3, 8, 8))
    alphas = torch.zeros(len(sites), 6)
    alphas[:, -1] = torch.linspace(0.1, 2, len(sites))
    full = choose(alphas, candidates)
    share = float(cost.share(full))
    held = choose(alphas, candidates, cost, share - 0.1)
    assert share - 0.2 < float(cost.share(held)) <= share - 0.1
    assert held[0] < full[0]
    assert held[-1] == full[-1]
    assert choose(alphas, candidates, cost, 0.99) == full


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"type": "speed", "target": 0.5}, "`type` of params or multi_adds, got 'speed'"),
        ({"type": "params"}, "`target` within .0, 1.*got None"),
        ({"type": "params", "target": 1.5}, "got 1.5"),
        ({"type": "params", "target": 0.5, "weight": 0}, "`weight` above 0, got 0"),
        ({"type": "params", "target": 0.5, "wieght": 1}, "takes type, target and weight, got wieght"),
    ],
)
def test_a_cost_that_is_wrong_is_explained(options, message):
    with pytest.raises(CostError, match=message):
        check_cost(options)


def test_a_budget_below_the_smallest_candidates_is_explained():
    net, sites = build(IMDN)
    cost = Cost(net, sites, "params", torch.rand(1, 3, 8, 8))
    with pytest.raises(CostError, match=r"leave 0\.\d+ of the dense network, so a `target` of 0.1 cannot be met"):
        check_reach(cost, [[4, 8]] * len(sites), 0.1)


def test_masks_and_multipliers_agree():
    net, sites = build(DRN)
    kept = [range(2, 4)] * len(sites)
    assert mask(net, sites, kept).down[0].dual_module[1].weight[:, 4:].abs().max() == 0
