"""The backend that is measured to be the fastest: what is chosen, dropped, remembered, and what a bad cache does."""

import json
from pathlib import Path

import pytest
import torch

from lightsr_basicsr.archs.imdn_arch import IMDN_RTC
from lightsr_basicsr.pictures.picture import Picture
from lightsr_basicsr.runtimes import fastest, open_runtime, processor
from lightsr_basicsr.runtimes.base import BackendError, Runtime, Traits
from lightsr_basicsr.runtimes.fastest import FastestRuntime, content_of, measure
from lightsr_basicsr.runtimes.remembered import recall, remember
from lightsr_basicsr.upscale.upscaler import Upscaler


class Clock:
    """Seconds that pass only while runtimes run."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Fake(Runtime):
    """Doubles an image in a known time."""

    def __init__(self, backend: str, seconds: float, clock: Clock, error: float = 0.0, log=None, **common) -> None:
        super().__init__(Traits(2), **common)
        self.backend, self.seconds, self.clock, self.error, self.log = backend, seconds, clock, error, log

    def _run(self, images: torch.Tensor) -> torch.Tensor:
        if self.log is not None:
            self.log.append((self.backend, tuple(images.shape[2:])))
        self.clock.now += self.seconds * images.shape[2] * images.shape[3]
        return images.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3) + self.error


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("LIGHTSR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "fastest"


def fakes(clock: Clock, opened: list | None = None, **seconds: float) -> dict:
    def open_one(backend: str) -> Runtime:
        if opened is not None:
            opened.append(backend)
        return Fake(backend, seconds[backend], clock)

    return {backend: (lambda backend=backend: open_one(backend)) for backend in seconds}


def test_the_fastest_is_chosen_told_and_remembered(clock, cache):
    opened: list[str] = []
    for turn, end in enumerate(("measured now and remembered", "remembered from 2")):
        opened.clear()
        run = FastestRuntime(fakes(clock, opened, torch=4e-6, ncnn=2e-6, openvino=3e-6), {"network": "a"}, clock)
        assert (run.backend, run.chosen_because) == ("fastest", "which the first picture decides")
        assert run(torch.rand(1, 3, 60, 80)).shape == (1, 3, 120, 160)
        assert run.backend == run.chosen.backend == "ncnn"
        told = "because it is the fastest at 80x60: openvino takes 1.5 times as long; torch takes 2 times as long, "
        assert run.chosen_because.startswith(told + end)
        # The second time nothing but the winner is opened, beside the first one.
        assert opened == [["torch", "ncnn", "openvino"], ["torch", "ncnn"]][turn]
    assert len([*cache.iterdir()]) == 1


@pytest.mark.parametrize(
    ("facts", "size", "threads"),
    [({"network": "b"}, (60, 80), 1), ({"network": "a"}, (600, 800), 1), ({"network": "a"}, (60, 80), 2)],
)
def test_another_question_is_measured_anew(clock, cache, facts, size, threads):
    for given, sides, count in (({"network": "a"}, (60, 80), 1), (facts, size, threads)):
        run = FastestRuntime(fakes(clock, torch=4e-6, ncnn=2e-6), given, clock, threads=count)
        assert "measured now" in run.decide(*sides).chosen_because
    assert len([*cache.iterdir()]) == 2


def test_other_pixels_and_failures_are_dropped(clock):
    def fail() -> Runtime:
        raise BackendError("ncnn has no such thing.")

    candidates = fakes(clock, torch=4e-6)
    candidates |= {"openvino": lambda: Fake("openvino", 1e-6, clock, error=1e-3), "ncnn": fail}
    run = FastestRuntime(candidates, {}, clock)
    told = run.decide(60, 80).chosen_because
    assert run.backend == "torch"
    assert "ncnn is left out (ncnn has no such thing); openvino is left out (its image differs by 0.001 of the" in told


def test_half_precision_may_differ(clock):
    def half(backend: str, seconds: float, error: float) -> Runtime:
        return Fake(backend, seconds, clock, error, precision="bf16")

    runtimes = {"torch": half("torch", 2e-6, 0.0), "ncnn": half("ncnn", 1e-6, 1e-3)}
    assert measure(runtimes, 60, 80, {}, clock).times == {"ncnn": 1.0, "torch": 2.0}


def test_runs_alternate_within_the_time(clock):
    log: list = []
    runtimes = {name: Fake(name, 1e-4, clock, log=log) for name in ("torch", "ncnn")}
    found = measure(runtimes, 2000, 3000, {}, clock)
    assert clock.now <= fastest.SECONDS
    height, width = found.size
    assert width == pytest.approx(1.5 * height, rel=0.02)
    assert [name for name, size in log if size == found.size][2:6] == ["torch", "ncnn", "ncnn", "torch"]


def test_nothing_that_runs_is_told(clock):
    class Broken(Fake):
        def _run(self, images: torch.Tensor) -> torch.Tensor:
            if images.shape[2] > fastest.SMALL_SIDE:
                raise RuntimeError("no memory")
            return super()._run(images)

    with pytest.raises(BackendError, match=r"No backend runs the network: torch: .*no memory"):
        measure({"torch": Broken("torch", 1e-6, clock)}, 90, 90, {}, clock)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: "[" * 10**5,
        lambda text: text[: len(text) // 2],
        lambda text: json.dumps({"question": 1, "answer": {}}),
        lambda text: text.replace('"ncnn": 1.0', '"unheard": 1.0'),
        lambda text: text.replace('"ncnn": 1.0', '"ncnn": "x"'),
        lambda text: text.replace('"ncnn": 1.0', '"ncnn": NaN'),
        lambda text: text.replace('"times": {', '"times": [], "other": {'),
        lambda text: text.replace('"size": [', '"size": ["a", '),
        lambda text: text.replace('"size": [', '"size": [1e400, '),
    ],
)
def test_a_damaged_cache_is_measured_anew(clock, cache, spoil):
    def decided() -> str:
        return FastestRuntime(fakes(clock, torch=4e-6, ncnn=2e-6), {}, clock).decide(60, 80).chosen_because

    assert "measured now" in decided()
    (file,) = cache.iterdir()
    file.write_text(spoil(file.read_text()))
    assert "measured now" in decided()
    assert "remembered from" in decided()


def test_a_cache_that_cannot_be_written_is_told(clock, cache):
    cache.parent.write_text("a file")
    run = FastestRuntime(fakes(clock, torch=4e-6), {}, clock)
    told = run.decide(60, 80).chosen_because
    assert told.endswith(
        "no other is installed, measured now and not remembered, for the cache folder cannot be written"
    )


def test_questions_and_answers_are_kept_apart():
    assert recall({"a": 1}) is None
    assert remember({"a": 1}, {"times": 2})
    assert recall({"a": 1}) == {"times": 2}
    assert recall({"a": 2}) is None


def test_a_winner_whose_library_broke_is_measured_anew(clock):
    FastestRuntime(fakes(clock, torch=4e-6, ncnn=2e-6), {}, clock).decide(60, 80)
    candidates = fakes(clock, torch=4e-6, ncnn=2e-6)

    def broken() -> Runtime:
        raise BackendError("ncnn cannot be imported.")

    run = FastestRuntime({**candidates, "ncnn": broken}, {}, clock)
    assert run.decide(60, 80).backend == "torch"


@pytest.fixture(scope="module")
def small() -> IMDN_RTC:
    torch.manual_seed(1)
    return IMDN_RTC(num_feat=4, num_block=1).eval()


def test_a_network_is_opened_so(small, monkeypatch):
    monkeypatch.setattr(fastest, "SECONDS", 0.2)
    said: list[str] = []
    upscaler = Upscaler(small, backend="fastest", device="cpu", report=said.append)
    assert upscaler.runtime.backend == "fastest"
    picture = Picture((torch.rand(20, 30, 3) * 255).byte().numpy())
    expected = Upscaler(small, backend="torch", device="cpu").upscale_picture(picture).color
    assert abs(upscaler.upscale_picture(picture).color.astype(int) - expected).max() <= 1
    assert upscaler.runtime.backend in ("torch", "onnxruntime", "openvino", "ncnn")
    assert len(said) == 1
    assert said[0].startswith(f"run by {upscaler.runtime.backend} (because it is the fastest at 30x20")
    assert "), fp32, on cpu, " in said[0]


def test_the_content_of_a_network_is_its_layers_and_weights(small, tmp_path):
    first = content_of(small)
    assert first == content_of(small)
    other = IMDN_RTC(num_feat=4, num_block=1).eval()
    assert first != content_of(other)
    for name, content in (("net.param", b"a"), ("net.bin", b"b")):
        (tmp_path / name).write_bytes(content)
    before = content_of(tmp_path / "net.param")
    (tmp_path / "net.bin").write_bytes(b"c")
    assert before != content_of(tmp_path / "net.param")


def test_precisions_that_none_has_are_told(small):
    with pytest.raises(BackendError, match="No backend here runs fp16"):
        open_runtime(small, "fastest", "fp16", "cpu")


def test_the_processor_tells_its_instructions(tmp_path, monkeypatch):
    listing = tmp_path / "cpuinfo"
    listing.write_text("model name\t: Some CPU\nflags\t\t: fpu avx2 amx_tile sse4_1 avx512f\n")
    monkeypatch.setattr(processor, "LISTING", listing)
    assert processor.cpu_name().startswith("Some CPU")
    assert processor.instruction_sets() == "amx_tile avx2 avx512f sse4_1"
    listing.unlink()
    assert processor.instruction_sets() == ""
