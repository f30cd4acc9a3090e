"""What a comparison keeps in its folder, so that a run that was interrupted goes on: pictures, and their scores."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lightsr_basicsr.tools.compare.costs import Costs, measure_costs
from lightsr_basicsr.tools.compare.methods import Method
from lightsr_basicsr.tools.compare.scores import Protocol
from lightsr_basicsr.tools.compare.sets import Item, file_name
from lightsr_basicsr.tools.images import as_stored
from lightsr_basicsr.whole import write_whole

PICTURES, COSTS = "pictures", "costs.json"
FAST = [cv2.IMWRITE_PNG_COMPRESSION, 3]


@dataclass
class Record:
    """The scores of one SR picture: by metric the fingerprint of what they depend on, and the number."""

    made: str = ""  # stands for method and LR image
    scores: dict[str, tuple[str, float | None]] = field(default_factory=dict)


class Place:
    """Where the SR picture of a method is kept, ``pictures/SET/METHOD/NAME.png``, with its scores beside it.

    Args:
        folder (Path): Of the comparison.
        item (Item): The picture.
        method (Method): What enlarges it.
    """

    def __init__(self, folder: Path, item: Item, method: Method) -> None:
        parent = folder / PICTURES / file_name(item.set) / file_name(method.title)
        self.picture, self.scores = (parent / f"{file_name(item.name)}{end}" for end in (".png", ".json"))

    def read(self, made: str) -> Record:
        """Return the scores of the picture, an empty record if it is missing or was made of something else."""
        content = _read_json(self.scores)
        known = content.get("scores")
        if content.get("made") != made or not isinstance(known, dict) or not self.picture.is_file():
            return Record()
        try:
            return Record(made, {name: (str(of), _number(value)) for name, (of, value) in known.items()})
        except (TypeError, ValueError):
            return Record()

    def write_picture(self, image: np.ndarray) -> None:
        """Write the picture, (H, W, 3) BGR uint8.

        Raises:
            UserError: If it cannot be written.
        """
        self.picture.parent.mkdir(parents=True, exist_ok=True)
        self.scores.unlink(missing_ok=True)
        write_whole(self.picture, cv2.imencode(".png", image, FAST)[1].tobytes())

    def read_picture(self) -> np.ndarray | None:
        """Return the picture, None if it cannot be read."""
        try:
            image = as_stored(self.picture.read_bytes())
        except OSError:
            return None
        return image if image is not None and image.ndim == 3 and image.dtype == np.uint8 else None

    def write(self, record: Record) -> None:
        """Write the scores."""
        _write_json(self.scores, asdict(record))


def made_of(method: Method, low: str) -> str:
    """Return what an SR picture depends on: the method and its LR image, whose fingerprint is ``low``."""
    return hashlib.sha256(f"{method.key} {low}".encode()).hexdigest()


def missing_scores(record: Record, protocol: Protocol, high: str) -> list[str]:
    """Return the metrics that a record lacks, or has by another protocol or HR image."""
    return [
        name
        for name in protocol.metrics
        if name not in record.scores or record.scores[name][0] != protocol.fingerprint(name, high)
    ]


def kept_costs(folder: Path, methods: list[Method], latency: bool) -> dict[str, Costs]:
    """Return the costs of methods by title: those kept in the folder if they are of these methods, else measured."""
    keys = {each.title: each.key for each in methods}
    content = _read_json(folder / COSTS)
    if (content.get("methods"), content.get("latency")) == (keys, latency):
        try:
            return {title: Costs(**content["costs"][title]) for title in keys}
        except (KeyError, TypeError):
            pass
    found = measure_costs(methods, latency)
    costs = {title: asdict(found[title]) for title in keys}
    _write_json(folder / COSTS, {"methods": keys, "latency": latency, "costs": costs})
    return found


def has_costs(folder: Path) -> bool:
    """Return whether a comparison has begun in a folder: costs are the first that it writes."""
    return {"methods", "latency", "costs"} <= _read_json(folder / COSTS).keys()


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_whole(path, (json.dumps(content) + "\n").encode())
