"""Compression of DCLS: the whole run by its option file, resuming, single stages, mistakes told before a run."""

import copy
import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from lightsr_basicsr import cli
from lightsr_basicsr.checkpoints.identify import identify
from lightsr_basicsr.models import compression_plan as plan
from lightsr_basicsr.tools.options import read_options
from tests import drc, tiny
from tests.test_models.test_compression_run import assert_same, complain, compress, cut_off, results
from tests.test_options import FOLDER

# Eight sites: three blocks and the code of the estimator, three blocks and one of two paths of the restorer.
SMALL = {"type": "DCLS", "num_feat": 16, "num_block": 1, "num_group": 1, "upscale": 4, "code_length": 16,
         "kernel_size": 11, "dual": True}  # fmt: skip
RUN = Path("experiments/compress_dcls_x4")
# Of a site at most 12 channels stay, 4 at a time, for each two passes of one batch.
ENDS = (4, 4 + 8 * 3 * 2, 4 + 8 * 3 * 2 + 3)
FILES = ("net_g", "net_pruned")


@pytest.fixture
def images(workdir) -> Path:
    tiny.make_pairs(Path("data"), 5, side=48, scale=4)
    return workdir


def options(**train) -> dict:
    """Return options/compress_dcls_x4.yml, cut down to a few iterations of a small network."""
    content = read_options(FOLDER / "compress_dcls_x4.yml")
    content = copy.deepcopy({**content, "num_gpu": 0, "network_g": dict(SMALL)})
    content["datasets"]["train"].update(
        dataroot_gt="data/HR", kernel_size=11, gt_size=44, batch_size_per_gpu=2, num_worker_per_gpu=0,
        dataset_enlarge_ratio=1, persistent_workers=False,
    )  # fmt: skip
    content["datasets"]["val"].update(dataroot_gt="data/HR", dataroot_lq="data/LR")
    torch.manual_seed(0)
    torch.save(drc.build(SMALL).state_dict(), "dense.pth")
    content["path"] = {"pretrain_network_dense": "dense.pth"}
    content["train"].update(search_iter=ENDS[0], finetune_iter=ENDS[2] - ENDS[1])
    content["train"]["prune"].update(pass_iter=1, channels_per_round=4)
    content["train"]["search"]["optim_alpha"]["lr"] = 0.01
    content["train"].update(train)
    content["val"].update(val_freq=2, metrics=tiny.metrics())
    content["logger"] = {"print_freq": 1, "save_checkpoint_freq": 1, "use_tb_logger": False}
    return content


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The folder of an uninterrupted run, which tests only read."""
    folder, before = tmp_path_factory.mktemp("whole"), Path.cwd()
    os.chdir(folder)
    try:
        tiny.make_pairs(Path("data"), 5, side=48, scale=4)
        assert compress(options()) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def finished(whole, images) -> Path:
    """That run, seen from a folder with the same images and networks."""
    shutil.copy(whole / "dense.pth", "dense.pth")
    return whole / RUN


def test_all_stages_run_and_end_with_a_table_and_a_picture(images, capsys):
    assert compress(options()) == 0
    assert plan.read_ends(RUN) == {"search": ENDS[0], "prune": ENDS[1]}
    numbers = plan.read_list(RUN)
    for name in ("net_pruned_latest", "net_g_latest"):
        identity = identify(RUN / f"models/{name}.pth")
        assert (identity.network, identity.form) == ("DCLS", "pruned")
        assert identity.arguments["channels"] == numbers
    chosen = json.loads((RUN / "selection.json").read_text())
    assert chosen["network_g"] == {**SMALL, "channels": numbers}
    assert list(map(len, chosen["kept"].values())) == numbers
    net = drc.build(chosen["network_g"])
    net.load_state_dict(torch.load(RUN / "models/net_pruned_latest.pth")["params"], strict=True)
    (log,) = RUN.glob("train_*.log")
    text = log.read_text()
    assert text.count("search/l_alpha") == ENDS[0]
    assert text.count("finetune/l_dual") == ENDS[2] - ENDS[1]
    assert 0 < text.count("prune/l_feature") == text.count("prune/l_ker") <= ENDS[1] - ENDS[0]
    rows = {line.split("    ")[0].strip(): line for line in capsys.readouterr().out.splitlines()}
    assert {"dense", "pruned", "fine-tuned", "uniform width", "mean"} <= set(rows)
    assert (RUN / "comparison.png").is_file()


def test_the_pruning_leaves_what_is_not_pruned(finished):
    """The dual network too, which is frozen there; the fine-tuning trains it."""
    dense = torch.load("dense.pth")
    pruned, tuned = (torch.load(finished / f"models/{name}_latest.pth")["params"] for name in ("net_pruned", "net_g"))
    duals = [key for key in dense if key.startswith("dual_model.")]
    assert len(duals) == 3
    for key in [*duals, "Estimator.head.0.weight", "Restorer.upscale.4.weight", "Restorer.head2.expand_feature.weight"]:
        assert torch.equal(pruned[key], dense[key])
        assert not torch.equal(tuned[key], dense[key])


def places(numbers: list[int]) -> dict[str, int]:
    """Return an iteration within each stage; of the pruning in the third block of the estimator, and in its code."""
    rounds = [2 * -(-number // 4) for number in numbers]
    return {"search": 3, "block": ENDS[0] + sum(rounds[:2]) + 1, "code": ENDS[0] + sum(rounds[:3]) + 1,
            "finetune": ENDS[1] + 1}  # fmt: skip


@pytest.mark.parametrize("place", ["search", "block", "code", "finetune"])
def test_a_run_stopped_anywhere_ends_with_the_same_bits(finished, place):
    """Hand-overs are tested with DRN."""
    cut_off(finished, places(plan.read_list(finished))[place], RUN.name, ENDS)
    assert compress(options(), "--auto_resume") == 0
    assert_same(results(RUN, ENDS[2], FILES), results(finished, ENDS[2], FILES))


def test_without_a_dual_network_and_without_a_search(images):
    """A plain DCLS, as the official files are, to a list of one's own."""
    network = {**SMALL, "dual": False}
    content = options(search_iter=0, channels=[4, 4, 4, 8, 4, 4, 4, 4])
    content["network_g"] = network
    torch.save(drc.build(network).state_dict(), "dense.pth")
    del content["train"]["dual_opt"], content["train"]["pruning_rate"]
    assert compress(content) == 0
    assert identify(RUN / "models/net_g_latest.pth").arguments["channels"] == [4, 4, 4, 8, 4, 4, 4, 4]
    assert not list(RUN.glob("models/net_dual*"))


def test_a_teacher_may_be_given(images):
    content = options(search_iter=0, channels=[4] * 8)
    del content["train"]["pruning_rate"]
    content["train"]["finetune"]["kd_image_opt"] = {"type": "L1Loss"}
    content["network_teacher"] = {**SMALL, "dual": False}
    content["path"]["pretrain_network_teacher"] = "dense.pth"
    assert compress(content) == 0
    (log,) = RUN.glob("train_*.log")
    assert log.read_text().count("finetune/l_kd_image") == ENDS[2] - ENDS[1]


def alone(model: str, stage: str, **train) -> dict:
    """Return the options with which one stage trains by ``basicsr train``."""
    content = options()
    own, shared = content["train"][stage], ("pixel_opt", "kernel_opt", "dual_opt")
    content["train"] = {**{key: content["train"][key] for key in shared}, **own, **train}
    del content["comparison"]
    return {**content, "name": stage, "model_type": model}


def test_the_stages_work_alone(images):
    search = alone("ChannelSearchModel", "search", total_iter=4, pruning_rate=0.3)
    search["path"] = {"pretrain_network_g": "dense.pth"}
    assert cli.main(["train", "-opt", tiny.write(search)]) == 0
    found = "experiments/search/channel_configs_best.txt"
    total = sum(-(-int(number) // 4) * 2 for number in Path(found).read_text().split())
    assert cli.main(["train", "-opt", tiny.write(alone("ChannelPruningModel", "prune", total_iter=total,
                                                       channels=found))]) == 0  # fmt: skip
    finetune = alone("DistillFinetuneModel", "finetune", total_iter=3)
    finetune["network_g"]["channels"] = found
    finetune["path"] = {"pretrain_network_g": "experiments/prune/models/net_pruned_latest.pth"}
    assert cli.main(["train", "-opt", tiny.write(finetune)]) == 0
    del finetune["train"], finetune["logger"], finetune["datasets"]["train"]
    finetune["datasets"] = {"test_1": finetune["datasets"]["val"]}
    finetune["network_g"]["dual"] = False
    finetune["comparison"] = {"dataset": "test_1", "crop_border": 2, "test_y_channel": True}
    finetune |= {"name": "after", "model_type": "BlindKernelModel",
                 "path": {"pretrain_network_g": "experiments/finetune/models/net_g_latest.pth"}}  # fmt: skip
    finetune["val"] = {"save_img": False, "suffix": ""}
    assert cli.main(["test", "-opt", tiny.write(finetune)]) == 0


def of_list(numbers):
    """Return a change of the options: prune to this list."""

    def change(content):
        content["train"].update(search_iter=0, channels=numbers)
        del content["train"]["pruning_rate"]

    return change


def paired(content):
    train = content["datasets"]["train"]
    for key in ("blur", "sigma", "theta", "kernel_size", "kernel_noise"):
        del train[key]
    train.update(type="PairedImageDataset", dataroot_lq="data/LR")


def other_dual(content):
    """The dense file has a dual network of another scale; the rest of the two networks is saved as it should be."""
    state = torch.load("dense.pth")
    two = drc.build({**SMALL, "upscale": 2}).state_dict()
    state = {key: value for key, value in state.items() if not key.startswith("dual_model.")}
    torch.save({**state, **{key: value for key, value in two.items() if key.startswith("dual_model.")}}, "dense.pth")


def no_dual(content):
    torch.save({key: value for key, value in torch.load("dense.pth").items() if "dual_model." not in key}, "dense.pth")


def small_validation(content):
    tiny.make_pairs(Path("few"), 2, side=32, scale=4)
    content["datasets"]["val"].update(dataroot_gt="few/HR", dataroot_lq="few/LR")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (of_list([4] * 7), "train.channels (prune stage): The pruning expects 8 numbers in `channels`, got 7"),
        (of_list([4] * 3 + [0] + [4] * 4), "number 3 of `channels` must be within 1 and 16, got 0"),
        (of_list([4] * 3 + [17] + [4] * 4), "number 3 of `channels` must be within 1 and 16, got 17"),
        (of_list([4] * 7 + [4.5]), "expects whole numbers in `channels`, got 4.5"),
        (lambda o: o["network_g"].update(kernel_size=15), "DCLS supports `kernel_size` 11 or 21 or 31, got 15: ta"),
        (lambda o: o["datasets"]["train"].update(kernel_size=21), "is 21, but network_g estimates 11x11"),
        (lambda o: o["datasets"]["train"].update(gt_size=32), "is 32, LR 8: network_g needs at least 9 LR pixels"),
        (lambda o: o["datasets"]["train"].update(gt_size=40), "is 40, LR 10: the kernel's target needs 11 LR pixels"),
        (small_validation, "datasets.val (search stage): DCLS cannot run on LR images 3x8x8"),
        (paired, "datasets.train.type: gives no kernels, of which the network's estimator learns: set type Kernel"),
        (lambda o: o["train"].pop("kernel_opt"), "train.kernel_opt (search stage): is missing"),
        (lambda o: o["train"].pop("dual_opt"), "train.dual_opt (search stage): is missing: network_g has a"),
        (lambda o: o["network_g"].update(dual=False), "train.dual_opt (search stage): has no effect"),
        (lambda o: o.update(network_dual={"type": "DualNetwork", "downscale": 4}), "DCLS contains its dual network,"),
        (lambda o: o["path"].update(pretrain_network_dual="dense.pth"), "DCLS contains its dual network, and its own"),
        (lambda o: o["path"].update(pretrain_network_dual="no.pth"), "path.pretrain_network_dual: There is no"),
        (no_dual, ("dense.pth does not fit DCLS: it holds DCLS x4, train", "no dual network: set network_g.dual:")),
        (other_dual, "1 not in the network: dual_model.dual_module.1.weight"),
        (lambda o: o["train"]["finetune"].update(kd_image_opt={"type": "L1Loss"}), "has no effect without a teacher"),
        (lambda o: o["train"]["prune"].update(clip_norm=0), "train.clip_norm (prune stage): must be a number above 0"),
        (lambda o: o["train"]["search"].update(clip_alphas=1), "train.clip_alphas (search stage): must be true"),
    ],
    ids=str,
)  # fmt: skip
def test_what_does_not_fit_is_told_before_a_run(images, capsys, change, expected):
    content = options()
    change(content)
    complain(content, capsys, *([expected] if isinstance(expected, str) else expected))
