"""The network that is trained: by its name and scale, or that of a file to start from."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import Parameter, isclass, signature
from typing import Any, NamedTuple

import torch
from basicsr.utils.registry import ARCH_REGISTRY

from lightsr_basicsr.archs.network import SRNetwork
from lightsr_basicsr.errors import short_message
from lightsr_basicsr.registry import OF_ANOTHER, look_up
from lightsr_basicsr.tools.networks import build, innermost, open_checkpoint
from lightsr_basicsr.tools.new.photographs import NewError
from lightsr_basicsr.tools.new.recipes import RECIPES, Recipe, plain, recipe_named
from lightsr_basicsr.weights.find import find_weights

ARGUMENTS = {"num_in_ch": 3, "num_out_ch": 3}


class Start(NamedTuple):
    """A file to start from: its place, its network's section of an option file, and its scale."""

    file: str
    section: Mapping[str, Any]
    scale: int


def read_start(name_or_file: str) -> Start:
    """Return what a file of weights holds; every tensor has to fit.

    Raises:
        UserError: If it is missing, or of an unknown network.
    """
    file = find_weights(name_or_file)
    opened, _, _ = open_checkpoint(file, None, None)
    return Start(str(file), opened.section, int(opened.ours.upscale))


def choose(network: str | None, scale: int | None, start: Start | None) -> tuple[Recipe, int]:
    """Return how the wanted network is trained, and its scale.

    Raises:
        NewError: If there is no such network, it is not for training, or has no such scale; or a file is of another.
    """
    kind = innermost(start.section)["type"] if start else None
    recipe = find_recipe(network or str(kind))
    found = (start.scale if start else 4) if scale is None else scale
    if start is not None:
        if recipe.is_staged:
            raise NewError(
                f"Expected --init with a network of one file, got {recipe.title}, which has a teacher and a student: "
                "leave --init out, and name files under `path` in train.yml."
            )
        if plain(str(kind)) != plain(recipe.kind) or start.section["type"] != kind:
            raise NewError(f"Expected weights of {recipe.title} in --init, got {start.section['type']}: correct one.")
        if start.scale != found:
            raise NewError(f"Expected weights of x{found} in --init, got x{start.scale}: correct --scale.")
    if recipe.scales and found not in recipe.scales:
        known = ", ".join(map(str, recipe.scales))
        raise NewError(f"{recipe.title} expects a --scale of {known}, got {found}: choose one of these.")
    return recipe, found


def find_recipe(name: str) -> Recipe:
    """Return how a network is trained; one without a recipe is trained as any network of one image.

    Raises:
        NewError: If it is not registered, or cannot be trained alone.
    """
    found = recipe_named(name)
    if found is not None:
        return found
    kind = look_up(ARCH_REGISTRY, name)
    if kind is None:
        raise NewError(f"There is no network {short_message(name, 60)!r}.{_hint(name)} {OF_ANOTHER}.")
    return _made_up(name, kind)


def is_ours(recipe: Recipe) -> bool:
    """Return whether the network is recognised by the tensors of a file."""
    kind = look_up(ARCH_REGISTRY, recipe.kind)
    return isclass(kind) and issubclass(kind, SRNetwork)


def _hint(name: str) -> str:
    from difflib import get_close_matches

    titles = {plain(title): title for title in [*(each.title for each in RECIPES), *map(str, ARCH_REGISTRY.keys())]}
    close = get_close_matches(plain(name), titles, n=3, cutoff=0.5)
    if close:
        return f" Did you mean {' or '.join(titles[each] for each in close)}?"
    return f" Expected one of {', '.join(each.title for each in RECIPES)}: correct --network."


def _made_up(name: str, kind: Any) -> Recipe:
    arguments = signature(kind).parameters
    required = [key for key, each in arguments.items() if each.default is Parameter.empty and key not in ARGUMENTS]
    key = next((key for key in ("upscale", "scale") if key in arguments), None)
    ours = isclass(kind) and issubclass(kind, SRNetwork)
    output = getattr(kind, "training_output", "image")
    fits = key and set(required) <= {key} and (not ours or kind.super_resolves)
    if not fits or output not in ("image", "image_and_dual"):
        why = f"it needs {', '.join(required)}" if required else "it is a part of a training, or only for tests"
        raise NewError(
            f"Expected a network that can be trained on photographs alone, got {name}: {why}. Choose one of "
            f"{', '.join(each.title for each in RECIPES)}."
        )
    given = {each: ARGUMENTS[each] for each in ARGUMENTS if each in arguments}
    model = "DualRegressionModel" if output == "image_and_dual" else "LossDictModel"
    return Recipe(name, {"type": name, **given}, "", (), model=model, rate=2e-4, scale_key=str(key), batch=8,
                  small_batch=4, exported=() if output == "image" else None)  # fmt: skip


def check(recipe: Recipe, section: Mapping[str, Any], scale: int, side: int) -> None:
    """Raise NewError unless the network can be built and enlarges (1, 3, side, side) by the scale."""
    net = build(section)
    least = getattr(net, "min_side", 1)
    if side < least:
        raise NewError(f"{recipe.title} expects LR patches of at least {least}x{least}, got {side}x{side}: choose "
                       f"--patch {least * scale} or more.")  # fmt: skip
    try:
        with torch.no_grad():
            found = net(torch.rand(1, 3, side, side))
    except Exception as error:  # networks of other packages raise any type
        if recipe.is_staged:
            return
        raise NewError(f"Expected that {recipe.title} runs on LR patches of {side}x{side}, got "
                       f"{short_message(error, 200)}: choose another --patch or --scale.") from error  # fmt: skip
    shape = tuple(found.shape) if isinstance(found, torch.Tensor) else None
    if shape != (1, 3, side * scale, side * scale):
        raise NewError(f"Expected a network that enlarges by {scale}, {recipe.title} makes {shape} of LR patches of "
                       f"{side}x{side}: choose another --scale or --network.")  # fmt: skip
