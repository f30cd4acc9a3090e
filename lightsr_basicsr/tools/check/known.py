"""The fields of an option file, as those who read it declare them; and of BasicSR's keys, what the table says."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache

from lightsr_basicsr import allocator, plugins
from lightsr_basicsr.data import cached, readable
from lightsr_basicsr.fields import (
    Field,
    anything,
    count,
    declared,
    flag,
    lineage,
    number,
    one_of,
    section,
    several,
    text,
)
from lightsr_basicsr.models.kept_checkpoints import OPTIONS as KEPT
from lightsr_basicsr.pictures import as_read
from lightsr_basicsr.runtimes import validation
from lightsr_basicsr.tools.check.basicsr_fields import FIELDS
from lightsr_basicsr.tools.check.basicsr_keys import keys_of_class, keys_of_pipeline

# What `basicsr` itself reads: `tools.run.compare` the comparison, and what runs the network in a test.
OF_COMMAND: dict[str, Field] = {
    "extends": text(
        "The option file that this one starts from, by its path from this file, or a bundled one: sections are merged, "
        "`~` removes an inherited key."
    ),
    "datasets.*.sigmas": several(
        "Makes one set of each number, `val_1`, `val_2` ...: `sigma` is the number, and `{sigma}` in texts becomes it.",
        number(),
    ),
    "comparison": section("Compares the network with bicubic interpolation: a table and a picture.", null=True),
    "comparison.dataset": one_of(
        "Key in `datasets` of the set, or of several.",
        text(),
        several("", text()),
        required="always",
    ),
    "comparison.crop_border": count("Pixels left out at each side.", least=0, required="always"),
    "comparison.test_y_channel": flag("Whether the luma channel alone is compared.", required="always"),
    **allocator.OPTIONS,
    **plugins.OPTIONS,
    **KEPT,
    **validation.OPTIONS,
    **as_read.OPTIONS,
    **{f"datasets.*.{key}": field for key, field in {**readable.OPTIONS, **cached.OPTIONS}.items()},
    "datasets.*.halves": flag(
        "Whether each training batch holds as many images of the first half of the set as of the second, in this "
        "order: ChannelSearchModel trains weights on the one and channel numbers on the other.",
        default=False,
    ),
    "exact_resume": flag(
        "Whether training states hold the pool of image pairs of second-order degradations, as exact resumption needs.",
        default=True,
    ),
    "train.max_norm": number(
        "Largest norm of the gradients of an optimizer; larger ones are scaled down. `~` for no limit.",
        above=0,
        null=True,
    ),
    "train.nan_patience": count(
        "Steps in a row with NaN or Inf in loss or gradients, which are skipped, before the run ends; 0 never ends it.",
        least=0,
        null=True,
        default=10,
    ),
}
ENDLESS = {key: field for key, field in FIELDS.items() if key.endswith("*")}
ANY_SET = "datasets.*."


@cache
def fields_of_model(model: type | None) -> dict[str, Field]:
    """Return the fields of an option file with this ``model_type`` by dotted key; None for an unknown one."""
    keys = keys_of_pipeline() | (keys_of_class(model) if model else set())
    typed = {key: find(FIELDS, key) or anything() for key in keys}
    return {**ENDLESS, **typed, **OF_COMMAND, **(declared(model) if model else {})}


@cache
def fields_of_set(dataset: type | None) -> dict[str, Field]:
    """Return the fields of a section in ``datasets`` with this ``type`` by key; None for an unknown one."""
    pipeline = {key.removeprefix(ANY_SET) for key in keys_of_pipeline() if key.startswith(ANY_SET)}
    keys = pipeline | (keys_of_class(dataset) if dataset else set())
    typed = {key: FIELDS.get(f"{ANY_SET}{key}") or anything() for key in keys}
    ours = {key.removeprefix(ANY_SET): field for key, field in OF_COMMAND.items() if key.startswith(ANY_SET)}
    return {**typed, **ours, **(declared(dataset) if dataset else {})}


def find(fields: Mapping[str, Field], key: str) -> Field | None:
    """Return the field of ``key``, which may be one of the keys that end in ``*``; None if there is none."""
    if key in fields:
        return fields[key]
    return next((field for name, field in fields.items() if name.endswith("*") and fnmatchcase(key, name)), None)


def within(fields: Mapping[str, Field], section: str) -> dict[str, Field]:
    """Return the fields of a section, '' for the top level, by the keys in it."""
    start = f"{section}." if section else ""
    keys = [key for key in fields if key.startswith(start) and "." not in key.removeprefix(start)]
    return {key.removeprefix(start): fields[key] for key in keys}


def sources_known(cls: type | None) -> bool:
    """Return whether all keys that a class reads are known: it and its bases are of BasicSR or of this package.

    A class of another plugin may read keys in a way that its source does not show.
    """
    ours = ("basicsr.", "lightsr_basicsr.", "torch.", "builtins", "typing", "abc")
    return cls is not None and all(f"{each.__module__}.".startswith(ours) for each in lineage(cls))
