"""Whether two networks give the same images."""

import pytest
import torch
from torch import Tensor, nn

from lightsr_basicsr.tools.agreement import AgreementError, compare, measure
from lightsr_basicsr.tools.photographs import lr_image
from tests.converting import make_quick


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    make_quick(monkeypatch)


class Single(nn.Module):
    """A network that knows float32 alone, and another's offset."""

    def __init__(self, offset: float = 0, rows: int = 0) -> None:
        super().__init__()
        self.offset, self.rows = offset, rows
        self.conv = nn.Conv2d(3, 3, 1)
        nn.init.constant_(self.conv.weight, 0.1)
        nn.init.zeros_(self.conv.bias)

    def example_input(self, height: int, width: int) -> tuple[Tensor]:
        return (torch.rand(1, 3, height, width),)

    def forward(self, x: Tensor) -> Tensor:
        assert x.dtype == torch.float32, "a kernel of its own"
        return self.conv(x)[:, :, self.rows :] + self.offset


def test_a_network_without_float64_is_judged_in_float32():
    picture = lr_image(None, 1)
    assert compare(Single(), Single(1e-5), picture, 1e-4).difference == pytest.approx(1e-5, rel=1e-2)
    with pytest.raises(AgreementError, match=r"by 0\.01 of the range on .*Float64 could not decide.*kernel of its own"):
        compare(Single(), Single(0.01), picture, 1e-4)


def test_images_of_another_shape_are_reported():
    with pytest.raises(AgreementError, match=r"another shape .* expected \(1, 3, 24, 32\), got \(1, 3, 22, 32\)"):
        compare(Single(), Single(rows=2), lr_image(None, 1), 1e9)


@pytest.mark.parametrize("offset", [float("nan"), float("inf")])
def test_what_is_not_a_number_is_never_allowed(offset):
    with pytest.raises(AgreementError, match=r"The deployed network gives no finite numbers on test image 'coffee'"):
        compare(Single(), Single(offset), lr_image(None, 1), 1e300)


def test_the_largest_deviation_of_several_outputs_counts():
    small, large = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 8, 8)
    assert measure([small + 0.25, large + 0.5], [small, large], "", "").largest == 0.5
    with pytest.raises(AgreementError, match=r"^It gives no finite numbers on here\. Nothing .*\. Try fp32\.$"):
        measure([small, large * float("nan")], [small, large], "It", "here", "Try fp32.")
    with pytest.raises(AgreementError, match="another shape"):
        measure([small], [small, large], "It", "here")
