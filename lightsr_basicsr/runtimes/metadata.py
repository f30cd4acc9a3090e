"""Metadata of an exported file: one JSON under one key, in each format's own place."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from os import PathLike
from os.path import isfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from lightsr_basicsr.errors import short_message
from lightsr_basicsr.runtimes.base import BackendError, require
from lightsr_basicsr.runtimes.ncnn_file import entry_of, read_param

if TYPE_CHECKING:
    import onnx
    import openvino

KEY = "lightsr"
MOST_BYTES, MOST_DEPTH = 2**20, 16  # of the entry
MOST = 10**6  # of a number in it
ODD = f"Its entry '{KEY}' is not what basicsr export writes"
AGAIN = "Export it again."
SUFFIXES = {
    ".onnx": "onnx", ".xml": "openvino", ".ts": "torchscript", ".torchscript": "torchscript", ".param": "ncnn",
}  # fmt: skip


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
    checksums: dict[str, str] | None = None  # of the two parts of a file for ncnn

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
        except (ValueError, RecursionError) as error:
            raise BackendError(f"{ODD}: no JSON ({type(error).__name__}). {AGAIN}") from error
        if not isinstance(content, dict) or _is_deeper_than(content, MOST_DEPTH):
            raise BackendError(f"{ODD}: no flat JSON object. {AGAIN}")
        known = {one.name: content[one.name] for one in fields(cls) if one.name in content}
        for name, (wanted, fits) in KINDS.items():
            if (name in known or name == "network") and not fits(known.get(name)):
                raise BackendError(f"{ODD}: `{name}` must be {wanted}, got {_shown(known.get(name))}. {AGAIN}")
        return cls(**{**known, "value_range": tuple(known.get("value_range", (0.0, 1.0)))})


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -MOST <= value <= MOST


def _text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


# For each entry the values that it takes, in words and as a function.
KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "network": ("a text", lambda value: isinstance(value, str)),
    "arguments": ("an object", lambda value: isinstance(value, dict)),
    "scale": ("a number above 0", lambda value: _number(value) and value > 0),
    **dict.fromkeys(("num_in_ch", "num_out_ch", "min_side"), (f"a whole number from 1 to {MOST}", _whole)),
    "value_range": (
        "two numbers",
        lambda value: isinstance(value, list) and len(value) == 2 and all(map(_number, value)),
    ),
    "precision": ("fp32, fp16 or int8", lambda value: value in ("fp32", "fp16", "int8")),
    "pools_globally": ("true or false", lambda value: isinstance(value, bool)),
    "opset": ("a whole number or null", lambda value: value is None or _whole(value)),
    **dict.fromkeys(
        ("int8", "checksums"), ("an object or null", lambda value: value is None or isinstance(value, dict))
    ),
    **dict.fromkeys(("colour", "producer"), ("a text", lambda value: isinstance(value, str))),
    **dict.fromkeys(("sha256", "source"), ("a text or null", _text_or_none)),
}


def _shown(value: Any) -> str:
    try:
        return short_message(ascii(value), 40)
    except ValueError:  # a number of thousands of digits
        return f"an {type(value).__name__} of many digits"


def _is_deeper_than(content: Any, most: int) -> bool:
    level = [content]
    for _ in range(most):
        level = [
            inner
            for each in level
            if isinstance(each, (dict, list))
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return bool(level)


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
    """Return the format of an exported file by its suffix: ``'onnx'``, ``'openvino'``, ``'torchscript'``, ``'ncnn'``.

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
    if not isfile(path):
        raise BackendError(f"There is no file {path} (looked from {Path.cwd()}).")
    readers = {"onnx": _from_onnx, "openvino": _from_openvino, "torchscript": _from_torchscript,
               "ncnn": _from_ncnn}  # fmt: skip
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
        return None if text is None else Metadata.from_json(text[:MOST_BYTES])
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
        if found is not None and archive.getinfo(found).file_size > MOST_BYTES:
            raise ValueError("an entry of a size that no export writes")
        return None if found is None else archive.read(found).decode()


def _from_ncnn(path: Path) -> str | None:
    return entry_of(read_param(path))
