"""Arguments that several commands share."""

from __future__ import annotations

import argparse
from typing import Any

from lightsr_basicsr.commands.console import load_all_plugins
from lightsr_basicsr.errors import UserError

FORM = argparse.RawDescriptionHelpFormatter
BACKENDS = ("auto", "fastest", "torch", "onnxruntime", "openvino", "ncnn")
PRECISIONS = ("fp32", "bf16", "fp16", "int8")


def add_blurs(parser: argparse.ArgumentParser, sigmas: str, noise: str) -> None:
    """Add ``--sigma``, ``--kernel`` and ``--noise``; ``sigmas`` and ``noise`` end their help texts."""
    turned = "anisotropic Gaussians: two standard deviations in HR pixels and an angle in degrees"
    for flag, kind, default, metavar, text in (
        ("--sigma", float, [], "SIGMA", f"isotropic Gaussians, standard deviation in HR pixels; {sigmas}"),
        ("--kernel", kernel, [], "S1,S2,ANGLE", turned),
        ("--noise", float, [0.0], "LEVEL", noise),
    ):
        parser.add_argument(flag, nargs="+", type=kind, default=default, metavar=metavar, help=text)


def kernel(text: str) -> tuple[float, float, float]:
    """Return two standard deviations and an angle of ``S1,S2,ANGLE``, as a type for argparse.

    Raises:
        argparse.ArgumentTypeError: If ``text`` is not three numbers.

    Examples:
        >>> kernel("3.5,1.5,30")
        (3.5, 1.5, 30.0)
    """
    try:
        sigma_1, sigma_2, theta = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected S1,S2,ANGLE such as 3.5,1.5,30, got '{text}'") from None
    return sigma_1, sigma_2, theta


def add_import(parser: argparse.ArgumentParser) -> None:
    """Add ``--import``: packages whose names are made known."""
    text = "import another plugin of BasicSR, such as realesrgan, so that its names are known; can be repeated"
    parser.add_argument("--import", dest="plugins", action="append", metavar="PACKAGE", help=text)


def add_running(parser: argparse.ArgumentParser, default: str) -> None:
    """Add ``--backend``, ``--precision``, ``--device`` and ``--trust``: how networks are run; ``default`` in words."""
    add = parser.add_argument
    add("--backend", choices=BACKENDS, help=f"what runs networks; fastest: measured with the first picture, and "
        f"remembered (default: {default})")  # fmt: skip
    add("--precision", choices=PRECISIONS, help="inside the network (default: fp32, or that of an exported file)")
    add("--device", help="cpu, cuda or cuda:1 (default: a GPU if there is one)")
    add("--trust", action="store_true", help="run TorchScript files (.ts), which are programs with all rights of yours")


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add ``FILE``, ``--opt``, ``--network`` and ``--weights``: a checkpoint and the network in it."""
    parser.add_argument("file", metavar="FILE", help=".pth, .pt or .safetensors, or a name that `basicsr fetch` knows")
    parser.add_argument(
        "--opt", metavar="FILE", help="option file it was trained with; only for networks that their tensors do not "
        "identify",
    )  # fmt: skip
    parser.add_argument("--network", metavar="KEY", help="section of that option file (default: network_g)")
    add_import(parser)
    parser.add_argument(
        "--weights", choices=("ema", "raw"), help="params_ema or params of the file (default: ema if there are any)"
    )


def network_section(args: argparse.Namespace) -> dict[str, Any] | None:
    """Return the section that ``--opt`` and ``--network`` name, None without ``--opt``.

    Raises:
        UserError: If ``--network`` is given alone, or the section cannot be read.
    """
    if not args.opt:
        if args.network:
            raise UserError("--network names a section of an option file, and none was given: --opt FILE.")
        return None
    from lightsr_basicsr.tools.networks import read_network

    load_all_plugins(args.plugins)
    return read_network(args.opt, args.network or "network_g")


def add_results(parser: argparse.ArgumentParser) -> None:
    """Add ``--overwrite`` and ``--json``, for a command that writes one file and prints what it did."""
    parser.add_argument("--overwrite", action="store_true", help="overwrite an existing file")
    parser.add_argument("--json", action="store_true", help="print JSON")
