"""Which part of its channels a pruned network has kept at each site, as numbers and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from basicsr.utils.registry import ARCH_REGISTRY

from lightsr_basicsr.checkpoints.identify import Identity
from lightsr_basicsr.errors import UserError, install_command
from lightsr_basicsr.tools.images import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARK = "made by basicsr info"  # in every picture, so that no other file is overwritten
MOST_PANELS = 8
COLORS = {"convolutions": "#0072B2", "shuffled": "#D55E00", "linear": "#009E73", "heads": "#CC79A7"}
LABELS = {"convolutions": "between convolutions", "shuffled": "before a pixel shuffle", "linear": "MLP",
          "heads": "attention, all heads"}  # fmt: skip
GRAY = "#dddddd"


class PictureError(UserError):
    """A picture that cannot be drawn or written."""


@dataclass(frozen=True)
class KeptChannels:
    """The channels at one site of a pruned network, and those of the dense network."""

    site: str
    kind: str
    kept: int
    dense: int


def kept_channels(identity: Identity) -> tuple[KeptChannels, ...]:
    """Return the channels at each site of a pruned network, () for another."""
    numbers = identity.arguments.get("channels")
    if identity.form != "pruned" or not numbers:
        return ()
    arguments = {name: value for name, value in identity.arguments.items() if name != "channels"}
    sites = ARCH_REGISTRY.get(identity.network)(**arguments).prunable_sites()
    if len(sites) != len(numbers):
        return ()
    return tuple(
        KeptChannels(site.name, site.kind, number, site.listed) for site, number in zip(sites, numbers, strict=True)
    )


def summary(channels: Sequence[KeptChannels]) -> str:
    """Return how many channels are left, and where the smallest part of them is; '' for none.

    >>> summary([KeptChannels("a", "linear", 8, 16), KeptChannels("b", "linear", 4, 16)])
    '12 of 32 (38 %) at 2 sites, the smallest part at b: 4 of 16'
    """
    if not channels:
        return ""
    kept, dense = (sum(getattr(each, name) for each in channels) for name in ("kept", "dense"))
    least = min(channels, key=lambda each: each.kept / each.dense)
    return (
        f"{kept} of {dense} ({kept / dense:.0%}) at {len(channels)} sites, the smallest part at {least.site}: "
        f"{least.kept} of {least.dense}"
    ).replace("%)", " %)")


def draw_channels(networks: dict[str, Sequence[KeptChannels]], path: Path) -> None:
    """Write a picture (PNG) with a panel for each network, by its title: a bar for every site.

    Raises:
        PictureError: If there are none or too many, the file is another one, or matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PictureError(f"A picture needs matplotlib: {install_command('benchmark')}") from error
    if not 1 <= len(networks) <= MOST_PANELS:
        raise PictureError(f"--plot draws 1 to {MOST_PANELS} pruned networks, got {len(networks)}: name others.")
    if path.suffix.lower() != ".png":
        raise PictureError(f"The picture's name must end in .png, got {path}.")
    if path.exists() and (path.is_dir() or MARK.encode() not in path.read_bytes()):
        raise PictureError(f"{path} exists and is no picture of this command: choose another name.")
    most = max(map(len, networks.values()))
    figure = Figure(figsize=(min(max(4 + 0.11 * most, 8), 16), 2.4 * len(networks) + 0.4), layout="constrained")
    panels = figure.subplots(len(networks), 1, squeeze=False)[:, 0]
    for axes, (title, channels) in zip(panels, networks.items(), strict=True):
        _draw_panel(axes, title, channels)
    panels[-1].set_xlabel("site, in the order of the channel list")
    bars = {label: bar for axes in panels for bar, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.25), "ncols": 5, "frameon": False}
    panels[-1].legend(bars.values(), bars.keys(), fontsize=8, **below)
    with whole_file(path) as part:
        figure.savefig(part, format="png", dpi=150, metadata={"Title": MARK})


def _draw_panel(axes: Axes, title: str, channels: Sequence[KeptChannels]) -> None:
    places = range(len(channels))
    axes.bar(places, [each.dense for each in channels], color=GRAY, width=0.9, label="dense")
    for kind in dict.fromkeys(each.kind for each in channels):
        shown = [(place, each.kept) for place, each in zip(places, channels, strict=True) if each.kind == kind]
        axes.bar(*zip(*shown, strict=True), color=COLORS[kind], width=0.9, label=LABELS[kind])
    axes.set_title(f"{title}: {summary(channels)}", fontsize=9, loc="left", parse_math=False)
    axes.set_ylabel("channels")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.01)
