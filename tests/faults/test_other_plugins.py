"""Other packages that extend BasicSR: named in a file or by the command, missing, broken, with names of ours."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from basicsr.utils import color_util
from basicsr.utils.registry import ARCH_REGISTRY, MODEL_REGISTRY

from lightsr_basicsr import plugins
from lightsr_basicsr.cli import main
from lightsr_basicsr.plugins import PluginError, import_plugins
from lightsr_basicsr.registry import PluginWarning
from lightsr_basicsr.tools.check.schema import option_schema
from tests import tiny

pytestmark = pytest.mark.faults

PROCESSES = 2 if os.environ.get("LIGHTSR_FAULTS") else 1  # of the distributed run

# A plugin in BasicSR's form, whose __init__ imports nothing.
PLUGIN = {
    "__init__": "",
    "archs/__init__": "from {name}.archs import net_arch",
    "archs/net_arch": """
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

@ARCH_REGISTRY.register()
class {prefix}Net(nn.Module):
    "One convolution at x2."
    def __init__(self, num_feat=12):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, num_feat, 3, 1, 1), nn.PixelShuffle(2))
    def forward(self, x):
        return self.body(x)
""",
    "data/__init__": """
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.utils.registry import DATASET_REGISTRY

@DATASET_REGISTRY.register()
class {prefix}Dataset(PairedImageDataset):
    pass
""",
    "models/__init__": """
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import MODEL_REGISTRY

@MODEL_REGISTRY.register()
class {prefix}Model(SRModel):
    def test(self):
        self.tile = self.opt["tile"]["tile_size"]
        super().test()
""",
}
ONE_NETWORK = """
from basicsr.utils.registry import ARCH_REGISTRY
@ARCH_REGISTRY.register()
class {name}:
    "Of somebody else."
"""


def write_plugin(folder: Path, name: str, prefix: str) -> None:
    for file, code in PLUGIN.items():
        path = folder / name / f"{file}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code.format(name=name, prefix=prefix))


def options_of(prefix: str, **more) -> dict:
    options = {**tiny.train_options(total_iter=2), "model_type": f"{prefix}Model", "tile": {"tile_size": 8}, **more}
    options["network_g"] = {"type": f"{prefix}Net"}
    options["datasets"]["train"].update(type=f"{prefix}Dataset", num_worker_per_gpu=1)
    options["val"].update(val_freq=2)
    return options


@pytest.fixture
def site(workdir, monkeypatch) -> Path:
    folder = workdir / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(plugins, "imported", [])
    tiny.make_pairs(workdir / "data", 8)
    return folder


def python(code: str, folder: Path) -> subprocess.CompletedProcess:
    start = f"import sys\nsys.path.insert(0, {str(folder)!r})\n"
    return subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, check=False)


def test_the_plugins_of_an_option_file_are_imported_first(site, capsys):
    write_plugin(site, "yml_plugin", "Yml")
    assert main(["train", "-opt", tiny.write(options_of("Yml", plugins=["yml_plugin"]))]) == 0
    assert Path("experiments/tiny/models/net_g_2.pth").is_file()
    assert main(["convert", "experiments/tiny/models/net_g_2.pth", "--opt", "run.yml"]) == 2
    assert "there is nothing to convert" in capsys.readouterr().err


def test_the_command_line_names_plugins_too(site, capsys):
    write_plugin(site, "typed_plugin", "Typed")
    path = tiny.write(options_of("Typed"))
    assert main(["train", "-opt", path]) == 2
    assert "model_type: no model named 'TypedModel' is registered" in (told := capsys.readouterr().err)
    assert "`plugins: [PACKAGE]` in the option file, or --import PACKAGE" in told
    assert not Path("experiments").exists()
    assert main(["train", "-opt", path, "--import", "typed_plugin"]) == 0
    assert main(["list", "networks", "--import", "typed_plugin"]) == 0
    assert "TypedNet" in capsys.readouterr().out
    assert main(["schema", "--import", "typed_plugin"]) == 0
    assert "TypedDataset" in capsys.readouterr().out


def test_processes_of_torchrun_and_of_data_loading_know_them(site, monkeypatch):
    """Under torchrun the processes that load data are spawned: they import the package of the data set on their own."""
    write_plugin(site, "spawned_plugin", "Spawned")
    monkeypatch.setenv("PYTHONPATH", str(site) + ":" + str(Path(__file__).parents[2]))
    path = tiny.write(options_of("Spawned", plugins=["spawned_plugin"]))
    torchrun = f"-m torch.distributed.run --standalone --nproc_per_node={PROCESSES} -m lightsr_basicsr.cli"
    command = [sys.executable, *torchrun.split(), "train", "--launcher", "pytorch", "-opt", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert Path("experiments/tiny/models/net_g_2.pth").is_file()


@pytest.mark.parametrize(("code", "message"), [
    (None, "plugin bad_{} is not installed in"),
    ("import no_such_module_at_all", "needs no_such_module_at_all, which is not installed: pip install no_such"),
    ("import basicsr.no_such_part", "needs basicsr.no_such_part, which this BasicSR does not have"),
    ("raise RuntimeError('no GPU')", "plugin bad_{} cannot be imported: RuntimeError: no GPU"),
    ("import sys; sys.exit(2)", "plugin bad_{} cannot be imported: SystemExit: 2"),
    ("def broken(:", "plugin bad_{} cannot be imported: SyntaxError"),
])  # fmt: skip
@pytest.mark.parametrize("way", ["file", "command"])
def test_what_is_missing_or_fails_is_told_before_a_folder_is_made(code, message, way, site, capsys, request):
    name = f"bad_{abs(hash(request.node.name))}"
    if code:
        (site / f"{name}.py").write_text(code)
    options = tiny.train_options()
    path = tiny.write({**options, "plugins": [name]} if way == "file" else options)
    typed = ["--import", name] if way == "command" else []
    assert main(["train", "-opt", path, *typed]) == 2
    assert message.format(name.removeprefix("bad_")) in capsys.readouterr().err
    assert not Path("experiments").exists()


def test_every_plugin_that_fails_is_told(site):
    (site / "fails_one.py").write_text("1 / 0")
    with pytest.raises(PluginError) as caught:
        import_plugins(["missing_one", "fails_one", "missing_two.archs"])
    lines = str(caught.value).splitlines()
    assert lines[0] == "3 plugins cannot be imported."
    assert "pip install missing_one" in lines[1]
    assert "ZeroDivisionError" in lines[2]
    assert "`pip install missing_two`" in lines[3]
    with pytest.raises(PluginError, match=r"the package yaml is there, but it has no yaml\.archs"):
        import_plugins(["yaml.archs"])


def test_a_package_that_registers_nothing_is_told():
    with pytest.warns(PluginWarning, match=r"plugin colorsys registers no name.*colorsys\.py"):
        import_plugins(["colorsys"])


@pytest.mark.parametrize("wrong", ["hat", ["./hat"], [5], {"hat": 1}, ["my-plugin"], [None], [[]], True, 7, ["a..b"]])
def test_other_values_are_told(wrong, site, capsys):
    assert main(["train", "-opt", tiny.write({**tiny.train_options(), "plugins": wrong})]) == 2
    told = capsys.readouterr().err
    assert "plugins: must be a list, each a name that Python can import, such as realesrgan, got" in told
    assert option_schema()["definitions"]["file"]["properties"]["plugins"]["items"]["type"] == "string"


@pytest.mark.parametrize("none", [None, []])
def test_no_plugins_are_fine(none):
    import_plugins(none)


@pytest.mark.parametrize("first", ["theirs", "ours"])
def test_one_name_of_two_packages(first, site):
    """Whichever is imported first keeps its name; the other one has a name of its own, and both are told."""
    (site / "clashing.py").write_text(ONE_NETWORK.format(name="IMDN") + ONE_NETWORK.format(name="TheirNet"))
    # As on torchvision 0.16 and before, where BasicSR can be imported without this package.
    old = "import torchvision.transforms.functional as f\nsys.modules['torchvision.transforms.functional_tensor'] = f\n"
    order = ["clashing", "lightsr_basicsr"] if first == "theirs" else ["lightsr_basicsr", "clashing"]
    done = python(f"""{old}
import {order[0]}
import {order[1]}
from basicsr.utils.registry import ARCH_REGISTRY as found
print(found.get("IMDN").__module__, "TheirNet" in found, "IMDN_RTC" in found)
print(*(name for name in found.keys() if name.startswith("IMDN_l") or name.startswith("IMDN_c")))
""", site)  # fmt: skip
    assert done.returncode == 0, done.stderr
    holder, other = ("clashing", "IMDN_lightsr") if first == "theirs" else ("lightsr_basicsr", "IMDN_clashing")
    assert done.stdout.startswith(holder)
    assert done.stdout.split()[1:] == ["True", "True", other]
    assert f"`type: {other}`" in done.stderr
    assert "IMDN_RTC" not in done.stderr


def test_the_first_plugin_keeps_a_name_and_the_sentence_says_how_to_choose(site, capsys):
    for name in ("gan_a", "gan_b"):
        (site / f"{name}.py").write_text(ONE_NETWORK.format(name="SharedNet"))
    assert main(["list", "networks", "--import", "gan_b", "--import", "gan_a"]) == 0
    told = capsys.readouterr()
    assert "is that of gan_b, which was first; for that of gan_a write `type: SharedNet_gan_a`." in told.err
    assert ARCH_REGISTRY.get("SharedNet").__module__ == "gan_b"
    assert ARCH_REGISTRY.get("SharedNet_gan_a").__module__ == "gan_a"


def test_two_classes_of_one_name_in_one_plugin_stay_its_mistake(site):
    (site / "twice.py").write_text(ONE_NETWORK.format(name="TwiceNet"))
    (site / "twice_again").mkdir()
    (site / "twice_again" / "__init__.py").write_text("from twice_again import a, b")
    for part in ("a", "b"):
        (site / "twice_again" / f"{part}.py").write_text(ONE_NETWORK.format(name="AgainNet"))
    with pytest.raises(PluginError, match=r"plugin twice_again cannot be imported: AssertionError: .*AgainNet"):
        import_plugins(["twice", "twice_again"])


def test_a_plugin_that_failed_can_be_imported_again(site):
    code = ONE_NETWORK.format(name="RetriedNet")
    (site / "retried.py").write_text(f"{code}\nraise RuntimeError('half way')")
    for _ in range(2):
        with pytest.raises(PluginError, match="half way"):
            import_plugins(["retried"])
    (site / "retried.py").write_text(code + "\n" * 200)
    importlib.invalidate_caches()
    import_plugins(["retried"])
    assert ARCH_REGISTRY.get("RetriedNet") is sys.modules["retried"].RetriedNet


def test_a_plugin_that_pip_installed_is_found(site):
    pytest.importorskip("setuptools")
    source = site.parent / "source"
    write_plugin(source, "piped_plugin", "Piped")
    (source / "setup.cfg").write_text(
        "[metadata]\nname = piped-plugin\nversion = 1.0\n[options]\npackages = find:\n"
        "[options.entry_points]\nbasicsr.plugins =\n    piped = piped_plugin.models\n"
    )
    (source / "pyproject.toml").write_text("[build-system]\nrequires = ['setuptools']\n")
    pip = f"-m pip install --quiet --no-deps --no-build-isolation --target {site} {source}"
    done = subprocess.run([sys.executable, *pip.split()], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"pip cannot build here: {done.stderr[-200:]}")
    assert main(["list", "models"]) == 0
    assert "PipedModel" in MODEL_REGISTRY


@pytest.mark.parametrize("name", ["rgb2ycbcr", "bgr2ycbcr", "ycbcr2rgb", "ycbcr2bgr"])
def test_conversions_of_colours_are_where_older_releases_had_them(name):
    moved = getattr(importlib.import_module("basicsr.utils.matlab_functions"), name)
    image = np.random.default_rng(0).random((4, 5, 3), np.float32)
    np.testing.assert_array_equal(moved(image), getattr(color_util, name)(image))


def test_losses_are_where_older_releases_had_them():
    from basicsr.losses import GANLoss, L1Loss, PerceptualLoss  # noqa: F401
    from basicsr.losses.losses import CharbonnierLoss, MSELoss, r1_penalty  # noqa: F401


def test_an_option_file_is_read_as_by_newer_releases(workdir):
    from basicsr.utils import yaml_load
    from basicsr.utils.options import yaml_load as same

    Path("a.yml").write_text(yaml.safe_dump({"name": "é", "scale": 4}), encoding="utf-8")
    assert yaml_load("a.yml") == same("name: é\nscale: 4") == {"name": "é", "scale": 4}
