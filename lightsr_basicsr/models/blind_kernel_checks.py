"""Checks for option files of ``BlindKernelModel``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from lightsr_basicsr.models.contract import LossDictContract, Networks, Options, Problems
from lightsr_basicsr.models.dual_checks import OTHER_LOSSES
from lightsr_basicsr.models.kernel_checks import estimates_kernel, find_kernel_problems, with_dual_hint, without_idle


class BlindKernelContract(LossDictContract):
    """The contract of ``BlindKernelModel``."""

    needed_sections: ClassVar = {"train.pixel_opt": "{type: L1Loss}", "train.kernel_opt": "{type: L1Loss}"}

    def needed_keys(self, phase: str, options: Options, networks: Networks) -> tuple[str, ...]:
        """Return, for training, also that of the kernel."""
        return (*super().needed_keys(phase, options, networks), *(("kernel",) if phase == "train" else ()))

    def find_problems(self, options: Options, networks: Networks) -> Problems:
        """Yield also unsuitable losses, and networks and data that do not belong together."""
        yield from super().find_problems(options, networks)
        train = options.get("train") or {}
        for key in ("pixel_opt", "kernel_opt", "dual_opt"):
            if isinstance(section := train.get(key), Mapping) and section.get("type") in OTHER_LOSSES:
                text = (
                    f"must be a loss between two images such as L1Loss, got {section['type']}: write {{type: L1Loss}}"
                )
                yield f"train.{key}.type", text
        net = networks.get("network_g")
        if net is None:
            return
        if not estimates_kernel(net):
            text = (
                f"must be a network that estimates a kernel, got {type(net).__name__}: use DCLS, or another model_type"
            )
            yield "network_g.type", text
            return
        yield from find_kernel_problems(net, options)

    @staticmethod
    def weights_for(net: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return ``state`` without what DRC's files hold beside the network: a dual network that ``net`` lacks."""
        return without_idle(net, state)

    @classmethod
    def describe_misfit(cls, net: nn.Module, state: Mapping[str, Tensor], source: str, strict: bool) -> str:
        """Return why ``load_network`` would not load what is meant for ``net``, and what to do."""
        misfit = super().describe_misfit(net, state, source, strict)
        return with_dual_hint(misfit, net, state)
