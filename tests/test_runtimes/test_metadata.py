"""What exported files tell about themselves is read as it was written, in every format."""

import json
from pathlib import Path

import pytest
import torch

from lightsr_basicsr.archs.imdn_arch import IMDN_RTC
from lightsr_basicsr.runtimes.base import BackendError
from lightsr_basicsr.runtimes.graphs import to_onnx, to_openvino, to_torchscript
from lightsr_basicsr.runtimes.metadata import (
    KEY,
    Metadata,
    for_torchscript,
    format_of,
    put_into_onnx,
    put_into_openvino,
    read_metadata,
)

TOLD = Metadata(
    network="IMDN_RTC",
    arguments={"num_feat": 4, "num_block": 1, "channels": [1, 2]},
    scale=2,
    min_side=15,
    precision="int8",
    sha256="ab" * 32,
    source="<\"net' & ä>.pth",
    opset=17,
    producer="lightsr-basicsr 1",
    int8={"psnr_cost_db": 0.1, "images": 3, "data": "photographs"},
)


def write(name: str, metadata: Metadata | None) -> None:
    net = IMDN_RTC(num_feat=4, num_block=1)
    if name.endswith(".onnx"):
        pytest.importorskip("onnx", reason="ONNX is not installed")
        model = to_onnx(net)
        model.metadata_props.add(key="other", value="kept")
        if metadata:
            put_into_onnx(model, Metadata("old"))
            put_into_onnx(model, metadata)
        Path(name).write_bytes(model.SerializeToString())
        assert "other" in {entry.key for entry in model.metadata_props}
    elif name.endswith(".xml"):
        pytest.importorskip("onnx", reason="ONNX is not installed")
        openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
        model = to_openvino(net)
        if metadata:
            put_into_openvino(model, Metadata("old"))
            put_into_openvino(model, metadata)
        openvino.save_model(model, name)
    else:
        torch.jit.save(to_torchscript(net), name, _extra_files=for_torchscript(metadata) if metadata else {})


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("name", ["net.onnx", "net.xml", "net.ts", "net.torchscript"])
def test_every_format_brings_back_what_was_written(workdir, name):
    write(name, TOLD)
    assert read_metadata(name) == TOLD
    write(name, None)
    assert read_metadata(Path(name)) is None


def test_json_brings_back_what_was_written():
    assert Metadata.from_json(TOLD.to_json()) == TOLD
    assert Metadata.from_json(json.dumps({"network": "IMDN", "of_a_later_version": 1})) == Metadata("IMDN")
    assert TOLD.to_json().isascii()


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}", '{"network": "IMDN", "value_range": 3}'])
def test_what_is_no_metadata_is_told(text):
    with pytest.raises(BackendError, match=f"entry '{KEY}' is not what basicsr export writes"):
        Metadata.from_json(text)


@pytest.mark.parametrize("name", ["net.onnx", "net.xml", "net.ts"])
@pytest.mark.parametrize("content", [b"", b"<html></html>", b"PK\x03\x04", bytes(range(256))])
def test_damaged_files_are_told(workdir, name, content):
    if name.endswith(".onnx"):
        pytest.importorskip("onnx", reason="ONNX is not installed")
    Path(name).write_bytes(content)
    with pytest.raises(BackendError, match=rf"{name} \(\d+ bytes\) cannot be read as .*Export it again"):
        read_metadata(name)


def test_files_that_are_none_are_told(workdir):
    with pytest.raises(BackendError, match=r"There is no file net\.onnx"):
        read_metadata("net.onnx")
    with pytest.raises(BackendError, match=r"net\.pth is not an exported file: expected a name that ends in \.onnx"):
        format_of("net.pth")
