"""A model card as on Hugging Face, and a record as of OpenModelDB. What is not known is said to be so, or left out."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from lightsr_basicsr.tools.files import no_folder
from lightsr_basicsr.tools.info.describe import ExportedInfo, FileInfo
from lightsr_basicsr.tools.info.facts import CardError, Facts, facts_of
from lightsr_basicsr.whole import write_whole

UNSTATED = "Not stated."
# What OpenModelDB asks for, and no file says.
ASKED = ("author", "license", "description", "date", "images")
TRAINED_ON = re.compile(r"trained on ([^.]+)\.")  # in a note of the table
PLATFORMS = {".pth": ("pytorch", "pth"), ".pt": ("pytorch", "pth"), ".safetensors": ("pytorch", "safetensors"),
             ".onnx": ("onnx", "onnx")}  # fmt: skip


class Card(NamedTuple):
    """The text of a card, the record by field, and its name without ending."""

    text: str
    record: dict[str, Any]
    name: str


def make_card(info: FileInfo | ExportedInfo) -> Card:
    """Return card and record of a described file.

    Raises:
        CardError: If another program exported it, or its weights are missing.
    """
    facts = facts_of(info)
    return Card(_text(facts), _record(facts), facts.model_id)


def write_card(card: Card, folder: Path, overwrite: bool = False) -> tuple[Path, Path]:
    """Write README.md and the record into a folder, which is made, and return their paths.

    Raises:
        CardError: If one exists and may not be replaced, or cannot be written.
    """
    contents = {
        "README.md": card.text,
        f"{card.name}.json": json.dumps(card.record, indent=4, ensure_ascii=False) + "\n",
    }
    paths = tuple(folder / name for name in contents)
    if not overwrite and (there := [path for path in paths if path.exists()]):
        raise CardError(f"{there[0]} already exists: replace it with --overwrite, or choose another folder with -o.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CardError(
            f"The folder {folder} cannot be made ({no_folder(folder, error)}): choose another with -o."
        ) from error
    for path, content in zip(paths, contents.values(), strict=True):
        write_whole(path, content.encode(), overwrite, CardError)
    return paths[0], paths[1]


def missing(card: Card) -> list[str]:
    """Return what OpenModelDB asks for and the record does not have."""
    return [name for name in ASKED if not card.record.get(name)]


def _record(facts: Facts) -> dict[str, Any]:
    official, platform = facts.official, PLATFORMS.get(Path(facts.file).suffix.lower())
    resource = None
    if platform is not None:
        urls = [official.address] if official and official.address and not facts.exported else []
        resource = {
            "platform": platform[0],
            "type": platform[1],
            "size": facts.size,
            "sha256": facts.sha256,
            "urls": urls,
        }
    deployed = facts.network == "TinySR" and (facts.exported or facts.arguments.get("deploy"))
    return {
        "name": facts.title,
        "license": official.licence if official else None,
        "tags": [],
        "description": official.note if official and official.note else "",
        "architecture": "compact" if deployed else facts.network.lower().replace("_", "-"),
        "size": _size(facts.arguments) or None,
        "scale": int(facts.scale) if facts.scale == int(facts.scale) else facts.scale,
        "inputChannels": facts.channels[0],
        "outputChannels": facts.channels[1],
        "resources": [resource] if resource else [],
        "images": [],
    }


def _size(arguments: dict[str, Any]) -> list[str]:
    """Return numbers of channels and blocks as databases write them: ``64nf``, ``6nb``."""
    units = {"num_feat": "nf", "num_block": "nb"}
    return [f"{arguments[name]}{unit}" for name, unit in units.items() if isinstance(arguments.get(name), int)]


def _text(facts: Facts) -> str:
    sections = {
        "How to use it": _use(facts),
        "Quality": _quality(facts),
        "Training data": _training(facts),
        "Limitations": _limitations(facts),
        "Licence": _licence(facts),
        "Citation": _cited(facts.citation),
    }
    head = yaml.safe_dump(_head(facts), sort_keys=False, allow_unicode=True)
    body = "".join(f"\n## {title}\n\n{text}\n" for title, text in sections.items())
    return f"---\n{head}---\n\n# {facts.title} x{facts.scale:g}\n\n{_table(facts)}\n{body}"


def _head(facts: Facts) -> dict[str, Any]:
    """Return the front matter: https://huggingface.co/docs/hub/model-cards."""
    official = facts.official
    head: dict[str, Any] = {"license": official.licence.lower()} if official and official.licence else {}
    name = facts.network.lower().replace("_", "-")
    head |= {"library_name": "lightsr-basicsr", "pipeline_tag": "image-to-image"}
    head |= {"tags": ["super-resolution", "basicsr", name]}
    if official and official.measured and not facts.exported:
        head["model-index"] = [{"name": official.name, "results": [_result(official.measured)]}]
    return head


def _result(measured: str) -> dict[str, Any]:
    psnr, ssim = (float(part) for part in measured.split("/"))
    return {
        "task": {"type": "image-to-image", "name": "super-resolution"},
        "dataset": {"type": "set5", "name": "Set5"},
        "metrics": [
            {"type": "psnr", "value": psnr, "name": "PSNR, Y channel"},
            {"type": "ssim", "value": ssim, "name": "SSIM, Y channel"},
        ],
    }


def _table(facts: Facts) -> str:
    kind = f"exported for {facts.form}, {facts.precision}" if facts.exported else f"{facts.form} form"
    rows = {
        "network": f"`{facts.network}`, {kind}",
        "arguments": ", ".join(f"{name}: {value}" for name, value in facts.arguments.items()),
        "scale": f"x{facts.scale:g}",
        "parameters": f"{facts.parameters:,}" if facts.parameters else "",
        "multi-adds": f"{facts.multi_adds / 1e9:.2f} G for an output of {_hd(facts)}" if facts.multi_adds else "",
        "input": f"{_channels(facts.channels[0])} in [0, 1], sides of at least {facts.min_side}",
        "output": f"{_channels(facts.channels[1])} in [0, 1]",
    }
    if facts.weights is None:
        rows |= {"file": f"{_code(facts.file)}, {facts.size:,} bytes", "sha256": f"`{facts.sha256}`"}
    else:
        weights, sha256 = facts.weights
        rows["files"] = f"{_code(facts.file)} and {_code(weights)}, {facts.size:,} bytes together"
        rows["sha256"] = f"`{facts.sha256}` and `{sha256}`"
    rows["made of"] = _code(facts.source) if facts.source else ""
    return "| | |\n| --- | --- |\n" + "\n".join(f"| {name} | {text} |" for name, text in rows.items() if text)


def _code(text: str) -> str:
    r"""Return a name of anybody's as code in a cell of a table.

    >>> _code("a.pth"), _code("a|`b`.pth")
    ('`a.pth`', '`` a\\|`b`.pth ``')
    """
    text = _plain(text).replace("|", "\\|")
    if "`" not in text:
        return f"`{text}`"
    fence = "`" * (1 + max(map(len, re.findall("`+", text))))
    return f"{fence} {text} {fence}"


def _plain(text: str) -> str:
    """Return a text with what is no letter or sign, such as an end of a line, in Python's spelling."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def _hd(facts: Facts) -> str:
    height, width = facts.lr_size or (0, 0)
    return f"{width * facts.scale:g}x{height * facts.scale:g}"


def _channels(count: int) -> str:
    return {1: "gray", 3: "RGB"}.get(count, f"{count} channels")


def _use(facts: Facts) -> str:
    if not facts.super_resolves:
        return "It makes no picture by itself; option files of lightsr-basicsr name it for training."
    named = f"-n {facts.official.name}" if facts.official and not facts.exported else f"--model {_word(facts.file)}"
    trust = facts.form == "torchscript"
    opened = facts.official.name if facts.official and not facts.exported else facts.file
    return (
        f"With lightsr-basicsr:\n\n```\nbasicsr upscale photo.jpg {named}{' --trust' if trust else ''}\n```\n\n"
        "```python\nfrom PIL import Image\nfrom lightsr_basicsr.upscale.upscaler import Upscaler\n\n"
        f"upscaler = Upscaler({_string(opened)}{', trust=True' if trust else ''})\n"
        'upscaler.upscale(Image.open("photo.jpg")).save("large.png")\n```'
    )


def _word(name: str) -> str:
    """Return the name of a file as one word of a command."""
    return shlex.quote(_plain(f"./{name}" if name.startswith("-") else name))


def _string(text: str) -> str:
    r"""Return a text as a string of Python.

    >>> _string("a.pth"), _string('a"b.pth')
    ('"a.pth"', '\'a"b.pth\'')
    """
    quoted = repr(text)
    return quoted if '"' in text or "'" in text else f'"{quoted[1:-1]}"'


def _quality(facts: Facts) -> str:
    official, lines = facts.official, []
    if official is None:
        return UNSTATED + _same(facts)
    if official.published:
        lines.append(f"- Published on Set5: {official.published} (PSNR in dB / SSIM, Y channel).")
    if official.measured:
        lines.append(
            f"- Measured on Set5: {official.measured} (PSNR in dB / SSIM, Y channel, {facts.scale:g} pixels cropped, "
            f"whole images), {'of the checkpoint, ' if facts.exported else ''}by lightsr-basicsr."
        )
    if facts.int8:
        cost, data = facts.int8.get("psnr_cost_db", "not stated"), facts.int8.get("data", "images that are not stated")
        lines.append(f"- Cost of int8: {cost} dB of PSNR, measured on {data}.")
    return "\n".join(lines) or UNSTATED


def _same(facts: Facts) -> str:
    names = ", ".join(entry.name for entry in facts.same_network)
    return f" It is the network of {names}, with other weights." if names else ""


def _training(facts: Facts) -> str:
    official = facts.official
    recipes = [name for name in official.options if name.startswith("train_")] if official else []
    recipe = f" A recipe is lightsr-basicsr's `options/{recipes[0]}.yml`." if recipes else ""
    known = TRAINED_ON.search(official.note or "") if official else None
    return (_sentence(known[1]) if known else UNSTATED) + recipe


def _limitations(facts: Facts) -> str:
    lines = [
        "- Super-resolution adds detail that the picture does not hold: do not take text, faces or measurements from a "
        "result."
    ]
    if facts.pools_globally:
        lines.append("- It takes statistics of the whole picture, so that tiles differ from it unless they share them.")
    if facts.official and facts.official.note and not TRAINED_ON.search(facts.official.note):
        lines.append(f"- {facts.official.note}")
    return "\n".join(lines)


def _licence(facts: Facts) -> str:
    official = facts.official
    if official is None:
        return UNSTATED
    of = "that of the file it was made of, " if facts.exported else ""
    by = "that of lightsr-basicsr" if official.packaged else "as the authors' repository states it"
    text = f"{official.licence}, {of}{by}." if official.licence else UNSTATED
    return f"{text} Source: {official.source}." if official.source and not official.packaged else text


def _cited(citation: str | None) -> str:
    if citation is None:
        return UNSTATED
    linked = re.sub(r"arXiv (\d{4}\.\d{5})", r"[arXiv \1](https://arxiv.org/abs/\1)", citation)
    return _sentence(linked)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
