"""Colors of a film: how brightness and color differences become RGB, and back in the same way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from av import VideoFrame
    from av.video.reformatter import VideoReformatter

# Numbers of the standard (ITU-T H.273), which FFmpeg uses too.
RGB, BT709, UNKNOWN = 0, 1, 2
FCC, PAL, NTSC, SMPTE240M, BT2020 = 4, 5, 6, 7, 9
KNOWN = (BT709, FCC, PAL, NTSC, SMPTE240M, BT2020)
LIMITED, FULL = 1, 2
STANDARD_HEIGHT = 576  # up to which players take films without a word on their colors as those of television
DEEP = 8  # bits, above which a film is computed with 16 bits and written with 10


class Colors(NamedTuple):
    """What a film says about its colors, as numbers of H.273: matrix, range, primaries and transfer."""

    matrix: int
    range: int
    primaries: int
    transfer: int
    deep: bool = False  # more than 8 bits

    @property
    def pixels(self) -> str:
        """FFmpeg's name of RGB at this depth."""
        return "rgb48le" if self.deep else "rgb24"

    @property
    def encoded(self) -> str:
        """FFmpeg's name of what is encoded."""
        return "yuv420p10le" if self.deep else "yuv420p"


def colors_of(frame: VideoFrame) -> Colors:
    """Return the colors of a film's first frame; what it leaves open is decided as players do, by its height."""
    depth = max((part.bits for part in frame.format.components), default=8)
    matrix, values = int(frame.colorspace), int(frame.color_range)
    rgb = frame.format.is_rgb or matrix == RGB
    if rgb or matrix not in KNOWN:
        matrix = BT709 if rgb or frame.height > STANDARD_HEIGHT else NTSC
    full = not rgb and (values == FULL or frame.format.name.startswith("yuvj"))
    return Colors(
        matrix, FULL if full else LIMITED, int(frame.color_primaries), int(frame.color_trc), bool(depth > DEEP)
    )


class Converter:
    """Turns frames into RGB and back.

    Args:
        colors (Colors): Those of the film.
    """

    def __init__(self, colors: Colors) -> None:
        from av.video.reformatter import Interpolation, VideoReformatter

        self.colors = colors
        self.reading, self.writing = VideoReformatter(), VideoReformatter()
        # The library's default rounds coarsely, and takes the color of every second column.
        self.flags = (
            Interpolation.BICUBIC
            | Interpolation.ACCURATE_RND
            | Interpolation.FULL_CHR_H_INT
            | Interpolation.FULL_CHR_H_INP
        )

    def to_rgb(self, frame: VideoFrame) -> np.ndarray:
        """Return a frame as (H, W, 3), uint8 or uint16."""
        return self._converted(self.reading, frame, self.colors.pixels, (self.colors.range, FULL)).to_ndarray()

    def to_frame(self, pixels: np.ndarray, size: tuple[int, int] | None = None) -> VideoFrame:
        """Return (H, W, 3) as a frame to be encoded, stretched to width and height where these are given."""
        from av import VideoFrame

        frame = VideoFrame.from_ndarray(np.ascontiguousarray(pixels), self.colors.pixels)
        made = self._converted(self.writing, frame, self.colors.encoded, (FULL, self.colors.range), size)
        self.mark(made)
        return made

    def _converted(
        self,
        reformatter: VideoReformatter,
        frame: VideoFrame,
        name: str,
        ranges: tuple[int, int],
        size: tuple[int, int] | None = None,
    ) -> VideoFrame:
        width, height = size or (None, None)
        matrix = self.colors.matrix
        return reformatter.reformat(
            frame, width, height, name, src_colorspace=matrix, dst_colorspace=matrix, interpolation=self.flags,
            src_color_range=ranges[0], dst_color_range=ranges[1], threads=1,
        )  # fmt: skip

    def mark(self, holder: Any) -> None:
        """Write the colors into a frame or the context of an encoder."""
        holder.colorspace, holder.color_range = self.colors.matrix, self.colors.range
        holder.color_primaries, holder.color_trc = self.colors.primaries, self.colors.transfer
