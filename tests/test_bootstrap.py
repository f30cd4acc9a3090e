import os
import signal
import subprocess
import sys
from importlib import machinery

import pytest

from lightsr_basicsr import bootstrap

# What BasicSR's setup.py does, and every other way to call exec.
EXEC_CALLS = """\
import builtins
from collections import namedtuple


def get_version():
    exec(compile("__version__ = '1.4.2'", "version.py", "exec"))
    return locals()["__version__"]


def keep(own, other):
    value = 1
    exec("value = 2", {})
    exec("value = 2", own)
    exec("value = 2; third = 3", own, other)
    return value


class Body:
    exec("attribute = 4")


own, other = {}, {}
assert builtins.exec.__module__ == "sitecustomize"
assert get_version() == "1.4.2"
assert keep(own, other) == 1
assert own["value"] == 2 and other == {"value": 2, "third": 3}
assert Body.attribute == 4
assert namedtuple("Point", "x y")(1, 2).y == 2
exec("module_level = 5")
assert module_level == 5
import sys
if sys.version_info >= (3, 13):
    exec("value = 6", globals=own, locals=other)
    assert other["value"] == 6 and own["value"] == 2
    exec("value = 7", locals=other)
    assert other["value"] == 7 and "value" not in globals()
print("passed")
"""


@pytest.fixture
def absent(monkeypatch):
    monkeypatch.setattr(bootstrap, "find_basicsr", lambda: None)


@pytest.fixture
def temporary(monkeypatch, tmp_path):
    """The folder in which the command makes its own temporary folder."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(bootstrap.tempfile, "tempdir", str(folder))
    return folder


def record(monkeypatch, fails=None, error=None):
    """Replace the runner by one that writes down the commands, and fails at the one that contains ``fails``."""
    commands = []

    def run(command, variables):
        commands.append((command, variables))
        if error is not None:
            raise error
        return 2 if fails in command else 0

    monkeypatch.setattr(bootstrap, "run", run)
    return commands


def test_exec_shows_its_names_in_locals(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(bootstrap.SITECUSTOMIZE, encoding="utf-8")
    script = tmp_path / "script.py"
    script.write_text(EXEC_CALLS, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "passed\n", done.stderr


def test_nothing_is_done_where_basicsr_is_present(monkeypatch, capsys):
    commands = record(monkeypatch)
    monkeypatch.setattr(bootstrap, "find_basicsr", lambda: "/clone/basicsr/__init__.py (a clone)")
    assert bootstrap.main([]) == 0
    assert commands == []
    assert "/clone/basicsr/__init__.py" in capsys.readouterr().out


@pytest.mark.parametrize("files", [["__init__.py"], []])
def test_finds_a_clone_but_not_an_empty_folder(monkeypatch, tmp_path, files):
    package = tmp_path / "basicsr"
    package.mkdir()
    for name in files:
        (package / name).touch()
    # Without site-packages and editable installations, where a real BasicSR may be.
    paths = [path for path in sys.path if "site-packages" not in path]
    monkeypatch.setattr(sys, "path", [str(tmp_path), *paths])
    monkeypatch.setattr(sys, "meta_path", [machinery.BuiltinImporter, machinery.FrozenImporter, machinery.PathFinder])
    monkeypatch.delitem(sys.modules, "basicsr", raising=False)
    found = f"{package.resolve() / '__init__.py'} (a clone or an editable installation)"
    assert bootstrap.find_basicsr() == (found if files else None)


def test_finds_the_distribution(monkeypatch, tmp_path):
    package, info = tmp_path / "basicsr", tmp_path / "basicsr_fixed-9.9.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "__init__.py").touch()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: basicsr-fixed\nVersion: 9.9\n", encoding="utf-8")
    (info / "top_level.txt").write_text("basicsr\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "basicsr", raising=False)
    assert bootstrap.find_basicsr() == f"{(package / '__init__.py').resolve()} (basicsr-fixed 9.9)"


def test_dry_run_prints_the_commands_and_runs_none(monkeypatch, capsys, absent, temporary):
    commands = record(monkeypatch)
    assert bootstrap.main(["--dry-run", "--version", "1.4.1"]) == 0
    printed = capsys.readouterr().out
    assert commands == []
    assert list(temporary.iterdir()) == []
    calls = [line.split(" -m pip ")[1].split()[0] for line in printed.splitlines() if not line.startswith("#")]
    assert calls == ["install", "wheel", "install"]
    assert "--no-build-isolation" in printed
    assert "basicsr==1.4.1" in printed


def test_builds_with_private_tools_and_installs_without_them(monkeypatch, absent, temporary):
    monkeypatch.setenv("PYTHONPATH", "mine")
    commands = record(monkeypatch)
    assert bootstrap.main([]) == 0
    (_, _), (_, build), (install, variables), (check, _) = commands
    folder, tools, mine = build["PYTHONPATH"].split(os.pathsep)
    assert (os.path.dirname(tools), mine) == (folder, "mine")
    assert "--force-reinstall" not in install
    assert variables == {}
    assert check[1] == "-c"
    assert list(temporary.iterdir()) == []


def test_wheel_only_installs_nothing(monkeypatch, capsys, temporary, tmp_path):
    commands = record(monkeypatch)
    wheel = tmp_path / "basicsr-1.4.2-py3-none-any.whl"
    wheel.touch()
    assert bootstrap.main(["--wheel-only", str(tmp_path)]) == 0
    assert [command[3] for command, _ in commands] == ["install", "wheel"]
    assert "--target" in commands[0][0]
    assert str(tmp_path) in commands[1][0]
    assert wheel.name in capsys.readouterr().out


def test_force_replaces_basicsr_and_no_dependency(monkeypatch, temporary):
    commands = record(monkeypatch)
    monkeypatch.setattr(bootstrap, "find_basicsr", lambda: "somewhere")
    assert bootstrap.main(["--force"]) == 0
    forced = [command for command, _ in commands if "--force-reinstall" in command]
    assert len(forced) == 1
    assert "--no-deps" in forced[0]


@pytest.mark.parametrize("fails", ["--target", "wheel", "--find-links", "-c"])
def test_a_failing_step_ends_with_advice_and_no_rubbish(monkeypatch, capsys, absent, temporary, fails):
    commands = record(monkeypatch, fails=fails)
    assert bootstrap.main([]) == 1
    assert fails in commands[-1][0]
    message = capsys.readouterr().err
    assert message.startswith("\nBasicSR is not ready. ")
    assert "Traceback" not in message
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [(KeyboardInterrupt(), 130, "Interrupted"), (PermissionError("no entry"), 1, "no entry")],
)
def test_interrupted_or_not_permitted(monkeypatch, capsys, absent, temporary, error, status, message):
    record(monkeypatch, error=error)
    assert bootstrap.main([]) == status
    assert message in capsys.readouterr().err
    assert list(temporary.iterdir()) == []


def test_python_without_pip(monkeypatch, capsys, absent, temporary):
    commands = record(monkeypatch)
    monkeypatch.setattr(bootstrap.importlib.util, "find_spec", lambda name: None)
    assert bootstrap.main([]) == 1
    assert commands == []
    assert "ensurepip" in capsys.readouterr().err


@pytest.mark.parametrize("fault", ["managed", "not writable", "network"])
def test_advice_fits_the_failed_step(monkeypatch, tmp_path, fault):
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    monkeypatch.setattr(bootstrap.sysconfig, "get_path", lambda name: str(tmp_path / name))
    if fault != "not writable":
        (tmp_path / "purelib").mkdir()
    (tmp_path / "stdlib").mkdir()
    if fault == "managed":
        (tmp_path / "stdlib" / "EXTERNALLY-MANAGED").touch()
    words = {"managed": "operating system", "not writable": "not writable", "network": "network"}
    fetch, _, install = bootstrap.plan(tmp_path, "1.4.2")
    assert words[fault] in bootstrap.advice(install)
    assert "network" in bootstrap.advice(fetch)


@pytest.fixture
def interruptible():
    """SIGINT raises, as it does in the foreground; in the background of a script it may be ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
@pytest.mark.usefixtures("interruptible")
def test_interrupt_waits_for_the_child(tmp_path):
    done = tmp_path / "done"
    child = f"""\
import os, signal, time
os.kill(os.getppid(), signal.SIGINT)
time.sleep(0.5)  # longer than Python itself waits
open({str(done)!r}, "w").close()
"""
    with pytest.raises(KeyboardInterrupt):
        bootstrap.run([sys.executable, "-c", child], {})
    assert done.exists()
