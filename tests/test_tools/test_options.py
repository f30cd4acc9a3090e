"""The door to option files: what is written, what it becomes, and overrides of both."""

from pathlib import Path

import pytest
import yaml
from basicsr.utils.options import ordered_yaml

from lightsr_basicsr.tools.options import OptionError, find_option_file, open_options, read_options

BASE = """
name: base
datasets:
  train: {name: t, sigma: [0.2, 4.0], filename_tmpl: x}
  val: {name: 'S_{sigma}', sigmas: [1.8, 2.0, 2.2], dataroot_gt: HR}
train: {total_iter: 9, scheduler: {type: A}, pixel_opt: {type: L1Loss}}
val: {suffix: ~, metrics: {psnr: {type: a}}}
"""
OWN = "extends: base.yml\nname: own\ntrain: {scheduler: ~}\n"


@pytest.fixture
def own(workdir) -> Path:
    Path("base.yml").write_text(BASE)
    Path("own.yml").write_text(OWN)
    return Path("own.yml")


def test_a_file_is_resolved(own):
    options = read_options(own)
    assert options["name"] == "own"
    assert options["train"] == {"total_iter": 9, "pixel_opt": {"type": "L1Loss"}}
    assert list(options["datasets"]) == ["train", "val_1", "val_2", "val_3"]
    assert options["datasets"]["val_3"] == {"name": "S_2.2", "sigma": 2.2, "dataroot_gt": "HR"}


def test_overrides_are_of_what_a_file_becomes(own):
    assert list(read_options(own, ["datasets:val_1=~"])["datasets"]) == ["train", "val_2", "val_3"]
    assert list(read_options(own, ["datasets:val_*=~"])["datasets"]) == ["train"]
    found = read_options(own, ["datasets:val_*:dataroot_gt=mine", "datasets:val_2:sigma=9", "train:total_iter=1"])
    assert [section["dataroot_gt"] for key, section in found["datasets"].items() if key != "train"] == ["mine"] * 3
    assert found["datasets"]["val_2"]["sigma"] == 9
    assert found["train"]["total_iter"] == 1


def test_overrides_are_of_what_is_written_too(own):
    found = read_options(own, ["datasets:val:sigmas=[3.0]", "datasets:val:dataroot_gt=mine", "datasets:val_1:name=x"])
    assert found["datasets"]["val_1"] == {"name": "x", "sigma": 3.0, "dataroot_gt": "mine"}
    assert list(read_options(own, ["datasets:val=~"])["datasets"]) == ["train"]
    assert list(read_options(own, ["datasets:val:sigmas=[1.0, 2.0]", "datasets:val_2=~"])["datasets"]) == [
        "train",
        "val_1",
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "datasets:val_9=~",
            r"there is no section 'val_9' under 'datasets'\. Existing: val_.*\. Did you mean 'val_[123]'\?",
        ),
        ("datasets:vals=~", r"no section 'vals' under 'datasets'\. Existing: val_.*Did you mean"),
        ("val:metrics:pnsr=~", r"no section 'pnsr' under 'val:metrics'\. Existing: psnr\. Did you mean 'psnr'\?"),
        ("train:pixel_op=~", r"no section 'pixel_op' under 'train'\. Existing: pixel_opt\. Did you mean 'pixel_opt'\?"),
        ("trian:total_iter=3", r"no section 'trian'\. Existing: train\. Did you mean 'train'\?"),
        ("trian=~", r"no section 'trian'\. Existing: train\. Did you mean 'train'\?"),
        ("datasets:val:sigmas=3", r"own\.yml: datasets\.val\.sigmas must be a list of numbers"),
        ("extends=other.yml", "what a file extends stands in the file. Write it there"),
        ("name", "takes key=value or key:subkey=value, got 'name'"),
    ],
)
def test_what_does_not_fit_is_told(own, override, message):
    with pytest.raises(OptionError, match=message):
        read_options(own, [override])


def test_what_may_be_missing_becomes_nothing(own):
    """A value that nobody gave is removed already; scripts remove it from many files."""
    assert read_options(own, ["train:ema_decay=~"])["train"]["ema_decay"] is None
    assert read_options(own, ["manual_seed=~"])["manual_seed"] is None


@pytest.mark.parametrize("value", ["{}", "{name}", "{}x4", "{a: 1}", " {} "])
@pytest.mark.parametrize("key", ["datasets:train:filename_tmpl", "datasets:train:name", "name", "val:suffix"])
def test_braces_are_text_where_text_is_wanted(own, key, value):
    found = read_options(own, [f"{key}={value}"])
    for part in key.split(":"):
        found = found[part]
    assert found == value.strip()


def test_braces_are_a_section_elsewhere(own):
    assert read_options(own, ["val:metrics={}"])["val"]["metrics"] == {}
    assert read_options(own, ["val:metrics:niqe={type: n}"])["val"]["metrics"]["niqe"] == {"type": "n"}


def test_the_text_is_the_options(own):
    text = open_options(own).text(["train:total_iter=3"])
    assert text.startswith("# Resolved from own.yml\n# It extends base.yml\nname: own\n")
    assert yaml.load(text, Loader=ordered_yaml()[0]) == read_options(own, ["train:total_iter=3"])
    Path("resolved.yml").write_text(text)
    assert open_options(Path("resolved.yml")).stands_alone
    assert read_options(Path("resolved.yml")) == read_options(own, ["train:total_iter=3"])


def test_a_file_stands_alone_without_extends_and_sigmas(own):
    assert not open_options(own).stands_alone
    assert not open_options(Path("base.yml")).stands_alone
    Path("alone.yml").write_text("name: a\ndatasets: {val: {name: a}}")
    assert open_options(Path("alone.yml")).stands_alone


def test_the_example_of_the_docs(workdir):
    page = (Path(__file__).resolve().parents[2] / "docs" / "train.md").read_text(encoding="utf-8")
    Path("my.yml").write_text("extends:" + page.split("```yaml\nextends:")[1].split("```")[0])
    mine, theirs = read_options(Path("my.yml")), read_options(find_option_file("options/train_imdn_x2.yml"))
    assert mine["datasets"]["train"]["dataroot_lq"] == "photos/LR"
    assert "filename_tmpl" not in mine["datasets"]["train"]
    assert mine["train"]["optim_g"] == theirs["train"]["optim_g"]
    assert mine["train"]["scheduler"]["milestones"] == [50000, 75000]
