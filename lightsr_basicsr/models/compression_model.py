"""Compression in one run: channel search, pruning, and fine-tuning with distillation.

Paper: Guo et al., "Towards Lightweight Super-Resolution with Dual Regression Learning", arXiv 2207.07929.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any, ClassVar

from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import MODEL_REGISTRY

from lightsr_basicsr import fields
from lightsr_basicsr.checkpoints import CheckpointError, write_whole
from lightsr_basicsr.models import compression_plan as plan
from lightsr_basicsr.models.channel_pruning_model import ChannelPruningModel
from lightsr_basicsr.models.channel_search_model import ChannelSearchModel
from lightsr_basicsr.models.compression_checks import CompressionContract
from lightsr_basicsr.models.compression_plan import FINETUNE, PRUNE, SEARCH
from lightsr_basicsr.models.distill_finetune_model import DistillFinetuneModel
from lightsr_basicsr.models.pruning_checks import require_one_process
from lightsr_basicsr.models.staged_model import StagedModel
from lightsr_basicsr.registry import register

MODELS = {SEARCH: ChannelSearchModel, PRUNE: ChannelPruningModel, FINETUNE: DistillFinetuneModel}


@register(MODEL_REGISTRY)
class CompressionModel(StagedModel):
    """Runs ChannelSearchModel, ChannelPruningModel and DistillFinetuneModel one after the other: `basicsr compress`.

    ``network_g`` and ``path.pretrain_network_dense`` are the dense network, from which search and pruning both start,
    each with the dual networks of ``path.pretrain_network_dual``. The list of the search's best validation goes to
    ``channel_configs.txt``; without a search the list is ``train.channels``, or follows from ``train.pruning_rate``
    alone. The pruned network, ``net_pruned_latest.pth``, is fine-tuned, and the run's last ``net_g``.

    How many iterations the pruning takes depends on that list. So many are set aside as the largest one that the search
    may find takes; those that are not needed pass without a step. ``train.total_iter`` is the sum, and computed.

    Args:
        opt (dict): Those of the three models, and of ``options``.

    Raises:
        CheckpointError: If a file cannot be read or does not fit, or a state is of another plan.
        UserError: If the network has no sites, or numbers of channels do not fit.
    """

    takes_options_of = (ChannelSearchModel, ChannelPruningModel, DistillFinetuneModel)
    options: ClassVar = {
        "train.search_iter": fields.count(
            "Iterations of the search; 0: the list is `channels`, or `pruning_rate` holds everywhere.",
            0, as_float=True, required="train",
        ),
        "train.finetune_iter": fields.count(
            "Iterations of the fine-tuning; 0 ends with the pruned network.", 0, as_float=True, required="train"
        ),
        "train.total_iter": fields.count("Computed here: leave it out.", null=True),
        "train.pruning_rate": fields.number("Part of the channels to remove, within (0, 1).", above=0),
        "train.search": fields.section("What holds for the search only; overrules the rest of `train`."),
        "train.prune": fields.section("What holds for the pruning only; overrules the rest of `train`."),
        "train.finetune": fields.section("What holds for the fine-tuning only; overrules the rest of `train`."),
    }  # fmt: skip
    contract: ClassVar = CompressionContract
    title = "Compression"

    def __init__(self, opt: dict[str, Any]) -> None:
        require_one_process(opt, type(self).__name__)
        super().__init__(opt)

    def find_ends(self, opt: dict[str, Any]) -> dict[str, int]:
        """Return the last iterations of the stages; a test has the network as it is."""
        if not opt["is_train"]:
            return {FINETUNE: 0}
        self.sites = plan.sites_in(opt)
        return plan.find_ends(opt, self.sites)

    def build_stage(self, stage: str, resumed: int | None) -> SRModel:
        """Return the model of a stage."""
        if not self.opt["is_train"]:
            return DistillFinetuneModel(deepcopy(self.opt))
        return MODELS[stage](deepcopy(plan.training_options(self.opt, stage, self.sites, resumed)))

    def resume_training(self, resume_state: dict) -> None:
        """Build the stage of the state and restore it.

        Raises:
            CheckpointError: If the stages that had ended before the state ended elsewhere than they would now.
        """
        plan.bring_files(self.opt)
        folder = Path(self.opt["path"]["experiments_root"])
        if text := plan.other_ends(folder, self.ends, resume_state["iter"]):
            raise CheckpointError(text)
        super().resume_training(resume_state)

    def close_stage(self) -> None:
        """Write down that the stage has ended and, after the search, the channel list."""
        if self.stage == SEARCH:
            first = next(iter(getattr(self.model, "best_metric_results", {}).values()), {})
            best = next(iter(first.values()), {}).get("iter")
            found = plan.found_list(self.opt, best)
            write_whole(Path(self.opt["path"]["experiments_root"]) / plan.LIST, found.read_bytes())
        plan.write_ends(self.opt, self.ends, self.stage)
