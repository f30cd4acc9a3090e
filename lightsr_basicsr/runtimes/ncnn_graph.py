"""Networks as graphs for ncnn: traced, converted by pnnx in a folder of its own, and named as other programs expect."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from lightsr_basicsr.archs.network import SRNetwork
from lightsr_basicsr.errors import install_command, short_message
from lightsr_basicsr.runtimes.base import BackendError, last_line
from lightsr_basicsr.runtimes.graphs import quiet_tracer, ready
from lightsr_basicsr.runtimes.ncnn_library import require_ncnn, require_pnnx
from lightsr_basicsr.runtimes.ncnn_words import NcnnWords
from lightsr_basicsr.runtimes.network import name_of, smooth_picture

# Names of the images in Real-ESRGAN-ncnn-vulkan, Upscayl and others.
INPUT, OUTPUT = "data", "output"
# pnnx keeps a side that is the same in both as a constant.
TRACED_SIZES = ((45, 37), (61, 83))
STEM = "model"
# What operations are for, by the beginning of pnnx's names.
PURPOSES = (
    ("torch.fft", "Fourier transforms"),
    (("Tensor.index", "torch.index_select", "torch.arange"), "pixels at computed places"),
    (("Tensor.reshape", "Tensor.permute", "torch.permute"), "arrays of five or six axes, as windows need"),
    ("F.pad", "padding by a computed number"),
)
# A part that begins at a constant and ends so many pixels before the end of a side.
CUT = re.compile(r'19="(\d+)" 20="\+\(0[wh],-(\d+)\)" 21="(\d)"')


class NcnnModel(NamedTuple):
    """A network for ncnn."""

    param: str  # text of its .param file
    weights: bytes  # content of its .bin file


def to_ncnn(net: nn.Module, half: bool = False, patience: float = 1200.0) -> NcnnModel:
    """Return the deployed form of a network for ncnn: input ``data`` (C, H, W), output ``output`` (C, sH, sW).

    Args:
        net (nn.Module): Any network; unchanged.
        half (bool): Whether weights are stored in half precision. Default: False.
        patience (float): Seconds that pnnx may take; FDIWN takes two minutes. Default: 1200.

    Raises:
        BackendError: If ncnn lacks an operation of it, pnnx fails, or one of them is not installed.
    """
    require_ncnn()
    pnnx = require_pnnx()
    plain = ready(net).requires_grad_(False)
    program = _traced(plain)
    with tempfile.TemporaryDirectory(prefix="lightsr_pnnx_") as folder:
        program.save(str(Path(folder, f"{STEM}.pt")))
        log = _run_pnnx(pnnx.EXEC_PATH, Path(folder), plain, half, patience)
        try:
            param = Path(folder, f"{STEM}.ncnn.param").read_text(encoding="utf-8")
            weights = Path(folder, f"{STEM}.ncnn.bin").read_bytes()
        except OSError as error:
            raise _no_graph(plain, f"pnnx wrote no file; its last words: {short_message(log[-200:])}") from error
    _check_layers(param, plain)
    return NcnnModel(_renamed(param), weights)


def _traced(net: SRNetwork) -> torch.jit.ScriptModule:
    picture = smooth_picture(net.num_in_ch, *_sizes(net)[0])
    with quiet_tracer(), torch.no_grad(), NcnnWords(net):
        try:
            return torch.jit.trace(net, picture, check_trace=False)
        except Exception as error:
            # Networks of other packages raise exceptions of any type.
            raise _no_graph(net, short_message(error, 200)) from error


def _sizes(net: SRNetwork) -> list[tuple[int, int]]:
    return [(max(height, net.min_side), max(width, net.min_side + 3)) for height, width in TRACED_SIZES]


def _run_pnnx(program: str, folder: Path, net: SRNetwork, half: bool, patience: float) -> str:
    """Run pnnx in a folder and return what it printed."""
    first, second = (f"[1,{net.num_in_ch},{height},{width}]f32" for height, width in _sizes(net))
    command = [program, f"{STEM}.pt", f"inputshape={first}", f"inputshape2={second}", f"fp16={int(half)}"]
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=patience, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise _no_graph(net, f"pnnx did not finish within {patience:.0f} s") from error
    except OSError as error:
        raise BackendError(
            f"pnnx cannot be started ({error.strerror or error}): {install_command('ncnn', '--force-reinstall')}"
        ) from error
    log = done.stdout.decode(errors="replace")
    if done.returncode:
        raise _no_graph(net, f"pnnx ended with status {done.returncode}: {short_message(last_line(RuntimeError(log)))}")
    return log


def _check_layers(param: str, net: SRNetwork) -> None:
    """Raise BackendError if pnnx left operations in the graph that ncnn does not have."""
    kinds = sorted({line.split()[0] for line in param.splitlines()[2:] if line.strip()})
    lacking = [kind for kind in kinds if "." in kind or "::" in kind]
    if not lacking:
        return
    purposes = dict.fromkeys(text for start, text in PURPOSES if any(kind.startswith(start) for kind in lacking))
    named = f"{', '.join(purposes)}: " if purposes else ""
    shown = [kind for kind in lacking if kind != "pnnx.Expression"] or lacking
    raise _no_graph(net, f"ncnn lacks what it needs ({named}{', '.join(shown[:4])}{', ...' * (len(shown) > 4)})")


def _renamed(param: str) -> str:
    """Return pnnx's text with the names of input and output that other programs expect.

    Cuts at constant places are written as ncnn has always read them.
    """
    names = {"in0": INPUT, "out0": OUTPUT}
    lines = param.splitlines()
    for index, line in enumerate(lines[2:], 2):
        words = line.split()
        blobs = slice(4, 4 + int(words[2]) + int(words[3]))
        words[blobs] = [names.get(word, word) for word in words[blobs]]
        settings = CUT.sub(r"-23309=1,\1 -23310=1,-\2 -23311=1,\3", " ".join(words[blobs.stop :]))
        lines[index] = f"{words[0]:<24} {words[1]:<24} {' '.join(words[2 : blobs.stop])} {settings}".rstrip()
    return "\n".join(lines) + "\n"


def _no_graph(net: nn.Module, reason: str) -> BackendError:
    return BackendError(
        f"{name_of(net)} has no graph for ncnn: {reason.rstrip('.')}. Run it with torch, or export it as ONNX or for "
        "OpenVINO."
    )
