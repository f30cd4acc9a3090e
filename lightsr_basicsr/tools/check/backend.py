"""Check the options in section ``val`` that select the backend of a test."""

from __future__ import annotations

from collections.abc import Iterator
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
        given = next(key for key in KEYS if run.section("val").get(key) is not None)
        yield Finding(f"val.{given}", "has an effect in `basicsr test` only: training validates with torch", False)
    elif settings.exported is None:
        yield from _check_network(settings, run)
    else:
        yield from _check_exported(settings, run)


def _device(run: Run) -> str | None:
    """Return the device of a test, None for the backend's choice."""
    return "cpu" if run.options.get("num_gpu") == 0 else None


def _check_network(settings: Settings, run: Run) -> Iterator[Finding]:
    """Yield why the network of the option file cannot be run with this backend on this machine."""
    where, precision = f"val.{_named(settings)}", settings.precision or "fp32"
    try:
        if settings.backend == AUTO:
            choose(precision, _device(run))
        else:
            check_precision(settings.backend, precision, _device(run))
    except BackendError as error:
        yield Finding(where, str(error))
        return
    net = run.networks.get("network_g")
    if not getattr(net, "super_resolves", True):
        text = f"{type(net).__name__} does not map one LR image to one SR image: remove {', '.join(KEYS)}"
        yield Finding(where, text)


def _named(settings: Settings) -> str:
    """Return the key to which a finding on backend and precision belongs."""
    return "precision" if settings.precision is not None and settings.backend in (AUTO, "torch") else "backend"


def _check_exported(settings: Settings, run: Run) -> Iterator[Finding]:
    """Yield why an exported file cannot be run, or does not match the option file."""
    path = Path(str(settings.exported)).expanduser()
    try:
        choose_reader(path, settings.backend)  # a checkpoint has none
        runtime = open_runtime(path, settings.backend, settings.precision, _device(run), settings.threads)
    except BackendError as error:
        yield Finding("val.exported", str(error))
        return
    wanted = run.options.get("scale")
    if isinstance(wanted, (int, float)) and runtime.scale != wanted:
        yield Finding("val.exported", f"{path} enlarges by {runtime.scale:g}, but the option file has scale {wanted}")
    channels = getattr(run.networks.get("network_g"), "num_in_ch", runtime.num_in_ch)
    if channels != runtime.num_in_ch:
        yield Finding("val.exported", f"{path} takes images of {runtime.num_in_ch} channels, network_g of {channels}")
