"""DCLS: every feature map against the official code, kernels, the quirk of its groups, exact graphs, and bad input."""

import re

import numpy as np
import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn
from torch.nn import functional as F  # noqa: N812

import lightsr_basicsr
from lightsr_basicsr.archs import spectra
from lightsr_basicsr.archs.dcls_arch import DCLS, dense_channels
from lightsr_basicsr.archs.dcls_units import DualPathGroup, KernelEstimator, filters_of
from lightsr_basicsr.archs.sites import sites_of
from lightsr_basicsr.pruning.surgery import prune
from lightsr_basicsr.runtimes.network import smooth_picture
from tests import golden
from tests.cases import CASES, DCLS_PRUNED, DCLS_SMALL, channels
from tests.converting import with_kernel

RECORDED = [case for case in CASES if case.name == "DCLS" and case.golden != "dcls_drc_small_x2"]
PARTS = {
    "first": "Restorer.conv_first",
    "feature": "Restorer.feature_block",
    "head1": "Restorer.head1",
    "reduced": "Restorer.head2.reduce_feature",
    "cls": "Restorer.head2",
    "block": "Restorer.body.0.body.0",
    "group": "Restorer.body.0",
    "body": "Restorer.body.{last}",
    "fusion": "Restorer.fusion",
    "raw": "Restorer.upscale",
    "latent": "Estimator.tail",
}


def feature_maps(net: DCLS, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return what the named parts of a network give for images, under the names of the recordings."""
    found = {}

    def keep(name):
        return lambda _, __, output: found.__setitem__(name, output)

    modules, last = dict(net.named_modules()), len(net.Restorer.body) - 1
    hooks = [modules[path.format(last=last)].register_forward_hook(keep(name)) for name, path in PARTS.items()]
    layer = net.Restorer.head2
    hooks.append(layer.expand_feature.register_forward_pre_hook(lambda _, given: found.update(clear=given[0])))
    with torch.no_grad():
        found["out"], found["kernel"] = net.super_resolve(x)
        found["P"] = layer.regulariser(found["reduced"])
        if net.dual_model is not None:
            found["dual"] = net.dual_model(found["out"])
    for hook in hooks:
        hook.remove()
    for name in ("block", "group", "body"):
        found[f"{name}_deblur"], found[f"{name}_plain"] = found.pop(name)
    return found


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case.id)
def test_every_feature_map_equals_the_recorded_one(case, shared):
    description, arrays = golden.read(shared / "golden", case.golden)
    net = DCLS(**case.kwargs).eval()
    golden.load(net, description)
    for index in "01":
        found = feature_maps(net, torch.from_numpy(arrays[f"in{index}"]))
        compared = [name for name in found if f"{name}{index}" in arrays]
        assert len(compared) >= (4 if index == "0" else 18)
        for name in compared:
            recorded = arrays[f"{name}{index}"]
            assert golden.worst(found[name], recorded) < 1e-4 * np.abs(recorded).max(), name


def test_pruned_networks_are_those_of_the_official_surgery(shared):
    description, arrays = golden.read(shared / "golden", "dcls_prune_transform")
    sizes = {"num_feat": 16, "num_block": 2, "num_group": 2, "upscale": 2, "kernel_size": 11, "dual": True}
    dense = DCLS(**sizes, code_length=12).eval()
    golden.load(dense, description)
    sites = sites_of(dense)
    pruned, section = prune(dense, {"type": "DCLS", **sizes, "code_length": 12}, sites, description["kept"])
    assert section["channels"] == description["channel_config"]
    x = torch.from_numpy(arrays["in0"])
    with torch.no_grad():
        for name, net in (("dense", dense), ("pruned", pruned)):
            sr, kernel = net.super_resolve(x)
            assert golden.worst(sr, arrays[f"{name}_out0"]) < 1e-5
            assert golden.worst(kernel, arrays[f"{name}_kernel0"]) < 1e-5
            assert golden.worst(net.dual_model(sr), arrays[f"{name}_dual0"]) < 1e-5
    found = lightsr_basicsr.identify(pruned.state_dict())
    assert (found.form, found.arguments["channels"]) == ("pruned", description["channel_config"])


@pytest.mark.parametrize(
    ("kwargs", "params", "cost"),
    [
        ({"upscale": 2}, 13_478_475, None),
        ({"upscale": 3}, 13_663_115, None),
        ({"upscale": 4}, 13_626_187, None),
        ({"upscale": 2, "kernel_size": 11}, 8_905_931, None),
        ({"upscale": 4, "kernel_size": 31}, 19_054_027, 69.92),
        ({"upscale": 4, "kernel_size": 31, "channels": channels("test_dcls_drc_x4")}, 14_166_343, 57.08),
    ],
)
def test_official_sizes_and_costs(kwargs, params, cost):
    """Costs by the papers' convention: layers with their biases, for an LR image of 96x96, without transforms."""
    net = DCLS(**kwargs).to("meta").eval()
    assert sum(parameter.numel() for parameter in net.parameters()) == params
    if cost is None:
        return
    sums = []
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            each = module.weight[0].numel() + 1
            module.register_forward_hook(lambda _, __, output, each=each: sums.append(output.numel() * each))
    net(torch.empty(1, 3, 96, 96, device="meta"))
    assert round(sum(sums) / 1e9, 2) == cost


def test_channel_list_follows_the_official_order(shared, tmp_path):
    official = shared / "golden" / "drc_configs" / "DCLS_prune03.txt"
    net = DCLS(kernel_size=31, channels=str(official))
    assert net.channels == channels("test_dcls_drc_x4")
    modules = dict(net.named_modules())
    producers = [modules[site.producer] for site in net.prunable_sites()]
    assert [producer.weight.shape[0] for producer in producers] == net.channels
    consumers = [[modules[name] for name in site.consumers] for site in net.prunable_sites()]
    assert [{each.weight.shape[1] for each in layers} for layers in consumers] == [{width} for width in net.channels]
    assert len(consumers[3]) == 5  # all filters are made from the code


def test_a_group_gives_twice_what_its_last_block_does():
    group = DualPathGroup(16, 4, [16, 16])
    for parameter in group.parameters():
        nn.init.zeros_(parameter)
    deblurred, plain = torch.rand(1, 16, 5, 6), torch.rand(1, 4, 5, 6)
    for out, given in zip(group(deblurred, plain), (deblurred, plain), strict=True):
        assert torch.equal(out, 2 * given)


@pytest.mark.parametrize("side", [11, 21, 31])
def test_kernels_are_full_convolutions_of_their_filters(side):
    """Sums over hidden and input channels, the mean over output channels, in float64."""
    estimator = KernelEstimator(3, 8, 8, side, [8, 8, 8]).double()
    shapes = filters_of(side, 3)
    numbers = [torch.rand(2, out * into * size**2, dtype=torch.float64) for out, into, size in shapes]
    kernel = estimator.compose(numbers)
    assert side == 1 + sum(size - 1 for _, _, size in shapes)
    torch.testing.assert_close(kernel.sum(dim=(1, 2, 3)), torch.ones(2, dtype=torch.float64))
    for index in range(2):
        expected = torch.ones(1, 3, 1, 1, dtype=torch.float64)
        for (out, into, size), each in zip(shapes, numbers, strict=True):
            weight = each[index].reshape(out, into, size, size)
            expected = F.conv2d(expected, weight.flip((2, 3)), padding=size - 1)
        expected = expected.mean(dim=1)
        torch.testing.assert_close(kernel[index], expected / expected.sum())


@pytest.mark.parametrize("size", [(31, 40), (44, 33), (35, 35)])
def test_matrix_products_divide_spectra_exactly(size, monkeypatch):
    torch.manual_seed(1)
    x, kernel = torch.rand(2, 4, *size).double(), torch.rand(2, 1, 11, 11).double()
    regulariser = torch.rand(2, 4, 3, 3).double()
    given = (x, kernel / kernel.sum((2, 3), keepdim=True), regulariser, 11)
    expected = spectra.divide_spectra(*given)
    assert expected.shape == (2, 4, size[0] - 22, size[1] - 22)
    pooled = spectra.pool_in_thirds(x)
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
    torch.testing.assert_close(spectra.divide_spectra(*given), expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(spectra.pool_in_thirds(x), pooled, rtol=1e-12, atol=1e-12)


def test_blur_is_inverted():
    """Without a regulariser, the quotient of the spectra undoes a circular convolution."""
    torch.manual_seed(0)
    x = torch.rand(1, 2, 24, 20).double()
    kernel = torch.zeros(1, 1, 5, 5).double()
    kernel[..., 1:4, 2], kernel[..., 2, 2] = 0.2, 0.6
    padded = F.pad(x, [2] * 4, mode="circular")
    blurred = F.conv2d(padded, kernel.flip((2, 3)).expand(2, 1, 5, 5), groups=2)
    clear = spectra.divide_spectra(blurred, kernel, torch.zeros(1, 2, 3, 3).double(), 0)
    torch.testing.assert_close(clear, x)


def test_the_image_does_not_train_the_estimator():
    net = DCLS(**DCLS_SMALL, upscale=2, kernel_size=11).train()
    sr, kernel = net(torch.rand(2, 3, 12, 12))
    sr.sum().backward(retain_graph=True)
    assert all(parameter.grad is None for parameter in net.Estimator.parameters())
    kernel.square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.Estimator.parameters())


def test_black_images_are_finite_with_new_weights():
    net = DCLS(**DCLS_SMALL, upscale=2, kernel_size=11)
    for out in net.train()(torch.zeros(1, 3, 9, 9)):
        assert torch.isfinite(out).all()


def test_half_precision_does_not_reach_the_quotient():
    net = with_kernel()
    x = smooth_picture(3, 20, 27)
    with torch.no_grad():
        exact, kernel = net.super_resolve(x)
        with torch.autocast("cpu", torch.bfloat16):
            sr, rough = net.super_resolve(x)
    assert rough.dtype == torch.float32
    assert (rough - kernel).abs().max() < 0.05 * kernel.abs().max()
    assert (sr - exact).abs().max() < 0.02


@pytest.mark.parametrize("kwargs", [{}, {"dual": True}, DCLS_PRUNED], ids=str)
def test_order_of_keys_is_that_of_the_official_files(kwargs):
    net = ARCH_REGISTRY.get("DCLS")(**{**DCLS_SMALL, "code_length": 256, **kwargs})
    parts = list(dict.fromkeys(key.split(".")[0] for key in net.state_dict()))
    expected = ["Estimator", "Restorer", "dual_model"] if kwargs else ["Restorer", "Estimator"]
    assert parts == expected[: len(parts)]
    assert len(parts) == (3 if kwargs.get("dual") else 2)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"upscale": 8}, "supports `upscale` 2, 3 or 4, got 8: choose"),
        ({"kernel_size": 15}, "supports `kernel_size` 11 or 21 or 31, got 15: take 21 for isotropic"),
        ({"kernel_size": 21.5}, "supports `kernel_size` 11 or 21 or 31, got 21.5"),
        ({"dual": True, "upscale": 3}, "for `upscale` 2 and 4, because it halves, got 3: use `dual: false`"),
        ({"num_block": 0}, "of at least 1, got 3, 0, 2, 4 and 16: the official ones are"),
        ({"num_feat": 40}, "a multiple of 4 times `reduction`, 16 here.*, got 40: the official one is 64"),
        ({"channels": [16] * 10}, "DCLS expects 11 numbers in `channels`, got 10: the list is of a network of another"),
        ({"channels": [16] * 3 + [17] + [16] * 7}, "number 3 of `channels` must be within 1 and 16, got 17"),
        ({"channels": [0] + [16] * 10}, "number 0 of `channels` must be within 1 and 16, got 0"),
        ({"channels": [1.5] + [16] * 10}, "DCLS expects whole numbers in `channels`, got 1.5"),
        (
            {"channels": "missing.txt"},
            "DCLS finds no channel list at missing.txt .*: give a text file",
        ),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        DCLS(**{**DCLS_SMALL, **kwargs})


def test_images_below_nine_pixels_are_refused():
    net = DCLS(**DCLS_SMALL).eval()
    with pytest.raises(ValueError, match=re.escape("needs images of at least 9x9 pixels, got 8x20: pad the image")):
        net(torch.rand(1, 3, 8, 20))


def test_files_with_other_filters_are_not_claimed():
    state = dict(DCLS(**DCLS_SMALL, kernel_size=11).state_dict())
    state["Estimator.dec.1.weight"], state["Estimator.dec.1.bias"] = torch.zeros(256 * 25, 16), torch.zeros(256 * 25)
    with pytest.raises(lightsr_basicsr.CheckpointError, match=r"(?s)looks like DCLS.*kernel_size` 11 or 21 or 31"):
        lightsr_basicsr.identify(state)
    assert dense_channels(16, 2, 2, 16) == [16] * 11
