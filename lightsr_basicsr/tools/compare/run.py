"""Compare methods on sets of pictures: every picture by every method, measured, and kept as soon as it is done.

``compare(["IMDN_x4", "bicubic"], ["Set5/LR"], ["Set5/HR"])`` does from Python what the command ``basicsr compare``
does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from os.path import expanduser
from pathlib import Path
from typing import Any

import numpy as np

from lightsr_basicsr.errors import is_full, reason_of
from lightsr_basicsr.pictures.reading import printable
from lightsr_basicsr.tools.compare.crops import Crop
from lightsr_basicsr.tools.compare.folder import check_folder, make_folder
from lightsr_basicsr.tools.compare.kept import PICTURES, Place, Record, kept_costs, made_of, missing_scores
from lightsr_basicsr.tools.compare.methods import How, Method, open_methods
from lightsr_basicsr.tools.compare.results import Compared, Comparison, Shown, read_pair
from lightsr_basicsr.tools.compare.scores import Protocol, chosen_metrics
from lightsr_basicsr.tools.compare.sets import CompareError, Failure, Item, find_sets, place_of
from lightsr_basicsr.tools.compare.write import Wanted, check_names, write_results
from lightsr_basicsr.tools.files import checksum

Report = Callable[[str], Any]
Progress = Callable[[str, float, int, str], Any]


@dataclass(frozen=True)
class Settings:
    """What is measured, and what is written.

    Args:
        metrics (Sequence[str]): ``psnr``, ``ssim``, ``lpips``, ``dists``, ``niqe``; none takes PSNR and SSIM with HR
            images, NIQE without.
        crop_border (int | None): Pixels cut off at each side before PSNR, SSIM and NIQE; None is the scale.
        y_channel (bool): Whether PSNR and SSIM are those of the luma Y, else of RGB. Default: True.
        latency (bool): Whether to measure it. Default: True.
        crop (Crop | None): Part of HR to zoom into; None is where the methods differ most. Default: None.
        sheets (Sequence[str] | None): Names of pictures to draw sheets of; None is those where the methods differ most.
        megabytes (float): How large the page may be. Default: 50.
    """

    metrics: Sequence[str] = ()
    crop_border: int | None = None
    y_channel: bool = True
    latency: bool = True
    crop: Crop | None = None
    sheets: Sequence[str] | None = None
    megabytes: float = 50


def compare(
    models: Sequence[str | PathLike],
    inputs: str | PathLike | Sequence[str | PathLike],
    gt: str | PathLike | Sequence[str | PathLike] = (),
    output: str | PathLike = "comparison",
    *,
    settings: Settings | None = None,
    how: How | None = None,
    scale: int | None = None,
    section: Mapping[str, Any] | None = None,
    report: Report = lambda text: None,
    progress: Progress = lambda stage, done, total, name: None,
) -> Comparison:
    """Enlarge the pictures of some sets by some methods, measure, and write a page, sheets and tables.

    What is done is kept in the folder: the same call again does only the rest. A picture that fails is listed and never
    stops the others.

    Args:
        models (Sequence): As for :func:`~lightsr_basicsr.tools.compare.methods.open_methods`.
        inputs (str | PathLike | Sequence): Folders of LR images; ``'Set5=FOLDER'`` gives a title.
        gt (str | PathLike | Sequence): As many folders of HR images, in the same order, or none. Default: none.
        output (str | PathLike): The folder: a new or empty one apart from the pictures, or that of an earlier
            comparison. Default: ``'comparison'``.
        settings (Settings | None): What is measured and written. Default: None, all.
        how (How | None): How networks are run. Default: None, as ``basicsr test`` does.
        scale (int | None): For bicubic interpolation alone. Default: None.
        section (Mapping | None): Section of an option file, for checkpoints that cannot be identified. Default: None.
        report (Callable): Called with sentences on what is done otherwise than expected.
        progress (Callable): Called with what is done (``PICTURES``, ``'page'`` or ``'sheets'``), the number of pictures
            done, that of all, and the name of the running one.

    Raises:
        UserError: If it is not possible as a whole.
    """
    settings = settings or Settings()
    sets = find_sets(_several(inputs), _several(gt))
    folder = Path(expanduser(output))
    check_folder(folder, [place_of(text) for text in (*_several(inputs), *_several(gt))], sets)
    check_names(sets, settings.sheets or ())
    _check_megabytes(settings.megabytes)
    metrics = chosen_metrics(settings.metrics, with_high=bool(_several(gt)))
    methods = open_methods(models, how, scale=scale, section=section, report=report)
    common = methods[0].scale
    protocol = Protocol(metrics, _border(settings.crop_border, common), settings.y_channel)
    make_folder(folder)
    costs = kept_costs(folder, methods, settings.latency)
    shown = [Shown(each.title, each.source, costs[each.title]) for each in methods]
    found = Comparison(common, shown, protocol, folder, _machine(methods))
    found.failed += [failure for each in sets for failure in each.failed]
    items = [item for each in sets for item in each.items]
    work = _Work(found, methods, lambda done, name: progress(PICTURES, done, len(items), name))
    for item in items:
        work.do(item)
        if found.full:
            break
    if found.pictures:
        write_results(found, Wanted(settings.crop, settings.sheets, settings.megabytes), report, progress)
    return found


def _several(given: str | PathLike | Sequence[str | PathLike]) -> list[str | PathLike]:
    return [given] if isinstance(given, (str, PathLike)) else list(given)


def _check_megabytes(megabytes: float) -> None:
    if not 1 <= megabytes <= 2000:
        raise CompareError(f"Expected a size of the page from 1 to 2000 MB, got {megabytes:g}: correct --page-size.")


def _border(asked: int | None, scale: int) -> int:
    if asked is not None and asked < 0:
        raise CompareError(f"Expected 0 or more pixels to cut off, got {asked}: correct --crop-border.")
    return scale if asked is None else asked


def _machine(methods: Sequence[Method]) -> str:
    """Return what runs the networks, in words."""
    return "; ".join(dict.fromkeys(str(each.upscaler.runtime) for each in methods if each.upscaler is not None))


class _Work:
    """Enlarges and measures one picture after the other.

    Args:
        found (Comparison): Is filled.
        methods (Sequence[Method]): What enlarges.
        tell (Callable): Called with the number of pictures done, and the name of the running one.
    """

    def __init__(self, found: Comparison, methods: Sequence[Method], tell: Callable[[float, str], Any]) -> None:
        self.found, self.methods, self.tell, self.done = found, methods, tell, 0.0

    def do(self, item: Item) -> None:
        """Enlarge and measure a picture by all methods, or note why not."""
        try:
            self.found.pictures.append(self._compared(item))
        except Exception as error:  # decoders, backends and networks of other packages raise any type
            names = str(item.low), printable(item.low)
            self.found.full = is_full(error)
            self.found.failed.append(Failure(item.low, reason_of(error, "--tile 256", *names)))
        self.done = round(self.done + 1)

    def _compared(self, item: Item) -> Compared:
        prints = [checksum(file) if file else "" for file in (item.low, item.high)]
        images: list[np.ndarray | None] | None = None
        records, places = [], [Place(self.found.folder, item, method) for method in self.methods]
        for number, (method, place) in enumerate(zip(self.methods, places, strict=True)):
            made = made_of(method, prints[0])
            record = place.read(made)
            lacking = missing_scores(record, self.found.protocol, prints[1])
            if lacking:
                images = images or list(read_pair(item, self.found.scale))
                image = place.read_picture() if record.made else None
                if image is None:
                    record = Record(made)
                    image = method.enlarge(images[0], self._teller(item, number))
                    place.write_picture(image)
                for name in lacking:
                    value = self.found.protocol.measure(name, image, images[1])
                    record.scores[name] = (self.found.protocol.fingerprint(name, prints[1]), value)
                place.write(record)
            records.append(record)
            self.tell(self.done + (number + 1) / len(self.methods), item.name)
        scores = {name: [each.scores[name][1] for each in records] for name in self.found.protocol.metrics}
        return Compared(item, scores, [place.picture for place in places])

    def _teller(self, item: Item, number: int) -> Callable[[float], Any]:
        def tell(part: float) -> None:
            self.tell(self.done + (number + part) / len(self.methods), item.name)

        return tell
