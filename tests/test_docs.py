"""README and the list of files say what ``official.yml`` says, and its option files are those in ``options/``."""

import importlib.util
from inspect import signature
from pathlib import Path

import pytest
from basicsr.utils.registry import ARCH_REGISTRY

from lightsr_basicsr.tools.info.official import official_networks
from lightsr_basicsr.tools.options import read_options

ROOT = Path(__file__).resolve().parents[1]
OPTIONS = ROOT / "options"
TESTS = sorted(path.stem for path in OPTIONS.glob("test_*.yml"))
PRETRAINED = "experiments/pretrained_models/"


@pytest.fixture(scope="module")
def script():
    pytest.importorskip("spandrel", reason="the extra spandrel, which DAT-DR needs, is not installed")
    spec = importlib.util.spec_from_file_location("networks", ROOT / "docs" / "studies" / "networks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_is_up_to_date(script, path: Path, name: str, table: str):
    text = path.read_text(encoding="utf-8")
    assert script.with_part(text, name, table) == text, f"{path.name} is stale: python docs/studies/networks.py"


def test_table_of_networks_is_up_to_date(script):
    pytest.importorskip("torch.utils.flop_counter", reason="this torch cannot count multiply-adds")
    assert_is_up_to_date(script, script.NETWORKS_PAGE, "networks", script.networks_table())


def test_list_of_official_files_is_up_to_date(script):
    assert_is_up_to_date(script, script.FILES_README, "files", script.files_table())


def test_missing_markers_are_told(script):
    with pytest.raises(ValueError, match="got 0 and 0"):
        script.with_part("a README without markers", "files", "| table |")


def test_every_point_of_the_plot_has_a_color(script):
    assert set(script.COLORS) | set(script.BLIND) >= {
        entry.network for entry in official_networks() if entry.scale == 4
    }


def test_every_option_file_of_the_table_exists():
    missing = [
        name for entry in official_networks() for name in entry.options if not (OPTIONS / f"{name}.yml").is_file()
    ]
    assert missing == []


@pytest.mark.parametrize("name", TESTS)
def test_test_option_file_agrees_with_the_table(name):
    """Entries that name an option file have its network, and one of them the file that it reads."""
    listed = name.removesuffix("_bd").removesuffix("_dn")  # other data for a network that is in the table
    named = [entry for entry in official_networks() if listed in entry.options]
    assert named, f"no entry of official.yml has the option file {name}"
    options = read_options(OPTIONS / f"{name}.yml")
    network = dict(options["network_g"])
    kind = network.pop("type")
    path = options["path"]["pretrain_network_g"]
    own = path.startswith("experiments/train_") and path.endswith("_deploy.pth")
    if own:  # the table has the form that is trained
        assert network.pop("deploy", True)
    for entry in named:
        assert (entry.network, complete(kind, entry.constructor_arguments())) == (kind, complete(kind, network))
    if listed != name:
        run = f"experiments/{name.replace('test', 'train', 1)}/models/net_g_latest"
        assert path == (f"{run}_deploy.pth" if own else f"{run}.pth")
    elif path.startswith(PRETRAINED):
        assert path.removeprefix(PRETRAINED) in [entry.file for entry in named]
    else:
        assert [entry.file for entry in named] == [None], (
            "there is an official file, which the option file does not use"
        )


def complete(network: str, arguments: dict) -> dict:
    """Return all arguments, those with their default value too."""
    defaults = {name: value.default for name, value in signature(ARCH_REGISTRY.get(network)).parameters.items()}
    both = {**defaults, **arguments}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in both.items()}


def test_the_data_guide_names_the_folders_of_the_option_files():
    """Every folder that an option file reads stands in the tree of docs/data.md."""
    guide = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    tree = guide[guide.index("datasets/\n") : guide.index("Names of pairs are equal")]
    roots = set()
    for path in OPTIONS.glob("*.yml"):
        for section in read_options(path)["datasets"].values():
            roots |= {root for key, root in section.items() if key in ("dataroot_gt", "dataroot_lq")}
    missing = [root for root in roots if not all(f"{part}/" in tree for part in Path(root).parts)]
    assert missing == []
