"""SR images of a run that keep what the files of their LR images hold (``val.save_as_read``)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lightsr_basicsr import fields
from lightsr_basicsr.pictures.alpha import enlarged_alpha, filled
from lightsr_basicsr.pictures.files import ImageError
from lightsr_basicsr.pictures.picture import Picture
from lightsr_basicsr.pictures.reading import from_bytes
from lightsr_basicsr.pictures.values import from_network, to_network
from lightsr_basicsr.pictures.writing import write_picture

OPTIONS = {
    "val.save_as_read": fields.flag(
        "Whether networks see 16 bits, and saved SR images keep 16 bits, gray, transparency and tags of the LR files.",
        default=False,
    ),
}


class AsRead:
    """The picture that a validation read last, which is the LR image, and what the network made of it."""

    def __init__(self) -> None:
        self.end()

    def end(self) -> None:
        """Forget both; nothing is kept until ``on`` is set."""
        self.on = False
        self.picture: Picture | None = None
        self.result: np.ndarray | None = None

    def read(self, content: bytes) -> np.ndarray | None:
        """Keep an encoded image; return it (H, W, 3), B G R, float32 in [0, 1] if BasicSR would lose some of it.

        That is so for 16 bits and floats, and with transparency, where hidden colors are replaced by their neighbours'.
        Return None where BasicSR's own reader does as well.
        """
        try:
            self.picture = filled(from_bytes(content, "an image"))
        except ImageError:  # BasicSR's reader has its own word for it
            self.picture = None
        if self.picture is None or (self.picture.kind == "uint8" and self.picture.alpha is None):
            return None
        return np.ascontiguousarray(to_network(self.picture)[0].transpose(1, 2, 0)[:, :, ::-1])

    def write(self, path: Path, image: np.ndarray) -> bool:
        """Write the network's result in the place of ``image`` (H, W, C) of 8 bits, which was made of it, once.

        Transparency is enlarged by bicubic interpolation, since BasicSR gives the network colors alone.

        Returns:
            bool: Whether it did; not so for pictures that are no SR image of the picture.

        Raises:
            ImageError: If it cannot be written.
        """
        result, self.result = self.result, None
        if not self.on or self.picture is None or result is None or image.shape[:2] != result.shape[-2:]:
            return False
        color = from_network(result, self.picture)
        alpha = self.picture.alpha
        if alpha is not None:
            alpha = enlarged_alpha(alpha, (color.shape[1], color.shape[0]))
        write_picture(path, self.picture.with_pixels(color, alpha))
        return True


NOW = AsRead()
