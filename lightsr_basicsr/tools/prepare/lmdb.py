"""Make an LMDB of each folder of images: one large file instead of many small ones.

Files are stored unchanged. Folders that belong together (HR and LR) get equal keys, by which BasicSR pairs them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from os.path import expanduser
from pathlib import Path

import lmdb
from tqdm import tqdm

from lightsr_basicsr.pictures.files import ImageError
from lightsr_basicsr.tools.images import some, spread
from lightsr_basicsr.tools.prepare.claims import read_record
from lightsr_basicsr.tools.prepare.jobs import ALL_CORES, Prepared, PrepareError, Work, in_order
from lightsr_basicsr.tools.prepare.lmdb_file import LmdbEntry, LmdbFile, listed, refuse_other_files
from lightsr_basicsr.tools.prepare.sections import gt_only, paired, training
from lightsr_basicsr.tools.prepare.sources import Verified, source_images, verify

SAMPLED = 8
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Target:
    """A folder, its LMDB, and its image files by key."""

    folder: Path
    path: Path
    files: Mapping[str, Path]

    def record(self) -> dict[str, str]:
        """Return the command and a hash of the files: of all sizes, and of the content of some."""
        mark = hashlib.sha256()
        for key in sorted(self.files):
            mark.update(f"{key} {self.files[key].stat().st_size}\n".encode())
        for key in spread(sorted(self.files), SAMPLED):
            mark.update(self.files[key].read_bytes())
        return {"command": "prepare lmdb", "files": mark.hexdigest()}


def prepare_lmdb(
    sources: Sequence[Path | str],
    out: Path | str,
    templates: Sequence[str] = (),
    names: Sequence[str] = (),
    work: Work = ALL_CORES,
) -> Prepared:
    """Make an LMDB of each folder in ``sources``; several folders must hold the same images, as HR and LR.

    An image that is broken in one folder is left out of all LMDBs, so that pairs stay whole.

    Args:
        sources (Sequence[Path | str]): Folders; if several, the HR images first.
        out (Path | str): Parent folder of the LMDBs. If it ends in .lmdb, the LMDB itself, of a single folder.
        templates (Sequence[str]): Names from those of the HR images, such as ``'{}x4'``: one for each folder, or for
            each but the first. Default: names are equal.
        names (Sequence[str]): Names of the LMDBs. Default: those of the folders.
        work (Work): Threads, overwriting, progress bar.

    Raises:
        PrepareError: If an argument is wrong, BasicSR could not read the keys, folders hold different images, or an
            existing LMDB holds others. Nothing is written then. Broken images are in the result.
    """
    folders, out = [Path(expanduser(source)) for source in sources], Path(expanduser(out))
    if out.suffix == ".lmdb":
        out, names = _single_target(folders, out, names)
    targets = _targets(folders, out, templates, names)
    _refuse_unreadable(targets)
    _refuse_unpaired(targets)
    existing = _existing(targets, work.overwrite)
    done = Prepared(kept=sum(map(len, existing.values())), folders=[each.path for each in targets])
    # An image that an existing LMDB lacks, since it was broken, must be left out of the new ones too.
    keys = set(targets[0].files).intersection(*existing.values())
    for key in sorted(set(targets[0].files) - keys):
        done.failed += _errors(_verify(targets, key))
    try:
        written = _write([each for each in targets if each.path not in existing], sorted(keys), done, work)
    except lmdb.Error as error:
        raise PrepareError(
            f"the LMDB could not be written: {error}. Run the same command again to continue."
        ) from error
    done.notes += [
        f"{path} existed and holds {len(keys - written)} images that the others lack: recreate it with --overwrite"
        for path in existing
        if keys - written
    ]
    if written:
        _add_sections(done, targets)
    return done


def _single_target(folders: Sequence[Path], out: Path, names: Sequence[str]) -> tuple[Path, list[str]]:
    """Return the parent folder and the name of the LMDB ``out``."""
    if len(folders) > 1 or names:
        raise PrepareError(
            f"{out} ends in .lmdb, so it is the LMDB itself, of one folder without --names: choose the folder for the "
            f"LMDBs as -o, such as '{out.parent}'."
        )
    return out.parent, [out.name]


def _targets(folders: Sequence[Path], out: Path, templates: Sequence[str], names: Sequence[str]) -> list[Target]:
    if len(templates) not in (0, len(folders) - 1, len(folders)):
        raise PrepareError(
            f"give a template for each of the {len(folders)} folders, or for each but the first, got {len(templates)}."
        )
    templates = [*["{}"] * (len(folders) - len(templates)), *templates]
    if names and len(names) != len(folders):
        raise PrepareError(f"give a name for each of the {len(folders)} folders, got {len(names)}.")
    names = [name.removesuffix(".lmdb") for name in names or [folder.resolve().name for folder in folders]]
    for name in names:
        if Path(name).name != name or name.startswith("."):
            raise PrepareError(f"names must be plain, without folders, got {name!r}.")
        if names.count(name) > 1:
            raise PrepareError(f"several LMDBs would be named {name}.lmdb: name them with --names, in the order of -i.")
    return [
        Target(folder, out / f"{name}.lmdb", _by_key(folder, template))
        for folder, name, template in zip(folders, names, templates, strict=True)
    ]


def _by_key(folder: Path, template: str) -> dict[str, Path]:
    if template.count("{}") != 1:
        raise PrepareError(f"a template must contain {{}} once, for the name of the HR image, got {template!r}.")
    before, after = template.split("{}")
    images = source_images(folder)
    strangers = [
        image.name
        for image in images
        if not (image.stem.startswith(before) and image.stem.endswith(after) and len(image.stem) >= len(template) - 1)
    ]
    if strangers:
        raise PrepareError(
            f"{folder} holds images whose names do not follow the template {template}: {some(strangers)}."
        )
    return {image.stem[len(before) : len(image.stem) - len(after)]: image for image in images}


def _refuse_unreadable(targets: Sequence[Target]) -> None:
    """Raise PrepareError for keys that BasicSR would not find."""
    for each in targets:
        dotted = [file.name for key, file in each.files.items() if "." in key]
        if dotted:
            raise PrepareError(
                f"{each.folder}: BasicSR ends the key of an image in an LMDB at the first dot, and "
                f"would not find {some(dotted)}: rename them, without inner dots."
            )
        foreign = [file.name for key, file in each.files.items() if not (key.isascii() and key.isprintable())]
        if foreign:
            raise PrepareError(
                f"{each.folder}: BasicSR finds images in an LMDB by ASCII names only, not {some(foreign)}: rename them."
            )


def _refuse_unpaired(targets: Sequence[Target]) -> None:
    first = targets[0]
    for each in targets[1:]:
        unpaired = [
            f"only in {one.folder}: {some([one.files[key].name for key in sorted(set(one.files) - set(other.files))])}"
            for one, other in ((first, each), (each, first))
            if set(one.files) - set(other.files)
        ]
        if unpaired:
            raise PrepareError(
                f"BasicSR pairs LMDBs by equal names, but {'; '.join(unpaired)}. If names follow a rule, give it as in "
                "--template '{}x4', once for each folder after the first. Convert unrelated folders one at a time."
            )


def _existing(targets: Sequence[Target], overwrite: bool) -> dict[Path, set[str]]:
    """Return the keys of the LMDBs that need not be made; PrepareError if they hold other images."""
    existing = {}
    for each in targets:
        if overwrite and each.path.exists():
            refuse_other_files(each.path)
        elif each.path.exists():
            existing[each.path] = set(listed(each.path))
            record = read_record(each.path)
            # BasicSR's own script leaves no record, and leaves no images out.
            same = existing[each.path] == set(each.files) if record is None else record == each.record()
            if not same:
                raise PrepareError(
                    f"{each.path} holds other images than {each.folder}: choose another -o or --names, or --overwrite."
                )
    return existing


def _verify(targets: Sequence[Target], key: str) -> list[Verified | ImageError]:
    return [verify(each.files[key]) for each in targets]


def _errors(results: Sequence[Verified | ImageError]) -> list[str]:
    return [str(result) for result in results if isinstance(result, ImageError)]


def _write(targets: Sequence[Target], keys: Sequence[str], done: Prepared, work: Work) -> set[str]:
    """Write the LMDBs of ``targets`` together; return the keys whose images are whole in all of them."""
    good, made = set(keys), 0
    with ExitStack() as stack:
        files = [stack.enter_context(closing(_begin(each))) for each in targets]
        missing = [key for key in keys if not all(key in file for file in files)]
        with tqdm(total=len(keys), initial=len(keys) - len(missing), desc="LMDB", disable=not work.progress) as bar:
            for key, results in in_order(partial(_verify, targets), missing, work.workers):
                bar.update()
                done.failed += _errors(results)
                if _errors(results):
                    good.discard(key)
                    continue
                for file, result in zip(files, results, strict=True):
                    if key not in file:
                        file.add(key, result.content, LmdbEntry(result.shape, result.bits))
                        made += 1
        for file in files:
            if good:
                file.finish(good)
            else:
                file.discard()
        done.notes += _depth_note(targets, files)
    done.made += made
    done.kept += len(good) * len(files) - made
    return good


def _begin(target: Target) -> LmdbFile:
    return LmdbFile(target.path, target.record(), {key: file.stat().st_size for key, file in target.files.items()})


def _depth_note(targets: Sequence[Target], files: Sequence[LmdbFile]) -> list[str]:
    deep = [
        target.files[key].name
        for target, file in zip(targets, files, strict=True)
        for key, entry in file.entries.items()
        if entry.bits > 8
    ]
    return [f"{len(deep)} images have 16 bits (first {min(deep)}); BasicSR reads the upper 8."] if deep else []


def _add_sections(done: Prepared, targets: Sequence[Target]) -> None:
    first, *others = targets
    if not others:
        done.section["train"] = gt_only(first.path.stem, first.path, backend="lmdb")
    if len(others) > 1:
        done.notes.append("an option file takes one of the sections, under the name train")
    high = listed(first.path)
    for index, other in enumerate(others, 1):
        section = paired(other.path.stem, first.path, other.path, backend="lmdb")
        low = {key: shape for key, shape in listed(other.path).items() if key in high}
        scale, notes = _scale(first.path, high, other.path, low)
        done.notes += notes
        if scale:
            section = training(section, scale, min(64, *(min(shape[:2]) for shape in low.values())))
        done.section["train" if len(others) == 1 else f"train_{index}"] = section


def _scale(
    high_path: Path, high: Mapping[str, Shape], low_path: Path, low: Mapping[str, Shape]
) -> tuple[int, list[str]]:
    """Return the scale of most pairs, 0 if LR is larger than HR, and notes if some pairs have another."""
    scale = Counter(round(high[key][0] / low[key][0]) for key in low).most_common(1)[0][0]
    if not scale:
        return 0, [f"{low_path} holds larger images than {high_path}: give the folder of HR images first"]
    odd = [key for key in sorted(low) if high[key][:2] != (low[key][0] * scale, low[key][1] * scale)]
    if not odd:
        return scale, []
    return scale, [
        f"{len(odd)} images in {high_path} do not have exactly {scale} times the sides of those in {low_path} "
        f"({some(odd)}); training refuses such pairs"
    ]
