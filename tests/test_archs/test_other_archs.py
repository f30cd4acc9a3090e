"""Tests of FDIWN, KDSR, DRN, SwinIR-DR and DAT-DR alone."""

import copy

import pytest
import torch
from basicsr.archs.swinir_arch import SwinIR, WindowAttention

from lightsr_basicsr.archs.drn_arch import DRN, DRNDual, DualNetwork
from lightsr_basicsr.archs.dual_regression_arch import DAT_DR, SwinIR_DR
from lightsr_basicsr.archs.fdiwn_arch import FDIWN, FDIWN_M
from lightsr_basicsr.archs.fdiwn_units import IdenticalResidualWeighting, WeightNormConv2d
from lightsr_basicsr.archs.kdsr_arch import BlindSR_ST, BlindSR_TA
from lightsr_basicsr.archs.swinir_units import PrunedWindowAttention

KDSR_SMALL = {"n_feats": 16, "n_encoder_res": 1, "n_sr_blocks": 2}
SWINIR_SMALL = {"depths": [2], "num_heads": [2], "embed_dim": 12}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: FDIWN(upscale=8), "FDIWN supports `upscale` 2, 3 or 4, got 8"),
        (lambda: FDIWN_M(img_range=0), "FDIWN_M needs a positive `img_range`"),
        (lambda: BlindSR_ST(scale=5), "BlindSR_ST supports `scale` 2, 3, 4 or 8, got 5"),
        (lambda: BlindSR_TA(n_sr_blocks=0), "at least 1 and `n_encoder_res` of at least 0, got 128, 0 and 6"),
        (lambda: DRN(upscale=3), "DRN supports `upscale` 2, 4 or 8, got 3"),
        (lambda: DRN(num_feat=2), "got 30 and 2"),
        (lambda: DRN(channels=[1, 2]), "DRN expects 64 numbers in `channels`, got 2"),
        (lambda: DRN(img_range=-1), "positive `img_range`"),
        (lambda: DRNDual(upscale=3), "2, 4 or 8"),
        (lambda: DualNetwork(downscale=6), "2, 3, 4 or 8"),
        (lambda: SwinIR_DR(upscale=3), "SwinIR_DR supports `upscale` 2, 4 or 8, because its dual network halves"),
        (lambda: SwinIR_DR(upsampler="nearest+conv"), "pixelshuffle and pixelshuffledirect, got 'nearest.conv'"),
        (lambda: SwinIR_DR(num_heads=[6]), "one number of blocks and one of heads for each layer"),
        (lambda: SwinIR_DR(**SWINIR_SMALL, channels=[11, 4, 12, 4]), "multiple of its 2 heads, got 11"),
        (lambda: SwinIR_DR(img_size=60), "`img_size` that is a multiple of `window_size`, got 60 and 8"),
        (lambda: SwinIR_DR(window_size=0), "multiple of `window_size`, got 64 and 0"),
        (lambda: SwinIR_DR(num_heads=[0] * 6), "a divisor of `embed_dim`"),
        (lambda: SwinIR_DR(resi_connection="2conv"), "`resi_connection` 1conv and 3conv, got '2conv'"),
        (lambda: SwinIR_DR(img_range=0), "positive `img_range`"),
        (lambda: DAT_DR(upscale=3), "DAT_DR supports `upscale` 2, 4 or 8"),
        (lambda: DAT_DR(upsampler="pixelshufle"), "pixelshuffle and pixelshuffledirect, got 'pixelshufle'"),
        (lambda: DAT_DR(num_heads=[6]), "one number of blocks and one of heads for each layer"),
        (lambda: DAT_DR(num_heads=[3] * 6), "even and a divisor of `embed_dim`"),
        (lambda: DAT_DR(depth=[], num_heads=[]), "one number of blocks and one of heads for each layer"),
        (lambda: DAT_DR(split_size=[32, 8]), "two numbers, the smaller first, got .32, 8."),
        (lambda: DAT_DR(split_size=[8]), "two numbers, the smaller first"),
        (lambda: DAT_DR(split_size=[3, 5]), "`img_size` that both of `split_size` divide"),
        (lambda: DAT_DR(embed_dim=180, expansion_factor=1.05), "halves its hidden width"),
    ],
)
def test_impossible_arguments_are_explained(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
def test_weight_normalisation_is_that_of_torch():
    ours, theirs = WeightNormConv2d(4, 6, 3), torch.nn.utils.weight_norm(torch.nn.Conv2d(4, 6, 3, padding=1))
    with torch.no_grad():
        ours.weight_g.mul_(1.7)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    x = torch.rand(2, 4, 5, 6)
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(copy.deepcopy(ours)(x), ours(x))  # an EMA copy, which theirs does not allow


def test_a_new_weight_normalised_convolution_starts_as_a_plain_one():
    torch.manual_seed(5)
    ours = WeightNormConv2d(4, 6, 3)
    torch.manual_seed(5)
    plain = torch.nn.Conv2d(4, 6, 3, padding=1)
    x = torch.rand(1, 4, 5, 5)
    torch.testing.assert_close(ours(x), plain(x))


def test_chop_is_for_evaluation_and_for_images_large_enough():
    net = FDIWN(chop=True).eval()
    with pytest.raises(ValueError, match=r"sides of at least 19 pixels, got 18x30: use `chop: false`"):
        net(torch.rand(1, 3, 18, 30))
    assert net.train()(torch.rand(1, 3, 8, 8)).shape == (1, 3, 32, 32)


def test_large_images_are_chopped_again(monkeypatch):
    net, sizes = FDIWN(upscale=2, chop=True).eval(), []

    def run(x):
        sizes.append(tuple(x.shape[2:]))
        return torch.zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])

    monkeypatch.setattr(net, "forward_whole", run)
    assert net(torch.rand(1, 3, 800, 820)).shape == (1, 3, 1600, 1640)
    assert sizes == [(215, 220)] * 16  # 410x420 has more than 160,000 pixels


def test_the_teacher_says_which_size_it_wants():
    net = BlindSR_TA(**KDSR_SMALL)
    with pytest.raises(ValueError, match=r"expects `gt` of shape \(1, 3, 32, 32\) for this `lq`, got \(1, 3, 32, 30\)"):
        net(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 32, 30))


def test_mean_shifts_of_kdsr_are_frozen_and_saved():
    net = BlindSR_ST(**KDSR_SMALL)
    frozen = [name for name, parameter in net.named_parameters() if not parameter.requires_grad]
    assert frozen == ["G.sub_mean.weight", "G.sub_mean.bias", "G.add_mean.weight", "G.add_mean.bias"]


def test_student_and_teacher_share_the_sr_network():
    teacher, student = BlindSR_TA(**KDSR_SMALL).state_dict(), BlindSR_ST(**KDSR_SMALL).state_dict()
    shared = {key: value.shape for key, value in teacher.items() if key.startswith("G.")}
    assert shared == {key: value.shape for key, value in student.items() if key.startswith("G.")}


def test_drn_gives_all_levels_in_training_and_the_last_in_evaluation():
    net, x = DRN(num_feat=8, num_block=1), torch.rand(1, 3, 6, 7)
    levels = net.train()(x)
    assert [level.shape[2:] for level in levels] == [(6, 7), (12, 14), (24, 28)]
    assert torch.equal(net.eval()(x), levels[-1])


@pytest.mark.parametrize("frozen", [False, True])
def test_mean_shifts_of_drn_and_fdiwn_train_unless_frozen(frozen):
    assert DRN(num_feat=8, num_block=1, freeze_mean_shift=frozen).sub_mean.weight.requires_grad is not frozen
    assert FDIWN(freeze_mean_shift=frozen).Add_mean.bias.requires_grad is not frozen


def test_fdiwn_units_compute_in_place_only_what_no_gradient_needs():
    unit = IdenticalResidualWeighting(expand=8).double()
    for parameter in unit.parameters():
        torch.nn.init.normal_(parameter)
    maps = torch.rand(1, 24, 3, 4, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(unit, (maps,))
    kept, made = maps.detach().clone(), unit(maps)
    with torch.no_grad():
        torch.testing.assert_close(unit(maps), made)
    assert torch.equal(maps, kept)


def test_dual_networks_refuse_another_number_of_levels():
    with pytest.raises(ValueError, match="expects 2 images, smallest first, got 1"):
        DRNDual()([torch.rand(1, 3, 8, 8)])


@pytest.mark.parametrize(("height", "width"), [(6, 9), (7, 8), (1, 2)])
def test_the_dual_network_for_x3_undoes_a_third_rounded_up(height, width):
    out = DualNetwork(downscale=3)(torch.rand(1, 3, height, width))
    assert out.shape == (1, 3, -(-height // 3), -(-width // 3))


def test_every_pixel_counts_for_the_dual_network_for_x3():
    x = torch.rand(1, 3, 9, 9, requires_grad=True)
    DualNetwork(downscale=3)(x).sum().backward()
    assert (x.grad.abs().sum(dim=1) > 0).all()


@pytest.mark.parametrize("downscale", [2, 3, 4, 8])
def test_the_checkpoint_of_a_dual_network_shows_its_scale(downscale):
    net = DualNetwork(num_feat=5, downscale=downscale)
    shapes = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    assert DualNetwork.arguments_from(shapes) == {"num_feat": 5, "downscale": downscale}
    assert next(iter(shapes)) == "dual_module.0.0.weight"
    assert list(shapes)[-1] == f"dual_module.{max(len(shapes) - 1, 1)}.weight"


def test_unpruned_attention_equals_that_of_basicsr():
    whole = WindowAttention(12, (4, 4), 2)
    ours = PrunedWindowAttention(whole, 12)
    ours.load_state_dict(whole.state_dict())
    x, mask = torch.rand(6, 16, 12), torch.rand(3, 16, 16)
    torch.testing.assert_close(ours(x), whole(x))
    torch.testing.assert_close(ours(x, mask), whole(x, mask))


def test_swinir_dr_is_swinir_on_whole_windows():
    ours = SwinIR_DR(**SWINIR_SMALL).eval()
    theirs = SwinIR(**SWINIR_SMALL, window_size=8, mlp_ratio=2.0, upscale=4, upsampler="pixelshuffle").eval()
    theirs.load_state_dict({key: value for key, value in ours.state_dict().items() if "dual_model." not in key})
    x = torch.rand(1, 3, 16, 24)
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x))
        assert ours(x[..., :13, :19]).shape == (1, 3, 52, 76)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_traced_pruned_attention_takes_other_numbers_of_windows():
    ours, windows = PrunedWindowAttention(WindowAttention(12, (4, 4), 2), 8).eval(), torch.rand(6, 16, 12)
    traced = torch.jit.trace(ours, (windows, torch.rand(3, 16, 16)))
    more, mask = torch.rand(10, 16, 12), torch.rand(5, 16, 16)
    torch.testing.assert_close(traced(more, mask), ours(more, mask))


def test_dual_networks_inside_answer_in_training():
    sr, back = SwinIR_DR(**SWINIR_SMALL).train()(torch.rand(1, 3, 9, 10))
    assert (sr.shape, back.shape) == ((1, 3, 36, 40), (1, 3, 9, 10))


def test_dat_dr_has_the_keys_of_its_body_without_a_prefix():
    spandrel = pytest.importorskip("spandrel.architectures.DAT")
    net = DAT_DR(depth=[2], num_heads=[2], embed_dim=32, split_size=[4, 8]).eval()
    state = net.state_dict()
    assert not any(key.startswith("body.") for key in state)
    body = spandrel.DATArch().load({key: value for key, value in state.items() if not key.startswith("dual_model.")})
    x = torch.rand(1, 3, 16, 17)
    with torch.no_grad():
        torch.testing.assert_close(net(x), body.model.eval()(x))
    other = copy.deepcopy(net)
    other.load_state_dict(state)
    assert list(torch.nn.ModuleList([net]).state_dict()) == [f"0.{key}" for key in state]
    with pytest.raises(RuntimeError, match="conv_first"):
        other.load_state_dict({key: value for key, value in state.items() if key != "conv_first.weight"})
