"""`basicsr prepare lmdb`: what BasicSR reads from it, size, resumption, names, what is refused."""

from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
import yaml
from PIL import Image

from lightsr_basicsr import cli
from lightsr_basicsr.pictures.files import ImageError
from lightsr_basicsr.tools.prepare import lmdb_file
from lightsr_basicsr.tools.prepare.jobs import PrepareError, in_order
from lightsr_basicsr.tools.prepare.lmdb import prepare_lmdb
from lightsr_basicsr.tools.prepare.lmdb_file import map_size
from lightsr_basicsr.tools.prepare.sources import Verified, verify
from tests.tiny import ALONE, ANEW, QUIET, make_pairs, tree


def noise(file: str, side: int = 24, seed: int = 0, dtype: type = np.uint8) -> np.ndarray:
    """Write an image that cannot be compressed."""
    image = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (side, side, 3), dtype, endpoint=True)
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(file, image)
    return image


def entries(path: str) -> dict[str, bytes]:
    """Return what an LMDB holds, read from a copy, since lmdb opens a path once per process."""
    copy = Path(path).with_name(f"copy_of_{Path(path).name}_{len(list(Path(path).parent.iterdir()))}")
    copy.mkdir()
    (copy / "data.mdb").write_bytes(Path(path, "data.mdb").read_bytes())
    with lmdb.open(str(copy), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return {key.decode(): value for key, value in transaction.cursor()}


def meta(path: str) -> list[str]:
    return Path(path, "meta_info.txt").read_text().splitlines()


def stop_after(monkeypatch, count: int) -> None:
    """Let Ctrl-C come when ``count`` files have been read."""
    read = []

    def stopping(file: Path) -> Verified | ImageError:
        read.append(file)
        if len(read) > count:
            raise KeyboardInterrupt
        return verify(file)

    monkeypatch.setattr(f"{prepare_lmdb.__module__}.verify", stopping)


@pytest.mark.parametrize("template", ["{}", "{}x2"])
def test_basicsr_reads_the_pairs_as_the_section_says(workdir, capsys, template):
    from basicsr.data.paired_image_dataset import PairedImageDataset

    make_pairs(Path("set"), 5)
    for file in Path("set/LR").iterdir():
        file.rename(file.with_stem(template.format(file.stem)))
    arguments = [] if template == "{}" else ["--template", template]
    assert cli.main(["prepare", "lmdb", "-i", "set/HR", "set/LR", "-o", "out", "--quiet", *arguments]) == 0
    printed = capsys.readouterr().out
    assert "10 files made, 0 existing files kept: out/HR.lmdb, out/LR.lmdb" in printed
    assert meta("out/LR.lmdb")[0] == "000.png (16,16,3) 1"
    assert sorted(path.name for path in Path("out").iterdir()) == ["HR.lmdb", "LR.lmdb"]
    section = yaml.safe_load(printed[printed.index("datasets:") :])["datasets"]["train"]
    assert (section["gt_size"], section["io_backend"]) == (32, {"type": "lmdb"})
    dataset = PairedImageDataset({**section, "phase": "val", "scale": 2})
    assert len(dataset) == 5
    for index in range(5):
        item = dataset[index]
        for kind, key in (("gt", f"HR/{index:03d}"), ("lq", f"LR/{template.format(f'{index:03d}')}")):
            image = cv2.imread(f"set/{key}.png")[:, :, ::-1].transpose(2, 0, 1)
            assert np.array_equal(np.rint(item[kind].numpy() * 255), image)


def test_basicsr_reads_a_single_folder_for_blind_training(workdir):
    from lightsr_basicsr.data.blind_dataset import SecondOrderDataset

    make_pairs(Path("set"), 2)
    section = prepare_lmdb(["set/HR"], "out", work=QUIET).section["train"]
    dataset = SecondOrderDataset({**section, "phase": "train"})
    assert dataset.paths == ["000", "001"]
    assert dataset[1]["gt"].shape == (3, 400, 400)


def test_a_first_image_that_compresses_well_is_no_trouble(workdir):
    from basicsr.utils.lmdb_util import make_lmdb_from_imgs

    Path("set").mkdir()
    cv2.imwrite("set/000.png", np.zeros((64, 64, 3), np.uint8))
    for index in range(1, 9):
        noise(f"set/{index:03d}.png", 64, index)
    files = [f"{index:03d}.png" for index in range(9)]
    with pytest.raises(lmdb.MapFullError):
        make_lmdb_from_imgs("set", "theirs.lmdb", files, [file[:3] for file in files])
    assert prepare_lmdb(["set"], ".", work=QUIET).made == 9
    assert entries("set.lmdb") == {file[:3]: Path("set", file).read_bytes() for file in files}


@pytest.mark.parametrize(("count", "smallest", "largest"), [(60, 1, 100), (400, 1, 2500), (60, 4000, 90000)])
def test_the_size_is_enough_and_not_much_more(tmp_path, count, smallest, largest):
    rng = np.random.default_rng(0)
    sizes = {f"{index:04d}_s001": int(rng.integers(smallest, largest)) for index in range(count)}
    file = lmdb_file.LmdbFile(tmp_path / "x.lmdb", {}, sizes)
    for key, size in sizes.items():
        file.add(key, rng.bytes(size), lmdb_file.LmdbEntry((1, 1, 3), 8))
    file.flush()
    assert file._environment.info()["map_size"] == map_size(sizes), "it had to grow"
    used = (file._environment.info()["last_pgno"] + 1) * file._environment.stat()["psize"]
    assert used <= map_size(sizes) <= 2 * used + (1 << 19)
    if smallest > 2000:
        assert map_size(sizes) <= 1.1 * used + (1 << 19)
    file.close()


def test_it_grows_if_the_size_was_wrong_after_all(workdir, monkeypatch):
    for index in range(20):
        noise(f"set/{index}.png", 64, index)
    monkeypatch.setattr(lmdb_file, "map_size", lambda _: 1 << 15)
    prepare_lmdb(["set"], ".", work=QUIET)
    assert entries("set.lmdb") == {file.stem: file.read_bytes() for file in Path("set").iterdir()}


@pytest.mark.parametrize("after", [0, 1, 7, 19])
def test_an_interrupted_run_is_continued_with_the_same_result(workdir, monkeypatch, capsys, after):
    make_pairs(Path("set"), 10)
    prepare_lmdb(["set/HR", "set/LR"], "whole", work=QUIET)
    monkeypatch.setattr(lmdb_file, "BATCH_FILES", 2)
    with monkeypatch.context() as patch:
        stop_after(patch, after)
        command = ["prepare", "lmdb", "-i", "set/HR", "set/LR", "-o", "out", "--jobs", "1", "--quiet"]
        assert cli.main(command) == 130
    assert "Run the same command again to continue" in capsys.readouterr().err
    assert sorted(path.name for path in Path("out").iterdir()) == [".HR.lmdb.part", ".LR.lmdb.part"]
    read = []
    monkeypatch.setattr(f"{prepare_lmdb.__module__}.verify", lambda file: read.append(file) or verify(file))
    done = prepare_lmdb(["set/HR", "set/LR"], "out", work=QUIET)
    assert done.made + done.kept == 20
    assert len(read) == done.made
    assert done.kept == after // 2 // 2 * 2 * 2, "whole batches of pairs that came before are kept"
    for name in ("HR.lmdb", "LR.lmdb"):
        assert meta(f"out/{name}") == meta(f"whole/{name}")
        assert entries(f"out/{name}") == entries(f"whole/{name}")
        assert sorted(path.name for path in Path("out", name).iterdir()) == [
            ".prepare.json", "data.mdb", "lock.mdb", "meta_info.txt",
        ]  # fmt: skip


def test_a_kill_while_the_journal_is_written_costs_one_image(workdir, monkeypatch):
    make_pairs(Path("set"), 4)
    monkeypatch.setattr(lmdb_file, "BATCH_FILES", 1)
    with monkeypatch.context() as patch:
        patch.setattr(lmdb_file.LmdbFile, "finish", lambda self, keys: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepare_lmdb(["set/HR"], ".", work=QUIET)
    journal = Path(".HR.lmdb.part/.journal")
    journal.write_text(journal.read_text()[:-5])
    done = prepare_lmdb(["set/HR"], ".", work=QUIET)
    assert (done.made, done.kept) == (1, 3)
    assert entries("HR.lmdb") == {file.stem: file.read_bytes() for file in Path("set/HR").iterdir()}


def test_a_journal_without_its_data_is_not_believed(workdir, monkeypatch):
    make_pairs(Path("set"), 4)
    with monkeypatch.context() as patch:
        patch.setattr(lmdb_file, "BATCH_FILES", 1)
        stop_after(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            prepare_lmdb(["set/HR"], ".", work=ALONE)
    Path(".HR.lmdb.part/data.mdb").unlink()
    assert prepare_lmdb(["set/HR"], ".", work=QUIET).made == 4
    assert len(entries("HR.lmdb")) == 4


def test_what_was_begun_with_other_files_is_begun_again(workdir, monkeypatch):
    make_pairs(Path("set"), 4)
    with monkeypatch.context() as patch:
        patch.setattr(lmdb_file, "BATCH_FILES", 1)
        stop_after(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            prepare_lmdb(["set/HR"], ".", work=ALONE)
    noise("set/HR/000.png", 32)
    done = prepare_lmdb(["set/HR"], ".", work=QUIET)
    assert (done.made, done.kept) == (4, 0)
    assert entries("HR.lmdb")["000"] == Path("set/HR/000.png").read_bytes()


def test_a_finished_lmdb_is_kept_and_replaced_only_if_asked(workdir):
    make_pairs(Path("set"), 3)
    prepare_lmdb(["set/HR", "set/LR"], "out", work=QUIET)
    before = tree(Path("out"))
    done = prepare_lmdb(["set/HR", "set/LR"], "out", work=QUIET)
    assert (done.made, done.kept, tree(Path("out"))) == (0, 6, before)
    assert done.section["train"]["gt_size"] == 32
    for change in (lambda: noise("set/LR/000.png", 16), lambda: make_pairs(Path("set"), 4)):
        change()
        with pytest.raises(PrepareError, match=r"out/[HL]R\.lmdb holds other images than set/[HL]R: choose another -o"):
            prepare_lmdb(["set/HR", "set/LR"], "out", work=QUIET)
        assert tree(Path("out")) == before
    done = prepare_lmdb(["set/HR", "set/LR"], "out", work=ANEW)
    assert (done.made, done.kept) == (8, 0)
    assert len(meta("out/HR.lmdb")) == 4
    assert sorted(path.name for path in Path("out").iterdir()) == ["HR.lmdb", "LR.lmdb"]


def test_an_lmdb_of_basicsr_is_kept(workdir):
    from basicsr.utils.lmdb_util import make_lmdb_from_imgs

    make_pairs(Path("set"), 3)
    names = ["000", "001", "002"]
    make_lmdb_from_imgs("set/HR", "HR.lmdb", [f"{name}.png" for name in names], names, map_size=1 << 20)
    before = tree(Path("HR.lmdb"))
    done = prepare_lmdb(["set/HR", "set/LR"], ".", work=QUIET)
    assert (done.made, done.kept, tree(Path("HR.lmdb"))) == (3, 3, before)
    assert done.section["train"]["gt_size"] == 32
    Path("set/HR/002.png").unlink()
    Path("set/LR/002.png").unlink()
    with pytest.raises(PrepareError, match=r"HR\.lmdb holds other images"):
        prepare_lmdb(["set/HR"], ".", work=QUIET)


@pytest.mark.parametrize("name", ["file.txt", "data.mdb"])
def test_what_is_no_lmdb_is_never_replaced(workdir, name):
    make_pairs(Path("set"), 1)
    Path("HR.lmdb").mkdir()
    Path("HR.lmdb", name).touch()
    with pytest.raises(PrepareError, match=r"HR\.lmdb exists, but is not a finished LMDB of images: move it away"):
        prepare_lmdb(["set/HR"], ".", work=QUIET)
    if name == "file.txt":
        with pytest.raises(PrepareError, match=r"holds file\.txt, which belongs to no LMDB"):
            prepare_lmdb(["set/HR"], ".", work=ANEW)
        assert Path("HR.lmdb/file.txt").is_file()


def test_a_broken_image_is_left_out_of_all(workdir, capsys):
    from basicsr.data.data_util import paired_paths_from_lmdb

    make_pairs(Path("set"), 4)
    whole = Path("set/LR/001.png").read_bytes()
    Path("set/LR/001.png").write_bytes(whole[: len(whole) // 2])
    Path("set/HR/003.png").write_bytes(b"")
    command = ["prepare", "lmdb", "-i", "set/HR", "set/LR", "-o", ".", "--quiet"]
    for made, kept in ((4, 0), (0, 4)):
        assert cli.main(command) == 1
        printed = capsys.readouterr()
        assert f"{made} files made, {kept} existing files kept" in printed.out
        assert "2 files could not be used" in printed.err
        assert "set/HR/003.png: empty file" in printed.err
        assert "set/LR/001.png: image file is truncated" in printed.err
    paths = paired_paths_from_lmdb(["LR.lmdb", "HR.lmdb"], ["lq", "gt"])
    assert [path["gt_path"] for path in paths] == ["000", "002"]
    assert list(entries("HR.lmdb")) == ["000", "002"]


def test_what_an_interrupted_run_knew_to_be_whole_goes_if_its_partner_is_broken(workdir, monkeypatch):
    make_pairs(Path("set"), 4)
    Path("set/LR/001.png").write_bytes(b"no image")
    monkeypatch.setattr(lmdb_file, "BATCH_FILES", 1)
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            prepare_lmdb(["set/HR"], ".", work=ALONE)
    done = prepare_lmdb(["set/HR", "set/LR"], ".", work=QUIET)
    assert (done.made, done.kept) == (4, 2)
    assert list(entries("HR.lmdb")) == list(entries("LR.lmdb")) == ["000", "002", "003"]


def test_an_existing_lmdb_that_holds_too_much_is_reported(workdir):
    make_pairs(Path("set"), 3)
    prepare_lmdb(["set/HR"], ".", work=QUIET)
    Path("set/LR/001.png").write_bytes(b"no image")
    done = prepare_lmdb(["set/HR", "set/LR"], ".", work=QUIET)
    assert (done.made, done.section["train"]["gt_size"]) == (2, 32)
    assert "HR.lmdb existed and holds 1 images that the others lack: recreate it with --overwrite" in done.notes


def test_nothing_is_left_if_all_is_broken(workdir):
    Path("set").mkdir()
    Path("set/a.png").write_bytes(b"no image")
    done = prepare_lmdb(["set"], "out", work=QUIET)
    assert (done.made, len(done.failed), done.section) == (0, 1, {})
    assert list(Path("out").iterdir()) == []


def test_files_are_stored_as_they_are(workdir):
    color = noise("set/color.bmp")
    noise("set/deep.png", dtype=np.uint16)
    cv2.imwrite("set/gray.png", color[:, :, 0])
    cv2.imwrite("set/alpha.png", np.dstack([color, color[:, :, 0]]))
    cv2.imwrite("set/photo.jpg", color)
    Image.fromarray(np.dstack([color, color[:, :, 0]]), "CMYK").save("set/cmyk.jpg")
    cv2.imwrite("set/float.tiff", color.astype(np.float32))
    done = prepare_lmdb(["set"], ".", work=QUIET)
    assert [each.split(": ")[1] for each in done.failed] == ["holds float32 numbers, expected 8 or 16 bits per channel"]
    assert done.notes == ["1 images have 16 bits (first deep.png); BasicSR reads the upper 8."]
    assert entries("set.lmdb") == {
        file.stem: file.read_bytes() for file in Path("set").iterdir() if file.stem != "float"
    }
    assert meta("set.lmdb") == [
        "alpha.png (24,24,4) 1", "cmyk.png (24,24,3) 1", "color.png (24,24,3) 1",
        "deep.png (24,24,3) 1", "gray.png (24,24,1) 1", "photo.png (24,24,3) 1",
    ]  # fmt: skip


def test_pairs_that_are_no_whole_multiples_are_reported(workdir):
    make_pairs(Path("set"), 3)
    noise("set/HR/001.png", 33)
    done = prepare_lmdb(["set/HR", "set/LR"], ".", work=QUIET)
    assert done.notes == [
        "1 images in HR.lmdb do not have exactly 2 times the sides of those in LR.lmdb (001); "
        "training refuses such pairs"
    ]
    done = prepare_lmdb(["set/LR", "set/HR"], "swapped", work=QUIET)
    assert "holds larger images than swapped/LR.lmdb: give the folder of HR images first" in done.notes[0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.b", "BasicSR ends the key .* at the first dot, and would not find a.b.png: rename"),
        ("ümlaut", "by ASCII names only, not ümlaut.png: rename"),
        ("line\nbreak", "by ASCII names only"),
    ],
)
def test_names_that_basicsr_would_not_find_are_refused(workdir, name, message):
    make_pairs(Path("set"), 2)
    Path("set/HR/001.png").rename(f"set/HR/{name}.png")
    with pytest.raises(PrepareError, match=message):
        prepare_lmdb(["set/HR"], "out", work=QUIET)
    assert not Path("out").exists()


def test_names_with_spaces_are_found(workdir):
    from basicsr.data.data_util import paths_from_lmdb
    from basicsr.utils.file_client import FileClient

    noise("set/my photo.png")
    prepare_lmdb(["set"], ".", work=QUIET)
    (key,) = paths_from_lmdb("set.lmdb")
    assert FileClient("lmdb", db_paths="set.lmdb").get(key) == Path("set/my photo.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["set/HR", "more/HR"], "several LMDBs would be named HR.lmdb: name them with --names"),
        (["set/HR", "set/few"], "only in set/HR: 001.png, 002.png, 003.png, 004.png. If names follow a rule"),
        (["set/HR", "set/LR", "--template", "{}x2"], "whose names do not follow the template {}x2: 000.png, 001.png"),
        (["set/HR", "set/LR", "--template", "x2"], "a template must contain {} once"),
        (["set/HR", *["--template", "{}"] * 2], "a template for each of the 1 folders"),
        (["set/HR", "--names", "a", "b"], "a name for each of the 1 folders, got 2"),
        (["set/HR", "--names", "a/b"], "names must be plain, without folders, got 'a/b'"),
        (["twins"], "a.bmp and a.png in twins would become the same file"),
        (["nowhere"], "folder nowhere does not exist"),
    ],
)
def test_mistakes_are_explained_before_anything_is_written(workdir, capsys, arguments, message):
    make_pairs(Path("set"), 5)
    make_pairs(Path("more"), 1)
    for file in ("set/few/000.png", "twins/a.png", "twins/a.bmp"):
        noise(file)
    assert cli.main(["prepare", "lmdb", "-o", "out", "-i", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not Path("out").exists()


def test_an_output_that_ends_in_lmdb_is_the_lmdb_itself(workdir, capsys):
    make_pairs(Path("set"), 3)
    for counts in ("3 files made, 0 existing", "0 files made, 3 existing"):
        assert cli.main(["prepare", "lmdb", "-i", "set/HR", "-o", "out/sub.lmdb", "--quiet"]) == 0
        printed = capsys.readouterr().out
        assert f"{counts} files kept: out/sub.lmdb\n" in printed
        assert [path.name for path in Path("out").iterdir()] == ["sub.lmdb"]
        assert len(meta("out/sub.lmdb")) == 3
    assert yaml.safe_load(printed[printed.index("datasets:") :])["datasets"]["train"]["dataroot_gt"] == "out/sub.lmdb"
    for more in (["set/LR"], ["--names", "a"]):
        assert cli.main(["prepare", "lmdb", "-o", "two.lmdb", "-i", "set/HR", *more]) == 2
        assert "two.lmdb ends in .lmdb, so it is the LMDB itself, of one folder" in capsys.readouterr().err
    assert not Path("two.lmdb").exists()


def test_a_full_disk_is_explained_and_the_next_run_continues(workdir, monkeypatch, capsys):
    make_pairs(Path("set"), 3)

    def full(self, values):
        raise lmdb.DiskError("mdb_txn_commit: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(lmdb_file.LmdbFile, "_commit", full)
        assert cli.main(["prepare", "lmdb", "-i", "set/HR", "-o", ".", "--quiet"]) == 2
    assert "No space left on device. Run the same command again to continue" in capsys.readouterr().err
    assert prepare_lmdb(["set/HR"], ".", work=QUIET).made == 3


def test_images_come_in_order_and_errors_are_values():
    seen = list(in_order(lambda number: number * number, range(50), 3))
    assert seen == [(number, number * number) for number in range(50)]
    assert isinstance(verify(Path("nowhere.png")), ImageError)
