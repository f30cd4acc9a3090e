"""What a training model inherits from BasicSR's models, and so does as they do."""

from __future__ import annotations

from collections.abc import Callable

from basicsr.models.sr_model import SRModel
from basicsr.models.srgan_model import SRGANModel


class InheritedSteps:
    """The set-up and the steps of a model, as far as they are BasicSR's.

    Args:
        model (type | None): The registered class, None for an unknown name.
    """

    def __init__(self, model: type | None) -> None:
        self.model, self.name = model, getattr(model, "__name__", "")

    def inherits(self, method: str, *classes: type) -> bool:
        """Return whether the model's ``method`` is that of one of ``classes``."""
        return getattr(self.model, method, None) in [getattr(parent, method) for parent in classes]

    @property
    def input_keys(self) -> tuple[str, ...]:
        """Keys of a batch from which ``feed_data`` takes LR images; one of them must be present, () if unknown."""
        return ("lq",) if self.inherits("feed_data", SRModel) else ()

    @property
    def steps_like_srmodel(self) -> bool:
        """Whether a training step compares one SR image with HR, as that of SRModel does."""
        return self.inherits("optimize_parameters", SRModel)

    def runs_on_lr(self, is_train: bool) -> bool:
        """Return whether the model is known to map an LR image to an SR image by ``network_g`` alone.

        That is so if what it does in a step, or in a test, is BasicSR's or of this package.
        """
        steps = ("optimize_parameters", "run_network", "compute_losses") if is_train else ("test",)
        methods = filter(None, (getattr(self.model, step, None) for step in steps))
        return isinstance(self.model, type) and issubclass(self.model, SRModel) and all(map(_is_known, methods))

    @property
    def tests_whole_images(self) -> bool:
        """Whether validation gives images to the network as they are, neither padded nor in tiles."""
        return self.inherits("test", SRModel) and _is_known(self.model.nondist_validation)

    @property
    def judges_output(self) -> bool:
        """Whether ``network_d`` is given the SR image, as in SRGANModel."""
        return self.runs_on_lr(True) and issubclass(self.model, SRGANModel)

    @property
    def trains_on_one_image(self) -> bool:
        """Whether the training step takes what the network gives for one SR image."""
        own = getattr(self.model, "optimize_parameters", None)
        return self.steps_like_srmodel or (self.judges_output and own.__module__.startswith("basicsr."))

    @property
    def required_sections(self) -> tuple[str, ...]:
        """Sections of ``train`` that the set-up of optimizers and schedulers reads."""
        used = {
            "optim_g": self.inherits("setup_optimizers", SRModel, SRGANModel),
            "scheduler": self.inherits("setup_schedulers", SRModel),
        }
        return tuple(key for key, needed in used.items() if needed)

    @property
    def needs_image_loss(self) -> bool:
        """Whether the set-up fails without ``pixel_opt`` and ``perceptual_opt``."""
        return self.inherits("init_training_settings", SRModel)


def _is_known(method: Callable) -> bool:
    """Return whether a method is BasicSR's or of this package."""
    return method.__module__.startswith(("basicsr.", "lightsr_basicsr."))
