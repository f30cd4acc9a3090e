"""Count runs that are killed and resumed, and whether they end with the bits of the uninterrupted one.

``nice python -m tests.faults.resume_count --runs 150 --seed 0`` takes about 20 minutes of one core. Each run is a
process of its own that is killed up to three times: at a random moment, within a step, or within a save, by SIGKILL or
SIGTERM. It needs ``fork``, which spares each process the import of torch.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import stat
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from lightsr_basicsr import cli
from tests import tiny
from tests.faults.resume_cases import CASES, make_data

RUN, WHOLE = Path("experiments/tiny"), Path("whole")
MOST_KILLS = 3
STEPS = ("update_learning_rate", "feed_data", "optimize_parameters")


def train(*arguments: str) -> int:
    return cli.main(["train", "-opt", "run.yml", *arguments])


def end_self(number: int) -> None:
    os.kill(os.getpid(), number)


def in_process(work: Callable[[], int], log: Path) -> int:
    """Return the id of a new process that does ``work`` and exits with its result."""
    child = os.fork()
    if child:
        return child
    status = 99
    try:
        with log.open("a") as file:
            for number in (1, 2):
                os.dup2(file.fileno(), number)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        status = work()
    except BaseException as error:
        traceback.print_exc()
        status = error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else status
    finally:
        sys.stderr.flush()
        os._exit(status)


def status_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_in_step(number: int, method: str, at: int, after: bool) -> None:
    """Let this process get a signal around the ``at``-th call of a method of the training model."""
    import basicsr.train

    build, calls = basicsr.train.build_model, []

    def build_model(opt: dict) -> object:
        model = build(opt)
        original = getattr(model, method)

        def called(*args, **kwargs) -> None:
            calls.append(1)
            if len(calls) == at and not after:
                end_self(number)
            original(*args, **kwargs)
            if len(calls) == at and after:
                end_self(number)

        setattr(model, method, called)
        return model

    basicsr.train.build_model = build_model


def kill_in_save(where: str, at: int) -> None:
    """Kill this process within the ``at``-th file that is written: half of it on the disk, or around the renaming."""
    from lightsr_basicsr import whole

    calls = []
    fsync, publish = os.fsync, whole._publish

    def torn(handle: int) -> None:
        file = os.fstat(handle)
        if stat.S_ISREG(file.st_mode) and where == "half":
            calls.append(1)
            if len(calls) == at:
                os.ftruncate(handle, file.st_size // 2)
                end_self(signal.SIGKILL)
        fsync(handle)

    def killed(*args) -> None:
        calls.append(1)
        if len(calls) == at and where == "before":
            end_self(signal.SIGKILL)
        publish(*args)
        if len(calls) == at and where == "after":
            end_self(signal.SIGKILL)

    os.fsync = torn
    if where != "half":
        whole._publish = killed


def interrupt(rng: random.Random, seconds: float, total: int, log: Path) -> tuple[str, int]:
    """Start or resume the run and kill it at a random point; return which point, and the status with which it ended."""
    kind = rng.choice(["time", "step", "save"])
    number = signal.SIGKILL if kind == "save" else rng.choice([signal.SIGKILL, signal.SIGTERM])
    point = {
        "time": lambda: (round(rng.uniform(0.2, 0.9) * seconds, 3),),
        "step": lambda: (number, rng.choice(STEPS), rng.randint(1, total * 2 // 3), rng.random() < 0.5),
        "save": lambda: (rng.choice(["half", "before", "after"]), rng.randint(1, max(8, total))),
    }[kind]()

    def work() -> int:
        if kind != "time":
            {"step": kill_in_step, "save": kill_in_save}[kind](*point)
        return train("--auto_resume")

    child = in_process(work, log)
    if kind == "time":
        time.sleep(point[0])
        os.kill(child, number)
    ended = status_of(child)
    wanted = {0, -signal.SIGKILL} if number == signal.SIGKILL else {0, 143, -signal.SIGTERM}
    given = point[1:] if kind == "step" else point
    label = f"{kind} {number.name} {' '.join(map(str, given))}: {ended}"
    return (label if ended in wanted else f"{label} UNEXPECTED"), ended


def final_files(folder: Path, total: int) -> dict[str, Path]:
    """Return the files that a run ends with: weights, the last state, and texts (channel lists, choices, scores)."""
    ends = (f"_{total}", "_latest", f"_{total}_deploy", "_latest_deploy")
    weights = [file for file in (folder / "models").glob("net_*.pth") if file.stem.endswith(ends)]
    texts = [*folder.glob("*.txt"), *folder.glob("*.json")]
    return {file.name: file for file in (*weights, folder / "training_states" / f"{total}.state", *texts)}


def content_of(file: Path) -> object:
    return file.read_text() if file.suffix in (".txt", ".json") else torch.load(file, weights_only=True)


def differences(ours: object, theirs: object, place: str = "") -> Iterator[str]:
    """Yield where two contents of files differ in type, keys or bits."""
    if type(ours) is not type(theirs):
        yield f"{place}: {type(ours).__name__} and {type(theirs).__name__}"
    elif isinstance(ours, torch.Tensor):
        same = ours.shape == theirs.shape and ours.dtype == theirs.dtype
        if not (same and torch.equal(bits(ours), bits(theirs))):
            yield place
    elif isinstance(ours, dict):
        if ours.keys() != theirs.keys():
            yield f"{place}: keys {sorted(map(str, ours.keys() ^ theirs.keys()))}"
        for key in ours.keys() & theirs.keys():
            yield from differences(ours[key], theirs[key], f"{place}/{key}")
    elif isinstance(ours, (list, tuple)):
        if len(ours) != len(theirs):
            yield f"{place}: {len(ours)} and {len(theirs)} entries"
        for index, pair in enumerate(zip(ours, theirs, strict=False)):
            yield from differences(*pair, f"{place}/{index}")
    elif ours != theirs:
        yield f"{place}: {ours} and {theirs}"


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """Return the bytes of a tensor: unlike numbers, NaN is equal to itself, and 0 is not -0."""
    return tensor.contiguous().flatten().view(torch.uint8) if tensor.numel() else tensor


def compare(folder: Path, whole: Path, total: int) -> list[str]:
    """Return what differs in the last files of two runs."""
    ours, theirs = final_files(folder, total), final_files(whole, total)
    if ours.keys() != theirs.keys():
        return [f"files: {sorted(ours.keys() ^ theirs.keys())}"]
    found = []
    for name, file in ours.items():
        found += differences(content_of(file), content_of(theirs[name]), name)
    return found


def uninterrupted(case: str) -> tuple[float, int]:
    """Run a case to its end, into ``WHOLE``; return the seconds that it took, and its iterations."""
    tiny.write(CASES[case]())
    start = time.monotonic()
    child = in_process(train, Path("whole.log"))
    if status_of(child):
        raise SystemExit(f"{case} does not run:\n{Path('whole.log').read_text()[-3000:]}")
    shutil.rmtree(WHOLE / case, ignore_errors=True)
    shutil.move(RUN, WHOLE / case)
    return time.monotonic() - start, newest(WHOLE / case)


def newest(folder: Path) -> int:
    """Return the iteration of a run's newest training state."""
    return max((int(file.stem) for file in folder.glob("training_states/*.state")), default=0)


def run_once(case: str, seed: str, seconds: float, total: int) -> dict:
    """Kill and resume a case until it ends; return what was done and what differs."""
    rng, log = random.Random(seed), Path(f"{seed.replace('/', '_')}.log")
    shutil.rmtree("experiments", ignore_errors=True)
    tiny.write(CASES[case]())
    kills: list[str] = []
    wanted, ended = rng.randint(1, MOST_KILLS), 1
    while ended and len(kills) < wanted:
        label, ended = interrupt(rng, seconds, total, log)
        if ended:
            kills.append(f"{label}, newest state {newest(RUN)}")
        elif not kills:  # it came too late
            shutil.rmtree("experiments")
            ended = 1
    if ended:
        ended = status_of(in_process(lambda: train("--auto_resume"), log))
    found = compare(RUN, WHOLE / case, total) if not ended else [f"exit status {ended}"]
    found += [kill for kill in kills if "UNEXPECTED" in kill]
    if found:
        shutil.copytree(RUN, log.with_suffix(""), dirs_exist_ok=True)
    else:
        log.unlink()
    return {"case": case, "seed": seed, "kills": kills, "differences": found[:20]}


def show(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Print a table of all runs, and write one line per run to ``runs.jsonl`` in the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="cases whose names contain this")
    parser.add_argument("--folder", type=Path, help="an empty folder for data and runs; default: a temporary one")
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder = args.folder or Path(tempfile.mkdtemp(prefix="resume_count_"))
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    show(f"data, runs and what differs: {folder.resolve()}")
    make_data(Path())
    cases = [case for case in CASES if args.only in case]
    measured: dict[str, tuple[float, int]] = {}
    runs, equal, killed = Counter(), Counter(), Counter()
    for index in range(args.runs):
        case = cases[index % len(cases)]
        if case not in measured:
            measured[case] = uninterrupted(case)
        result = run_once(case, f"{args.seed}/{index}", *measured[case])
        runs[case] += 1
        equal[case] += not result["differences"]
        killed[case] += len(result["kills"])
        with Path("runs.jsonl").open("a") as file:
            file.write(json.dumps(result) + "\n")
        if result["differences"]:
            show(f"UNEQUAL {result}")
    show(f"{'case':45} runs  equal  interruptions")
    for case in cases:
        show(f"{case:45} {runs[case]:4}  {equal[case]:5}  {killed[case]:13}")
    show(f"{'all':45} {runs.total():4}  {equal.total():5}  {killed.total():13}")
    sys.exit(runs != equal)


if __name__ == "__main__":
    main()
