"""What is built of the repository holds all that it needs; `.ci/package` builds it and uses it."""

import configparser
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

import lightsr_basicsr
from lightsr_basicsr import errors
from lightsr_basicsr.errors import install_command

ROOT = Path(__file__).resolve().parents[1]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")
EXTRAS = set(SETUP["options.extras_require"])


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    """Names of all files of the repository."""
    try:
        done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a checkout of git, so that the files of the repository are not known")
    return done.stdout.splitlines()


def test_the_wheel_has_every_file_of_the_packages(tracked):
    data = {name: re.split(r"[,\s]+", value.strip()) for name, value in SETUP["options.package_data"].items()}
    places = {name: name.replace(".", "/") for name in SETUP["options"]["packages"].split()}
    places["lightsr_basicsr.options"] = "options"
    missing = []
    for name in tracked:
        if not name.startswith(("lightsr_basicsr/", "options/")) or name.endswith(".py"):
            continue
        package = max((each for each in places if name.startswith(f"{places[each]}/")), key=len)
        inside = name.removeprefix(f"{places[package]}/")
        if not any(fnmatch(inside, pattern) and inside.count("/") == pattern.count("/") for pattern in data[package]):
            missing.append(name)
    assert missing == []


def test_the_sdist_has_every_file_of_the_repository(tracked):
    lines = [line.split() for line in (ROOT / "MANIFEST.in").read_text(encoding="utf-8").splitlines()]
    included = {name for word, *names in lines if word == "include" for name in names}
    grafted = tuple(f"{name}/" for word, *names in lines if word == "graft" for name in names)
    # These setuptools takes by itself: packages, their data, and the files that say how to build.
    built = ("lightsr_basicsr/", "options/")
    known = {"README.md", "LICENSE", "MANIFEST.in", "pyproject.toml", "setup.cfg", *included}
    left_out = (".github/", ".git")
    assert [name for name in tracked if name not in known and not name.startswith((*grafted, *built, *left_out))] == []


def test_the_version_is_in_one_place():
    assert SETUP["metadata"]["version"] == "attr: lightsr_basicsr.__version__"
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    version = re.search(r"^## \[([\d.]+)\]", changes, re.MULTILINE)[1]
    assert (lightsr_basicsr.__version__, cited["version"]) == (version, version)


def test_extras_are_spelled_in_one_way_and_exist():
    for path in (ROOT / "lightsr_basicsr").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r'pip install[^\n]*"\.\[', text), f"{path}: use errors.install_command"
        assert set(re.findall(r'install_command\("(\w+)"', text)) <= EXTRAS, path


def test_extras_are_named_for_a_checkout_and_for_an_installation(monkeypatch, tmp_path):
    """A checkout by its folder, so that the command works from any, and what is written about it is not older."""
    assert install_command("web", "-U") == f'pip install -U -e "{ROOT}[web]"'
    monkeypatch.setattr(errors, "__file__", str(tmp_path / "site-packages" / "lightsr_basicsr" / "errors.py"))
    assert install_command("web") == 'pip install "lightsr-basicsr[web]"'


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda path: path.stem)
def test_workflows_run_what_exists(path):
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    steps = [step for job in found["jobs"].values() for step in job["steps"]]
    assert all(("run" in step) != ("uses" in step) for step in steps)
    words = " ".join(step.get("run", "") for step in steps)
    for name in re.findall(r"\.ci/\w+(?:\.py)?", words):
        assert (ROOT / name).is_file()
    for name in re.findall(r'-e "\.\[(\w+)\]"', words):
        assert name in EXTRAS


def test_the_readme_of_a_release_has_absolute_links():
    sys.path.insert(0, str(ROOT / ".ci"))
    try:
        from absolute_links import LINK, absolute
    finally:
        sys.path.remove(str(ROOT / ".ci"))
    made = absolute((ROOT / "README.md").read_text(encoding="utf-8"), "https://example.org/a/b", "v1")
    assert "](https://example.org/a/b/raw/v1/docs/demo.jpg)" in made
    assert "](https://example.org/a/b/blob/v1/docs/index.md)" in made
    assert not LINK.search(made)
