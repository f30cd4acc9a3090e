"""What a run needs of its environment is asked before folders are made."""

import pytest

from lightsr_basicsr.cli import main
from lightsr_basicsr.tools.check import keys
from lightsr_basicsr.tools.check.options import check_options
from lightsr_basicsr.tools.run.launcher import LauncherError, require_launcher
from tests import tiny

pytestmark = pytest.mark.faults

TORCHRUN = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
SLURM = {"SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_NODELIST": "a"}


@pytest.fixture
def path(workdir) -> str:
    tiny.make_pairs(workdir / "data", 2)
    return tiny.write(tiny.train_options(), str(workdir / "run.yml"))


@pytest.mark.parametrize(("launcher", "environment", "message"), [
    ("pytorch", {}, "expects RANK, WORLD_SIZE, MASTER_PORT, MASTER_ADDR in the environment"),
    ("pytorch", {**TORCHRUN, "MASTER_ADDR": ""}, "expects MASTER_ADDR"),
    ("pytorch", {**TORCHRUN, "WORLD_SIZE": "two"}, "WORLD_SIZE must be a whole number, got 'two'"),
    ("slurm", {}, "srun --ntasks=2"),
    ("slurm", {**SLURM, "SLURM_NTASKS": "2(x2)"}, "SLURM_NTASKS must be a whole number"),
    ("none", {**TORCHRUN, "TORCHELASTIC_RUN_ID": "1"}, "would all do the same run: torchrun --standalone"),
])  # fmt: skip
def test_the_command_of_a_launcher_is_told(launcher, environment, message):
    with pytest.raises(LauncherError) as caught:
        require_launcher(launcher, "train -opt my.yml", environment)
    assert message in str(caught.value)
    assert "run" in str(caught.value)
    assert "train -opt my.yml" in str(caught.value)


@pytest.mark.parametrize(("gpus", "message"), [(0, "torch sees none"), (1, "scontrol")])
def test_slurm_without_what_basicsr_uses_there_is_told(gpus, message, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(LauncherError, match=message):
        require_launcher("slurm", "train -opt my.yml", SLURM)


def test_a_launcher_in_its_environment_passes():
    require_launcher("pytorch", "train -opt my.yml", TORCHRUN)
    require_launcher("none", "train -opt my.yml", {"WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "1"})
    require_launcher("none", "train -opt my.yml", {})


@pytest.mark.parametrize("launcher", ["slurm", "pytorch"])
def test_no_folder_is_made(launcher, path, workdir, capsys, monkeypatch):
    for name in (*TORCHRUN, *SLURM):
        monkeypatch.delenv(name, raising=False)
    assert main(["train", "-opt", path, "--launcher", launcher]) == 2
    assert "--launcher" in capsys.readouterr().err
    assert sorted(file.name for file in workdir.iterdir()) == ["data", "run.yml"]


def wandb(project: str | None, installed: bool, monkeypatch, **logger) -> list[str]:
    find = keys.importlib.util.find_spec
    monkeypatch.setattr(
        keys.importlib.util, "find_spec", lambda name: installed or None if name == "wandb" else find(name)
    )
    options = tiny.train_options()
    options["logger"].update(wandb={"project": project}, **logger)
    return [str(each) for each in check_options(options, is_train=True) if each.where.startswith("logger")]


def test_weights_and_biases_must_be_installed(path, monkeypatch):
    missing = ["logger.wandb: wandb is not installed: pip install wandb, or set logger.wandb.project to ~"]
    assert wandb("sr", False, monkeypatch, use_tb_logger=True) == missing
    assert wandb("sr", True, monkeypatch, use_tb_logger=True) == []
    assert wandb(None, False, monkeypatch) == []
    assert "use_tb_logger to true" in wandb("sr", True, monkeypatch)[0]


@pytest.mark.parametrize(("key", "value"), [
    ("model_type", "HATModel"), ("network_g", {"type": "HAT"}), ("model_type", "RealESRGANModell"),
])  # fmt: skip
def test_how_a_plugin_is_made_known_is_told(key, value, path):
    found = "\n".join(map(str, check_options({**tiny.train_options(), key: value}, is_train=True)))
    assert "`plugins: [PACKAGE]` in the option file, or --import PACKAGE" in found
