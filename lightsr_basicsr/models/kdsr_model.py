"""KDSR in one run: the teacher, then the student that starts from it."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any, ClassVar

from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import MODEL_REGISTRY

from lightsr_basicsr import fields
from lightsr_basicsr.checkpoints import CheckpointError
from lightsr_basicsr.models import kdsr_plan as plan
from lightsr_basicsr.models.kdsr_checks import KDSRContract
from lightsr_basicsr.models.kdsr_plan import STUDENT, TEACHER
from lightsr_basicsr.models.kdsr_student_model import KDSRNetSTModel
from lightsr_basicsr.models.kdsr_teacher_model import KDSRNetTAModel
from lightsr_basicsr.models.staged_model import StagedModel, wait_for_others
from lightsr_basicsr.registry import register


class TeacherOfRun(KDSRNetTAModel):
    """The teacher's stage, saved as ``net_TA_*`` so that the student's files do not replace it."""

    def save_network(self, net: Any, net_label: str, current_iter: int, param_key: str | list[str] = "params") -> None:
        """Save under the teacher's name."""
        super().save_network(net, net_label.replace("net_g", "net_TA"), current_iter, param_key)


@register(MODEL_REGISTRY)
class KDSRModel(StagedModel):
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

    title = "KDSR"

    def find_ends(self, opt: dict[str, Any]) -> dict[str, int]:
        """Return the last iterations of teacher and student; a test, or a given teacher, leaves the student alone."""
        handover, student = plan.handover_of(opt), {STUDENT: int((opt.get("train") or {}).get("total_iter", 0))}
        return {TEACHER: handover, **student} if handover else student

    def build_stage(self, stage: str, resumed: int | None) -> SRModel:
        """Return the model of a stage."""
        opt = deepcopy(plan.training_options(self.opt, stage, self.ends.get(TEACHER, 0)))
        return (TeacherOfRun if stage == TEACHER else KDSRNetSTModel)(opt)

    def seed_of(self, stage: str) -> int:
        """Return 1 for the student, whether or not the run trains a teacher."""
        return int(stage == STUDENT)

    def resume_training(self, resume_state: dict) -> None:
        """Build the stage of the state and restore it; another ``train.teacher_iter`` raises CheckpointError."""
        # The state may have been renamed.
        state = Path(self.opt["path"]["resume_state"]).with_name(f"{resume_state['iter']}.state")
        handover = self.ends.get(TEACHER, 0)
        if problem := next(self.contract(type(self)).find_resume_problems(self.opt, state), None):
            raise CheckpointError(" ".join(problem))
        if 0 < handover <= resume_state["iter"]:
            if self.opt["rank"] == 0:
                plan.bring_teacher(self.opt, handover)
            wait_for_others(self.opt)
        super().resume_training(resume_state)
