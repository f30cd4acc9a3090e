"""How far two outputs are from each other, and backends that do not reproduce their network."""

import pytest
import torch
from basicsr.archs.srresnet_arch import MSRResNet
from basicsr.metrics.psnr_ssim import calculate_psnr
from torch import Tensor

from lightsr_basicsr.runtimes.agreement import check_agreement, deviation
from lightsr_basicsr.runtimes.base import BackendError, Runtime, Traits
from lightsr_basicsr.runtimes.network import OtherNetwork


def test_psnr_is_that_of_basicsr():
    made, expected = torch.rand(2, 3, 16, 20, dtype=torch.float64).split(1)
    images = [(255 * image[0].permute(1, 2, 0)).numpy() for image in (made, expected)]
    assert deviation(made, expected).psnr == pytest.approx(calculate_psnr(*images, crop_border=0), rel=1e-6)


def test_equal_other_and_infinite_outputs():
    ones = torch.ones(1, 3, 4, 4)
    assert deviation(ones, ones) == (0, 0, None)
    assert deviation(ones, ones[..., 1:]) is None
    assert deviation(ones * float("inf"), ones).largest == float("inf")
    assert not deviation(ones * float("nan"), ones).largest <= 1e9


class Wrong(Runtime):
    """A backend that adds an offset, or drops a row."""

    backend = "wrong"
    offset, rows = 0.0, 0

    def _run(self, images: Tensor) -> Tensor:
        return images.repeat_interleave(2, 2).repeat_interleave(2, 3)[:, :, self.rows :] + self.offset


@pytest.mark.parametrize(
    ("offset", "rows", "message"),
    [
        (0.0, 0, None),
        (0.5, 0, r"wrong does not reproduce MSRResNet at 32x24 pixels: images differ by 5\.0e-01 in the mean"),
        (float("nan"), 0, "differ by nan"),
        (0.0, 1, r"expected \(1, 3, 64, 48\), got \(1, 3, 63, 48\)"),
    ],
)
def test_a_backend_is_compared_with_its_network(monkeypatch, offset, rows, message):
    doubled = lambda self, x: x.repeat_interleave(2, 2).repeat_interleave(2, 3)  # noqa: E731
    monkeypatch.setattr(MSRResNet, "forward", doubled)
    net = OtherNetwork(MSRResNet(num_feat=4, num_block=1), scale=2)
    runtime = Wrong(Traits(2))
    runtime.offset, runtime.rows = offset, rows
    if message is None:
        check_agreement(net, runtime)
        return
    with pytest.raises(BackendError, match=message):
        check_agreement(net, runtime)
