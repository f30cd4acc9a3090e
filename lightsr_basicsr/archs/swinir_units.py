"""The units of SwinIR that pruning narrows: window attention and MLP, and their sites.

Paper: Guo et al., "Towards Lightweight Super-Resolution with Dual Regression Learning", arXiv 2207.07929.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

from basicsr.archs.swinir_arch import Mlp, SwinIR, WindowAttention
from einops import rearrange
from torch import Tensor, nn

from lightsr_basicsr.archs.layers import read_channels
from lightsr_basicsr.archs.sites import Site


class PrunedWindowAttention(WindowAttention):
    """Window attention of the sizes of ``whole``, but with narrower heads: ``width`` channels in all of them."""

    def __init__(self, whole: WindowAttention, width: int) -> None:
        super().__init__(whole.dim, whole.window_size, whole.num_heads)
        self.qkv = nn.Linear(whole.dim, 3 * width)
        self.proj = nn.Linear(width, whole.dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend within windows (W, T, C), with ``mask`` (M, T, T) where W is a multiple of M."""
        query, key, value = rearrange(self.qkv(x), "w t (three h d) -> three w h t d", three=3, h=self.num_heads)
        # `scale` stays that of the unpruned head width, as officially.
        bias = self.relative_position_bias_table[self.relative_position_index]
        scores = (query * self.scale) @ key.transpose(-2, -1) + rearrange(bias, "t s h -> h t s")
        if mask is not None:
            scores = rearrange(scores, "(b m) h t s -> b m h t s", m=mask.shape[0]) + mask[:, None]
            scores = rearrange(scores, "b m h t s -> (b m) h t s")
        scores = self.softmax(scores)
        attended = self.attn_drop(scores) @ value
        return self.proj_drop(self.proj(rearrange(attended, "w h t d -> w t (h d)")))


def narrow_blocks(net: SwinIR, channels: Sequence[int] | str | PathLike, hidden: int) -> None:
    """Narrow the attentions and MLPs of ``net``, whose MLPs have ``hidden`` channels inside, to a channel list."""
    blocks = [block for layer in net.layers for block in layer.residual_group.blocks]
    widths = iter(read_channels(channels, [net.embed_dim, hidden] * len(blocks), "SwinIR_DR"))
    for index, block in enumerate(blocks):
        attention, mlp = next(widths), next(widths)
        if attention % block.num_heads:
            raise ValueError(
                f"SwinIR_DR: number {2 * index} of `channels`, an attention's, must be a multiple of its "
                f"{block.num_heads} heads, got {attention}."
            )
        block.attn = PrunedWindowAttention(block.attn, attention)
        block.mlp = Mlp(net.embed_dim, mlp)


def sites_of_blocks(net: SwinIR) -> list[Site]:
    """Return two sites for each block of a SwinIR: index by index all heads of its attention, then its MLP."""
    sites = []
    for layer, group in enumerate(net.layers):
        for index, block in enumerate(group.residual_group.blocks):
            name = f"layers.{layer}.residual_group.blocks.{index}"
            attention, mlp, heads = f"{name}.attn", f"{name}.mlp", block.attn.num_heads
            head = block.attn.proj.in_features // heads
            sites += [
                Site(attention, f"{attention}.qkv", (f"{attention}.proj",), head, "heads", heads),
                Site(mlp, f"{mlp}.fc1", (f"{mlp}.fc2",), block.mlp.fc1.out_features, "linear"),
            ]
    return sites
