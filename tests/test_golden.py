"""Every network against outputs recorded from the official implementation, and official checkpoints loaded strictly."""

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY

from lightsr_basicsr.archs.reparam import deploy
from lightsr_basicsr.checkpoints import read_state_dict
from lightsr_basicsr.checkpoints.misfit import load_weights
from tests import golden
from tests.cases import CASES
from tests.conftest import SHARED
from tests.test_zoo import get

BY_GOLDEN = {case.golden: case for case in CASES}
FOLDERS = {"official": SHARED / "golden", "own": golden.OWN}


def build_recorded(case, folder):
    if not folder.is_dir():
        pytest.skip(f"no recordings at {folder}: the official ones are not part of the repository")
    if not (folder / f"{case.golden}.npz").is_file():
        other = "own" if folder == FOLDERS["official"] else "official"
        pytest.skip(f"{case.golden} is recorded in the {other} set only")
    description, arrays = golden.read(folder, case.golden)
    net = get(case.name)(**{**case.kwargs, **case.golden_kwargs})
    golden.load(net, description)
    return net.eval(), description, arrays


@pytest.fixture(params=FOLDERS.values(), ids=FOLDERS)
def folder(request):
    return request.param


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_output_equals_the_recorded_one(case, folder):
    net, _, arrays = build_recorded(case, folder)
    with torch.no_grad():
        differences = list(golden.compare(net, arrays))
    assert differences
    assert max(differences) < case.tolerance


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_keys_are_the_recorded_ones_in_order(case, folder):
    net, description, _ = build_recorded(case, folder)
    assert golden.keys(net, description) == list(golden.state_dict(description))


def test_adaptive_cropping_equals_the_recorded_one(folder):
    net, _, arrays = build_recorded(BY_GOLDEN["imdn_as"], folder)
    with torch.no_grad():
        assert golden.worst(net(torch.from_numpy(arrays["acs_in0"])), arrays["acs_out0"]) < 1e-5


def test_rte_without_padding_equals_the_recorded_odd_output(folder):
    net, _, arrays = build_recorded(BY_GOLDEN["imdn_rte"], folder)
    with torch.no_grad():
        assert golden.worst(net.forward_even(torch.from_numpy(arrays["odd_in0"])), arrays["odd_out0"]) < 1e-5


@pytest.mark.parametrize("case", [case for case in CASES if case.name == "FDIWN"], ids=lambda case: case.id)
def test_chop_equals_the_recorded_one(case, folder):
    net, _, arrays = build_recorded(case, folder)
    net.chop = True
    with torch.no_grad():
        assert golden.worst(net(torch.from_numpy(arrays["chop_in0"])), arrays["chop_out0"]) < case.tolerance


@pytest.mark.parametrize("case", [case for case in CASES if case.weights], ids=lambda case: case.id)
def test_official_checkpoint_loads_strictly(case, shared):
    net = ARCH_REGISTRY.get(case.name)(**case.kwargs)
    state, wrapper = read_state_dict(shared / "weights" / case.weights)
    load_weights(net, state)
    assert wrapper == "bare"
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("name", ["ddistill_sr_convert_x4", "ddistill_sr_lite_convert_x4"])
def test_conversion_equals_the_recorded_one(name, shared):
    description, arrays = golden.read(shared / "golden", name)
    net = ARCH_REGISTRY.get("DDistill_SR")(lite="lite" in name)
    golden.load(net, description)
    net = deploy(net)
    with torch.no_grad():
        assert max(golden.compare(net, arrays)) < 2e-5  # two roundings of the conversion, 7e-6 seen officially
    merged = net.state_dict()
    for key in [key for key in arrays if "dbb_reparam" in key]:
        assert golden.worst(merged[key], arrays[key]) < 5e-6, key


def test_a_training_step_equals_the_recorded_one(shared):
    """Batch statistics, the border of padded branches without gradient, and running statistics afterwards."""
    description, arrays = golden.read(shared / "golden", "ddistill_sr_trainmode_x4")
    net = ARCH_REGISTRY.get("DDistill_SR")()
    golden.load(net, description)
    out = net.train()(torch.from_numpy(arrays["in0"]))
    assert golden.worst(out.detach(), arrays["out0"]) < 2e-5
    loss = (out - torch.from_numpy(arrays["target0"])).abs().mean()
    loss.backward()
    assert loss.item() == pytest.approx(float(arrays["loss"]), rel=1e-5)
    parameters, state = dict(net.named_parameters()), net.state_dict()
    for key in [key for key in arrays if key.startswith("grad:")]:
        recorded = torch.from_numpy(arrays[key])
        difference = golden.worst(parameters[key.removeprefix("grad:")].grad, recorded)
        assert difference < 1e-3 * recorded.abs().max(), key
    for key in [key for key in arrays if key.startswith("after:")]:
        torch.testing.assert_close(state[key.removeprefix("after:")], torch.tensor(arrays[key]), rtol=1e-4, atol=1e-5)
