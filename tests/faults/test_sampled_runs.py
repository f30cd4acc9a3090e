"""Options that pass the check are run: what sampled runs once ended with a traceback for, and a few of them."""

import copy
import random

import pytest

from lightsr_basicsr.tools.check.options import check_options
from lightsr_basicsr.tools.check.schema import option_schema
from tests import kdsr
from tests.faults import sampled_runs
from tests.faults.sampled_runs import BASICSR, SMALL, make_place, outcome, recipes, sample

pytestmark = pytest.mark.faults

TRAIN, EDSR, SWINIR, GAN, BLIND, DUAL, REAL, TEST = 0, 1, 2, 4, 6, 7, 9, 10
PERCEPTUAL = {"type": "PerceptualLoss", "layer_weights": {"conv5_4": 1}}
DEMO = {"name": "v", "type": "DemoPairedDataset", "dataroot_gt": False}
BATCH = "datasets.train.batch_size_per_gpu"


@pytest.fixture
def place(workdir):
    make_place(workdir)
    return workdir


def changed(recipe: int, **changes) -> tuple[bool, dict]:
    """Return a recipe with values at keys such as ``train__optim_g``."""
    is_train, options = copy.deepcopy(list(recipes())[recipe])
    for dotted, value in changes.items():
        section, *keys = options, *dotted.split("__")
        for key in keys[:-1]:
            section = section[key]
        section[keys[-1]] = value
    return is_train, {**options, "name": "r"}


def test_the_recipes_themselves_are_sound(place):
    for index in range(len(list(recipes()))):
        is_train, options = changed(index)
        assert [str(finding) for finding in check_options(options, is_train) if finding.fatal] == []


REFUSED = {
    "a pixel loss for a discriminator": (GAN, "train.gan_opt", {"train__gan_opt": {"type": "L1Loss"}}),
    "a pixel loss for features": (TRAIN, "train.perceptual_opt", {"train__perceptual_opt": {"type": "MSELoss"}}),
    "a loss of features for pixels": (TRAIN, "train.pixel_opt", {"train__pixel_opt": PERCEPTUAL}),
    "a loss without gradient": (TRAIN, "train.pixel_opt", {"train__pixel_opt": {"type": "KDLoss"}}),
    "an empty optimizer": (TRAIN, "train.optim_g", {"train__optim_g": {}}),
    "no discriminator": (TRAIN, "network_d", {"model_type": "RealESRGANModel"}),
    "a discriminator of two outputs": (GAN, "network_d.type", {"network_d": {"type": "BlindSR_ST", **kdsr.SIZE}}),
    "a generator of two outputs": (GAN, "model_type", {"network_g": {"type": "BlindSR_ST", **kdsr.SIZE}}),
    "an average where none is": (TRAIN, "train.ema_decay", {"model_type": "HiFaceGANModel"}),
    "another generator": (TRAIN, "network_g.type", {"model_type": "StyleGAN2Model"}),
    "a set without folders of frames": (TEST, "datasets.test_1.type", {"model_type": "VideoBaseModel"}),
    "training without HR": (TRAIN, "datasets.train", {"datasets__train__type": "SingleImageDataset"}),
    "a folder that is none": (TEST, "path.training_states", {"path__training_states": None}),
    "a folder of 300 letters": (TEST, "path.models", {"path__models": "a" * 300}),
    "a list of weights": (TEST, "path.param_key_g", {"path__param_key_g": [1]}),
    "weights of 300 letters": (TEST, "path.pretrain_network_g", {"path__pretrain_network_g": "a" * 300}),
    "flags that are no flags": (BLIND, "network_TA.deploy", {"network_TA__deploy": ["x"]}),
    "a key that the demo lacks": (TRAIN, "datasets.val", {"datasets__val__type": "DemoBlindDataset"}),
    "a batch of a million": (TRAIN, BATCH, {BATCH.replace(".", "__"): 10**6}),
    "workers of a validation": (TRAIN, "datasets.val.persistent_workers", {"datasets__val__persistent_workers": True}),
    "a demo without levels": (DUAL, "datasets.train.type", {"datasets__train__type": "DemoPairedDataset"}),
    "a root that is no path": (TRAIN, "datasets.val.dataroot_gt", {"datasets__val": DEMO}),
    "no kernels": (TRAIN, "datasets.train.type", {"model_type": "RealESRNetModel", "gt_usm": False}),
    "no word on sharpening": (TRAIN, "gt_usm", {"model_type": "RealESRNetModel", "high_order_degradation": False}),
    "images resized by millions": (REAL, "resize_range2", {"resize_range2": [8e6, 1e-3]}),
    "a scale of a thousand": (EDSR, "datasets.train", {"network_g": {"type": "EDSR", **BASICSR, "upscale": 1024}}),
}  # fmt: skip


@pytest.mark.parametrize(("recipe", "where", "changes"), REFUSED.values(), ids=REFUSED)
def test_what_no_run_survives_is_told_before(recipe, where, changes, place):
    is_train, options = changed(recipe, **changes)
    assert where in [finding.where for finding in check_options(options, is_train) if finding.fatal]
    assert not (place / "experiments").exists()


def test_more_sets_than_any_run_has_are_told_at_once(place):
    is_train, options = changed(TRAIN)
    sets = options["datasets"]
    options["datasets"] = {**sets, **{f"val_{index}": {**sets["val"], "name": f"v{index}"} for index in range(100)}}
    told = [str(finding) for finding in check_options(options, is_train) if finding.fatal]
    assert told == ["datasets: holds 102 sections, more than 100"]


RUN = {
    "a test by Real-ESRGAN's model": (TEST, {"model_type": "RealESRNetModel"}),
    "no comparison": (TEST, {"comparison": None}),
    "a network without windows": (SWINIR, {"network_g": {"type": "IMDN_RTC", **SMALL["IMDN_RTC"]}}),
}


@pytest.mark.parametrize(("recipe", "changes"), RUN.values(), ids=RUN)
def test_what_is_sound_runs(recipe, changes, place):
    is_train, options = changed(recipe, **changes)
    options["val"]["val_freq"] = 1
    assert [str(finding) for finding in check_options(options, is_train) if finding.fatal] == []
    assert outcome(is_train, options, place) == "exit 0"


def test_sampled_files_end_without_a_traceback(place, monkeypatch):
    monkeypatch.setattr(sampled_runs, "SECONDS", 60)
    rng, schema, sound, run = random.Random(7), option_schema(), list(recipes()), 0
    while run < 4:
        is_train, options = sample(rng, schema, rng.choice(sound))
        if not any(finding.fatal for finding in check_options(options, is_train)):
            run += 1
            options["name"] = f"run{run}"
            assert outcome(is_train, options, place) in ("exit 0", "exit 1", "exit 2")
