"""The command ``basicsr fetch``: consent, the cache folder, files of the user's, two processes, Google Drive."""

import io
import json
import subprocess
import sys
import time
import types
from pathlib import Path
from threading import Event, Thread

import pytest

from lightsr_basicsr import cli
from lightsr_basicsr.errors import install_command
from lightsr_basicsr.weights.drive import download_from_drive
from lightsr_basicsr.weights.fetch import fetch, plan_fetch
from lightsr_basicsr.weights.folder import cache_folder, folder_beside
from lightsr_basicsr.weights.names import WeightsError
from tests.test_weights.conftest import CONTENT, PAGE, SHA256


@pytest.fixture
def mine(tmp_path) -> Path:
    """The file, as the user has downloaded it."""
    file = tmp_path / "Downloads" / "net (1).pth"
    file.parent.mkdir()
    file.write_bytes(CONTENT)
    return file


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("answer", "status"), [("y\n", 0), ("YES\n", 0), ("n\n", 1), ("\n", 1), ("", 1)])
def test_a_person_is_asked_after_the_facts(server, enter, cache, monkeypatch, capsys, answer, status):
    enter(licence="MIT")
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    assert cli.main(["fetch", "net_X2", "--from", server.address]) == status
    output = capsys.readouterr()
    for fact in (server.address, f"{len(CONTENT):,} bytes", SHA256, "MIT", str(cache / "net.pth"), "[y/N]"):
        assert fact in output.err
    assert output.out == (f"{cache / 'net.pth'}\n" if status == 0 else "")
    assert len(server.asked) == (status == 0)
    assert cache.exists() == (status == 0)


@pytest.mark.parametrize("stdin", [io.StringIO("y\n"), None])
def test_nobody_to_ask_is_no_consent(server, enter, cache, monkeypatch, capsys, stdin):
    enter(sha256=None, size=None)
    monkeypatch.setattr(sys, "stdin", stdin)
    assert cli.main(["fetch", "Net_x2", "--from", server.address]) == 2
    error = capsys.readouterr().err
    assert f"nothing was downloaded. To agree, run: basicsr fetch Net_x2 --from {server.address} --yes" in error
    assert f"not stated by {PAGE}" in error
    assert "what comes cannot be compared" in error
    assert (server.asked, cache.exists()) == ([], False)


def test_yes_is_consent(server, enter, cache, capsys):
    enter(address=server.address)
    assert cli.main(["fetch", "Net_x2", "--yes"]) == 0
    assert capsys.readouterr().out == f"{cache / 'net.pth'}\n"
    assert cli.main(["fetch", "Net_x2"]) == 0  # is there, so that nothing is asked
    assert "is there already" in capsys.readouterr().err
    assert len(server.asked) == 1


def test_a_damaged_file_in_the_cache_is_replaced(server, enter, cache, capsys):
    enter(address=server.address)
    cache.mkdir()
    (cache / "net.pth").write_bytes(b"\x80broken")
    assert cli.main(["fetch", "Net_x2", "--yes"]) == 0
    assert f"there now:  expected {len(CONTENT):,} bytes, got 7" in capsys.readouterr().err
    assert (cache / "net.pth").read_bytes() == CONTENT


def test_what_is_not_known_is_told(server, enter, capsys):
    enter(sha256=None, size=None)
    assert cli.main(["fetch", "Net_x2", "--yes", "--from", server.address]) == 0
    assert f"it has sha256 {SHA256}" in capsys.readouterr().err


def test_without_an_address_the_page_is_told(enter, cache, capsys):
    enter(place="release v1", released_as="best.pth")
    assert cli.main(["fetch", "Net_x2", "--yes"]) == 2
    told = capsys.readouterr().err
    assert f"It is published as best.pth at {PAGE} (release v1)" in told
    assert "basicsr fetch Net_x2 --from FILE" in told
    assert f"put it into {cache} as net.pth" in told


def test_the_command_without_a_name_says_what_to_do(capsys):
    assert cli.main(["fetch"]) == 2
    assert "basicsr fetch --list" in capsys.readouterr().err
    assert cli.main(["fetch", "IMDM_x4"]) == 2
    assert "Did you mean IMDN_x4" in capsys.readouterr().err


def test_the_list(enter, cache, capsys):
    enter(licence=None)
    assert cli.main(["fetch", "--list"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["name", "network", "scale", "bytes", "licence", "source", "cached"]
    assert row.split() == ["Net_x2", "IMDN", "x2", f"{len(CONTENT):,}", "not", "stated", PAGE, "-"]
    cache.mkdir()
    (cache / "net.pth").write_bytes(CONTENT)
    assert cli.main(["fetch", "--list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["path"] == str(cache / "net.pth")


def test_neither_torch_nor_basicsr_is_loaded():
    code = "import sys; from lightsr_basicsr import cli; cli.main(['fetch', '--list']); cli.main(['fetch', 'drns4x'])\n"
    code += "print(sorted({'torch', 'numpy', 'basicsr', 'cv2'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


# A file of the user's


def test_a_file_that_was_downloaded_by_hand_is_checked_and_copied(enter, cache, mine, capsys):
    enter()
    assert cli.main(["fetch", "Net_x2", "--from", str(mine)]) == 0
    assert capsys.readouterr().out == f"{cache / 'net.pth'}\n"
    assert [path.name for path in cache.iterdir()] == ["net.pth"]
    assert mine.read_bytes() == (cache / "net.pth").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("facts", "content", "message"),
    [
        ({}, CONTENT[:100], "expected 300,002 bytes, got 100"),
        ({}, CONTENT[:-1] + b"?", "expected sha256"),
        ({"sha256": None, "size": None}, b"<!doctype html>", "got a web page"),
        ({}, None, "There is no file"),
    ],
)
def test_another_file_is_refused(enter, cache, mine, capsys, facts, content, message):
    enter(**facts)
    mine.unlink() if content is None else mine.write_bytes(content)
    assert cli.main(["fetch", "Net_x2", "--from", str(mine)]) == 2
    assert message in capsys.readouterr().err
    assert not cache.exists()


def test_another_official_file_is_recognized(shared, capsys, cache):
    assert cli.main(["fetch", "IMDN_x4", "--from", str(shared / "weights" / "FDIWN_x4.pt")]) == 2
    assert "it is FDIWN_x4, FDIWN_x4.pt" in capsys.readouterr().err


def test_a_folder_is_filled_from_the_cache(enter, mine, tmp_path, capsys):
    enter()
    fetch(plan_fetch("Net_x2", source=mine))
    folder = tmp_path / "new" / "experiments"
    assert cli.main(["fetch", "Net_x2", "--folder", str(folder)]) == 0
    assert (folder / "net.pth").read_bytes() == CONTENT


# The cache folder


@pytest.mark.parametrize(
    ("platform", "environment", "folder"),
    [
        ("linux", {"LIGHTSR_CACHE": "/there"}, "/there"),
        ("linux", {"LIGHTSR_CACHE": "~/there"}, "/home/me/there"),
        ("linux", {"LIGHTSR_CACHE": "", "XDG_CACHE_HOME": "/xdg"}, "/xdg/lightsr-basicsr"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "/home/me/.cache/lightsr-basicsr"),
        ("linux", {}, "/home/me/.cache/lightsr-basicsr"),
        ("darwin", {"XDG_CACHE_HOME": "/xdg"}, "/home/me/Library/Caches/lightsr-basicsr"),
        ("win32", {"LOCALAPPDATA": "/appdata"}, "/appdata/lightsr-basicsr"),
        ("win32", {}, "/home/me/AppData/Local/lightsr-basicsr"),
    ],
)
def test_the_cache_folder_is_that_of_the_system(monkeypatch, platform, environment, folder):
    for name in ("LIGHTSR_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/me", **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert cache_folder() == Path(folder)


def test_without_a_home_the_variable_is_named(monkeypatch):
    monkeypatch.setenv("LIGHTSR_CACHE", "~nobody-of-this-name/x")
    with pytest.raises(WeightsError, match="LIGHTSR_CACHE"):
        cache_folder()
    assert folder_beside(Path("a/b.pth")) == Path("a")


def test_a_folder_that_cannot_be_written_is_told_before_a_download(server, enter, mine, monkeypatch, capsys):
    enter(address=server.address)
    monkeypatch.setenv("LIGHTSR_CACHE", str(mine / "cache"))  # below a file
    assert cli.main(["fetch", "Net_x2", "--yes"]) == 2
    told = capsys.readouterr().err
    assert "cannot be written (Not a directory): choose another with --folder, or in the environment as LIGHTSR" in told
    assert server.asked == []
    assert cli.main(["fetch", "Net_x2", "--yes", "--folder", "/proc/nothing"]) == 2
    assert "/proc/nothing for weights cannot be written" in capsys.readouterr().err


def test_a_folder_in_the_place_of_the_file_is_told(server, enter, cache, capsys):
    enter(address=server.address)
    (cache / "net.pth").mkdir(parents=True)
    assert cli.main(["fetch", "Net_x2", "--yes"]) == 2
    assert "no plain file" in capsys.readouterr().err


# Two at the same time


def test_a_second_process_waits_and_downloads_nothing(server, enter, cache):
    pytest.importorskip("fcntl", reason="this system has no such locks")
    enter(address=server.address)
    server.hold, waits, told, done = Event(), Event(), [], []

    def report(line):
        told.append(line)
        waits.set()

    first = Thread(target=lambda: done.append(fetch(plan_fetch("Net_x2"))))
    first.start()
    while not server.asked:
        first.join(0.01)
    second = Thread(target=lambda: done.append(fetch(plan_fetch("Net_x2"), report)))
    second.start()
    assert waits.wait(30)
    server.hold.set()
    first.join(30)
    second.join(30)
    assert done == [cache / "net.pth"] * 2
    assert "another process is downloading" in told[0]
    assert len(server.asked) == 1
    assert [path.name for path in cache.iterdir()] == ["net.pth"]


@pytest.fixture
def start(tmp_path):
    """Start the command in processes of their own, with the table of the test."""
    code = f"""
import sys
from pathlib import Path
from lightsr_basicsr import cli
from lightsr_basicsr.weights import official
official.TABLE = Path({str(tmp_path / "official.yml")!r})
sys.exit(cli.main(["fetch", "Net_x2", "--yes"]))
"""
    return lambda: subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_processes_that_start_together_download_once(server, enter, cache, start):
    pytest.importorskip("fcntl", reason="this system has no such locks")
    enter(address=server.address)
    running = [start() for _ in range(3)]
    assert [process.communicate(timeout=60)[0] for process in running] == [f"{cache / 'net.pth'}\n"] * 3
    assert [process.returncode for process in running] == [0] * 3
    assert len(server.asked) == 1
    assert (cache / "net.pth").read_bytes() == CONTENT


def test_a_killed_download_goes_on_where_it_ended(server, enter, cache, start):
    enter(address=server.address)
    server.hold, part = Event(), cache / "net.pth.part"
    with start() as killed:
        while not (part.is_file() and part.stat().st_size):
            assert killed.poll() is None
            time.sleep(0.01)
        killed.kill()
    server.hold.set()
    kept = part.stat().st_size
    assert fetch(plan_fetch("Net_x2")).read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={kept}-"]
    assert [path.name for path in cache.iterdir()] == ["net.pth"]


def test_a_failure_leaves_the_lock_to_the_next(server, enter, cache):
    enter(address=server.address)
    server.statuses = [404]
    with pytest.raises(WeightsError):
        fetch(plan_fetch("Net_x2"))
    (cache / ".net.pth.lock").touch()  # of a process that was killed
    assert fetch(plan_fetch("Net_x2")).read_bytes() == CONTENT
    assert [path.name for path in cache.iterdir()] == ["net.pth"]


# Google Drive


DRIVE = "https://drive.google.com/file/d/1aB_c-9/view?usp=sharing"


@pytest.fixture
def gdown(monkeypatch):
    calls = []

    def download(**arguments):
        calls.append(arguments)
        Path(arguments["output"]).write_bytes(CONTENT)
        return arguments["output"]

    module = types.SimpleNamespace(download=download, calls=calls)
    monkeypatch.setitem(sys.modules, "gdown", module)
    return module


@pytest.mark.parametrize("address", [DRIVE, "https://drive.google.com/open?id=1aB_c-9"])
def test_google_drive_goes_through_gdown(enter, gdown, address, cache, capsys):
    enter()
    assert cli.main(["fetch", "Net_x2", "--yes", "--from", address]) == 0
    assert (cache / "net.pth").read_bytes() == CONTENT
    assert (gdown.calls[0]["id"], gdown.calls[0]["use_cookies"]) == ("1aB_c-9", False)


def test_without_gdown_the_page_is_told(enter, monkeypatch, capsys):
    enter()
    monkeypatch.setitem(sys.modules, "gdown", None)
    assert cli.main(["fetch", "Net_x2", "--yes", "--from", DRIVE]) == 2
    told = capsys.readouterr().err
    assert install_command("fetch") in told
    assert f"It is published at {PAGE}" in told


def test_what_gdown_does_not_get_is_told(gdown, tmp_path):
    with pytest.raises(WeightsError, match="not the address of one file"):
        download_from_drive("https://drive.google.com/drive/folders/1aB", tmp_path / "part")
    gdown.download = lambda **arguments: None
    with pytest.raises(WeightsError, match="sends no file"):
        download_from_drive(DRIVE, tmp_path / "part")

    def refuse(**arguments):
        raise RuntimeError("too many users")

    gdown.download = refuse
    with pytest.raises(WeightsError, match="too many users"):
        download_from_drive(DRIVE, tmp_path / "part")
