"""Photographs: which are used, how they are read, which are held out."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from lightsr_basicsr.tools.new import data as module
from lightsr_basicsr.tools.new.data import crops_of, prepare, read_record
from lightsr_basicsr.tools.new.photographs import NewError, Photograph, look_at, read_rgb
from lightsr_basicsr.tools.new.split import held_out, lot
from tests.test_tools.new.work import photographs, picture, write

NAMES = [f"{index:03d}.png" for index in range(40)]


def quiet(title: str, done: int, total: int) -> None:
    pass


def prepared(source: str = "photos", out: str = "data", patch: int = 32) -> module.Data:
    return prepare(Path(source), Path(out), patch, 2, quiet)


def seen(name: str) -> Photograph:
    return Photograph(name, "", 100, 100, name)


def files(folder: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


def test_what_is_held_out_stays_so_whatever_is_added():
    before: list[str] = []
    for count in range(2, 40):
        names, _ = held_out([seen(name) for name in NAMES[-count:]], before)
        assert set(before) <= set(names)
        assert 0 < len(names) < count
        before = names
    assert 0.02 < sum(lot(str(name)) < 0.1 for name in range(1000)) / 1000 < 0.15


def test_a_name_decides_and_not_its_folder_or_ending():
    assert lot("a/IMG 1.jpg") == lot("b/img 1.PNG") != lot("IMG 2.jpg")
    assert lot("gr\u00fcn.jpg") == lot("gru\u0308n.jpg")


def test_a_series_is_held_out_together(workdir):
    for name, seed in (("a.png", 1), ("b.png", 2), ("c.png", 3), ("d.png", 4)):
        write(Path(name), picture(seed))
    shots = [look_at(Path(name), name) for name in ("a.png", "b.png", "c.png", "d.png")]
    first = min(shots, key=lambda each: lot(each.name))
    write(Path("again.png"), cv2.convertScaleAbs(cv2.imread(first.name), alpha=0.95, beta=2))
    again = look_at(Path("again.png"), "again.png")
    assert again.pixels != first.pixels
    assert again.resembles(first)
    names, alike = held_out([*shots, again], [first.name])
    assert (sorted(names), alike) == (sorted([first.name, "again.png"]), ["again.png"])


def test_pictures_of_every_kind_are_read_as_they_look(workdir):
    image = picture(0)
    rgb = image[:, :, ::-1]
    tag = Image.Exif()
    tag[0x112] = 6
    Image.fromarray(np.rot90(rgb)).save("turned.png", exif=tag)
    Image.fromarray(rgb).convert("L").save("gray.png")
    Image.fromarray(rgb).convert("CMYK").save("cmyk.tif")
    cv2.imwrite("deep.png", image.astype(np.uint16) * 257)
    alpha = np.full((*rgb.shape[:2], 1), 255, np.uint8)
    Image.fromarray(np.concatenate([rgb, alpha], axis=2)).save("rgba.png")
    for name in ("turned.png", "deep.png", "rgba.png"):
        assert np.array_equal(read_rgb(Path(name)), rgb), name
    assert np.abs(read_rgb(Path("cmyk.tif")).astype(int) - rgb).max() <= 2
    assert np.ptp(read_rgb(Path("gray.png")), axis=2).max() == 0


def test_bad_photographs_are_named_and_left_out(workdir):
    photographs("photos", "a b.png", "sub/a b.png", "gr\u00fcn.png", "c.png")
    photos = Path("photos")
    write(photos / "small.png", picture(9, 20, 30))
    (photos / "cut.png").write_bytes((photos / "c.png").read_bytes()[:200])
    (photos / "empty.jpg").write_bytes(b"")
    (photos / "raw.HEIC").write_bytes(b"heic")
    (photos / "notes.txt").write_text("x")
    (photos / "twin.png").write_bytes((photos / "c.png").read_bytes())
    (photos / os.fsdecode(b"caf\xe9.png")).write_bytes((photos / "a b.png").read_bytes()[:100])
    before = files("photos")
    data = prepared()
    problems = {each.name: each.problem for each in data.left_out}
    broken = "cut short or damaged"
    expected = {
        "small.png": "expected sides of at least 32, got 30x20", "cut.png": broken,
        "twin.png": "the same picture as c.png", "empty.jpg": "empty file", "raw.HEIC": "expected png, jpg",
        os.fsdecode(b"caf\xe9.png"): broken,
    }  # fmt: skip
    assert problems.keys() == expected.keys()
    assert all(problems[name].startswith(text) for name, text in expected.items())
    assert len(data.used) == 4
    assert data.others == 1
    assert "are few" in data.notes[0]
    written = list(Path("data").rglob("*.png"))
    assert len(written) == 4
    assert all(path.name.isascii() and " " not in path.name for path in written)
    assert files("photos") == before


def test_a_large_photograph_becomes_crops_that_cover_it():
    areas = list(crops_of(Photograph("a.jpg", "", 1500, 1000, "0" * 16), 100).values())
    covered = np.zeros((1000, 1500), int)
    for top, left, height, width in areas:
        covered[top : top + height, left : left + width] += 1
    assert len(areas) == 6
    assert (covered == 1).all()
    assert len(crops_of(Photograph("a.jpg", "", 1500, 1000, "0" * 16), 3)) == 3


def test_an_interrupted_preparation_goes_on_and_ends_alike(workdir, monkeypatch):
    photographs("photos", *NAMES[:8])
    whole = prepared(out="whole")
    written = []

    def killed(path, image):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(path)
        cv2.imwrite(str(path), image)

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_png", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare(Path("photos"), Path("data"), 32, 1, quiet)
    (Path("data", "train", ".cut.png.part")).write_bytes(b"x")
    data = prepared()
    assert data.held_out == whole.held_out
    assert [path.read_bytes() for path in map(Path, files("data"))] == [*files("whole").values()]


def test_added_and_removed_photographs_are_taken_up(workdir):
    photographs("photos", *NAMES[:10])
    first = prepared()
    out = Path("photos", first.held_out[0])
    write(Path("photos", "000 double.png"), cv2.imread(str(out)))
    gone = next(each.name for each in first.used if each.name not in first.held_out)
    Path("photos", gone).unlink()
    second = prepared()
    assert first.held_out == second.held_out
    assert len(second.used) == 9
    assert [each.name for each in second.left_out] == ["000 double.png"]
    assert len(files("data/train")) == 9 - len(second.held_out)
    assert not any(Path(gone).stem in name for name in files("data/train"))


@pytest.mark.parametrize(
    ("names", "patch", "text"),
    [
        ([], 32, "Expected photographs (png"),
        (["a.png"], 32, "Expected at least 2 photographs"),
        (["a.png", "b.png"], 128, "Expected photographs of at least 128x128"),
    ],
)
def test_too_little_is_refused_and_nothing_written(workdir, names, patch, text):
    Path("photos").mkdir()
    photographs("photos", *names)
    with pytest.raises(NewError) as error:
        prepared(patch=patch)
    assert text in str(error.value)
    assert ": " in str(error.value)
    assert not Path("data").exists()


def test_a_record_of_something_else_is_none(workdir):
    Path("photographs.json").write_text("[]")
    assert read_record(Path()) is None
