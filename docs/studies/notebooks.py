"""Run the notebooks of docs/notebooks/ from top to bottom, and keep what their cells print and show.

``python docs/studies/notebooks.py`` needs no Jupyter: a cell is Python, its last expression is its result, and an image
of Pillow's is kept as JPEG. Files that cells make go to a temporary folder. Takes ten seconds.
"""

from __future__ import annotations

import ast
import base64
import json
import os
import sys
from contextlib import redirect_stdout
from io import BytesIO, StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


def run(notebook: dict[str, Any]) -> dict[str, Any]:
    """Return a notebook with the outputs that its cells have now, in the working directory."""
    names: dict[str, Any] = {"__name__": "__main__"}
    cells, number = [], 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            number += 1
            outputs = [{**output, "execution_count": number} if "data" in output else output
                       for output in run_cell("".join(cell["source"]), names)]  # fmt: skip
            cell = {**cell, "execution_count": number, "outputs": outputs}
        cells.append(cell)
    return {**notebook, "cells": cells}


def run_cell(source: str, names: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the outputs of a cell that is run with the variables ``names``."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed, value = StringIO(), None
    with redirect_stdout(printed):
        exec(compile(tree, "cell", "exec"), names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    outputs = []
    if printed.getvalue():
        text = printed.getvalue().splitlines(keepends=True)
        outputs.append({"name": "stdout", "output_type": "stream", "text": text})
    if value is not None:
        outputs.append({"data": shown(value), "metadata": {}, "output_type": "execute_result"})
    return outputs


def shown(value: Any) -> dict[str, Any]:
    """Return the result of a cell by media types."""
    if not isinstance(value, Image.Image):
        return {"text/plain": repr(value).splitlines(keepends=True)}
    content = BytesIO()
    value.convert("RGB").save(content, "JPEG", quality=88, optimize=True)
    text = f"<{value.width}x{value.height} pixels>"
    return {"image/jpeg": base64.b64encode(content.getvalue()).decode(), "text/plain": [text]}


def main() -> None:
    """Run all notebooks, and write them with their outputs."""
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        with TemporaryDirectory() as folder:
            os.chdir(folder)
            found = run(json.loads(path.read_text(encoding="utf-8")))
            os.chdir(NOTEBOOKS)
        path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"{path}: {sum('outputs' in cell for cell in found['cells'])} cells")


if __name__ == "__main__":
    sys.exit(main())
