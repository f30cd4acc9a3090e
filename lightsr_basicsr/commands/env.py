"""The command ``basicsr env``: versions, devices and the BasicSR in use."""

from __future__ import annotations

import argparse
from typing import Any

from lightsr_basicsr._later import import_basicsr
from lightsr_basicsr.commands.tables import table


def add_env(commands: Any) -> None:
    """Add ``env`` to the parser's ``commands``."""
    parser = commands.add_parser("env", help="versions, devices, which BasicSR is in use: for bug reports")
    parser.set_defaults(run=run_env)


def run_env(args: argparse.Namespace) -> int:
    """Print versions, devices and the BasicSR in use."""
    import_basicsr()
    from lightsr_basicsr.tools.environment import describe_environment

    del args
    print(table((f"{name}:", value) for name, value in describe_environment().items()))
    return 0
