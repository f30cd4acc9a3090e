"""The command ``basicsr info``: describe checkpoints and exported files."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightsr_basicsr._later import import_basicsr
from lightsr_basicsr.commands.arguments import FORM
from lightsr_basicsr.commands.console import say
from lightsr_basicsr.errors import UserError, message_of

if TYPE_CHECKING:
    from lightsr_basicsr.tools.info.describe import ExportedInfo, FileInfo
    from lightsr_basicsr.weights.official import OfficialNetwork

EXAMPLES = """examples:
  basicsr info experiments/pretrained_models/*.pt*
  basicsr info --json model.safetensors
  basicsr info IMDN_x4_int8.xml               source of an exported file, and the cost of int8
  basicsr info --card net_g_latest.pth -o card       a model card and a record for databases of models
  basicsr info --plot kept.png pruned.pth     which channels a pruned network has kept, as a picture
Nothing in a file is executed."""


def add_info(commands: Any) -> None:
    """Add ``info`` to the parser's ``commands``."""
    text = "which network a checkpoint or an exported file holds, its size and cost, and whether it is an official file"
    parser = commands.add_parser("info", help=text, epilog=EXAMPLES, formatter_class=FORM)
    files = ".pth, .pt or .safetensors, or a name that `basicsr fetch` knows; exported: .onnx, .xml, .ts or .param"
    parser.add_argument("files", nargs="+", metavar="FILE", help=files)
    parser.add_argument("--json", action="store_true", help="print JSON")
    plot = "picture (PNG) of the channels that pruned networks have kept at each site"
    parser.add_argument("--plot", metavar="PICTURE", help=plot)
    card = "write a model card (README.md, as on Hugging Face) and a record (JSON, as of OpenModelDB) of each file"
    parser.add_argument("--card", action="store_true", help=card)
    folder = "for --card: where to write, one folder for each file (default: NAME_card)"
    parser.add_argument("-o", "--output", metavar="FOLDER", help=folder)
    parser.add_argument("--overwrite", action="store_true", help="for --card: overwrite existing files")
    parser.set_defaults(run=run_info)


def run_info(args: argparse.Namespace) -> int:
    """Describe each file; return 2 if one cannot be read or holds no network of this package."""
    if args.output and not args.card:
        raise UserError("-o names the folder of a card, and none was asked for: add --card.")
    import_basicsr()
    from lightsr_basicsr.tools.info.describe import describe

    infos = []
    for path in args.files:
        try:
            infos.append(describe(path))
        except (UserError, OSError) as error:
            say(message_of(error))
    if args.json:
        print(json.dumps([asdict(info) for info in infos], indent=2))
    else:
        print("\n\n".join(map(_text, infos)), end="\n" if infos else "")
    if args.plot:
        _plot(infos, Path(args.plot))
    if args.card:
        _write_cards(args, infos)
    return 0 if len(infos) == len(args.files) else 2


def _plot(infos: list[Any], path: Path) -> None:
    """Write the picture of the kept channels.

    Raises:
        PictureError: As :func:`lightsr_basicsr.tools.info.channels.draw_channels`.
    """
    from lightsr_basicsr.tools.info.channels import draw_channels

    draw_channels({Path(info.path).stem: info.channels for info in infos if getattr(info, "channels", ())}, path)
    say(f"Written: {path}")


def _write_cards(args: argparse.Namespace, infos: list[Any]) -> None:
    """Write the card of each file, and say what it leaves to its author.

    Raises:
        CardError: As :func:`lightsr_basicsr.tools.info.card.write_card`.
        UserError: If two cards would lie in one folder.
    """
    from lightsr_basicsr.tools.info.card import make_card, missing, write_card

    cards: dict[Path, Any] = {}
    for info in infos:
        stem = Path(info.path).stem
        folder = Path(f"{stem}_card") if not args.output else Path(args.output) / ("" if len(args.files) == 1 else stem)
        if folder in cards:
            raise UserError(
                f"Expected files of different names, got two whose cards would lie in {folder}: write the second one "
                "by a command of its own, with another -o. No card was written."
            )
        cards[folder] = make_card(info)
    for folder, card in cards.items():
        paths = write_card(card, folder, args.overwrite)
        say(f"Written: {', '.join(map(str, paths))}. Not known, yours to fill in: {', '.join(missing(card))}.")


def _text(info: FileInfo | ExportedInfo) -> str:
    facts = _facts_of_checkpoint(info) if hasattr(info, "identity") else _facts_of_exported(info)
    lines = (f"  {name + ':':<18}{_printable(value)}" for name, value in facts.items() if value)
    return f"{_printable(info.path)} ({info.size:,} bytes)\n" + "\n".join(lines)


def _printable(text: str) -> str:
    """Return a text of a file for the terminal, which obeys some characters and cannot show others."""
    return text if text.isprintable() else ascii(text)[1:-1]


def _facts_of_checkpoint(info: FileInfo) -> dict[str, str]:
    from lightsr_basicsr.checkpoints.tensors import describe_not_finite
    from lightsr_basicsr.tools.info.channels import summary

    identity, official = info.identity, info.official
    inside = "" if info.img_range == 1 else f" (0 to {info.img_range:g} inside)"
    cost = "not counted"
    if info.multi_adds is not None:
        cost = f"{info.multi_adds / 1e9:.2f} G for LR {info.lr_size[0]}x{info.lr_size[1]} (height x width)"
    known = "no known official file"
    if official is not None:
        known = f"{official.released_as or official.file} of {official.title}, {official.source}"
    elif info.same_network:
        known += "; the same network as " + ", ".join(entry.file for entry in info.same_network)
    facts = {
        "network": f"{identity.network} x{identity.scale:g}, {identity.form} form",
        "arguments": _listed(identity.arguments),
        "tensors": f"{info.tensors}, {'bare' if info.wrapper == 'bare' else f'under {info.wrapper!r}'}",
        "channels kept": summary(info.channels),
        "parameters": f"{info.parameters:,}",
        "multi-adds": cost,
        "input": f"{_channels(info.num_in_ch)} in [0, 1]{inside}, sides of at least {info.min_side}",
        "sha256": info.sha256,
        "official file": known,
        "warning": describe_not_finite([*info.not_finite]),
    }
    if official is not None:
        facts["published cost"] = _published_cost(official)
        facts["Set5, published"] = official.published or "none"
        facts["Set5, measured"] = official.measured or "not checked"
        facts["note"] = official.note
    return facts


def _published_cost(official: OfficialNetwork) -> str:
    parts = [f"{official.published_parameters} parameters"] if official.published_parameters else []
    if official.published_multi_adds:
        size = f"LR {official.lr_side}x{official.lr_side}" if official.lr_side else "1280x720 output"
        parts.append(f"{official.published_multi_adds:g} G multi-adds for {size}")
    return ", ".join(parts)


def _facts_of_exported(info: ExportedInfo) -> dict[str, str]:
    metadata = info.metadata
    facts = {"format": info.format + (f", opset {metadata.opset}" if metadata and metadata.opset else "")}
    if metadata is None:
        return {**facts, "network": "unknown: the file was not written by basicsr export"}
    low, high = metadata.value_range
    int8 = ""
    if metadata.int8:
        cost, data, images = (metadata.int8.get(name, "unknown") for name in ("psnr_cost_db", "data", "images"))
        int8 = f"{cost} dB of PSNR, measured on {data} (images: {images})"
    channels = _channels(metadata.num_in_ch, metadata.colour)
    return {
        "network": f"{metadata.network} x{metadata.scale:g}, deployed form",
        "arguments": _listed(metadata.arguments),
        **facts,
        "precision": metadata.precision,
        "cost of int8": int8,
        "input": f"{_shape(info.format, metadata.num_in_ch)}, {channels} in [{low:g}, {high:g}], "
        f"sides of at least {metadata.min_side}",
        "tiles": "differ from the whole image" if metadata.pools_globally else "",
        "made of": metadata.source or "a network in memory",
        "its sha256": metadata.sha256 or "",
        "written by": metadata.producer,
    }


def _shape(kind: str, count: int) -> str:
    return f"'data', ({count}, H, W)" if kind == "ncnn" else f"'lr', (N, {count}, H, W)"


def _channels(count: int, colour: str = "RGB") -> str:
    return colour if count == 3 else f"{count} channels"


def _listed(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in arguments.items())
