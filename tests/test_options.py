"""Every option file parses, names registered things, and builds; options/ is the inventory of public names."""

from pathlib import Path

import pytest
import yaml
from basicsr.utils.options import ordered_yaml

from lightsr_basicsr.tools.check.options import check_options
from lightsr_basicsr.tools.options import bundled_folder, open_options, read_options
from tests.recorded_options import LINES, digest, recorded

FOLDER = Path(__file__).resolve().parents[1] / "options"
FILES = sorted(FOLDER.glob("*.yml"))
BASES = sorted((FOLDER / "bases").glob("*.yml"))
MOST_BASES = 2  # of a file: more are hard to follow


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_only_data_and_weights_are_missing(path, workdir):
    """In an empty folder an option file lacks its images and checkpoints, and nothing else."""
    options = read_options(path)
    findings = check_options(options, is_train="train" in options)
    expected = ("there is no folder", "There is no checkpoint")
    fatal = [finding for finding in findings if finding.fatal]
    assert [str(finding) for finding in fatal if not finding.message.startswith(expected)] == []
    assert [str(finding) for finding in findings if "is not read by" in finding.message] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_header_says_what_it_is_and_how_to_run_it(path):
    options, lines = read_options(path), path.read_text(encoding="utf-8").splitlines()
    header = lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]
    command = "train" if "train" in options else "test"
    command = "compress" if options["model_type"] == "CompressionModel" else command
    assert len(header) >= 2
    assert f"# basicsr {command} -opt options/{path.name}" in header
    assert options["name"] == path.stem


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_basicsr_itself_reads_the_same(path):
    """For users who start BasicSR's own scripts, with what `basicsr options` prints; its parser knows less of YAML."""
    options = read_options(path)
    found = yaml.load(open_options(path).text(), Loader=ordered_yaml()[0])
    assert found == options
    assert digest(found) == digest(options)


@pytest.mark.parametrize("name", recorded())
def test_resolved_content_is_as_recorded(name):
    """A change on purpose is recorded by ``python -m tests.recorded_options NAME``."""
    assert digest(read_options(FOLDER / f"{name}.yml")) == recorded()[name]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_name_of_the_file_follows_the_rule(path):
    parts = path.stem.split("_")
    assert parts[0] in ("train", "test", "demo", "compress")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_few_files_extend_each_other(path):
    layers = open_options(path).layers
    assert len(layers) <= 1 + MOST_BASES
    inside = [layer.path.resolve().relative_to(FOLDER) for layer in layers]
    assert all(len(each.parts) == 1 or each.parts[0] == "bases" for each in inside)


def test_bases_say_what_they_are_and_are_used():
    used = {layer.path.resolve() for path in FILES for layer in open_options(path).layers}
    assert used.issuperset(BASES)
    for path in BASES:
        header = " ".join(
            line.lstrip("# ") for line in path.read_text(encoding="utf-8").splitlines() if line[0:1] == "#"
        )
        assert "A base: options/" in header
        assert "name" not in read_options(path)


def test_extending_halves_the_option_files():
    files = [*(FOLDER / f"{name}.yml" for name in recorded()), *BASES]
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files) <= LINES / 2


def test_bundled_copies_are_the_same_files():
    assert sorted(path.name for path in bundled_folder().glob("*.yml")) == [path.name for path in FILES]
    assert sorted(path.name for path in bundled_folder().glob("bases/*.yml")) == [path.name for path in BASES]
