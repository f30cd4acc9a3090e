"""A step in parts of its batch: the gradients, statistics and logs of the undivided one, for every model here."""

import copy
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from basicsr.data import build_dataset
from basicsr.utils.registry import MODEL_REGISTRY
from torch import nn
from torch.utils.data import default_collate

from lightsr_basicsr.models.accumulation import Statistics, in_parts, split
from lightsr_basicsr.models.base import LossDictModel
from lightsr_basicsr.models.contract import contract_of
from lightsr_basicsr.models.speed import Speed
from lightsr_basicsr.models.staged_model import StagedModel
from lightsr_basicsr.registry import look_up
from tests import kdsr, tiny
from tests.faults import resume_cases
from tests.test_models.test_speed_run import assert_same, content_of, stop_after, train

IMAGES = 4
STAGED = {"KDSRModel", "CompressionModel"}  # the models of their stages are here
OWN_STEPS = {"ChannelSearchModel", "ChannelPruningModel"}
# Without what draws random numbers in a forward pass, whose order parts change.
CASES = {
    name: case
    for name, case in resume_cases.CASES.items()
    if name.split(",")[0].endswith("Model") and "prefetched" not in name and "drop path" not in name
}
MORE = {
    "KDSRNetSTModel, encoder alone": lambda: resume_cases.blind("KDSRNetSTModel", encoder_only_iter=5),
    "LossDictModel, channels_last": lambda: resume_cases.plain(channels_last=True),
}


def registered() -> set[str]:
    return {name for name, model in MODEL_REGISTRY if model.__module__.startswith("lightsr_basicsr.")}


def held() -> dict:
    ours = registered() - STAGED - OWN_STEPS
    return {name: case for name, case in {**CASES, **MORE}.items() if name.split(",")[0] in ours}


def test_every_registered_model_is_held():
    assert {name.split(",")[0] for name in held()} == registered() - STAGED - OWN_STEPS
    assert all(issubclass(look_up(MODEL_REGISTRY, name), StagedModel) for name in STAGED)
    content = {"train": {"accumulate": 2, "sites": None}}
    for name in OWN_STEPS:
        found = dict(contract_of(look_up(MODEL_REGISTRY, name)).find_problems(content, {}))
        assert found["train.accumulate"].startswith("has no effect: ")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("accumulate")
    resume_cases.make_data(made)
    return made


def seed() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def built(options: dict, folder: Path, parts: int):
    """Return a model in float64 with a batch in it; normalization by batch keeps its statistics."""
    opt = {**copy.deepcopy(options), "is_train": True, "dist": False, "rank": 0, "world_size": 1, "queue_size": IMAGES}
    own = dict.fromkeys(("experiments_root", "models", "training_states", "log", "visualization"), str(folder))
    opt["path"] = {**opt.get("path", {}), **own}
    opt["train"]["accumulate"] = parts
    opt["datasets"]["train"]["batch_size_per_gpu"] = IMAGES
    section = {**opt["datasets"]["train"], "phase": "train", "scale": opt["scale"]}
    section.update({key: opt[key] for key in ("gt_size",) if key in opt})
    seed()
    model = look_up(MODEL_REGISTRY, opt["model_type"])(opt)
    dataset = build_dataset(section)
    model.feed_data(default_collate([dataset[index] for index in range(IMAGES)]))
    sharpener = vars(model).pop("usm_sharpener", None)  # which knows float32 alone
    model.usm_sharpener = lambda images: sharpener(images.float()).double()
    for name, value in vars(model).items():
        if isinstance(value, nn.Module) and name != "jpeger":  # which shares its tables with all others
            value.double()
            for module in value.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
    for name in model.batch_attributes:
        setattr(model, name, doubled(getattr(model, name, None)))
    return model


def doubled(value):
    if isinstance(value, dict):
        return {key: doubled(each) for key, each in value.items()}
    return value.double() if isinstance(value, torch.Tensor) else value


def step_of(model) -> tuple[dict, dict, dict]:
    """Return the gradients and buffers after a step, and what it logs."""
    seed()
    model.optimize_parameters(1)
    nets = {name: value for name, value in vars(model).items() if isinstance(value, nn.Module)}
    gradients = {
        f"{name}.{key}": weight.grad
        for name, net in nets.items()
        for key, weight in net.named_parameters()
        if weight.grad is not None
    }
    buffers = {f"{name}.{key}": value for name, net in nets.items() for key, value in net.named_buffers()}
    return gradients, buffers, model.get_current_log()


@pytest.mark.parametrize("name", held())
def test_a_step_in_parts_is_the_undivided_one(folder, monkeypatch, name):
    monkeypatch.chdir(folder)
    options = held()[name]()
    whole, divided = (built(options, folder, parts) for parts in (1, IMAGES))
    images = {key: getattr(divided, key) for key in divided.batch_attributes if hasattr(divided, key)}
    (gradients, buffers, logged), (ours, our_buffers, our_log) = step_of(whole), step_of(divided)
    assert gradients
    assert ours.keys() == gradients.keys()
    for key, expected in gradients.items():
        least = 1e-9 * expected.abs().max().item() + 1e-13
        assert torch.allclose(ours[key], expected, rtol=1e-9, atol=least), key
    assert our_log == pytest.approx(logged, rel=1e-9)
    for key, expected in buffers.items():
        assert torch.allclose(our_buffers[key], expected, rtol=1e-9, atol=0, equal_nan=True), key
    assert all(getattr(divided, key) is value for key, value in images.items() if key != "gt_usm")
    if hasattr(whole, "output"):
        assert torch.allclose(divided.output, whole.output, rtol=1e-9, atol=1e-12)


class Recorder:
    """The least that ``in_parts`` asks of a model: batch normalization, and a loss of its output."""

    def __init__(self, parts: int) -> None:
        self.net, self.speed = nn.BatchNorm2d(3), Speed({"accumulate": parts})
        self.images = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(0))

    def work(self) -> dict:
        self.output = self.net(self.images)
        return {"loss": self.images.mean()}


def test_statistics_of_batch_normalization_are_means_and_count_once():
    whole, divided = Recorder(1), Recorder(4)
    logged = [in_parts(each, each.work, ("images", "missing")) for each in (whole, divided)]
    assert logged[0]["loss"].item() == pytest.approx(logged[1]["loss"].item())
    assert divided.net.num_batches_tracked == whole.net.num_batches_tracked == 1
    assert torch.allclose(divided.net.running_mean, whole.net.running_mean)
    # Variances within parts lack those between their means.
    assert torch.allclose(divided.net.running_var, whole.net.running_var, rtol=0.01)
    assert divided.output.shape == whole.output.shape


def test_constants_keep_their_bits():
    recorder = Recorder(2)
    recorder.net.register_buffer("mask", torch.tensor([float("-inf"), 0.1]))
    statistics = Statistics(recorder)
    for _ in range(3):
        with statistics.of_part():
            recorder.work()
    statistics.average()
    assert torch.equal(recorder.net.mask, torch.tensor([float("-inf"), 0.1]))


def test_batches_that_cannot_be_divided_are_told():
    with pytest.raises(ValueError, match="accumulate: 3 needs batches of a multiple of 3 images, got 4: change it"):
        split({"lq": torch.rand(4, 3)}, 3)
    assert [part["x"].tolist() for part in split({"x": torch.arange(4)}, 2)] == [[0, 1], [2, 3]]
    assert split({}, 2) == [{}, {}]


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_parts_go_with_half_precision(tmp_path, amp):
    """Losses within 2 % of the undivided step's."""
    if amp == "fp16" and not hasattr(torch.amp, "GradScaler"):
        pytest.skip("before torch 2.3 only GPUs have a scaler")
    kdsr.save_teacher(tmp_path / "T.pth")
    logged = []
    for parts in (1, 2):
        torch.manual_seed(0)
        model = kdsr.make("KDSRGANSTModel", tmp_path, amp=amp, channels_last=True, accumulate=parts)
        logged.append(kdsr.steps(model, 3))
        assert model.loss_is_finite
    for whole, divided in zip(*logged, strict=True):
        assert divided == pytest.approx(whole, rel=0.02, abs=0.002)


def test_a_rejected_batch_changes_nothing_in_parts(tmp_path):
    from tests.test_models import test_dual_regression_model as dual

    model = dual.make(tmp_path, ema_decay=0.5, skip_threshold=20, epoch_iter=3, accumulate=2)
    dual.steps(model, 3)
    before, data = dual.everything(model), dual.batch(9)
    dual.steps(model, 1, {**data, "gt": data["gt"] * 1000}, start=4)
    dual.assert_equal(dual.everything(model), before)
    dual.steps(model, 1, start=5)
    assert any(not torch.equal(value, before[key]) for key, value in dual.everything(model).items())


def problems(model: str = "LossDictModel", batch: int = 4, **train) -> dict[str, str]:
    content = tiny.train_options(**train)
    content["datasets"]["train"]["batch_size_per_gpu"] = batch
    found = dict(contract_of(look_up(MODEL_REGISTRY, model)).find_problems({**content, "num_gpu": 0}, {}))
    return {key: text for key, text in found.items() if "accumulate" in key + text}


def test_what_cannot_be_divided_is_said_before_the_run():
    assert problems(accumulate=2) == problems(accumulate=1, batch=3) == problems() == {}
    assert problems(accumulate=4, batch=6) == {
        "train.accumulate": "is 4, which does not divide datasets.train.batch_size_per_gpu (6) into equal parts: use "
        "one of 1, 2, 3, 6, or another batch"
    }
    sums = {"type": "L1Loss", "reduction": "sum"}
    text = "cannot be sum with train.accumulate: that of a batch is not the mean of those of its parts; remove one of"
    assert problems(accumulate=2, pixel_opt=sums)["train.pixel_opt.reduction"].startswith(text)
    assert problems(pixel_opt=sums) == {}


class OwnStep(LossDictModel):
    """Of another package, with a step of its own."""

    __module__ = "plugin.models"

    def optimize_parameters(self, current_iter: int) -> None:
        """Do nothing."""


class OwnBatch(LossDictModel):
    """Of another package, with more in a batch, which it does not name."""

    def feed_data(self, data: dict) -> None:
        """Do nothing."""


class NamedBatch(OwnBatch):
    """Names it."""

    batch_attributes = ("lq", "gt", "mask")


def test_models_that_cannot_divide_a_batch_say_so():
    OwnStep.optimize_parameters.__module__ = "plugin.models"
    found = [dict(contract_of(each).find_problems(tiny.train_options(accumulate=2), {})).get("train.accumulate")
             for each in (OwnStep, OwnBatch, NamedBatch)]  # fmt: skip
    assert found[0] == "has no effect: OwnStep takes steps in its own way; remove it"
    assert found[1].startswith("cannot be had: OwnBatch does not say what its feed_data sets")
    assert found[2] is None


def test_options_that_a_model_of_basicsr_does_not_read_are_told(workdir, capsys):
    tiny.make_pairs(Path("data"), 5)
    content = {**tiny.train_options(total_iter=2, accumulate=2, amp="bf16"), "model_type": "SRModel"}
    train(content)
    told = capsys.readouterr().err
    for key in ("accumulate", "amp"):
        assert f"train.{key}: (warning) is not read by BasicSR or SRModel" in told


@pytest.mark.parametrize("value", [0, -1, 2.5, "four", True])
def test_nonsense_is_told_before_the_run(workdir, capsys, value):
    tiny.make_pairs(Path("data"), 5)
    assert train(tiny.train_options(total_iter=2, accumulate=value)) == 2
    assert "train.accumulate: must be a whole number" in capsys.readouterr().err
    assert not Path("experiments").exists()


def test_a_resumed_run_in_parts_ends_with_the_same_weights(workdir):
    tiny.make_pairs(Path("data"), 5)
    content = tiny.train_options(total_iter=6, accumulate=2)
    assert train(content) == 0
    run, whole = Path("experiments/tiny"), content_of("experiments/tiny", 6)
    stop_after(run, 3)
    assert train(content, "--auto_resume") == 0
    assert_same(content_of(str(run), 6), whole)
    undivided = {**content, "name": "undivided", "train": {**content["train"], "accumulate": 1}}
    assert train(undivided) == 0
    expected = content_of("experiments/undivided", 6)
    assert expected.keys() == whole.keys()
    for key, value in expected.items():
        if key.startswith("net_g"):
            assert torch.allclose(whole[key], value, atol=2e-4), key


def test_two_processes_exchange_the_gradients_of_the_last_part(workdir):
    tiny.make_pairs(Path("data"), 8)
    content, found = tiny.train_options(total_iter=2), []
    for parts in (1, 2):
        content["train"]["accumulate"], content["name"] = parts, f"parts{parts}"
        tiny.train_in_two_processes(content)
        found.append(torch.load(f"experiments/parts{parts}/models/net_g_latest.pth")["params"])
    assert all(torch.allclose(value, found[1][key], atol=2e-4) for key, value in found[0].items())
