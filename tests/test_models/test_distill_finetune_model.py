"""Fine-tuning with distillation: parity with the official losses, maps of any networks, resumed runs, bad options."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from basicsr.models import build_model
from torch.nn import functional as F  # noqa: N812

from lightsr_basicsr import cli
from lightsr_basicsr.archs import drn_arch
from tests import drc, golden, tiny
from tests.conftest import SHARED
from tests.test_models.test_channel_search_model import complain
from tests.test_models.test_dual_regression_model import DRN, DRN_DUAL, EDSR, SWINIR, assert_equal, dual_of
from tests.test_models.test_dual_regression_model import batch as random_batch
from tests.test_models.test_dual_regression_model import options as dual_options
from tests.test_models.test_dual_regression_run import flat, images, run_options  # noqa: F401 (a fixture)

# Measured with the official code; not in the recording.
OFFICIAL_KD_2 = {"kd_loss": 368.8026, "reconstruction_loss": 197.4858, "total_loss": 566.2884}


def official_image() -> dict[str, np.ndarray]:
    """Return the batch of the official recording."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("fill", SHARED / "golden" / "fill.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    high = 255 * module.fixture_input(1, (2, 3, 32, 32))
    return {"hr": high.numpy(), "lr2": F.avg_pool2d(high, 2).numpy(), "lr1": F.avg_pool2d(high, 4).numpy()}


@pytest.mark.parametrize("kd_nums", [0, 1, 2])
def test_losses_equal_the_official_ones(shared, tmp_path, kd_nums):
    recorded = json.loads((shared / "golden/drc_finetune_loss.json").read_text())["losses"]
    expected = {**recorded, "kd_nums_2": OFFICIAL_KD_2}[f"kd_nums_{kd_nums}"]
    assert drc.distill(tmp_path, kd_nums, official_image()) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kd_nums", [0, 1, 2])
def test_losses_equal_our_own_recording(tmp_path, kd_nums):
    description, arrays = golden.read(golden.OWN, "drc_finetune_loss")
    found = drc.distill(tmp_path, kd_nums, arrays)
    assert found == pytest.approx(description["losses"][f"kd_nums_{kd_nums}"], rel=1e-6)


def test_drn_names_the_maps_of_the_official_code():
    assert drn_arch.DRN(16, 30, 4).feature_maps(0) == ["tail.2:input"]
    assert drn_arch.DRN(16, 30, 4).feature_maps(1) == ["tail.1:input", "tail.2:input"]
    assert drn_arch.DRN(16, 30, 4).feature_maps(2)[2:] == ["up_blocks.0.14", "up_blocks.1.14"]
    assert drn_arch.DRN(20, 40, 4).feature_maps(2)[2:] == ["up_blocks.0.19", "up_blocks.1.19"]
    assert drn_arch.DRN(10, 36, 8).feature_maps(2)[3:] == [f"up_blocks.{level}.17" for level in range(3)]
    assert drn_arch.DRN(8, 1, 4).feature_maps(2)[2:] == ["up_blocks.0.2:input", "up_blocks.1.2:input"]


def make(folder, network: dict, dual: dict | None, teacher: dict, **train):
    torch.manual_seed(1)
    content = dual_options(folder, network, dual, **train)
    torch.save(drc.build(teacher).state_dict(), folder / "teacher.pth")
    content |= {"model_type": "DistillFinetuneModel", "network_teacher": teacher}
    content["path"]["pretrain_network_teacher"] = str(folder / "teacher.pth")
    return build_model(content)


def test_maps_of_any_two_networks_are_paired_by_name(tmp_path):
    """IMDN from EDSR: 16 and 4 channels, compared by their means; the SR images too."""
    student = {"type": "IMDN", "num_feat": 16, "num_block": 1, "upscale": 4}
    maps = [["LR_conv", "conv_after_body"], ["upsampler.0:input", "body.0.conv1:input"]]
    model = make(tmp_path, student, dual_of(4), {**EDSR, "upscale": 4}, kd_maps=maps, kd_weight=0.5,
                 kd_image_opt={"type": "L1Loss", "loss_weight": 2.0})  # fmt: skip
    before = {key: value.clone() for key, value in model.teacher.state_dict().items()}
    data, seen = random_batch(1), {}
    hooks = [(model.net_g.LR_conv, "ours", 1), (model.teacher.conv_after_body, "theirs", 1),
             (model.net_g.upsampler[0], "our_input", 0), (model.teacher.body[0].conv1, "their_input", 0)]  # fmt: skip
    for module, name, place in hooks:
        module.register_forward_hook(
            lambda module, inputs, output, name=name, place=place: seen.update(
                {name: (inputs[0], output)[place].clone()}
            )
        )
    model.feed_data(data)
    losses = model.compute_losses()
    means = {name: value.mean(1) for name, value in seen.items()}
    expected = F.mse_loss(means["ours"], means["theirs"]) + F.mse_loss(means["our_input"], means["their_input"])
    torch.testing.assert_close(losses["l_kd"], 0.5 * expected)
    with torch.no_grad():
        image = model.teacher(data["lq"])
    torch.testing.assert_close(losses["l_kd_image"], 2 * (model.output - image).abs().mean())
    model.optimize_parameters(1)
    assert set(model.get_current_log()) == {"l_pix", "l_dual", "l_kd", "l_kd_image"}
    assert_equal(dict(model.teacher.state_dict()), before)
    assert not any(parameter.requires_grad for parameter in model.teacher.parameters())


def test_images_alone_are_compared_where_networks_name_no_maps(tmp_path):
    model = make(tmp_path, SWINIR, None, {**SWINIR, "embed_dim": 8}, kd_image_opt={"type": "L1Loss"})
    model.feed_data(random_batch(1, 2, 8))
    model.optimize_parameters(1)
    assert set(model.get_current_log()) == {"l_pix", "l_dual", "l_kd_image"}


def test_a_teacher_with_levels_gives_all_maps_in_evaluation(tmp_path):
    model = make(tmp_path, {**DRN, "channels": [2] * 6}, DRN_DUAL, {**DRN, "num_feat": 8, "num_block": 2}, kd_nums=1)
    assert len(model.maps) == 2
    model.feed_data(random_batch(1))
    model.optimize_parameters(1)
    assert not any(module.training for module in model.teacher.children())


def finetune_run() -> dict:
    content = run_options("finetune", {**DRN, "channels": [2] * 6}, DRN_DUAL, kd_nums=1)
    content |= {"model_type": "DistillFinetuneModel", "network_teacher": {**DRN, "num_feat": 8}}
    torch.manual_seed(0)
    torch.save(drc.build(content["network_teacher"]).state_dict(), "teacher.pth")
    content["path"] = {"pretrain_network_teacher": "teacher.pth"}
    return content


def test_a_resumed_run_ends_with_the_same_bits(images):  # noqa: F811
    content, run = finetune_run(), Path("experiments/finetune")
    assert cli.main(["train", "-opt", tiny.write(content)]) == 0
    names = ("models/net_g_latest.pth", "models/net_dual_latest.pth", "training_states/4.state")
    whole = {name: flat(torch.load(run / name)) for name in names}
    for file in [*run.glob("models/*_[34l]*.pth"), *run.glob("training_states/[34].state")]:
        file.unlink()
    assert cli.main(["train", "-opt", tiny.write(content), "--auto_resume"]) == 0
    for name, expected in whole.items():
        assert_equal(flat(torch.load(run / name)), expected)
    assert not list(run.glob("models/net_teacher*"))
    del content["path"], content["train"], content["datasets"]["train"], content["logger"]
    content["datasets"] = {"test_1": content["datasets"]["val"]}
    content |= {"name": "finetune_test", "path": {"pretrain_network_g": str(run / "models/net_g_latest.pth")}}
    content["val"] |= {"suffix": ""}
    assert cli.main(["test", "-opt", tiny.write(content)]) == 0


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda o: o.pop("network_teacher"), "network_teacher: is missing: DistillFinetuneModel needs it"),
        (lambda o: o["path"].pop("pretrain_network_teacher"), "path.pretrain_network_teacher: is missing"),
        (lambda o: o["network_teacher"].update(upscale=2), "network_teacher: enlarges by 2, but network_g by 4"),
        (lambda o: o["network_teacher"].update(num_block=2), "teacher.pth does not fit DRN"),
        (lambda o: o["train"].update(kd_nums=3), "train.kd_nums: must be a whole number from 0 to 2, got 3"),
        (lambda o: o["train"].update(kd_maps=[["head", "haed"]]), "network_teacher, DRN, has no module haed"),
        (
            lambda o: o["train"].update(kd_maps=[["head", "up_blocks.0.0"]]),
            "train.kd_maps: The maps head of network_g and up_blocks.0.0 of network_teacher must have the same size",
        ),
        (lambda o: o["train"].update(kd_maps=["head"]), "train.kd_maps: must be a list, each a list of 2"),
        (
            lambda o: o.update(network_teacher={"type": "IMDN", "num_feat": 16, "num_block": 1}),
            "train.kd_nums: The feature maps of student and teacher must be equally many, but DRN names "
            "tail.1:input, tail.2:input, and IMDN names none: pair them",
        ),
    ],
)
def test_options_that_do_not_fit_are_told_before_a_run(images, capsys, change, expected):  # noqa: F811
    content = finetune_run()
    change(content)
    complain(content, capsys, expected)
