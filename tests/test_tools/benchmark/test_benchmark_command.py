"""``basicsr benchmark`` as a user meets it: tables, files, plots, exit status."""

import csv
import json
import sys
from dataclasses import fields, replace
from importlib.util import find_spec
from pathlib import Path

import cv2
import pytest

from lightsr_basicsr import cli
from lightsr_basicsr.commands import benchmark as command
from lightsr_basicsr.errors import UserError, install_command
from lightsr_basicsr.runtimes.base import BACKENDS, PRECISIONS, BackendError
from lightsr_basicsr.tools.benchmark import candidate as benchmark_candidate
from lightsr_basicsr.tools.benchmark import machine as benchmark_machine
from lightsr_basicsr.tools.benchmark import plots as benchmark_plots
from lightsr_basicsr.tools.benchmark import run as module
from lightsr_basicsr.tools.benchmark.folder import check_results
from lightsr_basicsr.tools.benchmark.plan import Plan
from lightsr_basicsr.tools.benchmark.rows import Ntire, Row, Timing
from lightsr_basicsr.tools.benchmark.tables import (
    FORMATS,
    Results,
    csv_text,
    json_text,
    main_table,
    markdown_text,
    write_results,
)

TINY = "IMDN_RTC:num_feat=4,num_block=1"
QUICK = ["--backend", "torch", "--size", "16x20", "--rounds", "1", "--threads", "1", "--no-memory"]
drawn = pytest.mark.skipif(find_spec("matplotlib") is None, reason="matplotlib, which draws, is not installed")

MACHINE = {"CPU": "Z80 (1 cores)", "threads": "1", "torch": "2.0", "date": "1976-07-01"}
REFERENCE = Row("IMDN", "net.pth", 4, "reference", "torch", "fp32", 180, 320, 715_176, 40_890_000_000, 107_000_000,
                Timing(0.2, 0.19, 0.25, 1.0, 1.0, 1.0), 200 * 2**20, 32.21, 0.8948, 0.0)  # fmt: skip
FAST = replace(REFERENCE, form="deployed", backend="openvino", precision="bf16", memory=100 * 2**20, difference=2e-3,
               timing=Timing(0.05, 0.049, 0.06, 4.0, 3.5, 4.2))  # fmt: skip
REFUSED = replace(FAST, backend="onnxruntime", timing=None, memory=None, psnr=None, ssim=None, difference=None,
                  problem="onnxruntime cannot | run bf16")  # fmt: skip
ROWS = [REFERENCE, FAST, REFUSED]


@pytest.fixture(autouse=True)
def idle(monkeypatch, workdir):
    monkeypatch.setattr(benchmark_machine, "busy", lambda: None)


def test_tables_state_machine_conventions_and_units():
    results = Results(MACHINE, ROWS, notes=("note: busy",))
    text = markdown_text(results)
    lines = text.splitlines()
    head = lines.index(next(line for line in lines if line.startswith("| network")))
    assert lines[head] == (
        "| network | form | backend | precision | LR | params [M] | multi-adds [G] | acts [M] | latency [ms] | "
        "speed-up | memory [MiB] | PSNR [dB] | SSIM | difference | weights |"
    )
    assert lines[head + 3] == (
        "| IMDN x4 | deployed | openvino | bf16 | 180x320 | 0.715 | 40.89 | 107.0 | 50.0 (49.0 to 60.0) | "
        "4.00 (3.50 to 4.20) | 100 | 32.21 | 0.8948 | 2.0e-03 | net.pth |"
    )
    assert "- IMDN onnxruntime bf16 180x320: onnxruntime cannot | run bf16" in lines
    for line in ("- CPU: Z80 (1 cores)", "- note: busy"):
        assert line in lines
    assert "1 multi-add = 2 FLOPs" in text
    assert "eager float32 torch form as its authors' code computes it" in text


def test_columns_without_numbers_are_left_out():
    heading = main_table([replace(REFUSED, parameters=None)])[0]
    assert heading == ["network", "form", "backend", "precision", "LR", "multi-adds [G]", "acts [M]", "weights"]


def test_csv_can_be_read_again():
    results = Results(MACHINE, ROWS)
    lines = csv_text(results).splitlines()
    assert lines[0] == "# CPU: Z80 (1 cores)"
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert [row["backend"] for row in rows] == ["torch", "openvino", "onnxruntime"]
    assert float(rows[1]["speedup_low"]) == 3.5
    assert rows[2]["seconds"] == ""
    assert rows[2]["problem"] == REFUSED.problem


def test_json_holds_everything():
    output = json.loads(json_text(Results(MACHINE, ROWS)))
    assert output["machine"] == MACHINE
    assert output["rows"][1]["timing"]["speedup"] == 4
    assert output["rows"][2]["timing"] is None
    assert any("multi-adds" in line for line in output["conventions"])


def test_columns_of_ntire():
    row = replace(FAST, ntire=Ntire(32.2, 48.5, 0.715, 46.52, 122.68, 310.0, 46))
    text = markdown_text(Results(MACHINE, [row, REFUSED]))
    assert "| network | PSNR [dB] | Time [ms] | Params [M] | FLOPs [G] | Acts [M] | Mem [M] | Conv |" in text
    assert "| IMDN x4, openvino bf16 | 32.20 | 48.50 | 0.715 | 46.52 | 122.68 | 310.00 | 46 |" in text
    assert "a multiplication and an addition count as one" in text
    assert "ntire_convs" in csv_text(Results(MACHINE, [row]))


def test_a_table_is_whole_or_as_it_was(workdir, monkeypatch):
    (written,) = write_results(Results(MACHINE, ROWS), workdir, ["csv"])
    before = written.read_text()
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_results(Results(MACHINE, []), workdir, ["csv"])
    monkeypatch.undo()
    assert written.read_text() == before
    assert [file.name for file in workdir.iterdir()] == ["results.csv"]


@drawn
def test_plots_show_every_network_and_backend(workdir, monkeypatch):
    monkeypatch.setattr(benchmark_plots, "DPI", 30)
    other = [replace(row, network="DRN-S $x$", height=90, width=160) for row in ROWS]
    written = benchmark_plots.draw_all(Results(MACHINE, [*ROWS, *other]), workdir)
    assert [path.name for path in written] == [
        "latency_180x320.png", "speedup_180x320.png", "latency_90x160.png", "speedup_90x160.png", "sizes.png"
    ]  # fmt: skip
    assert all(min(cv2.imread(str(path)).shape[:2]) > 120 for path in written)
    figure = benchmark_plots.draw_tradeoff([REFERENCE, FAST], MACHINE)
    assert figure.axes[0].get_ylabel() == "PSNR, luma (dB)"
    assert figure.axes[0].get_xscale() == "log"
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [name for name in legend if name][:3] == ["IMDN", "reference", "openvino bf16"]
    assert "Z80 (1 cores), 1 CPU thread, 1976-07-01" in figure.get_supxlabel()
    # The area is the memory: half of it, half the area.
    large, small = (points.get_sizes()[0] for points in figure.axes[0].collections)
    assert large == 2 * small


@drawn
@pytest.mark.parametrize(("others", "span"), [((32.21001, 32.20999), 0.1), ((32.25, 32.21), 0.1), ((33.21,), 1.24)])
def test_the_psnr_axis_spans_a_tenth_of_a_decibel_and_equal_rows_are_level(others, span):
    rows = [REFERENCE, *(replace(FAST, psnr=psnr) for psnr in others)]
    axes = benchmark_plots.draw_tradeoff(rows, MACHINE).axes[0]
    low, high = axes.get_ylim()
    assert high - low == pytest.approx(span)
    heights = [points.get_offsets()[0][1] for points in axes.collections]
    assert heights == [round(row.psnr, 2) for row in rows]
    assert all(low < height < high for height in heights)
    axes.figure.canvas.draw()
    assert axes.yaxis.get_major_formatter().get_offset() == ""
    assert list(axes.lines[0].get_ydata()) == [
        round(row.psnr, 2) for row in sorted(rows, key=lambda r: r.timing.seconds)
    ]


@drawn
@pytest.mark.parametrize("psnr", [32.21, float("inf")])
def test_infinite_psnr_does_not_stop_the_plot(psnr):
    rows = [replace(REFERENCE, psnr=psnr), replace(FAST, psnr=float("inf"))]
    assert benchmark_plots.draw_tradeoff(rows, MACHINE).axes[0].get_ylabel() == "PSNR, luma (dB)"


@drawn
def test_networks_look_the_same_where_one_of_them_has_no_psnr():
    from matplotlib.colors import to_rgb

    unknown = replace(REFERENCE, network="KDSR-M", psnr=None)
    figure = benchmark_plots.draw_tradeoff([unknown, REFERENCE], MACHINE)
    points, *none = figure.axes[0].collections
    assert tuple(points.get_facecolor()[0][:3]) == pytest.approx(to_rgb(benchmark_plots.COLORS[1]))
    assert none == []
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[:2] == ["KDSR-M (unknown)", "IMDN"]


@drawn
def test_plots_without_psnr_show_the_speed_up(workdir, monkeypatch):
    monkeypatch.setattr(benchmark_plots, "DPI", 30)
    rows = [replace(row, psnr=None) for row in (REFERENCE, FAST)]
    axes = benchmark_plots.draw_tradeoff(rows, MACHINE).axes[0]
    assert axes.get_ylabel() == "speed-up over the reference"
    bars = benchmark_plots.draw_speedups(rows, MACHINE).axes[0]
    assert [patch.get_height() for patch in bars.patches] == [4.0]
    alone = [replace(FAST, psnr=None, timing=Timing(1.0, 1.0, 1.0, None, None, None))]
    assert [path.name for path in benchmark_plots.draw_all(Results(MACHINE, alone), workdir)] == ["latency_180x320.png"]
    assert benchmark_plots.draw_all(Results(MACHINE, [REFUSED]), workdir) == []
    (pressed,) = benchmark_plots.draw_all(Results(MACHINE, alone, pressure=True), workdir)
    assert pressed.name == "pressure.png"


def test_choices_are_those_of_the_runtimes():
    assert command.BACKENDS == BACKENDS == tuple(Plan().backends)
    assert command.PRECISIONS == PRECISIONS
    assert tuple(command.FORMATS) == tuple(FORMATS)


def test_a_run_from_the_command_line(capsys):
    assert cli.main(["benchmark", TINY, *QUICK, "-o", "found", "--format", "csv", "json", "--no-plots"]) == 0
    output = capsys.readouterr()
    assert "IMDN_RTC:num_feat=4,num_block=1 x2  deployed" in output.out
    assert "threads: 1\n" in output.out
    assert "Written: found/results.csv, found/results.json" in output.out
    assert "basicsr: IMDN_RTC:num_feat=4,num_block=1: opening torch fp32" in output.err
    assert sorted(file.name for file in Path("found").iterdir()) == ["results.csv", "results.json"]


def test_json_is_all_that_is_printed(capsys):
    assert cli.main(["benchmark", TINY, *QUICK, "--json", "--no-plots", "--quiet"]) == 0
    output = capsys.readouterr()
    assert [row["form"] for row in json.loads(output.out)["rows"]] == ["reference", "deployed"]
    assert output.err == ""


def test_without_matplotlib_the_tables_are_written(capsys, monkeypatch):
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    assert cli.main(["benchmark", TINY, *QUICK, "--quiet"]) == 0
    assert install_command("benchmark") in capsys.readouterr().err
    assert sorted(file.name for file in Path("benchmark").iterdir()) == sorted(FORMATS.values())


def test_a_busy_machine_is_reported_and_noted(capsys, monkeypatch):
    monkeypatch.setattr(benchmark_machine, "busy", lambda: "the machine is busy")
    cli.main(["benchmark", TINY, *QUICK, "--quiet", "--no-plots"])
    assert "basicsr: the machine is busy" in capsys.readouterr().err
    assert "- note: the machine is busy" in Path("benchmark/results.md").read_text()


def test_nothing_that_runs_is_a_failure(capsys, monkeypatch):
    def refuse(*_):
        raise BackendError("not here")

    monkeypatch.setattr(benchmark_candidate, "open_variant", refuse)
    assert cli.main(["benchmark", TINY, *QUICK, "--quiet"]) == 2
    output = capsys.readouterr().err
    assert "torch fp32 16x20: not here" in output
    assert "nothing could be run" in output


def test_an_interruption_keeps_what_was_measured(capsys, monkeypatch):
    real = module._measure_size

    def stop(candidate, height, width, report):
        if height == 18:
            raise KeyboardInterrupt
        return real(candidate, height, width, report)

    monkeypatch.setattr(module, "_measure_size", stop)
    arguments = [*QUICK, "--size", "16x20", "18x18", "--quiet", "--no-plots"]
    assert cli.main(["benchmark", TINY, *arguments]) == 130
    output = capsys.readouterr()
    assert "interrupted; the results so far are kept" in output.err
    assert "16x20" in output.out
    assert len(json.loads(Path("benchmark/results.json").read_text())["rows"]) == 2


def test_an_interruption_of_the_columns_of_ntire_keeps_what_is_before(capsys, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_ntire", stop)
    assert cli.main(["benchmark", TINY, *QUICK, "--ntire", "--quiet", "--no-plots"]) == 130
    rows = json.loads(Path("benchmark/results.json").read_text())["rows"]
    assert [row["timing"] is None for row in rows] == [False, False]


def test_what_cannot_be_measured_leaves_no_folder(capsys, monkeypatch):
    assert cli.main(["benchmark", "IMDM", *QUICK, "-o", "made"]) == 2
    assert not Path("made").exists()
    Path("there").mkdir()
    assert cli.main(["benchmark", "IMDM", *QUICK, "-o", "there"]) == 2
    assert Path("there").is_dir()

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "benchmark", stop)
    capsys.readouterr()
    assert cli.main(["benchmark", TINY, *QUICK, "-o", "made"]) == 130
    assert capsys.readouterr().err == "basicsr: interrupted.\n"
    assert not Path("made").exists()


def test_a_folder_that_cannot_be_written_is_reported_at_once(capsys, monkeypatch):
    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(command.tempfile, "TemporaryFile", refuse)
    monkeypatch.setattr(module, "benchmark", None)
    assert cli.main(["benchmark", TINY, *QUICK, "-o", "made"]) == 2
    assert "made cannot be written (Permission denied): choose another with -o" in capsys.readouterr().err


@pytest.mark.parametrize("notes", [(), ("a long note " * 400,), ("a note",) * 500], ids=["none", "long", "many"])
@pytest.mark.parametrize("pressure", [False, True])
def test_own_results_are_known(workdir, pressure, notes):
    ntire = replace(REFERENCE, ntire=Ntire(*[1] * len(fields(Ntire))))
    write_results(Results(MACHINE, [ntire, REFUSED], pressure, notes), workdir)
    check_results(workdir)
    Path("results.csv").write_text("network,name\nmine,1\n")
    with pytest.raises(UserError, match=r"results.csv exists and is not a result of benchmark"):
        check_results(workdir)
    check_results(workdir, ["json", "markdown"])


@drawn
def test_files_of_others_are_not_replaced(capsys, monkeypatch):
    command_line = ["benchmark", TINY, *QUICK, "--quiet", "-o", "made"]
    assert cli.main(command_line) == cli.main(command_line) == 0  # its own are
    names = sorted(file.name for file in Path("made").iterdir())
    assert names == ["latency_16x20.png", "results.csv", "results.json", "results.md", "speedup_16x20.png"]
    monkeypatch.setattr(module, "benchmark", None)
    for name in names:
        kept = Path("made", name).read_bytes()
        Path("made", name).write_text("# Mine\n\nnetwork")
        assert cli.main(command_line) == 2
        assert f"made/{name} exists and is not a result of benchmark" in capsys.readouterr().err
        assert Path("made", name).read_text() == "# Mine\n\nnetwork"
        Path("made", name).write_bytes(kept)


def test_examples_are_of_files_that_can_be(capsys):
    # int8 is written for OpenVINO only.
    assert "int8.onnx" not in command.EXAMPLES
    assert "int8.xml" in command.EXAMPLES


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["IMDM"], "No network named 'IMDM'"),
        ([TINY, "--limit", "3"], "--limit needs --pressure"),
        ([TINY, "--pressure", "--ntire"], "--pressure measures only latency and memory"),
        ([TINY, "--data", "LR"], "give both --data and --gt"),
        ([TINY, "--data", "LR", "--gt", "HR"], "folder LR does not exist"),
        ([TINY, "-o", "file/inside"], "file/inside cannot be written (file is a file): choose another with -o"),
    ],
)
def test_mistakes_are_reported(capsys, arguments, message):
    Path("file").touch()
    assert cli.main(["benchmark", *QUICK, *arguments]) == 2
    output = capsys.readouterr().err
    assert message in output
    assert "Traceback" not in output


def test_a_size_that_is_none_is_reported(capsys):
    with pytest.raises(SystemExit):
        cli.main(["benchmark", TINY, "--size", "180*320"])
    assert "expected HEIGHTxWIDTH such as 180x320, got '180*320'" in capsys.readouterr().err


def pressed(*sides: int) -> list[Row]:
    """Return rows of a pressure test: 20 us per pixel at first, a tenth more at each size; the second was too slow."""
    small = Timing(0.0, 0.0, 0.0, None, None, None)
    rows = []
    for index, side in enumerate(sides):
        seconds = 2e-5 * side**2 * (1 + index / 10)
        row = replace(FAST, height=side, width=side, memory=3400 * side**2, psnr=None, ssim=None, difference=None)
        rows.append(replace(row, timing=replace(small, seconds=seconds, seconds_low=seconds, seconds_high=seconds)))
    return rows


def test_a_pressure_test_shows_time_and_memory_per_pixel_and_their_growth():
    rows = [*pressed(60, 120, 180), replace(REFUSED, height=240, width=240)]
    results = Results(MACHINE, rows, pressure=True)
    text = markdown_text(results)
    assert "| us/pixel | bytes/pixel |" in text.splitlines()[2]
    assert [line.split(" | ")[-2:] for line in text.splitlines()[4:7]] == [
        ["20.00", "3,400 |"], ["22.00", "3,400 |"], ["24.00", "3,400 |"]
    ]  # fmt: skip
    assert (
        "| IMDN | deployed | openvino | bf16 | 60x60 to 180x180 | 20.00 to 24.00 | 1.20 | 3,400 to 3,400 | 1.00 |"
        in text
    )
    (header, *lines) = csv.reader(line for line in csv_text(results).splitlines() if not line.startswith("#"))
    column = header.index("microseconds_per_pixel")
    assert [float(line[column]) for line in lines[:3]] == pytest.approx([20, 22, 24])
    assert lines[3][column] == ""
    content = json.loads(json_text(results))
    assert content["rows"][1]["bytes_per_pixel"] == 3400
    assert content["growth"][0]["time_growth"] == pytest.approx(1.2)
    assert content["growth"][0]["sizes"] == [[60, 60], [180, 180]]


def test_without_memory_or_with_one_size_there_is_less_to_show():
    alone = Results(MACHINE, pressed(60), pressure=True)
    assert "Growth" not in markdown_text(alone)
    assert json.loads(json_text(alone))["growth"] == []
    unknown = [replace(row, memory=None) for row in pressed(60, 120)]
    text = markdown_text(Results(MACHINE, unknown, pressure=True))
    assert "bytes/pixel |" not in text.splitlines()[2]
    assert "| 20.00 to 22.00 | 1.10 | - to - | - |" in text
    assert "per_pixel" not in json_text(Results(MACHINE, ROWS)) + csv_text(Results(MACHINE, ROWS))


@drawn
def test_the_plot_of_a_pressure_test_has_a_line_per_pixel_below():
    figure = benchmark_plots.draw_growth(pressed(60, 120, 180), MACHINE, "Pressure test")
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "latency of one image (s)", "peak memory (MiB)",
        "latency per LR pixel (us)", "peak memory per LR pixel (bytes)",
    ]  # fmt: skip
    assert figure.axes[2].lines[0].get_ydata() == pytest.approx([20, 22, 24])
    unknown = [replace(row, memory=None) for row in pressed(60, 120)]
    assert len(benchmark_plots.draw_growth(unknown, MACHINE, "Image size").axes) == 2
