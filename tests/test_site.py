"""The site of docs/: every page has its place, it is built without a warning, and it needs no network."""

import ast
import importlib.util
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.snippets import ROOT

DOCS = ROOT / "docs"
NOTEBOOKS = sorted(DOCS.rglob("*.ipynb"))
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WITHOUT_MKDOCS = "the extra docs, with MkDocs, is not installed"
API = re.compile(r"^::: (\S+)$", re.MULTILINE)
ADDRESS = re.compile(
    r"""(?:src|srcset|data-src)=["']?(https?:)?//|<link[^>]+href=["']?(https?:)?//|url\(["']?https?://"""
)


# Messages of others, and names, among the symptoms of the troubleshooting.
THEIRS = {
    "No module named 'torchvision.transforms.functional_tensor'", "No module named 'torch'", "libGL.so.1",
    "pkg_resources", "basicsr: command not found", "KeyError: 'params'", "NAME_archived_...",
    "unrecognized arguments: --local-rank",
}  # fmt: skip


class Loader(yaml.SafeLoader):
    """Reads mkdocs.yml, whose tags are MkDocs' own."""


Loader.add_constructor("!ENV", lambda loader, node: loader.construct_sequence(node)[-1])
CONFIG = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)


def pages_in(nav) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [page for each in (nav.values() if isinstance(nav, dict) else nav) for page in pages_in(each)]


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_is_in_the_navigation_once():
    pages = [str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")]
    pages += [str(path.relative_to(DOCS).with_suffix(".md")) for path in NOTEBOOKS]
    named = pages_in(CONFIG["nav"])
    assert sorted(set(named)) == sorted(named)
    assert sorted(page for page in named if not page.startswith("project/")) == sorted(pages)
    outside = [page.removeprefix("project/") for page in named if page.startswith("project/")]
    assert [path for path in outside if not (ROOT / path).is_file()] == []


def test_the_reference_of_python_is_complete():
    """Everything that an option file can name has its entry, and every entry exists with a docstring."""
    entries = [name for page in (DOCS / "api").glob("*.md") for name in API.findall(page.read_text(encoding="utf-8"))]
    assert [name for name in entries if not pkgutil.resolve_name(name).__doc__] == []
    inventory = (ROOT / "tests" / "data" / "inventory.txt").read_text(encoding="utf-8")
    kinds = re.findall(r"^(?:networks|models|datasets|losses|metrics): (.*)$", inventory, re.MULTILINE)
    assert len(kinds) == 5
    registered = {name for names in kinds for name in names.split()}
    assert registered - {name.rpartition(".")[2] for name in entries} == set()


def test_symptoms_are_messages_of_the_code():
    """A message that the troubleshooting quotes, and that is ours, is in the code."""
    texts = [
        node.value
        for path in (ROOT / "lightsr_basicsr").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    quoted = [span for row in re.findall(r"^\| (.*?) \|", page, re.MULTILINE) for span in re.findall(r"`([^`]+)`", row)]
    missing = [span for span in quoted if not any(span in text for text in texts)]
    assert set(missing) == THEIRS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run_and_their_outputs_are_kept(path, workdir):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    found = load(DOCS / "studies" / "notebooks.py").run(notebook)
    for old, new in zip(notebook["cells"], found["cells"], strict=True):
        kinds = [[sorted(output.get("data", output)) for output in cell.get("outputs", [])] for cell in (old, new)]
        assert kinds[0] == kinds[1], "stale: python docs/studies/notebooks.py"
    assert path.stat().st_size < 200_000


@pytest.fixture(scope="module")
def hooks():
    pytest.importorskip("mkdocs", reason=WITHOUT_MKDOCS)
    return load(DOCS / "theme" / "hooks.py")


def test_links_to_files_outside_become_pages(hooks):
    assert hooks.path_of("../options/train_imdn_x4.yml", "docs/train.md") == "options/train_imdn_x4.yml"
    assert hooks.path_of("data.md#folders", "docs/train.md") == "docs/data.md"
    assert (hooks.path_of("https://a.org/b.md", "README.md"), hooks.path_of("#top", "README.md")) == (None, None)
    for path, page in {
        "docs/train.md": "train.md",
        "docs/notebooks/quickstart.ipynb": "notebooks/quickstart.md",
        "docs/pictures/hero.jpg": "pictures/hero.jpg",
        "docs/studies": "project/docs/studies/index.md",
        "docs/studies/tiles.py": "project/docs/studies/tiles.py.md",
        "CONTRIBUTING.md": "project/CONTRIBUTING.md",
        "LICENSE": "project/LICENSE.md",
        "options/train_imdn_x4.yml": "project/options/train_imdn_x4.yml.md",
    }.items():
        assert hooks.page_of(path) == page
        if page.endswith(".md") and not path.endswith(".ipynb"):
            assert hooks.source_of(page) == path
    assert hooks.LINK.findall("`[a](b)` [c](d.md)\n```\n[e](f)\n```\n[`g`](h#i)")[1] == ("", "d.md")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    for package in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(package, reason=WITHOUT_MKDOCS)
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "WARNING" not in done.stderr
    return folder


def test_the_site_loads_nothing_from_the_network(site):
    files = [path for path in site.rglob("*") if path.suffix in (".html", ".css")]
    assert len(files) > 100
    assert [str(path) for path in files if ADDRESS.search(path.read_text(encoding="utf-8"))] == []
    assert (site / "search" / "search_index.js").is_file()


def test_the_site_has_what_pages_link(site):
    pages = {path: path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    missing = []
    for path, text in pages.items():
        for target in re.findall(r'(?:href|src)="([^"#?:]+)(?:#[^"]*)?"', text):
            if path.name != "404.html" and not (path.parent / target).exists():
                missing.append(f"{path.relative_to(site)}: {target}")
    assert missing == []
    assert "lightsr_basicsr.Upscaler" in pages[site / "api" / "upscale.html"]
    assert "quickstart.ipynb" in pages[site / "notebooks" / "quickstart.html"]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_the_search_works_from_disk(site, tmp_path):
    words = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
    )
    address = f"{(site / 'index.html').as_uri()}?q=tiles+memory"
    done = subprocess.run(
        [CHROMIUM, *words, f"--user-data-dir={tmp_path}", "--virtual-time-budget=60000", "--enable-logging=stderr",
         "--dump-dom", address], capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert 'upscale.html?h=tiles+memory#memory-and-tiles"' in done.stdout
    assert "CONSOLE" not in done.stderr
