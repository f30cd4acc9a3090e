"""Static branches that are merged into one convolution: those of ECB, RepVGG and DBB.

Papers: Zhang et al., "Edge-oriented Convolution Block for Real-time Super Resolution on Mobile Devices", ACM MM 2021
(ECB); Ding et al., "RepVGG: Making VGG-style ConvNets Great Again", CVPR 2021; Ding et al., "Diverse Branch Block:
Building a Convolution as an Inception-like Unit", CVPR 2021 (DBB). Convolutions (``convs``) and the dynamic units
of DDistill-SR use them; key names are those of DDistill-SR's files.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lightsr_basicsr.archs.reparam.kernels import (
    Kernel,
    channel_selection,
    fuse_bn,
    merge_pointwise,
    pad_kernel,
    plain_kernel,
    same_padding,
    sum_kernels,
)

EXPANSION = 2  # of the 1x1-KxK branch of an ECB, as in ECBSR
EDGE_START = 1e-3  # standard deviation of the weights of an ECB's edge filters at the start, as in ECBSR
EDGES = {
    "sobel_x": ((1, 0, -1), (2, 0, -2), (1, 0, -1)),
    "sobel_y": ((1, 2, 1), (0, 0, 0), (-1, -2, -1)),
    "laplacian": ((0, 1, 0), (1, -4, 1), (0, 1, 0)),
}


def surround(inner: Tensor, kernel_size: int, value: Tensor) -> Tensor:
    """Pad (N, C, H, W) for a convolution of that size to keep H x W, each channel with its ``value`` (C,)."""
    before, after = (kernel_size - 1) // 2, kernel_size // 2
    images, channels, height, width = inner.shape
    shape = (images, channels, height + before + after, width + before + after)
    padded = value.view(1, -1, 1, 1).expand(shape).clone()
    padded[..., before : before + height, before : before + width] = inner
    return padded


class BNAndPad(nn.Module):
    """Batch normalisation, then padding with its output for zero, so that a 1x1 stage before it can be merged.

    The stage after it, of this ``kernel_size``, restores the size. In training mode the border uses the running
    statistics after this step, and no gradient flows into it.
    """

    def __init__(self, num_ch: int, kernel_size: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(num_ch)
        self.kernel_size = kernel_size

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, H + kernel_size - 1, W + kernel_size - 1)."""
        return self.add_border(self.bn(x))

    def add_border(self, inner: Tensor) -> Tensor:
        """Pad the normalised (N, C, H, W) to (N, C, H + kernel_size - 1, W + kernel_size - 1)."""
        bn = self.bn
        gain = bn.weight.detach() / torch.sqrt(bn.running_var + bn.eps)
        return surround(inner, self.kernel_size, bn.bias.detach() - bn.running_mean * gain)


class IdentityBasedConv1x1(nn.Module):
    """1x1 convolution whose kernel is a learned weight, zero at first, plus the identity."""

    def __init__(self, num_ch: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.zeros(num_ch, num_ch // groups, 1, 1))

    def kernel(self) -> Tensor:
        """Return the kernel, (C, C / groups, 1, 1), in the weight's dtype and on its device."""
        return self.weight + channel_selection(len(self.weight), self.groups, self.weight.new_ones(1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        return F.conv2d(x, self.kernel(), groups=self.groups)


def conv_bn(num_in: int, num_out: int, kernel_size: int, groups: int, bias: bool = False) -> nn.Sequential:
    """Return a same-size convolution and its batch normalisation, keys ``conv`` and ``bn``."""
    conv = nn.Conv2d(num_in, num_out, kernel_size, padding=same_padding(kernel_size), groups=groups, bias=bias)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(num_out)))


def fuse_conv_bn(branch: nn.Sequential) -> Kernel:
    """Return the kernel of a branch made by :func:`conv_bn`."""
    return fuse_bn(branch.conv.weight, branch.bn, branch.conv.bias)


class Branches(nn.Module):
    """Base of modules with static branches."""

    kernel_size: int
    groups: int
    conv_bias: bool = False

    @abstractmethod
    def build_branches(self, num_in: int, num_out: int) -> None:
        """Create the branches of the training form."""

    @abstractmethod
    def sum_branches(self, x: Tensor) -> Tensor:
        """Map (N, num_in, H, W) to (N, num_out, H, W) through the branches."""

    @abstractmethod
    def merged_kernel(self) -> Kernel:
        """Return the one convolution that equals the branches in evaluation mode."""


class VGGBranches(Branches):
    """KxK, 1x1 and, with as many output as input channels, identity branch, each with batch normalisation."""

    def build_branches(self, num_in: int, num_out: int) -> None:
        """Create the branches of the training form."""
        self.rbr_identity = nn.BatchNorm2d(num_in) if num_in == num_out else None
        self.rbr_dense = conv_bn(num_in, num_out, self.kernel_size, self.groups, self.conv_bias)
        self.rbr_1x1 = conv_bn(num_in, num_out, 1, self.groups, self.conv_bias)

    def sum_branches(self, x: Tensor) -> Tensor:
        """Map (N, num_in, H, W) to (N, num_out, H, W) through the branches."""
        total = self.rbr_dense(x) + self.rbr_1x1(x)
        return total if self.rbr_identity is None else total + self.rbr_identity(x)

    def merged_kernel(self) -> Kernel:
        """Return the sum of the branches' kernels."""
        kernels = [fuse_conv_bn(self.rbr_dense), fuse_conv_bn(self.rbr_1x1)]
        if self.rbr_identity is not None:
            one = self.rbr_dense.conv.weight.new_ones(1, 1)
            same = channel_selection(self.rbr_identity.num_features, self.groups, one)
            kernels.append(fuse_bn(same, self.rbr_identity))
        return sum_kernels(*(pad_kernel(kernel, self.kernel_size) for kernel in kernels))


class DiverseBranches(Branches):
    """KxK, 1x1, 1x1 then average, and 1x1 then KxK, all with batch normalisation (DBB)."""

    def build_branches(self, num_in: int, num_out: int) -> None:
        """Create the branches of the training form."""
        size, groups, bias = self.kernel_size, self.groups, self.conv_bias
        self.dbb_origin = conv_bn(num_in, num_out, size, groups, bias)
        self.dbb_avg = nn.Sequential()
        # Never with a bias: the padding is the output of normalisation for zero.
        self.dbb_avg.add_module("conv", nn.Conv2d(num_in, num_out, 1, groups=groups, bias=False))
        self.dbb_avg.add_module("bn", BNAndPad(num_out, size))
        self.dbb_avg.add_module("avg", nn.AvgPool2d(size, stride=1))
        self.dbb_avg.add_module("avgbn", nn.BatchNorm2d(num_out))
        self.dbb_1x1 = conv_bn(num_in, num_out, 1, groups, bias)
        self.dbb_1x1_kxk = nn.Sequential()
        self.dbb_1x1_kxk.add_module("idconv1", IdentityBasedConv1x1(num_in, groups))
        self.dbb_1x1_kxk.add_module("bn1", BNAndPad(num_in, size))
        self.dbb_1x1_kxk.add_module("conv2", nn.Conv2d(num_in, num_out, size, groups=groups, bias=bias))
        self.dbb_1x1_kxk.add_module("bn2", nn.BatchNorm2d(num_out))

    def sum_branches(self, x: Tensor) -> Tensor:
        """Map (N, num_in, H, W) to (N, num_out, H, W); the order of the sum is DDistill-SR's."""
        total = self.dbb_origin(x) + self.dbb_1x1(x)
        for branch in (self.dbb_avg, self.dbb_1x1_kxk):
            total = total + _run_padded(branch, x)
        return total

    def merged_kernel(self) -> Kernel:
        """Return the sum of the four branches' kernels."""
        size, groups, avg, deep = self.kernel_size, self.groups, self.dbb_avg, self.dbb_1x1_kxk
        num_out = self.dbb_origin.conv.out_channels
        mean = torch.full((size, size), 1 / size**2, dtype=torch.float64, device=avg.conv.weight.device)
        averaged = fuse_bn(channel_selection(num_out, groups, mean), avg.avgbn)
        return sum_kernels(
            fuse_conv_bn(self.dbb_origin),
            pad_kernel(fuse_conv_bn(self.dbb_1x1), size),
            merge_pointwise(fuse_bn(avg.conv.weight, avg.bn.bn), averaged, groups),
            merge_pointwise(
                fuse_bn(deep.idconv1.kernel(), deep.bn1.bn),
                fuse_bn(deep.conv2.weight, deep.bn2, deep.conv2.bias),
                groups,
            ),
        )


def _run_padded(branch: nn.Sequential, x: Tensor) -> Tensor:
    """Run a branch that pads after its first stage, layer by layer, so that the unpadded feature map is released."""
    first, norm, *rest = branch
    x = norm.bn(first(x))
    x = norm.add_border(x)
    for layer in rest:
        x = layer(x)
    return x


class EdgeFilter(nn.Module):
    """1x1 convolution, then on each channel a fixed 3x3 edge filter with a learned weight and bias (ECB).

    The 1x1 convolution has no bias, because an edge filter removes a constant.
    """

    edge: Tensor

    def __init__(self, num_in: int, num_out: int, kernel_size: int, groups: int, bias: bool, edge: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(num_in, num_out, 1, groups=groups, bias=False)
        self.scale = nn.Parameter(EDGE_START * torch.randn(num_out, 1, 1, 1))
        self.bias = nn.Parameter(EDGE_START * torch.randn(num_out)) if bias else None
        whole = pad_kernel(Kernel(torch.tensor(EDGES[edge])[None, None], self.scale), kernel_size).weight
        self.register_buffer("edge", whole[0, 0].to(self.scale), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, num_in, H, W) to (N, num_out, H, W)."""
        padding, groups = same_padding(self.edge.shape[0]), self.conv.out_channels
        return F.conv2d(self.conv(x), self.scale * self.edge, self.bias, padding=padding, groups=groups)

    def merged_kernel(self, dtype: torch.dtype) -> Kernel:
        """Return the one convolution that equals this."""
        conv = self.conv
        weight = self.scale * channel_selection(conv.out_channels, conv.groups, self.edge)
        first, second = plain_kernel(conv.weight, dtype=dtype), plain_kernel(weight, self.bias, dtype)
        return merge_pointwise(first, second, conv.groups)


class EdgeBranches(Branches):
    """KxK, 1x1 then KxK, and for sizes of at least 3 three edge filters; no batch normalisation (ECB)."""

    conv_bias = True

    def build_branches(self, num_in: int, num_out: int) -> None:
        """Create the branches of the training form."""
        size, groups, bias = self.kernel_size, self.groups, self.conv_bias
        wide = EXPANSION * num_out
        self.ecb_conv = nn.Conv2d(num_in, num_out, size, padding=same_padding(size), groups=groups, bias=bias)
        self.ecb_expand = nn.Conv2d(num_in, wide, 1, groups=groups, bias=bias)
        self.ecb_squeeze = nn.Conv2d(wide, num_out, size, groups=groups, bias=bias)
        edges = EDGES if size >= 3 else ()
        self.ecb_edges = nn.ModuleDict({edge: EdgeFilter(num_in, num_out, size, groups, bias, edge) for edge in edges})

    def sum_branches(self, x: Tensor) -> Tensor:
        """Map (N, num_in, H, W) to (N, num_out, H, W) through the branches."""
        wide, bias = self.ecb_expand(x), self.ecb_expand.bias
        # Padded with the output of the first stage for zero, so that the two can be merged.
        wide = surround(wide, self.kernel_size, wide.new_zeros(wide.shape[1]) if bias is None else bias)
        total = self.ecb_conv(x) + self.ecb_squeeze(wide)
        for edge in self.ecb_edges.values():
            total = total + edge(x)
        return total

    def merged_kernel(self, dtype: torch.dtype = torch.float64) -> Kernel:
        """Return the sum of the branches' kernels."""
        convs = (self.ecb_conv, self.ecb_expand, self.ecb_squeeze)
        conv, expand, squeeze = (plain_kernel(conv.weight, conv.bias, dtype) for conv in convs)
        edges = (edge.merged_kernel(dtype) for edge in self.ecb_edges.values())
        return sum_kernels(conv, merge_pointwise(expand, squeeze, self.groups), *edges)
