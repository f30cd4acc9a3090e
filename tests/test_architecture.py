"""The structure that CONTRIBUTING.md describes: who may import whom, where printing and patching are allowed."""

import ast
import configparser
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "lightsr_basicsr"
FILES = sorted(PACKAGE.rglob("*.py"))
OURS = "lightsr_basicsr"

# What every module may import.
EVERYWHERE = {"stdlib", f"{OURS}.errors", f"{OURS}.registry", f"{OURS}.fields"}
# What a module may import besides; the longest prefix of its name decides.
MAY_IMPORT = {
    "_later": set(),
    "processes": set(),
    "allocator": set(),
    "_compat": {"torchvision", f"{OURS}._fixes", f"{OURS}.pictures.limits"},
    "_fixes": {"torch", "cv2", "numpy", "lmdb", "basicsr", f"{OURS}._fixes"},
    "_fixes.names": {"yaml", "basicsr"},
    "_fixes.training": {"torch", "basicsr", f"{OURS}._fixes", f"{OURS}.checkpoints.files", f"{OURS}.checkpoints.states",
                        f"{OURS}.models.contract"},
    "_fixes.validation": {"torch", "basicsr", f"{OURS}._fixes", f"{OURS}.data.readable"},
    "_fixes.keeping": {"basicsr", f"{OURS}._fixes", f"{OURS}.models.best_metrics", f"{OURS}.models.contract",
                       f"{OURS}.models.kept_checkpoints"},
    "_fixes.pictures": {"basicsr", f"{OURS}._fixes", f"{OURS}.pictures"},
    "_fixes.pool": {"torch", "basicsr", f"{OURS}._fixes", f"{OURS}.checkpoints.states"},
    "_fixes.saving": {"torch", "cv2", "basicsr", f"{OURS}._fixes", f"{OURS}.checkpoints.files",
                      f"{OURS}.checkpoints.whole"},
    "bootstrap": {OURS, "basicsr"},
    "errors": set(),
    "registry": set(),
    "plugins": {"basicsr"},
    "fields": set(),
    "yaml_loader": {"yaml"},
    "option_files": {"yaml", f"{OURS}.option_files", f"{OURS}.yaml_loader"},
    "checkpoints": {"torch", "safetensors", f"{OURS}.checkpoints.claims", f"{OURS}.checkpoints.files",
                    f"{OURS}.checkpoints.keys", f"{OURS}.checkpoints.tensors", f"{OURS}.checkpoints.whole",
                    f"{OURS}.checkpoints.write", f"{OURS}.whole"},
    "checkpoints.build": {"torch", f"{OURS}._later"},
    "checkpoints.lookalikes": {"torch", "spandrel", f"{OURS}.checkpoints.tensors"},
    "checkpoints.identify": {"torch", "basicsr.utils.registry", f"{OURS}.archs.network",
                             f"{OURS}.archs.reparameterized_arch", f"{OURS}.checkpoints"},
    "checkpoints.misfit": {"torch", f"{OURS}.archs.reparam", f"{OURS}.checkpoints"},
    "spandrel": {"torch", "basicsr.utils.registry", "spandrel", f"{OURS}.archs.network",
                 "basicsr.archs.swinir_arch", f"{OURS}.checkpoints"},
    "archs": {"torch", "einops", "basicsr.utils.registry", "basicsr.archs", "spandrel", f"{OURS}.archs"},
    "pruning": {"torch", "basicsr.utils.registry", f"{OURS}.archs.sites", f"{OURS}.archs.layers", f"{OURS}.checkpoints",
                f"{OURS}.pruning"},
    "losses": {"torch", "basicsr.utils.registry", f"{OURS}.losses"},
    "metrics": {"torch", "numpy", "pyiqa", "basicsr.utils", f"{OURS}.metrics"},
    "data": {"torch", "numpy", "cv2", "lmdb", "tqdm", "skimage", "basicsr.data", "basicsr.utils",
             f"{OURS}.data", f"{OURS}.pictures"},
    "pictures": {"numpy", "cv2", "PIL", f"{OURS}.pictures", f"{OURS}.whole"},
    "film": {"numpy", "av", f"{OURS}.film", f"{OURS}.pictures.reading", f"{OURS}.whole"},
    "film.names": {"av"},
    "whole": set(),
    "pages": {"numpy", "cv2", "PIL", f"{OURS}.pages"},
    "models": {"torch", "numpy", "basicsr", f"{OURS}.models", f"{OURS}.checkpoints", f"{OURS}.archs.reparam",
               f"{OURS}.archs.network", f"{OURS}.archs.sites", f"{OURS}.data.low_resolution", f"{OURS}.data.readable",
               f"{OURS}.pruning"},
    "weights": {"yaml", "tqdm", "gdown", OURS, f"{OURS}.tools.options", f"{OURS}.weights"},
    "runtimes": {"torch", "numpy", "onnx", "onnxruntime", "openvino", "ncnn", "pnnx", "basicsr.utils.registry",
                 f"{OURS}.archs.network", f"{OURS}.archs.reparam", f"{OURS}.checkpoints", f"{OURS}.runtimes",
                 OURS, f"{OURS}.allocator", f"{OURS}.weights.folder", f"{OURS}.whole"},
    "upscale": {"torch", "numpy", "PIL", "basicsr.utils.registry", f"{OURS}._later", f"{OURS}.archs.network",
                f"{OURS}.archs.pooling", f"{OURS}.checkpoints", f"{OURS}.film", f"{OURS}.pictures", f"{OURS}.runtimes",
                f"{OURS}.upscale", f"{OURS}.weights"},
    "tools": {"torch", "numpy", "cv2", "lmdb", "yaml", "tqdm", "PIL", "matplotlib", "sklearn", "basicsr", "onnx",
              "onnxruntime", "openvino", "nncf", "psutil", OURS, f"{OURS}._compat", f"{OURS}._later", f"{OURS}.archs",
              f"{OURS}.bootstrap", f"{OURS}.processes", f"{OURS}._fixes.sampling", f"{OURS}.checkpoints",
              f"{OURS}.allocator", f"{OURS}.data",
              f"{OURS}.models.contract", f"{OURS}.models.kdsr_plan", f"{OURS}.models.compression_plan",
              f"{OURS}.models.kept_checkpoints", f"{OURS}.option_files",
              f"{OURS}.film", f"{OURS}.pages", f"{OURS}.pictures", f"{OURS}.plugins", f"{OURS}.runtimes",
              f"{OURS}.tools", f"{OURS}.upscale",
              f"{OURS}.weights", f"{OURS}.whole", f"{OURS}.yaml_loader"},
    "tools.serve": {"numpy", "gradio", "fastapi", "uvicorn", f"{OURS}.film", f"{OURS}.pictures", f"{OURS}.runtimes",
                    f"{OURS}.tools.serve", f"{OURS}.upscale", f"{OURS}.weights"},
    "commands": {f"{OURS}._later", "yaml", "cv2", "basicsr", f"{OURS}._fixes", f"{OURS}.checkpoints",
                 f"{OURS}.allocator", f"{OURS}.commands", f"{OURS}.data",
                 f"{OURS}.film", f"{OURS}.pictures", f"{OURS}.plugins", f"{OURS}.runtimes", f"{OURS}.tools",
                 f"{OURS}.upscale", f"{OURS}.weights", f"{OURS}.whole"},
    "cli": {OURS, f"{OURS}.commands", f"{OURS}.tools"},
    "__main__": {f"{OURS}.cli"},
    "__init__": {f"{OURS}._compat", f"{OURS}.archs", f"{OURS}.data", f"{OURS}.models", f"{OURS}.losses",
                 f"{OURS}.metrics"},
}  # fmt: skip


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def imports(path: Path) -> set[str]:
    """Return dotted names of all imported modules, also those inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" if node.module == OURS else node.module for alias in node.names}
    return found


def imported_modules(path: Path) -> set[str]:
    """Return the names of our modules, packages' ``__init__`` left out, that a module imports."""
    modules, found = {module_name(file) for file in FILES if file.name != "__init__.py"}, set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == OURS:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name.removeprefix(f"{OURS}.") for name in found} & modules


def test_no_module_imports_itself_through_others():
    graph = {module_name(path): imported_modules(path) for path in FILES if path.name != "__init__.py"}
    graph["_compat"] |= {name for name in graph if name.startswith("_fixes.")}  # through the package's __init__
    while leaves := [name for name, used in graph.items() if not used]:
        graph = {name: used - set(leaves) for name, used in graph.items() if name not in leaves}
    assert not graph, "circle among: " + ", ".join(sorted(graph))


def allowed(name: str, rules: set[str]) -> bool:
    if name.split(".")[0] in sys.stdlib_module_names:
        return "stdlib" in rules
    return any(name == rule or (name.startswith(f"{rule}.") and rule != OURS) for rule in rules) or (
        OURS in rules and name.startswith(f"{OURS}.__version__")
    )


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_follow_the_directions(path):
    name = module_name(path)
    prefix = max((rule for rule in MAY_IMPORT if f"{name}.".startswith(f"{rule}.")), key=len)
    rules = MAY_IMPORT[prefix] | EVERYWHERE
    wrong = sorted(name for name in imports(path) if not allowed(name, rules))
    assert not wrong, f"{name} must not import {wrong}"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_commands_do_not_import_each_other(path):
    """What two commands need lies directly in ``tools/`` or ``commands/``, which import no folder of a command."""
    layer, *rest = module_name(path).split(".")
    if layer not in ("tools", "commands") or not rest:
        return
    folders = {folder.name for folder in (PACKAGE / "tools").iterdir() if folder.is_dir()}
    prefix = f"{OURS}.tools."
    used = {name.removeprefix(prefix).split(".")[0] for name in imports(path) if name.startswith(prefix)}
    # A run begins with the check of its option file, and the schema is made of what the check knows.
    own = {rest[0]} | ({"check"} if layer == "commands" and rest[0] in ("run", "schema") else set())
    assert used & folders <= own


@pytest.mark.parametrize("path", sorted((PACKAGE / "archs").glob("*_arch.py")), ids=module_name)
def test_networks_do_not_import_each_other(path):
    others = {name for name in imports(path) if name.startswith(OURS) and name.endswith("_arch")}
    assert not others


@pytest.mark.parametrize("folder", ["archs", "losses", "metrics", "models", "data"])
def test_every_module_that_registers_is_imported_by_its_package(folder):
    named = {
        alias.name
        for node in ast.walk(ast.parse((PACKAGE / folder / "__init__.py").read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    registering = {
        path.stem for path in (PACKAGE / folder).glob("*.py") if "@register(" in path.read_text(encoding="utf-8")
    }
    assert registering <= named


def test_importing_compat_imports_nothing_heavy_by_itself():
    top_level = ast.parse((PACKAGE / "_compat.py").read_text(encoding="utf-8")).body
    names = {alias.name for node in top_level if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in top_level if isinstance(node, ast.ImportFrom)}
    assert all(name.split(".")[0] in sys.stdlib_module_names for name in names)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_only_the_command_prints_and_only_the_door_loads(path):
    calls = [node.func for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    prints = any(isinstance(func, ast.Name) and func.id == "print" for func in calls)
    loads = any(isinstance(func, ast.Attribute) and ast.unparse(func) == "torch.load" for func in calls)
    assert not prints or module_name(path).split(".")[0] in ("cli", "commands", "bootstrap")
    assert not loads or module_name(path) in ("checkpoints.files", "checkpoints.write")


@pytest.mark.parametrize("path", [*FILES, *(ROOT / "docs").rglob("*.py")], ids=lambda path: path.stem)
def test_option_files_are_read_through_the_door(path):
    """What reads YAML by itself knows nothing of ``extends``; these read a table of ours, and texts for others."""
    calls = [node.func for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    reads = any(ast.unparse(func) in ("yaml.load", "yaml.safe_load", "yaml_load") for func in calls)
    assert not reads or module_name(path) in ("weights.official", "_fixes.names")


@pytest.mark.parametrize("path", [*FILES, *(ROOT / "docs").rglob("*.py")], ids=lambda path: path.stem)
def test_every_load_of_torch_is_of_weights_only(path):
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    loads = [call for call in calls if ast.unparse(call.func) == "torch.load"]
    assert all("weights_only=True" in map(ast.unparse, call.keywords) for call in loads)


def test_setup_cfg_lists_every_package():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    listed = set(config["options"]["packages"].split())
    there = {".".join(path.parent.relative_to(ROOT).parts) for path in PACKAGE.rglob("__init__.py")}
    assert listed == there | {f"{OURS}.options"}


# The name on the index, where it is not the name of the module.
DISTRIBUTIONS = {"cv2": "opencv-python", "PIL": "pillow", "skimage": "scikit-image", "sklearn": "scikit-learn",
                 "yaml": "pyyaml"}  # fmt: skip


def declared_packages() -> set[str]:
    setup = configparser.ConfigParser()
    setup.read(PACKAGE.parent / "setup.cfg", encoding="utf-8")
    texts = [setup["options"]["install_requires"], *setup["options.extras_require"].values()]
    lines = [line for text in texts for line in text.splitlines() if line and not line.startswith("#")]
    return {re.match(r"[\w-]+", line)[0].lower() for line in lines}


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_every_imported_package_is_declared(path):
    """What BasicSR happens to bring is declared too: another version of it may bring less."""
    foreign = {name.split(".")[0] for name in imports(path)} - sys.stdlib_module_names - {OURS}
    assert {DISTRIBUTIONS.get(name, name) for name in foreign} <= declared_packages()


def test_home_folders_are_expanded_without_an_error():
    """``Path.expanduser`` raises RuntimeError for a user that does not exist; ``os.path.expanduser`` keeps the path."""
    users = [str(file) for file in PACKAGE.rglob("*.py") if ".expanduser()" in file.read_text(encoding="utf-8")]
    assert users == []
