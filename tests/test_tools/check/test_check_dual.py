"""Mistakes of dual regression are told before a run starts."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from basicsr.archs import build_network

from lightsr_basicsr.tools.check.options import check_options
from tests import tiny

DRN = {"type": "DRN", "num_feat": 4, "num_block": 1, "upscale": 4}
DRN_DUAL = {"type": "DRNDual", "num_feat": 4, "upscale": 4}
EDSR = {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "num_block": 1, "upscale": 4}
DUAL = {"type": "DualNetwork", "downscale": 4}
SWINIR = {"type": "SwinIR_DR", "depths": [2], "num_heads": [2], "embed_dim": 4, "img_size": 8, "window_size": 4,
          "upscale": 4}  # fmt: skip


@pytest.fixture(autouse=True)
def pairs(workdir) -> None:
    tiny.make_pairs(Path("data"), 3, scale=4)


def options(network: dict = DRN, dual: dict | None = DRN_DUAL, **train) -> dict:
    content = tiny.train_options(**{"dual_opt": {"type": "L1Loss", "loss_weight": 0.1}, **train})
    content.update(model_type="DualRegressionModel", scale=4, network_g=network)
    if dual is not None:
        content["network_dual"] = dual
    if network["type"] == "DRN":
        content["datasets"]["train"]["type"] = "MultiScalePairedDataset"
        del content["datasets"]["train"]["dataroot_lq"]
    return deepcopy(content)


def told(content: dict, is_train: bool = True, fatal: bool = True) -> list[str]:
    return [str(finding) for finding in check_options(content, is_train) if finding.fatal == fatal]


@pytest.mark.parametrize(("network", "dual"), [(DRN, DRN_DUAL), (EDSR, DUAL), (SWINIR, None)])
def test_what_is_right_passes(network, dual):
    more = {"loss_range": 255, "skip_threshold": None, "epoch_iter": 1000, "schedule_every": 1000, "optim_dual": None}
    more["total_iter"] = 10_000
    for content in (options(network, dual), options(network, dual, **more)):
        content["path"] = {"param_key_dual": "params", "strict_load_dual": True}
        assert told(content) == []
        assert told(content, fatal=False) == []


@pytest.mark.parametrize(
    ("network", "dual", "expected"),
    [
        (DRN, None, "network_dual: is missing: DRN needs {type: DRNDual, num_feat: 4, upscale: 4}"),
        (EDSR, None, "network_dual: is missing: EDSR needs {type: DualNetwork, downscale: 4}"),
        (DRN, DUAL, "network_dual.type: is DualNetwork, but DRN needs {type: DRNDual, num_feat: 4, upscale: 4}"),
        (EDSR, DRN_DUAL, "network_dual.type: is DRNDual, but EDSR needs {type: DualNetwork, downscale: 4}"),
        (
            EDSR,
            EDSR,
            "network_dual: EDSR makes (1, 3, 64, 64) of an image of shape (1, 3, 16, 16); expected",
        ),
        ({**EDSR, "num_in_ch": 1}, DUAL, "network_g: EDSR cannot run on an image of shape (1, 1, 4, 4)"),
        (
            {"type": "IMDN", "num_out_ch": 1, "num_in_ch": 1, "upscale": 4},
            DUAL,
            "network_dual.num_in_ch: is 3, but network_g gives 1: write {type: DualNetwork, downscale: 4, num_in_ch: 1",
        ),
        (EDSR, {"type": "IMDN", "upscale": 4}, "network_dual.type: is IMDN, but EDSR needs {type: DualNetwork"),
        (EDSR, {"type": "BlindSR_TA"}, "network_dual.type: is BlindSR_TA, but EDSR needs {type: DualNetwork"),
        (
            DRN,
            {**DRN_DUAL, "upscale": 8},
            "network_dual.upscale: is 8, but network_g enlarges by 4: write {type: DRNDual, num_feat: 4, upscale: 4}",
        ),
        (EDSR, {**DUAL, "downscale": 3}, "network_dual.downscale: is 3, but network_g enlarges by 4: write"),
        (SWINIR, DUAL, "network_dual: has no effect: SwinIR_DR contains its dual network, remove the section"),
        ({"type": "BlindSR_ST", "scale": 4}, DUAL, "network_g.type: must give one image, images of all levels"),
        (DUAL, DUAL, "network_g.type: must give one image, images of all levels"),
        ({"type": "IMDN", "upscale": 2}, {**DUAL, "downscale": 2}, "scale: is 4, but network_g enlarges by 2"),
        ({"type": "IMDN_AS"}, None, "network_dual: is missing: IMDN_AS needs a network that shrinks by 1 (DualNetwork"),
    ],
)
def test_networks_that_do_not_belong_together_are_told(network, dual, expected):
    found = told(options(network, dual))
    assert found == [] if expected is None else any(line.startswith(expected) for line in found), found


def test_a_dual_network_that_cannot_be_built_is_told_once():
    (finding,) = told(options(EDSR, {**DUAL, "downscale": 5}))
    assert finding.startswith(
        "network_dual: DualNetwork cannot be built: DualNetwork supports `downscale` 2, 3, 4 or 8"
    )


@pytest.mark.parametrize(("scale", "missing"), [(2, ""), (4, "lq_down2"), (8, "lq_down4 and no lq_down2")])
def test_a_dataset_without_the_larger_levels_is_told(workdir, scale, missing):
    tiny.make_pairs(Path("other"), 2, scale=scale)
    content = options({**DRN, "num_feat": 8, "upscale": scale}, {**DRN_DUAL, "upscale": scale})
    content["scale"] = scale
    crops = content["datasets"]["train"]
    content["datasets"] = {"train": {**crops, **tiny.paired("t", "other")}, "val": tiny.paired("v", "other")}
    expected = f"datasets.train.type: gives no {missing}, and the model needs LR images of all levels: set type Multi"
    found = told(content)
    assert len(found) == bool(missing)
    assert not missing or found[0].startswith(expected)


def test_hr_that_is_not_the_scale_times_lr_is_told():
    content = options(EDSR, DUAL)
    tiny.make_pairs(Path("wrong"), 2, scale=2)
    content["datasets"]["train"] |= tiny.paired("t", "wrong")
    assert any("expected 64x64 (LQ 16x16 times 4)" in line for line in told(content))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"dual_opt": None},
            "train.dual_opt: is missing: DualRegressionModel needs it, for example {type: L1Loss, loss",
        ),
        ({"pixel_opt": None}, "train.pixel_opt: is missing: DualRegressionModel needs it"),
        ({"dual_opt": 0.1}, "train.dual_opt: must be a section, got 0.1"),
        ({"dual_opt": {"loss_weight": 0.1}}, "train.dual_opt.type: is missing"),
        ({"dual_opt": {"type": "L1Los"}}, "train.dual_opt.type: no loss named 'L1Los'"),
        ({"dual_opt": {"type": "KDLoss"}}, "train.dual_opt.type: must be a loss between two images"),
        ({"loss_range": 0}, "train.loss_range: must be a number above 0, got 0"),
        ({"loss_range": "255"}, "train.loss_range: must be a number above 0, got '255'"),
        ({"skip_threshold": -1}, "train.skip_threshold: must be a number above 0, got -1"),
        ({"skip_threshold": "no"}, "train.skip_threshold: must be a number above 0, got 'no'"),
        ({"epoch_iter": 0}, "train.epoch_iter: must be a whole number of at least 1, got 0"),
        ({"schedule_every": 2.5}, "train.schedule_every: must be a whole number of at least 1, got 2.5"),
        ({"schedule_every": 10, "warmup_iter": 5}, "train.warmup_iter: is 5, which excludes schedule_every 10"),
        ({"optim_dual": {"type": "Adma", "lr": 1e-4}}, "train.optim_dual: NotImplementedError: optimizer Adma"),
        ({"optim_dual": {"type": "Adam"}}, "train.optim_dual: "),
        ({"optim_g": None}, "train.optim_g: must be a section"),
        ({"scheduler": {"type": "NoLR"}}, "train.scheduler: NotImplementedError: Scheduler NoLR"),
    ],
)
def test_what_is_wrong_in_train_is_told(change, expected):
    found = told(options(**change))
    assert any(line.startswith(expected) for line in found), found


@pytest.mark.parametrize("key", ["optim_g", "scheduler"])
def test_a_missing_section_is_told(key):
    content = options()
    del content["train"][key]
    assert told(content) == [f"train.{key}: is missing"]


@pytest.mark.parametrize(("every", "fits"), [(1, False), (9, False), (10, True)])
def test_periods_are_counted_in_steps_of_the_scheduler(every, fits):
    cosine = {"type": "CosineAnnealingRestartLR", "periods": [100]}
    content = options(scheduler=cosine, total_iter=1000, schedule_every=every)
    found = told(content)
    assert (found == []) is fits
    if not fits:
        assert found[0].endswith(f"cannot be met: the periods of the scheduler end at iteration {100 * every:,}")
    content["model_type"] = "LossDictModel"  # which steps at every iteration, whatever the option file says
    assert any("end at iteration 100" in line for line in told(content))


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (None, "path.pretrain_network_dual: There is no checkpoint at dual.pth"),
        ({**DRN_DUAL, "upscale": 8}, "dual.pth does not fit DRNDual: it holds DRNDual x0.5"),
        (DRN_DUAL, ""),
    ],
)
def test_a_file_of_the_dual_network_is_checked(file, expected):
    if file:
        torch.save(build_network(dict(file)).state_dict(), "dual.pth")
    content = options()
    content["path"]["pretrain_network_dual"] = "dual.pth"
    found = told(content)
    assert expected in found[0] if expected else found == []


@pytest.mark.parametrize(("scale", "fits"), [(2, False), (4, True)])
def test_of_a_whole_file_the_dual_part_is_checked(scale, fits):
    torch.save({"params_ema": build_network({**SWINIR, "upscale": scale}).state_dict()}, "whole.pth")
    content = options(EDSR, DUAL)
    content["path"]["pretrain_network_dual"] = "whole.pth"
    found = told(content)
    assert (found == []) is fits
    assert fits or "whole.pth does not fit DualNetwork: it holds DualNetwork x0.5" in found[0]


def test_a_state_without_its_dual_network_is_told():
    for folder in ("models", "training_states"):
        Path("run", folder).mkdir(parents=True)
    state = Path("run/training_states/2.state")
    state.touch()
    torch.save({"params": build_network(dict(DRN)).state_dict()}, "run/models/net_g_2.pth")
    (finding,) = [str(finding) for finding in check_options(options(), True, state) if finding.fatal]
    assert finding.startswith("path.resume_state: weights that were saved with 2.state: There is no checkpoint at")
    assert "net_dual_2.pth" in finding
    assert "net_dual_2.pth" in finding


def test_a_test_needs_no_file_of_the_dual_network():
    torch.save(build_network(dict(DRN)).state_dict(), "drn.pth")
    content = tiny.test_options(
        tiny.paired("v", "data"), pretrain_network_g="drn.pth", pretrain_network_dual="gone.pth"
    )
    content |= {"model_type": "DualRegressionModel", "scale": 4, "network_g": DRN, "network_dual": DRN_DUAL}
    assert told(content, is_train=False) == []


@pytest.mark.parametrize("broken", [{"datasets": None}, {"train": 5}, {"path": []}, {"network_g": None},
                                    {"network_dual": 5}, {"network_dual": None}])  # fmt: skip
@pytest.mark.parametrize(("network", "dual"), [(DRN, DRN_DUAL), (EDSR, DUAL)])
def test_sections_that_are_none_are_told_and_nothing_else_breaks(network, dual, broken):
    assert told({**options(network, dual), **broken})


@pytest.mark.parametrize("model", ["LossDictModel", "SRModel"])
@pytest.mark.parametrize(("network", "named"), [(DRN, True), (SWINIR, True), ({"type": "BlindSR_ST"}, False)])
def test_models_for_one_image_name_this_one_where_it_serves(model, network, named):
    content = options(network, None)
    content["model_type"] = model
    (line,) = [line for line in told(content) if line.startswith("model_type: ")]
    assert line.endswith("it needs a model of its own, DualRegressionModel" if named else "a model of its own")


@pytest.mark.parametrize(
    "typo", ["dual_opts", "optim_dul", "los_range", "skip_treshold", "epoch_iters", "schedul_every"]
)
def test_typos_are_told(typo):
    content = options()
    del content["train"]["dual_opt"]
    content["train"][typo] = 1
    assert any(
        line.startswith(f"train.{typo}: is not read by BasicSR or DualRegressionModel: did you mean")
        for line in told(content)
    )


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        ({"optim_dual": "Adam"}, "train.optim_dual: must be a section, got 'Adam'"),
        ({"dual_opt": {"type": "L1Loss", "loss_weight": "heavy"}}, "train.dual_opt.loss_weight: must be a number, got"),
        ({"dual_opt": {"type": "L1Loss", "reduction": "none"}}, "train.dual_opt: L1Loss must give one number"),
        ({"pixel_opt": {"type": "L1Loss", "reduction": "none"}}, "train.pixel_opt: L1Loss must give one number"),
    ],
)
def test_losses_and_optimizers_that_fail_at_the_first_step_are_told(train, expected):
    found = told(options(EDSR, DUAL, **train))
    assert len(found) == 1
    assert found[0].startswith(expected)


def test_a_wide_network_of_levels_is_told_its_dual_network():
    content = options(DRN, None)
    content["network_g"] = {"type": "Reparameterized", "network": DRN}
    assert told(content) == ["network_dual: is missing: DRN needs {type: DRNDual, num_feat: 4, upscale: 4}"]
