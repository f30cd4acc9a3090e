"""What the site adds to MkDocs: pages of linked files outside ``docs/``, of notebooks, and anchors as on a code host.

A page of ``docs/`` links ``../CONTRIBUTING.md`` or ``../options/train_imdn_x4.yml`` as a code host wants it. The site
has these files too, below ``project/``, so that it needs no address of the repository, and no network.
"""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify

ROOT = Path(__file__).resolve().parents[2]
DOCS = "docs"
STUDIES = f"{DOCS}/studies"
OUTSIDE = "project"
LANGUAGES = {
    ".yml": "yaml",
    ".py": "python",
    ".cff": "yaml",
    ".cpp": "cpp",
    ".csv": "text",
    "": "text",
    ".txt": "cmake",
}
# Code stays as it is; elsewhere, the target of a link is the second group.
LINK = re.compile(r"(^ *```.*?^ *```|`[^`]+`)|(?<=\]\()([^)\s]+)(?=\))", re.MULTILINE | re.DOTALL)
log = logging.getLogger("mkdocs.hooks")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Give headings the anchors of a code host, since links are written for both."""
    config.mdx_configs["toc"]["slugify"] = slugify(case="lower")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each notebook, and for each file outside that pages link, directly or through one another."""
    for file in [file for file in files if file.src_uri.endswith(".ipynb")]:
        text = notebook_page((ROOT / DOCS / file.src_uri).read_text(encoding="utf-8"), PurePosixPath(file.src_uri).name)
        files.append(File.generated(config, page_of(f"{DOCS}/{file.src_uri}"), content=text))
    waiting = [f"{DOCS}/{file.src_uri}" for file in files.documentation_pages() if file.abs_src_path]
    while waiting:
        source = waiting.pop()
        for _, link in LINK.findall(page_text(source)):
            target = path_of(link, source)
            if target is None or files.get_file_from_path(page_of(target)):
                continue
            if not (ROOT / target).exists():
                log.warning("%s links %s, which does not exist", source, link)
                continue
            files.append(File.generated(config, page_of(target), content=page_text(target)))
            waiting.append(target)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page with links to files of the repository changed to pages of the site."""
    source = source_of(page.file.src_uri)
    if page.file.src_uri == "index.md":
        page.meta["hide"] = ["navigation", "toc"]
    elif not source.endswith(".md"):  # code and folders have one heading
        page.meta["hide"] = ["toc"]

    def changed(match: re.Match[str]) -> str:
        target = None if match[1] else path_of(match[2], source)
        if target is None:
            return match[0]
        anchor = match[2].partition("#")[2]
        return relpath(page_of(target), str(PurePosixPath(page.file.src_uri).parent)) + (f"#{anchor}" if anchor else "")

    return LINK.sub(changed, markdown)


def path_of(link: str, source: str) -> str | None:
    """Return the path in the repository that a link in the file ``source`` means; None for addresses and anchors."""
    name = link.partition("#")[0]
    if not name or re.match(r"[a-z]+:", name):
        return None
    return normpath(PurePosixPath(source).parent / name)


def page_of(path: str) -> str:
    """Return the file of the site, from its own root, for a file of the repository."""
    here = ROOT / path
    inside = path.startswith(f"{DOCS}/") and not path.startswith(STUDIES)
    name = path.removeprefix(f"{DOCS}/") if inside else f"{OUTSIDE}/{path}"
    if inside:
        return name.replace(".ipynb", ".md")
    return f"{name}/index.md" if here.is_dir() else name if name.endswith(".md") else f"{name}.md"


def source_of(uri: str) -> str:
    """Return the file of the repository, from its root, that a page of the site was made of."""
    if not uri.startswith(f"{OUTSIDE}/"):
        return f"{DOCS}/{uri}"
    path = uri.removeprefix(f"{OUTSIDE}/")
    return path if (ROOT / path).exists() else path.removesuffix("/index.md").removesuffix(".md")


def page_text(path: str) -> str:
    """Return the page of a file or folder outside ``docs/``."""
    here = ROOT / path
    if here.is_dir():
        names = sorted(file.name for file in here.iterdir() if file.is_file())
        return f"# {path}\n\n" + "".join(f"- [{name}]({here.name}/{name})\n" for name in names)
    text = here.read_text(encoding="utf-8")
    if path.endswith(".md"):
        return text
    language = LANGUAGES.get(here.suffix, "text")
    base = re.search(r"^extends: (\S+)", text, re.MULTILINE) if language == "yaml" else None
    above = f"It extends [{base[1]}]({base[1]}).\n\n" if base else ""
    return f"---\nsearch: {{exclude: true}}\n---\n\n# {here.name}\n\n{above}````{language}\n{text.rstrip()}\n````\n"


def notebook_page(text: str, name: str) -> str:
    """Return a notebook as Markdown: its texts, its code, and what that printed or drew."""
    parts = [f'<a class="md-button" href="{name}" download>Download as a notebook</a>']
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif cell["cell_type"] == "code" and source.strip():
            parts.append(f"```python\n{source}\n```")
            parts += [shown for output in cell["outputs"] if (shown := output_text(output))]
    # The title first, the button below it.
    return "\n\n".join([parts[1], parts[0], *parts[2:]]) + "\n"


def output_text(output: dict[str, Any]) -> str:
    """Return one output of a cell as Markdown: the picture if there is one, else the text."""
    data = output.get("data", {})
    for kind in ("image/png", "image/jpeg"):
        if kind in data:
            return f'<img class="output" alt="output" src="data:{kind};base64,{"".join(data[kind]).strip()}">'
    shown = "".join(output.get("text", data.get("text/plain", ""))).rstrip()
    return f"```text\n{shown}\n```" if shown else ""
