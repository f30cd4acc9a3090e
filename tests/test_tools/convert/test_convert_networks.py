"""Conversion of files: what is told of networks of other packages, and of networks inside others."""

import re
from inspect import Parameter, Signature
from pathlib import Path

import pytest
import torch
import yaml
from basicsr.archs.ecbsr_arch import ECB
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from lightsr_basicsr import cli
from lightsr_basicsr.archs.kdsr_arch import BlindSR_TA
from lightsr_basicsr.archs.reparameterized_arch import Reparameterized
from lightsr_basicsr.tools.agreement import AgreementError
from lightsr_basicsr.tools.convert.run import convert
from lightsr_basicsr.tools.networks import NetworkError, Opened, build
from tests.converting import files, make_quick, trained
from tests.test_tools.convert.test_convert_command import counts

ECBSR_SMALL = {
    "type": "ECBSR", "num_in_ch": 3, "num_out_ch": 3, "num_block": 1, "num_channel": 4, "with_idt": True,
    "act_type": "prelu", "scale": 2,
}  # fmt: skip
RTC_SMALL = {"type": "IMDN_RTC", "num_feat": 4, "num_block": 1}
WIDE = {"type": "Reparameterized", "network": RTC_SMALL, "block": "RepVGG"}


@pytest.fixture
def quick(monkeypatch):
    make_quick(monkeypatch)


@counts
@pytest.mark.parametrize("activation", ["prelu", "rrelu", "linear"])
def test_ecbsr_is_run_and_counted_with_its_branches(workdir, activation):
    section = {**ECBSR_SMALL, "act_type": activation}
    torch.save(build(section).state_dict(), "net.pth")
    done = convert("net.pth", network=section)
    assert 0 < done.difference < 1e-5
    assert done.before.multi_adds > 3 * done.after.multi_adds > 0


def test_branches_of_ecbsr_that_are_merged_wrongly_are_found(workdir, quick, monkeypatch):
    def halve(block):
        weight, bias = rep_params(block)
        return weight / 2, bias

    rep_params = ECB.rep_params
    monkeypatch.setattr(ECB, "rep_params", halve)
    torch.save(build(ECBSR_SMALL).state_dict(), "net.pth")
    with pytest.raises(AgreementError, match="output differs by"):
        convert("net.pth", network=ECBSR_SMALL)
    assert files() == ["net.pth"]


@counts
def test_networks_that_need_more_than_the_image_are_counted(workdir):
    torch.save(BlindSR_TA(n_feats=16, n_encoder_res=1, n_sr_blocks=2).state_dict(), "net.pth")
    done = convert("net.pth", "out.pth", keep_form=True)
    assert done.after.multi_adds > 1e9


@pytest.mark.parametrize(
    ("name", "channels", "expected"),
    [*((name, 1, 1) for name in ("num_in_ch", "in_chans", "in_nc", "in_channels")), ("planes", 1, 1), ("planes", 4, 4),
     ("planes", 7, 3)],
)  # fmt: skip
def test_channels_of_other_packages_networks(monkeypatch, name, channels, expected):
    class Net(nn.Module):
        __signature__ = Signature([Parameter(name, Parameter.KEYWORD_ONLY, default=channels)])

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(channels, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x)

    monkeypatch.setitem(ARCH_REGISTRY._obj_map, "OtherNet", Net)
    assert Opened(Net(), {"type": "OtherNet"}, "train").ours.num_in_ch == expected


def test_luminance_networks_get_one_channel(workdir, quick):
    section = {**ECBSR_SMALL, "num_in_ch": 1, "num_out_ch": 1}
    torch.save({"params": build(section).state_dict()}, "net.pth")
    done = convert("net.pth", network=section)
    assert 0 < done.difference < 1e-5
    assert done.lr_size == (24, 32)


def test_a_network_inside_another_is_told(workdir, quick, capsys):
    torch.save(trained(build(WIDE)).state_dict(), "net.pth")
    assert cli.main(["convert", "net.pth"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"network: +Reparameterized x\d \(IMDN_RTC, block RepVGG\)\n", text)
    done = convert("net.pth", "a.pth")
    assert (done.inner, done.block) == ("IMDN_RTC", "RepVGG")
    done = convert("net_deploy.pth", "b.pth", keep_form=True)
    assert (done.inner, done.block) == (None, None)


def test_what_no_file_tells_of_a_network_inside_another(workdir, quick, capsys):
    torch.save(trained(Reparameterized({"type": "FDIWN_M", "upscale": 2}, "ECB")).state_dict(), "net.pth")
    assert cli.main(["convert", "net.pth"]) == 0
    text = capsys.readouterr().out
    assert "which no checkpoint holds, if they were set for training: img_range\n" in text
    assert "  # and chop: true to evaluate in quarters, which no checkpoint holds either\npath:" in text
    done = convert("net.pth", "same.pth", keep_form=True)
    assert done.section["type"] == "Reparameterized"
    assert done.unrecoverable == ("img_range", "chop")


def test_a_file_that_is_converted_already_may_look_as_if_there_was_nothing_to_merge(workdir, quick, capsys):
    torch.save(trained(build(WIDE)).state_dict(), "net.pth")
    Path("train.yml").write_text(yaml.safe_dump({"network_g": WIDE}))
    assert cli.main(["convert", "net.pth"]) == 0
    capsys.readouterr()
    assert cli.main(["convert", "net_deploy.pth"]) == 2
    assert "IMDN_RTC has no reparameterizable blocks, or they are merged already: there is" in capsys.readouterr().err
    assert cli.main(["convert", "net_deploy.pth", "--opt", "train.yml"]) == 0
    assert "already in its deployed form" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("section", "asked"),
    [
        ({"type": "FDIWN_M", "upscale": 2}, {"type": "FDIWN_M", "upscale": 2, "deploy": True}),
        (WIDE, {**WIDE, "deploy": True}),
        (ECBSR_SMALL, {"type": "Deployed", "network": ECBSR_SMALL}),
    ],
)
def test_an_option_file_of_the_deployed_form_is_told_apart(workdir, quick, section, asked):
    torch.save(trained(build(section)).state_dict(), "net.pth")
    with pytest.raises(NetworkError, match=r"in its training form, and the option file asks .*\(deploy: false, and no"):
        convert("net.pth", network=asked)
    assert convert("net.pth", network=section).after.form == "deploy"
    assert convert("net_deploy.pth", network=asked).after is None
