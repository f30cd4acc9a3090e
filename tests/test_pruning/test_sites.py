"""Sites: the official order, networks of others by the names of layers, and layers that are no site."""

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from lightsr_basicsr.archs.drn_arch import DRN, dense_channels
from lightsr_basicsr.archs.imdn_arch import IMDN
from lightsr_basicsr.archs.reparam import deploy
from lightsr_basicsr.archs.sites import SiteError, check_probe, narrow, sites_of, sites_of_pairs
from tests.cases import SWINIR_LIGHT

EDSR = {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 2}
PAIRS = [["body.0.conv1", "body.0.conv2"], ["body.1.conv1", "body.1.conv2"]]


def edsr(**more) -> nn.Module:
    return ARCH_REGISTRY.get("EDSR")(**{**EDSR, **more})


@pytest.mark.parametrize(("num_feat", "num_block", "upscale", "count"), [(16, 30, 4, 64), (8, 30, 8, 96), (8, 1, 2, 3)])
def test_drn_lists_its_sites_in_the_order_of_its_channel_file(num_feat, num_block, upscale, count):
    sites = sites_of(DRN(num_feat, num_block, upscale))
    assert [site.listed for site in sites] == dense_channels(num_feat, num_block, upscale)
    assert len(sites) == count
    assert [site.name for site in sites if site.kind == "shuffled"] == [
        f"up_blocks.{level}.{num_block}" for level in range(upscale.bit_length() - 1)
    ]


def test_swinir_lists_attention_and_mlp_of_each_block():
    sites = sites_of(ARCH_REGISTRY.get("SwinIR_DR")(**SWINIR_LIGHT))
    assert [site.listed for site in sites] == [60, 120] * 24
    assert [(site.kind, site.width) for site in sites[:2]] == [("heads", 10), ("linear", 120)]
    assert sites[0].rows([3])[:7] == [3, 13, 23, 33, 43, 53, 63]
    assert sites[0].columns([3, 4]) == [3, 4, 13, 14, 23, 24, 33, 34, 43, 44, 53, 54]


def test_a_layer_of_imdn_reads_one_site_and_makes_the_next():
    first, second, *_ = sites_of(IMDN(num_feat=16, num_block=2))
    assert (first.consumer, second.producer) == ("IMDB1.c2", "IMDB1.c2")
    assert first.rows([0, 11]) == [4, 15]


def test_a_pruned_network_has_the_sites_that_are_left():
    assert [site.width for site in sites_of(IMDN(num_feat=16, num_block=1, channels=[5, 6, 7]))] == [5, 6, 7]


def test_sites_of_another_package_are_named_by_pairs_of_layers():
    net = edsr()
    sites = sites_of(net, [*PAIRS, ["upsample.0", "upsample.2"]])
    assert [(site.name, site.kind, site.width) for site in sites] == [
        ("body.0", "convolutions", 8), ("body.1", "convolutions", 8), ("upsample", "shuffled", 8)
    ]  # fmt: skip
    check_probe(net, sites, torch.rand(1, 3, 8, 9))
    small = narrow(net, sites, [[0, 5], [1], [2, 3, 4]])
    assert small.upsample[0].weight.shape == (12, 8, 3, 3)
    assert small(torch.rand(1, 3, 8, 8)).shape == net(torch.rand(1, 3, 8, 8)).shape == (1, 3, 32, 32)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (None, "EDSR names no sites.*train.sites"),
        ([["body.0.conv1"]], "pair of names"),
        (["body.0.conv1"], "pair of names"),
        ([["body.0.conv1", "body.9.conv2"]], "has no layer body.9.conv2"),
        ([["body.0.conv1", "body.0.relu"]], "body.0.relu is ReLU: a site needs plain convolutions"),
        ([["conv_first", "conv_last"], ["conv_first", "conv_after_body"]], "conv_first is the producer of two sites"),
        ([["conv_last", "conv_first"], ["conv_first", "conv_first"]], "conv_first makes 8 channels.*reads 3"),
        ([["conv_first", "upsample.0"], ["conv_after_body", "upsample.0"]], "upsample.0 is the consumer of two"),
    ],
)
def test_what_is_no_site_is_explained(pairs, message):
    with pytest.raises(SiteError, match=message):
        sites_of(edsr(), pairs)


def test_a_network_in_another_form_is_explained():
    wide = ARCH_REGISTRY.get("Reparameterized")({"type": "IMDN", "num_feat": 16, "num_block": 1})
    with pytest.raises(SiteError, match="pruned in its deployed form"):
        sites_of(wide)
    assert len(sites_of(deploy(wide))) == 3
    with pytest.raises(SiteError, match="DRN names no sites"):
        sites_of(deploy(DRN(8, 1, 2)))
    with pytest.raises(SiteError, match="grouped"):
        sites_of_pairs(nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 4, 3)), [["0", "1"]])


@pytest.mark.parametrize(
    "pair", [["conv_first", "body.0.conv1"], ["body.0.conv2", "body.1.conv1"], ["conv_after_body", "upsample.0"]]
)
def test_the_probe_finds_that_another_layer_reads_the_channels(pair):
    net = edsr()
    with pytest.raises(SiteError, match=f"something else than {pair[1]} reads what {pair[0]} makes"):
        check_probe(net, sites_of(net, [PAIRS[0], pair] if pair[1] != "body.0.conv1" else [pair]),
                    torch.rand(1, 3, 8, 8))  # fmt: skip


@pytest.mark.parametrize("between", [nn.PReLU(4), nn.BatchNorm2d(4)])
def test_the_probe_finds_a_layer_between_with_weights_for_each_channel(between):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), between, nn.Conv2d(4, 3, 3))
    with pytest.raises(SiteError, match="or a layer between has weights for each channel"):
        check_probe(net, sites_of(net, [["0", "2"]]), torch.rand(1, 3, 8, 8))


def test_the_probe_finds_a_layer_between_that_mixes_channels():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softmax(dim=1), nn.Conv2d(4, 3, 3))
    with pytest.raises(SiteError, match="its channels cannot be removed"):
        check_probe(net, sites_of(net, [["0", "2"]]), torch.rand(1, 3, 8, 8))
