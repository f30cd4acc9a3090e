"""Surgery: the recorded transform, every network with sites, networks of others, identification of what comes out."""

import copy

import pytest
import torch
from basicsr.archs import build_network
from basicsr.utils.registry import ARCH_REGISTRY

from lightsr_basicsr.archs.sites import sites_of
from lightsr_basicsr.checkpoints import CheckpointError
from lightsr_basicsr.checkpoints.identify import identify, load
from lightsr_basicsr.pruning.channel_lists import targets_of
from lightsr_basicsr.pruning.l1 import keep_by_l1
from lightsr_basicsr.pruning.surgery import mask, prune
from tests import drc

NETWORKS = {
    "DRN": {"type": "DRN", "num_feat": 8, "num_block": 2, "upscale": 4},
    "IMDN": {"type": "IMDN", "num_feat": 16, "num_block": 2, "upscale": 3},
    "IMDN_AS": {"type": "IMDN_AS", "num_feat": 16, "num_block": 1},
    "SwinIR_DR": {"type": "SwinIR_DR", "depths": [2], "num_heads": [2], "embed_dim": 12, "img_size": 8},
    "EDSR": {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 2},
}
PAIRS = {"EDSR": [["body.0.conv1", "body.0.conv2"], ["upsample.0", "upsample.2"]]}


@pytest.fixture(params=drc.FOLDERS.values(), ids=drc.FOLDERS)
def folder(request):
    return request.param


def test_the_pruned_network_equals_the_recorded_one(folder):
    description, arrays = drc.read(folder, "drc_prune_transform")
    ours = drc.transform(description, arrays)
    drc.compare(ours, arrays, relative=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_pruned_network_gives_what_the_masked_one_gives(name):
    section, pairs = NETWORKS[name], PAIRS.get(name)
    net = build_network(copy.deepcopy(section)).eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    sites = sites_of(net, pairs)
    kept = keep_by_l1(net, sites, targets_of(sites, rate=0.4))
    if name == "SwinIR_DR":  # attention loses channels in its products too, so only the MLP is masked alike
        kept = [range(site.width) if site.kind == "heads" else each for site, each in zip(sites, kept, strict=True)]
    small, found = prune(net, section, sites, kept, pairs)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(small(image), mask(net, sites, kept)(image), rtol=1e-5, atol=1e-5)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in net.parameters())
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    again = ARCH_REGISTRY.get(found["type"])(**{key: value for key, value in found.items() if key != "type"})
    again.load_state_dict(small.state_dict())


@pytest.mark.parametrize("name", ["DRN", "IMDN", "IMDN_AS", "SwinIR_DR"])
def test_a_pruned_file_tells_what_it_is(name, tmp_path):
    net = build_network(copy.deepcopy(NETWORKS[name])).eval()
    sites = sites_of(net)
    targets = targets_of(sites, rate=0.5)
    small, section = prune(net, NETWORKS[name], sites, keep_by_l1(net, sites, targets))
    torch.save({"params": small.state_dict()}, tmp_path / "pruned.pth")
    identity = identify(tmp_path / "pruned.pth")
    assert (identity.network, identity.form) == (name, "pruned")
    assert identity.arguments["channels"] == section["channels"]
    image = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(load(tmp_path / "pruned.pth")(image), small(image))


def test_attention_keeps_the_same_index_in_all_heads():
    section = NETWORKS["SwinIR_DR"]
    net = build_network(copy.deepcopy(section))
    sites = sites_of(net)
    kept = [[1, 4], range(24), range(6), range(24)]
    small, _ = prune(net, section, sites, kept)
    ours, whole = (each.layers[0].residual_group.blocks[0].attn for each in (small, net))
    rows = [part * 12 + head * 6 + index for part in range(3) for head in range(2) for index in (1, 4)]
    assert torch.equal(ours.qkv.weight, whole.qkv.weight[rows])
    assert torch.equal(ours.qkv.bias, whole.qkv.bias[rows])
    assert torch.equal(ours.proj.weight, whole.proj.weight[:, [1, 4, 7, 10]])


def test_a_section_of_another_network_is_refused():
    section = NETWORKS["IMDN"]
    net = build_network(copy.deepcopy(section))
    sites = sites_of(net)
    with pytest.raises(CheckpointError, match="The pruned state does not fit IMDN"):
        prune(net, {**section, "upscale": 4}, sites, [range(site.width) for site in sites])
