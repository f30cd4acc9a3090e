"""Files for ncnn that were damaged or mixed up: refused with a sentence, because ncnn would end the program."""

from pathlib import Path
from random import Random

import pytest
import torch

from lightsr_basicsr.archs.imdn_arch import IMDN_RTC
from lightsr_basicsr.runtimes import BackendError, open_runtime
from lightsr_basicsr.runtimes.metadata import Metadata
from lightsr_basicsr.runtimes.ncnn_file import check_layers
from lightsr_basicsr.tools.export.run import export
from lightsr_basicsr.tools.files import TargetError

pytest.importorskip("ncnn", reason="ncnn is not installed")
pytest.importorskip("pnnx", reason="pnnx is not installed")
pytestmark = pytest.mark.faults

DAMAGES = 200


def refusal() -> str:
    """Return why the files are refused, '' if they are not."""
    try:
        open_runtime("net.param", threads=1)
    except BackendError as error:
        return str(error)
    return ""


def test_damage_anywhere_is_told(workdir):
    from lightsr_basicsr.runtimes.saving import write_ncnn

    write_ncnn(IMDN_RTC(num_feat=4, num_block=1).eval(), Metadata("IMDN_RTC", {}, 2), Path("net.param"))
    random, whole = Random(0), {name: Path(name).read_bytes() for name in ("net.param", "net.bin")}
    for _ in range(DAMAGES):
        name = random.choice([*whole])
        content = bytearray(whole[name])
        place = random.randrange(len(content))
        if random.random() < 0.5:
            content = content[:place]
        else:
            content[place] ^= 1 << random.randrange(8)
        Path(name).write_bytes(content)
        told = refusal()
        # Of the last line, which describes the network, not every letter matters.
        described = name == "net.param" and place >= whole[name].index(b"# lightsr")
        assert described or "net." in told
        assert len(told) < 500
        Path(name).write_bytes(whole[name])


@pytest.mark.parametrize("kind", ["PReLU", "MemoryData", "InnerProduct"])
def test_weights_of_a_negative_size_are_refused(workdir, kind):
    """Whose checksum a forger can compute: ncnn writes beyond its memory."""
    count = 0 if kind == "MemoryData" else 1
    layer = f"{kind} bad {count} 1 {'data ' * count}output"
    head = "7767517\n2 2\nInput in0 0 1 data\n"
    with pytest.raises(ValueError, match="layer bad has fewer than no weights"):
        check_layers(f"{head}{layer} 0=-16\n")
    check_layers(f"{head}{layer} 0=16\n")


def test_two_formats_do_not_share_their_weights(workdir):
    torch.save(IMDN_RTC(num_feat=4, num_block=1).state_dict(), "net.pth")
    Path("net.xml").write_text("<net/>")
    Path("net.bin").write_text("mine")
    with pytest.raises(TargetError, match=r"net\.bin holds the weights of net\.xml: choose another name with -o"):
        export("net.pth", "net.param", overwrite=True)
    assert Path("net.bin").read_text() == "mine"
    assert not Path("net.param").exists()
