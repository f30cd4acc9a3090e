"""Names of official files where commands take files."""

import shutil
from pathlib import Path

import pytest
import torch

from lightsr_basicsr import cli
from lightsr_basicsr.checkpoints import CheckpointError, read_state_dict
from lightsr_basicsr.tools.benchmark.sources import find_subjects
from lightsr_basicsr.weights.find import fetch_hint, find_weights
from lightsr_basicsr.weights.names import WeightsError
from tests.converting import distilled, make_quick
from tests.test_weights.conftest import CONTENT, PAGE


def keep(cache, content=CONTENT):
    cache.mkdir()
    (cache / "net.pth").write_bytes(content)
    return cache / "net.pth"


@pytest.mark.parametrize("name", ["Net_x2", "net-x2", "net.pth", "NET"])
def test_a_name_is_a_file_of_the_cache(enter, cache, workdir, name):
    enter()
    file = keep(cache)
    assert find_weights(name) == file


def test_an_existing_file_wins(enter, cache, workdir):
    enter()
    keep(cache)
    Path("Net_x2").write_bytes(b"")
    assert find_weights("Net_x2") == Path("Net_x2")
    assert find_weights(Path("Net_x2").absolute()) == Path("Net_x2").absolute()


def test_another_folder(enter, cache, workdir):
    enter()
    file = keep(cache)
    assert find_weights("Net_x2", folder=cache) == file
    with pytest.raises(WeightsError, match="basicsr fetch Net_x2 --folder 'my files'"):
        find_weights("Net_x2", folder="my files")


def test_what_a_killed_training_lacks_is_told_with_its_newest_checkpoint(enter, workdir, capsys):
    enter()
    models = Path("experiments/mine/models")
    models.mkdir(parents=True)
    Path("a.png").write_bytes(b"")
    latest, numbers = models / "net_g_latest.pth", (90, 720, 80)
    with pytest.raises(WeightsError, match=r"writes it at its end: train first"):
        find_weights(latest)
    for number in numbers:
        torch.save({"params": {}}, models / f"net_g_{number}.pth")
        torch.save({"params": {}}, models / f"net_g_{number}1_deploy.pth")
    for command in (["info", str(latest)], ["export", str(latest)], ["upscale", "a.png", "--model", str(latest)]):
        assert cli.main(command) == 2
        told = capsys.readouterr().err
        assert "basicsr train -opt FILE --auto_resume" in told, command
        assert f"the newest checkpoint that is there, {models / 'net_g_720.pth'}." in told
    with pytest.raises(CheckpointError, match=r"net_g_7201_deploy\.pth\.$"):
        read_state_dict(models / "net_g_latest_deploy.pth")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Net_x2", rf"no checkpoint at Net_x2 .*net\.pth of {PAGE} is not in .*: basicsr fetch Net_x2"),
        ("net.pth", "basicsr fetch Net_x2"),
        ("weights/net.pth", "It is an official file: basicsr fetch Net_x2 --folder weights"),
        ("Net_x3", r"no checkpoint at Net_x3 .*\. Did you mean Net_x2\? `basicsr fetch --list`"),
        ("none.pth", r"no checkpoint at none\.pth \(looked from .*\)\.$"),
        ("some/where", r"no checkpoint at some/where \(looked from .*\)\.$"),
    ],
)
def test_what_is_missing_is_told_with_the_command(enter, workdir, name, message):
    enter()
    with pytest.raises(WeightsError, match=message):
        find_weights(name)


def test_what_cannot_be_a_file_is_left_to_its_reader(workdir):
    assert find_weights("a\0b") == Path("a\0b")
    assert find_weights("x" * 5000) == Path("x" * 5000)
    assert find_weights(".") == Path()


def test_a_damaged_file_of_the_cache_is_not_used(enter, cache, workdir):
    enter()
    keep(cache, CONTENT[:-1] + b"?")
    with pytest.raises(WeightsError, match=r"official file: expected sha256 .*\. Replace it: basicsr fetch"):
        find_weights("Net_x2")


def test_a_name_never_downloads(server, enter, workdir):
    enter(address=server.address)
    with pytest.raises(WeightsError):
        find_weights("Net_x2")
    assert server.asked == []


# Commands


@pytest.fixture
def rtc(shared, cache, workdir):
    cache.mkdir()
    shutil.copyfile(shared / "weights" / "model_RTC.pth", cache / "model_RTC.pth")
    return cache / "model_RTC.pth"


def test_info_takes_a_name(rtc, capsys):
    assert cli.main(["info", "imdn_rtc_x2", "IMDN_x4"]) == 2
    output = capsys.readouterr()
    assert "37.3147" in output.out
    assert "basicsr fetch IMDN_x4" in output.err


def test_export_of_a_name_writes_to_the_working_directory(rtc, capsys):
    assert cli.main(["export", "IMDN_RTC_x2", "--format", "torchscript"]) == 0
    assert [path.name for path in Path().glob("*.*")] == ["model_RTC.ts"]
    assert [path.name for path in rtc.parent.iterdir()] == ["model_RTC.pth"]


def test_convert_of_a_name_writes_to_the_working_directory(enter, cache, workdir, monkeypatch, capsys):
    enter(sha256=None, size=None)
    cache.mkdir()
    torch.save(distilled().state_dict(), cache / "net.pth")
    make_quick(monkeypatch)
    assert cli.main(["convert", "Net_x2"]) == 0
    assert [path.name for path in Path().glob("*.pth")] == ["net_deploy.pth"]
    assert [path.name for path in cache.iterdir()] == ["net.pth"]
    assert cli.main(["convert", "Net_x3"]) == 2
    assert "Did you mean Net_x2" in capsys.readouterr().err


def test_benchmark_takes_a_name_but_prefers_a_registered_network(rtc):
    assert [subject.path for subject in find_subjects(["IMDN_RTC_x2"])] == [str(rtc)]
    assert [subject.path for subject in find_subjects(["IMDN_RTC", "IMDN_AS", "IMDN:upscale=2"])] == [None] * 3
    with pytest.raises(WeightsError, match="basicsr fetch IMDN_x4"):
        find_subjects(["IMDN_x4"])


def test_a_test_without_its_official_file_says_how_to_get_it(workdir, capsys):
    assert cli.main(["test", "-opt", "options/test_imdn_x4.yml"]) == 2
    assert "basicsr fetch IMDN_x4 --folder experiments/pretrained_models" in capsys.readouterr().err
    assert fetch_hint(Path("experiments/mine/net_g_latest.pth")) == ""
