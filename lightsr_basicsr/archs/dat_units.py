"""What DAT's channel attention sums over all pixels, so that a tile can use the sums of the whole picture.

Paper: Chen et al., "Dual Aggregation Transformer for Image Super-Resolution", ICCV 2023, arXiv 2308.03364. The module
itself is spandrel's; its projection and its dropout are the two places where the attention can be watched.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lightsr_basicsr.archs.pooling import Statistic, WholePicture

SMALLEST_NORM = 1e-12


def _products(x: Tensor, _: object = None) -> Tensor:
    """Return the sums over pixels of the products of all channels of (N, C, h, w), (N, C, C) in float64."""
    flat = x.double().flatten(2)
    return flat @ flat.transpose(1, 2)


PRODUCTS = Statistic(_products, _products, lambda sums: sums)


def watch_channel_attention(module: nn.Module, whole: WholePicture) -> list[RemovableHandle]:
    """Let a channel attention of DAT weigh channels by the whole picture; return what undoes it."""
    seen: list[Tensor] = []

    def keep_weights(_: nn.Module, given: tuple[Tensor], made: Tensor) -> None:
        sides = [span.length for span in whole.tile.seen]
        query_and_key = made.flatten(2)[..., : 2 * made.shape[2] // 3]
        x = query_and_key.transpose(1, 2).unflatten(2, sides)
        seen.append(_weights(whole.pooled(PRODUCTS, x), module.temperature))

    def use_weights(_: nn.Module, given: tuple[Tensor], made: Tensor) -> Tensor:
        return seen.pop().to(made)

    return [module.qkv.register_forward_hook(keep_weights), module.attn_drop.register_forward_hook(use_weights)]


def _weights(products: Tensor, temperature: Tensor) -> Tensor:
    """Return the attention (N, heads, c, c) of products (N, 2 * heads * c, 2 * heads * c) of queries, then keys."""
    heads = temperature.shape[0]
    width = products.shape[1] // 2
    norms = products.diagonal(dim1=1, dim2=2).sqrt().clamp_min(SMALLEST_NORM)
    cosines = products[:, :width, width:] / (norms[:, :width, None] * norms[:, None, width:])
    # Of each head only the block of its own queries and keys.
    blocks = cosines.unflatten(2, (heads, -1)).unflatten(1, (heads, -1)).diagonal(dim1=1, dim2=3)
    return (blocks.permute(0, 3, 1, 2) * temperature).softmax(dim=-1)
