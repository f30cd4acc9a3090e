"""Every network against outputs recorded from the official implementation, and official checkpoints loaded strictly."""

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY

from lightsr_basicsr.checkpoints import load_strictly, read_state_dict
from tests import golden
from tests.cases import CASES
from tests.conftest import SHARED

BY_GOLDEN = {case.golden: case for case in CASES}
FOLDERS = {"official": SHARED / "golden", "own": golden.OWN}


def build_recorded(case, folder):
    if not folder.is_dir():
        pytest.skip(f"no recordings at {folder}: the official ones are not part of the repository")
    description, arrays = golden.read(folder, case.golden)
    net = ARCH_REGISTRY.get(case.name)(**{**case.kwargs, **case.golden_kwargs})
    net.load_state_dict(golden.state_dict(description))
    return net.eval(), description, arrays


@pytest.fixture(params=FOLDERS.values(), ids=FOLDERS)
def folder(request):
    return request.param


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_output_equals_the_recorded_one(case, folder):
    net, _, arrays = build_recorded(case, folder)
    inputs = [key for key in arrays if key.startswith("in")]
    assert inputs
    with torch.no_grad():
        for key in inputs:
            out = net(torch.from_numpy(arrays[key]))
            assert golden.worst(out, arrays[key.replace("in", "out")]) < case.tolerance


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_keys_are_the_recorded_ones_in_order(case, folder):
    net, description, _ = build_recorded(case, folder)
    assert list(net.state_dict()) == [entry["key"] for entry in description["state_dict"]]


def test_adaptive_cropping_equals_the_recorded_one(folder):
    net, _, arrays = build_recorded(BY_GOLDEN["imdn_as"], folder)
    with torch.no_grad():
        assert golden.worst(net(torch.from_numpy(arrays["acs_in0"])), arrays["acs_out0"]) < 1e-5


def test_rte_without_padding_equals_the_recorded_odd_output(folder):
    net, _, arrays = build_recorded(BY_GOLDEN["imdn_rte"], folder)
    with torch.no_grad():
        assert golden.worst(net.forward_even(torch.from_numpy(arrays["odd_in0"])), arrays["odd_out0"]) < 1e-5


@pytest.mark.parametrize("case", [case for case in CASES if case.weights], ids=lambda case: case.id)
def test_official_checkpoint_loads_strictly(case, shared):
    net = ARCH_REGISTRY.get(case.name)(**case.kwargs)
    state, wrapper = read_state_dict(shared / "weights" / case.weights)
    load_strictly(net, state)
    assert wrapper == "bare"
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
