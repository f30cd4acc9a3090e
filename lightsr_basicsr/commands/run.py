"""The commands ``basicsr train``, ``compress`` and ``test``: check the option file, run BasicSR, show the result."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from os.path import expanduser, isfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightsr_basicsr.commands.arguments import add_import
from lightsr_basicsr.commands.console import load_all_plugins, say
from lightsr_basicsr.commands.handover import hand_over
from lightsr_basicsr.commands.tables import table
from lightsr_basicsr.errors import UserError

if TYPE_CHECKING:
    from lightsr_basicsr.tools.check.context import Finding
    from lightsr_basicsr.tools.options import OptionFile

STAGES = {"train": ("teacher", "student"), "compress": ("search", "prune", "finetune")}
HELP = {
    "train": "train a network",
    "test": "run and measure a network on test sets",
    "compress": "make a trained network narrower: search, pruning, fine-tuning",
}


def add_run(commands: Any, examples: str) -> None:
    """Add ``train``, ``test`` and ``compress`` to the parser's ``commands``."""
    form = argparse.RawDescriptionHelpFormatter
    for name, text in HELP.items():
        command = commands.add_parser(name, help=text, description=text, epilog=examples, formatter_class=form)
        _add_arguments(command)
        command.set_defaults(run=run_pipeline, command="test" if name == "test" else "train", called=name, stage=None)
        if name == "test":
            text = "run a TorchScript file of val.exported, which is a program with all rights of yours: val.trust=true"
            command.add_argument("--trust", action="store_true", help=text)
        if name in STAGES:
            kind = "a two-stage run (KDSR)" if name == "train" else "the run"
            command.add_argument("--stage", choices=STAGES[name], help=f"run only this stage of {kind}")


def _add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("-opt", "--opt", required=True, metavar="FILE", help="option file (YAML)")
    command.add_argument("--auto_resume", action="store_true", help="resume from the newest readable state of this run")
    command.add_argument("--launcher", choices=("none", "pytorch", "slurm"), default="none", help="default: none")
    command.add_argument("--debug", action="store_true", help="prefix the name with debug_, log every iteration")
    command.add_argument("--local_rank", "--local-rank", type=int, default=0, help="set by launchers")
    add_import(command)
    command.add_argument(
        "--force_yml",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="override options: train:total_iter=100; a section is removed by ~: 'datasets:val_*=~'",
    )


def run_pipeline(args: argparse.Namespace) -> int:
    """Check the option file, then hand over to BasicSR's pipeline; results go under the working directory."""
    from lightsr_basicsr.pictures.files import is_text
    from lightsr_basicsr.tools.options import find_option_file, open_options
    from lightsr_basicsr.tools.run.compression import require_compression
    from lightsr_basicsr.tools.run.elastic import has_saved
    from lightsr_basicsr.tools.run.folder import check_folder
    from lightsr_basicsr.tools.run.launcher import require_alone, require_launcher
    from lightsr_basicsr.tools.run.loading import with_prefetch
    from lightsr_basicsr.tools.run.resumed import other_data
    from lightsr_basicsr.tools.run.stages import limit_to_stage, with_total

    require = require_alone if args.called == "compress" else require_launcher
    require(args.launcher, f"{args.called} -opt {args.opt}")
    path = find_option_file(args.opt)
    if getattr(args, "trust", False):
        args.force_yml = [*args.force_yml, "val:trust=true"]
    file = open_options(path)
    options = file.options(args.force_yml)
    folder = _run_folder(options, args)
    if args.command == "train" and not args.auto_resume and has_saved(folder):
        args.auto_resume = True
        say("torchrun has started this run again: it goes on from its newest state")
    if args.stage:
        options = limit_to_stage(options, args.stage, folder, args.auto_resume)
    load_all_plugins(args.plugins, options.get("plugins"))
    if not os.access(Path.cwd(), os.W_OK):
        raise UserError(f"{Path.cwd()} is not writable, and results go there: start from another folder.")
    if not is_text(str(Path.cwd())):
        raise UserError(f"{Path.cwd()} is not UTF-8, and OpenCV cannot write images there: start from another folder.")
    state, passed_over = _find_state(options, args)
    if args.called == "compress":
        require_compression(options, path)
    if not _check(file, options, args, state):
        return 2
    options = with_prefetch(with_total(options, args.stage)) if args.command == "train" else options
    check_folder(folder, tb_logger=args.command == "train" and options["logger"]["use_tb_logger"])
    if args.command == "train" and args.auto_resume:
        for line in passed_over:
            say(line)
        if state and (caution := other_data(folder, options)):
            say(caution)
        say(f"resuming from {state}" if state else "no training state to resume from: starting at iteration 0")
        # BasicSR is given the state by name, so that it cannot choose another one.
        options["path"] = {**options["path"], "resume_state": str(state) if state else None}
    with _held(folder, args) if _is_first(args) else nullcontext():
        return _run(file, options, args)


@contextmanager
def _held(folder: Path, args: argparse.Namespace) -> Iterator[None]:
    """Keep other runs out of the folder."""
    from lightsr_basicsr.tools.run.elastic import note_launch
    from lightsr_basicsr.tools.run.folder import remove_leftovers
    from lightsr_basicsr.tools.run.lock import locked

    with locked(folder, say):
        remove_leftovers(folder)
        if args.command == "train":
            note_launch(folder)
        yield


def _run(file: OptionFile, options: dict, args: argparse.Namespace) -> int:
    from lightsr_basicsr.allocator import freed_memory_kept
    from lightsr_basicsr.tools.run.elastic import forget_launch
    from lightsr_basicsr.tools.run.loading import kept_images
    from lightsr_basicsr.tools.run.log import steady_log
    from lightsr_basicsr.tools.run.together import leave_group
    from lightsr_basicsr.tools.run.watch import RunEndedError, named_images, undisturbed, watched_training

    training = args.command == "train"
    watched, loading = (watched_training, kept_images) if training else (named_images, nullcontext)
    memory = freed_memory_kept if training and options["train"].get("keep_memory") else nullcontext
    try:
        with steady_log(), loading(), memory(), watched():
            replaced = hand_over(file, options, args)
    except (KeyboardInterrupt, RunEndedError) as error:
        if _is_first(args):
            with undisturbed():
                _say_why(error, options, args)
        return 1 if isinstance(error, RunEndedError) else getattr(error, "status", 130)
    leave_group()
    if _is_first(args):
        forget_launch(_run_folder(options, args))
        if options.get("comparison") and args.stage != "search":
            _compare(options, args, replaced)
    return 0


def _say_why(error: BaseException, options: dict, args: argparse.Namespace) -> None:
    from lightsr_basicsr.tools.run.watch import DivergedError, RunEndedError

    if isinstance(error, RunEndedError):
        say(str(error))
    say(_farewell(options, args, resumes=not isinstance(error, DivergedError)))


def _is_first(args: argparse.Namespace) -> bool:
    """Return whether this is the first process of a distributed run, or the only one."""
    return os.environ.get("SLURM_PROCID" if args.launcher == "slurm" else "RANK", "0") == "0"


def _run_folder(options: dict, args: argparse.Namespace) -> Path:
    from lightsr_basicsr.tools.run.folder import run_folder

    return run_folder(options, args.command, args.debug)


def _find_state(options: dict, args: argparse.Namespace) -> tuple[Path | None, list[str]]:
    """Return the state from which training resumes, and why newer ones are passed over."""
    from lightsr_basicsr.checkpoints.states import newest_readable_state, read_state
    from lightsr_basicsr.tools.check.context import Run

    if args.command != "train":
        return None, []
    if args.auto_resume:
        run = Run(options, is_train=True)
        weights_of = partial(run.contract.resume_files, run.sound_options)
        return newest_readable_state(_run_folder(options, args) / "training_states", weights_of)
    named = options["path"].get("resume_state") if isinstance(options.get("path"), dict) else None
    state = Path(expanduser(named)) if named and isinstance(named, str) else None
    if state and isfile(state):  # the check reports a missing one
        read_state(state)
    return state, []


def _farewell(options: dict, args: argparse.Namespace, resumes: bool) -> str:
    args.auto_resume = True
    state, _ = _find_state(options, args)
    if state is None:
        return "stopped; nothing was saved yet." if args.command == "train" else "stopped."
    saved = f"stopped; saved up to iteration {state.stem}."
    return f"{saved} To resume: {_resuming(args)}" if resumes else saved


def _resuming(args: argparse.Namespace) -> str:
    """Return the command that resumes this run."""
    more = ["-opt", args.opt, *(["--stage", args.stage] if args.stage else []), *(["--debug"] if args.debug else [])]
    more += [
        "--auto_resume",
        *(part for name in args.plugins or () for part in ("--import", name)),
        *(["--force_yml", *args.force_yml] if args.force_yml else []),
    ]
    if args.launcher == "none":
        return shlex.join(["basicsr", args.called, *more])
    return f"the same launch of {shlex.join([args.called, *more, '--launcher', args.launcher])}"


def _check(file: OptionFile, options: dict, args: argparse.Namespace, state: Path | None) -> bool:
    from lightsr_basicsr.tools.check.options import check_options

    typed = [".".join(map(str.strip, override.partition("=")[0].split(":"))) for override in args.force_yml]
    findings = check_options(options, args.command == "train", state, typed)
    fatal = [finding for finding in findings if finding.fatal]
    for warning in (finding for finding in findings if not finding.fatal):
        say(_with_origin(file, warning))
    if fatal:
        lines = "\n  ".join(_with_origin(file, each) for each in fatal)
        say(f"{file.path} has {len(fatal)} problem{'s' if len(fatal) > 1 else ''}; nothing was started.\n  {lines}")
    return not fatal


def _with_origin(file: OptionFile, finding: Finding) -> str:
    """Return a finding, and where the key stands if it is inherited."""
    inherited = file.origin(finding.where)
    return f"{finding} ({inherited})" if inherited else str(finding)


def _compare(options: dict, args: argparse.Namespace, replaced: Any) -> None:
    from lightsr_basicsr.tools.images import write_png
    from lightsr_basicsr.tools.run.compare import compare_run, draw_comparisons, mean_scores
    from lightsr_basicsr.tools.run.compression import compresses
    from lightsr_basicsr.tools.run.forms import forms_of

    folder = _run_folder(options, args)
    forms = forms_of(options, folder / "models") if args.command == "train" else {}
    loaded = {} if replaced is None else {options["network_g"]["type"]: replaced}
    small = args.command == "train" and compresses(options)
    networks = {} if loaded else forms or _networks(options, folder if args.command == "train" else None, args.stage)
    comparisons = compare_run(options, networks, loaded)
    titles = list(comparisons[0].scores)
    rows = [*((each.name, each.scores) for each in comparisons), ("mean", mean_scores(comparisons))]
    cells = [[name, *(f"{scores[title][0]:.4f} / {scores[title][1]:.4f}" for title in titles)] for name, scores in rows]
    print("\n" + table([["PSNR / SSIM", *titles], *cells], "<>", gap="    "))
    if forms:
        _print_costs(options, forms)
    if small:
        _print_compression(options, networks, folder, mean_scores(comparisons))
    picture = folder / "comparison.png"
    write_png(picture, draw_comparisons(comparisons))
    print(f"\nLook at {picture.relative_to(Path.cwd())}")


def _print_costs(options: dict, forms: dict) -> None:
    from lightsr_basicsr.tools.run.forms import measure_costs

    costs = measure_costs(options, forms)
    whole = next(iter(costs.values())).seconds
    rows = [("", "parameters", "file", "time per image")]
    for title, cost in costs.items():
        took = f"{1000 * cost.seconds:.1f} ms ({cost.seconds / whole:.2f})"
        rows.append((title, f"{cost.parameters:,}", f"{cost.size / 1e6:.2f} MB", took))
    print("\n" + table(rows, "<>", gap="    "))


def _print_compression(options: dict, networks: dict, folder: Path, scores: dict) -> None:
    from lightsr_basicsr.tools.run.compression import DENSE, UNIFORM, UNIFORM_LIST, measure

    found = measure(options, networks, folder)
    dense = found[DENSE]
    rows = [("", "parameters", "multi-adds", "time per image", "PSNR")]
    for title, each in found.items():
        size, work, took = (getattr(each, key) / getattr(dense, key) for key in ("parameters", "multi_adds", "seconds"))
        score = f"{scores[title][0]:.4f} dB" if title in scores else "not trained"
        rows.append((title, f"{each.parameters:,} ({size:.2f})", f"{each.multi_adds / 1e9:.3f} G ({work:.2f})",
                     f"{1000 * each.seconds:.1f} ms ({took:.2f})", score))  # fmt: skip
    print("\n" + table(rows, "<>", gap="    "))
    if UNIFORM in found:
        file = (folder / UNIFORM_LIST).relative_to(Path.cwd())
        print(f"\n{UNIFORM}: one share of the channels everywhere, {file}")


def _networks(options: dict, folder: Path | None, stage: str | None) -> dict[str, tuple[dict, Path]]:
    """Return sections and files of the networks to compare: those that a run in ``folder`` trained, or the tested."""
    from lightsr_basicsr.tools.run.compression import compresses, networks_of
    from lightsr_basicsr.tools.run.stages import has_stages

    net_g, paths = options["network_g"], options["path"]
    if folder is None:
        return {net_g["type"]: (net_g, Path(expanduser(paths["pretrain_network_g"])))}
    if compresses(options):
        return networks_of(options, folder, stage)
    student = folder / "models" / "net_g_latest.pth"
    if not has_stages(options):
        return {net_g["type"]: (net_g, student)}
    teacher = folder / "models" / "net_TA_latest.pth"
    if not teacher.is_file():
        teacher = Path(expanduser(str(paths.get("pretrain_network_TA"))))
    both = {"teacher": (options["network_TA"], teacher), "student": (net_g, student)}
    # A single-stage run has only one of the two.
    return {title: (section, file) for title, (section, file) in both.items() if file.is_file()}
