"""Reparameterized dynamic units: merging keeps the outputs in every style, and impossible arguments are explained."""

import pytest
import torch
from torch import nn

from lightsr_basicsr.archs.ddistill_sr_arch import DDistill_SR
from lightsr_basicsr.archs.ddistill_sr_styles import STYLES
from lightsr_basicsr.archs.ddistill_sr_units import HardSigmoid
from lightsr_basicsr.archs.reparam import deploy
from lightsr_basicsr.archs.reparam.branches import BNAndPad

FORMS = [{"style": style} for style in STYLES]
FORMS += [{"style": style, "lite": True} for style in ("DBB", "ResDBB", "StaticDCD")]
FORMS += [{"style": "DBB", "residual": False}, {"style": "VGG", "residual": False, "dynamic": False}]


def trained(**kwargs) -> DDistill_SR:
    """Return a small network whose statistics and normalisation weights are not those of the start."""
    net = DDistill_SR(num_feat=16, num_latent=4, **kwargs)
    for module in net.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.1, 0.1)
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    for name, parameter in net.named_parameters():
        if "idconv1" in name:
            nn.init.normal_(parameter, std=0.1)
    return net


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_the_deployed_network_gives_the_same(form):
    net = trained(**form).double().eval()
    keys = list(net.state_dict())
    narrow = deploy(net)
    x = torch.rand(1, 3, 17, 19, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(narrow.forward_raw(x), net.forward_raw(x), atol=1e-10, rtol=1e-10)
    assert list(net.state_dict()) == keys
    assert list(narrow.state_dict()) == list(DDistill_SR(16, num_latent=4, **form, deploy=True).state_dict())
    assert list(deploy(narrow).state_dict()) == list(narrow.state_dict())
    assert all(parameter.requires_grad for parameter in narrow.parameters())


def test_deploying_does_not_share_weights():
    net = trained()
    narrow = deploy(net)
    theirs = {parameter.data_ptr() for parameter in net.parameters()}
    assert not theirs & {parameter.data_ptr() for parameter in narrow.parameters()}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_training_form_runs_in_other_dtypes(dtype):
    net = trained().to(dtype).eval()
    assert net(torch.rand(1, 3, 15, 16).to(dtype)).dtype == dtype


def test_the_clamp_of_training_can_be_left_out():
    x = torch.rand(2, 3, 15, 16)
    assert DDistill_SR(16, clamp_train=False).train()(x).max() > 1
    assert DDistill_SR(16).train()(x).max() <= 1


def test_hard_sigmoid_is_one_at_zero():
    values = HardSigmoid()(torch.tensor([-4.0, -3.0, 0.0, 3.0, 4.0]))
    torch.testing.assert_close(values, torch.tensor([0.0, 0.0, 1.0, 2.0, 2.0]))


def test_the_border_is_what_normalisation_makes_of_zero():
    pad = BNAndPad(2, 3).eval()
    nn.init.uniform_(pad.bn.running_mean)
    x = torch.zeros(1, 2, 3, 3)
    out = pad(x)
    torch.testing.assert_close(out, pad.bn(torch.zeros(1, 2, 5, 5)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"upscale": 5}, "`upscale` 2, 3, 4 or 8, got 5"),
        ({"num_feat": 17}, "even and at least 16, got 17"),
        ({"num_latent": 0}, "`num_latent` of at least 1, or None, got 0"),
        ({"style": "CC"}, "styles DBB, VGG, ResDBB, SRD, StaticDCD, got 'CC'"),
        ({"dynamic": False}, "`residual: true` needs `dynamic: true`"),
        ({"lite": True, "style": "VGG"}, "styles DBB, ResDBB, StaticDCD, got `residual: true` and VGG"),
        ({"lite": True, "residual": False}, "got `residual: false` and DBB"),
    ],
)
def test_impossible_arguments_are_explained(arguments, message):
    with pytest.raises(ValueError, match=message):
        DDistill_SR(**arguments)
