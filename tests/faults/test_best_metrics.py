"""``best_metrics.json`` as bad luck leaves it, and the record of each metric on its own."""

import json
import math
from pathlib import Path

import pytest

from lightsr_basicsr.models.best_metrics import restore_best_metrics, write_best_metrics

pytestmark = pytest.mark.faults
METRICS = {"psnr": {"type": "calculate_psnr"}, "ssim": {"type": "calculate_ssim"}, "niqe": {"better": "lower"}}
OPTIONS = {"path": {"experiments_root": "."}, "val": {"metrics": METRICS}, "rank": 0}
FILE = Path("best_metrics.json")


def best(value: float, iteration: int, better: str = "higher") -> dict:
    return {"better": better, "val": value, "iter": iteration}


def restored(content: object = None, iteration: int = 10, first: bool = True) -> dict:
    if content is not None:
        FILE.write_text(content if isinstance(content, str) else json.dumps(content))
    return restore_best_metrics({**OPTIONS, "rank": 0 if first else 1}, iteration)


def test_each_metric_keeps_its_own_record(workdir):
    found = restored({"v": {"psnr": best(30.0, 2), "ssim": best(0.9, 21), "niqe": best(4.0, 10, "lower")}})
    assert found == {"v": {"psnr": best(30.0, 2), "ssim": best(-math.inf, -1), "niqe": best(4.0, 10, "lower")}}
    assert not list(Path().glob("*damaged*"))


def test_a_metric_that_was_added_or_changed_its_direction_begins_anew(workdir):
    found = restored({"v": {"psnr": best(30.0, 2), "gone": best(1.0, 2), "niqe": best(4.0, 3)}})
    assert found == {"v": {"psnr": best(30.0, 2), "ssim": best(-math.inf, -1), "niqe": best(math.inf, -1, "lower")}}


def test_sets_without_a_record_up_to_the_state_are_left_to_the_first_validation(workdir):
    assert restored({"v": {"psnr": best(30.0, 12)}, "w": {}, "x": {"gone": best(1.0, 1)}}) == {}


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "{",
        '{"v": {"psnr": {"better": "hig',
        "[1, 2]",
        "3",
        "null",
        "[" * 100_000,
        "\0",
        '{"v": ' + "9" * 5000 + "}",
    ],
    ids=range(9),
)
def test_a_broken_file_is_set_aside_and_never_ends_the_run(workdir, capsys, broken):
    assert restored(broken) == {}
    assert not FILE.exists()
    assert Path("best_metrics_damaged.json").read_text() == broken
    assert "best_metrics.json is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    "odd",
    [3, None, [], {}, {"val": 1}, best(math.nan, 2), best("31", 2), best(True, 2), best(31.0, "2"), best(31.0, 2.5),
     best(31.0, 2, "best"), best(31.0, 2, ["higher"])],
    ids=range(12),
)  # fmt: skip
def test_an_odd_record_is_left_out_and_the_sound_ones_are_kept(workdir, odd):
    found = restored({"v": {"psnr": odd, "ssim": best(0.9, 2)}, "w": 5})
    assert found["v"]["psnr"] == best(-math.inf, -1)
    assert found["v"]["ssim"] == best(0.9, 2)
    assert "w" not in found
    assert Path("best_metrics_damaged.json").is_file()


def test_other_processes_rename_nothing(workdir):
    assert restored("{", first=False) == {}
    assert FILE.is_file()


def test_bytes_that_are_no_text_and_a_folder(workdir):
    FILE.write_bytes(b"\xff\xfe\xff")
    assert restored() == {}
    FILE.mkdir()
    assert restored() == {}
    assert restored() == {}  # without a file


def test_what_is_written_is_restored_without_values_that_no_validation_gave(workdir):
    records = {"v": {"psnr": best(math.inf, 4), "ssim": best(-math.inf, -1), "niqe": best(4.5, 3, "lower")}}
    write_best_metrics(OPTIONS, records)
    assert restored() == records
    assert "ssim" not in FILE.read_text()
    assert [path.name for path in Path().iterdir()] == ["best_metrics.json"]
