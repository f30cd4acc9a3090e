"""The command as a user meets it: whole runs, interruptions, mistakes."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from lightsr_basicsr import cli
from tests import tiny

RUN = Path("experiments/tiny")


def states() -> list[int]:
    return sorted(int(path.stem) for path in (RUN / "training_states").glob("*.state"))


def train(options: dict, *flags: str) -> int:
    return cli.main(["train", "-opt", tiny.write(options), *flags])


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run the command in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-m", "lightsr_basicsr.cli", *arguments],
        capture_output=True, text=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.fixture
def pairs(workdir):
    tiny.make_pairs(workdir / "data", 13)
    return workdir


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_and_version_do_not_load_torch(argument):
    code = (
        f"import sys, lightsr_basicsr.cli as cli\ntry:\n cli.main(['{argument}'])\n"
        "finally:\n print(sorted({'torch', 'numpy', 'basicsr'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.endswith("[]\n")


def test_a_reader_that_stops_reading_sees_no_traceback():
    ours, theirs = os.pipe()
    os.close(ours)
    listing = [sys.executable, "-u", "-m", "lightsr_basicsr.cli", "list"]
    done = subprocess.run(listing, stdout=theirs, stderr=subprocess.PIPE, text=True, check=False)
    os.close(theirs)
    assert (done.returncode, "Traceback" in done.stderr) == (141, False)


def test_no_command_shows_the_help(capsys):
    assert cli.main([]) == 1
    assert "examples:" in capsys.readouterr().out


@pytest.mark.parametrize(("images", "batch", "total"), [(13, 4, 10), (3, 4, 5), (13, 4, 9), (4, 4, 3)])
def test_training_runs_exactly_total_iter(workdir, images, batch, total):
    tiny.make_pairs(workdir / "data", images)
    options = tiny.train_options(total_iter=total)
    options["datasets"]["train"]["batch_size_per_gpu"] = batch
    assert train(options) == 0
    assert states() == list(range(1, total + 1))
    # The final validation writes its pictures with the number of the last iteration.
    written = {int(path.stem.split("_")[1]) for path in (RUN / "visualization" / "000").glob("*.png")}
    assert written == {*range(5, total + 1, 5), total}


def test_resume_ends_at_total_iter_and_repeats_nothing(pairs):
    options = tiny.train_options(total_iter=4)
    assert train(options) == 0
    options["train"]["total_iter"] = 10
    assert train(options, "--auto_resume") == 0
    assert states() == list(range(1, 11))
    assert not list(Path("experiments").glob("*_archived_*"))
    best = json.loads((RUN / "best_metrics.json").read_text())["v"]["psnr"]
    assert best["val"] > 0
    assert 1 <= best["iter"] <= 10


def test_resume_on_other_data_says_so(pairs, capsys):
    assert train(tiny.train_options(total_iter=2)) == 0
    tiny.make_pairs(Path("other"), 4)
    assert train(tiny.train_options("other", total_iter=3), "--auto_resume") == 0
    assert "CAUTION: experiments/tiny was trained on data/" in capsys.readouterr().err
    assert train(tiny.train_options("other", total_iter=4), "--auto_resume") == 0
    assert "CAUTION" not in capsys.readouterr().err


def test_resume_takes_the_schedule_of_the_option_file(pairs):
    options = tiny.train_options(total_iter=4)
    options["train"]["scheduler"] = {"type": "CosineAnnealingRestartLR", "periods": [4], "eta_min": 1e-6}
    assert train(options) == 0
    options["train"].update(total_iter=8, scheduler={**options["train"]["scheduler"], "periods": [8]})
    assert train(options, "--auto_resume") == 0
    saved = torch.load(RUN / "training_states" / "8.state", weights_only=False)["schedulers"][0]
    assert saved["periods"] == saved["cumulative_period"] == [8]
    assert saved["last_epoch"] == 7  # BasicSR does not step before the first iteration


def test_best_metrics_survive_a_resume(pairs):
    options = tiny.train_options(total_iter=5)
    assert train(options) == 0
    record = json.loads((RUN / "best_metrics.json").read_text())
    record["v"]["psnr"]["val"] = 99.0
    (RUN / "best_metrics.json").write_text(json.dumps(record))
    options["train"]["total_iter"] = 6
    assert train(options, "--auto_resume") == 0
    assert json.loads((RUN / "best_metrics.json").read_text())["v"]["psnr"] == {
        "better": "higher",
        "val": 99.0,
        "iter": 5,
    }


def test_a_resume_without_validation_works(pairs):
    options = tiny.train_options(total_iter=5)
    assert train(options) == 0
    assert (RUN / "best_metrics.json").is_file()
    assert train(options, "--auto_resume", "--force_yml", "train:total_iter=6", "val=~") == 0
    assert states() == [1, 2, 3, 4, 5, 6]


def cut_off(name: str, size: int = 100) -> None:
    """Leave ``size`` bytes of a file of the run; with -1 nothing at all."""
    file = RUN / name
    content = file.read_bytes()
    file.unlink()
    if size >= 0:
        file.write_bytes(content[:size])


@pytest.mark.parametrize(
    ("files", "size", "reasons", "start"),
    [
        (
            ["training_states/4.state"],
            100,
            ["training_states/4.state cannot be read (100 bytes, cut off or damaged)"],
            3,
        ),
        (["training_states/4.state", "models/net_g_4.pth"], 100, ["training_states/4.state cannot be read"], 3),
        (["models/net_g_4.pth"], -1, ["models/net_g_4.pth cannot be read (missing)"], 3),
        (["models/net_g_4.pth"], 0, ["models/net_g_4.pth cannot be read (empty)"], 3),
        (["models/net_g_4.pth", "training_states/3.state"], 0, ["models/net_g_4.pth", "training_states/3.state"], 2),
        (["models/net_g_2.pth"], 0, [], 4),
    ],
)
def test_resume_takes_the_newest_state_of_which_every_file_can_be_read(pairs, capfd, files, size, reasons, start):
    options = tiny.train_options(total_iter=4)
    assert train(options) == 0
    for name in files:
        cut_off(name, size)
    capfd.readouterr()
    assert train(options, "--auto_resume") == 0
    reported = capfd.readouterr().err
    assert f"resuming from {Path.cwd() / RUN / 'training_states' / f'{start}.state'}\n" in reported
    assert f"Resuming training from epoch: {start // 3}, iter: {start}." in reported
    assert reported.count("cannot be read") == len(reasons)
    assert all(reason in reported for reason in reasons)
    assert reported.count(f": resuming from {start}\n") == len(reasons)
    if start < 4:
        torch.load(RUN / "training_states" / "4.state", weights_only=True)  # written again, whole
        torch.load(RUN / "models" / "net_g_4.pth", weights_only=True)


@pytest.mark.parametrize("name", ["training_states/1.state", "models/net_g_1.pth"])
def test_a_run_without_a_readable_state_starts_anew(pairs, capfd, name):
    """Killed while it saved for the first time, and started again with the same command, as job queues do."""
    options = tiny.train_options(total_iter=1)
    assert train(options) == 0
    cut_off(name, 0)
    capfd.readouterr()
    assert train(options, "--auto_resume") == 0
    reported = capfd.readouterr().err
    assert f"{name} cannot be read (empty): starting at iteration 0" in reported
    assert "no training state to resume from: starting at iteration 0" in reported
    assert states() == [1]
    (old,) = Path("experiments").glob("tiny_archived_*")
    assert (old / name).is_file()


def test_the_training_loop_of_basicsr_resumes_alike(pairs, capfd):
    """As BasicSR's own train.py does it, without the command."""
    options = tiny.train_options(total_iter=3)
    assert train(options) == 0
    cut_off("models/net_g_3.pth")
    code = "import lightsr_basicsr, basicsr.train as train\ntrain.train_pipeline('.')"
    done = subprocess.run(
        [sys.executable, "-c", code, "-opt", tiny.write(options), "--auto_resume"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "models/net_g_3.pth cannot be read (100 bytes, cut off or damaged): resuming from 2" in done.stderr
    assert "iter: 2." in done.stderr
    cut_off("training_states/3.state")
    options["path"]["resume_state"] = str(RUN / "training_states" / "3.state")
    done = subprocess.run(
        [sys.executable, "-c", code, "-opt", tiny.write(options)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "3.state cannot be read (100 bytes" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_named_state_that_is_damaged_is_reported_and_nothing_is_touched(pairs, capsys):
    options = tiny.train_options(total_iter=2)
    assert train(options) == 0
    torch.save({}, RUN / "training_states" / "2.state")
    before = tiny.tree(Path("experiments"))
    options["path"]["resume_state"] = str(RUN / "training_states" / "2.state")
    assert train(options) == 2
    assert "2.state cannot be read (expected a dictionary with epoch, iter, " in capsys.readouterr().err
    assert tiny.tree(Path("experiments")) == before


def test_resume_in_another_experiment_finds_the_weights(pairs):
    assert train(tiny.train_options(total_iter=3)) == 0
    options = tiny.train_options(total_iter=5)
    options["name"] = "other"
    options["path"]["resume_state"] = "experiments/tiny/training_states/3.state"
    assert train(options) == 0
    assert sorted(path.name for path in Path("experiments/other/training_states").iterdir()) == ["4.state", "5.state"]


def mistakes() -> dict:
    options = tiny.train_options()
    options["network_g"] = {"type": "IMDM_RTC", "num_feat": 4}
    options["val"]["val_frq"] = options["val"].pop("val_freq")
    options["datasets"]["val"]["dataroot_lq"] = "data/nothing"
    options["train"]["pixel_opt"]["los_weight"] = 1.0
    del options["logger"]["print_freq"]
    options["train"]["optim_g"]["lr"] = "1e-4"
    return options


def test_all_mistakes_are_told_at_once_and_nothing_is_touched(pairs, capsys):
    assert train(tiny.train_options(total_iter=1)) == 0
    before = tiny.tree(Path("experiments"))
    assert train(mistakes()) == 2
    assert tiny.tree(Path("experiments")) == before
    told = capsys.readouterr().err
    for part in (
        "run.yml has 6 problems; nothing was started",
        "network_g.type: no network named 'IMDM_RTC' is registered: did you mean IMDN_RTC",
        "val.val_freq: is missing; found 'val_frq', is that a typo?",
        "datasets.val.dataroot_lq: there is no folder data/nothing",
        "train.pixel_opt.los_weight: is not an argument of L1Loss: did you mean 'loss_weight'?",
        "logger.print_freq: is missing",
        "train.optim_g.lr: is the text '1e-4' in YAML: write !!float 1e-4",
    ):
        assert part in told


@pytest.mark.parametrize("name", ["nothing.yml", "options/test_imdn_x5.yml"])
def test_a_missing_option_file_names_bundled_ones(workdir, capsys, name):
    assert cli.main(["train", "-opt", name]) == 2
    told = capsys.readouterr().err
    assert "nor a bundled one" in told
    assert "test_imdn_x4.yml" in told


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a\nname: b\n", "'name' is given twice (line 2"),
        ("name: [a\n", "not valid YAML"),
        ("- a\n- b\n", "must hold a mapping of options, got list"),
        ("a: !!python/object/apply:os.system ['touch owned']\n", "not valid YAML"),
    ],
)
def test_a_broken_option_file_is_explained(workdir, capsys, text, message):
    Path("run.yml").write_text(text)
    assert cli.main(["train", "-opt", "run.yml"]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in workdir.iterdir()] == ["run.yml"]


def test_overrides_are_yaml(pairs):
    flags = ["--force_yml", "train:total_iter=2", "train:optim_g:lr=1e-3", "train:scheduler:milestones=[1, 2]", "val=~"]
    assert train(tiny.train_options(), *flags, "name=with=equals") == 0
    assert Path("experiments/with=equals/models/net_g_latest.pth").is_file()
    assert not Path("experiments/with=equals/visualization/000").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("total_iter", "takes key=value"),
        ("trian:total_iter=3", "no section 'trian'. Existing: train"),
        ("a=[1", "not valid YAML"),
    ],
)
def test_a_wrong_override_is_explained(pairs, capsys, override, message):
    assert train(tiny.train_options(), "--force_yml", override) == 2
    assert message in capsys.readouterr().err


def test_a_typo_in_an_override_stops_the_run(pairs, capsys):
    assert train(tiny.train_options(), "--force_yml", "network_g:num_feats=8", "val:val_freq=often") == 2
    told = capsys.readouterr().err
    assert "network_g.num_feats: is not an argument of IMDN_RTC: did you mean 'num_feat'?" in told
    assert "val.val_freq: must be a whole number of at least 1, got 'often'" in told


def bare_weights(path: str = "bare.pth") -> None:
    from lightsr_basicsr.archs.imdn_arch import IMDN_RTC

    state = IMDN_RTC(num_feat=4, num_block=1).state_dict()
    torch.save({f"module.{key}": value for key, value in state.items()}, path)


def test_an_official_style_file_works_in_train_and_test_without_param_key(pairs):
    bare_weights()
    options = tiny.train_options(total_iter=1)
    options["path"]["pretrain_network_g"] = "bare.pth"
    assert train(options) == 0
    options = tiny.test_options(tiny.paired("a", "data"), pretrain_network_g="bare.pth")
    assert cli.main(["test", "-opt", tiny.write(options)]) == 0
    assert len(list(Path("results/tiny_test/visualization/a").glob("*.png"))) == 13


def test_basicsr_models_get_a_hint_for_a_bare_file(pairs, capsys):
    bare_weights()
    options = tiny.train_options()
    options["model_type"] = "SRModel"
    options["path"]["pretrain_network_g"] = "bare.pth"
    assert train(options) == 2
    assert "set param_key_g: ~, or model_type: LossDictModel" in capsys.readouterr().err


def test_a_checkpoint_that_does_not_fit_is_listed(pairs, capsys):
    bare_weights()
    options = tiny.train_options()
    options["network_g"]["num_feat"] = 8
    options["path"]["pretrain_network_g"] = "bare.pth"
    assert train(options) == 2
    assert "does not fit IMDN_RTC" in capsys.readouterr().err
    options["path"]["strict_load_g"] = False
    options["network_g"] = {"type": "IMDN_RTC", "num_feat": 4, "num_block": 1, "upscale": 4}
    options["scale"] = 4
    assert train(options) == 2  # pairs have the wrong size, but the weights that fit are enough
    told = capsys.readouterr().err
    assert "pairs of the wrong size" in told
    assert "pretrain_network_g" not in told


def test_sets_with_and_without_ground_truth_in_one_test(pairs):
    bare_weights()
    lr_only = {"name": "b", "type": "SingleImageDataset", "dataroot_lq": "data/LR", "io_backend": {"type": "disk"}}
    options = tiny.test_options(
        lr_only, tiny.paired("a", "data"), {**lr_only, "name": "c"}, pretrain_network_g="bare.pth"
    )
    assert cli.main(["test", "-opt", tiny.write(options)]) == 0
    folder = Path("results/tiny_test/visualization")
    assert {path.name: len(list(path.iterdir())) for path in folder.iterdir()} == {"a": 13, "b": 13, "c": 13}


def test_a_network_of_basicsr_trains_and_resumes(pairs):
    options = tiny.train_options(total_iter=2)
    options |= {"model_type": "SRModel", "scale": 2}
    options["network_g"] = {"type": "MSRResNet", "num_feat": 4, "num_block": 1, "upscale": 2}
    assert train(options) == 0
    options["train"]["total_iter"] = 3
    assert train(options, "--auto_resume") == 0
    assert states() == [1, 2, 3]


BASICSR_STYLE = """
name: style_of_basicsr
model_type: SRModel
scale: 2
num_gpu: auto
manual_seed: 0
datasets:
  train:
    name: DIV2K
    type: PairedImageDataset
    dataroot_gt: data/HR
    dataroot_lq: data/LR
    meta_info_file: meta.txt
    filename_tmpl: '{}'
    io_backend:
      type: disk
    gt_size: 16
    use_hflip: true
    use_rot: true
    num_worker_per_gpu: 1
    batch_size_per_gpu: 4
    dataset_enlarge_ratio: 100
    prefetch_mode: ~
  val:
    name: Set5
    type: PairedImageDataset
    dataroot_gt: data/HR
    dataroot_lq: data/LR
    io_backend:
      type: disk
network_g:
  type: MSRResNet
  num_in_ch: 3
  num_out_ch: 3
  num_feat: 4
  num_block: 1
  upscale: 2
path:
  pretrain_network_g: ~
  strict_load_g: true
  resume_state: ~
train:
  ema_decay: 0.999
  optim_g:
    type: Adam
    lr: !!float 2e-4
    weight_decay: 0
    betas: [0.9, 0.99]
  scheduler:
    type: CosineAnnealingRestartLR
    periods: [250000, 250000]
    restart_weights: [1, 1]
    eta_min: !!float 1e-7
  total_iter: 10
  warmup_iter: -1
  pixel_opt:
    type: L1Loss
    loss_weight: 1.0
    reduction: mean
val:
  val_freq: !!float 5e0
  save_img: false
  metrics:
    psnr:
      type: calculate_psnr
      crop_border: 2
      test_y_channel: false
      better: higher
    niqe:
      type: calculate_niqe
      crop_border: 2
logger:
  print_freq: 5
  save_checkpoint_freq: !!float 5e0
  use_tb_logger: true
  wandb:
    project: ~
    resume_id: ~
dist_params:
  backend: nccl
  port: 29500
"""


def test_an_option_file_in_the_style_of_basicsr_runs_and_resumes(workdir):
    tiny.make_pairs(workdir / "data", 2, side=256)
    Path("meta.txt").write_text("000.png (256,256,3)\n001.png (256,256,3)\n")
    Path("run.yml").write_text(BASICSR_STYLE)
    assert cli.main(["train", "-opt", "run.yml"]) == 0
    assert cli.main(["train", "-opt", "run.yml", "--auto_resume", "--force_yml", "train:total_iter=12"]) == 0
    run = Path("experiments/style_of_basicsr")
    assert (run / "models" / "net_g_latest.pth").is_file()
    assert list(Path("tb_logger/style_of_basicsr").iterdir())
    assert not list(Path("experiments").glob("*_archived_*"))


def test_a_bundled_option_file_is_found_from_an_empty_folder(workdir, capsys):
    assert cli.main(["test", "-opt", "options/test_imdn_x4.yml"]) == 2
    told = capsys.readouterr().err
    assert "there is no folder datasets/Set5" in told
    assert list(workdir.iterdir()) == []


def test_option_files_are_utf8_whatever_the_locale(pairs):
    options = tiny.train_options(total_iter=1)
    text = tiny.write(options)
    Path(text).write_text("# 超分辨率\n" + Path(text).read_text(encoding="utf-8"), encoding="utf-8")
    done = command("train", "-opt", text, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", PYTHONIOENCODING="utf-8")
    assert done.returncode == 0, done.stderr
    copies = list(Path("experiments").glob("*/run.yml"))
    assert len(copies) == 1
    assert "超分辨率" in copies[0].read_text(encoding="utf-8")


def test_the_log_file_and_the_command_are_kept(pairs):
    done = command("train", "-opt", tiny.write(tiny.train_options(total_iter=2)))
    assert done.returncode == 0, done.stderr
    log = next(RUN.glob("train_tiny_*.log")).read_text()
    assert re.search(r"iter:\s+2,", log)
    assert "Training ends at iteration 2" in log
    assert "train -opt run.yml" in (RUN / "run.yml").read_text()


def test_two_processes_train_on_cpu(pairs):
    options = tiny.train_options(total_iter=3)
    options["datasets"]["train"]["batch_size_per_gpu"] = 2
    tiny.train_in_two_processes(options)
    assert states() == [1, 2, 3]


def test_workers_that_are_spawned_have_the_fixes(pairs):
    options = tiny.train_options(total_iter=2)
    options["datasets"]["train"]["num_worker_per_gpu"] = 1
    for module in ("lightsr_basicsr", "lightsr_basicsr.cli"):
        Path("start.py").write_text(
            "import multiprocessing, runpy, sys\n"
            "if __name__ == '__main__':\n"
            "    multiprocessing.set_start_method('spawn')\n"
            f"    sys.argv = ['x', 'train', '-opt', '{tiny.write(options)}']\n"
            f"    runpy.run_module('{module}', run_name='__main__', alter_sys=True)\n"
        )
        done = subprocess.run([sys.executable, "start.py"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]


def test_ctrl_c_says_how_to_go_on(pairs, capsys, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    assert train(tiny.train_options(total_iter=2)) == 0
    monkeypatch.setattr("basicsr.train.train_pipeline", interrupt)
    assert train(tiny.train_options()) == 130
    told = capsys.readouterr().err
    assert "saved up to iteration 2. To resume: basicsr train -opt run.yml --auto_resume" in told
    assert train({**tiny.train_options(), "name": "new"}) == 130
    assert "stopped; nothing was saved yet." in capsys.readouterr().err


def test_a_comparison_ends_the_run_with_a_table_and_a_picture(workdir, capsys):
    tiny.make_pairs(workdir / "data", 2, side=128)
    options = tiny.train_options(total_iter=1)
    options["comparison"] = {"dataset": "val", "crop_border": 2, "test_y_channel": True}
    options["datasets"]["train"]["batch_size_per_gpu"] = 1
    assert train(options) == 0
    shown = capsys.readouterr().out
    assert re.search(r"mean\s+\d+\.\d{4} / 0\.\d{4}\s+\d+\.\d{4} / -?0\.\d{4}", shown)
    picture = cv2.imread(str(RUN / "comparison.png"))
    assert picture.shape[0] > 2 * 288
    assert picture.shape[1] > 4 * 288
    assert np.unique(picture).size > 10


def test_a_comparison_takes_the_weights_that_the_test_took(workdir, capsys):
    from lightsr_basicsr.archs.imdn_arch import IMDN_RTC

    tiny.make_pairs(workdir / "data", 2, side=128)
    nets = [IMDN_RTC(num_feat=4, num_block=1).state_dict() for _ in range(2)]
    torch.save({"params": nets[0], "params_ema": nets[1]}, "both.pth")
    options = tiny.test_options(tiny.paired("a", "data"), pretrain_network_g="both.pth")
    options["comparison"] = {"dataset": "test_1", "crop_border": 2, "test_y_channel": True}
    means = set()
    for path in ({}, {"param_key_g": "params"}):
        options["path"] = {"pretrain_network_g": "both.pth", **path}
        assert cli.main(["test", "-opt", tiny.write(options)]) == 0
        printed = capsys.readouterr()
        mean = re.search(r"mean\s+\S+ / \S+\s+(\d+\.\d{4})", printed.out)[1]
        assert f"# psnr: {mean}" in printed.err
        means.add(mean)
    assert len(means) == 2


def test_a_comparison_takes_what_fits_where_the_test_did(workdir, capsys):
    from lightsr_basicsr.archs.imdn_arch import IMDN_RTC

    tiny.make_pairs(workdir / "data", 1, side=128)
    torch.save(IMDN_RTC(num_feat=4, num_block=1, upscale=4).state_dict(), "x4.pth")
    options = tiny.test_options(tiny.paired("a", "data"), pretrain_network_g="x4.pth", strict_load_g=False)
    options["comparison"] = {"dataset": "test_1", "crop_border": 2, "test_y_channel": True}
    assert cli.main(["test", "-opt", tiny.write(options)]) == 0
    assert "PSNR / SSIM" in capsys.readouterr().out


def test_list_says_where_names_come_from(capsys):
    assert cli.main(["list"]) == 0
    shown = capsys.readouterr().out
    for line in (
        r"IMDN_RTE\s+lightsr_basicsr\.archs\.imdn_arch",
        r"SRModel\s+basicsr\.models",
        r"LossDictModel\s+lightsr",
    ):
        assert re.search(line, shown)
    assert cli.main(["list", "networks", "--json"]) == 0
    assert {"name": "IMDN_AS"}.items() <= next(
        entry for entry in json.loads(capsys.readouterr().out)["networks"] if entry["name"] == "IMDN_AS"
    ).items()


def test_env_names_the_basicsr_in_use():
    shown = command("env").stdout
    assert re.search(r"^basicsr:\s+.*basicsr.__init__\.py \(", shown, re.MULTILINE)
    assert re.search(r"^torch:\s+\d", shown, re.MULTILINE)
    assert re.search(r"^fixes applied:.*resume_on_any_device", shown, re.MULTILINE)


def test_without_basicsr_the_command_says_how_to_install_it(workdir, capsys, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "basicsr" else real(name))
    monkeypatch.delitem(sys.modules, "basicsr")
    for arguments in (["train", "-opt", "x.yml"], ["list"], ["env"]):
        assert cli.main(arguments) == 2
        assert "python -m lightsr_basicsr.bootstrap" in capsys.readouterr().err
