"""The C++ example: built as its page says, and compared with Python."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lightsr_basicsr
from lightsr_basicsr.tools.export.run import export
from lightsr_basicsr.tools.photographs import load_photograph
from tests.snippets import ROOT, blocks_of

PAGE = ROOT / "docs" / "deploy-cpp.md"


def missing() -> str:
    programs = [name for name in ("cmake", "c++") if shutil.which(name) is None]
    if programs:
        return f"not installed: {', '.join(programs)}"
    if importlib.util.find_spec("openvino") is None:
        return "the extra openvino is not installed"
    from openvino import utils

    # Older wheels bring no headers.
    return "" if Path(getattr(utils, "get_cmake_path", str)()).is_dir() else "this wheel of OpenVINO has no CMake files"


pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with the program, a network and a picture of another width than height."""
    folder = tmp_path_factory.mktemp("cpp")
    (folder / "examples").symlink_to(ROOT / "examples")
    texts = [block.text.replace("\\\n", " ") for block in blocks_of(PAGE) if block.reason is None]
    lines = [line for text in texts for line in text.splitlines()]
    for line in (line for line in lines if line.startswith("cmake")):
        shell(line, folder)
    export("TinySR_x4", folder / "TinySR_x4.xml")
    Image.fromarray(load_photograph()[40:88, 60:131]).save(folder / "photo.jpg")
    for line in (line for line in lines if line.startswith(("python", "build/upscale"))):
        shell(line, folder)
    return folder


def shell(line: str, folder: Path) -> None:
    """Run a line of the page, with this Python."""
    script = f'python() {{ "{sys.executable}" "$@"; }}\n{line}'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, f"{line}\n{done.stdout[-1000:]}{done.stderr[-2000:]}"


def upscale(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(["build/upscale", *arguments], capture_output=True, text=True, check=False, cwd=folder)


def test_the_result_is_that_of_python(folder):
    expected = np.asarray(lightsr_basicsr.load("TinySR_x4").upscale(Image.open(folder / "photo.ppm")))
    found = np.asarray(Image.open(folder / "large.ppm"))
    assert found.shape == expected.shape == (192, 284, 3)
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert found.std() > 10


def test_bad_input_is_said(folder):
    (folder / "cut.ppm").write_bytes((folder / "photo.ppm").read_bytes()[:500])
    (folder / "header.ppm").write_bytes(b"P6\n# no size")
    (folder / "huge.ppm").write_bytes(b"P6 99999999 99999999 255\n")
    (folder / "damaged.xml").write_text("<net>")
    for words, status, message in (
        (("TinySR_x4.xml", "none.ppm", "o.ppm"), 1, "none.ppm: expected a picture, got no readable file"),
        (("TinySR_x4.xml", "photo.jpg", "o.ppm"), 1, "expected a binary PPM (P6). Convert it"),
        (("TinySR_x4.xml", "cut.ppm", "o.ppm"), 1, "it was cut off"),
        (("TinySR_x4.xml", "header.ppm", "o.ppm"), 1, "a header without a number"),
        (("TinySR_x4.xml", "huge.ppm", "o.ppm"), 1, "expected 1 to 500 million pixels"),
        (("TinySR_x4.xml", "photo.ppm", "none/o.ppm"), 1, "cannot be written"),
        (("damaged.xml", "photo.ppm", "o.ppm"), 1, ""),
        (("TinySR_x4.xml",), 2, "upscale MODEL.xml|MODEL.onnx IN.ppm OUT.ppm"),
    ):
        done = upscale(folder, *words)
        assert (done.returncode, message in done.stderr, bool(done.stderr)) == (status, True, True), (words, done)
    assert not (folder / "o.ppm").exists()
