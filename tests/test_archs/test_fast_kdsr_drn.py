"""KDSR and DRN do less work than their authors' code and give the same images and gradients."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from lightsr_basicsr.archs import linear_tail
from lightsr_basicsr.archs.published import published_form as published
from lightsr_basicsr.archs.reparam import deploy
from lightsr_basicsr.checkpoints.identify import identify, load

SIZES = [(1, 1, 1), (2, 1, 9), (1, 7, 1), (2, 2, 3), (1, 3, 2), (1, 4, 5), (2, 13, 11)]
PRUNED = [3, 9, 5, 20, 11, 8, 17, 6]  # levels after which the 1x1 convolution is folded, and one where it is not


@pytest.fixture(autouse=True)
def small_images_too(monkeypatch) -> None:
    monkeypatch.setattr(linear_tail, "FEWEST_PIXELS", 1)


def kdsr(scale: int = 4, name: str = "BlindSR_ST") -> nn.Module:
    torch.manual_seed(scale)
    net = ARCH_REGISTRY.get(name)(n_feats=5, n_encoder_res=1, n_sr_blocks=2, scale=scale).double().eval()
    return shaken(net)


def drn(scale: int = 4, channels: list[int] | None = None) -> nn.Module:
    torch.manual_seed(scale)
    net = ARCH_REGISTRY.get("DRN")(num_feat=8, num_block=1 if channels is None else 2, upscale=scale, channels=channels)
    return shaken(net.double().eval())


def shaken(net: nn.Module) -> nn.Module:
    """Return ``net`` with mean shifts that are full matrices, as in official files, and biases far from zero."""
    for name, parameter in net.named_parameters():
        if parameter.ndim == 1 or "mean" in name:
            parameter.data += 0.2 * torch.randn_like(parameter)
    return net


def assert_same(fast: nn.Module, slow: nn.Module, *images: torch.Tensor) -> None:
    with torch.no_grad():
        torch.testing.assert_close(fast(*images), slow(*images), rtol=1e-12, atol=1e-11)


def picture(size: tuple[int, int, int]) -> torch.Tensor:
    return torch.rand(size[0], 3, *size[1:], dtype=torch.float64)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_kdsr_is_what_was_published(scale, size):
    net, x = kdsr(scale), picture(size)
    assert_same(net, published(net), x)
    assert_same(deploy(net), published(net), x)
    last = torch.channels_last
    assert_same(deepcopy(net).to(memory_format=last), published(net), x.to(memory_format=last))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("scale", "channels"), [(2, None), (4, None), (4, PRUNED), (8, None)])
def test_drn_is_what_was_published(scale, channels, size):
    net, x = drn(scale, channels), picture(size)
    assert_same(net, published(net), x)
    assert_same(deploy(net), published(net), x)
    last = torch.channels_last
    assert_same(deploy(net).to(memory_format=last), published(net), x.to(memory_format=last))


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_the_tail_of_kdsr_runs_as_one_convolution(scale, monkeypatch):
    net, calls = kdsr(scale), []
    monkeypatch.setattr(linear_tail.F, "pixel_shuffle", lambda x, by: calls.append(by) or torch.pixel_shuffle(x, by))
    net(picture((1, 6, 7)))
    assert scale in calls
    calls.clear()
    net.train()(picture((1, 6, 7)))
    monkeypatch.setattr(linear_tail, "FEWEST_PIXELS", 43)
    net.eval()(picture((1, 6, 7)))
    monkeypatch.setattr(linear_tail, "FEWEST_PIXELS", 42)
    net.G.tail[1].padding_mode = "reflect"
    net(picture((1, 6, 7)))
    assert scale not in calls or scale in (2, 3)  # one step alone shuffles by the same


def test_the_tail_follows_every_change_of_the_weights():
    net, x = kdsr(), picture((1, 9, 8))
    with torch.no_grad():
        before = net(x)
    other = shaken(deepcopy(net))
    net.load_state_dict(other.state_dict())
    assert_same(net, published(other), x)
    net.G.tail[0][0].weight.data.mul_(-1.5)  # which changes no version number, as BasicSR's moving average
    assert_same(net, published(net), x)
    assert (net(x) - before).abs().max() > 0.01


@pytest.mark.parametrize("make", [kdsr, lambda: kdsr(2, "BlindSR_TA"), drn], ids=["student", "teacher", "drn"])
@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_those_of_the_published_steps(make, training):
    net = make().train(training)
    slow, inputs = published(net), [image.double() for image in net.example_input(6, 5)]
    for each in (net, slow):
        out = each(*inputs)
        out = out[0] if isinstance(out, tuple) else out
        sum((level * level).sum() for level in (out if isinstance(out, list) else [out])).backward()
    for (name, ours), theirs in zip(net.named_parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(
            ours.grad, theirs.grad, rtol=1e-10, atol=1e-8, msg=lambda text, n=name: f"{n} {text}"
        )


def test_a_copy_of_a_network_that_has_run_gives_the_same():
    net, x = kdsr(), picture((1, 7, 7))
    net(x)
    assert_same(deepcopy(net), net, x)


@pytest.mark.parametrize("channels", [None, PRUNED])
def test_a_deployed_drn_has_no_1x1_convolution_where_that_saves_work(channels):
    net = deploy(drn(4, channels))
    kept = [isinstance(up[-1], nn.Conv2d) for up in net.up_blocks]
    assert kept == ([False, False] if channels is None else [True, True])


def test_a_pruned_drn_is_known_by_its_deployed_file():
    wide = [3, 9, 5, 20, 25, 8, 17, 6]
    net, x = drn(4, wide), picture((1, 5, 6)).float()
    state = deploy(net).float().state_dict()
    assert identify(state).arguments["channels"] == [3, 9, 5, 20, 32, 8, 17, 6]
    with torch.no_grad():
        torch.testing.assert_close(load(state)(x), net.float()(x), rtol=1e-4, atol=1e-4)


def test_a_traced_kdsr_takes_every_size_and_has_one_kernel_for_its_tail():
    net = deploy(kdsr().float())
    with torch.no_grad():
        program = torch.jit.trace(net, torch.rand(1, 3, 9, 8), check_trace=False)
        for height, width in ((1, 1), (2, 5), (20, 17)):
            x = torch.rand(1, 3, height, width)
            torch.testing.assert_close(program(x), net(x), rtol=1e-4, atol=1e-5)
    assert "aten::einsum" not in str(program.inlined_graph)


def test_bf16_under_autocast_stays_near_float32():
    for net in (kdsr().float(), drn().float()):
        x = torch.rand(1, 3, 12, 12)
        with torch.no_grad():
            exact = net(x)
            with torch.autocast("cpu", torch.bfloat16):
                near = net(x).float()
        assert (near - exact).abs().max() < 0.05 * exact.abs().max()
