"""The gate: what it lets through, and that nothing else reaches the application behind it."""

import asyncio
import json
import os
from base64 import b64encode

import pytest

from lightsr_basicsr.tools.serve.gate import FILE, MOST_BODY, Gate

MOST = 1000


class Application:
    """Reads the body and answers 200."""

    def __init__(self):
        self.bodies, self.broken = [], False

    async def __call__(self, scope, receive, send):
        body, more = b"", True
        while more:
            message = await receive()
            self.broken |= message["type"] == "http.disconnect"
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "a b.png").write_bytes(b"ours")
    (tmp_path / "theirs.png").write_bytes(b"theirs")
    (tmp_path / "ours" / "link.png").symlink_to(tmp_path / "theirs.png")
    (tmp_path / "ours" / "folder").symlink_to(tmp_path)
    return tmp_path / "ours"


def ask(folder, path="/", method="GET", body=b"", host="127.0.0.1:7860", parts=1, headers=(), **settings):
    """Return status, headers and the application's view of one request."""
    app, sent = Application(), []
    length = len(body) // parts + 1
    waiting = [body[start : start + length] for start in range(0, max(1, len(body)), length)]

    async def receive():
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "path": path, "method": method, "headers": [(b"host", host.encode()), *headers]}
    asyncio.run(Gate(app, str(folder), MOST, **settings)(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), app


def post(folder, found, path="/gradio_api/queue/join"):
    return ask(folder, path, "POST", json.dumps(found).encode())[0]


@pytest.mark.parametrize("path", [
    "/", "/config", "/theme.css", "/assets/index-a_b.js", "/static/img/logo.svg", "/gradio_api/info",
    "/gradio_api/queue/data", "/gradio_api/heartbeat/abc12", "/gradio_api/startup-events",
    "/gradio_api/call/upscale/a1",
])  # fmt: skip
def test_what_the_page_asks_for_is_answered(folder, path):
    status, headers, _ = ask(folder, path)
    assert status == 200
    assert b"default-src 'self'" in headers[b"content-security-policy"]


@pytest.mark.parametrize("path", [
    "/gradio_api/proxy=http://example.com/a", "/proxy=http://example.com", "/monitoring", "/monitoring/summary",
    "/docs", "/gradio_api/vibe-code", "/gradio_api/openapi.json", "/gradio_api/runs", "/assets/../../etc/passwd", "//",
    "", "/assets/..%2f..%2fetc/passwd", "/gradio_api/file/etc/passwd", "/file=/etc/passwd",
    "/gradio_api/stream/a/b/c/d.ts", "/gradio_api/custom_component/a/client/b/c.js", "/gradio_api/deep_link",
    "/dev/reload", "/token", "/x\n",
])  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_nothing_else_is(folder, path, method):
    status, _, app = ask(folder, path, method, b"{}")
    assert (status, app.bodies) == (404, [])


def test_files_of_the_folder_are_given(folder):
    for name in ("a b.png", "a%20b.png"):
        assert ask(folder, f"{FILE}{folder}/{name}")[0] == 200


@pytest.mark.parametrize("path", [
    "/etc/passwd", "{}/../theirs.png", "{}/link.png", "{}/folder/theirs.png", "../../etc/passwd", "a b.png",
    "http://example.com/a.png", "https:/example.com", "file:///etc/passwd", "%2Fetc%2Fpasswd", "{}/%2e%2e/theirs.png",
    "{}/a\0.png", "{}2/a.png", "~/a.png", "//etc/passwd", "/proc/self/environ", "{}/..",
    "{}", "{}/missing.png",
])  # fmt: skip
def test_other_files_are_not_given_and_not_taken(folder, path):
    path = path.format(folder)
    assert ask(folder, FILE + path)[0] in (403, 404)
    assert post(folder, {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}]}) == 403
    assert post(folder, {"data": [[{"deep": {"path": path}}], 1]}, "/gradio_api/call/upscale") == 403


def test_our_files_are_taken(folder):
    assert post(folder, {"data": [{"path": str(folder / "a b.png"), "url": None}, "IMDN_x4", 0]}) == 200
    assert post(folder, {"data": [{"path": None}, None]}) == 200


@pytest.mark.parametrize("path", [1, ["/etc/passwd"], {"a": 1}, ""])
def test_a_path_that_is_no_text_is_refused(folder, path):
    assert post(folder, {"path": path}) == 403


@pytest.mark.parametrize("body", [b"{", b"[" * 50_000, b"\xff"])
def test_what_is_no_json_is_refused(folder, body):
    status, _, app = ask(folder, "/gradio_api/queue/join", "POST", body)
    assert (status, app.bodies) == (400, [])


def test_long_requests_are_refused_however_they_come(folder):
    body = b" " * (MOST_BODY + 1)
    assert ask(folder, "/gradio_api/queue/join", "POST", body, parts=7)[0] == 413
    length = [(b"content-length", str(10**9).encode())]
    assert ask(folder, "/gradio_api/upload", "POST", b"", headers=length)[0] == 413
    assert ask(folder, "/gradio_api/upload", "POST", b"", headers=[(b"content-length", b"many")])[0] == 413
    app = ask(folder, "/gradio_api/upload", "POST", b" " * 10 * MOST_BODY, parts=20)[2]
    assert app.broken  # a length that is not told ends where it is too much
    assert len(app.bodies[0]) < 2 * MOST_BODY
    assert not ask(folder, "/gradio_api/upload", "POST", b" " * MOST, parts=3)[2].broken


@pytest.mark.parametrize(("host", "status"), [
    ("localhost", 200), ("LOCALHOST:1", 200), ("[::1]:7860", 200), ("127.0.0.1", 200), ("evil.example", 421), ("", 421),
    ("127.0.0.1.evil.example", 421), ("192.168.0.1", 421),
])  # fmt: skip
def test_only_names_of_this_machine_reach_a_local_page(folder, host, status):
    assert ask(folder, host=host)[0] == status
    assert ask(folder, host=host, local=False)[0] == 200


def basic(text: str) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", b"Basic " + b64encode(text.encode()))]


def test_user_and_password_are_asked_for(folder):
    login = ("me", "sec:ret")
    assert ask(folder, login=login, headers=basic("me:sec:ret"))[0] == 200
    wrong = [basic("me:secret"), basic(""), [], [(b"authorization", b"Basic ?")], [(b"authorization", b"Bearer bWU=")]]
    for headers in wrong:
        status, answer, app = ask(folder, login=login, headers=headers)
        assert (status, app.bodies) == (401, [])
        assert answer[b"www-authenticate"].startswith(b"Basic")


def test_websockets_are_not_answered(folder):
    app = Application()
    asyncio.run(Gate(app, os.fspath(folder), MOST)({"type": "websocket"}, None, None))
    assert app.bodies == []
