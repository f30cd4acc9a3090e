"""An HTTP server on loopback that misbehaves as it is told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread


class Server:
    """What is served at every path, and the requests that came."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.ranges = True  # whether parts are sent on request
        self.cuts: list[int | None] = []  # bytes after which the next answers end; None for whole ones
        self.statuses: list[int] = []  # of the next answers, before normal ones
        self.headers: dict[str, str | None] = {}  # in place of the usual ones; None for none
        self.hold: Event | None = None  # awaited in the middle of an answer
        self.asked: list[str | None] = []  # the `Range` of each request
        self.port = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/net.pth"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range")
        self.asked.append(wanted)
        if self.statuses:
            request.send_error(self.statuses.pop(0))
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and self.ranges else 0
        if wanted and self.ranges and start >= len(self.content):
            request.send_error(416)
            return
        part = self.content[start:]
        headers = {"Content-Length": str(len(part)), "ETag": '"1"'}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(self.content) - 1}/{len(self.content)}"
        headers |= self.headers
        redirected = "Location" in headers
        request.send_response(302 if redirected else 206 if start else 200)
        for key, value in headers.items():
            if value is not None:
                request.send_header(key, value)
        request.end_headers()
        cut = self.cuts.pop(0) if self.cuts else None
        self._send(request, part[:cut])

    def _send(self, request: BaseHTTPRequestHandler, part: bytes) -> None:
        half = len(part) // 2
        request.wfile.write(part[:half])
        request.wfile.flush()
        if self.hold is not None:
            self.hold.wait(30)
        request.wfile.write(part[half:])


@contextmanager
def serving(content: bytes) -> Iterator[Server]:
    """Yield a server of these bytes."""
    server = Server(content)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.answer(self)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server.port = http.server_port
        thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()
