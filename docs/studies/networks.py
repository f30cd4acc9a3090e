"""Write the tables of networks, the list of official files, and the plot, from ``official.yml``.

``python docs/studies/networks.py``; the plot needs matplotlib (the extra ``docs``), DAT-DR needs spandrel (the extra
``dat``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, NamedTuple

from torch import nn

import lightsr_basicsr  # noqa: F401  makes BasicSR importable, and registers the networks
from lightsr_basicsr.tools.complexity import count_multi_adds, count_parameters, hd_lr_size
from lightsr_basicsr.weights.official import OfficialNetwork, official_networks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
NETWORKS_PAGE = ROOT / "docs" / "networks.md"
FILES_README = ROOT / "experiments" / "pretrained_models" / "README.md"
PLOT = ROOT / "docs" / "networks.png"

FAMILY_COLUMNS = ("networks", "scales", "parameters at x4", "published", "measured", "paper")
NETWORK_COLUMNS = (
    "network", "scale", "parameters", "multi-adds, G", "published", "Set5 published", "Set5 measured", "official file",
    "options",
)  # fmt: skip
FILE_COLUMNS = (
    "network", "name", "file", "released as", "option file", "sha256 (first 16)", "parameters", "Set5 published",
    "Set5 measured",
)  # fmt: skip
NOTHING = "-"


class Family(NamedTuple):
    """A row of the README: its label, the titles in ``official.yml`` it sums up, and its paper.

    ``remark`` says what is special about the published numbers.
    """

    label: str
    titles: tuple[str, ...]
    paper: str
    remark: str = ""


FAMILIES = (
    Family("IMDN", ("IMDN",), "[ACM MM 2019](https://arxiv.org/abs/1909.11856)"),
    Family("FDIWN, FDIWN-M", ("FDIWN", "FDIWN-M"), "[AAAI 2022](https://arxiv.org/abs/2112.08655)"),
    Family("DDistill-SR, deployed", ("DDistill-SR",), "[TMM 2022](https://arxiv.org/abs/2312.14551)"),
    Family("KDSR M, L", ("KDSR-S M", "KDSR-S L"), "[ICLR 2023](https://arxiv.org/abs/2211.16928)", " (blurred LR)"),
    Family("DRN-S, DRN-L", ("DRN-S", "DRN-L"), "[CVPR 2020](https://arxiv.org/abs/2003.07018)"),
    Family("DRC: DRN-S30, S50, S70", ("DRN-S30", "DRN-S50", "DRN-S70"), "[DRC](https://arxiv.org/abs/2207.07929)"),
    Family(
        "SwinIR-DR and light, DAT-DR",
        ("SwinIR-DR", "SwinIR-light-DR", "SwinIR-light-DRC", "DAT-DR"),
        "[DRC](https://arxiv.org/abs/2207.07929)",
    ),
    Family(
        "DCLS, DCLS-DRC",
        ("DCLS", "DCLS, anisotropic", "DCLS-DRC"),
        "CVPR 2022, [DRC](https://arxiv.org/abs/2207.07929)",
    ),
)
TEXT_WIDTH = 120

# Their published numbers are for blurred images.
BLIND = ("BlindSR_ST", "BlindSR_TA", "DCLS")
COLORS = {
    "IMDN": "#0072b2",
    "FDIWN": "#d55e00",
    "FDIWN_M": "#d55e00",
    "DDistill_SR": "#009e73",
    "DRN": "#7b4fa3",
    "SwinIR_DR": "#b8860b",
    "DAT_DR": "#c2185b",
    "TinySR": "#444444",
}
GRAY = "#8a8a8a"
# Labels stand to the right of their markers; these to the left.
LEFT = ("DDistill-SR", "DRN-L", "DRN-S30", "SwinIR-DR", "SwinIR-light-DRC", "DAT-DR")
ABOVE = ("IMDN",)
MARKER_AREA = 45  # square points per million parameters
CAPTION = (
    "Multiply-adds: counted by this package; convolutions, linear layers and matrix products. Marker area: parameters.",
    "FDIWN's published multiply-adds leave out its weight-normalised convolutions. KDSR and DCLS: see their pages.",
)


@cache
def build(entry: OfficialNetwork) -> nn.Module:
    """Return the network of an entry on the ``meta`` device; all weights together are 0.9 GB."""
    from basicsr.utils.registry import ARCH_REGISTRY  # here, because a linter sorts it above lightsr_basicsr

    return ARCH_REGISTRY.get(entry.network)(**entry.constructor_arguments()).to("meta")


@cache
def parameters(entry: OfficialNetwork) -> int:
    """Return the number of parameters."""
    return count_parameters(build(entry))


@cache
def multi_adds(entry: OfficialNetwork, lr_side: int | None = None) -> float:
    """Return the multiply-adds in 10^9, for a 1280x720 output or for a square LR image."""
    height, width = (lr_side, lr_side) if lr_side else hd_lr_size(entry.scale)
    return count_multi_adds(build(entry), height, width) / 1e9


def family_table() -> str:
    """Return the README's table of networks, one row per family; PSNR in dB on Set5 x4."""
    return "\n".join([*_head(FAMILY_COLUMNS), *map(_family_row, FAMILIES)])


def networks_table() -> str:
    """Return the table of networks with its footnotes, one row per network and scale."""
    notes: dict[str, int] = {}
    rows = [_network_row(group, notes) for group in _same_networks()]
    numbered = " ".join(f"<sup>{number}</sup> {sentence}" for sentence, number in notes.items())
    return "\n".join([*_head(NETWORK_COLUMNS), *rows, "", *wrap(numbered, TEXT_WIDTH)])


def files_table() -> str:
    """Return the table of official files, and where the authors published them."""
    files = [entry for entry in official_networks() if entry.file]
    titles: dict[str, list[str]] = {}
    for entry in files:
        titles.setdefault(entry.source or "unknown", []).append(entry.title)
    licences = {entry.source: entry.licence or "not stated" for entry in files}
    sources = [
        f"- {'; '.join(dict.fromkeys(names))}: {source} (licence: {licences.get(source, 'unknown')})"
        for source, names in titles.items()
    ]
    return "\n".join([*_head(FILE_COLUMNS), *map(_file_row, files), "", "Sources:", "", *sources])


def _family_row(family: Family) -> str:
    members = [entry for entry in official_networks() if entry.title in family.titles]
    at_x4 = [entry for entry in members if entry.scale == 4]
    published = _range([_psnr(entry.published) for entry in at_x4 if entry.published])
    return _row(
        family.label,
        ", ".join(f"x{scale}" for scale in sorted({entry.scale for entry in members})),
        _range([parameters(entry) / 1e6 for entry in at_x4]) + " M",
        published + (family.remark if published != NOTHING else ""),
        _range([_psnr(entry.measured) for entry in at_x4 if entry.measured]),
        family.paper,
    )


def _range(numbers: list[float]) -> str:
    texts = sorted({f"{number:.2f}" for number in numbers}, key=float)
    return " to ".join(dict.fromkeys((texts[0], texts[-1]))) if texts else NOTHING


def _same_networks() -> list[list[OfficialNetwork]]:
    """Return the entries, grouped by network: the members of a group differ only in their file."""
    groups: dict[str, list[OfficialNetwork]] = {}
    for entry in official_networks():
        groups.setdefault(f"{entry.network} {sorted(entry.constructor_arguments().items())}", []).append(entry)
    return list(groups.values())


def _network_row(group: list[OfficialNetwork], notes: dict[str, int]) -> str:
    first = group[0]
    return _row(
        "; ".join(entry.title + _note_numbers(entry, notes) for entry in group),
        f"x{first.scale}",
        f"{parameters(first):,}",
        f"{multi_adds(first):,.1f}",
        _joined(group, _published_multi_adds),
        _joined(group, lambda entry: entry.published),
        _measured(group),
        _joined(group, lambda entry: entry.file and f"`{entry.file}`"),
        _joined(group, lambda entry: ", ".join(map(_link, entry.options))),
    )


def _file_row(entry: OfficialNetwork) -> str:
    tests = [f"`{name}.yml`" for name in entry.options if name.startswith("test_")]
    return _row(
        f"{entry.title} x{entry.scale}",
        f"`{entry.name}`",
        f"`{entry.file}`",
        entry.released_as or NOTHING,
        ", ".join(tests) or NOTHING,
        f"`{entry.sha256[:16]}`" if entry.sha256 else "not known",
        f"{parameters(entry):,}",
        entry.published or NOTHING,
        _measured([entry]),
    )


def _note_numbers(entry: OfficialNetwork, notes: dict[str, int]) -> str:
    sentences = re.split(r"(?<=\.)\s+", entry.note) if entry.note else []
    numbers = [notes.setdefault(sentence[0].upper() + sentence[1:], len(notes) + 1) for sentence in sentences]
    return f" <sup>{', '.join(map(str, numbers))}</sup>" if numbers else ""


def _published_multi_adds(entry: OfficialNetwork) -> str | None:
    if entry.published_multi_adds is None or entry.lr_side is None:
        return entry.published_multi_adds and str(entry.published_multi_adds)
    side = entry.lr_side
    return f"{entry.published_multi_adds} ({side}x{side} LR; ours {multi_adds(entry, side):.1f})"


def _measured(group: list[OfficialNetwork]) -> str:
    missing = "not checked" if any(entry.file for entry in group) else NOTHING
    return _joined(group, lambda entry: entry.measured and f"**{entry.measured}**", missing)


def _joined(group: list[OfficialNetwork], cell: Callable[[OfficialNetwork], str | None], missing: str = NOTHING) -> str:
    return "; ".join(dict.fromkeys(text for entry in group if (text := cell(entry)))) or missing


def _link(option_file: str) -> str:
    return f"[{option_file.split('_')[0]}](../options/{option_file}.yml)"


def _head(columns: Iterable[str]) -> tuple[str, str]:
    return _row(*columns), _row(*("---" for _ in columns))


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def draw(path: Path) -> None:
    """Draw PSNR on Set5 x4 against multiply-adds, for the networks whose numbers are for bicubic LR images."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.4, 6.7), dpi=100)
    axes = figure.add_axes((0.075, 0.175, 0.905, 0.755))
    for entry in official_networks():
        if entry.scale == 4 and entry.network not in BLIND and (entry.measured or entry.published):
            _draw_entry(axes, entry)
    _decorate(axes)
    for line, text in enumerate(CAPTION):
        figure.text(0.075, 0.06 - 0.033 * line, text, fontsize=9.5, color="#444444")
    figure.savefig(path)


def _draw_entry(axes: Axes, entry: OfficialNetwork) -> None:
    color, area = COLORS[entry.network], MARKER_AREA * parameters(entry) / 1e6
    x, y = multi_adds(entry), _psnr(entry.measured or entry.published)
    if entry.network.startswith("FDIWN"):
        published = entry.published_multi_adds, _psnr(entry.published)
        axes.plot(*zip(published, (x, y), strict=True), "--", color=GRAY, linewidth=1, zorder=1)
        axes.scatter(*published, area, facecolor="white", edgecolor=GRAY, linewidth=1.5, zorder=2)
    face = color if entry.measured else "white"
    axes.scatter(x, y, area, facecolor=face, edgecolor=color, linewidth=1.8, zorder=3)
    _label(axes, entry, (x, y), area**0.5 / 2 + 4)


def _label(axes: Axes, entry: OfficialNetwork, point: tuple[float, float], distance: float) -> None:
    text, color = entry.title, COLORS[entry.network]
    offset, side = ((0, 2 * distance), "center") if entry.title in ABOVE else ((distance, 0), "left")
    if entry.title in LEFT:
        offset, side = (-distance, 0), "right"
    axes.annotate(text, point, offset, textcoords="offset points", ha=side, va="center_baseline", color=color)


def _psnr(text: str) -> float:
    return float(text.split(" / ")[0])


def _decorate(axes: Axes) -> None:
    axes.set_title("Set5 x4 (bicubic LR, Y channel): PSNR against multiply-adds of a 1280x720 output", fontsize=12.5)
    axes.set_xlabel("multiply-adds, 10$^9$ (log)", fontsize=11)
    axes.set_ylabel("PSNR, dB", fontsize=11)
    axes.set_xscale("log")
    axes.set_xlim(15, 2000)
    axes.set_ylim(32.05, 33.3)
    ticks = [20, 50, 100, 200, 500, 1000, 2000]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.grid(color="#e6e6e6", zorder=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(handles=_legend(), loc="upper left", labelspacing=1.2, edgecolor="white", framealpha=1)


def _legend() -> list[Line2D]:
    from matplotlib.lines import Line2D

    def marker(label: str, millions: float, face: str, edge: str, line: str = "") -> Line2D:
        style = {"linestyle": line, "linewidth": 1, "marker": "o", "markersize": (MARKER_AREA * millions) ** 0.5}
        return Line2D([], [], color=edge, markerfacecolor=face, markeredgewidth=1.5, label=label, **style)

    return [
        marker("PSNR measured by this package, official file", 1.5, "#333333", "#333333"),
        marker("PSNR as published, not checked", 1.5, "white", "#333333"),
        marker("PSNR and multiply-adds as published", 1, "white", GRAY, "--"),
        *(marker(f"{millions} M parameters", millions, "#e4e4e4", "#c4c4c4") for millions in (1, 5, 15)),
    ]


def with_part(text: str, name: str, content: str) -> str:
    """Return a page with the lines between its markers ``name`` replaced.

    Raises:
        ValueError: If the markers are missing or appear twice.
    """
    start, end = f"<!-- {name}: made by docs/studies/networks.py -->", f"<!-- /{name} -->"
    if text.count(start) != 1 or text.count(end) != 1:
        raise ValueError(
            f"Expected one line {start} and one line {end}, got {text.count(start)} and {text.count(end)}."
        )
    before, rest = text.split(start)
    return f"{before}{start}\n{content}\n{end}{rest.split(end)[1]}"


PARTS = (
    (README, "families", family_table),
    (NETWORKS_PAGE, "networks", networks_table),
    (FILES_README, "files", files_table),
)


def main() -> None:
    """Write the tables and the plot."""
    for path, name, make in PARTS:
        path.write_text(with_part(path.read_text(encoding="utf-8"), name, make()), encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
    draw(PLOT)
    print(f"wrote {PLOT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
