"""What a run repeats and prints without need, and logs that cannot be written."""

import logging
import re
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from lightsr_basicsr import cli
from lightsr_basicsr.tools.run.lock import locked
from lightsr_basicsr.tools.run.log import steady_log
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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_log_that_cannot_be_written_is_told_once(capsys):
    log = logging.getLogger("basicsr")
    handler = logging.FileHandler("/dev/full")
    log.addHandler(handler)
    try:
        with steady_log():
            for number in range(3):
                log.error("line %s", number)
    finally:
        log.removeHandler(handler)
    told = capsys.readouterr().err
    assert told.count("/dev/full: No space left on device. The run goes on, and the log lacks lines.") == 1
    assert "Traceback" not in told
    with suppress(OSError):
        handler.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_terminal_ends_no_run(workdir, monkeypatch):
    tiny.make_pairs(workdir / "data", 4)
    stream = open("/dev/full", "w")  # noqa: SIM115  closing it fails
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", stream)
        assert cli.main(["train", "-opt", tiny.write(tiny.train_options(total_iter=1))]) == 0
    with suppress(OSError):
        stream.close()


def test_a_lock_that_cannot_be_removed_hides_no_error(tmp_path, monkeypatch):
    def fail(self, missing_ok=False):
        raise OSError(30, "Read-only file system", str(self))

    def work():
        with locked(tmp_path / "run"):
            monkeypatch.setattr(Path, "unlink", fail)
            raise KeyError("the real one")

    with pytest.raises(KeyError, match="the real one"):
        work()
