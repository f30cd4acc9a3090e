"""The context of a check (options, model, networks and state of a run), and its findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from basicsr.utils.registry import MODEL_REGISTRY
from torch import nn

from lightsr_basicsr.checkpoints import CheckpointError
from lightsr_basicsr.checkpoints.states import as_saved
from lightsr_basicsr.models.contract import ModelContract, contract_of
from lightsr_basicsr.registry import look_up


@dataclass(frozen=True)
class Finding:
    """One thing found in an option file: dotted path, message, whether it stops the run, and is a key nobody reads."""

    where: str
    message: str
    fatal: bool = True
    unread: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {'' if self.fatal else '(warning) '}{self.message}"


@dataclass
class Seen:
    """What the check saw of a data set: an item, the sizes of the SR images that it asks for, images."""

    item: Any = None
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)  # (width, height), by the name of the file
    paths: list[str] = field(default_factory=list)  # those that the data set reads; their stems name saved images
    kinds: Counter[str] = field(default_factory=Counter)  # the decoded `images`, those of `16 bits` and so on


@dataclass(frozen=True)
class Run:
    """A run that is checked before it starts, or one stage of it."""

    options: Mapping[str, Any]  # content of the option file, overrides applied
    is_train: bool
    state: Path | None = None  # the training state from which it resumes
    networks: dict[str, nn.Module] = field(default_factory=dict)  # those that could be built, by their keys
    seen: dict[str, Seen] = field(default_factory=dict)  # data sets without problems, by their keys

    @cached_property
    def model(self) -> type | None:
        """The registered class of ``model_type``, None for an unknown name."""
        return look_up(MODEL_REGISTRY, self.options.get("model_type"))

    @cached_property
    def contract(self) -> ModelContract:
        """The requirements of the model on an option file."""
        return contract_of(self.model)

    @cached_property
    def sound_options(self) -> Mapping[str, Any]:
        """The options, with empty sections where they are missing or not sections; for contracts."""
        sets = {key: self.section("datasets", key) for key in self.section("datasets")}
        return {**self.options, "datasets": sets, "path": self.section("path"), "train": self.section("train")}

    @cached_property
    def saved_as(self) -> Path | None:
        """The state's path with the name that the run gave it; as it is if that cannot be read."""
        try:
            return self.state and as_saved(self.state)
        except (CheckpointError, OSError, ValueError):  # also a path that no file can have
            return self.state

    def section(self, *keys: str) -> Mapping[str, Any]:
        """Return the section under ``keys``, empty if it is missing or not a section."""
        section = self.options
        for key in keys:
            section = section[key] if isinstance(section.get(key), Mapping) else {}
        return section
