"""The context of a check: options, model, networks and state of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from basicsr.utils.registry import MODEL_REGISTRY
from torch import nn

from lightsr_basicsr.models.contract import ModelContract, contract_of
from lightsr_basicsr.registry import look_up
from lightsr_basicsr.tools.check.findings import section_of


@dataclass(frozen=True)
class Run:
    """A run that is checked before it starts, or one stage of it.

    Attributes:
        options (Mapping): Content of the option file, overrides applied.
        is_train (bool): Whether it is a training or a test.
        state (Path | None): The training state from which it resumes.
        networks (dict): The networks that could be built, by their keys.
    """

    options: Mapping[str, Any]
    is_train: bool
    state: Path | None = None
    networks: dict[str, nn.Module] = field(default_factory=dict)

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

    def section(self, *keys: str) -> Mapping[str, Any]:
        """Return the section under ``keys``, empty if it is missing or not a section."""
        return section_of(self.options, *keys)
