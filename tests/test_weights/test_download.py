"""Downloads from a server on loopback that cuts, lies and refuses."""

import os
import socket

import pytest

from lightsr_basicsr.weights import download as module
from lightsr_basicsr.weights.download import DownloadError, download
from lightsr_basicsr.weights.fetch import fetch, plan_fetch
from tests.test_weights.conftest import CONTENT, PAGE, SHA256

SIZE = len(CONTENT)


def get(server, **facts):
    return fetch(plan_fetch("Net_x2", source=server.address))


def leftovers(cache):
    return sorted(path.name for path in cache.iterdir())


@pytest.mark.parametrize("facts", [{}, {"sha256": SHA256[:16], "size": None}, {"sha256": None, "size": None}])
def test_a_file_arrives_whole_and_alone(server, enter, cache, facts):
    enter(**facts)
    assert get(server).read_bytes() == CONTENT
    assert leftovers(cache) == ["net.pth"]
    assert server.asked == [None]


def test_the_address_of_the_table_is_taken(server, enter):
    enter(address=server.address)
    assert fetch(plan_fetch("Net_x2")).read_bytes() == CONTENT


@pytest.mark.parametrize("facts", [{}, {"sha256": None, "size": None}])
def test_a_cut_download_goes_on_where_it_ended(server, enter, facts):
    enter(**facts)
    server.cuts = [100_000, 50_000]
    assert get(server).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=150000-"]


def test_a_later_run_goes_on_where_an_earlier_one_ended(server, enter, cache):
    enter()
    server.cuts = [1000, 1000, 1000]
    with pytest.raises(DownloadError, match=rf"after 3,000 of {SIZE:,} bytes.*3,000 bytes are kept.*{PAGE}"):
        get(server)
    assert leftovers(cache) == ["net.pth.part"]
    assert get(server).read_bytes() == CONTENT
    assert server.asked[3] == "bytes=3000-"
    assert leftovers(cache) == ["net.pth"]


def test_without_a_checksum_an_earlier_run_is_not_trusted(server, enter, cache):
    enter(sha256=None, size=None)
    cache.mkdir()
    (cache / "net.pth.part").write_bytes(b"other bytes")
    assert get(server).read_bytes() == CONTENT
    assert server.asked == [None]


def test_without_a_checksum_and_a_version_nothing_is_put_together(server, enter):
    enter(sha256=None, size=None)
    server.headers, server.cuts = {"ETag": None}, [1000]
    assert get(server).read_bytes() == CONTENT
    assert server.asked == [None, None]


def test_many_cuts_are_fine_if_each_attempt_brings_enough(server, enter, monkeypatch):
    enter()
    monkeypatch.setattr(module, "ENOUGH", 10_000)
    server.cuts = [20_000] * 8
    assert get(server).read_bytes() == CONTENT


def test_a_server_without_ranges_begins_anew(server, enter):
    enter()
    server.ranges, server.cuts = False, [1000]
    assert get(server).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000-"]


def test_a_part_that_is_whole_is_only_checked(server, enter, cache):
    enter()
    cache.mkdir()
    (cache / "net.pth.part").write_bytes(CONTENT)
    assert get(server).read_bytes() == CONTENT
    assert server.asked == []


@pytest.mark.parametrize("size", [None, SIZE])
def test_a_part_that_is_too_long_is_dropped(server, enter, cache, size):
    enter(size=size)
    cache.mkdir()
    (cache / "net.pth.part").write_bytes(CONTENT + b"more")
    assert get(server).read_bytes() == CONTENT


def test_a_part_of_another_file_is_found_and_deleted(server, enter, cache):
    enter()
    cache.mkdir()
    (cache / "net.pth.part").write_bytes(b"\x80" * 1000)
    with pytest.raises(DownloadError, match="was deleted: expected sha256"):
        get(server)
    assert leftovers(cache) == []
    assert get(server).read_bytes() == CONTENT


def test_another_part_than_asked_for_is_not_used(server, enter):
    enter()
    server.cuts = [1000]
    server.headers = {"Content-Range": f"bytes 5-{SIZE - 1}/{SIZE}"}
    assert get(server).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000-", None]


@pytest.mark.parametrize(
    ("facts", "content", "message"),
    [
        ({}, CONTENT[:-1] + b"?", f"expected sha256 {SHA256}"),
        ({"sha256": SHA256[:16], "size": None}, CONTENT + b"!", f"expected sha256 {SHA256[:16]}, got [0-9a-f]{{16}}"),
        ({}, CONTENT + b"!", f"has {SIZE + 1:,} bytes, expected {SIZE:,}"),
        ({}, CONTENT[:5], f"has 5 bytes, expected {SIZE:,}"),
        ({}, b"", "has 0 bytes"),
        ({"size": None}, b"<html>not found</html>", "a web page"),
        ({"size": None, "sha256": None}, b"<html>not found</html>", "expected weights of torch, got a web page"),
        ({"size": None, "sha256": None}, b"", "an empty file"),
    ],
)
def test_another_file_is_never_kept(server, enter, cache, facts, content, message):
    enter(**facts)
    server.content = content
    with pytest.raises(DownloadError, match=message):
        get(server)
    assert leftovers(cache) == []


def test_a_server_that_sends_more_than_it_says_is_stopped(server, enter, cache):
    enter()
    server.headers, server.content = {"Content-Length": None}, CONTENT + b"!" * 500_000
    with pytest.raises(DownloadError, match=f"sends more than the expected {SIZE:,} bytes"):
        get(server)
    assert leftovers(cache) == []


def test_a_file_of_unknown_size_has_a_limit(server, enter, cache, monkeypatch):
    enter(size=None)
    monkeypatch.setattr(module, "MOST", 1000)
    with pytest.raises(DownloadError, match="expected at most 1,000"):
        get(server)
    server.headers = {"Content-Length": None}
    with pytest.raises(DownloadError, match="more than the expected 1,000"):
        get(server)
    assert leftovers(cache) == []


def test_compressed_answers_are_refused(server, enter):
    enter()
    server.headers = {"Content-Encoding": "gzip"}
    with pytest.raises(DownloadError, match="is sent as gzip"):
        get(server)


@pytest.mark.parametrize("status", [404, 403, 410, 401])
def test_a_refusal_is_told_at_once_with_what_to_do(server, enter, cache, status):
    enter(place="release v1")
    server.statuses = [status]
    with pytest.raises(DownloadError) as caught:
        get(server)
    told = str(caught.value)
    assert f"HTTP {status}" in told
    assert (
        f"It is published at {PAGE} (release v1): download it there and run `basicsr fetch Net_x2 --from FILE`" in told
    )
    assert f"into {cache} as net.pth" in told
    assert len(server.asked) == 1


def test_a_busy_server_is_asked_again(server, enter):
    enter()
    server.statuses = [503, 429]
    assert get(server).read_bytes() == CONTENT
    server.statuses = [500] * 3
    with pytest.raises(DownloadError, match="HTTP 500"):
        download(server.address, get(server).with_name("other"))


def test_no_connection(enter, cache):
    enter()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/net.pth"
    with pytest.raises(
        DownloadError, match=rf"net\.pth cannot be downloaded.*refused.*{PAGE}.*into {cache} as net\.pth"
    ):
        fetch(plan_fetch("Net_x2", source=address))


def test_a_server_without_an_answer_is_given_up(enter, monkeypatch):
    enter()
    monkeypatch.setattr(module, "TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(DownloadError, match="timed out"):
        fetch(plan_fetch("Net_x2", source=f"http://127.0.0.1:{silent.getsockname()[1]}/"))


def test_a_server_that_speaks_no_http(enter):
    enter()
    from threading import Thread

    with socket.create_server(("127.0.0.1", 0)) as server:

        def speak():
            for _ in range(3):
                with server.accept()[0] as caller:
                    caller.recv(1000)
                    caller.sendall(b"220 ready\r\n")

        Thread(target=speak, daemon=True).start()
        with pytest.raises(DownloadError, match="BadStatusLine"):
            fetch(plan_fetch("Net_x2", source=f"http://127.0.0.1:{server.getsockname()[1]}/"))


def test_redirections_stay_with_http(server, enter, tmp_path):
    enter()
    (tmp_path / "secret").write_bytes(CONTENT)
    for target in (f"file://{tmp_path}/secret", "ftp://127.0.0.1/net.pth", "data:,x"):
        server.headers = {"Location": target}
        with pytest.raises(DownloadError, match=r"leads to|not allowed"):
            get(server)


def test_a_redirection_is_followed_and_none_in_a_circle(server, enter):
    enter()
    server.headers = {"Location": server.address}
    with pytest.raises(DownloadError, match="HTTP 302"):
        get(server)

    from tests.test_weights.server import serving

    with serving(b"") as first:
        first.headers = {"Location": server.address}
        server.headers = {}
        assert get(first).read_bytes() == CONTENT


def test_https_is_not_given_up():
    from urllib.request import Request

    with pytest.raises(DownloadError, match="only https addresses"):
        module._Redirects().redirect_request(Request("https://a.org/x"), None, 302, "", {}, "http://a.org/x")


@pytest.mark.parametrize(
    "address", ["http://", "http://a b/", "http://127.0.0.1:99999/", "http://\u0000/", "http://[/"]
)
def test_what_is_no_address_is_refused(enter, address):
    enter()
    with pytest.raises(DownloadError, match=r"address|cannot be downloaded"):
        fetch(plan_fetch("Net_x2", source=address))


def test_proxies_are_those_of_the_environment(server, enter, monkeypatch):
    enter()
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    assert fetch(plan_fetch("Net_x2", source="http://example.invalid/net.pth")).read_bytes() == CONTENT


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_told_and_not_tried_again(server, tmp_path):
    part = tmp_path / "net.pth.part"
    part.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        download(server.address, part, size=SIZE, checked=True)
    assert len(server.asked) == 1
