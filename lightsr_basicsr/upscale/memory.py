"""How much memory a network takes for a picture, how much there is, and the largest tiles that fit."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from lightsr_basicsr._later import without_compiler
from lightsr_basicsr.registry import look_up
from lightsr_basicsr.runtimes.base import Runtime
from lightsr_basicsr.runtimes.network import smooth_picture
from lightsr_basicsr.runtimes.torch_runtime import TorchRuntime
from lightsr_basicsr.upscale.plan import SMALLEST_TILE, TilePlan
from lightsr_basicsr.upscale.tiles import refinable

# What a backend takes over the feature maps that live at once in torch, whose libraries keep buffers of their own.
# The largest of four networks, measured at 640x360 by `python docs/studies/tiles.py memory`; torch keeps what is freed.
OVERHEAD = {"torch": 1.9, "openvino": 3.0, "onnxruntime": 2.1, "ncnn": 4.6}
# Of a network that cannot be measured: more than any official one takes, in bytes per LR pixel.
UNKNOWN = 16_384
SURELY = 65_536  # of which no network takes more: three times those of the largest one here
SHARE = 0.8  # of what is available, because other programs go on
MOST_PIXELS = 2**24  # of a tile; libraries count the numbers of a feature map in 32 bits
# Of a tile of torch on a CPU: 64 channels are 32 MiB then. Larger tensors go to pages of their own or are kept in one
# piece of memory, of which gaps stay unused.
CPU_PIXELS = 2**17
MEASURED_SIDES = (64, 96)
# Where the control groups of a container are, and their files: of version 2, then of version 1.
GROUPS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
ASSUMED = 2 * 2**30  # where the system does not say how much there is


def plan_within_memory(
    runtime: Runtime,
    height: int,
    width: int,
    host_bytes: int = 0,
    available: int | None = None,
    net: nn.Module | None = None,
    per_pixel: float | None = None,
    **chosen: int | None,
) -> TilePlan:
    """Return the plan of a picture: one tile if it fits into memory, else the largest tiles that fit.

    Args:
        runtime (Runtime): What runs the network.
        height (int): Of the picture, in LR pixels.
        width (int): Of the picture, in LR pixels.
        host_bytes (int): What the host will need besides, for picture and result. Default: 0.
        available (int | None): Bytes to stay within; None for what the device has. Default: None.
        net (nn.Module | None): The network that another backend than torch runs, if it is at hand. Default: None.
        per_pixel (float | None): What :func:`bytes_per_pixel` returned before. Default: None.
        chosen (int | None): Numbers of :class:`TilePlan` instead of the network's own; a ``size`` is kept.

    Raises:
        TileError: If a chosen number is not possible.
    """
    plan = TilePlan.for_network(refinable(runtime) or net, **{"min_side": runtime.min_side, **chosen})
    if chosen.get("size") is not None:
        return plan
    pixels = _fitting_pixels(runtime, host_bytes, available, per_pixel or bytes_per_pixel(runtime, net))
    if height * width <= pixels:
        return plan._replace(size=max(height, width))
    if runtime.backend == "torch" and not _on_gpu(runtime) and not plan.wide:
        pixels = min(pixels, CPU_PIXELS)
    return largest_tiles(plan, pixels, width)


def surely_fits(runtime: Runtime, height: int, width: int, host_bytes: int = 0) -> bool:
    """Return whether a picture is so small that it fits whatever the network is; arguments as above.

    For such pictures nothing needs to be measured, which imports the compiler of torch and takes seconds.
    """
    return height * width <= _fitting_pixels(runtime, host_bytes, None, OVERHEAD[runtime.backend] * SURELY)


def _fitting_pixels(runtime: Runtime, host_bytes: int, available: int | None, per_pixel: float) -> int:
    """Return how many LR pixels fit into the memory at once; arguments as of :func:`plan_within_memory`."""
    free = available_memory(runtime.device) if available is None else available
    free -= 0 if _on_gpu(runtime) else host_bytes
    return min(MOST_PIXELS, int(SHARE * max(0, free) / per_pixel))


def _on_gpu(runtime: Runtime) -> bool:
    return runtime.device.startswith("cuda")


def largest_tiles(plan: TilePlan, pixels: int, width: int) -> TilePlan:
    """Return ``plan`` with the largest tiles that see at most so many pixels, but no smaller ones than are sensible.

    ``width`` is that of the picture; tiles that would be too low for it are no longer wide.

    >>> largest_tiles(TilePlan(overlap=24), 240 * 240, 1280).size
    192
    """
    if plan.wide and pixels // width < 2 * plan.margin + SMALLEST_TILE:
        plan = plan._replace(wide=False)
    side = pixels // width if plan.wide else isqrt(pixels)
    size = (side - 2 * plan.margin) // plan.multiple * plan.multiple
    return plan._replace(size=max(SMALLEST_TILE, size))


def bytes_per_pixel(runtime: Runtime, net: nn.Module | None = None) -> float:
    """Return about how many bytes of memory a runtime takes for each LR pixel of an image.

    It is measured in torch on two small images: with the runtime itself, with ``net``, the same network, with the one
    that was opened, or with the one that the metadata of an exported file names.
    """
    run = runtime if refinable(runtime) is not None else _in_torch(net or runtime.network or _network_of(runtime))
    live = UNKNOWN if run is None else live_bytes_per_pixel(run, runtime.num_in_ch)
    return OVERHEAD[runtime.backend] * live


def _in_torch(net: nn.Module | None) -> Runtime | None:
    return None if net is None else TorchRuntime.of_network(net, device="cpu")


def _network_of(runtime: Runtime) -> nn.Module | None:
    """Return a network like the one in an exported file, with new weights, None for an unknown one."""
    facts = runtime.metadata or {}
    found = look_up(ARCH_REGISTRY, facts.get("network"))
    try:
        return found and found(**facts.get("arguments", {})).eval()
    except Exception:  # of arguments of another version; networks of other packages raise exceptions of any type
        return None


def live_bytes_per_pixel(run: Callable[[Tensor], Any], num_in_ch: int = 3) -> float:
    """Return the bytes per LR pixel of the tensors that live at once while ``run`` runs in torch, at the worst moment.

    ``UNKNOWN`` where it takes no images of the measured sizes.
    """
    small, large = MEASURED_SIDES
    try:
        peaks = [_peak_of(run, smooth_picture(num_in_ch, side, side)) for side in MEASURED_SIDES]
    except Exception:  # networks of other packages raise exceptions of any type
        return UNKNOWN
    return max(1.0, (peaks[1] - peaks[0]) / (large**2 - small**2))


def _peak_of(run: Callable[[Tensor], Any], image: Tensor) -> int:
    watch = _LiveBytes()
    watch.see(image)
    with torch.no_grad(), without_compiler(), watch:
        run(image)
    return watch.peak


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that operations within the block make, while they live."""

    def __init__(self) -> None:
        super().__init__()
        self.users: dict[int, int] = {}  # tensors that share a memory, by its identity
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for each in tree_flatten(made)[0]:
            if isinstance(each, Tensor):
                self.see(each)
        return made

    def see(self, tensor: Tensor) -> None:
        """Count a tensor from now on until nobody holds it."""
        memory = tensor.untyped_storage()
        key, size = memory._cdata, memory.nbytes()
        if key not in self.users:
            self.users[key] = 0
            self.now += size
            self.peak = max(self.peak, self.now)
        self.users[key] += 1
        weakref.finalize(tensor, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self.users[key] -= 1
        if not self.users[key]:
            del self.users[key]
            self.now -= size


def available_memory(device: str = "cpu") -> int:
    """Return the bytes that this process may still take: of the system, its container and its own limits; of a GPU."""
    place = torch.device(device)
    if place.type == "cuda":
        kept = torch.cuda.memory_reserved(place) - torch.cuda.memory_allocated(place)
        return torch.cuda.mem_get_info(place)[0] + kept
    return max(0, min((found for source in SOURCES for found in source()), default=ASSUMED))


def _of_system() -> Iterator[int]:
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        yield 1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1])


def _of_container() -> Iterator[int]:
    """Yield what the control groups of this process leave, of both versions; no limit is no number."""
    for folder, limit, used, kept in GROUPS:
        for group in _groups(Path(folder)):
            with suppress(OSError, ValueError, KeyError):
                counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
                most, taken = (int((group / name).read_text()) for name in (limit, used))
                yield most - taken + int(counts[kept])  # files in memory, which are dropped first


def _groups(root: Path) -> Iterator[Path]:
    """Yield the control group of this process and all around it."""
    yield root
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            group = root / line.rpartition(":")[2].lstrip("/")
            while group != root and root in group.parents:
                yield group
                group = group.parent


def _of_process() -> Iterator[int]:
    """Yield what the limits of this process leave, as ``ulimit -v`` and ``ulimit -d`` set them."""
    try:
        import resource
    except ModuleNotFoundError:  # on Windows
        return
    with suppress(OSError, ValueError, IndexError):
        pages = [int(count) for count in Path("/proc/self/statm").read_text().split()]
        for limit, used in ((resource.RLIMIT_AS, pages[0]), (resource.RLIMIT_DATA, pages[5])):
            soft = resource.getrlimit(limit)[0]
            if soft != resource.RLIM_INFINITY:
                yield soft - used * resource.getpagesize()


SOURCES: tuple[Callable[[], Iterator[int]], ...] = (_of_system, _of_container, _of_process)
