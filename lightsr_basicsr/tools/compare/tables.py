"""Tables of a comparison: for the terminal, CSV, JSON, and LaTeX with best and second best marked."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict

from lightsr_basicsr import __version__
from lightsr_basicsr.pages.building import finite
from lightsr_basicsr.tools.compare.results import Comparison
from lightsr_basicsr.tools.compare.scores import Metric, ranks

JSON, JSON_START = "results.json", b'{\n "made_by": "lightsr-basicsr'  # by which a later run knows its own file
MARKS = ("{}", "\\textbf{{{}}}", "\\underline{{{}}}")
ARROWS = {True: "$\\uparrow$", False: "$\\downarrow$"}  # whether higher is better
TEX = {"\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
       "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}"}  # fmt: skip


def main_table(found: Comparison) -> list[list[str]]:
    """Return a header and a row per method: costs, and the means of each set."""
    header = ["method", *(f"{each.title.lower()} [{each.unit}]" for each in found.costs)]
    header += [
        f"{title} {_with_unit(metric)}" if len(found.sets) > 1 else _with_unit(metric)
        for title in found.sets
        for metric in found.metrics
    ]
    rows = []
    for number, method in enumerate(found.methods):
        numbers = [metric.shown(found.means[title][metric.name][number]) for title, metric in _columns(found)]
        rows.append([method.title, *(each.shown(method.costs) for each in found.costs), *numbers])
    return [header, *rows]


def _columns(found: Comparison) -> list[tuple[str, Metric]]:
    return [(title, metric) for title in found.sets for metric in found.metrics]


def _with_unit(metric: Metric) -> str:
    return f"{metric.title} [{metric.unit}]" if metric.unit else metric.title


def means_csv(found: Comparison) -> str:
    """Return a header and a row per set and method: costs in SI units, means with all digits."""
    names = ("parameters", "multi_adds", "latency")
    header = ["set", "pictures", "method", "file", *names, *found.protocol.metrics]
    rows = []
    for title in found.sets:
        count = sum(each.item.set == title for each in found.pictures)
        for number, method in enumerate(found.methods):
            costs, means = asdict(method.costs), found.means[title]
            rows.append([title, count, method.title, method.source, *(costs[name] for name in names),
                         *(means[name][number] for name in found.protocol.metrics)])  # fmt: skip
    return _csv(header, rows)


def pictures_csv(found: Comparison) -> str:
    """Return a header and a row per picture and method."""
    rows = [
        [each.item.set, each.item.name, title, *(each.scores[name][number] for name in found.protocol.metrics)]
        for each in found.pictures
        for number, title in enumerate(found.titles)
    ]
    return _csv(["set", "picture", "method", *found.protocol.metrics], rows)


def _csv(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(["" if value is None else _plain(value) for value in row] for row in rows)
    return stream.getvalue()


def _plain(value: object) -> object:
    """Return a value for a spreadsheet, which takes text that begins with one of these for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" and value else value


def json_text(found: Comparison) -> str:
    """Return all results; an infinite number is the text ``Infinity``."""
    content = {
        "made_by": f"lightsr-basicsr {__version__}",
        "scale": found.scale,
        "protocol": found.protocol.text,
        "machine": found.machine,
        "methods": [{"title": each.title, "file": each.source, **asdict(each.costs)} for each in found.methods],
        "means": found.means,
        "pictures": [{"set": each.item.set, "name": each.item.name, "scores": each.scores} for each in found.pictures],
        "failed": [{"file": str(each.path), "reason": each.reason} for each in found.failed],
    }
    return json.dumps(finite(content), indent=1) + "\n"


def latex_text(found: Comparison) -> str:
    """Return a table for the package ``booktabs``: a row per method, the best in bold, the second best underlined."""
    costs, columns = found.costs, _columns(found)
    marked = [_marked(found, title, metric) for title, metric in columns]
    lines = [
        f"% {len(found.pictures)} pictures at x{found.scale}. {found.protocol.text}. Needs \\usepackage{{booktabs}}",
        "\\begin{table}",
        "  \\centering",
        f"  \\caption{{{_caption(found)}}}",
        "  \\label{tab:comparison}",
        f"  \\begin{{tabular}}{{l{'r' * len(costs)}{'c' * len(columns)}}}",
        "    \\toprule",
        *_header(found),
        "    \\midrule",
    ]
    for number, method in enumerate(found.methods):
        cells = [tex(method.title), *(_dash(each.shown(method.costs)) for each in costs)]
        cells += [column[number] for column in marked]
        lines.append(f"    {' & '.join(cells)} \\\\")
    lines += ["    \\bottomrule", "  \\end{tabular}", "\\end{table}"]
    return "\n".join(lines) + "\n"


def _caption(found: Comparison) -> str:
    how = f"{found.protocol.text}. " if found.protocol.text else ""
    text = f"Comparison at $\\times{found.scale}$. {tex(how)}Best in bold, second best underlined."
    return f"{text} Multi-adds for an output of $1280\\times720$." if found.costs else text


def _header(found: Comparison) -> list[str]:
    """Return two lines of titles, the sets over their metrics, with a rule under each set."""
    first, count = 2 + len(found.costs), len(found.metrics)
    groups = [f"\\multicolumn{{{count}}}{{c}}{{{tex(title)}}}" if count > 1 else tex(title) for title in found.sets]
    above = ["Method", *(each.title for each in found.costs), *groups]
    below = ["", *(f"[{each.unit}]" for each in found.costs)]
    below += [f"{metric.title}{ARROWS[metric.higher]}" for _, metric in _columns(found)]
    starts = range(first, first + count * len(found.sets), count)
    rules = " ".join(f"\\cmidrule(lr){{{start}-{start + count - 1}}}" for start in starts)
    return [f"    {' & '.join(above)} \\\\", f"    {rules}", f"    {' & '.join(below)} \\\\"]


def _marked(found: Comparison, title: str, metric: Metric) -> list[str]:
    values = found.means[title][metric.name]
    return [
        MARKS[rank].format(_dash(metric.shown(value)))
        for rank, value in zip(ranks(values, metric), values, strict=True)
    ]


def _dash(text: str) -> str:
    return {"-": "--", "inf": "$\\infty$"}.get(text, text)


def tex(text: str) -> str:
    r"""Return a text for LaTeX.

    >>> tex("IMDN_x4 & 5%")
    'IMDN\\_x4 \\& 5\\%'
    """
    return "".join(TEX.get(each, each) for each in text if each.isprintable())


# By name of the file.
TABLES: dict[str, Callable[[Comparison], str]] = {
    "means.csv": means_csv, "pictures.csv": pictures_csv, "table.tex": latex_text, JSON: json_text,
}  # fmt: skip
