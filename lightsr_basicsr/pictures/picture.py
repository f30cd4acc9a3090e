"""A picture: its pixels, and what else its file holds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

MODES = ("1-bit", "gray", "gray+alpha", "RGB", "RGBA", "palette", "palette+transparency", "CMYK")
KINDS = ("uint8", "uint16", "float32")


@dataclass(frozen=True)
class Metadata:
    """What a file says about its pixels.

    Args:
        icc (bytes | None): The color profile.
        exif (bytes | None): Exif block without JPEG's prefix, with orientation 1 and without thumbnail.
        dpi (tuple[float, float] | None): Pixels per inch, across and down.
        xmp (bytes | None): Adobe's XML, with orientation 1.
        iptc (bytes | None): The press's tags as Photoshop stores them in a JPEG.
        comment (bytes | None): A JPEG's or GIF's comment.
        chunks (tuple): Of a PNG: ``(name, content)`` of the chunks on colors, text and time.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    comment: bytes | None = None
    chunks: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels and metadata of one picture, upright.

    Args:
        color (np.ndarray): (H, W, 1) gray or (H, W, 3) RGB; uint8, uint16 or float32.
        alpha (np.ndarray | None): (H, W), of the same type: 0 is transparent, the type's largest number (float: 1) is
            opaque. Colors are not multiplied by it.
        mode (str): What the file held, one of ``MODES``.
        format (str): ``PNG``, ``JPEG``, ``WEBP``, ``BMP``, ``TIFF`` or ``GIF``.
        metadata (Metadata): The rest of the file.
        lossless (bool): Whether the file held the pixels exactly.
        subsampling (int | None): Of a JPEG's chroma: 0 (4:4:4), 1 (4:2:2) or 2 (4:2:0); None if unknown.
        notes (tuple[str, ...]): What reading it changed, in sentences.

    Raises:
        ValueError: If shapes or types differ from these.
    """

    color: np.ndarray
    alpha: np.ndarray | None = None
    mode: str = "RGB"
    format: str = "PNG"
    metadata: Metadata = field(default_factory=Metadata)
    lossless: bool = True
    subsampling: int | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        color, alpha = self.color, self.alpha
        if color.ndim != 3 or color.shape[2] not in (1, 3) or not color.size:
            raise ValueError(f"color must be (H, W, 1) or (H, W, 3), got {color.shape}.")
        if str(color.dtype) not in KINDS:
            raise ValueError(f"color must be one of {', '.join(KINDS)}, got {color.dtype}.")
        if alpha is not None and (alpha.shape != color.shape[:2] or alpha.dtype != color.dtype):
            raise ValueError(f"alpha must be {color.shape[:2]} of {color.dtype}, got {alpha.shape} of {alpha.dtype}.")

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.color.shape[1], self.color.shape[0]

    @property
    def is_gray(self) -> bool:
        """Whether there is one channel of color."""
        return self.color.shape[2] == 1

    @property
    def kind(self) -> str:
        """One of ``KINDS``: the type of the pixels."""
        return str(self.color.dtype)

    @cached_property
    def value_range(self) -> tuple[float, float]:
        """The values that a network sees as 0 and 1.

        Of floats these are 0 and 1, unless the picture holds values outside: then its smallest or largest one.
        """
        if self.color.dtype != np.float32:
            return 0.0, float(np.iinfo(self.color.dtype).max)
        return min(0.0, float(self.color.min())), max(1.0, float(self.color.max()))

    def with_pixels(self, color: np.ndarray, alpha: np.ndarray | None = None) -> Picture:
        """Return this picture with other pixels, of any size, and the same metadata.

        Args:
            color (np.ndarray): As of the class; gray and RGB may differ from this picture's.
            alpha (np.ndarray | None): As of the class. Default: None.

        Raises:
            ValueError: As of the class.
        """
        return replace(self, color=color, alpha=alpha)

    def with_metadata(self, metadata: Metadata) -> Picture:
        """Return this picture with other metadata."""
        return replace(self, metadata=metadata)


def largest(kind: np.dtype | type) -> float:
    """Return the value of white or opaque: of floats 1.

    >>> largest(np.uint16), largest(np.float32)
    (65535, 1.0)
    """
    return 1.0 if np.issubdtype(kind, np.floating) else int(np.iinfo(kind).max)
