"""TinySR: its deployed form is BasicSR's SRVGGNetCompact, and files of both are recognised."""

import pytest
import torch
from basicsr.archs.srvgg_arch import SRVGGNetCompact

from lightsr_basicsr import identify
from lightsr_basicsr.archs.reparam import BLOCKS, deploy
from lightsr_basicsr.archs.tiny_arch import TinySR

SMALL = {"num_feat": 6, "num_conv": 2, "upscale": 3}


@pytest.mark.parametrize("block", BLOCKS)
def test_all_forms_are_one_function(block):
    net = TinySR(**SMALL, block=block).train()
    x = torch.rand(2, 3, 7, 9)
    with torch.no_grad():
        for _ in range(20):
            net(x)  # so that statistics are those of these images
    narrow = deploy(net)
    theirs = SRVGGNetCompact(**SMALL)
    theirs.load_state_dict(narrow.state_dict())
    ours = TinySR(**SMALL, deploy=True)
    ours.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        expected = net.eval()(x)
        for other in (narrow, theirs, ours):
            torch.testing.assert_close(other(x), expected)


@pytest.mark.parametrize("block", BLOCKS)
def test_files_say_what_they_are(block):
    net = TinySR(**SMALL, num_in_ch=1, block=block)
    arguments = {**SMALL, "num_in_ch": 1}
    assert identify(net.state_dict()).arguments == {**arguments, "block": block}
    found = identify(deploy(net).state_dict())
    assert (found.network, found.form, found.arguments) == ("TinySR", "deploy", {**arguments, "deploy": True})


def test_files_of_real_esrgan_are_opened():
    found = identify(SRVGGNetCompact(num_feat=64, num_conv=16, upscale=4).state_dict())
    assert (found.network, found.scale, found.form) == ("TinySR", 4, "deploy")
    assert found.arguments["num_conv"] == 16


@pytest.mark.parametrize("wrong", [{"num_feat": 0}, {"num_conv": -1}, {"upscale": 0}, {"block": "VGG"}])
def test_impossible_sizes_are_refused(wrong):
    with pytest.raises(ValueError, match=r"got .*-?\w+"):
        TinySR(**wrong)
