"""Write an embedding as a picture and as a table of all numbers."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lightsr_basicsr.data.low_resolution import BlindSet
from lightsr_basicsr.tools.embed.vectors import Embedding, EmbedError, describe
from lightsr_basicsr.tools.images import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.path import Path as MplPath

SUFFIXES = (".png", ".pdf", ".svg")
MARK = "made by basicsr embed"  # in every picture, so that no other file is overwritten
COLUMNS = ("network", "image", "degradation", "x", "y")
# The color is the blur, the shape the noise; more would be indistinguishable.
MARKERS = "o^sDvP"
MOST = 18
LONGEST_NAME = 34
LEGEND = "blur (HR pixels)"
GRAY = "#555555"


def check_picture(path: Path, blurs: int, noises: int, source: Path | None = None) -> None:
    """Check that a picture with this number of blurs and noise levels can be drawn and written to ``path``.

    Raises:
        EmbedError: If it cannot, if ``path`` is another file, or if it lies among the HR images in ``source``.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise EmbedError(f"the picture's name must end in {', '.join(SUFFIXES)}, got {path}.")
    if blurs * noises > MOST or noises > len(MARKERS):
        raise EmbedError(
            f"a picture shows at most {MOST} degradations and {len(MARKERS)} levels of noise, got {blurs * noises} and "
            f"{noises}: name fewer."
        )
    _check_place(path, MARK, source)


def check_table(path: Path, picture: Path | None = None, source: Path | None = None) -> None:
    """Raise EmbedError if ``path`` is another file, equals ``picture``, or lies among the HR images in ``source``."""
    if picture is not None and path.resolve() == picture.resolve():
        raise EmbedError(f"{path} cannot be both picture and table: name another with --csv.")
    _check_place(path, ",".join(COLUMNS), source)


def _check_place(path: Path, mark: str, source: Path | None) -> None:
    if source is not None and path.parent.resolve() == source.resolve():
        raise EmbedError(f"{path} would lie among the HR images in {source}: write it to another folder.")
    if not path.parent.is_dir():
        raise EmbedError(f"the folder {path.parent} for {path.name} is missing: create it first.")
    if path.exists() and (path.is_dir() or mark.encode() not in path.read_bytes()):
        raise EmbedError(f"{path} exists and was not made by this command: choose another name, or move it away.")


def draw(found: Embedding, path: Path | str) -> None:
    """Write the picture of :func:`make_figure` as PNG, PDF or SVG.

    Raises:
        EmbedError: As :func:`check_picture`.
    """
    path = Path(path)
    noises = {each.noise for each in found.sets}
    check_picture(path, len(found.sets) // len(noises), len(noises))
    figure = make_figure(found)
    with whole_file(path) as part:
        figure.savefig(part, format=path.suffix[1:].lower(), metadata={"Title": MARK})


def make_figure(found: Embedding) -> Figure:
    """Return a figure with one panel per network and, in each, a point per degradation and image."""
    from matplotlib.figure import Figure

    beside = 0.5 + 0.085 * max(len(LEGEND), *(len(describe(each)) for each in found.sets))
    figure = Figure(figsize=(4.4 * len(found.files) + beside, 4.8), dpi=200, layout="constrained")
    panels = figure.subplots(1, len(found.files), squeeze=False)[0]
    looks = _looks(found.sets)
    for axes, role in zip(panels, found.files, strict=True):
        _draw_panel(axes, found, role, looks)
    _draw_legend(panels[-1], found.sets, looks)
    length = next(iter(found.vectors.values())).shape[2]
    caption = f"{found.title} ({length} numbers): {len(found.crops)} images, each with {len(found.sets)} degradations"
    figure.supxlabel(caption, fontsize=9, color=GRAY)
    return figure


def _looks(sets: Sequence[BlindSet]) -> list[tuple[tuple[float, ...], str]]:
    """Return color and marker of each degradation; viridis keeps its order for the color-blind and in gray."""
    from matplotlib import colormaps

    blurs, noises = (list(dict.fromkeys(getattr(each, what) for each in sets)) for what in ("blur", "noise"))
    colors = colormaps["viridis"](np.linspace(0, 0.94, len(blurs)))
    return [(tuple(colors[blurs.index(each.blur)]), MARKERS[noises.index(each.noise)]) for each in sets]


def _draw_panel(axes: Axes, found: Embedding, role: str, looks: Sequence[tuple[tuple[float, ...], str]]) -> None:
    projection, name = found.projections[role], found.files[role].name
    count, images, _ = projection.points.shape
    area = min(34.0, max(9.0, 16_000 / (count * images)))
    # In random order, so that no degradation covers the others.
    order = np.random.default_rng(0).permutation(count * images)
    colors = np.repeat([color for color, _ in looks], images, axis=0)[order]
    points = projection.points.reshape(-1, 2)[order]
    dots = axes.scatter(*points.T, area, colors, alpha=0.9, linewidths=0.4, edgecolors="white")
    shapes = {marker: _outline(marker) for _, marker in looks}
    dots.set_paths([shapes[looks[index // images][1]] for index in order])
    shown = name if len(name) <= LONGEST_NAME else f"...{name[3 - LONGEST_NAME :]}"
    # A file name is no formula.
    axes.set_title(f"{role}: {shown}\nsilhouette {found.silhouettes[role]:.2f}", fontsize=11, parse_math=False)
    axes.set_xlabel(projection.axes[0], fontsize=9.5)
    axes.set_ylabel(projection.axes[1], fontsize=9.5)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.margins(0.05)
    axes.spines[:].set_color("#bbbbbb")


def _outline(marker: str) -> MplPath:
    from matplotlib.markers import MarkerStyle

    style = MarkerStyle(marker)
    return style.get_path().transformed(style.get_transform())


def _draw_legend(axes: Axes, sets: Sequence[BlindSet], looks: Sequence[tuple[tuple[float, ...], str]]) -> None:
    from matplotlib.lines import Line2D

    handles = []
    for each, (color, marker) in zip(sets, looks, strict=True):
        text = describe(each).replace("sigma", "\N{GREEK SMALL LETTER SIGMA} =")
        label = text.replace(" x ", " \N{MULTIPLICATION SIGN} ").replace(" deg", "\N{DEGREE SIGN}")
        handles.append(Line2D([], [], linestyle="", marker=marker, color=color, markersize=7, label=label))
    axes.legend(
        handles=handles, title=LEGEND, loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False,
        fontsize=10, title_fontsize=10, handletextpad=0.3, alignment="left",
    )  # fmt: skip


def write_csv(found: Embedding, path: Path | str) -> None:
    """Write a row per network, image and degradation: its point in the picture, and its vector.

    Raises:
        EmbedError: As :func:`check_table`.
    """
    path = Path(path)
    check_table(path)
    length = next(iter(found.vectors.values())).shape[2]
    with whole_file(path) as part, part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*COLUMNS, *(f"v{index}" for index in range(length))])
        for role, vectors in found.vectors.items():
            for row, each in enumerate(found.sets):
                for column, crop in enumerate(found.crops):
                    numbers = (*found.projections[role].points[row, column], *vectors[row, column])
                    # 9 digits keep a float32.
                    writer.writerow([role, crop.name, describe(each), *(f"{number:.9g}" for number in numbers)])
