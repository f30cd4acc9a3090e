"""Every code block of the pages is run or checked here, or says in an invisible marker why it is not.

``<!-- not run: reason -->`` in front of a block is such a marker; NOT_RUN counts them.
"""

import ast
import configparser
import importlib.util
import json
import re
import shutil
from collections import Counter
from inspect import cleandoc
from pathlib import Path

import pytest
import torch
import yaml
from basicsr.utils.registry import ARCH_REGISTRY

import lightsr_basicsr
from lightsr_basicsr.cli import _build_parser, main
from lightsr_basicsr.runtimes.base import BackendError
from lightsr_basicsr.tools.check.context import Run
from lightsr_basicsr.tools.check.keys import check_keys, check_texts
from lightsr_basicsr.tools.check.networks import check_networks
from lightsr_basicsr.tools.options import read_options
from tests.snippets import PAGES, ROOT, SHELL, Block, blocks_of, commands_of, write_files
from tests.tiny import train_options

BLOCKS = [block for page in PAGES for block in blocks_of(page)]
RUN = [block for block in BLOCKS if block.reason is None and block.language != "text"]
# How many blocks of a page are marked as not run.
NOT_RUN = {"docs/deploy-cpp.md": 1, "docs/serve.md": 1}
# Commands that take a second or two with small files, and need neither data sets nor a network.
QUICK = {"convert", "env", "info", "list", "options", "schema", "upscale"}
# Those of them that read no files: once is enough.
ALIKE = {"env", "list", "options", "schema"}
done: set[str] = set()
# What a reader of Python blocks has already: an LR batch, a network, a function that enlarges an array.
GIVEN = {
    "lr": torch.rand(1, 3, 16, 16),
    "net": None,
    "network": lambda array: array.repeat(4, axis=2).repeat(4, axis=3),
}


@pytest.fixture
def _as_registered():
    before = dict(ARCH_REGISTRY._obj_map)
    yield
    ARCH_REGISTRY._obj_map.clear()
    ARCH_REGISTRY._obj_map.update(before)


@pytest.mark.usefixtures("_as_registered")
@pytest.mark.parametrize("block", RUN, ids=lambda block: block.name)
def test_block(block, workdir, monkeypatch):
    monkeypatch.setenv("LIGHTSR_CACHE", "cache")
    monkeypatch.setattr("lightsr_basicsr.weights.find.find_problem", lambda *file: "")  # the files are stand-ins
    if block.language in SHELL:
        if shutil.which("bash") is None:
            pytest.skip("bash, which reads the commands, is not installed")
        write_files(block)
        for words in commands_of(block):
            check_command(words)
    else:
        assert block.language in CHECKS, f"{block.name}: unknown language {block.language!r}: mark it as not run"
        CHECKS[block.language](block)


def run_python(block: Block) -> None:
    write_files(block)
    given = {**GIVEN, "net": lightsr_basicsr.load("TinySR_x4")}
    try:
        exec(compile(block.text, block.name, "exec"), {**given, "__name__": "my_script"})
    except BackendError as error:
        if "bf16" not in str(error):
            raise
        pytest.skip(str(error))


def check_yaml(block: Block) -> None:
    """Check the keys and values of an option file, or of a part that is put into a complete one."""
    content = yaml.safe_load(block.text)
    if "type" in content:
        content = {"datasets": {"train": content}}
    base = {} if "extends" in content else train_options()
    for place in (base, base.get("datasets", {})):  # networks and data sets are replaced as a whole
        for name in {**content, **content.get("datasets", {})}:
            if isinstance(place.get(name), dict) and "type" in place[name]:
                del place[name]
    Path("my.yml").write_text(yaml.safe_dump(merged(base, content), sort_keys=False), encoding="utf-8")
    run = Run(read_options(Path("my.yml")), is_train=True)
    found = [*check_keys(run), *check_texts(run.options), *check_networks(run)]
    # What a part leaves out is in the rest of the file.
    assert [f"{each.where}: {each.message}" for each in found if base == {} or each.message != "is missing"] == []


def merged(base: dict, own: dict) -> dict:
    return base | {
        key: merged(base[key], value) if isinstance(base.get(key), dict) and isinstance(value, dict) else value
        for key, value in own.items()
    }


def check_ini(block: Block) -> None:
    configparser.ConfigParser().read_string(block.text)


CHECKS = {"python": run_python, "yaml": check_yaml, "ini": check_ini, "json": lambda block: json.loads(block.text)}


def check_command(words: list[str]) -> None:
    """Parse a command of ``basicsr`` and run it where that is quick; look at what other programs are given."""
    program, *arguments = words
    if "basicsr" in words or "lightsr_basicsr.cli" in words:
        place = max(words.index(name) for name in ("basicsr", "lightsr_basicsr.cli") if name in words)
        check_basicsr(words[place + 1 :])
    elif program == "python" and arguments[0] == "-m":
        assert importlib.util.find_spec(arguments[1]), words
    elif program == "python" and arguments[0] == "-c":
        ast.parse(arguments[1])
    elif program == "python":
        assert (ROOT / arguments[0]).is_file(), words
    elif program == "cmake":
        assert arguments[0] != "-S" or (ROOT / arguments[1] / "CMakeLists.txt").is_file()


def check_basicsr(arguments: list[str]) -> None:
    _build_parser().parse_args(arguments)
    line = " ".join(arguments)
    needs_package = "--import" in arguments
    if line != "fetch --list" and (arguments[0] not in QUICK or needs_package or line in done):
        return
    assert main(arguments) == 0, arguments
    if arguments[0] in ALIKE:
        done.add(line)


def test_what_is_not_run_is_counted():
    found = Counter(block.page for block in BLOCKS if block.reason is not None)
    assert found == NOT_RUN
    assert [block.name for block in BLOCKS if block.reason == ""] == []


def test_blocks_are_found(tmp_path):
    assert Counter(block.language for block in BLOCKS if block.language)["python"] > 10
    assert sum(block.language in SHELL for block in RUN) > 40
    page = ROOT / "README.md"
    assert len(blocks_of(page)) == len(re.findall(r"^ *```\w*$", page.read_text(encoding="utf-8"), re.MULTILINE)) / 2


def test_a_shell_block_is_read_as_by_a_shell(workdir):
    text = cleandoc("""
        A=1 basicsr upscale 'a b.png' \\
          -n IMDN_x4 > out.txt   # a comment
        mkdir -p folder && basicsr env
        """)
    block = Block("page.md", 1, "", text, None)
    assert commands_of(block) == [["basicsr", "upscale", "a b.png", "-n", "IMDN_x4"], ["basicsr", "env"]]
    assert Path("folder").is_dir()
    with pytest.raises(AssertionError, match=r"page\.md:1: bash says .*no_such_program"):
        commands_of(block._replace(text="no_such_program"))
