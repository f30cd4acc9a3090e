"""Statistics of sets of vectors: separability, agreement of two sets, projection to two dimensions.

Arrays are (D, N, L): D degradations of the same N images, vectors of L numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

METHODS = {"tsne": "t-SNE", "pca": "PCA"}
TEMPERATURE = 0.15  # of KDSR's distillation loss
PERPLEXITY = 30.0


@dataclass(frozen=True)
class Projection:
    """Vectors in two dimensions: points (D, N, 2), float64, and the labels of the axes."""

    points: np.ndarray
    axes: tuple[str, str]


def separability(vectors: np.ndarray) -> float:
    """Return the mean silhouette coefficient of vectors (D, N, L), whose D degradations are the clusters.

    In [-1, 1]: near 1 if vectors of one degradation lie together and far from the others, near 0 if they overlap.
    Distances are Euclidean, between the vectors themselves, not between projected points.

    >>> separability(np.array([[[0.0, 0.0], [0.0, 1.0]], [[9.0, 0.0], [9.0, 1.0]]])) > 0.8
    True
    """
    from sklearn.metrics import silhouette_score

    count, images, length = vectors.shape
    return float(silhouette_score(vectors.reshape(-1, length), np.repeat(np.arange(count), images)))


def agreement(teacher: np.ndarray, student: np.ndarray) -> list[tuple[float, float]]:
    """Compare distilled vectors (D, N, L) of a teacher and its student.

    Returns:
        list: For each degradation two means over images: the divergence KL(teacher || student) of the vectors' softmax
            at temperature 0.15, KDSR's distillation loss, and the cosine similarity of the vectors.

    >>> vectors = np.array([[[1.0, 0.0], [0.6, 0.8]]])
    >>> agreement(vectors, 2 * vectors)[0][1]
    1.0
    """
    theirs, ours = torch.from_numpy(teacher).double(), torch.from_numpy(student).double()
    target, guess = (F.log_softmax(each / TEMPERATURE, dim=-1) for each in (theirs, ours))
    divergence = (target.exp() * (target - guess)).sum(dim=-1).mean(dim=-1)
    cosine = F.cosine_similarity(theirs, ours, dim=-1).mean(dim=-1)
    return list(zip(divergence.tolist(), cosine.tolist(), strict=True))


def project(vectors: np.ndarray, method: str = "tsne", seed: int = 0) -> Projection:
    """Project vectors (D, N, L), not all equal, to two dimensions.

    Axes are mirrored so that later degradations tend to lie to the right and up, for comparable pictures: the signs
    of both methods are arbitrary.

    Args:
        vectors (ndarray): At least 4 in all, of 2 numbers or more.
        method (str): ``'pca'``: the two directions of largest variance. ``'tsne'``: t-SNE initialized by PCA,
            perplexity 30 or less for few points; distances between its clusters, and their sizes, have no meaning.
        seed (int): Of t-SNE.

    Raises:
        ValueError: If ``method`` is unknown.
    """
    count, images, length = vectors.shape
    flat = vectors.reshape(-1, length).astype(np.float64)
    if method == "pca":
        points, axes = _pca(flat)
    elif method == "tsne":
        points, axes = _tsne(flat, seed), ("t-SNE 1", "t-SNE 2")
    else:
        raise ValueError(f"`method` must be one of {sorted(METHODS)}, got {method!r}.")
    points = points.astype(np.float64).reshape(count, images, 2)
    trend = np.linspace(-1, 1, count) @ points.mean(axis=1)
    return Projection(points * np.where(trend < 0, -1.0, 1.0), axes)


def _pca(flat: np.ndarray) -> tuple[np.ndarray, tuple[str, str]]:
    from sklearn.decomposition import PCA

    pca = PCA(2, svd_solver="full")
    points = pca.fit_transform(flat)
    first, second = (
        f"PC {rank} ({share:.0%} of variance)" for rank, share in enumerate(pca.explained_variance_ratio_, 1)
    )
    return points, (first, second)


def _tsne(flat: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(flat) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed).fit_transform(flat)
