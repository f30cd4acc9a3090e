"""``basicsr prepare demo``: all sub-commands on test images, and a contact sheet of the result."""

from pathlib import Path

import cv2
import numpy as np

from lightsr_basicsr import cli


def test_every_sub_command_runs_and_a_picture_is_drawn(workdir, capsys):
    assert cli.main(["prepare", "demo", "--quiet"]) == 0
    printed = capsys.readouterr().out
    shown = [line.split()[3] for line in printed.splitlines() if line.startswith("$ basicsr prepare ")]
    assert set(shown) == {"lr", "blind", "multiscale", "subimages", "meta", "lmdb", "check"}
    out = Path("datasets/prepare_demo")
    assert (out / "HR_x4_sub.lmdb" / "data.mdb").is_file()
    picture = cv2.imread(str(out / "contact_sheet.png"))
    assert picture.shape == (3 * 340, 8 * 296, 3)
    # The first panel is the HR image itself, three times as large; the next is its LR image.
    hr = cv2.imread(str(out / "photos" / "chelsea.png"))
    assert np.array_equal(picture[44:332:3, :288:3], hr[60:156, 140:236])


def test_it_can_be_run_again(workdir, capsys):
    for _ in range(2):
        assert cli.main(["prepare", "demo", "--quiet", "-o", "here", "--jobs", "1"]) == 0
    printed = capsys.readouterr().out
    again = printed[printed.rindex("$ basicsr prepare lr -i here/photos -o here --scale 2 3 4") :]
    assert "0 files made, 18 existing files kept" in again
    assert "0 files made, 292 existing files kept" in again


def test_another_contact_sheet_is_not_replaced(workdir, capsys):
    Path("mine").mkdir()
    Path("mine/contact_sheet.png").write_text("mine")
    assert cli.main(["prepare", "demo", "--quiet", "-o", "mine"]) == 2
    assert "mine/contact_sheet.png exists and is not of this demo" in capsys.readouterr().err
    assert [path.name for path in Path("mine").iterdir()] == ["contact_sheet.png"]
