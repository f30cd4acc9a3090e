"""The pages: generated tables are up to date, links and commands are right, and the README stays short."""

import ast
import configparser
import importlib.util
import json
import re
import shlex
import subprocess
import sys
from inspect import signature
from pathlib import Path
from textwrap import dedent

import pytest
import yaml
from basicsr.utils.registry import ARCH_REGISTRY

from lightsr_basicsr.cli import _build_parser
from lightsr_basicsr.tools.check.reference import reference_page
from lightsr_basicsr.tools.options import find_option_file, read_options
from lightsr_basicsr.weights.official import official_networks

ROOT = Path(__file__).resolve().parents[1]
OPTIONS = ROOT / "options"
TESTS = sorted(path.stem for path in OPTIONS.glob("test_*.yml"))
PRETRAINED = "experiments/pretrained_models/"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *DOCS,
    *sorted((ROOT / "experiments").glob("**/README.md")),
]
README = ROOT / "README.md"
MOST_LINES, MOST_WORDS, WIDEST = 150, 1200, 140
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
GENERATED = re.compile(r"<!-- (\w+): made by .*?<!-- /\1 -->", re.DOTALL)
# Files of the reader, and the network that CONTRIBUTING adds.
EXAMPLES = re.compile(r"my\.yml|\w*(espcn|ecbsr)\w*\.yml")


def page_id(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture(params=PAGES, ids=page_id)
def page(request) -> Path:
    return request.param


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


@pytest.mark.parametrize("name", ["families", "networks", "files"])
def test_generated_tables_are_up_to_date(script, name):
    if name == "networks":
        pytest.importorskip("torch.utils.flop_counter", reason="this torch cannot count multiply-adds")
    path, make = next((path, make) for path, part, make in script.PARTS if part == name)
    assert_is_up_to_date(script, path, name, make())


def test_every_network_of_a_family_is_in_the_table(script):
    titles = {entry.title for entry in official_networks()}
    missing = [title for family in script.FAMILIES for title in family.titles if title not in titles]
    assert missing == []
    assert len(script.FAMILIES) <= 8


def test_missing_markers_are_reported(script):
    with pytest.raises(ValueError, match="got 0 and 0"):
        script.with_part("a README without markers", "files", "| table |")


def test_every_point_of_the_plot_has_a_color(script):
    assert set(script.COLORS) | set(script.BLIND) >= {
        entry.network for entry in official_networks() if entry.scale == 4
    }


def test_the_reference_of_options_is_up_to_date():
    page = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    assert page == reference_page(), "docs/options.md is stale: basicsr schema --markdown > docs/options.md"


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


# Links


def outside_code(text: str) -> str:
    """Return a page without its code blocks and code spans."""
    return re.sub(r"`[^`]+`", "``", FENCE.sub("", text))


def slugs(path: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", shown.strip().lower()).replace(" ", "-")
        number = sum(1 for other in found if re.fullmatch(rf"{re.escape(slug)}(-\d+)?", other))
        found.add(f"{slug}-{number}" if slug in found else slug)
    return found


@pytest.mark.parametrize(
    ("text", "anchors"),
    [
        ("# What's new?\n## What's new?\n", {"whats-new", "whats-new-1"}),
        ("## `load`: a *file*\n", {"load-a-file"}),
        ("## [0.2.0] - 2026\n```\n# no heading\n```\n## See [this](x.md)\n", {"020---2026", "see-this"}),
    ],
)
def test_anchors_are_those_of_github(tmp_path, text, anchors):
    path = tmp_path / "page.md"
    path.write_text(text)
    assert slugs(path) == anchors


def test_every_link_resolves(page):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", outside_code(page.read_text(encoding="utf-8"))):
        if re.match(r"https?:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (anchor and anchor not in slugs(path)):
            broken.append(target)
    assert broken == []


def test_the_index_links_every_page():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    missing = [path.name for path in DOCS if path.name != "index.md" and f"]({path.name})" not in index]
    assert missing == []


# Commands


def shell_lines(text: str) -> list[str]:
    """Return the lines of a page's shell blocks, continued lines joined."""
    blocks = [block for language, block in FENCE.findall(text) if language in ("", "bash", "sh")]
    return [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]


def code_spans(text: str) -> list[str]:
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", FENCE.sub("", text))]


def arguments_of(command: str) -> list[str] | None:
    """Return the arguments of a ``basicsr`` command, or of its launch by torchrun; None for other programs."""
    words = shlex.split(command, comments=True)
    if "lightsr_basicsr.cli" in words:
        words = words[words.index("lightsr_basicsr.cli") :]
    elif words[:1] != ["basicsr"]:
        return None
    return words[1 : next((place for place, word in enumerate(words) if word in (">", "|")), None)]


def commands_of(page: Path) -> list[list[str]]:
    text = page.read_text(encoding="utf-8")
    lines = [part for line in shell_lines(text) for part in line.split("&&")]
    # A span of bare words, as `basicsr train`, names a command.
    spans = [span for span in code_spans(text) if span.startswith("basicsr ") and re.search(r" -|[/.]", span)]
    return [words for command in (*lines, *spans) if (words := arguments_of(command)) is not None]


def test_every_command_parses(page, capsys):
    for words in commands_of(page):
        try:
            args = _build_parser().parse_args(words)
        except SystemExit as left:
            if left.code:
                pytest.fail(f"basicsr {shlex.join(words)}: {capsys.readouterr().err}")
            continue
        if words[0] in ("train", "test") and not EXAMPLES.fullmatch(Path(args.opt).name):
            read_options(find_option_file(args.opt), args.force_yml or ())


def test_every_named_command_exists(page, capsys):
    for span in code_spans(page.read_text(encoding="utf-8")):
        if re.fullmatch(r"basicsr( [a-z]+){1,2}", span):
            with pytest.raises(SystemExit) as left:
                _build_parser().parse_args([*span.split()[1:], "--help"])
            assert left.value.code == 0, f"{span}: {capsys.readouterr().err}"


def test_commands_are_found():
    assert sum(len(commands_of(path)) for path in PAGES) > 60
    assert arguments_of("torchrun --nproc_per_node=2 -m lightsr_basicsr.cli train -opt my.yml  # two") == [
        "train", "-opt", "my.yml",
    ]  # fmt: skip
    assert arguments_of("basicsr schema > lightsr.schema.json") == ["schema"]
    assert arguments_of("pip install .") is None


def test_every_named_option_file_and_study_exists(page):
    text = page.read_text(encoding="utf-8")
    files = {name for name in re.findall(r"\b(?:demo_)?(?:train|test)_\w+\.yml", text) if not EXAMPLES.fullmatch(name)}
    assert [name for name in sorted(files) if not (OPTIONS / name).is_file()] == []
    studies = set(re.findall(r"docs/studies/\w+\.py", text))
    assert [name for name in sorted(studies) if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize(
    "path", [*PAGES, *sorted(OPTIONS.glob("*.yml")), *sorted((ROOT / "lightsr_basicsr").rglob("*.py"))], ids=page_id
)
def test_installation_needs_no_index(path):
    """The package is on no index: extras are added to a checkout or to what is installed, and exist."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"pip install (-U )?\"?lightsr[-_]basicsr(?!\[)", text)
    extras = {extra for names in re.findall(r"(?:\.|lightsr-basicsr)\[([\w,]+)\]", text) for extra in names.split(",")}
    assert extras <= set(setup["options.extras_require"])


def test_code_blocks_parse(page):
    parsers = {"python": ast.parse, "yaml": yaml.safe_load, "json": json.loads}
    for language, block in FENCE.findall(page.read_text(encoding="utf-8")):
        if language in parsers:
            parsers[language](dedent(block))


# One name of each module: what is imported first decides whether a circle shows.
PYTHON_NAMES = {
    found[1]: found[0]
    for path in (README, *DOCS)
    for span in code_spans(path.read_text(encoding="utf-8"))
    if (found := re.match(r"(lightsr_basicsr(?:\.\w+)*)\.\w+", span)) and "bootstrap" not in span
}


@pytest.mark.parametrize("name", PYTHON_NAMES.values())
def test_named_python_objects_are_found_first_thing(name):
    if name.startswith("lightsr_basicsr.spandrel"):
        pytest.importorskip("spandrel", reason="the extra spandrel is not installed")
    subprocess.run([sys.executable, "-c", f"import pkgutil; pkgutil.resolve_name({name!r})"], check=True, timeout=120)


# Size, citation


def test_the_readme_is_short():
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    assert len(text.split()) <= MOST_WORDS
    assert FENCE.search(text)[2].strip() == "pip install . && basicsr train -opt options/demo_train_imdn_x4.yml"


def test_lines_fit_a_screen(page):
    if page.name == "options.md":
        pytest.skip("generated as a whole")
    wide = GENERATED.sub("", page.read_text(encoding="utf-8")).splitlines()
    assert [line for line in wide if len(line) > WIDEST] == []


def test_the_citation_file_is_complete():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation.keys() >= {"cff-version", "message", "title", "authors", "version", "date-released", "license"}
    assert str(citation["cff-version"]) == "1.2.0"
    released = re.search(r"^## \[(\d.*)\] - (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert (str(citation["version"]), str(citation["date-released"])) == released.groups()
    for reference in citation["references"]:
        assert reference.keys() >= {"type", "title", "authors", "year", "url"}
        assert all(author.keys() in ({"family-names", "given-names"}, {"name"}) for author in reference["authors"])
    papers = {reference["url"] for reference in citation["references"]}
    assert set(re.findall(r"https://arxiv\.org/abs/[\d.]+", README.read_text(encoding="utf-8"))) <= papers
