"""Check file names: which BasicSR cannot use, and which LR file belongs to which HR file."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator

from lightsr_basicsr.pictures.files import SUFFIXES
from lightsr_basicsr.tools.prepare.check.files import DatasetFinding, Facts, Source
from lightsr_basicsr.tools.prepare.jobs import PrepareError

# Usual suffixes of the name that HR and LR share: 0001x4, 0001x3BD, baby_HR, img_001_SRF_4_LR.
ADDED = re.compile(
    r"(?:(?:[_\-. ]+|(?<=\d))(?:[HL][RQ]|GT|BI|BD|DN|BICUBIC|SRF_\d)|[_\-. ]*X\d+)+$", flags=re.IGNORECASE
)

Pair = tuple[str, str]


def check_names(source: Source) -> Iterator[DatasetFinding]:
    """Yield findings on names that BasicSR, or other sub-commands, cannot handle."""
    if source.environment is not None:
        for key, count in Counter(source.names).items():
            if count > 1:
                yield source.finding(key, f"listed {count} times: BasicSR reads it {count} times")
        return
    by_stem: dict[str, list[str]] = defaultdict(list)
    for name in source.names:
        stem = source.split(name)[0]
        by_stem[stem.lower()].append(name)
        for message in _odd_characters(name, stem):
            yield source.finding(name, message)
    for first, *others in by_stem.values():
        for name in others:
            message = f"differs from {first} only in ending or case: outputs of one overwrite those of the other"
            yield source.finding(name, message)


def _odd_characters(name: str, stem: str) -> Iterator[str]:
    if " " in name:
        yield "contains a space: BasicSR's meta_info files end a name there"
    elif any(each.isspace() for each in name):
        yield "contains a line feed or another space: BasicSR's meta_info files end a name there"
    if any(each.isascii() and not each.isprintable() for each in name):
        yield "contains control characters, which terminals obey and lists of files cannot hold"
    if "." in stem:
        yield f"contains a dot: BasicSR cuts keys of an LMDB there, to '{stem.split('.')[0]}'"
    if not name.isascii():
        yield "contains characters beyond ASCII, which BasicSR's LMDBs cannot store"


def check_duplicates(looked: list[Facts]) -> Iterator[DatasetFinding]:
    """Yield a finding for each image that equals another one of the folder, pixel by pixel."""
    seen: dict[str, Facts] = {}
    for facts in looked:
        first = seen.setdefault(facts.same_pixels, facts)
        if facts.size and first is not facts:
            what = "the same file as" if facts.same_bytes == first.same_bytes else "the same pixels as"
            yield facts.finding("duplicates", f"{what} {first.name}")


def guess_template(hr: Source, lr: Source) -> tuple[str, int]:
    """Return the template, HR name and a suffix, that most LR names follow, and how many do."""
    stems = {hr.split(name)[0] for name in hr.names}
    endings: Counter[str] = Counter()
    for name in lr.names:
        stem = lr.split(name)[0]
        endings.update(stem[cut:] for cut in range(1, len(stem) + 1) if stem[:cut] in stems)
    # Of equally frequent ones, the shorter cannot contain part of an HR name.
    ending, count = min(endings.items(), key=lambda item: (-item[1], len(item[0])), default=("", 0))
    return "{}" + ending.replace("{", "{{").replace("}", "}}"), count


def pair_names(hr: Source, lr: Source, template: str) -> tuple[list[Pair], list[DatasetFinding]]:
    """Return the pairs of HR and LR names, and findings on the others.

    Names that differ only in ending, case or a usual suffix count as a pair too, so that the images can be compared;
    BasicSR does not pair them, as the findings report.

    Args:
        hr (Source): Folder or LMDB of HR images.
        lr (Source): The same of LR images.
        template (str): LR name from HR name, without suffix; ``'{}'`` for LMDBs.

    Raises:
        PrepareError: If the template is malformed, or fits no file where another one would.
    """
    _check_template(template)
    wanted = {name: _partner(hr, name, template) for name in dict.fromkeys(hr.names)}
    found = set(lr.names)
    pairs = [(name, partner) for name, partner in wanted.items() if partner in found]
    if not pairs and hr.environment is None:
        _suggest_template(hr, lr, template)
    without = {name: partner for name, partner in wanted.items() if partner not in found and _needs_partner(hr, name)}
    spare = sorted(found - set(wanted.values()))
    near = _near(hr, lr, without, spare)
    findings = [_unpaired(hr, lr, name, partner, near.get(name)) for name, partner in without.items()]
    unpaired = [name for name in spare if name not in near.values() and _needs_partner(lr, name)]
    findings += [lr.finding(name, f"has no partner in {hr.root}", error=True) for name in unpaired]
    return sorted([*pairs, *near.items()]), findings


def _check_template(template: str) -> None:
    try:
        usable = "name" in template.format("name") and template.format("0") != template.format("1")
    except (IndexError, KeyError, ValueError, AttributeError):
        usable = False
    if not usable:
        raise PrepareError(
            f"--template must contain {{}} for the name of the HR image, as in '{{}}x4', got {template!r}."
        )


def _needs_partner(source: Source, name: str) -> bool:
    """Return whether to report a missing partner; files that are not images are reported as such."""
    return source.environment is not None or source.split(name)[1].lower() in SUFFIXES


def _partner(hr: Source, name: str, template: str) -> str:
    stem, ending = hr.split(name)
    return template.format(stem) + ending


def _suggest_template(hr: Source, lr: Source, template: str) -> None:
    guess, count = guess_template(hr, lr)
    if count and guess != template:
        raise PrepareError(
            f"no name in {lr.root} follows from an HR image by the template {template!r}; "
            f"{guess!r} fits {count}: give --template {guess!r}."
        )


def _near(hr: Source, lr: Source, without: dict[str, str], spare: list[str]) -> dict[str, str]:
    """Return the most similar spare name for names without partner, each one once."""
    by_plain = {_plain(lr.split(name)[0]): name for name in reversed(spare)}
    near = {}
    for name, partner in without.items():
        plain = next((key for key in map(_plain, (lr.split(partner)[0], hr.split(name)[0])) if key in by_plain), None)
        if plain is not None:
            near[name] = by_plain.pop(plain)
    return near


def _plain(stem: str) -> str:
    return (ADDED.sub("", stem) or stem).lower()


def _unpaired(hr: Source, lr: Source, name: str, partner: str, near: str | None) -> DatasetFinding:
    message = f"has no partner {partner} in {lr.root}"
    if near is not None:
        (stem, ending), (near_stem, near_ending) = lr.split(partner), lr.split(near)
        if stem == near_stem:
            message += f"; BasicSR does not pair it with {near}, since the ending differs: store both in one format"
        elif partner.lower() == near.lower():
            message += f"; did you mean {near}? Case matters: rename it"
        elif hr.environment is not None:
            message += f"; did you mean {near}? BasicSR pairs LMDBs by equal keys: make it again with those of HR"
        else:
            message += (
                f"; did you mean {near}? Rename it{'' if ending == near_ending else f' and store it as {ending}'}"
            )
    return hr.finding(name, message, error=True)
