"""Sample option files, run two iterations of those that pass the check, and count the tracebacks, which must be none.

``python -m tests.faults.sampled_runs --runs 150 --seed 0`` takes about 20 minutes on one core. Each file is a sound
recipe of one model whose networks, data sets, losses and metrics are exchanged, and whose options are set to values of
their declared kinds, half of the time to odd ones.
"""

from __future__ import annotations

import argparse
import copy
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import lightsr_basicsr  # noqa: F401, it makes BasicSR importable

# isort: split
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, MODEL_REGISTRY

from lightsr_basicsr import cli
from lightsr_basicsr.data.blind_dataset import KERNELS
from lightsr_basicsr.registry import look_up
from lightsr_basicsr.tools.check.known import fields_of_model, fields_of_set, within
from lightsr_basicsr.tools.check.options import check_options
from lightsr_basicsr.tools.check.schema import option_schema
from tests import kdsr, tiny

SECONDS = 120  # of one run, which takes two
SIDE = 64  # of HR images
BASICSR = {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 1}
# Arguments that make a network small.
SMALL: dict[str, dict[str, Any]] = {
    "IMDN": {"num_feat": 16, "num_block": 1}, "IMDN_RTC": {"num_feat": 4, "num_block": 1},
    "IMDN_RTE": {"num_feat": 16, "num_block": 1}, "IMDN_AS": {"num_feat": 16, "num_block": 1},
    "DRN": {"num_feat": 8, "num_block": 1}, "BlindSR_TA": kdsr.SIZE, "BlindSR_ST": kdsr.SIZE,
    "EDSR": BASICSR, "MSRResNet": BASICSR, "RRDBNet": {**BASICSR, "num_grow_ch": 4},
    "RCAN": {**BASICSR, "num_group": 1, "squeeze_factor": 2}, "SRVGGNetCompact": {"num_feat": 8, "num_conv": 1},
    "ECBSR": {"num_in_ch": 3, "num_out_ch": 3, "num_block": 1, "num_channel": 4, "with_idt": True, "act_type": "relu"},
    "SwinIR": {"img_size": 16, "window_size": 8, "depths": [1], "num_heads": [2], "embed_dim": 8,
               "upsampler": "pixelshuffledirect"},
    "Reparameterized": {"network": {"type": "MSRResNet", **BASICSR}}, "FDIWN_M": {}, "DDistill_SR": {},
    "UNetDiscriminatorSN": {"num_in_ch": 3, "num_feat": 2}, "VGGStyleDiscriminator": {"num_in_ch": 3, "num_feat": 2},
}  # fmt: skip
ODD = [None, True, False, 0, -1, 1, 2, 3, 7, 0.5, 1e-4, 1e30, 2**31, 10**6, float("inf"), float("nan"), "", "x", "~",
       "1e-4", "../x", "a" * 300, "\x00", [], [1], [1, 2], [2, 1], [None], ["x"], {}, {"type": "L1Loss"},
       "data/HR"]  # fmt: skip
CROPS = ("gt_size", "use_hflip", "use_rot", "num_worker_per_gpu", "batch_size_per_gpu")
NETWORKS = [*SMALL][:-2]


def pick(rng: random.Random, schema: Any) -> Any:
    """Return a value that a JSON schema allows, often at the end of a range."""
    if not isinstance(schema, dict) or not schema:
        return rng.choice(ODD)
    if "anyOf" in schema:
        return pick(rng, rng.choice(schema["anyOf"]))
    if "enum" in schema:
        return rng.choice(schema["enum"])
    if "default" in schema and rng.random() < 0.2:
        return schema["default"]
    kind = schema.get("type")
    kind = rng.choice(kind) if isinstance(kind, list) else kind
    least = schema.get("minimum", schema.get("exclusiveMinimum", -1))
    most = schema.get("maximum", 10 ** rng.randint(0, 9))
    if kind == "integer":
        return rng.choice([int(least), int(least) + 1, int(least) + 2, 4, 8, 16, 1 + int(most)])
    if kind == "number":
        return rng.choice([least, least + 1e-3, 0.5, 1.0, 2, rng.uniform(least, max(most, least)), most])
    if kind == "array":
        length = rng.randint(schema.get("minItems", 0), schema.get("maxItems", 3))
        return [pick(rng, schema.get("items")) for _ in range(length)]
    texts = ["x", "x4", "a b", "{}", "data/HR", "data/LR", "lpips"]
    others = {"boolean": [True, False], "null": [None], "string": texts, "object": [{}, {"type": "x"}]}
    return rng.choice(others.get(kind, ODD))


def recipes() -> Iterator[tuple[bool, dict]]:
    """Yield whether for a training, and a sound option file of each kind."""
    plain = tiny.train_options(total_iter=2)
    plain["datasets"]["train"]["batch_size_per_gpu"] = 2
    crops = {key: plain["datasets"]["train"][key] for key in CROPS}
    hr = {"name": "t", "dataroot_gt": "data/HR", "io_backend": {"type": "disk"}}
    yield True, plain
    yield True, {**plain, "model_type": "SRModel", "network_g": {"type": "EDSR", **BASICSR, "upscale": 2}}
    yield True, {**plain, "model_type": "SwinIRModel", "network_g": {"type": "SwinIR", "upscale": 2, **SMALL["SwinIR"]}}
    wide = {"type": "Reparameterized", "network": {"type": "MSRResNet", **BASICSR, "upscale": 2}}
    yield True, {**plain, "model_type": "ReparamModel", "network_g": wide}
    gan = {"optim_d": {"type": "Adam", "lr": 1e-3}, "gan_opt": {"type": "GANLoss", "gan_type": "vanilla"}}
    judge = {"type": "UNetDiscriminatorSN", **SMALL["UNetDiscriminatorSN"]}
    for model in ("SRGANModel", "ESRGANModel"):
        yield True, {**plain, "model_type": model, "network_d": judge, "train": {**plain["train"], **gan}}
    yield True, kdsr.run_options(teacher_iter=1, total_iter=2)
    yield True, _dual(plain, {"type": "MultiScalePairedDataset", **hr, **crops})
    blind = {"type": "DegradedImageDataset", **hr}
    yield True, {**plain, "datasets": {"train": {**blind, **crops}, "val": {**blind, "name": "v"}}}
    real = {"type": "RealESRGANDataset", **hr, "meta_info": "meta.txt", **KERNELS, **crops, "gt_size": 32}
    sets = {"train": real, "val": tiny.paired("v", "data")}
    yield True, {**plain, **kdsr.SYNTHESIS, "model_type": "RealESRNetModel", "datasets": sets}
    yield False, tiny.test_options(tiny.paired("a", "data"), tiny.paired("b", "data"), pretrain_network_g="net.pth")
    single = {"type": "SingleImageDataset", "name": "s", "dataroot_lq": "data/LR", "io_backend": {"type": "disk"}}
    val = {"save_img": True, "suffix": "x"}
    yield False, {**tiny.test_options(single, pretrain_network_g="net.pth"), "model_type": "SRModel", "val": val}


def _dual(plain: dict, train_set: dict) -> dict:
    """Return a dual regression."""
    return {
        **plain, "scale": 4, "model_type": "DualRegressionModel",
        "datasets": {"train": train_set, "val": {**tiny.paired("v", "data"), "dataroot_lq": "data/LR4"}},
        "network_g": {"type": "DRN", **SMALL["DRN"], "upscale": 4},
        "network_dual": {"type": "DRNDual", "num_feat": 8, "upscale": 4},
        "train": {**plain["train"], "dual_opt": {"type": "L1Loss", "loss_weight": 0.1}},
    }  # fmt: skip


def sample(rng: random.Random, schema: dict, recipe: tuple[bool, dict]) -> tuple[bool, dict]:
    """Return a recipe with some changes."""
    is_train, options = recipe[0], copy.deepcopy(recipe[1])
    changes = [
        _network,
        _network_argument,
        _set,
        _set_option,
        _option,
        _option,
        _loss,
        _metric,
        _optimizer,
        _model,
        _scale,
    ]
    for change in rng.choices(changes, weights=[2, 2, 1, 3, 4, 4, 2, 2, 2, 1, 1], k=rng.randint(1, 3)):
        change(rng, schema, options, is_train)
    if isinstance(options.get("train"), dict):
        options["train"]["total_iter"] = 2
    return is_train, options


def _value(rng: random.Random, schema: Any) -> Any:
    return rng.choice(ODD) if rng.random() < 0.5 else pick(rng, schema)


def _definition(schema: dict, kind: str, name: Any) -> dict:
    """Return the schema of the arguments of what is registered under ``name``."""
    for rule in schema["definitions"][kind]["allOf"]:
        if rule["if"]["properties"]["type"]["const"] == name:
            return rule["then"]["properties"]
    return {}


def _key_of_network(rng: random.Random, options: dict) -> str:
    keys = [key for key, content in options.items() if key.startswith("network_") and isinstance(content, dict)]
    return rng.choice(keys or ["network_g"])


def _network(rng: random.Random, schema: dict, options: dict, is_train: bool) -> None:
    key = _key_of_network(rng, options)
    name = rng.choice(
        NETWORKS if rng.random() < 0.8 else schema["definitions"]["network"]["properties"]["type"]["enum"]
    )
    arguments = copy.deepcopy(SMALL.get(name, {}))
    if "upscale" in _definition(schema, "network", name):
        arguments["upscale"] = options["scale"]
    options[key] = {"type": name, **arguments}


def _network_argument(rng: random.Random, schema: dict, options: dict, is_train: bool) -> None:
    section = options.get(_key_of_network(rng, options))
    if not isinstance(section, dict):
        return
    known = _definition(schema, "network", section.get("type"))
    if len(known) > 1:
        key = rng.choice([key for key in known if key != "type"])
        section[key] = _value(rng, known[key])


def _set(rng: random.Random, schema: dict, options: dict, is_train: bool) -> None:
    section = options["datasets"][rng.choice([*options["datasets"]])]
    section["type"] = rng.choice(schema["definitions"]["dataset"]["properties"]["type"]["enum"])


def _set_option(rng: random.Random, schema: dict, options: dict, is_train: bool) -> None:
    section = options["datasets"][rng.choice([*options["datasets"]])]
    fields = fields_of_set(look_up(DATASET_REGISTRY, section.get("type")))
    key = rng.choice(sorted(set(fields) - {"type", "name"}))
    section[key] = _value(rng, fields[key].schema())


def _option(rng: random.Random, schema: dict, options: dict, is_train: bool) -> None:
    name = rng.choice(["", "train", "val", "logger", "path", "val"])
    if name and not isinstance(options.get(name), dict):
        name = ""
    fields = within(fields_of_model(look_up(MODEL_REGISTRY, options["model_type"])), name)
    skip = {"datasets", "path", "train", "val", "logger", "model_type", "name", "wandb", "network_*"}
    keys = sorted(key for key in fields if key not in skip)
    key = rng.choice(keys)
    section = options[name] if name else options
    section[key.replace("*", rng.choice(["g", "d"]))] = _value(rng, fields[key].schema())


def _loss(rng: random.Random, schema: dict, options: dict, is_train: bool) -> None:
    if not is_train:
        return
    name = rng.choice([*schema["definitions"]["loss"]["properties"]["type"]["enum"]])
    known = _definition(schema, "loss", name)
    section = {"type": name}
    for key in rng.sample([key for key in known if key != "type"], min(1, len(known) - 1)):
        section[key] = _value(rng, known[key])
    places = [key for key in options["train"] if key.endswith("_opt")] or ["pixel_opt"]
    if name != "PerceptualLoss":  # whose weights are downloaded
        options["train"][rng.choice(places)] = section


def _metric(rng: random.Random, schema: dict, options: dict, is_train: bool) -> None:
    name = rng.choice([each for each in schema["definitions"]["metric"]["properties"]["type"]["enum"]
                       if each not in ("calculate_lpips", "calculate_dists")])  # fmt: skip
    known = _definition(schema, "metric", name)
    section: dict[str, Any] = {"type": name, "crop_border": 2}
    key = rng.choice([*known])
    if key != "type":
        section[key] = _value(rng, known[key])
    if isinstance(options.get("val"), dict):
        options["val"]["metrics"] = {rng.choice(["psnr", "ssim", "m", "a.b", "x/y"]): section}


def _optimizer(rng: random.Random, schema: dict, options: dict, is_train: bool) -> None:
    if not is_train:
        return
    for holder in (options["train"], *(options["train"].get(stage, {}) for stage in ("teacher", "student"))):
        if "optim_g" in holder and rng.random() < 0.5:
            names = ["Adam", "AdamW", "SGD", "RMSprop", "Adamax", "LBFGS", "SparseAdam", "Rprop", "NAdam", "Adan"]
            arguments = ["lr", "weight_decay", "betas", "eps", "momentum", "amsgrad", "fused", "foreach", "capturable"]
            holder["optim_g"] = {"type": rng.choice(names), "lr": 1e-3,
                                 rng.choice(arguments): rng.choice([*ODD, [0.9, 0.99], 1e-3])}  # fmt: skip
        elif "scheduler" in holder:
            kind = rng.choice(["MultiStepLR", "MultiStepRestartLR", "CosineAnnealingRestartLR", "StepLR"])
            arguments = {"MultiStepLR": {"milestones": [1], "gamma": 0.5}, "CosineAnnealingRestartLR":
                         {"periods": [2], "restart_weights": [1], "eta_min": 0}}.get(kind, {})  # fmt: skip
            keys = ["milestones", "gamma", "periods", "restart_weights", "eta_min", "restarts"]
            holder["scheduler"] = {
                "type": kind,
                **arguments,
                rng.choice(keys): rng.choice([*ODD, [1, 1], [5], [1, 2, 3]]),
            }


def _model(rng: random.Random, schema: dict, options: dict, is_train: bool) -> None:
    options["model_type"] = rng.choice(schema["definitions"]["file"]["properties"]["model_type"]["enum"])


def _scale(rng: random.Random, schema: dict, options: dict, is_train: bool) -> None:
    options["scale"] = rng.choice([1, 2, 3, 4, 2.0, 1.5, 8, *ODD])


def run(is_train: bool, options: dict, place: str) -> None:
    """Run a file in this process, which then ends; what it prints goes to ``place``/log."""
    os.chdir(place)
    with open("log", "w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    sys.exit(cli.main(["train" if is_train else "test", "-opt", tiny.write(options)]))


def outcome(is_train: bool, options: dict, place: Path) -> str:
    """Return how a run of the file ended: ``'exit 0'``, ``'traceback'``, ``'too long'``."""
    process = multiprocessing.get_context("fork").Process(target=run, args=(is_train, options, str(place)))
    process.start()
    process.join(SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
        return "too long"
    text = (place / "log").read_text(errors="replace") if (place / "log").exists() else ""
    return "traceback" if "Traceback (most recent" in text else f"exit {process.exitcode}"


def make_place(place: Path) -> None:
    """Write what option files refer to: images, a list of them, a checkpoint."""
    tiny.make_pairs(place / "data", 2, SIDE)
    tiny.make_pairs(place / "data4", 2, SIDE, 4)
    (place / "data4" / "LR").rename(place / "data" / "LR4")
    (place / "meta.txt").write_text("000.png\n001.png\n")
    torch.manual_seed(0)
    torch.save({"params": ARCH_REGISTRY.get("IMDN_RTC")(num_feat=4, num_block=1).state_dict()}, place / "net.pth")


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Sample until enough files were run; return 1 if one of them ended with a traceback or not at all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng, schema, counts = random.Random(args.seed), option_schema(), Counter()
    sound, slowest, begun = list(recipes()), 0.0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        make_place(place)
        os.chdir(place)
        while counts["run"] < args.runs:
            is_train, options = sample(rng, schema, rng.choice(sound))
            counts["sampled"] += 1
            options["name"], since = f"run{counts['sampled']}", time.process_time()
            if any(finding.fatal for finding in check_options(options, is_train)):
                slowest = max(slowest, time.process_time() - since)
                continue
            counts["run"] += 1
            ended = outcome(is_train, options, place)
            counts[ended] += 1
            if ended != "exit 0":
                _tell(f"{ended}: {json.dumps(options, default=str)}")
                _tell((place / "log").read_text(errors="replace")[-1500:])
    _tell(f"seed {args.seed}: {dict(counts)}, slowest check {slowest:.1f} s, {time.monotonic() - begun:.0f} s in all")
    return int(counts["traceback"] + counts["too long"] > 0)


if __name__ == "__main__":
    sys.exit(main())
