"""Memory of a picture, memory that there is, and what tiles change."""

import numpy as np
import pytest
import torch
from basicsr.archs import build_network

from lightsr_basicsr.runtimes.base import Runtime, Traits
from lightsr_basicsr.runtimes.choice import open_runtime
from lightsr_basicsr.runtimes.torch_runtime import TorchRuntime
from lightsr_basicsr.upscale import memory
from lightsr_basicsr.upscale.plan import TilePlan
from lightsr_basicsr.upscale.probe import probe_tiles
from lightsr_basicsr.upscale.tiles import TileRunner, refinable
from tests.test_upscale.test_whole_picture import picture


class Program(Runtime):
    """An exported file of the network ``inner``, whose poolings nobody can reach."""

    backend = "onnxruntime"

    def __init__(self, inner):
        super().__init__(Traits(inner.scale, 3, 1))
        self.inner = inner

    def _run(self, images):
        return self.inner(images)


@pytest.fixture
def runtime():
    net = build_network({"type": "IMDN", "num_feat": 16, "num_block": 2, "upscale": 2})
    return TorchRuntime.of_network(net, device="cpu", threads=1)


def test_bytes_of_feature_maps_are_counted():
    def run(x):
        y = x.repeat(1, 2, 1, 1)  # six channels of four bytes
        y = y.view(-1).view(y.shape)  # the same memory
        return y[:, :1] + 1

    assert memory.live_bytes_per_pixel(run) == pytest.approx(4 * (3 + 6 + 1))
    assert memory.live_bytes_per_pixel(lambda x: 1 / 0) == memory.UNKNOWN


def test_imdn_takes_what_was_measured():
    net = build_network({"type": "IMDN", "upscale": 4}).eval()
    assert memory.live_bytes_per_pixel(net) == pytest.approx(1868, rel=0.01)  # 3.4 KB with what torch keeps


def test_a_picture_that_fits_is_one_tile_and_any_other_the_largest_ones(runtime):
    needed = memory.bytes_per_pixel(runtime) / memory.SHARE
    fits = memory.plan_within_memory(runtime, 200, 300, available=int(needed * 60_100))
    assert [len(row) for row in fits.rows(200, 300)] == [1]
    plan = memory.plan_within_memory(runtime, 200, 300, available=int(needed * 130 * 130))
    assert (plan.size, plan.seen_side()) == (81, 129)
    assert memory.plan_within_memory(runtime, 200, 300, host_bytes=10**9, available=10**6).size == 16
    assert memory.plan_within_memory(runtime, 200, 300, available=0, size=77, passes=5)[:3] == (77, 24, 5)


def test_what_a_network_takes_is_known_on_every_backend():
    net = build_network({"type": "IMDN", "num_feat": 16, "num_block": 2, "upscale": 2})
    taken = {}
    for backend in ("torch", "onnxruntime", "openvino", "ncnn"):
        pytest.importorskip(backend, reason=f"{backend} is not installed")
        taken[backend] = memory.bytes_per_pixel(open_runtime(net, backend, device="cpu", threads=1))
    live = taken["torch"] / memory.OVERHEAD["torch"]
    assert live < 3000
    assert taken == {backend: pytest.approx(memory.OVERHEAD[backend] * live, rel=0.05) for backend in taken}


def test_tiles_of_torch_on_a_cpu_keep_their_feature_maps_small(runtime):
    fits = int(memory.bytes_per_pixel(runtime) / memory.SHARE * 700_000)
    plan = memory.plan_within_memory(runtime, 720, 1280, available=fits)
    assert plan.seen_side() == 362
    assert memory.plan_within_memory(Program(runtime), 720, 1280, available=fits, per_pixel=1.0).size == 1280
    assert memory.plan_within_memory(runtime, 720, 1280, available=2 * fits).size == 1280


def test_an_exported_file_takes_what_the_network_of_its_metadata_takes(runtime):
    program = Program(runtime)
    assert memory.bytes_per_pixel(program) == memory.OVERHEAD[program.backend] * memory.UNKNOWN
    assert memory.bytes_per_pixel(program, runtime.module) < 3000
    arguments = {"num_feat": 16, "num_block": 2, "upscale": 2}
    program.metadata = {"network": "IMDN", "arguments": arguments}
    assert memory.bytes_per_pixel(program) == pytest.approx(memory.bytes_per_pixel(program, runtime.module), rel=0.05)
    program.metadata = {"network": "IMDN", "arguments": {"of_another_version": 1}}
    assert memory.bytes_per_pixel(program) == memory.OVERHEAD[program.backend] * memory.UNKNOWN


def test_wide_tiles_become_square_where_they_would_be_too_low():
    plan = TilePlan(overlap=20, wide=True)
    assert memory.largest_tiles(plan, 100 * 1000, 1000)[:2] == (60, 20)
    square = memory.largest_tiles(plan, 100 * 1000, 2000)
    assert (square.wide, square.size) == (False, 276)


def test_limits_of_system_container_and_process_count(monkeypatch, tmp_path):
    resource = pytest.importorskip("resource", reason="limits of a process are those of Unix")
    before = memory.available_memory()
    assert 2**20 < before < 2**50
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (2**40, 2**40))
    assert memory.available_memory() == pytest.approx(before, rel=0.2)
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (2**20, 2**40))
    assert memory.available_memory() == 0
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 100000\n")
    monkeypatch.setattr(memory, "GROUPS", ((str(tmp_path), *memory.GROUPS[0][1:]),))
    assert list(memory._of_container()) == [700_000]
    (tmp_path / "memory.max").write_text("max\n")
    assert list(memory._of_container()) == []
    monkeypatch.setattr(memory, "SOURCES", ())
    assert memory.available_memory() == memory.ASSUMED


def test_foreign_programs_run_in_plain_tiles_and_the_probe_says_what_they_cost(runtime):
    pixels = picture(80, 90, "float32")
    program = Program(runtime)
    plain, refined = (TileRunner.of_runtime(each, passes=2, overlap=14) for each in (program, runtime))
    assert (refinable(program), plain.plan.passes, refined.plan.passes) == (None, 0, 2)
    cost = [probe_tiles(runner, pixels, 32) for runner in (plain, refined)]
    assert cost[0] + 15 < cost[1]  # new weights attend to little
    assert probe_tiles(TileRunner(lambda x: x, 1, TilePlan(16, 2)), pixels, 32) == np.inf


def test_a_compiled_network_is_not_refined(runtime):
    runtime.compiled = True
    assert refinable(runtime) is None
    with torch.no_grad():
        assert TileRunner.of_runtime(runtime, size=16).upscale(picture(20, 20, "uint8")).shape == (40, 40, 3)
