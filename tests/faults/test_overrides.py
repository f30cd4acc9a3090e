"""What is typed after ``--force_yml``: templates, removed sections, several sections at once."""

import pytest

from lightsr_basicsr.tools.check.options import check_options
from lightsr_basicsr.tools.options import OptionError, find_option_file, read_options
from tests import tiny

pytestmark = pytest.mark.faults


def read(*overrides: str) -> dict:
    options = tiny.train_options()
    options["datasets"] |= {f"val_{index}": {**tiny.paired(f"v{index}", "data")} for index in (2, 3)}
    return read_options(tiny.Path(tiny.write(options)), overrides)


@pytest.mark.parametrize("template", ["{}", "{}x4", "{}_LR", "x{}", "im_{}", " {} "])
@pytest.mark.parametrize("key", ["filename_tmpl", "filename_tmpl_down2"])
def test_braces_are_a_template(workdir, template, key):
    for section in ("train", "val"):
        options = read(f"datasets:{section}:{key}={template}")
        assert options["datasets"][section][key] == template.strip()


def test_braces_replace_a_text_and_are_a_section_elsewhere(workdir):
    assert read("network_g:type={}")["network_g"]["type"] == "{}"
    assert read("val:metrics={}")["val"]["metrics"] == {}
    assert read("path:new={a: 1}")["path"]["new"] == {"a": 1}


def test_a_section_is_removed(workdir):
    assert list(read("datasets:val=~")["datasets"]) == ["train", "val_2", "val_3"]
    assert "val" not in read("val=null")
    assert "psnr" not in read("val:metrics:psnr=~")["val"]["metrics"]
    # Other values, and sections that are missing, become none, as ever.
    assert read("val:save_img=~")["val"]["save_img"] is None
    assert read("path:pretrain_network_g=~")["path"]["pretrain_network_g"] is None


def test_a_star_stands_for_several_keys(workdir):
    assert list(read("datasets:val*=~")["datasets"]) == ["train"]
    assert list(read("datasets:val_*=~")["datasets"]) == ["train", "val"]
    datasets = read("datasets:*:dataroot_gt=mine")["datasets"]
    assert {section["dataroot_gt"] for section in datasets.values()} == {"mine"}
    datasets = read("datasets:val_*:dataroot_gt=mine", "datasets:val_3=~")["datasets"]
    assert [section["dataroot_gt"] for section in datasets.values()] == ["data/HR", "data/HR", "mine"]


@pytest.mark.parametrize("override", ["datasets:test_*=~", "nothing_*:a=1", "datasets:val_*:name:b=1", "scale:*=1"])
def test_a_star_that_meets_nothing_is_told(workdir, override):
    with pytest.raises(OptionError, match=r"there is no section '.*'.*Existing: |'.*' is no section"):
        read(override)


def test_own_photographs_need_two_overrides(workdir):
    """As docs/kdsr.md gives them: in an otherwise empty folder nothing else is missing."""
    for folder in ("photos", "photos_val"):
        tiny.make_pairs(workdir / folder, 2, side=256)
    overrides = ["datasets:train:dataroot_gt=photos/HR", "datasets:val_*:dataroot_gt=photos_val/HR"]
    options = read_options(find_option_file("options/train_kdsr_x4.yml"), overrides)
    assert [str(finding) for finding in check_options(options, is_train=True) if finding.fatal] == []


@pytest.mark.parametrize("key", ["scale:x", "name:x:y", "train:scheduler:milestones:0"])
def test_a_value_has_nothing_under_it(workdir, key):
    with pytest.raises(OptionError, match=f"'{key[:-2].removesuffix(':x')}' is no section, .* give all of it"):
        read(f"{key}=5")
