"""LPIPS and DISTS: the input of pyiqa, and the report before a run if a metric is unavailable."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_metric
from basicsr.utils.registry import ARCH_REGISTRY

from lightsr_basicsr import cli
from lightsr_basicsr.metrics import perceptual
from lightsr_basicsr.metrics.perceptual import MetricUnavailableError, calculate_dists, calculate_lpips
from lightsr_basicsr.models.base import needs_reference
from lightsr_basicsr.tools.check.options import check_options
from tests import tiny

METRICS = [calculate_lpips, calculate_dists]


@pytest.fixture(autouse=True)
def _nothing_loaded():
    perceptual._load.cache_clear()
    yield
    perceptual._load.cache_clear()


@pytest.fixture
def pyiqa(monkeypatch):
    """Stand in for pyiqa: lists the metrics that were built and the images that they were given."""
    fake = ModuleType("pyiqa")
    fake.built, fake.given = [], []

    def create_metric(name, device):
        sys.stdout.write("Loading pretrained model")
        torch.rand(3)
        fake.built.append((name, device))

        def measure(first, second):
            fake.given.append((first, second))
            return torch.tensor([[0.25]], device=device)

        return measure

    fake.create_metric = create_metric
    monkeypatch.setitem(sys.modules, "pyiqa", fake)
    return fake


def image(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def section(metric, **arguments) -> dict:
    return {"type": metric.__name__, "better": "lower", **arguments}


@pytest.mark.parametrize("metric", METRICS)
def test_basicsr_calls_them_with_the_section_of_an_option_file(metric, pyiqa):
    images = {"img": image(40, 48, 3), "img2": image(40, 48, 3, seed=1)}
    value = calculate_metric(images, section(metric, crop_border=2))
    assert isinstance(value, float)
    assert value == 0.25
    assert needs_reference(metric.__name__)


def test_pyiqa_gets_rgb_between_0_and_1_without_the_border(pyiqa):
    bgr = np.zeros((40, 48, 3), np.uint8)
    bgr[4:-4, 4:-4] = (0, 51, 255)
    calculate_lpips(bgr, bgr, crop_border=4)
    first, second = (tensor.cpu() for tensor in pyiqa.given[0])
    assert torch.equal(first, second)
    assert first.dtype == torch.float32
    assert torch.equal(first, torch.tensor([1.0, 0.2, 0.0]).view(1, 3, 1, 1).expand(1, 3, 32, 40))


@pytest.mark.parametrize("shape", [(40, 48), (40, 48, 1)])
def test_gray_images_become_three_equal_channels(shape, pyiqa):
    gray = image(*shape)
    calculate_dists(gray, gray)
    given = pyiqa.given[0][0].cpu()
    assert torch.equal(given, torch.from_numpy(gray.reshape(1, 1, 40, 48)).expand(1, 3, 40, 48) / 255)


def test_the_order_of_axes_makes_no_difference(pyiqa):
    hwc = image(40, 48, 3)
    calculate_dists(hwc, hwc)
    calculate_dists(hwc.transpose(2, 0, 1), hwc.transpose(2, 0, 1), input_order="CHW")
    assert torch.equal(pyiqa.given[0][0], pyiqa.given[1][0])


def test_each_metric_is_built_once(pyiqa):
    pair = image(40, 48, 3), image(40, 48, 3, seed=1)
    for _ in range(2):
        calculate_lpips(*pair)
        calculate_lpips(*pair, net="alex")
        calculate_dists(*pair)
    assert [name for name, _ in pyiqa.built] == ["lpips-vgg", "lpips", "dists"]
    assert {device for _, device in pyiqa.built} == {perceptual._device()}


def test_building_is_silent_and_leaves_the_seed_alone(pyiqa, capsys):
    state = torch.random.get_rng_state()
    calculate_dists(image(8, 8, 3), image(8, 8, 3))
    assert torch.equal(state, torch.random.get_rng_state())
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("shapes", "arguments", "message"),
    [
        (((40, 40, 3), (40, 44, 3)), {}, r"images of the same shape, got \(40, 40, 3\) and \(40, 44, 3\)"),
        (((40, 40), (40, 40, 3)), {}, "images of the same shape"),
        (((40, 40, 4), (40, 40, 4)), {}, r"1 or 3 channels in the order HWC, got shape \(40, 40, 4\)"),
        (((40, 40, 3), (40, 40, 3)), {"input_order": "CHW"}, r"in the order CHW, got shape \(40, 40, 3\)"),
        (((40, 40, 3), (40, 40, 3)), {"input_order": "WHC"}, "`input_order` must be 'HWC' or 'CHW', got 'WHC'"),
        (((15, 40, 3), (15, 40, 3)), {}, "at least 16 pixels, got 15x40 after cutting 0 off"),
        (((30, 40, 3), (30, 40, 3)), {"net": "alex"}, "at least 31 pixels, got 30x40"),
        (((40, 40, 3), (40, 40, 3)), {"crop_border": 30}, "at least 16 pixels, got 0x0 after cutting 30 off"),
        (((40, 40, 3), (40, 40, 3)), {"crop_border": "4"}, "`crop_border` must be a whole number .* got '4'"),
        (((40, 40, 3), (40, 40, 3)), {"crop_border": -1}, "`crop_border` must be .* 0 or more, got -1"),
        (((40, 40, 3), (40, 40, 3)), {"net": "vgg16"}, "`net` to be vgg or alex, got 'vgg16'"),
    ],
)
def test_wrong_images_and_arguments_are_named(shapes, arguments, message, pyiqa):
    with pytest.raises(ValueError, match=message):
        calculate_lpips(*(image(*shape) for shape in shapes), **arguments)
    assert pyiqa.given == []


@pytest.mark.parametrize("metric", METRICS)
def test_without_pyiqa_the_extra_is_named(metric, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(MetricUnavailableError, match=r'pip install .*\[iqa\]"'):
        metric(image(40, 40, 3), image(40, 40, 3))


@pytest.mark.parametrize(
    ("metric", "arguments", "files"),
    [
        (calculate_lpips, {}, ("vgg16-397923af.pth", "LPIPS_v0.1_vgg-a78928a0.pth")),
        (calculate_lpips, {"net": "alex"}, ("alexnet-owt-7be5be79.pth", "LPIPS_v0.1_alex-df73285e.pth")),
        (calculate_dists, {}, ("vgg16-397923af.pth", "DISTS_weights-f5e65c96.pth")),
    ],
)
def test_without_a_connection_the_files_and_their_places_are_named(metric, arguments, files, pyiqa, monkeypatch):
    def refuse(name, device):
        raise URLError("[Errno -2] Name or service not known")

    monkeypatch.setenv("TORCH_HOME", "cache")
    monkeypatch.setattr(pyiqa, "create_metric", refuse)
    with pytest.raises(MetricUnavailableError, match="Name or service not known") as caught:
        metric(image(40, 40, 3), image(40, 40, 3), **arguments)
    backbone, head = files
    message = str(caught.value).replace("\\", "/")
    assert f"https://download.pytorch.org/models/{backbone} to cache/hub/checkpoints/{backbone}" in message
    assert f"/{head} to cache/hub/pyiqa/{head}" in message


def findings(**metrics: dict) -> list[str]:
    options = tiny.train_options()
    options["val"]["metrics"] |= metrics
    return [str(finding) for finding in check_options(options, is_train=True)]


@pytest.fixture
def pairs(workdir):
    tiny.make_pairs(workdir / "data", 4)


def test_the_check_loads_them_before_a_run(pairs, pyiqa):
    assert findings(lpips=section(calculate_lpips), dists=section(calculate_dists)) == []
    assert [name for name, _ in pyiqa.built] == ["lpips-vgg", "dists"]


def test_only_the_first_process_loads_them(pairs, pyiqa, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert findings(lpips=section(calculate_lpips)) == []
    assert pyiqa.built == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"net": "squeeze"}, "val.metrics.lpips: calculate_lpips expects `net` to be vgg or alex, got 'squeeze'"),
        ({"crop_border": 0.5}, "val.metrics.lpips.crop_border: must be a whole number"),
        ({"crop_boarder": 4}, "val.metrics.lpips.crop_boarder: is not an argument of calculate_lpips"),
        ({"better": "higher"}, "val.metrics.lpips: add `better: lower`"),
    ],
)
def test_the_check_finds_wrong_sections(arguments, message, pairs, pyiqa):
    (finding,) = findings(lpips=section(calculate_lpips, **arguments))
    assert finding.startswith(message)


def test_the_check_finds_that_better_is_missing(pairs, pyiqa):
    (finding,) = findings(dists={"type": "calculate_dists"})
    assert finding.startswith("val.metrics.dists: add `better: lower`")


def test_the_check_finds_that_pyiqa_is_missing(pairs, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    (finding,) = findings(dists=section(calculate_dists))
    assert finding.startswith("val.metrics.dists: DISTS is measured by pyiqa")


def test_a_run_reports_them_and_leaves_them_out_without_ground_truth(pairs, pyiqa):
    blind = {"name": "blind", "type": "SingleImageDataset", "dataroot_lq": "data/LR", "io_backend": {"type": "disk"}}
    net = ARCH_REGISTRY.get("IMDN_RTC")(num_feat=4, num_block=1)
    torch.save({"params": net.state_dict()}, "net.pth")
    options = tiny.test_options(tiny.paired("pairs", "data"), blind, pretrain_network_g="net.pth")
    options["val"]["metrics"] = {"lpips": section(calculate_lpips), "dists": section(calculate_dists)}
    assert cli.main(["test", "-opt", tiny.write(options)]) == 0
    (log,) = Path("results/tiny_test").glob("*.log")
    report = log.read_text()
    assert "# lpips: 0.2500" in report
    assert "# dists: 0.2500" in report
    assert "blind has no ground truth: metrics computed: none" in report
    assert len(pyiqa.given) == 2 * 4


@pytest.fixture
def random_pyiqa(monkeypatch):
    """The real pyiqa with random weights in the place of downloaded ones."""
    pytest.importorskip("pyiqa", reason='pyiqa is not installed: pip install -e ".[iqa]"')
    import torchvision
    from pyiqa.archs import dists_arch, lpips_arch
    from torchvision.models.vgg import cfgs, make_layers

    features = make_layers(cfgs["D"])
    for arch in (dists_arch, lpips_arch):
        monkeypatch.setattr(arch, "load_pretrained_network", lambda *arguments: None)
    monkeypatch.setattr(torchvision.models, "vgg16", lambda **arguments: SimpleNamespace(features=features))
    return SimpleNamespace(LPIPS=lpips_arch.LPIPS, DISTS=dists_arch.DISTS)


def test_values_are_those_of_pyiqa(random_pyiqa):
    pair = image(40, 48, 3), image(40, 48, 3, seed=1)
    lpips, dists = calculate_lpips(*pair), calculate_dists(*pair)
    assert calculate_dists(*(bgr[..., ::-1] for bgr in pair)) != pytest.approx(dists, rel=1e-4)
    first, second = (torch.tensor(bgr[..., ::-1].copy()).permute(2, 0, 1)[None] / 255 for bgr in pair)
    built = (perceptual._load(metric, perceptual._device()) for metric in (perceptual.LPIPS["vgg"], perceptual.DISTS))
    with torch.no_grad():
        # The images of the LPIPS code are in [-1, 1], and its networks take them so.
        assert next(built).net.cpu()(2 * first - 1, 2 * second - 1, normalize=False).item() == pytest.approx(
            lpips, 1e-4
        )
        assert next(built).net.cpu()(first, second).item() == pytest.approx(dists, 1e-4)


def test_pyiqa_and_basicsr_do_not_disturb_each_other(random_pyiqa):
    from basicsr.utils.logger import initialized_logger

    before = sorted(ARCH_REGISTRY.keys())
    assert calculate_lpips(image(16, 16, 3), image(16, 16, 3)) == 0
    assert sorted(ARCH_REGISTRY.keys()) == before
    assert initialized_logger == {}
