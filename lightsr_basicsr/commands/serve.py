"""The command ``basicsr serve``: arguments and what is printed; ``tools/serve`` does the work."""

from __future__ import annotations

import argparse
import os
import stat
from pathlib import Path
from shlex import quote
from typing import Any

from lightsr_basicsr.commands.arguments import FORM, add_running
from lightsr_basicsr.commands.console import say
from lightsr_basicsr.errors import UserError, install_command

LOGIN = "LIGHTSR_LOGIN"
MOST_SIZE = 1_000_000  # MB
DESCRIPTION = f"""A page in the browser: drop a picture, choose a network and a scale, compare, download. The result is
what `basicsr upscale` writes, with 16 bits, transparency, color profile and tags.
Needs gradio: {install_command("web")}

Only this machine sees the page, unless --host says otherwise; then ask for a user and a password, `user:password` in a
file (--auth-file) or in the environment ({LOGIN}). Nothing is asked of the internet. Pictures are removed after an
hour, and at the end."""
EXAMPLES = f"""examples:
  basicsr serve                                  http://127.0.0.1:7860, with the networks that are installed
  basicsr serve -n IMDN_x4 FDIWN_x4 --port 0     these two, on any free port
  basicsr serve --model net_g_latest.pth net_int8.xml
  {LOGIN}=me:secret basicsr serve --host 0.0.0.0    for a network that you trust
Ctrl-C ends it. Exit status: 0, 2 if it could not be started."""


def add_serve(commands: Any) -> None:
    """Add ``serve`` to the parser's ``commands``."""
    text = "a page in the browser that enlarges pictures"
    parser = commands.add_parser("serve", help=text, description=DESCRIPTION, epilog=EXAMPLES, formatter_class=FORM)
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine alone)")
    add("--port", type=int, default=7860, help="port, 0 for any free one (default: 7860)")
    add(
        "-n", "--model_name", nargs="+", default=[], metavar="NAME", help="official files by name (default, without "
        "--model: those of this package and those that `basicsr fetch` has fetched)",
    )  # fmt: skip
    add(
        "--model",
        nargs="+",
        default=[],
        metavar="FILE",
        help="checkpoints or exported files (.onnx, .xml, .ts, .param)",
    )
    add_running(parser, "the fastest here")
    add("-t", "--tile", type=int, metavar="N", help="side of tiles, 0 for none (default: where memory needs them)")
    add("--max-pixels", type=int, default=50_000_000, metavar="N", help="of a picture (default: 50 million)")
    add("--max-size", type=float, default=200, metavar="MB", help="of a file (default: 200)")
    add("--auth-file", metavar="FILE", help=f"file with one line user:password (default: the variable {LOGIN}, if set)")
    parser.set_defaults(run=run_serve, backend="auto")


def run_serve(args: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C, and return the exit status."""
    if args.tile is not None and args.tile < 0:
        raise UserError(f"Expected 0 or more pixels as the side of tiles, got {args.tile}: correct --tile.")
    if not 0 < args.max_size < MOST_SIZE:
        raise UserError(
            f"Expected a size above 0 and below {MOST_SIZE:,} MB, got {args.max_size:g}: correct --max-size."
        )
    from lightsr_basicsr.tools.serve.server import leave, listen, page_server, require_gradio, serve

    require_gradio()
    with listen(args.host, args.port) as opened:
        from lightsr_basicsr.tools.serve.desk import Limits, require_limits
        from lightsr_basicsr.tools.serve.networks import How, Networks, find_networks

        limits = Limits(args.max_pixels, int(args.max_size * 1e6))
        require_limits(limits)
        login = _login(args.auth_file)
        networks = Networks(
            find_networks(args.model_name, args.model),
            How(args.backend, args.precision, args.device, args.trust, args.tile),
        )
        for title in networks.titles[:1] if not (args.model_name or args.model) else networks.titles:
            networks.open(title)  # what is wrong with it is told now
        with page_server(networks, opened, limits, login) as server:
            _tell(opened.getsockname(), networks.titles, login is not None)
            serve(server, opened)
        say("the page is closed; its files are removed.")
    return leave(0)


def _login(file: str | None) -> tuple[str, str] | None:
    from lightsr_basicsr.tools.serve.server import read_login

    if file is not None:
        try:
            text = Path(file).read_text(encoding="utf-8")
            if os.name == "posix" and Path(file).stat().st_mode & stat.S_IROTH:
                say(f"warning: every user of this machine can read the password in {file}: chmod 600 {quote(file)}")
            return read_login(text, file)
        except OSError as error:
            raise UserError(
                f"Expected a file with one line user:password, and {file!r} cannot be read ({error.strerror}): correct "
                "--auth-file."
            ) from error
        except UnicodeDecodeError as error:
            raise UserError(f"Expected one line user:password in {file}, got no UTF-8: write one.") from error
    return read_login(os.environ[LOGIN], f"the variable {LOGIN}") if os.environ.get(LOGIN) else None


def _tell(address: tuple, titles: list[str], asks: bool) -> None:
    from lightsr_basicsr.tools.serve.gate import LOCAL

    host, port = address[:2]
    everywhere = host in ("0.0.0.0", "::")
    shown = "127.0.0.1" if everywhere else f"[{host}]" if ":" in host else host
    print(f"Open http://{shown}:{port} in a browser. Networks: {', '.join(titles)}. Ctrl-C ends it.", flush=True)
    if host not in LOCAL:
        advice = "" if asks else f" It asks for no password: give it one in {LOGIN} or with --auth-file."
        say(
            "warning: every machine that reaches this one can use the page, and what is sent is not encrypted: use it "
            f"in a network that you trust.{advice}"
        )
