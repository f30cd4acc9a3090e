"""Put a page together: one HTML file with style, scripts, data and images in it."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from math import isfinite
from pathlib import Path
from typing import Any

from lightsr_basicsr.pages.images import as_text

SHARED = ("base", "images", "sorting")  # scripts, in order


def assemble(
    package: str,
    scripts: Sequence[str],
    title: str,
    data: Any,
    images: Mapping[str, bytes],
    made_by: str,
) -> bytes:
    """Return a page. Whatever names and data hold, none of it can become an element or a script.

    Args:
        package (str): Of a command; its folder ``page`` holds ``body.html``, ``page.css`` and the scripts.
        scripts (Sequence[str]): Names of its scripts without ``.js``, in order; those of all pages come first.
        title (str): Of the page.
        data (Any): What JSON can hold; scripts find it as ``data``.
        images (Mapping[str, bytes]): Encoded images by the id with which scripts ask for them.
        made_by (str): The program, which a later run can tell its own pages by.
    """
    own, shared = files(package) / "page", files(__package__) / "shared"
    code = [_read(shared, f"{name}.js") for name in SHARED] + [_read(own, f"{name}.js") for name in scripts]
    texts = {
        "made by": html.escape(made_by),
        "title": html.escape(title),
        "style": _read(shared, "page.css") + _read(own, "page.css"),
        "body": _read(own, "body.html"),
        "scripts": "\n".join(f"<script>\n{text}</script>" for text in code),
        "data": as_json(data),
    }
    before, after = _read(shared, "page.html").split("<!-- images -->")
    for name, text in texts.items():
        before = before.replace(f"<!-- {name} -->", text)
    blocks = (f'<script type="text/plain" id="{html.escape(name)}">{as_text(each)}</script>'
              for name, each in images.items())  # fmt: skip
    return "\n".join([before, *blocks, after]).encode("utf-8", "backslashreplace")


def was_made_by(content: bytes, made_by: str) -> bool:
    """Return whether the first bytes of a file are those of a page with this ``made_by``."""
    start = content[:4096]
    return (
        start.startswith(b"<!doctype html>") and f'name="generator" content="{html.escape(made_by)}'.encode() in start
    )


def as_json(content: Any) -> str:
    r"""Return JSON that cannot end the element it stands in.

    >>> print(as_json({"a": "</b>"}))
    {"a":"\u003c/b\u003e"}
    """
    text = json.dumps(finite(content), separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def finite(content: object) -> object:
    """Return content for JSON, in which infinite numbers are text, and those that are none are null.

    >>> finite({"psnr": [float("inf"), 1.5]})
    {'psnr': ['Infinity', 1.5]}
    """
    if isinstance(content, dict):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [finite(value) for value in content]
    if isinstance(content, float) and not isfinite(content):
        return "Infinity" if content > 0 else None
    return content


def _read(folder: Path, name: str) -> str:
    return (folder / name).read_text(encoding="utf-8")
