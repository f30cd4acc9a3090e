"""Names that plugins import from BasicSR, and that only other releases of it have."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

BASIC = ("L1Loss", "MSELoss", "CharbonnierLoss", "WeightedTVLoss", "PerceptualLoss")
GAN = ("GANLoss", "MultiScaleGANLoss", "r1_penalty", "g_path_regularize", "gradient_penalty_loss")
# Module where plugins look, module of 1.4.2 that has the names, and the names.
MOVED = (
    (
        "basicsr.utils.matlab_functions",
        "basicsr.utils.color_util",
        ("rgb2ycbcr", "bgr2ycbcr", "ycbcr2rgb", "ycbcr2bgr"),
    ),
    ("basicsr.losses", "basicsr.losses.basic_loss", BASIC),
    ("basicsr.losses", "basicsr.losses.gan_loss", GAN),
    ("basicsr.losses.losses", "basicsr.losses.basic_loss", BASIC),
    ("basicsr.losses.losses", "basicsr.losses.gan_loss", GAN),
)


def moved_names() -> bool:
    """Serve names of BasicSR 1.3 under the modules that they were in.

    Why: plugins of that time import them from there: HAT asks for BasicSR 1.3.4.9. Since: 1.4.0. Until: no plugin
    needs them.
    """
    served = [_serve(*each) for each in MOVED]
    return any(served)


def reader_of_option_files() -> bool:
    """Serve ``yaml_load``, which reads an option file or a text in YAML.

    Why: BasicSR's head has it, and plugins written for it import it. Since: always. Until: BasicSR 1.4.3.
    """
    from basicsr import utils
    from basicsr.utils import options

    if hasattr(options, "yaml_load"):
        return False
    options.yaml_load = utils.yaml_load = _yaml_load
    return True


def _serve(there: str, here: str, names: tuple[str, ...]) -> bool:
    """Return whether any of ``names`` was missing in the module ``there``; module ``here`` has them now too."""
    try:
        source, target = importlib.import_module(here), _module(there)
    except ImportError:  # a release before 1.4
        return False
    missing = [name for name in names if hasattr(source, name) and not hasattr(target, name)]
    vars(target).update({name: getattr(source, name) for name in missing})
    return bool(missing)


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        parent, _, last = name.rpartition(".")
        sys.modules[name] = module = ModuleType(name, "Names of BasicSR 1.3.")
        setattr(importlib.import_module(parent), last, module)
        return module


def _yaml_load(f: str) -> Any:
    import yaml

    path = Path(f)
    return yaml.safe_load(path.read_text(encoding="utf-8") if "\n" not in f and path.is_file() else f)
