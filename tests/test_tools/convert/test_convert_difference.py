"""Conversion of files: by how much outputs may differ, and in which precision that is judged."""

import json
from pathlib import Path

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from lightsr_basicsr import cli
from lightsr_basicsr.archs.fdiwn_arch import FDIWN
from lightsr_basicsr.archs.imdn_arch import IMDN_RTC
from lightsr_basicsr.tools.agreement import AgreementError, compare
from lightsr_basicsr.tools.convert.run import TOLERANCE, convert
from lightsr_basicsr.tools.photographs import lr_image
from tests.converting import distilled, files, make_quick


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    make_quick(monkeypatch)


@pytest.fixture
def fresh_fdiwn(workdir) -> None:
    """A file net.pth of a network that enlarges float32 rounding: its images differ by 6e-4, in float64 by 8e-6."""
    torch.manual_seed(0)
    torch.save(FDIWN(upscale=4).state_dict(), "net.pth")


def test_where_float32_is_not_enough_float64_decides(fresh_fdiwn, capsys):
    assert cli.main(["convert", "net.pth", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert 0 < done["difference"] < 5e-5 < TOLERANCE < done["in_float32"] < 0.01
    assert cli.main(["convert", "net.pth", "--overwrite"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert (
        f"difference: {done['difference']:.2g} of the range in float64 ({done['in_float32']:.2g} in float32, " in text
    )
    assert files() == ["net.pth", "net_deploy.pth"]


def test_float64_decides_against_it_too(fresh_fdiwn):
    with pytest.raises(AgreementError, match=r"by 0\.000\d+ of the range in float32, and by \S+ in float64, .*1e-09"):
        convert("net.pth", tolerance=1e-9)
    assert files() == ["net.pth"]


def test_float64_is_not_asked_where_float32_is_enough(workdir):
    torch.save(distilled().state_dict(), "net.pth")
    assert convert("net.pth").in_float32 is None


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
    assert compare(Single(), Single(1e-5), picture, 1e-4).value == pytest.approx(1e-5, rel=1e-2)
    with pytest.raises(AgreementError, match=r"by 0\.01 of the range on .*Float64 could not decide.*kernel of its own"):
        compare(Single(), Single(0.01), picture, 1e-4)


def test_images_of_another_shape_are_told():
    with pytest.raises(AgreementError, match=r"another shape .* expected \(1, 3, 24, 32\), got \(1, 3, 22, 32\)"):
        compare(Single(), Single(rows=2), lr_image(None, 1), 1e9)


@pytest.mark.parametrize("offset", [float("nan"), float("inf")])
def test_what_is_not_a_number_is_never_allowed(offset):
    with pytest.raises(AgreementError, match=r"The deployed network gives no finite numbers on test image 'coffee'"):
        compare(Single(), Single(offset), lr_image(None, 1), 1e300)


def test_the_picture_is_read_before_operations_are_counted(workdir, monkeypatch):
    torch.save(distilled().state_dict(), "net.pth")
    Path("text.png").write_text("hello")
    monkeypatch.setattr("lightsr_basicsr.tools.convert.run.count_multi_adds", lambda *_: pytest.fail("too early"))
    for name, message in (("nothing.png", "There is no LR image at nothing.png"), ("text.png", "no image")):
        with pytest.raises(Exception, match=message):
            convert("net.pth", picture=name)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_another_precision_is_told(workdir, capsys, dtype):
    net = distilled()
    torch.save({key: value.to(dtype) for key, value in net.state_dict().items()}, "net.pth")
    name = str(dtype).removeprefix("torch.")
    done = convert("net.pth")
    assert (done.before.dtype, done.after.dtype) == (name, "float32")
    assert cli.main(["convert", "net.pth", "--overwrite"]) == 0
    assert f"dtype: {name} float32" in " ".join(capsys.readouterr().out.split())
    assert convert("net.pth", "same.pth", keep_form=True).after.dtype == name
    torch.save(net.state_dict(), "net.pth")
    assert cli.main(["convert", "net.pth", "--overwrite"]) == 0
    assert "dtype" not in capsys.readouterr().out


def test_a_network_that_cannot_be_counted_is_converted(workdir, monkeypatch):
    class Net(IMDN_RTC):
        """One that only takes small images."""

    def refuse(*_):
        raise ValueError("too large")

    monkeypatch.setitem(ARCH_REGISTRY._obj_map, "SmallNet", Net)
    monkeypatch.setattr("lightsr_basicsr.tools.convert.run.count_multi_adds", refuse)
    torch.save(Net(num_feat=4).state_dict(), "net.pth")
    done = convert("net.pth", "out.pth", keep_form=True, network={"type": "SmallNet", "num_feat": 4})
    assert done.after.multi_adds is None
