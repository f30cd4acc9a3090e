"""Reparameterization: networks that train with several linear branches and are deployed with one convolution each.

``kernels`` is the arithmetic, ``branches`` the branches that are merged, ``convs`` the convolutions that have them, and
``walker`` turns a whole network into its deployed form.
"""

from lightsr_basicsr.archs.reparam.convs import BLOCKS, DBBConv, ECBConv, RepConv, RepVGGConv, rep_conv  # noqa: F401
from lightsr_basicsr.archs.reparam.kernels import Kernel, conv_from, fold_after, fuse_bn, plain_kernel  # noqa: F401
from lightsr_basicsr.archs.reparam.walker import build_deployed, deploy, has_branches, with_children  # noqa: F401
