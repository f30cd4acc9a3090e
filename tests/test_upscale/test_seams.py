"""Nothing is seen where two tiles meet, on a photograph."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from skimage.data import coffee

from lightsr_basicsr.checkpoints.identify import load
from lightsr_basicsr.runtimes.torch_runtime import TorchRuntime
from lightsr_basicsr.upscale.tiles import TileRunner

TILE = 48
OFFICIAL = {"IMDN": "IMDN_x4.pth", "FDIWN": "FDIWN_x4.pt", "DDistill-SR": "DDistill-SRx4_inference.pth"}


@pytest.fixture
def photograph():
    return coffee()[100:196, 150:294].astype(np.float32) / 255


@pytest.fixture
def attentive():
    """An IMDN whose new weights attend to much."""
    net = build_network({"type": "IMDN", "num_feat": 32, "num_block": 3, "upscale": 2})
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return net


def steps(made: np.ndarray, axis: int, distance: int) -> float:
    """Return the mean step between neighbours where two tiles meet."""
    made = np.moveaxis(made.clip(0, 1), axis, 0)
    return float(np.mean([np.abs(made[at] - made[at - 1]).mean() for at in range(distance, len(made), distance)]))


def check_seams(net, photograph, passes=None):
    runtime = TorchRuntime.of_network(net, device="cpu", threads=1)
    whole = TileRunner.of_runtime(runtime, size=max(photograph.shape)).upscale(photograph)
    made = TileRunner.of_runtime(runtime, size=TILE, passes=passes).upscale(photograph)
    distance = TILE * whole.shape[0] // len(photograph)
    return [steps(made, axis, distance) / steps(whole, axis, distance) for axis in (0, 1)], np.abs(made - whole).max()


def test_steps_between_tiles_are_those_of_the_picture(attentive, photograph):
    ratios, error = check_seams(attentive, photograph)
    assert ratios == pytest.approx([1, 1], abs=0.005)
    assert error < 0.5 / 255
    _, more = check_seams(attentive, photograph, passes=0)
    assert more > 4 * error


@pytest.mark.skipif("OFFICIAL_WEIGHTS" not in os.environ, reason="OFFICIAL_WEIGHTS names no folder of official files")
@pytest.mark.parametrize("name", OFFICIAL)
def test_steps_between_tiles_of_official_networks(name, photograph):
    ratios, error = check_seams(load(Path(os.environ["OFFICIAL_WEIGHTS"]) / OFFICIAL[name]), photograph)
    assert ratios == pytest.approx([1, 1], abs=0.01)
    assert error < 3 / 255
