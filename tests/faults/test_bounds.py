"""Arguments that stand for networks without end: the check tells them in bounded time and memory."""

import time

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from lightsr_basicsr.tools.check import bounds
from lightsr_basicsr.tools.check.context import Run
from lightsr_basicsr.tools.check.networks import check_networks
from lightsr_basicsr.tools.check.options import check_options
from tests import tiny
from tests.faults.test_mutated_files import peak

pytestmark = pytest.mark.faults

HUGE = [
    {"type": "DRN", "num_block": 2**40},
    {"type": "DRN", "num_block": 10**6},
    {"type": "BasicVSR", "num_feat": 30_000},
    {"type": "SwinIR", "window_size": 180},
    {"type": "StyleGAN2Generator", "out_size": 2**19},
]


@pytest.mark.parametrize("section", HUGE, ids=str)
def test_a_network_without_end_is_told_in_time(section):
    before, begun = peak(), time.process_time()
    (finding,) = check_networks(Run({"network_g": section}, is_train=True))
    assert finding.fatal
    assert "more than" in finding.message or "above 10,000,000" in finding.message
    assert time.process_time() - begun < bounds.SECONDS + 3
    assert peak() - before < 1000


def test_many_networks_share_the_bounds():
    names = [f"network_{index}" for index in range(40)]
    begun = time.process_time()
    run = Run({name: {"type": "DRN", "num_block": 30} for name in names}, is_train=True)
    findings = list(check_networks(run))
    assert 5 < len(run.networks) < 20
    assert len(findings) == 40 - len(run.networks)
    assert "more than 10,000 modules" in findings[0].message
    assert time.process_time() - begun < bounds.SECONDS + 3


def test_the_bound_of_memory_ends_with_the_block():
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(bounds.NoMemoryError), bounds.Bounds():
        torch.ones(2**29)
    with pytest.raises(bounds.NoMemoryError), bounds.Bounds():
        [0] * 2**38
    assert resource.getrlimit(resource.RLIMIT_AS) == before


class Endless(nn.Module):
    """A network of few parameters that makes a large image, or takes long."""

    def __init__(self, factor: int = 1, times: int = 1) -> None:
        super().__init__()
        self.conv, self.factor, self.times = nn.Conv2d(3, 3, 3, padding=1), factor, times

    def forward(self, x):
        for _ in range(self.times):
            x = self.conv(x)
        return nn.functional.interpolate(x, scale_factor=self.factor)


@pytest.fixture
def endless(monkeypatch):
    monkeypatch.setitem(ARCH_REGISTRY._obj_map, "Endless", Endless)


@pytest.mark.parametrize(
    ("arguments", "fatal", "told"),
    [({"factor": 2}, False, ""), ({"factor": 10_000}, True, "cannot run on LR images"),
     ({"factor": 2, "times": 10**6}, False, "not tried with Endless: it takes more than 5 seconds")],
)  # fmt: skip
def test_a_pass_without_end_is_ended(arguments, fatal, told, workdir, endless, monkeypatch):
    if "times" in arguments:
        monkeypatch.setattr(bounds, "SECONDS", 0.2)
        told = told.replace("5", "0.2")
    tiny.make_pairs(workdir / "data", 2)
    options = tiny.train_options()
    options["network_g"] = {"type": "Endless", **arguments}
    findings = check_options(options, is_train=True)
    assert any(finding.fatal for finding in findings) == fatal
    assert told in "".join(map(str, findings))
