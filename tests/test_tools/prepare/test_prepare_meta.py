"""`basicsr prepare meta`: what BasicSR's datasets read from it, paths, names, what is refused."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from lightsr_basicsr import cli
from lightsr_basicsr.tools.prepare.jobs import PrepareError
from lightsr_basicsr.tools.prepare.meta import prepare_meta
from tests.tiny import ANEW, QUIET, make_pairs, tree


def lines(file: str) -> list[str]:
    return Path(file).read_text(encoding="utf-8").splitlines()


def test_basicsr_reads_a_part_of_a_folder_by_the_list_of_another(workdir, capsys):
    from basicsr.data.paired_image_dataset import PairedImageDataset

    make_pairs(Path("set"), 4)
    make_pairs(Path("all"), 6)
    assert cli.main(["prepare", "meta", "-i", "set/HR", "-o", "lists/set.txt", "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "1 files made, 0 existing files kept: lists/set.txt\nnote: 4 images are listed" in printed
    assert lines("lists/set.txt") == [f"{index:03d}.png (32,32,3)" for index in range(4)]
    section = yaml.safe_load(printed[printed.index("datasets:") :])["datasets"]["train"]
    section |= {"dataroot_gt": "all/HR", "dataroot_lq": "all/LR", "phase": "val", "scale": 2}
    dataset = PairedImageDataset(section)
    assert len(dataset) == 4
    assert dataset[3]["lq_path"] == "all/LR/003.png"
    assert dataset[3]["lq"].shape == (3, 16, 16)


@pytest.mark.parametrize(
    ("folders", "root", "dataroot", "first"),
    [
        (["data/a/HR", "data/b/HR"], [], "data", "a/HR/000.png"),
        (["data/a/HR", "data/a/LR"], [], "data/a", "HR/000.png"),
        (["data/b/HR"], ["--root", "data"], "data", "b/HR/000.png"),
        (["data/b/HR", "data/a/HR"], ["--root", "."], ".", "data/b/HR/000.png"),
    ],
)
def test_blind_training_reads_several_folders(workdir, capsys, folders, root, dataroot, first):
    from lightsr_basicsr.data.blind_dataset import SecondOrderDataset

    for name, count in (("a", 2), ("b", 3)):
        make_pairs(Path("data", name), count)
    assert cli.main(["prepare", "meta", "-i", *folders, "-o", "meta.txt", "--quiet", *root]) == 0
    assert lines("meta.txt")[0] == f"{first} (32,32,3)"
    printed = capsys.readouterr().out
    section = yaml.safe_load(printed[printed.index("datasets:") :])["datasets"]["train"]
    assert (section["type"], section["dataroot_gt"]) == ("SecondOrderDataset", dataroot)
    dataset = SecondOrderDataset({**section, "phase": "train"})
    assert dataset[0]["gt"].shape == (3, 400, 400)
    there = sorted(str(file) for folder in folders for file in Path(folder).iterdir())
    assert sorted(str(Path(path)) for path in dataset.paths) == there


def test_every_kind_of_image_and_broken_ones(workdir, capsys):
    Path("set").mkdir()
    color = np.random.default_rng(0).integers(0, 256, (10, 12, 3), np.uint8)
    cv2.imwrite("set/alpha.png", np.dstack([color, color[:, :, 0]]))
    cv2.imwrite("set/deep.png", color.astype(np.uint16) * 257)
    cv2.imwrite("set/gray.b.png", color[:, :, 0])
    Image.fromarray(np.dstack([color, color[:, :, 0]]), "CMYK").save("set/cmyk.jpg")
    whole = Path("set/deep.png").read_bytes()
    Path("set/cut.png").write_bytes(whole[:-40])
    Path("set/rotten.png").write_bytes(whole[:50] + bytes(len(whole) - 70) + whole[-20:])
    command = ["prepare", "meta", "-i", "set", "-o", "meta.txt", "--quiet"]
    for counts in ("1 files made, 0 existing", "0 files made, 1 existing"):
        assert cli.main(command) == 1
        printed = capsys.readouterr()
        assert counts in printed.out
        assert "2 files could not be used" in printed.err
        assert "set/cut.png: image file is truncated" in printed.err
    assert lines("meta.txt") == [
        "alpha.png (10,12,4)", "cmyk.jpg (10,12,3)", "deep.png (10,12,3)", "gray.b.png (10,12,1)",
    ]  # fmt: skip


def test_an_existing_list_is_kept_and_replaced_only_if_asked(workdir, monkeypatch):
    make_pairs(Path("set"), 3)
    prepare_meta(["set/HR"], "meta.txt", work=QUIET)
    before = tree(Path())
    with monkeypatch.context() as patch:
        patch.setattr(f"{prepare_meta.__module__}.verify", lambda file: pytest.fail(f"{file} was read again"))
        done = prepare_meta(["set/HR"], "meta.txt", work=QUIET)
    assert (done.made, done.kept, tree(Path())) == (0, 1, before)
    make_pairs(Path("set"), 4)
    with pytest.raises(PrepareError, match=r"meta\.txt exists and lacks 003\.png: .* --overwrite"):
        prepare_meta(["set/HR"], "meta.txt", work=QUIET)
    Path("set/HR/000.png").unlink()
    with pytest.raises(PrepareError, match=r"meta\.txt exists and lists other images: 000\.png: .* --overwrite"):
        prepare_meta(["set/HR"], "meta.txt", work=QUIET)
    assert len(lines("meta.txt")) == 3
    prepare_meta(["set/HR"], "meta.txt", work=ANEW)
    assert [line[:3] for line in lines("meta.txt")] == ["001", "002", "003"]


def test_an_interrupted_run_leaves_no_half_list(workdir, monkeypatch):
    make_pairs(Path("set"), 3)
    prepare_meta(["set/HR"], "meta.txt", work=QUIET)
    Path("set/HR/000.png").unlink()
    before = lines("meta.txt")

    def stop(text: str, **_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", lambda path, text, **_: (path.write_bytes(b"half"), stop(text)))
    with pytest.raises(KeyboardInterrupt):
        prepare_meta(["set/HR"], "meta.txt", work=ANEW)
    assert lines("meta.txt") == before
    assert sorted(path.name for path in Path().iterdir()) == ["meta.txt", "set"]


def test_names_that_are_not_ascii_are_reported(workdir):
    make_pairs(Path("set"), 1)
    Path("set/HR/000.png").rename("set/HR/ümlaut.png")
    done = prepare_meta(["set/HR"], "meta.txt", work=QUIET)
    assert lines("meta.txt") == ["ümlaut.png (32,32,3)"]
    assert any("1 names are not ASCII (first ümlaut.png): the list is UTF-8" in n for n in done.notes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["-i", "spaced", "-o", "x"],
            "ends the name of an image at the first space of a line, and would not find a ",
        ),
        (["-i", "a b/HR", "--root", ".", "-o", "x"], "would not find a b/HR/000.png: rename them, without spaces"),
        (["-i", "set/HR", "-o", "set/HR/meta.txt"], "set/HR/meta.txt would lie among the images"),
        (["-i", "set/HR", "-o", "set"], "set is a folder; -o must be the file to write, such as set/meta_info.txt"),
        (["-i", "set/HR", "--root", "set/LR", "-o", "x"], "root must contain all folders, but set/HR is not in set/LR"),
        (["-i", "set/HR", "set/HR", "-o", "x"], "set/HR is given twice"),
        (["-i", "set/HR", "set", "-o", "x"], "set holds no images (png, bmp, jpg, tif, webp); its sub-folder HR does"),
        (["-i", "set/HR", "-o", "picture.png"], "picture.png exists and is not a list of images"),
    ],
)
def test_mistakes_are_explained_before_anything_is_written(workdir, capsys, arguments, message):
    for folder in ("set", "a b", "spaced"):
        make_pairs(Path(folder), 1)
    Path("spaced/HR/000.png").rename("spaced/a name.png")
    Path("set/HR/000.png").rename("set/HR/x.png")
    Path("picture.png").write_bytes(Path("set/HR/x.png").read_bytes())
    before = tree(Path())
    assert cli.main(["prepare", "meta", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert tree(Path()) == before


def test_no_list_of_nothing(workdir):
    Path("set").mkdir()
    Path("set/a.png").write_bytes(b"no image")
    done = prepare_meta(["set"], "meta.txt", work=QUIET)
    assert (done.made, len(done.failed), done.section) == (0, 1, {})
    assert not Path("meta.txt").exists()
