"""Contracts: what the check is told about models of this package, of BasicSR and of other plugins."""

from pathlib import Path

import pytest
from basicsr.models.edvr_model import EDVRModel
from basicsr.models.realesrnet_model import RealESRNetModel
from basicsr.models.sr_model import SRModel
from basicsr.models.srgan_model import SRGANModel
from basicsr.models.stylegan2_model import StyleGAN2Model
from basicsr.models.swinir_model import SwinIRModel
from basicsr.utils.registry import MODEL_REGISTRY

from lightsr_basicsr.models.base import LossDictModel
from lightsr_basicsr.models.contract import LossDictContract, ModelContract, contract_of
from lightsr_basicsr.tools.check.context import Run

OURS = sorted(name for name, model in MODEL_REGISTRY if model.__module__.startswith("lightsr_basicsr."))


@pytest.mark.parametrize("name", OURS)
def test_every_model_of_ours_has_a_contract(name):
    contract = contract_of(MODEL_REGISTRY.get(name))
    assert isinstance(contract, LossDictContract)
    assert contract.name == name
    assert "lq" in contract.input_keys
    kernels = ("kernel",) if name == "BlindKernelModel" else ()
    assert contract.needed_keys("train", {}, {}) == ("gt", *kernels)
    assert contract.reads_any_wrapper


@pytest.mark.parametrize(
    ("model", "input_keys", "plain_step", "sections", "image_loss"),
    [
        (SRModel, ("lq",), True, ("optim_g", "scheduler"), True),
        (SwinIRModel, ("lq",), True, ("optim_g", "scheduler"), True),
        (SRGANModel, ("lq",), False, ("optim_g", "scheduler"), False),
        (RealESRNetModel, (), True, ("optim_g", "scheduler"), True),
        (EDVRModel, ("lq",), False, ("scheduler",), True),
        (StyleGAN2Model, (), False, ("scheduler",), False),
        (None, (), False, (), False),
        (object, (), False, (), False),
    ],
)
def test_of_other_models_only_what_they_inherit_is_known(model, input_keys, plain_step, sections, image_loss):
    contract = contract_of(model)
    assert type(contract) is ModelContract
    assert contract.input_keys == input_keys
    assert contract.steps_like_srmodel is plain_step
    assert contract.required_sections == sections
    assert contract.needs_image_loss is image_loss


def test_other_models_have_no_requirements():
    contract, state = contract_of(SRModel), Path("training_states/5.state")
    assert [*contract.find_problems({}, {}), *contract.find_resume_problems({}, state)] == []
    assert contract.stages({}) == {}
    assert contract.unsaved_networks({}, 5) == contract.needed_keys("train", {}, {}) == ()
    assert contract.required_paths == contract.training_networks == ()
    assert contract.schedule_every({"schedule_every": 3}) == 1
    assert not contract.reads_any_wrapper


@pytest.mark.parametrize(
    ("ignored", "expected"),
    [(None, ["network_g", "network_d"]), (["network_d"], ["network_g"]), ("network_d", ["network_g"])],
)
def test_other_models_resume_from_the_networks_that_they_save(tmp_path, ignored, expected):
    (tmp_path / "models").mkdir()
    for name in ("net_g_4.pth", "net_d_4.pth"):  # and no network_identity, which is not trained
        (tmp_path / "models" / name).touch()
    options = {"network_g": {}, "network_d": {}, "network_identity": {}, "path": {"ignore_resume_networks": ignored}}
    files = contract_of(SRGANModel).resume_files(options, tmp_path / "training_states" / "5.state")
    assert files == {key: tmp_path / "models" / f"net_{key[8:]}_5.pth" for key in expected}


def test_a_model_that_changes_the_step_is_known_by_it():
    class Same(LossDictModel):
        """With LossDictModel's step."""

    class Other(LossDictModel):
        """With another one."""

        def run_network(self):
            return super().run_network()[-1]

    assert contract_of(Same).steps_like_srmodel
    assert not contract_of(Other).steps_like_srmodel
    assert contract_of(Other).name == "Other"


def test_missing_sections_are_named_with_an_example():
    contract = contract_of(MODEL_REGISTRY.get("KDSRGANSTModel"))
    options = {"network_TA": {}, "train": {"pixel_opt": {"type": "L1Loss"}, "kd_opt": None}}
    found = dict(contract.find_missing(options))
    assert [*found] == ["network_TA", "train.kd_opt", "train.gan_opt", "train.optim_d", "network_d"]
    assert found["train.kd_opt"] == "is missing: KDSRGANSTModel needs it, for example {type: KDLoss}"


def test_a_run_knows_its_model_and_sections_even_where_there_are_none():
    run = Run({"model_type": "SRModel", "train": {"optim_g": {"type": "Adam"}}, "datasets": None, "path": 3}, True)
    assert run.model is SRModel
    assert run.contract.name == "SRModel"
    assert run.section("train", "optim_g") == {"type": "Adam"}
    assert run.section("train", "nothing", "at", "all") == run.section("path") == run.section("datasets", "val") == {}
    assert run.sound_options["datasets"] == run.sound_options["path"] == {}
    assert run.options["path"] == 3
    assert Run({}, False).model is None
    assert Run({"model_type": ["x"]}, False).contract.name == ""
