"""The command ``basicsr`` (alias ``lightsr``): wiring of sub-commands; torch is imported only by those that need it.

For ``torchrun`` use ``-m lightsr_basicsr.cli``: workers that are spawned import the main module again, and with it the
fixes that BasicSR needs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from lightsr_basicsr import __version__
from lightsr_basicsr.commands.benchmark import add_benchmark
from lightsr_basicsr.commands.compare import add_compare
from lightsr_basicsr.commands.console import say
from lightsr_basicsr.commands.convert import add_convert
from lightsr_basicsr.commands.embed import add_embed
from lightsr_basicsr.commands.env import add_env
from lightsr_basicsr.commands.export import add_export
from lightsr_basicsr.commands.fetch import add_fetch
from lightsr_basicsr.commands.info import add_info
from lightsr_basicsr.commands.list import add_list
from lightsr_basicsr.commands.new import add_new
from lightsr_basicsr.commands.options import add_options
from lightsr_basicsr.commands.prepare import add_prepare
from lightsr_basicsr.commands.report import add_report
from lightsr_basicsr.commands.run import add_run
from lightsr_basicsr.commands.schema import add_schema
from lightsr_basicsr.commands.serve import add_serve
from lightsr_basicsr.commands.upscale import add_upscale
from lightsr_basicsr.errors import UserError, message_of, require_basicsr, short_message

EXAMPLES = """examples:
  basicsr new --network IMDN --data PHOTOS -o mine      a training project of your own photographs
  basicsr train -opt options/demo_train_imdn_x4.yml     train a small network in minutes, on images of scikit-image
  basicsr train -opt my.yml --auto_resume               continue after an interruption
  basicsr train -opt my.yml --stage teacher             only the first stage of a two-stage run (KDSR)
  basicsr train -opt my.yml --force_yml train:total_iter=100 train:optim_g:lr=1e-4
  basicsr compress -opt options/demo_compress_drn_x4.yml  search, pruning and fine-tuning of a trained network
  basicsr test -opt options/test_imdn_x4.yml            PSNR and SSIM of a checkpoint
  basicsr upscale photo.jpg -n IMDN_x4                  a larger picture; also folders, 16 bits, transparency
  basicsr compare IMDN_x4 bicubic -i LR --gt HR         side by side: a page, figures and tables for papers
  basicsr report my_run --watch                         curves, pictures and checkpoints of runs, on a page
  basicsr serve                                         a page in the browser that enlarges pictures
  basicsr prepare lr -i Set5 -o datasets/Set5           LR images as MATLAB's imresize; also LMDBs, blind sets, checks
  basicsr options options/train_imdn_x4.yml             an option file with all that it extends
  basicsr list networks                                 names for option files
  basicsr fetch --list                                  official files, their licences and sources
  basicsr info model.pth                                which network a file holds
  basicsr convert net_g_latest.pth                      deployed form: branches merged, output compared
  basicsr export net_g_latest.pth                       for ONNX Runtime; -o net.xml for OpenVINO, output compared
  basicsr benchmark IMDN:upscale=4 net.pth              speed and memory on torch, ONNX Runtime and OpenVINO
  torchrun --standalone --nproc_per_node=2 -m lightsr_basicsr.cli train -opt my.yml --launcher pytorch
Option files are searched from the working directory, then among those of the package."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (default: that of the process) and return the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # file names need not be UTF-8
            stream.reconfigure(errors="backslashreplace")
    parser = _build_parser()
    args = parser.parse_args(argv)
    if args.run is None:
        parser.print_help()
        return 1
    status = _run_command(args)
    if getattr(args, "launcher", "none") != "none":
        from lightsr_basicsr.tools.run.together import leave_group

        leave_group()
    return status


def _run_command(args: argparse.Namespace) -> int:
    try:
        _need_basicsr()
        return args.run(args)
    except KeyboardInterrupt:
        say("interrupted.")
        return 130
    except BrokenPipeError:  # `basicsr list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it at exit
        return 141  # as shells report it
    except (UserError, OSError) as error:
        say(message_of(error))
        return 2
    except MemoryError as error:
        say(f"there is not enough memory ({short_message(error, 100)}): use smaller images, fewer workers or --jobs.")
        return 2


def _need_basicsr() -> None:
    """Raise UserError with the command that installs it, if BasicSR or torch is missing."""
    try:
        require_basicsr()
    except ModuleNotFoundError as error:
        raise UserError(str(error)) from error


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
    add_new(commands)
    add_upscale(commands)
    add_compare(commands)
    add_report(commands)
    add_serve(commands)
    add_list(commands)
    add_schema(commands)
    add_options(commands)
    add_fetch(commands)
    add_info(commands)
    add_convert(commands)
    add_export(commands)
    add_benchmark(commands)
    add_prepare(commands)
    add_embed(commands)
    add_env(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
