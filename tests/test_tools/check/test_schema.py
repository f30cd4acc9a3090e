"""The JSON schema: our option files are valid, and what an editor should mark is not."""

import json
from pathlib import Path

import pytest

from lightsr_basicsr import cli
from lightsr_basicsr.tools.check.schema import option_schema
from lightsr_basicsr.tools.options import read_options
from lightsr_basicsr.yaml_loader import load_yaml

OPTIONS = Path(__file__).resolve().parents[3] / "options"


@pytest.fixture(scope="module")
def validator():
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema, of the extra test, is not installed")
    schema = option_schema()
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


@pytest.mark.parametrize("path", sorted(OPTIONS.rglob("*.yml")), ids=lambda path: path.stem)
def test_our_option_files_are_valid_as_they_are_written(validator, path):
    assert [error.message for error in validator.iter_errors(load_yaml(path.read_text(encoding="utf-8")))] == []


@pytest.mark.parametrize("path", sorted(OPTIONS.glob("*.yml")), ids=lambda path: path.stem)
def test_our_option_files_are_valid(validator, path):
    assert [error.message for error in validator.iter_errors(read_options(path))] == []


def messages(validator, text: str) -> list[tuple[str, str]]:
    return [(".".join(map(str, each.absolute_path)), each.message) for each in validator.iter_errors(load_yaml(text))]


@pytest.mark.parametrize("start", ["extends: a.yml\nname: b", "scale: 4"])
def test_a_file_that_extends_or_is_extended_lacks_nothing(validator, start):
    assert messages(validator, start) == []
    text = f"{start}\ntrain: ~\nval: {{metrics: {{niqe: ~}}}}\nnetwork_g: {{upscale: 3}}\ndatasets: {{val_1: ~}}"
    assert messages(validator, text) == []
    assert messages(validator, f"{start}\ndatasets: {{val: {{sigmas: [1.8, 2.0], name: 'a{{sigma}}'}}}}") == []


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("extends: 3", "extends", "not of type 'string'"),
        ("model_type: LossDictModel\ntrian: {}", "trian", "not of type 'null'"),
        ("model_type: LossDictModel\ntrain: {total_iters: 3}", "train.total_iters", "not of type 'null'"),
        ("train: {total_iter: x}", "train.total_iter", "not of type 'integer'"),
        ("network_g: {type: IMDM}", "network_g.type", "is not one of"),
        ("network_g: {type: IMDN, num_feats: 3}", "network_g.num_feats", "not of type 'null'"),
        (
            "datasets: {val: {type: ClassicBlindDataset, sigmas: 1.8}}",
            "datasets.val.sigmas",
            "1.8 is not of type 'array'",
        ),
    ],
)
def test_what_is_wrong_in_a_part_is_marked(validator, text, where, message):
    found = messages(validator, text if text.startswith("extends") else f"extends: a.yml\n{text}")
    assert any(place.startswith(where) and message in told for place, told in found), found


@pytest.mark.parametrize(
    ("name", "path", "value", "where", "message"),
    [
        ("train_imdn_x4", "train.total_iters", 3, "train", "'total_iters' is not one of"),
        ("train_imdn_x4", "train.total_iter", 4.5, "train.total_iter", "not of type 'integer'"),
        ("train_imdn_x4", "train.ema_decay", 1.5, "train.ema_decay", "greater than the maximum"),
        ("train_imdn_x4", "train.pixel_opt.los_weight", 1, "train.pixel_opt", "'los_weight' was unexpected"),
        ("train_imdn_x4", "train.pixel_opt.type", "L1Los", "train.pixel_opt.type", "is not one of"),
        ("train_imdn_x4", "datasets.train.use_hflip", "false", "datasets.train.use_hflip", "not of type 'boolean'"),
        ("train_imdn_x4", "datasets.train.prefetch_mode", "gpu", "datasets.train.prefetch_mode", "not valid under"),
        ("train_imdn_x4", "datasets.train.gtsize", 48, "datasets.train", "'gtsize' was unexpected"),
        ("train_imdn_x4", "datasets.val.type", "Paired", "datasets.val.type", "is not one of"),
        ("train_imdn_x4", "network_g.num_feats", 3, "network_g", "'num_feats' was unexpected"),
        ("train_imdn_x4", "network_g.upscale", "4", "network_g.upscale", "not of type 'integer'"),
        ("train_imdn_x4", "network_g.type", "IMDM", "network_g.type", "is not one of"),
        ("train_imdn_x4", "model_type", "LosDictModel", "model_type", "is not one of"),
        ("train_imdn_x4", "manual_sed", 1, "", "'manual_sed' does not match"),
        ("train_imdn_x4", "logger.print_frq", 1, "logger", "'print_frq' is not one of"),
        ("train_imdn_x4", "path.pretrain_netwrk_g", "x", "path", "does not match"),
        ("test_imdn_x4", "val.metrics.psnr.crop_border", "5", "val.metrics.psnr.crop_border", "not of type 'integer'"),
        ("test_imdn_x4", "val.metrics.psnr.crop_boarder", 5, "val.metrics.psnr", "'crop_boarder' was unexpected"),
        ("test_imdn_x4", "val.backend", "opnvino", "val.backend", "not valid under"),
        ("test_imdn_x4", "comparison.crop", 4, "comparison", "'crop' is not one of"),
        ("train_kdsr_x4", "train.teacher_iter", "4", "train.teacher_iter", "not of type 'integer'"),
        ("train_kdsr_x4", "datasets.train.blur", "motion", "datasets.train.blur", "is not one of"),
        ("train_drn_s_x4", "train.teacher_iter", 5, "train", "'teacher_iter' is not one of"),
    ],
)
def test_what_is_wrong_is_marked(validator, name, path, value, where, message):
    options = read_options(OPTIONS / f"{name}.yml")
    *parents, last = path.split(".")
    section = options
    for key in parents:
        section = section[key]
    section[last] = value
    found = {(".".join(map(str, error.absolute_path)), error.message) for error in validator.iter_errors(options)}
    assert any(place == where and message in text for place, text in found), found


def test_keys_have_descriptions_and_defaults():
    schema = option_schema()
    train = schema["properties"]["train"]["properties"]
    assert train["teacher_iter"]["description"].startswith("Iterations of the teacher")
    assert train["ema_decay"]["default"] == 0
    imdn = next(
        rule
        for rule in schema["definitions"]["network"]["allOf"]
        if rule["if"]["properties"]["type"]["const"] == "IMDN"
    )
    assert imdn["then"]["description"]
    assert imdn["then"]["properties"]["upscale"]["description"]
    assert imdn["then"]["properties"]["upscale"]["type"] == ["integer"]


def test_the_command_prints_it(capsys):
    assert cli.main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(option_schema()))
    assert cli.main(["schema", "--markdown"]) == 0
    assert capsys.readouterr().out.startswith("# Options\n")
