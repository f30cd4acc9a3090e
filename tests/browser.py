"""Pages in a headless Chromium, where there is one."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine to open the page in")


def browse(page: Path, *flags: str, script: str = "", budget: int = 4000) -> subprocess.CompletedProcess:
    """Open a copy of a page, with a script at its end, in a headless Chromium."""
    copy = page.with_name("browsed.html")
    copy.write_text(page.read_text(encoding="utf-8").replace("</body>", f"<script>{script}</script></body>"))
    profile = page.parent / "profile"
    return subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--no-first-run", f"--user-data-dir={profile}",
         "--window-size=1200,900", f"--virtual-time-budget={budget}", *flags, copy.resolve().as_uri()],
        capture_output=True, text=True, check=False, timeout=240, encoding="utf-8",
    )  # fmt: skip


def content(page: Path) -> dict:
    """Return what the scripts of a page show."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text("utf-8"), re.DOTALL)
    return json.loads(found[1])


def logged(page: Path, steps: str) -> dict[str, list]:
    """Return what a script that takes steps in a page has written into ``<pre id="log">``, by its first words."""
    done = browse(page, "--dump-dom", script=steps, budget=20_000)
    found = re.search(r'<pre id="log">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    log = {name: rest for name, *rest in json.loads(html.unescape(found[1]))}
    assert "failed" not in log, log["failed"]
    return log
