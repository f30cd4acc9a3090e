"""The section ``train`` of an option file: losses, optimizer, scheduler."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import torch
from basicsr.models.sr_model import SRModel
from basicsr.models.srgan_model import SRGANModel
from basicsr.utils.registry import LOSS_REGISTRY, MODEL_REGISTRY

from lightsr_basicsr.tools.check_keys import Finding, check_required, check_texts, section_of
from lightsr_basicsr.tools.check_names import check_arguments, check_type, look_up, one_line

DIVISORS = ("lr_decay_sr", "net_d_iters")
NUMBERS = (*DIVISORS, "ema_decay", "warmup_iter", "net_d_init_iters", "encoder_only_iter", "lr_sr", "gamma_sr")


def check_training(options: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what would stop the set-up of losses, optimizer and scheduler."""
    yield from _check_training_of_srmodel(options)
    yield from _check_losses(options)
    yield from _check_numbers(section_of(options, "train"))
    yield from _check_optimization(options)


def _check_losses(options: Mapping) -> Iterator[Finding]:
    for key, content in section_of(options, "train").items():
        if not (str(key).endswith("_opt") and isinstance(content, Mapping)):
            continue
        # A section of another plugin may end in _opt and be no loss.
        if "type" not in content and key not in ("pixel_opt", "perceptual_opt", "gan_opt"):
            continue
        where = f"train.{key}"
        findings = list(check_type(f"{where}.type", content.get("type"), LOSS_REGISTRY, "loss"))
        if not findings:
            kwargs = {name: value for name, value in content.items() if name != "type"}
            loss = look_up(LOSS_REGISTRY, content["type"])
            findings = list(check_arguments(where, loss, kwargs)) or list(_try_to_build(where, loss, kwargs))
        yield from findings


def _try_to_build(where: str, loss: Any, kwargs: Mapping[str, Any]) -> Iterator[Finding]:
    if loss.__name__ == "PerceptualLoss":  # which may download half a gigabyte: see check_downloads
        return
    try:
        loss(**deepcopy(dict(kwargs)))
    except Exception as error:
        # Losses of other plugins raise anything.
        yield Finding(where, f"{loss.__name__} cannot be built: {one_line(error)}")


def _check_numbers(train: Mapping) -> Iterator[Finding]:
    """Yield values that BasicSR or a model computes with and that are no numbers, or zero where they divide."""
    for key in NUMBERS:
        value = train.get(key, 1)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            yield Finding(f"train.{key}", f"must be a number, got {value!r}: leave the line out for the default")
        elif key in DIVISORS and value <= 0:
            yield Finding(f"train.{key}", f"must be at least 1, got {value!r}")


def _check_training_of_srmodel(options: Mapping) -> Iterator[Finding]:
    """Models with a set-up of their own may need other sections."""
    model, train = look_up(MODEL_REGISTRY, str(options.get("model_type"))), section_of(options, "train")
    uses = {
        "optim_g": getattr(model, "setup_optimizers", None) in (SRModel.setup_optimizers, SRGANModel.setup_optimizers),
        "scheduler": getattr(model, "setup_schedulers", None) is SRModel.setup_schedulers,
    }
    yield from check_required("train", train, {key: dict for key, used in uses.items() if used})
    sets_up_losses = getattr(model, "init_training_settings", None) is SRModel.init_training_settings
    if sets_up_losses and not (train.get("pixel_opt") or train.get("perceptual_opt")):
        yield Finding("train", "names no loss: add pixel_opt (for example {type: L1Loss}) or perceptual_opt")


def _check_optimization(options: Mapping) -> Iterator[Finding]:
    """Build an optimizer and a scheduler for one parameter, the way the model will."""
    model = look_up(MODEL_REGISTRY, str(options.get("model_type")))
    train = section_of(options, "train")
    optim, scheduler = (deepcopy(dict(section_of(train, key))) for key in ("optim_g", "scheduler"))
    if model is None or not optim or not scheduler or list(check_texts(train)):
        return
    stub = SimpleNamespace(opt={"train": {"scheduler": scheduler}}, optimizers=[], schedulers=[])
    adversary = deepcopy(dict(section_of(train, "optim_d")))
    for where, step in (
        ("train.optim_d", lambda: adversary and _optimizer(model, stub, adversary)),
        ("train.optim_g", lambda: stub.optimizers.append(_optimizer(model, stub, optim))),
        ("train.scheduler", lambda: model.setup_schedulers(stub)),
    ):
        try:
            step()
        except KeyError as error:
            yield Finding(where, f"{error} is missing")
        except AttributeError:  # the model's own version needs more of the model than a stub has
            return
        except Exception as error:
            yield Finding(where, one_line(error))
            return
    yield from _check_periods(train)


def _optimizer(model: type, stub: Any, optim: dict) -> torch.optim.Optimizer:
    return model.get_optimizer(stub, optim.pop("type"), [torch.nn.Parameter(torch.zeros(1))], **optim)


def _check_periods(train: Mapping) -> Iterator[Finding]:
    periods, total = train["scheduler"].get("periods"), train.get("total_iter")
    if isinstance(periods, list) and isinstance(total, (int, float)) and sum(periods) < total:
        yield Finding(
            "train.total_iter",
            f"{total:,} cannot be met: the periods of the scheduler end at iteration {sum(periods):,}",
        )
