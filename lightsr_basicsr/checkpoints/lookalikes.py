"""Checkpoints of other projects that are mistaken for ours: their names, and how to use them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

SHOWN_KEYS = 4
OUR_PREFIX = "lightsr-"  # of our architectures in spandrel's registry


@dataclass(frozen=True)
class Lookalike:
    """A network of another project.

    Attributes:
        marks (tuple[str, ...]): Parts of tensor names; all of them occur.
        text (str): Name of the network, and what to do.
    """

    marks: tuple[str, ...]
    text: str


# The first one whose marks all occur is reported.
LOOKALIKES = (
    Lookalike(
        ("model.1.sub.0.conv1.0.weight",),
        "it is the other network called IMDN, that of the AIM 2019 challenge in KAIR and in the baselines of the NTIRE "
        "efficient super-resolution challenges (eight blocks, 893,936 parameters at x4). The paper's IMDN has 715,176 "
        "at x4 and keys that start with fea_conv. Load the file with KAIR.",
    ),
    Lookalike(
        ("B1.c1_d.weight", "B1.c1_r.weight", "LR_conv.weight"),
        "it is an RFDN or one of its descendants, to which DDistill-SR is related; its refinement layers are plain "
        "convolutions. spandrel opens some of these.",
    ),
    Lookalike(
        (
            "residual_group.blocks.0.attn.qkv.weight",
            "residual_group.blocks.0.attn.relative_position_index",  # which HAT has elsewhere
            "residual_group.blocks.0.attn.relative_position_bias_table",  # which Swin2SR does not have
        ),
        "it is a SwinIR without the dual regression network (dual_model.*). Use BasicSR's own network: `type: SwinIR`.",
    ),
    Lookalike(
        ("blocks.0.ffn.sg.conv.weight", "before_RG.1.weight"),
        "it is a DAT without the dual regression network (dual_model.*). Load it with spandrel.",
    ),
    Lookalike(
        ("Restorer.",),
        "it has the parts of DCLS, a blind network, which this package does not hold.",
    ),
    Lookalike(
        ("conv9.weight", "conv1.weight_orig"),
        "it is a discriminator (UNetDiscriminatorSN), the opponent of an SR network in GAN training.",
    ),
)


def name_lookalike(state: Mapping[str, Tensor]) -> str:
    """Return a sentence that names the network behind ``state``, where known."""
    for lookalike in LOOKALIKES:
        if all(any(mark in key for key in state) for mark in lookalike.marks):
            return lookalike.text
    known = _known_to_spandrel(state)
    if known:
        return f"spandrel knows it as {known} and loads it."
    first = ", ".join(f"{key} {tuple(value.shape)}" for key, value in list(state.items())[:SHOWN_KEYS])
    return f"its tensor names are unknown. It holds {len(state)} tensors: {first}, ..."


def _known_to_spandrel(state: Mapping[str, Tensor]) -> str | None:
    try:
        from spandrel import MAIN_REGISTRY
    except ImportError:
        return None
    theirs = (s for s in MAIN_REGISTRY.architectures("detection") if not s.architecture.id.startswith(OUR_PREFIX))
    return next((s.architecture.name for s in theirs if s.detect(dict(state))), None)
