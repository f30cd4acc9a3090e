"""Convolutions that train wide and are deployed as one: ECB-, RepVGG- and DBB-style blocks (papers: see ``branches``).

A network takes its convolutions from :func:`rep_conv`.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lightsr_basicsr.archs.reparam.branches import Branches, DiverseBranches, EdgeBranches, VGGBranches
from lightsr_basicsr.archs.reparam.kernels import conv_from, same_padding


class RepConv(Branches):
    """A same-size convolution of stride 1 in its training form; deployed it is an ordinary ``nn.Conv2d``.

    Args:
        num_in (int): Input channels.
        num_out (int): Output channels.
        kernel_size (int): At least 1. Default: 3.
        groups (int): Groups of all its convolutions. Default: 1.
        bias (bool): Whether its convolutions, except those before a padding, have a bias; batch normalisation adds one
            in any case. Default: True.

    Raises:
        ValueError: If ``kernel_size`` is below 1, or ``groups`` does not divide the channels.
    """

    normalised = True  # so the deployed convolution has a bias

    def __init__(self, num_in: int, num_out: int, kernel_size: int = 3, groups: int = 1, bias: bool = True) -> None:
        super().__init__()
        if kernel_size < 1 or groups < 1 or num_in % groups or num_out % groups:
            raise ValueError(
                f"{type(self).__name__} needs a `kernel_size` of at least 1 and `groups` that divide both numbers of "
                f"channels, got {kernel_size}, {groups}, {num_in} and {num_out}."
            )
        self.kernel_size, self.groups, self.conv_bias = kernel_size, groups, bias
        self.build_branches(num_in, num_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, num_in, H, W) to (N, num_out, H, W)."""
        return self.sum_branches(x)

    def to_deploy(self) -> nn.Conv2d:
        """Return the one convolution that equals this in evaluation mode."""
        bias = self.normalised or self.conv_bias
        return conv_from(self.merged_kernel(), next(self.parameters()), self.groups, bias)


class RepVGGConv(VGGBranches, RepConv):
    """RepVGG-style convolution. See :class:`RepConv` for the arguments."""


class DBBConv(DiverseBranches, RepConv):
    """DBB-style convolution. See :class:`RepConv` for the arguments."""


class ECBConv(EdgeBranches, RepConv):
    """ECB-style convolution. See :class:`RepConv` for the arguments."""

    normalised = False

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, num_in, H, W) to (N, num_out, H, W)."""
        if not self.training:
            return self.sum_branches(x)
        # Without statistics the branches can be merged first: the same function with the same gradients, at little
        # more than the cost of one convolution.
        weight, bias = self.merged_kernel(x.dtype)
        return F.conv2d(x, weight, bias, padding=same_padding(self.kernel_size), groups=self.groups)


# By name in option files: the class, and the tensor in a checkpoint that has the shape of the deployed weight.
BLOCKS: dict[str, tuple[type[RepConv], str]] = {
    "ECB": (ECBConv, "ecb_conv.weight"),
    "RepVGG": (RepVGGConv, "rbr_dense.conv.weight"),
    "DBB": (DBBConv, "dbb_origin.conv.weight"),
}


def rep_conv(
    block: str,
    num_in: int,
    num_out: int,
    kernel_size: int = 3,
    groups: int = 1,
    bias: bool = True,
    deploy: bool = False,
) -> nn.Module:
    """Return a same-size convolution of stride 1 that trains wide, or with ``deploy`` its deployed form.

    ``block`` is ``'ECB'``, ``'RepVGG'`` or ``'DBB'``; the numbers and ``bias`` are those of :class:`RepConv`.

    Raises:
        ValueError: If the block is unknown, or ``groups`` does not divide the channels.

    Example:
        >>> wide = rep_conv("RepVGG", 4, 8, kernel_size=5, groups=2)
        >>> sorted(name for name, _ in wide.named_children())
        ['rbr_1x1', 'rbr_dense']
        >>> rep_conv("RepVGG", 4, 8, kernel_size=5, groups=2, deploy=True)
        Conv2d(4, 8, kernel_size=(5, 5), stride=(1, 1), padding=(2, 2), groups=2)
    """
    if block not in BLOCKS:
        raise ValueError(f"Expected a block among {', '.join(BLOCKS)}, got {block!r}.")
    wide = BLOCKS[block][0]
    if not deploy:
        return wide(num_in, num_out, kernel_size, groups, bias)
    bias = bias or wide.normalised
    return nn.Conv2d(num_in, num_out, kernel_size, padding=same_padding(kernel_size), groups=groups, bias=bias)
