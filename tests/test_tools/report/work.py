"""Logs as BasicSR writes them, without a training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import cv2
import numpy as np

from lightsr_basicsr import cli
from lightsr_basicsr.tools.report.run import read_runs
from lightsr_basicsr.tools.report.runs import Run

HEADER = """\
{when},001 INFO:{blank}
  / ____/____   ____
Version Information:{blank}
	BasicSR: 1.4.2
	PyTorch: 2.4.0
{when},002 INFO:{blank}
  name: {name}
  model_type: LossDictModel
  network_g:[
    type: IMDN
    num_feat: {feat}
  ]
  path:[
    pretrain_network_g: None
    models: /elsewhere/models
  ]
  train:[
    optim_g:[
      lr: {rate}
      betas: [0.9, 0.99]
    ]
    total_iter: {total}
  ]
  val:[
    val_freq: {freq}
    metrics:[
      psnr:[
        type: calculate_psnr
      ]
      niqe:[
        type: calculate_niqe
        better: lower
      ]
    ]
  ]
  logger:[
    print_freq: 10
  ]
  num_gpu: 0
  world_size: 1

{when},003 INFO: Training statistics:
	Number of train images: 800
{when},003 INFO: Training ends at iteration {total}, 100 iterations per epoch.
{when},004 INFO: Network: IMDN, with parameters: 715,176
{when},005 INFO: Start training from epoch: 0, iter: {start}
"""
END = "{when},000 INFO: End of training. Time consumed: 0:01:00\n"


def step(iteration: int, losses: Mapping[str, float | str], when: str, rate: float = 1e-4) -> str:
    """Return the line of an iteration."""
    items = "".join(f"{name}: {value if isinstance(value, str) else f'{value:.4e}'} " for name, value in losses.items())
    place = f"[x4..][epoch:  0, iter:{iteration:8,d}, lr:({rate:.3e},)]"
    return f"{when},000 INFO: {place} [eta: 0:01:00, time (data): 0.500 (0.010)] {items}\n"


def scores(
    name: str, values: Mapping[str, float], when: str, best: Mapping[str, tuple[float, int]] | None = None
) -> str:
    """Return the lines of a validation, which do not say its iteration."""
    lines = "".join(
        f"\t # {metric}: {value:.4f}"
        + (f"\tBest: {best[metric][0]:.4f} @ {best[metric][1]} iter" if best else "")
        + "\n"
        for metric, value in values.items()
    )
    return f"{when},100 INFO: Validation {name}\n{lines}\n"


def make_log(
    name: str = "x4",
    *,
    start: int = 0,
    last: int = 100,
    total: int = 100,
    every: int = 10,
    freq: int = 50,
    losses: str | float = "",
    ended: bool = True,
    hour: int = 8,
    feat: int = 64,
    rate: float = 1e-4,
    stage: str = "",
) -> str:
    """Return the log of one start: a line each ``every`` iterations, a validation of Set5 each ``freq``.

    The loss of an iteration is 1 / iteration, and PSNR iteration / 100, unless ``losses`` is a loss for all.
    """  # fmt: skip
    clock = datetime(2026, 5, 1, hour)
    text = HEADER.format(
        when=clock, name=name, feat=feat, rate=rate, total=total, freq=freq, start=start, blank=" "
    )  # fmt: skip
    for iteration in range(start + 1, last + 1):
        when = str(clock + timedelta(seconds=iteration - start))
        if iteration % every == 0:
            text += step(iteration, {f"{stage}l_pix": losses or 1 / iteration}, when, rate)
        if iteration % freq == 0:
            text += scores("Set5", {"psnr": iteration / 100, "niqe": 5 - iteration / 100}, when)
    return text + (END.format(when=clock + timedelta(seconds=last - start)) if ended else "")


def make_run(name: str = "x4", *logs: str | bytes, parent: str = "experiments") -> Path:
    """Write the folder of a run with its logs, by default one of a finished run, and return it."""
    folder = Path(parent, name)
    (folder / "models").mkdir(parents=True, exist_ok=True)
    for number, log in enumerate(logs or [make_log(name)]):
        content = log if isinstance(log, bytes) else log.encode()
        (folder / f"train_{name}_20260501_0{number}0000.log").write_bytes(content)
    return folder


def make_pictures(folder: Path, name: str, iterations: Iterable[int], side: int = 64) -> None:
    """Write visualization/NAME/NAME_ITERATION.png, each of one gray."""
    place = folder / "visualization" / name
    place.mkdir(parents=True, exist_ok=True)
    for iteration in iterations:
        cv2.imwrite(str(place / f"{name}_{iteration}.png"), np.full((side, side, 3), min(255, iteration), np.uint8))


def report(*arguments: str) -> int:
    """Run the command in this process."""
    return cli.main(["report", *map(str, arguments)])


def only(*named: str | Path) -> Run:
    """Return the one run that is meant."""
    (found,) = read_runs(named)
    return found
