"""What BasicSR's own models ask of an option file beyond their keys; without it they stop with a KeyError."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from basicsr.models.hifacegan_model import HiFaceGANModel
from basicsr.models.realesrgan_model import RealESRGANModel
from basicsr.models.realesrnet_model import RealESRNetModel
from basicsr.models.srgan_model import SRGANModel
from basicsr.models.stylegan2_model import StyleGAN2Model
from basicsr.models.video_base_model import VideoBaseModel
from basicsr.models.video_recurrent_gan_model import VideoRecurrentGANModel
from basicsr.models.video_recurrent_model import VideoRecurrentModel
from torch import nn

Problems = Iterator[tuple[str, str]]

# Those that set up a discriminator; others inherit it.
ADVERSARIAL = (SRGANModel, RealESRGANModel, HiFaceGANModel, StyleGAN2Model, VideoRecurrentGANModel)
SECTIONS_OF_GAN = ("network_d", "train.gan_opt", "train.optim_d")
# Networks that alone give what the model's step takes.
NETWORKS = {
    HiFaceGANModel: {"network_d": "HiFaceGANDiscriminator"},
    StyleGAN2Model: {"network_g": "StyleGAN2Generator", "network_d": "StyleGAN2Discriminator"},
}
USM_SWITCHES = ("l1_gt_usm", "percep_gt_usm", "gan_gt_usm")
ON_DEVICE = "high_order_degradation"
# Their validation asks the data set for its folders of frames.
VIDEO = (VideoBaseModel, VideoRecurrentModel)
VIDEO_SETS = ("VideoTestDataset", "VideoTestDUFDataset", "VideoTestVimeo90KDataset", "VideoRecurrentTestDataset")


def find_basicsr_problems(
    model: type | None, options: Mapping[str, Any], networks: Mapping[str, nn.Module], is_train: bool = True
) -> Problems:
    """Yield what the parts that ``model`` inherits from BasicSR's models would stop with."""
    if model is None:
        return
    train, name = options.get("train") or {}, model.__name__
    if is_train and _inherits(model, "init_training_settings", *ADVERSARIAL):
        for key in SECTIONS_OF_GAN:
            if not (train if key.startswith("train.") else options).get(key.removeprefix("train.")):
                yield key, f"is missing: {name} trains with a discriminator"
    if is_train:
        yield from _find_synthesis_problems(model, options)
    if _inherits(model, "init_training_settings", HiFaceGANModel) and train.get("ema_decay"):
        yield "train.ema_decay", f"must be 0: {name} has no averaged network"
    for parent, wanted in NETWORKS.items():
        for key in wanted if _inherits(model, "optimize_parameters", parent) else ():
            if key in networks and type(networks[key]).__name__ != wanted[key]:
                yield f"{key}.type", f"must be {wanted[key]} for {name}, got {type(networks[key]).__name__}"
    if _inherits(model, "dist_validation", *VIDEO):
        yield from _find_video_problems(name, options)


def _find_synthesis_problems(model: type, options: Mapping[str, Any]) -> Problems:
    """Yield what the models that degrade images on their device lack."""
    switches = ("gt_usm",) if _inherits(model, "feed_data", RealESRNetModel) else ()
    switches += USM_SWITCHES if _inherits(model, "optimize_parameters", RealESRGANModel) else ()
    for key in switches:
        if key not in options:
            yield key, f"is missing: {model.__name__} asks whether images are sharpened, true or false"
    if not (_inherits(model, "feed_data", RealESRNetModel, RealESRGANModel) and options.get(ON_DEVICE, True)):
        return
    kind = ((options.get("datasets") or {}).get("train") or {}).get("type")
    if isinstance(kind, str) and _is_basicsr(kind) and "SecondOrder" not in kind and "RealESRGANDataset" not in kind:
        text = f"must be RealESRGANDataset, whose kernels {model.__name__} needs, or set {ON_DEVICE}: false; got {kind}"
        yield "datasets.train.type", text


def _find_video_problems(name: str, options: Mapping[str, Any]) -> Problems:
    if "metrics" not in (options.get("val") or {}):
        yield "val.metrics", f"is missing: {name} needs the line, metrics: ~ for none"
    for key, content in (options.get("datasets") or {}).items():
        kind = content.get("type") if isinstance(content, Mapping) else None
        known = isinstance(kind, str) and kind.endswith("Dataset") and kind not in VIDEO_SETS
        if str(key).split("_")[0] != "train" and known and _is_basicsr(kind):
            yield f"datasets.{key}.type", f"must be one of {', '.join(VIDEO_SETS)} for {name}, got {kind}"


def _is_basicsr(kind: str) -> bool:
    """Return whether a data set is BasicSR's or of this package; others may be videos."""
    from basicsr.utils.registry import DATASET_REGISTRY

    from lightsr_basicsr.registry import look_up

    module = getattr(look_up(DATASET_REGISTRY, kind), "__module__", "")
    return module.startswith(("basicsr.", "lightsr_basicsr."))


def _inherits(model: type, method: str, *classes: type) -> bool:
    return getattr(model, method, None) in [getattr(parent, method) for parent in classes]
