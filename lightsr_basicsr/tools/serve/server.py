"""Serve the page: the socket, the folder for its files, the gate, and how all of it ends."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightsr_basicsr.errors import install_command
from lightsr_basicsr.pictures.reading import printable
from lightsr_basicsr.tools.serve.desk import THREAD, Desk, Limits
from lightsr_basicsr.tools.serve.gate import LOCAL, Gate
from lightsr_basicsr.tools.serve.networks import Networks, ServeError

if TYPE_CHECKING:
    import uvicorn

PATIENCE = 5  # seconds that a picture may take to end at the end
# Read when gradio is imported or a page is made: no statistics, nothing from the internet.
SETTINGS = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "GRADIO_SHARE": "False"}


def require_gradio() -> None:
    """Raise ServeError with the command that installs gradio, if it is missing or cannot be imported."""
    os.environ.update(SETTINGS)
    try:
        import gradio  # noqa: F401
        import uvicorn  # noqa: F401
    except Exception as error:  # a library for another system raises any type
        if isinstance(error, ModuleNotFoundError) and error.name in ("gradio", "uvicorn"):
            raise ServeError(
                f"The page needs the package {error.name}, which is not installed: {install_command('web')}"
            ) from error
        again = install_command("web", "--force-reinstall")
        raise ServeError(f"gradio is installed, but cannot be imported ({error}): {again}") from error


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 is any free one.

    Raises:
        ServeError: If the port is in use or not allowed, or no such host is here.
    """
    if not 0 <= port < 2**16:
        raise ServeError(f"Expected a port from 0 to 65535, got {port}: choose another with --port.")
    if not host.strip():  # a socket would take it for every address of this machine
        raise ServeError(
            "Expected an address of this machine as --host, got none: leave it out for this machine alone, or name "
            "0.0.0.0 for its network."
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, TypeError, ValueError) as error:  # TypeError: a name that cannot be encoded
        number = getattr(error, "errno", None)
        reasons = {errno.EADDRINUSE: "is in use by another program", errno.EACCES: "needs rights of an administrator"}
        if number in reasons:
            raise ServeError(
                f"Expected a free port, and port {port} of {host} {reasons[number]}: choose another with --port, "
                "or --port 0 for any free one."
            ) from error
        raise ServeError(
            f"Expected an address of this machine as --host, got {printable(host)} ({_why(error)}): leave it out for "
            "this machine alone, or name 0.0.0.0 for its network."
        ) from error


def _why(error: Exception) -> str:
    """Return the system's reason, without the address that Python adds to it."""
    return str(getattr(error, "strerror", None) or error).partition(" (while")[0]


def read_login(text: str, source: str) -> tuple[str, str]:
    """Return user and password of a text ``user:password``.

    Raises:
        ServeError: If it is none; ``source`` says where it was.
    """
    user, colon, password = text.strip("\r\n").partition(":")
    if not (user and colon and password) or "\n" in password:
        raise ServeError(f"Expected one line user:password in {source}, got another text: write one.")
    return user, password


@contextmanager
def page_server(
    networks: Networks,
    opened: socket.socket,
    limits: Limits = Limits(),  # noqa: B008  it cannot be changed
    login: tuple[str, str] | None = None,
) -> Iterator[uvicorn.Server]:
    """Give a server that is ready to run; afterwards its pictures are cancelled and its files removed.

    Args:
        networks (Networks): What may be chosen.
        opened (socket.socket): Where it listens.
        limits (Limits): What it takes.
        login (tuple[str, str] | None): User and password. Default: None, which asks for none.

    Raises:
        ServeError: If gradio is missing.
    """
    require_gradio()
    with tempfile.TemporaryDirectory(prefix="basicsr-serve-") as name, _settings(name):
        folder = Path(os.path.realpath(name))
        desk = Desk(networks, folder, limits)
        local = opened.getsockname()[0] in LOCAL
        try:
            yield _server(Gate(_application(desk), str(folder), limits.bytes, local, login))
        finally:
            for work in list(desk.running):
                work.cancel()
            for work in list(desk.running):
                work.wait(PATIENCE)


@contextmanager
def _settings(folder: str) -> Iterator[None]:
    """Set what gradio reads from the environment, and afterwards what was there."""
    folder = os.path.realpath(folder)
    new = {**SETTINGS, "GRADIO_TEMP_DIR": folder, "GRADIO_EXAMPLES_CACHE": os.path.join(folder, "examples")}
    before = {name: os.environ.get(name) for name in new}
    os.environ.update(new)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _application(desk: Desk) -> Any:
    import gradio as gr
    from fastapi import FastAPI

    from lightsr_basicsr.tools.serve.page import CSS, build_page, theme

    page = build_page(desk)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app = gr.mount_gradio_app(
        app, page, path="", max_file_size=desk.limits.bytes, show_error=False, ssr_mode=False, run_history=False,
        footer_links=[], enable_monitoring=False, pwa=False, mcp_server=False, allowed_paths=[],
        blocked_paths=[], theme=theme(), css=CSS,
    )  # fmt: skip
    page.has_launched = page.is_running = True  # without it, paths are not checked
    return app


def _server(app: Any) -> uvicorn.Server:
    import uvicorn

    # Its errors are those of readers that stay connected when it ends.
    config = uvicorn.Config(
        app, log_level="critical", access_log=False, server_header=False, timeout_graceful_shutdown=1,
        timeout_keep_alive=30, limit_concurrency=200,
    )  # fmt: skip
    return uvicorn.Server(config)


def leave(status: int) -> int:
    """Return the status; where a network does not come to an end, end the process with it at once.

    Python would take the libraries away from the thread in which the network runs, which then aborts the process.
    """
    if any(thread.name == THREAD for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


def serve(server: uvicorn.Server, opened: socket.socket) -> None:
    """Run until Ctrl-C or SIGTERM."""
    if threading.current_thread() is threading.main_thread():
        # The server gives the signal back when it has ended, and by default that would end us before we clean up.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with suppress(KeyboardInterrupt, SystemExit):
            server.run(sockets=[opened])
    finally:
        opened.close()
