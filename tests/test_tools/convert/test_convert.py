"""Conversion of files: the deployed network gives the same images, or nothing is written."""

import itertools
import os
from pathlib import Path

import pytest
import torch
from basicsr.archs.ecbsr_arch import ECBSR
from torch import nn

from lightsr_basicsr import load
from lightsr_basicsr.archs.ddistill_sr_arch import DDistill_SR
from lightsr_basicsr.archs.drn_arch import DRN
from lightsr_basicsr.archs.fdiwn_arch import FDIWN_M
from lightsr_basicsr.archs.imdn_arch import IMDN_RTC
from lightsr_basicsr.archs.kdsr_arch import BlindSR_ST, BlindSR_TA
from lightsr_basicsr.archs.reparameterized_arch import Reparameterized
from lightsr_basicsr.checkpoints import CheckpointError, read_state_dict
from lightsr_basicsr.tools.agreement import AgreementError, measure, run_on
from lightsr_basicsr.tools.convert.run import convert
from lightsr_basicsr.tools.convert.sound import ConvertError
from lightsr_basicsr.tools.files import TargetError
from lightsr_basicsr.tools.networks import NetworkError, build, read_network
from lightsr_basicsr.tools.photographs import lr_image
from tests.converting import distilled, files, make_quick, same, trained

KDSR_SMALL = {"n_feats": 16, "n_encoder_res": 1, "n_sr_blocks": 2}
RTC_SMALL = {"type": "IMDN_RTC", "num_feat": 4, "num_block": 1}
ECBSR_SMALL = {
    "type": "ECBSR", "num_in_ch": 3, "num_out_ch": 3, "num_block": 1, "num_channel": 4, "with_idt": True,
    "act_type": "prelu", "scale": 2,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    make_quick(monkeypatch)


NETWORKS = [
    *(lambda style=style: distilled(style=style) for style in ("DBB", "VGG", "ResDBB", "SRD")),
    lambda: distilled(lite=True),
    lambda: distilled(upscale=3),
    lambda: trained(FDIWN_M(upscale=3)),
    lambda: trained(DRN(4, 1, 4)),
    lambda: trained(DRN(4, 1, 4, channels=[3, 5, 7, 9, 6, 4])),
    lambda: BlindSR_ST(**KDSR_SMALL).eval(),
    lambda: BlindSR_TA(**KDSR_SMALL).eval(),
    *(lambda block=block: trained(Reparameterized(RTC_SMALL, block)) for block in ("ECB", "RepVGG", "DBB")),
    lambda: trained(Reparameterized({"type": "FDIWN_M"}, "ECB")),
    lambda: trained(Reparameterized({"type": "DRNDual", "num_feat": 4, "upscale": 4}, "ECB")),
    lambda: trained(Reparameterized({"type": "DualNetwork", "num_feat": 4}, "ECB")),
]


@pytest.mark.parametrize("make", NETWORKS)
def test_the_written_network_gives_the_same_images(workdir, make):
    net = make()
    torch.save({"params": net.state_dict()}, "net.pth")
    done = convert("net.pth")
    assert done.after.path == "net_deploy.pth"
    assert done.after.tensors < done.before.tensors
    # At most rounding, and not the trivial difference of a network with itself.
    assert 0 < done.difference < 2e-5
    written = build(done.section)
    written.load_state_dict(read_state_dict("net_deploy.pth")[0])
    picture = lr_image(None, done.scale)
    assert measure(run_on(written, picture), run_on(net, picture), "", "").largest <= done.difference
    assert type(load("net_deploy.pth")) is type(net)


def test_what_was_done_is_returned(saved):
    done = convert("net.pth", "small.pt")
    assert (done.network, done.scale, done.before.form, done.after.form) == ("DDistill_SR", 4, "train", "deploy")
    assert (done.before.tensors, done.after.tensors) == (787, 358)
    assert done.before.size == Path("net.pth").stat().st_size
    assert done.after.size == Path("small.pt").stat().st_size
    deployed = DDistill_SR(16, num_latent=4, deploy=True)
    assert done.after.parameters == sum(each.numel() for each in deployed.parameters())
    assert done.before.parameters == sum(each.numel() for each in saved.parameters())
    assert done.lr_size == (24, 32)
    assert "coffee" in done.picture
    assert done.section["deploy"] is True
    assert files() == ["net.pth", "small.pt"]
    assert list(torch.load("small.pt", weights_only=True)["params"]) == list(deployed.state_dict())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "nothing/net.pth"}, "There is no folder nothing: create it first"),
        ({"target": f"out{os.sep}"}, "There is no folder out: create it first"),
        ({"target": "net.onnx"}, r"net\.onnx decides the format: it must end in \.pth, \.pt, \.safetensors"),
        ({"target": "out"}, "out decides the format"),
        ({"target": "pipe.pth", "overwrite": True}, r"pipe\.pth exists and is no plain file"),
        ({"keep_form": True}, "name the file to write: -o FILE"),
        ({"weights": "best"}, "`weights` must be ema or raw, got 'best'"),
        ({"wrapper": "model"}, "held as params, params_ema, bare, state_dict, list; got 'model'"),
        ({"target": "a.safetensors", "wrapper": "params"}, "safetensors file is always bare; 'params' needs"),
        ({"tolerance": -1}, "finite number of at least 0, got -1"),
        ({"tolerance": float("nan")}, "finite number of at least 0, got nan"),
        ({"tolerance": float("inf")}, "finite number of at least 0, got inf"),
        ({"target": "n" * 300 + ".pth"}, r"n\.pth cannot be written \(.*\): choose another name"),
        ({"target": "a\0.pth"}, r"cannot hold the character NUL, got 'a\\x00\.pth'"),
        ({"picture": "a\0.png"}, r"cannot hold the character NUL, got 'a\\x00\.png'"),
        ({"network": {"type": "DDistil_SR"}}, r"No network named 'DDistil_SR' is registered: did you mean DDistill_SR"),
        ({"network": {"type": "qqqq"}}, r"'qqqq' is registered: `basicsr list networks`"),
        ({"network": {"type": "DDistill_SR", "feat": 3}}, r"DDistill_SR cannot be built with \{'feat': 3\}: .*'feat'"),
    ],
)
def test_arguments_are_checked_before_the_work(saved, arguments, message):
    os.mkfifo("pipe.pth")
    before = files()
    with pytest.raises((AgreementError, ConvertError, NetworkError, TargetError), match=message):
        convert("net.pth", **arguments)
    assert files() == before


def test_a_deployed_file_stays_as_it_is(saved):
    convert("net.pth")
    assert convert("net_deploy.pth").after is None
    assert convert("net_deploy.pth", overwrite=True).after is None
    assert files() == ["net.pth", "net_deploy.pth"]
    convert("net_deploy.pth", "bare.pth", keep_form=True, wrapper="bare")
    assert same(load("bare.pth").state_dict(), load("net_deploy.pth").state_dict())


@pytest.mark.parametrize("make", [lambda: IMDN_RTC(num_feat=4), lambda: distilled(style="StaticDCD")])
def test_a_network_without_blocks_is_refused(workdir, make):
    torch.save(make().state_dict(), "net.pth")
    with pytest.raises(ConvertError, match=r"no reparameterizable blocks, or they are .*--keep-form -o FILE"):
        convert("net.pth")
    assert files() == ["net.pth"]


def test_other_packages_networks_are_told_by_their_section(workdir):
    net = ECBSR(**{key: value for key, value in ECBSR_SMALL.items() if key != "type"}).eval()
    torch.save({"params": net.state_dict()}, "net.pth")
    with pytest.raises(NetworkError, match=r"not a network of this package(.|\n)*option file .*--opt FILE"):
        convert("net.pth")
    done = convert("net.pth", network=ECBSR_SMALL)
    assert done.section == {"type": "Deployed", "network": ECBSR_SMALL}
    assert (done.scale, done.lr_size, done.unrecoverable) == (2, (24, 32), ())
    assert 0 < done.difference < 1e-5
    assert done.after.tensors < done.before.tensors
    assert build(done.section).load_state_dict(read_state_dict("net_deploy.pth")[0])
    assert convert("net_deploy.pth", network=ECBSR_SMALL).after is None


def test_a_file_that_the_section_does_not_fit_is_explained(saved):
    with pytest.raises(CheckpointError, match=r"net\.pth does not fit ECBSR(.|\n)*787 not in the network"):
        convert("net.pth", network=ECBSR_SMALL)
    with pytest.raises(CheckpointError, match=r"does not fit FDIWN: it holds DDistill_SR x4, train form"):
        convert("net.pth", network={"type": "FDIWN"})
    assert files() == ["net.pth"]


def test_a_section_also_serves_networks_of_ours(workdir):
    net = trained(FDIWN_M(upscale=2, img_range=1.0))
    torch.save(net.state_dict(), "net.pth")
    told = convert("net.pth", "a.pth", network={"type": "FDIWN_M", "upscale": 2, "img_range": 1.0})
    assert told.section == {"type": "FDIWN_M", "upscale": 2, "img_range": 1.0, "deploy": True}
    assert told.unrecoverable == ()
    assert convert("net.pth", "b.pth").unrecoverable == ("img_range", "chop")


def test_sections_are_read_from_option_files(workdir):
    Path("a.yml").write_text("network_g: {type: FDIWN}\nnetwork_TA: {type: BlindSR_TA, n_feats: 16}\nnetwork_d: 3\n")
    assert read_network("a.yml") == {"type": "FDIWN"}
    assert read_network("a.yml", "network_TA") == {"type": "BlindSR_TA", "n_feats": 16}
    for key in ("network_d", "network_x"):
        with pytest.raises(NetworkError, match=rf"no section {key} .*its networks: network_g, network_TA, network_d"):
            read_network("a.yml", key)


class Wrong(nn.Module):
    """A block whose deployed form is another function."""

    def __init__(self, offset: float) -> None:
        super().__init__()
        self.offset = offset
        self.conv = nn.Conv2d(3, 3, 1)
        self.side = nn.Conv2d(3, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x) + self.side(x)

    def to_deploy(self) -> nn.Module:
        merged = nn.Conv2d(3, 3, 1)
        with torch.no_grad():
            merged.weight.copy_(self.conv.weight + self.side.weight)
            merged.bias.copy_(self.conv.bias + self.side.bias + self.offset)
        return merged


@pytest.fixture
def wrong(workdir, monkeypatch):
    """Return a function that saves a network with such a block and gives its section."""
    from basicsr.utils.registry import ARCH_REGISTRY

    names = (f"WrongNet{number}" for number in itertools.count())

    def make(offset: float, upscale: int = 1) -> dict:
        class Net(nn.Module):
            def __init__(self, upscale: int = upscale) -> None:
                super().__init__()
                self.block = Wrong(offset)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.block(x)

        name = next(names)
        monkeypatch.setitem(ARCH_REGISTRY._obj_map, name, Net)
        torch.save(Net().state_dict(), "net.pth")
        return {"type": name}

    return make


@pytest.mark.parametrize("offset", [0.25, float("nan"), float("inf")])
def test_a_difference_is_refused_with_the_number(wrong, offset):
    section = wrong(offset)
    Path("net_deploy.pth").write_text("mine")
    told = r"by 0\.25 of the range in float32, and by 0\.25 in float64, on .*; 0\.0001 is allowed"
    told = told if offset == 0.25 else "gives no finite numbers on test image"
    with pytest.raises(AgreementError, match=told):
        convert("net.pth", network=section, overwrite=True)
    assert files() == ["net.pth", "net_deploy.pth"]
    assert Path("net_deploy.pth").read_text() == "mine"


def test_the_tolerance_decides(wrong):
    section = wrong(1e-3)
    with pytest.raises(AgreementError, match=r"by 0\.001 of the range"):
        convert("net.pth", network=section)
    assert convert("net.pth", network=section, tolerance=1e-2).difference == pytest.approx(1e-3, rel=1e-3)


def test_the_written_file_is_compared_too(saved, monkeypatch):
    section = convert("net.pth", "a.pth").section
    monkeypatch.setattr("lightsr_basicsr.tools.convert.run.build", lambda _: _shifted(section))
    with pytest.raises(AgreementError, match="output differs by"):
        convert("net.pth", "b.pth")
    assert files() == ["a.pth", "net.pth"]


def _shifted(section: dict) -> nn.Module:
    """Return a network that takes the tensors and computes something else."""
    net = build(section)
    net.fea_conv.register_forward_hook(lambda module, inputs, output: output + 1)
    return net


def test_a_network_that_gives_no_numbers_itself_is_told_so(workdir):
    net = distilled()
    with torch.no_grad():
        net.fea_conv.bias[0] = 3e38
    torch.save(net.state_dict(), "net.pth")
    with pytest.raises(AgreementError, match="The network itself gives no finite numbers"):
        convert("net.pth")
    assert files() == ["net.pth"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(workdir, value):
    net = distilled()
    with torch.no_grad():
        net.fea_conv.bias[0] = value
        for name in ("B1.c1_r", "B2.c1_r", "B3.c1_r"):
            next(net.get_submodule(name).parameters()).fill_(value)
    torch.save(net.state_dict(), "net.pth")
    with pytest.raises(ConvertError, match=r"\(fea_conv\.bias, B1\S+, B2\S+ and \d+ more\): the training diverged"):
        convert("net.pth")
    assert files() == ["net.pth"]
    convert("net.pth", "out.pth", keep_form=True)  # as it is
    assert not load("out.pth").fea_conv.bias[0].isfinite()


@pytest.mark.parametrize("name", ["B1.c1_r.unit.dbb_avg.avgbn", "LR_conv.unit.dy_branch.bn1"])  # folded, and not
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0, 1), "never saw data"),
        ((0, 0), "variance that is zero"),
        ((0, -1), "variance that is zero, negative"),
        ((0, float("nan")), "not finite"),
        ((0, float("inf")), "not finite"),
        ((float("nan"), 1), "mean that is not finite"),
    ],
)
def test_statistics_that_are_none_are_named(workdir, name, values, message):
    net = distilled()
    norm = net.get_submodule(name)
    norm.running_mean.fill_(values[0])
    norm.running_var.fill_(values[1])
    torch.save(net.state_dict(), "net.pth")
    with pytest.raises(ConvertError, match=rf"net\.pth cannot be merged: .*{message}.* \({name}\)"):
        convert("net.pth")
    assert files() == ["net.pth"]
    convert("net.pth", "out.pth", keep_form=True)
    assert torch.equal(load("out.pth").get_submodule(name).running_var.isnan(), norm.running_var.isnan())


def test_a_network_before_training_is_refused(workdir):
    torch.save(DDistill_SR(16, num_latent=4).state_dict(), "net.pth")
    with pytest.raises(ConvertError, match=r"never saw data, .*\(B1\.\S+, \S+, \S+ and \d+ more\)\. Train"):
        convert("net.pth")


@pytest.fixture
def official(shared):
    def find(name: str) -> Path:
        file = shared / "weights" / name
        if not file.is_file():
            pytest.skip(f"no {file}: official weights are not part of the repository")
        return file

    return find


def test_the_official_fdiwn_is_converted(official, workdir):
    done = convert(official("FDIWN_x4.pt"), workdir)
    assert done.after.path == str(workdir / "FDIWN_x4_deploy.pt")
    assert done.difference < 1e-5
    assert done.after.parameters < done.before.parameters
    assert (done.before.form, done.after.form) == ("train", "deploy")
    assert convert("FDIWN_x4_deploy.pt").after is None


def test_official_files_with_nothing_to_merge(official, workdir):
    assert convert(official("DDistill-SRx4_inference.pth")).after is None
    with pytest.raises(ConvertError, match="IMDN has no reparameterizable blocks"):
        convert(official("IMDN_x4.pth"), workdir)
    convert(official("IMDN_x4.pth"), workdir, keep_form=True)
    assert same(read_state_dict("IMDN_x4.pth")[0], read_state_dict(official("IMDN_x4.pth"))[0])
    assert files() == ["IMDN_x4.pth"]
