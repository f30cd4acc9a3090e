"""``extends``: what files say together, and what is told of a base that is missing, broken, a folder or a circle."""

import re
from pathlib import Path

import pytest

from lightsr_basicsr.option_files.extending import MOST_FILES, merge, origin, read_layers
from lightsr_basicsr.option_files.reading import OptionError, bundled_folder
from lightsr_basicsr.yaml_loader import MOST_NODES


def write(**files: str) -> Path:
    """Write ``a`` as a.yml and so on, and return a.yml; two underscores are a folder."""
    for name, text in files.items():
        path = Path(f"{name.replace('__', '/')}.yml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return Path("a.yml")


def merged(**files: str) -> dict:
    return merge(read_layers(write(**files)))


@pytest.mark.parametrize(
    ("base", "own", "together"),
    [
        ("x: {a: 1, b: 2}", "x: {b: 3, c: 4}", {"x": {"a": 1, "b": 3, "c": 4}}),
        ("x: [1, 2, 3]", "x: [4]", {"x": [4]}),
        ("x: {a: 1}\ny: 2", "x: ~", {"y": 2}),
        ("x: {a: 1, b: 2}", "x: {a: ~}", {"x": {"b": 2}}),
        ("x: 1", "x: {a: 1}", {"x": {"a": 1}}),
        ("x: {a: 1}", "x: 1", {"x": 1}),
        ("x: ~", "x: {a: 1}", {"x": {"a": 1}}),
        ("x: ~", "", {"x": None}),
        ("x: ~", "x: ~", {}),
        ("y: 1", "x: ~\nz: {a: ~}", {"y": 1, "x": None, "z": {"a": None}}),  # nothing there to remove
        ("x: {a: 1}", "x: {}", {"x": {"a": 1}}),
        ("p: &p {a: 1}\nx: *p\ny: *p", "x: {a: 2}", {"p": {"a": 1}, "x": {"a": 2}, "y": {"a": 1}}),
        ("p: &p {a: 1, b: 1}\nx: {<<: *p, b: 2}", "x: {a: ~}", {"p": {"a": 1, "b": 1}, "x": {"b": 2}}),
    ],
)
def test_a_file_and_its_base_together(workdir, base, own, together):
    assert merged(a=f"extends: b.yml\n{own}", b=base) == together


def test_new_keys_follow_the_inherited_ones(workdir):
    found = merged(a="extends: b.yml\ndatasets: {val_2: 1, train: 2}", b="datasets: {train: 1, val_1: 1}")
    assert list(found["datasets"]) == ["train", "val_1", "val_2"]


def test_chains_are_relative_to_each_file(workdir):
    found = merged(a="extends: one/b.yml\nx: {a: 1}", one__b="extends: two/c.yml\nx: {a: 0, b: 2}",
                   one__two__c="extends: ../../d.yml\nx: {c: 3}", d="x: {d: 4}")  # fmt: skip
    assert found == {"x": {"d": 4, "c": 3, "a": 1, "b": 2}}


def test_a_removed_key_can_come_back(workdir):
    found = merged(a="extends: b.yml\nx: {b: 1}", b="extends: c.yml\nx: ~", c="x: {a: 1}")
    assert found == {"x": {"b": 1}}


@pytest.mark.parametrize("name", ["options/bases/test_x4.yml", "bases/test_x4.yml", "options/test_imdn_x4.yml"])
def test_a_bundled_file_is_found_by_name(workdir, name):
    layers = read_layers(write(a=f"extends: {name}\nname: mine"))
    assert layers[-1].path == bundled_folder() / "bases" / "test_x4.yml"
    assert merge(layers)["scale"] == 4
    assert merge(layers)["name"] == "mine"


def test_a_file_of_the_user_comes_before_the_bundled_one(workdir):
    assert merged(a="extends: bases/test_x4.yml", bases__test_x4="scale: 9") == {"scale": 9}


def test_a_copy_of_a_bundled_file_finds_its_base(workdir):
    for name in ("train_imdn_x3_bd", "test_drn_s_x8"):
        Path(f"{name}.yml").write_text((bundled_folder() / f"{name}.yml").read_text(encoding="utf-8"), encoding="utf-8")
        assert merge(read_layers(Path(f"{name}.yml"))) == merge(read_layers(bundled_folder() / f"{name}.yml"))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"a": "x: 1\nextends: b.yml"},
            r"a\.yml, line 2: extends b\.yml, but there is no such file in .*give its path",
        ),
        ({"a": "extends: bse.yml", "base": ""}, r"there is no such file.*did you mean base\.yml\?"),
        ({"a": "extends: dir", "dir__c": "x: 1"}, r"must name a file, got the folder dir: name an .* such as c\.yml"),
        ({"a": "extends: [b.yml]"}, r"a\.yml, line 1: extends must be the name of one option file, got list"),
        ({"a": "extends: {b: 1}"}, "name of one option file, got dict"),
        ({"a": "extends: 4"}, "name of one option file, got int 4"),
        ({"a": "extends: ~"}, "got nothing. .*leave the line out"),
        ({"a": "extends: ''"}, "got nothing. .*leave the line out"),
        ({"a": "extends: a.yml"}, r"cannot extend itself: a\.yml -> a\.yml\. Remove one"),
        (
            {"a": "extends: b.yml", "b": "x: 1\nextends: ./a.yml"},
            r"b\.yml, line 2: .*itself: a\.yml -> b\.yml -> a\.yml",
        ),
        (
            {"a": "extends: b.yml", "b": "extends: c.yml", "c": "extends: b.yml"},
            r"c\.yml, line 1: .*b\.yml -> c\.yml -> b",
        ),
        ({"a": "extends: b.yml", "b": "extends: c.yml"}, r"b\.yml, line 1: extends c\.yml, but there is no such file"),
        (
            {"a": "extends: b.yml", "b": "[1]"},
            r"b\.yml must hold a mapping of options, got list\. It is what a\.yml, line 1",
        ),
        (
            {"a": "extends: b.yml", "b": "x: 1\ny: 2\nx: 3"},
            r"b\.yml is not valid YAML: 'x' is given twice \(line 3, col.* 1",
        ),
        ({"a": "extends: b.yml", "b": "x: [1"}, r"b\.yml is not valid YAML: .* It is what a\.yml, line 1, extends"),
        ({"a": "extends: b.yml\nx: 1\nx: 2", "b": "x: 1"}, r"^a\.yml is not valid YAML: 'x' is given twice \(line 3"),
        ({"a": "extends: b.yml\nextends: c.yml", "b": "x: 1"}, r"'extends' is given twice \(line 2, column 1\)"),
        ({"a": "extends: b.yml", "b": "x: 2024-01-01"}, r"b\.yml is not valid YAML: .* is of the kind timestamp"),
        ({"a": "extends: b.yml", "b": "r: &r [*r]"}, r"b\.yml is not valid YAML: an alias contains itself"),
        ({"a": "extends: b.yml", "b": "a: " + "{b: " * 99 + "}" * 99}, r"b\.yml is not valid YAML: .*levels in each"),
        (
            {"a": "extends: b.yml", "b": "x: " + "y" * 900_000},
            r"b\.yml has 900,003 bytes: it is no .* what a\.yml, line 1",
        ),
        ({"a": "extends: b.yml", "b": "x: " + "y" * 300_000}, r"b\.yml is not valid YAML: it has 300,003 characters"),
        ({"a": 'extends: "b\\0.yml"'}, "but there is no such file"),
        ({"a": f"extends: {'b' * 5000}.yml"}, "but there is no such file"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_line(workdir, files, message):
    with pytest.raises(OptionError, match=message) as caught:
        merge(read_layers(write(**files)))
    assert len(str(caught.value)) < 800


def test_a_device_is_no_base(workdir):
    with pytest.raises(OptionError, match=r"got /dev/zero, which is a device or a pipe: name a file"):
        read_layers(write(a="extends: /dev/zero"))


def test_a_base_that_is_not_utf8(workdir):
    path = write(a="extends: b.yml")
    Path("b.yml").write_bytes(b"x: \xe9")
    with pytest.raises(
        OptionError, match=r"b\.yml is not UTF-8 \(byte 3\): save it as UTF-8\. It is what a\.yml, line 1"
    ):
        read_layers(path)


def test_chains_are_of_bounded_length(workdir):
    files = {f"f{index}": f"extends: f{index + 1}.yml" for index in range(MOST_FILES + 1)}
    Path(f"f{MOST_FILES}.yml").write_text("x: 1")
    with pytest.raises(OptionError, match=rf"f{MOST_FILES - 1}\.yml, line 1: at most {MOST_FILES} files can extend"):
        read_layers(write(**{"a": "extends: f1.yml", **files}).with_name("f0.yml"))


def test_bounds_hold_for_what_files_are_together(workdir):
    some = MOST_NODES // 3
    files = {name: f"{more}x_{name}: [{'1,' * some}]" for name, more in (("a", "extends: b.yml\n"), ("c", ""))}
    files["b"] = f"extends: c.yml\nx_b: [{'1,' * some}]"
    with pytest.raises(OptionError, match=rf"a\.yml becomes more than {MOST_NODES:,} values with all that it extends"):
        merged(**files)


def test_the_origin_of_an_inherited_key(workdir):
    layers = read_layers(
        write(a="extends: b.yml\nx: {a: 1}", b="extends: c.yml\ny: 2", c="x:\n  a: 0\n  c: {d: 1}\ny: 1")
    )
    assert origin(layers, "x.a") == ""
    assert origin(layers, "x.c.d (teacher stage)") == "c.yml, line 3"
    assert origin(layers, "x.c[0]") == "c.yml, line 3"
    assert origin(layers, "y") == "b.yml, line 2"
    assert origin(layers, "z") == origin(layers, "") == ""


def test_places_are_those_of_the_text(workdir):
    (layer,) = read_layers(write(a="# one\nx:\n  a: 1\n  b: {c: 2}\n"))
    assert layer.places == {("x",): (2, 1), ("x", "a"): (3, 3), ("x", "b"): (4, 3), ("x", "b", "c"): (4, 7)}
    assert re.fullmatch(r"a\.yml, line 4", layer.place("x", "b", "c"))
