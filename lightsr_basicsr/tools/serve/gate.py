"""The gate in front of the page's server: only what the page needs, of this machine's files only its own.

The library behind it has more routes than the page uses: some fetch addresses, some run tools. Here a request is
refused unless it is known. Written without any library, as an ASGI application.
"""

from __future__ import annotations

import hmac
import json
import os
import re
from base64 import b64decode
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any
from urllib.parse import unquote

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

API = "/gradio_api"
FILE = f"{API}/file="
UPLOAD = f"{API}/upload"
READ = re.compile(
    rf"/|/(config|theme\.css|favicon\.ico|robots\.txt|manifest\.json|app_id|gradio_api/app_id)/?"
    rf"|/(assets|static|svelte)/[\w./-]+"
    rf"|{API}/(info|startup-events|upload_progress|queue/data)/?"
    rf"|{API}/heartbeat/\w+|{API}/call/\w+/\w+|{FILE}.+"
)  # fmt: skip
WRITTEN = re.compile(rf"{API}/(upload|queue/join|call/\w+|cancel|reset)/?")
MOST_BODY = 2**16  # bytes of a request that is no upload
MANTLE = 2**16  # bytes around the file in an upload
LOCAL = ("127.0.0.1", "localhost", "::1")
# The page may ask no other host for anything, whatever the library has in it.
HEADERS = (
    (b"content-security-policy", b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors "
     b"'self'; form-action 'self'; base-uri 'self'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)  # fmt: skip


class RefusedError(Exception):
    """A request that is not answered: status and sentence."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Gate:
    """Answers with an application what is allowed, and all else by a sentence.

    Args:
        app (Callable): The ASGI application.
        folder (str): The only folder of which files are given and taken, with all below it.
        most_bytes (int): Of an upload.
        local (bool): Whether only names of this machine are answered, so that a page of another site, whose name was
            made to point to this machine, cannot use the server.
        login (tuple[str, str] | None): User and password that are asked for. Default: None.
    """

    def __init__(
        self, app: Callable, folder: str, most_bytes: int, local: bool = True, login: tuple[str, str] | None = None
    ) -> None:
        self.app, self.folder, self.most_bytes, self.local = app, os.path.realpath(folder), most_bytes, local
        self.login = None if login is None else ":".join(login).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        try:
            self._check(scope)
            receive = await self._checked_body(scope, receive)
        except RefusedError as error:
            await _answer(error, send)
            return
        await self.app(scope, receive, _with_headers(send))

    def _check(self, scope: Scope) -> None:
        """Raise RefusedError for a host, a user or a path that is not known."""
        headers = {name.lower(): value for name, value in scope["headers"]}
        if self.local and _host(headers.get(b"host", b"")) not in LOCAL:
            raise RefusedError(421, "This page answers as 127.0.0.1 or localhost only.")
        if self.login is not None and not self._knows(headers.get(b"authorization", b"")):
            raise RefusedError(401, "This page asks for a user and a password.")
        path, method = scope["path"], scope["method"]
        known = WRITTEN if method == "POST" else READ if method in ("GET", "HEAD") else None
        if known is None or not known.fullmatch(path) or (".." in path and not path.startswith(FILE)):
            raise RefusedError(404, "There is nothing here.")
        if path.startswith(FILE) and not self._is_ours(path.removeprefix(FILE)):
            raise RefusedError(403, "This file is not given.")

    def _knows(self, header: bytes) -> bool:
        kind, _, code = header.partition(b" ")
        try:
            given = b64decode(code, validate=True)
        except ValueError:
            return False
        return kind.lower() == b"basic" and hmac.compare_digest(given, self.login)

    def _is_ours(self, path: str) -> bool:
        """Return whether a path, also one with encoded letters, is that of a file in the folder, not through a link."""
        for text in {path, unquote(path)}:
            if "\0" in text or not os.path.isabs(text):
                return False
            real = os.path.realpath(text)
            if os.path.commonpath([real, self.folder]) != self.folder or os.path.islink(text):
                return False
        return os.path.isfile(path) or os.path.isfile(unquote(path))

    async def _checked_body(self, scope: Scope, receive: Receive) -> Receive:
        """Return what gives the body; that of an upload is counted while it comes, any other one read and checked."""
        if scope["method"] != "POST":
            return receive
        if scope["path"].rstrip("/") == UPLOAD:
            return self._counted(scope, receive)
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False) and message["type"] == "http.request"
            if len(body) > MOST_BODY:
                raise RefusedError(413, "This request is too long.")
        self._check_paths(body)
        return _given(body, receive)

    def _counted(self, scope: Scope, receive: Receive) -> Receive:
        most, got = self.most_bytes + MANTLE, 0
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length) > most:
            raise RefusedError(413, f"Expected a file of at most {self.most_bytes / 1e6:g} MB: send a smaller one.")

        async def counted() -> Message:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            return {"type": "http.disconnect"} if got > most else message

        return counted

    def _check_paths(self, body: bytes) -> None:
        """Raise RefusedError if the body names a file that is not ours, or an address."""
        try:
            found = json.loads(body or b"{}")
        except (ValueError, RecursionError):
            raise RefusedError(400, "Expected JSON.") from None
        for path in _paths(found):
            if not isinstance(path, str) or not self._is_ours(path):
                raise RefusedError(403, "Expected a file that was sent to this page.")


def _host(header: bytes) -> str:
    """Return the name in a header ``Host``, without port and brackets."""
    text = header.decode("latin-1").lower()
    return text[1:].partition("]")[0] if text.startswith("[") else text.partition(":")[0]


def _paths(found: Any) -> Iterator[Any]:
    """Yield what any dictionary inside calls ``path``."""
    waiting = [found]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            if each.get("path") is not None:
                yield each["path"]
            waiting.extend(each.values())
        elif isinstance(each, list):
            waiting.extend(each)


def _given(body: bytes, receive: Receive) -> Receive:
    parts = [{"type": "http.request", "body": body, "more_body": False}]

    async def given() -> Message:
        return parts.pop() if parts else await receive()

    return given


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *HEADERS]}
        await send(message)

    return sent


async def _answer(error: RefusedError, send: Send) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close"), *HEADERS]
    if error.status == 401:
        headers.append((b"www-authenticate", b'Basic realm="basicsr serve", charset="UTF-8"'))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": str(error).encode()})
