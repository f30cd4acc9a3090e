"""Registration: twice is once, and a name that somebody holds stays theirs."""

import importlib
import warnings

import pytest
from basicsr.utils.registry import ARCH_REGISTRY, Registry

from lightsr_basicsr.archs import imdn_arch
from lightsr_basicsr.registry import look_up, register, similar_names


def make(name: str, module: str):
    return type(name, (), {"__module__": module, "__qualname__": name})


def test_a_free_name_is_registered():
    registry, net = Registry("arch"), make("Net", "ours")
    assert register(registry)(net) is net
    assert registry.get("Net") is net


def test_the_same_object_twice_is_silent():
    registry = Registry("arch")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        register(registry)(make("Net", "ours"))
        register(registry)(make("Net", "ours"))


def test_a_held_name_stays_and_ours_gets_a_suffix():
    registry, theirs, ours = Registry("arch"), make("Net", "theirs"), make("Net", "ours")
    registry.register(theirs)
    with pytest.warns(RuntimeWarning, match=r"'Net' was already registered by theirs.*`type: Net_lightsr`"):
        register(registry)(ours)
    assert registry.get("Net") is theirs
    assert registry.get("Net_lightsr") is ours


def test_loading_a_module_again_does_not_crash():
    before = dict(vars(imdn_arch))
    importlib.reload(imdn_arch)
    assert "IMDN" in ARCH_REGISTRY
    vars(imdn_arch).update(before)  # networks of other tests are of these classes


def test_a_name_is_found_with_and_without_the_suffix_of_basicsr():
    registry = Registry("network")
    registry.register(type("Plain", (), {}))
    registry.register(type("Theirs", (), {}), suffix="basicsr")
    assert look_up(registry, "Plain").__name__ == "Plain"
    assert look_up(registry, "Theirs").__name__ == "Theirs"
    assert look_up(registry, "Missing") is None
    assert look_up(registry, None) is None
    assert similar_names(registry, "Plian") == "did you mean Plain?"
    assert similar_names(registry, "zzz") == ""
