"""Option files that are attacks or accidents of YAML: a message with the place, in bounded time."""

import pytest
import yaml

from lightsr_basicsr.cli import main
from lightsr_basicsr.tools.options import OptionError, read_options
from lightsr_basicsr.yaml_loader import MOST_DEPTH, load_yaml
from tests import tiny

pytestmark = pytest.mark.faults

NINES = range(1, 10)
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in NINES
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 9)}]}}\n" for level in NINES
)
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{level}: &a{level} [*a{level - 1}]\n" for level in range(1, 100))

ATTACKS = {
    "a number as key": ("5: x", "a key must be a text, got 5"),
    "a date as key": ("2024-01-01: x", "a key must be a text"),
    "null as key": ("null: x", "a key must be a text"),
    "true as key": ("train: {on: 1}", "a key must be a text, got on"),
    "a list as key": ("[a]: b", "a key must be a text, got a sequence"),
    "a mapping as key": ("? {a: 1}\n: b", "a key must be a text, got a mapping"),
    "a list in itself": ("r: &r [*r]", "contains itself"),
    "a section in itself": ("r: &r {a: {b: *r}}", "contains itself"),
    "deep lists": ("a: " + "[" * 2000 + "]" * 2000, "levels in each other"),
    "deep sections": ("a: " + "{b: " * 2000, "levels in each other"),
    "deep on one line": ("- " * 2000 + "x", "levels in each other"),
    "deep by aliases": (CHAIN, "levels in each other"),
    "an alias bomb": (BOMB, "more than 20,000 values"),
    "a bomb of merges": (MERGES, "more than 20,000 values"),
    "a long list": ("a: [" + "1," * 30_000 + "]", "more than 20,000 values"),
    "an impossible date": ("d: 2024-13-45", "is of the kind timestamp"),
    "a date": ("name: 2024-01-01", "is of the kind timestamp"),
    "a wrong integer": ("x: !!int x", "x is not a valid int"),
    "a wrong float": ("x: !!float one", "one is not a valid float"),
    "a wrong boolean": ("x: !!bool maybe", "maybe is not a valid bool"),
    "bytes": ("x: !!binary aGk=", "is of the kind binary"),
    "a set": ("x: !!set {a}", "is of the kind set"),
    "an object": ("x: !!python/object/apply:os.getcwd []", "is of the kind python/object/apply:os.getcwd"),
    "5,000 digits": ("x: " + "9" * 5000, "is not a valid int"),
    "5,000 hexadecimal digits": ("x: 0x" + "f" * 5000, "is too large"),
    "an endless time": ("x: " + ":".join(["59"] * 500), "is too large"),
    "a megabyte": ("x: " + "y" * 1_000_000, "bytes: it is no option file"),
    "two documents": ("a: 1\n---\na: 2", "another document"),
    "a key twice": ("a: 1\na: 2", "'a' is given twice"),
    "control characters": ("a: \x01", "special characters are not allowed"),
}


@pytest.mark.parametrize(("text", "message"), ATTACKS.values(), ids=ATTACKS)
def test_the_place_of_an_attack_is_told(text, message, workdir):
    path = workdir / "attack.yml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(OptionError, match=r"attack\.yml") as caught:
        read_options(path)
    assert message in str(caught.value)
    assert "(line " in str(caught.value) or "position" in str(caught.value) or "bytes" in str(caught.value)
    assert len(str(caught.value)) < 600


def test_sizes_of_honest_files_are_far_from_the_bounds():
    text = "a: " + "[" * (MOST_DEPTH - 2) + "]" * (MOST_DEPTH - 2)
    assert load_yaml(text) == yaml.safe_load(text)
    shared = "base: &base {lr: !!float 1e-4, betas: [0.9, 0.99]}\na: {<<: *base, lr: 2}\nb: *base"
    assert load_yaml(shared) == yaml.safe_load(shared)


@pytest.mark.parametrize("value", ["&r [*r]", "2024-13-45", "{5: x}", "9" * 5000, "[" * 100])
def test_an_override_is_read_in_the_same_way(value, workdir):
    path = tiny.write(tiny.train_options())
    assert main(["train", "-opt", path, "--force_yml", f"name={value}"]) == 2
    assert not (workdir / "experiments").exists()


@pytest.mark.parametrize(
    "text",
    [
        "datasets: {train: 3}", "train: {teacher: x, total_iter: {a: 1}}", "comparison: {dataset: {a: 1}}",
        "val: {metrics: {a: [1]}}", "path: [a]", "network_g: {type: [IMDN]}", "model_type: {a: 1}",
        "datasets: {train: {type: {a: 1}, io_backend: [x]}}",
    ],
)  # fmt: skip
def test_sections_of_another_kind_are_told(text, workdir, capsys):
    path = workdir / "run.yml"
    options = tiny.train_options()
    for key, value in load_yaml(text).items():
        old = options.get(key)
        options[key] = {**old, **value} if isinstance(value, dict) and isinstance(old, dict) else value
    tiny.write(options, str(path))
    assert main(["train", "-opt", str(path)]) == 2
    assert "problem" in capsys.readouterr().err
    assert [file.name for file in workdir.iterdir()] == ["run.yml"]
