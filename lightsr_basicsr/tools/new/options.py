"""The option files of a project: every key with what it does and why it has this value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from lightsr_basicsr.tools.new.data import HELD_OUT, TRAIN, Data
from lightsr_basicsr.tools.new.recipes import BLIND, KERNELS, LEVELS, Recipe
from lightsr_basicsr.tools.new.yaml_text import Rows

# Standard deviations of blurs, in HR pixels, on which blind networks are validated and tested.
SIGMAS = [0.8, 2.0, 3.2]
LONG = 20_000  # iterations from which weights are averaged over more of them
TEACHERS_SHARE = 2 / 3


@dataclass(frozen=True)
class Project:
    """What the option files are made from.

    Attributes:
        name (str): Of the run.
        folder (PurePath): The project's, as the user named it.
        recipe (Recipe): How its network is trained.
        network (dict): Its section of an option file.
        scale (int): HR side over LR side.
        data (Data): What the folder of its data holds.
        patch (int): Side of HR patches.
        batch (int): Patches in a step.
        workers (int): Processes that read data.
        on_gpu (bool): Whether there is one.
        start (str | None): Weights to start from.
        plugins (tuple[str, ...]): Packages that make the network known.
        threads (int): Cores of the machine.
        total (int): Iterations.
        interval (int): Iterations between two validations.
        measured (str): What was measured, in words.
        bicubic (tuple): PSNR of bicubic interpolation in dB on each validation set.
    """

    name: str
    folder: PurePath
    recipe: Recipe
    network: dict[str, Any]
    scale: int
    data: Data
    patch: int
    batch: int
    workers: int
    on_gpu: bool
    start: str | None = None
    plugins: tuple[str, ...] = ()
    threads: int = 1
    total: int = 1000
    interval: int = 100
    measured: str = ""
    bicubic: tuple[float, ...] = ()

    @property
    def rate(self) -> float:
        """The learning rate at the beginning."""
        if self.start:
            return self.recipe.rate / 25  # more spoils what the weights know
        return self.recipe.small_rate if self.is_small else self.recipe.rate

    @property
    def is_small(self) -> bool:
        """Whether the network has the small size."""
        return bool(self.recipe.small) and all(
            self.network.get(key) == value for key, value in self.recipe.small.items()
        )

    @property
    def handover(self) -> int:
        """The last iteration of the teacher."""
        return max(1, round(self.total * TEACHERS_SHARE))

    @property
    def model(self) -> str:
        """The training model; weights in deployed form have no branches left to merge."""
        deployed = self.recipe.model == "ReparamModel" and self.network.get("deploy")
        return "LossDictModel" if deployed else self.recipe.model

    def lasting(self, total: int, interval: int, measured: str) -> Project:
        """Return the project with a length."""
        return replace(self, total=total, interval=interval, measured=measured)

    def path(self, *parts: str) -> str:
        """Return a path in the project's folder."""
        return self.folder.joinpath(*parts).as_posix()


def train_rows(project: Project) -> Rows:
    """Return the option file of the training."""
    rows = Rows([
        ("name", project.name, f"of this run: all that it writes is in experiments/{project.name}"),
        ("model_type", project.model, _about_model(project)),
        ("scale", project.scale, "how many times larger SR images are than LR images, at each side"),
        _num_gpu(),
        ("manual_seed", 0, "of all random numbers: the same seed gives the same run"),
        ("datasets", Rows([("train", _train_set(project), "what is trained on"),
                           ("val", _tested_set(project, "validation"), "what is validated on while training")]), ""),
        *_plugins(project),
        *_networks(project),
        ("path", _paths(project), "files to start from"),
        ("train", _training(project), ""),
        ("val", _validation(project, interval=True), "while training, on photographs that are held out"),
        ("comparison", _comparison(project, "val"), "a table and a picture at the end: bicubic, this network, HR"),
        ("logger", _logger(project), ""),
    ])  # fmt: skip
    return rows


def test_rows(project: Project) -> Rows:
    """Return the option file of the test."""
    weights = f"experiments/{project.name}/models/net_g_latest.pth"
    return Rows([
        ("name", f"{project.name}_test", f"of this run: all that it writes is in results/{project.name}_test"),
        ("model_type", "LossDictModel", "runs any network that makes one SR image of one LR image"),
        ("scale", project.scale, "how many times larger SR images are than LR images, at each side"),
        _num_gpu(),
        ("manual_seed", 0, "of all random numbers"),
        ("datasets", Rows([("test_1", _tested_set(project, "test"), "all photographs that are held out")]), ""),
        *_plugins(project),
        ("network_g", _network(project.network), "as in train.yml"),
        ("path", Rows([("pretrain_network_g", weights, "what the training has written last")]), ""),
        ("val", _validation(project, interval=False), ""),
        ("comparison", _comparison(project, "test_1"), "a table and a picture: bicubic, this network, HR"),
    ])  # fmt: skip


def _num_gpu() -> tuple:
    return ("num_gpu", "auto", "all GPUs that there are, otherwise the CPU; 0 is the CPU in any case")


def _plugins(project: Project) -> list[tuple]:
    return [("plugins", list(project.plugins), "packages that make names known")] if project.plugins else []


def _about_model(project: Project) -> str:
    return {
        "LossDictModel": "the plain training: the network's image is compared with HR",
        "ReparamModel": "trains the network with its branches, and saves the merged form too (net_g_*_deploy.pth)",
        "DualRegressionModel": "also compares LR with what small networks make of the SR image",
        "KDSRModel": "first a teacher that sees HR, then the student, which learns from its view of the blur",
        "BlindKernelModel": "also compares the estimated blur kernel with the true one",
    }[project.model]


def _train_set(project: Project) -> Rows:
    recipe = project.recipe
    each = project.data.crops
    ratio = max(1, -(-1000 * project.batch // each))
    lows = {
        BLIND: "HR images; LR images are made of them while training, blurred at random",
        KERNELS: "HR images; LR images are made of them while training, each blurred by a kernel of its own",
        LEVELS: "HR images; those of half and of a quarter of the side are made of them while training",
    }
    more = {
        "blur": ("blur", "isotropic", "round Gaussians; anisotropic: longish ones, turned at random"),
        "sigma": ("sigma", [0.2, 4.0], "standard deviations of the blurs, in HR pixels"),
        "degradation_per": ("degradation_per", "image", "each image has its own blur; batch: all of a step share one"),
    }
    extra = [more[key] for key in ("blur", "sigma", "degradation_per") if recipe.dataset == BLIND]
    extra += [more[key] for key in ("blur", "sigma") if recipe.dataset == KERNELS]
    return Rows([
        ("name", f"{project.name}_train", "in the log"),
        ("type", recipe.dataset, lows.get(recipe.dataset, "HR images, and LR images by MATLAB's bicubic")),
        ("dataroot_gt", project.path("data", TRAIN), f"{each} crop{'s'[: each != 1]} of your photographs; from "
         "the folder you start in"),
        ("io_backend", Rows([("type", "disk", "image files")]), ""),
        *extra,
        ("gt_size", project.patch, f"side of the HR patches, {project.patch // project.scale} in LR: more shows the "
         "network more, and takes longer"),
        ("use_hflip", True, "patches are mirrored at random"),
        ("use_rot", True, "patches are turned by 90 degrees at random"),
        ("num_worker_per_gpu", project.workers, "processes that read and cut images; this machine has "
         f"{project.threads} core{'s'[: project.threads != 1]}"),
        ("batch_size_per_gpu", project.batch, "patches in a step; less if memory does not suffice"),
        ("dataset_enlarge_ratio", ratio, "how often all images are in an epoch: long ones start the processes seldom"),
        ("persistent_workers", project.workers > 0, "whether the processes stay from epoch to epoch"),
    ])  # fmt: skip


def _tested_set(project: Project, purpose: str) -> Rows:
    kind = {LEVELS: "DegradedImageDataset"}.get(project.recipe.dataset, project.recipe.dataset)
    blind = project.recipe.dataset in (BLIND, KERNELS)
    name = "held_out_sig{sigma}" if blind else "held_out"
    listed = project.data.validated if purpose == "validation" else None
    text = "the middle of each photograph that is not trained on"
    return Rows([
        ("name", name, "in the log; {sigma} becomes each of the sigmas" if blind else "in the log"),
        ("type", kind, "HR images; LR images are made on reading"),
        ("dataroot_gt", project.path("data", HELD_OUT), text),
        *([("meta_info_file", project.path("data", listed.name), "some of them, so that validation is quick")]
          if listed else []),
        ("io_backend", Rows([("type", "disk", "image files")]), ""),
        *([("sigmas", SIGMAS, "blurs, as standard deviations in HR pixels: a set for each")] if blind else []),
    ])  # fmt: skip


def _networks(project: Project) -> list[tuple]:
    rows = [("network_g", _network(project.network), _about_size(project))]
    if project.recipe.kind == "DRN":
        dual = {"type": "DRNDual", "num_feat": project.network["num_feat"], "upscale": project.scale}
        rows.append(("network_dual", _network(dual), "reduces the SR image to LR; needed in training alone"))
    if project.recipe.is_staged:
        teacher = {**project.network, "type": "BlindSR_TA"}
        rows.insert(0, ("network_TA", _network(teacher), "the teacher, of the same size as the student"))
    return rows


def _about_size(project: Project) -> str:
    if project.start:
        return f"as {PurePath(project.start).name} has it"
    if project.is_small:
        return "a small size, since without a GPU the full one learns little in this time: --size full"
    return "the size of the paper" if project.recipe.small else ""


def _network(section: dict[str, Any]) -> Rows:
    about = {
        "type": "the network's registered name: `basicsr list networks`",
        "upscale": "its scale", "scale": "its scale",
        "num_feat": "channels of its features: more is better and slower", "num_block": "number of its blocks",
        "n_feats": "channels of its features: more is better and slower", "n_sr_blocks": "number of its blocks",
        "n_encoder_res": "blocks of the encoder, which sees the blur", "num_in_ch": "channels of LR images",
        "num_out_ch": "channels of SR images", "num_latent": "width of what chooses its kernels",
        "num_conv": "number of its convolutions", "num_group": "groups in which the blocks are",
        "code_length": "numbers that describe a kernel", "depths": "blocks of each layer",
        "num_heads": "heads of attention of each layer", "embed_dim": "channels of its features",
        "upsampler": "how it enlarges", "deploy": "branches are merged",
    }  # fmt: skip
    return Rows([(key, value, about.get(key, "an argument of the network")) for key, value in section.items()])


def _paths(project: Project) -> Rows:
    if project.recipe.is_staged:
        return Rows([("pretrain_network_TA", None, "~: from random weights; or a file of a teacher")])
    if project.start is None:
        return Rows([("pretrain_network_g", None, "~: from random weights; or a file, as --init names one")])
    return Rows([
        ("pretrain_network_g", project.start, "weights to start from; ~ is random"),
        ("param_key_g", "params_ema", "of these the averaged ones, where the file has them"),
        ("strict_load_g", True, "every tensor must fit"),
    ])  # fmt: skip


def _training(project: Project) -> Rows:
    decay = 0.999 if project.total > LONG else 0.99
    loss = Rows([("type", "L1Loss", "the mean absolute difference")])
    recipe, total = project.recipe, project.total
    rows = Rows([
        ("ema_decay", decay, "what is validated and saved is an average of the weights over the last "
         f"{round(1 / (1 - decay))} iterations or so"),
        ("total_iter", total, f"{'of teacher and student together; ' * recipe.is_staged}{project.measured}"),
    ])  # fmt: skip
    if recipe.is_staged:
        rows += [
            ("teacher_iter", project.handover, "those of the teacher, two thirds"),
            ("teacher", _optimization(project.rate, project.handover), "what holds for the teacher"),
            ("student", _optimization(project.rate / 2, total - project.handover), "what holds for the student"),
        ]
    else:
        rows += _optimization(project.rate, total)
    rows.append(("pixel_opt", loss, "compares the SR image with HR"))
    if recipe.is_staged:
        rows.append(
            ("kd_opt", _typed("KDLoss", ("temperature", 0.15, "as published")), "student's code with teacher's")
        )
    if project.model == "DualRegressionModel":
        rows.append(("dual_opt", _typed("L1Loss", ("loss_weight", 0.1, "as published")), "what comes back with LR"))
    if project.model == "BlindKernelModel":
        rows.append(("kernel_opt", _typed("L1Loss"), "estimated kernel with the true one"))
    if recipe.max_norm:
        rows.append(("max_norm", recipe.max_norm, "longer gradients are shortened: this network is prone to collapse"))
    return rows


def _typed(kind: str, *more: tuple) -> Rows:
    return Rows([("type", kind, "the registered name of the loss"), *more])


def _optimization(rate: float, length: int) -> Rows:
    return Rows([
        ("optim_g", Rows([
            ("type", "Adam", "the optimizer"),
            ("lr", rate, "learning rate at the beginning; halve it if the loss jumps"),
            ("betas", [0.9, 0.99], "how long it remembers gradients and their squares"),
        ]), ""),
        ("scheduler", Rows([
            ("type", "CosineAnnealingRestartLR", "the learning rate falls along a cosine"),
            ("periods", [length], "down to its end after so many iterations: change it with total_iter"),
            ("eta_min", rate / 1000, "the learning rate at the end"),
        ]), ""),
    ])  # fmt: skip


def _validation(project: Project, interval: bool) -> Rows:
    crop = [("crop_border", project.scale, "pixels left out at each side, as papers do"),
            ("test_y_channel", True, "on brightness, as papers do")]  # fmt: skip
    scores = " / ".join(f"{each:.2f}" for each in project.bicubic)
    than = (
        f"; bicubic interpolation has {scores} here, and first validations may have less" if scores and interval else ""
    )
    metrics = [(name, Rows([("type", f"calculate_{name}", "BasicSR's"), *crop]), text)
               for name, text in (("psnr", f"in dB, more is better{than}"), ("ssim", "1 is equal"))]  # fmt: skip
    blind = project.recipe.dataset in (BLIND, KERNELS)
    return Rows([
        *([("val_freq", project.interval, "iterations between two validations")] if interval else []),
        *([("save_kernels", False, "whether pictures of estimated kernels are written")]
          if project.model == "BlindKernelModel" and interval else []),
        ("save_img", not interval and not blind, "whether SR images are written"),
        *([] if interval else [("suffix", None, "~: SR images are named after the photograph and this run")]),
        ("metrics", Rows(metrics), ""),
    ])  # fmt: skip


def _comparison(project: Project, key: str) -> Rows:
    blind = project.recipe.dataset in (BLIND, KERNELS)
    sets = [f"{key.split('_')[0]}_{index}" for index in range(1, len(SIGMAS) + 1)] if blind else key
    return Rows([
        ("dataset", sets, "the keys of its sets, one for each of the sigmas" if blind else "its key above"),
        ("crop_border", project.scale, "as in val"),
        ("test_y_channel", True, "as in val"),
    ])  # fmt: skip


def _logger(project: Project) -> Rows:
    return Rows([
        ("print_freq", max(1, project.interval // 5), "iterations between two lines of the log"),
        ("save_checkpoint_freq", project.interval, "iterations between two saves, from which --auto_resume goes on"),
        ("keep_last", 3, "how many of these are kept"),
        ("use_tb_logger", True, "curves for TensorBoard, in tb_logger"),
    ])  # fmt: skip
