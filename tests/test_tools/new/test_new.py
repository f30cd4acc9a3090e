"""``basicsr new``: option files that run, commands that work, and refusals."""

import os
import re
import shlex
import sys
from pathlib import Path

import pytest
import torch
from basicsr.utils.options import yaml_load

from lightsr_basicsr import cli
from lightsr_basicsr.errors import install_command
from lightsr_basicsr.tools.check.options import check_options
from lightsr_basicsr.tools.new import data, recipes, trial
from lightsr_basicsr.tools.new.networks import find_recipe
from lightsr_basicsr.tools.new.recipes import RECIPES
from lightsr_basicsr.tools.new.run import Wishes, make
from lightsr_basicsr.tools.options import open_options, read_options
from lightsr_basicsr.tools.run.compare import compare_run
from tests.test_tools.new.work import new, paced, photographs

NAMES = [f"{index} ü.png" for index in range(6)]


@pytest.fixture
def photos(workdir) -> Path:
    """A working directory with six photographs."""
    photographs("photos", *NAMES)
    return workdir


def quiet(title: str, done: int, total: int) -> None:
    pass


def problems(folder: str) -> list[str]:
    """Return what the check finds in the option files of a project; a test lacks what a training writes."""
    found = check_options(read_options(Path(folder, "train.yml")), is_train=True)
    tested = check_options(read_options(Path(folder, "test.yml")), is_train=False)
    return [str(each) for each in (*found, *tested) if "There is no checkpoint" not in each.message]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.title)
def test_every_recipe_writes_files_that_pass_the_check(photos, recipe, monkeypatch):
    paced(monkeypatch)
    scale = min(recipe.scales)
    make("photos", "mine", Wishes(recipe.title, scale, size="small", device="cpu", patch=32 * scale), quiet)
    assert problems("mine") == []
    for name in ("train.yml", "test.yml"):
        file = Path("mine", name)
        Path("resolved.yml").write_text(open_options(file).text(), encoding="utf-8")
        assert yaml_load("resolved.yml") == read_options(file)  # by BasicSR's own parser
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if ":" in line]
        bare = [line for line in lines if "#" not in line and line.endswith(":") is False]
        assert len(bare) < 10  # those whose comment is in the line above


def test_lengths_follow_the_pace(photos, monkeypatch):
    paced(monkeypatch, 0.1, 1.0)
    project = make("photos", "mine", Wishes("IMDN", minutes=60, device="cpu", patch=64), quiet).project
    options = read_options(Path("mine/train.yml"))
    assert project.interval == options["val"]["val_freq"] == 1500  # 150 s
    assert options["train"]["total_iter"] == 32_000  # 60 minutes less start, end and validations
    assert options["train"]["scheduler"]["periods"] == [32_000]


def test_the_trial_measures_real_steps_of_every_stage(photos, monkeypatch):
    monkeypatch.setattr(trial, "MOST_STEPS", 1)
    for name in ("IMDN", "KDSR"):
        made = make("photos", name, Wishes(name, 2, minutes=0.1, size="small", device="cpu", patch=32), quiet)
        assert 0 < made.pace.step < 60
        assert made.pace.validation > 0


@pytest.mark.parametrize("has_onnx", [True, False])
def test_the_journey_by_the_printed_commands(photos, capsys, monkeypatch, has_onnx):
    if not has_onnx:
        monkeypatch.setitem(sys.modules, "onnx", None)
    small = recipes.Recipe("IMDN", {"type": "IMDN", "num_feat": 16, "num_block": 1}, "", small_patch=8)
    monkeypatch.setattr("lightsr_basicsr.tools.new.networks.find_recipe", lambda name: small)
    monkeypatch.setattr(trial, "MOST_STEPS", 1)
    assert new("-n", "IMDN", "-s", "2", "-o", "my project", "--minutes", "0.02") == 0
    commands = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    printed = ("train", "test", *(["export"] if has_onnx else []), "upscale")
    assert [words[:2] for words in commands] == [["basicsr", each] for each in printed]
    length = ["--force_yml", "train:total_iter=4", "val:val_freq=2", "datasets:train:num_worker_per_gpu=0",
              "datasets:train:persistent_workers=false", "logger:use_tb_logger=false"]  # fmt: skip
    assert cli.main([*commands[0][1:], *length]) == 0
    for words in commands[1:]:
        assert cli.main(words[1:]) == 0, words
    assert len(list(Path("my project/enlarged").glob("*.png"))) == len(list(Path("my project/data/held_out").iterdir()))


def test_without_onnx_the_commands_do_without_an_export(photos, capsys, monkeypatch):
    paced(monkeypatch)
    for library in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, library, None)
        assert new("-n", "IMDN", "-o", "mine", "--patch", "64", "--overwrite") == 0
        commands = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
        assert [words[1] for words in commands] == ["train", "test", "upscale"]
        assert commands[-1][5] == "experiments/mine/models/net_g_latest.pth"
        assert commands[-1][6:8] == ["--backend", "torch"]
    assert cli.main(["new", "-n", "IMDN", "-o", "wordy", "--data", "photos", "--patch", "64", "--device", "cpu"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    place = lines.index(install_command("onnx"))
    assert lines[place + 1].startswith("basicsr export experiments/wordy/models/net_g_latest.pth -o wordy/wordy.onnx")


def test_projects_of_one_name_have_runs_of_their_own(photos, monkeypatch):
    paced(monkeypatch)
    names = []
    for folder in ("proj", "a/proj", "b/proj", "my proj", "my_proj", str(photos / "c" / "proj")):
        made = make("photos", folder, Wishes("IMDN", patch=64, device="cpu"), quiet)
        options = [read_options(Path(folder, file)) for file in ("train.yml", "test.yml")]
        assert options[0]["name"] == made.project.name
        assert f"/{made.project.name}/" in options[1]["path"]["pretrain_network_g"]
        names.append(made.project.name)
    assert len(set(names)) == len(names)
    assert {"proj", "my_proj"} < {*names}
    again = make("photos", str(photos / "a/proj"), Wishes("IMDN", patch=64, device="cpu", overwrite=True), quiet)
    assert again.project.name == names[1]


def test_an_earlier_run_is_told_when_a_project_is_made_again(photos, monkeypatch, capsys):
    paced(monkeypatch)
    wanted = ("-n", "IMDN", "-o", "mine", "--patch", "64")
    assert new(*wanted) == 0
    assert "earlier run" not in capsys.readouterr().err
    Path("experiments/mine/training_states").mkdir(parents=True)
    assert new(*wanted, "--overwrite") == 0
    told = capsys.readouterr()
    assert "experiments/mine holds an earlier run of this project: the first command below starts anew" in told.err
    assert "--auto_resume" not in told.out


def test_bicubic_is_told_as_the_comparison_measures_it(photos, monkeypatch, capsys):
    paced(monkeypatch)
    for name, sets in (("IMDN", 1), ("KDSR", 3), ("DRN", 1)):
        made = make("photos", name, Wishes(name, 2, size="small", patch=32, device="cpu"), quiet)
        options = read_options(Path(name, "train.yml"))
        rows = compare_run(options, {})
        mean = sum(row.scores["bicubic"][0] for row in rows) / len(rows)
        assert len(made.project.bicubic) == sets
        assert abs(sum(made.project.bicubic) / sets - mean) < 1e-9
        text = " / ".join(f"{each:.2f}" for each in made.project.bicubic)
        written = Path(name, "train.yml").read_text(encoding="utf-8")
        assert f"bicubic interpolation has {text} here" in " ".join(written.replace("#", " ").split())
    assert cli.main(["new", "-n", "IMDN", "-o", "wordy", "--data", "photos", "--patch", "64", "--device", "cpu"]) == 0
    assert " dB, the PSNR of bicubic interpolation there" in capsys.readouterr().out


def test_one_is_not_several(workdir, monkeypatch, capsys):
    paced(monkeypatch)
    photographs("photos", "a.png", "b.png")
    Path("photos/notes.txt").write_text("x")
    arguments = ["new", "-n", "IMDN", "-o", "mine", "--data", "photos", "--patch", "64", "--device", "cpu"]
    assert cli.main([*arguments, "--minutes", "1"]) == 0
    told = capsys.readouterr().out
    assert "1 crop of 1 photograph\n" in told
    assert "1 other file\n" in told
    assert not re.search(r"\b1 (\w+ )?(minutes|crops|photographs|files|steps)\b", told)
    assert not re.search(r"\b1 (minutes|crops)\b", Path("mine/train.yml").read_text())


def test_a_test_of_a_killed_training_names_its_newest_checkpoint(photos, monkeypatch, capsys):
    paced(monkeypatch)
    assert new("-n", "IMDN", "-o", "mine", "--patch", "64") == 0
    Path("experiments/mine/models").mkdir(parents=True)
    Path("experiments/mine/models/net_g_720.pth").write_bytes(b"x")
    assert cli.main(["test", "-opt", "mine/test.yml"]) == 2
    told = capsys.readouterr().err
    assert "--auto_resume" in told
    assert "experiments/mine/models/net_g_720.pth" in told


def test_weights_to_start_from_bring_their_network(photos, monkeypatch):
    paced(monkeypatch)
    assert new("--init", "TinySR_x4", "-o", "mine", "--patch", "64") == 0
    options = read_options(Path("mine/train.yml"))
    assert options["network_g"]["type"] == "TinySR"
    assert options["network_g"]["deploy"]
    assert options["scale"] == 4
    assert options["model_type"] == "LossDictModel"
    assert options["path"]["strict_load_g"]
    assert options["train"]["optim_g"]["lr"] < 1e-3
    assert problems("mine") == []


def test_many_held_out_photographs_are_validated_in_part(photos, monkeypatch):
    paced(monkeypatch)
    monkeypatch.setattr(data, "VALIDATED", 2)
    photographs("photos", *(f"{index}.png" for index in range(60)))
    make("photos", "mine", Wishes("IMDN", device="cpu", patch=64), quiet)
    assert len(Path("mine/data/validated.txt").read_text().splitlines()) == 2
    assert problems("mine") == []


def test_a_project_is_made_again_with_overwrite_alone(photos, monkeypatch, capsys):
    paced(monkeypatch)
    wanted = ("-n", "IMDN", "-o", "mine", "--patch", "64")
    assert new(*wanted) == 0
    record = Path("mine/data/photographs.json").read_bytes()
    assert new(*wanted) == 2
    assert "add --overwrite" in capsys.readouterr().err
    assert new(*wanted, "--overwrite") == 0
    assert Path("mine/data/photographs.json").read_bytes() == record
    Path("mine/train.yml").unlink()  # as after an interruption
    assert new(*wanted) == 0


# Arguments, and what is expected, got and to be done.
REFUSED = {
    "typo": (["-n", "IMDM"], "There is no network 'IMDM'. Did you mean IMDN"),
    "nonsense": (["-n", "qqqqqq"], "correct --network"),
    "part": (["-n", "DRNDual"], "got DRNDual: it is a part of a training"),
    "needs more": (["-n", "Deployed"], "got Deployed: it needs network"),
    "films": (["-n", "DUF"], "Expected that DUF runs on LR patches"),
    "no network": ([], "Expected --network or --init, got neither"),
    "scale": (["-n", "IMDN", "-s", "8"], "IMDN expects a --scale of 2, 3, 4, got 8"),
    "patch": (["-n", "IMDN", "--patch", "50"], "multiple of the scale 4"),
    "least side": (["-n", "DDistill-SR", "--patch", "32"], "choose --patch 60"),
    "minutes": (["-n", "IMDN", "--minutes", "0"], "Expected --minutes above 0"),
    "no folder": (["-n", "IMDN", "--data", "nowhere"], "there is no nowhere"),
    "a file": (["-n", "IMDN", "--data", "photos/0 ü.png"], "got the file"),
    "among photographs": (["-n", "IMDN", "-o", "photos/mine"], "choose another -o"),
    "around photographs": (["-n", "IMDN", "-o", "."], "choose another -o"),
    "line feed": (["-n", "IMDN", "-o", "a\nb"], "whose name can be printed"),
    "no UTF-8": (["-n", "IMDN", "-o", os.fsdecode(b"caf\xe9")], "whose name can be printed"),
    "other files": (["-n", "IMDN", "-o", "full"], "full holds other files"),
    "file as project": (["-n", "IMDN", "-o", "full/a.txt"], "got the file full/a.txt"),
    "below a file": (["-n", "IMDN", "-o", "full/a.txt/x"], "got the file full/a.txt: choose another -o"),
    "run": (["-n", "IMDN", "-o", "taken"], "experiments/taken is free"),
    "other weights": (["-n", "IMDN", "--init", "TinySR_x4"], "got TinySR"),
    "other scale": (["--init", "TinySR_x4", "-s", "2"], "got x4"),
    "two files": (["-n", "KDSR", "--init", "TinySR_x4"], "leave --init out"),
    "no weights": (["--init", "nothing.pth"], "There is no checkpoint at nothing.pth"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_and_nothing_written(photos, case, capsys):
    arguments, text = REFUSED[case]
    Path("full").mkdir()
    Path("full/a.txt").write_text("x")
    Path("experiments/taken").mkdir(parents=True)
    before = sorted(photos.rglob("*"))
    assert new(*arguments, *([] if "-o" in arguments else ["-o", "mine"])) == 2
    assert text in capsys.readouterr().err
    assert sorted(photos.rglob("*")) == before


def test_a_full_disk_leaves_a_project_that_goes_on(photos, monkeypatch, capsys):
    paced(monkeypatch)

    def full(path, image):
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(data, "write_png", full)
        assert new("-n", "IMDN", "-o", "mine", "--patch", "64") == 2
    assert "Make room" in capsys.readouterr().err
    assert not Path("mine/train.yml").exists()
    assert new("-n", "IMDN", "-o", "mine", "--patch", "64") == 0


def test_a_gpu_without_room_gets_smaller_batches(photos, monkeypatch):
    batches = []

    def pace(opt, folder, tested):
        batches.append(opt["datasets"]["train"]["batch_size_per_gpu"])
        if batches[-1] > 2:
            raise (
                torch.cuda.OutOfMemoryError("CUDA out of memory") if len(batches) % 2 else RuntimeError("out of memory")
            )
        return trial.Pace(0.1, 1.0)

    monkeypatch.setattr(trial, "_pace", pace)
    made = make("photos", "mine", Wishes("IMDN", device="cpu", patch=64), quiet)
    assert batches == [8, 4, 2]
    assert made.project.batch == 2


def test_names_of_users_and_of_option_files_are_known():
    assert {find_recipe(name).title for name in ("DDistill-SR", "ddistill_sr", "DDistillSR")} == {"DDistill-SR"}
    assert find_recipe("IMDN_RTC").kind == "IMDN_RTC"
