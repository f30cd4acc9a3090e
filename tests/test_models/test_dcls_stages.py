"""Search and choice of channels for DCLS against a second, plain implementation of the method's description."""

import copy

import pytest
import torch
from basicsr.models import build_model
from torch.func import functional_call
from torch.nn import functional as F  # noqa: N812

from lightsr_basicsr.data.degradations import isotropic_kernel
from lightsr_basicsr.data.low_resolution import target_kernel
from tests import dcls, drc
from tests.data.make_golden import image

NETWORK = {**dcls.SMALL, "dual": True}
LIMIT, RATE = 0.1, 1e-3
FILTERS = [f"Estimator.dec.{index}" for index in (3, 2, 1, 0)]
# Of each site the layers that read the channels; the first one ranks them.
READERS = [*([f"Estimator.body.0.{block}.conv2"] for block in range(3)), FILTERS,
           *([f"Restorer.feature_block.{block}.conv2"] for block in range(3)),
           ["Restorer.body.0.body.0.body1.2"]]  # fmt: skip


def batch(*seeds: int) -> dict:
    gt = torch.cat([image(seed, 32, 32) for seed in seeds])
    return dcls.batch(gt, isotropic_kernel(torch.tensor([0.8 + 0.3 * seed for seed in seeds]), 11).float(), 2)


def make(folder, model: str, **train):
    torch.manual_seed(0)
    content = dcls.options(folder, NETWORK, dual_opt={"type": "L1Loss", "loss_weight": 0.1}, clip_norm=LIMIT, **train)
    state = drc.build(NETWORK).state_dict()
    # A new network has none; the kernel would be 0 where the filters' weights are.
    biases = {key: 0.05 * torch.randn_like(value) for key, value in state.items() if value.ndim == 1}
    torch.save({**state, **biases}, folder / "dense.pth")
    content["path"]["pretrain_network_dense"] = str(folder / "dense.pth")
    return build_model({**content, "model_type": model, "datasets": {"train": {"halves": True}}})


def degraded(data: dict, model) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return LR, HR and target kernels of a batch."""
    model.feed_data(copy.deepcopy(data))
    return model.lq, data["gt"], target_kernel(data["gt"], data["kernel"], 2)


def loss_of(output, images) -> torch.Tensor:
    (sr, kernel, back), (lq, gt, target) = output, images
    return (sr - gt).abs().mean() + (kernel - target).abs().mean() + 0.1 * (back - lq).abs().mean()


def limited(gradients) -> list[torch.Tensor]:
    norm = sum(float(gradient.double().square().sum()) for gradient in gradients) ** 0.5
    return [gradient * min(LIMIT / norm, 1) for gradient in gradients]


def masked(weights: dict, alphas: torch.Tensor, candidates) -> dict:
    found = dict(weights)
    for alpha, sizes, readers in zip(alphas, candidates, READERS, strict=True):
        shares, ranking = alpha.softmax(0), weights[f"{readers[0]}.weight"].detach().abs()
        order = ranking.flatten(2).sum((0, 2)) if ranking.ndim > 2 else ranking.sum(0)
        rank = {int(channel): place for place, channel in enumerate(order.argsort(descending=True))}
        factors = torch.stack(
            [sum((share for share, size in zip(shares, sizes, strict=True) if size > rank[channel]), shares[0] * 0)
             for channel in range(len(order))]
        )  # fmt: skip
        for name in readers:
            weight = weights[f"{name}.weight"]
            found[f"{name}.weight"] = weight * factors.view(1, -1, *[1] * (weight.ndim - 2))
    return found


def test_a_step_of_the_search(tmp_path):
    rates = {"virtual_weight_decay": 0, "clip_alphas": True}
    model = make(tmp_path, "ChannelSearchModel", pruning_rate=0.3, **rates)
    first, second = degraded(batch(0, 1), model), degraded(batch(2, 3), model)
    net = copy.deepcopy(model.net_g)
    weights, alphas = dict(net.named_parameters()), model.soft.alphas.detach().clone().requires_grad_()

    def loss(used: dict, images) -> torch.Tensor:
        return loss_of(functional_call(net, masked(used, alphas, model.candidates), (images[0],)), images)

    steps = limited(torch.autograd.grad(loss(weights, first), [*weights.values()]))
    virtual = {key: (value - RATE * step).detach().requires_grad_()
               for (key, value), step in zip(weights.items(), steps, strict=True)}  # fmt: skip
    plain = torch.autograd.grad(loss(virtual, second), [alphas, *virtual.values()])
    expected = limited(plain)
    model.feed_data(batch(0, 1, 2, 3))
    model.optimize_parameters(1)
    torch.testing.assert_close(model.soft.alphas.grad, expected[0], rtol=1e-4, atol=1e-9)
    # The weights' part of the norm is nearly all of it.
    assert expected[0].norm() < plain[0].norm() / 2
    clipped = torch.cat([parameter.grad.flatten() for parameter in model.net_g.parameters()])
    assert clipped.norm() == pytest.approx(LIMIT, rel=1e-4)
    # Officially every value is then limited too, which changes nothing.
    assert clipped.abs().max() <= LIMIT
    assert {"l_pix", "l_ker", "l_dual", "l_alpha"} <= set(model.get_current_log())
    assert not torch.equal(model.net_g.dual_model.state_dict()["dual_module.1.weight"],
                           net.dual_model.state_dict()["dual_module.1.weight"])  # fmt: skip


def test_a_gradient_with_nan_counts_as_none(tmp_path):
    model = make(tmp_path, "ChannelSearchModel", pruning_rate=0.3, clip_alphas=True)
    data = batch(0, 1, 2, 3)
    data["gt"][2] = float("nan")
    model.feed_data(data)
    model.optimize_parameters(1)
    assert not model.soft.alphas.grad.any()
    assert all(bool(parameter.isfinite().all()) for parameter in model.net_g.parameters())


def features(net, name: str, lq: torch.Tensor):
    """Return what ``net`` gives, and the output of one of its modules."""
    seen = []
    hook = net.get_submodule(name).register_forward_hook(lambda module, inputs, output: seen.append(output.clone()))
    output = net(lq)
    hook.remove()
    return output, seen[0]


def select(dense, images: list, targets: list[int], rate: float) -> tuple[list[list[int]], dict]:
    """Return the channels in the order of their choice, and the weights with which it ends."""
    net, order = copy.deepcopy(dense).requires_grad_(), []
    for readers, target in zip(READERS, targets, strict=True):
        layers = [net.get_submodule(name) for name in readers]
        whole = [dense.get_submodule(name).weight for name in readers]
        compared = "Estimator" if readers is FILTERS else readers[0]
        tuned = [part for layer in layers for part in (layer.weight, layer.bias)]

        def gradients(batch_, tuned=tuned, compared=compared):
            with torch.no_grad():
                _, expected = features(dense, compared, batch_[0])
            output, seen = features(net, compared, batch_[0])
            return torch.autograd.grad(loss_of(output, batch_) + F.mse_loss(seen, expected), tuned)

        for layer in layers:
            layer.weight.data.zero_()
        kept: list[int] = []
        while len(kept) < target:
            total = [torch.zeros_like(part) for part in tuned]
            for batch_ in images:
                total = limited([a + b for a, b in zip(total, gradients(batch_), strict=True)])
            scores = [-1.0 if c in kept else sum(float(total[0][o, c].norm()) for o in range(len(total[0])))
                      for c in range(total[0].shape[1])]  # fmt: skip
            kept.append(max(range(len(scores)), key=scores.__getitem__))
            for layer, weight in zip(layers, whole, strict=True):
                layer.weight.data[:, kept[-1]] = weight.data[:, kept[-1]]
            optimizer = torch.optim.SGD(tuned, rate, 0.9, nesterov=True)
            for batch_ in images:
                for part, gradient in zip(tuned, limited(gradients(batch_)), strict=True):
                    part.grad = gradient
                for layer in layers:
                    layer.weight.grad[:, [c for c in range(layer.weight.shape[1]) if c not in kept]] = 0
                optimizer.step()
        order.append(kept)
    return order, net.state_dict()


def test_the_choice_of_channels(tmp_path):
    """All sites, the code of the estimator with its four filters among them."""
    targets = [2, 1, 2, 2, 1, 2, 1, 2]
    total = 4 * sum(targets)
    model = make(tmp_path, "ChannelPruningModel", channels=targets, pass_iter=2, tune_lr=RATE, total_iter=total)
    data = [batch(0, 1), batch(2, 3)]
    dense = copy.deepcopy(model.net_dense).train()
    order, weights = select(dense, [degraded(each, model) for each in data], targets, RATE)
    for number in range(total):
        model.feed_data(copy.deepcopy(data[number % 2]))
        model.optimize_parameters(number + 1)
    assert model.selection.done
    assert model.selection.kept == order
    changed = 0
    for key, value in model.net_g.state_dict().items():
        torch.testing.assert_close(value, weights[key], rtol=1e-4, atol=1e-6)
        changed += not torch.equal(value, dense.state_dict()[key])
    # Weight and bias of all readers, and nothing else.
    assert changed == 2 * sum(map(len, READERS))
    small, section = model.pruned()
    loaded = drc.build(section)
    loaded.load_state_dict(small.state_dict(), strict=True)
    low = model.lq
    for part in (loaded, model.net_g):
        part.eval()
    torch.testing.assert_close(loaded(low), model.net_g(low), rtol=1e-4, atol=1e-5)


def test_kernels_are_compared_at_the_site_of_the_code(tmp_path):
    model = make(tmp_path, "ChannelPruningModel", channels=[1] * 8, pass_iter=1, total_iter=16)
    assert [site.compared for site in model.sites] == [
        "Estimator" if readers is FILTERS else readers[0] for readers in READERS
    ]
