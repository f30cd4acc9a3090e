"""SwinIR-DR, SwinIR-light-DR(C) and DAT-DR: library networks with a built-in dual regression network.

Paper: Guo et al., "Towards Lightweight Super-Resolution with Dual Regression Learning", arXiv 2207.07929. The bodies
are BasicSR's SwinIR and spandrel's DAT (extra ``dat``); keys are those of the official files, with ``dual_model.*``.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from math import isqrt
from os import PathLike
from typing import Any

from basicsr.archs.swinir_arch import SwinIR
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.hooks import RemovableHandle

from lightsr_basicsr.archs.dat_units import watch_channel_attention
from lightsr_basicsr.archs.layers import Downscaler
from lightsr_basicsr.archs.network import Shapes, SRNetwork, check_table, count_in_layers, count_matches
from lightsr_basicsr.archs.pooling import WholePicture
from lightsr_basicsr.archs.sites import Site
from lightsr_basicsr.archs.swinir_units import narrow_blocks, sites_of_blocks
from lightsr_basicsr.registry import register

DUAL_WIDTH = 16  # of the network that maps an SR image back to LR size by halving


@register(ARCH_REGISTRY)
class SwinIR_DR(SRNetwork, SwinIR):  # noqa: N801
    """BasicSR's SwinIR with a dual regression network, dense or with a channel list (DRC).

    The defaults are SwinIR-DR x4 (11.9 M parameters). SwinIR-light-DR x4 has ``depths`` and ``num_heads`` of four 6,
    ``embed_dim`` 60 and ``upsampler`` pixelshuffledirect (0.93 M); SwinIR-light-DRC adds the channel list (0.63 M).
    Images of any size: sides are padded by reflection to multiples of the window.

    Args:
        upscale (int): 2, 4 or 8: the dual network halves. Default: 4.
        img_size (int): Size for which attention masks are kept, a multiple of the window. Default: 64.
        window_size (int): Side of the attention windows. Default: 8.
        depths (Sequence[int]): Blocks of each layer. Default: six 6.
        embed_dim (int): Channels inside. Default: 180.
        num_heads (Sequence[int]): Attention heads of each layer. Default: six 6.
        mlp_ratio (float): Hidden width of the MLPs over ``embed_dim``. Default: 2.
        upsampler (str): ``'pixelshuffle'`` or ``'pixelshuffledirect'``. Default: ``'pixelshuffle'``.
        resi_connection (str): ``'1conv'`` or ``'3conv'``. Default: ``'1conv'``.
        img_range (float): Largest value inside. Default: 1.
        channels (Sequence[int] | str | None): Widths of a pruned network, or a text file of them: for each block the
            attention's, over all heads, and the MLP's. None is the dense network. Default: None.

    Raises:
        ValueError: If an argument is outside these values.
    """

    pools_globally = False
    training_output = "image_and_dual"

    def __init__(
        self,
        upscale: int = 4,
        img_size: int = 64,
        window_size: int = 8,
        depths: Sequence[int] = (6, 6, 6, 6, 6, 6),
        embed_dim: int = 180,
        num_heads: Sequence[int] = (6, 6, 6, 6, 6, 6),
        mlp_ratio: float = 2.0,
        upsampler: str = "pixelshuffle",
        resi_connection: str = "1conv",
        img_range: float = 1.0,
        channels: Sequence[int] | str | PathLike | None = None,
    ) -> None:
        shared = _checked_arguments(
            "SwinIR_DR", upscale, img_size, depths, embed_dim, num_heads, upsampler, resi_connection, img_range
        )
        if window_size < 1 or img_size < 1 or img_size % window_size:
            raise ValueError(
                f"SwinIR_DR needs an `img_size` that is a multiple of `window_size`, got {img_size} and {window_size}."
            )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.meshgrid", UserWarning)  # BasicSR calls it the old way
            super().__init__(**shared, window_size=window_size, depths=depths, mlp_ratio=mlp_ratio)
        # Reflection can add at most one pixel less than the side has.
        self.window_size, self.min_side = window_size, window_size // 2 + 1
        self.tile_multiple = window_size
        self.compared_sizes = ((img_size, img_size),)  # there masks are taken as they are kept
        self.dual_model = Downscaler(3, DUAL_WIDTH, 3, upscale.bit_length() - 1)
        if channels is not None:
            narrow_blocks(self, channels, int(embed_dim * mlp_ratio))

    @classmethod
    def arguments_from(cls, shapes: Shapes) -> dict[str, Any] | None:
        """Return the arguments of a file with these shapes, None for another network's."""
        first = "layers.0.residual_group.blocks.0."
        if f"{first}attn.qkv.weight" not in shapes or "dual_model.dual_module.0.0.weight" not in shapes:
            return None
        depths = count_in_layers(shapes, r"layers\.(\d+)\.residual_group\.blocks\.(\d+)\.")
        names = [f"layers.{layer}.residual_group.blocks." for layer in range(len(depths))]
        embed_dim = shapes["conv_first.weight"][0]
        tables = [shapes[f"{name}0.attn.relative_position_bias_table"] for name in names]
        window = (isqrt(tables[0][0]) + 1) // 2
        masks = [shape for key, shape in shapes.items() if key.endswith(".attn_mask")] or [(1, window**2, window**2)]
        # The index and the masks grow with powers of what the other tensors claim.
        check_table(shapes[f"{first}attn.relative_position_index"], window**2)
        check_table(masks[0][1:], window**2)
        blocks = [f"{name}{block}." for name, depth in zip(names, depths, strict=True) for block in range(depth)]
        found = [
            width
            for block in blocks
            for width in (shapes[f"{block}attn.proj.weight"][1], shapes[f"{block}mlp.fc1.weight"][0])
        ]
        dense = found == [embed_dim, found[1]] * len(blocks)
        return {
            "upscale": _upscale(shapes),
            "img_size": isqrt(masks[0][0]) * window,
            "window_size": window,
            "depths": depths,
            "embed_dim": embed_dim,
            "num_heads": [table[1] for table in tables],
            "mlp_ratio": found[1] / embed_dim if dense else max(2.0, *(width / embed_dim for width in found[1::2])),
            **_ends(shapes),
            **({} if dense else {"channels": found}),
        }

    def prunable_sites(self) -> list[Site]:
        """Return for each block the attention, all heads at once, and the MLP."""
        return sites_of_blocks(self)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Map RGB (N, 3, H, W) in [0, 1] to (N, 3, upscale * H, upscale * W), not clamped.

        In training mode also return the output of the dual network for it, (N, 3, H, W).
        """
        self.check_input(x)
        height, width = x.shape[2:]
        padded = F.pad(x, (0, -width % self.window_size, 0, -height % self.window_size), mode="reflect")
        sr = SwinIR.forward(self, padded)[..., : height * self.upscale, : width * self.upscale]
        return (sr, self.dual_model(sr)) if self.training else sr


@register(ARCH_REGISTRY)
class DAT_DR(SRNetwork):  # noqa: N801
    """spandrel's DAT with a dual regression network; needs the extra ``dat``. The defaults are DAT-DR x4, 14.8 M.

    Args:
        upscale (int): 2, 4 or 8: the dual network halves. Default: 4.
        img_size (int): Size for which attention masks are kept; any size works. Default: 64.
        split_size (Sequence[int]): Height and width of the attention windows, divisors of ``img_size``, the smaller
            first: a checkpoint does not show which is which. Default: (8, 32).
        depth (Sequence[int]): Blocks of each group. Default: six 6.
        embed_dim (int): Channels inside. Default: 180.
        num_heads (Sequence[int]): Attention heads of each group, even. Default: six 6.
        expansion_factor (float): Hidden width of the feed-forward parts over ``embed_dim``. Default: 4.
        upsampler (str): ``'pixelshuffle'`` or ``'pixelshuffledirect'``. Default: ``'pixelshuffle'``.
        resi_connection (str): ``'1conv'`` or ``'3conv'``. Default: ``'1conv'``.
        img_range (float): Largest value inside. Default: 1.

    Raises:
        ValueError: If an argument is outside these values.
        ModuleNotFoundError: If spandrel is not installed.
    """

    min_side = 16
    training_output = "image_and_dual"

    def __init__(
        self,
        upscale: int = 4,
        img_size: int = 64,
        split_size: Sequence[int] = (8, 32),
        depth: Sequence[int] = (6, 6, 6, 6, 6, 6),
        embed_dim: int = 180,
        num_heads: Sequence[int] = (6, 6, 6, 6, 6, 6),
        expansion_factor: float = 4.0,
        upsampler: str = "pixelshuffle",
        resi_connection: str = "1conv",
        img_range: float = 1.0,
    ) -> None:
        super().__init__()
        shared = _checked_arguments(
            "DAT_DR", upscale, img_size, depth, embed_dim, num_heads, upsampler, resi_connection, img_range, divisor=2
        )
        if len(split_size) != 2 or min(split_size) < 1 or split_size[0] > split_size[1]:
            raise ValueError(f"DAT_DR needs a `split_size` of two numbers, the smaller first, got {list(split_size)}.")
        if any(img_size % side for side in split_size):
            raise ValueError(
                f"DAT_DR needs an `img_size` that both of `split_size` divide, got {img_size} and {split_size}."
            )
        if int(embed_dim * expansion_factor) % 2:
            raise ValueError(
                f"DAT_DR halves its hidden width, `embed_dim` times `expansion_factor`, got {embed_dim} times "
                f"{expansion_factor}."
            )
        self.upscale = upscale
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.meshgrid", UserWarning)  # spandrel calls it the old way
            self.body = _dat_class()(
                **shared, split_size=list(split_size), depth=list(depth), expansion_factor=expansion_factor
            )
        self.tile_multiple = max(split_size)
        self.compared_sizes = ((img_size, img_size),)  # there masks are taken as they are kept
        self.dual_model = Downscaler(3, DUAL_WIDTH, 3, upscale.bit_length() - 1)
        # Official files have the body's keys without a prefix.
        self._register_state_dict_hook(_hide_body)
        self._register_load_state_dict_pre_hook(_find_body)

    @classmethod
    def arguments_from(cls, shapes: Shapes) -> dict[str, Any] | None:
        """Return the arguments of a file with these shapes, None for another network's."""
        block = "layers.0.blocks.0."
        if f"{block}ffn.sg.conv.weight" not in shapes or "dual_model.dual_module.0.0.weight" not in shapes:
            return None
        depth = count_in_layers(shapes, r"layers\.(\d+)\.blocks\.(\d+)\.")
        groups = range(len(depth))
        embed_dim = shapes["conv_first.weight"][0]
        split_size = _split_size(shapes, f"{block}attn.attns.0.")
        area = split_size[0] * split_size[1]
        masks = [shape for key, shape in shapes.items() if key.endswith(".attn_mask_0")] or [(64, 64)]
        check_table(shapes[f"{block}attn.attns.0.relative_position_index"], area)
        if len(masks[0]) > 2:
            check_table(masks[0][1:], area)
        return {
            "upscale": _upscale(shapes),
            "img_size": isqrt(masks[0][0] * masks[0][1]),
            "split_size": split_size,
            "depth": depth,
            "embed_dim": embed_dim,
            # Spatial attention, in every block, holds half of the heads in each of its two directions.
            "num_heads": [2 * shapes[f"layers.{group}.blocks.0.attn.attns.0.pos.pos3.2.weight"][0] for group in groups],
            "expansion_factor": shapes[f"{block}ffn.fc1.weight"][0] / embed_dim,
            **_ends(shapes),
        }

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Map RGB (N, 3, H, W) in [0, 1] to (N, 3, upscale * H, upscale * W), not clamped.

        In training mode also return the output of the dual network for it, (N, 3, H, W).
        """
        self.check_input(x)
        sr = self.body(x)
        return (sr, self.dual_model(sr)) if self.training else sr

    def watch_pooling(self, whole: WholePicture) -> list[RemovableHandle]:
        """Let the channel attentions be those of a whole picture; return what undoes it."""
        attentions = (module for module in self.modules() if hasattr(module, "temperature"))
        return [handle for module in attentions for handle in watch_channel_attention(module, whole)]


def _checked_arguments(
    name: str,
    upscale: int,
    img_size: int,
    depths: Sequence[int],
    embed_dim: int,
    num_heads: Sequence[int],
    upsampler: str,
    resi_connection: str,
    img_range: float,
    divisor: int = 1,
) -> dict[str, Any]:
    """Return the arguments that SwinIR and DAT share; every number of heads must be a multiple of ``divisor``."""
    if upscale not in (2, 4, 8):
        raise ValueError(f"{name} supports `upscale` 2, 4 or 8, because its dual network halves, got {upscale}.")
    if upsampler not in ("pixelshuffle", "pixelshuffledirect"):
        raise ValueError(f"{name} knows `upsampler` pixelshuffle and pixelshuffledirect, got {upsampler!r}.")
    if resi_connection not in ("1conv", "3conv"):
        raise ValueError(f"{name} knows `resi_connection` 1conv and 3conv, got {resi_connection!r}.")
    if img_range <= 0:
        raise ValueError(f"{name} needs a positive `img_range` (1 for the official files), got {img_range}.")
    fits = len(depths) == len(num_heads) and min(depths, default=0) >= 1 and min(num_heads) >= 1
    if not fits or any(heads % divisor or embed_dim % heads for heads in num_heads):
        raise ValueError(
            f"{name} needs one number of blocks and one of heads for each layer, the heads "
            f"{'even and ' if divisor == 2 else ''}a divisor of `embed_dim`, got {list(depths)}, {list(num_heads)} and "
            f"{embed_dim}."
        )
    return {
        "upscale": upscale,
        "img_size": img_size,
        "embed_dim": embed_dim,
        "num_heads": list(num_heads),
        "upsampler": upsampler,
        "resi_connection": resi_connection,
        "img_range": img_range,
    }


def _dat_class() -> type[nn.Module]:
    try:
        from spandrel.architectures.DAT import DAT
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("DAT_DR takes its body from spandrel: pip install spandrel") from error
    return DAT


def _hide_body(net: nn.Module, state: dict, prefix: str, metadata: dict) -> None:
    for key in [key for key in state if key.startswith(f"{prefix}body.")]:
        state[prefix + key.removeprefix(f"{prefix}body.")] = state.pop(key)
    for key in [key for key in state if key.startswith(f"{prefix}dual_model.")]:
        state[key] = state.pop(key)  # last, as in official files


def _find_body(state: dict, prefix: str, *_: Any) -> None:
    for key in [key for key in state if key.startswith(prefix) and not key.startswith(f"{prefix}dual_model.")]:
        state[f"{prefix}body.{key.removeprefix(prefix)}"] = state.pop(key)


def _ends(shapes: Shapes) -> dict[str, str]:
    return {
        "upsampler": "pixelshuffle" if "conv_last.weight" in shapes else "pixelshuffledirect",
        "resi_connection": "1conv" if "conv_after_body.weight" in shapes else "3conv",
    }


def _upscale(shapes: Shapes) -> int:
    first = shapes["upsample.0.weight"]
    if "conv_last.weight" not in shapes:  # pixelshuffledirect
        return isqrt(first[0] // 3)
    return 3 if first[0] == 9 * first[1] else 2 ** count_matches(shapes, r"upsample\.(\d+)\.weight")


def _split_size(shapes: Shapes, attention: str) -> list[int]:
    """Solve for height and width, the smaller first, of which the file has the product and the number of offsets."""
    product = shapes[f"{attention}relative_position_index"][0]
    total = (4 * product + 1 - shapes[f"{attention}rpe_biases"][0]) // 2
    root = isqrt(total * total - 4 * product)
    return [(total - root) // 2, (total + root) // 2]
