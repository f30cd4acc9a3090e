"""Vectors of KDSR's degradation estimators for images with known degradations.

Paper: Xia et al., "Knowledge Distillation based Degradation Estimation for Blind Super-Resolution", ICLR 2023,
arXiv 2211.16928. The teacher's encoder sees LR and HR, the student's sees only LR and is trained to give the same
vectors. If they estimate the degradation and not the content, images with one degradation have similar vectors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from lightsr_basicsr.checkpoints.identify import load
from lightsr_basicsr.data.degradations import KERNEL_SIZE
from lightsr_basicsr.data.low_resolution import BlindSet, Blur
from lightsr_basicsr.errors import UserError, install_command
from lightsr_basicsr.pictures.files import ImageError
from lightsr_basicsr.tools.embed.numbers import METHODS, Projection, agreement, project, separability
from lightsr_basicsr.tools.images import folder_images, read_image, to_8_bit
from lightsr_basicsr.tools.photographs import to_tensor
from lightsr_basicsr.weights.find import find_weights

NETWORKS = {"teacher": "BlindSR_TA", "student": "BlindSR_ST"}
# Spread evenly over [0.2, 4.0], from which KDSR draws at x4; other scales get the same blur in LR pixels.
SIGMAS_X4 = (0.6, 1.4, 2.2, 3.0, 3.8)
BATCH = 16
PACKAGES = {"sklearn": "scikit-learn", "matplotlib": "matplotlib"}


class EmbedError(UserError):
    """An error of an embedding that the user can correct; the message says how."""


@dataclass(frozen=True)
class Crop:
    """A square of an HR image."""

    name: str  # file name with top and left of the square, such as baby.png:192:192; it seeds the noise
    image: np.ndarray  # (S, S, 3), BGR, uint8


@dataclass(frozen=True)
class Vectors:
    """Vectors of an encoder of width C for N images under D degradations, float32."""

    distilled: np.ndarray  # (D, N, 4C), D' in the paper: what the distillation loss compares
    compressed: np.ndarray  # (D, N, C), D in the paper: what steers the SR network


@dataclass(frozen=True)
class Embedding:
    """Vectors of one or two networks and their statistics; keys are ``teacher`` and ``student``."""

    files: dict[str, Path]  # the checkpoints
    sets: list[BlindSet]  # the D degradations
    crops: list[Crop]  # the N images
    skipped: list[str]  # unusable files, with the reason
    vectors: dict[str, np.ndarray]  # (D, N, length), of the chosen kind
    projections: dict[str, Projection]  # of each network on its own
    silhouettes: dict[str, float]  # as `separability` of the vectors
    agreement: list[tuple[float, float]]  # as the function; empty for one network
    title: str  # method and kind of vector, for a caption


def embed(
    files: Mapping[str, Path | str],
    source: Path | str,
    *,
    blurs: Sequence[Blur] = (),
    noises: Sequence[float] = (0.0,),
    images: int = 100,
    crop: int = 128,
    vector: str = "distilled",
    method: str = "tsne",
    seed: int = 0,
    progress: bool = True,
) -> Embedding:
    """Degrade images in known ways and return the vectors of KDSR's encoders for them.

    Args:
        files (Mapping): Checkpoint of the ``teacher``, of the ``student``, or of both; or names of official files.
        source (Path | str): Folder of HR images.
        blurs (Sequence[Blur]): Empty takes five isotropic ones (:func:`degradations`).
        noises (Sequence[float]): Standard deviations in gray levels, each combined with each blur.
        images (int): HR crops at most.
        crop (int): Side of a crop in HR pixels; cut to a multiple of the scale.
        vector (str): ``'distilled'`` or ``'compressed'``; see :class:`Vectors`.
        method (str): ``'tsne'`` or ``'pca'``.
        seed (int): Of the noise and of t-SNE.
        progress (bool): Show progress bars.

    Raises:
        UserError: If a file, an argument or the folder is wrong, or a package is missing.
    """
    _check_arguments(seed, method=(method, METHODS), vector=(vector, ("distilled", "compressed")))
    require_packages()
    paths = {role: find_weights(files[role]) for role in NETWORKS if role in files}
    nets = {role: load_network(path, role) for role, path in paths.items()}
    sets = degradations(common_scale(nets), blurs, noises, seed)
    crops, skipped = take_crops(source, images, crop - crop % sets[0].scale, progress)
    found = collect_vectors(nets, crops, sets, progress)
    chosen = {role: getattr(vectors, vector) for role, vectors in found.items()}
    _check_vectors(chosen, paths)
    return Embedding(
        files=paths,
        sets=sets,
        crops=crops,
        skipped=skipped,
        vectors=chosen,
        projections={role: project(each, method, seed) for role, each in chosen.items()},
        silhouettes={role: separability(each) for role, each in chosen.items()},
        agreement=agreement(*(found[role].distilled for role in NETWORKS)) if len(found) == 2 else [],
        title=f"{METHODS[method]} of the {vector} degradation vectors",
    )


def _check_arguments(seed: int, **choices: tuple[str, Iterable[str]]) -> None:
    for argument, (value, known) in choices.items():
        if value not in known:
            raise EmbedError(f"{argument} must be {' or '.join(known)}, got {value!r}.")
    if not 0 <= seed < 2**32:
        raise EmbedError(f"the seed must be a whole number from 0 to 4294967295, got {seed}.")


def require_packages() -> None:
    """Raise EmbedError with the install command if scikit-learn or matplotlib is missing."""
    missing = [package for module, package in PACKAGES.items() if find_spec(module) is None]
    if missing:
        raise EmbedError(f"this needs {' and '.join(missing)}: {install_command('embed')}")


def load_network(file: Path, role: str) -> nn.Module:
    """Return the network of a checkpoint, in evaluation mode; ``role`` is ``'teacher'`` or ``'student'``.

    Raises:
        CheckpointError: If it cannot be read.
        EmbedError: If it holds another network.
    """
    net = load(file)
    held = type(net).__name__
    if held != NETWORKS[role]:
        other = next((name for name, network in NETWORKS.items() if network == held), None)
        hint = f", which is a {other}: were the two swapped?" if other else "."
        raise EmbedError(f"expected a KDSR {role} ({NETWORKS[role]}), but {file} holds {held}{hint}")
    return net


def common_scale(nets: Mapping[str, nn.Module]) -> int:
    """Return the scale of teacher and student.

    Raises:
        EmbedError: If there is no network, or if scales or lengths of vectors differ.
    """
    if not nets:
        raise EmbedError("no network was given: name a teacher, a student or both.")
    # Rows of the weights that make the vectors.
    facts = {role: (net.upscale, len(getattr(net, net.encoder_name).mlp[0].weight)) for role, net in nets.items()}
    if len(set(facts.values())) > 1:
        said = " and ".join(f"the {role} is x{scale}, vectors of {size}" for role, (scale, size) in facts.items())
        raise EmbedError(f"teacher and student do not match: {said} numbers. Name one at a time.")
    return next(iter(facts.values()))[0]


def degradations(
    scale: int, blurs: Sequence[Blur] = (), noises: Sequence[float] = (0.0,), seed: int = 0
) -> list[BlindSet]:
    """Return each blur with each noise, once; without blurs five isotropic Gaussians, 0.6 to 3.8 HR pixels at x4.

    Noises are standard deviations in gray levels; ``seed`` is that of the noise.

    Raises:
        EmbedError: If there is only one.
        UserError: If one is invalid.
    """
    chosen = tuple(blurs) or [Blur(round(sigma * scale / 4, 3)) for sigma in SIGMAS_X4]
    sets = [BlindSet(blur, noise, scale, seed) for noise in dict.fromkeys(noises) for blur in dict.fromkeys(chosen)]
    if len(sets) < 2:
        raise EmbedError(f"expected two or more degradations to compare, got only {describe(sets[0])}.")
    return sets


def describe(each: BlindSet) -> str:
    """Return a degradation in words.

    >>> describe(BlindSet(Blur(1.8), 10, scale=4)), describe(BlindSet(Blur(2.5, 1, 30), 0, scale=4))
    ('sigma 1.8, noise 10', '2.5 x 1.0 at 30 deg')
    """
    blur = each.blur
    text = f"sigma {float(blur.sigma_1)}"
    if blur.sigma_2 is not None:
        text = f"{float(blur.sigma_1)} x {float(blur.sigma_2)} at {blur.theta:g} deg"
    return f"{text}, noise {each.noise:g}" if each.noise else text


def take_crops(
    folder: Path | str, count: int = 100, side: int = 128, progress: bool = True
) -> tuple[list[Crop], list[str]]:
    """Return at most ``count`` square crops of the images of a folder, ``side`` pixels wide, and the unusable files.

    With at least as many files as crops, evenly spaced files give their center. Fewer files give several crops each,
    without overlap; small files give fewer, so there may be less than ``count`` in all. Images of 16 bits are rounded
    to 8, as training reads them. Unusable files come with the reason.

    Raises:
        EmbedError: If arguments are wrong, or fewer than two crops are found.
        ImageError: If the folder is missing or holds no image.
    """
    if side <= KERNEL_SIZE // 2 or count < 2:
        raise EmbedError(
            f"expected at least two images with sides of more than {KERNEL_SIZE // 2} pixels, for the blur; got "
            f"{count} of {side} pixels."
        )
    files = folder_images(folder)
    each = -(-count // len(files))
    chosen = files if len(files) < count else [files[index * len(files) // count] for index in range(count)]
    ranked: list[tuple[int, Crop]] = []
    skipped: list[str] = []
    for file in tqdm(chosen, "images", unit="image", disable=not progress):
        try:
            ranked += enumerate(_cut(file, side, each))
        except ImageError as error:
            skipped.append(str(error))
    ranked.sort(key=lambda entry: entry[0])  # the first crops of all files come before the second of any
    if len(ranked) < 2:
        reasons = "".join(f"\n  {line}" for line in skipped[:5])
        raise EmbedError(f"{folder} gives {len(ranked)} crops of {side}x{side} pixels, at least 2 are needed.{reasons}")
    return [crop for _, crop in ranked[:count]], skipped


def _cut(file: Path, side: int, count: int) -> list[Crop]:
    image = to_8_bit(read_image(file))
    height, width = image.shape[:2]
    if min(height, width) < side:
        raise ImageError(f"{file}: {width}x{height} is smaller than a crop, {side}x{side}")
    rows, columns = (1, 1) if count == 1 else (height // side, width // side)
    top, left = (height - rows * side) // 2, (width - columns * side) // 2
    corners = [(top + row * side, left + column * side) for row in range(rows) for column in range(columns)]
    corners.sort(key=lambda at: (at[0] + side / 2 - height / 2) ** 2 + (at[1] + side / 2 - width / 2) ** 2)
    # A view would keep its whole image in memory.
    return [Crop(f"{file.name}:{y}:{x}", image[y : y + side, x : x + side].copy()) for y, x in corners[:count]]


@torch.no_grad()
def collect_vectors(
    nets: Mapping[str, nn.Module], crops: Sequence[Crop], sets: Sequence[BlindSet], progress: bool = True
) -> dict[str, Vectors]:
    """Return the vectors of each network's encoder for each crop under each degradation.

    The KDSR teachers and students, by any name, are moved to the GPU, if available. Crops have equal size, a multiple
    of the scale.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for net in nets.values():
        net.to(device)
    found: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in nets}
    with tqdm(total=len(sets) * len(crops), desc="vectors", unit="image", disable=not progress) as bar:
        for each in sets:
            for start in range(0, len(crops), BATCH):
                batch = crops[start : start + BATCH]
                hr = torch.cat([to_tensor(crop.image) for crop in batch]).to(device)
                lr = torch.cat([to_tensor(each.degrade(crop.image, crop.name)) for crop in batch]).to(device)
                for name, net in nets.items():
                    compressed, (distilled,) = net.represent(lr, hr) if net.encoder_sees_gt else net.represent(lr)
                    found[name].append((distilled.cpu(), compressed.cpu()))
                bar.update(len(batch))
    return {
        name: Vectors(*(torch.cat(kind).view(len(sets), len(crops), -1).numpy() for kind in zip(*parts, strict=True)))
        for name, parts in found.items()
    }


def _check_vectors(vectors: Mapping[str, np.ndarray], files: Mapping[str, Path]) -> None:
    for role, each in vectors.items():
        if not np.isfinite(each).all():
            raise EmbedError(f"{files[role]} gives vectors with NaN or infinity: its training diverged.")
        if not np.ptp(each, axis=(0, 1)).any():
            raise EmbedError(f"{files[role]} gives the same vector for every image: nothing can be drawn.")
