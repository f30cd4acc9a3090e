"""Division of spectra, by fast transforms or, where a graph has none, by the same transforms as matrix products."""

from __future__ import annotations

from math import pi
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def divide_spectra(x: Tensor, kernel: Tensor, regulariser: Tensor, border: int) -> Tensor:
    """Return the constrained-least-squares inverse of a circular convolution, without a border.

    In the frequency domain it is ``conj(K) X / (|K|^2 + |R|^2)``, with nothing added to the denominator.

    Args:
        x (Tensor): (N, C, H, W), floating point, as if repeated periodically.
        kernel (Tensor): (N, 1, k, k), k odd, its center at k // 2.
        regulariser (Tensor): (N, C, r, r), r odd.
        border (int): Rows and columns to remove from each side of the result.

    Returns:
        Tensor: (N, C, H - 2 * border, W - 2 * border).
    """
    if torch.onnx.is_in_onnx_export():
        return _divide_by_products(x, kernel, regulariser, border)
    height, width = x.shape[-2:]
    k, r = _transfer(kernel, height, width), _transfer(regulariser, height, width)
    quotient = k.conj() * torch.fft.rfft2(x) / without_zeros(_power(k) + _power(r))
    whole = torch.fft.irfft2(quotient, s=(height, width))
    return whole[..., border : height - border, border : width - border]


def without_zeros(x: Tensor) -> Tensor:
    """Return a divisor with 1 in place of 0, which only a black image and new weights give: 0 / 0 is 0 then."""
    return torch.where(x == 0, torch.ones_like(x), x)


def _transfer(kernel: Tensor, height: int, width: int) -> Tensor:
    """Return the half spectrum of ``kernel`` (N, C, k, k) whose center is at the origin of (height, width)."""
    side = kernel.shape[-1]
    whole = F.pad(kernel, (0, width - side, 0, height - side))
    return torch.fft.rfft2(whole.roll((-(side // 2), -(side // 2)), dims=(2, 3)))


def _power(spectrum: Tensor) -> Tensor:
    return spectrum.real.square() + spectrum.imag.square()


class _Spectrum(NamedTuple):
    """Real and imaginary part of a half spectrum (N, C, H, W // 2 + 1)."""

    real: Tensor
    imag: Tensor

    @property
    def power(self) -> Tensor:
        return self.real.square() + self.imag.square()


def _divide_by_products(x: Tensor, kernel: Tensor, regulariser: Tensor, border: int) -> Tensor:
    """Compute :func:`divide_spectra` by matrix products: exact at any size, and part of every graph format."""
    rows, columns = (_counted(x, axis) for axis in (2, 3))
    half = columns[: x.shape[3] // 2 + 1]

    def transformed(image: Tensor, center: int) -> _Spectrum:
        down, across = (_counted(image, axis) - center for axis in (2, 3))
        (cos_h, sin_h), (cos_w, sin_w) = _waves(rows, down, rows), _waves(across, half, columns)
        real, imag = image @ cos_w.to(image), -(image @ sin_w.to(image))
        cos_h, sin_h = cos_h.to(image), sin_h.to(image)
        return _Spectrum(cos_h @ real + sin_h @ imag, cos_h @ imag - sin_h @ real)

    k, r = (transformed(each, each.shape[-1] // 2) for each in (kernel, regulariser))
    whole, power = transformed(x, 0), without_zeros(k.power + r.power)
    real = (k.real * whole.real + k.imag * whole.imag) / power
    imag = (k.real * whole.imag - k.imag * whole.real) / power
    kept_rows, kept_columns = (each[border : each.shape[0] - border] for each in (rows, columns))
    cos_h, sin_h = (wave.to(x) / rows.shape[0] for wave in _waves(kept_rows, rows, rows))
    cos_w, sin_w = (wave.to(x) for wave in _waves(half, kept_columns, columns))
    # Each column of the half but the first, and the middle of an even width, stands for two of the whole.
    single = (half == 0).to(x) + (2 * half == columns.shape[0]).to(x)
    times = ((2 - single) / columns.shape[0]).unsqueeze(1)
    return (cos_h @ real - sin_h @ imag) @ (cos_w * times) - (sin_h @ real + cos_h @ imag) @ (sin_w * times)


def _counted(x: Tensor, axis: int) -> Tensor:
    """Return 0, 1, ... for each position along an axis."""
    return torch.arange(x.shape[axis], device=x.device)


def _waves(rows: Tensor, columns: Tensor, period: Tensor) -> tuple[Tensor, Tensor]:
    """Return cosine and sine of 2 pi times the products of whole numbers ``rows`` and ``columns`` over the period."""
    length = period.shape[0]
    # Whole turns are removed while the numbers are exact.
    turns = torch.remainder(rows.unsqueeze(1) * columns.unsqueeze(0), length)
    angles = turns.double() * (2 * pi) / length
    return torch.cos(angles), torch.sin(angles)


def pool_in_thirds(x: Tensor) -> Tensor:
    """Return the means (N, C, 3, 3) of (N, C, H, W) over three thirds of each side, which overlap as torch's do."""
    if not torch.onnx.is_in_onnx_export():
        return F.adaptive_avg_pool2d(x, 3)
    down, across = (_thirds(x, axis) for axis in (2, 3))
    return down @ x @ across.transpose(0, 1)


def inside_thirds(size: int, device: torch.device) -> Tensor:
    """Return which of ``size`` pixels each of the three thirds holds, (3, size), true or false."""
    return _thirds(torch.empty(size, 0, device=device), 0) > 0


def _thirds(x: Tensor, axis: int) -> Tensor:
    """Return the matrix (3, size) that averages thirds along an axis."""
    size, index = x.shape[axis], torch.arange(3, device=x.device).unsqueeze(1)
    start, end = index * size // 3, ((index + 1) * size + 2) // 3
    position = _counted(x, axis).unsqueeze(0)
    inside = (position >= start) & (position < end)
    return inside.to(x) / (end - start).to(x)
