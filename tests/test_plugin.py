"""The package as installed: entry points, and plugins of others beside it."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from lightsr_basicsr import cli


def entry_points(group: str) -> dict[str, str]:
    found = {point.name: point.value for point in importlib.metadata.entry_points(group=group)}
    if group == "console_scripts" and "basicsr" not in found:
        pytest.skip("the package is not installed: its commands exist after pip install")
    return found


def test_the_command_has_two_names():
    found = entry_points("console_scripts")
    assert found["basicsr"] == found["lightsr"] == "lightsr_basicsr.cli:main"


def write_plugin(folder: Path, name: str, code: str) -> None:
    """Lay an installed distribution with one module and one entry point into ``folder``."""
    (folder / f"{name}.py").write_text(code)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[basicsr.plugins]\n{name} = {name}\n")


@pytest.fixture
def site(tmp_path, monkeypatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


ARCH = """
from basicsr.utils.registry import ARCH_REGISTRY
@ARCH_REGISTRY.register()
class {name}:
    "A network of somebody else."
"""


def test_networks_of_other_plugins_are_there(site, capsys):
    write_plugin(site, "neighbour", ARCH.format(name="NeighbourNet"))
    assert cli.main(["list", "networks"]) == 0
    assert "NeighbourNet" in capsys.readouterr().out


def test_a_plugin_that_fails_is_reported_and_not_fatal(site, capsys):
    write_plugin(site, "broken", "import a_module_that_does_not_exist")
    assert cli.main(["list", "networks"]) == 0
    told = capsys.readouterr()
    assert "plugin broken (broken 1.0) could not be imported: ModuleNotFoundError" in told.err
    assert "IMDN" in told.out


def test_one_name_of_two_plugins_is_told_and_both_are_there(site, capsys):
    write_plugin(site, "first_gan", ARCH.format(name="SameNet"))
    write_plugin(site, "second_gan", ARCH.format(name="SameNet"))
    assert cli.main(["list", "networks", "--import", "first_gan", "--import", "second_gan"]) == 0
    told = capsys.readouterr()
    assert "SameNet_" in told.out
    first, second = ("first_gan", "second_gan") if "SameNet_second_gan" in told.out else ("second_gan", "first_gan")
    sentence = f"`type: SameNet` in an option file is that of {first}, which was first; for that of {second} write"
    assert f"basicsr: {sentence} `type: SameNet_{second}`." in told.err


def test_a_plugin_that_was_first_keeps_its_name_and_ours_loads(site):
    """In a fresh interpreter the neighbour registers IMDN before BasicSR's import ends, as KAIR-like plugins would."""
    write_plugin(site, "kair_like", ARCH.format(name="IMDN"))
    code = f"""
import sys, warnings
sys.path.insert(0, {str(site)!r})
from lightsr_basicsr import _compat
after = next(f for f in sys.meta_path if isinstance(f, _compat.BasicsrWatcher))
register = after.after
def theirs_first():
    import kair_like
    register()
after.after = theirs_first
import basicsr
from basicsr.utils.registry import ARCH_REGISTRY
assert ARCH_REGISTRY.get("IMDN").__module__ == "kair_like"
assert ARCH_REGISTRY.get("IMDN_lightsr").__module__ == "lightsr_basicsr.archs.imdn_arch"
assert "IMDN_RTC" in ARCH_REGISTRY
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "PluginWarning: 'IMDN' was already registered by kair_like" in done.stderr


@pytest.mark.parametrize(
    "code",
    [
        "from lightsr_basicsr import identify",
        "import lightsr_basicsr; lightsr_basicsr.spandrel",
        "import lightsr_basicsr.spandrel",
        "import lightsr_basicsr.checkpoints.identify",
    ],
)
def test_every_door_says_how_to_install_basicsr(code):
    blocked = (
        "import importlib.util as u; f = u.find_spec; u.find_spec = lambda n, *a: None if n == 'basicsr' else f(n, *a)"
    )
    run = subprocess.run([sys.executable, "-c", f"{blocked}\n{code}"], capture_output=True, text=True)
    assert "The package basicsr is not installed" in run.stderr.splitlines()[-1]
    assert "python -m lightsr_basicsr.bootstrap" in run.stderr.splitlines()[-1]
