"""Plots of a benchmark: PSNR or speed-up against latency, latency and memory against image size, speed-ups."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import cycle
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightsr_basicsr.errors import short_message
from lightsr_basicsr.runtimes.base import BACKENDS
from lightsr_basicsr.tools.benchmark.growth import bytes_per_pixel, microseconds_per_pixel, pixels_of
from lightsr_basicsr.tools.benchmark.rows import MIB, Row
from lightsr_basicsr.tools.benchmark.tables import Results
from lightsr_basicsr.tools.images import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARK = "made by basicsr benchmark"
# Okabe and Ito's, distinguishable by the color-blind.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8B6F47")
MARKERS = "osD^vPX*<>"
GRAY = "#555555"
SMALLEST_AREA, LARGEST_AREA = 40.0, 450.0  # in square points
MEMORY_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000)  # in MiB
MARGIN = 0.12  # above and below the points, of their range
LEAST_SPAN = 0.1  # of the PSNR axis, in dB
DPI = 150

Value = Callable[[Row], float]


def draw_all(results: Results, folder: Path) -> list[Path]:
    """Write all plots that the rows allow as PNG, and return their paths.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    rows = [row for row in results.rows if row.timing is not None]
    if not rows:
        return []
    figures: dict[str, Figure] = {}
    sizes = list(dict.fromkeys((row.height, row.width) for row in rows))
    if results.pressure:
        figures["pressure"] = draw_growth(rows, results.machine, "Pressure test")
    else:
        for size in sizes:
            these = [row for row in rows if (row.height, row.width) == size]
            figures[f"latency_{size[0]}x{size[1]}"] = draw_tradeoff(these, results.machine)
            if _compared(these):
                figures[f"speedup_{size[0]}x{size[1]}"] = draw_speedups(these, results.machine)
        if len(sizes) > 1:
            figures["sizes"] = draw_growth(rows, results.machine, "Image size")
    written = [folder / f"{name}.png" for name in figures]
    for figure, path in zip(figures.values(), written, strict=True):
        with whole_file(path) as part:
            figure.savefig(part, format="png", dpi=DPI, metadata={"Title": MARK})
    return written


def _compared(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with a speed-up over the reference."""
    return [row for row in rows if row.form != "reference" and row.timing.speedup is not None]


def _figure(width: float, height: float, machine: Any, columns: int = 1, lines: int = 1) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    panels = list(figure.subplots(lines, columns, squeeze=False).flat)
    backends = ", ".join(f"{name} {machine[name]}" for name in BACKENDS if name in machine)
    place = machine.get("GPU", machine.get("CPU", ""))
    threads = machine.get("threads", "?")
    caption = f"{place}, {threads} CPU thread{'' if threads == '1' else 's'}, {machine.get('date', '')}\n{backends}"
    figure.supxlabel(caption, fontsize=8, color=GRAY, parse_math=False)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(True, which="major", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
    return figure, panels


def _styles(names: Iterable[str], looks: Sequence[str]) -> dict[str, str]:
    return dict(zip(dict.fromkeys(names), cycle(looks), strict=False))


def draw_tradeoff(rows: Sequence[Row], machine: Any) -> Figure:
    """Return a figure of PSNR, or without PSNR of the speed-up, against latency; areas show peak memory.

    ``rows`` are timed and of one image size; ``machine`` is from ``describe_machine``.
    """
    quality = any(row.psnr is not None for row in rows)
    value: Value = _shown_psnr if quality else lambda row: row.timing.speedup
    shown = [row for row in rows if value(row) is not None] or list(rows)
    if value(shown[0]) is None:
        value = lambda row: 1.0  # noqa: E731  without a reference there is only latency
    figure, (axes,) = _figure(8.4, 5.2, machine)
    # From all rows, so that a network looks the same in every figure.
    colors, markers = _styles((row.network for row in rows), COLORS), _styles((row.label for row in rows), MARKERS)
    _draw_points(axes, shown, value, colors, markers)
    axes.set_xscale("log")
    _plain_numbers(axes.xaxis)
    axes.margins(0.09, MARGIN)
    if quality:
        _set_psnr_limits(axes, [value(row) for row in shown])
    else:
        axes.axhline(1, color=GRAY, linewidth=0.8, linestyle=":")
    axes.set_xlabel("latency of one image (ms), median, log scale")
    axes.set_ylabel("PSNR, luma (dB)" if quality else "speed-up over the reference")
    axes.set_title(f"{'PSNR' if quality else 'Speed-up'} and latency, LR {rows[0].height}x{rows[0].width}")
    seen = {row.network for row in shown}
    titles = {name if name in seen else f"{name} (unknown)": color for name, color in colors.items()}
    _legends(figure, titles, markers, _memory_steps(shown))
    return figure


def _shown_psnr(row: Row) -> float | None:
    """Return the PSNR as the tables show it, so that rows equal there are drawn at the same height."""
    return None if row.psnr is None else round(row.psnr, 2)


def _set_psnr_limits(axes: Axes, values: Sequence[float]) -> None:
    """Fit the vertical axis to values in dB, but let it span ``LEAST_SPAN``, so that small differences look small."""
    finite = [value for value in values if isfinite(value)]  # images without any error have infinite PSNR
    if not finite:
        return
    low, high = min(finite), max(finite)
    half = max((1 + 2 * MARGIN) * (high - low), LEAST_SPAN) / 2
    axes.set_ylim((low + high) / 2 - half, (low + high) / 2 + half)
    axes.ticklabel_format(axis="y", useOffset=False)


def _draw_points(
    axes: Axes, rows: Sequence[Row], value: Value, colors: dict[str, str], markers: dict[str, str]
) -> None:
    largest = max(row.memory or 0 for row in rows)
    for name, color in colors.items():
        own = [row for row in rows if row.network == name]
        places = [(1000 * row.timing.seconds, value(row)) for row in own]
        line = sorted(places, key=lambda place: place[0])
        axes.plot([x for x, _ in line], [y for _, y in line], color=color, linewidth=0.8, alpha=0.5, zorder=1)
        for row, place in zip(own, places, strict=True):
            axes.scatter(
                *place, s=_area(row.memory or 0, largest), marker=markers[row.label], color=color,
                alpha=0.75, edgecolors="white", linewidths=0.8, zorder=2,
            )  # fmt: skip


def _area(memory: float, largest: float) -> float:
    return SMALLEST_AREA if not largest else max(SMALLEST_AREA, LARGEST_AREA * memory / largest)


def _memory_steps(rows: Sequence[Row]) -> dict[str, float]:
    """Return the areas of a few round amounts of memory, for the legend."""
    largest = max(row.memory or 0 for row in rows)
    fitting = [step for step in MEMORY_STEPS if 0.12 * largest <= step * MIB <= largest]
    return {f"{step} MiB": _area(step * MIB, largest) for step in fitting[-3:]}


def _legends(
    figure: Figure, colors: dict[str, str], markers: dict[str, str], memory: dict[str, float] | None = None
) -> None:
    from matplotlib.lines import Line2D

    entries = [Line2D([], [], color=color, linewidth=5, label=name) for name, color in colors.items()]
    entries.append(Line2D([], [], linestyle="", label=""))
    entries += [_mark(label, marker, GRAY, 7) for label, marker in markers.items()]
    if memory:
        entries += [Line2D([], [], linestyle="", label=text) for text in ("", "peak memory (area)")]
        entries += [_mark(label, "o", "#bbbbbb", area**0.5) for label, area in memory.items()]
    legend = figure.legend(
        handles=entries, loc="outside right upper", frameon=False, fontsize=9, labelspacing=0.8 if memory else 0.5
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)


def _mark(label: str, marker: str, color: str, size: float) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="", marker=marker, color=color, markersize=size, label=label)


def _plain_numbers(axis: Any) -> None:
    """Label 1, 2 and 5 of each power of ten, as 200 and not 2 x 10^2."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda number, _: _short_number(number)))
    axis.set_minor_formatter(NullFormatter())


def _short_number(number: float) -> str:
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if number >= 10 * unit or number >= unit == 1e6:
            return f"{number / unit:g} {letter}"
    return f"{number:g}"


def draw_speedups(rows: Sequence[Row], machine: Any) -> Figure:
    """Return a bar chart, a group per network: speed-up over the reference, with the range over the rounds.

    ``rows`` are timed and of one image size, and at least one has a speed-up.
    """
    rows = _compared(rows)
    networks, labels = (list(dict.fromkeys(names)) for names in zip(*((r.network, r.label) for r in rows), strict=True))
    figure, (axes,) = _figure(max(6.0, 2.4 + 0.27 * len(networks) * (len(labels) + 1)), 4.6, machine)
    share = 0.84 / len(labels)
    for index, label in enumerate(labels):
        own = [row for row in rows if row.label == label]
        places = [networks.index(row.network) + (index - (len(labels) - 1) / 2) * share for row in own]
        _draw_bars(axes, places, own, 0.92 * share, COLORS[index % len(COLORS)], label)
    axes.axhline(1, color=GRAY, linewidth=0.9, linestyle=":")
    axes.set_xticks(range(len(networks)), [short_message(name, most=22) for name in networks], parse_math=False)
    axes.grid(False, axis="x")
    axes.tick_params(axis="x", length=0)
    axes.margins(0.02, 0.1)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("speed-up over the reference\n(median; lines: range over rounds)")
    axes.set_title(f"Speed-up over eager float32 torch as published, LR {rows[0].height}x{rows[0].width}")
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return figure


def _draw_bars(axes: Axes, places: list[float], rows: Sequence[Row], width: float, color: str, label: str) -> None:
    heights = [row.timing.speedup for row in rows]
    below = [row.timing.speedup - row.timing.speedup_low for row in rows]
    above = [row.timing.speedup_high - row.timing.speedup for row in rows]
    axes.bar(places, heights, width, color=color, label=label, alpha=0.9)
    axes.errorbar(places, heights, (below, above), fmt="none", ecolor="#333333", elinewidth=0.9, capsize=2)
    for place, row in zip(places, rows, strict=True):
        axes.annotate(
            f"{row.timing.speedup:.2f}", (place, row.timing.speedup_high), (0, 3), textcoords="offset points",
            ha="center", va="bottom", fontsize=7, color="#333333",
        )  # fmt: skip


def draw_growth(rows: Sequence[Row], machine: Any, title: str) -> Figure:
    """Return a figure of latency and, if measured, of peak memory of timed rows against pixels of the LR image.

    Below each is what one pixel takes, where a level line means that the cost is in proportion to pixels.
    """
    remembered = any(row.memory for row in rows)
    columns = 2 if remembered else 1
    figure, panels = _figure(5.75 * columns if remembered else 7.5, 8.2, machine, columns, 2)
    colors, markers = _styles((row.network for row in rows), COLORS), _styles((row.label for row in rows), MARKERS)
    measured = [row for row in rows if row.memory]
    values: list[tuple[str, Sequence[Row], Value]] = [
        ("latency of one image (s)", rows, lambda row: row.timing.seconds),
        ("peak memory (MiB)", measured, lambda row: row.memory / MIB),
        ("latency per LR pixel (us)", rows, microseconds_per_pixel),
        ("peak memory per LR pixel (bytes)", measured, bytes_per_pixel),
    ]
    for axes, (label, shown, value) in zip(panels, [each for each in values if remembered or "memory" not in each[0]],
                                           strict=True):  # fmt: skip
        _draw_lines(axes, shown, value, colors, markers)
        axes.set_ylabel(label)
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            _plain_numbers(axis)
        axes.set_xlabel("pixels of the LR image")
        axes.tick_params(axis="x", labelsize=8)
    figure.suptitle(f"{title}: latency{' and memory' if remembered else ''} against pixels, whole and per pixel")
    _legends(figure, colors, markers)
    return figure


def _draw_lines(axes: Axes, rows: Sequence[Row], value: Value, colors: dict[str, str], markers: dict[str, str]) -> None:
    for name, label in dict.fromkeys((row.network, row.label) for row in rows):
        own = sorted((row for row in rows if (row.network, row.label) == (name, label)), key=pixels_of)
        axes.plot(
            [pixels_of(row) for row in own], [value(row) for row in own], color=colors[name], marker=markers[label],
            markersize=5, linewidth=1.2, alpha=0.85, linestyle="--" if label == "reference" else "-",
        )  # fmt: skip
