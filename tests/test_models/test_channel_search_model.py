"""Channel search: parity with the official code, halves, budgets, lists, resumed runs, options that do not fit."""

from pathlib import Path

import pytest
import torch
from basicsr.models import build_model

from lightsr_basicsr import cli
from lightsr_basicsr._fixes.sampling import in_halves
from lightsr_basicsr.errors import UserError
from tests import drc, tiny
from tests.test_models.test_dual_regression_model import DRN, DRN_DUAL, IMDN, SWINIR, assert_equal, dual_of
from tests.test_models.test_dual_regression_model import batch as random_batch
from tests.test_models.test_dual_regression_model import options as dual_options
from tests.test_models.test_dual_regression_run import flat, images, run_options  # noqa: F401 (a fixture)

# Alphas and multipliers to 1e-6, images to 1e-6 of their range.
TOLERANCE = 1e-6


@pytest.fixture(params=drc.FOLDERS.values(), ids=drc.FOLDERS)
def folder(request):
    return request.param


def test_three_steps_equal_the_recorded_ones(folder, tmp_path):
    description, arrays = drc.read(folder, "drc_search_tiny")
    found = drc.search(description, arrays, tmp_path)
    for step in range(3):
        losses = found.pop(f"losses_{step}")
        recorded = description["steps"][step]
        names = ("val_loss_unrolled", "train_loss_after_alpha_step")
        assert losses == pytest.approx([recorded[name] for name in names], rel=1e-6)
    for name, value in found.items():
        limit = TOLERANCE * max(abs(arrays[name]).max(), 1)
        assert abs(value - arrays[name]).max() <= limit, name


def make(folder, network: dict = DRN, dual: dict | None = DRN_DUAL, batch: dict | None = None, **train):
    torch.manual_seed(1)
    content = dual_options(folder, network, dual, **{"pruning_rate": 0.3, **train})
    content["model_type"], content["datasets"] = "ChannelSearchModel", {"train": {"halves": True, **(batch or {})}}
    return build_model(content)


def steps(model, count: int, scale: int = 4, side: int = 8) -> list[dict]:
    logged = []
    for number in range(1, count + 1):
        model.update_learning_rate(number)
        model.feed_data(random_batch(number, scale, side))
        model.optimize_parameters(number)
        logged.append(dict(model.get_current_log()))
    return logged


FORMS = {"levels": (DRN, DRN_DUAL), "image": (IMDN, dual_of(3)), "back": (SWINIR, None)}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("more", [{}, {"virtual_step": False}, {"attention": "soft", "unordered_channels": True}])
def test_every_form_moves_weights_and_alphas(tmp_path, form, more):
    network, dual = FORMS[form]
    model = make(tmp_path, network, dual, **more)
    before = {key: value.clone() for key, value in model.net_g.state_dict().items()}
    alphas = model.soft.alphas.clone()
    (logged,) = steps(model, 1, network["upscale"])
    assert {"l_pix", "l_dual", "l_alpha"} <= set(logged)
    assert all(value > 0 for value in logged.values())
    assert model.soft.alphas.ne(alphas).any()
    first = next(key for key in before if key.startswith(("head.", "fea_conv", "conv_first")))
    assert not torch.equal(model.net_g.state_dict()[first], before[first])
    model.feed_data({"lq": random_batch(9, network["upscale"], 8)["lq"][:1]})
    model.test()
    assert model.output.shape[2] == 8 * network["upscale"]


def test_the_second_half_of_a_batch_trains_the_alphas_alone(tmp_path):
    """Other images there change no weight at the first step, and the alphas' step does not see the learning rate."""
    kinds = []
    for second in (1, 2):
        model = make(tmp_path)
        images_ = {key: torch.cat([value[:1], random_batch(second)[key][1:]]) for key, value in random_batch(0).items()}
        model.feed_data(images_)
        model.optimize_parameters(1)
        kinds.append((model.soft.alphas.grad.clone(), model.net_g.head.weight.grad.clone()))
    assert not torch.equal(kinds[0][0], kinds[1][0])
    # The alphas have moved by 3e-4 at most.
    torch.testing.assert_close(kinds[0][1], kinds[1][1], rtol=0.05, atol=0.05)


def test_the_dual_networks_of_the_start_judge_the_alphas(tmp_path):
    model = make(tmp_path)
    first = {key: value.clone() for key, value in model.net_dual.state_dict().items()}
    steps(model, 2)
    assert_equal(dict(model.first_dual.state_dict()), first)
    assert not torch.equal(first["0.dual_module.0.0.weight"], model.net_dual.state_dict()["0.dual_module.0.0.weight"])


def test_gradients_of_the_network_alone_are_clipped(tmp_path):
    model = make(tmp_path, clip_norm=1e-3)
    steps(model, 1)
    norms = [torch.cat([p.grad.flatten() for p in net.parameters()]).norm() for net in (model.net_g, model.net_dual)]
    assert norms[0] == pytest.approx(1e-3, rel=1e-3)
    assert norms[1] > 0.1


@pytest.mark.parametrize("kind", ["params", "multi_adds"])
def test_a_cost_is_held_and_drawn_down(tmp_path, kind):
    network = {"type": "IMDN", "num_feat": 16, "num_block": 2, "upscale": 2}
    cost = {"type": kind, "target": 0.7, "weight": 1.0}
    rate = {"optim_alpha": {"type": "Adam", "lr": 0.05}}
    model = make(tmp_path, network, dual_of(2), pruning_rate=0.1, cost=cost, **rate)
    logged = steps(model, 12, 2)
    assert logged[-1]["cost"] < logged[0]["cost"]
    assert float(model.cost.share(model.channel_list())) <= 0.7
    plain = make(tmp_path, network, dual_of(2), pruning_rate=0.1, **rate)
    steps(plain, 2, 2)
    assert sum(plain.channel_list()) > sum(model.channel_list())


def test_halves_are_mixed_into_every_batch():
    order = torch.randperm(11).tolist() * 2
    mixed = in_halves(order, 11, 4)
    assert len(mixed) == len(order)
    for start in range(0, 20, 4):
        assert [index < 5 for index in mixed[start : start + 4]] == [True, True, False, False]
    assert set(mixed) == set(range(11))
    assert in_halves([0, 0], 1, 2) == [0, 0]


def search_run(name: str = "search", **train) -> dict:
    content = run_options(name, DRN, DRN_DUAL, pruning_rate=0.3, **train)
    content["model_type"] = "ChannelSearchModel"
    content["datasets"]["train"] |= {"halves": True, "batch_size_per_gpu": 4, "dataset_enlarge_ratio": 2}
    del content["train"]["ema_decay"]
    torch.manual_seed(0)
    for key, file in (("network_g", "dense.pth"), ("network_dual", "dual.pth")):
        torch.save(drc.build(content[key]).state_dict(), file)
        content["path"][f"pretrain_{key}"] = file
    return content


def test_a_resumed_search_ends_with_the_same_bits(images):  # noqa: F811
    content = search_run()
    assert cli.main(["train", "-opt", tiny.write(content)]) == 0
    run = Path("experiments/search")
    names = ("models/net_g_latest.pth", "models/net_dual_latest.pth", "training_states/4.state")
    whole = {file: flat(torch.load(run / file)) for file in names}
    lists = {file.name: file.read_text() for file in run.glob("channel_configs_*.txt")}
    assert set(lists) == {f"channel_configs_{name}.txt" for name in ("2", "4", "best", "latest")}
    assert [len(text.split()) for text in lists.values()] == [6] * 4
    for file in [*run.glob("models/*_[34l]*.pth"), *run.glob("training_states/[34].state"),
                 *run.glob("channel_configs_[4bl]*.txt")]:  # fmt: skip
        file.unlink()
    assert cli.main(["train", "-opt", tiny.write(content), "--auto_resume"]) == 0
    for file, expected in whole.items():
        assert_equal(flat(torch.load(run / file)), expected)
    again = {file.name: file.read_text() for file in run.glob("channel_configs_*.txt")}
    best = "channel_configs_best.txt"  # of iteration 2 or 4; the former is not written again
    assert {**again, best: ""} == {**lists, best: ""}


def complain(content: dict, capsys, *expected: str) -> None:
    assert cli.main(["train", "-opt", tiny.write(content)]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert [part for part in expected if part not in told] == [], told
    assert not Path("experiments").exists()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda o: o["train"].update(pruning_rate=1.0), "train.pruning_rate: A pruning rate is the part"),
        (lambda o: o["train"].update(pruning_rate=-0.5), "train.pruning_rate: must be a number above 0"),
        (lambda o: o["train"].pop("pruning_rate"), "train.pruning_rate: is missing"),
        (lambda o: o["path"].pop("pretrain_network_g"), "path.pretrain_network_g: is missing"),
        (lambda o: o["datasets"]["train"].pop("halves"), "datasets.train.halves: must be true"),
        (lambda o: o["datasets"]["train"].update(batch_size_per_gpu=3), "batch_size_per_gpu: must be even"),
        (lambda o: o["train"].update(ema_decay=0.9), "train.ema_decay: has no effect"),
        (lambda o: o["train"].update(cost={"type": "params", "target": 0.01}), "train.cost: The smallest candidates"),
        (lambda o: o["network_dual"].update(upscale=8), "network_dual.upscale: is 8, but network_g enlarges by 4"),
        (lambda o: o["datasets"]["train"].update(type="DegradedImageDataset"), "gives no lq_down2"),
        (lambda o: o["train"].update(sites=[["head", "tail.0"]]), "train.sites: head makes 4 channels"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_are_told_before_a_run(images, capsys, change, expected):  # noqa: F811
    content = search_run()
    change(content)
    complain(content, capsys, expected)


def test_a_network_without_sites_is_told_before_a_run(images, capsys):  # noqa: F811
    content = search_run()
    content["network_g"] = {"type": "IMDN_RTC", "num_feat": 4, "num_block": 1, "upscale": 4}
    content["network_dual"] = dual_of(4)
    content["path"] = {}
    complain(content, capsys, "network_g: IMDN_RTC names no sites", "train.sites: [[body.0.conv1")


def test_a_launcher_is_refused(tmp_path):
    content = dual_options(tmp_path, DRN, DRN_DUAL, pruning_rate=0.3)
    content |= {"model_type": "ChannelSearchModel", "dist": True, "datasets": {"train": {"halves": True}}}
    from lightsr_basicsr.models.pruning_checks import require_one_process

    with pytest.raises(UserError, match="runs in one process"):
        require_one_process(content, "ChannelSearchModel")
