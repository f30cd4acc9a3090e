"""Enlarge the planes of a picture by a network: any number of channels, eight mirrored and turned forms."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from lightsr_basicsr.pictures.picture import Picture
from lightsr_basicsr.pictures.values import from_network
from lightsr_basicsr.upscale.tiles import Progress, Strip, TileRunner

FORMS = 8  # an image, its mirror image, and both turned by 90, 180 and 270 degrees
Tell = Callable[[float], None]


class Share:
    """Tells which part of several runs over one picture is done, 0 to 1.

    Args:
        runs (int): How many.
        tell (Callable | None): Called with the part.
    """

    def __init__(self, runs: int, tell: Tell | None) -> None:
        self.runs, self.tell, self.done = runs, tell, 0

    def __call__(self, progress: Progress) -> None:
        """Tell how far the running one is."""
        if self.tell is not None:
            self.tell((self.done + progress.total) / self.runs)

    def one_more(self) -> None:
        """Note that one has ended."""
        self.done += 1


def runs_of(channels: int, num_in_ch: int, ensemble: bool) -> int:
    """Return how often :func:`enlarged` runs a network for color of so many channels."""
    return (1 if num_in_ch == 3 else channels) * (FORMS if ensemble else 1)


def enlarged(
    runner: TileRunner, picture: Picture, num_in_ch: int = 3, ensemble: bool = False, share: Share | None = None
) -> np.ndarray:
    """Return the color of a picture, (H, W, C), enlarged: (scale * H, scale * W, C) of the same type.

    A network of one channel gets the channels one by one; gray is repeated for one of three.

    Args:
        runner (TileRunner): Runs the network.
        picture (Picture): Floats must be within 0 and 1.
        num_in_ch (int): Channels of the network's images, 1 or 3. Default: 3.
        ensemble (bool): Whether the result is the mean over eight mirrored and turned forms. Default: False.
        share (Share | None): Told how far it is. Default: None.

    Raises:
        ImageError: If the network makes NaN.
        TileError: If there is not enough memory.
    """
    color, share = picture.color, share or Share(1, None)
    height, width, channels = color.shape
    made = np.empty((height * runner.scale, width * runner.scale, channels), color.dtype)
    parts = [slice(None)] if num_in_ch == 3 or channels == 1 else [slice(place, place + 1) for place in range(channels)]
    for part in parts:
        seen = np.broadcast_to(color[:, :, part], (height, width, num_in_ch))
        one = picture.with_pixels(color[:, :, part])
        for row, pixels in _mean_of_forms(runner, seen, share) if ensemble else _strips(runner, seen, share):
            made[row : row + len(pixels), :, part] = from_network(pixels.transpose(2, 0, 1), one)
    return made


def _strips(runner: TileRunner, pixels: np.ndarray, share: Share) -> Iterator[Strip]:
    yield from runner.strips(pixels, "float32", share)
    share.one_more()


def _mean_of_forms(runner: TileRunner, pixels: np.ndarray, share: Share) -> Iterator[Strip]:
    """Yield the mean over all forms, as one strip; whole pictures are turned, since tiles share their statistics."""
    total: np.ndarray | None = None
    for form in range(FORMS):
        turns, mirrored = form % 4, form >= 4
        seen = np.rot90(pixels[:, ::-1] if mirrored else pixels, turns)
        back = np.rot90(runner.upscale(seen, "float32", share), -turns)
        back = back[:, ::-1] if mirrored else back
        total = np.array(back) if total is None else np.add(total, back, out=total)
        share.one_more()
    yield Strip(0, np.divide(total, FORMS, out=total))
