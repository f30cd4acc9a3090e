"""Every network: shapes, size, gradients, refused arguments and images."""

import re

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY

from lightsr_basicsr.archs.network import SRNetwork
from tests.cases import CASES
from tests.golden import fill

SMALL = list({(case.name, repr({**case.kwargs, **case.small})): case for case in CASES}.values())
IMAGE_NETWORKS = [case for case in SMALL if case.name != "DRNDual"]  # which takes a list


def get(name):
    """Return a network's class; skip where the library that it takes its body from is missing."""
    if name == "DAT_DR":
        pytest.importorskip("spandrel", reason="DAT_DR needs the extra dat")
    return ARCH_REGISTRY.get(name)


def build(case):
    """Build a small form, where possible with fixed weights: a random start may leave a hidden unit dead."""
    net = get(case.name)(**{**case.kwargs, **case.small})
    for module in net.modules():
        if hasattr(module, "drop_prob"):
            module.drop_prob = 0.0  # stochastic depth would leave out whole blocks
    if case.fill:
        net.load_state_dict({key: fill(key, list(value.shape)) for key, value in net.state_dict().items()})
    return net


def inputs(net, height, width, batch=1):
    """Return ``batch`` images of that size, in whatever form the network takes them."""
    examples = [net.example_input(height, width) for _ in range(batch)]

    def join(parts):
        if isinstance(parts[0], list):
            return [torch.cat(level) for level in zip(*parts, strict=True)]
        return torch.cat(parts)

    return [join(parts) for parts in zip(*examples, strict=True)]


def doubled(given):
    return [x.double() if isinstance(x, torch.Tensor) else [level.double() for level in x] for x in given]


def tensors(out) -> list[torch.Tensor]:
    return [out] if isinstance(out, torch.Tensor) else [tensor for part in out for tensor in tensors(part)]


@pytest.fixture(params=SMALL, ids=lambda case: case.id)
def case(request):
    return request.param


def test_the_table_has_every_network_of_the_package():
    ours = {name for name, cls in ARCH_REGISTRY if isinstance(cls, type) and issubclass(cls, SRNetwork)}
    assert ours == {case.name for case in CASES}


def test_output_has_scale_times_the_input_size(case):
    net = build(case).eval()
    assert net.upscale == case.scale
    with torch.no_grad():
        for batch, *size in ((1, 16, 20), (2, 17, 23)):
            given = inputs(net, *size, batch)
            for x, out in zip(tensors(given[0]), tensors(net(*given)), strict=True):
                sides = [-(-side // (1 / case.scale)) if case.scale < 1 else case.scale * side for side in x.shape[2:]]
                assert list(out.shape) == [batch, 3, *sides]
                assert torch.isfinite(out).all()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_parameter_count_is_exact(case):
    net = get(case.name)(**case.kwargs)
    assert sum(parameter.numel() for parameter in net.parameters()) == case.params


def test_every_parameter_gets_a_finite_gradient(case):
    net = build(case).train()
    sum(out.square().mean() for out in tensors(net(*inputs(net, 16, 16, batch=2)))).backward()
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.abs().max() > 0 or re.search(case.dead, name), name


def form_of(out) -> str:
    """Return the name of ``training_output`` for what a network returned in training mode."""
    if isinstance(out, list):
        return "levels"
    if isinstance(out, torch.Tensor):
        return "image"
    if isinstance(out[1], list):
        return "image_and_vector"
    return "image_and_kernel" if out[1].shape[1] == 1 else "image_and_dual"


def test_training_gives_what_the_network_declares(case):
    net = build(case).train()
    out = net(*inputs(net, 16, 16, batch=2))
    assert form_of(out) == net.training_output
    if net.training_output == "levels":
        assert [2 * image.shape[2] for image in out[:-1]] == [image.shape[2] for image in out[1:]]


def test_constant_images_give_finite_gradients(case):
    net = build(case).train()
    side = max(net.min_side, 4)
    zeros = [torch.zeros_like(x) if isinstance(x, torch.Tensor) else [torch.zeros_like(level) for level in x]
             for x in inputs(net, side, side, batch=2)]  # fmt: skip
    sum(out.mean() for out in tensors(net(*zeros))).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in net.parameters() if parameter.grad is not None)


def test_a_misspelt_argument_is_refused(case):
    with pytest.raises(TypeError, match="num_feats"):
        ARCH_REGISTRY.get(case.name)(num_feats=16)


def test_images_of_a_batch_do_not_influence_each_other(case):
    net = build(case).double().eval()  # in which rounding does not show, whatever the weights
    batch = doubled(inputs(net, 16, 17, batch=2))
    second = [x[1:] if isinstance(x, torch.Tensor) else [level[1:] for level in x] for x in batch]
    with torch.no_grad():
        for together, alone in zip(tensors(net(*batch)), tensors(net(*second)), strict=True):
            torch.testing.assert_close(together[1:], alone, atol=1e-8, rtol=0)


def test_channels_last_gives_the_same(case):
    net = build(case).double().eval()
    batch = doubled(inputs(net, 16, 17, batch=2))
    last = [x.to(memory_format=torch.channels_last) if isinstance(x, torch.Tensor) else
            [level.to(memory_format=torch.channels_last) for level in x] for x in batch]  # fmt: skip
    with torch.no_grad():
        expected = tensors(net(*batch))
        for ours, out in zip(tensors(net.to(memory_format=torch.channels_last)(*last)), expected, strict=True):
            torch.testing.assert_close(ours, out, atol=1e-8, rtol=0)


@pytest.mark.parametrize("case", IMAGE_NETWORKS, ids=lambda case: case.id)
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 1, 20, 20), r"expects images \(N, 3, H, W\), got \(1, 1, 20, 20\). A gray image"),
        ((1, 4, 20, 20), r"expects images \(N, 3, H, W\), got \(1, 4, 20, 20\). Drop the alpha channel"),
        ((3, 20, 20), r"expects images \(N, 3, H, W\), got \(3, 20, 20\). One image needs a batch dimension"),
    ],
)
def test_other_images_are_refused(case, shape, message):
    net = build(case).eval()
    with pytest.raises(ValueError, match=message):
        net(torch.rand(shape), *net.example_input(20, 20)[1:])


@pytest.mark.parametrize("case", IMAGE_NETWORKS, ids=lambda case: case.id)
def test_bytes_and_small_sides_are_refused(case):
    net = build(case).eval()
    rest = net.example_input(20, 20)[1:]
    with pytest.raises(ValueError, match=r"floating-point images in \[0, 1\], got torch\.uint8"):
        net(torch.zeros(1, 3, 20, 20, dtype=torch.uint8), *rest)
    if net.min_side > 1:
        side = net.min_side - 1
        with pytest.raises(ValueError, match=f"at least {net.min_side}x{net.min_side} pixels, got {side}x20"):
            net(torch.rand(1, 3, side, 20), *rest)
        assert net(*net.example_input(net.min_side, net.min_side)).shape[2] == net.min_side * case.scale
