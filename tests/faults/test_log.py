"""What a run repeats and prints without need."""

import re
from pathlib import Path

import pytest

from lightsr_basicsr import cli
from tests import tiny

pytestmark = pytest.mark.faults


def log_of(command: str = "train", **changes) -> str:
    options = tiny.train_options(total_iter=4)
    options["val"] |= {"val_freq": 2, "save_img": False}
    options["logger"]["save_checkpoint_freq"] = 100
    options |= changes
    if options["model_type"] == "ReparamModel":
        options["network_g"] = {"type": "Reparameterized", "network": options["network_g"]}
    assert cli.main([command, "-opt", tiny.write(options)]) == 0
    return next(Path("experiments/tiny").glob("*.log")).read_text()


@pytest.mark.parametrize("model", ["LossDictModel", "SRModel", "ReparamModel"])
@pytest.mark.parametrize(("val_freq", "validations"), [(2, 2), (3, 2), (4, 1), (100, 1)])
def test_the_last_iteration_is_validated_once(workdir, model, val_freq, validations):
    tiny.make_pairs(Path("data"), 4)
    sets = {"val": tiny.paired("v", "data"), "val_2": tiny.paired("w", "data")}
    options = tiny.train_options()
    val = {**options["val"], "val_freq": val_freq, "save_img": False}
    log = log_of(model_type=model, val=val, datasets={**options["datasets"], **sets})
    assert [log.count(f"Validation {name}") for name in "vw"] == [validations] * 2


@pytest.mark.parametrize("model", ["LossDictModel", "SRModel", "ReparamModel"])
def test_a_network_is_one_line(workdir, model):
    tiny.make_pairs(Path("data"), 4)
    log = log_of(model_type=model)
    assert re.search(r"Network: IMDN_RTC, with parameters: [\d,]+\n", log)
    assert "Conv2d(" not in log
