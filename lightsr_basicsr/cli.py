"""The command ``basicsr`` (alias ``lightsr``): wiring of sub-commands; torch is imported only by those that need it.

For ``torchrun`` use ``-m lightsr_basicsr.cli``: workers that are spawned import the main module again, and with it the
fixes that BasicSR needs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from lightsr_basicsr import __version__
from lightsr_basicsr.commands.errors import UsageError, need_basicsr
from lightsr_basicsr.commands.prepare import add_prepare

if TYPE_CHECKING:
    from lightsr_basicsr.tools.info import FileInfo
    from lightsr_basicsr.tools.official import Entry

EXAMPLES = """examples:
  basicsr train -opt options/demo_train_imdn_x4.yml     train a small network in minutes, on photographs that are there
  basicsr train -opt my.yml --auto_resume               go on after an interruption
  basicsr train -opt my.yml --force_yml train:total_iter=100 train:optim_g:lr=1e-4
  basicsr test -opt options/test_imdn_x4.yml            PSNR and SSIM of a checkpoint
  basicsr prepare lr -i Set5 -o datasets/Set5           LR images as MATLAB makes them; also LMDBs, blind sets, checks
  basicsr list networks                                 what an option file can name
  basicsr info model.pth                                which network a file holds
  torchrun --standalone --nproc_per_node=2 -m lightsr_basicsr.cli train -opt my.yml --launcher pytorch
Option files are looked for from the working directory, then among the ones that came with the package."""

INFO_EXAMPLES = """examples:
  basicsr info experiments/pretrained_models/*.pt*
  basicsr info --json model.safetensors
Names and shapes of the tensors are all that is looked at; nothing in a file is executed."""

KINDS = ("networks", "models", "datasets", "losses", "metrics")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (default: that of the process) and return the exit status."""
    parser = _build_parser()
    args = parser.parse_args(argv)
    if args.run is None:
        parser.print_help()
        return 1
    try:
        return args.run(args)
    except KeyboardInterrupt:
        _say("interrupted.")
        return 130
    except BrokenPipeError:  # `basicsr list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its end
        return 141  # as shells report it
    except UsageError as error:
        _say(str(error))
        return 2


def _say(text: str) -> None:
    # One voice is enough: every process of a distributed run meets the same problem.
    if os.environ.get("RANK", "0") == "0":
        print(f"basicsr: {text}", file=sys.stderr, flush=True)


def _build_parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "basicsr",
        description="Train and test lightweight super-resolution with BasicSR.",
        epilog=EXAMPLES,
        formatter_class=form,
    )
    parser.add_argument("--version", action="version", version=f"lightsr-basicsr {__version__}")
    parser.set_defaults(run=None, main=main)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, text in (("train", "train a network"), ("test", "run and measure a network on test sets")):
        command = commands.add_parser(name, help=text, description=text, epilog=EXAMPLES, formatter_class=form)
        _add_run_arguments(command)
        command.set_defaults(run=run_pipeline, command=name)
    listing = commands.add_parser("list", help="what option files can name, and where it comes from")
    listing.add_argument("kind", nargs="?", choices=KINDS, help="one kind only")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(run=run_list)
    info = commands.add_parser(
        "info",
        help="which network a checkpoint file holds, its size and cost, and whether it is an official file",
        epilog=INFO_EXAMPLES,
        formatter_class=form,
    )
    info.add_argument("files", nargs="+", metavar="FILE", help=".pth, .pt or .safetensors")
    info.add_argument("--json", action="store_true", help="print JSON")
    info.set_defaults(run=run_info)
    add_prepare(commands)
    env = commands.add_parser("env", help="versions, devices, which BasicSR is in use: for bug reports")
    env.set_defaults(run=run_env)
    return parser


def _add_run_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("-opt", "--opt", required=True, metavar="FILE", help="option file (YAML)")
    command.add_argument("--auto_resume", action="store_true", help="go on from the newest training state of this run")
    command.add_argument("--launcher", choices=("none", "pytorch", "slurm"), default="none", help="default: none")
    command.add_argument("--debug", action="store_true", help="prefix the name with debug_, log every iteration")
    command.add_argument("--local_rank", "--local-rank", type=int, default=0, help="set by launchers")
    command.add_argument(
        "--force_yml", nargs="+", default=[], metavar="KEY=VALUE", help="override options: train:total_iter=100"
    )


def _load_plugins() -> None:
    from lightsr_basicsr.tools.plugins import load_plugins

    for plugin in load_plugins():
        if plugin.error:
            _say(f"plugin {plugin.name} ({plugin.distribution}) could not be imported: {plugin.error}")


def run_pipeline(args: argparse.Namespace) -> int:
    """Check the option file, then hand over to BasicSR's pipeline; results go under the working directory."""
    need_basicsr()
    from lightsr_basicsr.tools.options import OptionError, find_option_file, read_options

    try:
        path = find_option_file(args.opt)
        options = read_options(path, args.force_yml)
    except OptionError as error:
        raise UsageError(str(error)) from error
    _load_plugins()
    if not os.access(Path.cwd(), os.W_OK):
        raise UsageError(f"{Path.cwd()} is not writable, and results go there: start from another folder.")
    state = _newest_state(options, args)
    if not _check(path, options, args.command == "train", resuming=state is not None):
        return 2
    if args.command == "train" and args.auto_resume:
        _say(f"resuming from {state}" if state else "no training state to resume from: starting at iteration 0")
    try:
        _hand_over(path, options, args)
    except KeyboardInterrupt:
        _say(_farewell(options, args))
        return 130
    if "comparison" in options and os.environ.get("RANK", "0") == "0":
        _compare(options, args)
    return 0


def _run_folder(options: dict, args: argparse.Namespace) -> Path:
    name = str(options.get("name"))
    prefix = "debug_" if args.debug and not name.startswith("debug") else ""
    return Path.cwd() / ("experiments" if args.command == "train" else "results") / f"{prefix}{name}"


def _newest_state(options: dict, args: argparse.Namespace) -> Path | None:
    if args.command != "train":
        return None
    if not args.auto_resume:
        explicit = options["path"].get("resume_state") if isinstance(options.get("path"), dict) else None
        return Path(explicit) if explicit else None
    states = (_run_folder(options, args) / "training_states").glob("*.state")
    return max((state for state in states if state.stem.isdigit()), key=lambda state: int(state.stem), default=None)


def _farewell(options: dict, args: argparse.Namespace) -> str:
    args.auto_resume = True
    state = _newest_state(options, args)
    if state is None:
        return "stopped; nothing was saved yet." if args.command == "train" else "stopped."
    return f"stopped; saved up to iteration {state.stem}. To go on: basicsr train -opt {args.opt} --auto_resume"


def _check(path: Path, options: dict, is_train: bool, resuming: bool) -> bool:
    from lightsr_basicsr.tools.check import check_options

    findings = check_options(options, is_train, resuming)
    fatal = [finding for finding in findings if finding.fatal]
    for finding in findings:
        if not finding.fatal:
            _say(str(finding))
    if fatal:
        lines = "".join(f"\n  {finding}" for finding in fatal)
        _say(f"{path} has {len(fatal)} problem{'s' if len(fatal) > 1 else ''}; nothing was started.{lines}")
    return not fatal


def _hand_over(path: Path, options: dict, args: argparse.Namespace) -> None:
    from basicsr.test import test_pipeline
    from basicsr.train import train_pipeline

    from lightsr_basicsr._fixes.files import parsed_options

    pipeline = train_pipeline if args.command == "train" else test_pipeline
    arguments = ["-opt", str(path), "--launcher", args.launcher, "--local_rank", str(args.local_rank)]
    arguments += [flag for flag in ("--auto_resume", "--debug") if getattr(args, flag.strip("-"))]
    with parsed_options(options, arguments):
        pipeline(str(Path.cwd()))


def _compare(options: dict, args: argparse.Namespace) -> None:
    import cv2

    from lightsr_basicsr.tools.compare import compare_run, draw_comparisons, mean_scores

    folder = _run_folder(options, args)
    training = args.command == "train"
    weights = folder / "models" / "net_g_latest.pth" if training else Path(options["path"]["pretrain_network_g"])
    comparisons = compare_run(options, weights.expanduser())
    name = options["network_g"]["type"]
    print(f"\n{'PSNR / SSIM':<16}{'bicubic':>20}{name:>20}")
    rows = [(c.name, c.bicubic, c.network) for c in comparisons]
    for title, bicubic, ours in [*rows, ("mean", *mean_scores(comparisons))]:
        print(f"{title:<16}" + "".join(f"{psnr:>11.4f} / {ssim:.4f}" for psnr, ssim in (bicubic, ours)))
    picture = folder / "comparison.png"
    cv2.imwrite(str(picture), draw_comparisons(comparisons, name))
    print(f"\nLook at {picture.relative_to(Path.cwd())}")


def run_list(args: argparse.Namespace) -> int:
    """Print the registered names with the module they come from."""
    need_basicsr()
    _load_plugins()
    from lightsr_basicsr.tools.plugins import list_registered

    found = list_registered()
    chosen = {kind: found[kind] for kind in ([args.kind] if args.kind else KINDS)}
    if args.json:
        print(json.dumps({kind: [vars(entry) for entry in entries] for kind, entries in chosen.items()}, indent=2))
        return 0
    width = max(len(entry.name) for entries in chosen.values() for entry in entries)
    for kind, entries in chosen.items():
        print(f"{kind}:")
        for entry in entries:
            print(f"  {entry.name:<{width}}  {entry.module}")
    return 0


def run_info(args: argparse.Namespace) -> int:
    """Print what each file is; the exit status is 2 if one of them is not a network of this package."""
    need_basicsr()
    from lightsr_basicsr.checkpoints import CheckpointError
    from lightsr_basicsr.tools.info import describe_file

    infos, status = [], 0
    for path in args.files:
        try:
            infos.append(describe_file(path))
        except CheckpointError as error:
            _say(str(error))
            status = 2
    if args.json:
        print(json.dumps([asdict(info) for info in infos], indent=2))
    else:
        print("\n\n".join(_info_text(info) for info in infos), end="\n" if infos else "")
    return status


def _info_text(info: FileInfo) -> str:
    identity, official = info.identity, info.official
    arguments = ", ".join(f"{name}: {value}" for name, value in identity.arguments.items())
    inside = "" if info.img_range == 1 else f" (0 to {info.img_range:g} inside)"
    channels = "RGB" if info.num_in_ch == 3 else f"{info.num_in_ch} channels"
    cost = "not counted"
    if info.multi_adds is not None:
        cost = f"{info.multi_adds / 1e9:.2f} G for LR {info.lr_size[0]}x{info.lr_size[1]} (height x width)"
    known = "not an official file that is known"
    if official is not None:
        known = f"{official.released_as or official.file} of {official.title}, {official.source}"
    elif info.same_network:
        known += "; the same network as " + ", ".join(entry.file for entry in info.same_network)
    facts = {
        "network": f"{identity.network} x{identity.scale:g}, {identity.form} form",
        "arguments": arguments,
        "tensors": f"{info.tensors}, {'bare' if info.wrapper == 'bare' else f'under {info.wrapper!r}'}",
        "parameters": f"{info.parameters:,}",
        "multi-adds": cost,
        "input": f"{channels} in [0, 1]{inside}, sides of at least {info.min_side}",
        "sha256": info.sha256,
        "official file": known,
    }
    if official is not None:
        facts["published cost"] = _published_cost(official)
        facts["Set5, published"] = official.published or "none"
        facts["Set5, measured"] = official.measured or "not checked"
        facts["note"] = official.note
    lines = (f"  {name + ':':<18}{value}" for name, value in facts.items() if value)
    return f"{info.path} ({info.size:,} bytes)\n" + "\n".join(lines)


def _published_cost(official: Entry) -> str:
    parts = [f"{official.published_parameters} parameters"] if official.published_parameters else []
    if official.published_multi_adds:
        size = f"LR {official.lr_side}x{official.lr_side}" if official.lr_side else "1280x720 output"
        parts.append(f"{official.published_multi_adds:g} G multi-adds for {size}")
    return ", ".join(parts)


def run_env(args: argparse.Namespace) -> int:
    """Print versions, devices and the BasicSR in use."""
    need_basicsr()
    from lightsr_basicsr.tools.environment import describe_environment

    for name, value in describe_environment().items():
        print(f"{name + ':':<24}{value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
