"""Steps of BasicSR's networks in which a graph keeps the size, or the number, of images that it was traced with."""

from __future__ import annotations

import torch
from torch import Tensor


def masks_of_any_size() -> bool:
    """Compute SwinIR's attention masks from the size of the image, in operations that a graph repeats at any size.

    Why: BasicSR writes parts of a mask in place, and exporters keep where these were: at other sizes OpenVINO divides
    by zero, which ends the process. Since: always. Until: BasicSR computes them.
    """
    from basicsr.archs.swinir_arch import SwinTransformerBlock, window_partition

    if SwinTransformerBlock.calculate_mask.__module__ == __name__:
        return False

    def calculate_mask(self: SwinTransformerBlock, x_size: tuple[int, int]) -> Tensor:
        rows, columns = (_regions(side, self.window_size, self.shift_size) for side in x_size)
        regions = (3 * rows[:, None] + columns)[None, :, :, None]
        windows = window_partition(regions, self.window_size).view(-1, self.window_size**2)
        others = windows.unsqueeze(1) != windows.unsqueeze(2)
        return torch.zeros_like(others, dtype=torch.float32).masked_fill(others, -100.0)

    SwinTransformerBlock.calculate_mask = calculate_mask
    return True


def _regions(side: int, window: int, shift: int) -> Tensor:
    """Return which part of a shifted side each place is in; 1 and 2 share the last window without being neighbours."""
    places = torch.arange(side)
    if not shift:
        return torch.zeros_like(places)
    return (places >= side - window).long() + (places >= side - shift).long()


def windows_of_any_number() -> bool:
    """Join SwinIR's windows to as many images as there are.

    Why: BasicSR computes the number of images in Python, so that a graph keeps it: one that was traced with two images
    gives wrong pixels for one. Since: always. Until: BasicSR lets ``view`` find it.
    """
    from basicsr.archs import swinir_arch

    if swinir_arch.window_reverse.__module__ == __name__:
        return False

    def window_reverse(windows: Tensor, window_size: int, h: int, w: int) -> Tensor:
        channels = windows.shape[-1]
        rows = windows.view(-1, h // window_size, w // window_size, window_size, window_size, channels)
        return rows.permute(0, 1, 3, 2, 4, 5).reshape(-1, h, w, channels)

    swinir_arch.window_reverse = window_reverse
    return True
