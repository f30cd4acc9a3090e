import hashlib
import random

import pytest
import yaml

from lightsr_basicsr.weights import download, official
from tests.test_weights.server import serving

CONTENT = b"\x80\x02" + random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PAGE = "https://example.org/authors"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The cache folder, which is not there yet."""
    monkeypatch.setenv("LIGHTSR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "WAITS", (0.01, 0.02))
    for name in ("http_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache"


@pytest.fixture
def server():
    with serving(CONTENT) as server:
        yield server


@pytest.fixture
def enter(tmp_path, monkeypatch):
    """Make a table of one network, ``Net_x2``, with these facts about its file."""

    def enter(**facts):
        row = {"title": "Net", "network": "IMDN", "arguments": {"upscale": 2}, "options": [], "file": "net.pth",
               "source": PAGE, "sha256": SHA256, "size": len(CONTENT), **facts}  # fmt: skip
        table = tmp_path / "official.yml"
        table.write_text(yaml.safe_dump([{key: value for key, value in row.items() if value is not None}]))
        monkeypatch.setattr(official, "TABLE", table)
        official.official_networks.cache_clear()

    yield enter
    monkeypatch.undo()
    official.official_networks.cache_clear()
