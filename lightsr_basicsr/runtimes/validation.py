"""Validate on a backend: a model's networks are replaced by modules that call a runtime."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from os.path import expanduser
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from lightsr_basicsr import fields
from lightsr_basicsr.runtimes.base import BACKENDS, MOST_THREADS, PRECISIONS, BackendError, Runtime
from lightsr_basicsr.runtimes.choice import AUTO, open_runtime

OPTIONS = {
    "val.backend": fields.text("Backend that runs the network in a test.", (AUTO, *BACKENDS), null=True),
    "val.precision": fields.text("Precision in which it runs.", PRECISIONS, null=True),
    "val.threads": fields.count("CPU threads; without it as many as torch takes.", most=MOST_THREADS, null=True),
    "val.exported": fields.text("Exported file that runs in the network's place.", null=True),
    "val.trust": fields.flag("Whether a TorchScript file of `exported` may run, which is a program.", null=True),
}
KEYS = tuple(key.removeprefix("val.") for key in OPTIONS)
REPLACED = ("net_g", "net_g_ema")


class Settings(NamedTuple):
    """Settings in an option file's section ``val`` for running the network."""

    backend: str = AUTO  # one of `BACKENDS`, or 'auto'
    precision: str | None = None  # one of `PRECISIONS`; None is float32, or the precision of the exported file
    threads: int | None = None  # CPU threads; None is torch's number
    exported: str | None = None  # an exported file to run instead of the network
    trust: bool = False  # whether a TorchScript file may run


class RuntimeNetwork(nn.Module):
    """A network whose images come from a runtime; parameters and everything else are those of the network."""

    def __init__(self, network: nn.Module, runtime: Runtime) -> None:
        super().__init__()
        self.network, self.runtime = network, runtime
        self.train(network.training)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) in [0, 1] to (N, C, sH, sW)."""
        return self.runtime(x.float())

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            # Models read attributes such as window sizes from their networks.
            return getattr(super().__getattr__("network"), name)

    def __deepcopy__(self, memo: dict) -> RuntimeNetwork:
        """Copy the network; runtimes cannot be copied."""
        return RuntimeNetwork(deepcopy(self.network, memo), self.runtime)


def settings_of(options: Mapping[str, Any]) -> Settings | None:
    """Return an option file's settings for the network in validation, None for none: BasicSR runs it then."""
    section = options.get("val")
    given = {key: section[key] for key in KEYS if section.get(key) is not None} if isinstance(section, Mapping) else {}
    return Settings(**given) if given.keys() - {"trust"} else None


def run_by_backend(model: Any, settings: Settings) -> RuntimeNetwork:
    """Run the network of a BasicSR model on a backend from now on, and return its replacement.

    Replaced are its ``net_g``, and its ``net_g_ema`` if it has one.

    Raises:
        BackendError: If it has no such network, or the backend cannot run it.
    """
    networks = {name: model.get_bare_model(getattr(model, name)) for name in REPLACED if hasattr(model, name)}
    if not networks:
        raise BackendError(f"{type(model).__name__} has no net_g to run: leave {', '.join(KEYS)} out of `val`.")
    # A test on the CPU stays there; one on CUDA uses any device of the backend.
    device = "cpu" if model.device.type == "cpu" else None
    for name, network in networks.items():
        source = network if settings.exported is None else Path(expanduser(settings.exported))
        runtime = open_runtime(source, settings.backend, settings.precision, device, settings.threads, settings.trust)
        setattr(model, name, RuntimeNetwork(network, runtime))
    if hasattr(model, "deploys"):
        # Backends run the deployed form, which needs no comparison with itself.
        model.deploys = lambda options: False
    return getattr(model, [*networks][-1])
