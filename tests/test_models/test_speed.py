"""Options of a faster step: what they change in a network's pass, and what they leave as it is."""

import warnings

import pytest
import torch
from basicsr.archs import build_network
from torch import nn

from lightsr_basicsr.models.base import LossDictModel
from lightsr_basicsr.models.channel_search_model import ChannelSearchModel
from lightsr_basicsr.models.contract import contract_of
from lightsr_basicsr.models.distill_finetune_model import DistillFinetuneModel
from lightsr_basicsr.models.speed import KEYS, CompileError, Scaler, Speed
from lightsr_basicsr.models.speed_checks import describe_missing_compiler
from tests import tiny

SMALL = {"type": "IMDN_RTC", "num_feat": 4, "num_block": 1, "upscale": 2}


def small(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_network(dict(SMALL))


def losses_of(steps: int = 60, **train) -> list[float]:
    """Return the losses of the steps of the smallest network on one batch, with options of the speed."""
    net, speed = small(), Speed(train)
    optimizer, images = torch.optim.Adam(net.parameters(), lr=2e-3), torch.rand(4, 3, 8, 8)
    target, found = nn.functional.interpolate(images, scale_factor=2), []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (speed.run(net, images) - target).abs().mean()
        assert loss.dtype == torch.float32
        speed.backward(loss)
        speed.step([optimizer])
        found.append(loss.item())
    assert {value.dtype for value in net.parameters()} == {torch.float32}
    assert all(value.is_contiguous() for value in net.parameters())
    assert net.state_dict().keys() == small().state_dict().keys()
    return found


def test_without_options_a_network_is_called_as_it_is():
    seen = []

    def net(*inputs, **settings):
        seen.append((inputs, settings, torch.is_autocast_enabled(), torch.is_autocast_cpu_enabled()))
        return "output"

    images = torch.rand(1, 3, 4, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert Speed().run(net, images, represent_only=True) == "output"
    (inputs, settings, *autocast) = seen[0]
    assert inputs[0] is images
    assert (settings, autocast) == ({"represent_only": True}, [False, False])


def test_the_losses_of_bf16_follow_those_of_float32():
    """Half a per cent of the first loss: bf16 has 8 bits, and the losses are of means over thousands of values."""
    exact, half = losses_of(), losses_of(amp="bf16")
    assert exact != half
    assert half[-1] < 0.7 * half[0]
    assert max(abs(a - b) for a, b in zip(exact, half, strict=True)) < 5e-3 * exact[0]


def test_channels_last_is_the_same_within_rounding():
    assert losses_of(channels_last=True) == pytest.approx(losses_of(), rel=1e-4)


class Perceptual(nn.Module):
    """A loss with a network, as BasicSR's."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.vgg = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).requires_grad_(False)

    def forward(self, images, target):
        features, expected = self.vgg(images), self.vgg(target)
        assert {features.dtype, expected.dtype} == {torch.float32}
        return (features - expected).abs().mean()


def test_the_network_of_a_perceptual_loss_runs_in_the_same_way():
    images, target = torch.rand(2, 2, 3, 8, 8)
    found = {}
    for title, train in {"plain": {}, "bf16": {"amp": "bf16"}, "channels_last": {"channels_last": True}}.items():
        loss = Perceptual()
        Speed(train).cover(loss)
        found[title] = loss(images, target).item()
        assert loss.state_dict().keys() == Perceptual().state_dict().keys()
    assert found["plain"] == Perceptual()(images, target).item()
    assert found["channels_last"] == pytest.approx(found["plain"], rel=1e-5)
    assert found["bf16"] == pytest.approx(found["plain"], rel=2e-2)
    assert found["bf16"] != found["plain"]
    Speed().cover(None)
    Speed().cover(nn.L1Loss())


def test_all_that_a_network_gives_is_float32():
    def net(images, more):
        assert more[0].is_contiguous(memory_format=torch.channels_last)
        half = nn.functional.conv2d(images, torch.ones(1, 3, 1, 1))
        return half, [half, {"sum": half}], more[0].long(), None

    images = torch.rand(2, 3, 4, 4)
    output = Speed({"amp": "bf16", "channels_last": True}).run(net, images, [images])
    assert {output[0].dtype, output[1][0].dtype, output[1][1]["sum"].dtype} == {torch.float32}
    assert output[2].dtype == torch.int64
    assert output[3] is None


@pytest.mark.skipif(not hasattr(torch.amp, "GradScaler"), reason="before torch 2.3 only GPUs have a scaler")
def test_fp16_scales_losses_and_leaves_out_steps_that_are_not_finite():
    weight, speed = nn.Parameter(torch.ones(1)), Speed({"amp": "fp16"})
    optimizer, idle = torch.optim.SGD([weight], lr=0.5), torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1)
    speed.backward(weight.sum())
    assert weight.grad.item() == 2.0**16
    assert speed.step([optimizer, idle])
    assert weight.item() == 0.5
    optimizer.zero_grad()
    speed.backward(weight.sum() * float("inf"))
    assert not speed.step([optimizer, idle])
    assert weight.item() == 0.5
    state = speed.scaler.state_dict()
    assert state["scale"] == 2.0**15
    other = Scaler("cpu")
    other.load_state_dict(state)
    other.step()
    assert other.state_dict() == state


@pytest.mark.skipif(not hasattr(torch, "compile"), reason="needs torch 2.0")
def test_a_compiled_form_stays_beside_its_network(monkeypatch):
    net, made = small(), []
    monkeypatch.setattr(torch, "compile", lambda net: made.append(net) or (lambda images: net(images) + 1))
    speed, images = Speed({"compile": True}), torch.rand(1, 3, 8, 8)
    assert torch.equal(speed.run(net, images), net(images) + 1)
    speed.run(net, images)
    assert made == [net]
    assert net.state_dict().keys() == small().state_dict().keys()


def problems(model: type = LossDictModel, num_gpu: int = 0, **train) -> dict[str, str]:
    content = tiny.train_options(**train)
    found = dict(contract_of(model).find_problems({**content, "num_gpu": num_gpu}, {}))
    return {key: text for key, text in found.items() if key.removeprefix("train.") in KEYS}


def test_what_the_machine_cannot_do_is_said_before_the_run(monkeypatch):
    assert problems(amp="bf16", channels_last=True) == {}
    assert problems(amp="fp16") == {
        "train.amp": "is fp16, which needs a GPU, and num_gpu is 0: use bf16, which CPUs train with too, or remove it"
    }
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "and torch sees none here" in problems(num_gpu=1, amp="fp16")["train.amp"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert problems(num_gpu=1, amp="fp16") == {}


def test_a_missing_compiler_is_said_before_the_run(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "$CXX is no-such-compiler" in problems(compile=True)["train.compile"]
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", "")
    text = problems(compile=True)["train.compile"]
    assert text.startswith("needs a C++ compiler on the CPU, and there is none (looked for ")
    assert "install one (g++), or remove it" in text
    monkeypatch.setattr("lightsr_basicsr.models.speed_checks.find_spec", lambda name: None)
    assert "needs the package triton on a GPU" in describe_missing_compiler(on_gpu=True)
    monkeypatch.delattr(torch, "compile")
    assert "needs torch 2.0 or newer" in problems(compile=True)["train.compile"]


def test_a_compiler_that_does_not_run_is_said_before_the_run(monkeypatch, tmp_path):
    for name, status in {"broken": 1, "working": 0}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\nexit {status}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("CXX", str(tmp_path / "broken"))
    text = problems(compile=True)["train.compile"]
    assert text == f"needs a C++ compiler that works, and $CXX, {tmp_path / 'broken'}, tells no version: set another"
    monkeypatch.setenv("CXX", str(tmp_path / "working"))
    assert problems(compile=True) == {}


@pytest.mark.skipif(not hasattr(torch, "compile"), reason="needs torch 2.0")
def test_a_network_that_cannot_be_compiled_is_told_in_a_sentence(monkeypatch):
    def fails(net):
        def run(images):
            raise error("fatal error: omp.h: No such file or directory")

        return run

    monkeypatch.setattr(torch, "compile", fails)
    error = type("InductorError", (RuntimeError,), {"__module__": "torch._inductor.exc"})
    text = r"train.compile: torch.compile should translate IMDN_RTC, but failed: .*omp.h.* or remove train.compile\."
    with pytest.raises(CompileError, match=text):
        Speed({"compile": True}).run(small(), torch.rand(1, 3, 8, 8))
    error = MemoryError
    with pytest.raises(MemoryError):
        Speed({"compile": True}).run(small(), torch.rand(1, 3, 8, 8))


def test_bf16_that_a_device_lacks_is_said_before_the_run(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla P4")
    for has in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda has=has: has)
        assert ("train.amp" in problems(num_gpu=1, amp="bf16")) is not has
    text = "is bf16, which Tesla P4 cannot compute with: use fp16, or remove it"
    assert problems(num_gpu=1, amp="bf16") == {"train.amp": text}


def test_bf16_on_a_processor_without_instructions_is_a_remark(monkeypatch):
    contract, content = contract_of(LossDictModel), {**tiny.train_options(amp="bf16"), "num_gpu": 0}
    for fast in (True, False):
        monkeypatch.setattr("lightsr_basicsr.models.speed_checks._has_fast_bf16", lambda fast=fast: fast)
        assert [key for key, _ in contract.find_remarks(content)] == ([] if fast else ["train.amp"])
    assert list(contract.find_remarks(tiny.train_options())) == []


def test_models_in_which_an_option_has_no_effect_say_so():
    content = {"train": {"sites": None, "amp": "bf16", "channels_last": True, "compile": False}}
    found = dict(contract_of(ChannelSearchModel).find_problems(content, {}))
    assert found["train.amp"] == "has no effect: ChannelSearchModel runs networks in its own way; remove it"
    assert "train.channels_last" in found
    assert "train.compile" not in found
    content = {"train": {"compile": True}, "network_teacher": {}}
    assert "compares maps" in dict(contract_of(DistillFinetuneModel).find_problems(content, {}))["train.compile"]
