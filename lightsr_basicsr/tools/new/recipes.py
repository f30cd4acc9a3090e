"""How each network is trained on photographs of one's own. Imports nothing heavy: `--help` lists these.

Sizes in full are those of the papers. The small ones are for machines without a GPU, on which the full ones learn too
little in an hour; numbers of the small ones, and lengths and rates of all, are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

BICUBIC, BLIND, KERNELS, LEVELS = (
    "DegradedImageDataset", "ClassicBlindDataset", "KernelBlindDataset", "MultiScalePairedDataset",
)  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """What a training of a network needs.

    Attributes:
        title (str): What users call it.
        network (Mapping): Its section of an option file, in full size, without the scale.
        about (str): What it is, for a list.
        scales (tuple): Scales that it can have.
        small (Mapping): Arguments of the small size; without them there is one size.
        model (str): The training model.
        dataset (str): The data set, which makes LR images of HR.
        rate (float), small_rate (float): Learning rates from random weights.
        patch (int), small_patch (int): Side of LR patches.
        batch (int), small_batch (int): Patches in a step.
        scale_key (str): What the network calls its scale.
        extra (Mapping): More of its data set.
        max_norm (float | None): To what gradients are clipped.
        exported (tuple | None): More arguments of its export; None: no graph of it holds for all sizes of images.
    """

    title: str
    network: Mapping[str, Any]
    about: str
    scales: tuple[int, ...] = (2, 3, 4)
    small: Mapping[str, Any] = field(default_factory=dict)
    model: str = "LossDictModel"
    dataset: str = BICUBIC
    rate: float = 5e-4
    small_rate: float = 2e-3
    patch: int = 48
    small_patch: int = 24
    batch: int = 16
    small_batch: int = 8
    scale_key: str = "upscale"
    extra: Mapping[str, Any] = field(default_factory=dict)
    max_norm: float | None = None
    exported: tuple[str, ...] | None = ()

    @property
    def kind(self) -> str:
        """The registered name of the network."""
        return self.network["type"]

    @property
    def is_staged(self) -> bool:
        """Whether a teacher is trained first."""
        return self.model == "KDSRModel"

    def section(self, scale: int, small: bool) -> dict[str, Any]:
        """Return the network's section of an option file."""
        return {**self.network, **(self.small if small else {}), self.scale_key: scale}


BLURS = {"blur": "isotropic", "degradation_per": "image"}
RECIPES = (
    Recipe("IMDN", {"type": "IMDN", "num_feat": 64, "num_block": 6}, "light and quick; the one to begin with",
           small={"num_feat": 32, "num_block": 3}),
    Recipe("FDIWN", {"type": "FDIWN"}, "light, a little better than IMDN, slower"),
    Recipe("FDIWN-M", {"type": "FDIWN_M"}, "half of FDIWN"),
    Recipe("DDistill-SR", {"type": "DDistill_SR", "num_feat": 56, "num_latent": 16}, "trains wide, deploys narrow",
           small={"num_feat": 16, "num_latent": 4}, model="ReparamModel", small_batch=4),
    Recipe("DRN", {"type": "DRN", "num_feat": 16, "num_block": 30}, "dual regression: LR must come back from SR",
           scales=(2, 4, 8), small={"num_feat": 8, "num_block": 4}, model="DualRegressionModel", dataset=LEVELS,
           rate=2e-4),
    Recipe("KDSR", {"type": "BlindSR_ST", "n_feats": 64, "n_encoder_res": 9, "n_sr_blocks": 53},
           "unknown blur: a teacher that sees HR, then its student", scales=(2, 3, 4),
           small={"n_feats": 16, "n_encoder_res": 1, "n_sr_blocks": 6}, model="KDSRModel", dataset=BLIND, rate=2e-4,
           small_patch=16, small_batch=4, scale_key="scale", extra=BLURS),
    Recipe("DCLS", {"type": "DCLS", "num_feat": 64, "num_block": 10, "num_group": 5, "code_length": 256},
           "unknown blur: estimates its kernel; needs days", model="BlindKernelModel", dataset=KERNELS, rate=4e-4,
           small={"num_feat": 16, "num_block": 2, "num_group": 2, "code_length": 32}, small_rate=1e-3, small_patch=32,
           small_batch=4, max_norm=1.0, exported=("--tolerance", "1e-3")),
    Recipe("TinySR", {"type": "TinySR"}, "the smallest; --init TinySR_x4 starts from the one of this package",
           model="ReparamModel", rate=2e-3, scales=(2, 3, 4)),
    Recipe("SwinIR-DR", {"type": "SwinIR_DR", "depths": [6, 6, 6, 6], "num_heads": [6, 6, 6, 6], "embed_dim": 60,
                         "upsampler": "pixelshuffledirect"},
           "a transformer with dual regression", scales=(2, 4, 8), model="DualRegressionModel", rate=2e-4,
           small={"depths": [2, 2], "num_heads": [2, 2], "embed_dim": 16}, small_rate=1e-3),
    Recipe("EDSR", {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 64, "num_block": 16},
           "BasicSR's, large", small={"num_feat": 32, "num_block": 4}),
    Recipe("MSRResNet", {"type": "MSRResNet", "num_feat": 64, "num_block": 16}, "BasicSR's",
           small={"num_feat": 32, "num_block": 4}),
    Recipe("RRDBNet", {"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 64, "num_block": 23},
           "BasicSR's, that of ESRGAN, very large", scales=(2, 4), scale_key="scale", rate=2e-4,
           small={"num_feat": 32, "num_block": 2}, small_rate=1e-3),
    Recipe("SRVGGNetCompact", {"type": "SRVGGNetCompact_basicsr", "num_feat": 64, "num_conv": 16}, "BasicSR's, quick",
           small={"num_feat": 32, "num_conv": 8}),
)  # fmt: skip


def plain(name: str) -> str:
    """Return a name without case and punctuation.

    >>> plain("DDistill-SR") == plain("ddistill_sr")
    True
    """
    return "".join(each for each in name.casefold() if each.isalnum())


def recipe_named(name: str) -> Recipe | None:
    """Return the recipe of a network by the name that users or option files give it; None if there is none.

    >>> recipe_named("ddistill_sr").title, recipe_named("BlindSR_ST").title
    ('DDistill-SR', 'KDSR')
    """
    wanted = plain(name)
    return next((each for each in RECIPES if wanted in (plain(each.title), plain(each.kind))), None)
