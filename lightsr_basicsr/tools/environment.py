"""Facts for a bug report: versions, devices, and the BasicSR in use."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path

import lightsr_basicsr
from lightsr_basicsr import _compat
from lightsr_basicsr.bootstrap import find_basicsr
from lightsr_basicsr.plugins import load_plugins

PACKAGES = (
    "torch", "torchvision", "numpy", "opencv-python", "opencv-python-headless", "lmdb", "scipy", "scikit-image",
    "pyyaml", "einops", "safetensors", "tb-nightly", "tensorboard", "setuptools",
)  # fmt: skip


def describe_environment() -> dict[str, str]:
    """Return one line of text per fact, in the order to print them."""
    import torch

    plugins = load_plugins()
    facts = {
        "lightsr-basicsr": f"{lightsr_basicsr.__version__} ({Path(lightsr_basicsr.__file__).parent})",
        "basicsr": str(find_basicsr()),
        "python": f"{platform.python_version()} ({sys.executable})",
        "platform": platform.platform(),
    }
    facts.update({name: version for name in PACKAGES if (version := version_of(name))})
    facts["CPU"] = f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads"
    facts["GPU"] = _gpus(torch)
    facts["fixes applied"] = ", ".join(_compat.applied) or "none needed"
    for plugin in plugins:
        facts[f"plugin {plugin.name}"] = f"{plugin.distribution} {plugin.error and '- FAILED: ' + plugin.error}".strip()
    return facts


def version_of(name: str) -> str:
    """Return the version of an installed distribution, '' if it is missing."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _gpus(torch: object) -> str:
    if not torch.cuda.is_available():
        return "none that torch can use"
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return f"{', '.join(names)}; CUDA {torch.version.cuda}"
