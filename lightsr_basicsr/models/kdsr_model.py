"""KDSR in one run: the teacher, and then the student that starts from it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any, ClassVar

import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch.utils.data import DataLoader, Dataset

from lightsr_basicsr import fields
from lightsr_basicsr.checkpoints import CheckpointError
from lightsr_basicsr.models import kdsr_plan as plan
from lightsr_basicsr.models.kdsr_checks import KDSRContract, find_resume_problems
from lightsr_basicsr.models.kdsr_plan import STUDENT, TEACHER
from lightsr_basicsr.models.kdsr_student_model import KDSRNetSTModel
from lightsr_basicsr.models.kdsr_teacher_model import KDSRNetTAModel
from lightsr_basicsr.registry import register


class TeacherOfRun(KDSRNetTAModel):
    """The teacher's stage, whose files are ``net_TA_*`` so that the student's cannot take their place."""

    def save_network(self, net: Any, net_label: str, current_iter: int, param_key: str | list[str] = "params") -> None:
        """Save as BaseModel does, under the teacher's name."""
        super().save_network(net, net_label.replace("net_g", "net_TA"), current_iter, param_key)


@register(MODEL_REGISTRY)
class KDSRModel:
    """Runs KDSR's two stages one after the other: ``KDSRNetTAModel``, and ``KDSRNetSTModel`` with that teacher.

    Iterations are counted through: the teacher's go up to ``train.teacher_iter``, the student's from there to
    ``train.total_iter``. Each stage counts its own for its schedule. At the hand-over the student's G becomes the
    teacher's, loaded strictly, and its encoder is drawn from ``manual_seed``, so that a run that is resumed before, at
    or after it ends with the same weights. Losses and validation are logged with the stage in front of their names.

    Args:
        opt (dict): Options as BasicSR gives them; beyond those of the two models:
            network_TA, network_g: Teacher and student.
            train.teacher_iter (int): The teacher's iterations; 0 trains a student of ``path.pretrain_network_TA``.
            train.teacher, train.student: Sections with what holds for one stage; it overrules the rest of ``train``.
            path.pretrain_network_TA (str): Where the teacher starts, or the student's teacher if it has no iterations.
            path.pretrain_network_g (str): Where the student starts, if not from the teacher.

    Raises:
        CheckpointError: If a file cannot be read or does not fit, or a state is of another plan.
    """

    takes_options_of = (KDSRNetTAModel, KDSRNetSTModel)
    options: ClassVar = {
        "train.teacher_iter": fields.count(
            "Iterations of the teacher; 0 trains a student of `path.pretrain_network_TA`.",
            least=0,
            as_float=True,
            required="train",
        ),
        "train.teacher": fields.section("What holds for the teacher only; overrules the rest of `train`."),
        "train.student": fields.section("What holds for the student only; overrules the rest of `train`."),
    }
    contract: ClassVar = KDSRContract

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt, self.handover = opt, plan.handover_of(opt)
        self.iteration = self.saved = 0
        # A resumed run says later where it goes on.
        if not opt["is_train"] or not opt["path"].get("resume_state"):
            self._begin(TEACHER if self.handover else STUDENT)

    def _begin(self, stage: str) -> None:
        """Build the model of a stage, with random weights that depend on the seed and the stage alone."""
        self.stage = stage
        get_root_logger().info(f"KDSR: the {stage}.")
        opt = deepcopy(plan.training_options(self.opt, stage, self.handover))
        with torch.random.fork_rng(devices=[]):
            # Networks are built on the CPU; torch.manual_seed would set the generators of all GPUs too.
            torch.default_generator.manual_seed(self.opt["manual_seed"] + (stage == STUDENT))
            self.model: SRModel = (TeacherOfRun if stage == TEACHER else KDSRNetSTModel)(opt)

    def _wait(self) -> None:
        if self.opt["dist"]:
            torch.distributed.barrier()  # the others read what the first process writes

    def resume_training(self, resume_state: dict) -> None:
        """Begin with the stage of the state, and restore it.

        Raises:
            CheckpointError: If the state was saved with another ``train.teacher_iter``.
        """
        self.iteration = self.saved = resume_state["iter"]
        problems = list(find_resume_problems(self.opt, Path(self.opt["path"]["resume_state"])))
        if problems:
            raise CheckpointError(" ".join(problems[0]))
        if 0 < self.handover <= self.iteration:
            if self.opt["rank"] == 0:
                plan.bring_teacher(self.opt, self.handover)
            self._wait()
        self._begin(TEACHER if self.iteration <= self.handover else STUDENT)
        self.model.resume_training(resume_state)

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """Step the schedulers of the stage that this iteration belongs to, which begins here if it is a new one."""
        if self.stage == TEACHER and current_iter > self.handover:
            self._hand_over()
        train = self.model.opt["train"]
        self.model.update_learning_rate(self._own(current_iter), train.get("warmup_iter", -1))

    def _own(self, current_iter: int) -> int:
        """Return the iteration as its stage counts."""
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
        """Save the teacher that the student will have, unless the run just did."""
        if self.iteration == self.handover != self.saved:
            self.model.save(0, self.handover)
        self.model.save(-1, -1)
        self._wait()

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
        """Return the losses of the last step, the stage in front of their names."""
        return {f"{self.stage}/{name}": value for name, value in self.model.get_current_log().items()}

    def validation(self, dataloader: DataLoader, current_iter: int, tb_logger: Any, save_img: bool = False) -> None:
        """Validate the network of the stage; training puts the stage in front of the set's name."""
        if not self.opt["is_train"]:
            self.model.validation(dataloader, current_iter, tb_logger, save_img)
            return
        with _renamed(dataloader.dataset, self.stage):
            self.model.validation(dataloader, current_iter, tb_logger, save_img)

    def save(self, epoch: int, current_iter: int) -> None:
        """Save the network of the stage and its training state; a teacher's that is trained out also for a student."""
        if current_iter == -1 and self.stage == TEACHER:
            self._keep_teacher()
        else:
            self.model.save(epoch, current_iter)
            self.saved = current_iter


@contextmanager
def _renamed(dataset: Dataset, stage: str) -> Iterator[None]:
    """Call ``dataset`` after the stage as well: in the log, in TensorBoard and in the record of best results."""
    options = dataset.opt
    dataset.opt = {**options, "name": f"{stage}_{options['name']}"}
    try:
        yield
    finally:
        dataset.opt = options
