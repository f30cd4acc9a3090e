"""The figure of a paper: a picture with a part marked, and beside it that part of every method, with numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from lightsr_basicsr.errors import UserError, install_command
from lightsr_basicsr.tools.compare.crops import Chosen, Crop
from lightsr_basicsr.tools.compare.methods import BICUBIC
from lightsr_basicsr.tools.compare.results import Compared, Comparison, Images
from lightsr_basicsr.tools.compare.scores import ranks
from lightsr_basicsr.tools.compare.sets import file_name
from lightsr_basicsr.tools.images import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

SHEETS = "sheets"
WIDTH = 7.16  # inches, two columns of IEEE's and CVF's styles
MARK = "#e3242b"
GAP, LINE, UNDER, SPACE = 0.06, 0.115, 0.025, 0.03  # inches: between panels, of a line, above texts, between texts
FONT = 7  # points
SHORTEST = 0.7  # inches of a panel's shorter side
DPI = 300
ROWS = 2


class Panel(NamedTuple):
    """A part of an image, its title, its numbers, and for each the place among the methods: 1 is the best."""

    image: np.ndarray
    title: str
    numbers: list[tuple[str, int]]


def require_matplotlib() -> None:
    """Raise UserError if matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UserError(f"no sheets: they need matplotlib: {install_command('benchmark')}") from error


def draw_sheets(
    found: Comparison,
    chosen: Sequence[tuple[Compared, Chosen]],
    progress: Callable[[str, float, int, str], Any] = lambda stage, done, total, name: None,
) -> list[Path]:
    """Write a PNG and a vector PDF of each picture, and return the paths."""
    written, folder = [], found.folder / SHEETS
    for number, (picture, one) in enumerate(chosen):
        progress(SHEETS, number, len(chosen), picture.item.name)
        folder.mkdir(exist_ok=True)
        figure = draw_sheet(found, picture, found.images(picture), one.crop)
        for kind in ("png", "pdf"):
            path = folder / f"{file_name(picture.item.set)}_{file_name(picture.item.name)}.{kind}"
            with whole_file(path) as part:
                _save(figure, part, kind)
            written.append(path)
    if chosen:
        progress(SHEETS, len(chosen), len(chosen), "")
    return written


def _save(figure: Figure, path: Path, kind: str) -> None:
    from matplotlib import rc_context

    # Journals refuse fonts of type 3; a date would make every file differ.
    with rc_context({"pdf.fonttype": 42}):
        date = {"CreationDate": None} if kind == "pdf" else {}
        figure.savefig(path, format=kind, dpi=DPI, metadata={"Title": "made by basicsr compare", **date})


def draw_sheet(found: Comparison, picture: Compared, images: Images, crop: Crop) -> Figure:
    """Return the figure of one picture.

    Args:
        found (Comparison): Names methods and metrics.
        picture (Compared): Its scores.
        images (Images): Its images.
        crop (Crop): The part to show.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = _panels(found, picture, images, crop)
    shown = images.high if images.high is not None else images.made[-1]
    columns = ceil(len(panels) / ROWS)
    lines = LINE * 2 + GAP  # two lines under each panel
    over, ratio = shown.shape[1] / shown.shape[0], crop.width / crop.height
    side = _panel_height(over, ratio, columns, lines)
    tall = ROWS * side + (ROWS - 1) * lines
    large = over * tall
    width, height = large + columns * (GAP + ratio * side), tall + lines
    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)  # measures texts
    left = _axes(figure, 0, 0, large, tall)
    left.imshow(shown[:, :, ::-1], interpolation="none" if max(shown.shape) < 1200 else "antialiased", aspect="auto")
    _mark(left, crop)
    _write(figure, 0, tall + UNDER, large, [(f"{picture.item.name} from {picture.item.set}, x{found.scale}", 0)])
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        x = large + GAP + column * (GAP + ratio * side)
        y = row * (side + lines)
        axes = _axes(figure, x, y, ratio * side, side)
        axes.imshow(panel.image[:, :, ::-1], interpolation="none", aspect="auto")
        for spine in axes.spines.values():
            spine.set(color=MARK if panel.title == "HR" else "#888888", linewidth=0.6)
        _write(figure, x, y + side + UNDER, ratio * side, [(panel.title, 0)])
        if panel.numbers:
            _write(figure, x, y + side + UNDER + LINE, ratio * side, panel.numbers)
    return figure


def _panel_height(over: float, ratio: float, columns: int, lines: float) -> float:
    """Return the height of the panels, in inches, with which the figure is as wide as a page."""
    free = WIDTH - columns * GAP - over * (ROWS - 1) * lines
    return max(SHORTEST, free / (columns * ratio + ROWS * over))


def _panels(found: Comparison, picture: Compared, images: Images, crop: Crop) -> list[Panel]:
    titles = " / ".join(metric.title for metric in found.metrics)
    panels = [] if images.high is None else [Panel(crop.of(images.high), "HR", [(titles, 0)])]
    odd = (len(panels) + len(images.made)) % ROWS  # LR fills the grid
    if odd or BICUBIC not in found.titles or images.high is None:
        low = crop.of_low(images.low, found.scale)
        size = (low.shape[1] * found.scale, low.shape[0] * found.scale)
        large = cv2.resize(low, size, interpolation=cv2.INTER_NEAREST)
        x, y = crop.x % found.scale, crop.y % found.scale
        own = "" if images.high is not None else titles
        panels.append(Panel(large[y : y + crop.height, x : x + crop.width], "LR", [(own, 0)] if own else []))
    places = [ranks(picture.scores[metric.name], metric) for metric in found.metrics]
    for number, (title, image) in enumerate(zip(found.titles, images.made, strict=True)):
        numbers = [
            (metric.shown(picture.scores[metric.name][number]), place[number])
            for metric, place in zip(found.metrics, places, strict=True)
        ]
        panels.append(Panel(crop.of(image), title, numbers))
    return panels


def _axes(figure: Figure, x: float, y: float, width: float, height: float) -> Axes:
    """Return axes at a place in inches from the left upper corner."""
    wide, tall = figure.get_size_inches()
    axes = figure.add_axes((x / wide, 1 - (y + height) / tall, width / wide, height / tall))
    axes.set(xticks=[], yticks=[])
    return axes


def _mark(axes: Axes, crop: Crop) -> None:
    from matplotlib.patches import Rectangle

    place = (crop.x - 0.5, crop.y - 0.5)
    axes.add_patch(Rectangle(place, crop.width, crop.height, fill=False, edgecolor=MARK, linewidth=1.2))
    for spine in axes.spines.values():
        spine.set_visible(False)


def _write(figure: Figure, x: float, y: float, width: float, parts: Sequence[tuple[str, int]]) -> None:
    """Write texts side by side, centered in ``width`` at a place in inches from the left upper corner.

    The best is in bold and the second best underlined; texts are smaller where they would not fit.
    """
    from matplotlib.lines import Line2D

    wide, tall = figure.get_size_inches()
    texts = []
    for text, place in parts:
        if texts:
            texts.append(_text(figure, "/", 0))
        texts.append(_text(figure, text, place))
    sizes = [_width_of(text) for text in texts]
    shrink = min(1.0, width / (sum(sizes) + SPACE * (len(sizes) - 1)))
    left = x + (width - shrink * (sum(sizes) + SPACE * (len(sizes) - 1))) / 2
    base = 1 - (y + 0.8 * LINE) / tall
    for text, size in zip(texts, sizes, strict=True):
        text.set(x=left / wide, y=base, fontsize=shrink * FONT)
        if text.get_gid() == "2":
            below = base - 0.016 / tall
            figure.add_artist(
                Line2D([left / wide, (left + shrink * size) / wide], [below] * 2, color="k", linewidth=0.5)
            )
        left += shrink * (size + SPACE)


def _text(figure: Figure, text: str, place: int) -> Text:
    weight = "bold" if place == 1 else "normal"
    return figure.text(0, 0, text, fontsize=FONT, fontweight=weight, va="baseline", parse_math=False, gid=str(place))


def _width_of(text: Text) -> float:
    return text.get_window_extent().width / text.figure.dpi
