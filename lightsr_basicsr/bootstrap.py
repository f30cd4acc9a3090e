"""Install BasicSR where ``pip install basicsr`` fails or wastes gigabytes: ``python -m lightsr_basicsr.bootstrap``.

BasicSR is published as a source archive only. Its ``setup.py`` makes pip download a second torch just for the build,
and stops with ``KeyError: '__version__'`` from Python 3.13 on. Here the wheel is built without torch, by build tools in
a temporary folder, and then installed by the environment's own pip. Nothing stays but BasicSR, its dependencies, and
those of ours that were missing.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from lightsr_basicsr.errors import UserError

# Python imports this at the start of the build process, and of that one only. Since 3.13 every `locals()` of a function
# is a fresh copy, in which names made by a plain `exec(code)` are missing; BasicSR's setup.py reads its version there.
SITECUSTOMIZE = """\
import builtins
import sys

original = builtins.exec


def exec(source, /, globals=None, locals=None, **keywords):
    if globals is None:
        caller = sys._getframe(1)
        globals = caller.f_globals
        locals = caller.f_locals if locals is None else locals
    original(source, globals, locals, **keywords)


builtins.exec = exec
"""

CHECK = """\
import lightsr_basicsr, basicsr, torch
print(f"lightsr-basicsr {lightsr_basicsr.__version__}, BasicSR {basicsr.__version__}, torch {torch.__version__}")
print(f"BasicSR is {basicsr.__file__}")
"""

EXAMPLES = """\
examples:
  python -m lightsr_basicsr.bootstrap
  python -m lightsr_basicsr.bootstrap --dry-run
  python -m lightsr_basicsr.bootstrap --wheel-only wheels    # then, elsewhere: pip install wheels/basicsr-*.whl

Where torch and torchvision are missing, pip brings their default builds. For others, such as CPU-only ones, install
both before running this.
"""


class StepError(UserError):
    """A step that failed; the message says what to do."""


class Step(NamedTuple):
    """One call of pip: its purpose, its arguments, its additional variables, and whether what it installs stays."""

    purpose: str
    arguments: list[str]
    variables: dict[str, str]
    installs: bool = False

    def shown(self) -> str:
        """Return the call as a shell command."""
        variables = (f"{name}={shlex.quote(value)}" for name, value in self.variables.items())
        return " ".join([*variables, shlex.join(self.command())])

    def command(self) -> list[str]:
        """Return the call as a list of arguments."""
        return [sys.executable, "-m", "pip", *self.arguments]


def plan(folder: Path, version: str, wheel_only: Path | None = None, force: bool = False) -> list[Step]:
    """Return the calls of pip.

    Args:
        folder (Path): The temporary folder, in which ``sitecustomize.py`` lies.
        version (str): Version of BasicSR.
        wheel_only (Path | None): Where to leave the wheel without installing it. Default: None, install.
        force (bool): Whether to replace an installed BasicSR. Default: False.
    """
    tools, wheels, basicsr = str(folder / "tools"), str(wheel_only or folder / "wheels"), f"basicsr=={version}"
    path = os.pathsep.join(filter(None, (str(folder), tools, os.environ.get("PYTHONPATH"))))
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, basicsr]
    steps = [
        # pip refuses --target where its settings ask for --user.
        Step("Fetch build tools", ["install", "--target", tools, "pip", "setuptools", "wheel"], {"PIP_USER": "0"}),
        # As a variable, because a pip that has no such option any more ignores it.
        Step("Build BasicSR", build, {"PYTHONPATH": path, "PIP_USE_PEP517": "1"}),
    ]
    # By name: pip would record the path of a wheel, and `pip freeze` name a folder that is removed here.
    install = ["install", "--find-links", wheels, "--only-binary", "basicsr", basicsr]
    # Though installed, for the dependencies that `pip install --no-deps .` left out.
    completed = [*install, *_own_distribution()]
    if force and not wheel_only:
        # Without --no-deps pip would download torch again, too.
        steps.append(Step("Replace BasicSR", [*install, "--force-reinstall", "--no-deps"], {}, installs=True))
    return steps if wheel_only else [*steps, Step("Install BasicSR and what it needs", completed, {}, installs=True)]


def _own_distribution() -> list[str]:
    try:
        return [f"lightsr-basicsr=={metadata.version('lightsr-basicsr')}"]
    except metadata.PackageNotFoundError:
        return []


def find_basicsr() -> str | None:
    """Return path and version of the BasicSR that ``import basicsr`` finds; None for none, or an empty folder."""
    spec = importlib.util.find_spec("basicsr")
    if spec is None or spec.origin is None:
        return None
    found = Path(spec.origin).resolve()
    names = []
    for name in sorted(set(metadata.packages_distributions().get("basicsr", ()))):
        distribution = metadata.distribution(name)
        if Path(str(distribution.locate_file("basicsr/__init__.py"))).resolve() == found:
            names.append(f"{name} {distribution.version}")
    return f"{found} ({' and '.join(names) or 'a clone or an editable installation'})"


def run(command: list[str], variables: dict[str, str]) -> int:
    """Run ``command``, show its output, and return its exit status."""
    with subprocess.Popen(command, env=os.environ | variables) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            # pip got the same Ctrl-C and restores what it was replacing; killed, it would leave neither old nor new.
            process.wait()
            raise


def advice(step: Step) -> str:
    """Return advice for after ``step`` has failed."""
    stdlib, packages = sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")
    if step.installs and sys.prefix == sys.base_prefix and Path(stdlib, "EXTERNALLY-MANAGED").is_file():
        return "This Python belongs to the operating system; make an environment with `python -m venv` and use that."
    if step.installs and not os.access(packages, os.W_OK):
        return f"{packages} is not writable; make an environment of your own with `python -m venv` and use that."
    return (
        "Check the network, pip's settings and the version, or build the wheel on another machine with "
        "`--wheel-only DIR` and `pip install` it here."
    )


def perform(args: argparse.Namespace) -> None:
    """Run all steps in a temporary folder, which is always removed."""
    if importlib.util.find_spec("pip") is None:
        raise StepError("This Python has no pip; `python -m ensurepip` installs it.")
    with tempfile.TemporaryDirectory(prefix="basicsr-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "sitecustomize.py").write_text(SITECUSTOMIZE, encoding="utf-8")
        for step in plan(folder, args.version, args.wheel_only, args.force):
            print(f"== {step.purpose}", flush=True)
            status = run(step.command(), step.variables)
            if status != 0:
                raise StepError(f"{step.purpose}: pip ended with status {status}, its reason is above. {advice(step)}")
    if args.wheel_only:
        names = ", ".join(path.name for path in args.wheel_only.glob("basicsr-*.whl"))
        print(f"== The wheel is in {args.wheel_only}: {names}")
        return
    print("== Import it", flush=True)
    if run([sys.executable, "-c", CHECK], {}) != 0:
        raise StepError(
            "It is installed but cannot be imported. A missing module comes with `pip install .` in a checkout; "
            "torch and torchvision must be a matching pair."
        )
    print("Done. Next: basicsr --help")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m lightsr_basicsr.bootstrap",
        description="Build and install BasicSR without a second torch, also on Python 3.13 and later.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", default="1.4.2", metavar="X", help="version of BasicSR (default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="replace an installed BasicSR")
    parser.add_argument("--wheel-only", type=Path, metavar="DIR", help="leave the wheel in DIR and install nothing")
    parser.add_argument("--dry-run", action="store_true", help="print the calls of pip and do nothing")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    args = parse(argv)
    found = None if args.force or args.wheel_only else find_basicsr()
    if found:
        print(f"BasicSR is installed: {found}. Nothing to do; `--force` replaces it with {args.version}.")
        return 0
    if args.dry_run:
        for step in plan(Path("TMP"), args.version, args.wheel_only, args.force):
            print(f"# {step.purpose}\n{step.shown()}")
        return 0
    try:
        perform(args)
    except KeyboardInterrupt:
        print("\nInterrupted; the temporary folder is removed. Run it again to continue.", file=sys.stderr)
        return 130
    except (StepError, OSError) as error:
        print(f"\nBasicSR is not ready. {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
