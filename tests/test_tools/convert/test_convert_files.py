"""Conversion of files: where they go, what they hold and how, and that they are whole or what they were."""

import os
import sys
from pathlib import Path

import pytest
import torch

from lightsr_basicsr import load
from lightsr_basicsr.archs.ddistill_sr_arch import DDistill_SR
from lightsr_basicsr.archs.drn_arch import DRNDual
from lightsr_basicsr.archs.imdn_arch import IMDN_RTC
from lightsr_basicsr.checkpoints import CheckpointError, read_state_dict, split_list, write, write_state_dict
from lightsr_basicsr.tools.convert.run import convert
from lightsr_basicsr.tools.convert.sound import ConvertError
from lightsr_basicsr.tools.files import TargetError
from lightsr_basicsr.tools.networks import NetworkError
from tests.converting import distilled, files, make_quick, same


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    make_quick(monkeypatch)


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("net.pth", None, "net_deploy.pth"),
        ("net.pt", None, "net_deploy.pt"),
        ("net.v2", None, "net.v2_deploy.pth"),
        ("net.safetensors", None, "net_deploy.safetensors"),
        ("net.pth", "out", "out/net_deploy.pth"),
        ("net.pth", "out/other.safetensors", "out/other.safetensors"),
        ("net.safetensors", "net.PTH", "net.PTH"),
    ],
)
def test_where_the_file_goes_and_its_format(saved, source, target, expected):
    Path("out").mkdir()
    Path("net.pth").rename(source)
    if source.endswith("safetensors"):
        pytest.importorskip("safetensors", reason="extra [safetensors] is not installed")
        write_state_dict(source, saved.state_dict())
    if expected.endswith("safetensors"):
        pytest.importorskip("safetensors", reason="extra [safetensors] is not installed")
    done = convert(source, target)
    assert done.after.path == expected
    start = Path(expected).read_bytes()[:9]
    assert (start[8:] == b"{") == expected.endswith("safetensors")
    assert start.startswith(b"PK") != expected.endswith("safetensors")
    assert done.after.wrapper == ("bare" if expected.endswith("safetensors") else "params")
    assert load(expected).state_dict().keys() == DDistill_SR(16, num_latent=4, deploy=True).state_dict().keys()


def test_a_file_that_is_there_is_replaced_only_if_asked_for(saved):
    convert("net.pth")
    first = Path("net_deploy.pth").read_bytes()
    torch.save({"params": distilled().state_dict()}, "net.pth")
    with pytest.raises(TargetError, match=r"net_deploy\.pth already exists: replace it with --overwrite"):
        convert("net.pth")
    assert Path("net_deploy.pth").read_bytes() == first
    convert("net.pth", overwrite=True)
    assert Path("net_deploy.pth").read_bytes() != first
    assert files() == ["net.pth", "net_deploy.pth"]


def test_the_source_is_never_replaced(saved):
    before = Path("net.pth").read_bytes()
    Path("link.pth").symlink_to("net.pth")
    os.link("net.pth", "hard.pth")
    for target in ("net.pth", "./net.pth", "link.pth", "hard.pth"):
        with pytest.raises(TargetError, match="is the source itself, which is never replaced"):
            convert("net.pth", target, overwrite=True)
    assert Path("net.pth").read_bytes() == before


def test_a_folder_that_cannot_be_written_to_is_told_first(saved, monkeypatch):
    def refuse(dir, prefix):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryDirectory", refuse)
    monkeypatch.setattr("lightsr_basicsr.tools.convert.run.write_state_dict", lambda *_: pytest.fail("too late"))
    with pytest.raises(TargetError, match=r"cannot be written \(Read-only file system\): choose another name"):
        convert("net.pth")
    assert files() == ["net.pth"]


def test_a_file_that_appears_during_the_work_stays(saved, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: Path("net_deploy.pth").write_text("mine"))
    for refusal in (None, PermissionError(1, "Operation not permitted")):  # the second as on FAT
        if refusal:
            monkeypatch.setattr(os, "link", lambda *_, error=refusal: (_ for _ in ()).throw(error))
        Path("net_deploy.pth").unlink(missing_ok=True)
        with pytest.raises(CheckpointError, match=r"net_deploy\.pth already exists: replace it with --overwrite"):
            convert("net.pth")
        assert files() == ["net.pth", "net_deploy.pth"]
        assert Path("net_deploy.pth").read_text() == "mine"


def test_folders_without_links_will_do(saved, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    convert("net.pth")
    assert files() == ["net.pth", "net_deploy.pth"]


@pytest.mark.parametrize("dangling", [False, True])
def test_symbolic_links_are_there_and_are_written_through(saved, dangling):
    Path("real").mkdir()
    if not dangling:
        Path("real/x.pth").write_text("mine")
    Path("link.pth").symlink_to("real/x.pth")
    with pytest.raises(TargetError, match=r"link\.pth already exists"):
        convert("net.pth", "link.pth")
    done = convert("net.pth", "link.pth", overwrite=True)
    assert Path("link.pth").is_symlink()
    assert done.after.path == "link.pth"
    assert same(load("real/x.pth").state_dict(), load("link.pth").state_dict())
    assert (files(), os.listdir("real")) == (["link.pth", "net.pth", "real"], ["x.pth"])


def test_names_may_be_as_long_as_the_system_allows(saved):
    name = "n" * 251 + ".pth"
    convert("net.pth", name)
    assert files() == ["net.pth", name]


def test_a_deployed_file_is_copied_if_more_was_asked_for(saved):
    state = convert("net.pth") and load("net_deploy.pth").state_dict()
    torch.save({"params": state, "params_ema": distilled(deploy=True).state_dict()}, "both.pth")
    done = convert("both.pth", "out.pth", weights="raw")
    assert (done.before.form, done.after.form, done.after.wrapper, done.difference) == (
        "deploy",
        "deploy",
        "params",
        None,
    )
    assert same(load("out.pth").state_dict(), state)
    assert convert("net_deploy.pth", wrapper="bare").after.path == "net_deploy_deploy.pth"
    assert read_state_dict("net_deploy_deploy.pth")[1] == "bare"
    with pytest.raises(TargetError, match=r"out\.pth already exists"):
        convert("net_deploy.pth", "out.pth")
    Path("folder").mkdir()
    assert convert("net_deploy.pth", "folder").after.path == "folder/net_deploy.pth"


def test_ema_and_raw_weights_are_told_apart(workdir):
    raw, ema = distilled(), distilled()
    torch.save({"params": raw.state_dict(), "params_ema": ema.state_dict()}, "net.pth")
    taken = {}
    for weights in (None, "ema", "raw"):
        done = convert("net.pth", f"{weights}.pth", weights=weights)
        taken[weights] = (done.before.wrapper, load(f"{weights}.pth").state_dict())
    assert [taken[weights][0] for weights in taken] == ["params_ema", "params_ema", "params"]
    assert same(taken[None][1], taken["ema"][1])
    assert not same(taken["raw"][1], taken["ema"][1])
    assert torch.equal(taken["raw"][1]["fea_conv.weight"], raw.fea_conv.weight)
    assert torch.equal(taken["ema"][1]["fea_conv.weight"], ema.fea_conv.weight)


def test_weights_that_are_not_there_are_not_replaced_by_others(workdir):
    state = distilled().state_dict()
    torch.save({"params": state, "state_dict": state}, "net.pth")
    torch.save(state, "bare.pth")
    with pytest.raises(NetworkError, match=r"net\.pth has no 'params_ema'.* ema .*; it holds 'params', 'state_dict'\."):
        convert("net.pth", weights="ema")
    with pytest.raises(NetworkError, match=r"bare\.pth has no 'params', .* raw .*; it holds bare tensors\."):
        convert("bare.pth", weights="raw")
    assert files() == ["bare.pth", "net.pth"]


@pytest.mark.parametrize("wrapper", ["params", "params_ema", "bare", "state_dict"])
def test_tensors_are_held_as_asked_for(saved, wrapper):
    assert convert("net.pth", wrapper=wrapper).after.wrapper == wrapper
    assert read_state_dict("net_deploy.pth")[1] == wrapper
    content = torch.load("net_deploy.pth", weights_only=True)
    assert list(content) == ([wrapper] if wrapper != "bare" else list(load("net_deploy.pth").state_dict()))


def test_lists_of_dual_networks_go_both_ways(workdir):
    net = DRNDual(4, 8)
    torch.save([child.state_dict() for child in net.children()], "list.pt")
    convert("list.pt", "dict.pth", keep_form=True)
    assert same(torch.load("dict.pth", weights_only=True)["params"], net.state_dict())
    done = convert("dict.pth", "again.pt", keep_form=True, wrapper="list")
    assert (done.after.wrapper, done.picture, done.difference) == ("list", None, None)
    entries = torch.load("again.pt", weights_only=True)
    assert isinstance(entries, list)
    assert all(same(entry, child.state_dict()) for entry, child in zip(entries, net.children(), strict=True))
    pytest.importorskip("safetensors", reason="extra [safetensors] is not installed")
    convert("again.pt", "net.safetensors", keep_form=True)
    convert("net.safetensors", "last.pt", keep_form=True, wrapper="list")
    assert all(same(*pair) for pair in zip(torch.load("last.pt", weights_only=True), entries, strict=True))


def test_other_networks_are_no_list(saved):
    with pytest.raises(CheckpointError, match=r"'0\.weight', can be held as a list; got 'fea_conv\.weight'"):
        convert("net.pth", wrapper="list")
    assert files() == ["net.pth"]


@pytest.mark.parametrize("keys", [["1.a"], ["0.a", "2.a"], ["0"], ["0.a", "b"], ["00.a"]])
def test_lists_have_no_gaps(keys):
    with pytest.raises(CheckpointError, match="can be held as a list"):
        split_list({key: torch.zeros(1) for key in keys})


def test_the_form_can_be_kept_through_formats(saved):
    pytest.importorskip("safetensors", reason="extra [safetensors] is not installed")
    done = convert("net.pth", "net.safetensors", keep_form=True)
    assert (done.before.form, done.after.form, done.after.tensors) == ("train", "train", 787)
    convert("net.safetensors", "back.pth", keep_form=True)
    back = torch.load("back.pth", weights_only=True)["params"]
    assert same(back, saved.state_dict())
    assert list(back) == list(saved.state_dict())
    convert("back.pth", "bare.pth", keep_form=True, wrapper="bare")
    assert same(torch.load("bare.pth", weights_only=True), saved.state_dict())


def test_keeping_the_form_keeps_the_type_of_numbers(workdir):
    torch.save({key: value.half() for key, value in IMDN_RTC(num_feat=4).state_dict().items()}, "net.pth")
    convert("net.pth", "out.pth", keep_form=True)
    kept = torch.load("out.pth", weights_only=True)["params"]
    assert {value.dtype for value in kept.values()} == {torch.float16}
    assert same(kept, torch.load("net.pth", weights_only=True))


WEIGHTS = {
    "a.weight": torch.arange(6.0).reshape(2, 3),
    "a.count": torch.tensor(3),
    "b": torch.tensor([1, float("nan")]),
}


@pytest.mark.parametrize("wrapper", ["params", "params_ema", "bare", "state_dict", "model"])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_tensors_are_written_as_they_are(workdir, wrapper, suffix):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors", reason="extra [safetensors] is not installed")
    write_state_dict(f"net{suffix}", WEIGHTS, wrapper)
    state, found = read_state_dict(f"net{suffix}")
    assert found == ("bare" if suffix == ".safetensors" else wrapper)
    for key, value in WEIGHTS.items():
        assert state[key].dtype == value.dtype
        torch.testing.assert_close(state[key], value, rtol=0, atol=0, equal_nan=True)
    assert files() == [f"net{suffix}"]


def test_parts_of_tensors_and_tensors_that_are_shared_are_written(workdir):
    pytest.importorskip("safetensors", reason="extra [safetensors] is not installed")
    whole = torch.arange(1e5)
    state = {"a": whole[:4], "b": whole[:4], "c": torch.rand(1, 4, 2, 2).to(memory_format=torch.channels_last)}
    for name in ("net.pth", "net.safetensors"):
        write_state_dict(name, state)
        assert same(read_state_dict(name)[0], state)
        assert Path(name).stat().st_size < 10_000


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize(
    ("stop", "error", "message"),
    [
        (
            OSError(28, "No space left on device"),
            CheckpointError,
            r"net\.pth was not written: No space left on device\.",
        ),
        (KeyboardInterrupt(), KeyboardInterrupt, "^$"),
    ],
)
def test_a_file_is_whole_or_what_it_was(workdir, monkeypatch, stop, error, message, existing):
    def fail(_):
        assert len(files()) == 1 + existing
        raise stop

    if existing:
        Path("net.pth").write_text("mine")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(error, match=message):
        write_state_dict("net.pth", WEIGHTS)
    assert files() == (["net.pth"] if existing else [])
    assert not existing or Path("net.pth").read_text() == "mine"


def test_what_is_read_back_is_compared(workdir, monkeypatch):
    for change in ({"b": torch.zeros(2)}, {"a.count": torch.tensor(3.0)}, {"c": torch.zeros(1)}):
        monkeypatch.setattr(write, "_decode", lambda *_, change=change: {**WEIGHTS, **change})
        with pytest.raises(CheckpointError, match="what was read back is not what was written"):
            write_state_dict("net.pth", WEIGHTS)
    assert files() == []


@pytest.mark.parametrize("error", [ConvertError("no"), KeyboardInterrupt()])
def test_a_check_that_fails_leaves_all_as_it_was(workdir, error):
    def check(state):
        assert same({**state, "b": torch.zeros(1)}, {**WEIGHTS, "b": torch.zeros(1)})
        assert files() == ["net.pth"]  # all that a kill would leave
        raise error

    Path("net.pth").write_text("mine")
    with pytest.raises(type(error)):
        write_state_dict("net.pth", WEIGHTS, check=check)
    assert files() == ["net.pth"]
    assert Path("net.pth").read_text() == "mine"


def test_without_safetensors_it_is_said_what_to_install(workdir, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(CheckpointError, match=r"needs the package safetensors: pip install safetensors"):
        write_state_dict("net.safetensors", WEIGHTS)
    assert files() == []
