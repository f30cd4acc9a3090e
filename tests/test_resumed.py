"""A run that is resumed with other training data says so."""

import os
from pathlib import Path

import pytest

from lightsr_basicsr.tools.run.resumed import other_data


def options(root: str) -> dict:
    return {"name": "a", "datasets": {"train": {"dataroot_gt": root}}}


@pytest.fixture
def folder(workdir) -> Path:
    """The folder of a run that was trained on ``a/train``."""
    made = Path("experiments/a").absolute()
    made.mkdir(parents=True)
    head = "# GENERATE TIME: now\n# CMD:\n# basicsr train -opt a/train.yml\n\n"
    text = "name: a\ndatasets:\n  train:\n    dataroot_gt: {}\n"
    (made / "train.yml").write_text(head + text.format("a/train"))
    (made / "train_as_written.yml").write_text("extends: nothing.yml")
    (made / "older.yml").write_text(head + text.format("older"))
    os.utime(made / "older.yml", (1, 1))
    return made


def test_other_data_are_told_and_the_same_are_not(folder):
    told = other_data(folder, options("b/train"))
    assert told is not None
    assert "experiments/a was trained on a/train so far (train.yml there), and goes on with b/train." in told
    assert "give it another `name`" in told
    for same in ("a/train", "./a/train/", str(Path("a/train").absolute())):
        assert other_data(folder, options(same)) is None


@pytest.mark.parametrize("text", ["", "- a", "{", "datasets: 1", "datasets: {train: 2}", "name: a"])
def test_what_cannot_be_compared_is_none(folder, text):
    (folder / "train.yml").write_text(text)
    assert other_data(folder, options("b")) is None
    (folder / "train.yml").write_bytes(b"\xff\xfe")
    assert other_data(folder, options("b")) is None


def test_data_of_a_command_line_are_not_compared(folder):
    text = (folder / "train.yml").read_text()
    (folder / "train.yml").write_text(text.replace("a/train.yml", "a.yml --force_yml datasets:train:dataroot_gt=b", 1))
    assert other_data(folder, options("b")) is None


def test_a_run_of_another_program_is_none(folder):
    for file in folder.iterdir():
        file.unlink()
    assert other_data(folder, options("b")) is None
    assert other_data(folder / "gone", {}) is None
