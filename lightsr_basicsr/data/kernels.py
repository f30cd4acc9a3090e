"""Blur kernels: Gaussians as KDSR and DCLS draw them, and the kernel that does the same to an LR image."""

from __future__ import annotations

import torch
from torch import Tensor

KERNEL_SIZE = 21
# Of the kernel target of DCLS: values below this part of the largest but 40 are left out.
LARGEST, PART = 41, 0.75
TINY = 1e-20  # keeps the divisor from 0


def isotropic_kernel(sigma: Tensor, size: int = KERNEL_SIZE) -> Tensor:
    """Return Gaussian kernels (N, size, size), float64 and of sum 1, of standard deviations ``sigma`` (N,) in pixels.

    A standard deviation of 0 gives the identity.
    """
    return anisotropic_kernel(sigma, sigma, torch.zeros_like(sigma), size)


def anisotropic_kernel(sigma_1: Tensor, sigma_2: Tensor, theta: Tensor, size: int = KERNEL_SIZE) -> Tensor:
    """Return anisotropic Gaussian kernels (N, size, size), float64 and of sum 1 (KDSR's classic degradation, DCLS).

    Args:
        sigma_1 (Tensor): (N,), standard deviation along the axis at ``theta``, in pixels. KDSR's option text calls it
            an eigenvalue of the covariance; its code squares it.
        sigma_2 (Tensor): (N,), standard deviation across that axis, in pixels.
        theta (Tensor): (N,), angle in radians from the x axis (columns) towards the y axis (rows, downwards).
        size (int): Side of the kernels, odd. Default: 21.
    """
    sigma_1, sigma_2, theta = (value.double().view(-1, 1, 1) for value in (sigma_1, sigma_2, theta))
    offsets = torch.arange(size, dtype=torch.float64, device=theta.device) - size // 2
    x, y = offsets.view(1, 1, -1), offsets.view(1, -1, 1)
    along = torch.cos(theta) * x + torch.sin(theta) * y
    across = torch.cos(theta) * y - torch.sin(theta) * x
    # A standard deviation of 0 gives 0 / 0 on the axis, which counts fully, and infinity elsewhere.
    distance = torch.nan_to_num(along / sigma_1, nan=0.0) ** 2 + torch.nan_to_num(across / sigma_2, nan=0.0) ** 2
    kernel = torch.exp(-0.5 * distance)
    return kernel / kernel.sum(dim=(1, 2), keepdim=True)


def disturbed(kernel: Tensor, noise: Tensor) -> Tensor:
    """Return kernels (N, k, k) with each value times ``1 + noise`` (N, k, k), of sum 1 (DCLS: noise in [0, 0.25])."""
    kernel = kernel * (1 + noise)
    return kernel / kernel.sum(dim=(1, 2), keepdim=True)


def reduced_kernel(clean: Tensor, blurred: Tensor, size: int) -> Tensor:
    """Return the kernels that turn LR images into their blurred ones, as DCLS trains its estimator on them.

    A blur of an HR image, reduced, is nearly a blur of the reduced image. That kernel is the quotient of both spectra;
    the mean of all channels counts where their product is positive, and small values are left out.

    Args:
        clean (Tensor): LR images (N, C, H, W) of unblurred HR images, not rounded; sides of at least ``size``.
        blurred (Tensor): Those of blurred HR images, not rounded.
        size (int): Side of the kernels, odd.

    Returns:
        Tensor: (N, 1, size, size), at least 0 and of sum 1; NaN for images without detail, for which the official
        code has a single point beside the center.
    """
    kernel = _raw_kernel(clean, blurred, size)
    mean = kernel.mean(dim=1, keepdim=True) * (kernel.prod(dim=1, keepdim=True) > 0)
    least = PART * mean.flatten(1).topk(min(LARGEST, size**2)).values[:, -1]
    mean = (mean - least.view(-1, 1, 1, 1)).clamp(0, 1)
    return mean / mean.sum(dim=(2, 3), keepdim=True)


def _raw_kernel(clean: Tensor, blurred: Tensor, size: int) -> Tensor:
    """Return the middle (N, C, size, size) of the circular kernels of each channel."""
    spectrum = torch.fft.rfft2(clean)
    power = spectrum.real.square() + spectrum.imag.square()
    quotient = spectrum.conj() * torch.fft.rfft2(blurred) / (power + TINY)
    kernel = torch.fft.irfft2(quotient, s=clean.shape[-2:])
    return kernel.roll((size // 2, size // 2), dims=(2, 3))[..., :size, :size]
