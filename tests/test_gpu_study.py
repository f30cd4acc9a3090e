"""The study of a GPU, tried out on the CPU: every row is written, and what fails or finds no time is named."""

import json
import sys
from importlib import util
from pathlib import Path

import pytest
import torch

STUDIES = Path(__file__).resolve().parents[1] / "docs" / "studies"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(STUDIES))
    spec = util.spec_from_file_location("gpu", STUDIES / "gpu.py")
    module = util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu", module)
    # It is a setting of the whole process.
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", torch.backends.cudnn.benchmark)
    spec.loader.exec_module(module)
    return module


def rows_of(study, folder, *arguments):
    quick = ["--device", "cpu", "--quick", "--rounds", "2", "--networks", "IMDN", "--steps", "IMDN", "-o", str(folder)]
    status = study.main([*quick, *arguments])
    return status, json.loads((folder / "results.json").read_text())["rows"]


def test_forms_are_measured_in_turns_with_the_authors_steps(study, tmp_path):
    status, rows = rows_of(study, tmp_path, "--parts", "inference", "training")
    assert [row["problem"] for row in rows if "ONNX" not in row["form"]] == [""] * (len(rows) - 1)
    assert status in (0, 1)  # ONNX Runtime is an extra
    first, second = rows[:2]
    assert first["form"] == study.REFERENCE
    assert first["ratio"] == [1, 1, 1]
    assert first["difference"] is None
    assert second["form"] == "fp32, channels last"
    assert 0 < second["difference"] < 1e-4
    steps = [row for row in rows if row["part"] == "training"]
    assert [row["form"] for row in steps] == list(study.FORMS)
    assert all(row["per_second"] == pytest.approx(1 / row["seconds"]) for row in steps)
    page = (tmp_path / "results.md").read_text()
    assert page.count("\n| ") >= len(rows)
    assert "| IMDN x4, 24x32 | authors' steps, fp32 |" in page


def test_what_fails_or_finds_no_time_is_named_and_the_rest_continues(study, tmp_path, monkeypatch):
    def refuse(*arguments):
        raise RuntimeError("out of memory | at\nline 2")

    monkeypatch.setattr(study, "build_step", refuse)
    status, rows = rows_of(study, tmp_path, "--parts", "training")
    assert status == 1
    assert len(rows) == len(study.FORMS)
    assert all("out of memory" in row["problem"] for row in rows)
    assert all(line.count("|") == 8 for line in (tmp_path / "results.md").read_text().splitlines() if line[:1] == "|")
    status, rows = rows_of(study, tmp_path, "--parts", "inference", "training", "--minutes", "0")
    assert status == 1
    assert {row["problem"] for row in rows} == {study.NO_TIME}


def test_a_command_that_fails_or_takes_too_long_is_told(study, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "ROOT", tmp_path / "missing")
    status, (row,) = rows_of(study, tmp_path, "--parts", "tests")
    assert status == 1
    assert "exit status 4, see tests.txt" in row["problem"]
    assert "not found" in (tmp_path / "tests.txt").read_text()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA device")
def test_without_a_gpu_it_says_how_to_try_it(study, capsys):
    with pytest.raises(SystemExit):
        study.main([])
    assert "--device cpu" in capsys.readouterr().err
