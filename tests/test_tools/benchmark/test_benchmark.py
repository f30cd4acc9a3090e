"""Benchmarks: what is measured, in which order, and what the numbers mean. Networks are tiny, clocks are fake."""

import json
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs.srresnet_arch import MSRResNet

from lightsr_basicsr import load
from lightsr_basicsr.archs.imdn_arch import IMDN_RTC
from lightsr_basicsr.data.degradations import imresize
from lightsr_basicsr.data.photographs import photographs
from lightsr_basicsr.errors import UserError
from lightsr_basicsr.pictures.files import ImageError
from lightsr_basicsr.runtimes.base import BackendError
from lightsr_basicsr.runtimes.metadata import Metadata
from lightsr_basicsr.tools.benchmark import candidate as benchmark_candidate
from lightsr_basicsr.tools.benchmark import probe as benchmark_probe
from lightsr_basicsr.tools.benchmark import run as module
from lightsr_basicsr.tools.benchmark.candidate import Candidate
from lightsr_basicsr.tools.benchmark.measure import REFERENCE, Variant
from lightsr_basicsr.tools.benchmark.plan import Plan
from lightsr_basicsr.tools.benchmark.pressure import pressure
from lightsr_basicsr.tools.benchmark.probe import Probe, ProbeResult, decode, encode, probe
from lightsr_basicsr.tools.benchmark.quality import find_pairs, read_pair
from lightsr_basicsr.tools.benchmark.rows import summarise
from lightsr_basicsr.tools.benchmark.run import benchmark
from lightsr_basicsr.tools.benchmark.sources import STANDARD, BenchmarkError, Subject, find_subjects
from lightsr_basicsr.tools.complexity import in_rounds
from lightsr_basicsr.tools.files import checksum
from lightsr_basicsr.tools.photographs import image_of_size

TINY = "IMDN_RTC:num_feat=4,num_block=1"
TORCH = Plan(backends=["torch"], sizes=[(16, 20)], rounds=1, threads=1, memory=False)


class Clock:
    """Tells the time that runs have taken, as they say themselves."""

    def __init__(self):
        self.now, self.order = 0.0, []

    def __call__(self):
        return self.now

    def run(self, name, seconds):
        def run():
            self.order.append(name)
            self.now += next(seconds)

        return run


def test_every_round_runs_each_variant_once_in_an_order_of_its_own():
    clock = Clock()
    counted = {"a": [1.0, 2.0, 4.0, 1.0, 1.0, 1.0], "b": [0.5, 1.0, 1.0, 1.0, 1.0, 1.0], "c": [3.0] * 6}
    runs = {name: clock.run(name, iter([9.0, 9.0, *seconds])) for name, seconds in counted.items()}
    taken = in_rounds(runs, 6, clock=clock)
    assert taken["a"] == [1, 2, 4, 1, 1, 1]
    assert taken["b"] == [0.5, 1, 1, 1, 1, 1]
    rounds = [tuple(clock.order[start : start + 3]) for start in range(0, 24, 3)]
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert len(set(rounds)) > 2


def test_ratios_are_of_the_same_round():
    # The machine slows down from round to round; each time the variant is twice as fast, once four times.
    found = summarise([1.0, 2.0, 4.0, 1.0, 8.0], [2.0, 4.0, 8.0, 4.0, 16.0])
    assert (found.seconds, found.seconds_low, found.seconds_high) == (2, 1, 8)
    assert (found.speedup, found.speedup_low, found.speedup_high) == (2, 2, 4)
    assert summarise([1.0], None).speedup is None
    with pytest.raises(ValueError, match="zip"):
        summarise([1.0], [1.0, 2.0])


def test_rows_of_a_network_on_torch():
    reported, saved = [], []
    plan = replace(TORCH, sizes=[(16, 20), (18, 18)], rounds=2)
    rows = benchmark([TINY], plan=plan, report=reported.append, save=lambda rows: saved.append(len(rows)))
    assert [(row.form, row.height, row.width) for row in rows] == [
        ("reference", 16, 20), ("deployed", 16, 20), ("reference", 18, 18), ("deployed", 18, 18)
    ]  # fmt: skip
    assert saved == [2, 4]
    assert any("2 rounds of 2 variants" in line for line in reported)
    reference, deployed, *_ = rows
    assert (reference.timing.speedup, reference.timing.speedup_low, reference.timing.speedup_high) == (1, 1, 1)
    assert 0 < deployed.timing.seconds_low <= deployed.timing.seconds <= deployed.timing.seconds_high
    assert deployed.difference < 1e-5
    assert deployed.weights == "random, seed 0"
    assert deployed.scale == 2
    assert deployed.parameters == sum(value.numel() for value in IMDN_RTC(num_feat=4, num_block=1).parameters())
    assert deployed.memory is deployed.psnr is deployed.ntire is None
    assert rows[3].activations / deployed.activations == pytest.approx(18 * 18 / (16 * 20), rel=0.01)


def test_what_a_backend_cannot_do_is_reported_and_the_rest_continues(monkeypatch):
    real = benchmark_candidate.open_variant

    def refuse(subject, net, variant, *rest):
        if variant.precision == "bf16":
            raise BackendError("no bf16\nhere")
        return real(subject, net, variant, *rest)

    monkeypatch.setattr(benchmark_candidate, "open_variant", refuse)
    rows = benchmark([TINY], plan=replace(TORCH, precisions=["bf16", "fp32"]))
    assert [(row.precision, row.timing is None, row.problem) for row in rows] == [
        ("fp32", False, ""), ("bf16", True, "no bf16 here"), ("fp32", False, "")
    ]  # fmt: skip


def test_a_backend_that_fails_at_the_first_image_is_reported(monkeypatch):
    class Broken:
        num_in_ch, scale = 3, 2

        def prepare_for(self, shape):
            pass

        def __call__(self, images):
            raise KeyError("kernel")

    real = benchmark_candidate.open_variant
    monkeypatch.setattr(
        benchmark_candidate, "open_variant",
        lambda subject, net, variant, *rest: real(subject, net, variant, *rest) if variant == REFERENCE else Broken(),
    )  # fmt: skip
    reference, broken = benchmark([TINY], plan=TORCH)
    assert reference.timing is not None
    assert broken.timing is None
    assert broken.problem == "KeyError: 'kernel'"


def test_memory_and_ntire_come_from_processes_of_their_own(monkeypatch):
    asked = []

    def measure(task):
        asked.append((task.variant, task.height, task.width))
        return ProbeResult(memory=3 * 2**20) if task.variant == REFERENCE else ProbeResult(problem="out of memory")

    monkeypatch.setattr(module, "probe", measure)
    saved = []
    plan = replace(TORCH, memory=True, ntire=True)
    reference, deployed = benchmark([TINY], plan=plan, save=lambda rows: saved.append((len(rows), len(asked))))
    assert saved == [(2, 2), (2, 4)]
    variant = Variant("deployed", "torch", "fp32")
    # All memory of a size first, for a Ctrl-C keeps what was measured; then the columns of NTIRE.
    assert asked == [(REFERENCE, 16, 20), (variant, 16, 20), (REFERENCE, 256, 256), (variant, 256, 256)]
    assert reference.memory == 3 * 2**20
    assert deployed.problem == "memory: out of memory"
    assert reference.ntire.memory == 3
    assert reference.ntire.time_ms == pytest.approx(1000 * reference.timing.seconds)
    net = IMDN_RTC(num_feat=4, num_block=1)
    convolutions = sum(isinstance(part, torch.nn.Conv2d) for part in net.modules())
    assert deployed.ntire.convs == convolutions
    assert deployed.ntire.params == pytest.approx(sum(value.numel() for value in net.parameters()) / 1e6)


def test_peak_memory_is_what_a_run_adds():
    task = Probe(Subject("a"), REFERENCE, 3, 4, "cpu", 1, runs=2)
    kept = torch.ones(2**24)  # 64 MiB, as the result of a run; what was there before does not count
    found = benchmark_probe.measure(lambda: kept.clone, task)
    assert len(found.seconds) == 2
    assert 0.98 * 2**26 <= found.memory < 1.1 * 2**26


def test_what_a_process_runs(monkeypatch, capsys):
    monkeypatch.setattr(benchmark_probe, "_volunteer", lambda: None)  # this process stays as the others are
    task = Probe(find_subjects([TINY])[0], REFERENCE, 64, 64, "cpu", torch.get_num_threads(), runs=2)
    assert benchmark_probe.main(encode(task)) == 0
    found = benchmark_probe._judge(0, capsys.readouterr().out, b"", None)
    assert found.problem == ""
    assert len(found.seconds) == 2
    assert found.memory is not None


@pytest.mark.skipif(os.name != "posix", reason="a shell script stands in for Python")
def test_a_fresh_process_has_the_threads_that_were_asked_for(workdir, monkeypatch):
    answer = json.dumps({"memory": 5, "seconds": [], "problem": "$OMP_NUM_THREADS $1 $2"})
    Path("python").write_text(f"#!/bin/sh\ncat <<END\n{answer}\nEND\n")
    Path("python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(workdir / "python"))
    found = probe(Probe(Subject("a"), REFERENCE, 3, 4, "cpu", 3))
    assert found == ProbeResult(5, (), "3 -m lightsr_basicsr.tools.benchmark.probe")


def test_what_a_process_is_asked_survives_the_command_line():
    task = Probe(Subject("a", {"type": "IMDN", "upscale": 4}), REFERENCE, 3, 4, "cpu", 2, 3, 1.5)
    assert decode(encode(task)) == task


@pytest.mark.parametrize(
    ("status", "output", "errors", "problem"),
    [
        (-9, "", b"", "out of memory"),
        (1, "", b"RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory", "out of memory"),
        (125, "", b"", "out of memory"),
        (124, "", b"", "over 5 s"),
        (1, "", b"first\nKeyError: 'x'", "its process ended with status 1: KeyError: 'x'"),
        (0, 'noise\n{"memory": 5, "seconds": [6.5], "problem": "over 5 s"}\n', b"", "over 5 s"),
    ],
)
def test_how_a_process_ended_is_reported(status, output, errors, problem):
    assert benchmark_probe._judge(status, output, errors, 5).problem == problem


def test_a_process_stops_at_the_limit(monkeypatch):
    clock = iter([0.0, 7.0])
    monkeypatch.setattr(benchmark_probe.time, "perf_counter", lambda: next(clock))
    task = Probe(Subject("a"), REFERENCE, 3, 4, "cpu", 1, 3, 5.0)
    found = benchmark_probe.measure(lambda: lambda: torch.zeros(1), task)
    assert found.seconds == (7.0,)
    assert found.problem == "over 5 s"


def test_a_process_that_hangs_ends_itself(monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr(benchmark_probe.os, "_exit", lambda status: ended.set() if status == 124 else None)
    benchmark_probe._end_after(30)()  # an image that came in time
    benchmark_probe._end_after(0.01)
    assert ended.wait(10)


def test_pressure_ends_with_memory_or_time():
    def measure(task):
        side = task.height
        if task.variant == REFERENCE and side == 180:
            return ProbeResult(problem="out of memory")
        seconds = (side / 100,) * 3
        return ProbeResult(side * 1000, seconds, "over 2 s" if side / 100 > 2 else "")

    saved = []
    rows = pressure([TINY], plan=TORCH, limit=2, measure=measure, save=lambda rows: saved.append(len(rows)))
    assert [(row.form, row.height, row.problem) for row in rows] == [
        ("reference", 60, ""), ("reference", 120, ""), ("reference", 180, "out of memory"),
        ("deployed", 60, ""), ("deployed", 120, ""), ("deployed", 180, ""), ("deployed", 240, "over 2 s"),
    ]  # fmt: skip
    assert rows[2].timing is None
    assert rows[6].timing.seconds == 2.4
    assert rows[6].memory == 240_000
    assert saved == [1, 2, 3, 4, 5, 6, 7]
    with pytest.raises(BenchmarkError, match=r"positive number of seconds, got 0"):
        pressure([TINY], plan=TORCH, limit=0, measure=measure)


def test_pressure_runs_a_reference_that_two_sources_have_once():
    rows = pressure([TINY, TINY], plan=TORCH, limit=2, measure=lambda task: ProbeResult(1, (3.0,), "over 2 s"))
    assert [row.form for row in rows] == ["reference", "deployed", "deployed"]


@pytest.fixture
def pairs(workdir):
    """Folders LR and HR with an image, and net.pth."""
    ((_, image),) = photographs(["coffee.png"])
    high = image[100:148, 200:260]
    for folder, name, content in (("HR", "cup.png", high), ("LR", "cupx2.png", imresize(high, 0.5))):
        (workdir / folder).mkdir()
        cv2.imwrite(str(workdir / folder / name), content)
    torch.save(IMDN_RTC(num_feat=4, num_block=1).state_dict(), "net.pth")
    return high


def test_psnr_is_of_luma_without_a_border(pairs):
    from basicsr.metrics import calculate_psnr, calculate_ssim

    row = benchmark(["net.pth"], plan=replace(TORCH, data="LR", gt="HR"))[1]
    low = cv2.imread("LR/cupx2.png")[:, :, ::-1].transpose(2, 0, 1).astype(np.float32) / 255
    with torch.no_grad():
        made = load("net.pth")(torch.from_numpy(low.copy())[None])[0].clamp(0, 1)
    image = (made.numpy() * 255).round().astype(np.uint8).transpose(1, 2, 0)[:, :, ::-1]
    how = {"crop_border": 2, "test_y_channel": True}
    assert row.psnr == pytest.approx(calculate_psnr(image, pairs, **how), abs=1e-3)
    assert row.ssim == pytest.approx(calculate_ssim(image, pairs, **how), abs=1e-4)
    assert row.weights == "net.pth"


def test_random_weights_have_no_psnr(pairs):
    assert [row.psnr for row in benchmark([TINY], plan=replace(TORCH, data="LR", gt="HR"))] == [None, None]


def test_images_that_do_not_fit_are_reported(pairs):
    (pair,) = find_pairs("LR", "HR")
    assert read_pair(pair, 2)[1].shape == (48, 60, 3)
    with pytest.raises(BenchmarkError, match=r"48x60 pixels .*; for x4 and the 24x30 .* must have 96x120"):
        read_pair(pair, 4)
    with pytest.raises(ImageError, match=r"folder none does not exist.*--gt"):
        find_pairs("LR", "none")
    cv2.imwrite("LR/other.png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(BenchmarkError, match=r"no HR image for other\.png"):
        find_pairs("LR", "HR")


@pytest.mark.parametrize(
    ("made_in", "asked", "expected"),
    [
        ("fp32", ["fp32", "int8"], ["fp32"]),
        ("fp32", ["int8"], ["fp32"]),
        ("fp32", ["fp32", "bf16"], ["fp32", "bf16"]),
        ("int8", ["fp32", "bf16"], ["int8"]),
    ],
)
def test_an_exported_file_is_run_in_its_own_precision(made_in, asked, expected):
    metadata = Metadata("IMDN_RTC", {"num_feat": 4, "num_block": 1}, scale=2, precision=made_in)
    plan = replace(TORCH, backends=["torch", "openvino"], precisions=asked)
    candidate = Candidate(Subject("net.onnx", path="net.onnx"), plan, metadata)
    assert candidate.variants == [REFERENCE, *(Variant("exported", "openvino", name) for name in expected)]
    # Its weights are not those of the reference, which is built from its metadata.
    assert not candidate.same_weights
    assert candidate.weights_of(REFERENCE).path is None


def test_an_exported_file_meets_its_checkpoint(workdir, monkeypatch):
    torch.save(IMDN_RTC(num_feat=4, num_block=1).state_dict(), "net.pth")
    Path("net.onnx").touch()
    metadata = Metadata("IMDN_RTC", scale=2, sha256=checksum(Path("net.pth")))
    monkeypatch.setattr(module, "read_metadata", lambda path: metadata)
    _, exported = module.open_candidates(["net.pth", "net.onnx"], None, TORCH)
    assert exported.same_weights
    assert exported.base.path == "net.pth"


def test_sources(workdir):
    assert [subject.title for subject in find_subjects([])] == [*STANDARD]
    (plain, short, named) = find_subjects(["IMDN:upscale=2", "DRN-S:num_block=3", "IMDN:upscale=4"])
    assert plain.section == {"type": "IMDN", "upscale": 2}
    assert short.section == {"type": "DRN", "num_block": 3}
    assert (plain.title, named.title) == ("IMDN:upscale=2", "IMDN")
    (listed,) = find_subjects(["DRN:channels=[1,2],img_range=1e0"])
    assert listed.section == {"type": "DRN", "channels": [1, 2], "img_range": 1.0}
    (bundled,) = find_subjects(["test_imdn_x4.yml"])
    assert (bundled.title, bundled.section["type"]) == ("test_imdn_x4", "IMDN")
    (of_option,) = find_subjects([], "IMDN_RTC")
    assert of_option.section == {"type": "IMDN_RTC"}
    for folder in ("a", "b"):
        (workdir / folder).mkdir()
        torch.save(IMDN_RTC(num_feat=4, num_block=1).state_dict(), f"{folder}/net.pth")
    assert [one.title for one in find_subjects(["a/net.pth", "b/net.pth"])] == ["a/net.pth", "b/net.pth"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("IMDM", r"No network named 'IMDM'.*IMDN.*Sizes that papers use: IMDN, FDIWN"),
        ("IMDN:upscale", r"named as in IMDN:upscale=4,num_feat=64, got 'IMDN:upscale'"),
        ("none.pth", r"There is no file none\.pth"),
        ("none.onnx", r"There is no file none\.onnx"),
        ("none.yml", r"no option file none\.yml"),
        ("folder/net.xyz", r"No network named .*Nor is there a file folder/net\.xyz"),
        ("IMDN:no_such=1", r"cannot be built"),
        ("BlindSR_TA", r"for KDSR name the student"),
    ],
)
def test_sources_that_cannot_be_measured(workdir, source, message):
    with pytest.raises(UserError, match=message):
        benchmark([source], plan=TORCH)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes": [(8, 8)]}, r"at least 15x15 pixels, got 8x8: name a larger --size"),
        ({"sizes": [(0, 8)]}, r"from 1 to 16384"),
        ({"backends": ["tensorrt"]}, r"backend is one of torch, onnxruntime, openvino, ncnn; got tensorrt"),
        ({"precisions": []}, r"precision is one of .*; got none"),
        ({"rounds": 0}, r"at least 1, got 0"),
        ({"data": "LR"}, r"both --data and --gt"),
        ({"device": "tpu"}, r"torch cannot use the device tpu"),
    ],
)
def test_plans_that_cannot_be_followed(change, message):
    with pytest.raises(BenchmarkError, match=message):
        benchmark(["DDistill_SR:num_feat=16,num_latent=4,deploy=true"], plan=replace(TORCH, **change))


def test_random_weights_keep_numbers_finite_and_stay_the_same():
    (subject,) = find_subjects(["DDistill_SR:num_feat=16,num_latent=4,deploy=true"])
    image = image_of_size(24, 30)
    with torch.no_grad():
        one, other = subject.network()(image), subject.network()(image)
    assert torch.equal(one, other)
    assert one.abs().max() < 1e6


def test_the_photograph_is_mirrored_to_any_size():
    small, large = image_of_size(20, 30), image_of_size(250, 400)
    assert large.shape == (1, 3, 250, 400)
    assert torch.equal(small, large[:, :, :20, :30])
    assert torch.equal(large[:, :, 100:200].flip(2), large[:, :, :100])
    assert image_of_size(5, 6, 1).shape == (1, 1, 5, 6)
    assert 0 <= large.min() < large.max() <= 1


def test_an_unknown_checkpoint_is_met_with_the_flag_of_this_command(workdir):
    torch.save({"params": MSRResNet(num_feat=4, num_block=1).state_dict()}, "net.pth")
    (subject,) = find_subjects(["net.pth"])
    with pytest.raises(
        BenchmarkError, match=r"not a network of this package(.|\n)*named: --network FILE\.yml"
    ) as raised:
        subject.network()
    assert "--opt" not in str(raised.value)
