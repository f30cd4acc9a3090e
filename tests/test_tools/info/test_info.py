"""``basicsr info``: descriptions of files, as text and as JSON."""

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY

from lightsr_basicsr import cli
from lightsr_basicsr.runtimes.metadata import Metadata
from lightsr_basicsr.tools.export.run import export
from lightsr_basicsr.tools.info.describe import describe_file
from lightsr_basicsr.weights.official import find_official, official_networks
from tests.cases import SWINIR_SMALL

counts = pytest.mark.skipif(
    find_spec("torch.utils.flop_counter") is None, reason="this torch cannot count multiply-adds: it is older than 2.1"
)


@pytest.fixture
def saved(workdir):
    torch.save({"params": ARCH_REGISTRY.get("IMDN")(upscale=2).state_dict()}, "net.pth")
    return "net.pth"


@counts
def test_a_file_is_described(saved):
    info = describe_file(saved)
    assert (info.identity.network, info.parameters, info.wrapper, info.tensors) == ("IMDN", 694_404, "params", 92)
    assert info.multi_adds == pytest.approx(158.77e9, rel=1e-3)
    assert info.lr_size == (360, 640)
    with open(saved, "rb") as file:
        assert info.sha256 == hashlib.sha256(file.read()).hexdigest()
    assert info.official is None
    assert [entry.file for entry in info.same_network] == ["IMDN_x2.pth"]


def test_another_width_is_not_an_official_network(workdir):
    torch.save(ARCH_REGISTRY.get("IMDN")(num_feat=16).state_dict(), "net.pth")
    assert describe_file("net.pth").same_network == ()


def test_a_dense_network_is_not_its_pruned_forms(workdir):
    torch.save(ARCH_REGISTRY.get("DRN")().state_dict(), "net.pth")
    assert [entry.file for entry in describe_file("net.pth").same_network] == ["DRNS4x.pt"]


def test_gray_networks_are_not_called_rgb(workdir, capsys):
    torch.save(ARCH_REGISTRY.get("IMDN")(num_in_ch=1, num_out_ch=1, num_feat=16).state_dict(), "net.pth")
    assert cli.main(["info", "net.pth"]) == 0
    assert "1 channels in [0, 1]" in capsys.readouterr().out


def test_teachers_have_no_cost_of_super_resolution(workdir):
    torch.save(ARCH_REGISTRY.get("BlindSR_TA")(16, 1, 4, 1).state_dict(), "net.pth")
    assert describe_file("net.pth").multi_adds is None


def test_an_exported_file_names_its_source(saved, capsys):
    export(saved, format="torchscript")
    assert cli.main(["info", "net.ts"]) == 0
    out = capsys.readouterr().out
    for line in ("IMDN x2, deployed form", "torchscript", "made of:          net.pth", "RGB in [0, 1]"):
        assert line in out
    assert cli.main(["info", "--json", saved, "net.ts"]) == 0
    checkpoint, exported = json.loads(capsys.readouterr().out)
    assert exported["metadata"]["sha256"] == checkpoint["sha256"]


def test_the_cost_of_int8_and_the_weights_beside_are_reported(workdir, capsys):
    int8 = {"psnr_cost_db": 0.0251, "images": 20, "data": "photographs"}
    metadata = Metadata("IMDN", {"upscale": 4}, 4, precision="int8", int8=int8)
    entry = ElementTree.Element("lightsr", value=metadata.to_json())
    net, info = ElementTree.Element("net"), ElementTree.Element("rt_info")
    info.append(entry)
    net.append(info)
    ElementTree.ElementTree(net).write("net.xml")
    Path("net.bin").write_bytes(bytes(1000))
    assert cli.main(["info", "net.xml"]) == 0
    out = capsys.readouterr().out
    assert "0.0251 dB of PSNR, measured on photographs (images: 20)" in out
    assert f"{Path('net.xml').stat().st_size + 1000:,} bytes" in out


def test_another_programs_export_and_a_broken_one_are_reported(saved, capsys):
    torch.jit.save(torch.jit.trace(torch.nn.Identity(), torch.zeros(1)), "other.ts")
    Path("broken.ts").write_bytes(b"PK")
    assert cli.main(["info", "broken.ts", "none.onnx", "other.ts"]) == 2
    output = capsys.readouterr()
    assert "not written by basicsr export" in output.out
    assert "broken.ts (2 bytes) cannot be read as torchscript" in output.err
    assert "There is no file none.onnx" in output.err


@counts
def test_people_read_text(saved, capsys):
    assert cli.main(["info", saved]) == 0
    text = capsys.readouterr().out
    for fact in ("IMDN x2, train form", "694,404", "under 'params'", "158.77 G for LR 360x640", "RGB in [0, 1]"):
        assert fact in text
    assert "no known official file; the same network as IMDN_x2.pth" in text


def test_a_torch_that_cannot_count_is_no_error(saved, monkeypatch, capsys):
    def refuse(*_):
        raise RuntimeError("Counting multiply-adds needs torch.utils.flop_counter")

    monkeypatch.setattr("lightsr_basicsr.tools.info.describe.count_multi_adds", refuse)
    assert cli.main(["info", saved]) == 0
    assert "multi-adds:       not counted" in capsys.readouterr().out


def test_machines_read_json_and_bad_files_do_not_hide_good_ones(saved, capsys):
    torch.save({"stem.weight": torch.zeros(1)}, "other.pth")
    assert cli.main(["info", "--json", "missing.pth", "other.pth", saved]) == 2
    output = capsys.readouterr()
    assert "There is no checkpoint at missing.pth" in output.err
    assert "other.pth is not a network of this package" in output.err
    (found,) = json.loads(output.out)
    assert found["identity"]["arguments"]["upscale"] == 2
    assert found["same_network"][0]["file"] == "IMDN_x2.pth"


def test_only_bad_files_print_nothing(workdir, capsys):
    assert cli.main(["info", "missing.pth"]) == 2
    assert capsys.readouterr().out == ""


def test_checksums_are_known_whole_or_by_their_start():
    digits = "0123456789abcdef"
    for entry in official_networks():
        if entry.sha256:
            assert len(entry.sha256) in (16, 64)
            assert set(entry.sha256) <= set(digits)
            assert find_official(entry.sha256.ljust(64, "0")) is entry
    assert find_official("0" * 64) is None


def test_official_files_are_known_by_their_checksum(shared):
    for file in ("IMDN_x4.pth", "model_RTC.pth", "FDIWN_x4.pt", "DDistill-SRx4_inference.pth"):
        info = describe_file(shared / "weights" / file)
        assert info.official.file == file
        assert info.official in info.same_network


@counts
def test_the_command_prints_what_was_published_and_measured(shared, capsys):
    assert cli.main(["info", str(shared / "weights" / "FDIWN_x4.pt")]) == 0
    text = capsys.readouterr().out
    for fact in (
        "model_best.pt of x4",
        "28.4 G multi-adds for 1280x720",
        "71.21 G",
        "32.23 / 0.8955",
        "(0 to 255 inside)",
    ):
        assert fact in text


def test_a_pruned_network_tells_what_it_has_kept(workdir, capsys):
    net = ARCH_REGISTRY.get("IMDN")(num_feat=16, num_block=1, channels=[12, 3, 6])
    torch.save(net.state_dict(), "pruned.pth")
    assert cli.main(["info", "pruned.pth"]) == 0
    told = capsys.readouterr().out
    assert "channels kept:    21 of 36 (58 %) at 3 sites, the smallest part at IMDB1.c2: 3 of 12" in told
    assert cli.main(["info", "--json", "pruned.pth"]) == 0
    (described,) = json.loads(capsys.readouterr().out)
    assert described["channels"][1] == {"site": "IMDB1.c2", "kind": "convolutions", "kept": 3, "dense": 12}


def test_the_kept_channels_are_drawn(workdir, capsys):
    pytest.importorskip("matplotlib")
    import cv2

    torch.save(ARCH_REGISTRY.get("DRN")(8, 1, 4, channels=[4, 8, 20, 24, 16, 12]).state_dict(), "drn.pth")
    torch.save(ARCH_REGISTRY.get("SwinIR_DR")(**SWINIR_SMALL, channels=[8, 20, 12, 16]).state_dict(), "swinir.pth")
    torch.save(ARCH_REGISTRY.get("IMDN")(num_feat=16, num_block=1).state_dict(), "dense.pth")
    assert cli.main(["info", "--plot", "kept.png", "drn.pth", "swinir.pth", "dense.pth"]) == 0
    assert cv2.imread("kept.png").std() > 10
    assert cli.main(["info", "--plot", "kept.png", "drn.pth"]) == 0
    Path("mine.png").write_bytes(b"another")
    for picture, files, message in (("mine.png", ["drn.pth"], "is no picture of this command"),
                                    ("kept.jpg", ["drn.pth"], "must end in .png"),
                                    ("new.png", ["dense.pth"], "got 0: name others")):  # fmt: skip
        assert cli.main(["info", "--plot", picture, *files]) == 2
        assert message in capsys.readouterr().err
