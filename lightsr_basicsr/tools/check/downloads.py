"""Download the weights of metrics and losses once the rest of an option file is right."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from basicsr.utils.registry import LOSS_REGISTRY, METRIC_REGISTRY

from lightsr_basicsr.errors import short_message
from lightsr_basicsr.registry import look_up
from lightsr_basicsr.tools.check.context import Finding, Run
from lightsr_basicsr.tools.check.names import arguments_of

# BasicSR's PerceptualLoss looks here first; otherwise torchvision downloads into torch's folder.
VGG_FOLDER = "experiments/pretrained_models"
VGG_FILES = {"vgg19": "vgg19-dcbb9e9d.pth", "vgg16": "vgg16-397923af.pth"}


def check_downloads(run: Run) -> Iterator[Finding]:
    """Yield metrics and losses whose weights cannot be loaded; this may download half a gigabyte."""
    # The first process validates; the others find its downloads on disk.
    if os.environ.get("RANK", "0") != "0":
        return
    for name, content in (run.section("val").get("metrics") or {}).items():
        prepare = getattr(look_up(METRIC_REGISTRY, content["type"]), "prepare", None)
        if prepare is not None:
            yield from _try(f"val.metrics.{name}", prepare, content)
    loss = run.section("train", "perceptual_opt")
    if run.is_train and loss.get("type") == "PerceptualLoss":
        file = VGG_FILES.get(str(loss.get("vgg_type", "vgg19")), "the weights of VGG")
        hint = f"; without a connection put {file} into {Path(VGG_FOLDER).absolute()}"
        yield from _try("train.perceptual_opt", look_up(LOSS_REGISTRY, loss["type"]), loss, hint)


def _try(where: str, action: Callable, content: Mapping[str, Any], hint: str = "") -> Iterator[Finding]:
    try:
        action(**arguments_of(content))
    except Exception as error:
        # Metrics and losses of other plugins may raise any exception.
        yield Finding(where, short_message(error) + hint)
