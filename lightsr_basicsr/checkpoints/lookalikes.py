"""Checkpoints of other projects that are mistaken for ours: their names, and how to use them."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lightsr_basicsr.checkpoints.tensors import short_key

SHOWN_KEYS = 4
OUR_PREFIX = "lightsr-"  # of our architectures in spandrel's registry
# Names of networks and what to do, by parts of tensor names; the first one whose parts all occur is reported.
LOOKALIKES = {
    ("model.1.sub.0.conv1.0.weight",): (
        "it is the other network called IMDN, that of the AIM 2019 challenge in KAIR and in the baselines of the NTIRE "
        "efficient super-resolution challenges (eight blocks, 893,936 parameters at x4). The paper's IMDN has 715,176 "
        "at x4 and keys that start with fea_conv. Load the file with KAIR."
    ),
    ("B1.c1_d.weight", "B1.c1_r.weight", "LR_conv.weight"): (
        "it is an RFDN or one of its descendants, to which DDistill-SR is related; its refinement layers are plain "
        "convolutions. spandrel opens some of these."
    ),
    (
        "residual_group.blocks.0.attn.qkv.weight",
        "residual_group.blocks.0.attn.relative_position_index",  # which HAT has elsewhere
        "residual_group.blocks.0.attn.relative_position_bias_table",  # which Swin2SR does not have
    ): "it is a SwinIR without the dual regression network (dual_model.*). Use BasicSR's own network: `type: SwinIR`.",
    ("blocks.0.ffn.sg.conv.weight", "before_RG.1.weight"): (
        "it is a DAT without the dual regression network (dual_model.*). Load it with spandrel."
    ),
    ("conv9.weight", "conv1.weight_orig"): (
        "it is a discriminator (UNetDiscriminatorSN), the opponent of an SR network in GAN training."
    ),
}


def name_lookalike(state: Mapping[str, Tensor]) -> str:
    """Return a sentence that names the network behind ``state``, where known."""
    for marks, text in LOOKALIKES.items():
        if all(any(mark in key for key in state) for mark in marks):
            return text
    known = _known_to_spandrel(state)
    if known:
        return f"spandrel knows it as {known} and loads it."
    first = ", ".join(f"{short_key(key)} {tuple(value.shape)}" for key, value in list(state.items())[:SHOWN_KEYS])
    return f"its tensor names are unknown. It holds {len(state)} tensors: {first}, ..."


def _known_to_spandrel(state: Mapping[str, Tensor]) -> str | None:
    try:
        from spandrel import MAIN_REGISTRY
    except ImportError:
        return None
    theirs = (s for s in MAIN_REGISTRY.architectures("detection") if not s.architecture.id.startswith(OUR_PREFIX))
    try:
        return next((s.architecture.name for s in theirs if s.detect(dict(state))), None)
    except Exception:
        # Its detectors raise anything for shapes that they do not expect.
        return None
