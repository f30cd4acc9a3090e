"""Merging keeps the outputs of every block and network, and names what cannot be merged."""

from copy import deepcopy

import pytest
import torch
from basicsr.archs.ecbsr_arch import ECB, ECBSR
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from lightsr_basicsr.archs import layers
from lightsr_basicsr.archs.reparam import BLOCKS, ECBConv, deploy, fold_after, fuse_bn, has_branches
from lightsr_basicsr.archs.reparam.branches import surround
from lightsr_basicsr.archs.reparameterized_arch import Deployed, Reparameterized, widen
from lightsr_basicsr.checkpoints.identify import identify, load

TINY = {
    "FDIWN": {"upscale": 4},
    "FDIWN_M": {"upscale": 3},
    "DRN": {"num_feat": 8, "num_block": 1, "upscale": 4},
    "BlindSR_ST": {"n_feats": 8, "n_encoder_res": 1, "n_sr_blocks": 2, "scale": 4},
    "BlindSR_TA": {"n_feats": 8, "n_encoder_res": 1, "n_sr_blocks": 2, "scale": 2},
    "DDistill_SR": {"num_feat": 16, "num_latent": 4, "upscale": 2},
}
IMDN = {"type": "IMDN", "num_feat": 16, "num_block": 2, "upscale": 2}
BASICSR_ECBSR = {
    "type": "ECBSR", "num_in_ch": 3, "num_out_ch": 3, "num_block": 2, "num_channel": 8, "with_idt": True,
    "act_type": "prelu", "scale": 2,
}  # fmt: skip


def shake(net: nn.Module) -> nn.Module:
    """Return ``net`` in evaluation mode with statistics, biases and mean shifts that are not those of the start."""
    for name, parameter in net.named_parameters():
        if parameter.ndim == 1 or "idconv1" in name or "mean" in name.lower() or name.endswith("scale"):
            parameter.data += torch.empty_like(parameter).uniform_(-0.2, 0.2)
    for module in net.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net.eval()


def relative_difference(net: nn.Module, *inputs: torch.Tensor) -> float:
    with torch.no_grad():
        wide, narrow = net(*inputs), deploy(net)(*inputs)
    assert wide.shape == narrow.shape
    return ((wide - narrow).abs().max() / wide.abs().max()).item()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("num_in", "num_out", "groups"), [(4, 4, 1), (4, 8, 2), (8, 4, 4), (4, 4, 4)])
@pytest.mark.parametrize("kernel_size", range(1, 8))
@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_is_one_convolution(block, kernel_size, num_in, num_out, groups, bias):
    wide = shake(layers.rep_conv(block, num_in, num_out, kernel_size, groups, bias))
    x = torch.rand(2, num_in, 9, 11)
    assert wide(x).shape == (2, num_out, 9, 11)
    assert relative_difference(wide, x) < 1e-5
    assert relative_difference(wide.double(), x.double()) < 1e-12
    narrow = layers.rep_conv(block, num_in, num_out, kernel_size, groups, bias, deploy=True)
    narrow.load_state_dict(deploy(wide).state_dict())
    assert type(deploy(wide)) is nn.Conv2d
    assert {name: shape.shape for name, shape in narrow.state_dict().items()} == {
        name: shape.shape for name, shape in deploy(wide).state_dict().items()
    }


@pytest.mark.parametrize("block", BLOCKS)
def test_every_branch_of_a_block_counts(block):
    """A branch that merging forgets, or that the training form does not run, would be missed with zero weights."""
    wide = shake(layers.rep_conv(block, 4, 4))
    x = torch.rand(1, 4, 7, 7)
    before = deploy(wide)(x)
    for name, parameter in wide.named_parameters():
        kept = parameter.detach().clone()
        parameter.data += 0.5
        assert not torch.allclose(deploy(wide)(x), before, atol=1e-3), name
        parameter.data = kept


@pytest.mark.parametrize("block", BLOCKS)
def test_every_parameter_of_a_block_is_trained(block):
    wide = layers.rep_conv(block, 4, 4)
    wide(torch.rand(2, 4, 7, 7)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in wide.parameters())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("kernel_size", "groups"), [(1, 1), (3, 1), (3, 2), (4, 1), (5, 4)])
def test_an_ecb_trains_merged_with_the_gradients_of_its_branches(kernel_size, groups, bias):
    wide = shake(ECBConv(4, 8, kernel_size, groups, bias)).double()
    found = []
    for training in (True, False):
        wide.train(training).zero_grad()
        x = torch.linspace(-1, 1, 4 * 42, dtype=torch.float64).reshape(1, 4, 6, 7).sin().requires_grad_()
        out = wide(x)
        out.square().sum().backward()
        found.append([out, x.grad, *(parameter.grad.clone() for parameter in wide.parameters())])
    for ours, branches in zip(*found, strict=True):
        torch.testing.assert_close(ours, branches, atol=1e-10, rtol=1e-10)
        assert branches.abs().max() > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ecb", 4, 4), "a block among ECB, RepVGG, DBB, got 'ecb'"),
        (("ECB", 4, 4, 0), "`kernel_size` of at least 1"),
        (("DBB", 4, 6, 3, 4), "`groups` that divide both numbers of channels, got 3, 4, 4 and 6"),
    ],
)
def test_impossible_blocks_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        layers.rep_conv(*arguments)


@pytest.mark.parametrize("name", TINY)
def test_a_network_gives_the_same_deployed_borders_included(name):
    torch.manual_seed(0)
    build = ARCH_REGISTRY.get(name)
    net = shake(build(**TINY[name]))
    keys, before = list(net.state_dict()), {key: value.clone() for key, value in net.state_dict().items()}
    inputs = net.example_input(17, 19)
    # In float64, for FDIWN enlarges the rounding of random weights.
    assert relative_difference(deepcopy(net).double(), *(image.double() for image in inputs)) < 1e-10
    narrow = deploy(net)
    assert list(narrow.state_dict()) == list(build(**TINY[name], deploy=True).state_dict())
    assert has_branches(net)
    assert not has_branches(narrow)
    assert list(net.state_dict()) == keys
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert not {tensor.data_ptr() for tensor in net.state_dict().values()} & {
        tensor.data_ptr() for tensor in narrow.state_dict().values()
    }


@pytest.mark.parametrize("name", TINY)
def test_a_deployed_checkpoint_is_recognised_and_loads(name):
    net = shake(ARCH_REGISTRY.get(name)(**TINY[name]))
    state = deploy(net).state_dict()
    identity = identify(state)
    assert (identity.network, identity.form) == (name, "deploy")
    inputs = net.example_input(17, 18)
    with torch.no_grad():
        torch.testing.assert_close(load(state)(*inputs), deploy(net)(*inputs))


@pytest.mark.parametrize("name", ["FDIWN", "DRN", "BlindSR_ST", "DDistill_SR"])
def test_a_network_is_built_and_trained_in_its_deployed_form(name):
    net = ARCH_REGISTRY.get(name)(**TINY[name], deploy=True)
    assert net.training
    assert all(module.training for module in net.modules())
    out = net(*net.example_input(16, 16))
    while isinstance(out, (list, tuple)):
        out = out[-1] if name == "DRN" else out[0]
    out.sum().backward()
    assert sum(parameter.grad is not None for parameter in net.parameters()) > 10


@pytest.mark.parametrize("block", BLOCKS)
def test_any_network_trains_wide_and_becomes_itself(block):
    net = Reparameterized(IMDN, block)
    plain = ARCH_REGISTRY.get("IMDN")(**{key: value for key, value in IMDN.items() if key != "type"})
    for _ in range(2):
        net(torch.rand(2, 3, 12, 12))  # statistics
    net.eval()
    assert relative_difference(net, torch.rand(1, 3, 9, 11)) < 1e-5
    assert list(deploy(net).state_dict()) == list(plain.state_dict())
    plain.load_state_dict(deploy(net).state_dict())
    assert list(Reparameterized(IMDN, block, deploy=True).state_dict()) == list(plain.state_dict())


@pytest.mark.parametrize("block", BLOCKS)
def test_a_widened_checkpoint_shows_network_and_block(block):
    net = Reparameterized(IMDN, block)
    identity = identify(net.state_dict())
    assert (identity.network, identity.form, identity.scale) == ("Reparameterized", "train", 2)
    assert identity.arguments["block"] == block
    assert identity.arguments["network"].items() >= IMDN.items()
    x = torch.rand(1, 3, 9, 9)
    torch.testing.assert_close(load(net.state_dict())(x), net.eval()(x))


@pytest.mark.parametrize(
    "network",
    [
        {"type": "MSRResNet", "num_feat": 8, "num_block": 1, "upscale": 2},
        {"type": "IMDN_RTE", "upscale": 2},  # no bias
        {"type": "SRVGGNetCompact", "num_feat": 8, "num_conv": 2, "upscale": 2},  # in the registry under another name
        {"type": "DRN", **TINY["DRN"]},  # a mean shift folded into convolutions that were widened
        {"type": "BlindSR_ST", **TINY["BlindSR_ST"]},
    ],
    ids=lambda network: network["type"],
)
def test_widening_works_on_other_networks(network):
    net = shake(Reparameterized(network))
    assert relative_difference(net, torch.rand(1, net.num_in_ch if hasattr(net, "num_in_ch") else 3, 16, 18)) < 1e-5
    plain = ARCH_REGISTRY.get(network["type"])(**{key: value for key, value in network.items() if key != "type"})
    assert list(deploy(net).state_dict()) == list(deploy(plain).state_dict())


def test_a_widened_network_starts_with_the_convolutions_that_were_drawn():
    torch.manual_seed(3)
    plain = ARCH_REGISTRY.get("IMDN")(**{key: value for key, value in IMDN.items() if key != "type"})
    torch.manual_seed(3)
    net = Reparameterized(IMDN)
    torch.testing.assert_close(net.IMDB1.c1.ecb_conv.weight, plain.IMDB1.c1.weight)
    torch.testing.assert_close(net.IMDB1.c1.ecb_conv.bias, plain.IMDB1.c1.bias)


def test_blocks_that_are_reparameterized_already_stay():
    net = ARCH_REGISTRY.get("DDistill_SR")(**TINY["DDistill_SR"])
    units = [key for key in net.state_dict() if ".unit." in key]
    widen(net, "ECB")
    assert [key for key in net.state_dict() if ".unit." in key] == units
    assert "fea_conv.ecb_conv.weight" in net.state_dict()
    ecbsr = ECBSR(**{key: value for key, value in BASICSR_ECBSR.items() if key != "type"})
    assert widen(ecbsr, "ECB") == 0


@pytest.mark.parametrize("act_type", ["prelu", "relu", "rrelu", "softplus"])
def test_ecbsr_of_basicsr_goes_through_the_same_walker(act_type):
    torch.manual_seed(0)
    section = {**BASICSR_ECBSR, "act_type": act_type}
    net = ECBSR(**{key: value for key, value in section.items() if key != "type"})
    x = torch.rand(1, 3, 9, 11)
    if act_type == "rrelu":
        net.eval()  # random in training
    narrow = deploy(net)
    assert not [module for module in narrow.modules() if isinstance(module, ECB)]
    assert [module for module in net.modules() if isinstance(module, ECB)]
    with torch.no_grad():  # in training mode BasicSR runs all branches
        torch.testing.assert_close(narrow(x), net(x), atol=1e-5, rtol=1e-5)
    built = Deployed(section)
    built.load_state_dict(narrow.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(built.eval()(x), narrow(x))


def test_a_module_that_is_held_twice_stays_one():
    conv = ECBConv(3, 3)
    narrow = deploy(nn.Sequential(conv, nn.Sequential(conv)))
    assert narrow[0] is narrow[1][0]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_convolution_that_is_held_twice_becomes_one_block(block):
    conv = nn.Conv2d(3, 3, 3, padding=1)
    net = nn.Sequential(conv, conv, nn.Sequential(conv))
    assert widen(net, block) == 1
    assert net[0] is net[1] is net[2][0]
    plain = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1),) * 2, nn.Sequential(nn.Conv2d(3, 3, 3, padding=1)))
    shake(net)
    plain.load_state_dict(deploy(net).state_dict())
    x = torch.rand(1, 3, 6, 7)
    torch.testing.assert_close(plain(x), net(x), atol=1e-5, rtol=1e-5)


def test_a_convolution_that_changes_the_size_stays():
    net = nn.Sequential(nn.Conv2d(3, 3, 4, padding=2), nn.Conv2d(3, 3, 4, padding="same"), nn.Conv2d(3, 3, 3))
    assert widen(net, "ECB") == 1
    assert [type(layer) for layer in net] == [nn.Conv2d, ECBConv, nn.Conv2d]
    assert net(torch.rand(1, 3, 9, 9)).shape[-1] == 8


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_a_weight_that_a_hook_makes_stays_and_can_be_copied():
    conv = nn.utils.weight_norm(nn.Conv2d(3, 3, 3, padding=1))
    net = nn.Sequential(conv, nn.Conv2d(3, 3, 3, padding=1))
    assert widen(net, "ECB") == 1
    assert net[0] is conv
    x = torch.rand(1, 3, 5, 5)
    net(x).sum().backward()  # the hook's weight is part of a graph now
    torch.testing.assert_close(deploy(net)(x), net.eval()(x), atol=1e-6, rtol=1e-5)


def test_a_network_that_keeps_a_feature_can_be_deployed():
    class Keeping(nn.Sequential):
        def forward(self, x):
            self.feature = super().forward(x)
            return self.feature

    net = Keeping(ECBConv(3, 3))
    net(torch.rand(1, 3, 5, 5))
    assert relative_difference(net.eval(), torch.rand(1, 3, 5, 5)) < 1e-5


@pytest.mark.parametrize("name", ["DRN", "FDIWN", "DDistill_SR", "BlindSR_ST"])
def test_a_wide_network_with_parts_to_fold_reads_its_own_deployed_file(name):
    network = {"type": name, **TINY[name]}
    torch.manual_seed(0)
    net = shake(Reparameterized(network))
    narrow = Reparameterized(network, deploy=True)
    assert narrow.training
    narrow.load_state_dict(deploy(net).state_dict())
    x = torch.rand(1, 3, 16, 17)
    with torch.no_grad():
        torch.testing.assert_close(narrow.eval()(x), deploy(net)(x))


def test_blocks_of_other_packages_need_one_method():
    class Doubled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x):
            return 2 * self.conv(x)

        def to_deploy(self):
            conv = nn.Conv2d(3, 3, 1)
            conv.load_state_dict({key: 2 * value for key, value in self.conv.state_dict().items()})
            return conv

    assert relative_difference(nn.Sequential(Doubled()), torch.rand(1, 3, 5, 5)) < 1e-6


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_statistics_that_cannot_be_folded_are_named(value):
    net = shake(ARCH_REGISTRY.get("DDistill_SR")(**TINY["DDistill_SR"]))
    net.B2.c1_r.unit.dbb_origin.bn.running_var[0] = value
    with pytest.raises(ValueError, match=r"^B2\.c1_r\.unit: .*zero, negative or no number"):
        deploy(net)


def test_normalisation_without_statistics_is_named():
    with pytest.raises(ValueError, match="without running statistics"):
        fuse_bn(torch.rand(3, 3, 1, 1), nn.BatchNorm2d(3, track_running_stats=False))


def test_normalisation_without_weights_is_folded():
    conv, bn = nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3, affine=False)
    shake(nn.Sequential(conv, bn))
    kernel = fuse_bn(conv.weight, bn, conv.bias)
    x = torch.rand(1, 2, 4, 4)
    merged = torch.nn.functional.conv2d(x, kernel.weight.float(), kernel.bias.float())
    torch.testing.assert_close(merged, bn(conv(x)))


def test_a_mean_shift_passes_a_pixel_shuffle():
    conv, shift = nn.Conv2d(4, 3 * 9, 3, padding=1, bias=False), nn.Conv2d(3, 3, 1)
    x = torch.rand(1, 4, 5, 6)
    folded = nn.PixelShuffle(3)(fold_after(conv, shift.weight, shift.bias, 3)(x))
    torch.testing.assert_close(folded, shift(nn.PixelShuffle(3)(conv(x))))


def test_surrounding_an_even_kernel_is_that_of_torch():
    conv, x = nn.Conv2d(2, 2, 4, padding="same", bias=False), torch.rand(1, 2, 5, 5)
    padded = surround(x, 4, torch.zeros(2))
    torch.testing.assert_close(nn.functional.conv2d(padded, conv.weight), conv(x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_deployed_network_has_the_dtype_of_its_source(dtype):
    net = deploy(ARCH_REGISTRY.get("DDistill_SR")(**TINY["DDistill_SR"]).to(dtype))
    assert {value.dtype for value in net.state_dict().values() if value.is_floating_point()} == {dtype}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Reparameterized(IMDN, "VGG"), "knows the blocks ECB, RepVGG, DBB, .* got 'VGG'"),
        (lambda: Reparameterized(IMDN, ["ECB"]), r"got \['ECB'\]"),
        (lambda: Reparameterized(IMDN, deploy="no"), "`deploy` true or false, got 'ECB' and 'no'"),
        (lambda: Reparameterized({"type": "IMDM"}), r"got \{'type': 'IMDM'\}: did you mean IMDN or "),
        (lambda: Reparameterized("IMDN"), "needs a `network` section"),
        (lambda: Reparameterized(BASICSR_ECBSR), "ECBSR has no convolution that ECB could replace"),
        (lambda: Reparameterized({"type": "DRNDual"}, "DBB"), "with bias"),
        (lambda: Deployed({}), r"Deployed needs a `network` section .* got \{\}: `basicsr list networks` shows them"),
    ],
)
def test_impossible_networks_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
