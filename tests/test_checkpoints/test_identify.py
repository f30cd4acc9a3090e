"""Which network a file holds: round trips, official files, look-alikes, damaged and foreign files."""

import pickle
import subprocess
import sys

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY

import lightsr_basicsr
from lightsr_basicsr import CheckpointError, UnknownNetworkError, identify, load
from lightsr_basicsr.archs.imdn_arch import IMDN
from lightsr_basicsr.archs.reparam import deploy
from lightsr_basicsr.checkpoints.misfit import load_weights
from tests.cases import CASES, DAT_SMALL, SWINIR_SMALL
from tests.test_zoo import SMALL, build, get, inputs, tensors

IMDN_SMALL = {"num_feat": 16, "num_block": 2}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_full_size_networks_are_identified(case):
    state = get(case.name)(**case.kwargs).state_dict()
    identity = identify(state)
    assert (identity.network, identity.scale) == (case.name, case.scale)
    expected = {name: list(value) if isinstance(value, tuple) else value for name, value in case.kwargs.items()}
    assert {name: identity.arguments[name] for name in expected} == expected
    form = "deploy" if case.kwargs.get("deploy") else "pruned" if case.kwargs.get("channels") else "train"
    assert identity.form == form


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.id)
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_build_save_identify_load_gives_the_same_output(case, suffix, tmp_path):
    net = build(case).eval()
    path = tmp_path / f"net.{suffix}"
    if suffix == "pth":
        torch.save({"params_ema": net.state_dict()}, path)
    else:
        safetensors = pytest.importorskip("safetensors.torch")
        safetensors.save_file(net.state_dict(), path)
    assert identify(path).network == case.name
    loaded = load(path)
    assert not loaded.training
    given = inputs(net, 16, 17)
    with torch.no_grad():
        for ours, theirs in zip(tensors(net(*given)), tensors(loaded(*given)), strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.id)
def test_deployed_networks_are_identified(case):
    state = deploy(build(case)).state_dict()
    identity = identify(state)
    assert identity.network == case.name
    load_weights(ARCH_REGISTRY.get(case.name)(**identity.arguments), state)


@pytest.mark.parametrize("case", [case for case in CASES if case.weights], ids=lambda case: case.id)
def test_official_files_are_identified(case, shared):
    identity = identify(shared / "weights" / case.weights)
    assert (identity.network, identity.scale) == (case.name, case.scale)


def test_arguments_that_a_file_cannot_tell_are_given():
    state = ARCH_REGISTRY.get("FDIWN")().state_dict()
    assert not load(state).chop
    assert load(state, chop=True).chop
    with pytest.raises(TypeError, match="chopp"):
        load(state, chopp=True)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module."])
@pytest.mark.parametrize("wrapper", [None, "params", "params_ema", "state_dict", "model", "net"])
def test_wrapped_state_dicts_are_unwrapped(prefix, wrapper):
    state = {prefix + key: value for key, value in IMDN(**IMDN_SMALL).state_dict().items()}
    assert identify({wrapper: state} if wrapper else state).arguments["num_block"] == 2


def test_a_list_of_dual_networks_is_read_as_drn_publishes_it(tmp_path):
    dual = ARCH_REGISTRY.get("DRNDual")(8, 8)
    parts = [{key[2:]: value for key, value in dual.state_dict().items() if key[0] == str(index)} for index in range(3)]
    torch.save(parts, tmp_path / "dual.pt")
    assert str(identify(tmp_path / "dual.pt")) == "DRNDual x0.5, train form (num_feat 8, upscale 8)"


def test_a_file_whose_network_needs_an_extra_says_so(monkeypatch):
    pytest.importorskip("spandrel")
    state = ARCH_REGISTRY.get("DAT_DR")(**DAT_SMALL).state_dict()
    monkeypatch.setitem(sys.modules, "spandrel.architectures.DAT", None)
    with pytest.raises(CheckpointError, match=r"looks like DAT_DR.*: DAT_DR takes its body from spandrel: pip install"):
        identify(state)


def test_looking_at_a_file_does_not_change_random_numbers():
    state = IMDN(**IMDN_SMALL).state_dict()
    torch.manual_seed(3)
    identify(state)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(1))


def foreign(*keys: str) -> dict[str, torch.Tensor]:
    return {key: torch.zeros(4, 4, 3, 3) for key in keys}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (foreign("model.0.weight", "model.1.sub.0.conv1.0.weight"), "other network called IMDN.*893,936"),
        (foreign("fea_conv.weight", "B1.c1_d.weight", "B1.c1_r.weight", "LR_conv.weight"), "RFDN"),
        (
            foreign(
                *(
                    f"layers.0.residual_group.blocks.0.attn.{name}"
                    for name in ("qkv.weight", "relative_position_index", "relative_position_bias_table")
                )
            ),
            "`type: SwinIR`",
        ),
        (foreign("conv1.weight_orig", "conv9.weight"), "a discriminator"),
        (foreign("stem.weight"), r"It holds 1 tensors: stem.weight \(4, 4, 3, 3\)"),
    ],
)
def test_lookalikes_are_named(state, message):
    with pytest.raises(UnknownNetworkError, match=message):
        identify(state)


def test_networks_that_spandrel_knows_are_named():
    pytest.importorskip("spandrel")
    blocks = ("block_1.c1_r.sk", "block_1.c1_r.eval_conv", "block_1.c3_r.eval_conv")
    marks = (*blocks, "conv_1.sk", "conv_cat", "conv_2.sk", "conv_2.eval_conv", "upsampler.0")
    with pytest.raises(UnknownNetworkError, match="spandrel knows it as SPAN"):
        identify(foreign(*(f"{mark}.weight" for mark in marks)))


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.id)
def test_one_wrong_tensor_is_named(case):
    """Whatever tensor it is: cut, missing, or without dimensions."""
    state = build(case).state_dict()
    shaped = [key for key, value in state.items() if value.ndim]
    for key in shaped[:: max(1, len(shaped) // 3)]:
        for change in ({key: torch.zeros(7, 7, 7)}, {key: torch.zeros(())}):
            with pytest.raises(CheckpointError, match=f"looks like {case.name}, but does not fit it"):
                identify({**state, **change})
        with pytest.raises(CheckpointError) as raised:
            identify({name: value for name, value in state.items() if name != key})
        # The number of blocks is what a file has, so a gap in the middle may be told by the last one.
        assert raised.type is UnknownNetworkError or "missing in the file" in str(raised.value)


def test_a_mis_shaped_tensor_is_told_with_what_was_expected():
    state = {**IMDN(**IMDN_SMALL).state_dict(), "IMDB1.c2.weight": torch.zeros(16, 11, 3, 3)}
    with pytest.raises(CheckpointError) as raised:
        identify(state)
    assert "looks like IMDN, but does not fit it" in str(raised.value)
    assert "IMDB1.c2.weight (16, 11, 3, 3), expected (16, 12, 3, 3)" in str(raised.value)


def test_a_file_of_another_scale_is_named_where_it_is_loaded():
    with pytest.raises(CheckpointError) as raised:
        load_weights(IMDN(upscale=2, **IMDN_SMALL), IMDN(upscale=4, **IMDN_SMALL).state_dict(), "IMDN_x4.pth")
    assert "IMDN_x4.pth does not fit IMDN: it holds IMDN x4, train form" in str(raised.value)
    assert "upsampler.0.weight (48, 16, 3, 3), expected (12, 16, 3, 3)" in str(raised.value)


def test_a_cut_file_is_refused(tmp_path):
    torch.save(IMDN(**IMDN_SMALL).state_dict(), tmp_path / "whole.pth")
    content = (tmp_path / "whole.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
        identify(tmp_path / "cut.pth")


def test_other_networks_on_swin_blocks_are_not_taken_for_swinir():
    hat = pytest.importorskip("spandrel.architectures.HAT").HAT(depths=[1], num_heads=[2], embed_dim=12, window_size=4)
    with pytest.raises(UnknownNetworkError, match="spandrel knows it as HAT"):
        identify(hat.state_dict())


def test_the_misfit_of_another_packages_network_is_told_by_its_keys_alone():
    bigger, smaller = (ARCH_REGISTRY.get("MSRResNet")(num_block=number) for number in (2, 1))
    with pytest.raises(CheckpointError) as raised:
        load_weights(bigger, smaller.state_dict(), "msr.pth")
    assert "msr.pth does not fit MSRResNet:\n" in str(raised.value)
    assert "body.1.conv1.weight" in str(raised.value)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("IMDN", {"num_in_ch": 1, "num_out_ch": 3, "num_feat": 16}),
        ("IMDN_RTC", {"num_in_ch": 6}),
        ("IMDN_AS", {"num_in_ch": 1, "num_out_ch": 3, "num_feat": 16, "num_block": 1}),
        ("DDistill_SR", {"num_feat": 20, "num_latent": None, "lite": True, "style": "ResDBB"}),
        ("DDistill_SR", {"num_feat": 20, "dynamic": False, "residual": False, "upscale": 8}),
        ("DRN", {"num_feat": 8, "num_block": 1, "upscale": 2}),
        ("BlindSR_ST", {"n_feats": 8, "n_encoder_res": 0, "scale": 8, "n_sr_blocks": 1}),
        ("SwinIR_DR", {**SWINIR_SMALL, "img_size": 8}),
        ("SwinIR_DR", {"depths": [1, 2], "num_heads": [2, 3], "embed_dim": 12, "img_size": 32}),
        ("SwinIR_DR", {**SWINIR_SMALL, "window_size": 4, "resi_connection": "3conv", "mlp_ratio": 4.0, "upscale": 2}),
        ("DAT_DR", {**DAT_SMALL, "depth": [2, 4], "num_heads": [2, 4], "img_size": 32}),
    ],
)
def test_unusual_arguments_are_read_off_a_file(name, arguments):
    net = get(name)(**arguments)
    identity = identify(net.state_dict())
    assert (identity.network, identity.scale) == (name, net.upscale)
    assert {key: identity.arguments[key] for key in arguments} == arguments


@pytest.mark.parametrize(
    ("name", "key", "shape"),
    [
        ("SwinIR_DR", "layers.0.residual_group.blocks.1.attn_mask", (0, 4)),
        ("DAT_DR", "layers.0.blocks.0.attn.attns.0.relative_position_index", (4,)),
        ("IMDN", "fea_conv.weight", ()),
        ("DRN", "head.weight", (0, 3, 3, 3)),
    ],
)
def test_a_wrong_tensor_that_decides_an_argument_is_named(name, key, shape):
    small = {"SwinIR_DR": SWINIR_SMALL, "DAT_DR": DAT_SMALL}.get(name, {})
    state = {**get(name)(**small).state_dict(), key: torch.zeros(shape)}
    with pytest.raises(CheckpointError, match=rf"looks like {name}, but does not fit it"):
        identify(state)


def test_a_file_cannot_make_us_reserve_what_it_claims():
    """The claim is 10 TB; the tensors that make it hold one number each."""
    if not hasattr(torch.device, "__enter__"):
        pytest.skip("torch < 2.0 builds networks only for real")
    state = {
        key: torch.zeros(()).expand(*(10**6 if side == 16 else side for side in value.shape))
        for key, value in IMDN(num_feat=16, num_block=1).state_dict().items()
    }
    with pytest.raises(CheckpointError, match="4 bytes of numbers for tensors whose shapes claim"):
        identify({key: value for key, value in state.items() if key == "fea_conv.weight"})
    with pytest.raises(CheckpointError, match="shapes claim"):
        identify(state)


class Evil:
    def __reduce__(self):
        return (exec, ("open('executed', 'w').close()",))


@pytest.mark.parametrize("save", [lambda path: torch.save({"params": Evil()}, path),
                                  lambda path: path.write_bytes(pickle.dumps(Evil()))])  # fmt: skip
def test_code_in_a_file_is_not_executed(save, workdir):
    save(workdir / "evil.pth")
    with pytest.raises(CheckpointError):
        load("evil.pth")
    assert not (workdir / "executed").exists()


def test_the_package_stays_light_until_it_is_used():
    code = "import sys, lightsr_basicsr; assert 'torch' not in sys.modules; assert 'identify' in dir(lightsr_basicsr)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'identity'"):
        lightsr_basicsr.identity  # noqa: B018
