"""Two processes of a distributed run without a launcher: forks of one process that has imported everything."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = str(Path(__file__).parents[1])
PRELOADED = ["tests.two", "tests.tiny", "torch", "basicsr.train", "basicsr.test"]
PATIENCE = 180


def run_two(
    command: str,
    options: dict,
    *more: str,
    spoil: Callable[[int], Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[list[int], list[str]]:
    """Run ``basicsr train`` or ``test`` in two processes; return their exit statuses and error streams.

    ``spoil`` is called with the rank before. A process that does not end within three minutes fails the test.
    """
    from tests import tiny

    tiny.write(options)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), **(environment or {})}
    argv = [command, "-opt", "run.yml", "--launcher", "pytorch", *more]
    processes = [
        context.Process(target=_child, args=(rank, environment, str(Path.cwd()), argv, spoil)) for rank in (0, 1)
    ]
    # Other packages install a module `tests` too.
    paths = os.pathsep.join(filter(None, (ROOT, os.environ.get("PYTHONPATH"))))
    with patch.dict(os.environ, PYTHONPATH=paths):
        for process in processes:
            process.start()
    end = time.monotonic() + PATIENCE
    for process in processes:
        process.join(max(end - time.monotonic(), 0.1))
    hanging = [process for process in processes if process.is_alive()]
    for process in hanging:
        process.kill()
    errors = [Path(f"rank{rank}.err").read_text(errors="replace") for rank in (0, 1)]
    assert not hanging, "\n".join(errors)
    return [process.exitcode for process in processes], errors


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _child(rank: int, environment: Mapping[str, str], folder: str, argv: list[str], spoil: Callable | None) -> None:
    import torch

    from lightsr_basicsr import cli

    os.chdir(folder)
    stream = open(f"rank{rank}.err", "w", buffering=1)  # noqa: SIM115
    os.dup2(stream.fileno(), 2)
    sys.stderr = stream
    os.environ.update(environment, RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    torch.set_num_threads(1)
    if spoil is not None:
        spoil(rank)
    sys.exit(cli.main(argv))
