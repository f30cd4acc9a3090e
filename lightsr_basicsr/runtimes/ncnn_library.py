"""ncnn and pnnx themselves: whether they are installed and new enough, and what ncnn can do here."""

from __future__ import annotations

import re
from types import ModuleType

from lightsr_basicsr.errors import install_command
from lightsr_basicsr.runtimes.base import BackendError, require, worded

EXTRA = "ncnn"
# Days of the releases with which exported networks were tried; earlier ones lack sizes that are computed.
LEAST = {"ncnn": 20250503, "pnnx": 20250530}


def require_ncnn() -> ModuleType:
    """Return ncnn.

    Raises:
        BackendError: If it is not installed, or too old.
    """
    return _checked("ncnn")


def require_pnnx() -> ModuleType:
    """Return pnnx, which converts networks for ncnn.

    Raises:
        BackendError: If it is not installed, or too old.
    """
    return _checked("pnnx")


def _checked(name: str) -> ModuleType:
    module = require(name, EXTRA)
    version = str(getattr(module, "__version__", ""))
    found = re.search(r"\d{8}", version)
    if found and int(found[0]) < LEAST[name]:
        raise BackendError(
            f"{name} {version} is too old, expected one of {LEAST[name]} or later: "
            f"{install_command(EXTRA, '--upgrade')}"
        )
    return module


def find_ncnn_device(device: str | None) -> str:
    """Return ``'cpu'``, or ``'vulkan'`` with the number of a GPU where this ncnn finds one; None is the CPU.

    Raises:
        BackendError: If ncnn is not installed or has no such device here.
    """
    ncnn = require_ncnn()
    name = (device or "cpu").lower()
    if name == "cpu":
        return name
    kind, _, number = name.partition(":")
    count = ncnn.get_gpu_count() if kind == "vulkan" and hasattr(ncnn, "get_gpu_count") else 0
    if kind != "vulkan" or not (number or "0").isdecimal() or int(number or 0) >= count:
        known = ("cpu", *(f"vulkan:{index}" for index in range(count)))
        raise BackendError(f"ncnn cannot run on device {device!r} here: choose {worded(known)}.")
    return name


def ncnn_precisions(device: str) -> tuple[str, ...]:
    """Return the precisions of ncnn on a device; on x86 its half precision computes in float32."""
    ncnn = require_ncnn()
    half = device != "cpu" or getattr(ncnn, "cpu_support_arm_asimdhp", lambda: False)()
    return ("fp32", "bf16", "fp16") if half and device == "cpu" else ("fp32", "fp16") if half else ("fp32", "bf16")
