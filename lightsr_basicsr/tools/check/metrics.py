"""Check the metrics of an option file: names, arguments, and sizes of images that they can be computed for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from basicsr.utils.registry import METRIC_REGISTRY

from lightsr_basicsr.registry import look_up
from lightsr_basicsr.tools.check.basicsr_fields import METRICS
from lightsr_basicsr.tools.check.context import Finding, Run
from lightsr_basicsr.tools.check.names import check_section_of_type
from lightsr_basicsr.tools.images import some

# NIQE compares blocks of the image with each other, so it needs two; SSIM has windows of 11 pixels.
NIQE_BLOCK, SSIM_WINDOW = 96, 11


def check_metrics(run: Run) -> Iterator[Finding]:
    """Yield metrics that are unknown or have wrong arguments."""
    metrics = run.section("val").get("metrics") or {}
    for name, content in metrics.items() if isinstance(metrics, Mapping) else ():
        where, own = f"val.metrics.{name}", content
        if isinstance(content, Mapping):
            own = {key: value for key, value in content.items() if key != "better"}  # read by BasicSR itself
            for key in METRICS.keys() & content.keys():
                if problem := METRICS[key].problem(content[key]):
                    yield Finding(f"{where}.{key}", problem)
        yield from check_section_of_type(where, own, METRIC_REGISTRY, "metric", given=("img", "img2"))


def check_sizes(run: Run) -> Iterator[Finding]:
    """Yield metrics that cannot be computed for some SR images; fatal if for none of a set."""
    for key, seen in run.seen.items():
        if str(key).split("_")[0] == "train" or not seen.sizes:
            continue
        for name, content in run.section("val", "metrics").items():
            small = [f"{file} ({w}x{h})" for file, (w, h) in seen.sizes.items() if not _is_enough(content, w, h)]
            if small:
                every = len(small) == len(seen.sizes)
                wanted = f"{content['type']} needs SR images {_needed(content)}"
                rest = "" if every else "; they are left out of its mean"
                yield Finding(f"val.metrics.{name}", f"{wanted}; smaller in datasets.{key}: {some(small)}{rest}", every)


def _inside(content: Mapping[str, Any], side: int) -> int:
    return side - 2 * content.get("crop_border", 0)


def _is_enough(content: Mapping[str, Any], width: int, height: int) -> bool:
    width, height = (_inside(content, side) for side in (width, height))
    if _is(content, "calculate_niqe"):
        return (width // NIQE_BLOCK) * (height // NIQE_BLOCK) >= 2
    least = SSIM_WINDOW if _is(content, "calculate_ssim") else 1
    return min(width, height) >= least


def _needed(content: Mapping[str, Any]) -> str:
    border = 2 * content.get("crop_border", 0)
    if _is(content, "calculate_niqe"):
        return f"of at least {2 * NIQE_BLOCK + border}x{NIQE_BLOCK + border} pixels, or upright"
    least = SSIM_WINDOW if _is(content, "calculate_ssim") else 1
    return f"of at least {least + border} pixels on each side"


def _is(content: Mapping[str, Any], name: str) -> bool:
    """Return whether a section names BasicSR's metric ``name``, which others may have replaced."""
    function = look_up(METRIC_REGISTRY, content["type"])
    return getattr(function, "__name__", "") == name and function.__module__.startswith("basicsr.")
