"""KDSR in one run: the teacher, then the student that starts from it."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, ClassVar

import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch.utils.data import DataLoader

from lightsr_basicsr import fields
from lightsr_basicsr.checkpoints import CheckpointError
from lightsr_basicsr.models import kdsr_plan as plan
from lightsr_basicsr.models.kdsr_checks import KDSRContract
from lightsr_basicsr.models.kdsr_plan import STUDENT, TEACHER
from lightsr_basicsr.models.kdsr_student_model import KDSRNetSTModel
from lightsr_basicsr.models.kdsr_teacher_model import KDSRNetTAModel
from lightsr_basicsr.registry import register


class TeacherOfRun(KDSRNetTAModel):
    """The teacher's stage, saved as ``net_TA_*`` so that the student's files do not replace it."""

    def save_network(self, net: Any, net_label: str, current_iter: int, param_key: str | list[str] = "params") -> None:
        """Save under the teacher's name."""
        super().save_network(net, net_label.replace("net_g", "net_TA"), current_iter, param_key)


@register(MODEL_REGISTRY)
class KDSRModel:
    """Runs KDSR's two stages one after the other: ``KDSRNetTAModel``, then ``KDSRNetSTModel`` with that teacher.

    Iterations are numbered across both stages: the teacher ends at ``train.teacher_iter``, the student at
    ``train.total_iter``; schedules count those of their stage. At the hand-over the student's G is loaded from the
    teacher, strictly, and its encoder is initialized from ``manual_seed``, so that a run resumed before, at or after it
    ends with the same weights. Names of losses and validation sets are logged with the stage as prefix.

    Args:
        opt (dict): Those of the two models, with ``network_TA`` and ``network_g`` as teacher and student, and of
            ``options``. The teacher starts from ``path.pretrain_network_TA``, which is the student's teacher if
            ``teacher_iter`` is 0; the student starts from ``path.pretrain_network_g``, or from the teacher.

    Raises:
        CheckpointError: If a file cannot be read or does not fit, or a state is of another plan.
    """

    takes_options_of = (KDSRNetTAModel, KDSRNetSTModel)
    options: ClassVar = {
        "train.teacher_iter": fields.count(
            "Iterations of the teacher; 0: that of `path.pretrain_network_TA`.", 0, as_float=True, required="train"
        ),
        "train.teacher": fields.section("What holds for the teacher only; overrules the rest of `train`."),
        "train.student": fields.section("What holds for the student only; overrules the rest of `train`."),
    }
    contract: ClassVar = KDSRContract

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt, self.handover = opt, plan.handover_of(opt)
        self.iteration = self.saved = 0
        # A resumed run builds its stage in resume_training.
        if not opt["is_train"] or not opt["path"].get("resume_state"):
            self._begin(TEACHER if self.handover else STUDENT)

    def _begin(self, stage: str) -> None:
        """Build the model of a stage; its initial weights depend on the seed and the stage only."""
        self.stage = stage
        get_root_logger().info(f"KDSR: the {stage}.")
        opt = deepcopy(plan.training_options(self.opt, stage, self.handover))
        with torch.random.fork_rng(devices=[]):
            # Networks are built on the CPU; torch.manual_seed would also seed all GPUs.
            torch.default_generator.manual_seed(self.opt["manual_seed"] + (stage == STUDENT))
            self.model: SRModel = (TeacherOfRun if stage == TEACHER else KDSRNetSTModel)(opt)
        self.model.stage = f"{stage}_" if self.opt["is_train"] else ""

    def resume_training(self, resume_state: dict) -> None:
        """Build the stage of the state and restore it; another ``train.teacher_iter`` raises CheckpointError."""
        self.iteration = self.saved = resume_state["iter"]
        # The state may have been renamed.
        state = Path(self.opt["path"]["resume_state"]).with_name(f"{self.iteration}.state")
        if problem := next(self.contract(type(self)).find_resume_problems(self.opt, state), None):
            raise CheckpointError(" ".join(problem))
        if 0 < self.handover <= self.iteration:
            if self.opt["rank"] == 0:
                plan.bring_teacher(self.opt, self.handover)
            _wait_for_others(self.opt)
        self._begin(TEACHER if self.iteration <= self.handover else STUDENT)
        self.model.resume_training(resume_state)

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """Step the schedulers of the stage of this iteration; begin the student's stage after the hand-over."""
        if self.stage == TEACHER and current_iter > self.handover:
            self._hand_over()
        train = self.model.opt["train"]
        self.model.update_learning_rate(self._own(current_iter), train.get("warmup_iter", -1))

    def _own(self, current_iter: int) -> int:
        """Return the number of the iteration within its stage."""
        return current_iter - (self.handover if self.stage == STUDENT else 0)

    def _hand_over(self) -> None:
        self._keep_teacher()
        best = getattr(self.model, "best_metric_results", None)
        del self.model
        gc.collect()  # distributed wrappers refer to themselves
        self._begin(STUDENT)
        if best is not None:
            self.model.best_metric_results = best

    def _keep_teacher(self) -> None:
        """Save the teacher for the student, unless the run just did."""
        if self.iteration == self.handover != self.saved:
            self.model.save(0, self.handover)
        self.model.save(-1, -1)
        _wait_for_others(self.opt)

    def feed_data(self, data: dict[str, Any]) -> None:
        """Take a batch."""
        self.model.feed_data(data)

    def optimize_parameters(self, current_iter: int) -> None:
        """Take one step of the stage."""
        self.model.optimize_parameters(self._own(current_iter))
        self.iteration = current_iter

    def get_current_learning_rate(self) -> list[float]:
        """Return the learning rates of ``net_g``."""
        return self.model.get_current_learning_rate()

    def get_current_log(self) -> dict[str, float]:
        """Return the losses of the last step, their names prefixed with the stage."""
        return {f"{self.stage}/{name}": value for name, value in self.model.get_current_log().items()}

    def validation(self, dataloader: DataLoader, current_iter: int, tb_logger: Any, save_img: bool = False) -> None:
        """Validate the network of the stage; in training the set's name in logs and records begins with the stage."""
        dataset = dataloader.dataset
        options = dataset.opt
        dataset.opt = {**options, "name": f"{self.model.stage}{options['name']}"}
        try:
            self.model.validation(dataloader, current_iter, tb_logger, save_img)
        finally:
            dataset.opt = options

    def save(self, epoch: int, current_iter: int) -> None:
        """Save the network of the stage and its training state, or a fully trained teacher for a student."""
        if current_iter == -1 and self.stage == TEACHER:
            self._keep_teacher()
        else:
            self.model.save(epoch, current_iter)
            self.saved = current_iter


def _wait_for_others(options: Mapping[str, Any]) -> None:
    """Wait for all processes: the others read what the first one writes."""
    if options["dist"]:
        torch.distributed.barrier()
