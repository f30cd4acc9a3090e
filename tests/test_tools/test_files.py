"""Whether a new file can be written, checked before the work."""

import os
from pathlib import Path

import pytest

from lightsr_basicsr.tools.files import TargetError, check_target, no_folder, plain_path


@pytest.fixture
def source(workdir) -> Path:
    Path("net.pth").write_text("weights")
    Path("old.pth").write_text("mine")
    Path("link.pth").symlink_to("net.pth")
    Path("dangling.pth").symlink_to("folder/new.pth")
    Path("folder").mkdir()
    os.mkfifo("pipe.pth")
    return Path("net.pth")


@pytest.mark.parametrize(
    ("name", "overwrite", "message"),
    [
        ("net.pth", True, "net.pth is the source itself"),
        ("link.pth", True, "link.pth is the source itself"),
        ("pipe.pth", True, "pipe.pth exists and is no plain file"),
        ("folder", True, "folder exists and is no plain file"),
        ("old.pth", False, "old.pth already exists: replace it with --overwrite"),
        ("dangling.pth", False, "dangling.pth already exists"),
        ("nowhere/new.pth", False, "There is no folder nowhere: create it first"),
        ("n" * 300 + ".pth", False, "cannot be written .* choose another name or folder"),
    ],
)
def test_what_is_in_the_way_is_reported(source, name, overwrite, message):
    before = sorted(os.listdir())
    with pytest.raises(TargetError, match=message):
        check_target(Path(name), source, overwrite)
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize(("name", "overwrite"), [("new.pth", False), ("old.pth", True), ("dangling.pth", True)])
def test_files_that_can_be_written(source, name, overwrite):
    before = sorted(os.listdir())
    check_target(Path(name), source, overwrite)
    assert sorted(os.listdir()) == before
    assert Path("old.pth").read_text() == "mine"


def test_paths_are_expanded_and_cannot_hold_nul():
    assert plain_path("~/net.pth") == Path.home() / "net.pth"
    with pytest.raises(TargetError, match=r"NUL, got 'a\\x00\.pth'"):
        plain_path("a\0.pth")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("net.pth", "it is a file"),
        ("net.pth/new/deep", "net.pth is a file"),
        ("dangling.pth", "it is a link to nothing"),
        ("folder/" + "n" * 300, "File name too long"),
    ],
)
def test_what_is_in_the_way_of_a_folder_is_named(source, name, reason):
    with pytest.raises(OSError, match="Errno") as raised:
        Path(name).mkdir(parents=True, exist_ok=True)
    assert no_folder(Path(name), raised.value) == reason
