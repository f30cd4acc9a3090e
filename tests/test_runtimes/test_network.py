"""Networks of other packages with SRNetwork's interface."""

import pytest
import torch
from basicsr.archs.srresnet_arch import MSRResNet
from torch import Tensor, nn

from lightsr_basicsr.archs.network import first_channels
from lightsr_basicsr.runtimes.base import BackendError
from lightsr_basicsr.runtimes.graphs import to_torchscript
from lightsr_basicsr.runtimes.network import UNKNOWN_SCALE, OtherNetwork, name_of, prepare, traits_of, unwrap
from lightsr_basicsr.tools.benchmark.sources import find_subjects
from lightsr_basicsr.tools.networks import adapt

SMALL = {"num_in_ch": 1, "num_out_ch": 1, "num_feat": 4, "num_block": 1, "upscale": 3}


@pytest.fixture
def net() -> MSRResNet:
    return MSRResNet(**SMALL).eval()


def test_scale_and_channels_are_measured_or_given(net):
    assert traits_of(OtherNetwork(net)) == (3, 1, 1)
    assert traits_of(OtherNetwork(net, scale=2, num_in_ch=3)) == (2, 3, 1)
    assert traits_of(adapt(net, {"type": "MSRResNet", **SMALL})) == (3, 1, 1)
    assert OtherNetwork(net, scale=3).super_resolves
    assert not OtherNetwork(net, scale=UNKNOWN_SCALE).super_resolves


def test_a_given_scale_runs_nothing(net, monkeypatch):
    monkeypatch.setattr(MSRResNet, "forward", lambda self, x: pytest.fail("was run"))
    assert OtherNetwork(net, scale=3).upscale == 3


def test_networks_of_this_package_need_no_adapter(net):
    adapter = OtherNetwork(net, scale=3)
    assert adapt(adapter, {"type": "MSRResNet"}) is adapter
    assert unwrap(adapter) is net
    assert unwrap(net) is net


def test_a_copy_of_an_adapted_network_gives_its_images(net):
    images = torch.rand(1, 1, 8, 9)
    with torch.no_grad():
        assert torch.equal(prepare(OtherNetwork(net, scale=3))(images), net(images))


class NoGraph(nn.Module):
    """A network that only runs without a tracer."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.jit.is_tracing():
            raise RuntimeError("no graph")
        return x.repeat(1, 1, 2, 2)


def test_errors_name_the_network_and_not_its_adapter(net):
    with pytest.raises(BackendError, match=r"^MSRResNet does not map one LR image to one SR image"):
        prepare(OtherNetwork(net, scale=UNKNOWN_SCALE))
    with pytest.raises(BackendError, match=r"^NoGraph has no TorchScript graph"):
        to_torchscript(OtherNetwork(NoGraph(), scale=2))
    (subject,) = find_subjects(["MSRResNet:num_feat=4,num_block=1"])
    assert name_of(subject.network()) == "MSRResNet"


@pytest.mark.parametrize(("channels", "expected"), [(1, 1), (3, 3), (4, 4), (7, 3)])
def test_channels_of_the_first_convolution(channels, expected):
    assert first_channels(nn.Conv2d(channels, 2, 1)) == expected
    assert first_channels(nn.ReLU()) == 3
