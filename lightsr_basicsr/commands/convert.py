"""The command ``basicsr convert``: arguments and output; ``tools/convert`` does the work."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lightsr_basicsr._later import import_basicsr
from lightsr_basicsr.commands.arguments import FORM, add_checkpoint, add_results, network_section
from lightsr_basicsr.commands.tables import table
from lightsr_basicsr.errors import UserError

if TYPE_CHECKING:
    from lightsr_basicsr.tools.convert.run import Conversion, Side

DESCRIPTION = """Write the deployed form of a network: parallel branches of training become one convolution.
Before anything is written, the new weights are read back into a new network and its images are compared with the old
network's; where they differ, nothing is written. The source file is never changed. A file in the deployed form is left
alone, or copied as -o, --weights or --wrapper say."""
EXAMPLES = """examples:
  basicsr convert net_g_latest.pth                                     writes net_g_latest_deploy.pth beside it
  basicsr convert net_g_latest.pth -o net.safetensors --weights raw    another name and format, without EMA
  basicsr convert net_g_latest.pth --opt train_ecbsr.yml               a network of BasicSR or another package
  basicsr convert net_g_latest.pth -o shown/ -i photo.png              into a folder, compared on your LR image
  basicsr convert net.safetensors --keep-form -o net.pth               only the format; branches stay
Names and shapes of the tensors identify the network; nothing in a file is executed."""
GAP = "   "


def add_convert(commands: Any) -> None:
    """Add ``convert`` to the parser's ``commands``."""
    text = "merge the branches of a trained network, or change the format of its file"
    parser = commands.add_parser("convert", help=text, description=DESCRIPTION, epilog=EXAMPLES, formatter_class=FORM)
    add_checkpoint(parser)
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="new file or its folder; the suffix decides the format "
        "(default: the name with _deploy)",
    )  # fmt: skip
    parser.add_argument("--keep-form", action="store_true", help="keep the branches; needs -o")
    parser.add_argument(
        "--wrapper",
        choices=("params", "params_ema", "bare", "state_dict", "list"),
        help="how a .pth holds the tensors: under a key, bare as official files do, or as the list of DRN's dual "
        "networks (default: params); a .safetensors is bare",
    )
    parser.add_argument(
        "-i", "--input", metavar="IMAGE", help="LR image to compare on (default: a test image of scikit-image)"
    )
    parser.add_argument(
        "--tolerance", type=float, metavar="D",
        help="largest allowed difference of the images, in [0, 1]; where float32 exceeds it, float64 decides "
        "(default: 1e-4)",
    )  # fmt: skip
    add_results(parser)
    parser.set_defaults(run=run_convert)


def run_convert(args: argparse.Namespace) -> int:
    """Convert one file, print the result, and return the exit status."""
    if args.keep_form and (args.input is not None or args.tolerance is not None):
        raise UserError("--keep-form changes no image, so there is nothing to compare: leave -i and --tolerance away.")
    import_basicsr()
    network = network_section(args)
    from lightsr_basicsr.tools.convert.run import TOLERANCE, convert

    done = convert(
        args.file,
        args.output,
        network=network,
        weights=args.weights,
        keep_form=args.keep_form,
        wrapper=args.wrapper,
        picture=args.input,
        tolerance=TOLERANCE if args.tolerance is None else args.tolerance,
        overwrite=args.overwrite,
    )
    print(json.dumps(asdict(done), indent=2) if args.json else _text(done, args.network or "network_g"))
    return 0


def _text(done: Conversion, key: str) -> str:
    if done.after is None:
        return (
            f"{done.before.path} ({done.network}) is already in its deployed form: nothing to do "
            "(to change the format: -o FILE)."
        )
    plain = done.before.dtype == done.after.dtype == "float32"
    before, after = _column(done.before), _column(done.after)
    rows = [(f"{name}:", before[name], after[name]) for name in before if not (plain and name == "dtype")]
    lines = [
        f"{done.before.path} -> {done.after.path}",
        f"  {'network:':<11}{GAP}{_network_text(done)}",
        table(rows, gap=GAP, indent="  "),
        f"  {'difference:':<11}{GAP}{_difference_text(done)}",
    ]
    if done.before.form == "deploy":
        lines.insert(3, "  It was deployed already: only format, weights or wrapper changed.")
    return "\n".join([*lines, "", _section_text(done, key)])


def _network_text(done: Conversion) -> str:
    scale = f" x{done.scale:g}" if done.scale else ""
    if done.inner is None:
        return f"{done.network}{scale}"
    return f"{done.network}{scale} ({done.inner}{f', block {done.block}' if done.block else ''})"


def _difference_text(done: Conversion) -> str:
    if not done.picture:
        return "tensors compared, all equal"
    height, width = done.lr_size
    rounding = ""
    if done.in_float32 is not None:
        rounding = f" in float64 ({done.in_float32:.2g} in float32, the network's own rounding)"
    return f"{done.difference:.2g} of the range{rounding}, largest on {done.picture}, LR {height}x{width}"


def _column(side: Side) -> dict[str, str]:
    return {
        "form": side.form,
        "weights": "bare" if side.wrapper in ("bare", "list") else f"under '{side.wrapper}'",
        "tensors": str(side.tensors),
        "dtype": side.dtype,
        "parameters": f"{side.parameters:,}",
        "multi-adds": "not counted" if side.multi_adds is None else f"{side.multi_adds / 1e9:.2f} G at 1280x720",
        "file size": f"{side.size:,} bytes",
    }


def _section_text(done: Conversion, key: str) -> str:
    """Return the lines of an option file for the new file."""
    role = key.removeprefix("network_")
    path = {f"pretrain_network_{role}": done.after.path}
    if done.after.wrapper != "params":
        # BasicSR's own models read the key `params` by default.
        bare = done.after.wrapper in ("bare", "list")
        path[f"param_key_{role}"] = None if bare else done.after.wrapper
    return f"To use it:\n{_yaml({key: done.section})}{_unrecoverable_text(done)}{_yaml({'path': path})}".rstrip()


def _unrecoverable_text(done: Conversion) -> str:
    trained = [name for name in done.unrecoverable if name != "chop"]
    note = ""
    if trained:
        note = f"  # and these, which no checkpoint holds, if they were set for training: {', '.join(trained)}\n"
    if "chop" in done.unrecoverable:
        note += "  # and chop: true to evaluate in quarters, which no checkpoint holds either\n"
    return note


def _yaml(content: dict[str, Any]) -> str:
    """Return the lines of an option file, each list in one line."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """A dumper of its own: representers belong to the class."""

    tag = "tag:yaml.org,2002:seq"
    Dumper.add_representer(list, lambda dumper, data: dumper.represent_sequence(tag, data, flow_style=True))
    return yaml.dump(content, Dumper=Dumper, sort_keys=False, allow_unicode=True)
