"""Metadata of an exported file: one JSON under one key, in each format's own place."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from lightsr_basicsr.runtimes.base import BackendError, require

if TYPE_CHECKING:
    import onnx
    import openvino

KEY = "lightsr"
SUFFIXES = {".onnx": "onnx", ".xml": "openvino", ".ts": "torchscript", ".torchscript": "torchscript"}


@dataclass(frozen=True)
class Metadata:
    """Description of the network in an exported file."""

    network: str  # its registered name
    arguments: dict[str, Any] = field(default_factory=dict)  # constructor arguments of its deployed form
    scale: float = 1  # output side over input side
    num_in_ch: int = 3  # channels of the input image
    num_out_ch: int = 3  # channels of the output image
    min_side: int = 1  # smallest height and width of an input image, in pixels
    value_range: tuple[float, float] = (0.0, 1.0)  # of images, in and out
    colour: str = "RGB"  # order of the channels
    precision: str = "fp32"  # 'fp32', 'fp16' or 'int8'
    sha256: str | None = None  # of the source checkpoint
    source: str | None = None  # name of the source checkpoint, without its folder
    pools_globally: bool = True  # whether statistics of the whole image matter, so that a tile gives other pixels
    opset: int | None = None  # version of ONNX's operators; None for TorchScript
    producer: str = ""  # name and version of the program that wrote it
    int8: dict[str, Any] | None = None  # of a quantized network `psnr_cost_db`, `images` and `data`

    def to_json(self) -> str:
        """Return the metadata as one line of JSON, in ASCII."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Metadata:
        """Return the metadata in the text of :meth:`to_json`; entries of a later version are ignored.

        Raises:
            BackendError: If it is not such JSON.

        >>> Metadata.from_json('{"network": "IMDN", "scale": 2}').scale
        2
        """
        try:
            content = json.loads(text)
            known = {one.name: content[one.name] for one in fields(cls) if one.name in content}
            known["value_range"] = tuple(known.get("value_range", (0.0, 1.0)))
            return cls(**known)
        except (ValueError, TypeError) as error:
            raise BackendError(f"Its entry '{KEY}' is not what basicsr export writes ({error}).") from error


def put_into_onnx(model: onnx.ModelProto, metadata: Metadata) -> None:
    """Write metadata into an ONNX model, replacing existing ones."""
    others = [entry for entry in model.metadata_props if entry.key != KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(others)
    model.metadata_props.add(key=KEY, value=metadata.to_json())


def put_into_openvino(model: openvino.Model, metadata: Metadata) -> None:
    """Write metadata into an OpenVINO model, replacing existing ones."""
    model.set_rt_info(metadata.to_json(), [KEY])


def for_torchscript(metadata: Metadata) -> Mapping[str, str]:
    """Return the metadata as extra files for ``torch.jit.save``."""
    return {KEY: metadata.to_json()}


def format_of(path: str | PathLike) -> str:
    """Return the format of an exported file by its suffix: ``'onnx'``, ``'openvino'`` or ``'torchscript'``.

    Raises:
        BackendError: For another suffix.

    >>> format_of("net.ts")
    'torchscript'
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise BackendError(f"{path} is not an exported file: expected a name that ends in {', '.join(SUFFIXES)}.")
    return SUFFIXES[suffix]


def read_metadata(path: str | PathLike) -> Metadata | None:
    """Return the metadata of an exported file, None if another program wrote it.

    Raises:
        BackendError: If the file is missing or damaged, or its suffix is of no format.
    """
    kind, path = format_of(path), Path(path)
    if not path.is_file():
        raise BackendError(f"There is no file {path} (looked from {Path.cwd()}).")
    readers = {"onnx": _from_onnx, "openvino": _from_openvino, "torchscript": _from_torchscript}
    try:
        text = readers[kind](path)
    except BackendError:
        raise
    except Exception as error:
        # Each format's reader raises its own types for a damaged file.
        raise BackendError(
            f"{path} ({path.stat().st_size:,} bytes) cannot be read as {kind}: it is another program's file, or "
            f"damaged ({type(error).__name__}). Export it again."
        ) from error
    try:
        return None if text is None else Metadata.from_json(text)
    except BackendError as error:
        raise BackendError(f"{path}: {error}") from error


def _from_onnx(path: Path) -> str | None:
    model = require("onnx", "onnx").load(str(path), load_external_data=False)
    if not model.graph.node:
        raise ValueError("no graph")
    return next((entry.value for entry in model.metadata_props if entry.key == KEY), None)


def _from_openvino(path: Path) -> str | None:
    root = ElementTree.parse(path).getroot()
    if root.tag != "net":
        raise ValueError("no network")
    found = root.find(f"rt_info/{KEY}")
    return None if found is None else found.get("value")


def _from_torchscript(path: Path) -> str | None:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if not any(name.endswith("/constants.pkl") for name in names):
            raise ValueError("no program")
        found = next((name for name in names if name.endswith(f"/extra/{KEY}")), None)
        return None if found is None else archive.read(found).decode()
