"""A compression in one run, through the command: stages, resuming, one stage only, the table, mistakes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lightsr_basicsr import cli
from lightsr_basicsr.checkpoints.identify import identify
from lightsr_basicsr.models import compression_plan as plan
from lightsr_basicsr.tools.check.options import check_options
from tests import drc, tiny
from tests.test_models.test_dual_regression_model import DRN, DRN_DUAL, assert_equal
from tests.test_models.test_dual_regression_run import flat, images, run_options  # noqa: F401 (a fixture)

RUN = Path("experiments/small")
SEARCHED, SET_ASIDE, TUNED = 4, 28, 3
TOTAL = SEARCHED + SET_ASIDE + TUNED
ENDS = (SEARCHED, SEARCHED + SET_ASIDE, TOTAL)
FILES = ("net_g", "net_dual", "net_pruned")


def compress(options: dict, *arguments: str) -> int:
    return cli.main(["compress", "-opt", tiny.write(options), *arguments])


def options(name: str = "small", **train) -> dict:
    """Return an option file's content: a search, a pruning of four channels at a time, a short fine-tuning."""
    content = run_options(name, DRN, DRN_DUAL)
    content["model_type"] = "CompressionModel"
    content["network_teacher"] = {**DRN, "num_feat": 8}
    content["datasets"]["train"] |= {"halves": True, "batch_size_per_gpu": 2}
    torch.manual_seed(0)
    for key, section in (("dense", DRN), ("dual", DRN_DUAL), ("teacher", content["network_teacher"])):
        torch.save(drc.build(section).state_dict(), f"{key}.pth")
        content["path"][f"pretrain_network_{key}"] = f"{key}.pth"
    rates = {"optim_g": {"type": "Adam", "lr": 1e-3}, "scheduler": {"type": "MultiStepLR", "milestones": [3]}}
    content["train"] = {
        "search_iter": SEARCHED, "finetune_iter": TUNED, "pruning_rate": 0.3, "pixel_opt": {"type": "L1Loss"},
        "dual_opt": {"type": "L1Loss", "loss_weight": 0.1},
        "search": {**rates, "optim_alpha": {"type": "Adam", "lr": 0.01}},
        "prune": {"pass_iter": 1, "channels_per_round": 4}, "finetune": {**rates, "ema_decay": 0.9}, **train,
    }  # fmt: skip
    content["val"]["val_freq"] = 2
    content["comparison"] = {"dataset": "val", "crop_border": 2, "test_y_channel": True}
    return content


def results(folder: Path, total: int = TOTAL, files: tuple[str, ...] = FILES) -> dict:
    """Return all tensors that a run of ``total`` iterations ends with, its lists and its choice."""
    found = {name: flat(torch.load(folder / f"models/{name}_latest.pth")) for name in files}
    found["state"] = flat(torch.load(folder / f"training_states/{total}.state"))
    texts = {name: (folder / name).read_text() for name in (plan.LIST, "selection.json", plan.ENDED)}
    return {"tensors": found, "texts": texts}


def assert_same(ours: dict, theirs: dict) -> None:
    assert ours["texts"] == theirs["texts"]
    for name, expected in theirs["tensors"].items():
        assert_equal(ours["tensors"][name], expected)


@pytest.fixture
def finished(images) -> Path:  # noqa: F811
    """An uninterrupted run, moved aside with every state that it had."""
    assert compress(options()) == 0
    return Path(shutil.move("experiments", "whole")) / "small"


def cut_off(finished: Path, iteration: int, name: str = "small", stages: tuple[int, int, int] = ENDS) -> None:
    """Leave of ``finished``, whose ``stages`` end there, what a run killed after ``iteration`` would have left."""
    searched, pruned, total = stages
    folder = Path(shutil.copytree(finished, f"experiments/{name}"))
    ends = {stage: end for stage, end in plan.read_ends(folder).items() if end < iteration}
    (folder / plan.ENDED).write_text(json.dumps(ends))
    for file in [*folder.glob("models/*.pth"), *folder.glob("training_states/*"), *folder.glob("channel_configs_*")]:
        number = file.stem.rpartition("_")[2]
        kept = number == "latest" and ends.get("prune", total) < iteration and "pruned" in file.name
        if not kept and not (number.isdigit() and int(number) <= iteration):
            file.unlink()
    if iteration <= searched:
        (folder / plan.LIST).unlink()
    if iteration < pruned:
        (folder / "selection.json").unlink()


def test_the_stages_follow_one_another(finished, capsys):
    assert plan.read_ends(finished) == {"search": SEARCHED, "prune": SEARCHED + SET_ASIDE}
    record = json.loads((finished / "best_metrics.json").read_text())
    assert set(record) == {"search_v", "prune_v", "finetune_v"}
    best = record["search_v"]["psnr"]["iter"]
    chosen = (finished / plan.LIST).read_text()
    assert chosen == (finished / f"channel_configs_{best}.txt").read_text()
    for name in ("net_g_latest", "net_pruned_latest"):
        identity = identify(finished / f"models/{name}.pth")
        assert (identity.network, identity.form) == ("DRN", "pruned")
        assert identity.arguments["channels"] == list(map(int, chosen.split()))
    (log,) = finished.glob("train_*.log")
    text = log.read_text()
    assert text.count("search/l_alpha") == SEARCHED
    assert text.count("finetune/l_kd") == TUNED
    assert 0 < text.count("prune/l_feature") <= SET_ASIDE
    assert f"iter:{TOTAL:8,d}" in text


def test_the_table_shows_what_was_made(images, capsys):  # noqa: F811
    assert compress(options()) == 0
    shown = capsys.readouterr().out
    rows = {line.split("    ")[0].strip(): line for line in shown.splitlines()}
    assert {"dense", "pruned", "fine-tuned", "uniform width", "mean"} <= set(rows)
    assert "multi-adds" in shown
    assert "not trained" in rows["uniform width"]
    assert rows["dense"].count("(1.00)") == 3
    numbers = [int(line) for line in (RUN / "channel_configs_uniform.txt").read_text().split()]
    sizes = [sum(p.numel() for p in drc.build({**DRN, "channels": each}).parameters())
             for each in (numbers, plan.read_list(RUN))]  # fmt: skip
    assert sizes[0] <= sizes[1]
    assert (RUN / "comparison.png").is_file()


@pytest.mark.parametrize("iteration", [1, 3, 4, 5, 12, 31, 32, 33, 34])
def test_a_run_stopped_anywhere_ends_with_the_same_bits(finished, iteration):
    """Within each stage, right before and after the hand-overs, and while pruning waits for its end."""
    cut_off(finished, iteration)
    assert compress(options(), "--auto_resume") == 0
    assert_same(results(RUN), results(finished))


def test_a_run_that_is_killed_goes_on(finished):
    """Kill -9, wherever it strikes in each stage."""
    command = [sys.executable, "-m", "lightsr_basicsr.cli", "compress", "-opt", tiny.write(options()), "--auto_resume"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for reached in (2, 9, 33):
        run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        deadline = time.monotonic() + 240
        while run.poll() is None and time.monotonic() < deadline:
            if (RUN / f"training_states/{reached}.state").is_file():
                break
            time.sleep(0.02)
        run.send_signal(signal.SIGKILL)
        run.wait()
        assert (RUN / f"training_states/{reached}.state").is_file()
    assert compress(options(), "--auto_resume") == 0
    assert_same(results(RUN), results(finished))


def test_one_stage_after_the_other_is_the_whole(finished, capsys):
    for stage in ("prune", "finetune"):
        assert compress(options(), "--stage", stage) == 2
    told = capsys.readouterr().err
    assert "has not ended its search. Run it first (--stage search)" in told
    assert "has not ended its prune. Run it first (--stage prune)" in told
    assert not Path("experiments").exists()
    assert compress(options(), "--stage", "search") == 0
    assert compress(options(pruning_rate=0.9), "--stage", "prune") == 2
    assert "takes 22 iterations, but by the option file 12 are set aside" in " ".join(capsys.readouterr().err.split())
    assert compress(options(), "--stage", "prune") == 0
    assert not (RUN / f"training_states/{TOTAL}.state").exists()
    assert "fine-tuned" not in capsys.readouterr().out
    assert compress(options(), "--stage", "finetune") == 0
    assert_same(results(RUN), results(finished))
    assert compress(options(), "--stage", "prune") == 2
    assert "the prune of" in capsys.readouterr().err


@pytest.mark.parametrize("iteration", [4, 12, 33])
def test_a_resumed_run_of_another_name_has_what_it_needs(finished, iteration):
    cut_off(finished, iteration)
    content = options("second")
    content["path"]["resume_state"] = str(RUN / f"training_states/{iteration}.state")
    assert compress(content) == 0
    second, first = results(Path("experiments/second")), results(finished)
    for name in ("net_g", "state"):
        assert_equal(second["tensors"][name], first["tensors"][name])


@pytest.mark.parametrize("criterion", ["dcp", "l1"])
def test_without_search_and_fine_tuning_a_list_is_pruned(images, criterion):  # noqa: F811
    content = options(search_iter=0, finetune_iter=0, channels=[2, 2, 3, 2, 2, 2])
    del content["train"]["pruning_rate"], content["network_teacher"], content["path"]["pretrain_network_teacher"]
    content["train"]["prune"]["criterion"] = criterion
    assert compress(content) == 0
    assert plan.read_list(RUN) == [2, 2, 3, 2, 2, 2]
    assert identify(RUN / "models/net_pruned_latest.pth").arguments["channels"] == [2, 2, 3, 2, 2, 2]
    assert (RUN / f"training_states/{1 if criterion == 'l1' else 12}.state").is_file()


def complain(content: dict, capsys, *expected: str, command: str = "compress") -> None:
    assert cli.main([command, "-opt", tiny.write(content)]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert [part for part in expected if part not in told] == [], told
    assert not Path("experiments").exists()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda o: o["train"].update(pruning_rate=1.0), "train.pruning_rate (search, prune stages): A pruning rate is"),
        (lambda o: o["train"].update(pruning_rate=-0.1), "train.pruning_rate: must be a number above 0"),
        (lambda o: o["train"].update(pruning_rate="0.3"), "train.pruning_rate: must be a number above 0, got '0.3'"),
        (lambda o: o["train"].update(pruning_rate=float("nan")), "above 0, got nan"),
        (lambda o: o["train"].update(search_iter=0, pruning_rate=None), "must be a number above 0, got None"),
        (lambda o: o["train"].update(cost={}), "train.cost (search stage): `cost` needs a `type` of params or"),
        (lambda o: o["train"].update(cost={"type": "params", "target": 0}), "within (0, 1), a part of the dense"),
        (lambda o: o["train"].update(cost={"type": "params", "target": 1}), "got 1: write 0.7, for example"),
        (lambda o: o["train"].update(cost={"type": "params", "target": 0.7, "weight": 0}), "`weight` above 0, got 0:"),
        (lambda o: o["train"].update(cost="params"), "has 1 problem; nothing was started. train.cost: must be"),
        (lambda o: o["train"].update(sites=[["head", "tail.0"]]), "train.sites (search, prune stages): head makes"),
        (lambda o: o["train"].update(sites=[["body.0", "tail.0"]]), "DRN has no layer body.0: print the network"),
        (lambda o: o["train"].pop("pruning_rate"), "train.pruning_rate: is missing"),
        (lambda o: o["train"].pop("search_iter"), "train.search_iter: is missing"),
        (lambda o: o["train"].update(finetune_iter=2.5), "train.finetune_iter: must be a whole number"),
        (lambda o: o["train"].update(total_iter=9), "train.total_iter: has no effect"),
        (lambda o: o["train"].update(channels=[2] * 6), "train.channels: excludes a search"),
        (lambda o: o["train"].update(search_iter=0, channels=[2] * 5), "train.channels (prune stage): The pruning exp"),
        (lambda o: o["train"].update(search_iter=0, channels=[0] * 6), "must be within 1 and 4, got 0"),
        (lambda o: o["train"]["prune"].update(total_iter=9), "train.prune.total_iter: holds for the whole run"),
        (lambda o: o["train"].update(prune={"pas_iter": 9}), "train.pas_iter (prune stage): is not read"),
        (lambda o: o["train"]["search"].pop("optim_g"), "train.optim_g (search stage): is missing"),
        (lambda o: o["datasets"]["train"].pop("halves"), "datasets.train.halves (search stage): must be true"),
        (lambda o: o["path"].pop("pretrain_network_dense"), "path.pretrain_network_dense: is missing"),
        (lambda o: o["path"].update(pretrain_network_dense="no.pth"), "path.pretrain_network_dense: There is no"),
        (lambda o: o["path"].update(pretrain_network_dual="no.pth"), "path.pretrain_network_dual: There is no"),
        (lambda o: o["path"].update(pretrain_network_dual="dense.pth"), "dense.pth does not fit DRNDual: it holds DRN"),
        (lambda o: o["path"].update(pretrain_network_dual="text.pth"), "text.pth (5 bytes) cannot be read as"),
        (lambda o: o["network_dual"].update(upscale=8), "network_dual.upscale (search, prune, finetune stages): is 8"),
        (lambda o: o["datasets"]["train"].update(type="PairedImageDataset", dataroot_lq="data/LR"), "no lq_down2"),
        (lambda o: o["datasets"]["train"].update(dataroot_lq="data/LR", dataroot_lq_down2="data/HR"), "expected HR /"),
        (lambda o: o["datasets"]["train"].update(dataroot_gt="one"), "datasets.train.halves: needs at least 2 images"),
        (lambda o: o["path"].update(pretrain_network_teacher="no.pth"), "path.pretrain_network_teacher: There is no"),
        (lambda o: o["path"].pop("pretrain_network_teacher"), "path.pretrain_network_teacher (finetune stage): is mis"),
        (lambda o: o["path"].update(pretrain_network_g="dense.pth"), "path.pretrain_network_g: has no effect"),
        (lambda o: o["path"].update(pretrain_network_dense="teacher.pth"), "teacher.pth does not fit DRN"),
        (lambda o: o.pop("network_teacher"), "network_teacher: is missing"),
        (lambda o: o["network_teacher"].update(upscale=8), "network_teacher (finetune stage): enlarges by 8"),
        (lambda o: o["network_g"].update(type="IMDN_RTC"), "network_g"),
        (lambda o: o["train"]["finetune"].update(kd_maps=[["no", "no"]]), "train.kd_maps (finetune stage): network_g"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_are_told_before_a_run(images, capsys, change, expected):  # noqa: F811
    Path("one").mkdir()
    shutil.copy("data/HR/000.png", "one")
    Path("text.pth").write_text("x: 1\n")
    content = options()
    change(content)
    complain(content, capsys, expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"2\r\n2\r\n3\r\n2\r\n2\r\n2", ""),
        (b"\xef\xbb\xbf2\n2\n3\n2\n2\n2\n", ""),
        (b"# a list\n2\n2\n3\n2\n2\n2\n", "whole numbers in `channels` from list.txt, got '#' as number 0: correct it"),
        (b"2\n2\n3.5\n2\n2\n2\n", "got '3.5' as number 2"),
        (b"2,2,3,2,2,2", "got '2,2,3,2,2,2' as number 0"),
        (b"", "expects 6 numbers in `channels` from list.txt, got 0"),
        (b"2 2 0 2 2 2", "number 2 of `channels` from list.txt must be within 1 and 16, got 0"),
        ("2\n2\n".encode("utf-16"), "expects a text file with numbers at list.txt, got other bytes"),
    ],
)
def test_files_of_channel_lists(images, text, expected):  # noqa: F811
    Path("list.txt").write_bytes(text)
    content = options(search_iter=0, channels="list.txt")
    found = [str(each) for each in check_options(content, is_train=True) if each.fatal]
    assert found == [] if not expected else expected in found[0]


@pytest.mark.parametrize(
    ("weight", "file", "warned"), [(0.1, None, True), (0.0, None, False), (0.1, "dual.pth", False)]
)
def test_a_dual_loss_of_random_networks_is_warned_of(images, weight, file, warned):  # noqa: F811
    content = options()
    content["train"]["dual_opt"]["loss_weight"] = weight
    content["path"]["pretrain_network_dual"] = file
    found = [each for each in check_options(content, is_train=True) if "begins with random networks" in each.message]
    assert [(each.where, each.fatal) for each in found] == (
        [("path.pretrain_network_dual (search, prune stages)", False)] if warned else []
    )


def test_compress_is_for_compressions(images, capsys):  # noqa: F811
    content = run_options("plain", DRN, DRN_DUAL)
    complain(content, capsys, "basicsr compress expects model_type: CompressionModel, but run.yml has 'DualRegr")
    content = options(finetune_iter=0)
    assert compress(content, "--stage", "finetune") == 2
    assert "train.finetune_iter is 0, so the run has no such stage" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("iteration", "change", "expected"),
    [
        (12, {"search_iter": 6}, "train.search_iter: is 6, but"),
        (3, {"search_iter": 2}, "train.search_iter: is 2, but"),
        (8, {"pruning_rate": 0.9}, "takes 22 iterations, but by the option file 12 are set aside: set train.pruning"),
        (33, {"prune": {"pass_iter": 2, "channels_per_round": 4}}, "has ended its prune at iteration 32"),
    ],
)
def test_a_state_of_another_plan_is_refused(finished, capsys, iteration, change, expected):
    cut_off(finished, iteration)
    before = tiny.tree(Path("experiments"))
    assert compress(options(**change), "--auto_resume") == 2
    assert expected in " ".join(capsys.readouterr().err.split())
    assert tiny.tree(Path("experiments")) == before


@pytest.mark.parametrize(
    ("iteration", "name", "content", "expected"),
    [
        (12, plan.LIST, None, "channel_configs.txt, which the search had found, is lost: bring it back"),
        (12, plan.LIST, "2\nx\n", "channel_configs.txt must hold whole numbers, got"),
        (12, plan.LIST, "2\n2\n", "The pruning expects 6 numbers in `channels`, got 2"),
        (34, f"models/{plan.PRUNED}", None, "has no models/net_pruned_latest.pth, which the pruning had made"),
    ],
)
def test_a_run_that_has_lost_a_file_is_not_resumed(finished, capsys, iteration, name, content, expected):
    cut_off(finished, iteration)
    (RUN / name).unlink()
    if content:
        (RUN / name).write_text(content)
    before = tiny.tree(Path("experiments"))
    assert compress(options(), "--auto_resume") == 2
    assert expected in " ".join(capsys.readouterr().err.split())
    assert tiny.tree(Path("experiments")) == before


def scalars() -> dict[str, list[int]]:
    """Return the iterations of each scalar in the event files of the run."""
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = events.EventAccumulator("tb_logger/small", size_guidance={events.SCALARS: 0}).Reload()
    return {tag: [each.step for each in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_tensorboard_has_one_run_of_all_stages(images):  # noqa: F811
    """In one command and in three: iterations go up across the stages, and each has its losses and scores."""
    content = options()
    content["logger"]["use_tb_logger"] = True
    assert compress(content) == 0
    whole = scalars()
    assert [folder.name for folder in Path("tb_logger").iterdir()] == ["small"]
    assert len(list(Path("tb_logger/small").iterdir())) == 1
    starts = {"search": 0, "prune": SEARCHED, "finetune": SEARCHED + SET_ASIDE}
    for stage, steps in {"search": SEARCHED, "finetune": TUNED}.items():
        assert whole[f"{stage}/l_pix"] == list(range(starts[stage] + 1, starts[stage] + steps + 1))
    chosen = whole["prune/l_feature"]
    assert chosen == list(range(SEARCHED + 1, SEARCHED + 1 + len(chosen)))
    for stage, start in starts.items():
        scores = whole[f"metrics/{stage}_v/psnr"]
        assert start < min(scores) <= start + 2
        assert scores == sorted(set(scores))
    shutil.rmtree("experiments")
    shutil.rmtree("tb_logger")
    for stage in starts:
        assert compress(content, "--stage", stage) == 0
    parts = scalars()
    assert {tag: steps for tag, steps in parts.items() if "/l_" in tag} == {
        tag: steps for tag, steps in whole.items() if "/l_" in tag
    }
    assert all(steps == sorted(steps) for steps in parts.values())


def test_a_launcher_is_refused(images, capsys, monkeypatch):  # noqa: F811
    """Named, inside and outside of torchrun, and not named."""
    content, once = options(), "basicsr compress runs in one process, got"
    assert compress(content, "--launcher", "slurm") == 2
    assert f"{once} --launcher slurm: start it as basicsr compress -opt run.yml" in capsys.readouterr().err
    environment = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_PORT": "29500", "MASTER_ADDR": "127.0.0.1"}
    for name, value in {**environment, "TORCHELASTIC_RUN_ID": "1"}.items():
        monkeypatch.setenv(name, value)
    assert compress(content, "--launcher", "pytorch") == compress(content) == 2
    told = capsys.readouterr().err
    assert f"{once} --launcher pytorch" in told
    assert f"{once} several processes of torchrun" in told
    assert not Path("experiments").exists()
