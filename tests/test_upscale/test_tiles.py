"""Plans of tiles, memory that runs out, progress, and pictures of all kinds."""

import numpy as np
import pytest
import torch
from basicsr.archs import build_network

from lightsr_basicsr.archs.pooling import Place, Span, locate
from lightsr_basicsr.runtimes.base import BackendError
from lightsr_basicsr.upscale.plan import TileError, TilePlan
from lightsr_basicsr.upscale.tiles import TileRunner, is_out_of_memory
from tests.test_upscale.test_whole_picture import picture


def enlarge(x):
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


@pytest.mark.parametrize("size", [(1, 1), (20, 2000), (64, 64), (65, 129), (7, 5)])
@pytest.mark.parametrize(
    "plan",
    [
        TilePlan(32, 8),
        TilePlan(1, 0),
        TilePlan(30, 10, multiple=8),
        TilePlan(8, 2, min_side=20),
        TilePlan(8, 2, wide=True),
    ],
)
def test_cores_cover_each_pixel_once_within_what_is_seen(size, plan):
    if plan.size == 1 and size[0] * size[1] > 5000:
        pytest.skip("one tile for each pixel")
    count = np.zeros(size, int)
    for row in plan.rows(*size):
        for (rows, columns), (core_rows, core_columns) in row:
            count[core_rows.start : core_rows.stop, core_columns.start : core_columns.stop] += 1
            assert rows.length <= plan.seen_side() + plan.multiple
            for seen, core, side in zip((rows, columns), (core_rows, core_columns), size, strict=True):
                assert 0 <= seen.start <= core.start < core.stop <= seen.stop <= side
                assert seen.start % plan.multiple == core.start % plan.multiple == 0
                assert core.start - seen.start >= min(plan.overlap, core.start)
                assert seen.stop - core.stop >= min(plan.overlap, side - core.stop)
                assert seen.length >= min(plan.min_side, side)
    assert (count == 1).all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
@pytest.mark.parametrize("size", [(1, 1), (20, 300), (40, 33)])
def test_every_pixel_comes_back_at_its_place(dtype, size):
    pixels = picture(*size)
    if dtype.startswith("uint"):
        pixels = pixels * np.iinfo(dtype).max
    pixels = pixels.astype(dtype)
    made = TileRunner(enlarge, 2, TilePlan(16, 4, multiple=4, min_side=12)).upscale(pixels)
    assert made.dtype == pixels.dtype
    assert np.array_equal(made, pixels.repeat(2, 0).repeat(2, 1))


def test_the_result_can_have_another_type_and_comes_in_strips():
    pixels, runner = picture(50, 40, "float32"), TileRunner(enlarge, 2, TilePlan(16, 4))
    strips = list(runner.strips(pixels, "uint8"))
    assert [strip.row for strip in strips] == [0, 26, 52, 76]
    assert np.array_equal(np.concatenate([strip.pixels for strip in strips]), runner.upscale(pixels, "uint8"))
    with pytest.raises(TileError, match="Expected a picture"):
        runner.upscale(pixels[..., 0])


def test_progress_goes_from_start_to_end():
    net, seen = build_network({"type": "IMDN", "num_feat": 16, "num_block": 1}).eval(), []
    with torch.no_grad():
        TileRunner(net, 4, TilePlan(16, 4, passes=2), net).upscale(picture(30, 30, "float32"), progress=seen.append)
    assert [(each.step, each.steps) for each in seen] == [(step, 3) for step in (1, 2, 3) for _ in range(4)]
    totals = [each.total for each in seen]
    assert totals == sorted(totals)
    assert totals[-1] == 1


def test_a_pass_that_collects_ends_at_the_last_pooling():
    net, calls = build_network({"type": "IMDN", "num_feat": 16, "num_block": 1}).eval(), []
    net.upsampler.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        TileRunner(net, 4, TilePlan(16, 4, passes=2), net).upscale(picture(30, 30, "float32"))
    assert len(calls) == 1 + 4  # the first tile shows how often the network pools
    assert all(getattr(module, "whole", None) is None for module in net.modules())


NO_MEMORY = [
    MemoryError(),
    torch.cuda.OutOfMemoryError("CUDA out of memory."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] data. DefaultCPUAllocator: not enough memory: you tried to ..."),
    RuntimeError("std::bad_alloc"),
]


@pytest.mark.parametrize("error", NO_MEMORY, ids=lambda error: type(error).__name__)
def test_tiles_are_halved_until_they_fit(error):
    sides = []

    def run(x):
        sides.append(x.shape[2])
        if x.shape[2] > 40:
            raise error
        return enlarge(x)

    runner = TileRunner(run, 2, TilePlan(500, 4))
    pixels = picture(100, 90)
    assert np.array_equal(runner.upscale(pixels), pixels.repeat(2, 0).repeat(2, 1))
    assert sides[:3] == [100, 54, 29]
    assert runner.plan.size == 25
    assert max(side for side in sides[2:]) <= 40


def test_wide_tiles_that_do_not_fit_become_square_for_good():
    widths = []

    def run(x):
        widths.append(x.shape[3])
        if x.shape[3] > 250:
            raise MemoryError
        return enlarge(x)

    runner, pixels = TileRunner(run, 2, TilePlan(32, 4, wide=True)), picture(40, 300)
    assert np.array_equal(runner.upscale(pixels), pixels.repeat(2, 0).repeat(2, 1))
    assert widths[:2] == [300, 300]
    assert not runner.plan.wide
    widths.clear()
    runner.upscale(pixels)
    assert max(widths) <= 250


def test_statistics_survive_smaller_tiles():
    net = build_network({"type": "IMDN", "num_feat": 16, "num_block": 2, "upscale": 2}).double().eval()
    calls = []

    def run(x):
        calls.append(x.shape)
        if len(calls) in (3, 20):
            raise MemoryError
        return net(x)

    pixels, plan = picture(80, 96), TilePlan(64, 14, passes=2)
    with torch.no_grad():
        made = TileRunner(run, 2, plan, net).upscale(pixels)
        expected = TileRunner(net, 2, TilePlan(96, 14), net).upscale(pixels)
    assert np.abs(made - expected).max() < 1e-9


def test_memory_for_no_tile_and_other_errors_are_told():
    def full(x):
        raise MemoryError

    def broken(x):
        raise RuntimeError("other")

    with pytest.raises(TileError, match="enough memory for tiles of 24 pixels, the smallest, got MemoryError"):
        TileRunner(full, 2, TilePlan(64, 4)).upscale(picture(100, 100))
    with pytest.raises(RuntimeError, match="other"):
        TileRunner(broken, 2, TilePlan(64, 4)).upscale(picture(100, 100))
    assert is_out_of_memory(BackendError("openvino cannot run this model on cpu: Failed to allocate 294524928 bytes"))
    assert not is_out_of_memory(ValueError("out of memory"))
    with pytest.raises(TileError, match="whole scale"):
        TileRunner(enlarge, 1.5, TilePlan())


@pytest.mark.parametrize("chosen", [{"size": 0}, {"overlap": -1}, {"passes": -1}])
def test_impossible_tiles_are_refused(chosen):
    with pytest.raises(TileError, match="at least 1 LR pixel, and overlap and passes of at least 0"):
        TilePlan.for_network(None, **chosen)


def test_cores_are_found_in_maps_of_other_sizes():
    seen, core = Span(40, 60), Span(48, 52)
    assert locate(20, seen, core, 100) == (8, 12, Place(48, 100))
    assert locate(80, seen, core, 100) == (32, 48, Place(192, 400))
    assert locate(5, seen, core, 100) == (2, 3, Place(12, 25))
    assert locate(14, seen, core, 100) == (5, 9, Place(45, 94))
    # At the end of a picture whose side is no multiple of four.
    assert locate(6, Span(40, 61), Span(52, 61), 61) == (3, 6, Place(13, 16))
    assert locate(17, Span(0, 20), Span(0, 12), 100) == (0, 11, Place(0, 98))
