"""Compare dual regression and reparameterization with plain training of a small IMDN on the demo's images.

``python docs/studies/training_study.py`` trains the network of ``options/demo_train_imdn_x4.yml`` for each of three
seeds, with equal numbers of iterations: as it is, with dual regression, with reparameterizable convolutions (ECB), and
with both. It prints the PSNR (Y) of the deployed network, which is the same network in all four. Takes an hour on two
CPU cores; results are kept under ``--folder``, and an interrupted study resumes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from kdsr_demo_study import print_table, run

from lightsr_basicsr.tools.options import read_options

OPTIONS = Path(__file__).resolve().parents[2] / "options" / "demo_train_imdn_x4.yml"
DUAL_NETWORK = {"type": "DualNetwork", "downscale": 4}
DUAL_LOSS = {"type": "L1Loss", "loss_weight": 0.1}


def candidates(options: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the options of each candidate, by title."""
    wide = {"network_g": {"type": "Reparameterized", "network": options["network_g"], "block": "ECB"}}
    dual = {"model_type": "DualRegressionModel", "network_dual": DUAL_NETWORK}
    dual_train = {**options["train"], "dual_opt": DUAL_LOSS}
    return {
        "plain": options,
        "dual regression": {**options, **dual, "train": dual_train},
        "reparameterized": {**options, **wide, "model_type": "ReparamModel"},
        "both": {**options, **wide, **dual, "train": {**dual_train, "reparam": True}},
    }


def study(seed: int, iterations: int, folder: Path) -> dict[str, float]:
    """Return the PSNR of each candidate for one seed."""
    options = read_options(OPTIONS)
    train = {**options["train"], "total_iter": iterations}
    train["scheduler"] = {**train["scheduler"], "periods": [iterations]}
    options = {key: value for key, value in options.items() if key != "comparison"} | {"manual_seed": seed}
    found = {}
    for title, candidate in candidates({**options, "train": train}).items():
        name = f"{title.replace(' ', '_')}_{iterations}_seed{seed}"
        (found[title],) = run({**candidate, "name": name}, folder).values()
    return found


def main() -> None:
    """Run the study and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--folder", type=Path, default=Path("training_study"))
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    found = [study(seed, args.iterations, args.folder) for seed in args.seeds]
    print_table(args.seeds, found)


if __name__ == "__main__":
    main()
