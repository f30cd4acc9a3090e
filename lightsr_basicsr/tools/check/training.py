"""The section ``train`` of an option file: losses, optimizer, scheduler."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import torch
from basicsr.utils.registry import LOSS_REGISTRY

from lightsr_basicsr import allocator
from lightsr_basicsr.errors import short_message
from lightsr_basicsr.registry import look_up
from lightsr_basicsr.tools.check.basicsr_fields import OF_TRAINING
from lightsr_basicsr.tools.check.context import Finding, Run
from lightsr_basicsr.tools.check.keys import check_texts, is_number_text, missing
from lightsr_basicsr.tools.check.names import arguments_of, check_section_of_type


def check_training(run: Run) -> Iterator[Finding]:
    """Yield what would stop the set-up of losses, optimizer and scheduler."""
    train = run.section("train")
    yield from (missing("train", key, train) for key in run.contract.required_sections if not train.get(key))
    if run.contract.needs_image_loss and not (train.get("pixel_opt") or train.get("perceptual_opt")):
        yield Finding("train", "names no loss: add pixel_opt (for example {type: L1Loss}) or perceptual_opt")
    if train.get("keep_memory") and (problem := allocator.find_problem()):
        yield Finding("train.keep_memory", problem)
    wrong = list(_check_values(train))
    yield from wrong
    yield from _check_losses(train, {finding.where.rpartition(".")[0] for finding in wrong})
    if not wrong:
        yield from _check_optimization(run, train)


def _check_values(train: Mapping) -> Iterator[Finding]:
    """Yield values of another kind than optimizers, schedulers and losses take."""
    for key, content in train.items():
        fields = next((table for part, table in OF_TRAINING.items() if part in str(key)), {})
        for name in fields.keys() & content.keys() if isinstance(content, Mapping) else ():
            if (problem := fields[name].problem(content[name])) and not is_number_text(content[name]):
                yield Finding(f"train.{key}.{name}", problem)


def _check_losses(train: Mapping, wrong: Container[str]) -> Iterator[Finding]:
    """Yield what is wrong with the losses, but for those sections in which a value is ``wrong``."""
    for key, content in train.items():
        if not (str(key).endswith("_opt") and isinstance(content, Mapping)) or f"train.{key}" in wrong:
            continue
        # A section of another plugin may end in _opt without being a loss.
        if "type" not in content and key not in ("pixel_opt", "perceptual_opt", "gan_opt", "dual_opt"):
            continue
        where = f"train.{key}"
        yield from check_section_of_type(where, content, LOSS_REGISTRY, "loss") or _try_to_build(where, content)


def _try_to_build(where: str, content: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield why a loss cannot be built, or does not give what the step of its section takes."""
    loss, key = look_up(LOSS_REGISTRY, content["type"]), where.removeprefix("train.")
    perceptual, known = loss.__name__ == "PerceptualLoss", loss.__module__.startswith(("basicsr.", "lightsr_basicsr."))
    if known and perceptual != (key == "perceptual_opt") and (perceptual or key == "perceptual_opt"):
        wanted = "type: PerceptualLoss" if key == "perceptual_opt" else "another type"
        yield Finding(where, f"{loss.__name__} gives {'two numbers' if perceptual else 'one number'}: set {wanted}")
    if perceptual:  # which may download half a gigabyte: see check_downloads
        return
    try:
        criterion = loss(**arguments_of(content))
        value = _try_loss(criterion, key)
    except Exception as error:
        # Losses of other plugins may raise any exception.
        yield Finding(where, f"{loss.__name__} cannot be built or used here: {short_message(error)}")
        return
    if value is not None and (not isinstance(value, torch.Tensor) or value.ndim):
        yield Finding(where, f"{loss.__name__} must give one number for two images: reduction: mean or sum")


def _try_loss(criterion: Any, key: str) -> Any:
    """Return what a loss gives in the step that the section ``key`` is for, None if that step is unknown."""
    if key == "gan_opt":
        return [criterion(torch.zeros(1, 1, 8, 8), is_real, is_disc=is_real) for is_real in (True, False)][-1]
    if key not in ("pixel_opt", "dual_opt"):
        return None
    value = criterion(torch.zeros(1, 3, 8, 8, requires_grad=True), torch.zeros(1, 3, 8, 8))
    if isinstance(value, torch.Tensor) and not value.requires_grad:
        raise ValueError("it has no gradient for images, of which nothing is learnt")
    return value


def _check_optimization(run: Run, train: Mapping) -> Iterator[Finding]:
    """Build optimizers and a scheduler for one parameter as the model will."""
    keys = ("optim_d", "optim_dual", "optim_g", "scheduler")
    sections = {key: deepcopy(dict(run.section("train", key))) for key in keys}
    if run.model is None or not sections["optim_g"] or not sections["scheduler"] or list(check_texts(train)):
        return
    stub = SimpleNamespace(opt={"train": sections}, optimizers=[], schedulers=[])
    for key, section in sections.items():
        try:
            if key == "scheduler":
                run.model.setup_schedulers(stub)
            elif section:
                parameter = torch.nn.Parameter(torch.zeros(1))
                stub.optimizers = [run.model.get_optimizer(stub, section.pop("type"), [parameter], **section)]
        except KeyError as error:
            yield Finding(f"train.{key}", f"{error} is missing")
        except AttributeError:  # the model's own version needs more of the model than a stub has
            return
        except Exception as error:
            yield Finding(f"train.{key}", short_message(error))
            return
    yield from _check_schedule(train, run.contract.schedule_every(train))


def _check_schedule(train: Mapping, every: Any) -> Iterator[Finding]:
    """Yield periods that end before the run and milestones after it, in steps of ``every`` so many iterations."""
    total, scheduler = train.get("total_iter"), train["scheduler"]
    periods, milestones = (_numbers(scheduler.get(key)) for key in ("periods", "milestones"))
    if not _numbers([total, every]):
        return
    if periods and sum(periods) * every < total:
        text = f"{total:,} cannot be met: the periods of the scheduler end at iteration {sum(periods) * every:,}"
        yield Finding("train.total_iter", text)
    if milestones and min(milestones) * every >= total:
        text = f"first acts at iteration {min(milestones) * every:,}: total_iter is {total:,}, so the rate never falls"
        yield Finding("train.scheduler.milestones", text, False)


def _numbers(values: Any) -> list[float]:
    """Return ``values`` if it is a list of numbers, else an empty list."""
    listed = isinstance(values, list) and all(isinstance(value, (int, float)) for value in values)
    return values if listed else []
