"""Contracts: the requirements of training models on option files, checked before a run starts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from lightsr_basicsr.archs.reparam import has_branches
from lightsr_basicsr.checkpoints import misfit
from lightsr_basicsr.checkpoints.states import weights_folder
from lightsr_basicsr.models.basicsr_checks import find_basicsr_problems
from lightsr_basicsr.models.inherited import InheritedSteps
from lightsr_basicsr.models.speed import PARTS
from lightsr_basicsr.models.speed_checks import (
    find_accumulation_problems,
    find_scaler_problems,
    find_slow,
    find_speed_problems,
)

Options = Mapping[str, Any]
Networks = Mapping[str, nn.Module]
Stages = dict[str, dict[str, Any]]
# Each one as (dotted key of the option file, message).
Problems = Iterator[tuple[str, str]]


class ModelContract(InheritedSteps):
    """The requirements of a model on an option file. The defaults describe models of BasicSR and of other plugins.

    Of these models only what they inherit from BasicSR is known. A model of this package has a subclass as its class
    attribute ``contract``.
    """

    required_paths: tuple[str, ...] = ()  # files that training needs, as keys of `path`; a resumed run has its own
    training_networks: tuple[str, ...] = ()  # networks that a test does not build
    reads_any_wrapper = False  # whether it finds the weights in a checkpoint under any key
    needs_gt = False  # whether validation, too, shows the network HR images

    def schedule_every(self, train: Mapping[str, Any]) -> Any:
        """Return in how many iterations the schedulers make one step, from the section ``train``."""
        return 1

    def needed_keys(self, phase: str, options: Options, networks: Networks) -> tuple[str, ...]:
        """Return the keys that each item of a dataset must have beside one of ``input_keys``.

        ``phase`` is ``'train'``, ``'val'`` or ``'test'``; ``networks`` are those that could be built, by their keys.
        """
        return ()

    def find_problems(self, options: Options, networks: Networks) -> Problems:
        """Yield what is wrong with an option file for training this model."""
        yield from find_basicsr_problems(self.model, options, networks)

    def find_test_problems(self, options: Options, networks: Networks) -> Problems:
        """Yield what is wrong with an option file for testing this model."""
        yield from find_basicsr_problems(self.model, options, networks, is_train=False)

    def find_remarks(self, options: Options) -> Problems:
        """Yield what a training with an option file can do, but is probably not meant."""
        yield from ()

    def find_resume_problems(self, options: Options, state: Path) -> Problems:
        """Yield why a run with these options cannot resume from the file ``state``."""
        yield from ()

    def unsaved_networks(self, options: Options, current_iter: int) -> tuple[str, ...]:
        """Return the keys of networks that are not among the files saved at this iteration.

        A run that is resumed there keeps taking them from ``path.pretrain_network_*`` of the option file.
        """
        return ()

    def resume_files(self, options: Options, state: Path) -> dict[str, Path]:
        """Return the checkpoints that a run resumed from ``state`` loads, by the keys of their networks.

        By default those that BasicSR names, for the networks that the run has saved at some iteration.
        """
        return _ever_saved(_run_files(options, state), int(state.stem))

    def stages(self, options: Options, state: Path | None = None, networks: Networks | None = None) -> Stages:
        """Return the options of each stage by its name, of those after ``state`` if there is one; {} without stages.

        ``networks`` are those that could be built, None where they are not known.
        """
        return {}

    def total_iter(self, options: Options, last: str | None = None) -> int | None:
        """Return the iterations up to the end of the run or its stage ``last``; None: those of ``train.total_iter``."""
        return None

    @staticmethod
    def weights_for(net: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the tensors of a file's ``state`` that are meant for ``net``: all of them."""
        return state

    @classmethod
    def describe_misfit(cls, net: nn.Module, state: Mapping[str, Tensor], source: str, strict: bool) -> str:
        """Return why the model in training would not load ``state`` of the file ``source`` into ``net``, '' if it does.

        With ``strict`` all of it must fit.
        """
        return misfit.describe_misfit(net, state, source, strict)


def _ever_saved(files: Mapping[str, Path], iteration: int) -> dict[str, Path]:
    """Return those of the checkpoints of an iteration whose networks have a file of any iteration."""
    others = {key: file.name.removesuffix(f"{iteration}.pth") for key, file in files.items()}
    return {key: file for key, file in files.items() if any(file.parent.glob(f"{others[key]}*.pth"))}


def contract_of(model: type | None) -> ModelContract:
    """Return the contract of a registered model: its own, or the defaults for one of another package."""
    return getattr(model, "contract", ModelContract)(model)


class LossDictContract(ModelContract):
    """The contract of ``LossDictModel`` and of all that derive from it."""

    input_keys = ("lq", "degradation")
    required_sections = ("optim_g", "scheduler")
    reads_any_wrapper = True
    needed_sections: ClassVar[Mapping[str, str]] = {}  # examples of the sections that training needs, by dotted key
    speed_without_effect: ClassVar[Mapping[str, str]] = {}  # why options of `models.speed` have none, by key

    @property
    def steps_like_srmodel(self) -> bool:
        """Whether the step and all that it calls are those of LossDictModel."""
        steps = (self.model.run_network, self.model.compute_losses, self.model.optimize_parameters)
        return all(step.__qualname__.startswith("LossDictModel.") for step in steps)

    @property
    def needs_image_loss(self) -> bool:
        """Whether the set-up is that of LossDictModel, hence SRModel's, which fails without such a loss."""
        return self.model.init_training_settings.__qualname__.startswith("LossDictModel.")

    def needed_keys(self, phase: str, options: Options, networks: Networks) -> tuple[str, ...]:
        """Return ``gt`` where training, or the network, takes HR images."""
        return ("gt",) if phase == "train" or self.needs_gt else ()

    def find_problems(self, options: Options, networks: Networks) -> Problems:
        """Yield missing sections, a crop that is too small for the network, and a speed that cannot be had."""
        yield from self.find_missing(options)
        yield from find_speed_problems(options, self.name, self.speed_without_effect)
        if PARTS not in self.speed_without_effect:
            yield from find_accumulation_problems(options, self.model)
        train, scale = (options.get("datasets") or {}).get("train") or {}, options.get("scale")
        crop, least = train.get("gt_size"), getattr(networks.get("network_g"), "min_side", 1)
        if isinstance(crop, int) and isinstance(scale, int) and 0 < crop // max(scale, 1) < least:
            text = f"is {crop}, LR {crop // scale}: network_g needs at least {least} LR pixels"
            yield "datasets.train.gt_size", text

    def find_remarks(self, options: Options) -> Problems:
        """Yield a precision that is slow here."""
        yield from find_slow(options)

    def find_missing(self, options: Options) -> Problems:
        """Yield those of ``needed_sections`` that are missing or empty."""
        train = options.get("train") or {}
        for key, example in self.needed_sections.items():
            if not (train if key.startswith("train.") else options).get(key.removeprefix("train.")):
                yield key, f"is missing: {self.name} needs it, for example {example}"

    def find_resume_problems(self, options: Options, state: Path) -> Problems:
        """Yield a scaler of gradients that the state lacks, or has for nothing."""
        yield from find_scaler_problems(options.get("train") or {}, state)

    def resume_files(self, options: Options, state: Path) -> dict[str, Path]:
        """Return the run's own files of that iteration, and for unsaved networks those of the option file."""
        unsaved, paths = self.unsaved_networks(options, int(state.stem)), options["path"]
        files = _run_files(options, state, unsaved)
        return {**files, **{key: Path(paths[f"pretrain_{key}"]) for key in unsaved if paths.get(f"pretrain_{key}")}}

    @classmethod
    def describe_misfit(cls, net: nn.Module, state: Mapping[str, Tensor], source: str, strict: bool) -> str:
        """Return why ``load_network`` would not load what is meant for ``net``."""
        return super().describe_misfit(net, cls.weights_for(net, state), source, strict)


class ReparamContract(LossDictContract):
    """The contract of ``ReparamModel`` and of all that derive from it."""

    def find_problems(self, options: Options, networks: Networks) -> Problems:
        """Yield also a network that has nothing to reparameterize."""
        yield from super().find_problems(options, networks)
        net = networks.get("network_g")
        if net is not None and self.model.deploys(options) and not has_branches(net):
            otherwise = "model_type: LossDictModel" if self.model.reparam_by_default else "train.reparam: false"
            text = (
                f"{type(net).__name__} has no reparameterizable blocks, or is built in its deployed form: remove "
                "`deploy: true`, wrap it ({type: Reparameterized, network: {...}}), or train it as it is, with "
                f"{otherwise}"
            )
            yield "network_g", text


def _run_files(options: Options, state: Path, unsaved: Collection[str] = ()) -> dict[str, Path]:
    """Return the run's own checkpoints at the iteration of ``state``, by the keys of their networks."""
    folder, iteration = weights_folder(state), int(state.stem)
    ignored = options["path"].get("ignore_resume_networks") or ()
    left_out = {*unsaved, *([ignored] if isinstance(ignored, str) else ignored)}
    keys = [key for key in map(str, options) if key.startswith("network_") and key not in left_out]
    return {key: folder / f"net_{key.removeprefix('network_')}_{iteration}.pth" for key in keys}
