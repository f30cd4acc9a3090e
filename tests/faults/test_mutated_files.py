"""Property tests of the door for files of networks: whatever is in a file, only our own errors come out, and soon.

``LIGHTSR_FAULTS=20000 pytest tests/faults/test_mutated_files.py`` is the long form.
"""

from __future__ import annotations

import io
import json
import os
import string
import time
import warnings
import zipfile
from collections import OrderedDict
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

pytest.importorskip("hypothesis", reason="the extra [test] is not installed")
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lightsr_basicsr import CheckpointError, cli, identify, load
from lightsr_basicsr.archs.imdn_arch import IMDN, IMDN_RTC
from lightsr_basicsr.checkpoints import read_state_dict
from lightsr_basicsr.errors import UserError
from lightsr_basicsr.runtimes.metadata import Metadata, read_metadata
from tests.cases import SWINIR_SMALL
from tests.test_zoo import get

pytestmark = [pytest.mark.faults, pytest.mark.filterwarnings("ignore")]

EXAMPLES = int(os.environ.get("LIGHTSR_FAULTS", "60"))
SECONDS, MEGABYTES = 10, 1000
many = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True, database=None
)


@cache
def states() -> list[dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    nets = IMDN_RTC(num_feat=4, num_block=1), IMDN(num_feat=16, num_block=1), get("SwinIR_DR")(**SWINIR_SMALL)
    return [net.state_dict() for net in nets]


@cache
def seeds() -> list[bytes]:
    """Sound files of every format and wrapping."""
    small, imdn, _ = states()
    contents = (
        {"params": small}, small, [small, small], {"state_dict": {f"model.{key}": v for key, v in small.items()}},
        {"params": OrderedDict((key, torch.nn.Parameter(value)) for key, value in small.items()), "iter": 5}, imdn,
    )  # fmt: skip
    files = []
    for content in contents:
        for zipped in (True, False):
            buffer = io.BytesIO()
            torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
            files.append(buffer.getvalue())
    try:
        import safetensors.torch

        files.append(safetensors.torch.save(small))
    except ImportError:
        pass
    return files


def peak() -> float:
    """Return the most memory that this process had, in MB; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM:")), 0)


def message_of_our_error(read, source, kind) -> str:
    """Return the message of our error, or "read" where the reader succeeds; other errors fail the test."""
    try:
        read(source)
    except kind as error:
        return str(error)
    return "read"


def only_our_errors(path: Path) -> None:
    """Read a file in every way; any error but ours fails, and so does what takes long or much memory."""
    before, start = peak(), time.process_time()
    for read in (read_state_dict, identify, load):
        assert 0 < len(message_of_our_error(read, path, CheckpointError)) < 5000
    assert cli.main(["info", "--json", str(path)]) in (0, 2)
    assert cli.main(["info", str(path)]) in (0, 2)
    assert time.process_time() - start < SECONDS
    assert peak() - before < MEGABYTES


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("mutated")


edits = st.lists(
    st.tuples(st.sampled_from(["flip", "cut", "insert", "remove", "repeat"]), st.floats(0, 1), st.binary(max_size=9)),
    min_size=1, max_size=6,
)  # fmt: skip


def mutated(content: bytes, changes) -> bytes:
    made = bytearray(content)
    for kind, where, inserted in changes:
        at = int(where * max(len(made) - 1, 0))
        if kind == "flip":
            made[at : at + len(inserted)] = inserted
        elif kind == "cut":
            del made[at:]
        elif kind == "insert":
            made[at:at] = inserted
        elif kind == "remove":
            del made[at : at + len(inserted)]
        else:
            made[at:at] = made[max(at - 64, 0) : at] * len(inserted)
    return bytes(made)


@many
@given(seed=st.integers(0, 12), changes=edits, suffix=st.sampled_from([".pth", ".pt", ".safetensors", ""]))
def test_bytes(place, seed, changes, suffix):
    file = place / f"net{suffix}"
    file.write_bytes(mutated(seeds()[seed % len(seeds())], changes))
    only_our_errors(file)


@many
@given(seed=st.integers(0, 5), changes=edits)
@example(seed=0, changes=[("flip", 0.01, b"\xff\xff\xff\xff")])
def test_pickles_inside_sound_archives(place, seed, changes):
    """Changed bytes in an archive are found by its checksum: the pickle alone is changed, and packed anew."""
    with zipfile.ZipFile(io.BytesIO(seeds()[2 * seed])) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(place / "net.pth", "w") as archive:
        for name, content in records.items():
            archive.writestr(name, mutated(content, changes) if name.endswith("data.pkl") else content)
    only_our_errors(place / "net.pth")


@many
@given(changes=edits, length=st.none() | st.integers(0, 2**64 - 1))
def test_headers_of_safetensors(place, changes, length):
    safetensors = pytest.importorskip("safetensors.torch")
    content = safetensors.save(states()[0])
    size = int.from_bytes(content[:8], "little")
    header = mutated(content[8 : 8 + size], changes)
    start = (len(header) if length is None else length).to_bytes(8, "little")
    (place / "net.safetensors").write_bytes(start + header + content[8 + size :])
    only_our_errors(place / "net.safetensors")


DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.int64, torch.bool,
          torch.complex64, torch.uint8]  # fmt: skip


@st.composite
def tensors(draw):
    """Tensors of odd types and shapes, many of them claiming what they do not hold."""
    shape = draw(st.lists(st.sampled_from([0, 1, 2, 3, 4, 12, 16, 64, 999, 10**5, 2**31, 2**40]), max_size=5))
    dtype = draw(st.sampled_from(DTYPES))
    kind = draw(st.sampled_from(["claim", "real", "sparse", "meta", "quantized", "parameter"]))
    small = [min(side, 4) for side in shape]
    try:
        if kind == "claim":
            return torch.zeros((), dtype=dtype).expand(shape)
        if kind == "sparse":
            indices = torch.zeros(len(shape), 1, dtype=torch.int64)
            return torch.sparse_coo_tensor(indices, torch.ones(1, dtype=dtype), shape)
        if kind == "meta":
            return torch.empty(shape, dtype=dtype, device="meta")
        if kind == "quantized":
            return torch.quantize_per_tensor(torch.zeros(small), 0.1, 0, torch.qint8)
        if kind == "parameter":
            return torch.nn.Parameter(torch.full(small, draw(st.floats())))
    except (RuntimeError, TypeError, OverflowError):
        pass
    return torch.zeros(small, dtype=dtype)


keys = st.text(max_size=12) | st.integers(-5, 10**6) | st.none() | st.binary(max_size=4) | st.sampled_from(
    ["params", "params_ema", "state_dict", "model", "generator", "weight", "module.", "fea_conv.weight", "n_averaged"]
)  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=8) | tensors(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


@many
@given(content=values, wrapper=st.sampled_from([None, "params", "state_dict", "x"]), zipped=st.booleans())
@example(content={5: torch.zeros(1)}, wrapper=None, zipped=True)
@example(content={"w": 10**5000}, wrapper=None, zipped=True)
@example(content={"\ud800": torch.zeros(1)}, wrapper=None, zipped=False)
def test_contents(place, content, wrapper, zipped):
    save({wrapper: content} if wrapper else content, place / "net.pth", zipped)
    only_our_errors(place / "net.pth")


def save(content, path: Path, zipped: bool) -> None:
    try:
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
    except Exception:
        # What torch cannot save, nobody has in a file.
        path.write_bytes(b"")


changes_of_state = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["replace", "remove", "rename", "reshape"]), tensors(),
              st.text(string.ascii_lowercase + "._0123456789", max_size=20), st.integers(0, 4), st.integers(0, 10**6)),
    max_size=5,
)  # fmt: skip


@many
@given(which=st.integers(0, 2), changes=changes_of_state, in_file=st.booleans())
def test_networks_with_odd_tensors(place, which, changes, in_file):
    state = dict(states()[which])
    for where, kind, tensor, name, axis, side in changes:
        key = [*state][int(where * (len(state) - 1))] if state else "a"
        old = state.pop(key, tensor)
        if kind == "replace":
            state[key] = tensor
        elif kind == "rename":
            state[key[: len(key) // 2] + name] = old
        elif kind == "reshape" and old.ndim:
            shape = [*old.shape]
            shape[axis % old.ndim] = side
            state[key] = torch.zeros(()).expand(shape)
    if in_file:
        save(state, place / "net.pth", True)
        only_our_errors(place / "net.pth")
        return
    for read in (identify, load):
        message_of_our_error(read, state, CheckpointError)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@many
@given(replaced=st.dictionaries(st.sampled_from([*json.loads(Metadata("IMDN").to_json())]), anything, max_size=4),
       changes=st.just([]) | edits)  # fmt: skip
def test_metadata_of_exported_files(place, replaced, changes):
    text = json.dumps({**json.loads(Metadata("IMDN", {"upscale": 4}, 4).to_json()), **replaced})
    entry = mutated(text.encode(), changes)
    with zipfile.ZipFile(place / "net.ts", "w") as archive:
        archive.writestr("net/constants.pkl", b"")
        archive.writestr("net/extra/lightsr", entry)
    element = ElementTree.Element("net")
    ElementTree.SubElement(ElementTree.SubElement(element, "rt_info"), "lightsr", value=entry.decode("latin1"))
    (place / "net.xml").write_bytes(mutated(ElementTree.tostring(element), changes))
    for name in ("net.ts", "net.xml"):
        assert len(message_of_our_error(read_metadata, place / name, UserError)) < 1000
        for flags in ([], ["--json"]):
            assert cli.main(["info", *flags, str(place / name)]) in (0, 2)


def test_the_seeds_themselves_are_sound(place):
    for index, content in enumerate(seeds()):
        (place / "net.pth").write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            read_state_dict(place / "net.pth", "params")
        assert index == 4 or index == 5 or identify(place / "net.pth").network in ("IMDN_RTC", "IMDN")
