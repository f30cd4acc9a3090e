"""Activations and convolutions against numbers worked out by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from lightsr_basicsr.archs.imdn_arch import IMDN
from lightsr_basicsr.archs.kdsr_arch import BlindSR_ST
from lightsr_basicsr.archs.kdsr_units import DynamicDepthwiseConv
from lightsr_basicsr.tools.complexity import count_activations, count_convolutions


class Functional(nn.Module):
    """Kernels without a module, and one module that runs twice."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(5, 5, 1)
        self.kernel = nn.Parameter(torch.ones(5, 3, 3, 3))

    def forward(self, x):
        return self.conv(self.conv(F.conv2d(x, self.kernel, padding="same")))


@pytest.mark.parametrize(
    ("net", "activations", "convolutions"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), 8 * 4 * 6, 1),
        (nn.Conv2d(3, 8, 3, stride=2, padding=1), 8 * 2 * 3, 1),
        (nn.Conv2d(3, 9, 3, groups=3), 9 * 2 * 4, 1),
        (nn.ConvTranspose2d(3, 4, 2, stride=2), 4 * 8 * 12, 1),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.PixelShuffle(2)), 4 * 4 * 6, 1),
        (nn.Linear(6, 5), 0, 0),
        (Functional(), 3 * 5 * 4 * 6, 3),
    ],
)
def test_layers_by_hand(net, activations, convolutions):
    assert count_activations(net, 4, 6) == activations
    assert count_convolutions(net, 4, 6) == convolutions


def test_imdn_by_hand():
    # Per pixel: first convolution 64; six blocks of 3 x 64, 16, 64; 1x1 and 3x3 of 64; upsampler 48. Attention of a
    # block is 4 + 64 per image.
    per_pixel = 64 + 6 * (3 * 64 + 16 + 64) + 2 * 64 + 48
    assert count_activations(IMDN(upscale=4), 256, 256) == per_pixel * 256**2 + 6 * (4 + 64)
    assert count_convolutions(IMDN(upscale=4), 32, 32) == 1 + 6 * (5 + 2) + 2 + 1


def test_kernels_that_are_made_in_the_pass_count():
    net = BlindSR_ST(n_feats=8, n_encoder_res=1, scale=2, n_sr_blocks=1)
    modules: list[int] = []
    for part in net.modules():
        if isinstance(part, nn.Conv2d):
            part.register_forward_hook(lambda *_: modules.append(1))
    with torch.no_grad():
        net.eval()(torch.rand(1, 3, 16, 16))
    ran = len(modules)
    made = sum(isinstance(part, DynamicDepthwiseConv) for part in net.modules())
    assert count_convolutions(net, 16, 16) == ran + made > ran
