"""Read the log of one start of a run, as BasicSR writes it; damaged lines are left out and counted."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from lightsr_basicsr.tools.report.logged_options import at, parse_options, whole
from lightsr_basicsr.tools.report.series import LOSS, METRIC, OTHER, PACE, RATE, Curves, Key, Series

LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) ([A-Z]+): (.*)", re.DOTALL)
STEP = re.compile(r"\[.{0,5}\.\.\]\[epoch: *-?[\d,]+, iter: *([\d,]+), lr:\(([^)]*)\)\] (.*)")
ETA = re.compile(r"\[eta: (.*?), time \(data\): ([\d.]+) \(([\d.]+)\)\] ?")
ITEM = re.compile(r"(\S+): (\S+)(?: |$)")
NUMBER = re.compile(r"-?\d\.\d{3,}e[+-]\d{2,3}|-?inf|nan")
SCORE = re.compile(r"\t # (.+?): (-?[\d.]+|-?inf|nan)(?:\tBest: (\S+) @ (\d+) iter)?")
STAGE = re.compile(r"[A-Z]\w*: the (\w+)\.")
NETWORK = re.compile(r"Network: (.+?), with parameters: ([\d,]+)")
START = re.compile(r"Start training from epoch: \d+, iter: (\d+)")
LENGTH = re.compile(r"Training ends at iteration (\d+)")
VALIDATED = re.compile(r"Number of val images/folders in (.+): (\d+)")
FACT = re.compile(r"\t([^:\t]+): (.+)")
MOST_WARNINGS = 40


@dataclass
class Warned:
    """A warning or an error in a log: its level and text, when it came last, after which iteration, how often."""

    level: str
    text: str
    when: str
    iteration: int
    times: int = 1


@dataclass
class Log:
    """What one start of a run has logged.

    ``start`` is the iteration that it goes on from, None if it never began to train; ``last`` the last one logged;
    ``seconds`` how long it trained. ``validated`` has the numbers of images of validation sets, with the iteration that
    they begin with. ``lost`` counts lines that are cut off, ``strange`` characters that are no UTF-8.
    """

    path: Path
    began: datetime | None = None
    ended: datetime | None = None
    start: int | None = None
    last: int = 0
    seconds: float = 0.0
    total: int | None = None
    eta: str = ""
    finished: bool = False
    curves: Curves = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    data: list[tuple[str, str]] = field(default_factory=list)
    validated: list[tuple[int, dict[str, int]]] = field(default_factory=list)
    networks: dict[str, str] = field(default_factory=dict)
    stages: list[str] = field(default_factory=list)
    warnings: dict[str, Warned] = field(default_factory=dict)
    lost: int = 0
    strange: int = 0


def read_log(path: Path) -> Log:
    """Return the content of a log; raise OSError if it cannot be read. Unchanged files are read once."""
    found = path.stat()
    return _read(path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=64)
def _read(path: Path, size: int, changed: int) -> Log:
    content = path.read_bytes()
    wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")  # as Windows' PowerShell redirects
    text = content.decode("utf-16" if wide else "utf-8", "replace").replace("\0", "")
    reader = _Reader(Log(path, strange=text.count("\ufffd")))
    lines = text.splitlines() if wide else text.replace("\r\n", "\n").split("\n")
    if lines and lines.pop() != "":
        reader.log.lost += 1  # the run is writing it, or was killed while it did
    for line in lines:
        reader.read(line)
    reader.close()
    return reader.log


class _Reader:
    """Takes the lines of a log one after the other; a message is a line with a time, and those up to the next one."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.message: list[str] = []
        self.level, self.now, self.elapsed, self.start = "", "", 0.0, 0
        self.stage, self.set = "", ""
        self.validated: Counter[str] = Counter()
        self.images: dict[str, int] = {}

    def read(self, line: str) -> None:
        """Take a line without its end."""
        match = LINE.match(line)
        if match is None:
            self.message.append(line)
            return
        self.close()
        day, milliseconds, self.level, text = match.groups()
        self.now, self.message = f"{day}.{milliseconds}", [text]

    def close(self) -> None:
        """Take the message that has ended."""
        message, self.message = self.message, []
        if not self.now or not message:
            return
        try:
            when = datetime.fromisoformat(self.now)
        except ValueError:  # a damaged time
            self.log.lost += 1
            return
        if self.log.ended is not None:  # a clock may be set back
            self.elapsed += max(0.0, (when - self.log.ended).total_seconds())
        self.log.began, self.log.ended = self.log.began or when, when
        self._take(message, self.elapsed)

    def _take(self, message: list[str], seconds: float) -> None:
        first = message[0]
        if first.startswith("["):
            self._step(first, seconds)
        elif first.startswith("Validation "):
            self._scores(first[len("Validation ") :], message[1:], seconds)
        elif self.level in ("WARNING", "ERROR", "CRITICAL"):
            self._warn(" ".join(line.strip() for line in message).strip())
        elif match := START.match(first):
            self._begin(int(match[1]))
        elif first.startswith("End of training"):
            self.log.finished, self.log.seconds = True, seconds
        elif match := STAGE.fullmatch(first):
            self.stage = match[1]
            self.log.stages.append(self.stage)
        else:
            self._header(first, message)

    def _begin(self, start: int) -> None:
        """Take the start of training; another one in the same log, as of joined files, goes on from there."""
        log, self.elapsed = self.log, 0.0
        if log.start is not None:
            for series in log.curves.values():
                series.cut(start)
            self.elapsed = max((each.seconds[-1] for each in log.curves.values() if each.seconds), default=0.0)
            self.validated.clear()
        self.start, log.last, log.finished = start, start, False
        log.validated.append((start, dict(self.images)))
        log.start = start if log.start is None else min(log.start, start)

    def _header(self, first: str, message: list[str]) -> None:
        """Take what is logged before the first iteration."""
        log = self.log
        if match := NETWORK.match(first):
            log.networks[match[1]] = match[2]
        elif match := LENGTH.match(first):
            log.total = int(match[1])
        elif first.startswith("Training statistics"):
            log.data += [(found[1], found[2]) for line in message[1:] if (found := FACT.match(line))]
        elif first.startswith("Number of val images"):
            log.data.append(tuple(first.rsplit(": ", 1)) if ": " in first else (first, ""))
            if match := VALIDATED.fullmatch(first):
                self.images[match[1]] = int(match[2])
        elif not first and any("Version Information" in line for line in message):
            log.versions |= {found[1]: found[2] for line in message if (found := FACT.match(line))}
        elif not first and len(message) > 2 and not log.options:
            log.options = parse_options(message)

    def _step(self, text: str, seconds: float) -> None:
        match = STEP.match(text)
        if match is None:
            self.log.lost += 1
            return
        iteration, rest = int(match[1].replace(",", "")), match[3]
        self.log.last, self.log.seconds = iteration, seconds
        if eta := ETA.match(rest):
            self.log.eta, rest = eta[1], rest[eta.end() :]
        for full, value in ITEM.findall(rest):
            stage, _, name = full.rpartition("/")
            if not NUMBER.fullmatch(value):
                self.log.lost += 1
                continue
            self.stage = stage or self.stage
            self._add(Key(LOSS if name.startswith("l_") else OTHER, name, "", self.stage), iteration, value, seconds)
        rates = [rate for rate in match[2].split(",") if rate.strip()]
        for number, rate in enumerate(rates, 1):
            if number == 1 or rate != rates[0]:  # other groups of weights mostly have the same
                name = "lr" if number == 1 else f"lr of group {number}"
                self._add(Key(RATE, name, "", self.stage), iteration, rate, seconds)
        if eta:
            self._add(Key(PACE, "seconds per iteration", "", self.stage), iteration, eta[2], seconds)
            self._add(Key(PACE, "of them for data", "", self.stage), iteration, eta[3], seconds)

    def _add(self, key: Key, iteration: int, value: str, seconds: float) -> None:
        try:
            number = float(value)
        except ValueError:
            self.log.lost += 1
            return
        self.log.curves.setdefault(key, Series()).add(iteration, number, seconds)

    def _scores(self, name: str, lines: list[str], seconds: float) -> None:
        found = [match for line in lines if (match := SCORE.fullmatch(line.rstrip()))]
        if not found:
            return
        iteration = self._validated_at(name, found)
        self.validated[name] = iteration
        self.log.last = max(self.log.last, iteration)
        set_name = name.removeprefix(f"{self.stage}_") if self.stage else name
        for match in found:
            self._add(Key(METRIC, match[1], set_name, self.stage), iteration, match[2], seconds)

    def _validated_at(self, name: str, scores: list[re.Match]) -> int:
        """Return the iteration of a validation, which its message does not say."""
        log = self.log
        before = self.validated[name] or self.start
        if log.finished:
            return self._length() or log.last
        best = [int(match[4]) for match in scores if match[3] is not None and match[3] == match[2]]
        new = [iteration for iteration in best if iteration > before and iteration >= log.last]
        if new:  # a new best value, whose iteration is told
            return new[0]
        step = whole(at(log.options, "val.val_freq"))
        if not step:
            return log.last
        # The next one after the last one, but none that is over by the last line of losses.
        return max(before // step + 1, -(-log.last // step)) * step

    def _length(self) -> int | None:
        return self.log.total or whole(at(self.log.options, "train.total_iter"))

    def _warn(self, text: str) -> None:
        known = self.log.warnings.get(text)
        if known:
            known.times, known.when, known.iteration = known.times + 1, self.now[:19], self.log.last
        elif len(self.log.warnings) < MOST_WARNINGS:
            self.log.warnings[text] = Warned(self.level, text[:600], self.now[:19], self.log.last)
