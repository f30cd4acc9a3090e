"""Make the README's links absolute, for the page of a package index, which has none of the files beside it.

A release runs it before it builds: ``python .ci/absolute_links.py https://github.com/OWNER/NAME TAG``.
"""

import re
import sys
from pathlib import Path

LINK = re.compile(r"(!?)(\[[^\]]*\])\((?![a-z]+:|#)([^)\s]+)\)")


def absolute(text: str, repository: str, tag: str) -> str:
    """Return a text of Markdown with links to files of a repository, pictures to their bytes.

    >>> absolute("![a](docs/a.jpg) [b](docs/b.md#c) [d](#d) [e](https://e.org)", "https://g.org/o/n", "v1")
    '![a](https://g.org/o/n/raw/v1/docs/a.jpg) [b](https://g.org/o/n/blob/v1/docs/b.md#c) [d](#d) [e](https://e.org)'
    """

    def replaced(found: re.Match) -> str:
        picture, title, target = found.groups()
        return f"{picture}{title}({repository}/{'raw' if picture else 'blob'}/{tag}/{target})"

    return LINK.sub(replaced, text)


if __name__ == "__main__":
    file = Path("README.md")
    file.write_text(absolute(file.read_text(encoding="utf-8"), *sys.argv[1:3]), encoding="utf-8")
