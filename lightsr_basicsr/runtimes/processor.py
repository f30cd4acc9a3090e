"""The processor: its name, and the sets of instructions that decide how fast a backend is on it."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

LISTING = Path("/proc/cpuinfo")
# Beginnings of the sets of vector and matrix instructions in that listing.
VECTORS = ("sse4", "avx", "amx", "fma", "f16c", "asimd", "sve", "bf16", "i8mm")


def cpu_name() -> str:
    """Return the processor's name and the vector instructions that torch uses."""
    named = (_value(line) for line in _lines() if line.startswith(("model name", "Model")))
    name = next(named, "") or platform.processor() or platform.machine() or "unknown"
    capability = getattr(torch.backends.cpu, "get_cpu_capability", lambda: "")()
    return f"{name}, {capability}" if capability not in ("", "DEFAULT", "NO AVX") else name


def instruction_sets() -> str:
    """Return the sets of vector and matrix instructions, sorted, '' where the system does not tell."""
    told = next((_value(line) for line in _lines() if line.startswith(("flags", "Features"))), "")
    return " ".join(sorted(name for name in told.split() if name.startswith(VECTORS)))


def _lines() -> list[str]:
    return LISTING.read_text(encoding="utf-8", errors="replace").splitlines() if LISTING.is_file() else []


def _value(line: str) -> str:
    return line.partition(":")[2].strip()
