"""Compare a built sdist and wheel with the repository: ``python .ci/compare_files.py DIST``."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

LEFT_OUT = (".github/", ".gitignore")  # of the sdist
FOLDERS = ("lightsr_basicsr", "options", "tests", "docs")


def files_of_the_repository() -> list[str]:
    """Return the names that git tracks; without git, what lies in the folders that matter."""
    try:
        done = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True)
        return done.stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        found = (path for folder in FOLDERS for path in Path(folder).rglob("*") if path.is_file())
        return [path.as_posix() for path in found if path.suffix != ".pyc"]


def main(dist: Path) -> int:
    """Return 0 if the sdist holds every file of the repository, and the wheel the package's with the same bytes."""
    tracked = files_of_the_repository()
    (sdist,), (wheel,) = dist.glob("*.tar.gz"), dist.glob("*.whl")
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    problems = [f"not in the sdist: {name}" for name in tracked if name not in inside and not name.startswith(LEFT_OUT)]
    ours = {name: name for name in tracked if name.startswith("lightsr_basicsr/")}
    ours |= {f"lightsr_basicsr/{name}": name for name in tracked if name.startswith("options/")}
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        problems += [f"not in the wheel: {name}" for name in sorted(ours.keys() - names)]
        problems += [f"only in the wheel: {name}" for name in sorted(names - ours.keys())]
        same = sorted(ours.keys() & names)
        problems += [f"other bytes: {name}" for name in same if archive.read(name) != Path(ours[name]).read_bytes()]
    sys.stdout.write("\n".join([*problems, f"{len(same)} files of the wheel compared, {len(problems)} problems.\n"]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
