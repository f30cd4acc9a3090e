"""The comparison of an export with its network meets every way in which the network computes, whatever the size.

A graph is traced at one size; a network that decides by the size of an image would be right at that one alone. Every
step of the interpreter inside a network is recorded at the compared sizes, and at others none may be new.
"""

import sys
from importlib.util import find_spec
from os import sep
from pathlib import Path

import basicsr.archs
import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY

import lightsr_basicsr
from lightsr_basicsr.archs.imdn_arch import IMDN_AS
from lightsr_basicsr.runtimes.agreement import SIZES
from lightsr_basicsr.tools.export.verify import SHAPES
from tests.cases import CASES

PLACES = [Path(lightsr_basicsr.__file__).parent / "archs", Path(basicsr.archs.__file__).parent]
PLACES += [Path(place) for found in [find_spec("spandrel")] if found for place in found.submodule_search_locations]
FOLLOWED = tuple(f"{place}{sep}" for place in PLACES)
SIDES = [(1, 2), (4, 8), (9, 8), (15, 16), (17, 20), (32, 31), (48, 52), (59, 61), (60, 60), (64, 63), (72, 100)]
NARROW = {"IMDN": 16, "IMDN_AS": 16, "DDistill_SR": 16}
SLOW = "too slow to follow; FDIWN_M has its blocks"


def steps(net, count, height, width):
    """Return the pairs of consecutive instructions that a forward pass runs in the code of networks."""
    found = set()

    def follow(frame, event, argument):
        if not frame.f_code.co_filename.startswith(FOLLOWED):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines, last = True, False, -1

        def note(frame, event, argument):
            nonlocal last
            if event == "opcode":
                found.add((frame.f_code.co_name, frame.f_code.co_filename, frame.f_code, last, frame.f_lasti))
                last = frame.f_lasti
            return note

        return note

    images = torch.rand(count, net.num_in_ch, height, width)
    before = sys.gettrace()
    sys.settrace(follow)
    try:
        with torch.no_grad():
            net(images)
    finally:
        sys.settrace(before)
    return found


def compared(net, shapes):
    """Return the steps at the given shapes and at the network's own."""
    sizes = [*shapes, *((1, *size) for size in net.compared_sizes)]
    return set().union(*(steps(net, n, *(max(side, net.min_side) for side in sides)) for n, *sides in sizes))


def cases():
    seen = set()
    for case in CASES:
        form = case.name, *(bool(case.kwargs.get(key)) for key in ("channels", "deploy", "lite"))
        if form not in seen and ARCH_REGISTRY.get(case.name).super_resolves:
            seen.add(form)
            yield pytest.param(case, id=case.id, marks=[pytest.mark.skip(SLOW)] if case.name == "FDIWN" else [])


def build(case):
    small = {key: value for key, value in case.small.items() if value is not None}
    narrow = {"num_feat": NARROW[case.name]} if case.name in NARROW else {}
    return ARCH_REGISTRY.get(case.name)(**{**case.kwargs, **small, **narrow}).eval()


@pytest.mark.parametrize("case", [*cases()])
def test_no_size_makes_a_network_compute_in_a_way_that_no_comparison_meets(case):
    net = build(case)
    known = compared(net, SHAPES)
    for height, width in SIDES:
        if min(height, width) >= net.min_side:
            new = {name for name, *_ in steps(net, 1, height, width) - known}
            assert not new, f"{case.name} takes a way in {new} at {height}x{width}: add it to its compared_sizes"


def test_a_way_that_no_comparison_meets_is_found(monkeypatch):
    net = IMDN_AS(num_feat=16, num_block=1).eval()
    monkeypatch.setattr(IMDN_AS, "compared_sizes", ())
    small = [shape for shape in SHAPES if min(shape[1:]) < 60]
    assert steps(net, 1, 71, 70) - compared(net, small)


def test_conversions_in_memory_meet_the_crops_of_imdn_as():
    net = IMDN_AS(num_feat=16, num_block=1).eval()
    assert not steps(net, 1, 127, 131) - compared(net, [(1, *size) for size in SIZES])
