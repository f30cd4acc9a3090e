"""Files of networks that came from strangers, or to harm."""

import io
import pickle
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from lightsr_basicsr import CheckpointError, UnknownNetworkError, cli, identify, load
from lightsr_basicsr.archs.imdn_arch import IMDN, IMDN_RTC
from lightsr_basicsr.checkpoints import read_state_dict
from lightsr_basicsr.checkpoints.misfit import load_weights
from tests.test_zoo import get

pytestmark = pytest.mark.faults

SMALL = {"num_feat": 16, "num_block": 1}


def rtc(**more):
    return IMDN_RTC(num_feat=4, num_block=1, **more)


def state(**replaced):
    return {**rtc().state_dict(), **replaced}


# D1


def quantized():
    return torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.quint8)


@pytest.mark.parametrize(
    "odd",
    [
        lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
        lambda: torch.zeros(4, device="meta"),
        quantized,
        lambda: torch.zeros(4, dtype=torch.complex64),
        lambda: torch.eye(4).to_sparse_csr(),
        lambda: torch.sparse_coo_tensor(torch.zeros(1, 1, dtype=torch.long), torch.ones(1), (10**10,)),
        lambda: torch.sparse_coo_tensor(torch.full((1, 1), 9), torch.ones(1), (4,), check_invariants=False),
    ],
    ids=["nested", "meta", "quantized", "complex", "csr", "huge sparse", "sparse outside"],
)
@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_odd_tensors_are_refused_with_the_name_of_the_first(odd, wrapped, tmp_path):
    content = state(**{"model.0.bias": odd()})
    torch.save({"params": content} if wrapped else content, tmp_path / "net.pth")
    for read in (read_state_dict, identify, load):
        with pytest.raises(CheckpointError, match=r"net\.pth"):
            read(tmp_path / "net.pth")
    for read in (identify, load):
        with pytest.raises(CheckpointError):
            read(content)


@pytest.mark.parametrize("key", [5, 10**5000, ("a", torch.zeros(2)), None], ids=["5", "digits", "tuple", "none"])
def test_names_that_are_no_texts_are_refused(key, tmp_path):
    torch.save(state(**{}) | {key: torch.zeros(1)}, tmp_path / "net.pth")
    with pytest.raises(CheckpointError):
        read_state_dict(tmp_path / "net.pth")


def test_names_that_would_fall_together_without_their_prefix_stay_apart(tmp_path):
    torch.save({"module.weight": torch.zeros(1), "weight": torch.ones(1)}, tmp_path / "net.pth")
    assert [*read_state_dict(tmp_path / "net.pth")[0]] == ["module.weight", "weight"]


# D2


def claiming(**sides):
    """Tensors of a large IMDN_RTC that hold one number each."""
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in IMDN_RTC(**sides).state_dict().items()}
    return {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}


@pytest.fixture
def bounded():
    """Whatever is read may reserve 1 GB of memory at most."""
    resource = pytest.importorskip("resource", reason="this system has no limits of memory")
    status = Path("/proc/self/status")
    if not status.is_file():
        pytest.skip("this system does not tell how much memory is reserved")
    reserved = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmSize:"))
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (reserved * 1024 + 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.skipif(not hasattr(torch.device, "__enter__"), reason="torch < 2.0 has no meta device to make the file on")
@pytest.mark.parametrize("num_feat", [8000, 1000])
@pytest.mark.parametrize("legacy", [False, True])
def test_one_number_does_not_stand_for_a_large_network(num_feat, legacy, tmp_path, capsys, bounded):
    torch.save(claiming(num_feat=num_feat), tmp_path / "net.pth", _use_new_zipfile_serialization=not legacy)
    assert (tmp_path / "net.pth").stat().st_size < 30_000
    for read in (identify, load):
        with pytest.raises(CheckpointError, match="shapes claim"):
            read(tmp_path / "net.pth")
    assert cli.main(["info", str(tmp_path / "net.pth")]) == 2
    assert "shapes claim" in capsys.readouterr().err


def test_many_tensors_over_one_storage_are_no_network(tmp_path):
    whole = torch.zeros(2**18)
    torch.save({f"w{index}": whole for index in range(1000)}, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match="shapes claim"):
        read_state_dict(tmp_path / "net.pth")


def test_tied_tensors_and_views_are_fine(tmp_path):
    shared = torch.randn(4, 300, 300)
    torch.save({"a": shared, "b": shared, "c": shared.transpose(1, 2), "d": shared[::2]}, tmp_path / "net.pth")
    assert torch.equal(read_state_dict(tmp_path / "net.pth")[0]["c"], shared.transpose(1, 2))


def test_sides_of_zero_do_not_hide_a_large_network():
    shapes = {**state(), "model.0.weight": torch.zeros(0, 10**6, 30, 3)}
    with pytest.raises(CheckpointError, match="shapes claim"):
        identify(shapes)


def rewritten(path, edit):
    """Write the archive ``path`` anew, its pickle changed by ``edit``."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, edit(content) if name.endswith("data.pkl") else content)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"cpuq\x06K\x10t", b"cpuq\x06J\x00\x00\x00\x7ft"),  # numbers of the storage
        (b"K\x04K\x04\x86", b"M\xff\xffK\x04\x86"),  # a side
        (b"K\x04K\x01\x86", b"J\x00\x00\x00\x7fK\x01\x86"),  # a step
        (b"K\x04K\x01\x86", b"J\xff\xff\xff\xffK\x01\x86"),  # a step backwards
        (b"QK\x00", b"QK\x08"),  # the offset
    ],
)
def test_a_pickle_that_claims_more_than_its_storage_is_refused_before_torch_reads_it(old, new, tmp_path, monkeypatch):
    torch.save({"w": torch.zeros(4, 4)}, tmp_path / "net.pth")

    def edit(content):
        assert content.count(old) == 1
        return content.replace(old, new)

    rewritten(tmp_path / "net.pth", edit)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch read it"))
    with pytest.raises(CheckpointError, match="claims more than it holds"):
        read_state_dict(tmp_path / "net.pth")


def test_an_archive_that_unpacks_to_much_more_is_refused(tmp_path):
    torch.save({"w": torch.zeros(2**22)}, tmp_path / "net.pth")
    with zipfile.ZipFile(tmp_path / "net.pth") as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "net.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    with pytest.raises(CheckpointError, match="unpacks to"):
        read_state_dict(tmp_path / "net.pth")


class Call:
    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


@pytest.mark.parametrize("harm", ["bytes", "copies"])
def test_calls_that_multiply_memory_are_refused(harm, tmp_path):
    large = dict.fromkeys(range(20_000))
    content = {"w": torch.zeros(2)}
    content["extra"] = Call(bytearray, 10**12) if harm == "bytes" else [Call(OrderedDict, large) for _ in range(2000)]
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match="claims more than it holds"):
        read_state_dict(tmp_path / "net.pth")


def test_a_memo_number_of_four_billion_costs_nothing(tmp_path):
    torch.save({"w": torch.zeros(4, 4)}, tmp_path / "net.pth")
    rewritten(tmp_path / "net.pth", lambda content: content.replace(b"}q\x00", b"}r\xff\xff\xff\xff"))
    assert [*read_state_dict(tmp_path / "net.pth")[0]] == ["w"]


def test_safetensors_with_huge_shapes_are_refused(tmp_path):
    for shape, end in (("[1000000,1000000]", 4), ("[4294967296,4294967296,4]", 0), ("[1]", 10**12)):
        header = f'{{"w":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{end}]}}}}'.encode()
        (tmp_path / "net.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
        with pytest.raises(CheckpointError):
            read_state_dict(tmp_path / "net.safetensors")
    (tmp_path / "net.safetensors").write_bytes(b"\xff" * 7 + b"\x7f{")
    with pytest.raises(CheckpointError):
        read_state_dict(tmp_path / "net.safetensors")


def test_a_list_of_one_dictionary_repeated_is_bounded(tmp_path):
    torch.save([dict.fromkeys(map(str, range(1000)), torch.zeros(1))] * 100_000, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match="list of more than"):
        read_state_dict(tmp_path / "net.pth")


def test_official_kinds_of_files_claim_what_they_hold(tmp_path):
    """Half precision, parameters, several wrappers, and both formats of torch."""
    net = rtc().half()
    content = {"params": OrderedDict(net.named_parameters()), "params_ema": net.state_dict(), "iter": 5}
    for legacy in (False, True):
        torch.save(content, tmp_path / "net.pth", _use_new_zipfile_serialization=not legacy)
        assert read_state_dict(tmp_path / "net.pth")[1] == "params_ema"
        assert identify(tmp_path / "net.pth").network == "IMDN_RTC"


# D3


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_told(value, tmp_path, capsys):
    broken = state()
    broken["model.0.weight"][0, 0, 1, 1] = value
    torch.save(broken, tmp_path / "net.pth")
    for source in (tmp_path / "net.pth", broken):
        with pytest.warns(UserWarning, match=r"1 tensor holds NaN or infinite numbers \(model\.0\.weight\)"):
            load(source)
    assert cli.main(["info", str(tmp_path / "net.pth")]) == 0
    assert "warning:          1 tensor holds NaN or infinite numbers (model.0.weight)" in capsys.readouterr().out


def test_sound_weights_are_loaded_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(state())


# D4


@pytest.mark.parametrize("prefix", ["model.", "net_g.", "generator.net.", "module.model."])
@pytest.mark.parametrize("make", [lambda: IMDN(**SMALL), rtc], ids=["IMDN", "IMDN_RTC"])
def test_a_prefix_that_all_names_share_is_taken_off(prefix, make, tmp_path):
    net = make()
    torch.save({"state_dict": {prefix + key: value for key, value in net.state_dict().items()}}, tmp_path / "net.ckpt")
    assert identify(tmp_path / "net.ckpt").network == type(net).__name__
    loaded = load(tmp_path / "net.ckpt").state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in net.state_dict().items())
    wanted, read = make(), read_state_dict(tmp_path / "net.ckpt")[0]
    for strict in (True, False):
        load_weights(wanted, read, strict=strict)
    assert torch.equal(next(iter(wanted.state_dict().values())), next(iter(net.state_dict().values())))


def test_a_prefix_that_belongs_to_the_network_stays():
    """All names of IMDN_RTC begin with ``model.``."""
    assert identify(state()).network == "IMDN_RTC"


def test_a_prefix_is_not_taken_off_where_the_rest_is_no_network():
    with pytest.raises(UnknownNetworkError, match=r"model\.stem\.weight"):
        identify({"model.stem.weight": torch.zeros(1), "model.stem.bias": torch.zeros(1)})
    mixed = {**{f"model.{key}": value for key, value in state().items()}, "loss.weight": torch.zeros(1)}
    with pytest.raises(CheckpointError):
        identify(mixed)


@pytest.mark.parametrize(
    ("wrap", "wrapper"),
    [
        (lambda inner: {"params-ema": inner, "params": {}}, "params-ema"),
        (lambda inner: {"generator": inner, "discriminator": {"conv.weight": torch.zeros(1)}}, "generator"),
        (lambda inner: {"model": {"state_dict": inner}, "epoch": 3}, "state_dict"),
        (lambda inner: {"g_model": inner, "optimizer": {"state": {}}}, "g_model"),
        (lambda inner: {"n_averaged": torch.tensor(5), **{f"module.{k}": v for k, v in inner.items()}}, "bare"),
    ],
)
def test_wrappers_of_other_programs_are_opened(wrap, wrapper, tmp_path):
    torch.save(wrap(state()), tmp_path / "net.pth")
    assert read_state_dict(tmp_path / "net.pth")[1] == wrapper
    assert identify(tmp_path / "net.pth").network == "IMDN_RTC"


def test_two_unknown_wrappers_are_not_guessed_between(tmp_path):
    torch.save({"a": state(), "b": state()}, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match="holds no weights"):
        read_state_dict(tmp_path / "net.pth")


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors", "net", "net.ckpt"])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_the_content_decides_and_not_the_ending(name, kind, tmp_path):
    path = tmp_path / name
    if kind == "safetensors":
        pytest.importorskip("safetensors.torch").save_file(state(), path)
    else:
        torch.save(state(), path, _use_new_zipfile_serialization=kind == "zip")
    assert identify(path).network == "IMDN_RTC"


def test_a_pickle_of_another_program_is_no_checkpoint(tmp_path):
    for content in ({"w": [1.0, 2.0]}, [1] * 10, "text", 5):
        buffer = io.BytesIO()
        pickle.dump(content, buffer)
        (tmp_path / "net.safetensors").write_bytes(buffer.getvalue())
        with pytest.raises(CheckpointError):
            read_state_dict(tmp_path / "net.safetensors")


# What a claim may cost before it is refused.


@pytest.mark.parametrize(("name", "key"), [("SwinIR_DR", "layers.0.residual_group.blocks.1.attn_mask"),
                                           ("SwinIR_DR", "attn.relative_position_bias_table"),
                                           ("DAT_DR", "layers.0.blocks.2.attn_mask_0"),
                                           ("DAT_DR", "layers.0.blocks.0.attn.attns.0.rpe_biases")])  # fmt: skip
def test_tables_that_would_grow_with_a_power_of_a_claim_are_bounded(name, key):
    from tests.cases import DAT_SMALL, SWINIR_SMALL

    if name == "DAT_DR":
        pytest.importorskip("spandrel")
    sound = get(name)(**{"SwinIR_DR": SWINIR_SMALL, "DAT_DR": DAT_SMALL}[name]).state_dict()
    if key not in sound:
        key = next(each for each in sound if each.endswith(key.rpartition(".")[2]))
    for side in (200_001, 999 * 999):
        shape = (side, *sound[key].shape[1:])
        with pytest.raises(CheckpointError):
            identify({**sound, key: torch.zeros(1).expand(side, *([1] * (len(shape) - 1)))})


def test_thousands_of_layers_of_one_tensor_each_take_no_time():
    import time

    for name in ("IMDB{}.c1.weight", "layers.{}.residual_group.blocks.0.attn.qkv.weight", "model.1.sub.{}.c1.weight"):
        claim = {name.format(index): torch.zeros(16, 16, 1, 1) for index in range(9_900)}
        claim |= {key: torch.zeros(16, 3, 3, 3) for key in ("fea_conv.weight", "conv_first.weight", "model.0.weight")}
        claim |= {"upsampler.0.weight": torch.zeros(48, 16, 3, 3), "model.2.weight": torch.zeros(12, 16, 3, 3)}
        claim |= {"dual_model.dual_module.0.0.weight": torch.zeros(1)}
        start = time.perf_counter()
        with pytest.raises(CheckpointError):
            identify(claim)
        assert time.perf_counter() - start < 20


# Whole numbers, and names that no file has


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.bool, torch.int8])
@pytest.mark.parametrize("which", ["all", "one"])
def test_weights_of_whole_numbers_are_refused(dtype, which, tmp_path, capsys):
    """They were loaded, all zeros as a rule, and exported."""
    state = IMDN(**SMALL).state_dict()
    keys = state if which == "all" else ["fea_conv.weight"]
    torch.save({**state, **{key: state[key].to(dtype) for key in keys}}, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match="whole"):
        load(tmp_path / "net.pth")
    assert cli.main(["info", str(tmp_path / "net.pth")]) == 2
    assert "whole" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a" * 300 + ".pth", "a\0b.pth", "missing.pth"])
@pytest.mark.parametrize("call", [load, identify])
def test_names_of_no_file_are_told(call, name, tmp_path):
    with pytest.raises(CheckpointError):
        call(tmp_path / name)
