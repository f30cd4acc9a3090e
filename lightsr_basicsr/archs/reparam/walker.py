"""From the training form of a network to its deployed form.

A block that trains wide has a method ``to_deploy`` that returns its narrow module and leaves the block unchanged;
:func:`deploy` applies it to a copy of a whole network. Batch normalisation is folded as it is in evaluation mode.
Blocks of this package are merged in float64 and rounded once, so the deployed network differs by rounding alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy, deepcopy

import torch
from basicsr.archs.ecbsr_arch import ECB
from torch import Tensor, nn

from lightsr_basicsr.archs.reparam.kernels import conv_from, plain_kernel


def with_children(module: nn.Module, children: Mapping[str, nn.Module], keep: Sequence[str] | None = None) -> nn.Module:
    """Return a module like ``module`` with other children of these names; it shares the rest with its source.

    ``keep`` names the children to share; None shares all others.
    """
    new = copy(module)
    kept = {name: child for name, child in module._modules.items() if keep is None or name in keep}
    new._parameters, new._buffers = dict(module._parameters), dict(module._buffers)
    new._modules = {**kept, **children}
    return new


def deploy(net: nn.Module) -> nn.Module:
    """Return the deployed form of ``net``: a copy in evaluation mode in which every block is one narrow module.

    The network itself is unchanged. For a network without blocks, or one already deployed, this is a plain copy. Blocks
    are modules with a method ``to_deploy``, including those of other packages, and BasicSR's ``ECB``.

    Raises:
        ValueError: If a block cannot be merged, with its name, because its batch normalisation has no sound statistics.

    Example:
        >>> from lightsr_basicsr.archs.reparam import ECBConv
        >>> net = nn.Sequential(ECBConv(3, 8), nn.ReLU())
        >>> deploy(net)
        Sequential(
          (0): Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
          (1): ReLU()
        )
        >>> x = torch.rand(1, 3, 5, 6)
        >>> torch.allclose(deploy(net)(x), net.eval()(x), atol=1e-6)
        True
    """
    with torch.no_grad():
        return _replace(deepcopy(net, _detached(net)), "", {}).eval()


def _detached(net: nn.Module) -> dict[int, Tensor]:
    """Return a memo for ``deepcopy``: copies, by identity, of tensors that modules keep beside their parameters.

    A feature kept from the last step, or a weight that a hook computes, is part of a graph and cannot be copied.
    """
    kept = (value for module in net.modules() for value in vars(module).values())
    return {id(value): value.detach().clone() for value in kept if isinstance(value, Tensor) and not value.is_leaf}


def _replace(module: nn.Module, name: str, done: dict[nn.Module, nn.Module]) -> nn.Module:
    """Replace the children, then the module; a module that the network holds twice stays one."""
    if module in done:
        return done[module]
    for key, child in module._modules.items():
        if child is not None:
            module._modules[key] = _replace(child, f"{name}.{key}".lstrip("."), done)
    try:
        done[module] = _deploy_one(module)
    except ValueError as error:
        raise ValueError(f"{name or type(module).__name__}: {error}") from error
    return done[module]


def _deploy_one(module: nn.Module) -> nn.Module:
    """Return the narrow module of a block, of BasicSR's ECB its convolution and activation; others as they are."""
    if not isinstance(module, ECB):
        return module.to_deploy() if hasattr(module, "to_deploy") else module
    like = module.conv3x3.weight
    weight, bias = module.float().rep_params()  # computes with float32 constants
    conv = conv_from(plain_kernel(weight, bias), like)
    return conv if module.act_type == "linear" else nn.Sequential(conv, module.act.to(like.dtype))


def build_deployed(net: nn.Module) -> None:
    """Replace the modules of a network, at the end of its constructor, by those of its deployed form."""
    net._modules = deploy(net)._modules
    net.train()


def has_branches(net: nn.Module) -> bool:
    """Return whether ``net`` is a training form, which :func:`deploy` would change.

    >>> from lightsr_basicsr.archs.reparam import rep_conv
    >>> has_branches(rep_conv("DBB", 4, 4)), has_branches(rep_conv("DBB", 4, 4, deploy=True))
    (True, False)
    """
    return list(deploy(net).state_dict()) != list(net.state_dict())
