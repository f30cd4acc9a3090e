"""Checks for option files of KDSR: teacher, student, GAN, and the run of two stages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from lightsr_basicsr.checkpoints import describe_difference
from lightsr_basicsr.checkpoints.states import weights_folder
from lightsr_basicsr.models import kdsr_plan as plan
from lightsr_basicsr.models.blind_checks import BlindContract
from lightsr_basicsr.models.contract import Networks, Options, Problems
from lightsr_basicsr.models.kdsr_plan import STUDENT, TEACHER

# Keys of the official option files that override the scheduler.
RATE_KEYS = ("lr_sr", "gamma_sr", "lr_decay_sr")
# BasicSR's losses between images, which do not take lists of vectors.
PIXEL_LOSSES = ("L1Loss", "MSELoss", "CharbonnierLoss", "WeightedTVLoss", "PerceptualLoss", "GANLoss")
# Arguments in which the SR networks of teacher and student must agree.
SHARED_ARGUMENTS = ("scale", "n_feats", "n_sr_blocks")
USM_SWITCHES = ("l1_gt_usm", "percep_gt_usm", "gan_gt_usm")


class TeacherContract(BlindContract):
    """The contract of ``KDSRNetTAModel``."""

    needs_gt = True

    def find_problems(self, options: Options, networks: Networks) -> Problems:
        """Yield also a network that is not a teacher."""
        yield from super().find_problems(options, networks)
        net = networks.get("network_g")
        if net is not None and not getattr(net, "encoder_sees_gt", False):
            yield "network_g.type", f"must be a teacher, BlindSR_TA, for {self.name}; got {type(net).__name__}"


class StudentContract(BlindContract):
    """The contract of ``KDSRNetSTModel``."""

    required_paths = ("pretrain_network_TA",)
    training_networks = ("network_TA",)
    needed_sections: ClassVar = {
        "network_TA": "{type: BlindSR_TA, scale: 4}",
        "train.pixel_opt": "{type: L1Loss}",
        "train.kd_opt": "{type: KDLoss}",
    }

    def unsaved_networks(self, options: Options, current_iter: int) -> tuple[str, ...]:
        """Return the teacher's key."""
        return self.training_networks

    @classmethod
    def describe_misfit(cls, net: nn.Module, state: Mapping[str, Tensor], source: str, strict: bool) -> str:
        """Return why the student would not load ``state``: of a teacher's file G must fit strictly."""
        if not is_teacher(state) or getattr(net, "encoder_sees_gt", True):
            return super().describe_misfit(net, state, source, strict)
        difference = describe_difference(net.G, sr_network_of(state))
        return f"{source}: the teacher's G does not fit {type(net).__name__}:{difference}" if difference else ""

    def find_problems(self, options: Options, networks: Networks) -> Problems:
        """Yield also networks that are not teacher and student, or do not match, and unsuitable options."""
        yield from super().find_problems(options, networks)
        train = options.get("train") or {}
        if isinstance(train.get("kd_opt"), Mapping) and train["kd_opt"].get("type") in PIXEL_LOSSES:
            yield "train.kd_opt.type", f"must be a loss between lists of vectors, KDLoss; got {train['kd_opt']['type']}"
        missing = [key for key in RATE_KEYS if key not in train]
        if "lr_sr" in train and missing:
            yield "train.lr_sr", f"needs {' and '.join(missing)} too; or remove it and use the scheduler"
        yield from _find_wrong_roles(networks)


class GANContract(StudentContract):
    """The contract of ``KDSRGANSTModel``."""

    needed_sections: ClassVar = {
        **StudentContract.needed_sections,
        "train.gan_opt": "{type: GANLoss, gan_type: vanilla}",
        "train.optim_d": "{type: Adam, lr: 0.0001}",
        "network_d": "{type: UNetDiscriminatorSN, num_in_ch: 3, num_feat: 64}",
    }

    def find_problems(self, options: Options, networks: Networks) -> Problems:
        """Yield also options without effect."""
        yield from super().find_problems(options, networks)
        for key, why in (("ldl_opt", "has no such loss"), ("encoder_only_iter", "trains all of the student")):
            if (options.get("train") or {}).get(key):
                yield f"train.{key}", f"has no effect: {self.name} {why}"
        if options.get("gt_usm"):
            yield "gt_usm", f"has no effect: {self.name} always degrades plain images; see {', '.join(USM_SWITCHES)}"


class KDSRContract(StudentContract):
    """The contract of ``KDSRModel``; its stages are checked on their own, by the contracts of their models."""

    required_paths = ()
    needed_sections: ClassVar = {
        "network_TA": "{type: BlindSR_TA, scale: 4}",
        "network_g": "{type: BlindSR_ST, scale: 4}",
    }
    steps_like_srmodel = False

    def runs_on_lr(self, is_train: bool) -> bool:
        """Return whether for a test: stages of a training are known by their own models."""
        return not is_train

    def find_problems(self, options: Options, networks: Networks) -> Problems:
        """Yield what is wrong with the two stages as a whole."""
        train = options.get("train") or {}
        handover, total = plan.count(train.get("teacher_iter")), plan.count(train.get("total_iter"))
        if None not in (handover, total) and handover > total:
            yield "train.teacher_iter", f"is {handover:,}, more than train.total_iter ({total:,}), which counts both"
        elif handover == 0 and not (options.get("path") or {}).get("pretrain_network_TA"):
            yield "path.pretrain_network_TA", "is missing: with train.teacher_iter 0 a trained teacher is needed"
        for name in (TEACHER, STUDENT):
            section = train.get(name)
            for key in ("total_iter", "teacher_iter") if isinstance(section, Mapping) else ():
                if key in section:
                    yield f"train.{name}.{key}", "holds for the whole run: write it under train"
        yield from self.find_missing(options)

    def find_resume_problems(self, options: Options, state: Path) -> Problems:
        """Yield an iteration of the hand-over that is not that of the files beside ``state``."""
        handover, folder = plan.count(options["train"].get("teacher_iter")), weights_folder(state)
        if handover is None or not state.stem.isdigit():
            return
        teachers, students = (_saved_iterations(folder, f"net_{name}_") for name in ("TA", "g"))
        stage, network = (TEACHER, "TA") if int(state.stem) <= handover else (STUDENT, "g")
        saved = (folder / f"net_{network}_{int(state.stem)}.pth").is_file()
        if max(teachers, default=0) > handover:
            yield "train.teacher_iter", f"is {handover}, but {folder} has a teacher of iteration {max(teachers)}"
        elif min(students, default=handover + 1) <= handover:
            yield "train.teacher_iter", f"is {handover}, but {folder} has a student of iteration {min(students)}"
        elif not saved or (stage == STUDENT and handover and handover not in teachers):
            wanted = f"of the {stage}" + (f" with a teacher of iteration {handover}" if stage == STUDENT else "")
            message = (
                f"is {handover}, so {state} should be {wanted}, but {folder} has no such files: "
                "was the run started with another train.teacher_iter, or with --stage?"
            )
            yield "train.teacher_iter", message
        else:
            yield from super().find_resume_problems(plan.stage_options(options, stage), state)

    def unsaved_networks(self, options: Options, current_iter: int) -> tuple[str, ...]:
        """Return the key of the network that is not trained at this iteration."""
        return ("network_g",) if current_iter <= int(options["train"]["teacher_iter"]) else ("network_TA",)

    def resume_files(self, options: Options, state: Path) -> dict[str, Path]:
        """Return the checkpoints of the state's stage."""
        handover, folder = int(options["train"]["teacher_iter"]), weights_folder(state)
        if int(state.stem) <= handover:
            return {"network_TA": folder / f"net_TA_{int(state.stem)}.pth"}
        teacher = folder / f"net_TA_{handover}.pth" if handover else Path(options["path"]["pretrain_network_TA"])
        return {"network_TA": teacher, "network_g": folder / f"net_g_{int(state.stem)}.pth"}

    def stages(
        self, options: Options, state: Path | None = None, networks: Networks | None = None
    ) -> dict[str, dict[str, Any]]:
        """Return the options of the teacher's stage, unless ``state`` is past it, and of the student's."""
        handover = plan.count((options.get("train") or {}).get("teacher_iter"))
        done = int(state.stem) if state is not None and state.stem.isdigit() else 0
        names = (STUDENT,) if handover is not None and done >= handover else (TEACHER, STUDENT)
        return {name: plan.stage_options(options, name) for name in names}


def is_teacher(state: Mapping[str, Tensor]) -> bool:
    """Return whether ``state`` is that of a KDSR teacher, by its encoder."""
    return "E.E.0.weight" in state


def sr_network_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of G in ``state`` without their prefix."""
    return {key.removeprefix("G."): value for key, value in state.items() if key.startswith("G.")}


def _find_wrong_roles(networks: Networks) -> Problems:
    """Yield networks in the wrong role, else the arguments in which teacher and student differ."""
    right = []
    for key, role, name in (("network_TA", "teacher", "BlindSR_TA"), ("network_g", "student", "BlindSR_ST")):
        net = networks.get(key)
        if net is not None and getattr(net, "encoder_sees_gt", None) is (role == "teacher"):
            right.append(net)
        elif net is not None:
            yield f"{key}.type", f"must be a {role}, {name}; got {type(net).__name__}"
    if len(right) == 2:  # the student starts from the teacher's SR network
        yield from _find_difference(*right)


def _find_difference(teacher: nn.Module, student: nn.Module) -> Problems:
    theirs, ours = ({key: value.shape for key, value in net.state_dict().items()} for net in (teacher, student))
    theirs, ours = teacher.arguments_from(theirs), student.arguments_from(ours)
    for key in SHARED_ARGUMENTS:
        if theirs[key] != ours[key]:
            text = f"is {theirs[key]}, but the student's (network_g.{key}) is {ours[key]}: they must be equal"
            yield f"network_TA.{key}", text


def _saved_iterations(folder: Path, prefix: str) -> list[int]:
    numbers = (file.stem.removeprefix(prefix) for file in folder.glob(f"{prefix}*.pth"))
    return [int(number) for number in numbers if number.isdigit()]
