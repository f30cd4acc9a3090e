"""The page's server, asked over a real connection: the same bytes as the command, and no other file of the machine."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import cv2
import pytest

from lightsr_basicsr import cli
from lightsr_basicsr.commands.serve import _login
from lightsr_basicsr.errors import UserError, install_command
from lightsr_basicsr.pictures.reading import read_picture
from lightsr_basicsr.pictures.writing import write_picture
from lightsr_basicsr.tools.serve.desk import Limits
from lightsr_basicsr.tools.serve.networks import How, Networks
from lightsr_basicsr.tools.serve.server import listen, page_server, read_login
from lightsr_basicsr.upscale.upscaler import Upscaler
from tests.test_upscale import made

needs_gradio = pytest.mark.skipif(
    find_spec("gradio") is None, reason=f"gradio is not installed: {install_command('web')}"
)


@contextmanager
def page(**settings):
    """Serve a page from this process, and give its port."""
    networks = Networks({"net": Path("rtc.pth").absolute()}, How("torch", device="cpu"))
    with listen("127.0.0.1", 0) as opened, page_server(networks, opened, **settings) as server:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]})
        thread.start()
        while not server.started:
            time.sleep(0.05)
        try:
            yield opened.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    folder, before = tmp_path_factory.mktemp("served"), Path.cwd()
    os.chdir(folder)
    made.checkpoint()
    try:
        with page(limits=Limits(10_000, 100_000)) as found:
            yield found
    finally:
        os.chdir(before)


def ask(port: int, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    """Return status and body of an answer; paths go out as they are."""
    length = {} if body is None else {"Content-Length": str(len(body))}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
    for name, value in {**length, **headers}.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders(body)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def send(port: int, content: bytes, name: str = "a.png") -> tuple[int, bytes]:
    head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode()
    body = head + content + b"\r\n--x--\r\n"
    return ask(port, "/gradio_api/upload", "POST", body, Content_Type="multipart/form-data; boundary=x")


def call(port: int, *data) -> str:
    """Return what the endpoint of the page says to these inputs."""
    status, answer = ask(
        port, "/gradio_api/call/upscale", "POST", json.dumps({"data": data}).encode(), Content_Type="application/json"
    )
    if status != 200:
        return f"{status} {answer.decode()}"
    return ask(port, f"/gradio_api/call/upscale/{json.loads(answer)['event_id']}")[1].decode()


def picture(path: str) -> dict:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


@needs_gradio
def test_a_client_gets_the_file_of_the_command(port, workdir, monkeypatch):
    from gradio_client import Client, handle_file

    asked, original = set(), socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *rest, **more: asked.add(host) or original(host, *rest, **more)
    )
    made.checkpoint()
    cv2.imwrite("deep.png", made.eight(3).astype("uint16") * 257)
    client = Client(f"http://127.0.0.1:{port}", verbose=False, download_files=str(workdir / "down"))
    before_and_after, file, text = client.predict(handle_file("deep.png"), "net", 0, "auto", api_name="/upscale")
    write_picture("wanted.png", Upscaler("rtc.pth", **made.SETTINGS).upscale_picture(read_picture("deep.png")))
    assert Path(file).read_bytes() == Path("wanted.png").read_bytes()
    assert len(before_and_after) == 2
    assert "24x18 to 48x36 pixels by net" in text
    Path("a.svg").write_text("<svg/>")
    assert "got an SVG drawing" in client.predict(handle_file("a.svg"), "net", 0, "auto", api_name="/upscale")[2]
    assert asked <= {"127.0.0.1", "localhost"}


@needs_gradio
@pytest.mark.parametrize("path", [
    "/etc/passwd", "../../../../etc/passwd", "..%2f..%2fetc/passwd", "%2Fetc%2Fpasswd", "http://example.com/",
    "file:///etc/passwd", "{cwd}/rtc.pth", "{tmp}/../{name}/x", "{tmp}/theirs.png",
])  # fmt: skip
def test_no_other_file_of_the_machine_is_reachable(port, path):
    status, answer = send(port, b"sent")
    assert status == 200
    folder = Path(json.loads(answer)[0]).parents[1]
    link = folder / "theirs.png"
    if not link.is_symlink():
        link.symlink_to(Path("rtc.pth").absolute())
    path = path.format(cwd=Path.cwd(), tmp=folder, name=folder.name)
    for route in ("/gradio_api/file=", "/file=", "/gradio_api/file/", "/gradio_api/proxy=", "/static/", "/assets/"):
        status, answer = ask(port, route + path)
        assert (status in (400, 403, 404), b"root:" in answer) == (True, False), route
    assert call(port, picture(path), "net", 0, "auto").startswith("403")


@needs_gradio
def test_what_was_sent_is_given_to_those_who_know_its_name_alone(port):
    path = json.loads(send(port, b"<script>alert(1)</script>", "../../x.html")[1])[0]
    assert re.fullmatch(r"/.*/basicsr-serve-\w+/[0-9a-f]{64}/x.html", path)
    assert ask(port, f"/gradio_api/file={path}")[1] == b"<script>alert(1)</script>"
    assert ask(port, f"/gradio_api/file={Path(path).parent}")[0] == 403
    assert ask(port, f"/gradio_api/file={Path(path).parents[1]}")[0] == 403


@needs_gradio
def test_large_files_are_refused_and_leave_nothing(port):
    folder = Path(json.loads(send(port, b"sent")[1])[0]).parents[1]
    before = sorted(folder.iterdir())
    assert send(port, bytes(100_001))[0] == 413
    with suppress(ConnectionError):  # the answer comes before all is sent, and the rest is not read
        assert send(port, bytes(1_000_000))[0] == 413
    assert sorted(folder.iterdir()) == before


@needs_gradio
def test_a_page_of_another_site_is_not_answered(port):
    assert ask(port, "/", Host="evil.example")[0] == 421
    for value in (None, 3, "a.png", [picture("/etc/passwd")]):
        assert "Traceback" not in call(port, value, "net", 0, "auto")
    assert "Expected a picture, got none" in call(port, None, "net", 0, "auto")


@needs_gradio
def test_login_and_removed_files(workdir):
    made.checkpoint()
    known = {"Authorization": f"Basic {b64encode(b'me:secret').decode()}"}
    before = os.environ.get("GRADIO_TEMP_DIR")
    with page(login=("me", "secret")) as port:
        folder = Path(os.environ["GRADIO_TEMP_DIR"])
        assert folder.is_dir()
        assert (ask(port, "/")[0], ask(port, "/config")[0], send(port, b"")[0]) == (401, 401, 401)
        status, answer = ask(port, "/", **known)
        assert (status, b"fonts.googleapis" in answer) == (200, False)
    assert not folder.exists()
    assert os.environ.get("GRADIO_TEMP_DIR") == before


@needs_gradio
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_ends_cleanly(workdir, number):
    made.checkpoint()
    Path("tmp").mkdir()
    words = [
        sys.executable,
        "-m",
        "lightsr_basicsr.cli",
        "serve",
        "--port",
        "0",
        "--model",
        "rtc.pth",
        "--backend",
        "torch",
    ]
    env = {**os.environ, "TMPDIR": str(workdir / "tmp")}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    line = process.stdout.readline()
    found = re.match(r"Open http://127\.0\.0\.1:(\d+) in a browser\. Networks: rtc\.", line)
    assert found, line + process.stderr.read()
    while True:
        try:
            assert ask(int(found[1]), "/")[0] == 200
            break
        except ConnectionError:
            time.sleep(0.1)
    process.send_signal(number)
    errors = process.communicate(timeout=60)[1]
    assert (process.returncode, "Traceback" in errors) == (0, False)
    assert list(Path("tmp").glob("basicsr-serve*")) == []


def told(capsys, *words: str) -> str:
    assert cli.main(["serve", *words]) == 2
    return capsys.readouterr().err


def test_without_gradio_the_command_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert f"not installed: {install_command('web')}" in told(capsys)


@pytest.mark.parametrize("words", [("-t", "-1"), ("--max-size", "nan"), ("--max-size", "0"), ("--max-size", "inf")])
def test_numbers_that_are_not_possible(capsys, words):
    assert f"correct {'--tile' if words[0] == '-t' else words[0]}" in told(capsys, *words)


def test_ports_and_hosts_that_are_not_possible():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} of 127.0.0.1 is in use .* --port 0 for any free one"):
            listen("127.0.0.1", port)
    with pytest.raises(UserError, match="Expected a port from 0 to 65535, got 70000"):
        listen("127.0.0.1", 70_000)
    for host in ("no.such.host.invalid", "198.51.100.7", "999.1.1.1"):
        with pytest.raises(UserError, match=f"Expected an address of this machine as --host, got {host}"):
            listen(host, 0)
    for host in ("", " ", "a\0b", "\N{LATIN SMALL LETTER U WITH DIAERESIS}" * 100):
        with pytest.raises(UserError, match="Expected an address of this machine as --host, got"):
            listen(host, 0)


@pytest.mark.skipif(os.name != "posix", reason="rights of others are those of POSIX")
def test_a_password_that_others_can_read_is_told(workdir, capsys):
    Path("login").write_text("me:secret\n")
    for mode, told_of in ((0o644, True), (0o600, False)):
        Path("login").chmod(mode)
        assert _login("login") == ("me", "secret")
        assert ("chmod 600 login" in capsys.readouterr().err) is told_of
    for missing in ("none", "."):
        with pytest.raises(UserError, match=r"Expected a file with one line user:password, .* correct --auth-file"):
            _login(missing)


@pytest.mark.parametrize("text", ["", "me", "me:", ":secret", "me:a\nyou:b"])
def test_a_login_has_two_parts(text):
    assert read_login("me:a:b\n", "x") == ("me", "a:b")
    with pytest.raises(UserError, match="Expected one line user:password in the file x"):
        read_login(text, "the file x")
