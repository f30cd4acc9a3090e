"""The command ``basicsr export``: arguments and output; ``tools/export`` does the work."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lightsr_basicsr._later import import_basicsr
from lightsr_basicsr.commands.arguments import FORM, add_checkpoint, add_results, network_section
from lightsr_basicsr.commands.console import say
from lightsr_basicsr.commands.tables import table
from lightsr_basicsr.errors import install_command

if TYPE_CHECKING:
    from lightsr_basicsr.tools.export.run import Exported
    from lightsr_basicsr.tools.export.verify import ExportRow

DESCRIPTION = """Write a trained network for other backends: ONNX, OpenVINO, TorchScript or ncnn. A file in its training
form is deployed on the way. The new file is loaded again and compared with the network on test images of several
sizes; where they differ, nothing is written. Input and output are RGB images (N, C, H, W), float32 in [0, 1], of any
number and size."""
EXAMPLES = f"""examples:
  basicsr export net_g_latest.pth                                writes net_g_latest.onnx beside it
  basicsr export net_g_latest.pth -o net.xml                     for OpenVINO: net.xml and net.bin
  basicsr export net_g_latest.pth -o net.ts --weights raw        TorchScript, without EMA
  basicsr export net_g_latest.pth -o net-4x.param                for ncnn, Upscayl: net-4x.param and net-4x.bin
  basicsr export net.safetensors --precision fp16 -i photo.png   half precision, compared on your LR image too
  basicsr export net_g_latest.pth --precision int8 --photographs datasets/DIV2K/HR
  basicsr export net_g_latest.pth --opt train_ecbsr.yml          a network of BasicSR or another package
ONNX needs {install_command("onnx")};
OpenVINO the extra openvino, int8 the extra int8, ncnn the extra ncnn, TorchScript nothing."""
# A few lines that run the new file; by format the library, its call that opens the file, and its call for an image;
# FEED comes before that.
NCNN = """net = ncnn.Net()
net.load_param({path!r}), net.load_model({weights!r})
run = net.create_extractor()"""
USE = """import cv2, {library}
{opening}
lr = cv2.dnn.blobFromImage(cv2.imread("lr.png"{gray}), 1 / 255, swapRB={swap})
{feed}sr = {call}.clip(0, 1).transpose(1, 2, 0)
cv2.imwrite("sr.png", (sr[:, :, ::-1] * 255).round().astype("uint8"))"""
CALLS = {
    "onnx": ("onnxruntime", "session = onnxruntime.InferenceSession({path!r})", 'session.run(None, {"lr": lr})[0][0]'),
    "openvino": (
        "openvino",
        'model = openvino.Core().compile_model({path!r}, "CPU", {{"INFERENCE_PRECISION_HINT": "{hint}"}})',
        "model(lr)[0][0]",
    ),
    "torchscript": (
        "torch",
        "program = torch.jit.load({path!r})",
        "program(torch.from_numpy(lr))[0].detach().numpy()",
    ),
    "ncnn": ("ncnn, numpy", NCNN, 'numpy.array(run.extract("output")[1])'),
}


FEED = {"ncnn": 'run.input("data", ncnn.Mat(lr[0]).clone())\n'}


def add_export(commands: Any) -> None:
    """Add ``export`` to the parser's ``commands``."""
    text = "write a trained network for ONNX Runtime, OpenVINO, TorchScript or ncnn"
    parser = commands.add_parser("export", help=text, description=DESCRIPTION, epilog=EXAMPLES, formatter_class=FORM)
    add_checkpoint(parser)
    parser.add_argument(
        "-o", "--output", metavar="OUT",
        help="new file or its folder; the suffix decides the format: .onnx, .xml, .ts, .param (default: FILE's name)",
    )  # fmt: skip
    parser.add_argument(
        "--format",
        choices=("onnx", "openvino", "torchscript", "ncnn"),
        help="default: that of OUT, or onnx, for int8 openvino",
    )
    parser.add_argument(
        "--precision", choices=("fp32", "fp16", "int8"), default="fp32", help="inside the network (default: fp32)"
    )
    parser.add_argument("--opset", type=int, metavar="N", help="version of ONNX's operators (default: 17)")
    parser.add_argument("-i", "--input", metavar="IMAGE", help="additional LR image to compare on")
    parser.add_argument(
        "--tolerance", type=float, metavar="D", help="largest allowed difference of the images, in [0, 1] (default: "
        "1e-4 for fp32, 1e-2 for fp16)",
    )  # fmt: skip
    parser.add_argument(
        "--photographs", metavar="FOLDER", help="HR images to calibrate int8 on, a hundred or more (default: those of "
        "scikit-image, which are few)",
    )  # fmt: skip
    parser.add_argument(
        "--held-out", metavar="FOLDER", help="HR images to measure the loss of int8 on (default: a fourth of those)"
    )
    parser.add_argument(
        "--max-loss",
        type=float,
        metavar="DB",
        help="write int8 only if it costs at most so many dB of PSNR (default: 1)",
    )
    parser.add_argument(
        "--aim-loss",
        type=float,
        metavar="DB",
        help="leave the parts of the network that cost most in floating point until int8 costs so many dB on the "
        "photographs it is calibrated on (default: 0.03); large numbers: int8 in all parts",
    )
    add_results(parser)
    parser.set_defaults(run=run_export)


def run_export(args: argparse.Namespace) -> int:
    """Export one file, print the result, and return the exit status."""
    import_basicsr()
    network = network_section(args)
    from lightsr_basicsr.tools.export.run import Quantization, export

    given = {name: getattr(args, name) for name in ("photographs", "held_out", "max_loss", "aim_loss")}
    given = {name: value for name, value in given.items() if value is not None}
    done = export(
        args.file,
        args.output,
        format=args.format,
        precision=args.precision,
        opset=args.opset,
        network=network,
        weights=args.weights,
        picture=args.input,
        tolerance=args.tolerance,
        overwrite=args.overwrite,
        quantization=Quantization(**given) if given else None,
        report=say,
    )
    print(json.dumps(asdict(done), indent=2) if args.json else _text(done))
    return 0


def _text(done: Exported) -> str:
    kind = done.format + (f", opset {done.opset}" if done.opset else "")
    facts = [
        ("network:", f"{done.network} x{done.scale:g}, {_form_text(done)}"),
        ("weights:", "bare" if done.weights in ("bare", "list") else f"under '{done.weights}'"),
        ("format:", f"{kind}, {done.precision}"),
        ("file size:", f"{done.size:,} bytes" + (f" in {' and '.join(done.files[::-1])}" if done.files[1:] else "")),
        ("source:", f"sha256 {done.sha256}"),
        *(("note:", note) for note in done.notes),
    ]
    rows = [
        ("compared with the network on", "images", "LR size", "largest difference", "PSNR"),
        *map(_cells, done.rows),
    ]
    return "\n".join([
        f"{done.source} -> {done.path}", table(facts, indent="  "), "", table(rows, "<>", indent="  "), "",
        "To use it:", *_use_text(done),
    ])  # fmt: skip


def _cells(row: ExportRow) -> tuple[str, ...]:
    psnr = "equal" if row.psnr is None else f"{row.psnr:.1f} dB"
    return row.picture[-31:], str(row.images), f"{row.height}x{row.width}", f"{row.difference:.2g}", psnr


def _form_text(done: Exported) -> str:
    if done.merged:
        return "training form, deployed on the way"
    return "deployed already" if done.form == "deploy" else "has no branches to merge"


def _cpu_has_bf16() -> bool:
    """Return whether the rest of an int8 network should run in bfloat16."""
    from lightsr_basicsr.runtimes.openvino_runtime import openvino_precisions

    return "bf16" in openvino_precisions("CPU")


def _use_text(done: Exported) -> list[str]:
    if done.num_in_ch not in (1, 3):
        name, shape = ("data", "") if done.format == "ncnn" else ("lr", "N, ")
        return [f"  input '{name}', ({shape}{done.num_in_ch}, H, W), float32 in [0, 1]"]
    gray = done.num_in_ch == 1
    hint = "bf16" if done.precision == "int8" and _cpu_has_bf16() else "f32"
    read = ", cv2.IMREAD_GRAYSCALE" if gray else ""
    library, opening, call = CALLS[done.format]
    opening = opening.format(path=done.path, hint=hint, weights=done.files[0])
    feed = FEED.get(done.format, "")
    program = USE.format(library=library, opening=opening, call=call, gray=read, swap=not gray, feed=feed)
    return [f"  {line}".rstrip() for line in program.splitlines()]
