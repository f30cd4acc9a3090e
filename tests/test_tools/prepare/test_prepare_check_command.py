"""``basicsr prepare check`` as a command: text, JSON, exit status."""

import json
import re
from pathlib import Path

import cv2
import pytest
import yaml

from lightsr_basicsr.cli import main
from lightsr_basicsr.tools.prepare.check.files import KINDS
from tests import checked, tiny
from tests.checked import PNG, check, check_pairs, encoded, make_lmdbs, put

pairs = checked.pairs

# --- the command ------------------------------------------------------------------------------------------------------


def run(*arguments: str) -> int:
    return main(["prepare", "check", *arguments, "--quiet"])


def test_the_command_on_sound_data(pairs, capsys):
    assert run("data/HR") == 0
    assert yaml.safe_load(capsys.readouterr().out.split("For an option file:")[1]) == {
        "datasets": {
            "test_1": {
                "name": "HR",
                "type": "SingleImageDataset",
                "dataroot_lq": "data/HR",
                "io_backend": {"type": "disk"},
            }
        }
    }
    assert run("data/HR", "data/LR", "--scale", "2", "--patch", "16") == 0
    out = capsys.readouterr().out
    assert "pairs             6, LR named {}" in out
    assert "errors, warnings  0, 0" in out
    assert yaml.safe_load(out.split("For an option file:")[1])["datasets"]["train"]["gt_size"] == 16


def test_the_command_on_bad_data(pairs, capsys):
    (pairs / "LR" / "001.png").write_bytes(PNG[:-20])
    (pairs / "HR" / "002.png").write_bytes(encoded("CMYK", "JPEG"))
    (pairs / "LR" / "003.png").unlink()
    assert run("data/HR", "data/LR", "--scale", "2") == 1
    out = capsys.readouterr().out
    warnings, errors = out.split("errors:\n")
    assert "  channels (1)\n    data/HR/002.png: CMYK" in warnings
    assert "    data/HR/002.png: is a JPEG and not a PNG" in warnings
    assert "  broken (1)\n    data/LR/001.png: damaged: " in errors
    assert "  sizes (1)\n    data/HR/002.png: HR 48x32, expected 32x32" in errors
    assert "  names (1)\n    data/HR/003.png: has no partner 003.png in data/LR" in errors
    assert ["files", "6, 6 readable images", "5, 4 readable images"] in [
        re.split("  +", line) for line in out.split("\n")
    ]
    assert "errors, warnings  3, 2" in errors
    assert "option file" not in out


def test_warnings_alone_do_not_fail(workdir, capsys):
    put("HR", gray__png=encoded("L", "PNG"))
    assert run("HR") == 0
    out = capsys.readouterr().out
    assert out.startswith("warnings:\n  channels (1)\n    HR/gray.png: gray")
    assert "For an option file" in out


def test_json(pairs, capsys):
    (pairs / "LR" / "001.png").write_bytes(b"")
    assert run("data/HR", "data/LR", "--scale", "2", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["errors"], found["warnings"], found["pairs"], found["section"]) == (1, 0, 6, {})
    assert found["findings"] == [{"kind": "broken", "file": "data/LR/001.png", "message": "empty file", "error": True}]
    assert found["folders"][0]["median"] == [32, 32]


USAGE = {
    "folder none does not exist": ["none"],
    "empty holds no files": ["empty"],
    "its sub-folder HR does": ["data"],
    "pairs need their scale": ["data/HR", "data/LR"],
    "--template '{}x2' needs a second folder": ["data/HR", "--template", "{}x2"],
    "--template must contain {}": ["data/HR", "data/LR", "--scale", "2", "--template", "x2"],
    "--scale must be at least 1, got 0": ["data/HR", "--scale", "0"],
    "a multiple of the scale 2; got 17": ["data/HR", "data/LR", "--scale", "2", "--patch", "17"],
    "must both be folders or both be LMDBs": ["data/HR", "LR.lmdb", "--scale", "2"],
    "BasicSR pairs LMDBs by equal keys": ["HR.lmdb", "LR.lmdb", "--scale", "2", "--template", "{}x2"],
    "--jobs must be at least 1": ["data/HR", "--jobs", "0"],
}


@pytest.mark.parametrize("message", USAGE)
def test_usage(pairs, capsys, message):
    Path("empty").mkdir()
    make_lmdbs(1)
    assert run(*USAGE[message]) == 2
    assert message in capsys.readouterr().err


def test_nothing_is_written_and_interrupting_says_so(pairs, capsys, monkeypatch):
    before = tiny.tree(pairs)
    assert run("data/HR", "data/LR", "--scale", "2") == 0
    assert tiny.tree(pairs) == before

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("lightsr_basicsr.tools.prepare.check.report._look", stop)
    assert run("data/HR") == 130
    assert "stopped; nothing was changed." in capsys.readouterr().err


def test_opencv_is_as_loud_as_before(workdir, capfd):
    logging = getattr(cv2.utils, "logging", cv2)
    put("HR", a__png=PNG, cut__tif=encoded("RGB", "TIFF")[:-60])
    before = logging.setLogLevel(2)
    try:
        check("HR")
        assert logging.getLogLevel() == 2
    finally:
        logging.setLogLevel(before)
    assert capfd.readouterr().err == ""


def test_every_finding_has_a_known_kind_and_errors_come_first(pairs):
    put("data/HR", notes__txt=b"x", gray__png=encoded("L", "PNG"))
    findings = check_pairs().findings
    assert {finding.kind for finding in findings} <= set(KINDS)
    assert [finding.error for finding in findings] == sorted((finding.error for finding in findings), reverse=True)
