"""Add the networks of this package to spandrel, and so to the tools that load models with it.

``lightsr_basicsr.spandrel.install()`` once, and ``spandrel.ModelLoader().load_from_file(path)`` opens our files.
"""

from __future__ import annotations

from collections.abc import Mapping

from lightsr_basicsr.errors import require_basicsr

require_basicsr()

from basicsr.archs.swinir_arch import SwinIR
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from lightsr_basicsr.archs.network import SRNetwork
from lightsr_basicsr.checkpoints import CheckpointError, unwrap
from lightsr_basicsr.checkpoints.identify import load_identified, try_network
from lightsr_basicsr.checkpoints.lookalikes import OUR_PREFIX

try:
    from spandrel import (
        MAIN_REGISTRY,
        Architecture,
        ArchRegistry,
        ArchSupport,
        ImageModelDescriptor,
        ModelTiling,
        SizeRequirements,
    )
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("spandrel is not installed: pip install spandrel") from error


class LightArchitecture(Architecture[nn.Module]):
    """One of our networks in spandrel's terms.

    Args:
        network (str): Registered name.
        cls (type[SRNetwork]): Its class.
    """

    def __init__(self, network: str, cls: type[SRNetwork]) -> None:
        super().__init__(id=f"{OUR_PREFIX}{network}", name=f"{network} (lightsr-basicsr)", detect=self._fits)
        self.network, self.cls = network, cls

    def _fits(self, state: Mapping[str, Tensor]) -> bool:
        """Return whether every tensor fits, so that no other architecture's file is claimed."""
        try:
            bare = unwrap(state, "the state dict")[0]
        except CheckpointError:
            return False
        attempt = try_network(self.cls, bare)
        return attempt is not None and not attempt.misfit

    def load(self, state_dict: Mapping[str, Tensor]) -> ImageModelDescriptor[nn.Module]:
        """Return the network with its scale, smallest size and advice on tiling.

        Tiles are discouraged where a network uses statistics of the whole image: those of a tile differ.
        """
        identity, net = load_identified(state_dict, "The state dict")
        return ImageModelDescriptor(
            net,
            dict(state_dict),
            architecture=self,
            purpose="SR" if net.upscale > 1 else "Restoration",
            tags=[f"{identity.form} form"],
            supports_half=False,  # not verified on a GPU; DDistill-SR overflows
            supports_bfloat16=not isinstance(net, SwinIR),  # whose masks are float32
            scale=int(net.upscale),
            input_channels=net.num_in_ch,
            output_channels=net.num_out_ch,
            size_requirements=SizeRequirements(minimum=net.min_side),
            tiling=ModelTiling.DISCOURAGED if net.pools_globally else ModelTiling.SUPPORTED,
        )


def install(registry: ArchRegistry = MAIN_REGISTRY) -> list[str]:
    """Add our networks to a registry of spandrel, its main one by default, before the existing architectures.

    Networks that do not map one LR image to one SR image (teacher, dual networks) are left out. A second call adds
    nothing.

    Returns:
        list[str]: The identifiers that were added.
    """
    existing = tuple(support.architecture.id for support in registry.architectures())
    ours = [
        LightArchitecture(network, cls)
        for network, cls in ARCH_REGISTRY
        if isinstance(cls, type) and issubclass(cls, SRNetwork) and cls.super_resolves
    ]
    before = tuple(id for id in existing if not id.startswith(OUR_PREFIX))
    added = registry.add(
        *(ArchSupport.from_architecture(architecture, before) for architecture in ours), ignore_duplicates=True
    )
    return [support.architecture.id for support in added]
