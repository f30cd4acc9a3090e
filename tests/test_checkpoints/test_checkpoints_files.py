"""The one door for checkpoints."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from lightsr_basicsr.checkpoints import CheckpointError, fitting, read_state_dict
from lightsr_basicsr.checkpoints.misfit import load_weights


def weights(value=1.0):
    return {"weight": torch.full((2, 3), value), "bias": torch.zeros(2)}


@pytest.mark.parametrize(
    ("content", "prefer", "wrapper", "value"),
    [
        (weights(1), None, "bare", 1),
        ({"params": weights(1)}, None, "params", 1),
        ({"params": weights(1), "params_ema": weights(2)}, None, "params_ema", 2),
        ({"params": weights(1), "params_ema": weights(2)}, "params", "params", 1),
        ({"params": weights(1)}, "params_ema", "params", 1),
        ({"state_dict": weights(1), "epoch": 3}, "params", "state_dict", 1),
        ({f"module.{key}": tensor for key, tensor in weights(1).items()}, "params", "bare", 1),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".pt"])
def test_every_wrapper_is_unwrapped(tmp_path, content, prefer, wrapper, value, suffix):
    torch.save(content, tmp_path / f"net{suffix}")
    state, found = read_state_dict(tmp_path / f"net{suffix}", prefer)
    assert found == wrapper
    assert list(state) == ["weight", "bias"]
    assert state["weight"].eq(value).all()


def test_safetensors_are_read(tmp_path):
    save_file = pytest.importorskip("safetensors.torch", reason="extra [safetensors] is not installed").save_file
    save_file(weights(3), tmp_path / "net.safetensors")
    assert read_state_dict(tmp_path / "net.safetensors")[0]["weight"].eq(3).all()


def test_module_is_stripped_as_a_prefix_only(tmp_path):
    torch.save({"model.module.weight": torch.zeros(1)}, tmp_path / "net.pth")
    assert list(read_state_dict(tmp_path / "net.pth")[0]) == ["model.module.weight"]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"There is no checkpoint at .*nothing\.pth"):
        read_state_dict(tmp_path / "nothing.pth")


@pytest.mark.parametrize("keep", [0, 10, 500])
def test_a_truncated_file_is_explained(tmp_path, keep):
    path = tmp_path / "net.pth"
    torch.save(weights(), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
        read_state_dict(path)


class Evil:
    def __reduce__(self):
        return (open, ("owned.txt", "w"))


def test_code_in_a_file_is_refused_and_not_run(workdir):
    torch.save({"params": weights(), "extra": Evil()}, "net.pth")
    with pytest.raises(CheckpointError, match="not safe"):
        read_state_dict("net.pth")
    with open("plain.pth", "wb") as stream:
        pickle.dump(Evil(), stream)
    with pytest.raises(CheckpointError):
        read_state_dict("plain.pth")
    assert not (workdir / "owned.txt").exists()


@pytest.mark.parametrize("content", [{"iter": 5, "optimizers": []}, {}, [1, 2], {"params": {"weight": 3}}])
def test_a_file_without_weights_is_explained(tmp_path, content):
    torch.save(content, tmp_path / "5.state")
    with pytest.raises(CheckpointError, match=r"holds (no weights|a list)"):
        read_state_dict(tmp_path / "5.state")


def test_strict_loading_lists_every_difference():
    net = nn.Linear(3, 2)
    with pytest.raises(CheckpointError) as caught:
        load_weights(net, {"weight": torch.zeros(2, 4), "scale": torch.zeros(1)}, "x.pth")
    text = str(caught.value)
    assert "x.pth does not fit Linear" in text
    assert "1 missing in the file:\n      bias" in text
    assert "1 not in the network:\n      scale" in text
    assert "weight (2, 4), expected (2, 3)" in text


def test_long_lists_are_cut():
    state = {f"key{i}": torch.zeros(1) for i in range(30)}
    with pytest.raises(CheckpointError, match=r"(?s)30 not in the network.*and 22 more") as caught:
        load_weights(nn.Linear(3, 2), state)
    assert len(str(caught.value).splitlines()) < 20


def test_fitting_tensors_are_counted():
    assert [*fitting(nn.Linear(3, 2), {"weight": torch.zeros(2, 3), "bias": torch.zeros(5)})] == ["weight"]


def test_a_state_dict_with_arrays_is_explained(tmp_path):
    torch.save({"weight": np.zeros(3)}, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match=r"net\.pth"):
        read_state_dict(tmp_path / "net.pth")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"<!DOCTYPE html><html>not found</html>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
        (b"", "it is empty"),
        (b"hello", "not a checkpoint"),
    ],
)
def test_what_came_in_the_place_of_a_checkpoint_is_said(content, told, tmp_path):
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=f"cannot be read as a checkpoint: .*{told}"):
        read_state_dict(tmp_path / "net.pth")


def test_a_torchscript_archive_is_named_without_the_advice_to_run_it(tmp_path):
    torch.jit.script(torch.nn.Conv2d(1, 1, 1)).save(str(tmp_path / "net.pt"))
    with pytest.raises(CheckpointError) as raised:
        read_state_dict(tmp_path / "net.pt")
    assert "TorchScript archive, a program and not weights" in str(raised.value)
    assert "False" not in str(raised.value)


def test_safetensors_are_read_whatever_they_are_called(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file({"weight": torch.ones(2)}, tmp_path / "net.pth")
    assert read_state_dict(tmp_path / "net.pth")[0]["weight"].tolist() == [1, 1]


def test_what_is_no_tensor_is_told_first(tmp_path):
    torch.save({**{f"w{index}": torch.zeros(1) for index in range(20)}, "epoch": 3}, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match=r"got 'epoch' \(int\), 'w0' \(Tensor\)"):
        read_state_dict(tmp_path / "net.pth")


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="is a folder"):
        read_state_dict(tmp_path)


def test_sparse_tensors_are_made_dense(tmp_path):
    torch.save({"weight": torch.eye(2).to_sparse()}, tmp_path / "net.pth")
    assert torch.equal(read_state_dict(tmp_path / "net.pth")[0]["weight"], torch.eye(2))


def test_reading_and_writing_import_no_network():
    code = (
        "import sys, lightsr_basicsr.checkpoints.states\n"
        "print([name for name in sys.modules if name.startswith(('basicsr', 'lightsr_basicsr.archs'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
