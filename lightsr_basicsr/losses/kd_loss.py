"""KDLoss: distillation of degradation vectors from KDSR's teacher to its student."""

from __future__ import annotations

from collections.abc import Sequence

from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lightsr_basicsr.registry import register


@register(LOSS_REGISTRY)
class KDLoss(nn.Module):
    """Kullback-Leibler divergence of the student's softened degradation vector from the teacher's.

    Paper: Xia et al., ICLR 2023, arXiv 2211.16928. As in the official code, without a factor ``temperature ** 2``.

    Args:
        loss_weight (float): Factor on the loss. Default: 1.0.
        temperature (float): Divisor of the vectors before the softmax. Default: 0.15.

    Raises:
        ValueError: If ``temperature`` is not positive.

    Example:
        >>> import torch
        >>> teacher, student = torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]])
        >>> loss = KDLoss(temperature=1.0)
        >>> round(loss([teacher], [student]).item(), 4), loss([teacher], [teacher]).item()
        (0.4621, 0.0)
    """

    def __init__(self, loss_weight: float = 1.0, temperature: float = 0.15) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"KDLoss needs a positive `temperature`, got {temperature}.")
        self.loss_weight, self.temperature = loss_weight, temperature

    def forward(self, teacher: Sequence[Tensor], student: Sequence[Tensor]) -> Tensor:
        """Return the mean over images of KL(teacher || student), a scalar, summed over pairs of vectors (N, L).

        No gradient reaches the teacher.

        Raises:
            ValueError: If the two lists hold vectors of different number or shape.
        """
        shapes = [[tuple(vector.shape) for vector in vectors] for vectors in (teacher, student)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"KDLoss expects vectors of equal shapes, got {shapes[0]} (teacher) and {shapes[1]}.")
        divergences = (
            F.kl_div(self._soften(ours), self._soften(theirs.detach()), reduction="batchmean", log_target=True)
            for theirs, ours in zip(teacher, student, strict=True)
        )
        return self.loss_weight * sum(divergences)

    def _soften(self, vector: Tensor) -> Tensor:
        return F.log_softmax(vector / self.temperature, dim=1)
