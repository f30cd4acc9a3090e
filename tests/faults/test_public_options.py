"""Public option files of compression and DCLS run: two iterations of each stage, with small networks and images.

All that the file says holds, but sizes, lengths, folders and files. ``LIGHTSR_FAULTS=1`` runs all of them.
"""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from basicsr.archs import build_network

from lightsr_basicsr import cli
from lightsr_basicsr.models import compression_plan as plan
from lightsr_basicsr.tools.options import read_options
from tests import tiny
from tests.faults import conftest

pytestmark = pytest.mark.faults

FOLDER = Path(__file__).resolve().parents[2] / "options"
FILES = sorted(file for kind in ("compress_*", "t*_dcls_*") for file in FOLDER.glob(f"{kind}.yml"))
SHORT = ("compress_imdn_x4", "test_dcls_drc_x4")  # of CI
SIDE = 128  # of HR images, 4 LR kernels of 31
# Arguments that make a network small, and the channels of a pruned one.
SMALL: dict[str, dict[str, Any]] = {
    "DRN": {"num_feat": 4, "num_block": 1}, "DRNDual": {"num_feat": 4}, "IMDN": {"num_feat": 16, "num_block": 1},
    "DualNetwork": {"num_feat": 4}, "DCLS": {"num_feat": 16, "num_block": 1, "num_group": 1, "code_length": 16},
    "SwinIR_DR": {"depths": [2], "num_heads": [2], "embed_dim": 8, "img_size": 16},
    "SwinIR": {"depths": [2], "num_heads": [2], "embed_dim": 8, "img_size": 16},
}  # fmt: skip
FEW = {"DCLS": [8] * 8}
CROP = {"DRN": 8, "IMDN": 8, "SwinIR_DR": 8}  # in LR pixels; DCLS needs those of its kernel


def cut(options: dict) -> dict:
    """Return an option file with small networks, whose files are written, short stages and the images of ``data``."""
    options = deepcopy(options)
    torch.manual_seed(0)
    for key in [key for key in options if key.startswith("network_")]:
        section = options[key]
        pruned = {"channels": FEW[section["type"]]} if section.get("channels") else {}
        options[key] = {**section, **SMALL[section["type"]], **pruned}
        torch.save(build_network(deepcopy(options[key])).state_dict(), f"{key}.pth")
    paths = options["path"]
    for key in [key for key, file in paths.items() if key.startswith("pretrain_") and file]:
        paths[key] = f"{key.removeprefix('pretrain_')}.pth".replace("network_dense", "network_g")
    for name, section in options["datasets"].items():
        _with_small_images(section, options)
        if name == "train":
            side = CROP.get(options["network_g"]["type"]) or options["network_g"]["kernel_size"]
            section["gt_size"] = side * options["scale"]
            section.update(batch_size_per_gpu=2, num_worker_per_gpu=0, dataset_enlarge_ratio=1)
            section.pop("persistent_workers", None)
    if train := options.get("train"):
        train.update({"search_iter": 2, "finetune_iter": 2} if "search_iter" in train else {"total_iter": 2})
        options["val"]["val_freq"] = options["logger"]["save_checkpoint_freq"] = 2
        if "prune" in train:
            train["prune"].update(pass_iter=1, channels_per_round=16)
    return {**options, "num_gpu": 0}


def _with_small_images(section: dict, options: dict) -> None:
    for key in section:
        if key.startswith("dataroot"):
            level = re.search(r"down(\d)$", key)
            factor = int(level[1]) if level else options["scale"] if "lq" in key else 1
            section[key] = f"data/x{factor}/{'HR' if factor == 1 else 'LR'}"
        elif key.startswith("filename_tmpl"):
            section[key] = "{}"


@pytest.mark.parametrize(
    "path",
    [pytest.param(file, id=file.stem, marks=() if file.stem in SHORT else conftest.long_form) for file in FILES],
)
def test_a_public_option_file_runs(path, workdir, capsys):
    options, command = read_options(path), path.stem.split("_")[0]
    for factor in {1, 2, 4, options["scale"]}:
        tiny.make_pairs(Path(f"data/x{factor}"), 4, SIDE, factor)
    assert cli.main([command, "-opt", tiny.write(cut(options))]) == 0, capsys.readouterr().err[-3000:]
    if command == "compress":
        folder = Path("experiments") / path.stem
        assert set(plan.read_ends(folder)) == {"search", "prune"}
        assert (folder / "models" / "net_g_latest.pth").is_file()
        assert "uniform width" in capsys.readouterr().out
