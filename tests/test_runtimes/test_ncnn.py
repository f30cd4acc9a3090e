"""Networks run by ncnn: any size gives what torch gives, and what cannot be converted is told."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from basicsr.archs.srresnet_arch import MSRResNet
from torch import nn

from lightsr_basicsr.archs.drn_arch import DRN
from lightsr_basicsr.archs.imdn_arch import IMDN, IMDN_AS, IMDN_RTC, IMDN_RTE
from lightsr_basicsr.archs.kdsr_arch import BlindSR_ST
from lightsr_basicsr.archs.tiny_arch import TinySR
from lightsr_basicsr.runtimes import ncnn_graph, ncnn_library, open_runtime
from lightsr_basicsr.runtimes.base import BackendError
from lightsr_basicsr.runtimes.metadata import Metadata, read_metadata
from lightsr_basicsr.runtimes.ncnn_file import check_layers, weights_of
from lightsr_basicsr.runtimes.ncnn_graph import to_ncnn
from lightsr_basicsr.runtimes.ncnn_runtime import NcnnRuntime
from lightsr_basicsr.runtimes.ncnn_words import NcnnWords, take_channels
from lightsr_basicsr.runtimes.network import smooth_picture
from lightsr_basicsr.runtimes.saving import write_ncnn
from lightsr_basicsr.tools.export.ncnn import _notes
from tests.converting import distilled, trained, with_kernel

ncnn = pytest.importorskip("ncnn", reason="ncnn is not installed")
pytest.importorskip("pnnx", reason="pnnx is not installed")

# Those with means, deviations or kernels of the whole image among them.
NETWORKS = {
    "IMDN": lambda: IMDN(num_feat=16, num_block=1),
    "IMDN_RTC gray": lambda: IMDN_RTC(num_in_ch=1, num_out_ch=1, num_feat=4, num_block=1),
    "IMDN_RTE": lambda: IMDN_RTE(num_feat=4),
    "TinySR": lambda: TinySR(deploy=True),
    "DRN": lambda: trained(DRN(4, 1, 4)),
    "BlindSR_ST": lambda: BlindSR_ST(n_feats=8, n_encoder_res=1, n_sr_blocks=1),
    "DDistill_SR": distilled,
    "MSRResNet": lambda: MSRResNet(num_feat=8, num_block=1),
}
# Two sizes other than those that are traced, no multiples of anything, and several images.
SHAPES = ((1, 33, 51), (2, 47, 71))


@pytest.fixture(scope="module")
def small() -> IMDN_RTC:
    torch.manual_seed(1)
    return IMDN_RTC(num_feat=4, num_block=1).eval()


@pytest.fixture
def written(small, workdir) -> Path:
    write_ncnn(small, Metadata("IMDN_RTC", {"num_feat": 4, "num_block": 1}, 2), Path("net.param"))
    return Path("net.param")


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_any_size_gives_what_torch_gives(make):
    torch.manual_seed(0)
    net = make().eval()
    run = NcnnRuntime.of_network(net, threads=1)
    for count, height, width in SHAPES:
        picture = smooth_picture(run.num_in_ch, height, width)
        images = torch.cat([picture * (1 - 0.25 * index) for index in range(count)])
        with torch.no_grad():
            expected = net(images)
        assert (run(images) - expected).abs().max() < 1e-5, (count, height, width)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (with_kernel, "DCLS has no graph for ncnn: ncnn lacks what it needs .*Fourier transforms"),
        (lambda: IMDN_AS(num_feat=16, num_block=1), "IMDN_AS has no graph for ncnn: .*pixels at computed places"),
    ],
)
def test_what_ncnn_lacks_is_named(make, reason):
    with pytest.raises(BackendError, match=f"({reason}).*Run it with torch, or export it as ONNX"):
        to_ncnn(make().eval())


def test_precisions_and_threads(small):
    run = NcnnRuntime.of_network(small, "bf16", threads=1)
    with torch.no_grad():
        expected = small(smooth_picture(3, 20, 30))
    assert 1e-6 < (run(smooth_picture(3, 20, 30)) - expected).abs().max() < 5e-2
    assert str(run) == "ncnn, bf16, on cpu, 1 CPU thread"
    assert run.net.opt.num_threads == 1
    with pytest.raises(BackendError, match=r"ncnn cannot run int8|int8 needs a network"):
        NcnnRuntime.of_network(small, "int8")
    with pytest.raises(BackendError, match=r"ncnn cannot run on device 'cuda' here: choose cpu\."):
        NcnnRuntime.of_network(small, device="cuda")


def test_results_are_the_callers_own(small):
    run = NcnnRuntime.of_network(small, threads=1)
    first = run(smooth_picture(3, 16, 16))
    kept = first.clone()
    run(1 - smooth_picture(3, 16, 16))
    assert torch.equal(first, kept)


def test_the_names_are_those_of_other_programs(small):
    param = to_ncnn(small).param.splitlines()
    assert param[0] == "7767517"
    assert param[2].split()[:1] + param[2].split()[4:5] == ["Input", "data"]
    assert param[-1].split()[5] == "output"


def test_half_of_the_weights_is_stored(small):
    whole, half = (len(to_ncnn(small, half=half).weights) for half in (False, True))
    assert half < 0.7 * whole


def test_a_file_is_opened(written, small):
    run = open_runtime(written, threads=1)
    assert (run.backend, run.scale, run.chosen_because) == ("ncnn", 2, "because net.param is its own format")
    with torch.no_grad():
        assert torch.allclose(run(smooth_picture(3, 21, 34)), small(smooth_picture(3, 21, 34)), atol=1e-5)
    assert read_metadata(written).network == "IMDN_RTC"


def test_a_file_of_another_program_is_opened(written):
    written.write_text("".join(line for line in written.read_text().splitlines(True) if not line.startswith("#")))
    run = open_runtime(written, threads=1)
    assert (run.scale, run.num_in_ch, run.metadata) == (2, 3, None)


def test_files_that_do_not_belong_together_are_told(written):
    weights = weights_of(written)
    content = weights.read_bytes()
    weights.write_bytes(content[:-4] + b"abcd")
    with pytest.raises(BackendError, match=r"net.bin holds other weights than those that net.param was written with"):
        open_runtime(written)
    weights.write_bytes(content)
    written.write_text(written.read_text().replace("Convolution ", "Deconvolution ", 1))
    with pytest.raises(BackendError, match=r"net.param was changed since it was exported. Export it again. If the"):
        open_runtime(written)
    weights.unlink()
    with pytest.raises(BackendError, match=r"its weights, net.bin, are missing. Copy both files together"):
        open_runtime(written)


PARAM = "7767517\n2 2\nInput in 0 1 data\nReLU r 1 1 data output\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7767517",
        "7767517\n2\n",
        "7767517\n9999999999 1\n",
        PARAM.replace("2 2", "3 2"),
        PARAM.replace("2 2", "2 1"),
        PARAM.replace("1 1 data output", "1 1 other output"),
        PARAM.replace("1 1 data output", "1 1 data"),
        PARAM.replace("1 1 data output", "-1 1 data"),
        PARAM.replace("data output", "data data"),
        PARAM.replace("data output", "data output x"),
        PARAM.replace("7767517", "7767518"),
    ],
)
def test_a_text_of_no_layers_is_refused(text, workdir):
    check_layers(PARAM)
    Path("net.param").write_text(text)
    Path("net.bin").write_bytes(b"")
    with pytest.raises(BackendError, match="cannot be read as ncnn"):
        open_runtime("net.param")


def test_layers_that_this_ncnn_lacks_are_told(workdir, capfd):
    Path("net.param").write_text(PARAM.replace("ReLU", "Unheard"))
    Path("net.bin").write_bytes(b"")
    with pytest.raises(BackendError, match=r"ncnn cannot read net.param: it is damaged, or has layers that this ncnn"):
        open_runtime("net.param")


def test_a_small_image_of_a_network_that_cuts_it_is_told():
    run = NcnnRuntime.of_network(NETWORKS["BlindSR_ST"]().eval(), threads=1)
    with pytest.raises(BackendError, match=r"ncnn cannot run an image of 1x1 pixels|at least 3x3 pixels"):
        run(smooth_picture(3, 1, 1))


@pytest.mark.parametrize("name", ["ncnn", "pnnx"])
def test_missing_and_old_libraries_are_told(name, monkeypatch, small):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BackendError, match=rf'{name} is (needed|installed).*pip install .*\[ncnn\]"'):
        to_ncnn(small)
    monkeypatch.setitem(sys.modules, name, SimpleNamespace(__version__="1.0.20220420"))
    with pytest.raises(
        BackendError, match=rf"{name} 1\.0\.20220420 is too old, expected one of {ncnn_library.LEAST[name]}"
    ):
        to_ncnn(small)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (
            lambda *args, **more: (_ for _ in ()).throw(subprocess.TimeoutExpired("pnnx", 3)),
            "did not finish within 5 s",
        ),
        (
            lambda *args, **more: (_ for _ in ()).throw(PermissionError(13, "not allowed")),
            "cannot be started .not allowed",
        ),
        (lambda *args, **more: SimpleNamespace(returncode=-11, stdout=b"a\nbroken"), "ended with status -11: broken"),
        (lambda *args, **more: SimpleNamespace(returncode=0, stdout=b"hm"), "wrote no file; its last words: hm"),
    ],
)
def test_failures_of_pnnx_are_told(run, message, monkeypatch, small):
    monkeypatch.setattr(ncnn_graph.subprocess, "run", run)
    with pytest.raises(BackendError, match=message):
        to_ncnn(small, patience=5.0)


class Wordy(nn.Module):
    """Operations that pnnx does not know, or loses."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gain = nn.Conv2d(3, 4, 3, padding=1), nn.Parameter(torch.rand(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)[:, [2, 0, 3, 1]]
        x = torch.addcmul(x, x, self.gain.cumsum(0)[None, :, None, None]).clamp_min(-0.25)
        x = x[:, :, 1:-1][..., 2:-1]
        return nn.functional.pixel_shuffle(x.repeat_interleave(2, dim=1), 2)


@torch.no_grad()
def test_words_compute_the_same():
    net = Wordy().eval().requires_grad_(False)
    picture = smooth_picture(3, 20, 30)
    expected = net(picture)
    with NcnnWords(net):
        assert torch.allclose(net(picture), expected, atol=1e-6)
        assert torch.equal(take_channels(picture, [2, 2, 0]), torch.cat([picture[:, [c]] for c in (2, 2, 0)], dim=1))
        program = torch.jit.trace(net, picture, check_trace=False)
    kinds = {node.kind() for node in program.inlined_graph.nodes()}
    assert not kinds & {"aten::addcmul", "aten::clamp_min", "aten::index", "aten::cumsum", "aten::repeat_interleave"}


def test_the_example_needs_ncnn_numpy_and_pillow_alone(small, workdir):
    from PIL import Image

    write_ncnn(small, Metadata("IMDN_RTC", {}, 2), Path("net.param"), cut=True)
    script = Path(__file__).parents[2] / "docs" / "examples" / "run_ncnn.py"
    imported = {
        line.split()[1].split(".")[0] for line in script.read_text().splitlines() if line.startswith(("import", "from"))
    }
    assert imported - sys.stdlib_module_names == {"ncnn", "numpy", "PIL"}
    picture = smooth_picture(3, 21, 34)
    Image.fromarray((picture[0].permute(1, 2, 0) * 255).round().byte().numpy()).save("lr.png")
    done = subprocess.run([sys.executable, script, "net.param", "lr.png", "sr.png"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    with torch.no_grad():
        expected = small((picture * 255).round() / 255).clamp(0, 1)[0] * 255
    made = torch.from_numpy(np.array(Image.open("sr.png"))).permute(2, 0, 1)
    assert (made - expected).abs().max() < 0.51


def test_values_below_zero_are_cut_for_other_programs(small, workdir):
    net = nn.Sequential(nn.Conv2d(3, 3, 1))
    net[0].weight.data.neg_()
    for cut in (False, True):
        write_ncnn(net.eval(), Metadata("Sequential", {}, 1), Path("net.param"), cut=cut)
        made = open_runtime("net.param", threads=1)(smooth_picture(3, 9, 9))
        with torch.no_grad():
            expected = net(smooth_picture(3, 9, 9))
        assert expected.min() < 0
        assert torch.allclose(made, expected.clamp_min(0) if cut else expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "scale", "said"),
    [
        ("net", 2, ["call it net-2x there"]),
        ("net-2x", 2, []),
        ("net_x3", 3, []),
        ("net", 4, []),
        ("x2net", 4, ["net-4x"]),
    ],
)
def test_programs_that_can_run_it_are_named(name, scale, said):
    notes = [*_notes(PARAM, Metadata("IMDN_RTC", {}, scale, pools_globally=False), name)]
    assert notes[0] == "Values below 0 are cut off. It has layers that Upscayl and Real-ESRGAN-ncnn-vulkan run."
    assert len(notes) == 1 + len(said)
    assert all(part in note for part, note in zip(said, notes[1:], strict=True))
    for layer, told in (("Slice", "that Upscayl runs, and Real-ESRGAN"), ("Gemm", "Upscayl and .*cannot run it")):
        assert re.search(told, next(iter(_notes(PARAM.replace("ReLU", layer), Metadata("IMDN_RTC"), name))))
