"""Every network: shapes, size, gradients, refused arguments."""

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY

from tests.cases import CASES
from tests.golden import fill


def build(case):
    """Build with fixed weights: a random start may leave a hidden unit dead for one input."""
    net = ARCH_REGISTRY.get(case.name)(**case.kwargs)
    net.load_state_dict({key: fill(key, list(value.shape)) for key, value in net.state_dict().items()})
    return net


@pytest.fixture(params=CASES, ids=lambda case: case.id)
def case(request):
    return request.param


def test_output_has_scale_times_the_input_size(case):
    net = build(case).eval()
    with torch.no_grad():
        for size in ((1, 3, 16, 20), (2, 3, 17, 23)):
            out = net(torch.rand(size))
            assert out.shape == (size[0], 3, case.scale * size[2], case.scale * size[3])
            assert torch.isfinite(out).all()


def test_parameter_count_is_exact(case):
    assert sum(parameter.numel() for parameter in build(case).parameters()) == case.params


def test_every_parameter_gets_a_finite_gradient(case):
    net = build(case).train()
    net(torch.rand(2, 3, 16, 16)).square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def test_constant_images_give_finite_gradients(case):
    net = build(case).train()
    net(torch.zeros(1, 3, 4, 4)).mean().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in net.parameters())


def test_a_misspelt_argument_is_refused(case):
    with pytest.raises(TypeError, match="num_feats"):
        ARCH_REGISTRY.get(case.name)(num_feats=16)


def test_images_of_a_batch_do_not_influence_each_other(case):
    net = build(case).eval()
    batch = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(net(batch)[1:], net(batch[1:]), atol=1e-5, rtol=0)
