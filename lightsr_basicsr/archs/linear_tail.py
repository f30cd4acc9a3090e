"""The fast form of an upsampling tail: convolutions and pixel shuffles in a row, computed as one convolution.

Without activations they are one linear function: a 5x5 convolution at LR size and one pixel shuffle, with a tenth of
the work. The zero padding between the steps shows in the outermost LR pixels alone, which are computed step by step.
The kernel is computed from the current weights in every call, so that it is never out of date.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lightsr_basicsr.archs.fast import run_steps
from lightsr_basicsr.archs.reparam import Kernel, plain_kernel

# LR pixels of an image from which on the work saved outweighs computing the kernel.
FEWEST_PIXELS = 1536
# LR rows that the outermost one depends on: itself and two more.
STRIP = 3


def run_tail(steps: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Map (N, C, H, W) to (N, O, scale * H, scale * W): as one convolution where that is faster, else step by step."""
    return run_as_one(steps, x) if pays_as_one(steps, x) else run_steps(steps, x)


def pays_as_one(steps: Sequence[nn.Module], x: Tensor) -> bool:
    """Return whether ``steps`` should run as one convolution on ``x``: in evaluation, on all but small images.

    A traced program must not depend on the size of the image, so in tracing they always do. Steps other than plain 3x3
    convolutions and pixel shuffles, such as convolutions widened for training, run as they are.
    """
    if any(step.training for step in steps) or x.device.type == "mps":  # which has no float64
        return False
    plain = all(type(step) is nn.PixelShuffle or _is_plain(step) for step in steps)
    return plain and (torch.jit.is_tracing() or x.shape[-2] * x.shape[-1] >= FEWEST_PIXELS)


def _is_plain(step: nn.Module) -> bool:
    if type(step) is not nn.Conv2d or step.padding_mode != "zeros":
        return False
    return (step.kernel_size, step.stride, step.padding, step.groups) == ((3, 3), (1, 1), (1, 1), 1)


def run_as_one(steps: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Map (N, C, H, W) of any size to (N, O, scale * H, scale * W) as :func:`run_steps` does, up to rounding.

    The steps are plain 3x3 convolutions and pixel shuffles by turns, a convolution first and last.
    """
    scale = prod(step.upscale_factor for step in steps if isinstance(step, nn.PixelShuffle))
    weight, bias = (_as_constant(part).to(x) for part in compose(steps))
    out = F.pixel_shuffle(F.conv2d(x, weight, bias, padding=2), scale)
    for axis in (2, 3):
        first, last = (run_steps(steps, _cut(x, axis, part)) for part in (slice(STRIP), slice(-STRIP, None)))
        # For a 1-pixel-wide image the last strip is empty.
        last = _cut(_cut(last, axis, slice(scale, None)), axis, slice(-scale, None))
        out = torch.cat([_cut(first, axis, slice(scale)), _cut(out, axis, slice(scale, -scale)), last], dim=axis)
    return out


def _cut(x: Tensor, axis: int, part: slice) -> Tensor:
    return x[:, :, part] if axis == 2 else x[:, :, :, part]


def compose(steps: Sequence[nn.Module]) -> Kernel:
    """Return the kernel, (O * scale ** 2, C, 5, 5) in float64, whose output a pixel shuffle by ``scale`` completes."""
    *earlier, last = steps
    weight, bias = plain_kernel(last.weight, last.bias)
    num_out, finer = last.out_channels, 1
    for shuffle, conv in zip(earlier[-1::-2], earlier[-2::-2], strict=True):
        factor, first = shuffle.upscale_factor, plain_kernel(conv.weight, conv.bias)
        weight = _before_shuffle(weight, factor, num_out, finer)
        bias = bias.view(num_out, 1, finer, 1, finer).expand(-1, factor, -1, factor, -1).flatten()
        bias = bias + weight.sum(dim=(2, 3)) @ first.bias
        weight = _one_after_another(first.weight, weight)
        finer *= factor
    return Kernel(weight, bias)


def _before_shuffle(weight: Tensor, factor: int, num_out: int, finer: int) -> Tensor:
    """Return the 3x3 kernel before a pixel shuffle by ``factor`` that equals ``weight`` after it.

    ``weight`` is (num_out * finer ** 2, C, K, K), K 3 or 5, with ``finer`` the factor of the later shuffles; the result
    is (num_out * (factor * finer) ** 2, C * factor ** 2, 3, 3).
    """
    reach, width = weight.shape[-1] // 2, weight.shape[-1]
    before = [factor + part - reach for part in range(factor)]
    after = [3 * factor - width - start for start in before]
    # Seen from each of the pixels that one becomes, the kernel lies elsewhere on the finer grid.
    parts = [
        F.pixel_unshuffle(F.pad(weight, [before[column], after[column], before[row], after[row]]), factor)
        for row in range(factor) for column in range(factor)
    ]  # fmt: skip
    whole = torch.stack(parts).view(factor, factor, num_out, finer, finer, *parts[0].shape[1:])
    return whole.permute(2, 0, 3, 1, 4, 5, 6, 7).flatten(0, 4)


def _one_after_another(first: Tensor, second: Tensor) -> Tensor:
    """Return the 5x5 kernel (O, C, 5, 5) of two 3x3 convolutions in a row, (M, C, 3, 3) and (O, M, 3, 3)."""
    products = torch.einsum("omv,miw->viow", second.flatten(2), first.flatten(2)).unflatten(3, (3, 3))
    # Summed where both taps together reach the same pixel; a transposed convolution does it, but slowly in float64.
    shifted = [
        F.pad(part, [tap % 3, 2 - tap % 3, tap // 3, 2 - tap // 3]) for tap, part in enumerate(products.unbind())
    ]
    return sum(shifted).transpose(0, 1)


def _as_constant(kernel: Tensor) -> Tensor:
    """Return ``kernel``; in a traced program as a constant, which is not computed again from the weights."""
    if not torch.jit.is_tracing():
        return kernel
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer does not see numpy, which is intended
        return torch.from_numpy(kernel.detach().cpu().numpy())
