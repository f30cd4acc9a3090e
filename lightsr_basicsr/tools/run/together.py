"""What the processes of a distributed run decide together, so that all of them go on or end."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import Any

import torch
from torch import distributed

# How errors of a collective call begin or go on where another process has ended; NCCL's have types of their own.
LOST = ("gloo", "connection closed by peer", "connection reset by peer", "broken pipe")


def gather(options: Mapping[str, Any], texts: list[str]) -> list[str]:
    """Return the texts of all processes, in their order; all must call this."""
    if not options["dist"]:
        return texts
    gathered: list[Any] = [None] * options["world_size"]
    distributed.all_gather_object(gathered, texts)
    return [each for part in gathered for each in part]


def largest(options: Mapping[str, Any], code: int) -> int:
    """Return the largest ``code`` of all processes; all must call this."""
    if not options["dist"]:
        return code
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    found = torch.tensor(code, device=device)
    distributed.all_reduce(found, distributed.ReduceOp.MAX)
    return int(found)


def leave_group() -> None:
    """End distributed computing: the first process continues alone, and must not wait for the others anywhere.

    Nothing may hold a network of the run any more.
    """
    if in_group():
        distributed.destroy_process_group()
        # Networks wrapped for distributed training keep the threads of the group, which abort an interpreter that ends.
        gc.collect()


def is_lost(error: BaseException) -> bool:
    """Return whether a collective call failed because another process has ended or cannot be reached."""
    if not in_group() or not isinstance(error, RuntimeError):
        return False
    named = isinstance(error, getattr(distributed, "DistError", ()))
    return named or any(text in str(error).lower() for text in LOST)


def in_group() -> bool:
    """Return whether this process is one of a distributed run."""
    return distributed.is_available() and distributed.is_initialized()
