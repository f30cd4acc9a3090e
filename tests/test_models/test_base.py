"""The seam of the training step, alone."""

import pytest
import torch
from basicsr.losses.basic_loss import L1Loss

from lightsr_basicsr.models.base import LossDictModel, needs_reference


class TwoTerms(LossDictModel):
    """What a later training model looks like."""

    def compute_losses(self):
        losses = super().compute_losses()
        losses["l_size"] = 0.5 * self.output.square().mean()
        return losses


def make(model_class):
    model = model_class.__new__(model_class)
    net = torch.nn.Conv2d(1, 1, 1, bias=False)
    net.weight.data.fill_(2.0)
    model.opt = {"dist": False}
    model.net_g, model.cri_pix, model.cri_perceptual, model.ema_decay = net, L1Loss(), None, 0
    model.optimizer_g = torch.optim.SGD(net.parameters(), lr=0.1)
    model.lq, model.gt = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    return model


def test_a_step_descends_the_sum_of_the_named_losses():
    model = make(TwoTerms)
    model.optimize_parameters(1)
    assert model.log_dict == {"l_pix": 2.0, "l_size": 2.0}
    # d|w|/dw = 1 and d(w^2 / 2)/dw = 2 at w = 2
    assert model.net_g.weight.item() == pytest.approx(2.0 - 0.1 * 3)


def test_gradients_do_not_pile_up():
    model = make(LossDictModel)
    model.optimize_parameters(1)
    model.optimize_parameters(2)
    assert model.net_g.weight.item() == pytest.approx(1.8)


def test_perceptual_terms_are_named_and_absent_ones_left_out():
    model = make(LossDictModel)
    model.cri_perceptual = lambda output, gt: (output.mean(), None)
    assert set(model.compute_losses()) == {"l_pix", "l_percep"}


def test_ema_follows(monkeypatch):
    model = make(LossDictModel)
    model.ema_decay, decays = 0.9, []
    model.model_ema = lambda decay: decays.append(decay)
    model.optimize_parameters(1)
    assert decays == [0.9]


def test_the_average_has_the_current_statistics_of_batch_normalisation():
    model = make(LossDictModel)
    model.net_g = torch.nn.BatchNorm2d(1)
    model.net_g_ema = torch.nn.BatchNorm2d(1)
    model.net_g(torch.full((2, 1, 4, 4), 10.0))
    with torch.no_grad():
        model.net_g.weight.fill_(3.0)
    model.model_ema(0.5)
    assert model.net_g_ema.weight.item() == 2.0
    assert model.net_g_ema.running_mean.item() == pytest.approx(1.0)
    assert model.net_g_ema.num_batches_tracked == 1


def test_metrics_that_need_ground_truth_are_known():
    assert needs_reference("calculate_psnr")
    assert needs_reference("calculate_ssim")
    assert not needs_reference("calculate_niqe")


def test_a_test_run_prefers_ema_and_training_prefers_its_own(tmp_path):
    net = torch.nn.Conv2d(1, 1, 1, bias=False)
    torch.save(
        {"params": {"weight": torch.zeros(1, 1, 1, 1)}, "params_ema": {"weight": torch.ones(1, 1, 1, 1)}},
        tmp_path / "n.pth",
    )
    model = LossDictModel.__new__(LossDictModel)
    for is_train, path, expected in ((True, {}, 0), (False, {}, 1), (False, {"param_key_g": "params"}, 0)):
        model.is_train, model.opt = is_train, {"path": path}
        model.load_network(net, str(tmp_path / "n.pth"))
        assert net.weight.item() == expected


def test_nothing_fitting_is_an_error_even_when_not_strict(tmp_path):
    torch.save({"other": torch.zeros(1)}, tmp_path / "n.pth")
    model = LossDictModel.__new__(LossDictModel)
    model.is_train, model.opt = True, {"path": {}}
    with pytest.raises(ValueError, match=r"holds no tensor that fits Conv2d"):
        model.load_network(torch.nn.Conv2d(1, 1, 1), str(tmp_path / "n.pth"), strict=False)
