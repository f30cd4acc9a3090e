"""Settings of the optimizer that a resumed run does not take from the option file are reported."""

import pytest

from lightsr_basicsr import cli
from tests import tiny

pytestmark = pytest.mark.faults


def resumed_log(workdir, capsys, **optimizer) -> str:
    tiny.make_pairs(workdir / "data", 6)
    options = tiny.train_options(total_iter=3)
    assert cli.main(["train", "-opt", tiny.write(options)]) == 0
    options["train"].update(total_iter=4, optim_g={**options["train"]["optim_g"], **optimizer})
    assert cli.main(["train", "-opt", tiny.write(options), "--auto_resume"]) == 0
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "given", "kept"),
    [("lr", 0.01, 0.001), ("weight_decay", 0.1, 0), ("betas", [0.5, 0.9], [0.9, 0.999]), ("eps", 0.1, 1e-08)],
)
def test_another_setting_is_reported(workdir, capsys, key, given, kept):
    text = resumed_log(workdir, capsys, **{key: given})
    assert f"Optimizer 1: the option file has {key} {given}, the training state {kept}, which the resumed run" in text
    assert text.count("Optimizer 1:") == 1


def test_the_same_settings_are_not(workdir, capsys):
    assert "Optimizer" not in resumed_log(workdir, capsys, betas=[0.9, 0.999])
