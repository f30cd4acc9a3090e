"""Check the options in section ``val`` that select the backend of a test."""

from __future__ import annotations

from collections.abc import Iterator
from os.path import expanduser
from pathlib import Path

from lightsr_basicsr.runtimes.base import BackendError
from lightsr_basicsr.runtimes.choice import AUTO, check_precision, choose, choose_reader, open_runtime
from lightsr_basicsr.runtimes.validation import KEYS, OPTIONS, Settings, settings_of
from lightsr_basicsr.tools.check.context import Finding, Run


def check_backend(run: Run) -> Iterator[Finding]:
    """Yield what is wrong with ``val.backend``, ``precision``, ``threads`` and ``exported``; training ignores them."""
    settings, section = settings_of(run.options), run.section("val")
    if settings is None or any(field.problem(section.get(key.removeprefix("val."))) for key, field in OPTIONS.items()):
        return  # a wrong value is found with all other keys
    if run.is_train:
        given = next(key for key in KEYS if section.get(key) is not None)
        yield Finding(f"val.{given}", "has an effect in `basicsr test` only: training validates with torch", False)
        return
    by_precision = settings.precision is not None and settings.backend in (AUTO, "torch")
    key = "exported" if settings.exported is not None else "precision" if by_precision else "backend"
    device = "cpu" if run.options.get("num_gpu") == 0 else None  # None for the backend's choice
    find = _find_network_problems if settings.exported is None else _find_file_problems
    try:
        yield from (Finding(f"val.{key}", text) for text in find(settings, run, device))
    except BackendError as error:
        yield Finding(f"val.{key}", str(error))


def _find_network_problems(settings: Settings, run: Run, device: str | None) -> Iterator[str]:
    """Yield why the network of the option file cannot be run; BackendError if no network can, with these settings."""
    precision, net = settings.precision or "fp32", run.networks.get("network_g")
    if settings.backend == AUTO:
        choose(precision, device)
    else:
        check_precision(settings.backend, precision, device)
    if not getattr(net, "super_resolves", True):
        yield f"{type(net).__name__} does not map one LR image to one SR image: remove {', '.join(KEYS)}"


def _find_file_problems(settings: Settings, run: Run, device: str | None) -> Iterator[str]:
    """Yield how an exported file differs from the option file; BackendError if it cannot be run."""
    path = Path(expanduser(str(settings.exported)))
    choose_reader(path, settings.backend)  # a checkpoint has none
    runtime = open_runtime(path, settings.backend, settings.precision, device, settings.threads, settings.trust)
    wanted = run.options.get("scale")
    if isinstance(wanted, (int, float)) and runtime.scale != wanted:
        yield f"{path} enlarges by {runtime.scale:g}, but the option file has scale {wanted}"
    channels = getattr(run.networks.get("network_g"), "num_in_ch", runtime.num_in_ch)
    if channels != runtime.num_in_ch:
        yield f"{path} takes images of {runtime.num_in_ch} channels, network_g of {channels}"
