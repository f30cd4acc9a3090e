"""``basicsr info --card``: what is known is there, what is not is not made up."""

import ast
import json
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from basicsr.utils.registry import ARCH_REGISTRY
from PIL import Image

from lightsr_basicsr import cli
from lightsr_basicsr.runtimes.metadata import Metadata
from lightsr_basicsr.tools.export.run import export
from lightsr_basicsr.tools.files import checksum
from lightsr_basicsr.tools.info.card import make_card, missing
from lightsr_basicsr.tools.info.describe import ExportedInfo, describe
from lightsr_basicsr.tools.info.facts import CardError
from lightsr_basicsr.weights.official import official_networks

NOT_OFFICIAL = {"num_feat": 4, "num_block": 1, "upscale": 2}


@pytest.fixture
def ours(workdir) -> str:
    torch.save({"params": ARCH_REGISTRY.get("IMDN_RTC")(**NOT_OFFICIAL).state_dict()}, "mine.pth")
    return "mine.pth"


def parts(text: str) -> tuple[dict, dict[str, str]]:
    """Return front matter and sections of a card."""
    _, head, body = text.split("---\n", 2)
    found = re.split(r"^## (.+)$", body, flags=re.MULTILINE)
    return yaml.safe_load(head), dict(zip(found[1::2], map(str.strip, found[2::2]), strict=True))


def test_card_of_a_file_that_is_known():
    card = make_card(describe("TinySR_x4"))
    head, sections = parts(card.text)
    assert (head["license"], head["pipeline_tag"], head["tags"]) == (
        "apache-2.0", "image-to-image", ["super-resolution", "basicsr", "tinysr"],
    )  # fmt: skip
    assert [each["value"] for each in head["model-index"][0]["results"][0]["metrics"]] == [30.8343, 0.8742]
    assert sections["Training data"].startswith("The 200 training images of BSDS500. A recipe is")
    assert "arXiv" not in sections["Citation"]
    assert sections["Citation"].startswith("The layers of Real-ESRGAN's SRVGGNetCompact")
    assert sections["Licence"] == "Apache-2.0, that of lightsr-basicsr."
    assert sections["Limitations"].count("\n") == 0
    assert "| parameters | 23,776 |" in card.text
    record = card.record
    assert (card.name, record["architecture"], record["scale"], record["size"]) == ("4x-TinySR", "compact", 4, ["16nf"])
    assert record["resources"] == [{
        "platform": "pytorch", "type": "safetensors", "size": 97112, "urls": [],
        "sha256": "8d7a196e296d680ef3c270b0a65ff24b838a6554c6ccab1410ae72bbd5ffe372",
    }]  # fmt: skip
    assert missing(card) == ["author", "date", "images"]


def test_what_is_not_known_is_not_made_up(ours):
    card = make_card(describe(ours))
    head, sections = parts(card.text)
    assert not {"license", "model-index"} & set(head)
    for title in ("Quality", "Training data", "Licence"):
        assert sections[title].startswith("Not stated.")
    assert "Hui et al." in sections["Citation"]
    assert "https://arxiv.org/abs/1909.11856" in sections["Citation"]
    assert not {"author", "date"} & set(card.record)
    assert (card.record["license"], card.record["images"], card.record["size"]) == (None, [], ["4nf", "1nb"])
    assert not re.search(r"\b(DIV2K|Flickr2K|Set5|32\.21)\b", card.text)


@pytest.mark.parametrize("entry", official_networks(), ids=lambda entry: entry.name)
def test_numbers_of_the_table_are_read(entry):
    """Those that the front matter of a card would hold."""
    if entry.measured:
        psnr, ssim = map(float, entry.measured.split("/"))
        assert 20 < psnr < 40
        assert 0.5 < ssim < 1


def test_card_of_an_official_file(shared):
    card = make_card(describe(shared / "weights" / "IMDN_x4.pth"))
    head, sections = parts(card.text)
    assert "license" not in head  # the authors' repository states none
    assert sections["Licence"] == "Not stated. Source: https://github.com/Zheng222/IMDN."
    assert "Published on Set5: 32.21 / 0.8948" in sections["Quality"]
    assert "Measured on Set5: 32.2114 / 0.8948" in sections["Quality"]


def test_card_of_an_exported_file(ours):
    pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    export(ours, "mine.onnx")
    card = make_card(describe("mine.onnx"))
    assert "`IMDN_RTC`, exported for onnx, fp32" in card.text
    assert "| made of | `mine.pth` |" in card.text
    assert "basicsr upscale photo.jpg --model mine.onnx" in card.text
    assert card.record["resources"][0]["type"] == "onnx"


def test_a_file_of_another_program_has_no_card():
    with pytest.raises(CardError, match=r"a\.onnx: expected a file of `basicsr export`, got one of another program"):
        make_card(ExportedInfo("a.onnx", 1, "onnx", None))


def test_the_command_writes_both_files_and_replaces_none(ours, capsys):
    assert cli.main(["info", "--card", ours]) == 0
    assert {path.name for path in Path("mine_card").iterdir()} == {"README.md", "2x-IMDN-RTC.json"}
    told = capsys.readouterr()
    assert "yours to fill in: author, license, description, date, images." in told.err
    assert json.loads(Path("mine_card/2x-IMDN-RTC.json").read_text(encoding="utf-8"))["scale"] == 2
    assert cli.main(["info", "--card", ours]) == 2
    assert "already exists: replace it with --overwrite" in capsys.readouterr().err
    assert cli.main(["info", "--card", ours, "--overwrite"]) == 0
    assert cli.main(["info", "--card", ours, "TinySR_x2", "-o", "cards"]) == 0
    assert sorted(path.name for path in Path("cards").iterdir()) == ["mine", "tiny_x2"]
    assert cli.main(["info", ours, "-o", "cards"]) == 2
    assert "add --card" in capsys.readouterr().err


def test_the_lines_of_a_card_run(ours, monkeypatch):
    Image.new("RGB", (16, 12), "red").save("photo.jpg")
    text = make_card(describe(ours)).text
    exec(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], {})
    assert Image.open("large.png").size == (32, 24)
    command = re.search(r"```\nbasicsr (.*?)\n```", text)[1]
    assert cli.main([*command.split(), "--quiet"]) == 0
    assert Image.open("results/photo.jpg").size == (32, 24)


def test_cards_of_one_name_do_not_replace_each_other(ours, capsys):
    Path("other").mkdir()
    shutil.copy(ours, "other")
    for words in ([], ["--overwrite"], ["-o", "cards"]):
        assert cli.main(["info", "--card", ours, f"other/{ours}", *words]) == 2
        assert "whose cards would lie in" in capsys.readouterr().err
        assert not Path("mine_card").exists()
        assert not Path("cards").exists()


@pytest.mark.skipif(os.name != "posix", reason="such names are those of POSIX")
@pytest.mark.parametrize(
    "name", ["my net.pth", "-n.pth", 'a|b `c` "d".pth', "it's # {x}.pth", "a\n## b\n.pth", "a\\b.pth"]
)
def test_names_of_files_do_not_break_a_card(ours, name):
    Path(ours).rename(name)
    text = make_card(describe(f"./{name}")).text
    head, sections = parts(text)
    assert head["library_name"] == "lightsr-basicsr"
    assert len(sections) == 6
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 3 for row in rows)
    made = re.search(r"Upscaler\((.*)\)$", text, re.MULTILINE)[1]
    assert ast.literal_eval(made) == name
    words = shlex.split(re.search(r"```\nbasicsr (.*?)\n```", text)[1])
    assert words[:3] == ["upscale", "photo.jpg", "--model"]
    assert len(words) == 4
    assert not words[3].startswith("-")


def test_a_card_of_two_files_has_both(workdir):
    Path("net.xml").write_text("layers")
    info = ExportedInfo("net.xml", 13, "openvino", Metadata("IMDN_RTC", {}, 2))
    with pytest.raises(CardError, match=r"its weights, net\.bin, are missing: copy both files together"):
        make_card(info)
    Path("net.bin").write_text("weights")
    text = make_card(info).text
    assert "| files | `net.xml` and `net.bin`, 13 bytes together |" in text
    assert checksum(Path("net.xml")) in text
    assert checksum(Path("net.bin")) in text
