"""The two files of a network for ncnn: NET.param, a text of layers, and NET.bin, its weights."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from lightsr_basicsr.runtimes.base import BackendError

MAGIC = "7767517"  # of the text
MARK = "# lightsr "  # begins a last line, which ncnn does not read
WEIGHTS = ".bin"
MOST_TEXT = 2**26  # bytes of a text; that of FDIWN has half a million
MOST_LAYERS = 10**5
# Layers that keep as many numbers as their first setting says; ncnn writes beyond its memory if that is below zero.
COUNTED = (
    "BatchNorm",
    "Bias",
    "Convolution",
    "Embed",
    "InnerProduct",
    "InstanceNorm",
    "LayerNorm",
    "MemoryData",
    "PReLU",
)
AGAIN = "Export it again."


def weights_of(path: Path) -> Path:
    """Return the file of weights beside a ``.param`` file."""
    return path.with_suffix(WEIGHTS)


def with_entry(param: str, text: str) -> str:
    """Return a text of layers with an entry, one line, at its end."""
    return f"{without_entry(param)}{MARK}{text}\n"


def without_entry(param: str) -> str:
    """Return a text of layers without our entry, as ncnn reads it."""
    return "".join(line for line in param.splitlines(keepends=True) if not line.startswith(MARK))


def entry_of(param: str) -> str | None:
    """Return the entry of a text of layers, None without one."""
    return next((line[len(MARK) :] for line in reversed(param.splitlines()) if line.startswith(MARK)), None)


def cut_below_zero(param: str, output: str) -> str:
    """Return a text of layers in which values of the output below zero become zero.

    Real-ESRGAN-ncnn-vulkan and Upscayl make white of them.
    """
    magic, counts, *layers = param.splitlines()
    number, blobs = (int(count) + 1 for count in counts.split())
    signed = f"{output}_signed"
    for index, layer in enumerate(layers):
        words = layer.split(" ")
        layers[index] = " ".join(signed if word == output else word for word in words)
    layers.append(f"{'ReLU':<24} {'cut':<24} 1 1 {signed} {output}")
    return "\n".join([magic, f"{number} {blobs}", *layers]) + "\n"


def checksums_of(param: str, weights: bytes) -> dict[str, str]:
    """Return the checksums (SHA-256) of both parts, the text without an entry."""
    parts = {"param": without_entry(param).encode(), "bin": weights}
    return {name: hashlib.sha256(content).hexdigest() for name, content in parts.items()}


def read_param(path: Path) -> str:
    """Return the text of a ``.param`` file.

    Raises:
        ValueError: If it is no such text.
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(MOST_TEXT + 1)
    if len(content) > MOST_TEXT or content[: len(MAGIC)] != MAGIC.encode():
        raise ValueError("no text of layers")
    text = content.decode()
    check_layers(text)
    return text


def check_layers(param: str) -> None:
    """Raise ValueError unless a text describes layers that ncnn can read: it would end the program on many others."""
    lines = without_entry(param).splitlines()
    counts = [int(word) for word in lines[1].split()] if len(lines) > 1 else []
    if lines[0].strip() != MAGIC or len(counts) != 2 or not 1 <= counts[0] <= MOST_LAYERS:
        raise ValueError("no text of layers")
    layers = [line.split() for line in lines[2:] if line.strip()]
    if len(layers) != counts[0]:
        raise ValueError(f"{len(layers)} layers, and it says {counts[0]}")
    made: set[str] = set()
    for words in layers:
        made |= _made_by(words, made)
    if len(made) > counts[1]:
        raise ValueError(f"{len(made)} blobs, and it says {counts[1]}")


def _made_by(words: Sequence[str], made: set[str]) -> set[str]:
    """Return the names of what a layer makes; raise ValueError for a layer that reads what no earlier one makes."""
    given, results = int(words[2]), int(words[3])
    names, settings = words[4 : 4 + given + results], words[4 + given + results :]
    wrong = given < 0 or results < 0 or len(names) < given + results or not set(names[:given]) <= made
    if wrong or any("=" not in setting for setting in settings):
        raise ValueError(f"layer {words[1]}")
    if words[0].startswith(COUNTED) and any(setting.startswith("0=-") for setting in settings):
        raise ValueError(f"layer {words[1]} has fewer than no weights")
    if set(names[given:]) & made:
        raise ValueError(f"layer {words[1]} makes again what is there")
    return set(names[given:])


def check_sound(path: Path, param: str, weights: bytes, checksums: dict[str, str] | None) -> None:
    """Raise BackendError unless both files are as they were exported; ``checksums`` None takes any."""
    if checksums is None:
        return
    found = checksums_of(param, weights)
    if found["bin"] != checksums.get("bin"):
        raise BackendError(
            f"{weights_of(path)} holds other weights than those that {path.name} was written with: it is damaged, or "
            f"of another network, such as one for OpenVINO of the same name. {AGAIN}"
        )
    if found["param"] != checksums.get("param"):
        raise BackendError(
            f"{path} was changed since it was exported. {AGAIN} If the change is meant, remove its last line."
        )
