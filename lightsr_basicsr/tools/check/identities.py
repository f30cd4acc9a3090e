"""Names that must be unique: those of data sets, and of the images that a run saves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from lightsr_basicsr.tools.check.context import Finding, Run
from lightsr_basicsr.tools.images import some


def check_identities(run: Run) -> Iterator[Finding]:
    """Yield sets that share a name, and images that a run would save under one name."""
    validated = [key for key in run.section("datasets") if str(key).split("_")[0] in ("val", "test")]
    names = {key: run.section("datasets", key).get("name") for key in validated}
    names = {key: name for key, name in names.items() if isinstance(name, str)}
    for name, keys in _shared(names).items():
        text = f"is {name!r}, as that of {', '.join(keys[:-1])}: their scores and images would be mixed"
        yield Finding(f"datasets.{keys[-1]}.name", text)
    for keys in _shared({key: name.casefold() for key, name in names.items()}).values():
        if len({names[key] for key in keys}) > 1:
            text = f"differs from that of {', '.join(keys[:-1])} by case alone: one folder on Windows and macOS"
            yield Finding(f"datasets.{keys[-1]}.name", text, False)
    if run.section("val").get("save_img") is True:
        yield from _check_images(run)


def _check_images(run: Run) -> Iterator[Finding]:
    """Yield images of one set, or in training of several sets, whose saved images would have one name."""
    folders: dict[str, str] = {}
    for key, seen in run.seen.items():
        if str(key).split("_")[0] == "train":
            continue
        stems = {path: Path(path).stem for path in seen.paths}
        same = [" and ".join(sorted(Path(path).name for path in paths)) for paths in _shared(stems).values()]
        if same:
            yield Finding(f"datasets.{key}", f"has images that would be saved under one name: {some(same)}")
        cases = _shared({stem: stem.casefold() for stem in set(stems.values())}).values()
        if cases:
            text = f"has names that differ by case alone, one file on Windows and macOS: {some(list(map(_and, cases)))}"
            yield Finding(f"datasets.{key}", text, False)
        twice = sorted(stem for stem in set(stems.values()) if folders.get(stem, key) != key)
        if run.is_train and twice:
            text = f"shares names with {folders[twice[0]]}, and training saves both into one folder: {some(twice)}"
            yield Finding(f"datasets.{key}", text, False)
        folders.update(dict.fromkeys(stems.values(), key))


def _and(names: Iterable[str]) -> str:
    return " and ".join(sorted(names))


def _shared(names: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the keys that have the same value, by that value."""
    found = defaultdict(list)
    for key, name in names.items():
        found[name].append(key)
    return {name: keys for name, keys in found.items() if len(keys) > 1}
