"""No network forgets that a pooling must be that of the whole picture."""

import ast
from pathlib import Path

import pytest
from basicsr.utils.registry import ARCH_REGISTRY

from lightsr_basicsr.archs.network import SRNetwork
from tests.test_upscale.test_whole_picture import NETWORKS

ARCHS = Path(__file__).parents[2] / "lightsr_basicsr" / "archs"
REDUCTIONS = {"mean", "sum", "std", "var", "std_mean", "var_mean", "amax", "amin", "logsumexp", "softmax",
              "adaptive_avg_pool2d", "adaptive_max_pool2d", "AdaptiveMaxPool2d", "group_norm", "instance_norm",
              "InstanceNorm2d"}  # fmt: skip
# Functions that reduce something else than a feature map, or what poolings and the authors' steps are made of.
KNOWN = {
    ("pooling.py", "*"),
    ("layers.py", "std_mean"),
    ("layers.py", "std_as_published"),
    ("spectra.py", "pool_in_thirds"),  # of THIRDS
    ("dat_units.py", "_weights"),  # channels
    ("dcls_units.py", "compose"),  # a blur kernel
    ("dcls_units.py", "regulariser"),  # filters of 3x3
    ("fdiwn_units.py", "_filter_norms"),  # weights
    ("linear_tail.py", "compose"),  # weights
    ("sites.py", "per_channel"),  # weights
    ("swinir_units.py", "forward"),  # windows
}


def reductions():
    for path in sorted(ARCHS.rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef) and function.name != "forward_as_published":
                for call in ast.walk(function):
                    if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
                        owner = ast.unparse(call.func.value)
                        if call.func.attr in REDUCTIONS and owner != "self":
                            yield path.name, function.name, ast.unparse(call)


def test_reductions_over_pixels_are_marked_poolings():
    """What is found here derives from ``Pooling`` and calls ``self.mean``, ``self.std_mean`` or ``self.pooled``."""
    unknown = [
        (file, function, text) for file, function, text in reductions() if not {(file, "*"), (file, function)} & KNOWN
    ]
    assert unknown == []


def test_every_network_is_compared_in_tiles_and_as_a_whole():
    ours = {
        name
        for name, cls in ARCH_REGISTRY
        if isinstance(cls, type) and issubclass(cls, SRNetwork) and cls.super_resolves
    }
    assert ours <= {name for name, *_ in NETWORKS.values()}


@pytest.mark.parametrize("name", sorted({name for name, *_ in NETWORKS.values()}))
def test_facts_of_tiles_are_sound(name):
    cls = ARCH_REGISTRY.get(name)
    if issubclass(cls, SRNetwork):
        assert cls.tile_passes >= 1
        assert cls.tile_overlap >= 0
        assert cls.tile_multiple >= 1
