"""Run a network with torch itself, on the CPU or a CUDA device."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightsr_basicsr.allocator import freed_memory_kept
from lightsr_basicsr.archs.network import first_channels
from lightsr_basicsr.runtimes.base import BackendError, Runtime, Traits, check_possible, last_line, worded
from lightsr_basicsr.runtimes.network import prepare, smooth_picture, traits_of

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# In float32 on two CPU threads IMDN runs 1.15, FDIWN 1.28 and DDistill-SR 1.39 times as fast with it.
CHANNELS_LAST = {"cpu": True, "cuda": True}
LARGE = 2**15  # pixels from which on the memory of feature maps is kept; glibc keeps smaller ones by itself


class TorchRuntime(Runtime):
    """A module, run by torch. Half precision is that of autocast.

    Args:
        module (nn.Module): Deployed, in evaluation mode; or a TorchScript module. The runtime changes it.
        traits (Traits): Scale, channels and smallest side of the network.
        precision (str): ``'fp32'``, ``'bf16'``, or on CUDA ``'fp16'``. Default: ``'fp32'``.
        device (str | None): ``'cpu'`` or a CUDA device; None is CUDA where available. Default: None.
        compile (bool): Whether to use ``torch.compile``, which takes a minute for each image size; on CUDA it also
            records graphs. Default: False.
        channels_last (bool | None): The memory layout; None for the usually faster one. Default: None.
        keep_memory (bool): Whether to keep the memory of feature maps for the next ones while an image runs, which on
            glibc saves up to half of the time. Default: True.
        common (Any): ``threads`` and ``metadata`` of :class:`Runtime`.

    Raises:
        BackendError: If the device or the precision is not supported.
    """

    backend = "torch"

    def __init__(
        self,
        module: nn.Module,
        traits: Traits,
        precision: str = "fp32",
        *,
        device: str | None = None,
        compile: bool = False,
        channels_last: bool | None = None,
        keep_memory: bool = True,
        **common: Any,
    ) -> None:
        place, program = find_device(device), isinstance(module, torch.jit.ScriptModule)
        if not program:
            check_possible(self.backend, precision, place.type, torch_precisions(place.type))
        super().__init__(traits, precision, device=str(place), **common)
        wanted = CHANNELS_LAST[place.type] if channels_last is None else channels_last
        self.layout = torch.channels_last if wanted else torch.contiguous_format
        self.module = module.to(place, memory_format=self.layout)
        # A program contains its casts.
        self.casts = precision != "fp32" and not program
        if self.casts:
            self._keep_ends_exact()
        self.compiled, self.keep_memory = compile, keep_memory
        if compile:
            self.module = _compiled(self.module, place.type)

    @classmethod
    def of_network(cls, net: nn.Module, precision: str = "fp32", **arguments: Any) -> TorchRuntime:
        """Return the runtime of a network, which is copied and deployed; ``arguments`` are those of the class.

        Raises:
            BackendError: If it does not map images to images; see the class.
        """
        ready = prepare(net).float()
        return cls(ready, traits_of(ready), precision, **arguments)

    @staticmethod
    def _read(path: Path) -> torch.jit.ScriptModule:
        try:
            with warnings.catch_warnings():
                # Later versions of torch announce the end of this format, which does not concern the user of a file.
                warnings.simplefilter("ignore")
                return torch.jit.load(str(path), map_location="cpu").eval()
        except (RuntimeError, ValueError, OSError) as error:
            raise BackendError(
                f"{path} cannot be read as TorchScript ({last_line(error)}): export it again."
            ) from error

    def channels_of_input(self) -> int | None:
        """Return the input channels of the first convolution, 3 if no image has that many."""
        return first_channels(self.module)

    def _run(self, images: Tensor) -> Tensor:
        images = images.to(self.device, memory_format=self.layout)
        casting = torch.autocast(images.device.type, DTYPES[self.precision]) if self.casts else nullcontext()
        large = self.keep_memory and images.shape[0] * images.shape[2] * images.shape[3] >= LARGE
        keeping = freed_memory_kept() if large else nullcontext()
        with torch_threads(self.threads), casting, keeping:
            made = self.module(images).contiguous()
        # A recorded graph writes every result into the same memory.
        return made.clone() if self.compiled else made

    def _keep_ends_exact(self) -> None:
        """Run the first and the last convolution in float32, which costs almost nothing.

        Rounding the images themselves to eight bits of mantissa is most of the error of half precision.
        """
        order: list[nn.Module] = []
        convolutions = [module for module in self.module.modules() if isinstance(module, nn.Conv2d)]
        hooks = [module.register_forward_pre_hook(lambda module, _: order.append(module)) for module in convolutions]
        side = max(self.min_side, 48)
        try:
            with torch.no_grad():
                self.module(smooth_picture(self.num_in_ch, side, side).to(self.device, memory_format=self.layout))
        finally:
            for hook in hooks:
                hook.remove()
        for module in {order[0], order[-1]} if order else ():
            _compute_in_float32(module)


def find_device(device: str | None) -> torch.device:
    """Return torch's device of this name; None is CUDA where available, else the CPU.

    Raises:
        BackendError: If it is neither the CPU nor a CUDA device of this machine.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    try:
        place = torch.device(device or ("cuda" if count else "cpu"))
    except RuntimeError:
        place = None
    if place is None or place.type not in CHANNELS_LAST or (place.type == "cuda" and (place.index or 0) >= count):
        named = ("cpu", *(("cuda",) if count else ()), *(f"cuda:{index}" for index in range(1, count)))
        raise BackendError(f"torch cannot run on device {device!r} here: choose {worded(named)}.")
    return place


def torch_precisions(kind: str) -> tuple[str, ...]:
    """Return the precisions that gain speed with torch on a ``'cpu'`` or ``'cuda'`` of this machine."""
    if kind == "cuda":
        return ("fp32", "bf16", "fp16") if torch.cuda.is_bf16_supported() else ("fp32", "fp16")
    try:
        fast = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    except (AttributeError, RuntimeError):
        fast = False  # a torch without oneDNN
    return ("fp32", "bf16") if fast else ("fp32",)


def _compiled(module: nn.Module, kind: str) -> nn.Module:
    if not hasattr(torch, "compile"):
        raise BackendError(f"compile=True needs torch 2.0 or later, this is {torch.__version__}: leave it out.")
    return torch.compile(module, mode="reduce-overhead" if kind == "cuda" else "default")


def _compute_in_float32(module: nn.Module) -> None:
    exact = module.forward

    def forward(x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return exact(x.float())

    module.forward = forward


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Set torch's number of CPU threads, which is one for the whole process, inside the block."""
    before = torch.get_num_threads()
    if count != before:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if count != before:
            torch.set_num_threads(before)
