"""KDSR in one run: the teacher, and then the student that starts from it."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch.utils.data import DataLoader, Dataset

from lightsr_basicsr.checkpoints import CheckpointError
from lightsr_basicsr.models.kdsr_student_model import KDSRNetSTModel
from lightsr_basicsr.models.kdsr_teacher_model import KDSRNetTAModel
from lightsr_basicsr.registry import register

TEACHER, STUDENT = "teacher", "student"
TEACHER_KEYS = {f"{key}_TA": f"{key}_g" for key in ("pretrain_network", "strict_load", "param_key")}


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

    fed_by = KDSRNetSTModel.fed_by
    training_networks = KDSRNetSTModel.training_networks
    describe_misfit = KDSRNetSTModel.describe_misfit

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        self.handover = int(opt["train"]["teacher_iter"]) if opt["is_train"] else 0
        self.iteration = 0
        # A resumed run says later where it goes on.
        if not opt["is_train"] or not opt["path"].get("resume_state"):
            self._begin(TEACHER if self.handover else STUDENT)

    def _begin(self, stage: str) -> None:
        """Build the model of a stage, with random weights that depend on the seed and the stage alone."""
        self.stage = stage
        get_root_logger().info(f"KDSR: the {stage}.")
        opt = deepcopy(self.stage_options(self.opt, stage))
        if stage == STUDENT and self.opt["is_train"]:
            teacher = str(self._teacher_file()) if self.handover else opt["path"]["pretrain_network_TA"]
            opt["path"]["pretrain_network_TA"] = teacher
            if not opt["path"].get("pretrain_network_g"):
                opt["path"]["pretrain_network_g"] = teacher
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.opt["manual_seed"] + (stage == STUDENT))
            self.model: SRModel = (TeacherOfRun if stage == TEACHER else KDSRNetSTModel)(opt)

    @staticmethod
    def stage_options(options: Mapping[str, Any], stage: str) -> dict[str, Any]:
        """Return the options with which the model of one stage alone would train as this run does."""
        train = dict(options.get("train") or {})
        own = {name: train.pop(name, None) for name in (TEACHER, STUDENT)}[stage]
        handover = train.pop("teacher_iter", 0)
        if isinstance(handover, int) and isinstance(train.get("total_iter"), int):
            train["total_iter"] = handover if stage == TEACHER else train["total_iter"] - handover
        stage_opt = {**options, "train": {**train, **(own or {})}}
        paths = dict(options.get("path") or {})
        if stage == TEACHER:
            paths = {key: value for key, value in paths.items() if key not in TEACHER_KEYS.values()}
            paths = {TEACHER_KEYS.get(key, key): value for key, value in paths.items()}
            stage_opt["network_g"] = stage_opt.pop("network_TA", None)
            stage_opt["train"].pop("kd_opt", None)
        model = KDSRNetTAModel if stage == TEACHER else KDSRNetSTModel
        return {**stage_opt, "path": paths, "model_type": model.__name__}

    def _teacher_file(self) -> Path:
        """Return the file of the student's teacher: of this run, or of the one whose state it resumed."""
        own = Path(self.opt["path"]["models"]) / f"net_TA_{self.handover}.pth"
        state = self.opt["path"].get("resume_state")
        beside = _models_beside(Path(state)) / own.name if state else own
        return beside if not own.is_file() and beside.is_file() else own

    def resume_training(self, resume_state: dict) -> None:
        """Begin with the stage of the state, and restore it.

        Raises:
            CheckpointError: If the state was saved with another ``train.teacher_iter``.
        """
        self.iteration = resume_state["iter"]
        problems = self.find_resume_problems(self.opt, Path(self.opt["path"]["resume_state"]))
        for _, message in problems:
            raise CheckpointError(f"train.teacher_iter {message}")
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
        state = Path(self.opt["path"]["training_states"]) / f"{self.handover}.state"
        if self.iteration == self.handover and not state.is_file():
            self.model.save(0, self.handover)
        self.model.save(-1, -1)
        if self.opt["dist"]:
            torch.distributed.barrier()  # the others read what the first process wrote

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

    @classmethod
    def unsaved_networks(cls, options: Mapping[str, Any], current_iter: int) -> tuple[str, ...]:
        """Return the key of the network that is not trained at this iteration."""
        return ("network_g",) if current_iter <= options["train"]["teacher_iter"] else ("network_TA",)

    @classmethod
    def find_resume_problems(cls, options: Mapping[str, Any], state: Path) -> Iterator[tuple[str, str]]:
        """Yield why a run with these options cannot go on from the file ``state``: see :class:`LossDictModel`."""
        handover, folder = options["train"].get("teacher_iter"), _models_beside(state)
        if not isinstance(handover, int) or not state.stem.isdigit():
            return
        teachers = [int(file.stem[7:]) for file in folder.glob("net_TA_*.pth") if file.stem[7:].isdigit()]
        stage, network = (TEACHER, "TA") if int(state.stem) <= handover else (STUDENT, "g")
        there = (folder / f"net_{network}_{int(state.stem)}.pth").is_file()
        if max(teachers, default=0) > handover:
            yield "train.teacher_iter", f"is {handover}, but {folder} has a teacher of iteration {max(teachers)}"
        elif not there or (stage == STUDENT and handover and handover not in teachers):
            wanted = f"the {stage}'s" + (f" with a teacher of iteration {handover}" if stage == STUDENT else "")
            yield (
                "train.teacher_iter",
                (
                    f"is {handover}, so {state} should be {wanted}, but {folder} has no such files: "
                    "was the run begun with another train.teacher_iter, or with --stage?"
                ),
            )

    @classmethod
    def stages(cls, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the options of each stage by its name, the first one first."""
        train = options.get("train") or {}
        names = (TEACHER, STUDENT) if train.get("teacher_iter") else (STUDENT,)
        return {name: cls.stage_options(options, name) for name in names}

    @classmethod
    def find_problems(cls, options: Mapping[str, Any], networks: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield what is wrong with the plan of the run; the stages are checked on their own."""
        train = options.get("train") or {}
        handover, total = train.get("teacher_iter"), train.get("total_iter")
        if not isinstance(handover, int) or isinstance(handover, bool) or handover < 0:
            yield "train.teacher_iter", f"must be the number of iterations of the teacher, got {handover!r}"
        elif isinstance(total, (int, float)) and handover > total:
            yield (
                "train.teacher_iter",
                f"is {handover:,}, more than train.total_iter ({total:,}), which counts both",
            )
        elif not handover and not (options.get("path") or {}).get("pretrain_network_TA"):
            yield (
                "path.pretrain_network_TA",
                "is missing: with train.teacher_iter 0 a trained teacher is needed",
            )
        for name in (TEACHER, STUDENT):
            if not isinstance(train.get(name, {}), Mapping):
                yield f"train.{name}", f"must be a section with what holds for the {name} only, got {train[name]!r}"


def _models_beside(state: Path) -> Path:
    """Return the folder of weights of the run that saved ``state``."""
    return state.absolute().parent.parent / "models"


@contextmanager
def _renamed(dataset: Dataset, stage: str) -> Iterator[None]:
    """Call ``dataset`` after the stage as well: in the log, in TensorBoard and in the record of best results."""
    options = dataset.opt
    dataset.opt = {**options, "name": f"{stage}_{options['name']}"}
    try:
        yield
    finally:
        dataset.opt = options
