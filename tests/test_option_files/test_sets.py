"""``sigmas``: one section that stands for several data sets."""

import pytest

from lightsr_basicsr.option_files.reading import OptionError
from lightsr_basicsr.option_files.sets import expand_sets


def expanded(**sets: dict) -> dict:
    return expand_sets({"name": "a", "datasets": sets}, "a.yml")["datasets"]


def test_a_section_becomes_one_for_each_number():
    train = {"name": "t", "sigma": [0.2, 4.0]}
    found = expanded(train=train, val={"name": "S_{sigma}", "kernel_size": 21, "sigmas": [1.8, 2.0, 3]})
    assert found == {
        "train": train,
        "val_1": {"name": "S_1.8", "kernel_size": 21, "sigma": 1.8},
        "val_2": {"name": "S_2.0", "kernel_size": 21, "sigma": 2.0},
        "val_3": {"name": "S_3", "kernel_size": 21, "sigma": 3},
    }


def test_numbers_go_on_from_the_number_of_the_key():
    found = expanded(test_08={"name": "A{sigma}", "sigmas": [1.0, 2.0]}, test_10={"name": "B{sigma}", "sigmas": [1.0]})
    assert {key: section["name"] for key, section in found.items()} == {
        "test_08": "A1.0", "test_09": "A2.0", "test_10": "B1.0",
    }  # fmt: skip
    assert list(expanded(val_blur={"name": "a{sigma}", "sigmas": [1, 2]})) == ["val_blur_1", "val_blur_2"]


def test_folders_of_lr_images_have_their_blur_already():
    section = {"name": "S{sigma}", "dataroot_lq": "LR_{sigma}", "filename_tmpl": "{}", "sigmas": [1.8]}
    assert expanded(test_1=section) == {"test_1": {"name": "S1.8", "dataroot_lq": "LR_1.8", "filename_tmpl": "{}"}}


def test_texts_are_filled_at_any_depth():
    section = {"name": "a", "io_backend": {"db_paths": ["x{sigma}", "y"]}, "sigmas": [1]}
    assert expanded(val=section)["val_1"]["io_backend"] == {"db_paths": ["x1", "y"]}


@pytest.mark.parametrize(
    "content", [{}, {"datasets": 3}, {"datasets": {"val": 3}}, {"datasets": {"val": {"name": "a"}}}]
)
def test_other_content_stays(content):
    assert expand_sets(content, "a.yml") == content


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (
            {"val": {"sigmas": 1.8}},
            r"a\.yml: datasets\.val\.sigmas must be a list of numbers, .*got 1\.8: write \[1\.8",
        ),
        ({"val": {"sigmas": []}}, r"must be a list of numbers, one for each set, got \[\]"),
        ({"val": {"sigmas": None}}, "must be a list of numbers, one for each set, got None"),
        ({"val": {"sigmas": [1, "2"]}}, "must be a list of numbers"),
        ({"val": {"sigmas": [True]}}, "must be a list of numbers"),
        ({"val": {"sigmas": [1.0] * 1001}}, "must be a list of numbers"),
        ({"val": {"name": "a{sigma}", "sigmas": [1], "sigma": 1}}, "has both sigma and sigmas: leave one of them out"),
        ({"val": {"name": "a", "sigmas": [1, 2]}}, r"datasets\.val\.name must hold \{sigma\}, so that .*, got 'a'"),
        ({"val": {"sigmas": [1, 2]}}, r"name must hold \{sigma\}.*, got None"),
        ({"train": {"sigmas": [1, 2]}}, r"datasets\.train: sigmas is for validation and test sets"),
        (
            {"val": {"name": "a{sigma}", "sigmas": [1, 2]}, "val_2": {}},
            "makes the sections val_1, val_2, but val_2 is there",
        ),
        (
            {"val_2": {}, "val": {"name": "a{sigma}", "sigmas": [1, 2]}},
            "makes the sections val_1, val_2, but val_2 is there",
        ),
        (
            {"test_1": {"name": "a{sigma}", "sigmas": [1, 2]}, "test_2": {"name": "b{sigma}", "sigmas": [1, 2]}},
            r"test_2\.sigmas makes the sections test_2, test_3, but test_2 is there already: choose other keys",
        ),
    ],
)
def test_what_is_wrong_is_told(sets, message):
    with pytest.raises(OptionError, match=message):
        expanded(**sets)
