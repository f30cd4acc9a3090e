"""KDSR's teacher, student and GAN models: parity with the official steps, and what each must and must not touch."""

import json

import pytest
import torch
from basicsr.models import build_model

from lightsr_basicsr.checkpoints import CheckpointError
from tests import golden, kdsr

OWN_STEPS = golden.OWN / "kdsr_steps.json"


def recorded_model(case: dict, description: dict, folder):
    """Build the model of a recording of optimisation steps, from its weights."""
    teaches = case["name"] == "net_t"
    states = {
        name: golden.state_dict({"arch": "", "state_dict": description[key]})
        for name, key in (("T", "state_dict_teacher"), ("S", "state_dict"), ("D", "state_dict_discriminator"))
    }
    for name, state in states.items():
        torch.save({"params": state, "params_ema": state}, folder / f"{name}.pth")
    options = kdsr.options(case["model"], folder)
    size = description["kwargs"]
    options.update(case["options"], scale=4, train=json.loads(json.dumps(case["train"])))
    options["network_g"] = {"type": "BlindSR_TA" if teaches else "BlindSR_ST", **size}
    options["network_TA"] = {"type": "BlindSR_TA", **size}
    options["path"].update(
        pretrain_network_g=str(folder / ("T.pth" if teaches else "S.pth")), pretrain_network_d=str(folder / "D.pth")
    )
    return build_model(options)


@pytest.mark.parametrize("name", ["net_t", "net_s", "gan_s_v1", "gan_s_v2"])
def test_four_steps_equal_the_official_ones(shared, tmp_path, name):
    description, arrays = golden.read(shared / "golden", "kdsr_steps")
    case = next(case for case in description["cases"] if case["name"] == name)
    model = recorded_model(case, description, tmp_path)
    data = {key: torch.from_numpy(arrays[key]) for key in ("lq", "gt")}
    for number, (losses, rates) in enumerate(zip(case["losses"], case["lrs"], strict=True), 1):
        model.update_learning_rate(number)
        model.feed_data(data)
        model.optimize_parameters(number)
        assert list(model.log_dict) == list(losses)
        assert list(model.log_dict.values()) == pytest.approx(list(losses.values()), rel=1e-5)
        assert [optimizer.param_groups[0]["lr"] for optimizer in model.optimizers] == rates
        if number == 1:
            assert golden.worst(model.output.detach(), arrays[f"{name}_train_out_1"]) < 1e-5
    for key in [key for key in arrays if key.startswith(f"{name}/")]:
        _, net, parameter = key.split("/")
        assert golden.worst(getattr(model, net).state_dict()[parameter], arrays[key]) < 1e-5
    model.feed_data(data)
    model.test()
    assert golden.worst(model.output, arrays[f"{name}_ema_out"]) < 1e-5


def test_the_vectors_handed_to_the_loss_equal_the_official_ones(shared, tmp_path):
    description, arrays = golden.read(shared / "golden", "kdsr_steps")
    for name in ("net_s", "gan_s_v2"):
        case = next(case for case in description["cases"] if case["name"] == name)
        model = recorded_model(case, description, tmp_path)
        model.feed_data({key: torch.from_numpy(arrays[key]) for key in ("lq", "gt")})
        seen = []
        model.cri_kd.register_forward_pre_hook(lambda _, vectors, seen=seen: seen.extend(vectors))
        model.optimize_parameters(1)
        for (vector,), who in zip(seen, ("teacher", "student"), strict=True):
            assert golden.worst(vector.detach(), arrays[f"{name}_{who}_vec_1"]) < 1e-5


@pytest.mark.parametrize("model", ["KDSRNetTAModel", "KDSRNetSTModel", "KDSRGANSTModel"])
def test_steps_equal_our_recording(tmp_path, model):
    logged = kdsr.steps(kdsr.make_filled(model, tmp_path), 3)
    for ours, recorded in zip(logged, json.loads(OWN_STEPS.read_text())[model], strict=True):
        assert ours == pytest.approx(recorded, rel=1e-4)


def test_the_teacher_is_frozen_alone_and_never_saved(tmp_path):
    model = kdsr.make("KDSRNetSTModel", tmp_path)
    before = {key: value.clone() for key, value in model.teacher.state_dict().items()}
    kdsr.steps(model, 2)
    model.save(0, 2)
    trained = {id(parameter) for group in model.optimizer_g.param_groups for parameter in group["params"]}
    assert not any(id(parameter) in trained or parameter.requires_grad for parameter in model.teacher.parameters())
    assert not model.teacher.training
    assert all(key.startswith("E.") for key in before)
    assert all(torch.equal(value, before[key]) for key, value in model.teacher.state_dict().items())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["2.state", "T.pth", "net_g_2.pth"]
    assert not any(key.startswith("E.") for key in torch.load(tmp_path / "net_g_2.pth")["params"])


def test_nothing_of_the_teacher_is_kept_for_the_backward_pass(tmp_path):
    model = kdsr.make("KDSRNetSTModel", tmp_path)
    model.feed_data(kdsr.batch())
    assert all(vector.grad_fn is None for vector in model.vectors_of(model.gt))


@pytest.mark.parametrize("key", [None, "params", "params_ema"])
def test_the_teacher_has_the_weights_that_were_asked_for(tmp_path, key):
    averaged = kdsr.save_teacher(tmp_path / "T.pth")
    options = kdsr.options("KDSRNetSTModel", tmp_path)
    if key:
        options["path"]["teacher_param_key"] = key
    expected = averaged if key != "params" else torch.load(tmp_path / "T.pth")["params"]
    model = build_model(options)
    assert all(torch.equal(value, expected[name]) for name, value in model.teacher.state_dict().items())


@pytest.mark.parametrize("strict", [True, False])
def test_a_student_starts_from_a_teacher_with_its_g_and_an_encoder_of_its_own(tmp_path, strict):
    averaged = kdsr.save_teacher(tmp_path / "T.pth")
    options = kdsr.options("KDSRNetSTModel", tmp_path)
    options["path"].update(pretrain_network_g=str(tmp_path / "T.pth"), strict_load_g=strict)
    torch.manual_seed(0)
    model = build_model(options)
    torch.manual_seed(0)
    untouched = build_model({**kdsr.options("KDSRNetSTModel", tmp_path)})
    for key, value in model.net_g.state_dict().items():
        expected = averaged[key] if key.startswith("G.") else untouched.net_g.state_dict()[key]
        assert torch.equal(value, expected), key
        assert torch.equal(value, model.net_g_ema.state_dict()[key]), key


@pytest.mark.parametrize("strict", [True, False])
def test_a_teacher_of_another_size_is_refused_however_loosely_it_is_loaded(tmp_path, strict):
    kdsr.save_teacher(tmp_path / "T.pth")
    kdsr.save_teacher(tmp_path / "W.pth", n_sr_blocks=2)
    options = kdsr.options("KDSRNetSTModel", tmp_path)
    options["path"].update(pretrain_network_g=str(tmp_path / "W.pth"), strict_load_g=strict)
    with pytest.raises(CheckpointError, match=r"the teacher's G does not fit BlindSR_ST:\s+4 not in the network"):
        build_model(options)


def test_a_student_goes_on_from_a_students_file(tmp_path):
    model = kdsr.make("KDSRNetSTModel", tmp_path)
    kdsr.steps(model, 2)
    model.save(0, 2)
    options = kdsr.options("KDSRNetSTModel", tmp_path)
    options["path"].update(pretrain_network_g=str(tmp_path / "net_g_2.pth"), param_key_g="params_ema")
    again = build_model(options)
    for key, value in model.net_g_ema.state_dict().items():
        assert torch.equal(value, again.net_g.state_dict()[key])


def test_the_encoder_trains_alone_at_first(tmp_path):
    model = kdsr.make("KDSRNetSTModel", tmp_path, encoder_only_iter=2)
    start = {key: value.clone() for key, value in model.net_g.state_dict().items()}
    logged = kdsr.steps(model, 2)
    changed = {key for key, value in model.net_g.state_dict().items() if not torch.equal(value, start[key])}
    assert [set(losses) for losses in logged] == [{"l_kd"}] * 2
    assert changed
    assert all(key.startswith(("E_st.E.", "E_st.mlp.")) for key in changed)
    assert set(kdsr.steps(model, 1, start=3)[0]) == {"l_pix", "l_kd"}
    assert any(not torch.equal(value, start[key]) for key, value in model.net_g.G.state_dict(prefix="G.").items())


def test_the_vectors_alone_are_those_of_the_whole_network(tmp_path):
    net = kdsr.make("KDSRNetSTModel", tmp_path).net_g
    lq = kdsr.batch()["lq"]
    assert torch.equal(net(lq, represent_only=True)[0], net(lq)[1][0])


def test_official_rate_keys_win_and_are_reported(tmp_path, capsys):
    model = kdsr.make("KDSRNetSTModel", tmp_path, lr_sr=0.1, gamma_sr=0.5, lr_decay_sr=2, encoder_iter=9)
    told = capsys.readouterr().err
    assert "override train.scheduler" in told
    assert "train.encoder_iter: not used" in told
    rates = []
    for number in range(1, 6):
        kdsr.steps(model, 1, start=number)
        rates += model.get_current_learning_rate()
    assert rates == [0.1, 0.05, 0.05, 0.025, 0.025]


def test_without_them_the_scheduler_decides(tmp_path):
    model = kdsr.make("KDSRNetSTModel", tmp_path)
    kdsr.steps(model, 5)
    assert model.get_current_learning_rate() == [5e-4]


def test_the_teacher_sees_hr_in_validation_too(tmp_path):
    model = kdsr.make("KDSRNetTAModel", tmp_path)
    kdsr.steps(model, 1)  # net_g and its average differ from here
    data = kdsr.batch()
    model.feed_data(data)
    model.test()
    with torch.no_grad():
        assert torch.equal(model.output, model.net_g_ema.eval()(data["lq"], data["gt"]))
        del model.net_g_ema
        model.test()
        assert torch.equal(model.output, model.net_g.eval()(data["lq"], data["gt"]))


def test_validation_leaves_the_teacher_in_training_mode(tmp_path):
    model = kdsr.make("KDSRNetTAModel", tmp_path, ema_decay=0)
    model.feed_data(kdsr.batch())
    model.test()
    assert model.net_g.training


@pytest.mark.parametrize("model", ["KDSRNetSTModel", "KDSRGANSTModel", "KDSRModel"])
def test_a_test_needs_no_teacher(tmp_path, model):
    options = {**kdsr.options(model, tmp_path), "is_train": False}
    del options["train"], options["network_TA"], options["network_d"]
    tested = build_model(options)
    tested = getattr(tested, "model", tested)
    tested.feed_data({"lq": kdsr.batch()["lq"]})
    tested.test()
    assert tested.output.shape == (2, 3, 16, 16)


def second_order(seed: int = 0) -> dict:
    torch.manual_seed(seed)
    kernel = torch.full((2, 21, 21), 1 / 441)
    return {"gt": torch.rand(2, 3, 48, 48), "kernel1": kernel, "kernel2": kernel, "sinc_kernel": kernel}


@pytest.mark.parametrize("model", ["KDSRNetTAModel", "KDSRNetSTModel", "KDSRGANSTModel"])
def test_the_second_order_degradation_runs_on_cpu_with_its_pool(tmp_path, model):
    kdsr.save_teacher(tmp_path / "T.pth")
    built = build_model({**kdsr.options(model, tmp_path), **kdsr.SYNTHESIS, "l1_gt_usm": True})
    for number in range(1, 4):
        built.feed_data(second_order(number))
        assert built.lq.shape == (2, 3, 16, 16)
        assert built.gt.shape == (2, 3, 32, 32)
        built.optimize_parameters(number)
    assert built.queue_ptr == 2
    assert all(torch.isfinite(torch.tensor(value)) for value in built.log_dict.values())


def gan_losses(folder, **switches) -> dict:
    kdsr.save_teacher(folder / "T.pth")
    torch.manual_seed(0)
    model = build_model({**kdsr.options("KDSRGANSTModel", folder), **switches})
    gt = torch.nn.functional.interpolate(kdsr.batch()["gt"], scale_factor=4, mode="nearest")
    model.feed_data({"gt": gt, "lq": torch.nn.functional.avg_pool2d(gt, 2)})
    model.cri_perceptual = lambda output, target: ((output - target).square().mean(), None)  # VGG19 is large
    model.optimize_parameters(1)
    return model.log_dict


def test_usm_switches_mean_the_teacher_only_by_default(tmp_path):
    plain = gan_losses(tmp_path)
    literal = gan_losses(tmp_path, l1_gt_usm=True, percep_gt_usm=True, gan_gt_usm=True)
    assert literal.pop("l_kd") != plain["l_kd"]
    assert literal == {key: value for key, value in plain.items() if key != "l_kd"}
    each = gan_losses(tmp_path, l1_gt_usm=True, gan_gt_usm=True, usm_targets="per_loss")
    changed = {key for key in plain if each[key] != plain[key]}
    assert changed == {"l_kd", "l_g_pix", "l_d_real", "out_d_real"}
    perceptual = gan_losses(tmp_path, percep_gt_usm=True, usm_targets="per_loss")
    assert {key for key in plain if perceptual[key] != plain[key]} == {"l_g_percep"}


def test_the_generator_waits_for_the_discriminator(tmp_path):
    model = kdsr.make("KDSRGANSTModel", tmp_path, net_d_init_iters=2, net_d_iters=2)
    for number in (1, 2, 3):
        (logged,) = kdsr.steps(model, 1, start=number)
        assert set(logged) == {"l_d_real", "out_d_real", "l_d_fake", "out_d_fake"}
        assert model.output.grad_fn is None  # no graph is kept that nothing descends
    (logged,) = kdsr.steps(model, 1, start=4)
    assert {"l_g_pix", "l_kd", "l_g_gan"} <= set(logged)
    assert all(parameter.requires_grad for parameter in model.net_d.parameters())


def test_the_average_follows_in_the_gan_too(tmp_path):
    model = kdsr.make("KDSRGANSTModel", tmp_path, ema_decay=0.5)
    before = model.net_g_ema.G.head[0].weight.clone()
    kdsr.steps(model, 1)
    assert torch.allclose(model.net_g_ema.G.head[0].weight, (before + model.net_g.G.head[0].weight) / 2)
    assert not torch.equal(before, model.net_g.G.head[0].weight)


def test_the_gan_degrades_plain_images_whatever_gt_usm_says(tmp_path):
    kdsr.save_teacher(tmp_path / "T.pth")
    model = build_model({**kdsr.options("KDSRGANSTModel", tmp_path), **kdsr.SYNTHESIS, "gt_usm": True})
    seen = []
    model.usm_sharpener = lambda image: seen.append(image) or image
    model.feed_data(second_order())
    assert not seen


def test_a_start_that_fits_in_part_is_the_same_for_the_average(tmp_path):
    whole = kdsr.make("KDSRNetSTModel", tmp_path).net_g.state_dict()
    torch.save({key: value for key, value in whole.items() if key.startswith("G.")}, tmp_path / "part.pth")
    options = kdsr.options("KDSRNetSTModel", tmp_path)
    options["path"].update(pretrain_network_g=str(tmp_path / "part.pth"), strict_load_g=False)
    model = build_model(options)
    for key, value in model.net_g.state_dict().items():
        assert torch.equal(value, model.net_g_ema.state_dict()[key]), key


@pytest.mark.parametrize("model", ["KDSRNetSTModel", "KDSRModel"])
def test_a_teacher_is_not_tested_in_the_students_place(tmp_path, model):
    kdsr.save_teacher(tmp_path / "T.pth")
    options = {**kdsr.options(model, tmp_path), "is_train": False}
    options["path"]["pretrain_network_g"] = str(tmp_path / "T.pth")
    with pytest.raises(CheckpointError, match="does not fit BlindSR_ST: it holds BlindSR_TA"):
        build_model(options)


def test_small_validation_images_are_not_sharpened(tmp_path):
    kdsr.save_teacher(tmp_path / "T.pth")
    model = build_model({**kdsr.options("KDSRGANSTModel", tmp_path), "l1_gt_usm": True})
    model.feed_data(kdsr.batch())  # sides of 16: sharpening reflects 25 pixels
    model.test()
    assert model.output.shape == (2, 3, 16, 16)


def test_a_whole_file_keeps_its_average_however_loosely_it_is_loaded(tmp_path):
    """As when a run in the official style, with ``strict_load_g: false``, is resumed."""
    model = kdsr.make("KDSRNetSTModel", tmp_path)
    kdsr.steps(model, 2)
    model.save(0, 2)
    options = kdsr.options("KDSRNetSTModel", tmp_path)
    options["path"].update(pretrain_network_g=str(tmp_path / "net_g_2.pth"), strict_load_g=False)
    again = build_model(options)
    for key, value in model.net_g_ema.state_dict().items():
        assert torch.equal(value, again.net_g_ema.state_dict()[key]), key
    assert not torch.equal(again.net_g.G.head[0].weight, again.net_g_ema.G.head[0].weight)
