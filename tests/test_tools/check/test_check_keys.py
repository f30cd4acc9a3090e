"""Keys and their values: what stops a run, what is a warning, and what other people's option files may hold."""

import math
from datetime import date

import pytest
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import DATASET_REGISTRY, MODEL_REGISTRY

from lightsr_basicsr.registry import look_up
from lightsr_basicsr.tools.check.context import Run
from lightsr_basicsr.tools.check.keys import check_keys, check_section
from lightsr_basicsr.tools.check.known import fields_of_model, fields_of_set, within
from lightsr_basicsr.tools.check.options import check_options
from tests import kdsr, tiny


def changed(path: str, value) -> dict:
    options = tiny.train_options()
    *parents, last = path.split(".")
    section = options
    for key in parents:
        section = section[key]
    section[last] = value
    return options


def of_keys(options: dict, is_train: bool = True, fatal: bool = True) -> list[str]:
    """Return what is found in keys and values alone, without images, networks and weights."""
    found = list(check_keys(Run(options, is_train)))
    for key, section in options.get("datasets", {}).items():
        dataset, training = look_up(DATASET_REGISTRY, section.get("type")), key == "train"
        found += check_section(f"datasets.{key}", section, fields_of_set(dataset), dataset, training)
    return [str(finding) for finding in found if finding.fatal == fatal]


@pytest.mark.parametrize(
    ("path", "value", "wanted"),
    [
        ("manual_seed", "0", "a whole number from 0 to 4,000,000,000"),
        ("manual_seed", -1, "a whole number from 0 to 4,000,000,000"),
        ("manual_seed", 1.0, "a whole number from 0 to 4,000,000,000"),
        ("num_gpu", "two", "a whole number of at least 0, or auto"),
        ("scale", "x2", "a number above 0"),
        ("datasets.train.num_worker_per_gpu", "2", "a whole number of at least 0"),
        ("datasets.train.num_worker_per_gpu", -1, "a whole number of at least 0"),
        ("datasets.train.batch_size_per_gpu", 2.0, "a whole number of at least 1"),
        ("datasets.train.batch_size_per_gpu", True, "a whole number of at least 1"),
        ("datasets.train.dataset_enlarge_ratio", 0, "a number above 0"),
        ("datasets.train.dataset_enlarge_ratio", "1", "a number above 0"),
        ("datasets.train.prefetch_mode", "gpu", "cpu or cuda"),
        ("datasets.train.num_prefetch_queue", 0, "a whole number of at least 1"),
        ("datasets.train.pin_memory", "yes", "true or false"),
        ("datasets.train.use_hflip", "false", "true or false"),
        ("datasets.train.use_rot", 1, "true or false"),
        ("datasets.train.gt_size", "16", "a whole number of at least 1"),
        ("datasets.val.filename_tmpl", None, "a text"),
        ("train.total_iter", 4.5, "a whole number of at least 1"),
        ("train.total_iter", math.inf, "a whole number of at least 1"),
        ("train.total_iter", math.nan, "a whole number of at least 1"),
        ("train.ema_decay", 1.5, "a number from 0 to 1"),
        ("train.ema_decay", "0.9", "a number from 0 to 1"),
        ("train.warmup_iter", -2, "a whole number of at least -1"),
        ("train.pixel_opt", [{"type": "L1Loss"}], "a section"),
        ("train.perceptual_opt", "PerceptualLoss", "a section"),
        ("train.optim_g", "Adam", "a section"),
        ("val.metrics.psnr.crop_border", "5", "a whole number of at least 0"),
        ("val.metrics.psnr.crop_border", [1], "a whole number of at least 0"),
        ("val.metrics.psnr.test_y_channel", "no", "true or false"),
        ("val.metrics.psnr.better", "up", "higher or lower"),
        ("val.save_img", "false", "true or false"),
        ("val.val_freq", 0, "a whole number of at least 1"),
        ("val.pbar", 1, "true or false"),
        ("logger.print_freq", 0.5, "a whole number of at least 1"),
        ("logger.wandb", "project", "a section"),
        ("logger.wandb", {"project": 3}, "a text"),
        ("path.strict_load_g", "no", "true or false"),
        ("path.resume_state", 5, "a text"),
    ],
)
def test_a_value_of_the_wrong_kind_is_found(workdir, path, value, wanted):
    """With the key, the kind that is wanted and the value that is given."""
    tiny.make_pairs(workdir / "data", 4)
    found = [str(finding) for finding in check_options(changed(path, value), True) if finding.fatal]
    place, value = (path, value) if value != {"project": 3} else ("logger.wandb.project", 3)
    assert f"{place}: must be {wanted}, got {value!r}" in found


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("manual_seed", None), ("num_gpu", "auto"), ("scale", 2.0), ("train.total_iter", 5e3), ("val.val_freq", 5e3),
        ("logger.save_checkpoint_freq", 1e9), ("train.ema_decay", 0), ("train.warmup_iter", -1), ("val.metrics", None),
        ("train.pixel_opt", None), ("datasets.train.prefetch_mode", None), ("logger.wandb", {"project": None}),
        ("datasets.train.dataset_enlarge_ratio", 0.5), ("path.pretrain_network_g", None), ("val", None),
        ("path.ignore_resume_networks", "network_TA"), ("path.ignore_resume_networks", ["network_TA"]),
        ("datasets.train.use_rot", None), ("datasets.train.meta_info_file", None), ("network_x", {"type": "Y"}),
        ("path.pretrain_network_x", "x.pth"), ("path.strict_load_x", False), ("dist_params", {"backend": "nccl"}),
    ],
)  # fmt: skip
def test_what_basicsr_takes_is_taken(path, value):
    assert of_keys(changed(path, value)) == []
    assert of_keys(changed(path, value), fatal=False) == []


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("find_unused_parameter", "find_unused_parameters"), ("dist_param", "dist_params"),
        ("train.perceptual_op", "perceptual_opt"), ("train.warmup_iters", "warmup_iter"),
        ("path.param_key", "param_key_g"),
        ("logger.wandb", None), ("val.pbr", "pbar"), ("datasets.train.prefetch_mod", "prefetch_mode"),
        ("datasets.val.meta_info_fil", "meta_info_file"), ("datasets.train.persistent_worker", "persistent_workers"),
    ],
)  # fmt: skip
def test_a_key_close_to_a_known_one_stops_the_run(path, hint):
    options = changed(path, {})
    if hint is None:
        path, hint = f"{path}.proyect", "project"
        options["logger"]["wandb"] = {"proyect": "x"}
    (found,) = of_keys(options)
    assert found.startswith(f"{path}: is not read by ")
    assert found.endswith(f": did you mean '{hint}'?")


def test_another_unknown_key_is_a_warning():
    options = changed("train.distillation", 3)
    options["tile"] = {"tile_size": 256}
    options["datasets"]["train"]["use_shuffle"] = True
    assert of_keys(options) == []
    assert of_keys(options, fatal=False) == [
        "tile: (warning) is not read by BasicSR or LossDictModel",
        "train.distillation: (warning) is not read by BasicSR or LossDictModel",
        "datasets.train.use_shuffle: (warning) is not read by PairedImageDataset",
    ]


def test_basicsr_makes_folders_of_unknown_paths():
    (warning,) = of_keys(changed("path.pretrain_model_g", "net.pth"), fatal=False)
    assert warning.endswith("BasicSR would make a folder of 'net.pth'")
    (found,) = of_keys(changed("path.pretrain_model_g", None))
    assert found.endswith("BasicSR would make a folder of None")


def test_keys_of_another_model_are_not_known():
    assert "teacher_iter" in within(fields_of_model(MODEL_REGISTRY.get("KDSRModel")), "train")
    (warning,) = of_keys(changed("train.teacher_iter", 3), fatal=False)
    assert warning.startswith("train.teacher_iter: (warning) is not read by BasicSR or LossDictModel")


class TiledModel(SRModel):
    """A model of another plugin that reads keys of its own."""

    def __init__(self, opt):
        super().__init__(opt)
        self.tile = opt["tile"]["tile_size"], self.opt["val"].get("use_chop"), opt["train"].get("warm_up_iter")


def test_keys_of_a_plugin_are_known_and_never_refused():
    options = changed("val.use_chop", True)
    options["tile"] = {"tile_size": 256}
    options["train"].update(warm_up_iter=3, warmup_iters=3)
    fields = fields_of_model(TiledModel)
    found = [
        str(finding)
        for name, content in (("", options), ("train", options["train"]), ("val", options["val"]))
        for finding in check_section(name, content, within(fields, name), TiledModel, True)
    ]
    assert found == ["train.warmup_iters: (warning) is not read by BasicSR or TiledModel: did you mean 'warmup_iter'?"]


def test_a_schedule_that_never_acts_is_a_warning(workdir):
    tiny.make_pairs(workdir / "data", 4)
    options = changed("train.scheduler.milestones", [10, 20])
    (warning,) = [str(finding) for finding in check_options(options, True)]
    assert warning.startswith("train.scheduler.milestones: (warning) first acts at iteration 10: total_iter is 10")


@pytest.mark.parametrize(
    ("path", "value", "found"),
    [
        ("datasets.train", 3, "datasets.train: must be a section, got 3"),
        ("datasets.val", ["a"], "datasets.val: must be a section, got ['a']"),
        ("train", "x", "train: must be a section, got 'x'"),
        (
            "comparison",
            {"dataset": {"a": 1}, "crop_border": 1, "test_y_channel": True},
            "comparison.dataset: must be a",
        ),
        ("comparison", {"dataset": [["a"]], "crop_border": 1, "test_y_channel": True}, "comparison.dataset: must be a"),
        ("network_g", {"type": ["IMDN"]}, "network_g.type: no network named"),
        ("datasets.val.type", {"a": 1}, "datasets.val.type: must be a text, got {'a': 1}"),
    ],
)
@pytest.mark.parametrize("model", ["LossDictModel", "DualRegressionModel", "KDSRNetSTModel", "KDSRModel"])
def test_a_value_where_a_section_is_wanted_is_found(workdir, model, path, value, found):
    options = changed(path, value)
    options["model_type"] = model
    assert any(str(finding).startswith(found) for finding in check_options(options, True))


@pytest.mark.parametrize("value", ["x", 3, [1], None])
@pytest.mark.parametrize("stage", ["teacher", "student"])
def test_a_stage_that_is_no_section_is_found(workdir, stage, value):
    options = kdsr.run_options()
    options["train"][stage] = value
    assert f"train.{stage}: must be a section, got {value!r}" in map(str, check_options(options, True))


def test_keys_that_are_no_text_are_unknown(workdir):
    options = changed("train.pixel_opt", {"type": "L1Loss", 5: 1})
    for section in (options, options["train"], options["path"], options["datasets"]["train"], options["val"]):
        section.update({5: "x", None: "y", date(2020, 1, 1): "z"})
    assert "train.5: (warning) is not read by BasicSR or LossDictModel" in map(str, check_options(options, True))


@pytest.mark.parametrize("key", ["train.totl_iter", "datasets.train.num_workers_per_gpu", "logger.print_frequency"])
def test_a_key_that_nobody_reads_is_a_mistake_on_the_command_line(key):
    """In a file it may be somebody's note; the right key stands beside it, so the run could start."""
    options = changed(key, 4)
    (in_file,) = [each for each in check_options(options, True) if each.where == key]
    (typed,) = [each for each in check_options(options, True, typed=[key]) if each.where == key]
    assert (in_file.fatal, typed.fatal) == (False, True)
    assert "did you mean" in typed.message


def test_a_typed_key_that_is_read_is_none():
    options = changed("train.ema_decay", 0.9)
    assert not [each for each in check_options(options, True, typed=["train.ema_decay"]) if "ema_decay" in each.where]
