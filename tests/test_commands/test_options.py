"""``basicsr options`` and runs of files that extend others: what is printed, kept, and started again."""

from pathlib import Path

import pytest
import torch
import yaml
from basicsr.utils.options import yaml_load

from lightsr_basicsr import cli
from lightsr_basicsr.tools.options import find_option_file, read_options
from tests import tiny

RUN = Path("experiments/tiny")


@pytest.fixture
def pairs(workdir):
    tiny.make_pairs(workdir / "data", 4)
    return workdir


def extended(total: int = 4) -> str:
    """Write a file that extends another, with two sets of one section, and return its path."""
    options = tiny.train_options(total_iter=total)
    options["val"]["val_freq"] = options["logger"]["save_checkpoint_freq"] = 2
    val = options["datasets"].pop("val")
    tiny.write(options, "base.yml")
    own = {"extends": "base.yml", "datasets": {"val": {**val, "name": "v{sigma}", "sigmas": [1, 2]}}}
    return tiny.write({**own, "val": {"save_img": False}, "train": {"ema_decay": None}})


def test_a_bundled_file_is_printed(workdir, capsys):
    assert cli.main(["options", "options/train_imdn_x4.yml", "--force_yml", "datasets:train:filename_tmpl={}"]) == 0
    printed = capsys.readouterr().out
    path = find_option_file("options/train_imdn_x4.yml")
    assert yaml_load(printed) == read_options(path, ["datasets:train:filename_tmpl={}"])
    assert list(workdir.iterdir()) == []


def test_a_file_is_written_once(workdir, capsys):
    command = ["options", "options/train_kdsr_x4.yml", "-o", "out.yml"]
    assert cli.main(command) == 0
    assert "Written: out.yml" in capsys.readouterr().out
    assert yaml_load("out.yml") == read_options(find_option_file("options/train_kdsr_x4.yml"))
    assert cli.main(command) == 2
    assert "out.yml already exists: replace it with --overwrite" in capsys.readouterr().err
    assert cli.main([*command, "--overwrite", "--force_yml", "datasets:val_*=~"]) == 0
    assert list(yaml_load("out.yml")["datasets"]) == ["train"]


@pytest.mark.parametrize("arguments", [["none.yml"], ["options/test_imdn_x4.yml", "--force_yml", "datasets:test_9=~"]])
def test_what_is_wrong_ends_with_status_two(workdir, capsys, arguments):
    assert cli.main(["options", *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "Bundled: " in told.err or "Did you mean 'test_1'?" in told.err


def test_a_finding_names_the_base(pairs, capsys):
    path = extended()
    text = Path("base.yml").read_text()
    Path("base.yml").write_text(text.replace("total_iter:", "total_iters:"))
    assert cli.main(["train", "-opt", path]) == 2
    line = next(number for number, each in enumerate(text.splitlines(), 1) if "total_iter:" in each)
    Path("base.yml").write_text(text.replace("total_iter: 4", "total_iter: x"))
    assert cli.main(["train", "-opt", path]) == 2
    assert f"got 'x' (base.yml, line {line})" in capsys.readouterr().err


def weights() -> dict[str, torch.Tensor]:
    return torch.load(RUN / "models" / "net_g_latest.pth", weights_only=True)["params"]


def test_a_run_equals_that_of_the_resolved_file_and_starts_again_from_its_folder(pairs, capsys):
    path = extended()
    assert cli.main(["train", "-opt", path, "--force_yml", "datasets:val_2=~"]) == 0
    first = weights()
    # The folder has the resolved file under the name of the file, and what the user wrote.
    copy, written = RUN / "run.yml", RUN / "run_as_written.yml"
    assert "# CMD:" in copy.read_text()
    assert yaml_load(str(copy)) == read_options(Path(path))
    assert written.read_text() == Path(path).read_text()
    # The copy resumes and tests without the base.
    Path("base.yml").unlink()
    assert cli.main(["train", "-opt", str(copy), "--auto_resume", "--force_yml", "train:total_iter=6"]) == 0
    assert "resuming from" in capsys.readouterr().err
    assert (RUN / "models" / "net_g_6.pth").is_file()
    # A run from the copy renames its folder first, and ends as the first one did.
    assert cli.main(["train", "-opt", str(copy)]) == 0
    assert len(list(Path("experiments").glob("tiny_archived_*"))) == 1
    assert all(torch.equal(value, weights()[key]) for key, value in first.items())
    assert yaml_load(str(copy))["datasets"]["val_2"]["name"] == "v2"


def test_a_test_of_the_copy_of_a_training_file(pairs):
    assert cli.main(["train", "-opt", extended(2)]) == 0
    Path("base.yml").unlink()
    overrides = ["datasets:train=~", "val:suffix=", "path:pretrain_network_g=experiments/tiny/models/net_g_latest.pth"]
    assert cli.main(["test", "-opt", str(RUN / "run.yml"), "--force_yml", *overrides]) == 0
    assert Path("results/tiny").is_dir()


def test_a_plain_file_is_copied_as_it_is(pairs):
    text = "# mine\n" + yaml.safe_dump(tiny.train_options(total_iter=1))
    Path("run.yml").write_text(text)
    assert cli.main(["train", "-opt", "run.yml"]) == 0
    assert (RUN / "run.yml").read_text().endswith(text)
    assert not (RUN / "run_as_written.yml").exists()
    assert cli.main(["train", "-opt", str(RUN / "run.yml"), "--auto_resume"]) == 0
