"""Degradations as pure functions of their arguments, without random numbers of their own.

On 8- and 16-bit images (ndarray, as MATLAB writes files): ``imresize`` (BI), ``blur_subsample`` (BD, also called BN),
``add_noise`` (DN after BI). On tensors of any device: Gaussian kernels and the classic degradation of KDSR.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

# Importable from here for existing code; their home is `data.kernels`.
from lightsr_basicsr.data.kernels import KERNEL_SIZE as KERNEL_SIZE
from lightsr_basicsr.data.kernels import anisotropic_kernel as anisotropic_kernel
from lightsr_basicsr.data.kernels import isotropic_kernel as isotropic_kernel
from lightsr_basicsr.data.resampling import Products, as_products, weigh_rows

BORDERS = {"mirror": "symmetric", "replicate": "edge"}
BD_SIZE, BD_SIGMA = 7, 1.6
DN_LEVEL = 30.0
# Relative size below which float32 loses a value anyway.
NEGLIGIBLE = 1e-7
# Pixel values of images that a CPU transforms at a time, as its cache holds no more.
CACHED = 1 << 20


def cubic(x: np.ndarray) -> np.ndarray:
    """Return the bicubic interpolation kernel with a = -0.5 (Keys, 1981), as MATLAB's ``imresize`` uses it.

    Examples:
        >>> cubic(np.array([0.0, 0.5, 1.0, 1.5])).tolist()
        [1.0, 0.5625, 0.0, -0.0625]
    """
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def resize_taps(size: int, scale: float, border: str = "mirror") -> tuple[np.ndarray, np.ndarray]:
    """Return the input indices and weights of each output sample of a bicubic resize.

    Args:
        size (int): Input length.
        scale (float): Output length over input length. Below 1 the kernel is stretched against aliasing.
        border (str): Padding: ``'mirror'`` (with the edge pixel repeated) or ``'replicate'``.

    Returns:
        tuple: Indices (out, taps) in [0, size), and weights (out, taps) that sum to 1 per row.

    Raises:
        ValueError: If ``border`` is unknown or ``scale`` is not positive.
    """
    if border not in BORDERS:
        raise ValueError(f"`border` must be one of {sorted(BORDERS)}, got {border!r}.")
    if scale <= 0:
        raise ValueError(f"`scale` must be positive, got {scale}.")
    stretch = max(1.0, 1 / scale)
    out = math.ceil(size * scale)
    center = (np.arange(1, out + 1) / scale) + 0.5 * (1 - 1 / scale)
    left = np.floor(center - 2 * stretch)
    taps = left[:, None] + np.arange(math.ceil(4 * stretch) + 2)
    weights = cubic((center[:, None] - taps) / stretch)
    indices = taps.astype(int) - 1
    pad = max(-indices.min(), indices.max() - size + 1, 0)
    inside = np.pad(np.arange(size), pad, mode=BORDERS[border])[indices + pad]
    return inside, weights / weights.sum(axis=1, keepdims=True)


def imresize(image: np.ndarray, scale: float, border: str = "mirror") -> np.ndarray:
    """Return a whole-number image resized bicubically, bit for bit as by MATLAB's ``imresize`` on ``uint8``.

    Height first, rounded, then width, rounded again. Floating-point resizes with one rounding at the end differ from
    MATLAB's files in 10 to 16 % of the samples. Verified with MATLAB's files at 1/2, 1/3 and 1/4, 8 bits.

    Args:
        image (ndarray): (H, W) or (H, W, C), uint8 or uint16.
        scale (float): Output over input size, for example 0.25 for x4 LR. Output sides are rounded up.
        border (str): ``'mirror'`` (current MATLAB; the IMDN test files) or ``'replicate'`` (older MATLAB; the FDIWN
            test files). The two differ in the outer two LR pixels only.

    Returns:
        ndarray: (ceil(H * scale), ceil(W * scale)) with the channels and the type of ``image``.

    Raises:
        TypeError: If ``image`` is of another type.
        ValueError: If ``border`` is unknown or ``scale`` is not positive.

    Examples:
        >>> imresize(np.arange(64, dtype=np.uint8).reshape(8, 8), 1 / 4).tolist()
        [[12, 17], [46, 51]]
    """
    top, (kind, middle) = _top_level(image), _arithmetic(image, scale)
    for _ in ("height", "width"):
        image = weigh_rows(image, _resize_products(len(image), scale, border, kind), top, middle)
    return image


def _arithmetic(image: np.ndarray, scale: float) -> tuple[torch.dtype, int]:
    """Return the type to compute in, float32 where it gives the results of float64, and an offset to subtract first.

    At 1/2 and 1/4 all weights are multiples of 2**-12, at 1/8 of 2**-16, so float32 holds every sum, at 1/8 if the
    values lie in [-128, 127]. At 1/3 every sum is a multiple of 1/81, at least 1/162 from where rounding turns.
    """
    if image.dtype != np.uint8 or scale not in (1 / 2, 1 / 3, 1 / 4, 1 / 8):
        return torch.float64, 0
    return torch.float32, 128 if scale == 1 / 8 else 0


@lru_cache(maxsize=64)
def _resize_products(size: int, scale: float, border: str, kind: torch.dtype) -> tuple[Products, ...]:
    return as_products(*resize_taps(size, scale, border), kind)


def _top_level(image: np.ndarray) -> int:
    if image.dtype not in (np.uint8, np.uint16):
        raise TypeError(f"The image must be uint8 or uint16, got {image.dtype}.")
    return int(np.iinfo(image.dtype).max)


def blur_subsample(image: np.ndarray, scale: int) -> np.ndarray:
    """Apply BD (BN in DDistill-SR): blur, round, take the centre pixel of each ``scale`` x ``scale`` cell.

    The Gaussian is 7x7 with a standard deviation of 1.6 pixels, the border is replicated. The pixel taken is at index
    ``scale // 2`` of its cell, as MATLAB's nearest-neighbour resize takes it; pipelines that take index 0 are shifted.

    Args:
        image (ndarray): (H, W) or (H, W, C), uint8 or uint16.
        scale (int): At least 1.

    Returns:
        ndarray: (ceil(H / scale), ceil(W / scale)) with the channels and the type of ``image``.

    Raises:
        TypeError: If ``image`` is of another type.
    """
    top = _top_level(image)
    blurred = weigh_rows(image, _blur_products(len(image), scale))
    return weigh_rows(blurred, _blur_products(len(blurred), scale), top)


@lru_cache(maxsize=64)
def _blur_products(size: int, scale: int) -> tuple[Products, ...]:
    offsets = np.arange(BD_SIZE) - BD_SIZE // 2
    gauss = np.exp(-(offsets**2) / (2 * BD_SIGMA**2))
    centers = np.minimum(np.arange(0, size, scale) + scale // 2, size - 1)
    indices = np.clip(centers[:, None] + offsets, 0, size - 1)
    return as_products(indices, np.broadcast_to(gauss / gauss.sum(), indices.shape), torch.float64)


def add_noise(image: np.ndarray, noise: np.ndarray, level: float = DN_LEVEL) -> np.ndarray:
    """Apply the noise of DN, after BI: add ``level`` times ``noise``, in single precision, and round.

    Args:
        image (ndarray): Any shape, uint8 or uint16.
        noise (ndarray): Standard normal numbers in the shape of ``image``.
        level (float): Standard deviation in gray levels of 8 bits; 30 in DDistill-SR's x3 set.

    Returns:
        ndarray: Shape and type of ``image``, clipped to its range, halves rounded up.

    Raises:
        TypeError: If ``image`` is of another type.
        ValueError: If the shapes differ.
    """
    top = _top_level(image)
    if noise.shape != image.shape:
        raise ValueError(f"`noise` must have the shape of the image, {image.shape}, got {noise.shape}.")
    noisy = image.astype(np.float32) + np.float32(level * top / 255) * noise.astype(np.float32)
    return np.minimum(np.floor(np.clip(noisy, 0, top) + np.float32(0.5)), top).astype(image.dtype)


def mod_crop(image: np.ndarray, scale: int) -> np.ndarray:
    """Return ``image`` (H, W, ...) cropped at the bottom and right to multiples of ``scale``.

    Examples:
        >>> mod_crop(np.zeros((10, 13, 3)), 4).shape
        (8, 12, 3)
    """
    height, width = image.shape[:2]
    return image[: height - height % scale, : width - width % scale]


def blur_downsample(
    image: Tensor, kernel: Tensor, scale: int, mode: str = "bicubic", border: str = "replicate"
) -> Tensor:
    """Blur with reflected borders, then downsample with replicated ones: KDSR's classic degradation before noise.

    Downsampling is linear: one matrix for the height and one for the width. An isotropic Gaussian is the product of a
    column and a row, which these matrices absorb; other kernels are applied in the frequency domain. Both equal a plain
    convolution and a resize up to float32 rounding.

    Args:
        image (Tensor): (N, C, H, W), floating point of any range; sides are multiples of ``scale`` and larger than half
            the kernel.
        kernel (Tensor): (1, k, k) for all images or (N, k, k), k odd; correlated, not flipped.
        scale (int): Downsampling factor.
        mode (str): ``'bicubic'`` (MATLAB's weights, antialiased) or ``'s-fold'`` (every ``scale``-th pixel from 0).
        border (str): Of the bicubic, see :func:`resize_taps`. Default: ``'replicate'``; that of DCLS is ``'mirror'``.

    Returns:
        Tensor: (N, C, H / scale, W / scale), not rounded.

    Raises:
        TypeError: If ``image`` is not floating point.
        ValueError: If sizes do not fit or ``mode`` is unknown.
    """
    if not image.is_floating_point():
        raise TypeError(f"`image` must be floating point, got {image.dtype}: convert it first.")
    _check_sizes(image, kernel, scale)
    column, row = _separate(kernel)
    if column is None:
        image = _blur(image, kernel.to(image))
    tall = _operator(image.shape[2], column, _downsampler(image.shape[2], scale, mode, border)).to(image)
    wide = _operator(image.shape[3], row, _downsampler(image.shape[3], scale, mode, border)).to(image)
    return tall @ (image @ wide.transpose(-1, -2))


def _check_sizes(image: Tensor, kernel: Tensor, scale: int) -> None:
    if kernel.ndim != 3 or kernel.shape[1] != kernel.shape[2] or kernel.shape[1] % 2 == 0:
        raise ValueError(f"`kernel` must be (N, k, k) with an odd k, got {tuple(kernel.shape)}.")
    height, width = image.shape[-2:]
    if height % scale or width % scale:
        raise ValueError(f"Both sides must be multiples of the scale {scale}, got {height}x{width}.")
    if min(height, width) <= kernel.shape[-1] // 2:
        raise ValueError(
            f"A {kernel.shape[-2]}x{kernel.shape[-1]} kernel with reflected borders needs sides of more than "
            f"{kernel.shape[-1] // 2}, got {height}x{width}."
        )
    if len(kernel) not in (1, len(image)):
        raise ValueError(f"Expected one kernel, or one for each of {len(image)} images, got {len(kernel)}.")


def _separate(kernel: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Return columns and rows (N, k), float64, whose products are ``kernel`` (N, k, k); None if it is not separable."""
    left, size, right = torch.linalg.svd(kernel.double())
    if (size[:, 1:] > NEGLIGIBLE * size[:, :1]).any():
        return None, None
    root = size[:, :1].sqrt()
    return left[:, :, 0] * root, right[:, 0] * root


def _blur(image: Tensor, kernel: Tensor) -> Tensor:
    """Correlate (N, C, H, W) with ``kernel`` (1 or N, k, k), borders reflected."""
    count = max(1, CACHED // image[0].numel()) if image.device.type == "cpu" else len(image)
    kernels = kernel.split(count) if len(kernel) > 1 else [kernel] * -(-len(image) // count)
    return torch.cat([_blur_together(*each) for each in zip(image.split(count), kernels, strict=True)])


def _blur_together(image: Tensor, kernel: Tensor) -> Tensor:
    height, width = image.shape[-2:]
    reach = kernel.shape[-1] // 2
    padded = F.pad(image, (reach, reach, reach, reach), mode="reflect")
    # Transforms of multiples of 16 are fast; values that wrap around do not reach the image.
    lengths = [-(-side // 16) * 16 for side in padded.shape[-2:]]
    spectrum = torch.fft.rfft2(kernel, s=lengths).conj().unsqueeze(1)
    return torch.fft.irfft2(torch.fft.rfft2(padded, s=lengths) * spectrum, s=lengths)[..., :height, :width]


def _operator(size: int, factor: Tensor | None, down: Tensor) -> Tensor:
    """Return the matrix ``down`` (size / scale, size), or (N, 1, ., .) that first blurs with ``factor`` (N, k).

    One kernel for all images gives one matrix.
    """
    if factor is None:
        return down
    count, length = factor.shape
    reach = length // 2
    padded = F.conv1d(down.to(factor).unsqueeze(1), factor.unsqueeze(1).flip(-1), padding=length - 1).transpose(0, 1)
    matrix = padded[..., reach : reach + size].clone()
    # The weight of a reflected pixel belongs to the pixel that it mirrors.
    matrix[..., 1 : reach + 1] += padded[..., :reach].flip(-1)
    matrix[..., size - 1 - reach : size - 1] += padded[..., reach + size :].flip(-1)
    return matrix.unsqueeze(1) if count > 1 else matrix.squeeze(0)


def _downsampler(size: int, scale: int, mode: str, border: str) -> Tensor:
    matrix = np.zeros((size // scale, size))
    if mode == "bicubic":
        indices, weights = resize_taps(size, 1 / scale, border)
        np.add.at(matrix, (np.arange(len(indices))[:, None], indices), weights)
    elif mode == "s-fold":
        matrix[np.arange(len(matrix)), np.arange(0, size, scale)] = 1
    else:
        raise ValueError(f"`mode` must be 'bicubic' or 's-fold', got {mode!r}.")
    return torch.from_numpy(matrix)


def quantize(image: Tensor) -> Tensor:
    """Return [0, 1] rounded to 8 bits, halves to even as by PyTorch and KDSR, and clipped, as a PNG would store it.

    Examples:
        >>> (quantize(torch.tensor([-0.1, 0.25, 1.2])) * 255).tolist()
        [0.0, 64.0, 255.0]
    """
    return (image * 255).round().clamp(0, 255) / 255


def classic_degradation(
    image: Tensor, kernel: Tensor, scale: int, noise: Tensor | None = None, level: Tensor | float = 0.0
) -> Tensor:
    """Apply the degradation of KDSR's classic recipes: blur, downsample, add noise, round to 8 bits.

    Args:
        image (Tensor): HR images (N, C, H, W) in [0, 1]; see :func:`blur_downsample`.
        kernel (Tensor): (1, k, k) or (N, k, k).
        scale (int): Downsampling factor.
        noise (Tensor | None): Standard normal numbers in the shape of the LR images.
        level (Tensor | float): Standard deviation of the noise in gray levels of 8 bits; a tensor is (1,) or (N,).

    Returns:
        Tensor: LR images (N, C, H / scale, W / scale) in [0, 1], multiples of 1/255.

    Raises:
        TypeError: If ``image`` is not floating point.
        ValueError: If sizes do not fit.
    """
    low = blur_downsample(image, kernel, scale)
    if noise is not None:
        low = low + torch.as_tensor(level).to(low).view(-1, 1, 1, 1) / 255 * noise
    return quantize(low)
