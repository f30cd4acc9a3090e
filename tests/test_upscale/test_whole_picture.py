"""Tiles equal the whole picture: every network, small, in double precision."""

import numpy as np
import pytest
import torch
from basicsr.archs import build_network

from lightsr_basicsr.archs import ddistill_sr_arch
from lightsr_basicsr.runtimes.torch_runtime import TorchRuntime
from lightsr_basicsr.upscale.plan import TilePlan
from lightsr_basicsr.upscale.tiles import TileRunner
from tests.test_zoo import get

# Networks of one or two blocks, in which few pixels reach a pixel; the overlap that this needs; and passes: at most one
# for each pooling in a row makes all statistics exact.
NETWORKS = {
    "IMDN": ("IMDN", {"num_feat": 16, "num_block": 2, "upscale": 2}, 14, 2),
    "IMDN_AS": ("IMDN_AS", {"num_feat": 16, "num_block": 1}, 32, 1),
    "FDIWN": ("FDIWN", {"upscale": 2}, 12, 9),
    "FDIWN_M": ("FDIWN_M", {"upscale": 2}, 12, 9),
    "FDIWN, chopped": ("FDIWN", {"upscale": 2, "chop": True}, 12, 9),
    "DDistill_SR": ("DDistill_SR", {"num_feat": 16, "upscale": 2, "deploy": True}, 24, 6),
    "DDistill_SR, lite": ("DDistill_SR", {"num_feat": 16, "upscale": 2, "lite": True}, 36, 6),
    "KDSR": ("BlindSR_ST", {"n_feats": 8, "n_encoder_res": 1, "scale": 2, "n_sr_blocks": 2}, 9, 1),
    "DRN": ("DRN", {"num_feat": 8, "num_block": 2, "upscale": 2}, 16, 2),
    "DRN x4": ("DRN", {"num_feat": 4, "num_block": 1, "upscale": 4}, 16, 2),
    "DCLS": ("DCLS", {"num_feat": 16, "num_block": 1, "num_group": 1, "code_length": 8, "upscale": 2,
                      "kernel_size": 11}, 24, 2),
    "SwinIR_DR": ("SwinIR_DR", {"depths": [2], "num_heads": [2], "embed_dim": 12, "window_size": 4, "img_size": 16,
                                "upscale": 2}, 16, 0),
    "DAT_DR": ("DAT_DR", {"depth": [2], "num_heads": [2], "embed_dim": 16, "expansion_factor": 2.0,
                          "split_size": [2, 4], "img_size": 16, "upscale": 2}, 16, 4),
    "IMDN_RTC": ("IMDN_RTC", {"num_block": 2, "num_feat": 8}, None, 0),
    "IMDN_RTE": ("IMDN_RTE", {"num_feat": 8}, None, 0),
    "TinySR": ("TinySR", {"upscale": 2}, None, 0),
    "BasicSR's RCAN": ("RCAN", {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 16, "num_group": 1, "num_block": 2,
                                "squeeze_factor": 4, "upscale": 2}, 12, 2),
}  # fmt: skip
SIZES = {"DDistill_SR": (36, 120), "DDistill_SR, lite": (36, 120), "IMDN_AS": (36, 80), "DCLS": (20, 60),
         "FDIWN": (20, 40), "FDIWN_M": (20, 40), "FDIWN, chopped": (20, 40), "IMDN_RTE": (21, 175)}  # fmt: skip


def build(title, monkeypatch):
    monkeypatch.setattr(ddistill_sr_arch, "NUM_BLOCK", 1)
    name, arguments, overlap, passes = NETWORKS[title]
    net = get(name)(**arguments).double().eval()
    if name in ("FDIWN", "FDIWN_M"):
        net.run_groups = net.Li1.MY1.forward  # one block of eighteen
    if name == "DCLS":  # an inverse filter reaches over the whole picture, if ever so weakly
        net.Restorer.head2.deblur = lambda x, kernel, regulariser: (
            x * (regulariser + kernel[..., 4:7, 4:7]).amax((2, 3), True)
        )
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))  # attention starts with factors of zero
    return net, overlap, passes


def picture(height, width, dtype="float64"):
    """Return a picture whose parts differ, so that a tile's statistics are not those of the picture."""
    rows, columns = np.mgrid[0:height, 0:width] / 16
    made = np.stack([0.5 + 0.4 * np.sin(rows * columns + shift) for shift in range(3)], axis=2)
    made += np.random.default_rng(0).uniform(-0.1, 0.1, made.shape)
    return made.clip(0, 1).astype(dtype)


def run_whole(net, pixels):
    if getattr(net, "chop", False):
        return run_whole(lambda x: net.forward_whole(x * net.img_range) / net.img_range, pixels)
    with torch.no_grad():
        return net(torch.from_numpy(pixels).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()


def run_tiles(net, scale, pixels, **chosen):
    with torch.no_grad():
        return TileRunner(net, scale, TilePlan.for_network(net, **chosen), net).upscale(pixels)


def db(made, expected):
    error = np.square(made - expected).mean()
    return np.inf if error == 0 else 10 * np.log10(np.square(expected).max() / error)


@pytest.mark.parametrize("title", NETWORKS)
def test_tiles_equal_the_whole_picture(title, monkeypatch):
    net, overlap, passes = build(title, monkeypatch)
    pixels = picture(*SIZES.get(title, (28, 70)))
    whole = run_whole(net, pixels)
    made = run_tiles(net, getattr(net, "upscale", 2), pixels, size=18, overlap=overlap, passes=passes)
    assert db(made, whole) > 150


def test_a_map_of_which_no_tile_sees_enough_is_the_tiles_own(monkeypatch):
    net, _, passes = build("DDistill_SR", monkeypatch)
    pixels = picture(36, 60)
    made = run_tiles(net, 2, pixels, size=18, overlap=0, passes=passes)
    assert np.isfinite(made).all()
    assert db(made, run_whole(net, pixels)) > 15


@pytest.mark.parametrize("arguments", [{"type": "IMDN_RTC"}, {"type": "IMDN_RTC", "upscale": 3}, {"type": "IMDN_RTE"}])
@pytest.mark.parametrize("size", [(97, 140), (1, 1), (20, 2000), (150, 181)])
def test_networks_that_do_not_pool_give_equal_bits(arguments, size):
    runtime = TorchRuntime.of_network(build_network(arguments), device="cpu", threads=1)
    pixels = picture(*size, "float32")
    runner, whole = TileRunner.of_runtime(runtime, size=48), run_whole(runtime, pixels)
    assert runner.plan.wide
    assert np.array_equal(runner.upscale(pixels), whole)
    # Where no strip of the picture fits into memory, rounding differs.
    square = TileRunner.of_runtime(runtime, size=48, wide=False)
    assert np.abs(square.upscale(pixels) - whole).max() < 2e-6
