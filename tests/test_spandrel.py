"""spandrel opens our networks' files."""

import subprocess
import sys

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY

import lightsr_basicsr
from lightsr_basicsr.tools.run.compare import tensor2img
from tests.test_zoo import SMALL, build

spandrel = pytest.importorskip("spandrel", reason="the extra spandrel is not installed")
ABLE = [case for case in SMALL if ARCH_REGISTRY.get(case.name).super_resolves]


@pytest.fixture
def loader():
    registry = spandrel.MAIN_REGISTRY.copy()
    assert "lightsr-FDIWN" in lightsr_basicsr.spandrel.install(registry)
    return spandrel.ModelLoader(registry=registry)


def test_the_main_registry_still_opens_files_of_others():
    """In a process of its own, for the registry is spandrel's."""
    code = """if True:
        import lightsr_basicsr, spandrel, basicsr
        from basicsr.archs.rrdbnet_arch import RRDBNet
        lightsr_basicsr.spandrel.install()
        state = RRDBNet(3, 3, num_feat=16, num_block=1).state_dict()
        assert spandrel.ModelLoader().load_from_state_dict(dict(state)).architecture.id == 'ESRGAN'
        try:
            lightsr_basicsr.identify(state)
        except lightsr_basicsr.UnknownNetworkError as error:
            assert 'spandrel knows it as ESRGAN' in str(error)
        from lightsr_basicsr.archs.imdn_arch import IMDN
        found = spandrel.ModelLoader().load_from_state_dict(IMDN(num_in_ch=1, num_out_ch=3, num_feat=16).state_dict())
        assert (found.input_channels, found.output_channels) == (1, 3)
    """
    subprocess.run([sys.executable, "-c", code], check=True)


def test_installing_twice_adds_nothing(loader):
    assert lightsr_basicsr.spandrel.install(loader.registry) == []


@pytest.mark.parametrize("case", ABLE, ids=lambda case: case.id)
def test_every_network_is_opened_with_its_scale(case, loader):
    net = build(case).eval()
    found = loader.load_from_state_dict({"params_ema": net.state_dict()})
    assert found.architecture.id == f"lightsr-{case.name}"
    assert found.scale == case.scale
    assert found.size_requirements.minimum == net.min_side
    assert (found.tiling == spandrel.ModelTiling.DISCOURAGED) == net.pools_globally
    x = torch.rand(1, 3, 18, 17)
    with torch.no_grad():
        assert torch.equal(found(x), net(x).clamp(0, 1))


def test_small_images_are_padded_by_spandrel(loader):
    net = ARCH_REGISTRY.get("DDistill_SR")(num_feat=16)
    assert loader.load_from_state_dict(net.state_dict())(torch.rand(1, 3, 9, 30)).shape == (1, 3, 36, 120)


@pytest.mark.parametrize("name", ["BlindSR_TA", "DRNDual", "DualNetwork"])
def test_networks_that_do_not_super_resolve_an_image_stay_out(name, loader):
    assert f"lightsr-{name}" not in loader.registry


def test_files_of_others_stay_theirs(loader):
    swinir = ARCH_REGISTRY.get("SwinIR")(depths=[2], num_heads=[2], embed_dim=12, window_size=8, upscale=2,
                                         upsampler="pixelshuffledirect")  # fmt: skip
    assert loader.load_from_state_dict(swinir.state_dict()).architecture.id == "SwinIR"


@pytest.mark.parametrize(
    ("weights", "scale"),
    [("IMDN_x4.pth", 4), ("model_RTC.pth", 2), ("FDIWN_x4.pt", 4), ("DDistill-SRx4_inference.pth", 4)],
)
def test_official_files_give_the_same_image(weights, scale, loader, shared):
    import cv2

    image = cv2.imread(str(shared / "data" / "Set5" / f"LRBI_x{scale}" / "butterfly.png"))
    x = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255
    found = loader.load_from_file(shared / "weights" / weights)
    with torch.no_grad():
        ours = lightsr_basicsr.load(shared / "weights" / weights)(x)
        assert (tensor2img([found(x)]) == tensor2img([ours])).all()
    assert found.scale == scale


@pytest.mark.parametrize("case", ABLE, ids=lambda case: case.id)
def test_bfloat16_runs_or_is_refused(case, loader):
    torch.manual_seed(1)
    net = ARCH_REGISTRY.get(case.name)(**{**case.kwargs, **case.small}).eval()
    found, x = loader.load_from_state_dict(net.state_dict()), torch.rand(1, 3, 18, 17)
    if case.name == "SwinIR_DR":
        with pytest.raises(spandrel.UnsupportedDtypeError):
            found.to(torch.bfloat16)
        return
    with torch.no_grad():
        exact = net(x)
        try:
            rough = found.to(torch.bfloat16).model(x.bfloat16())
        except RuntimeError as error:
            if "not implemented for 'BFloat16'" not in str(error):
                raise
            pytest.skip(f"torch {torch.__version__}: {error}")
    # Fresh FDIWN is chaotic; finite and of the same range is what can be asked of all.
    assert torch.isfinite(rough).all()
    assert rough.float().abs().max() < 2 * exact.abs().max() + 1
