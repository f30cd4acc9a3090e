"""List images with their sizes, for BasicSR's datasets to read part of a folder or several folders."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from os.path import expanduser
from pathlib import Path

from tqdm import tqdm

from lightsr_basicsr.pictures.files import ImageError
from lightsr_basicsr.tools.images import some, whole_file
from lightsr_basicsr.tools.prepare.claims import same_folder
from lightsr_basicsr.tools.prepare.jobs import ALL_CORES, Prepared, PrepareError, Work, in_order
from lightsr_basicsr.tools.prepare.sections import common_root, gt_only, paired, training
from lightsr_basicsr.tools.prepare.sources import source_images, verify

SCALE = 4
LQ = "FOLDER_OF_LR_IMAGES"


def prepare_meta(
    sources: Sequence[Path | str],
    out: Path | str,
    root: Path | str | None = None,
    work: Work = ALL_CORES,
) -> Prepared:
    """List the images in ``sources`` as lines ``name.png (height,width,channels)``; broken ones are left out.

    Args:
        sources (Sequence[Path | str]): Folders of images.
        out (Path | str): The list, a text file.
        root (Path | str | None): Folder that names are relative to. None: a single folder itself, or the innermost
            common parent of several.
        work (Work): Threads, overwriting, progress bar.

    Raises:
        PrepareError: If an argument is wrong, BasicSR could not read the names, or ``out`` lists other images.
    """
    folders, out = [Path(expanduser(source)) for source in sources], Path(expanduser(out))
    single = len(folders) == 1 and root is None
    base = folders[0] if single else Path(expanduser(root)) if root else common_root(folders)
    files = _names(folders, base)
    _check(files, folders, out)
    done = Prepared(folders=[out])
    listed = None if work.overwrite or not out.exists() else _listed(out, files)
    missing = [name for name in files if name not in (listed or {})]
    lines = {}
    with tqdm(total=len(files), initial=len(files) - len(missing), desc="list", disable=not work.progress) as bar:
        for name, result in in_order(lambda name: verify(files[name]), missing, work.workers):
            bar.update()
            if isinstance(result, ImageError):
                done.failed.append(str(result))
            elif listed is not None:
                raise PrepareError(f"{out} exists and lacks {name}: choose another -o, or --overwrite.")
            else:
                lines[name] = f"{name} ({','.join(map(str, result.shape))})\n"
    _write(lines, out, done, kept=listed is not None)
    done.notes += _encoding_note(list(files))
    if listed or lines:
        _add_section(done, out, base, single)
    return done


def _names(folders: Sequence[Path], base: Path) -> dict[str, Path]:
    """Return the images by their names in the list."""
    files = {}
    for folder in folders:
        images = source_images(folder)
        # Links are not followed: a dataset is often assembled from links to folders elsewhere.
        inner = Path(os.path.relpath(folder, base))
        if ".." in inner.parts:
            raise PrepareError(f"root must contain all folders, but {folder} is not in {base}.")
        for image in images:
            name = (inner / image.name).as_posix()
            if name in files:
                raise PrepareError(f"{folder} is given twice.")
            files[name] = image
    return files


def _check(files: Mapping[str, Path], folders: Sequence[Path], out: Path) -> None:
    spaced = [name for name in files if any(letter.isspace() for letter in name)]
    if spaced:
        raise PrepareError(
            f"BasicSR ends the name of an image at the first space of a line, and would not find "
            f"{some(spaced)}: rename them, without spaces."
        )
    if out.is_dir():
        raise PrepareError(f"{out} is a folder; -o must be the file to write, such as {out / 'meta_info.txt'}.")
    if any(same_folder(out.parent, folder) for folder in folders):
        raise PrepareError(f"{out} would lie among the images and be read as one: choose another -o.")


def _listed(out: Path, files: Mapping[str, Path]) -> set[str]:
    """Return the names in an existing list; PrepareError if it lists others than ``files``."""
    try:
        lines = out.read_text(encoding="utf-8").splitlines()
    except ValueError as error:
        raise PrepareError(f"{out} exists and is not a list of images ({error}): choose another -o.") from error
    names = {line.strip().split(" ")[0] for line in lines}
    others = sorted(names - set(files))
    if others:
        raise PrepareError(f"{out} exists and lists other images: {some(others)}: choose another -o, or --overwrite.")
    return names


def _write(lines: Mapping[str, str], out: Path, done: Prepared, kept: bool) -> None:
    done.kept = int(kept)
    if not lines:
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with whole_file(out) as part:
            part.write_text("".join(lines.values()), encoding="utf-8")
    except UnicodeError as error:
        raise PrepareError(f"{out} could not be written: {error}. Rename that file.") from error
    done.made = 1
    done.notes.append(f"{len(lines)} images are listed")


def _encoding_note(names: Sequence[str]) -> list[str]:
    foreign = [name for name in names if not name.isascii()]
    if not foreign:
        return []
    return [
        f"{len(foreign)} names are not ASCII (first {foreign[0]}): the list is UTF-8, but BasicSR "
        "reads it in the encoding of the system, which may differ on Windows"
    ]


def _add_section(done: Prepared, out: Path, base: Path, single: bool) -> None:
    name = base.resolve().name
    if single:
        section = {**paired(name, base, LQ), "meta_info_file": str(out)}
        done.section["train"] = training(section, SCALE)
        done.notes.append(
            f"set dataroot_lq to the folder of LR images; gt_size is for x{SCALE}. SecondOrderDataset reads the list "
            "as meta_info"
        )
    else:
        done.section["train"] = gt_only(name, base, out)
