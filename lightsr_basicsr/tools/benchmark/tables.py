"""Write the rows of a benchmark as JSON, CSV and Markdown, each with the machine and the conventions in it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lightsr_basicsr.tools.benchmark.growth import bytes_per_pixel, growth_of, microseconds_per_pixel
from lightsr_basicsr.tools.benchmark.machine import CONVENTIONS, NTIRE_CONVENTIONS, PRESSURE_CONVENTIONS
from lightsr_basicsr.tools.benchmark.rows import BILLION, MIB, MILLION, Row
from lightsr_basicsr.tools.images import whole_file

FORMATS = {"csv": "results.csv", "markdown": "results.md", "json": "results.json"}
MISSING = "-"

Column = tuple[str, Callable[[Row], Any]]


@dataclass(frozen=True)
class Results:
    """The rows of a benchmark, and what they depend on."""

    machine: Mapping[str, str]  # from describe_machine
    rows: list[Row]  # in the order in which they were measured
    pressure: bool = False  # whether sizes grew until memory or the time limit was exceeded
    notes: tuple[str, ...] = ()  # further remarks for the reader

    @property
    def conventions(self) -> tuple[str, ...]:
        """How the numbers were measured, one line each."""
        ntire = NTIRE_CONVENTIONS if any(row.ntire for row in self.rows) else ()
        return (PRESSURE_CONVENTIONS if self.pressure else CONVENTIONS) + ntire

    @property
    def heading(self) -> list[str]:
        """Machine, notes and conventions, one line each."""
        return [*(f"{name}: {text}" for name, text in self.machine.items()), *self.notes, *self.conventions]


def write_results(results: Results, folder: Path, formats: Sequence[str] = tuple(FORMATS)) -> list[Path]:
    """Write files of some ``FORMATS`` into an existing folder, each atomically, and return their paths."""
    makers = {"csv": csv_text, "markdown": markdown_text, "json": json_text}
    written = []
    for name in formats:
        path = folder / FORMATS[name]
        with whole_file(path) as part:
            part.write_text(makers[name](results), encoding="utf-8", errors="backslashreplace", newline="")
        written.append(path)
    return written


def json_text(results: Results) -> str:
    """Return all results: ``machine``, ``conventions``, ``notes`` and ``rows``, in SI units and bytes.

    A pressure test has microseconds and bytes per LR pixel in its rows, and ``growth``, as :func:`growth_rows` returns.
    """
    content = {
        "machine": dict(results.machine),
        "conventions": list(results.conventions),
        "notes": list(results.notes),
        "rows": [{**asdict(row), **_per_pixel(row, results)} for row in results.rows],
    }
    if results.pressure:
        content["growth"] = growth_rows(results.rows)
    return json.dumps(content, indent=2) + "\n"


def csv_text(results: Results) -> str:
    """Return a header and one line per row; lines about the machine come first and begin with ``#``."""
    stream = io.StringIO(newline="")
    stream.writelines(f"# {line}\n" for line in results.heading)
    writer = csv.writer(stream, lineterminator="\n")
    flat = [_flat(row, results) for row in results.rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    writer.writerow(names)
    writer.writerows([["" if row.get(name) is None else row[name] for name in names] for row in flat])
    return stream.getvalue()


def _per_pixel(row: Row, results: Results) -> dict[str, float | None]:
    if not results.pressure:
        return {}
    return {"microseconds_per_pixel": microseconds_per_pixel(row), "bytes_per_pixel": bytes_per_pixel(row)}


def growth_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return what a pixel costs at the smallest and at the largest size of each series, and the ratio of both."""
    return [
        {
            "network": growth.smallest.network,
            "form": growth.smallest.form,
            "backend": growth.smallest.backend,
            "precision": growth.smallest.precision,
            "sizes": [[row.height, row.width] for row in (growth.smallest, growth.largest)],
            "microseconds_per_pixel": [microseconds_per_pixel(row) for row in (growth.smallest, growth.largest)],
            "time_growth": growth.time,
            "bytes_per_pixel": [bytes_per_pixel(row) for row in (growth.smallest, growth.largest)],
            "memory_growth": growth.memory,
        }
        for growth in growth_of(rows)
    ]


def growth_table(rows: Sequence[Row]) -> list[list[str]]:
    """Return a header and one line of cells per series of sizes, as :func:`main_table` does."""
    header = ["network", "form", "backend", "precision", "LR", "us/pixel", "growth", "bytes/pixel", "growth"]
    return [header, *map(_growth_cells, growth_rows(rows))]


def _growth_cells(row: dict[str, Any]) -> list[str]:
    sizes = " to ".join(f"{height}x{width}" for height, width in row["sizes"])
    memory = [_scaled(value, 1, ",.0f") or MISSING for value in row["bytes_per_pixel"]]
    return [
        row["network"], row["form"], row["backend"], row["precision"], sizes,
        " to ".join(f"{value:.2f}" for value in row["microseconds_per_pixel"]), f"{row['time_growth']:.2f}",
        " to ".join(memory), _scaled(row["memory_growth"], 1, ".2f") or MISSING,
    ]  # fmt: skip


def _flat(row: Row, results: Results) -> dict[str, Any]:
    content = asdict(row)
    timing, ntire = content.pop("timing") or {}, content.pop("ntire") or {}
    last = {"problem": content.pop("problem")}
    timing |= _per_pixel(row, results)
    return {**content, **timing, **{f"ntire_{name}": value for name, value in ntire.items()}, **last}


def markdown_text(results: Results) -> str:
    """Return the tables, followed by the problems and by lists of machine and conventions."""
    title = "Pressure test" if results.pressure else "Benchmark"
    parts = [f"# {title} of super-resolution networks", _markdown(main_table(results.rows, results.pressure))]
    if results.pressure and growth_of(results.rows):
        parts += ["## Growth from the smallest image to the largest", _markdown(growth_table(results.rows))]
    if any(row.ntire for row in results.rows):
        title = "## Columns of the NTIRE challenge on efficient super-resolution"
        parts += [title, _markdown(ntire_table(results.rows))]
    problems = problem_lines(results.rows)
    parts += ["\n".join(f"- {line}" for line in problems)] if problems else []
    parts.append("\n".join(f"- {line}" for line in results.heading))
    return "\n\n".join(parts) + "\n"


def main_table(rows: Sequence[Row], per_pixel: bool = False) -> list[list[str]]:
    """Return a header and one line of cells per row, without empty columns; also time and memory per LR pixel."""
    always = ("network", "form")
    columns = [*_columns(), *(_pixel_columns() if per_pixel else [])]
    shown = [each for each in columns if each[0] in always or any(each[1](row) is not None for row in rows)]
    return _cells(shown, rows)


def ntire_table(rows: Sequence[Row]) -> list[list[str]]:
    """Return the columns of NTIRE's report tables, as :func:`main_table` does, for the rows that have them."""
    return _cells(_ntire_columns(), [row for row in rows if row.ntire is not None])


def _cells(columns: Sequence[Column], rows: Sequence[Row]) -> list[list[str]]:
    cells = ([MISSING if (text := value(row)) is None else text for _, value in columns] for row in rows)
    return [[name for name, _ in columns], *cells]


def _markdown(cells: Sequence[Sequence[str]]) -> str:
    header, *lines = ([cell.replace("|", "\\|") for cell in line] for line in cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *lines))


def problem_lines(rows: Sequence[Row]) -> list[str]:
    """Return one line for every row with a problem."""
    lines = (f"{row.network} {row.label} {row.height}x{row.width}: {row.problem}" for row in rows if row.problem)
    return list(dict.fromkeys(lines))


def _columns() -> list[Column]:
    return [
        ("network", lambda row: f"{row.network} x{row.scale:g}" if row.scale else row.network),
        ("form", lambda row: row.form),
        ("backend", lambda row: row.backend),
        ("precision", lambda row: row.precision),
        ("LR", lambda row: f"{row.height}x{row.width}"),
        ("params [M]", lambda row: _scaled(row.parameters, MILLION, ".3f")),
        ("multi-adds [G]", lambda row: _scaled(row.multi_adds, BILLION, ".2f")),
        ("acts [M]", lambda row: _scaled(row.activations, MILLION, ".1f")),
        ("latency [ms]", _latency),
        ("speed-up", _speedup),
        ("memory [MiB]", lambda row: _scaled(row.memory, MIB, ".0f")),
        ("PSNR [dB]", lambda row: _scaled(row.psnr, 1, ".2f")),
        ("SSIM", lambda row: _scaled(row.ssim, 1, ".4f")),
        ("difference", lambda row: _scaled(row.difference, 1, ".1e")),
        ("weights", lambda row: row.weights),
    ]


def _pixel_columns() -> list[Column]:
    return [
        ("us/pixel", lambda row: _scaled(microseconds_per_pixel(row), 1, ".2f")),
        ("bytes/pixel", lambda row: _scaled(bytes_per_pixel(row), 1, ",.0f")),
    ]


def _ntire_columns() -> list[Column]:
    return [
        ("network", lambda row: f"{row.network} x{row.scale:g}, {row.label}"),
        ("PSNR [dB]", lambda row: _scaled(row.ntire.psnr, 1, ".2f")),
        ("Time [ms]", lambda row: f"{row.ntire.time_ms:.2f}"),
        ("Params [M]", lambda row: f"{row.ntire.params:.3f}"),
        ("FLOPs [G]", lambda row: _scaled(row.ntire.flops, 1, ".2f")),
        ("Acts [M]", lambda row: f"{row.ntire.acts:.2f}"),
        ("Mem [M]", lambda row: _scaled(row.ntire.memory, 1, ".2f")),
        ("Conv", lambda row: str(row.ntire.convs)),
    ]


def _latency(row: Row) -> str | None:
    if row.timing is None:
        # The reason takes the place of the number.
        return row.problem if row.problem.startswith(("out of memory", "over ")) else None
    middle, low, high = (
        1000 * value for value in (row.timing.seconds, row.timing.seconds_low, row.timing.seconds_high)
    )
    digits = 2 if middle < 10 else 1 if middle < 1000 else 0
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _speedup(row: Row) -> str | None:
    if row.timing is None or row.timing.speedup is None:
        return None
    return f"{row.timing.speedup:.2f} ({row.timing.speedup_low:.2f} to {row.timing.speedup_high:.2f})"


def _scaled(value: float | None, unit: float, form: str) -> str | None:
    return None if value is None else f"{value / unit:{form}}"
