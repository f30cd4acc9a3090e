"""Enlarge whole pictures by a network: color, gray and alpha, within the memory at hand, at any scale."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lightsr_basicsr.checkpoints import SUFFIXES as CHECKPOINTS
from lightsr_basicsr.checkpoints.identify import load
from lightsr_basicsr.film.enlarging import Wishes, enlarge_film
from lightsr_basicsr.pictures.alpha import constant, enlarged_alpha, filled
from lightsr_basicsr.pictures.files import ImageError
from lightsr_basicsr.pictures.picture import Picture, largest
from lightsr_basicsr.runtimes.base import BackendError, Runtime
from lightsr_basicsr.runtimes.choice import AUTO, open_runtime
from lightsr_basicsr.runtimes.fastest import FASTEST
from lightsr_basicsr.runtimes.network import prepare
from lightsr_basicsr.upscale.enlarging import Share, Tell, enlarged, runs_of
from lightsr_basicsr.upscale.films import FrameEnlarger
from lightsr_basicsr.upscale.images import as_pictures
from lightsr_basicsr.upscale.memory import available_memory
from lightsr_basicsr.upscale.resizing import check_outscale, resized, scaled
from lightsr_basicsr.upscale.runners import Report, Runners
from lightsr_basicsr.upscale.tiles import refinable
from lightsr_basicsr.weights.find import default_name, find_weights


class Upscaler:
    """Enlarges images with one network.

    Args:
        model (str | PathLike | nn.Module | Runtime | None): A checkpoint or an exported file, a name of one in this
            package or the cache such as ``'IMDN_x4'``, a network with its weights, or what ``open_runtime`` returns.
            None is the small network in this package that fits ``outscale``, x4 without that. Default: None.
        backend (str): ``'torch'``, ``'onnxruntime'``, ``'openvino'``, ``'ncnn'``, ``'auto'`` for the usually fastest,
            or ``'fastest'`` for the one that the first image measures, see ``open_runtime``. Default: ``'auto'``.
        precision (str | None): ``'fp32'``, ``'bf16'``, ``'fp16'`` or ``'int8'``; None is ``'fp32'``, or that of an
            exported file. Default: None.
        device (str | None): ``'cpu'``, ``'cuda'``, ``'cuda:1'``; None lets the backend choose. Default: None.
        threads (int | None): CPU threads; None is torch's number. Default: None.
        trust (bool): Whether a TorchScript file, which is a program, may run. Default: False.
        tile (int | None): Side of tiles in pixels of the image; 0 for no tiles; None for the whole image where it fits
            into memory, else the largest tiles that do. Default: None.
        tile_pad (int | None): What a tile sees beyond its side, in pixels; None is the network's own. Default: None.
        tile_passes (int | None): How often the tiles are run before, to collect statistics of the whole image; None is
            the network's own. Default: None.
        self_ensemble (bool): Whether to take the mean over eight mirrored and turned forms, which takes eight times as
            long. Default: False.
        outscale (float | None): Size of the result over size of the image; where it is not the network's, the result is
            resized. None is the network's scale. Default: None.
        report (Callable | None): Called with sentences on what is done otherwise than expected. Default: None.

    Raises:
        UserError: If there is no such network, it cannot be run so, or a number is not possible.
    """

    def __init__(
        self,
        model: str | PathLike | nn.Module | Runtime | None = None,
        *,
        backend: str = AUTO,
        precision: str | None = None,
        device: str | torch.device | None = None,
        threads: int | None = None,
        trust: bool = False,
        tile: int | None = None,
        tile_pad: int | None = None,
        tile_passes: int | None = None,
        self_ensemble: bool = False,
        outscale: float | None = None,
        report: Report | None = None,
    ) -> None:
        check_outscale(outscale)
        model = default_name(outscale) if model is None else model
        net, runtime = _opened(model, backend, precision, device, threads, trust)
        if runtime.num_in_ch not in (1, 3):
            raise BackendError(f"Expected a network of 1 or 3 channels, got {runtime.num_in_ch}: choose another one.")
        self.model, self.self_ensemble = model, self_ensemble
        self.report = report or (lambda text: None)
        chosen = {"size": tile, "overlap": tile_pad, "passes": tile_passes}
        # What is asked for in words is not exchanged.
        free = backend in (AUTO, FASTEST) and precision in (None, "fp32") and net is not None
        self.runners = Runners(runtime, net, free, chosen, lambda text: self.report(text))
        self.outscale = float(self.scale if outscale is None else outscale)

    @property
    def runtime(self) -> Runtime:
        """What runs the network."""
        return self.runners.runtime

    @property
    def scale(self) -> int:
        """The network's own scale."""
        return self.runners.scale

    def upscale(self, image: Any, progress: Tell | None = None) -> Any:
        """Return an image, enlarged, as the same type.

        Gray stays gray, and alpha alpha. Colors are RGB; of images with alpha, those under fully transparent pixels do
        not matter. Floating-point results stay within 0 to 1, or within the range of an image that exceeds it.

        Args:
            image (Any): An array (H, W) or (H, W, C) of uint8, uint16 or floating point; an image of Pillow's, whose
                palette or CMYK becomes RGB; or a tensor (C, H, W) or (N, C, H, W). C is 1 to 4: gray, gray and alpha,
                RGB, RGB and alpha.
            progress (Callable | None): Called with the part that is done, 0 to 1. Default: None.

        Raises:
            ImageError: If it is none of these, holds NaN, or the result does not fit into memory.
            TileError: If there is not enough memory for the smallest tiles.
        """
        pictures, give_back = as_pictures(image)
        made = []
        for number, picture in enumerate(pictures):

            def tell(part: float, number: int = number) -> None:
                if progress is not None:
                    progress((number + part) / len(pictures))

            made.append(self.upscale_picture(picture, tell))
        return give_back(made)

    def upscale_picture(self, picture: Picture, progress: Tell | None = None) -> Picture:
        """Return a picture with its metadata, enlarged; arguments and errors as of :meth:`upscale`."""
        size = scaled(picture.size, self.outscale)
        self._check_memory(picture, size)
        alpha = None if picture.alpha is None or constant(picture.alpha) is not None else picture.alpha
        runs = runs_of(picture.color.shape[2], self.runtime.num_in_ch, self.self_ensemble)
        runs += 0 if alpha is None else runs_of(1, self.runtime.num_in_ch, self.self_ensemble)
        share = Share(runs, progress)
        color = self._color(filled(picture), size, share)
        if picture.alpha is None:
            return picture.with_pixels(color)
        found = None if alpha is None else self._alpha(alpha, size, share)
        return picture.with_pixels(color, enlarged_alpha(picture.alpha, size, found))

    def upscale_film(
        self,
        path: str | PathLike,
        output: str | PathLike,
        *,
        codec: str | None = None,
        crf: int | None = None,
        overwrite: bool = True,
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[str, ...]:
        """Enlarge a film and write it, in constant memory; needs the extra ``video``.

        Sound, time stamps, colors, rotation and shape of the pixels are kept. What a killed call has finished lies in a
        hidden folder beside the result, and the next call goes on after it. Films of more than 8 bits become 10 bits.

        Args:
            path (str | PathLike): The film.
            output (str | PathLike): The result, as .mp4, .m4v, .mov, .mkv or .webm.
            codec (str | None): ``'h264'``, ``'hevc'``, ``'vp9'`` or ``'av1'``; None is VP9 in WebM, else H.264.
            crf (int | None): Quality, 0 is best; None is 18 of H.264, 20 of HEVC, 24 of VP9 and AV1. Default: None.
            overwrite (bool): Whether an existing file is replaced. Default: True.
            progress (Callable | None): Called with the frames that are done, and how many there are. Default: None.

        Returns:
            tuple[str, ...]: Sentences on what is not kept.

        Raises:
            FilmError: If PyAV is missing, it is no film or cut short, or the result cannot be written.
            ImageError, TileError: As :meth:`upscale`.
        """
        wishes = Wishes(codec, crf, overwrite)
        source, target = Path(path), Path(output)
        return enlarge_film(source, target, FrameEnlarger(self), wishes, progress, lambda text: self.report(text))

    def _color(self, picture: Picture, size: tuple[int, int], share: Share) -> np.ndarray:
        low, high = picture.value_range
        moved = picture.kind == "float32" and (low, high) != (0, 1)
        color = picture.color
        if moved:
            color = np.clip((color - np.float32(low)) / np.float32(high - low), 0, 1)
        made = self._planes(picture.with_pixels(color), size, share)
        return made * np.float32(high - low) + np.float32(low) if moved else made

    def _alpha(self, alpha: np.ndarray, size: tuple[int, int], share: Share) -> np.ndarray:
        gray = np.clip(alpha, 0, largest(alpha.dtype))[:, :, None]
        return self._planes(Picture(gray), size, share)[:, :, 0]

    def _planes(self, picture: Picture, size: tuple[int, int], share: Share) -> np.ndarray:
        """Return the colors of a picture in [0, 1] or of whole numbers, enlarged to ``size``."""
        host = 2 * self._bytes(picture, scaled(picture.size, self.scale))
        height, width = picture.color.shape[:2]
        seen = np.broadcast_to(picture.color[:, :, : self.runtime.num_in_ch], (height, width, self.runtime.num_in_ch))
        runner = self.runners.runner_for(seen, host)
        planned = runner.plan
        made = enlarged(runner, picture, self.runtime.num_in_ch, self.self_ensemble, share)
        self.runners.note(runner, planned)
        return made if made.shape[1::-1] == size else resized(made, size)

    def _check_memory(self, picture: Picture, size: tuple[int, int]) -> None:
        """Raise ImageError if the result alone needs more memory than there is."""
        needed, free = self._bytes(picture, size), available_memory()
        if needed > free:
            raise ImageError(
                f"{size[0]}x{size[1]} pixels need {needed / 1e9:.1f} GB of memory for the result alone, and "
                f"{free / 1e9:.1f} GB are free: close other programs, crop it, or choose a smaller scale"
            )

    @staticmethod
    def _bytes(picture: Picture, size: tuple[int, int]) -> int:
        channels = picture.color.shape[2] + (picture.alpha is not None)
        return size[0] * size[1] * channels * picture.color.itemsize


def _opened(
    model: str | PathLike | nn.Module | Runtime,
    backend: str,
    precision: str | None,
    device: str | torch.device | None,
    threads: int | None,
    trust: bool,
) -> tuple[nn.Module | None, Runtime]:
    """Return the network, None for an exported program, and what runs it."""
    if isinstance(model, Runtime):
        return refinable(model), model
    if not isinstance(model, nn.Module):
        model = find_weights(model)
        if model.suffix.lower() in CHECKPOINTS:
            model = load(model)
    runtime = open_runtime(model, backend, precision, device, threads, trust)
    return (prepare(model) if isinstance(model, nn.Module) else None), runtime
