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
from typing import TYPE_CHECKING

from lightsr_basicsr import __version__
from lightsr_basicsr.commands.benchmark import add_benchmark
from lightsr_basicsr.commands.convert import add_convert
from lightsr_basicsr.commands.embed import add_embed
from lightsr_basicsr.commands.errors import UsageError, load_all_plugins, need_basicsr, say
from lightsr_basicsr.commands.export import add_export
from lightsr_basicsr.commands.prepare import add_prepare
from lightsr_basicsr.commands.run import add_run

if TYPE_CHECKING:
    from lightsr_basicsr.tools.info import FileInfo
    from lightsr_basicsr.tools.official import Entry

EXAMPLES = """examples:
  basicsr train -opt options/demo_train_imdn_x4.yml     train a small network in minutes, on photographs that are there
  basicsr train -opt my.yml --auto_resume               go on after an interruption
  basicsr train -opt my.yml --stage teacher             of a run of two stages (KDSR), do the first only
  basicsr train -opt my.yml --force_yml train:total_iter=100 train:optim_g:lr=1e-4
  basicsr test -opt options/test_imdn_x4.yml            PSNR and SSIM of a checkpoint
  basicsr prepare lr -i Set5 -o datasets/Set5           LR images as MATLAB makes them; also LMDBs, blind sets, checks
  basicsr list networks                                 what an option file can name
  basicsr info model.pth                                which network a file holds
  basicsr convert net_g_latest.pth                      its deployed form: branches merged, output compared
  basicsr export net_g_latest.pth                       for ONNX Runtime; -o net.xml for OpenVINO, output compared
  basicsr benchmark IMDN:upscale=4 net.pth              speed and memory on torch, ONNX Runtime and OpenVINO
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
        say("interrupted.")
        return 130
    except BrokenPipeError:  # `basicsr list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its end
        return 141  # as shells report it
    except UsageError as error:
        say(str(error))
        return 2


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
    add_run(commands, EXAMPLES)
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
    add_convert(commands)
    add_export(commands)
    add_benchmark(commands)
    add_prepare(commands)
    add_embed(commands)
    env = commands.add_parser("env", help="versions, devices, which BasicSR is in use: for bug reports")
    env.set_defaults(run=run_env)
    return parser


def run_list(args: argparse.Namespace) -> int:
    """Print the registered names with the module they come from."""
    need_basicsr()
    load_all_plugins()
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
            say(str(error))
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
