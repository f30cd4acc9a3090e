"""Any registered network with convolutions that train wide, and any in its deployed form.

Both build another network by its registered name. So option files can use them for networks whose code knows nothing
of reparameterization, including BasicSR's own and those of other packages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from basicsr.archs.ecbsr_arch import ECB
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from lightsr_basicsr.archs.network import Shapes
from lightsr_basicsr.archs.reparam import BLOCKS, RepConv
from lightsr_basicsr.archs.reparam import deploy as deploy_network
from lightsr_basicsr.archs.reparam.branches import Branches
from lightsr_basicsr.archs.reparam.kernels import same_padding
from lightsr_basicsr.registry import OF_ANOTHER, look_up, register, similar_names

SMALLEST_KERNEL = 3


@register(ARCH_REGISTRY)
def Reparameterized(network: Mapping[str, Any], block: str = "ECB", deploy: bool = False) -> nn.Module:  # noqa: N802
    """Return a network whose convolutions of stride 1 and kernel 3 or more train wide.

    Each becomes a block that has the initialised convolution as one of its branches. Blocks with batch normalisation,
    which adds a bias, replace only convolutions with a bias. A convolution that the network holds in several places
    becomes one block. The deployed form is that of ``network``: same keys, and checkpoints of the one load into the
    other.

    Args:
        network (Mapping): Section of the network: ``type`` and its arguments.
        block (str): ``'ECB'`` (edge filters, no batch normalisation), ``'RepVGG'`` or ``'DBB'`` (both with). Default:
            ``'ECB'``.
        deploy (bool): Whether to build the deployed form, which is that of the plain network. Default: False.

    Raises:
        ValueError: If the network or the block is unknown, or the network has no such convolution.

    Example:
        >>> net = Reparameterized({"type": "IMDN_RTC", "num_block": 1})
        >>> [type(module).__name__ for module in net.model]
        ['ECBConv', 'ResidualSequence', 'ECBConv', 'PixelShuffle']
        >>> [type(module).__name__ for module in deploy_network(net).model]
        ['Conv2d', 'ResidualSequence', 'Conv2d', 'PixelShuffle']
    """
    if not isinstance(block, str) or block not in BLOCKS or not isinstance(deploy, bool):
        raise ValueError(
            f"Reparameterized knows the blocks {', '.join(BLOCKS)}, and `deploy` true or false, got {block!r} and "
            f"{deploy!r}."
        )
    net = _build("Reparameterized", network)
    if deploy:
        return deploy_network(net).train()
    if not widen(net, block):
        raise ValueError(
            f"{network['type']} has no convolution that {block} could replace: same-size, stride 1, kernel "
            f"{SMALLEST_KERNEL} or more{', with bias' if BLOCKS[block][0].normalised else ''}, and not part of a block "
            "that is already reparameterized."
        )
    return net


@register(ARCH_REGISTRY)
def Deployed(network: Mapping[str, Any]) -> nn.Module:  # noqa: N802
    """Return the deployed form of a network, in training mode as any new network.

    For networks whose constructor cannot build it, such as BasicSR's ECBSR; ours have an argument ``deploy``.

    Args:
        network (Mapping): Section of the network: ``type`` and its arguments, of the training form.

    Raises:
        ValueError: If the network is unknown.
    """
    return deploy_network(_build("Deployed", network)).train()


def _build(name: str, network: Any) -> nn.Module:
    kind = network.get("type") if isinstance(network, Mapping) else None
    found = look_up(ARCH_REGISTRY, kind)
    if found is None:
        hint = similar_names(ARCH_REGISTRY, kind) or "`basicsr list networks` shows them."
        raise ValueError(
            f"{name} needs a `network` section with the type of a registered network, got {network!r}: {hint} "
            f"{OF_ANOTHER}."
        )
    return found(**{key: value for key, value in network.items() if key != "type"})


def widen(net: nn.Module, block: str) -> int:
    """Replace convolutions of ``net``, which is changed, by blocks of this kind; return how many there were."""
    done: dict[nn.Module, nn.Module] = {}
    _widen(net, block, done)
    return sum(isinstance(module, RepConv) for module in done.values())


def _widen(module: nn.Module, block: str, done: dict[nn.Module, nn.Module]) -> nn.Module:
    """Return the replacement of a convolution, and any other module itself; a module held twice stays one."""
    if module not in done:
        done[module] = wide_from(module, block) if is_plain(module, block) else module
        if not isinstance(done[module], (Branches, ECB)):
            children = module._modules.items()
            module._modules.update({name: child and _widen(child, block, done) for name, child in children})
    return done[module]


def is_plain(module: nn.Module, block: str) -> bool:
    """Return whether ``module`` is a convolution that a block of this kind can replace."""
    if type(module) is not nn.Conv2d or not isinstance(module._parameters.get("weight"), nn.Parameter):
        return False  # its weight is computed from others, as by weight normalisation
    same = same_padding(module.kernel_size[0])
    return (
        module.kernel_size[0] == module.kernel_size[1] >= SMALLEST_KERNEL
        and not (module.bias is None and BLOCKS[block][0].normalised)
        and module.stride == module.dilation == (1, 1)
        and module.padding_mode == "zeros"
        and module.padding in ("same", (same, same))
    )


def wide_from(conv: nn.Conv2d, block: str) -> RepConv:
    """Return a block with the weights of ``conv`` in its branch of the same shape."""
    kind, main = BLOCKS[block]
    bias = conv.bias is not None and not kind.normalised
    wide = kind(conv.in_channels, conv.out_channels, conv.kernel_size[0], conv.groups, bias)
    branch = wide.get_submodule(main.rpartition(".")[0])
    with torch.no_grad():
        branch.weight.copy_(conv.weight)
        if bias:
            branch.bias.copy_(conv.bias)
    return wide


def plain_shapes(shapes: Shapes) -> tuple[dict[str, tuple[int, ...]], str] | None:
    """Return the shapes of the network whose convolutions were widened to these, and the block; None if none were."""
    for block, (kind, main) in BLOCKS.items():
        prefixes = [key.removesuffix(main) for key in shapes if key.endswith(f".{main}")]
        if prefixes:
            rest = {key: shape for key, shape in shapes.items() if not key.startswith(tuple(prefixes))}
            for prefix in prefixes:
                weight = rest[f"{prefix}weight"] = shapes[f"{prefix}{main}"]
                if kind.normalised or f"{prefix}{main.replace('weight', 'bias')}" in shapes:
                    rest[f"{prefix}bias"] = weight[:1]
            return rest, block
    return None
