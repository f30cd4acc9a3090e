"""The command starts without libraries that it does not use, and BasicSR finds them when it does."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from lightsr_basicsr.archs.fdiwn_arch import FDIWN_M
from tests.test_upscale import made


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> dict[str, str]:
    """Return what a process says after it has enlarged a picture."""
    folder = tmp_path_factory.mktemp("start")
    made.checkpoint(folder / "rtc.pth")
    made.fill(folder, "rgb.jpg")
    lines = run(
        f"import os, sys; os.chdir({str(folder)!r})\n"
        "from lightsr_basicsr import cli\n"
        "words = 'upscale rgb.jpg -o out --model rtc.pth --backend torch --device cpu --quiet'\n"
        "print('status', cli.main(words.split()))\n"
        "heavy = 'torchvision scipy torch._dynamo onnx openvino matplotlib skimage spandrel'\n"
        "print('heavy', [name for name in heavy.split() if name in sys.modules])\n"
        "print('waits', os.environ['GOMP_SPINCOUNT'])\n"
        "import basicsr.data.degradations as d, basicsr.archs.vgg_arch as v, basicsr.archs.arch_util as a, torch\n"
        "print('gray', tuple(d.rgb_to_grayscale(torch.ones(1, 3, 2, 2)).shape))\n"
        "print('normal', round(float(d.multivariate_normal.pdf(0)), 4))\n"
        "print('special', d.special.gamma(5.0))\n"
        "print('vgg', v.vgg.vgg11.__name__)\n"
        "print('version', a.torchvision.__version__ == __import__('torchvision').__version__)\n"
        "import scipy.stats; print('real', scipy.stats.norm.cdf(0))\n"
    )
    return dict(line.split(" ", 1) for line in lines.splitlines())


def test_what_a_network_does_not_need_is_not_imported(told):
    assert told["status"] == "0"
    assert told["heavy"] == "[]"
    assert told["waits"] == "1000"  # set before torch is imported, which reads it once


def test_basicsr_imports_it_when_it_is_used(told):
    found = {name: told[name] for name in ("gray", "normal", "special", "vgg", "version", "real")}
    assert found == {"gray": "(1, 1, 2, 2)", "normal": "0.3989", "special": "24.0", "vgg": "vgg11", "version": "True",
                     "real": "0.5"}  # fmt: skip


def test_the_environment_decides_before_torch_reads_it():
    code = (
        "import os, sys\n"
        "import lightsr_basicsr.commands.upscale as u\n"
        "u._let_threads_rest(); print('torch' in sys.modules)"
    )
    assert run(code).strip() == "False"


def test_classes_may_derive_from_what_is_imported_later():
    code = (
        "import sys\n"
        "from lightsr_basicsr._later import heavy_imports_later\n"
        "with heavy_imports_later(['fractions']):\n"
        "    import fractions; from fractions import Fraction\n"
        "    class Part(Fraction): pass\n"
        "print(Part(1, 2) + 1, fractions.Fraction(3), isinstance(Part(1), sys.modules['fractions'].Fraction))"
    )
    assert run(code).strip() == "3/2 3 True"


HEAVY = (
    "torchvision",
    "scipy",
    "torch._dynamo",
    "sympy",
    "triton",
    "matplotlib",
    "skimage",
    "onnx",
    "openvino",
    "nncf",
)
STARTS = [
    "list networks",
    "info rtc.pth fdiwn.pth",
    "convert rtc.pth -o out.pth --keep-form",
    "convert fdiwn.pth -i lr.png",
]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Return a folder with a small network, one with normalised weights, and an LR image."""
    folder = tmp_path_factory.mktemp("checkpoints")
    made.checkpoint(folder / "rtc.pth")
    torch.save({"params": FDIWN_M().state_dict()}, folder / "fdiwn.pth")
    cv2.imwrite(str(folder / "lr.png"), np.full((24, 24, 3), 127, np.uint8))
    return folder


@pytest.mark.parametrize("words", STARTS)
def test_commands_that_do_not_train_start_without_it_too(checkpoints, words):
    code = (
        f"import os, sys; os.chdir({str(checkpoints)!r})\n"
        f"from lightsr_basicsr import cli; status = cli.main({words.split()!r})\n"
        f"print(); print(status, [name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert run(code).splitlines()[-1] == "0 []"


@pytest.mark.parametrize("command", ["compare", "benchmark", "report", "new", "serve", "upscale", "export", "info"])
def test_help_needs_neither_torch_nor_basicsr(command):
    code = (
        "import sys; from lightsr_basicsr import cli\n"
        f"try: cli.main([{command!r}, '--help'])\n"
        "except SystemExit: pass\n"
        "print(); print([name for name in ('torch', 'basicsr', 'numpy', 'cv2', 'yaml') if name in sys.modules])"
    )
    assert run(code).splitlines()[-1] == "[]"


def test_operations_are_counted_without_the_compiler_which_works_after_that():
    code = (
        "import sys, torch\n"
        "from lightsr_basicsr._later import import_basicsr, without_compiler\n"
        "import_basicsr()\n"
        "from lightsr_basicsr.tools.complexity import count_multi_adds\n"
        "net = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 3, padding=1), torch.nn.LeakyReLU())\n"
        "print(count_multi_adds(net, 8, 8), 'torch._dynamo' in sys.modules)\n"
        "with without_compiler(): print(callable(torch._dynamo.reset), len(dir(sys.modules['torch._dynamo'])) > 50)\n"
        "twice = torch.compile(lambda image: net(image) * 2, backend='eager')\n"
        "image = torch.rand(1, 3, 8, 8); print(torch.equal(twice(image), net(image) * 2))\n"
        "with without_compiler(): print(torch._dynamo is sys.modules['torch._dynamo'])\n"
    )
    assert run(code).split() == ["5184", "False", "True", "True", "True", "True"]
