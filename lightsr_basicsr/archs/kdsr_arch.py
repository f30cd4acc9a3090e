"""KDSR teacher and student: blind super-resolution with knowledge distillation of the degradation.

Paper: Xia et al., "Knowledge Distillation based Degradation Estimation for Blind Super-Resolution", ICLR 2023,
arXiv 2211.16928. The classes have the official names, so that official option files run as they are: ``BlindSR_TA`` is
the teacher, which also sees HR, ``BlindSR_ST`` the student. The classic and the GAN half of the official code are the
same network; ``n_feats``, ``n_encoder_res`` and ``n_sr_blocks`` are 128, 6, 42 for the GAN family, 64, 9, 53 for the
classic M and 128, 5, 28 for the classic L.
"""

from __future__ import annotations

from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from lightsr_basicsr.archs.kdsr_units import DegradationEncoder, DynamicSRNetwork
from lightsr_basicsr.archs.network import Shapes, SRNetwork, count_matches
from lightsr_basicsr.archs.reparam import build_deployed
from lightsr_basicsr.registry import register


class BlindSR(SRNetwork):
    """Base of teacher and student, which differ in the input of their encoder.

    Args:
        n_feats (int): Channels inside and length of the degradation vector. Default: 128.
        n_encoder_res (int): Residual blocks of the encoder. Default: 6.
        scale (int): 2, 3, 4 or 8; the official files have 4. Default: 4.
        n_sr_blocks (int): Dynamic blocks of the SR network. Default: 42.
        deploy (bool): Whether to build the deployed form, with the mean shift of the output folded into the last
            convolution. Default: False.

    Raises:
        ValueError: If an argument is outside these values.
    """

    encoder_name: str
    encoder_sees_gt: bool
    training_output = "image_and_vector"
    kernels_per_image: bool = True
    tile_passes: int = 1  # the encoder's is the only pooling

    def __init__(
        self, n_feats: int = 128, n_encoder_res: int = 6, scale: int = 4, n_sr_blocks: int = 42, deploy: bool = False
    ) -> None:
        super().__init__()
        if scale not in (2, 3, 4, 8):
            raise ValueError(f"{type(self).__name__} supports `scale` 2, 3, 4 or 8, got {scale}.")
        if min(n_feats, n_sr_blocks) < 1 or n_encoder_res < 0:
            raise ValueError(
                f"{type(self).__name__} needs `n_feats` and `n_sr_blocks` of at least 1 and `n_encoder_res` of at "
                f"least 0, got {n_feats}, {n_sr_blocks} and {n_encoder_res}."
            )
        self.upscale = scale
        self.G = DynamicSRNetwork(n_feats, n_sr_blocks, scale)
        encoder_in_ch = 3 + 3 * scale**2 if self.encoder_sees_gt else 3
        self.add_module(self.encoder_name, DegradationEncoder(encoder_in_ch, n_feats, n_encoder_res))
        if deploy:
            build_deployed(self)

    @classmethod
    def arguments_from(cls, shapes: Shapes) -> dict[str, Any] | None:
        """Return the arguments of a file with these shapes, None for another network's."""
        encoder = cls.encoder_name
        if "G.body.0.body.0.da_conv1.kernel.0.weight" not in shapes or f"{encoder}.E.0.weight" not in shapes:
            return None
        n_feats = shapes["G.head.0.weight"][0]
        steps = count_matches(shapes, r"G\.tail\.0\.(\d+)\.")
        return {
            "n_feats": n_feats,
            "n_encoder_res": count_matches(shapes, rf"{encoder}\.E\.(\d+)\.body\."),
            "scale": 3 if shapes["G.tail.0.0.weight"][0] == 9 * n_feats else 2**steps,
            "n_sr_blocks": count_matches(shapes, r"G\.body\.0\.body\.(\d+)\."),
            **({} if count_matches(shapes, r"G\.(add_mean)\.") else {"deploy": True}),
        }

    def super_resolve(self, lq: Tensor, idr: Tensor, distilled: list[Tensor]) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Run G; return the SR image, in training mode with the distilled vectors."""
        sr = self.G(lq, idr)
        return (sr, distilled) if self.training else sr


@register(ARCH_REGISTRY)
class BlindSR_ST(BlindSR):  # noqa: N801
    """KDSR student (KDSR-S), the network that is deployed: it estimates the degradation from LR alone.

    Any image size. The degradation is estimated from the whole image, so a tile sees other statistics. See
    :class:`BlindSR` for the arguments; parameters 18.85 M (defaults), 5.80 M (M), 14.19 M (L).
    """

    encoder_name = "E_st"
    encoder_sees_gt = False

    def forward(self, lq: Tensor, represent_only: bool = False) -> Tensor | tuple[Tensor, list[Tensor]] | list[Tensor]:
        """Map RGB (N, 3, H, W) in [0, 1] to (N, 3, scale * H, scale * W), not clamped.

        In training mode also return a list with the vector to distil, (N, 4 * n_feats). With ``represent_only`` return
        this list alone, without running G: the anisotropic recipe first trains the encoder that way.
        """
        self.check_input(lq)
        idr, distilled = self.represent(lq)
        return distilled if represent_only else self.super_resolve(lq, idr, distilled)

    def represent(self, lq: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Estimate from (N, 3, H, W) the vector that steers G, (N, n_feats), and those distilled, (N, 4 * n_feats)."""
        return self.E_st(lq)


@register(ARCH_REGISTRY)
class BlindSR_TA(BlindSR):  # noqa: N801
    """KDSR teacher (KDSR-T): its encoder sees LR together with HR, so it serves training only.

    Its encoder has ``3 + 3 * scale ** 2`` input channels; the official GAN half fixes 51, which is the same at x4.
    See :class:`BlindSR` for the arguments.
    """

    encoder_name = "E"
    encoder_sees_gt = True
    super_resolves = False

    def forward(self, lq: Tensor, gt: Tensor) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Map RGB (N, 3, H, W) and its HR image (N, 3, scale * H, scale * W) in [0, 1] to the size of the latter.

        In training mode also return a list with the vector to distil, (N, 4 * n_feats).

        Raises:
            ValueError: If ``gt`` is not exactly ``scale`` times as large as ``lq``.
        """
        self.check_input(lq)
        return self.super_resolve(lq, *self.represent(lq, gt))

    def represent(self, lq: Tensor, gt: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Extract the vector that steers G, (N, n_feats), and those distilled, (N, 4 * n_feats), from LR and HR.

        Raises:
            ValueError: If ``gt`` is not exactly ``scale`` times as large as ``lq``.
        """
        images, _, height, width = lq.shape
        expected = (images, 3, self.upscale * height, self.upscale * width)
        if tuple(gt.shape) != expected:
            raise ValueError(f"BlindSR_TA expects `gt` of shape {expected} for this `lq`, got {tuple(gt.shape)}.")
        return self.E(torch.cat([lq, F.pixel_unshuffle(gt, self.upscale)], dim=1))

    def example_input(self, height: int, width: int, device: str = "cpu") -> tuple[Tensor, Tensor]:
        """Return LR and HR of this LR size: random, in [0, 1]."""
        gt = torch.rand(1, 3, self.upscale * height, self.upscale * width, device=device)
        return (*super().example_input(height, width, device), gt)
