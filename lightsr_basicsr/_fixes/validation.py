"""Validation: images whose metrics fail or are not finite are named; they do not end a run or count as the best."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from lightsr_basicsr._fixes.detect import uses, wrapped_by
from lightsr_basicsr.errors import short_message

# The image that is validated now in this process: its name, whether all its values are finite, and its place in the
# set; and where a process that validates a share of the set keeps warnings for the first one, None for the log.
NOW = SimpleNamespace(name="an image", finite=True, place=0, warnings=None)


class Sum(float):
    """A sum of a metric over images that knows how many of them are left out; dividing it gives the mean of the others.

    >>> (0 + Sum(0.0, 1) + 30.0 + 20.0) / 3
    25.0
    """

    left_out: int

    def __new__(cls, total: float, left_out: int = 0) -> Sum:
        """Create the sum of the values that could be computed."""
        self = super().__new__(cls, total)
        self.left_out = left_out
        return self

    def __add__(self, other: float) -> Sum:
        return Sum(float(self) + float(other), self.left_out + getattr(other, "left_out", 0))

    __radd__ = __add__

    def __truediv__(self, images: int) -> float:
        count = images - self.left_out
        return float(self) / count if count else float("nan")


class Named:
    """``loader`` of a validation set that keeps the name of the current image in ``NOW`` and passes over broken ones.

    Raises:
        BrokenImageError: If more images are broken than ``max_broken`` of the set allows, or all of them.
    """

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Any]:
        from lightsr_basicsr.data.readable import BROKEN, BrokenImageError

        broken, read = [], 0
        for batch in self.loader:
            paths = batch.get("lq_path") if isinstance(batch, dict) else None
            NOW.name, NOW.finite = str(next(iter(paths or ()), "an image")), True
            if isinstance(batch, dict) and BROKEN in batch:
                broken += batch[BROKEN]
                self._refuse_too_many(broken)
            else:
                read += 1
                yield batch
        if broken and not read:
            raise BrokenImageError("; ".join(broken))

    def _refuse_too_many(self, broken: list[str]) -> None:
        from lightsr_basicsr.data.readable import BrokenImageError

        most = getattr(self.loader.dataset, "most", 0)
        if len(broken) > most:
            raise BrokenImageError(f"{'; '.join(broken)}: more than max_broken of this set ({most}) are broken")
        _warn(f"{broken[-1]}: left out of the set ({len(broken)} of at most {most}).")

    def __len__(self) -> int:
        return len(self.loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)


def _name_images(model: type) -> None:
    """Let the validation of ``model`` keep the current image in ``NOW``, once."""
    validate = model.nondist_validation
    if wrapped_by(validate, __name__):
        return

    def nondist_validation(self: Any, dataloader: Any, *args: Any, **kwargs: Any) -> Any:
        return validate(self, Named(dataloader), *args, **kwargs)

    nondist_validation.__wrapped__ = validate
    model.nondist_validation = nondist_validation


def _warn(text: str) -> None:
    from basicsr.utils import get_root_logger

    if NOW.warnings is None:
        get_root_logger().warning(text)
    else:
        NOW.warnings.append((NOW.place, text))


def metrics_of_the_other_images() -> bool:
    """Leave an image out of the mean of a metric that fails on it, with a warning that names it.

    Why: NIQE raises ``SVD did not converge`` for a small image, hours into a training, and the means of the set are
    lost. Since: always. Until: BasicSR catches what metrics raise.
    """
    from basicsr.models import sr_model

    model, calculate = sr_model.SRModel, sr_model.calculate_metric
    if calculate.__module__ == __name__ or not uses(model.nondist_validation, "calculate_metric"):
        return False

    def calculate_metric(data: dict, opt: dict) -> float:
        try:
            return calculate(data, opt)
        except Exception as error:  # metrics may raise anything
            shape = "x".join(map(str, data["img"].shape))
            _warn(f"{opt['type']} failed on {NOW.name} ({shape}) and leaves it out of the mean: {short_message(error)}")
            return Sum(0.0, left_out=1)

    sr_model.calculate_metric = calculate_metric
    _name_images(model)
    return True


def no_record_of_nan() -> bool:
    """Name images with NaN or Inf, and metrics that are NaN; such an image's metrics are NaN and never the best.

    Why: rounding to 8 bits turns NaN into black, so the metrics of a network that diverged are finite, and may be
    recorded as the best. Since: always. Until: BasicSR compares what the network gives.
    """
    from basicsr.models import sr_model

    model, calculate = sr_model.SRModel, sr_model.calculate_metric
    visuals = model.get_current_visuals
    if wrapped_by(visuals, __name__):
        return False

    def get_current_visuals(self: Any) -> Any:
        shown = visuals(self)
        NOW.finite = bool(shown["result"].isfinite().all())
        if not NOW.finite:
            _warn(f"{NOW.name}: the SR image has NaN or Inf; its metrics are NaN.")
        return shown

    def calculate_metric(data: dict, opt: dict) -> float:
        value = calculate(data, opt) if NOW.finite else math.nan
        if NOW.finite and math.isnan(value):
            _warn(f"{NOW.name}: {opt['type']} is NaN, and so is the mean of the set.")
        return value

    model.get_current_visuals, sr_model.calculate_metric = get_current_visuals, calculate_metric
    _name_images(model)
    return True


def networks_without_windows() -> bool:
    """Let SwinIRModel validate networks that have no ``window_size``, as SRModel does.

    Why: it pads images to multiples of ``network_g.window_size``, and stops with a KeyError where the option file has
    none: after the first iterations of a training. Since: 1.3.4.8. Until: BasicSR asks whether there is one.
    """
    from basicsr.models.sr_model import SRModel
    from basicsr.models.swinir_model import SwinIRModel

    original = SwinIRModel.test
    if not uses(original, "pad"):
        return False

    def test(self: Any) -> None:
        (original if self.opt["network_g"].get("window_size") else SRModel.test)(self)

    SwinIRModel.test = test
    return True
