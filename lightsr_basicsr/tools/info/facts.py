"""What is known of a network's file for those who publish it: from the file and from our table, nothing else."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY

from lightsr_basicsr.errors import UserError
from lightsr_basicsr.tools.files import checksum
from lightsr_basicsr.tools.info.describe import ExportedInfo, FileInfo
from lightsr_basicsr.weights.official import OfficialNetwork, find_official

PAPER = re.compile(r"(?:Papers?|Ours): (.+?)\.(?= [A-Z]|$)")


class CardError(UserError):
    """No card can be written."""


@dataclass(frozen=True)
class Facts:
    """What is known; None and empty where it is not."""

    file: str  # name, without folder
    size: int  # in bytes, including a separate file of weights
    sha256: str  # of that file alone
    network: str  # registered name
    arguments: dict[str, Any]
    scale: float
    form: str  # 'train', 'pruned', 'deploy', or the format of an exported file
    channels: tuple[int, int]  # in, out
    min_side: int
    parameters: int | None = None
    multi_adds: int | None = None
    lr_size: tuple[int, int] | None = None  # height and width for `multi_adds`
    precision: str | None = None  # of an exported file
    int8: dict[str, Any] | None = None  # cost of int8
    official: OfficialNetwork | None = None  # this file, or what it was exported from
    source: str | None = None  # what an exported file was made of
    same_network: tuple[OfficialNetwork, ...] = ()
    super_resolves: bool = True
    pools_globally: bool = False
    citation: str | None = None
    weights: tuple[str, str] | None = None  # a separate file of weights: name and SHA-256

    @property
    def title(self) -> str:
        """Name of the network as in its paper, the registered one for a file that is not official."""
        return self.official.title if self.official else self.network

    @property
    def exported(self) -> bool:
        """Whether it is an exported file."""
        return self.precision is not None

    @property
    def model_id(self) -> str:
        """Scale and name as databases of models write them.

        >>> Facts("a.pth", 1, "", "IMDN_RTC", {}, 2, "train", (3, 3), 1).model_id
        '2x-IMDN-RTC'
        """
        return f"{self.scale:g}x-" + re.sub(r"[^a-zA-Z0-9]+", "-", self.title).strip("-")


def facts_of(info: FileInfo | ExportedInfo) -> Facts:
    """Return what is known of a described file.

    Raises:
        CardError: If another program exported it, or its weights are missing.
    """
    return _of_checkpoint(info) if isinstance(info, FileInfo) else _of_exported(info)


def _of_checkpoint(info: FileInfo) -> Facts:
    identity = info.identity
    net = ARCH_REGISTRY.get(identity.network)
    return Facts(
        Path(info.path).name, info.size, info.sha256, identity.network, dict(identity.arguments), identity.scale,
        identity.form, (info.num_in_ch, identity.arguments.get("num_out_ch", info.num_in_ch)), info.min_side,
        info.parameters, info.multi_adds, info.lr_size, official=info.official, same_network=info.same_network,
        super_resolves=info.lr_size is not None, pools_globally=bool(getattr(net, "pools_globally", False)),
        citation=citation_of(identity.network),
    )  # fmt: skip


def _of_exported(info: ExportedInfo) -> Facts:
    found = info.metadata
    if found is None:
        raise CardError(
            f"{info.path}: expected a file of `basicsr export`, got one of another program, which does not say what it "
            "holds: write the card of its checkpoint."
        )
    path = Path(info.path)
    weights = path.with_suffix(".bin") if info.format in ("openvino", "ncnn") else None
    if weights is not None and not weights.is_file():
        raise CardError(f"{path}: its weights, {weights}, are missing: copy both files together.")
    return Facts(
        path.name, info.size, checksum(path), found.network, dict(found.arguments), found.scale, info.format,
        (found.num_in_ch, found.num_out_ch), found.min_side, precision=found.precision, int8=found.int8,
        official=find_official(found.sha256) if found.sha256 else None, source=found.source,
        pools_globally=found.pools_globally, citation=citation_of(found.network),
        weights=weights and (weights.name, checksum(weights)),
    )  # fmt: skip


def citation_of(network: str) -> str | None:
    """Return the paper that the file of a registered network names, None if it names none.

    >>> import lightsr_basicsr.archs
    >>> citation_of("IMDN").split(", ")[0]
    'Hui et al.'
    """
    net = ARCH_REGISTRY.get(network) if network in ARCH_REGISTRY else None
    text = " ".join((getattr(sys.modules.get(getattr(net, "__module__", "")), "__doc__", None) or "").split())
    found = PAPER.search(text)
    return found[1] if found else None
