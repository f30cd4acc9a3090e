"""What the check lets through and a run dies of at its first step: one item of every set goes through the network."""

import random

import numpy as np
import pytest
import torch

from lightsr_basicsr.cli import main
from lightsr_basicsr.tools.check import trial
from lightsr_basicsr.tools.check.context import Run, Seen
from lightsr_basicsr.tools.check.options import check_options
from tests import tiny

pytestmark = pytest.mark.faults

GRAY = {"num_in_ch": 1, "num_out_ch": 1}
SWINIR = {"type": "SwinIR", "upscale": 4, "in_chans": 3, "img_size": 16, "window_size": 8, "depths": [2],
          "embed_dim": 12, "num_heads": [2], "mlp_ratio": 2, "upsampler": "pixelshuffle"}  # fmt: skip
GAN = {"gan_opt": {"type": "GANLoss", "gan_type": "vanilla"}, "optim_d": {"type": "Adam", "lr": 1e-4}}


@pytest.fixture(autouse=True)
def pairs(workdir):
    for scale in (2, 3, 4):
        tiny.make_pairs(workdir / f"x{scale}", 2, 32 * scale, scale)


def network(scale: int = 4, **more) -> dict:
    return {"type": "IMDN", "num_feat": 16, "num_block": 1, "upscale": scale, **more}


def options(net: dict, model: str = "LossDictModel", scale: int = 4, size: int = 64, **more) -> dict:
    train = {key: more.pop(key) for key in ("gan_opt", "optim_d", "perceptual_opt") if key in more}
    content = {
        **tiny.train_options(f"x{scale}", **train),
        "model_type": model,
        "scale": scale,
        "network_g": net,
        **more,
    }
    content["datasets"]["train"]["gt_size"] = size
    return content


def told(content: dict, is_train: bool = True, fatal: bool = True) -> str:
    return "\n".join(str(each) for each in check_options(content, is_train) if each.fatal == fatal)


WRONG = {
    "a network of x2": (options(network(2)), "makes 3x32x32 of LR 3x16x16, but HR is 3x64x64: it enlarges by 2"),
    "a network of x2 of BasicSR": (
        options({"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 1, "upscale": 2},
                "SRModel"),
        "EDSR) makes 3x32x32"),
    "a reparameterized one": (
        options({"type": "Reparameterized", "network": network(2)}, "ReparamModel"), "it enlarges by 2"),
    "a gray network": (options(network(**GRAY)), "cannot run on LR images 3x16x16: IMDN expects images (N, 1, H, W)"),
    "a gray output": (options(network(num_out_ch=1)), "makes 1x64x64 of LR 3x16x16, but HR is 3x64x64: set num_out_ch"),
    "crops of 64 at x3": (
        options(network(3), "SRModel", 3), "gt_size must be a multiple of 3, for example 63"),
    "crops that windows do not fit": (options(SWINIR, "SRModel", size=60), "SwinIR cannot run on LR images 3x15x15"),
    "a discriminator of another size": (
        options(network(), "SRGANModel", **GAN, network_d={"type": "VGGStyleDiscriminator", "num_in_ch": 3,
                                                           "num_feat": 8}),
        "network_d: VGGStyleDiscriminator cannot judge images 3x64x64"),
    "a gray discriminator": (
        options(network(), "SRGANModel", **GAN, network_d={"type": "UNetDiscriminatorSN", "num_in_ch": 1,
                                                           "num_feat": 8}),
        "network_d: UNetDiscriminatorSN cannot judge"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "message"), WRONG.values(), ids=WRONG)
def test_a_network_that_does_not_fit_its_images_is_told(content, message):
    assert message in told(content)


def test_a_perceptual_loss_takes_colour_only():
    content = options(network(**GRAY), perceptual_opt={"type": "PerceptualLoss", "layer_weights": {"conv5_4": 1}})
    for section in content["datasets"].values():
        section["color"] = "y"
    assert told(content) == "train.perceptual_opt: takes images of 3 channels, network_g gives 1"


RIGHT = {
    "ours": options(network()),
    "at x3": options(network(3), scale=3, size=48),
    "BasicSR's": options(network(), "SRModel"),
    "windows, padded in validation": options(SWINIR, "SwinIRModel"),
    "reparameterized": options({"type": "Reparameterized", "network": network()}, "ReparamModel"),
    "a network without levels": options(network(), "DualRegressionModel",
                                        network_dual={"type": "DualNetwork", "downscale": 4}),
    "a discriminator": options(network(), "SRGANModel", size=128, **GAN,
                               network_d={"type": "VGGStyleDiscriminator", "num_in_ch": 3, "num_feat": 8}),
}  # fmt: skip


@pytest.mark.parametrize("content", RIGHT.values(), ids=RIGHT)
def test_what_fits_passes(content):
    if "network_dual" in content:
        content["train"]["dual_opt"] = {"type": "L1Loss", "loss_weight": 0.1}
    assert told(content) == ""


def test_images_that_are_degraded_on_the_device_are_degraded_on_the_cpu():
    crops = {"gt_size": 64, "use_hflip": True, "use_rot": True, "num_worker_per_gpu": 0, "batch_size_per_gpu": 2}
    blind = {"name": "t", "type": "ClassicBlindDataset", "dataroot_gt": "x4/HR", "io_backend": {"type": "disk"}}
    for scale, message in ((4, ""), (2, "it enlarges by 2")):
        content = options(network(scale))
        content["datasets"]["train"] = {**blind, **crops}
        del content["datasets"]["val"]
        assert message in told(content)
        assert message or told(content) == ""


def test_a_test_of_another_scale_is_fatal_where_images_are_compared():
    content = {**tiny.test_options(tiny.paired("v", "x2")), "network_g": network(4)}
    assert "network_g (IMDN) makes 3x128x128 of LR 3x32x32, but HR is 3x64x64" in told(content, False)
    content["val"]["metrics"] = None
    assert told(content, False) == ""
    assert "it enlarges by 4, and the images need 2" in told(content, False, fatal=False)


def test_a_finished_run_stays_where_it_is(workdir):
    (workdir / "experiments" / "tiny" / "models").mkdir(parents=True)
    before = tiny.tree(workdir)
    path = tiny.write(options(network()), str(workdir / "run.yml"))
    assert main(["train", "-opt", path, "--force_yml", "network_g:upscale=2"]) == 2
    assert {**tiny.tree(workdir), "run.yml": 0} == {**before, "run.yml": 0}


def test_generators_and_networks_are_left_as_they_were():
    def drawn() -> list:
        return [random.random(), np.random.rand(), torch.rand(1).item()]

    content = options(network())
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = drawn()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    run = Run(content, is_train=True)
    run.networks["network_g"] = torch.nn.Dropout().train()
    run.seen["val"] = Seen({"lq": torch.rand(3, 8, 8, generator=torch.Generator()), "gt": torch.zeros(3, 8, 8)})
    list(trial.try_items(run))
    assert drawn() == expected
    assert run.networks["network_g"].training


def test_a_large_network_is_skipped_with_a_word(monkeypatch):
    monkeypatch.setattr(trial, "MOST_WORK", 1000)
    content = options(network(2))
    assert told(content) == ""
    assert "datasets.train: (warning) not tried with IMDN: 0 million parameters" in told(content, fatal=False)


def test_a_model_whose_step_is_unknown_is_not_judged(monkeypatch):
    from basicsr.models.sr_model import SRModel
    from basicsr.utils.registry import MODEL_REGISTRY

    class OwnStepModel(SRModel):
        def optimize_parameters(self, current_iter):
            """Do something else."""

    OwnStepModel.__module__ = OwnStepModel.optimize_parameters.__module__ = "another.package"
    monkeypatch.setitem(MODEL_REGISTRY._obj_map, "OwnStepModel", OwnStepModel)
    assert told(options(network(2), "OwnStepModel")) == ""


@pytest.mark.parametrize(("arguments", "message"), [
    ({"num_block": 10**7}, "more than 10,000 modules"), ({"num_feat": 40_000}, "more than 150,000,000 parameters"),
])  # fmt: skip
def test_a_network_that_would_fill_the_memory_is_not_built(arguments, message):
    assert message in told(options({**network(), **arguments}))
