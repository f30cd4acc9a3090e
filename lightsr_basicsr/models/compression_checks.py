"""Checks for option files of a compression: the three stages as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from basicsr.utils.registry import MODEL_REGISTRY

from lightsr_basicsr.archs.sites import sites_of
from lightsr_basicsr.checkpoints.states import weights_folder
from lightsr_basicsr.errors import UserError
from lightsr_basicsr.models import compression_plan as plan
from lightsr_basicsr.models.compression_plan import FINETUNE, PRUNE, SEARCH
from lightsr_basicsr.models.contract import Networks, Options, Problems
from lightsr_basicsr.models.distill_checks import DistillContract, needs_teacher
from lightsr_basicsr.models.pruning_checks import DENSE, has_wrong_values
from lightsr_basicsr.registry import look_up

OF_WHOLE = ("search_iter", "finetune_iter", "total_iter", "pruning_rate", "channels", "sites")


class CompressionContract(DistillContract):
    """The contract of ``CompressionModel``; its stages are checked on their own, by the contracts of their models."""

    required_paths = (DENSE,)
    needed_sections: ClassVar = {}
    steps_like_srmodel = False

    def runs_on_lr(self, is_train: bool) -> bool:
        """Return whether for a test: stages of a training are known by their own models."""
        return not is_train

    def find_problems(self, options: Options, networks: Networks) -> Problems:
        """Yield what is wrong with the stages as a whole."""
        train, paths = options.get("train") or {}, options.get("path") or {}
        search, finetune = plan.lengths(options)
        if train.get("total_iter") is not None:
            yield "train.total_iter", "has no effect: it is the sum of the stages, remove it"
        if search and train.get("channels") is not None:
            yield "train.channels", "excludes a search: remove it, or set train.search_iter: 0"
        if search and train.get("pruning_rate") is None:
            yield "train.pruning_rate", "is missing: the search removes that part of the channels, for example 0.3"
        if paths.get("pretrain_network_g"):
            yield "path.pretrain_network_g", f"has no effect: the dense network is path.{DENSE}, remove it"
        if finetune and needs_teacher(options, networks.get("network_g")):
            text = "is missing: the fine-tuning learns from a larger network; without one set train.finetune_iter: 0"
            yield "network_teacher", text
        for name in plan.MODELS:
            section = train.get(name)
            for key in OF_WHOLE if isinstance(section, Mapping) else ():
                if key in section:
                    yield f"train.{name}.{key}", "holds for the whole run: write it under train"

    def find_resume_problems(self, options: Options, state: Path) -> Problems:
        """Yield a search of another length than that of the files beside ``state``, and a missing channel list."""
        search, _ = plan.lengths(options)
        folder = weights_folder(state).parent
        if search is None or not state.stem.isdigit():
            return
        ended, done = plan.read_ends(folder).get(SEARCH, 0), int(state.stem)
        if (search < done or 0 < ended < done) and ended != search:
            was = f"ended its search at iteration {ended}" if ended else "not ended a search"
            yield "train.search_iter", f"is {search}, but {folder} has {was}: set it as it was, or use another name"
        else:
            yield from _find_other_plan(options, folder, done)
            stage = plan.FINETUNE if done > plan.read_ends(folder).get(PRUNE, done) else PRUNE
            yield from super().find_resume_problems(plan.stage_options(options, stage), state)

    def unsaved_networks(self, options: Options, current_iter: int) -> tuple[str, ...]:
        """Return all networks: the model knows which file of a run belongs to which stage."""
        return tuple(key for key in map(str, options) if key.startswith("network_"))

    def resume_files(self, options: Options, state: Path) -> dict[str, Path]:
        """Return the checkpoints of the state's stage, and those from which later stages start."""
        folder, done, paths = weights_folder(state), int(state.stem), options["path"]
        ended = plan.read_ends(folder.parent).get(PRUNE)
        # The fine-tuned network has fewer channels than `network_g`.
        key = "network_pruned" if ended is not None and done > ended else "network_g"
        files = {key: folder / f"net_g_{done}.pth"}
        if options.get("network_dual"):
            files["network_dual"] = folder / f"net_dual_{done}.pth"
        for name in ("network_dense", "network_teacher"):
            if paths.get(f"pretrain_{name}"):
                files[name] = Path(paths[f"pretrain_{name}"])
        return files

    def stages(
        self, options: Options, state: Path | None = None, networks: Networks | None = None
    ) -> dict[str, dict[str, Any]]:
        """Return the options of each stage; the pruning's with the largest channel list, if ``networks`` are there."""
        found = {name: plan.stage_options(options, name) for name in plan.stage_names(options)}
        self._foresee(options, found[PRUNE], (networks or {}).get("network_g"))
        ended = plan.read_ends(weights_folder(state).parent) if state is not None and state.stem.isdigit() else {}
        over = [name for name, end in ended.items() if name != FINETUNE and int(state.stem) > end]
        return {name: content for name, content in found.items() if name not in over}

    def _foresee(self, options: Options, content: dict[str, Any], net: Any) -> None:
        """Give the pruning the most channels, and the iterations for them; what hinders that, its own check says."""
        if net is None or has_wrong_values(look_up(MODEL_REGISTRY, content["model_type"]), content):
            return
        train = content["train"]
        try:
            sites = sites_of(net, train.get("sites"))
            channels = plan.largest_channels(options, sites)
            train["total_iter"] = plan.needed_iterations({**train, "channels": channels}, sites)
        except UserError:
            return
        if SEARCH in plan.stage_names(options):
            train["channels"] = channels

    def total_iter(self, options: Options, last: str | None = None) -> int | None:
        """Return the last iteration of the stage ``last``, or of the whole run."""
        ends = plan.find_ends(options, plan.sites_in(options))
        return ends[last or list(ends)[-1]]


def _find_other_plan(options: Options, folder: Path, done: int) -> Problems:
    """Yield what ``folder``, with a state of iteration ``done``, has or lacks unlike the plan of the option file."""
    try:
        sites = plan.sites_in(options)
        ends = plan.find_ends(options, sites)
    except Exception:
        # Wrong networks and sites, which may raise any exception, are told elsewhere.
        return
    ended = plan.read_ends(folder)
    if text := plan.other_ends(folder, ends, done):
        yield "path.resume_state", text
        return
    found, at_end = folder / plan.LIST, done == ended.get(SEARCH)
    # At the very end of the search the list is written again.
    if SEARCH in ended and done >= ended[SEARCH] and not (at_end and not found.is_file()):
        try:
            plan.iterations_of_list(options, sites, folder)
        except UserError as error:
            yield "path.resume_state", str(error)
        except OSError:
            yield "path.resume_state", f"{found}, which the search had found, is lost: bring it back"
    if PRUNE in ended and done > ended[PRUNE] and not (folder / "models" / plan.PRUNED).is_file():
        text = (
            f"{folder} has no models/{plan.PRUNED}, which the pruning had made: bring it back, or resume before its end"
        )
        yield "path.resume_state", text
