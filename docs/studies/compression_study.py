"""Compare the demo's compressed network with the dense one and one of uniform width, all trained equally long.

``python docs/studies/compression_study.py`` trains the dense network of ``options/demo_train_drn_x4.yml`` with each of
three seeds, and compresses it as ``options/demo_compress_drn_x4.yml`` says. Then it trains

- the dense network from random weights on one schedule, for the iterations of dense network, search, and fine-tuning;
- the dense network further, as the compressed one is fine-tuned, for the iterations of search and fine-tuning;
- the network of uniform width, of no more parameters: chosen by ``l1`` from the same dense network, and fine-tuned with
  the same losses for the iterations of search and fine-tuning.

The pruning is not counted: each of its batches changes the weights of one layer at most. ``--count-pruning`` gives the
other two its iterations as well. It prints parameters, and the PSNR (Y) of the demo's two validation images. Takes an
hour on two CPU cores; results are kept under ``--folder``, and an interrupted study resumes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from kdsr_demo_study import print_table, run

from lightsr_basicsr.tools import options as option_files

OPTIONS = Path(__file__).resolve().parents[2] / "options"


def read_options(name: str, seed: int) -> dict[str, Any]:
    """Return the options of a file with another seed."""
    return {**option_files.read_options(OPTIONS / f"{name}.yml"), "manual_seed": seed}


def with_length(train: dict[str, Any], iterations: int) -> dict[str, Any]:
    """Return a section with a schedule over so many iterations."""
    return {**train, "scheduler": {**train["scheduler"], "periods": [iterations]}}


def compressing(seed: int, dense: str) -> dict[str, Any]:
    """Return the options that compress the network of the run ``dense``."""
    options = read_options("demo_compress_drn_x4", seed)
    before = "experiments/demo_train_drn_x4/"
    paths = {key: value.replace(before, f"experiments/{dense}/") for key, value in options["path"].items()}
    return {**options, "path": paths, "name": f"compressed_seed{seed}"}


def longer(options: dict[str, Any], iterations: int, seed: int) -> dict[str, Any]:
    """Return the options of the dense network with so many iterations."""
    train = {**with_length(options["train"], iterations), "total_iter": iterations}
    rest = {key: value for key, value in options.items() if key != "comparison"}
    return {**rest, "train": train, "name": f"dense_{iterations}_seed{seed}"}


def continued(compression: dict[str, Any], iterations: int, seed: int) -> dict[str, Any]:
    """Return the options that fine-tune the dense network as the compressed one, for so many iterations."""
    train, paths = compression["train"], compression["path"]
    tuned = {**with_length(train["finetune"], iterations), "total_iter": iterations}
    train = {"pixel_opt": train["pixel_opt"], "dual_opt": train["dual_opt"], **tuned}
    paths = {**paths, "pretrain_network_g": paths["pretrain_network_dense"], "param_key_g": "params_ema"}
    del paths["pretrain_network_dense"]
    rest = {key: value for key, value in compression.items() if key != "comparison"}
    name = f"continued_{iterations}_seed{seed}"
    return {**rest, "model_type": "DistillFinetuneModel", "train": train, "path": paths, "name": name}


def uniform(options: dict[str, Any], channels: list[int], iterations: int, seed: int) -> dict[str, Any]:
    """Return the options of a network with these channels, chosen by l1 and fine-tuned for so many iterations."""
    train = {key: value for key, value in options["train"].items() if key not in ("pruning_rate", "cost")}
    train |= {
        "search_iter": 0, "finetune_iter": iterations, "channels": channels, "prune": {"criterion": "l1"},
        "finetune": with_length(train["finetune"], iterations),
    }  # fmt: skip
    return {**options, "train": train, "name": f"uniform_{iterations}_seed{seed}"}


def study(seed: int, folder: Path, count_pruning: bool) -> dict[str, float]:
    """Return the PSNR of each network for one seed."""
    options = {**read_options("demo_train_drn_x4", seed), "name": f"dense_seed{seed}"}
    scores = {"dense, at first": run(options, folder)[""]}
    compression = compressing(seed, options["name"])
    found = run(compression, folder, "compress")
    scores |= {"pruned": found["prune"], "pruned, fine-tuned": found["finetune"]}
    place = folder / "experiments" / compression["name"]
    train = compression["train"]
    more = train["search_iter"] + train["finetune_iter"] + count_pruning * pruning_iterations(place, train)
    total = options["train"]["total_iter"] + more
    scores[f"dense, {total} iterations"] = run(longer(options, total, seed), folder)[""]
    scores[f"dense, fine-tuned for {more}"] = run(continued(compression, more, seed), folder)[""]
    channels = [int(number) for number in (place / "channel_configs_uniform.txt").read_text().split()]
    same = run(uniform(compression, channels, more, seed), folder, "compress")
    scores["uniform width, fine-tuned"] = same["finetune"]
    return scores


def pruning_iterations(place: Path, train: dict[str, Any]) -> int:
    """Return the iterations in which the pruning of a run chose channels."""
    kept = json.loads((place / "selection.json").read_text())["kept"]
    rounds = sum(-(-len(channels) // train["prune"]["channels_per_round"]) for channels in kept.values())
    return 2 * rounds * train["prune"]["pass_iter"]


def sizes(seed: int, folder: Path) -> dict[str, int]:
    """Return the parameters of dense, compressed and uniform networks of one seed."""
    from lightsr_basicsr.plugins import registries

    place = folder / "experiments" / f"compressed_seed{seed}"
    section = read_options("demo_compress_drn_x4", seed)["network_g"]
    lists = {"dense": None, "compressed": "channel_configs.txt", "uniform width": "channel_configs_uniform.txt"}
    build = registries()["networks"].get(section.pop("type"))
    nets = {title: build(**section, **({"channels": str(place / name)} if name else {}))
            for title, name in lists.items()}  # fmt: skip
    return {title: sum(each.numel() for each in net.parameters()) for title, net in nets.items()}


def main() -> None:
    """Run the study and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, default=Path("compression_study"))
    parser.add_argument("--count-pruning", action="store_true", help="train the others also for the pruning's batches")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    found = [study(seed, args.folder, args.count_pruning) for seed in args.seeds]
    print_table(args.seeds, found)
    for seed in args.seeds:
        print(f"seed {seed}: " + ", ".join(f"{title} {count:,}" for title, count in sizes(seed, args.folder).items()))


if __name__ == "__main__":
    main()
