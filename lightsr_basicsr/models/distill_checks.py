"""Checks for option files of distillation: a teacher of the same scale, and feature maps that belong together."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from lightsr_basicsr.errors import UserError, short_message
from lightsr_basicsr.models.contract import Networks, Options, Problems
from lightsr_basicsr.models.dual_checks import DualContract
from lightsr_basicsr.models.kernel_checks import estimates_kernel
from lightsr_basicsr.models.pruning_checks import has_wrong_values, probe_image
from lightsr_basicsr.pruning.selection import in_training_form

INPUT = ":input"  # behind the name of a module whose input is meant
DEFAULT_KD_NUMS = 0
TEACHER = "{type: DRN, num_feat: 20, num_block: 40}"


class MapError(UserError):
    """Feature maps of two networks that cannot be compared."""


def maps_of(student: nn.Module, teacher: nn.Module, options: Options) -> list[tuple[str, str]]:
    """Return the pairs of feature maps, by their names, that ``train`` asks for; [] where images alone are compared.

    Raises:
        MapError: If there are none, or the networks name different ones.
    """
    train = options["train"]
    if pairs := train.get("kd_maps"):
        return [(ours, theirs) for ours, theirs in pairs]
    kd_nums = train.get("kd_nums", DEFAULT_KD_NUMS)
    ours, theirs = (getattr(net, "feature_maps", lambda kd_nums: [])(kd_nums) for net in (student, teacher))
    if not ours and not theirs and train.get("kd_image_opt"):
        return []
    if len(ours) != len(theirs) or not ours:
        names = [f"{type(net).__name__} names {', '.join(maps) or 'none'}"
                 for net, maps in ((student, ours), (teacher, theirs))]  # fmt: skip
        raise MapError(
            f"The feature maps of student and teacher must be equally many, but {names[0]}, and {names[1]}: pair them "
            "with train.kd_maps: [[student.module, teacher.module], ...], or compare images alone with "
            "train.kd_image_opt."
        )
    return list(zip(ours, theirs, strict=True))


class DistillContract(DualContract):
    """The contract of ``DistillFinetuneModel``."""

    training_networks = (*DualContract.training_networks, "network_teacher")
    speed_without_effect: ClassVar = {"compile": "compares maps within the networks, which compiled ones do not show"}

    def unsaved_networks(self, options: Options, current_iter: int) -> tuple[str, ...]:
        """Return the teacher's key."""
        return ("network_teacher",)

    def find_problems(self, options: Options, networks: Networks) -> Problems:
        """Yield also a missing teacher, one of another scale, and maps that are not there or of another size."""
        yield from super().find_problems(options, networks)
        student, teacher = (networks.get(key) for key in ("network_g", "network_teacher"))
        if needs_teacher(options, student):
            yield "network_teacher", f"is missing: {self.name} needs it, for example {TEACHER}"
        yield from self._find_teacher_file(options)
        if student is None or teacher is None or has_wrong_values(self.model, options):
            return
        scales = [getattr(net, "upscale", None) for net in (student, teacher)]
        if None not in scales and scales[0] != scales[1]:
            yield "network_teacher", f"enlarges by {scales[1]}, but network_g by {scales[0]}: they must be equal"
            return
        named = bool(options["train"].get("kd_maps"))
        try:
            checked_maps(student, teacher, options)
        except MapError as error:
            yield f"train.{'kd_maps' if named else 'kd_nums'}", str(error)

    def _find_teacher_file(self, options: Options) -> Problems:
        """Yield a missing file of a teacher, and what has no effect without one."""
        paths, train = options.get("path") or {}, options.get("train") or {}
        if options.get("network_teacher"):
            if not paths.get("pretrain_network_teacher"):
                yield "path.pretrain_network_teacher", f"is missing: {self.name} starts from that file"
            return
        for key in ("kd_maps", "kd_image_opt"):
            if train.get(key):
                yield f"train.{key}", "has no effect without a teacher: remove it, or name network_teacher"


def needs_teacher(options: Options, student: nn.Module | None) -> bool:
    """Return whether ``network_teacher`` is missing; DCLS is officially fine-tuned without."""
    return not options.get("network_teacher") and not estimates_kernel(student)


@torch.no_grad()
def checked_maps(student: nn.Module, teacher: nn.Module, options: Options) -> list[tuple[str, str]]:
    """Return :func:`maps_of` the networks.

    Raises:
        MapError: Unless all maps are there, with equal sizes for one image.
    """
    pairs = maps_of(student, teacher, options)
    roles = {"network_g": student, "network_teacher": teacher}
    found = {}
    for place, (role, net) in enumerate(roles.items()):
        found[role] = _sizes(net, role, {pair[place] for pair in pairs}, options)
    for ours, theirs in pairs:
        sizes = found["network_g"][ours], found["network_teacher"][theirs]
        if sizes[0] != sizes[1]:
            raise MapError(
                f"The maps {ours} of network_g and {theirs} of network_teacher must have the same size, got {sizes[0]} "
                f"and {sizes[1]} for one LR image: pair maps of the same place."
            )
    return pairs


def _sizes(net: nn.Module, role: str, names: set[str], options: Options) -> dict[str, tuple[int, ...]]:
    """Return the size of each map without its channels for one LR image."""
    seen: dict[str, tuple[int, ...]] = {}
    hooks: list[Any] = []

    def watch(name: str) -> Any:
        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            feature = inputs[0] if name.endswith(INPUT) else output
            if isinstance(feature, torch.Tensor) and feature.ndim in (3, 4):
                seen[name] = tuple(feature.shape[2:] if feature.ndim == 4 else feature.shape[1:2])

        return keep

    modules, training = dict(net.named_modules()), net.training
    try:
        for name in names:
            if name.removesuffix(INPUT) not in modules:
                raise MapError(f"{role}, {type(net).__name__}, has no module {name.removesuffix(INPUT)}: print it.")
            hooks.append(modules[name.removesuffix(INPUT)].register_forward_hook(watch(name)))
        image = probe_image(options, net)
        in_training_form(net)(image)
    except MapError:
        raise
    except Exception as error:
        # Networks of other packages may raise any exception.
        raise MapError(f"{role} cannot run on an image {tuple(image.shape)}: {short_message(error)}") from error
    finally:
        for hook in hooks:
            hook.remove()
        net.train(training)
    if missing := sorted(names - set(seen)):
        raise MapError(f"{role}, {type(net).__name__}, makes no feature map {missing[0]} in a forward pass.")
    return seen
