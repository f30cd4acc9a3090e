"""Findings on option files that are wrong in one place each."""

import sys
from pathlib import Path

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY

from lightsr_basicsr.tools.check.options import check_options
from tests import tiny


@pytest.fixture(autouse=True)
def pairs(workdir):
    tiny.make_pairs(workdir / "data", 4)


def findings(change, is_train=True, fatal=True) -> list[str]:
    options = tiny.train_options()
    change(options)
    return [str(finding) for finding in check_options(options, is_train) if finding.fatal == fatal]


def setter(path: str, value):
    def change(options):
        *parents, last = path.split(".")
        for key in parents:
            options = options[key]
        if value is KeyError:
            del options[last]
        elif last == "metric":
            options.update(metric=options.pop("metrics"))
        else:
            options[last] = value

    return change


def test_nothing_is_wrong_with_a_good_file():
    assert findings(lambda options: None) == []
    assert findings(lambda options: None, fatal=False) == []


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            "model_type",
            "LosDictModel",
            "model_type: no model named 'LosDictModel' is registered: did you mean LossDictModel",
        ),
        ("model_type", KeyError, "model_type: is missing"),
        ("network_g", KeyError, "network_g: is missing"),
        ("network_g.type", "Nonsense123", "see `basicsr list`. If it is of another package, make that known"),
        ("network_g.upscale", 0, "network_g: IMDN_RTC cannot be built: IMDN_RTC needs `upscale`"),
        ("network_g", "IMDN", "network_g: must be a section with a type, got 'IMDN'"),
        ("datasets.val.type", "PairdImageDataset", "did you mean PairedImageDataset"),
        ("datasets.train", KeyError, "datasets.train: is missing"),
        ("datasets.vall", {}, "datasets.vall: has a phase that is unknown here"),
        ("datasets.train.batch_size_per_gpu", 0, "must be a whole number of at least 1, got 0"),
        ("datasets.train.num_worker_per_gpu", KeyError, "num_worker_per_gpu: is missing"),
        (
            "train.pixel_opt.type",
            "L1Los",
            "train.pixel_opt.type: no loss named 'L1Los' is registered: did you mean L1Loss",
        ),
        ("train.pixel_opt", KeyError, "train: names no loss"),
        ("train.optim_g.type", "Adamm", "train.optim_g: NotImplementedError: optimizer Adamm"),
        ("train.optim_g.type", KeyError, "train.optim_g: 'type' is missing"),
        ("train.optim_g.beta", 1, "train.optim_g: "),
        ("train.scheduler.type", "StepLR", "train.scheduler: NotImplementedError: Scheduler StepLR"),
        ("train.scheduler.gama", 0.5, "train.scheduler: "),
        ("train.total_iter", "many", "train.total_iter: must be a whole number of at least 1, got 'many'"),
        ("train.total_iter", KeyError, "train.total_iter: is missing"),
        ("val.metrics.psnr.type", "psnr", "val.metrics.psnr.type: no metric named 'psnr' is registered"),
        ("val.metrics.psnr.crop_boarder", 2, "val.metrics.psnr.crop_boarder: is not an argument of calculate_psnr"),
        ("val.metrics.psnr.crop_border", KeyError, "val.metrics.psnr.crop_border: is missing"),
        ("val.metrics.psnr", "calculate_psnr", "must be a section with a type"),
        ("val.save_img", KeyError, "val.save_img: is missing"),
        ("logger", KeyError, "logger: is missing"),
        ("logger.use_tb_logger", "yes please", "must be true or false"),
        ("path.pretrain_network_g", "none.pth", "path.pretrain_network_g: There is no checkpoint at none.pth"),
        ("path.pretrain_netwrok_g", "none.pth", "did you mean 'pretrain_network_g'?"),
        ("path", KeyError, "path: is missing"),
        (
            "train.warmup_iters",
            3,
            "train.warmup_iters: is not read by BasicSR or LossDictModel: did you mean 'warmup_iter'?",
        ),
        ("val.metric", {}, "val.metric: is not read by BasicSR or LossDictModel: did you mean 'metrics'?"),
        ("num_gpu", "all", "num_gpu: must be a whole number of at least 0, or auto"),
        ("num_gpu", 64, "num_gpu: is 64, but torch sees"),
        ("name", "", "name: must be a plain name"),
    ],
)
def test_one_mistake_is_one_finding(path, value, message):
    told = findings(setter(path, value))
    assert any(message in line for line in told), told
    # A misspelt optional key leaves the right one absent or doubled, which is a second thing to say for some.
    assert len(told) <= 2, told


def test_periods_that_end_before_the_run():
    def change(options):
        options["train"]["scheduler"] = {
            "type": "CosineAnnealingRestartLR",
            "periods": [4, 4],
            "restart_weights": [1, 1],
        }

    assert findings(change) == ["train.total_iter: 10 cannot be met: the periods of the scheduler end at iteration 8"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"persistent_workers": True}, "needs num_worker_per_gpu of at least 1"),
        ({"prefetch_mode": "cuda"}, "cuda needs a GPU"),
    ],
)
def test_loader_settings_that_hang_or_fail(changes, message):
    assert any(message in line for line in findings(lambda options: options["datasets"]["train"].update(changes)))


def test_a_name_with_debug_is_a_warning():
    assert findings(setter("name", "debug_this")) == []
    assert "every 8 iterations" in findings(setter("name", "debug_this"), fatal=False)[0]


@pytest.mark.parametrize("datasets", [{}, {"train": tiny.paired("t", "data")}])
def test_a_test_file_needs_test_sets(datasets):
    told = findings(setter("datasets", datasets), is_train=False)
    assert "datasets: has no test set: add a section test_1" in told


@pytest.mark.parametrize("names", [["val"], ["val_1", "val_2"], ["test"], ["test_1", "val_1"]])
def test_sets_of_a_test_may_be_called_val(names):
    """BasicSR tests on every section of datasets; KDSR's own files call them val_1 and so on."""
    options = tiny.test_options()
    options["datasets"] = {name: tiny.paired(name, "data") for name in names}
    assert [str(finding) for finding in check_options(options, False) if finding.fatal] == []


def test_nonsense_everywhere_does_not_break_the_check():
    for value in (None, 3, "text", [1]):
        for key in tiny.train_options():
            assert findings(setter(key, value)) or key in ("scale", "manual_seed", "name", "num_gpu", "val"), (
                key,
                value,
            )
    assert check_options({}, is_train=True)
    assert check_options({}, is_train=False)


def test_the_check_leaves_no_logger_and_no_seed_behind():
    from basicsr.utils.logger import initialized_logger

    before = dict(initialized_logger)
    state = torch.random.get_rng_state()
    findings(lambda options: None)
    assert initialized_logger == before
    assert state.shape == torch.random.get_rng_state().shape


def test_taken_and_suffixed_names_are_found():
    assert findings(setter("network_g", {"type": "SRVGGNetCompact", "upscale": 2})) == []


def test_a_missing_resume_state_is_named():
    options = tiny.train_options()
    options["path"]["resume_state"] = "5.state"
    found = check_options(options, is_train=True, state=Path("5.state"))
    assert [str(finding).split(" (looked")[0] for finding in found] == [
        "path.resume_state: there is no training state 5.state"
    ]


@pytest.mark.parametrize(
    ("comparison", "message"),
    [
        ({}, "comparison.dataset: is missing"),
        ({"dataset": "vall", "crop_border": 2, "test_y_channel": True}, "comparison.dataset: is 'vall', which is not"),
        (
            {"dataset": "val", "crop_border": 2, "test_y_channel": "y"},
            "comparison.test_y_channel: must be true or false",
        ),
    ],
)
def test_a_wrong_comparison_is_found_before_the_run(comparison, message):
    assert any(message in line for line in findings(setter("comparison", comparison)))


def test_a_test_without_weights_is_a_warning():
    options = tiny.test_options(tiny.paired("a", "data"))
    (finding,) = check_options(options, is_train=False)
    assert str(finding) == "path.pretrain_network_g: (warning) is missing: the network has random weights"


def test_tensorboard_that_torch_cannot_use_is_found(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    (finding,) = findings(setter("logger.use_tb_logger", True))
    assert finding.startswith("logger.use_tb_logger: torch cannot write TensorBoard files (")


def test_keys_of_a_set_that_makes_its_own_data_are_checked(workdir):
    options = tiny.train_options()
    options["datasets"] = {"train": {"name": "d", "type": "DemoPairedDataset", "batch_size_per_gpu": 1, "gt_size": 96}}
    options["datasets"]["train"] |= {"num_worker_per_gpu": 0, "use_rot": True}
    del options["scale"]
    told = [str(finding) for finding in check_options(options, is_train=True)]
    assert told == [
        "datasets.train.scale: is missing: DemoPairedDataset needs it",
        "datasets.train.use_hflip: is missing: DemoPairedDataset needs it",
    ]
    assert not (workdir / "datasets").exists()


def test_a_comparison_needs_ground_truth_and_scale():
    def change(options):
        lr_only = {"name": "x", "type": "SingleImageDataset", "dataroot_lq": "data/LR", "io_backend": {"type": "disk"}}
        options["datasets"]["val"] = lr_only
        options["comparison"] = {"dataset": "val", "crop_border": 2, "test_y_channel": True}

    assert findings(change) == ["comparison.dataset: val has no ground truth to compare with"]


@pytest.mark.parametrize(
    ("network", "is_train", "expected"),
    [
        (
            {"type": "DRN", "num_feat": 8, "num_block": 1},
            True,
            "DRN gives more in training: it needs a model of its own",
        ),
        ({"type": "DRN", "num_feat": 8, "num_block": 1}, False, None),
        ({"type": "BlindSR_TA", "n_feats": 8, "n_sr_blocks": 1}, False, "map LR to SR, but BlindSR_TA does not"),
    ],
)
def test_networks_that_a_plain_model_cannot_run_are_named(network, is_train, expected):
    options = tiny.train_options() if is_train else tiny.test_options(tiny.paired("t", "data"))
    options["network_g"] = network
    told = [str(finding) for finding in check_options(options, is_train) if finding.where == "model_type"]
    assert (expected in told[0]) if expected else told == []


@pytest.mark.parametrize("model", ["SRModel", "SwinIRModel"])
def test_weights_that_basicsr_does_not_find_are_told_before_the_run(model):
    options = tiny.test_options(tiny.paired("t", "data"), pretrain_network_g="net.pth")
    options["model_type"] = model
    net = ARCH_REGISTRY.get("IMDN_RTC")(num_feat=4, num_block=1)
    for wrapper, key in (("state_dict", "state_dict"), (None, "~")):
        torch.save({wrapper: net.state_dict()} if wrapper else net.state_dict(), "net.pth")
        (told,) = [str(finding) for finding in check_options(options, False)]
        assert f"set param_key_g: {key}, or model_type: LossDictModel" in told
    torch.save({"params": net.state_dict()}, "net.pth")
    assert check_options(options, False) == []


def test_models_that_inherit_the_plain_step_are_known_too():
    options = tiny.train_options()
    options["model_type"], options["network_g"] = "SwinIRModel", {"type": "DRN", "num_feat": 8, "num_block": 1}
    told = [str(finding) for finding in check_options(options, True) if finding.where == "model_type"]
    assert "SwinIRModel trains on one image, but DRN gives more in training" in told[0]


def test_a_crop_that_the_network_cannot_take_is_told():
    """LR 8x8, and DDistill-SR pools what 15 pixels leave."""
    network = {"type": "DDistill_SR", "num_feat": 16, "num_latent": 2, "upscale": 2}
    expected = ["datasets.train.gt_size: is 16, LR 8: network_g needs at least 15 LR pixels"]
    assert findings(setter("network_g", network)) == expected
