"""Check the images behind a dataset section: folders, LMDBs, pairs, sizes, broken files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from copy import deepcopy
from os.path import expanduser, isdir  # unlike pathlib, with False for what cannot be a name
from pathlib import Path
from typing import Any

import lmdb
import numpy as np

from lightsr_basicsr.data.cached import find_cache_problem
from lightsr_basicsr.data.degraded_dataset import MultiScalePairedDataset
from lightsr_basicsr.data.hr_images import HRDataset, check_section
from lightsr_basicsr.data.lmdb_damage import lmdb_damage
from lightsr_basicsr.errors import short_message
from lightsr_basicsr.fields import declared
from lightsr_basicsr.pictures.files import is_text, reason
from lightsr_basicsr.pictures.pixels import PixelError
from lightsr_basicsr.tools.check.context import Seen
from lightsr_basicsr.tools.images import as_stored, examine, list_images, lost_in_reading, some, spread
from lightsr_basicsr.upscale.memory import available_memory

LOOKED_AT = 2000
DECODED = 32
IMAGES = "images"  # those that were decoded

Problem = tuple[str, str]
NO_KERNELS = (".type", "gives no kernels, of which the network's estimator learns: set type KernelBlindDataset")


def check_dataset(
    dataset: type,
    options: Mapping[str, Any],
    wanted: Collection[str] = (),
    needed: Collection[str] = (),
    seen: Seen | None = None,
) -> list[Problem]:
    """Return the problems of one dataset as (key, message); the key is '', or for example '.dataroot_lq'.

    Up to 2,000 evenly spread files of a folder are measured, and 32 of them decoded. If they have no problems, the
    dataset is built and its first and last items are loaded, which finds missing keys. A dataset class with a true
    attribute ``prepares_data`` makes its own folders, which may not exist yet: only the keys in its ``required_keys``
    (by phase) are checked.

    Args:
        dataset (type): The registered class.
        options (Mapping): Its section, with ``phase`` and ``scale``.
        wanted (Collection[str]): Keys of which each item must have one: the model's input.
        needed (Collection[str]): Keys of which each item must have all; ``gt`` must be ``scale`` times ``lq``.
        seen (Seen | None): Gets what was seen of it.
    """
    if prepares_data(dataset):
        return list(_check_prepared(dataset, options, needed))
    problems, sizes, seen = [], {}, seen or Seen()
    backend, listed = _backend(options), bool(options.get("meta_info_file") or options.get("meta_info"))
    # BasicSR writes `dataroot_flow: ~` for a folder that is not used.
    roots = sorted(key for key, root in options.items() if str(key).startswith("dataroot") and root is not None)
    home = {key: expanduser(options[key]) for key in roots if isinstance(options[key], str)}
    options = {**options, **home}  # BasicSR expands the home folder too
    for key in roots:
        found, sizes[key] = _check_root(options[key], backend, listed, seen.kinds)
        problems += [(f".{key}", message) for message in found]
    if not problems and not listed and sizes.get("dataroot_gt") and sizes.get("dataroot_lq"):
        # BasicSR pairs LMDBs by equal keys, whatever the template.
        template = "{}" if backend == "lmdb" else options.get("filename_tmpl", "{}")
        problems += _check_pairs(sizes["dataroot_gt"], sizes["dataroot_lq"], template, options)
    if not problems and not sizes.get("dataroot_lq"):
        problems = list(_check_crops(sizes.get("dataroot_gt", {}), options))
    seen.sizes = _wanted_sizes(sizes, options)
    return problems or list(_check_items(dataset, options, wanted, needed, seen))


def _check_prepared(dataset: type, options: Mapping[str, Any], needed: Collection[str]) -> Iterator[Problem]:
    for key in dataset.required_keys[options["phase"]]:
        if key not in options:
            yield f".{key}", f"is missing: {dataset.__name__} needs it"
    for key in ("dataroot_gt", "dataroot_lq"):  # which BasicSR expands, whether or not they are used
        if not isinstance(options.get(key), (str, type(None))):
            yield f".{key}", f"must be one folder, got {options[key]!r}"
    if not issubclass(dataset, MultiScalePairedDataset):
        yield from _check_levels([key for key in needed if key.startswith("lq_down")])
    if "kernel" in needed and not getattr(dataset, "draws_kernels", False):
        yield NO_KERNELS
    if not issubclass(dataset, HRDataset):
        return
    try:
        check_section(dataset, options, tuple(declared(dataset)))
    except ValueError as error:
        yield "", str(error)


def prepares_data(dataset: type) -> bool:
    """Return whether a dataset class makes its own folders."""
    return getattr(dataset, "prepares_data", False)


def _backend(options: Mapping) -> str:
    backend = options.get("io_backend")
    return str(backend.get("type", "disk")) if isinstance(backend, Mapping) else "disk"


def describe_seen(seen: Counter[str]) -> str:
    """Return the note on images that are read as something else than they are; '' if there are none."""
    lost = [f"{count} {'are' if name == 'gray' else 'have'} {name}" for name, count in seen.items() if name != IMAGES]
    return f"of {seen[IMAGES]} images looked at, {', '.join(lost)}: they are read as RGB of 8 bits" if lost else ""


def unwritable_names(options: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield folders with file names that OpenCV, which writes the outputs, dies of."""
    for key in sorted(key for key in options if str(key).startswith("dataroot")):
        folder = Path(expanduser(str(options[key])))
        names = [name for name in sorted(os.listdir(folder)) if not is_text(name)] if isdir(folder) else []
        if names:
            shown = some([ascii(name)[1:-1] for name in names])
            yield f".{key}", f"has file names that are not UTF-8, and OpenCV cannot write their outputs: rename {shown}"


def _check_root(
    root: Any, backend: str, listed: bool, seen: Counter[str]
) -> tuple[list[str], dict[str, tuple[int, int]]]:
    """Return problems of one folder or LMDB, and the (width, height) of its images by name.

    If a meta-info file lists the images, the folder may hold other files.
    """
    if not isinstance(root, str):
        return [f"must be one folder, got {root!r}"] if not isinstance(root, list) else [], {}
    path = Path(root)
    if not isdir(root):
        return [f"there is no folder {short_message(root)} (looked from {Path.cwd()})"], {}
    if backend == "lmdb":
        return _check_lmdb(path, seen)
    return _check_folder(path, listed, seen) if backend == "disk" else ([], {})


def _check_folder(path: Path, listed: bool, seen: Counter[str]) -> tuple[list[str], dict[str, tuple[int, int]]]:
    images, files = list_images(path), [file for file in path.iterdir() if file.is_file()]
    others = sorted({file.name for file in files if not file.name.startswith(".")} - {file.name for file in images})
    if not images:
        # Video sets have their frames in subfolders; building the dataset shows whether that is right.
        nested = any(file.is_dir() for file in path.iterdir())
        return [] if nested else [f"{path} holds no images ({len(others)} other files)"], {}
    problems = []
    if others and not listed:
        problems.append(f"{path} holds files that are not images, which BasicSR would read as images: {some(others)}")
    looked_at, sizes, broken = spread(images, LOOKED_AT), {}, []
    decoded = set(spread(looked_at, DECODED))
    for file in looked_at:
        try:
            sizes[file.name], stored = examine(file, decode=file in decoded)
            _count(stored, seen)
        except (OSError, ValueError, SyntaxError) as error:
            broken.append(f"{file.name} ({reason(error)})")
    if broken:
        problems.append(f"{path} holds broken images: {some(broken)}")
    # Names that were not measured still count when pairs are matched.
    return problems, {**dict.fromkeys((file.name for file in images), (0, 0)), **sizes}


def _count(stored: np.ndarray | None, seen: Counter[str]) -> None:
    if stored is not None:
        seen.update([IMAGES, *lost_in_reading(stored)])


def _check_lmdb(path: Path, seen: Counter[str]) -> tuple[list[str], dict[str, tuple[int, int]]]:
    if path.suffix != ".lmdb":
        return [f"{path} must end in .lmdb for io_backend lmdb"], {}
    meta = path / "meta_info.txt"
    if not meta.is_file():
        return [f"{path} has no meta_info.txt: was its creation interrupted? Create the LMDB again"], {}
    if damage := lmdb_damage(path):
        return [f"{path} {damage}. Create the LMDB again"], {}
    # `name.png (h,w,c) 1`; the name may contain spaces.
    lines = meta.read_text(encoding="utf-8", errors="replace").splitlines()
    names = [line.rsplit(" (", 1)[0] for line in lines if line.strip()]
    if not names:
        return [f"{meta} lists no images"], {}
    unread = []
    try:
        for name in spread(names, DECODED):
            stored = as_stored(_lmdb_value(path, name))
            _count(stored, seen)
            unread += [name] if stored is None else []
    except (lmdb.Error, PixelError) as error:
        return [f"{path} cannot be {'opened' if isinstance(error, lmdb.Error) else 'read'}: {error}"], {}
    if unread:
        return [f"{path} lists images that are missing or broken: {some(unread)}"], {}
    return [], dict.fromkeys(names, (0, 0))


def _lmdb_value(path: Path, name: str) -> bytes | None:
    # Through BasicSR's reader, because lmdb refuses to open a path twice in one process.
    from basicsr.utils.file_client import LmdbBackend

    environment = LmdbBackend(str(path))._client["default"]
    with environment.begin(write=False) as transaction:
        return transaction.get(name.split(".")[0].encode("ascii", "replace"))


def _check_pairs(gt: Mapping, lq: Mapping, template: str, options: Mapping) -> Iterator[Problem]:
    lq_by_stem = {Path(name).stem: size for name, size in lq.items()}
    try:
        pairs = {name: template.format(Path(name).stem) for name in gt}
    except (IndexError, KeyError, ValueError, AttributeError):
        yield ".filename_tmpl", f"must contain {{}} for the name of the GT image, got {template!r}"
        return
    single = [f"{name} (no {stem}.*)" for name, stem in pairs.items() if stem not in lq_by_stem]
    if single:
        yield ".dataroot_lq", f"has no LQ image for these of dataroot_gt: {some(single)}"
    extra = sorted(set(lq_by_stem) - set(pairs.values()))
    if extra:
        yield ".dataroot_gt", f"has no GT image for these of dataroot_lq: {some(extra)}"
    wrong = [
        message
        for name, stem in pairs.items()
        if stem in lq_by_stem and (message := _wrong_size(name, gt[name], lq_by_stem[stem], options))
    ]
    if wrong:
        yield "", f"pairs of the wrong size: {some(wrong)}"


def _wrong_size(name: str, gt: tuple[int, int], lq: tuple[int, int], options: Mapping) -> str:
    scale, patch = options.get("scale"), options.get("gt_size", 0)
    if not isinstance(scale, int) or not all((*gt, *lq)):
        return ""
    wanted = (lq[0] * scale, lq[1] * scale)
    training = options["phase"] == "train"
    # Validation crops a larger GT image; training does not.
    if (gt != wanted) if training else (gt[0] < wanted[0] or gt[1] < wanted[1]):
        return f"{name} GT {gt[0]}x{gt[1]}, expected {wanted[0]}x{wanted[1]} (LQ {lq[0]}x{lq[1]} times {scale})"
    if training and isinstance(patch, int) and min(gt) < patch:
        return f"{name} GT {gt[0]}x{gt[1]} is smaller than gt_size {patch}"
    return ""


def _check_crops(gt: Mapping, options: Mapping) -> Iterator[Problem]:
    """Yield HR images, without LR partners, that are smaller than a crop."""
    patch = options.get("gt_size")
    if options["phase"] != "train" or not isinstance(patch, int):
        return
    small = [f"{name} ({size[0]}x{size[1]})" for name, size in gt.items() if all(size) and min(size) < patch]
    if small:
        yield ".dataroot_gt", f"holds images smaller than gt_size {patch}: {some(small)}"


def _check_items(
    dataset: type, options: Mapping, wanted: Collection[str], needed: Collection[str], seen: Seen
) -> Iterator[Problem]:
    """Build the dataset and load its first and last items, as the run will."""
    built = None
    try:
        built = dataset(deepcopy(dict(options)))
        if not len(built):
            yield "", "is empty: its folder has no images outside subfolders"
            return
        if options.get("halves") and len(built) < 2:
            yield ".halves", "needs at least 2 images, one in each half, got 1: add images, or remove it"
            return
        if options.get("cache") and (problem := find_cache_problem(built, available_memory())):
            yield ".cache", problem
            return
        for index in {0, len(built) - 1}:
            item = built[index]
        seen.item, seen.paths = item, _paths(built)
        if isinstance(item, Mapping):  # else it is for a model of another plugin
            yield from _check_fed(item, wanted)
            yield from _check_needed(item, needed, options.get("scale"))
    except KeyError as error:
        yield f".{error.args[0]}", f"is missing: {dataset.__name__} needs it"
    except Exception as error:
        # Datasets of other plugins may raise any exception; the run would stop with it.
        text = " ".join(str(error).split())
        own = built is None and type(error) is ValueError and dataset.__module__.startswith("lightsr_basicsr.")
        # Messages of our constructors need no introduction.
        yield "", text if own else f"{dataset.__name__} cannot be read: {type(error).__name__}: {text}"


def _paths(dataset: Any) -> list[str]:
    """Return the files of whose names those of saved images are made, [] if they are unknown."""
    paths = getattr(dataset, "paths", None)
    paths = [path.get("lq_path") if isinstance(path, Mapping) else path for path in paths or ()]
    return [path for path in paths if isinstance(path, str)]


def _wanted_sizes(sizes: Mapping[str, Mapping], options: Mapping) -> dict[str, tuple[int, int]]:
    """Return (width, height) of the SR images, as far as the files of HR or LR images were measured."""
    factor, measured = 1, sizes.get("dataroot_gt")
    if not measured:
        factor, measured = options.get("scale"), sizes.get("dataroot_lq") or {}
    if not isinstance(factor, int):
        return {}
    return {name: (size[0] * factor, size[1] * factor) for name, size in measured.items() if all(size)}


def _check_fed(item: Mapping, wanted: Collection[str]) -> Iterator[Problem]:
    given = f"gives {', '.join(map(str, item))}, but the model"
    if wanted and not any(key in item for key in wanted):
        yield "", f"{given} needs {' or '.join(sorted(wanted))}: use another model_type"
    elif "degradation" in item and "lq" not in item and "degradation" not in wanted:
        yield "", f"{given} does not take degradation: use model_type LossDictModel"


def _check_levels(missing: Collection[str]) -> Iterator[Problem]:
    if missing:
        missed = f"gives no {' and no '.join(missing)}, and the model needs LR images of all levels"
        yield ".type", f"{missed}: set type MultiScalePairedDataset"


def _check_needed(item: Mapping, needed: Collection[str], scale: Any) -> Iterator[Problem]:
    missing = [key for key in needed if key not in item]
    yield from _check_levels([key for key in missing if key.startswith("lq_down")])
    if "kernel" in missing:
        yield NO_KERNELS
    if "gt" in missing:
        yield "", "gives no gt, and the model needs the HR image: add dataroot_gt"
    if not missing and needed and "lq" in item and isinstance(scale, int):
        high, low = (tuple(item[key].shape[1:]) for key in ("gt", "lq"))
        if high != tuple(scale * side for side in low):
            yield "", f"gives HR of {high[0]}x{high[1]} with LR of {low[0]}x{low[1]}: expected the {scale}-fold"
