"""The table of networks, ``official.yml``: official files, published numbers, and our measurements."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from lightsr_basicsr.tools.options import find_option_file, read_options

TABLE = Path(__file__).with_suffix(".yml")


@dataclass(frozen=True)
class OfficialNetwork:
    """One network at one scale; unknown numbers are None."""

    title: str  # name in the paper
    network: str  # registered name
    arguments: dict[str, Any] = field(hash=False)  # of the constructor, without the channel list of a pruned network
    options: list[str] = field(hash=False)  # option files, without .yml
    channels_of: str | None = None  # option file with the channel list
    file: str | None = None  # name of the official checkpoint in the option file
    released_as: str | None = None  # the authors' name of that file, if different
    sha256: str | None = None  # of the file: all 64 digits, or the first 16
    size: int | None = None  # of the file, in bytes
    source: str | None = None  # the authors' page
    place: str | None = None  # where the file is on that page
    address: str | None = None  # of the file itself
    licence: str | None = None  # as the authors' repository states it
    packaged: bool = False  # whether the file is in this package, beside this table
    published: str | None = None  # "PSNR / SSIM" on Set5, Y channel
    measured: str | None = None  # the same by this package with the official file, whole images
    published_parameters: str | None = None  # as published
    published_multi_adds: float | None = None  # in 10^9, for 1280x720 output or for `lr_side`
    lr_side: int | None = None  # side of the LR image that `published_multi_adds` is for
    note: str | None = None  # remark about the numbers

    @property
    def scale(self) -> int:
        """Output side over input side."""
        return self.arguments.get("upscale", self.arguments.get("scale", 1))

    @property
    def name(self) -> str:
        """Short name, from title and scale: ``IMDN_x4``, ``DRN_S30_x8``."""
        return re.sub(r"\W+", "_", self.title).strip("_") + f"_x{self.scale}"

    @property
    def in_package(self) -> Path | None:
        """The file in this package, None where the user has to fetch it."""
        return TABLE.with_name(self.file) if self.packaged else None

    def constructor_arguments(self) -> dict[str, Any]:
        """Return all arguments, with the channel list from its option file."""
        if self.channels_of is None:
            return self.arguments
        options = read_options(find_option_file(f"options/{self.channels_of}.yml"))
        return {**self.arguments, "channels": options["network_g"]["channels"]}


@cache
def official_networks() -> tuple[OfficialNetwork, ...]:
    """Return the rows of the table in its order.

    >>> [entry.file for entry in official_networks() if entry.title == "IMDN"]
    ['IMDN_x2.pth', 'IMDN_x3.pth', 'IMDN_x4.pth']
    """
    return tuple(OfficialNetwork(**row) for row in yaml.safe_load(TABLE.read_text(encoding="utf-8")))


def find_official(sha256: str) -> OfficialNetwork | None:
    """Return the official file with this SHA-256 (64 digits), None for any other file."""
    return next((entry for entry in official_networks() if entry.sha256 and sha256.startswith(entry.sha256)), None)
