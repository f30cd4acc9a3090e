"""Parts of the channel search: its options, the halves of a batch, the virtual step, and what a state holds of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from lightsr_basicsr import fields
from lightsr_basicsr.models.pruning_checks import SITES
from lightsr_basicsr.pruning.soft_channels import ATTENTION, SoftChannels

# Of the official code.
ALPHA_OPTIMIZER = {"type": "Adam", "lr": 3e-4, "weight_decay": 1e-3}
VIRTUAL_WEIGHT_DECAY, CLIP_NORM = 3e-4, 5.0
OPTIONS = {
    "train.pruning_rate": fields.number(
        "Part of the channels to remove: the largest candidate of each site leaves the rest.",
        above=0,
        required="train",
    ),
    **SITES,
    "train.attention": fields.text(
        "How candidates of attention weigh: `published` sums outputs by the alphas themselves, so that attention "
        "nearly vanishes at first; `soft` weighs channels as everywhere else.",
        ATTENTION,
        default="published",
    ),
    "train.unordered_channels": fields.flag(
        "Whether channels are kept in their order, not that of their weights.", default=False
    ),
    "train.optim_alpha": fields.section("Optimizer of the alphas; by default Adam, 3e-4, weight decay 1e-3."),
    "train.virtual_step": fields.flag(
        "Whether the alphas see weights after a step; without, a search step takes less time.", default=True
    ),
    "train.virtual_weight_decay": fields.number("Weight decay of that step.", least=0, default=3e-4),
    "train.clip_norm": fields.number("Largest norm of the gradients of `network_g`.", above=0, default=5.0),
    "train.clip_alphas": fields.flag(
        "Whether `clip_norm` limits the virtual step and the alphas too, these jointly with the weights, and NaN in "
        "their gradients count as 0; officially for DCLS.",
        default=False,
    ),
    "train.cost": fields.section(
        "Budget: `type` (params or multi_adds), `target` (share of the dense network's), `weight`.", null=True
    ),
}


class SearchState:
    """What a search keeps beside weights and optimizers. It is listed among the schedulers, so it is saved with them.

    Args:
        soft (SoftChannels): The alphas.
        dual (nn.Module | None): The dual networks as they were at the start.
    """

    def __init__(self, soft: SoftChannels, dual: nn.Module | None) -> None:
        self.soft, self.dual = soft, dual

    def step(self) -> None:
        """Do nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Return copies of the tensors."""
        parts = {"soft": self.soft, "dual": self.dual}
        return {key: deepcopy(dict(part.state_dict())) for key, part in parts.items() if part is not None}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the tensors."""
        self.soft.load_state_dict(state["soft"])
        if self.dual is not None:
            self.dual.load_state_dict(state["dual"])


def halves_of(images: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Return the images of a batch as those for the weights and those for the alphas, in its order.

    Raises:
        ValueError: If there are not equally many.
    """
    count = len(images["lq"])
    if count < 2 or count % 2:
        raise ValueError(
            f"ChannelSearchModel needs an even number of images in a batch, got {count}: one half trains the weights, "
            "the other the channel numbers (datasets.train.batch_size_per_gpu, halves: true)."
        )
    parts = (slice(0, count // 2), slice(count // 2, None))
    return [{key: value[part] for key, value in images.items()} for part in parts]


@torch.no_grad()
def after_step(
    weights: Mapping[str, Tensor], gradients: Sequence[Tensor | None], rate: float, decay: float
) -> dict[str, Tensor]:
    """Return weights after one plain step of gradient descent, without gradients."""
    pairs = zip(weights.items(), gradients, strict=True)
    return {
        name: value.detach() if gradient is None else value - rate * (gradient + decay * value)
        for (name, value), gradient in pairs
    }
