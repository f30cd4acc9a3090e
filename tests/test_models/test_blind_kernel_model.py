"""BlindKernelModel: parity with the official step, what trains what, flat images, pictures, refused settings."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.models import build_model
from torch.utils.data import DataLoader

from lightsr_basicsr.data.degradations import isotropic_kernel
from lightsr_basicsr.data.low_resolution import target_kernel
from lightsr_basicsr.models.contract import contract_of
from tests import dcls, golden
from tests.data.make_golden import image


def rough_images(count: int = 2, side: int = 32) -> torch.Tensor:
    return torch.cat([image(seed, side, side) for seed in range(count)])


def small_batch(count: int = 2) -> dict:
    kernels = isotropic_kernel(torch.linspace(0.8, 1.6, count), 11).float()
    return dcls.batch(rough_images(count), kernels, 2)


def make(folder, network: dict = dcls.SMALL, **more):
    torch.manual_seed(0)
    return build_model(dcls.options(folder, network, **more))


def test_a_step_equals_the_official_one(shared, tmp_path):
    description, _ = golden.read(shared / "golden", "dcls_small_x4_k21")
    recorded, arrays = golden.read(shared / "golden", "dcls_kernel_target")
    gt, kernel = (torch.from_numpy(arrays[f"iso_x4_{name}"]) for name in ("hr", "kernel"))
    found = dcls.step(tmp_path, golden.state_dict(description), gt, kernel)
    expected = recorded["training_step"]
    assert found.pop("reached") == expected["estimator_parameters_reached_by_l_pix"] == 0
    wanted = {"l_pix": expected["l_pix"], "l_ker": expected["l_ker"], **expected["grad_norm_total_loss"]}
    assert found == pytest.approx(wanted, rel=1e-4)


def test_a_step_equals_our_recording(tmp_path):
    description, _ = golden.read(golden.OWN, "dcls_small_x4_k21")
    recorded = json.loads((golden.OWN / "dcls_step.json").read_text())
    gt, kernel = rough_images(2, 96), isotropic_kernel(torch.tensor([1.2, 2.6]), 21).float()
    found = dcls.step(tmp_path, golden.state_dict(description), gt, kernel)
    assert found == pytest.approx(recorded, rel=1e-4)


def test_steps_lower_both_losses(tmp_path):
    model, logged = make(tmp_path, ema_decay=0.9), []
    for number in range(1, 9):
        model.feed_data(small_batch())
        model.optimize_parameters(number)
        logged.append(model.get_current_log())
    assert list(logged[0]) == ["l_pix", "l_ker"]
    assert all(logged[-1][name] < logged[0][name] for name in logged[0])


def test_a_flat_image_does_not_count_for_the_kernel(tmp_path):
    model = make(tmp_path)
    data = small_batch()
    data["gt"][1] = 0
    model.feed_data(data)
    assert not model.true_kernel()[1].isfinite().all()
    losses = model.compute_losses()
    alone = {key: value[:1] if key != "degradation" else {name: each[:1] for name, each in value.items()}
             for key, value in data.items()}  # fmt: skip
    model.feed_data(alone)
    torch.testing.assert_close(losses["l_ker"], model.compute_losses()["l_ker"])
    data["gt"][0] = 0
    model.feed_data(data)
    losses = model.compute_losses()
    assert losses["l_ker"] == 0
    sum(losses.values()).backward()


def test_the_dual_network_is_trained(tmp_path):
    model = make(tmp_path, {**dcls.SMALL, "dual": True}, dual_opt={"type": "L1Loss", "loss_weight": 0.1})
    before = model.net_g.dual_model.state_dict()["dual_module.0.0.weight"].clone()
    model.feed_data(small_batch())
    model.optimize_parameters(1)
    assert list(model.get_current_log()) == ["l_pix", "l_ker", "l_dual"]
    assert not torch.equal(before, model.net_g.dual_model.state_dict()["dual_module.0.0.weight"])


class Set(list):
    """A validation set of items as KernelBlindDataset gives them."""

    def __init__(self, items):
        super().__init__(items)
        self.opt = {"name": "few"}


@pytest.mark.parametrize("known", [True, False])
def test_validation_saves_estimated_kernels_beside_true_ones(tmp_path, known):
    model = make(tmp_path)
    data = small_batch(1)
    model.feed_data(data)
    item = {"lq": model.lq[0], "gt": data["gt"][0], "lq_path": "sets/bird.png", "gt_path": "sets/bird.png"}
    item |= {"kernel": data["kernel"][0]} if known else {}
    model.opt["val"] = {"save_kernels": True, "save_img": False}
    model.nondist_validation(DataLoader(Set([item])), 5, None, False)
    picture = cv2.imread(str(tmp_path / "kernels" / "few" / "bird_5.png"), cv2.IMREAD_GRAYSCALE)
    assert picture.shape == ((88, 2 * 88 + 16) if known else (88, 88))
    if known:
        true = target_kernel(data["gt"], data["kernel"], 2)[0, 0].numpy()
        drawn = picture[4::8, 88 + 16 + 4 :: 8] / 255
        assert np.abs(drawn - true / true.max()).max() < 0.003
    assert model.kernel_folder is None


def test_files_of_drc_load_without_their_dual_network(tmp_path):
    full = make(tmp_path, {**dcls.SMALL, "dual": True}, dual_opt={"type": "L1Loss"}).net_g.state_dict()
    torch.save({**full, "Estimator.dec.d": torch.ones(16)}, tmp_path / "drc.pth")
    model = make(tmp_path)
    model.load_network(model.net_g, str(tmp_path / "drc.pth"))
    assert all(torch.equal(value, full[key]) for key, value in model.net_g.state_dict().items())


def test_a_batch_without_kernels_is_refused(tmp_path):
    model = make(tmp_path)
    model.feed_data({"gt": rough_images(), "lq": rough_images(2, 16)})
    with pytest.raises(
        ValueError, match=r"needs `kernel` in a training batch.*got none: set the type of datasets.train"
    ):
        model.optimize_parameters(1)


TRAIN = {"type": "KernelBlindDataset", "kernel_size": 11, "gt_size": 64}


@pytest.mark.parametrize(
    ("change", "key", "message"),
    [
        ({"train": {"kernel_opt": None}}, "train.kernel_opt", "is missing: BlindKernelModel needs it"),
        ({"train": {"kernel_opt": {"type": "GANLoss"}}}, "train.kernel_opt.type", "such as L1Loss, got GANLoss"),
        ({"train": {"dual_opt": {"type": "L1Loss"}}}, "train.dual_opt", "has no effect: .* remove it"),
        ({"network_g": {**dcls.SMALL, "dual": True}}, "train.dual_opt", "is missing: network_g has a dual network"),
        ({"network_g": {"type": "IMDN_RTC"}}, "network_g.type", "estimates a kernel, got IMDN_RTC: use DCLS"),
        ({"scale": 4}, "scale", "is 4, but network_g enlarges by 2"),
        ({"datasets": {"train": {**TRAIN, "kernel_size": 21}}}, "datasets.train.kernel_size", "is 21, .* 11x11"),
        (
            {"datasets": {"train": {**TRAIN, "gt_size": 20}}},
            "datasets.train.gt_size",
            "needs 11 LR pixels, at least 22",
        ),
    ],
    ids=str,
)
def test_what_does_not_belong_together_is_found(tmp_path, change, key, message):
    from basicsr.archs import build_network
    from basicsr.utils.registry import MODEL_REGISTRY

    options = {**dcls.options(Path(tmp_path)), "datasets": {"train": TRAIN}}
    options |= {name: {**options[name], **value} if name == "train" else value for name, value in change.items()}
    contract = contract_of(MODEL_REGISTRY.get("BlindKernelModel"))
    networks = {"network_g": build_network(dict(options["network_g"]))}
    problems = dict(contract.find_problems(options, networks))
    assert key in problems
    import re

    assert re.search(message, problems[key])
    if key.startswith(("train", "network")):
        with pytest.raises(ValueError, match=re.escape(key)):
            build_model(options)
