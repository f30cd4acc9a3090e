"""Conversion of files: by how much outputs may differ, and in which precision that is judged."""

import json
from pathlib import Path

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY

from lightsr_basicsr import cli
from lightsr_basicsr.archs.fdiwn_arch import FDIWN
from lightsr_basicsr.archs.imdn_arch import IMDN_RTC
from lightsr_basicsr.tools.agreement import AgreementError
from lightsr_basicsr.tools.convert.run import TOLERANCE, convert
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


def test_the_image_is_read_before_operations_are_counted(workdir, monkeypatch):
    torch.save(distilled().state_dict(), "net.pth")
    Path("text.png").write_text("hello")
    monkeypatch.setattr("lightsr_basicsr.tools.convert.run.count_multi_adds", lambda *_: pytest.fail("too early"))
    for name, message in (("nothing.png", "There is no LR image at nothing.png"), ("text.png", "no image")):
        with pytest.raises(Exception, match=message):
            convert("net.pth", picture=name)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_another_precision_is_reported(workdir, capsys, dtype):
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
