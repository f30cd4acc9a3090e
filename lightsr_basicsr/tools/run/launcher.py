"""Whether this process was started as its launcher would have done it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping

import torch

from lightsr_basicsr.errors import UserError

# What BasicSR and torch.distributed read; numbers first.
NUMBERS = {"pytorch": ("RANK", "WORLD_SIZE", "MASTER_PORT"), "slurm": ("SLURM_PROCID", "SLURM_NTASKS")}
TEXTS = {"pytorch": ("MASTER_ADDR",), "slurm": ("SLURM_NODELIST",)}


class LauncherError(UserError):
    """``--launcher`` does not match how the process was started. The message gives the command."""


def require_launcher(launcher: str, command: str, environment: Mapping[str, str] = os.environ) -> None:
    """Check that the environment is that of the launcher.

    Args:
        launcher (str): ``'none'``, ``'pytorch'`` or ``'slurm'``.
        command (str): The command line without the launcher, ``'train -opt my.yml'``, for messages.
        environment (Mapping): The environment variables.

    Raises:
        LauncherError: If variables are missing or wrong, or several processes were started without a launcher.
    """
    torchrun = f"torchrun --standalone --nproc_per_node=2 -m lightsr_basicsr.cli {command} --launcher pytorch"
    if launcher == "none":
        if _is_one_of_several(environment):
            raise LauncherError(f"torchrun started several processes, which would all do the same run: {torchrun}")
        return
    starts = {"pytorch": torchrun, "slurm": f"srun --ntasks=2 --gpus-per-task=1 basicsr {command} --launcher slurm"}
    missing = [name for name in (*NUMBERS[launcher], *TEXTS[launcher]) if not environment.get(name)]
    if missing:
        text = f"--launcher {launcher} expects {', '.join(missing)} in the environment, which are not set"
        raise LauncherError(f"{text}. Start with: {starts[launcher]}; on one GPU or CPU leave --launcher out.")
    for name in NUMBERS[launcher]:
        if not environment[name].isdigit():
            raise LauncherError(f"{name} must be a whole number, got {environment[name]!r}. Use: {starts[launcher]}")
    if launcher == "slurm" and not torch.cuda.device_count():
        raise LauncherError(f"--launcher slurm needs GPUs, and torch sees none; on CPUs: {torchrun}")
    if launcher == "slurm" and shutil.which("scontrol") is None:
        raise LauncherError("--launcher slurm calls scontrol, which is not installed here: run it on a Slurm node.")


def require_alone(launcher: str, command: str, environment: Mapping[str, str] = os.environ) -> None:
    """Raise LauncherError unless a command that runs in one process was started without a launcher."""
    if launcher != "none" or _is_one_of_several(environment):
        got = f"--launcher {launcher}" if launcher != "none" else "several processes of torchrun"
        name = command.split()[0]
        raise LauncherError(
            f"basicsr {name} runs in one process, got {got}: start it as basicsr {command}. To fine-tune with several, "
            "train a DistillFinetuneModel from net_pruned_latest.pth."
        )


def _is_one_of_several(environment: Mapping[str, str]) -> bool:
    return "TORCHELASTIC_RUN_ID" in environment and environment.get("WORLD_SIZE", "1") != "1"
