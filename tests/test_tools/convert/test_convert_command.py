"""``basicsr convert`` as a user meets it: what is printed, the exit status, and what is left in the folder."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from basicsr.archs.ecbsr_arch import ECBSR

from lightsr_basicsr import cli, load
from lightsr_basicsr.archs.ddistill_sr_arch import DDistill_SR
from lightsr_basicsr.archs.drn_arch import DRN, DRNDual
from lightsr_basicsr.archs.imdn_arch import IMDN_RTC
from lightsr_basicsr.tools.networks import build
from tests.converting import distilled, files, make_quick, same, trained

counts = pytest.mark.skipif(
    find_spec("torch.utils.flop_counter") is None, reason="this torch cannot count multiply-adds: it is older than 2.1"
)


@pytest.fixture
def quick(monkeypatch):
    make_quick(monkeypatch)


@pytest.fixture
def saved(workdir):
    """A file with raw and EMA weights."""
    states = {"params": distilled().state_dict(), "params_ema": distilled().state_dict()}
    torch.save(states, "net.pth")
    return states


@counts
def test_people_read_before_and_after(saved, capsys):
    assert cli.main(["convert", "net.pth"]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    for line in (
        r"^net\.pth -> net_deploy\.pth$",
        r"^  network: +DDistill_SR x4$",
        r"^  form: +train +deploy$",
        r"^  weights: +under 'params_ema' +under 'params'$",
        r"^  tensors: +787 +358$",
        r"^  parameters: +97,313 +55,089$",
        r"^  multi-adds: +5\.34 G at 1280x720 +3\.04 G at 1280x720$",
        rf"^  file size: +{Path('net.pth').stat().st_size:,} bytes +{Path('net_deploy.pth').stat().st_size:,} bytes$",
        r"^  difference: +\d(\.\d)?e-0\d of the range, largest on test image 'coffee' of scikit-image, LR 100x150$",
    ):
        assert re.search(line, told.out, re.MULTILINE), line
    assert files() == ["net.pth", "net_deploy.pth"]


def section(text: str) -> dict:
    return yaml.safe_load(text.split("To use it:\n")[1])


def test_the_printed_section_builds_the_network(saved, quick, capsys):
    assert cli.main(["convert", "net.pth", "-o", "small.pth", "--wrapper", "bare"]) == 0
    options = section(capsys.readouterr().out)
    assert options["path"] == {"pretrain_network_g": "small.pth", "param_key_g": None}
    net = build(options["network_g"])
    net.load_state_dict(torch.load("small.pth", weights_only=True))
    assert type(net) is DDistill_SR
    assert "dbb_reparam" in str([*net.state_dict()])


def test_what_no_file_tells_is_said_beside_the_section(workdir, quick, capsys):
    torch.save(trained(DRN(4, 1, 4, channels=[3, 5, 7, 9, 6, 4])).state_dict(), "net.pth")
    assert cli.main(["convert", "net.pth"]) == 0
    text = capsys.readouterr().out
    assert "  channels: [3, 5, 7, 9, 6, 4]\n" in text
    assert "  # and these, which no checkpoint holds, if they were set for training: img_range\npath:\n" in text
    assert "param_key_g" not in text
    assert re.search(r"form: +pruned +deploy", text)


@counts
def test_machines_read_json(saved, capsys):
    assert cli.main(["convert", "net.pth", "--json", "--weights", "raw"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert done["before"]["multi_adds"] > done["after"]["multi_adds"] > 1e9
    assert done["before"]["wrapper"] == "params"
    assert done["lr_size"] == [100, 150]
    assert 0 < done["difference"] < 1e-5
    assert same(load(done["after"]["path"]).state_dict(), build_with(done["section"], "net_deploy.pth"))


def build_with(network: dict, file: str) -> dict:
    net = build(network)
    net.load_state_dict(torch.load(file, weights_only=True)["params"])
    return net.state_dict()


def test_a_torch_that_cannot_count_is_no_error(saved, monkeypatch, capsys):
    def refuse(*_):
        raise RuntimeError("needs torch.utils.flop_counter")

    monkeypatch.setattr("lightsr_basicsr.tools.convert.run.count_multi_adds", refuse)
    assert cli.main(["convert", "net.pth"]) == 0
    assert re.search(r"multi-adds: +not counted +not counted$", capsys.readouterr().out, re.MULTILINE)


def test_a_second_time_there_is_nothing_to_do(saved, quick, capsys):
    assert cli.main(["convert", "net.pth"]) == 0
    capsys.readouterr()
    assert cli.main(["convert", "net_deploy.pth"]) == 0
    assert capsys.readouterr().out == (
        "net_deploy.pth (DDistill_SR) is already in its deployed form: nothing to do (to change the format: -o FILE).\n"
    )
    assert cli.main(["convert", "net_deploy.pth", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["after"] is None
    assert files() == ["net.pth", "net_deploy.pth"]


def test_of_a_deployed_file_only_the_format_is_changed(saved, quick, capsys):
    assert cli.main(["convert", "net.pth"]) == 0
    assert "deployed already" not in capsys.readouterr().out
    assert cli.main(["convert", "net_deploy.pth", "-o", "out.pt"]) == 0
    text = capsys.readouterr().out
    assert "It was deployed already: only format, weights or wrapper changed." in text
    assert re.search(r"form: +deploy +deploy", text)
    assert same(load("out.pt").state_dict(), load("net_deploy.pth").state_dict())


def test_only_the_format_is_changed_if_asked_for(workdir, quick, capsys):
    torch.save([child.state_dict() for child in DRNDual(4, 4).children()], "dual.pt")
    assert cli.main(["convert", "dual.pt", "--keep-form", "-o", "out.pth", "--wrapper", "list"]) == 0
    text = capsys.readouterr().out
    assert "difference:   tensors compared, all equal" in text
    assert re.search(r"form: +train +train", text)
    assert section(text)["network_g"] == {"type": "DRNDual", "num_feat": 4, "upscale": 4}
    assert isinstance(torch.load("out.pth", weights_only=True), list)


OPTION_FILE = """
network_g: {type: ECBSR, num_in_ch: 3, num_out_ch: 3, num_block: 1, num_channel: 4, with_idt: false, act_type: relu,
            scale: 2}
network_small: {type: Reparameterized, block: RepVGG, network: {type: IMDN_RTC, num_feat: 4, num_block: 1}}
"""


def test_an_option_file_names_other_packages_networks(workdir, quick, capsys):
    Path("train.yml").write_text(OPTION_FILE)
    network = yaml.safe_load(OPTION_FILE)["network_g"]
    torch.save({"params": ECBSR(**{k: v for k, v in network.items() if k != "type"}).state_dict()}, "net.pth")
    assert cli.main(["convert", "net.pth"]) == 2
    assert "name the option file it was trained with: --opt FILE" in capsys.readouterr().err
    assert cli.main(["convert", "net.pth", "--opt", "train.yml"]) == 0
    text = capsys.readouterr().out
    assert section(text)["network_g"] == {"type": "Deployed", "network": network}
    assert "network:      ECBSR x2" in text
    assert cli.main(["convert", "net_deploy.pth", "--opt", "train.yml"]) == 0
    assert "already in its deployed form" in capsys.readouterr().out


def test_another_section_of_the_option_file_can_be_named(workdir, quick, capsys):
    Path("train.yml").write_text(OPTION_FILE)
    network = yaml.safe_load(OPTION_FILE)["network_small"]
    torch.save(trained(build(network)).state_dict(), "net.pth")
    assert cli.main(["convert", "net.pth", "--opt", "train.yml", "--network", "network_small"]) == 0
    options = section(capsys.readouterr().out)
    assert options["network_small"] == network["network"]
    assert options["path"] == {"pretrain_network_small": "net_deploy.pth"}
    assert list(load("net_deploy.pth").state_dict()) == list(IMDN_RTC(num_feat=4, num_block=1).state_dict())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.pth"], "There is no checkpoint at nothing.pth"),
        (["."], "is a folder; expected a checkpoint file"),
        (["text.pth"], "text.pth (5 bytes) cannot be read as a checkpoint"),
        (
            ["plain.pth"],
            "IMDN_RTC has no reparameterizable blocks, or they are merged already: there is nothing to convert",
        ),
        (["other.pth"], "other.pth is not a network of this package"),
        (["fresh.pth"], "batch normalisation never saw data"),
        (["net.pth", "-o", "taken.pth"], "taken.pth already exists: replace it with --overwrite"),
        (["net.pth", "-o", "net.pth", "--overwrite"], "is the source itself, which is never replaced"),
        (["net.pth", "-o", "no/net.pth"], "There is no folder no: create it first"),
        (["net.pth", "-o", "net.onnx"], "it must end in .pth, .pt, .safetensors"),
        (["net.pth", "-i", "nothing.png"], "There is no LR image at nothing.png"),
        (["net.pth", "-i", "."], ". is a folder"),
        (["net.pth", "-i", "text.pth"], "text.pth: no image"),
        (["net.pth", "--opt", "nothing.yml"], "There is no option file nothing.yml"),
        (["net.pth", "--opt", "list.yml"], "must hold a mapping of options"),
        (["net.pth", "--opt", "empty.yml"], "has no section network_g with a `type`; its networks: none"),
        (["net.pth", "--network", "network_TA"], "--network names a section of an option file, and none was given"),
        (["net.pth", "--keep-form"], "name the file to write: -o FILE"),
        (["net.pth", "--keep-form", "-o", "a.pth", "-i", "x.png"], "leave -i and --tolerance away"),
        (["net.pth", "--keep-form", "-o", "a.pth", "--tolerance", "0"], "leave -i and --tolerance away"),
        (["net.pth", "--wrapper", "list"], "can be held as a list"),
        (["net.pth", "-o", "a.safetensors", "--wrapper", "params"], "is always bare"),
        (["plain.pth", "--weights", "ema"], "plain.pth has no 'params_ema'"),
        (["net.pth", "--tolerance", "0"], "0 is allowed (--tolerance). Nothing was written."),
        (["net.pth", "--tolerance", "nan"], "The tolerance must be a finite number of at least 0, got nan"),
        (["net.pth", "--tolerance", "inf"], "The tolerance must be a finite number of at least 0, got inf"),
        (["net.pth", "-o", "n" * 300 + ".pth"], "cannot be written (File name too long): choose another name"),
    ],
    ids=" ".join,
)
def test_mistakes_are_told_and_nothing_is_written(saved, quick, capsys, arguments, message):
    Path("text.pth").write_text("hello")
    Path("taken.pth").write_text("mine")
    Path("list.yml").write_text("- a\n")
    Path("empty.yml").write_text("name: a\n")
    torch.save(IMDN_RTC(num_feat=4).state_dict(), "plain.pth")
    torch.save({"stem.weight": torch.zeros(1)}, "other.pth")
    torch.save(DDistill_SR(16, num_latent=4).state_dict(), "fresh.pth")
    before = {name: Path(name).read_bytes() for name in files()}
    assert cli.main(["convert", *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert message in told.err
    assert told.err.startswith("basicsr: ")
    assert "Traceback" not in told.err
    assert {name: Path(name).read_bytes() for name in files()} == before


@pytest.mark.parametrize("flag", [["--weights", "best"], ["--wrapper", "model"], ["--tolerance", "small"], ["--quiet"]])
def test_flags_that_do_not_exist_are_refused(saved, capsys, flag):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["convert", "net.pth", *flag])
    assert stopped.value.code == 2
    assert files() == ["net.pth"]


def test_an_interruption_leaves_nothing_behind(saved, quick, monkeypatch, capsys):
    Path("net_deploy.pth").write_text("mine")

    def interrupt(*_):
        assert files() == ["net.pth", "net_deploy.pth"]  # a kill would leave nothing either
        raise KeyboardInterrupt

    monkeypatch.setattr("lightsr_basicsr.tools.convert.run.load_weights", interrupt)
    assert cli.main(["convert", "net.pth", "--overwrite"]) == 130
    assert "interrupted." in capsys.readouterr().err
    assert files() == ["net.pth", "net_deploy.pth"]
    assert Path("net_deploy.pth").read_text() == "mine"


def test_an_interruption_while_writing_too(saved, quick, monkeypatch, capsys):
    def interrupt(_):
        assert len(files()) == 2
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    assert cli.main(["convert", "net.pth"]) == 130
    assert files() == ["net.pth"]


def test_a_disk_that_is_full_is_told(saved):
    pytest.importorskip("resource", reason="this system has no limits on file sizes")
    code = (
        "import resource, sys\nfrom lightsr_basicsr import cli\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "sys.exit(cli.main(['convert', 'net.pth']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert re.search(r"basicsr: net_deploy\.pth was not written: \w+", done.stderr)
    assert "Traceback" not in done.stderr
    assert files() == ["net.pth"]


def test_help_shows_examples(capsys):
    with pytest.raises(SystemExit):
        cli.main(["convert", "--help"])
    text = capsys.readouterr().out
    for part in ("examples:", "basicsr convert net_g_latest.pth --opt", "--keep-form", "--tolerance"):
        assert part in text
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert re.search(r"^    convert +merge the branches", capsys.readouterr().out, re.MULTILINE)


def test_official_files_are_converted_or_say_why_not(shared, workdir, quick, capsys):
    weights = shared / "weights"
    for name in ("FDIWN_x4.pt", "DDistill-SRx4_inference.pth", "IMDN_x4.pth"):
        if not (weights / name).is_file():
            pytest.skip(f"no {weights / name}: official weights are not part of the repository")
    statuses = [cli.main(["convert", str(weights / name), "-o", "."])
                for name in ("FDIWN_x4.pt", "DDistill-SRx4_inference.pth", "IMDN_x4.pth")]  # fmt: skip
    statuses.append(cli.main(["convert", "DDistill-SRx4_inference.pth"]))
    told = capsys.readouterr()
    assert statuses == [0, 0, 2, 0]
    assert "FDIWN x4" in told.out
    assert "It was deployed already" in told.out
    assert "DDistill-SRx4_inference.pth (DDistill_SR) is already in its deployed form" in told.out
    assert "IMDN has no reparameterizable blocks" in told.err
    assert files() == ["DDistill-SRx4_inference.pth", "FDIWN_x4_deploy.pt"]
    assert np.isfinite(float(re.search(r"difference: +(\S+) of", told.out)[1]))
