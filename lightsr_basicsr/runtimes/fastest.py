"""The backend that is the fastest here, measured for seconds with the first image, and remembered."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from math import isfinite, sqrt
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightsr_basicsr import __version__
from lightsr_basicsr.errors import short_message
from lightsr_basicsr.runtimes.agreement import deviation
from lightsr_basicsr.runtimes.base import BackendError, Runtime, Traits
from lightsr_basicsr.runtimes.network import smooth_picture
from lightsr_basicsr.runtimes.processor import cpu_name, instruction_sets
from lightsr_basicsr.runtimes.remembered import recall, remember

FASTEST = "fastest"
SECONDS = 10.0  # for all runs of all backends together
MOST_ROUNDS = 7
SMALL_SIDE = 48  # of the image that shows how large a one can be measured
# Largest difference of float32 images, in parts of the range, as for exported files; others compute something else.
TOLERANCE = 1e-4
LIBRARIES = ("torch", "onnx", "onnxruntime", "openvino", "ncnn", "pnnx")

Open = Callable[[], Runtime]
Clock = Callable[[], float]


class Found(NamedTuple):
    """What a measurement found."""

    times: dict[str, float]  # time of each backend over that of the fastest, which is the first
    dropped: dict[str, str]  # backends that take no part, and why
    size: tuple[int, int]  # height and width of the measured image


class FastestRuntime(Runtime):
    """A network that runs on the fastest of several backends, which is decided with the first image.

    Args:
        candidates (Mapping): Functions that open the runtimes, by backend; the first one decides what is right.
        facts (Mapping): What else the choice depends on, for instance the network: all must be JSON.
        clock (Callable): Returns seconds. Default: ``time.perf_counter``.
        common (Any): ``threads`` and ``metadata`` of :class:`Runtime`.

    Raises:
        BackendError: If the first candidate cannot be opened.
    """

    backend = FASTEST

    def __init__(
        self, candidates: Mapping[str, Open], facts: Mapping[str, Any], clock: Clock = perf_counter, **common: Any
    ) -> None:
        self.candidates, self.facts, self.clock = dict(candidates), dict(facts), clock
        first = next(iter(self.candidates))
        self.opened = {first: self.candidates[first]()}
        model = self.opened[first]
        traits = Traits(model.scale, model.num_in_ch, model.min_side)
        super().__init__(traits, model.precision, device=model.device, metadata=model.metadata, **common)
        self.chosen: Runtime | None = None
        self.chosen_because = "which the first picture decides"

    def decide(self, height: int, width: int) -> Runtime:
        """Return the runtime that is the fastest for images of this size, or was for the first image.

        Raises:
            BackendError: If no backend runs the network.
        """
        with self.lock:
            if self.chosen is None:
                self.chosen = self._remembered(height, width) or self._measured(height, width)
                self.opened.clear()
                self.backend, self.device = self.chosen.backend, self.chosen.device
                self.chosen.chosen_because = self.chosen_because
                self.chosen.network = self.network
            return self.chosen

    def prepare_for(self, shape: tuple[int, int, int, int]) -> None:
        """Decide, and prepare for images of this shape (N, C, H, W)."""
        self.decide(*shape[2:]).prepare_for(shape)

    def _run(self, images: Tensor) -> Tensor:
        return self.decide(*images.shape[2:])(images)

    def _question(self, height: int, width: int) -> dict[str, Any]:
        return {
            **self.facts,
            "precision": self.precision,
            "device": self.device,
            "threads": self.threads,
            "size class": (height * width).bit_length() // 2,  # by factors of four
            "backends": [*self.candidates],
            "processor": cpu_name(),
            "instructions": instruction_sets(),
            "libraries": {name: _version(name) for name in LIBRARIES},
            "lightsr-basicsr": __version__,
        }

    def _remembered(self, height: int, width: int) -> Runtime | None:
        answer = recall(self._question(height, width))
        found = answer and _read(answer, self.candidates)
        if not found:
            return None
        try:
            runtime = self._open(next(iter(found.times)))
        except BackendError:
            return None  # its library was damaged since then
        self.chosen_because = f"{_words(found)}, remembered from {str(answer.get('date'))[:10]}"
        return runtime

    def _measured(self, height: int, width: int) -> Runtime:
        dropped = {}
        for backend in self.candidates:
            try:
                self._open(backend)
            except BackendError as error:
                dropped[backend] = short_message(error, 120).rstrip(".")
        found = measure(self.opened, height, width, dropped, self.clock)
        answer = {**found._asdict(), "date": date.today().isoformat()}
        kept = remember(self._question(height, width), answer)
        end = "remembered" if kept else "not remembered, for the cache folder cannot be written"
        self.chosen_because = f"{_words(found)}, measured now and {end}"
        return self.opened[next(iter(found.times))]

    def _open(self, backend: str) -> Runtime:
        if backend not in self.opened:
            self.opened[backend] = self.candidates[backend]()
        return self.opened[backend]


def measure(
    runtimes: Mapping[str, Runtime], height: int, width: int, dropped: Mapping[str, str], clock: Clock = perf_counter
) -> Found:
    """Run an image through all runtimes by turns, so that a disturbance meets all, and return what was found.

    In float32 those whose image is not that of the first one are dropped. It takes about ``SECONDS`` at most: a larger
    image is measured on a part of its size.

    Args:
        runtimes (Mapping): By backend.
        height (int): Of the image, in pixels.
        width (int): Of the image, in pixels.
        dropped (Mapping): Backends that were dropped before, and why.
        clock (Callable): Returns seconds. Default: ``time.perf_counter``.

    Raises:
        BackendError: If none of them runs it.
    """
    dropped, expected, times = dict(dropped), None, {}
    size = _measurable(runtimes, height, width, clock)
    image = smooth_picture(next(iter(runtimes.values())).num_in_ch, *size)
    for backend, runtime in runtimes.items():
        try:
            made = runtime(image)
        except Exception as error:
            # Backends raise exceptions of any type.
            dropped[backend] = short_message(error, 120).rstrip(".")
            continue
        expected = made if expected is None else expected
        if problem := _difference(runtime, made, expected):
            dropped[backend] = problem
        else:
            times[backend] = []
    if not times:
        raise BackendError(f"No backend runs the network: {'; '.join(f'{n}: {why}' for n, why in dropped.items())}.")
    start = clock()
    for number in range(MOST_ROUNDS):
        # Each round begins with another one, because the threads of the one before still spin.
        order = [*times][number % len(times) :] + [*times][: number % len(times)]
        for backend in order:
            begin = clock()
            runtimes[backend](image)
            times[backend].append(clock() - begin)
        if clock() - start > SECONDS / 2:
            break
    return Found(_ratios(times), dropped, size)


def _measurable(runtimes: Mapping[str, Runtime], height: int, width: int, clock: Clock) -> tuple[int, int]:
    """Return the size of an image of the same form, at most so large that all runs fit into half of the time."""
    first = next(iter(runtimes.values()))
    small = smooth_picture(first.num_in_ch, *(max(SMALL_SIDE, first.min_side) for _ in range(2)))
    first(small)
    start = clock()
    first(small)
    per_pixel = max(1e-9, clock() - start) / (small.shape[2] * small.shape[3])
    # A run that warms up, and three rounds.
    pixels = SECONDS / 2 / (4 * len(runtimes)) / per_pixel
    factor = min(1.0, sqrt(pixels / (height * width)))
    return tuple(max(min(side, SMALL_SIDE), first.min_side, round(side * factor)) for side in (height, width))


def _difference(runtime: Runtime, made: Tensor, expected: Tensor) -> str:
    """Return how an image differs from the expected one, '' if it does not."""
    found = deviation(made.cpu(), expected.cpu())
    if found is None:
        return f"it makes {tuple(made.shape)}, expected {tuple(expected.shape)}"
    differs = runtime.precision == "fp32" and not found.largest <= TOLERANCE
    return f"its image differs by {found.largest:.1g} of the range" if differs else ""


def _ratios(times: Mapping[str, list[float]]) -> dict[str, float]:
    middle = {backend: median(seconds) for backend, seconds in times.items()}
    least = max(1e-9, min(middle.values()))
    return {backend: round(seconds / least, 2) for backend, seconds in sorted(middle.items(), key=lambda one: one[1])}


def _words(found: Found) -> str:
    """Return why the first one was chosen, as the end of a sentence."""
    others = [f"{backend} takes {ratio:g} times as long" for backend, ratio in [*found.times.items()][1:]]
    left = [f"{backend} is left out ({why})" for backend, why in found.dropped.items()]
    height, width = found.size
    return f"because it is the fastest at {width}x{height}: {'; '.join([*others, *left]) or 'no other is installed'}"


def _read(answer: Mapping[str, Any], candidates: Mapping[str, Open]) -> Found | None:
    """Return what a file of the cache says, None if that is not possible."""
    times, dropped, size = (answer.get(name) for name in Found._fields)
    try:
        sound = isinstance(times, dict) and isinstance(dropped, dict) and next(iter(times)) in candidates
        sound = sound and all(isfinite(ratio) and ratio >= 1 for ratio in times.values())
        return Found(dict(times), dict(dropped), (int(size[0]), int(size[1]))) if sound else None
    except (TypeError, ValueError, LookupError, OverflowError, StopIteration):
        return None


def content_of(source: nn.Module | Path) -> str:
    """Return a checksum of a network's layers and weights, or of an exported file and the weights beside it."""
    total = hashlib.sha256()
    if isinstance(source, nn.Module):
        total.update(repr(source).encode())
        for name, tensor in source.state_dict().items():
            total.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            total.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy())
        return total.hexdigest()
    for file in (source, source.with_suffix(".bin")):
        if file.is_file():
            total.update(file.read_bytes())
    return total.hexdigest()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
